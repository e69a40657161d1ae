//! What of the gate's environment a server sees.
//!
//! The gate's environment holds the gate's secrets: signing keys, API keys for other servers, database passwords. A
//! server is somebody else's code, so by default it gets a short list only, in the manner of `getDefaultEnvironment`
//! in the official SDKs (`HOME LOGNAME PATH SHELL TERM USER` on POSIX). That list alone breaks `npx`, `uvx` and
//! `docker` wherever a proxy, a private registry, an extra certificate authority or a version manager is in use, so
//! the settings of those tools come along too, but not the ones that by their name hold a secret
//! (`NODE_AUTH_TOKEN`, `UV_PUBLISH_TOKEN`, `npm_config_//registry/:_authToken`): who needs such a one names it in the
//! server's own `env`.

use std::ffi::{OsStr, OsString};

/// How much of the gate's own environment a server inherits. What [`Command::env`](crate::Command::env) adds comes
/// on top.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Inherit {
    /// What programs need to run and package runners need to install: the user, `PATH`, locale, time zone,
    /// temporary and XDG directories, proxies, certificate authorities, settings of npm, Node, pip, uv and version
    /// managers. Variables named like secrets are left out.
    #[default]
    Essentials,
    /// Everything, the gate's secrets included. Only for servers as trusted as the gate.
    Everything,
    /// Nothing at all, not even `PATH`.
    Nothing,
}

impl Inherit {
    /// Selects from the environment given.
    pub(crate) fn select(
        self,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> impl Iterator<Item = (OsString, OsString)> {
        environment.filter(move |(name, value)| match self {
            Self::Everything => true,
            Self::Nothing => false,
            Self::Essentials => is_essential(name, value),
        })
    }
}

#[cfg(unix)]
const NAMES: &[&str] = &[
    // The user and the terminal.
    "HOME",
    "LOGNAME",
    "PATH",
    "SHELL",
    "TERM",
    "USER",
    // Locale, time, temporary files.
    "LANG",
    "LANGUAGE",
    "LOCALE_ARCHIVE",
    "TZ",
    "TZDIR",
    "TMPDIR",
    "TMP",
    "TEMP",
    // The way out: proxies and certificate authorities.
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NIX_SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    // Where version managers and container clients keep what they start.
    "VIRTUAL_ENV",
    "PYENV_ROOT",
    "NVM_DIR",
    "FNM_DIR",
    "VOLTA_HOME",
    "ASDF_DIR",
    "ASDF_DATA_DIR",
    "MISE_DATA_DIR",
    "DOCKER_HOST",
    "DOCKER_CONFIG",
    "DOCKER_CONTEXT",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS_VERIFY",
];

#[cfg(not(unix))]
const NAMES: &[&str] = &[
    "APPDATA",
    "COMSPEC",
    "HOMEDRIVE",
    "HOMEPATH",
    "LOCALAPPDATA",
    "PATH",
    "PATHEXT",
    "PROCESSOR_ARCHITECTURE",
    "PROGRAMDATA",
    "PROGRAMFILES",
    "PROGRAMFILES(X86)",
    "SYSTEMDRIVE",
    "SYSTEMROOT",
    "TEMP",
    "TMP",
    "USERNAME",
    "USERPROFILE",
    "WINDIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "VIRTUAL_ENV",
];

/// Families of settings, taken whole but for names that look like secrets. npm reads its own in either case.
const FAMILIES: &[&str] = &[
    "LC_",
    "XDG_",
    "NODE_",
    "NPM_CONFIG_",
    "npm_config_",
    "PIP_",
    "UV_",
];

/// In a family, a name holding one of these (in any case) is taken for a secret.
const SECRET: &[&str] = &[
    "AUTH",
    "TOKEN",
    "PASSWORD",
    "PASSWD",
    "SECRET",
    "CREDENTIAL",
    "_KEY",
    ":KEY",
];

fn is_essential(name: &OsStr, value: &OsStr) -> bool {
    // As the official SDKs do: an exported shell function is code, not a setting.
    if value.as_encoded_bytes().starts_with(b"()") {
        return false;
    }
    let Some(name) = name.to_str() else { return false };
    let listed = NAMES.iter().any(|known| {
        if cfg!(unix) {
            *known == name
        } else {
            known.eq_ignore_ascii_case(name)
        }
    });
    listed || (FAMILIES.iter().any(|family| name.starts_with(family)) && !looks_secret(name))
}

fn looks_secret(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    // `UV_KEYRING_PROVIDER` and its like name a place, not a secret.
    let upper = upper.replace("KEYRING", "");
    SECRET.iter().any(|word| upper.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(inherit: Inherit, environment: &[(&str, &str)]) -> Vec<String> {
        let environment = environment
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        inherit
            .select(environment)
            .map(|(name, _)| name.into_string().unwrap())
            .collect()
    }

    #[test]
    fn essentials_leave_the_gates_secrets_behind() {
        let kept = names(
            Inherit::Essentials,
            &[
                ("PATH", "/bin"),
                ("GATEPOST_ADMIN_PASSWORD", "x"),
                ("DATABASE_URL", "x"),
                ("GITHUB_TOKEN", "x"),
                ("NODE_AUTH_TOKEN", "x"),
                ("npm_config_//registry.example.com/:_authToken", "x"),
                ("npm_config_registry", "https://registry.example.com"),
                ("UV_INDEX_INNER_PASSWORD", "x"),
                ("UV_KEYRING_PROVIDER", "subprocess"),
                ("PIP_INDEX_URL", "https://pypi.example.com/simple"),
                ("XDG_CACHE_HOME", "/c"),
                ("LC_ALL", "C"),
                ("PATHOLOGY", "x"),
            ],
        );
        let expected = [
            "PATH",
            "npm_config_registry",
            "UV_KEYRING_PROVIDER",
            "PIP_INDEX_URL",
            "XDG_CACHE_HOME",
            "LC_ALL",
        ];
        assert_eq!(kept, expected);
    }

    #[test]
    fn exported_shell_functions_stay_behind() {
        assert!(names(Inherit::Essentials, &[("TERM", "() { :; }; evil")]).is_empty());
    }

    #[test]
    fn everything_and_nothing_mean_it() {
        let environment = [("PATH", "/bin"), ("GITHUB_TOKEN", "x")];
        assert_eq!(names(Inherit::Everything, &environment).len(), 2);
        assert!(names(Inherit::Nothing, &environment).is_empty());
    }
}
