//! One permission is one call.
use gatepost_gateway::{Server, stages::Permitted};
use std::sync::Arc;

async fn twice(server: &Arc<Server>, permitted: Permitted) {
    let _ = server.call(permitted).await;
    let _ = server.call(permitted).await;
}

fn main() {}
