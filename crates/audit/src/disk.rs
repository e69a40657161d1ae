//! What the log asks of a file system, as a trait: tests have disks that are full, broken, or lying.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::Path,
};

/// Where segments are.
pub(crate) trait Disk: Send + Sync {
    /// Makes a file that did not exist, for its owner only.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Segment>>;
    /// Opens a file to add to it.
    fn extend(&self, path: &Path) -> io::Result<Box<dyn Segment>>;
    /// Gives a file its name. It must be on the disk as well once [`Disk::sync_folder`] has returned.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// A file that only grows.
pub(crate) trait Segment: Send + Sync {
    /// Adds all of `bytes` at the end, or fails after any part of them.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;
    /// Returns when everything appended before is on the disk.
    fn sync(&self) -> io::Result<()>;
    /// Takes back what was appended behind `length`.
    fn truncate(&self, length: u64) -> io::Result<()>;
}

/// The operating system's.
#[derive(Debug)]
pub(crate) struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Segment>> {
        Ok(Box::new(
            private(OpenOptions::new().append(true).create_new(true)).open(path)?,
        ))
    }

    fn extend(&self, path: &Path) -> io::Result<Box<dyn Segment>> {
        Ok(Box::new(OpenOptions::new().append(true).open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        sync_folder(folder)
    }
}

impl Segment for File {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = self;
        file.write_all(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// For its owner only, where the system knows owners.
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// Makes a folder, and those above it, for its owner only.
pub(crate) fn private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Only Unix needs it and has it.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder)?.sync_all()
    } else {
        Ok(())
    }
}

/// Replaces a small file as a whole: nobody, and no crash, sees half of it.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = private(OpenOptions::new().write(true).create(true).truncate(true)).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), sync_folder)
}
