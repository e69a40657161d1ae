//! Tokens that the gate gets for itself by the client credentials grant (RFC 6749 4.4): kept until shortly before they
//! expire, asked for once however many calls wait, and again when the server refuses one.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use gatepost_config::ClientCredentials;
use gatepost_outbound::{Answer, Ask, fetch};
use gatepost_policy::Printable;
use http::{HeaderValue, StatusCode, header};
use rustls::ClientConfig;
use serde::Deserialize;
use tokio::time::Instant;

use super::{super::backoff, Scrub};

/// How long an issuer may take.
const WITHIN: Duration = Duration::from_secs(10);
/// How much it may say.
const LONGEST_ANSWER: u64 = 256 * 1024;
/// A token is replaced this long before it expires, or after nine tenths of its life if that is later: it must live until
/// the server has looked at it, whose clock may differ.
const SKEW: Duration = Duration::from_secs(30);
/// How long a token counts whose issuer does not say. A server that disagrees answers 401, after which there is another.
const UNSAID: Duration = Duration::from_secs(300);
/// The longest that is believed.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Where one server's tokens come from.
pub(crate) struct TokenSource {
    server: Arc<str>,
    /// The token endpoint as it may be printed.
    place: String,
    ask: Result<Ask, String>,
    secrets: Box<[Box<str>]>,
    current: ArcSwapOption<Token>,
    /// One question at a time; whoever waits then finds the answer.
    asking: tokio::sync::Mutex<Failures>,
    /// The last tokens, to be found in what a server says of them.
    said: Mutex<[Option<Arc<Token>>; 2]>,
}

/// An access token.
pub(crate) struct Token {
    /// `Bearer …`.
    pub(crate) field: HeaderValue,
    replace_at: Instant,
    expires_at: Instant,
}

#[derive(Default)]
struct Failures {
    count: u32,
    last: String,
    until: Option<Instant>,
}

/// RFC 6749 5.1 and 5.2.
#[derive(Deserialize)]
struct Said {
    access_token: Option<String>,
    token_type: Option<String>,
    expires_in: Option<serde_json::Value>,
    error: Option<String>,
    error_description: Option<String>,
}

