//! Segments: files named by the number of their first record, so that a folder sorts by name.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

const ENDING: &str = "jsonl";

/// One file of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    /// The number of its first record, as its name says.
    pub(crate) first: u64,
    pub(crate) path: PathBuf,
    /// How long it is, in bytes.
    pub(crate) length: u64,
}

/// What the segment is called that begins with record `first`.
pub(crate) fn path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}.{ENDING}"))
}

/// All segments of a folder, in order.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn list(folder: &Path) -> io::Result<Vec<File>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if path.extension().is_none_or(|ending| ending != ENDING) {
            continue;
        }
        let first = path
            .file_stem()
            .and_then(|name| name.to_str())
            .and_then(|name| name.parse().ok());
        if let Some(first) = first {
            let length = match entry.metadata() {
                Ok(metadata) => metadata.len(),
                // A gate that is running has just removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            files.push(File { first, path, length });
        }
    }
    files.sort_by_key(|file| file.first);
    Ok(files)
}
