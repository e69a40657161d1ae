//! Where an issuer's keys come from.

use std::{
    io::Read,
    path::{Path, PathBuf},
    pin::Pin,
    time::Duration,
};

use bytes::Bytes;
use gatepost_config::{IssuerKeys, ServerUrl};
use gatepost_outbound::{Answer, Ask, FetchError, fetch};
use http::{HeaderValue, StatusCode, header};

pub use super::set::BadKeySet;
use super::{discovery, set, set::KeySet};

/// How long one exchange with an issuer may take.
const EXCHANGE_WITHIN: Duration = Duration::from_secs(5);
/// How long all of them may take for one set of keys.
const ALL_WITHIN: Duration = Duration::from_secs(10);

/// What gets an issuer's keys, once for each call.
pub(crate) trait Load: Send {
    /// Gets the keys.
    fn load<'a>(&'a mut self, issuer: &'a str) -> Loading<'a>;
}

/// Keys that are being got.
pub(crate) type Loading<'a> = Pin<Box<dyn Future<Output = Result<KeySet, KeysError>> + Send + 'a>>;

/// Where the keys of one issuer come from.
pub(crate) enum Source {
    Discovery {
        /// Where its metadata may lie. The one where it was found moves to the front.
        places: Vec<String>,
    },
    Url(ServerUrl),
    File(PathBuf),
}

/// There are no keys, or no newer ones.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// No answer from where they should be.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The URL of the configuration, which is a secret, gave no answer.
    #[error("the configured `jwks_url` gave no answer")]
    FetchHidden,
    /// The answer tells of a failure.
    #[error("{place} answered with status {status}")]
    Status {
        /// Who answered.
        place: String,
        /// With what.
        status: StatusCode,
    },
    /// The metadata is no JSON.
    #[error("{place} did not answer with metadata: {reason}")]
    Json {
        /// Who answered.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The metadata is another issuer's (RFC 8414 §3.3).
    #[error(
        "the metadata at {place} is that of {said}: an `issuer` must be written exactly as the issuer itself does"
    )]
    Issuer {
        /// Who answered.
        place: String,
        /// Whose metadata it says it is.
        said: String,
    },
    /// The metadata leads to keys that anybody could have put there.
    #[error("the metadata at {place} says that the keys are at `{uri}`, which is not https")]
    JwksUri {
        /// Who answered.
        place: String,
        /// Where it leads.
        uri: String,
    },
    /// The metadata does not say where the keys are.
    #[error("the metadata at {place} has no `jwks_uri`: set `jwks_url` to where the issuer's keys are")]
    NoJwksUri {
        /// Who answered.
        place: String,
    },
    /// There is no metadata anywhere.
    #[error("its metadata is nowhere: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Nowhere(Vec<Self>),
    /// What was found is no set of keys.
    #[error("the keys at {place} cannot be used: {reason}")]
    Set {
        /// Where it was found.
        place: String,
        /// What is wrong with it.
        #[source]
        reason: BadKeySet,
    },
    /// The file cannot be read.
    #[error("the file {}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// All exchanges together took too long.
    #[error("it took longer than {} s to get its keys", ALL_WITHIN.as_secs())]
    TooSlow,
    /// The task that should have fetched them ended.
    #[error("asking for its keys was given up")]
    GivenUp,
}

impl Source {
    pub(crate) fn new(keys: &IssuerKeys, issuer: &str) -> Self {
        match keys {
            IssuerKeys::Discovery => Self::Discovery {
                places: discovery::places(issuer),
            },
            IssuerKeys::Url(url) => Self::Url(url.clone()),
            IssuerKeys::File(path) => Self::File(path.clone()),
        }
    }

