//! Greeting a server and opening sessions on it: what has to happen before a call can be sent.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use gatepost_config::{EraChoice, ServerKind, Transport};
use gatepost_protocol::version::Version;
use http::HeaderValue;
use tokio::sync::oneshot;

use super::{
    CallError, Cause,
    asking::{Asking, Clients, Owner},
    change::Announcer,
    credential::Presented,
    facts::{Facts, can_be_asked},
    greet::{self, Answered, Greeting, NoGreeting, greet},
    http::{
        Endpoint, LegacySession, METHOD, PROTOCOL_VERSION, Reply, read_reply, version_header, worth_quoting,
    },
    incoming::Waiting,
    pipe::{Fault, Manners, Pipe},
    pool::Key,
    process::{Launcher, serve_module},
    session::{Ender, Link, Session},
    sse,
};
use crate::Module;

/// How long a server may take to open the GET stream before the first call goes ahead without it. Some send nothing, not
/// even the head, before they have something to say.
const STREAM_OPENS_WITHIN: Duration = Duration::from_millis(500);

/// The id of a request that greets: nothing else is in flight.
const GREETING_ID: u64 = 1;

/// How a server is reached.
pub(crate) enum Way {
    /// A program.
    Process(Launcher),
    /// A server within this process.
    Module(Arc<dyn Module>),
    /// A URL.
    Url(Endpoint, Transport),
    /// The configuration names something that cannot be used; every call says so.
    Broken(String),
}

/// What is needed to open sessions, apart from the server that owns them.
pub(crate) struct Connector {
    pub(crate) way: Way,
    pub(crate) era: EraChoice,
    pub(crate) probe_timeout: Duration,
    pub(crate) start_timeout: Duration,
    pub(crate) context: Waiting,
    pub(crate) info: Bytes,
    pub(crate) announcer: Announcer,
    /// Calls of one session belong to one conversation.
    pub(crate) by_conversation: bool,
    /// Who can be asked outside a call.
    clients: Option<Arc<dyn Clients>>,
    /// The server asks over HTTP beside the streams of its calls, so that only a session of its own says whose a question is.
    pub(crate) asks_aside: Arc<AtomicBool>,
    /// The process ends when it is asked `server/discover`.
    probe_kills: AtomicBool,
}

/// What greeting a URL has found.
pub(crate) enum Found {
    /// Modern: no session.
    Modern(Arc<Facts>),
    /// Legacy: this session was opened by the greeting.
    Legacy(Arc<Session>),
    /// The 2024-11-05 transport; likewise.
    OldSse(Arc<Session>),
}

impl Connector {
    pub(crate) fn new(
        way: Way,
        config: &gatepost_config::Server,
        context: Waiting,
        shared: &super::Context,
        announcer: Announcer,
    ) -> Self {
        Self {
            way,
            era: config.era,
            probe_timeout: config.probe_timeout,
            start_timeout: config.start_timeout,
            context,
            info: shared.info.clone(),
            announcer,
            by_conversation: config.isolation == gatepost_config::Isolation::Session,
            clients: shared.clients.clone(),
            asks_aside: Arc::default(),
            probe_kills: AtomicBool::new(false),
        }
    }

    /// How the server of a configuration is reached.
    pub(crate) fn way(
        config: &gatepost_config::Server,
        module: Option<Arc<dyn Module>>,
        shared: &super::Context,
        context: &Waiting,
        announcer: &Announcer,
        common: Option<&Arc<Presented>>,
    ) -> Way {
        match (&config.kind, module) {
            (
                ServerKind::Url {
                    url,
                    transport,
                    headers,
                },
                _,
            ) => match Endpoint::new(url, headers, &shared.tls, common.cloned(), context.clone()) {
                Ok(endpoint) => Way::Url(endpoint, *transport),
                Err(error) => Way::Broken(error.to_string()),
            },
            (_, Some(module)) => Way::Module(module),
            (kind, None) => {
                match Launcher::new(kind, &shared.supervisor, context.clone(), announcer.clone()) {
                    Some(launcher) => Way::Process(launcher),
                    None => Way::Broken("names a module that this program does not have".to_owned()),
                }
            }
        }
    }

