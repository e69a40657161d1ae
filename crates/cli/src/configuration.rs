//! Which configuration a command works with.

use std::path::{Path, PathBuf};

use gatepost_config::Config;

use crate::{environment, failure::Failure};

/// What a configuration file is called where none is named.
pub(crate) const FILE: &str = "gatepost.yaml";

/// How the commands that read a configuration are told which.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ConfigArgs {
    /// The configuration [default: what the environment variable GATEPOST_CONFIG names, else gatepost.yaml in this
    /// folder, else none is needed]
    // Not clap's `env`: a variable that is set must not rule out `--url`.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Where a configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file.
    File(PathBuf),
    /// Nothing is configured: modules over the current folder.
    Zero,
}

impl ConfigArgs {
    /// Whether a file was named.
    pub(crate) fn is_given(&self) -> bool {
        self.file.is_some()
    }

    /// The file that was named, else the one in the current folder, else none.
    pub(crate) fn source(&self) -> Source {
        let named = || {
            std::env::var_os(environment::CONFIG)
                .filter(|file| !file.is_empty())
                .map(PathBuf::from)
        };
        match self.file.clone().or_else(named) {
            Some(file) => Source::File(file),
            None if Path::new(FILE).exists() => Source::File(FILE.into()),
            None => Source::Zero,
        }
    }
}

impl Source {
    /// Reads it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) fn load(&self) -> Result<Config, Failure> {
        Ok(match self {
            Self::File(file) => Config::load(file)?,
            Self::Zero => Config::zero(Path::new("."))?,
        })
    }
}
