//! Protocol versions and eras.

use std::fmt;

mod client;
mod probe;

pub use client::{ClientEra, ClientFacts, HttpVerb};
pub use probe::{ProbeReply, ProbeVerdict, classify_probe};

/// A version of MCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 2024-11-05
    V2024_11_05,
    /// 2025-03-26
    V2025_03_26,
    /// 2025-06-18
    V2025_06_18,
    /// 2025-11-25
    V2025_11_25,
    /// 2026-07-28
    V2026_07_28,
}

/// How a version begins a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Era {
    /// 2024-11-05 to 2025-11-25: `initialize`, sessions.
    Legacy,
    /// 2026-07-28: every request stands alone and says its version in `_meta`.
    Modern,
}

/// Every version, newest first.
pub const SUPPORTED: &[Version] = &[
    Version::V2026_07_28,
    Version::V2025_11_25,
    Version::V2025_06_18,
    Version::V2025_03_26,
    Version::V2024_11_05,
];

/// The versions with a handshake, newest first.
pub const SUPPORTED_LEGACY: &[Version] = &[
    Version::V2025_11_25,
    Version::V2025_06_18,
    Version::V2025_03_26,
    Version::V2024_11_05,
];

/// The versions without a handshake, newest first.
pub const SUPPORTED_MODERN: &[Version] = &[Version::V2026_07_28];

impl Version {
    /// The newest version with a handshake.
    pub const LATEST_LEGACY: Self = Self::V2025_11_25;
    /// The newest version.
    pub const LATEST: Self = Self::V2026_07_28;

    /// The version called `text`, if the gate speaks it.
    pub fn parse(text: &str) -> Option<Self> {
        SUPPORTED.iter().copied().find(|version| version.as_str() == text)
    }

    /// The version's date, as it is on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// The version as a JSON string.
    pub const fn as_json(self) -> &'static [u8] {
        match self {
            Self::V2024_11_05 => b"\"2024-11-05\"",
            Self::V2025_03_26 => b"\"2025-03-26\"",
            Self::V2025_06_18 => b"\"2025-06-18\"",
            Self::V2025_11_25 => b"\"2025-11-25\"",
            Self::V2026_07_28 => b"\"2026-07-28\"",
        }
    }

    /// The era this version belongs to.
    pub const fn era(self) -> Era {
        match self {
            Self::V2026_07_28 => Era::Modern,
            _ => Era::Legacy,
        }
    }

    /// Whether the version has no handshake.
    pub const fn is_modern(self) -> bool {
        matches!(self.era(), Era::Modern)
    }

    /// Whether the `MCP-Protocol-Version` header is sent with it: since 2025-06-18 (basic/transports, Protocol Version
    /// Header).
    pub fn has_version_header(self) -> bool {
        self >= Self::V2025_06_18
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The version an `initialize` result names to a client that asked for `requested`.
///
/// The same version if it is known, else the newest with a handshake (2025-11-25 basic/lifecycle, Version Negotiation).
/// A modern version is never echoed: it has no handshake, so a client that asks for one here is answered 2025-11-25.
pub fn negotiate_initialize(requested: &str) -> Version {
    match Version::parse(requested) {
        Some(version) if version.era() == Era::Legacy => version,
        _ => Version::LATEST_LEGACY,
    }
}

/// The version a server's `initialize` result settled on, if it can be spoken. `None`: disconnect (same section).
pub fn accept_initialize(answered: &str) -> Option<Version> {
    Version::parse(answered).filter(|version| version.era() == Era::Legacy)
}

#[cfg(test)]
mod tests;
