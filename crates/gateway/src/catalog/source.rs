//! What the catalog needs of a server, so that its rules can be tested without one.

use std::{fmt, future::Future, sync::Arc};

use bytes::Bytes;
use gatepost_config::ServerKind;
use gatepost_protocol::{envelope::Outcome, json, method::Method, version::Version};
use tokio::sync::broadcast;

use crate::upstream::{Asker, CallError, Change, Presented, Server};

/// The four lists of MCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ListKind {
    /// `tools/list`
    Tools,
    /// `prompts/list`
    Prompts,
    /// `resources/list`
    Resources,
    /// `resources/templates/list`
    Templates,
}

impl ListKind {
    /// All of them; `kind as usize` is the place of each.
    pub(crate) const ALL: [Self; 4] = [Self::Tools, Self::Prompts, Self::Resources, Self::Templates];

    /// The method that asks for this list.
    pub(crate) const fn method(self) -> Method {
        match self {
            Self::Tools => Method::ToolsList,
            Self::Prompts => Method::PromptsList,
            Self::Resources => Method::ResourcesList,
            Self::Templates => Method::ResourceTemplatesList,
        }
    }

    /// The member of the result that holds the items.
    pub(crate) const fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }

    /// The member of an item that tells it from the others.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::Templates => "uriTemplate",
        }
    }

    /// The server capability that goes with it.
    pub(crate) const fn capability(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources | Self::Templates => "resources",
        }
    }

    /// One item, in words.
    pub(crate) const fn noun(self) -> &'static str {
        match self {
            Self::Tools => "tool",
            Self::Prompts => "prompt",
            Self::Resources => "resource",
            Self::Templates => "resource template",
        }
    }
}

impl fmt::Display for ListKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.method().name())
    }
}

/// What a server says of itself when it is greeted. Raw JSON, kept as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct About {
    /// The version it is spoken to in.
    pub(crate) version: Version,
    /// Its `capabilities`, an object.
    pub(crate) capabilities: Bytes,
    /// Its `serverInfo`, an object.
    pub(crate) info: Option<Bytes>,
    /// Its `instructions`, decoded.
    pub(crate) instructions: Option<Arc<str>>,
    /// Members of its greeting that no version defines.
    pub(crate) extra: Vec<(Box<str>, Bytes)>,
}

/// A server's answer to one question.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// Its `result`, valid JSON.
    Result(Bytes),
    /// Its `error`.
    Error {
        /// JSON-RPC code.
        code: i64,
        /// In its words.
        message: String,
    },
}

/// Whom a server's lists are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AskedFor {
    /// The gate asks once for all.
    Everybody,
    /// Some callers have credentials of their own there, and for those it is asked apart.
    Some,
    /// Nobody is let in but with a credential of its own: the gate does not ask in its own name.
    Owners,
}

/// A server, as the catalog sees it. Dropping a future is safe: the question is forgotten.
pub(crate) trait Source: Send + Sync + 'static {
    /// Its name in the configuration.
    fn name(&self) -> &Arc<str>;

    /// Whether it lives elsewhere. A local process tells of changes by being started; waking one from its idle stop only
    /// to ask whether its list has changed would defeat the stop.
    fn is_remote(&self) -> bool;

    /// What it is asked for.
    fn asked_for(&self) -> AskedFor {
        AskedFor::Everybody
    }

    /// What is this caller's own to present there; `None`: it is let in as everybody is.
    ///
    /// # Errors
    /// When there is nothing to present for it.
    fn own(&self, asker: Asker<'_>) -> Result<Option<Arc<Presented>>, CallError> {
        let _ = asker;
        Ok(None)
    }

    /// Greets it, if that has not been done, and says what it answered; to the owner of `own` if there is one.
    fn about(&self, own: Option<&Arc<Presented>>) -> impl Future<Output = Result<About, CallError>> + Send;

    /// Asks for one page, as the owner of `own` if there is one.
    fn page(
        &self,
        own: Option<&Arc<Presented>>,
        kind: ListKind,
        cursor: Option<&str>,
    ) -> impl Future<Output = Result<Answer, CallError>> + Send;

    /// What it announces, from now on.
    fn changes(&self) -> broadcast::Receiver<Change>;

    /// Keeps a stream for announcements open until the server is stopped.
    fn watch(&self) -> impl Future<Output = ()> + Send;
}

impl Source for Server {
    fn name(&self) -> &Arc<str> {
        Self::name(self)
    }

    fn is_remote(&self) -> bool {
        matches!(self.config().kind, ServerKind::Url { .. })
    }

    fn asked_for(&self) -> AskedFor {
        if self.credentials().are_personal() {
            AskedFor::Owners
        } else if self.credentials().may_be_personal() {
            AskedFor::Some
        } else {
            AskedFor::Everybody
        }
    }

    fn own(&self, asker: Asker<'_>) -> Result<Option<Arc<Presented>>, CallError> {
        self.personal(asker)
    }

    async fn about(&self, own: Option<&Arc<Presented>>) -> Result<About, CallError> {
        let facts = match own {
            None => self.facts().await?,
            Some(own) => self.facts_for(own).await?,
        };
        let extra = facts
            .extra
            .iter()
            .map(|(key, value)| (Box::from(&**key), value.clone()));
        Ok(About {
            version: facts.version,
            capabilities: facts.capabilities.clone(),
            info: facts.server_info.clone(),
            instructions: facts.instructions.as_deref().map(Arc::from),
            extra: extra.collect(),
        })
    }

    async fn page(
        &self,
        own: Option<&Arc<Presented>>,
        kind: ListKind,
        cursor: Option<&str>,
    ) -> Result<Answer, CallError> {
        let mut params = b"{".to_vec();
        if let Some(cursor) = cursor {
            params.extend_from_slice(b"\"cursor\":");
            json::quote_into(&mut params, cursor);
        }
        params.push(b'}');
        let response = self.fetch_as(own, kind.method(), &params).await?;
        Ok(match response.outcome() {
            Outcome::Result(span) => Answer::Result(response.raw().slice(span.start()..span.end())),
            Outcome::Error { code, .. } => {
                let message = response.error_message().unwrap_or_default().into_owned();
                Answer::Error { code, message }
            }
        })
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        Self::changes(self)
    }

    async fn watch(&self) {
        Self::watch(self).await;
    }
}
