//! A server takes nothing that is not on record.
use gatepost_gateway::{Server, stages::Charged};

async fn skip(server: &Server, charged: Charged) {
    let _ = server.call(charged).await;
}

fn main() {}
