//! The data directory belongs to one gate at a time.

use std::{
    fmt,
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::failure::Failure;

/// The file whose lock says whose the directory is. It holds who that is, in words.
const LOCK: &str = "lock";

/// The right to a data directory, until it is dropped. A killed process loses it too: the lock is the operating system's.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    lock: Option<File>,
    /// Deleted when dropped.
    _temporary: Option<TempDir>,
}

/// Why a data directory cannot be had.
#[derive(Debug)]
pub(crate) enum Unavailable {
    /// Another gate has it; in its own words.
    Taken(String),
    /// The operating system said no.
    Broken(io::Error),
}

impl DataDir {
    /// Makes the directory if need be, for its owner only, and takes it.
    pub(crate) fn take(path: &Path) -> Result<Self, Unavailable> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => {
                let mut held = Self {
                    path: path.to_path_buf(),
                    lock: Some(lock),
                    _temporary: None,
                };
                held.describe(format_args!("process {}", std::process::id()));
                Ok(held)
            }
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // On Windows a locked file cannot be read by others; then the holder stays unnamed.
                let _ = lock.read_to_string(&mut holder);
                let holder = holder.trim();
                Err(Unavailable::Taken(
                    if holder.is_empty() {
                        "another process"
                    } else {
                        holder
                    }
                    .to_owned(),
                ))
            }
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// An empty directory that vanishes with the process.
    pub(crate) fn temporary() -> Result<Self, Failure> {
        let folder = tempfile::Builder::new()
            .prefix("gatepost-")
            .tempdir()
            .map_err(|error| {
                Failure::new(
                    format!("failed to make a temporary folder: {error}"),
                    "check that the folder in TMPDIR exists and can be written",
                )
            })?;
        Ok(Self {
            path: folder.path().to_path_buf(),
            lock: None,
            _temporary: Some(folder),
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Tells those who come too late who holds it.
    pub(crate) fn describe(&mut self, holder: fmt::Arguments<'_>) {
        let Some(lock) = &mut self.lock else { return };
        // For a message of somebody else only: not worth failing for.
        let _ = lock
            .set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{holder}"));
    }
}

impl From<io::Error> for Unavailable {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

impl Unavailable {
    /// In words, for who cannot do without.
    pub(crate) fn failure(self, path: &Path) -> Failure {
        let path = path.display();
        match self {
            Self::Taken(holder) => Failure::new(
                format!("the data directory {path} is in use by {holder}"),
                "stop that gate, connect to it (`gatepost connect URL`), or set another `data_dir` in gatepost.yaml",
            ),
            Self::Broken(error) => Failure::new(
                format!("failed to open the data directory {path}: {error}"),
                "check its permissions, or set another `data_dir` in gatepost.yaml",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_gate_at_a_time_and_the_other_hears_who() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let mut first = DataDir::take(&path).unwrap();
        first.describe(format_args!("process 7 at http://127.0.0.1:8080/mcp"));
        match DataDir::take(&path) {
            Err(Unavailable::Taken(holder)) => assert_eq!(holder, "process 7 at http://127.0.0.1:8080/mcp"),
            other => panic!("{other:?}"),
        }
        drop(first);
        DataDir::take(&path).unwrap();
    }

    #[test]
    #[cfg(unix)]
    fn nobody_else_may_look() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let held = DataDir::take(&folder.path().join("a/b")).unwrap();
        assert_eq!(
            held.path().metadata().unwrap().permissions().mode() & 0o777,
            0o700
        );
    }
}
