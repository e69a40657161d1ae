//! What one endpoint offers, compiled: names resolved, policy asked, clashes settled. Immutable; a new one replaces it.
//!
//! The order is that of the configuration, then the server's own, so that the same servers give the same bytes. A public
//! name is looked up as a whole and never taken apart: a server's tool may contain `__` like any other text.

mod compile;
mod explain;

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use gatepost_policy::{Action, Caller, Circumstances, Classified, EffectRules, Kind, ViewRules, decide};
use gatepost_protocol::{headers::HeaderParams, version::Version};

use super::{
    demand::Demand,
    greeting::Greeting,
    listing::{Item, Listing},
    page::{BadCursor, Compiled, Page},
    remark::Remark,
    source::{ListKind, Source},
    template::{Reading, Template},
};
pub(crate) use explain::Candidate;

use crate::{seal::Sealer, task, upstream::Server};

/// Which endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum EndpointName {
    /// `/mcp`: every server, names prefixed.
    All,
    /// `/mcp/<name>`: one server, names as they are, or a view.
    Named(Arc<str>),
}

impl fmt::Display for EndpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("/mcp"),
            Self::Named(name) => write!(f, "/mcp/{name}"),
        }
    }
}

/// A tool, as an endpoint offers it.
#[derive(Debug)]
pub(crate) struct Tool<S = Server> {
    /// Who has it.
    pub(crate) server: Arc<S>,
    /// Its name there.
    pub(crate) original: Arc<str>,
    /// What calling it does.
    pub(crate) effect: Classified,
    /// Whether calling it twice does no more than calling it once: it only reads, or is idempotent, by what the operator
    /// says or believes.
    pub(crate) repeatable: bool,
    /// The version its server spoke when it was listed.
    version: Version,
    /// Whether its `outputSchema` is one that older clients are not shown.
    foreign_output: bool,
    /// Which arguments travel as headers too.
    pub(crate) headers: Option<HeaderParams>,
    /// Its server is of 2025-11-25 and does it only as a task.
    pub(crate) only_as_task: bool,
}

impl<S> Tool<S> {
    /// Whether a client of this version was not shown the tool's `outputSchema`, so that its results must come without
    /// `structuredContent` (`eras.md` §10).
    pub(crate) fn drops_structured(&self, client: Version) -> bool {
        self.foreign_output && client < self.version && !client.is_modern()
    }
}

/// A prompt, as an endpoint offers it.
#[derive(Debug)]
pub(crate) struct Prompt<S = Server> {
    /// Who has it.
    pub(crate) server: Arc<S>,
    /// Its name there.
    pub(crate) original: Arc<str>,
}

/// What `completion/complete` is asked about (its `ref`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Completion<'a> {
    /// `ref/prompt`: the public name.
    Prompt(&'a str),
    /// `ref/resource`: a URI template, or a URI.
    Resource(&'a str),
}

/// What an endpoint is made of, before anything is known about its servers.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// Its name.
    pub(crate) name: EndpointName,
    /// What it shows and allows.
    pub(crate) view: ViewRules,
    /// Prefixed name → public name, in the order of the configuration.
    pub(crate) rename: Vec<(String, String)>,
    /// What it is for.
    pub(crate) description: Option<String>,
    /// Whether it is one server by itself: names are not prefixed.
    pub(crate) single: bool,
}

/// One server of an endpoint, at the moment of compiling.
#[derive(Debug)]
pub(crate) struct Member<S> {
    /// The server.
    pub(crate) server: Arc<S>,
    /// Its name.
    pub(crate) name: Arc<str>,
    /// What is known of it; `None`: nothing yet.
    pub(crate) listing: Option<Arc<Listing>>,
    /// Whether that was said to one caller alone.
    pub(crate) own: bool,
    /// What its tools do.
    pub(crate) effects: Arc<EffectRules>,
    /// When it should be asked again.
    pub(crate) demand: Arc<Demand>,
}

/// One item that an endpoint shows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    /// The server's name.
    pub(crate) server: &'a str,
    /// The version the server speaks.
    pub(crate) version: Version,
    /// The item.
    pub(crate) item: &'a Item,
    /// Its public name, where that differs from its own.
    pub(crate) public: Option<&'a str>,
}

impl Entry<'_> {
    /// The item with its public name; no other byte differs from what the server sent.
    pub(crate) fn raw(&self) -> Cow<'_, [u8]> {
        let raw = &*self.item.raw;
        let Some(public) = self.public else {
            return Cow::Borrowed(raw);
        };
        let mut out = Vec::with_capacity(raw.len() + public.len());
        out.extend_from_slice(&raw[..self.item.place.start()]);
        gatepost_protocol::json::quote_into(&mut out, public);
        out.extend_from_slice(&raw[self.item.place.end()..]);
        Cow::Owned(out)
    }

    fn same(&self, other: &Entry<'_>) -> bool {
        self.server == other.server && self.public == other.public && self.item.raw == other.item.raw
    }
}

