//! What models may do with a folder.

use gatepost::rmcp::{
    self, Json, RoleServer, handler::server::wrapper::Parameters, model::CallToolResult, schemars,
    service::RequestContext, tool, tool_router,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    Files, look,
    pattern::PatternError,
    resources::MAX_WHOLE,
    root::{PathError, Root},
    search,
};
use crate::failure::Failure;

/// The most entries that one list, tree or search gives.
pub(super) const MAX_ENTRIES: u32 = 1_000;

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct ListDirectory {
    /// The directory, relative to the folder; left out, the folder itself.
    #[serde(default)]
    pub(super) path: String,
    /// How many entries to leave out at the beginning: `next_offset` of the page before.
    #[serde(default)]
    pub(super) offset: u32,
    /// How many entries to give, 1 to 1000.
    #[serde(default = "two_hundred")]
    #[schemars(range(min = 1, max = 1000))]
    pub(super) limit: u32,
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct DirectoryTree {
    /// The directory to start from, relative to the folder; left out, the folder itself.
    #[serde(default)]
    pub(super) path: String,
    /// How many levels to show, 1 to 10.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 10))]
    pub(super) depth: u32,
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct ReadFile {
    /// The file, relative to the folder.
    pub(super) path: String,
    /// The first line to read, counted from 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub(super) offset: u32,
    /// How many lines to read, 1 to 10000.
    #[serde(default = "two_thousand")]
    #[schemars(range(min = 1, max = 10000))]
    pub(super) limit: u32,
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct FileInfo {
    /// The file or directory, relative to the folder.
    pub(super) path: String,
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct SearchFiles {
    /// A glob: `*.rs` finds names in any directory; with a `/` it is matched against the whole path, as in `src/**/*.rs`.
    /// `*`, `?`, `**`, `[a-z]` and `{a,b}` work; case does not matter.
    pub(super) pattern: String,
    /// The directory to look in, relative to the folder; left out, the folder itself.
    #[serde(default)]
    pub(super) path: String,
    /// How many matches to give, 1 to 1000.
    #[serde(default = "hundred")]
    #[schemars(range(min = 1, max = 1000))]
    pub(super) limit: u32,
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct SearchText {
    /// The text to find, within one line.
    pub(super) query: String,
    /// Whether `query` is a regular expression (Rust's syntax, without look-around) instead of plain text.
    #[serde(default)]
    pub(super) regex: bool,
    /// Whether upper and lower case are the same.
    #[serde(default)]
    pub(super) ignore_case: bool,
    /// The directory or the one file to look in, relative to the folder; left out, the folder itself.
    #[serde(default)]
    pub(super) path: String,
    /// Look only into files whose path matches this glob, as in search_files.
    #[serde(default)]
    pub(super) glob: Option<String>,
    /// How many matching lines to give, 1 to 1000.
    #[serde(default = "hundred")]
    #[schemars(range(min = 1, max = 1000))]
    pub(super) limit: u32,
}

#[derive(Clone, Copy, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(crate = "rmcp::schemars")]
pub(super) enum EntryKind {
    File,
    Directory,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) kind: EntryKind,
    /// In bytes; only for files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) size: Option<u64>,
    /// RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) modified: Option<String>,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct Listed {
    /// By name.
    pub(super) entries: Vec<Entry>,
    /// Give this as `offset` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_offset: Option<u32>,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct Info {
    /// Relative to the folder, links resolved.
    pub(super) path: String,
    pub(super) kind: EntryKind,
    /// In bytes; only for files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) size: Option<u64>,
    /// RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) modified: Option<String>,
    /// Only for files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mime_type: Option<String>,
    /// Whether read_file gives lines of text; only for files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) is_text: Option<bool>,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct FoundFile {
    /// Relative to the folder.
    pub(super) path: String,
    pub(super) kind: EntryKind,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct FoundFiles {
    pub(super) matches: Vec<FoundFile>,
    /// Why this is not all, and what to do; absent if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) incomplete: Option<String>,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct FoundLine {
    /// Relative to the folder.
    pub(super) path: String,
    /// Counted from 1, as read_file does.
    pub(super) line: usize,
    /// The line, or a part of it around the match.
    pub(super) text: String,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct FoundText {
    pub(super) matches: Vec<FoundLine>,
    /// How many files were looked into.
    pub(super) searched: usize,
    /// How many were not, because they are binary, larger than 4 MiB, or not to be read.
    pub(super) skipped: usize,
    /// Why this is not all, and what to do; absent if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) incomplete: Option<String>,
}

#[tool_router(vis = "pub(super)")]
impl Files {
    /// List what is in one directory: names, sizes and times. For several levels at once use directory_tree.
    #[tool(annotations(title = "List a directory", read_only_hint = true, open_world_hint = false))]
    async fn list_directory(
        &self,
        Parameters(params): Parameters<ListDirectory>,
    ) -> Result<Json<Listed>, Failure> {
        self.with_root(move |root| look::list_directory(root, &params))
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
        let tree = move |root: &Root| look::directory_tree(root, &params, &|| context.ct.is_cancelled());
        self.with_root(tree).await?.map_err(Failure::from)
    }

    /// Read a text file, all of it or some lines. At most 2000 lines unless told, and 256 KiB; what follows the text then says
    /// where to go on. Pictures, sounds and other binary files come whole if they have at most 1 MiB.
    #[tool(annotations(title = "Read a file", read_only_hint = true, open_world_hint = false))]
    async fn read_file(&self, Parameters(params): Parameters<ReadFile>) -> Result<CallToolResult, Failure> {
        self.with_root(move |root| look::read_file(root, &params))
            .await?
            .map_err(Failure::from)
    }

    /// What a path is: file or directory, size, time of the last change, media type, whether it is text.
    #[tool(annotations(title = "Look at a file", read_only_hint = true, open_world_hint = false))]
    async fn file_info(
        &self,
        Parameters(FileInfo { path }): Parameters<FileInfo>,
    ) -> Result<Json<Info>, Failure> {
        self.with_root(move |root| look::file_info(root, &path))
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
        let search = move |root: &Root| search::search_files(root, &params, &|| context.ct.is_cancelled());
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
        let search = move |root: &Root| search::search_text(root, &params, &|| context.ct.is_cancelled());
        self.with_root(search).await?.map(Json).map_err(Failure::from)
    }
}

/// Why a tool gave no answer, in words for the model.
#[derive(Debug, Error)]
pub(super) enum FileError {
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

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::Model(error.to_string())
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
