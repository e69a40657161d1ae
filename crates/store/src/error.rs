//! What can go wrong with what is kept.

use std::{io, path::PathBuf};

use thiserror::Error;

use crate::{SealingError, sqlite::OpenError};

/// Why something cannot be kept or found. No message holds a secret.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The folder of the database cannot be made.
    #[error("the data directory {} cannot be made: {source}; check its permissions, or set another `data_dir`", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database failed.
    #[error(
        "the gate's database failed: {0}; if it goes on, look at the free space and the health of its disk"
    )]
    Database(#[from] rusqlite::Error),
    /// A key with this id is there already.
    #[error("there is an API key {id} already")]
    Taken {
        /// The key's id.
        id: String,
    },
    /// The keys that seal cannot be had.
    #[error(transparent)]
    Sealing(#[from] SealingError),
    /// A token does not open.
    #[error(
        "the token `{name}` of {principal} for the server `{server}` does not open: it was sealed with a key that is no longer \
         among `sealing.keys`, or changed by somebody else; set it again with `gatepost credentials set`"
    )]
    Sealed {
        /// The server.
        server: String,
        /// Whose, as logs have it.
        principal: String,
        /// The token's name.
        name: String,
    },
    /// The platform's random source or cipher failed.
    #[error("the cryptographic library refused to work")]
    Crypto,
}

impl From<aws_lc_rs::error::Unspecified> for StoreError {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self::Crypto
    }
}