/// The place of an [`Entry`], as it is stored.
#[derive(Debug)]
struct Shown {
    member: usize,
    item: usize,
    public: Option<Box<str>>,
}

/// A compiled endpoint, as callers of one visibility see it.
pub(crate) struct View<S = Server> {
    rules: Arc<Rules>,
    /// For whom it was compiled. Every caller of the same visibility gets the same decisions about what is shown.
    audience: Arc<Caller>,
    members: Vec<Member<S>>,
    tools: HashMap<Box<str>, Arc<Tool<S>>>,
    prompts: HashMap<Box<str>, Arc<Prompt<S>>>,
    /// Listed URIs and listed templates, each with its member.
    uris: HashMap<Box<str>, usize>,
    template_texts: HashMap<Box<str>, usize>,
    /// Every template of every member, also those that are not shown: whether a URI may be read is decided by the URI.
    templates: Vec<(Template, usize)>,
    shown: [Vec<Shown>; 4],
    remarks: Vec<Remark>,
    sealer: Arc<Sealer>,
    compiled: [Compiled; 4],
    greeting: OnceLock<Greeting>,
}

impl<S: Source> View<S> {
    /// The tool with this public name.
    pub(crate) fn tool(&self, public: &str) -> Option<&Arc<Tool<S>>> {
        self.tools.get(public)
    }

    /// What calling a server's tool does; nothing is known of one that is not listed, or not any more.
    pub(crate) fn effect(&self, server: &str, original: &str) -> Classified {
        self.tools
            .values()
            .find(|tool| *tool.original == *original && **tool.server.name() == *server)
            .map_or(Classified::UNKNOWN, |tool| tool.effect)
    }

    /// Whether a call may become a task here: a modern server says so.
    pub(crate) fn offers_tasks(&self) -> bool {
        let mut known = self.members.iter().filter_map(|member| member.listing.as_ref());
        known.any(|listing| listing.about.version.is_modern() && task::declared(&listing.about.capabilities))
    }

    /// The prompt with this public name.
    pub(crate) fn prompt(&self, public: &str) -> Option<&Arc<Prompt<S>>> {
        self.prompts.get(public)
    }

    /// The server that a URI is read from: the one that lists exactly it, else the first, in the order of the
    /// configuration, with a template that matches; templates are taken at their word first, generously afterwards. On
    /// an endpoint of one server always that one, which may well serve URIs it does not list.
    pub(crate) fn resource(&self, uri: &str) -> Option<&Arc<S>> {
        if let Some(only) = self.only_server() {
            return self.may_read(only.name(), uri).then_some(only);
        }
        if let Some(&member) = self.uris.get(uri) {
            return Some(&self.members[member].server);
        }
        let matches = |reading| {
            self.templates.iter().find(|(template, member)| {
                template.matches(uri, reading) && self.may_read(&self.members[*member].name, uri)
            })
        };
        let (_, member) = matches(Reading::Strict).or_else(|| matches(Reading::Generous))?;
        Some(&self.members[*member].server)
    }

    fn may_read(&self, server: &str, uri: &str) -> bool {
        let action = Action {
            kind: Kind::Read,
            server,
            name: uri,
            effect: Classified::BY_METHOD,
        };
        self.is_shown(&action)
    }

    fn is_shown(&self, action: &Action<'_>) -> bool {
        decide(&self.audience, &self.rules.view, action, Circumstances::Listing).is_shown()
    }

    /// Whether it is what everybody sees who may see all there is.
    pub(super) fn is_everybodys(&self) -> bool {
        self.audience.visibility() == Caller::local().visibility()
            && !self.members.iter().any(|member| member.own)
    }

    /// Where a `completion/complete` goes, and what a prompt is called there. A URI or template is never renamed.
    pub(crate) fn completion(&self, reference: Completion<'_>) -> Option<(Arc<S>, Option<Arc<str>>)> {
        match reference {
            Completion::Prompt(public) => match (self.prompts.get(public), self.only_server()) {
                (Some(prompt), _) => Some((Arc::clone(&prompt.server), Some(Arc::clone(&prompt.original)))),
                // A server may complete what it does not list.
                (None, Some(server)) => Some((Arc::clone(server), Some(public.into()))),
                (None, None) => None,
            },
            Completion::Resource(uri) => {
                let listed = self
                    .template_texts
                    .get(uri)
                    .map(|&member| &self.members[member].server);
                let server = listed.or_else(|| self.resource(uri))?;
                Some((Arc::clone(server), None))
            }
        }
    }

