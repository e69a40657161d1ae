//! A server that answers what a test tells it to.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use gatepost_policy::{Access, Caller, EffectRules, Pattern, Selection, ViewRules};
use gatepost_protocol::version::Version;
use tokio::{sync::broadcast, time::sleep};

use super::{
    Catalog, EndpointName, Plan,
    source::{About, Answer, AskedFor, ListKind, Source},
    view::Rules,
};
use crate::{
    seal::Sealer,
    upstream::{Asker, CallError, Cause, Change, CredentialKind, Presented},
};

pub(super) struct Fake {
    name: Arc<str>,
    pub(super) remote: bool,
    state: Mutex<State>,
    changes: broadcast::Sender<Change>,
    asked: [AtomicUsize; 4],
    greeted: AtomicUsize,
    asked_for: AskedFor,
    /// By subject: the token it has, and what it alone is told.
    tokens: Mutex<HashMap<String, String>>,
    own_tools: Mutex<HashMap<String, String>>,
}

struct State {
    about: About,
    pages: HashMap<(ListKind, Option<String>), Answer>,
    down: bool,
    delay: Duration,
    silent: Option<ListKind>,
}

impl Fake {
    /// A local legacy server that announces its changes and has nothing.
    pub(super) fn new(name: &str) -> Self {
        let about = About {
            version: Version::LATEST_LEGACY,
            capabilities: r#"{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"listChanged":true}}"#
                .into(),
            info: None,
            extra: Vec::new(),
            instructions: None,
        };
        let state = State {
            about,
            pages: HashMap::new(),
            down: false,
            delay: Duration::ZERO,
            silent: None,
        };
        Self {
            name: name.into(),
            remote: false,
            state: Mutex::new(state),
            changes: broadcast::Sender::new(16),
            asked: Default::default(),
            greeted: AtomicUsize::new(0),
            asked_for: AskedFor::Everybody,
            tokens: Mutex::default(),
            own_tools: Mutex::default(),
        }
    }

    /// One that some callers have credentials of their own for, or nobody comes to without.
    pub(super) fn asked_for(mut self, asked_for: AskedFor) -> Self {
        self.asked_for = asked_for;
        self
    }

    /// What the caller of this name presents from now on.
    pub(super) fn set_token(&self, subject: &str, token: &str) {
        let mut tokens = self.tokens.lock().unwrap();
        tokens.insert(subject.to_owned(), token.to_owned());
    }

