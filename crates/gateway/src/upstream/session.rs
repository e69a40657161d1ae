//! One established connection to a server that keeps state: a process, a module, an old SSE stream, a legacy HTTP session.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::task::AbortHandle;

use super::{
    CallError,
    facts::Facts,
    http::{LegacySession, Tenure},
    incoming::{Incoming, PipeCall, Waiting},
    level::{InUse, Level},
    outgoing::Outgoing,
    pipe::Pipe,
    pool::{Lease, Pooled},
};

/// Ends what is behind a pipe within a grace.
pub(crate) type Ender = Box<dyn FnOnce(Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// A session of a pool.
pub(crate) struct Session {
    pub(crate) link: Link,
    pub(crate) facts: Arc<Facts>,
    /// What of its log the server was asked for.
    pub(crate) level: Arc<Level>,
    ender: Mutex<Option<Ender>>,
    /// Tasks that live as long as the session.
    tasks: Mutex<Vec<AbortHandle>>,
}

/// What a session's messages travel on.
pub(crate) enum Link {
    Pipe(Arc<Pipe>),
    Http(Arc<LegacySession>),
}

impl Session {
    pub(crate) fn new(link: Link, facts: Arc<Facts>, ender: Ender) -> Arc<Self> {
        Arc::new(Self {
            link,
            facts,
            level: Arc::default(),
            ender: Mutex::new(Some(ender)),
            tasks: Mutex::default(),
        })
    }

    /// Binds a task to the session's life.
    pub(crate) fn keep(&self, task: AbortHandle) {
        self.tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(task);
    }

    /// Sends a notification.
    pub(crate) async fn send(&self, message: bytes::Bytes, context: &Waiting) -> Result<(), CallError> {
        match &self.link {
            Link::Http(session) => session.send(message).await,
            Link::Pipe(pipe) => context
                .within(pipe.send(message))
                .await?
                .map_err(|fault| context.fault(fault, false)),
        }
    }
}

/// Sends a call on a leased session; the lease and the call's wish for a log level last as long as the call.
pub(crate) async fn call(
    lease: Lease<Session>,
    exclusive: bool,
    level: Option<InUse>,
    out: &Outgoing<'_>,
    context: &Waiting,
) -> Result<Incoming, CallError> {
    let session = Arc::clone(lease.session());
    match &session.link {
        Link::Http(http) => http.call(out, Some(Tenure { lease, exclusive }), level).await,
        Link::Pipe(pipe) => {
            let version = session.facts.version;
            let sent = context
                .within(pipe.call(out.own(), |id| out.compose_with_trace(version, id)))
                .await?;
            let ticket = sent.map_err(|fault| context.fault(fault, false))?;
            let call = PipeCall {
                ticket: Some(ticket),
                lease: Some(lease),
                exclusive,
                level,
                closing_cancels: out.version.is_modern() || out.own(),
                wish: out.wish.clone(),
            };
            call.begin(context.clone()).await
        }
    }
}

/// Sends a call on a session whose lease is in other hands. It hears of the progress of the answered call `of`, too.
pub(crate) async fn begin(
    session: &Session,
    out: &Outgoing<'_>,
    of: Option<u64>,
    context: &Waiting,
) -> Result<Incoming, CallError> {
    match &session.link {
        Link::Http(http) => http.call(out, None, None).await,
        Link::Pipe(pipe) => {
            let version = session.facts.version;
            let sent = context
                .within(pipe.call(out.own(), |id| out.compose_with_trace(version, id)))
                .await?;
            let ticket = sent.map_err(|fault| context.fault(fault, false))?;
            if let Some(answered) = of {
                ticket.inherit(answered);
            }
            let call = PipeCall {
                ticket: Some(ticket),
                lease: None,
                exclusive: false,
                level: None,
                closing_cancels: out.version.is_modern() || out.own(),
                wish: out.wish.clone(),
            };
            call.begin(context.clone()).await
        }
    }
}

/// Asks a question of the gate's own on a session, whoever has leased it.
pub(crate) async fn ask(session: &Session, out: &Outgoing<'_>, context: &Waiting) -> Result<(), CallError> {
    match &session.link {
        Link::Http(http) => {
            super::incoming::response_of(http.call(out, None, None).await?).await?;
        }
        Link::Pipe(pipe) => {
            let version = session.facts.version;
            let asked = async {
                pipe.call(true, |id| out.compose(version, id))
                    .await?
                    .response()
                    .await
            };
            context
                .within(asked)
                .await?
                .map_err(|fault| context.fault(fault, true))?;
        }
    }
    Ok(())
}

impl Pooled for Session {
    fn alive(&self) -> bool {
        match &self.link {
            Link::Pipe(pipe) => pipe.alive(),
            Link::Http(session) => session.alive(),
        }
    }

    fn end(self: Arc<Self>, grace: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        for task in std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner)) {
            task.abort();
        }
        let ender = self.ender.lock().unwrap_or_else(PoisonError::into_inner).take();
        Box::pin(async move {
            if let Some(ender) = ender {
                ender(grace).await;
            }
        })
    }
}