    /// One page of a list, as the whole `result` for that version. `cursor` is what the client sent, if it sent one.
    ///
    /// # Errors
    /// When the cursor is not one that this endpoint gave for this list, or its place is gone. Answer -32602
    /// (2026-07-28 server/utilities/pagination, Error Handling).
    pub(crate) fn page(
        &self,
        list: ListKind,
        version: Version,
        cursor: Option<&str>,
    ) -> Result<Page, BadCursor> {
        for member in &self.members {
            member.demand.ask();
        }
        self.compiled[list as usize].page(self, list, version, cursor)
    }

    /// The `result` of `server/discover`.
    pub(crate) fn discover(&self) -> Bytes {
        self.greeting().discover.clone()
    }

    /// The `result` of `initialize` at a legacy version; a modern one gets that of the newest legacy version.
    pub(crate) fn initialize(&self, version: Version) -> Bytes {
        self.greeting().initialize(version)
    }

    fn greeting(&self) -> &Greeting {
        self.greeting.get_or_init(|| Greeting::compile(self))
    }

    /// The server of an endpoint that has just one by itself: names are its own, vendor methods may pass.
    pub(crate) fn only_server(&self) -> Option<&Arc<S>> {
        match (self.rules.single, &*self.members) {
            (true, [only]) => Some(&only.server),
            _ => None,
        }
    }

    /// The endpoint's name.
    pub(crate) fn name(&self) -> &EndpointName {
        &self.rules.name
    }

    /// What the endpoint shows and allows, for [`decide`].
    pub(crate) fn rules(&self) -> &ViewRules {
        &self.rules.view
    }

    /// The servers of this endpoint, in the order of the configuration.
    pub(crate) fn servers(&self) -> impl Iterator<Item = &Arc<S>> {
        self.members.iter().map(|member| &member.server)
    }

    /// The servers of which nothing is known yet.
    pub(crate) fn unseen(&self) -> impl Iterator<Item = &Arc<S>> {
        let unseen = self.members.iter().filter(|member| member.listing.is_none());
        unseen.map(|member| &member.server)
    }

    /// What was noticed while compiling.
    pub(crate) fn remarks(&self) -> &[Remark] {
        &self.remarks
    }

    pub(super) fn description(&self) -> Option<&str> {
        self.rules.description.as_deref()
    }

    pub(super) fn members(&self) -> &[Member<S>] {
        &self.members
    }

    /// Whether anything of a server is to be seen here.
    pub(super) fn shows(&self, server: &Member<S>) -> bool {
        self.rules.name == EndpointName::All && self.is_everybodys()
            || self
                .shown
                .iter()
                .flatten()
                .any(|shown| self.members[shown.member].name == server.name)
    }

    /// Seals what this endpoint hands out.
    pub(crate) fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// The public names, or URIs, in a list, in order.
    pub(crate) fn names(&self, kind: ListKind) -> impl Iterator<Item = &str> {
        self.entries(kind)
            .map(|entry| entry.public.unwrap_or(&entry.item.key))
    }

    /// What a list shows, in order.
    pub(super) fn entries(&self, kind: ListKind) -> impl ExactSizeIterator<Item = Entry<'_>> + Clone {
        let mut lists: Vec<(Version, &[Item])> = Vec::with_capacity(self.members.len());
        for member in &self.members {
            lists.push(match &member.listing {
                Some(listing) => (listing.about.version, &listing.list(kind).items),
                None => (Version::LATEST, &[]),
            });
        }
        self.shown[kind as usize].iter().map(move |shown| {
            let (version, items) = lists[shown.member];
            Entry {
                server: &self.members[shown.member].name,
                version,
                item: &items[shown.item],
                public: shown.public.as_deref(),
            }
        })
    }

    /// Whether a thing in a list hides another of the same name.
    pub(super) fn hides_some(&self, kind: ListKind) -> bool {
        let clash = |remark: &Remark| matches!(remark, Remark::Clash { noun, .. } if *noun == kind.noun());
        self.remarks.iter().any(clash)
    }

    /// Whether a client would see the same list here as in `other`.
    pub(crate) fn same_list(&self, other: &Self, kind: ListKind) -> bool {
        let (a, b) = (self.entries(kind), other.entries(kind));
        a.len() == b.len() && a.zip(b).all(|(a, b)| a.same(&b))
    }
}

#[cfg(test)]
mod tests;
