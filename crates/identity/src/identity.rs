//! From the headers of a request to whoever it is from.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use gatepost_config::{Identity as Settings, IssuerKeys, JwtIssuer};
use gatepost_policy::{Facts, Method, Printable, UnixMillis};
use gatepost_store::{KeyRefusal, KeyRing, UnixSeconds};
use http::HeaderMap;
use tokio::time::Instant;

use crate::{
    Clock, IssuerHealth, KeysError,
    cache::{Cache, Mark, Marker},
    credential::Presented,
    keys::{Found, Keeper, Key, Running, Source, read},
    refusal::{Refusal, Ruling},
    resource::Resource,
    token::{self, NOT_ACCEPTED, Unverified},
};

/// The most verified credentials that are remembered.
const MOST_KNOWN: usize = 100_000;
/// The most credentials that are remembered as wrong.
const MOST_WRONG: usize = 10_000;
/// How long a credential is remembered as wrong.
const WRONG_FOR: Duration = Duration::from_secs(10);
/// How often it is noted at most that an API key is in use, in milliseconds.
const NOTED_EVERY: i64 = 10_000;
/// How often one request waits for an issuer: once for keys at all, once for the one it names, and once more because a
/// third request may have come in between.
const ROUNDS: usize = 3;

/// Everybody who is believed, and how. `T` is what is made of a bearer's facts, once for each verified credential.
pub struct Identity<T> {
    issuers: Vec<Issuer>,
    api_keys: Option<Arc<KeyRing>>,
    clock: Clock,
    make: Box<dyn Fn(Facts) -> T + Send + Sync>,
    remember_for: Duration,
    marker: Marker,
    known: Cache<Arc<Verified<T>>>,
    wrong: Cache<Refusal>,
}

struct Issuer {
    settings: JwtIssuer,
    keys: Arc<Keeper>,
}

/// A credential that is good, and what was made of its bearer.
pub struct Verified<T> {
    bearer: T,
    expires: Option<UnixMillis>,
    audiences: Vec<Box<str>>,
    proof: Proof,
}

/// What a verification rests on, and falls with.
enum Proof {
    Token {
        key: Arc<Key>,
        /// It is good only where it names the endpoint itself.
        own_audience: bool,
    },
    ApiKey {
        id: Arc<str>,
        generation: u64,
        /// When it was last noted that it is in use, in milliseconds.
        noted: AtomicI64,
    },
}

/// Identity cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The keys of an issuer, which are in a file, cannot be read.
    #[error("the keys of {issuer}: {reason}")]
    KeyFile {
        /// Whose.
        issuer: Arc<str>,
        /// Why.
        #[source]
        reason: KeysError,
    },
    /// The operating system gives no random numbers.
    #[error("the operating system gives no random numbers")]
    Random,
}

enum Step<T> {
    Done(Result<Arc<Verified<T>>, Refusal>),
    Wait(Running),
}

// === impl Verified ===

impl<T> Verified<T> {
    /// What was made of the bearer's facts.
    pub fn bearer(&self) -> &T {
        &self.bearer
    }

    /// When the credential ends by itself.
    pub fn expires(&self) -> Option<UnixMillis> {
        self.expires
    }

    /// Whom a token is for (`aud`); empty for an API key.
    pub fn audiences(&self) -> &[Box<str>] {
        &self.audiences
    }

    /// Whether it is a token, which may be for others too. An API key is for the gate alone.
    pub fn is_token(&self) -> bool {
        matches!(self.proof, Proof::Token { .. })
    }
}

impl<T: fmt::Debug> fmt::Debug for Verified<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified")
            .field("bearer", &self.bearer)
            .field("expires", &self.expires)
            .field("audiences", &self.audiences)
            .finish_non_exhaustive()
    }
}

// === impl Identity ===

impl<T> Identity<T> {
    /// Everybody whom `settings` believe. `api_keys` are not asked unless the settings say so.
    ///
    /// No issuer is asked for anything yet; only files with keys are read, so that a mistake in one is found now.
    ///
    /// # Errors
    ///
    /// See [`IdentityError`].
    pub fn new(
        settings: &Settings,
        api_keys: Option<Arc<KeyRing>>,
        clock: Clock,
        make: impl Fn(Facts) -> T + Send + Sync + 'static,
    ) -> Result<Self, IdentityError> {
        let issuers = settings.jwt.iter().map(Issuer::new).collect::<Result<_, _>>()?;
        Ok(Self {
            issuers,
            api_keys: api_keys.filter(|_| settings.api_keys),
            clock,
            make: Box::new(make),
            remember_for: settings.cache,
            marker: Marker::new().map_err(|_| IdentityError::Random)?,
            known: Cache::new(MOST_KNOWN),
            wrong: Cache::new(MOST_WRONG),
        })
    }

