//! How a view is compiled: every list of every server, one item after the other; whoever comes first keeps a public name.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, OnceLock},
};

use gatepost_policy::{Action, Caller, Classified, Effect, Kind};
use gatepost_protocol::{translate::drops_structured_content, version::Version};

use super::{
    super::{
        listing::{Item, Listing},
        remark::Remark,
        source::{ListKind, Source},
        template::Template,
    },
    Member, Prompt, Rules, Shown, Tool, View,
};
use crate::{seal::Sealer, task};

impl<S: Source> View<S> {
    /// Compiles an endpoint from what its servers offer at the moment, and what `audience` is to see of it.
    pub(crate) fn compile(
        rules: Arc<Rules>,
        audience: Arc<Caller>,
        members: Vec<Member<S>>,
        sealer: Arc<Sealer>,
    ) -> Self {
        let mut view = Self {
            rules,
            audience,
            members,
            tools: HashMap::new(),
            prompts: HashMap::new(),
            uris: HashMap::new(),
            template_texts: HashMap::new(),
            templates: Vec::new(),
            shown: [const { Vec::new() }; 4],
            remarks: Vec::new(),
            sealer,
            compiled: Default::default(),
            greeting: OnceLock::new(),
        };
        let rules = Arc::clone(&view.rules);
        let mut renames = Renames::new(&rules);
        for kind in ListKind::ALL {
            for member in 0..view.members.len() {
                view.offer(kind, member, &mut renames);
            }
        }
        // Until every server is known, a rename that meets nothing may be early.
        if view.members.iter().all(|member| member.listing.is_some()) {
            let unused = renames
                .unused()
                .map(|from| Remark::RenameUnused { from: from.into() });
            view.remarks.extend(unused);
        }
        view
    }

    /// Takes in one list of one server.
    fn offer(&mut self, kind: ListKind, at: usize, renames: &mut Renames<'_>) {
        let Some(listing) = self.members[at].listing.clone() else {
            return;
        };
        let makes_tasks = kind == ListKind::Tools && makes_tasks(&listing);
        for (index, item) in listing.list(kind).items.iter().enumerate() {
            if kind == ListKind::Templates {
                self.read_template(at, &item.key);
            }
            let member = &self.members[at];
            let effect = member.effect(kind, item);
            let action = Action {
                kind: use_of(kind),
                server: &member.name,
                name: &item.key,
                effect,
            };
            if !self.is_shown(&action) {
                continue;
            }
            let public: Option<Box<str>> = match kind {
                ListKind::Tools | ListKind::Prompts if !self.rules.single => {
                    Some(renames.public(&member.name, &item.key))
                }
                _ => None,
            };
            let key = public.clone().unwrap_or_else(|| item.key.clone());
            if let Some(kept) = self.holder(kind, &key) {
                let (kept, hidden) = (Arc::clone(kept), Arc::clone(&member.name));
                self.remarks.push(Remark::Clash {
                    noun: kind.noun(),
                    key,
                    kept,
                    hidden,
                });
                continue;
            }
            match kind {
                ListKind::Tools => {
                    let only_as_task = makes_tasks && task::is_required(&item.raw);
                    let tool = member.tool(item, listing.about.version, effect, only_as_task);
                    self.tools.insert(key, Arc::new(tool));
                }
                ListKind::Prompts => {
                    let prompt = Prompt {
                        server: Arc::clone(&member.server),
                        original: Arc::from(&*item.key),
                    };
                    self.prompts.insert(key, Arc::new(prompt));
                }
                ListKind::Resources => {
                    self.uris.insert(key, at);
                }
                ListKind::Templates => {
                    self.template_texts.insert(key, at);
                }
            }
            self.shown[kind as usize].push(Shown {
                member: at,
                item: index,
                public,
            });
        }
    }

    /// Keeps a template to match URIs with, whether it is shown or not.
    fn read_template(&mut self, at: usize, text: &str) {
        match Template::new(text) {
            Ok(template) => self.templates.push((template, at)),
            Err(why) => self.remarks.push(Remark::BadTemplate {
                template: text.into(),
                why: why.to_string().into(),
            }),
        }
    }

    /// The server that has the public name or URI already.
    fn holder(&self, kind: ListKind, key: &str) -> Option<&Arc<str>> {
        match kind {
            ListKind::Tools => self.tools.get(key).map(|tool| tool.server.name()),
            ListKind::Prompts => self.prompts.get(key).map(|prompt| prompt.server.name()),
            ListKind::Resources => self.uris.get(key).map(|&holder| &self.members[holder].name),
            ListKind::Templates => self
                .template_texts
                .get(key)
                .map(|&holder| &self.members[holder].name),
        }
    }
}

impl<S> Member<S> {
    /// What using an item does.
    pub(super) fn effect(&self, kind: ListKind, item: &Item) -> Classified {
        match kind {
            ListKind::Tools => self.effects.classify(&item.key, item.hints),
            _ => Classified::BY_METHOD,
        }
    }

    fn tool(&self, item: &Item, version: Version, effect: Classified, only_as_task: bool) -> Tool<S> {
        let trusted = item.idempotent && self.effects.trust_annotations;
        Tool {
            server: Arc::clone(&self.server),
            original: Arc::from(&*item.key),
            effect,
            repeatable: effect.effect == Effect::Read || trusted,
            version,
            foreign_output: drops_structured_content(&item.raw, Version::LATEST, Version::LATEST_LEGACY),
            headers: item.headers.clone(),
            only_as_task,
        }
    }
}

/// Whether some of a server's tools may be there only as tasks, as 2025-11-25 has them.
fn makes_tasks(listing: &Listing) -> bool {
    !listing.about.version.is_modern() && task::made_of_calls(&listing.about.capabilities)
}

/// What having a thing in a list is good for.
fn use_of(kind: ListKind) -> Kind {
    match kind {
        ListKind::Tools => Kind::Call,
        ListKind::Prompts => Kind::Get,
        ListKind::Resources | ListKind::Templates => Kind::Read,
    }
}

/// The renames of a view, and which of them have met something.
pub(super) struct Renames<'a> {
    map: HashMap<&'a str, &'a str>,
    order: Vec<&'a str>,
    used: HashSet<String>,
}

impl<'a> Renames<'a> {
    pub(super) fn new(rules: &'a Rules) -> Self {
        let map = rules
            .rename
            .iter()
            .map(|(from, to)| (from.as_str(), to.as_str()))
            .collect();
        Self {
            map,
            order: rules.rename.iter().map(|(from, _)| from.as_str()).collect(),
            used: HashSet::new(),
        }
    }

    pub(super) fn public(&mut self, server: &str, name: &str) -> Box<str> {
        let prefixed = format!("{server}__{name}");
        match self.map.get(prefixed.as_str()) {
            Some(to) => {
                self.used.insert(prefixed);
                Box::from(*to)
            }
            None => prefixed.into(),
        }
    }

    pub(super) fn unused(&self) -> impl Iterator<Item = &'a str> {
        self.order
            .iter()
            .copied()
            .filter(|from| !self.used.contains(*from))
    }
}
