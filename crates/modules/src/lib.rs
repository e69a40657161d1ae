//! Servers that are built into Gatepost, each a cargo feature.
//!
//! Every one of them is an rmcp `ServerHandler` hosted with [`gatepost::module`], as any user's would be. [`module`] makes one
//! by the name and options that stand in `gatepost.yaml`.
//!
//! | name | what it is | options |
//! | --- | --- | --- |
//! | `files` (also `filesystem`) | read-only tools and resources over a folder; Unix only | `root`: the folder, default the configuration's own; `access`: `read` |
//! | `calculator` | exact arithmetic on expressions | none |
//! | `notes` | notes in embedded SQLite | none |

#![cfg_attr(
    not(all(feature = "files", feature = "calculator", feature = "notes", unix)),
    allow(
        dead_code,
        unused_variables,
        reason = "what modules share is not used by each of them"
    )
)]

#[cfg(any(feature = "files", feature = "notes"))]
mod blocking;
#[cfg(feature = "calculator")]
mod calculator;
#[cfg(any(feature = "files", feature = "notes"))]
mod failure;
#[cfg(all(feature = "files", unix))]
mod files;
#[cfg(feature = "notes")]
mod notes;
mod options;
mod registry;
#[cfg(test)]
mod testing;
#[cfg(any(feature = "files", feature = "notes"))]
mod timestamp;

pub use registry::{Context, ModuleError, NAMES, module};