    /// Takes over the keys that `older` has of issuers whose settings have not changed, so that a new configuration does not
    /// have to wait for them. What is known of credentials is not taken over.
    #[must_use]
    pub fn succeeding<U>(mut self, older: &Identity<U>) -> Self {
        for issuer in &mut self.issuers {
            if let Some(same) = older.issuers.iter().find(|old| old.has_keys_of(issuer)) {
                issuer.keys = Arc::clone(&same.keys);
            }
        }
        self
    }

    /// Begins to fetch and to keep the issuers' keys. Without it the first token of an issuer waits for them.
    pub fn begin(&self) {
        for issuer in &self.issuers {
            issuer.keys.begin();
        }
    }

    /// The issuers whose tokens are taken, in the order of the configuration.
    pub fn issuers(&self) -> impl ExactSizeIterator<Item = &Arc<str>> {
        self.issuers.iter().map(|issuer| &issuer.settings.issuer)
    }

    /// How it is going with the issuers' keys, in the same order.
    pub fn health(&self) -> impl ExactSizeIterator<Item = IssuerHealth> {
        self.issuers.iter().map(|issuer| issuer.keys.health())
    }

    /// Whom the request with these headers is from, if that can be said at once. `None`: [`Identity::verify`] can say.
    ///
    /// # Errors
    ///
    /// The inner one is the refusal of a request that is from nobody who is believed.
    pub fn recall(
        &self,
        headers: &HeaderMap,
        resource: &Resource,
    ) -> Option<Result<Arc<Verified<T>>, Refusal>> {
        let step = match Presented::of(headers) {
            Ok(presented) => self.step(presented, resource),
            Err(refusal) => return Some(Err(refusal)),
        };
        match step {
            Step::Done(outcome) => Some(outcome),
            Step::Wait(_) => None,
        }
    }

    /// Whom the request with these headers is from; waits for an issuer's keys where it must, up to some 10 seconds.
    ///
    /// Dropping it is safe: what it waits for goes on.
    ///
    /// # Errors
    ///
    /// If it is from nobody who is believed.
    pub async fn verify(
        &self,
        headers: &HeaderMap,
        resource: &Resource,
    ) -> Result<Arc<Verified<T>>, Refusal> {
        let presented = Presented::of(headers)?;
        for _ in 0..ROUNDS {
            match self.step(presented, resource) {
                Step::Done(outcome) => return outcome,
                Step::Wait(running) => running.finished().await,
            }
        }
        Err(unavailable(
            "its issuer's keys are still being asked for",
            Duration::from_secs(1),
        ))
    }

    /// Whether what the request presents was verified before and still holds. Costs no more than looking it up.
    pub fn knows(&self, headers: &HeaderMap) -> bool {
        let Ok(presented) = Presented::of(headers) else {
            return false;
        };
        let mark = self.marker.mark(presented.bytes());
        self.known
            .get(&mark, Instant::now())
            .is_some_and(|verified| self.still_holds(&verified, self.clock.now()))
    }

    fn step(&self, presented: Presented<'_>, resource: &Resource) -> Step<T> {
        let mark = self.marker.mark(presented.bytes());
        let (now, today) = (Instant::now(), self.clock.now());
        if let Some(verified) = self.known.get(&mark, now)
            && self.still_holds(&verified, today)
        {
            return Step::Done(self.for_resource(verified, resource, today));
        }
        let text = match presented.expose() {
            Ok(text) => text,
            Err(refusal) => return Step::Done(Err(refusal)),
        };
        match presented {
            Presented::ApiKey(_) => Step::Done(self.check_key(text, mark, (now, today))),
            Presented::Bearer(_) => match self.wrong.get(&mark, now) {
                Some(refusal) => Step::Done(Err(refusal)),
                None => self.check_token(text, mark, resource, (now, today)),
            },
        }
    }

    fn still_holds(&self, verified: &Verified<T>, today: UnixMillis) -> bool {
        verified.expires.is_none_or(|end| today < end)
            && match &verified.proof {
                Proof::Token { key, .. } => !key.is_withdrawn(),
                Proof::ApiKey { generation, .. } => self
                    .api_keys
                    .as_ref()
                    .is_some_and(|keys| keys.generation() == *generation),
            }
    }