    async fn load_patiently(&mut self, issuer: &str) -> Result<KeySet, KeysError> {
        match self {
            Self::Discovery { places } => {
                let uri = discover(places, issuer).await?;
                let answer = get(&uri, &uri, set::MAX_BYTES).await?;
                parse(&answer.body, &uri, &answer, issuer)
            }
            Self::Url(url) => {
                let shown = url.to_string();
                let hidden = !shown.contains("://");
                let answer = get(&url.uri().to_string(), &shown, set::MAX_BYTES).await;
                let answer = answer.map_err(|error| if hidden { KeysError::FetchHidden } else { error })?;
                parse(&answer.body, &shown, &answer, issuer)
            }
            Self::File(path) => {
                let path = path.clone();
                let issuer = issuer.to_owned();
                tokio::task::spawn_blocking(move || read(&path, &issuer))
                    .await
                    .unwrap_or(Err(KeysError::GivenUp))
            }
        }
    }
}

impl Load for Source {
    fn load<'a>(&'a mut self, issuer: &'a str) -> Loading<'a> {
        Box::pin(async move {
            tokio::time::timeout(ALL_WITHIN, self.load_patiently(issuer))
                .await
                .unwrap_or(Err(KeysError::TooSlow))
        })
    }
}

/// Reads a set of keys from a file.
pub(crate) fn read(path: &Path, issuer: &str) -> Result<KeySet, KeysError> {
    let failed = |reason: String| KeysError::File {
        path: path.to_owned(),
        reason,
    };
    let mut text = Vec::new();
    // One byte more than is allowed tells a file that is too long, whatever kind of file it is.
    std::fs::File::open(path)
        .and_then(|file| file.take(set::MAX_BYTES + 1).read_to_end(&mut text))
        .map_err(|error| failed(error.to_string()))?;
    if text.len() as u64 > set::MAX_BYTES {
        return Err(failed(format!("it is longer than {} bytes", set::MAX_BYTES)));
    }
    KeySet::parse(&text, issuer).map_err(|reason| KeysError::Set {
        place: path.display().to_string(),
        reason,
    })
}

async fn discover(places: &mut [String], issuer: &str) -> Result<String, KeysError> {
    let mut failures = Vec::new();
    for at in 0..places.len() {
        let place = &places[at];
        let found = match get(place, place, discovery::MAX_BYTES).await {
            Ok(answer) => discovery::jwks_uri(&answer.body, place, issuer),
            Err(error) => Err(error),
        };
        match found {
            Ok(uri) => {
                places.swap(0, at);
                return Ok(uri);
            }
            // Nobody is there: nobody is at the other places of that origin either.
            Err(error @ KeysError::Fetch(FetchError::Unreachable { .. } | FetchError::TooSlow { .. })) => {
                return Err(error);
            }
            Err(error) => failures.push(error),
        }
    }
    Err(KeysError::Nowhere(failures))
}

/// Asks at `url`, which is called `place` where it fails.
async fn get(url: &str, place: &str, max_bytes: u64) -> Result<Answer, KeysError> {
    let ask = Ask::get(url)?
        .with(
            header::ACCEPT,
            HeaderValue::from_static("application/json, application/jwk-set+json"),
        )
        .within(EXCHANGE_WITHIN)
        .at_most(max_bytes);
    let answer = fetch(ask).await?;
    if answer.status != StatusCode::OK {
        return Err(KeysError::Status {
            place: place.to_owned(),
            status: answer.status,
        });
    }
    Ok(answer)
}

fn parse(text: &Bytes, place: &str, answer: &Answer, issuer: &str) -> Result<KeySet, KeysError> {
    KeySet::parse(text, issuer).map_err(|reason| {
        let media = answer
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|media| media.to_str().ok());
        let reason = match (reason, media) {
            // A page that says "sign in" is the usual reason.
            (BadKeySet::Json(why), Some(media)) if !media.contains("json") => {
                BadKeySet::Json(format!("it is {}", gatepost_policy::Printable(media)) + ", " + &why)
            }
            (reason, _) => reason,
        };
        KeysError::Set {
            place: place.to_owned(),
            reason,
        }
    })
}
