//! Addresses to listen on, and which of them are private enough.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

use crate::{Identity, Listen};

/// Why an address cannot be listened on. Prints as what follows the address in a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Neither `ip:port` nor `unix:path`.
    #[error("is no address to listen on")]
    NoAddress,
    /// A host name, which may mean several addresses, or another one tomorrow.
    #[error("names a host, not an IP address")]
    HostName,
    /// Anybody who can reach it could do everything, since no identity is configured.
    #[error("can be reached from other machines, and without `identity` nobody is asked who they are")]
    Public,
    /// Operators are never asked who they are.
    #[error("can be reached from other machines, and operators are not asked who they are")]
    PublicOps,
}

/// What to do about a [`ListenError`].
pub fn remedy(error: ListenError) -> &'static str {
    match error {
        ListenError::NoAddress => "write it like `127.0.0.1:8080`, `[::1]:8080` or `unix:/run/gatepost.sock`",
        ListenError::HostName => "write the IP address, such as `127.0.0.1:8080` for localhost",
        ListenError::Public => {
            "add `identity`, or listen on a loopback address (`127.0.0.1:8080`) or a Unix socket \
             (`unix:/run/gatepost.sock`)"
        }
        ListenError::PublicOps => {
            "listen on a loopback address (`127.0.0.1:9090`) or a Unix socket (`unix:/run/gatepost-ops.sock`) and put a \
             proxy that authenticates in front of it"
        }
    }
}

impl Listen {
    /// Whether only this machine can reach it.
    pub fn is_private(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// Refuses what other machines can reach, unless callers are asked who they are. The configuration's own address has been
    /// through this; one from elsewhere, such as the command line, has not.
    ///
    /// # Errors
    /// [`ListenError::Public`].
    pub fn check_reach(&self, identity: Option<&Identity>) -> Result<(), ListenError> {
        if self.is_private() || identity.is_some() {
            Ok(())
        } else {
            Err(ListenError::Public)
        }
    }
}

impl FromStr for Listen {
    type Err = ListenError;

    /// Reads `127.0.0.1:8080`, `[::1]:8080`, `unix:/path`. Says nothing about who can reach it.
    fn from_str(text: &str) -> Result<Self, ListenError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err(ListenError::NoAddress)
            } else {
                Ok(Self::Unix(PathBuf::from(path)))
            };
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self::Tcp(address));
        }
        let named = text.rsplit_once(':').is_some_and(|(host, port)| {
            port.parse::<u16>().is_ok() && host.starts_with(|c: char| c.is_ascii_alphabetic())
        });
        Err(if named {
            ListenError::HostName
        } else {
            ListenError::NoAddress
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, ListenError>) {
        let checked = text
            .parse::<Listen>()
            .and_then(|listen| listen.check_reach(None).map(|()| listen.to_string()));
        assert_eq!(checked, expected.map(str::to_owned), "{text:?}");
    }

    #[test]
    fn only_private_addresses_pass() {
        check("127.0.0.1:8080", Ok("127.0.0.1:8080"));
        check("127.9.9.9:0", Ok("127.9.9.9:0"));
        check("[::1]:80", Ok("[::1]:80"));
        check("[::ffff:127.0.0.1]:80", Ok("[::ffff:127.0.0.1]:80"));
        check("unix:/run/g.sock", Ok("unix:/run/g.sock"));
        for public in ["0.0.0.0:80", "[::]:80", "10.0.0.1:80", "[::ffff:10.0.0.1]:80"] {
            check(public, Err(ListenError::Public));
        }
        check("localhost:8080", Err(ListenError::HostName));
        for none in ["", "8080", ":8080", "127.0.0.1", "unix:", "127.0.0.1:99999"] {
            check(none, Err(ListenError::NoAddress));
        }
    }
}