impl TokenSource {
    pub(crate) fn new(settings: &ClientCredentials, server: &Arc<str>, tls: &Arc<ClientConfig>) -> Self {
        let (id, secret) = (settings.client_id.expose(), settings.client_secret.expose());
        // RFC 6749 2.3.1: both are encoded as in a form before they are joined.
        let pair = STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret)));
        let mut form = String::from("grant_type=client_credentials");
        let mut add = |name: &str, value: &str| {
            form.push('&');
            form.push_str(name);
            form.push('=');
            form.push_str(&encoded(value));
        };
        if !settings.scopes.is_empty() {
            add("scope", &settings.scopes.join(" "));
        }
        for (name, value) in [("resource", &settings.resource), ("audience", &settings.audience)] {
            if let Some(value) = value {
                add(name, value);
            }
        }
        let mut secrets: Vec<Box<str>> = vec![secret.into(), format!("Basic {pair}").into()];
        if settings.client_id.is_hidden() {
            secrets.push(id.into());
        }
        let (url, place) = (settings.token_url.uri(), settings.token_url.to_string());
        // An address that came from a secret is not printed by whoever cannot reach it either.
        if url.host().is_some_and(|host| !place.contains(host)) {
            let address = url.to_string();
            secrets.push(address.split('?').next().unwrap_or_default().into());
        }
        Self {
            server: Arc::clone(server),
            place,
            ask: ask(settings, &pair, form, tls),
            secrets: secrets.into(),
            current: ArcSwapOption::empty(),
            asking: tokio::sync::Mutex::default(),
            said: Mutex::default(),
        }
    }

    /// A token that is good for a while, as a field.
    ///
    /// # Errors
    ///
    /// Why there is none, in words that name the token endpoint and no secret.
    pub(crate) async fn token(&self) -> Result<Arc<Token>, String> {
        match self.fresh() {
            Some(token) => Ok(token),
            None => Box::pin(self.renewed()).await,
        }
    }

    /// The server did not take this token: whoever wants one next gets another.
    pub(crate) fn refused(&self, token: &Arc<Token>) {
        let current = self.current.load();
        // Somebody may have replaced it already.
        if current
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, token))
        {
            self.current.compare_and_swap(&*current, None);
        }
    }

    /// What must not be repeated to anybody.
    pub(crate) fn each_secret(&self, mut look: impl FnMut(&str)) {
        for secret in &self.secrets {
            look(secret);
        }
        for token in self.said().iter().flatten() {
            if let Ok(value) = token.field.to_str() {
                look(value);
            }
        }
    }

    fn fresh(&self) -> Option<Arc<Token>> {
        let current = self.current.load();
        let token = current.as_ref()?;
        (Instant::now() < token.replace_at).then(|| Arc::clone(token))
    }

    async fn renewed(&self) -> Result<Arc<Token>, String> {
        let mut failures = self.asking.lock().await;
        if let Some(token) = self.fresh() {
            return Ok(token);
        }
        // What will soon be over is better than nothing while the issuer is down.
        let old = || {
            let old = self.current.load_full();
            old.filter(|old| Instant::now() < old.expires_at)
        };
        if failures.until.is_some_and(|until| Instant::now() < until) {
            return old().ok_or_else(|| failures.last.clone());
        }
        match self.ask().await {
            Ok(token) => {
                *failures = Failures::default();
                let token = Arc::new(token);
                self.current.store(Some(Arc::clone(&token)));
                let mut said = self.said();
                said[1] = said[0].replace(Arc::clone(&token));
                drop(said);
                tracing::debug!(target: "gatepost::server", server = &*self.server, place = self.place, "got a token");
                Ok(token)
            }
            Err(why) => {
                let why = format!("there is no token for it: {why}");
                tracing::warn!(target: "gatepost::server", server = &*self.server, "{why}");
                failures.count = failures.count.saturating_add(1);
                // Even the first failure is kept for a moment: all who wait now share it.
                let pause = backoff::delay(failures.count.saturating_add(1));
                failures.until = Some(Instant::now() + pause);
                failures.last.clone_from(&why);
                old().ok_or(why)
            }
        }
    }

    async fn ask(&self) -> Result<Token, String> {
        let ask = self.ask.clone()?;
        let began = Instant::now();
        let answer = fetch(ask)
            .await
            .map_err(|error| self.scrubbed(error.to_string()))?;
        self.read(&answer, began)
    }

    fn read(&self, answer: &Answer, began: Instant) -> Result<Token, String> {
        let place = &self.place;
        let said: Option<Said> = serde_json::from_slice(&answer.body).ok();
        if answer.status != StatusCode::OK {
            let mut why = format!("{place} answered HTTP {}", answer.status.as_u16());
            if let Some(error) = said.as_ref().and_then(|said| said.error.as_deref()) {
                why.push_str(&format!(" `{}`", Printable(error)));
            }
            if let Some(text) = said.as_ref().and_then(|said| said.error_description.as_deref()) {
                why.push_str(&format!(": {}", Printable(text)));
            }
            return Err(self.scrubbed(why));
        }
        let said = said.ok_or_else(|| format!("{place} answered something that is no JSON object"))?;
        let token = said
            .access_token
            .filter(|token| !token.is_empty())
            .ok_or_else(|| format!("{place} answered without an `access_token`"))?;
        if said
            .token_type
            .is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer"))
        {
            return Err(format!("{place} gave a token that is not of the type `Bearer`"));
        }
        let mut field = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| format!("{place} gave a token that no header can carry"))?;
        field.set_sensitive(true);
        let life = said.expires_in.as_ref().and_then(seconds).unwrap_or(UNSAID);
        let life = life.min(LONGEST);
        Ok(Token {
            field,
            // From before the question: it took the issuer a moment to answer.
            replace_at: began + life.saturating_sub(SKEW).max(life.mul_f64(0.9)).min(life),
            expires_at: began + life,
        })
    }

    fn scrubbed(&self, text: String) -> String {
        let mut scrub = Scrub::new(text);
        for secret in &self.secrets {
            if let Ok(secret) = HeaderValue::from_str(secret) {
                scrub = scrub.of_field(&secret);
            }
        }
        scrub.finish()
    }

    fn said(&self) -> std::sync::MutexGuard<'_, [Option<Arc<Token>>; 2]> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ask(
    settings: &ClientCredentials,
    pair: &str,
    form: String,
    tls: &Arc<ClientConfig>,
) -> Result<Ask, String> {
    let url = settings.token_url.uri().to_string();
    let mut basic = HeaderValue::from_str(&format!("Basic {pair}")).map_err(|error| error.to_string())?;
    basic.set_sensitive(true);
    let ask = Ask::post(&url, "application/x-www-form-urlencoded", Bytes::from(form))
        .map_err(|error| error.to_string())?;
    Ok(ask
        .with(header::AUTHORIZATION, basic)
        .within(WITHIN)
        .at_most(LONGEST_ANSWER)
        .trusting(Arc::clone(tls)))
}

/// `expires_in`: a number, which some write as a text.
fn seconds(value: &serde_json::Value) -> Option<Duration> {
    let seconds = match value {
        serde_json::Value::Number(number) => number.as_f64()?,
        serde_json::Value::String(text) => text.parse().ok()?,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

/// A value in a form (`application/x-www-form-urlencoded`).
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}