    /// What is left to check of a good credential: whether it is for the endpoint that is asked.
    fn for_resource(
        &self,
        verified: Arc<Verified<T>>,
        resource: &Resource,
        today: UnixMillis,
    ) -> Result<Arc<Verified<T>>, Refusal> {
        match &verified.proof {
            Proof::Token { own_audience, .. } => {
                if *own_audience && !resource.is_among(&verified.audiences) {
                    return Err(for_somebody_else(&verified.audiences, resource));
                }
            }
            Proof::ApiKey { id, noted, .. } => {
                let before = noted.load(Relaxed);
                if today.0.saturating_sub(before) >= NOTED_EVERY
                    && noted.compare_exchange(before, today.0, Relaxed, Relaxed).is_ok()
                    && let Some(keys) = &self.api_keys
                {
                    keys.touch(id, seconds(today));
                }
            }
        }
        Ok(verified)
    }

    fn check_key(
        &self,
        key: &str,
        mark: Mark,
        (now, today): (Instant, UnixMillis),
    ) -> Result<Arc<Verified<T>>, Refusal> {
        let refused = |reason: String| {
            Refusal::invalid(
                reason,
                "the API key is not accepted here: ask whoever runs this gate for one that is alive",
            )
        };
        let keys = self
            .api_keys
            .as_ref()
            .ok_or_else(|| refused("API keys are not switched on (`identity.api_keys`)".to_owned()))?;
        // Before the look-up: a key that is revoked meanwhile is looked at again.
        let generation = keys.generation();
        let record = keys
            .verify(key, seconds(today))
            .map_err(|refusal| match refusal {
                KeyRefusal::Unavailable => Refusal::of(
                    Ruling::Unavailable {
                        retry_after: Duration::from_secs(1),
                    },
                    refusal.to_string(),
                    "API keys cannot be checked at the moment: try again",
                ),
                KeyRefusal::Unreadable(_)
                | KeyRefusal::Unknown
                | KeyRefusal::Revoked
                | KeyRefusal::Expired => refused(refusal.to_string()),
            })?;
        let id = Arc::clone(&record.id);
        let mut facts = Facts::of(record.principal(), Method::ApiKey { id: Arc::clone(&id) });
        facts.roles.clone_from(&record.roles);
        facts.name.clone_from(&record.name);
        let verified = Arc::new(Verified {
            bearer: (self.make)(facts),
            expires: record
                .expires
                .map(|end| UnixMillis(i64::try_from(end).unwrap_or(i64::MAX).saturating_mul(1000))),
            audiences: Vec::new(),
            proof: Proof::ApiKey {
                id,
                generation,
                noted: AtomicI64::new(today.0),
            },
        });
        self.remember(mark, &verified, now);
        Ok(verified)
    }

    fn check_token(
        &self,
        text: &str,
        mark: Mark,
        resource: &Resource,
        (now, today): (Instant, UnixMillis),
    ) -> Step<T> {
        let wrong = |refusal: Refusal| {
            self.wrong.put(mark, refusal.clone(), now + WRONG_FOR);
            Step::Done(Err(refusal))
        };
        let unverified = match Unverified::parse(text) {
            Ok(unverified) => unverified,
            Err(refusal) => return wrong(refusal),
        };
        // RFC 9068 4, RFC 8414 2: exactly as it is written.
        let issuer = self
            .issuers
            .iter()
            .find(|issuer| *issuer.settings.issuer == *unverified.issuer());
        let Some(Issuer { settings, keys }) = issuer else {
            let reason = format!(
                "its issuer `{}` is not configured",
                Printable(unverified.issuer())
            );
            return wrong(Refusal::invalid(reason, NOT_ACCEPTED));
        };
        if let Err(refusal) = unverified.admit(settings) {
            return wrong(refusal);
        }
        let candidates = match keys.find(unverified.kid(), unverified.algorithm()) {
            Found::Keys(candidates) => candidates,
            Found::Wait(running) => return Step::Wait(running),
            Found::Unavailable { why, retry_after } => {
                let reason = format!("the keys of {} are not to be had: {why}", settings.issuer);
                return Step::Done(Err(unavailable(reason, retry_after)));
            }
            // Not remembered: the issuer may publish it the next moment, and looking again costs little.
            Found::Unknown => {
                let reason = match unverified.kid() {
                    Some(kid) => format!("its key `{}` is none of {}", Printable(kid), settings.issuer),
                    None => format!("it names no key, and none of {} fits", settings.issuer),
                };
                return Step::Done(Err(Refusal::invalid(reason, NOT_ACCEPTED)));
            }
        };
        let (claims, key) = match unverified.verify(&candidates) {
            Ok((signed, key)) => match token::read(&signed, settings, today) {
                Ok(claims) => (claims, key),
                Err(refusal) => return wrong(refusal),
            },
            Err(refusal) => return wrong(refusal),
        };
        let own_audience = settings.audience.is_empty();
        let accepted = |audience: &str| settings.audience.iter().any(|one| **one == *audience);
        if !own_audience && !claims.audiences.iter().any(|one| accepted(one)) {
            return Step::Done(Err(for_somebody_else(&claims.audiences, resource)));
        }
        let verified = Arc::new(Verified {
            bearer: (self.make)(claims.facts),
            expires: Some(claims.expires),
            audiences: claims.audiences,
            proof: Proof::Token {
                key: Arc::clone(key),
                own_audience,
            },
        });
        self.remember(mark, &verified, now);
        Step::Done(self.for_resource(verified, resource, today))
    }