    /// Greets a server behind a URL, whatever it speaks. A session that this opens is for `key`.
    pub(crate) async fn greet_url(
        &self,
        endpoint: &Endpoint,
        transport: Transport,
        key: &Key,
    ) -> Result<Found, CallError> {
        if transport == Transport::Sse {
            return self.open_sse(endpoint, key).await.map(Found::OldSse);
        }
        let greeting = greet(
            self.era,
            self.probe_timeout,
            || {
                self.ask(
                    endpoint,
                    true,
                    Version::LATEST,
                    greet::discover(GREETING_ID, &self.info),
                )
            },
            |version| {
                self.ask(
                    endpoint,
                    false,
                    version,
                    greet::initialize(GREETING_ID, version, b"", &self.info),
                )
            },
        );
        match self.within_start(greeting).await? {
            Ok(Greeting::Modern(version, result)) => Ok(Found::Modern(facts(version, result.as_ref()))),
            Ok(Greeting::Legacy(version, result, id)) => self
                .establish(endpoint, version, facts(version, Some(&result)), id, key)
                .await
                .map(Found::Legacy),
            Ok(Greeting::Unknown(status)) if transport == Transport::Auto => {
                match self.open_sse(endpoint, key).await {
                    Ok(session) => Ok(Found::OldSse(session)),
                    Err(error) => Err(self.context.error(
                        Cause::Handshake(format!(
                            "it answered HTTP {status} to `server/discover` and `initialize`, and has no event stream \
                             either ({})",
                            error.cause
                        )),
                        true,
                    )),
                }
            }
            Ok(Greeting::Unknown(status)) => {
                Err(self.refused(format!("it answered `initialize` with HTTP {status}")))
            }
            Err(error) => Err(self.no_greeting(error, |error| error)),
        }
    }

    /// Opens a session for `key` on a server of known facts, or greets it on the way. `personal` is what the key's
    /// credential is the fingerprint of.
    pub(crate) async fn open(
        &self,
        key: &Key,
        personal: Option<&Arc<Presented>>,
        known: Option<Arc<Facts>>,
        old_sse: bool,
    ) -> Result<Arc<Session>, CallError> {
        match &self.way {
            Way::Broken(why) => Err(self.context.error(Cause::NotStarted(why.clone()), true)),
            Way::Process(launcher) => {
                let session = self.open_process(launcher, key).await?;
                launcher.crashes().recovered();
                Ok(session)
            }
            Way::Module(module) => {
                let (pipe, ender) = serve_module(&**module, &self.context, self.announcer.clone());
                self.greeted(pipe, ender, key, self.era)
                    .await
                    .map_err(|error| self.pipe_error(error))
            }
            Way::Url(endpoint, _) if old_sse => self.open_sse(&endpoint.presenting(personal), key).await,
            Way::Url(endpoint, _) => {
                let endpoint = &endpoint.presenting(personal);
                let version = known.map_or(Version::LATEST_LEGACY, |facts| facts.version);
                let body = greet::initialize(GREETING_ID, version, &key.capabilities, self.introduction(key));
                let answer = self
                    .within_start(self.ask(endpoint, false, version, body))
                    .await??;
                let greeting = greet::initialized::<_, CallError>(answer);
                match greeting {
                    Ok(Greeting::Legacy(version, result, id)) => {
                        self.establish(endpoint, version, facts(version, Some(&result)), id, key)
                            .await
                    }
                    Ok(_) => Err(self.refused("it no longer answers `initialize`".to_owned())),
                    Err(error) => Err(self.no_greeting(error, |error| error)),
                }
            }
        }
    }

    async fn open_process(&self, launcher: &Launcher, key: &Key) -> Result<Arc<Session>, CallError> {
        let era = if self.probe_kills.load(Relaxed) {
            EraChoice::Legacy
        } else {
            self.era
        };
        let (pipe, ender) = launcher.launch()?;
        match self.greeted(pipe, ender, key, era).await {
            Ok(session) => Ok(session),
            // Some servers end on a first message that is not `initialize`.
            Err(NoGreeting::Transport(Fault::Ended(_))) if era == EraChoice::Auto => {
                launcher.crashes().recovered();
                let (pipe, ender) = launcher.launch()?;
                let session = self.greeted(pipe, ender, key, EraChoice::Legacy).await;
                let session = session.map_err(|error| self.pipe_error(error))?;
                self.probe_kills.store(true, Relaxed);
                Ok(session)
            }
            Err(error) => Err(self.pipe_error(error)),
        }
    }