    /// What the caller of this name alone is told.
    pub(super) fn set_own_tool(&self, subject: &str, name: &str, more: &str) {
        let result = format!(r#"{{"tools":[{{"name":"{name}"}}]{more}}}"#);
        self.own_tools.lock().unwrap().insert(subject.to_owned(), result);
    }

    pub(super) fn remote(mut self) -> Self {
        self.remote = true;
        self
    }

    pub(super) fn about(self, change: impl FnOnce(&mut About)) -> Self {
        change(&mut self.state.lock().unwrap().about);
        self
    }

    pub(super) fn capabilities(self, capabilities: &'static str) -> Self {
        self.about(|about| about.capabilities = capabilities.into())
    }

    /// One page of a list, as the whole `result`.
    pub(super) fn page(self, kind: ListKind, cursor: Option<&str>, result: &str) -> Self {
        self.answer(kind, cursor, Answer::Result(result.to_owned().into()));
        self
    }

    /// A list of one page with these items.
    pub(super) fn items(self, kind: ListKind, items: &[&str]) -> Self {
        self.set_items(kind, items);
        self
    }

    pub(super) fn tools(self, names: &[&str]) -> Self {
        self.set_tools(names);
        self
    }

    pub(super) fn answer(&self, kind: ListKind, cursor: Option<&str>, answer: Answer) {
        self.state
            .lock()
            .unwrap()
            .pages
            .insert((kind, cursor.map(str::to_owned)), answer);
    }

    pub(super) fn set_items(&self, kind: ListKind, items: &[&str]) {
        let result = format!(r#"{{"{}":[{}]}}"#, kind.member(), items.join(","));
        self.answer(kind, None, Answer::Result(result.into()));
    }

    pub(super) fn set_tools(&self, names: &[&str]) {
        let items: Vec<String> = names
            .iter()
            .map(|name| format!(r#"{{"name":"{name}"}}"#))
            .collect();
        self.set_items(
            ListKind::Tools,
            &items.iter().map(String::as_str).collect::<Vec<_>>(),
        );
    }

    pub(super) fn set_down(&self, down: bool) {
        self.state.lock().unwrap().down = down;
    }

    pub(super) fn set_delay(&self, delay: Duration) {
        self.state.lock().unwrap().delay = delay;
    }

    pub(super) fn announce(&self, change: Change) {
        self.changes.send(change).unwrap();
    }

    /// From now on it never answers when asked for this list.
    pub(super) fn set_silent(&self, kind: ListKind) {
        self.state.lock().unwrap().silent = Some(kind);
    }

    /// How often a list was asked for.
    pub(super) fn asked(&self, kind: ListKind) -> usize {
        self.asked[kind as usize].load(Ordering::Relaxed)
    }

    /// How often it was greeted, also in vain.
    pub(super) fn greeted(&self) -> usize {
        self.greeted.load(Ordering::Relaxed)
    }

    async fn reach(&self) -> Result<(), CallError> {
        let (down, delay) = {
            let state = self.state.lock().unwrap();
            (state.down, state.delay)
        };
        if !delay.is_zero() {
            sleep(delay).await;
        }
        if !down {
            return Ok(());
        }
        Err(self.error(Cause::Unreachable("connection refused".into())))
    }

    fn error(&self, cause: Cause) -> CallError {
        CallError {
            server: Arc::clone(&self.name),
            cause,
            retry_safe: true,
        }
    }
}

impl Source for Fake {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn is_remote(&self) -> bool {
        self.remote
    }

    fn asked_for(&self) -> AskedFor {
        self.asked_for
    }

    fn own(&self, asker: Asker<'_>) -> Result<Option<Arc<Presented>>, CallError> {
        let subject = asker.caller.principal().subject();
        match (self.asked_for, subject) {
            (AskedFor::Everybody, _) | (AskedFor::Some, "local" | "nobody") => Ok(None),
            (AskedFor::Owners, "local" | "nobody") => Err(self.error(Cause::NoCredential("none".to_owned()))),
            _ => {
                let token = self.tokens.lock().unwrap().get(subject).cloned();
                let token = token.unwrap_or_else(|| format!("of-{subject}"));
                let kind = CredentialKind::Principal;
                Ok(Presented::personal(kind, asker.caller.principal(), &token).map(Arc::new))
            }
        }
    }

    async fn about(&self, own: Option<&Arc<Presented>>) -> Result<About, CallError> {
        self.greeted.fetch_add(1, Ordering::Relaxed);
        self.reach().await?;
        let mut about = self.state.lock().unwrap().about.clone();
        if let Some((owner, _)) = own.and_then(|own| own.owner.as_ref()) {
            about.instructions = Some(format!("for {}", owner.subject()).into());
        }
        Ok(about)
    }

    async fn page(
        &self,
        own: Option<&Arc<Presented>>,
        kind: ListKind,
        cursor: Option<&str>,
    ) -> Result<Answer, CallError> {
        self.asked[kind as usize].fetch_add(1, Ordering::Relaxed);
        if let Some((owner, _)) = own.and_then(|own| own.owner.as_ref()) {
            self.reach().await?;
            let tools = self.own_tools.lock().unwrap().get(owner.subject()).cloned();
            return match (kind, tools) {
                (ListKind::Tools, Some(tools)) => Ok(Answer::Result(tools.into())),
                _ => Ok(Answer::Result(format!(r#"{{"{}":[]}}"#, kind.member()).into())),
            };
        }
        let answer = self
            .state
            .lock()
            .unwrap()
            .pages
            .get(&(kind, cursor.map(str::to_owned)))
            .cloned();
        let silent = self.state.lock().unwrap().silent;
        if silent == Some(kind) {
            std::future::pending::<()>().await;
        }
        self.reach().await?;
        Ok(answer.unwrap_or(Answer::Error {
            code: -32601,
            message: "Method not found".into(),
        }))
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    async fn watch(&self) {
        std::future::pending::<()>().await;
    }
}

pub(super) fn sealer() -> Arc<Sealer> {
    Arc::new(Sealer::new(&["a secret of the tests"]).unwrap())
}

pub(super) fn plan(fake: &Arc<Fake>) -> Plan<Fake> {
    Plan {
        source: Arc::clone(fake),
        effects: EffectRules::default(),
        identity: "one".into(),
    }
}

/// The rules of `/mcp`.
pub(super) fn all() -> Rules {
    Rules {
        name: EndpointName::All,
        view: ViewRules::everything(),
        rename: Vec::new(),
        description: None,
        single: false,
    }
}

/// The rules of `/mcp/<server>`.
pub(super) fn single(server: &str) -> Rules {
    Rules {
        name: named(server),
        single: true,
        ..all()
    }
}

/// The rules of a view.
pub(super) fn selection(
    name: &str,
    include: &[&str],
    exclude: &[&str],
    access: Access,
    rename: &[(&str, &str)],
) -> Rules {
    let compile = |texts: &[&str]| {
        texts
            .iter()
            .map(|text| Pattern::new(text).unwrap())
            .collect::<Vec<_>>()
    };
    let selection = Selection {
        include: Some(compile(include)),
        exclude: compile(exclude),
    };
    Rules {
        name: named(name),
        view: ViewRules {
            selection,
            access,
            roles: None,
        },
        rename: rename
            .iter()
            .map(|(from, to)| ((*from).to_owned(), (*to).to_owned()))
            .collect(),
        ..all()
    }
}

pub(super) fn named(name: &str) -> EndpointName {
    EndpointName::Named(name.into())
}

/// A catalog that has fetched everything. Time must be paused.
pub(super) async fn started(plans: Vec<Plan<Fake>>, rules: Vec<Rules>) -> Arc<Catalog<Fake>> {
    let catalog = Catalog::build(plans, rules, None, sealer());
    catalog.start();
    for endpoint in catalog.endpoints() {
        catalog.settled(&endpoint, Asker::plain(&Caller::local())).await;
    }
    catalog
}
