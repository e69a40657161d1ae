//! What models may do with a folder.

use std::{io::Read, ops::ControlFlow};

use base64::{Engine, prelude::BASE64_STANDARD};
use gatepost::rmcp::{
    self, ErrorData, Json, RoleServer,
    handler::server::{tool::IntoCallToolResult, wrapper::Parameters},
    model::{CallToolResponse, CallToolResult, ContentBlock, ResourceContents},
    schemars,
    service::RequestContext,
    tool, tool_router,
};
use rustix::fs::Stat;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    Files, mime,
    pattern::{self, PatternError},
    resources::{self, MAX_WHOLE, ResourceError},
    root::{Directory, Found, Kind, Opened, PathError, Root},
    text::{self, End},
    walk::{Stop, Walk},
};
use crate::timestamp;

/// The most entries of a directory that are looked at.
const MAX_NAMES: usize = 100_000;
/// The most entries that one list or tree gives.
const MAX_ENTRIES: u32 = 1_000;
/// The largest file that search_text looks into, in bytes.
const MAX_SEARCHED: u64 = 4 * 1024 * 1024;
/// How much of a line a match shows, in characters.
const MAX_SHOWN: usize = 300;
/// The most lines that one call reads.
const MAX_LINES: u32 = 10_000;

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
struct ListDirectory {
    /// The directory, relative to the folder; left out, the folder itself.
    #[serde(default)]
    path: String,
    /// How many entries to leave out at the beginning: `next_offset` of the page before.
    #[serde(default)]
    offset: u32,
    /// How many entries to give, 1 to 1000.
    #[serde(default = "two_hundred")]
    #[schemars(range(min = 1, max = 1000))]
    limit: u32,
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
struct DirectoryTree {
    /// The directory to start from, relative to the folder; left out, the folder itself.
    #[serde(default)]
    path: String,
    /// How many levels to show, 1 to 10.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 10))]
    depth: u32,
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
struct ReadFile {
    /// The file, relative to the folder.
    path: String,
    /// The first line to read, counted from 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    offset: u32,
    /// How many lines to read, 1 to 10000.
    #[serde(default = "two_thousand")]
    #[schemars(range(min = 1, max = 10000))]
    limit: u32,
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
struct FileInfo {
    /// The file or directory, relative to the folder.
    path: String,
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
struct SearchFiles {
    /// A glob: `*.rs` finds names in any directory; with a `/` it is matched against the whole path, as in `src/**/*.rs`.
    /// `*`, `?`, `**`, `[a-z]` and `{a,b}` work; case does not matter.
    pattern: String,
    /// The directory to look in, relative to the folder; left out, the folder itself.
    #[serde(default)]
    path: String,
    /// How many matches to give, 1 to 1000.
    #[serde(default = "hundred")]
    #[schemars(range(min = 1, max = 1000))]
    limit: u32,
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
struct SearchText {
    /// The text to find, within one line.
    query: String,
    /// Whether `query` is a regular expression (Rust's syntax, without look-around) instead of plain text.
    #[serde(default)]
    regex: bool,
    /// Whether upper and lower case are the same.
    #[serde(default)]
    ignore_case: bool,
    /// The directory or the one file to look in, relative to the folder; left out, the folder itself.
    #[serde(default)]
    path: String,
    /// Look only into files whose path matches this glob, as in search_files.
    #[serde(default)]
    glob: Option<String>,
    /// How many matching lines to give, 1 to 1000.
    #[serde(default = "hundred")]
    #[schemars(range(min = 1, max = 1000))]
    limit: u32,
}

#[derive(Clone, Copy, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(crate = "rmcp::schemars")]
enum EntryKind {
    File,
    Directory,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct Entry {
    name: String,
    kind: EntryKind,
    /// In bytes; only for files.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    /// RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    modified: Option<String>,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct Listed {
    /// By name.
    entries: Vec<Entry>,
    /// Give this as `offset` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_offset: Option<u32>,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct Info {
    /// Relative to the folder, links resolved.
    path: String,
    kind: EntryKind,
    /// In bytes; only for files.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    /// RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    modified: Option<String>,
    /// Only for files.
    #[serde(skip_serializing_if = "Option::is_none")]
    mime_type: Option<String>,
    /// Whether read_file gives lines of text; only for files.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_text: Option<bool>,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct FoundFile {
    /// Relative to the folder.
    path: String,
    kind: EntryKind,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct FoundFiles {
    matches: Vec<FoundFile>,
    /// Why this is not all, and what to do; absent if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    incomplete: Option<String>,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct FoundLine {
    /// Relative to the folder.
    path: String,
    /// Counted from 1, as read_file does.
    line: usize,
    /// The line, or a part of it around the match.
    text: String,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct FoundText {
    matches: Vec<FoundLine>,
    /// How many files were looked into.
    searched: usize,
    /// How many were not, because they are binary, larger than 4 MiB, or not to be read.
    skipped: usize,
    /// Why this is not all, and what to do; absent if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    incomplete: Option<String>,
}

#[tool_router(vis = "pub(super)")]
impl Files {
    /// List what is in one directory: names, sizes and times. For several levels at once use directory_tree.
    #[tool(annotations(title = "List a directory", read_only_hint = true, open_world_hint = false))]
    async fn list_directory(
        &self,
        Parameters(params): Parameters<ListDirectory>,
    ) -> Result<Json<Listed>, Failure> {
        self.with_root(move |root| list_directory(root, &params))
            .await?
            .map(Json)
            .map_err(Failure::from)
    }

    /// Show a directory and what is below it as an indented tree; directories end with `/`. A good first look at an unknown
    /// folder.
    #[tool(annotations(
        title = "Show a directory tree",
        read_only_hint = true,
        open_world_hint = false
    ))]
    async fn directory_tree(
        &self,
        Parameters(params): Parameters<DirectoryTree>,
        context: RequestContext<RoleServer>,
    ) -> Result<String, Failure> {
        let tree = move |root: &Root| directory_tree(root, &params, &|| context.ct.is_cancelled());
        self.with_root(tree).await?.map_err(Failure::from)
    }

