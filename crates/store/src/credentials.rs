//! What principals have with servers: tokens of their own that the gate presents on their behalf.

use std::fmt;

use gatepost_policy::Principal;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{StoreError, UnixSeconds};

/// The longest token, in bytes: what servers take as one header.
const LONGEST: usize = 8 * 1024;

/// Which token: of whom, for which server.
#[derive(Debug, Clone, Copy)]
pub struct Slot<'a> {
    /// The server's name in the configuration.
    pub server: &'a str,
    /// Whose it is. Another tenant's principal is another principal.
    pub principal: &'a Principal,
    /// The token's name among those of one principal for one server.
    pub name: &'a str,
}

impl Slot<'_> {
    /// The name of a token that nobody gave another.
    pub const DEFAULT_NAME: &'static str = "pat";
}

/// A token. Does not print, and is wiped when dropped.
pub struct Token(Zeroizing<String>);

/// Why a text cannot be a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TokenError {
    /// There is nothing.
    #[error("it is empty")]
    Empty,
    /// It is longer than a header may be.
    #[error("it has more than {LONGEST} bytes")]
    TooLong,
    /// It cannot stand in a header.
    #[error("it has a space, a line break, or another character that no token has")]
    Odd,
}

/// What is known of a token without opening it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The server's name.
    pub server: String,
    /// Whose it is.
    pub principal: Principal,
    /// Its name.
    pub name: String,
    /// When it was set.
    pub set: UnixSeconds,
    /// Whether it opens with the keys there are; see [`StoreError::Sealed`].
    pub opens: bool,
}

/// Where tokens are kept, encrypted wherever they leave the process. Calls block.
pub trait Credentials: Send + Sync {
    /// Keeps a token, instead of another one in the same place; says whether there was one. When this returns, it survives a
    /// power failure.
    ///
    /// # Errors
    /// When the store or the cipher fails; then what was there is there still.
    fn set(&self, slot: Slot<'_>, token: &Token, now: UnixSeconds) -> Result<bool, StoreError>;

    /// The token in this place.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] if it does not open; otherwise when the store fails.
    fn get(&self, slot: Slot<'_>) -> Result<Option<Token>, StoreError>;

    /// What is kept, by server, principal and name.
    ///
    /// # Errors
    /// When the store fails.
    fn list(&self) -> Result<Vec<Kept>, StoreError>;

    /// Deletes a token; says whether there was one.
    ///
    /// # Errors
    /// When the store fails.
    fn remove(&self, slot: Slot<'_>) -> Result<bool, StoreError>;

    /// A number that is another one after a token was set or removed, by whichever process. Cheap enough to be asked every
    /// second.
    ///
    /// # Errors
    /// When the store fails.
    fn version(&self) -> Result<u64, StoreError>;
}

// === impl Token ===

impl Token {
    /// Checks that `text` can stand in a header as a bearer token.
    ///
    /// # Errors
    /// [`TokenError`]
    pub fn new(text: Zeroizing<String>) -> Result<Self, TokenError> {
        if text.is_empty() {
            Err(TokenError::Empty)
        } else if text.len() > LONGEST {
            Err(TokenError::TooLong)
        } else if text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text))
        } else {
            Err(TokenError::Odd)
        }
    }

    /// The token itself, for the one place that presents it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_can_stand_in_a_header_and_does_not_print() {
        let token = |text: &str| Token::new(Zeroizing::new(text.to_owned()));
        let good = token("ghp_abc.DEF-~+/=").unwrap();
        assert_eq!(good.expose(), "ghp_abc.DEF-~+/=");
        assert_eq!(format!("{good:?}"), "[secret]");
        assert_eq!(token("").unwrap_err(), TokenError::Empty);
        assert_eq!(token(&"x".repeat(LONGEST + 1)).unwrap_err(), TokenError::TooLong);
        for odd in ["a b", "a\n", "a\r\nX-Evil: 1", "é", "a\0"] {
            assert_eq!(token(odd).unwrap_err(), TokenError::Odd, "{odd:?}");
        }
    }
}
