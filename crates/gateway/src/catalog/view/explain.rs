//! What stands behind a name or a URI, whoever may see it: for explanations.

use std::sync::Arc;

use gatepost_policy::{Action, Classified, Kind};

use super::{
    super::{
        source::{ListKind, Source},
        template::Reading,
    },
    Member, View,
    compile::Renames,
};
use crate::upstream::Server;

/// Something that a server has under a public name, whether it is shown or not.
#[derive(Debug)]
pub(crate) struct Candidate<S = Server> {
    /// Who has it.
    pub(crate) server: Arc<S>,
    /// Its name there.
    pub(crate) original: Arc<str>,
    /// What using it does.
    pub(crate) effect: Classified,
}

impl<S: Source> Candidate<S> {
    /// Using it.
    pub(crate) fn action(&self, kind: Kind) -> Action<'_> {
        Action {
            kind,
            server: self.server.name(),
            name: &self.original,
            effect: self.effect,
        }
    }
}

impl<S: Source> View<S> {
    /// What the servers have under a public name, in the order in which it counts, whoever may see it. Slow: for
    /// explanations.
    pub(crate) fn candidates(&self, kind: ListKind, public: &str) -> Vec<Candidate<S>> {
        let mut renames = Renames::new(&self.rules);
        let mut found = Vec::new();
        for member in &self.members {
            let Some(listing) = &member.listing else { continue };
            for item in &listing.list(kind).items {
                let named = if self.rules.single {
                    *item.key == *public
                } else {
                    *renames.public(&member.name, &item.key) == *public
                };
                if named {
                    found.push(Candidate {
                        server: Arc::clone(&member.server),
                        original: Arc::from(&*item.key),
                        effect: member.effect(kind, item),
                    });
                }
            }
        }
        found
    }

    /// The servers that a URI could be read from, in the order in which they count, whoever may.
    pub(crate) fn readers(&self, uri: &str) -> Vec<Candidate<S>> {
        let mut servers: Vec<&Member<S>> = Vec::new();
        if self.only_server().is_some() {
            servers.extend(&self.members);
        }
        let listed = |member: &&Member<S>| {
            let listing = member.listing.as_ref();
            listing.is_some_and(|listing| {
                let mut items = listing.list(ListKind::Resources).items.iter();
                items.any(|item| *item.key == *uri)
            })
        };
        servers.extend(self.members.iter().filter(listed));
        for reading in [Reading::Strict, Reading::Generous] {
            let matching = self
                .templates
                .iter()
                .filter(|(template, _)| template.matches(uri, reading));
            servers.extend(matching.map(|(_, member)| &self.members[*member]));
        }
        let mut found: Vec<Candidate<S>> = Vec::new();
        for member in servers {
            if !found
                .iter()
                .any(|known| Arc::ptr_eq(&known.server, &member.server))
            {
                found.push(Candidate {
                    server: Arc::clone(&member.server),
                    original: Arc::from(uri),
                    effect: Classified::BY_METHOD,
                });
            }
        }
        found
    }
}