    /// Read a text file, all of it or some lines. At most 2000 lines unless told, and 256 KiB; what follows the text then says
    /// where to go on. Pictures, sounds and other binary files come whole if they have at most 1 MiB.
    #[tool(annotations(title = "Read a file", read_only_hint = true, open_world_hint = false))]
    async fn read_file(&self, Parameters(params): Parameters<ReadFile>) -> Result<CallToolResult, Failure> {
        self.with_root(move |root| read_file(root, &params))
            .await?
            .map_err(Failure::from)
    }

    /// What a path is: file or directory, size, time of the last change, media type, whether it is text.
    #[tool(annotations(title = "Look at a file", read_only_hint = true, open_world_hint = false))]
    async fn file_info(
        &self,
        Parameters(FileInfo { path }): Parameters<FileInfo>,
    ) -> Result<Json<Info>, Failure> {
        self.with_root(move |root| file_info(root, &path))
            .await?
            .map(Json)
            .map_err(Failure::from)
    }

    /// Find files and directories by name, with a glob such as `*.rs` or `docs/**/*.md`.
    #[tool(annotations(title = "Search file names", read_only_hint = true, open_world_hint = false))]
    async fn search_files(
        &self,
        Parameters(params): Parameters<SearchFiles>,
        context: RequestContext<RoleServer>,
    ) -> Result<Json<FoundFiles>, Failure> {
        let search = move |root: &Root| search_files(root, &params, &|| context.ct.is_cancelled());
        self.with_root(search).await?.map(Json).map_err(Failure::from)
    }

    /// Find the lines of text files that contain something, plain or as a regular expression, with their path and line
    /// number.
    #[tool(annotations(title = "Search in files", read_only_hint = true, open_world_hint = false))]
    async fn search_text(
        &self,
        Parameters(params): Parameters<SearchText>,
        context: RequestContext<RoleServer>,
    ) -> Result<Json<FoundText>, Failure> {
        let search = move |root: &Root| search_text(root, &params, &|| context.ct.is_cancelled());
        self.with_root(search).await?.map(Json).map_err(Failure::from)
    }
}

/// Why a tool gave no answer, in words for the model.
#[derive(Debug, Error)]
enum FileError {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error(transparent)]
    Pattern(#[from] PatternError),
    #[error(
        "`{path}` is binary ({mime}, {size} bytes) and larger than the {MAX_WHOLE} bytes that are given; it cannot be read here"
    )]
    LargeBinary {
        /// The file.
        path: String,
        /// Its media type.
        mime: &'static str,
        /// Its size in bytes.
        size: u64,
    },
    #[error(
        "line {first} of `{path}` is more than 64 MiB into the file; use search_text to find a place nearer to its beginning"
    )]
    TooFar {
        /// The file.
        path: String,
        /// The line that was asked for.
        first: u32,
    },
    #[error("`{path}` has fewer than {first} lines; `offset` counts from 1")]
    PastTheEnd {
        /// The file.
        path: String,
        /// The line that was asked for.
        first: u32,
    },
    #[error("cancelled")]
    Cancelled,
}

fn list_directory(root: &Root, params: &ListDirectory) -> Result<Listed, FileError> {
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

fn directory_tree(
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

fn read_file(root: &Root, params: &ReadFile) -> Result<CallToolResult, FileError> {
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

fn file_info(root: &Root, path: &str) -> Result<Info, FileError> {
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

fn search_files(
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

fn search_text(
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

fn size(kind: EntryKind, stat: &Stat) -> Option<u64> {
    match kind {
        EntryKind::File => u64::try_from(stat.st_size).ok(),
        EntryKind::Directory => None,
    }
}

fn modified(stat: &Stat) -> Option<String> {
    Some(timestamp::rfc3339(stat.st_mtime))
}

/// Why a tool gave no answer, and to whom that matters.
enum Failure {
    /// To the model, which can do something else.
    File(FileError),
    /// To nobody here.
    Server(ErrorData),
}

// === impl Failure ===

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl From<ErrorData> for Failure {
    fn from(error: ErrorData) -> Self {
        Self::Server(error)
    }
}

impl IntoCallToolResult for Failure {
    fn into_call_tool_result(self) -> Result<CallToolResponse, ErrorData> {
        match self {
            Self::File(error) => {
                Ok(CallToolResult::error(vec![ContentBlock::text(error.to_string())]).into())
            }
            Self::Server(error) => Err(error),
        }
    }
}

fn one() -> u32 {
    1
}

fn three() -> u32 {
    3
}

fn hundred() -> u32 {
    100
}

fn two_hundred() -> u32 {
    200
}

fn two_thousand() -> u32 {
    2_000
}