    /// Remembers what is good. That it is never believed beyond its own end is asked whenever it is recalled.
    fn remember(&self, mark: Mark, verified: &Arc<Verified<T>>, now: Instant) {
        if !self.remember_for.is_zero() {
            self.known
                .put(mark, Arc::clone(verified), now + self.remember_for);
        }
    }
}

impl<T> fmt::Debug for Identity<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("issuers", &self.issuers().collect::<Vec<_>>())
            .field("api_keys", &self.api_keys.is_some())
            .field("remember_for", &self.remember_for)
            .finish_non_exhaustive()
    }
}

fn for_somebody_else(audiences: &[Box<str>], resource: &Resource) -> Refusal {
    let reason = match audiences {
        [] => "it has no `aud`".to_owned(),
        [one] => format!("its `aud` is `{}`, which is not accepted here", Printable(one)),
        [first, more @ ..] => format!(
            "its `aud` is `{}` and {} more, none of which is accepted here",
            Printable(first),
            more.len()
        ),
    };
    Refusal::invalid(
        reason,
        match resource.url() {
            Some(url) => format!("the token is for somebody else: ask its issuer for one for {url}"),
            None => "the token is for somebody else: ask its issuer for one for this endpoint".to_owned(),
        },
    )
}

/// Whole seconds, as the store counts them.
fn seconds(time: UnixMillis) -> UnixSeconds {
    UnixSeconds::try_from(time.0 / 1000).unwrap_or_default()
}

fn unavailable(reason: impl Into<std::borrow::Cow<'static, str>>, retry_after: Duration) -> Refusal {
    Refusal::of(
        Ruling::Unavailable { retry_after },
        reason,
        "the token cannot be checked at the moment, because its issuer does not answer: try again",
    )
}

// === impl Issuer ===

impl Issuer {
    fn new(settings: &JwtIssuer) -> Result<Self, IdentityError> {
        let issuer = Arc::clone(&settings.issuer);
        let source = Box::new(Source::new(&settings.keys, &issuer));
        let keys = match &settings.keys {
            IssuerKeys::File(path) => {
                let keys = read(path, &issuer).map_err(|reason| IdentityError::KeyFile {
                    issuer: Arc::clone(&issuer),
                    reason,
                })?;
                Keeper::of_file(issuer, settings.refresh, source, keys)
            }
            IssuerKeys::Discovery | IssuerKeys::Url(_) => Keeper::new(issuer, settings.refresh, source),
        };
        Ok(Self {
            settings: settings.clone(),
            keys,
        })
    }

    /// Whether the keys of `newer` come from where these come from, in the same way.
    fn has_keys_of(&self, newer: &Self) -> bool {
        let same_place = match (&self.settings.keys, &newer.settings.keys) {
            (IssuerKeys::Discovery, IssuerKeys::Discovery) => true,
            (IssuerKeys::Url(one), IssuerKeys::Url(other)) => one.uri() == other.uri(),
            // It has just been read.
            _ => false,
        };
        same_place
            && self.settings.issuer == newer.settings.issuer
            && self.settings.refresh == newer.settings.refresh
    }
}

#[cfg(test)]
mod tests;
