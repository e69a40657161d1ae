//! The one way into the folder.
//!
//! Checking a path and then opening it by name is a race (CVE-2025-53109, CVE-2025-53110). Here every step opens one name
//! below a directory that is already held open, never following a link by itself: a link is read, and its target is walked
//! by the same rules. So no link, however it is swapped in while we look, leads out of the folder, to a dotfile or into the
//! gate's data directory, and the walk needs nothing that only Linux has (`openat2` would not see dotfiles behind links).

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, open, openat, readlinkat, stat, statat},
    io::Errno,
};
use thiserror::Error;

/// How many links one path may go through; the system's own bound is 40.
const MAX_LINKS: usize = 32;
/// How long a path may be, in bytes.
const MAX_PATH: usize = 4096;

/// The folder that is served.
pub(super) struct Root {
    directory: OwnedFd,
    /// Its absolute path, so that absolute paths of users into it are understood.
    path: PathBuf,
    data_dir: PathBuf,
}

/// Why a path leads nowhere.
#[derive(Debug, Error)]
pub(super) enum PathError {
    #[error("`{0}` is outside the served folder; give a path relative to it, such as `src/main.rs`")]
    Outside(String),
    #[error("`{0}` is hidden: names that begin with a dot are never shown")]
    Hidden(String),
    #[error("there is no `{0}`; list_directory and search_files show what there is")]
    Missing(String),
    #[error("`{0}` is not a directory; read it with read_file")]
    NotADirectory(String),
    #[error("`{0}` is a directory; list it with list_directory")]
    NotAFile(String),
    #[error("`{0}` is neither a file nor a directory and cannot be read")]
    Special(String),
    #[error("`{0}` goes through too many links, perhaps in a circle")]
    Links(String),
    #[error("the path is longer than {MAX_PATH} bytes or holds a zero byte")]
    Malformed,
    #[error("the gate may not read `{0}`; its owner would have to allow that")]
    Denied(String),
    #[error("`{path}` cannot be read: {error}")]
    Io {
        /// What was to be read.
        path: String,
        /// What the system said.
        error: io::Error,
    },
}

/// Why a folder cannot be served; the message ends a sentence about it.
#[derive(Debug, Error)]
pub(super) enum RootError {
    #[error("cannot be opened: {0}")]
    Io(#[from] io::Error),
    #[error("is not a directory")]
    NotADirectory,
    #[error("is the gate's own data directory")]
    DataDirectory,
}

impl RootError {
    /// What to do about it.
    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Self::Io(_) => "name a folder that exists and that the gate may read",
            Self::NotADirectory => "name a folder",
            Self::DataDirectory => "serve another folder",
        }
    }
}

/// What a path led to.
pub(super) enum Found {
    /// A directory.
    Directory(Directory),
    /// A regular file, open for reading.
    Regular(Opened),
}

/// A directory that is held open.
pub(super) struct Directory {
    handle: OwnedFd,
    /// From the folder, with `/`; empty for the folder itself.
    pub(super) path: String,
    pub(super) stat: Stat,
}

/// A regular file that is open for reading.
pub(super) struct Opened {
    pub(super) file: File,
    /// From the folder, with `/`.
    pub(super) path: String,
    pub(super) stat: Stat,
}

/// What a name in a directory is, links not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    Regular,
    Link,
}

// === impl Root ===

impl Root {
    pub(super) fn open(path: &Path, data_dir: &Path) -> Result<Self, RootError> {
        let path = std::fs::canonicalize(path)?;
        let directory = open(
            &path,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|error| {
            if error == Errno::NOTDIR {
                RootError::NotADirectory
            } else {
                RootError::Io(error.into())
            }
        })?;
        let root = Self {
            directory,
            path,
            data_dir: data_dir.to_owned(),
        };
        let inside = std::fs::canonicalize(data_dir).is_ok_and(|data_dir| root.path.starts_with(data_dir));
        if inside {
            Err(RootError::DataDirectory)
        } else {
            Ok(root)
        }
    }

