//! Searching by name and by content.

use std::{io::Read, ops::ControlFlow};

use super::{
    pattern,
    root::{Found, Kind, Opened, Root},
    text,
    tools::{
        EntryKind, FileError, FoundFile, FoundFiles, FoundLine, FoundText, MAX_ENTRIES, SearchFiles,
        SearchText,
    },
    walk::{Stop, Walk},
};

/// The largest file that search_text looks into, in bytes.
const MAX_SEARCHED: u64 = 4 * 1024 * 1024;
/// How much of a line a match shows, in characters.
const MAX_SHOWN: usize = 300;

/// The tool search_files.
pub(super) fn search_files(
    root: &Root,
    params: &SearchFiles,
    cancelled: &dyn Fn() -> bool,
) -> Result<FoundFiles, FileError> {
    let glob = pattern::glob(&params.pattern)?;
    let directory = root.find_directory(&params.path)?;
    let limit = params.limit.clamp(1, MAX_ENTRIES) as usize;
    let mut matches = Vec::new();
    let stop = Walk::new(root, cancelled).run(&directory, &mut |met| {
        let path = met.directory.join(met.name);
        if glob.is_match(&path) {
            if matches.len() == limit {
                return ControlFlow::Break(Stop::Enough);
            }
            let kind = if met.kind == Kind::Directory {
                EntryKind::Directory
            } else {
                EntryKind::File
            };
            matches.push(FoundFile { path, kind });
        }
        ControlFlow::Continue(())
    });
    Ok(FoundFiles {
        matches,
        incomplete: incomplete(stop)?,
    })
}

/// The tool search_text.
pub(super) fn search_text(
    root: &Root,
    params: &SearchText,
    cancelled: &dyn Fn() -> bool,
) -> Result<FoundText, FileError> {
    let query = pattern::text(&params.query, params.regex, params.ignore_case)?;
    let glob = params.glob.as_deref().map(pattern::glob).transpose()?;
    let limit = params.limit.clamp(1, MAX_ENTRIES) as usize;
    let mut found = FoundText {
        matches: Vec::new(),
        searched: 0,
        skipped: 0,
        incomplete: None,
    };
    let mut look = |opened: Option<Opened>| match opened.and_then(searchable) {
        None => {
            found.skipped += 1;
            ControlFlow::Continue(())
        }
        Some((path, bytes)) => {
            found.searched += 1;
            for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
                let line = String::from_utf8_lossy(line);
                let line = line.trim_end_matches('\r');
                let Some(place) = query.find(line) else { continue };
                if found.matches.len() == limit {
                    return ControlFlow::Break(Stop::Enough);
                }
                let text = around(line, place.start());
                found.matches.push(FoundLine {
                    path: path.clone(),
                    line: number + 1,
                    text,
                });
            }
            ControlFlow::Continue(())
        }
    };
    let stop = match root.find(&params.path)? {
        Found::Regular(opened) => look(Some(opened)).break_value(),
        Found::Directory(directory) => Walk::new(root, cancelled).run(&directory, &mut |met| {
            // What a link leads to is met where it lies, or is outside of what was asked.
            if met.kind != Kind::Regular || met.is_link {
                return ControlFlow::Continue(());
            }
            if glob
                .as_ref()
                .is_some_and(|glob| !glob.is_match(&met.directory.join(met.name)))
            {
                return ControlFlow::Continue(());
            }
            look(met.directory.open_file(met.name).ok().flatten())
        }),
    };
    found.incomplete = incomplete(stop)?;
    Ok(found)
}

/// A file's path and text, if it is a text that is not too large.
fn searchable(opened: Opened) -> Option<(String, Vec<u8>)> {
    let Opened { file, path, stat } = opened;
    if u64::try_from(stat.st_size).ok()? > MAX_SEARCHED {
        return None;
    }
    let (is_text, rest) = text::sniff(file).ok()?;
    if !is_text {
        return None;
    }
    let mut bytes = Vec::new();
    rest.take(MAX_SEARCHED).read_to_end(&mut bytes).ok()?;
    Some((path, bytes))
}

/// The line, or [`MAX_SHOWN`] characters of it with the match that starts at byte `place` inside.
fn around(line: &str, place: usize) -> String {
    if line.chars().count() <= MAX_SHOWN {
        return line.to_owned();
    }
    let before = line.get(..place).map_or(0, |before| before.chars().count());
    let skipped = before.saturating_sub(MAX_SHOWN / 3);
    let part: String = line.chars().skip(skipped).take(MAX_SHOWN).collect();
    format!("{}{part}…", if skipped > 0 { "…" } else { "" })
}

fn incomplete(stop: Option<Stop>) -> Result<Option<String>, FileError> {
    match stop {
        Some(Stop::Cancelled) => Err(FileError::Cancelled),
        other => Ok(other.map(|stop| stop.advice().to_owned())),
    }
}
