//! What a server announces on its own: its lists changed, a resource changed, or it was away and is back.

use std::sync::Arc;

use gatepost_protocol::{envelope::Notification, method::Method};
use tokio::sync::broadcast;

/// Something changed on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// Its tools.
    Tools,
    /// Its prompts.
    Prompts,
    /// Its resources or templates.
    Resources,
    /// The resource of this URI, or one below it.
    Updated(Arc<str>),
    /// The connection was lost and is back; anything may have changed meanwhile.
    Reconnected,
}

/// Passes on what a server announces. Nobody has to listen.
#[derive(Debug, Clone)]
pub(crate) struct Announcer(broadcast::Sender<Change>);

impl Announcer {
    pub(crate) fn new() -> Self {
        Self(broadcast::channel(256).0)
    }

    pub(crate) fn announce(&self, change: Change) {
        // An error only says that nobody listens now.
        let _ = self.0.send(change);
    }

    pub(crate) fn listen(&self) -> broadcast::Receiver<Change> {
        self.0.subscribe()
    }
}

/// The change that `notification` announces, if it is that kind.
pub(crate) fn change_of(notification: &Notification) -> Option<Change> {
    Some(match notification.known_method()? {
        Method::ToolsListChanged => Change::Tools,
        Method::PromptsListChanged => Change::Prompts,
        Method::ResourcesListChanged => Change::Resources,
        Method::ResourcesUpdated => Change::Updated(notification.param_text("uri")?.into()),
        _ => return None,
    })
}