    /// Greets what is behind a pipe; ends it if that fails.
    async fn greeted(
        &self,
        pipe: Arc<Pipe>,
        ender: Ender,
        key: &Key,
        era: EraChoice,
    ) -> Result<Arc<Session>, NoGreeting<Fault>> {
        let ask = |make: Box<dyn FnOnce(u64) -> Bytes + Send>| {
            let pipe = Arc::clone(&pipe);
            async move {
                let response = pipe.call(true, make).await?.response().await?;
                Ok(Answered {
                    status: None,
                    response: Some(response),
                    detail: None,
                    carry: (),
                })
            }
        };
        let capabilities = &key.capabilities;
        let greeting = greet(
            era,
            self.probe_timeout,
            || {
                let info = self.info.clone();
                ask(Box::new(move |id| greet::discover(id, &info)))
            },
            |version| {
                let (info, capabilities) = (self.introduction(key).clone(), capabilities.clone());
                ask(Box::new(move |id| {
                    greet::initialize(id, version, &capabilities, &info)
                }))
            },
        );
        let greeting = match tokio::time::timeout(self.start_timeout, greeting).await {
            Ok(greeting) => greeting,
            Err(_) => Err(NoGreeting::Refused(format!(
                "it said nothing for {} s",
                self.start_timeout.as_secs()
            ))),
        };
        let facts = match greeting {
            Ok(Greeting::Modern(version, result)) => {
                pipe.set_manners(Manners::Modern, None);
                Ok(facts(version, result.as_ref()))
            }
            Ok(Greeting::Legacy(version, result, ())) => {
                // Before `initialized`: some servers ask as soon as they have read it.
                pipe.set_manners(self.manners(key), self.owner(key));
                let sent = pipe.send(Bytes::from_static(greet::INITIALIZED)).await;
                sent.map(|()| facts(version, Some(&result)))
                    .map_err(NoGreeting::Transport)
            }
            Ok(Greeting::Unknown(_)) => Err(NoGreeting::Refused("it answered nothing".to_owned())),
            Err(error) => Err(error),
        };
        match facts {
            Ok(facts) => Ok(Session::new(Link::Pipe(pipe), facts, ender)),
            Err(error) => {
                tokio::spawn(ender(Duration::from_secs(1)));
                Err(error)
            }
        }
    }

    async fn open_sse(&self, endpoint: &Endpoint, key: &Key) -> Result<Arc<Session>, CallError> {
        let (pipe, ender) = sse::connect(endpoint, self.announcer.of(endpoint.whose())).await?;
        // What still speaks this transport has a handshake.
        self.greeted(pipe, ender, key, EraChoice::Legacy)
            .await
            .map_err(|error| self.pipe_error(error))
    }

    /// How a legacy server's own messages are to be taken.
    fn manners(&self, key: &Key) -> Manners {
        if !can_be_asked(&key.capabilities) {
            Manners::Mute
        } else if self.by_conversation {
            Manners::Conversation
        } else {
            Manners::Leased
        }
    }

    /// The client whose own a session is, if there is one and it can be asked.
    fn owner(&self, key: &Key) -> Option<Owner> {
        if !can_be_asked(&key.capabilities) {
            return None;
        }
        Some(Owner {
            clients: Arc::clone(self.clients.as_ref()?),
            conversation: key.conversation?,
            capabilities: key.capabilities.clone(),
        })
    }

