//! Listing and reading.

use std::ops::ControlFlow;

use base64::{Engine, prelude::BASE64_STANDARD};
use gatepost::rmcp::model::{CallToolResult, ContentBlock, ResourceContents};
use rustix::fs::Stat;

use super::{
    mime,
    resources::{self, ResourceError},
    root::{Directory, Found, Kind, Opened, PathError, Root},
    text::{self, End},
    tools::{DirectoryTree, Entry, EntryKind, FileError, Info, ListDirectory, Listed, MAX_ENTRIES, ReadFile},
    walk::{Stop, Walk},
};
use crate::timestamp;

/// The most entries of a directory that are looked at.
const MAX_NAMES: usize = 100_000;
/// The most lines that one call reads.
const MAX_LINES: u32 = 10_000;

/// The tool list_directory.
pub(super) fn list_directory(root: &Root, params: &ListDirectory) -> Result<Listed, FileError> {
    let directory = root.find_directory(&params.path)?;
    let limit = params.limit.clamp(1, MAX_ENTRIES);
    let names = directory.names(MAX_NAMES)?;
    let end = params.offset.saturating_add(limit);
    let entries = names
        .iter()
        .skip(params.offset as usize)
        .take(limit as usize)
        .filter_map(|(name, kind)| {
            let (kind, stat) = match kind {
                Kind::Regular => (EntryKind::File, directory.stat_of(name).ok()?),
                Kind::Directory => (EntryKind::Directory, root.enter(&directory, name).ok()??.stat),
                // A link is what it leads to; one that leads nowhere we go is not there.
                Kind::Link => match root.find(&directory.join(name)).ok()? {
                    Found::Directory(found) => (EntryKind::Directory, found.stat),
                    Found::Regular(found) => (EntryKind::File, found.stat),
                },
            };
            let name = name.to_string_lossy().into_owned();
            Some(Entry {
                name,
                kind,
                size: size(kind, &stat),
                modified: modified(&stat),
            })
        })
        .collect();
    Ok(Listed {
        entries,
        next_offset: (names.len() > end as usize).then_some(end),
    })
}

/// The tool directory_tree.
pub(super) fn directory_tree(
    root: &Root,
    params: &DirectoryTree,
    cancelled: &dyn Fn() -> bool,
) -> Result<String, FileError> {
    let directory = root.find_directory(&params.path)?;
    let mut tree = if directory.path.is_empty() {
        "./\n".to_owned()
    } else {
        format!("{}/\n", directory.path)
    };
    let mut shown = 0;
    let walk = Walk::new(root, cancelled).depth(params.depth.clamp(1, 10) as usize);
    let stop = walk.run(&directory, &mut |met| {
        if shown == MAX_ENTRIES {
            return ControlFlow::Break(Stop::Enough);
        }
        shown += 1;
        tree.extend(std::iter::repeat_n("  ", met.depth + 1));
        tree.push_str(&met.name.to_string_lossy());
        tree.push_str(if met.kind == Kind::Directory { "/\n" } else { "\n" });
        ControlFlow::Continue(())
    });
    match stop {
        None => {}
        Some(Stop::Cancelled) => return Err(FileError::Cancelled),
        Some(Stop::Enough) => tree.push_str("[there is more; show a directory below, or fewer levels]\n"),
        Some(other) => tree.push_str(&format!("[{}]\n", other.advice())),
    }
    Ok(tree)
}

/// The tool read_file.
pub(super) fn read_file(root: &Root, params: &ReadFile) -> Result<CallToolResult, FileError> {
    let opened = root.find_file(&params.path)?;
    let (path, first) = (opened.path.clone(), params.offset.max(1));
    let size = u64::try_from(opened.stat.st_size).unwrap_or(0);
    let failed = |error| PathError::Io {
        path: path.clone(),
        error,
    };
    let (is_text, rest) = text::sniff(&opened.file).map_err(failed)?;
    if !is_text {
        drop(rest);
        return read_binary(root, &params.path, size);
    }
    let limit = params.limit.clamp(1, MAX_LINES);
    let lines = text::lines(rest, first as usize, limit as usize).map_err(failed)?;
    let last = first as usize + lines.count.saturating_sub(1);
    let note = match lines.end {
        End::TooFar => return Err(FileError::TooFar { path, first }),
        End::File if lines.count == 0 && first > 1 => return Err(FileError::PastTheEnd { path, first }),
        End::File if first == 1 => None,
        End::File => Some(format!("[lines {first} to {last}, the end of the file]")),
        End::More if lines.cut => Some(format!(
            "[line {first} is too long and cut off; the next one is read with offset {}]",
            last + 1
        )),
        End::More => Some(format!(
            "[lines {first} to {last}; there is more, go on with offset {}]",
            last + 1
        )),
    };
    let mut content = vec![ContentBlock::text(lines.text)];
    content.extend(note.map(ContentBlock::text));
    Ok(CallToolResult::success(content))
}

fn read_binary(root: &Root, path: &str, size: u64) -> Result<CallToolResult, FileError> {
    // Opened anew to read it from its beginning.
    let opened = root.find_file(path)?;
    let path = opened.path.clone();
    let mime = mime::or_default(mime::of(&path), false);
    let bytes = match resources::whole(opened) {
        Ok((_, bytes)) => bytes,
        Err(ResourceError::Path(error)) => return Err(error.into()),
        Err(_) => return Err(FileError::LargeBinary { path, mime, size }),
    };
    let data = BASE64_STANDARD.encode(bytes);
    let block = if mime.starts_with("image/") {
        ContentBlock::image(data, mime)
    } else if mime.starts_with("audio/") {
        ContentBlock::audio(data, mime)
    } else {
        let contents = ResourceContents::blob(data, resources::address(&path)).with_mime_type(mime);
        ContentBlock::resource(contents)
    };
    Ok(CallToolResult::success(vec![block]))
}

/// The tool file_info.
pub(super) fn file_info(root: &Root, path: &str) -> Result<Info, FileError> {
    Ok(match root.find(path)? {
        Found::Directory(Directory { path, stat, .. }) => Info {
            path,
            kind: EntryKind::Directory,
            size: None,
            modified: modified(&stat),
            mime_type: None,
            is_text: None,
        },
        Found::Regular(Opened { file, path, stat }) => {
            let failed = |error| PathError::Io {
                path: path.clone(),
                error,
            };
            let (is_text, _) = text::sniff(file).map_err(failed)?;
            let mime_type = Some(mime::or_default(mime::of(&path), is_text).to_owned());
            let kind = EntryKind::File;
            Info {
                kind,
                size: size(kind, &stat),
                modified: modified(&stat),
                mime_type,
                is_text: Some(is_text),
                path,
            }
        }
    })
}

fn size(kind: EntryKind, stat: &Stat) -> Option<u64> {
    match kind {
        EntryKind::File => u64::try_from(stat.st_size).ok(),
        EntryKind::Directory => None,
    }
}

fn modified(stat: &Stat) -> Option<String> {
    Some(timestamp::rfc3339(stat.st_mtime))
}
