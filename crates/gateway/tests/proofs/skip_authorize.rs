//! A server takes nothing that the policy has not permitted.
use gatepost_gateway::{Server, stages::Resolved};

async fn skip(server: &Server, resolved: Resolved) {
    let _ = server.call(resolved).await;
}

fn main() {}
