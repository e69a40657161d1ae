//! Finding literal secrets, by the name of what they are given to and by their own shape.
//!
//! Too much found costs a file that nobody needed; too little leaves a secret in plain sight. So it rather finds too much.

use super::{FoundSecret, unique};
use crate::Secret;

/// Parts of names that secrets are given to, in upper case.
const TELLING_PARTS: [&str; 12] = [
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "CREDENTIAL",
    "AUTHORIZATION",
    "COOKIE",
    "APIKEY",
    "BEARER",
    "PRIVATE",
    "SIGNATURE",
];

/// Whole words of such names.
const TELLING_WORDS: [&str; 8] = ["KEY", "KEYS", "PAT", "PWD", "PASS", "AUTH", "DSN", "SIG"];

/// How the keys of well-known services begin.
const TELLING_BEGINNINGS: [&str; 34] = [
    "sk-",
    "sk_",
    "rk_",
    "pk_live",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xapp-",
    "AKIA",
    "ASIA",
    "AIza",
    "ya29.",
    "eyJ",
    "hf_",
    "npm_",
    "pypi-",
    "dop_v1_",
    "shpat_",
    "SG.",
    "lin_api_",
    "ntn_",
    "secret_",
    "tvly-",
    "gsk_",
    "figd_",
    "sbp_",
    "ATATT",
];

/// The scheme that stands before a credential in an `Authorization` header, which may stay in sight.
const SCHEMES: [&str; 4] = ["Bearer ", "Basic ", "Token ", "ApiKey "];

/// Collects the secrets of one import.
pub(super) struct Finder {
    folder: String,
    pub(super) found: Vec<FoundSecret>,
}

impl Finder {
    pub(super) fn new(folder: &str) -> Self {
        Self {
            folder: folder.trim_end_matches('/').to_owned(),
            found: Vec::new(),
        }
    }

    /// The value of a variable or header, with its secret moved out.
    pub(super) fn in_pair(&mut self, server: &str, path: &str, name: &str, value: &str) -> String {
        let is_secret = looks_secret(value) || (is_telling(name) && is_worth_hiding(value));
        if !is_secret {
            return value.to_owned();
        }
        let scheme = SCHEMES.iter().find(|scheme| {
            value
                .get(..scheme.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        });
        let (kept, secret) = value.split_at(scheme.map_or(0, |scheme| scheme.len()));
        format!("{kept}{}", self.move_out(server, path, name, secret))
    }

    /// One argument of a program, with its secret moved out. `previous` is the argument before it.
    pub(super) fn in_argument(&mut self, server: &str, path: &str, previous: &str, argument: &str) -> String {
        if previous.starts_with('-')
            && !previous.contains('=')
            && !argument.starts_with('-')
            && is_telling(previous)
        {
            if is_worth_hiding(argument) {
                return self.move_out(server, path, previous, argument);
            }
            return argument.to_owned();
        }
        // `--token=x`, `TOKEN=x` (for docker's -e), `Authorization: x` (for --header).
        for separator in ["=", ": ", ":"] {
            if let Some((name, value)) = argument.split_once(separator)
                && !name.contains(['/', ' ', '?'])
                && is_telling(name)
            {
                return format!("{name}{separator}{}", self.in_pair(server, path, name, value));
            }
        }
        if argument.starts_with("http://") || argument.starts_with("https://") {
            return self.in_url(server, path, argument);
        }
        if looks_secret(argument) {
            self.move_out(server, path, "argument", argument)
        } else {
            argument.to_owned()
        }
    }

    /// A URL, with the secrets in its query moved out.
    pub(super) fn in_url(&mut self, server: &str, path: &str, url: &str) -> String {
        let Some((before, query)) = url.split_once('?') else {
            return url.to_owned();
        };
        let pairs = query.split('&').map(|pair| match pair.split_once('=') {
            Some((name, value)) => format!("{name}={}", self.in_pair(server, path, name, value)),
            None => pair.to_owned(),
        });
        format!("{before}?{}", pairs.collect::<Vec<_>>().join("&"))
    }

    fn move_out(&mut self, server: &str, path: &str, name: &str, value: &str) -> String {
        let name: String = name
            .trim_start_matches('-')
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_lowercase()
                } else {
                    '_'
                }
            })
            .take(64)
            .collect();
        let taken: Vec<String> = self.found.iter().map(|secret| secret.file.clone()).collect();
        let file = unique(format!("{}-{name}", server.to_ascii_lowercase()), &taken);
        let reference = format!("${{file:{}/{file}}}", self.folder);
        self.found.push(FoundSecret {
            path: path.to_owned(),
            file,
            value: Secret::new(value),
        });
        reference
    }
}

/// Whether things of this name are usually secret.
fn is_telling(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    let mut words = upper.split(|c: char| !c.is_ascii_alphanumeric());
    TELLING_PARTS.iter().any(|part| upper.contains(part))
        || words.any(|word| TELLING_WORDS.contains(&word) || (word.len() > 3 && word.ends_with("KEY")))
}

/// Not what a switch or a number has for a value, as in `MAX_TOKENS=4096`.
fn is_worth_hiding(value: &str) -> bool {
    let short_number = value.len() < 8 && value.chars().all(|c| c.is_ascii_digit());
    !short_number
        && !["true", "false", "yes", "no", "none", "null"].contains(&value.to_ascii_lowercase().as_str())
}

/// Whether the value itself gives it away.
fn looks_secret(value: &str) -> bool {
    let bare = SCHEMES
        .iter()
        .find_map(|scheme| value.strip_prefix(scheme))
        .unwrap_or(value);
    let well_known = bare.len() >= 16
        && !bare.contains(' ')
        && TELLING_BEGINNINGS
            .iter()
            .any(|beginning| bare.starts_with(beginning));
    // `scheme://user:password@host`
    let with_password = value.split_once("://").is_some_and(|(_, rest)| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        authority
            .rsplit_once('@')
            .is_some_and(|(user, _)| user.contains(':'))
    });
    well_known || with_password || value.contains("-----BEGIN ")
}