    /// Walks to `path` and opens what is there.
    pub(super) fn find(&self, path: &str) -> Result<Found, PathError> {
        if path.len() > MAX_PATH || path.contains('\0') {
            return Err(PathError::Malformed);
        }
        let shown = || path.to_owned();
        let mut left = self.components(path)?;
        // The directories from the folder down to where we are: `..` goes back to one that is held, wherever it is moved.
        let mut held: Vec<Directory> = vec![self.top().map_err(|error| failed(path, error))?];
        let mut links = 0;
        while let Some(name) = left.pop_front() {
            let bytes = name.as_bytes();
            let Some(here) = held.last() else {
                return Err(PathError::Outside(shown()));
            };
            if bytes.is_empty() || bytes == b"." {
                continue;
            }
            if bytes == b".." {
                held.pop();
                if held.is_empty() {
                    return Err(PathError::Outside(shown()));
                }
                continue;
            }
            if is_hidden(&name) {
                return Err(PathError::Hidden(shown()));
            }
            let stat = statat(&here.handle, name.as_os_str(), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| failed(path, error))?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    let next = self.enter(here, &name).map_err(|error| failed(path, error))?;
                    held.push(next.ok_or_else(|| PathError::Missing(shown()))?);
                }
                FileType::Symlink => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(PathError::Links(shown()));
                    }
                    let target = readlinkat(&here.handle, name.as_os_str(), Vec::new())
                        .map_err(|error| failed(path, error))?;
                    let target = target.as_bytes();
                    if target.first() == Some(&b'/') {
                        return Err(PathError::Outside(shown()));
                    }
                    for component in target.rsplit(|byte| *byte == b'/') {
                        left.push_front(OsStr::from_bytes(component).to_owned());
                    }
                }
                FileType::RegularFile => {
                    if !left.is_empty() {
                        return Err(PathError::NotADirectory(shown()));
                    }
                    let opened = here.open_file(&name).map_err(|error| failed(path, error))?;
                    return opened
                        .map(Found::Regular)
                        .ok_or_else(|| PathError::Special(shown()));
                }
                _ => return Err(PathError::Special(shown())),
            }
        }
        held.pop()
            .map(Found::Directory)
            .ok_or_else(|| PathError::Outside(shown()))
    }

    pub(super) fn find_directory(&self, path: &str) -> Result<Directory, PathError> {
        match self.find(path)? {
            Found::Directory(directory) => Ok(directory),
            Found::Regular(_) => Err(PathError::NotADirectory(path.to_owned())),
        }
    }

    pub(super) fn find_file(&self, path: &str) -> Result<Opened, PathError> {
        match self.find(path)? {
            Found::Regular(opened) => Ok(opened),
            Found::Directory(_) => Err(PathError::NotAFile(path.to_owned())),
        }
    }

    /// The directory `name` of `parent`; `None` if it is the data directory, which does not exist for anybody here.
    pub(super) fn enter(&self, parent: &Directory, name: &OsStr) -> Result<Option<Directory>, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = openat(&parent.handle, name, flags, Mode::empty())?;
        let found = fstat(&handle)?;
        // By identity, not by name: no bind mount, link or renaming shows it. Looked up anew, for it may be made later.
        let is_data =
            stat(&self.data_dir).is_ok_and(|data| (data.st_dev, data.st_ino) == (found.st_dev, found.st_ino));
        Ok((!is_data).then(|| Directory {
            handle,
            path: parent.join(name),
            stat: found,
        }))
    }

    fn top(&self) -> Result<Directory, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = openat(&self.directory, ".", flags, Mode::empty())?;
        let stat = fstat(&handle)?;
        Ok(Directory {
            handle,
            path: String::new(),
            stat,
        })
    }

    fn components(&self, path: &str) -> Result<VecDeque<OsString>, PathError> {
        let relative = if path == "/" {
            Path::new("")
        } else if path.starts_with('/') {
            // Models like to repeat an absolute path that they saw elsewhere.
            Path::new(path)
                .strip_prefix(&self.path)
                .map_err(|_| PathError::Outside(path.to_owned()))?
        } else {
            Path::new(path)
        };
        let parts = relative.as_os_str().as_bytes().split(|byte| *byte == b'/');
        Ok(parts.map(|part| OsStr::from_bytes(part).to_owned()).collect())
    }
}

// === impl Directory ===

impl Directory {
    /// The visible names and what they are, sorted; special files and dotfiles are left out. Stops after `most` names.
    pub(super) fn names(&self, most: usize) -> Result<Vec<(OsString, Kind)>, PathError> {
        let failed = |error| failed(&self.path, error);
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.handle).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if is_hidden(name) {
                continue;
            }
            let mut kind = entry.file_type();
            if kind == FileType::Unknown {
                // Some file systems keep the kind elsewhere. What is gone meanwhile is gone.
                let Ok(stat) = self.stat_of(name) else { continue };
                kind = FileType::from_raw_mode(stat.st_mode);
            }
            let kind = match kind {
                FileType::Directory => Kind::Directory,
                FileType::RegularFile => Kind::Regular,
                FileType::Symlink => Kind::Link,
                _ => continue,
            };
            names.push((name.to_owned(), kind));
            if names.len() == most {
                break;
            }
        }
        names.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
        Ok(names)
    }

    pub(super) fn stat_of(&self, name: &OsStr) -> Result<Stat, Errno> {
        statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// The regular file `name`, open; `None` if it is anything else.
    pub(super) fn open_file(&self, name: &OsStr) -> Result<Option<Opened>, Errno> {
        // NONBLOCK: if a pipe was put there since we looked, opening it returns at once, and it is refused below.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let handle = openat(&self.handle, name, flags, Mode::empty())?;
        let stat = fstat(&handle)?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        Ok(regular.then(|| Opened {
            file: File::from(handle),
            path: self.join(name),
            stat,
        }))
    }

    /// The path of `name` in this directory.
    pub(super) fn join(&self, name: &OsStr) -> String {
        let name = name.to_string_lossy();
        if self.path.is_empty() {
            name.into_owned()
        } else {
            format!("{}/{name}", self.path)
        }
    }
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().first() == Some(&b'.')
}

fn failed(path: &str, error: Errno) -> PathError {
    let path = path.to_owned();
    match error {
        Errno::NOENT => PathError::Missing(path),
        Errno::NOTDIR => PathError::NotADirectory(path),
        Errno::ACCESS | Errno::PERM => PathError::Denied(path),
        Errno::NAMETOOLONG => PathError::Malformed,
        // What we had looked at became a link before we opened it.
        Errno::LOOP => PathError::Links(path),
        other => PathError::Io {
            path,
            error: other.into(),
        },
    }
}
