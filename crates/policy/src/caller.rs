//! Who is calling, and what the rules give them.

use std::{
    fmt,
    hash::{BuildHasher, Hash, Hasher},
    sync::{Arc, LazyLock},
};

use crate::{
    Principal, Rules,
    condition::Mentions,
    rules::{Binding, Role},
};

/// What a verified credential says of its bearer. It proves nothing by itself: only who has verified a credential should
/// make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Who it is.
    pub principal: Principal,
    /// The groups its issuer says it is in, as the issuer writes them. They mean something together with that issuer only.
    pub groups: Vec<Arc<str>>,
    /// The OAuth scopes that its token is limited to. `None`: no scopes limit it (an API key, or local).
    pub scopes: Option<Vec<Arc<str>>>,
    /// Its mail address, only if the issuer says that it has verified it.
    pub email: Option<Arc<str>>,
    /// Roles it has without a binding: those an API key was made with.
    pub roles: Vec<Arc<str>>,
    /// What people call it; for people, and for nothing else.
    pub name: Option<Arc<str>>,
    /// How it proved who it is.
    pub method: Method,
}

/// How a principal proved who it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Method {
    /// By reaching a loopback address, a private socket or this process's standard input.
    Local,
    /// By an API key.
    ApiKey {
        /// The key's public part.
        id: Arc<str>,
    },
    /// By a signed token of its issuer.
    Jwt,
}

impl Facts {
    /// What is known of [`Principal::local`].
    pub fn local() -> Self {
        Self::of(Principal::local(), Method::Local)
    }

    /// Nothing but who it is, and that no scopes limit it.
    pub fn of(principal: Principal, method: Method) -> Self {
        Self {
            principal,
            groups: Vec::new(),
            scopes: None,
            email: None,
            roles: Vec::new(),
            name: None,
            method,
        }
    }

    /// Whether a token with these facts may use what needs `scope`.
    pub fn holds(&self, scope: &str) -> bool {
        self.scopes
            .as_ref()
            .is_none_or(|held| held.iter().any(|one| **one == *scope))
    }
}

/// [`Facts`] and what one configuration's [`Rules`] give them: everything of a caller that a decision needs, worked out once
/// for each verified credential. Made by [`Rules::caller`].
pub struct Caller {
    facts: Facts,
    rules: Arc<Rules>,
    /// Places in the rules, ascending, each once.
    bound: Box<[usize]>,
    visibility: Visibility,
}

/// Callers with equal visibility are shown the same lists at every endpoint, under the same [`Rules`].
///
/// It is a keyed hash of what a list can depend on: the roles that are bound, the tenant, and those of the principal's
/// facts that a condition of these roles mentions. Each `Rules` has its own random keys, so nobody can aim at somebody
/// else's visibility, and visibilities of two configurations are never equal: whatever is kept by visibility is asked for
/// again after a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Visibility([u64; 2]);

impl Visibility {
    /// The same 128 bits, for whoever needs a number.
    pub fn bits(self) -> u128 {
        let [high, low] = self.0.map(u128::from);
        high << 64 | low
    }
}

impl Caller {
    pub(crate) fn new(rules: Arc<Rules>, facts: Facts) -> Self {
        let bound: Box<[usize]> = (0..rules.roles.len())
            .filter(|&at| {
                facts.roles.contains(&rules.roles[at].name)
                    || rules
                        .bindings
                        .iter()
                        .any(|binding| binding.roles.contains(&at) && binding.holds(&facts))
            })
            .collect();
        let visibility = visibility(&rules, &facts, &bound);
        Self {
            facts,
            rules,
            bound,
            visibility,
        }
    }

    /// [`Principal::local`] under [`Rules::open`].
    pub fn local() -> Arc<Self> {
        static LOCAL: LazyLock<Arc<Caller>> =
            LazyLock::new(|| Arc::new(Rules::open().caller(Facts::local())));
        Arc::clone(&LOCAL)
    }

    /// Who it is.
    pub fn principal(&self) -> &Principal {
        &self.facts.principal
    }

    /// What its credential says.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The rules it was measured by.
    pub fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// The names of the roles it has, in the order of the configuration.
    pub fn roles(&self) -> impl ExactSizeIterator<Item = &Arc<str>> {
        self.bound.iter().map(|&at| &self.rules.roles[at].name)
    }

    /// Whether it has the role of that name.
    pub fn has_role(&self, name: &str) -> bool {
        self.roles().any(|role| **role == *name)
    }

    /// What its lists depend on.
    pub fn visibility(&self) -> Visibility {
        self.visibility
    }

    pub(crate) fn bound(&self) -> impl Iterator<Item = &Arc<Role>> {
        self.bound.iter().map(|&at| &self.rules.roles[at])
    }

    /// Whether it may do what the configuration offers without having a role: nobody can be told apart.
    pub(crate) fn is_free(&self) -> bool {
        self.rules.open && self.facts.principal.is_local()
    }

    /// The bindings that speak of its issuer.
    pub(crate) fn bindings_of_issuer(&self) -> impl Iterator<Item = &Binding> {
        let issuer = self.facts.principal.issuer();
        self.rules
            .bindings
            .iter()
            .filter(move |binding| binding.issuer.as_deref().is_none_or(|named| named == issuer))
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("principal", self.principal())
            .field("roles", &self.roles().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

fn visibility(rules: &Rules, facts: &Facts, bound: &[usize]) -> Visibility {
    let principal = &facts.principal;
    let free = rules.open && principal.is_local();
    let digest = |keys: &std::hash::RandomState| {
        let mut hasher = keys.build_hasher();
        (free, bound, principal.tenant()).hash(&mut hasher);
        let mentions = bound
            .iter()
            .filter_map(|&at| rules.roles[at].when.as_ref())
            .fold(Mentions::NOTHING, |all, when| all.and(when.mentions()));
        // The tenant and the bound roles are there already.
        mentions
            .has(Mentions::ISSUER)
            .then(|| principal.issuer())
            .hash(&mut hasher);
        mentions
            .has(Mentions::SUBJECT)
            .then(|| principal.subject())
            .hash(&mut hasher);
        mentions
            .has(Mentions::GROUPS)
            .then_some(&facts.groups)
            .hash(&mut hasher);
        mentions
            .has(Mentions::SCOPES)
            .then_some(&facts.scopes)
            .hash(&mut hasher);
        mentions
            .has(Mentions::EMAIL)
            .then_some(&facts.email)
            .hash(&mut hasher);
        mentions
            .has(Mentions::NAME)
            .then_some(&facts.name)
            .hash(&mut hasher);
        hasher.finish()
    };
    let [first, second] = &rules.keys;
    Visibility([digest(first), digest(second)])
}
