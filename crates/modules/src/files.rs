//! `files`: a folder, read-only. What it never shows: names that begin with a dot, the gate's data directory, what is neither
//! file nor directory, and anything outside, links or not ([`root`]). Every answer is bounded.

mod look;
mod mime;
mod pattern;
mod resources;
mod root;
mod search;
mod text;
mod tools;
mod walk;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use gatepost::rmcp::{
    self, ErrorData, RoleServer, ServerHandler,
    handler::server::router::tool::ToolRouter,
    model::{
        CompleteRequestParams, CompleteResult, CompletionInfo, Implementation, ListResourceTemplatesResult,
        ListResourcesResult, PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse,
        ReadResourceResult, Reference, ServerCapabilities, ServerConfig,
    },
    service::RequestContext,
    tool_handler,
};
use gatepost_gateway::Module;

use self::root::Root;
use crate::{Context, ModuleError, blocking::blocking, options::Options};

/// The module `files`, also named `filesystem`.
pub(crate) fn module(options: &Options<'_>, context: &Context) -> Result<impl Module, ModuleError> {
    options.only(&["root", "access"])?;
    let access = options.text("access")?.unwrap_or("read");
    if access != "read" {
        return Err(options.bad(
            "access",
            format!("is `{access}`, and `read` is the only access it has"),
            "write `read`, or leave it out",
        ));
    }
    let folder = context
        .folder
        .join(options.text("root")?.map_or(Path::new(""), Path::new));
    let root = Root::open(&folder, &context.data_dir).map_err(|error| {
        // Without the `.` of a folder and a path that begin with one each.
        let shown: PathBuf = folder.components().collect();
        options.bad(
            "root",
            format!("names {}, which {error}", shown.display()),
            error.remedy(),
        )
    })?;
    let root = Arc::new(root);
    let tool_router = Files::tool_router();
    Ok(gatepost::module(move || Files {
        root: root.clone(),
        tool_router: tool_router.clone(),
    }))
}

struct Files {
    root: Arc<Root>,
    tool_router: ToolRouter<Self>,
}

// === impl Files ===

impl Files {
    /// Runs `work` on the folder, off the threads that serve.
    async fn with_root<T, W>(&self, work: W) -> Result<T, ErrorData>
    where
        T: Send + 'static,
        W: FnOnce(&Root) -> T + Send + 'static,
    {
        let root = self.root.clone();
        blocking(move || work(&root)).await
    }
}

#[tool_handler(router = self.tool_router)]
impl ServerHandler for Files {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_resources()
            .enable_completions()
            .build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("gatepost-files", env!("CARGO_PKG_VERSION")).with_title("Files"))
            .with_instructions(
                "A folder of files, read-only. Paths are relative to the folder and use `/`. Start with directory_tree or \
                 search_files; search_text finds where something is said; read_file reads a part or all.",
            )
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let start = match request.and_then(|request| request.cursor) {
            None => 0,
            Some(cursor) => cursor.parse().map_err(|_| {
                ErrorData::invalid_params(
                    "the cursor is not one that this server gave; list from the start",
                    None,
                )
            })?,
        };
        let cancelled = context.ct.clone();
        let (resources, next) = self
            .with_root(move |root| resources::list(root, start, &|| cancelled.is_cancelled()))
            .await?;
        let mut result = ListResourcesResult::with_all_items(resources);
        result.next_cursor = next.map(|next| next.to_string());
        Ok(result)
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(ListResourceTemplatesResult::with_all_items(vec![
            resources::template(),
        ]))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let contents = self
            .with_root(move |root| resources::read(root, &request.uri))
            .await?;
        match contents {
            Ok(contents) => Ok(ReadResourceResult::new(vec![contents]).into()),
            Err(error) => Err(ErrorData::resource_not_found(error.to_string(), None)),
        }
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let typed = request.argument.value;
        let completion = match (&request.r#ref, request.argument.name.as_str()) {
            (Reference::Resource(template), "path") if template.uri.starts_with(resources::URI) => {
                let mut paths = self
                    .with_root(move |root| resources::complete(root, &typed))
                    .await?;
                let more = paths.len() > CompletionInfo::MAX_VALUES;
                paths.truncate(CompletionInfo::MAX_VALUES);
                CompletionInfo::with_pagination(paths, None, more)
                    .map_err(|error| ErrorData::internal_error(error, None))?
            }
            _ => CompletionInfo::default(),
        };
        Ok(CompleteResult::new(completion))
    }
}

#[cfg(test)]
mod tests;