    /// Sends one of the two questions of a greeting.
    async fn ask(
        &self,
        endpoint: &Endpoint,
        modern: bool,
        version: Version,
        body: Bytes,
    ) -> Result<Answered<Option<HeaderValue>>, CallError> {
        let mut request = endpoint.post(body);
        if modern {
            request.field(&PROTOCOL_VERSION, &version_header(version));
            request.field(&METHOD, &HeaderValue::from_static("server/discover"));
        }
        let response = endpoint.send(request).await?;
        let status = response.status.as_u16();
        let id = response.session_id.clone();
        let mut detail = None;
        let response = match read_reply(response, &endpoint.context).await {
            Ok(Reply::Response(_, response)) => Some(response),
            Ok(Reply::Events(body)) => {
                let mut stream = super::http::EventStream::live(
                    body,
                    GREETING_ID,
                    endpoint.context.clone(),
                    self.announcer.of(endpoint.whose()),
                    None,
                );
                loop {
                    match stream.next().await? {
                        gatepost_protocol::envelope::Message::Response(response) => break Some(response),
                        _ => continue,
                    }
                }
            }
            Ok(Reply::Failed {
                status,
                detail: words,
            }) => {
                detail = worth_quoting(status, &words).then(|| endpoint.cleaned(words, None));
                None
            }
            // A page, an empty body, something that is not JSON-RPC: an answer like any other that is not the one.
            Ok(_)
            | Err(CallError {
                cause: Cause::Nonsense(_),
                ..
            }) => None,
            Err(error) => return Err(error),
        };
        Ok(Answered {
            status: Some(status),
            response,
            detail,
            carry: id,
        })
    }

    /// The handshake is over: says so, and makes the session.
    async fn establish(
        &self,
        endpoint: &Endpoint,
        version: Version,
        facts: Arc<Facts>,
        id: Option<HeaderValue>,
        key: &Key,
    ) -> Result<Arc<Session>, CallError> {
        let asking = Asking {
            allowed: can_be_asked(&key.capabilities),
            owner: self.owner(key),
            aside: Arc::clone(&self.asks_aside),
        };
        let asked = asking.allowed;
        let http = LegacySession::new(
            endpoint.clone(),
            id,
            version,
            asking,
            self.announcer.of(endpoint.whose()),
        );
        http.send(Bytes::from_static(greet::INITIALIZED)).await?;
        let ending = Arc::clone(&http);
        let ender: Ender = Box::new(move |grace| {
            Box::pin(async move {
                let _ = tokio::time::timeout(grace.max(Duration::from_millis(100)), ending.delete()).await;
            })
        });
        let session = Session::new(Link::Http(Arc::clone(&http)), facts, ender);
        if asked {
            // Some servers ask there when they do not know for which call, and lose what they ask before it is open.
            let (opened, open) = oneshot::channel();
            let task = tokio::spawn(super::http::keep_listening(Arc::downgrade(&http), opened));
            session.keep(task.abort_handle());
            let _ = tokio::time::timeout(STREAM_OPENS_WITHIN, open).await;
        }
        Ok(session)
    }

    /// The `clientInfo` of a session's handshake.
    fn introduction<'a>(&'a self, key: &'a Key) -> &'a Bytes {
        key.info.as_ref().unwrap_or(&self.info)
    }

    async fn within_start<T>(&self, future: impl Future<Output = T>) -> Result<T, CallError> {
        tokio::time::timeout(self.start_timeout, future)
            .await
            .map_err(|_| self.context.error(Cause::Timeout(self.start_timeout), true))
    }

    fn refused(&self, why: String) -> CallError {
        self.context.error(Cause::Handshake(why), true)
    }

    fn no_greeting<E>(&self, error: NoGreeting<E>, transport: impl FnOnce(E) -> CallError) -> CallError {
        match error {
            // Whatever happened to the greeting, the call itself was never sent.
            NoGreeting::Transport(error) => CallError {
                retry_safe: true,
                ..transport(error)
            },
            NoGreeting::Inconclusive(why) | NoGreeting::Refused(why) => self.refused(why),
        }
    }

    fn pipe_error(&self, error: NoGreeting<Fault>) -> CallError {
        self.no_greeting(error, |fault| self.context.fault(fault, false))
    }
}

fn facts(version: Version, result: Option<&gatepost_protocol::envelope::Response>) -> Arc<Facts> {
    let usable = result.filter(|response| response.result().is_some());
    Arc::new(usable.map_or_else(|| Facts::bare(version), |response| Facts::of(version, response)))
}
