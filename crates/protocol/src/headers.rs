//! The request headers of 2026-07-28 (basic/transports/streamable-http, Request Metadata): encoding, and agreement with
//! the body.
//!
//! Anything on the way may route or refuse by these headers, so a request whose headers say something else than its
//! body must not get through: -32020, `HeaderMismatch`, HTTP 400.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::envelope::Request;

mod params;

pub use params::{HeaderParams, InvalidAnnotation};

const PREFIX: &str = "=?base64?";
const SUFFIX: &str = "?=";

/// What a request has for one header name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent<'a> {
    /// No such header.
    Absent,
    /// One, with this value.
    Once(&'a [u8]),
    /// More than one. Others may have read another one than we would, so this never agrees with anything.
    Repeated,
}

impl<'a> Sent<'a> {
    /// Collects the values of one header.
    pub fn collect(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut values = values.into_iter();
        match (values.next(), values.next()) {
            (None, _) => Self::Absent,
            (Some(value), None) => Self::Once(value),
            (Some(_), Some(_)) => Self::Repeated,
        }
    }
}

/// Headers and body disagree, or a header is missing or malformed: -32020 with HTTP 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderMismatch {
    /// A required header is missing.
    #[error("Header mismatch: {header} is required and missing")]
    Missing {
        /// The header's name.
        header: String,
    },
    /// It was sent twice.
    #[error("Header mismatch: {header} was sent more than once")]
    Repeated {
        /// The header's name.
        header: String,
    },
    /// It holds characters no header may hold, or a broken Base64 form.
    #[error("Header mismatch: {header} is malformed: {why}")]
    Malformed {
        /// The header's name.
        header: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// It says something else than the body.
    #[error("Header mismatch: {header} header value '{sent}' does not match body value '{body}'")]
    Differs {
        /// The header's name.
        header: String,
        /// What the header says, decoded and shortened.
        sent: String,
        /// What the body says, shortened.
        body: String,
    },
    /// It was sent, but the body has nothing that it could mirror.
    #[error("Header mismatch: {header} was sent, but the body has no such value")]
    Unexpected {
        /// The header's name.
        header: String,
    },
}

impl HeaderMismatch {
    fn differs(header: &str, sent: &str, body: &str) -> Self {
        let short = |text: &str| text.chars().take(128).collect();
        Self::Differs {
            header: header.into(),
            sent: short(sent),
            body: short(body),
        }
    }
}

/// A header value's text, Base64 form undone (Value Encoding).
///
/// # Errors
/// What is malformed: characters outside visible ASCII, space and tab; Base64 that is not strictly RFC 4648 §4 with
/// padding; decoded bytes that are no UTF-8.
pub fn decode_value(value: &[u8]) -> Result<Cow<'_, str>, &'static str> {
    if !value.iter().all(|&byte| matches!(byte, b'\t' | b' '..=b'~')) {
        return Err("it holds characters other than visible ASCII, space and tab");
    }
    let text = std::str::from_utf8(value.trim_ascii()).map_err(|_| "it is not ASCII")?;
    // The markers are case-sensitive.
    let Some(encoded) = text
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.strip_suffix(SUFFIX))
    else {
        return Ok(Cow::Borrowed(text));
    };
    let bytes = STANDARD.decode(encoded).map_err(|_| "its Base64 is invalid")?;
    String::from_utf8(bytes)
        .map(Cow::Owned)
        .map_err(|_| "its Base64 does not hold UTF-8")
}

/// `text` as a header value: as it is where that is safe, else in the Base64 form (Value Encoding).
pub fn encode_value(text: &str) -> Cow<'_, str> {
    let plain = text.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
        && text.trim_ascii().len() == text.len()
        && !(text.starts_with(PREFIX) && text.ends_with(SUFFIX));
    if plain {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(format!("{PREFIX}{}{SUFFIX}", STANDARD.encode(text)))
    }
}

/// The one value of a required header, decoded.
fn required<'a>(header: &str, sent: Sent<'a>, base64: bool) -> Result<Cow<'a, str>, HeaderMismatch> {
    match sent {
        Sent::Absent => Err(HeaderMismatch::Missing {
            header: header.into(),
        }),
        Sent::Repeated => Err(HeaderMismatch::Repeated {
            header: header.into(),
        }),
        Sent::Once(value) if base64 => decode_value(value).map_err(|why| HeaderMismatch::Malformed {
            header: header.into(),
            why,
        }),
        Sent::Once(value) => match std::str::from_utf8(value.trim_ascii()) {
            Ok(text) if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) => Ok(Cow::Borrowed(text)),
            _ => Err(HeaderMismatch::Malformed {
                header: header.into(),
                why: "it is not visible ASCII",
            }),
        },
    }
}

/// Checks the `MCP-Protocol-Version` header against the version in the body's `_meta`.
///
/// # Errors
/// If it is missing, repeated, malformed, or another version ("MUST match", Protocol Version Header).
pub fn validate_version(sent: Sent<'_>, body: &str) -> Result<(), HeaderMismatch> {
    const HEADER: &str = "MCP-Protocol-Version";
    let header = required(HEADER, sent, false)?;
    if header == body {
        Ok(())
    } else {
        Err(HeaderMismatch::differs(HEADER, &header, body))
    }
}

/// Checks `Mcp-Method` and `Mcp-Name` against a modern request.
///
/// `Mcp-Name` mirrors `params.name`, `params.uri` or `params.taskId` as the method table says. A request that lacks that
/// parameter and the header passes here: its parameters are refused later, with a code that says so.
///
/// # Errors
/// Per Standard Request Headers and Server Validation. Values are compared exactly, case included.
pub fn validate_request(request: &Request, method: Sent<'_>, name: Sent<'_>) -> Result<(), HeaderMismatch> {
    let header = required("Mcp-Method", method, false)?;
    if header != request.method() {
        return Err(HeaderMismatch::differs("Mcp-Method", &header, request.method()));
    }
    const NAME: &str = "Mcp-Name";
    let target = request.known_method().and_then(|method| method.facts().target);
    match target.and_then(|target| request.param_text(target.param())) {
        Some(body) => {
            let header = required(NAME, name, true)?;
            if header == body {
                Ok(())
            } else {
                Err(HeaderMismatch::differs(NAME, &header, &body))
            }
        }
        None => match name {
            Sent::Absent => Ok(()),
            Sent::Repeated => Err(HeaderMismatch::Repeated { header: NAME.into() }),
            // On a method without a target the header means nothing to anyone.
            Sent::Once(_) if target.is_none() => Ok(()),
            Sent::Once(_) => Err(HeaderMismatch::Unexpected { header: NAME.into() }),
        },
    }
}

#[cfg(test)]
mod tests;
