//! `notes`: short texts that outlive the conversation, kept in `notes.db` in the gate's own directory.
//!
//! A note is reached by tools, which models call, and as the resource `note:///<id>`, which people pick. Whoever is
//! connected hears of changes, whichever connection made them.

mod announce;
mod store;
mod tools;

use std::sync::Arc;

use gatepost::rmcp::{
    self, ErrorData, RoleServer, ServerHandler,
    handler::server::router::{prompt::PromptRouter, tool::ToolRouter},
    model::{
        CompleteRequestParams, CompleteResult, CompletionInfo, Implementation, ListResourceTemplatesResult,
        ListResourcesResult, PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse,
        ReadResourceResult, Reference, Resource, ResourceContents, ResourceTemplate, ServerCapabilities,
        ServerConfig, SubscribeRequestParams, SubscriptionFilter, UnsubscribeRequestParams,
    },
    prompt_handler,
    service::{NotificationContext, RequestContext, SubscriptionContext},
    tool_handler,
};
use gatepost_gateway::Module;

use self::{
    announce::Announcer,
    store::{NoteError, Store, Summary},
};
use crate::{Context, ModuleError, blocking::blocking, options::Options};

/// Resources on a page of `resources/list`.
const PAGE: u32 = 200;
const URI: &str = "note:///";
const MIME: &str = "text/markdown";

/// The module `notes`.
pub(crate) fn module(options: &Options<'_>, context: &Context) -> Result<impl Module, ModuleError> {
    options.only(&[])?;
    let path = context.data_dir.join("notes.db");
    let store = Store::open(&path).map_err(|error| ModuleError::Storage {
        module: options.module().to_owned(),
        path,
        reason: error.to_string(),
    })?;
    let store = Arc::new(store);
    let routers = (Notes::tool_router(), Notes::prompt_router());
    Ok(gatepost::module(move || Notes {
        store: store.clone(),
        announcer: Announcer::new(store.changes()),
        tool_router: routers.0.clone(),
        prompt_router: routers.1.clone(),
    }))
}

/// One connection's view of the notes.
struct Notes {
    store: Arc<Store>,
    announcer: Announcer,
    tool_router: ToolRouter<Self>,
    prompt_router: PromptRouter<Self>,
}

// === impl Notes ===

impl Notes {
    /// Runs `work` on the store, off the threads that serve.
    async fn with_store<T, W>(&self, work: W) -> Result<Result<T, NoteError>, ErrorData>
    where
        T: Send + 'static,
        W: FnOnce(&Store) -> Result<T, NoteError> + Send + 'static,
    {
        let store = self.store.clone();
        blocking(move || work(&store)).await
    }
}

#[tool_handler(router = self.tool_router)]
#[prompt_handler(router = self.prompt_router)]
impl ServerHandler for Notes {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_prompts()
            .enable_completions()
            .enable_resources()
            .enable_resources_list_changed()
            .enable_resources_subscribe()
            .build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("gatepost-notes", env!("CARGO_PKG_VERSION")).with_title("Notes"))
            .with_instructions(
                "Notes that outlive the conversation. Look with search_notes before you add one on the same subject; \
                 update_note replaces what it is given.",
            )
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        // The cursor is the last id of the page before: notes that come or go in between move nothing.
        let before = match request.and_then(|request| request.cursor) {
            None => None,
            Some(cursor) => Some(cursor.parse().map_err(|_| {
                ErrorData::invalid_params(
                    "the cursor is not one that this server gave; list from the start",
                    None,
                )
            })?),
        };
        let (notes, _) = self
            .with_store(move |store| store.list(before, PAGE))
            .await?
            .map_err(protocol_error)?;
        let next = (notes.len() == PAGE as usize)
            .then(|| notes.last().map(|note| note.id.to_string()))
            .flatten();
        let mut result = ListResourcesResult::with_all_items(notes.iter().map(resource).collect());
        result.next_cursor = next;
        Ok(result)
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let template = ResourceTemplate::new(format!("{URI}{{id}}"), "note")
            .with_title("A note")
            .with_description("The note with this id, as Markdown.")
            .with_mime_type(MIME);
        Ok(ListResourceTemplatesResult::with_all_items(vec![template]))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let Some(id) = note_id(&request.uri) else {
            let message = format!("`{}` is no note; the address of a note is {URI}<id>", request.uri);
            return Err(ErrorData::resource_not_found(message, None));
        };
        let note = self
            .with_store(move |store| store.get(id))
            .await?
            .map_err(protocol_error)?;
        let text = format!("# {}\n\n{}", note.title, note.body);
        let contents = ResourceContents::text(text, request.uri).with_mime_type(MIME);
        Ok(ReadResourceResult::new(vec![contents]).into())
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let typed = request.argument.value;
        // One more than fits tells whether there are more.
        let most = CompletionInfo::MAX_VALUES as u32 + 1;
        let values = match (&request.r#ref, request.argument.name.as_str()) {
            (Reference::Resource(template), "id") if template.uri.starts_with(URI) => {
                self.with_store(move |store| store.ids(&typed, most)).await?
            }
            (Reference::Prompt(prompt), "about") if prompt.name == "summarize_notes" => {
                self.with_store(move |store| store.titles(&typed, most)).await?
            }
            _ => Ok(Vec::new()),
        };
        let mut values = values.map_err(protocol_error)?;
        let more = values.len() > CompletionInfo::MAX_VALUES;
        values.truncate(CompletionInfo::MAX_VALUES);
        let completion = CompletionInfo::with_pagination(values, None, more)
            .map_err(|error| ErrorData::internal_error(error, None))?;
        Ok(CompleteResult::new(completion))
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        self.announcer.start(context.peer);
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        self.announcer.accept(self.store.changes());
        let mut accepted = SubscriptionFilter::default();
        accepted.resources_list_changed = requested.resources_list_changed;
        accepted.resource_subscriptions = requested.resource_subscriptions.as_ref().map(|uris| {
            uris.iter()
                .filter(|uri| note_id(uri).is_some())
                .cloned()
                .collect()
        });
        Some(accepted)
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let changes = self.announcer.accepted().unwrap_or_else(|| self.store.changes());
        announce::until_cancelled(changes, &context).await;
        Ok(())
    }

    // How a legacy client subscribes; `listen` is for the modern ones.
    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let Some(id) = note_id(&request.uri) else {
            let message = format!("`{}` is no note; the address of a note is {URI}<id>", request.uri);
            return Err(ErrorData::resource_not_found(message, None));
        };
        self.with_store(move |store| store.get(id))
            .await?
            .map_err(protocol_error)?;
        self.announcer.watch(id);
        Ok(())
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        if let Some(id) = note_id(&request.uri) {
            self.announcer.forget(id);
        }
        Ok(())
    }
}

fn uri(id: i64) -> String {
    format!("{URI}{id}")
}

/// The id in a note's address, which is written in one way only.
fn note_id(address: &str) -> Option<i64> {
    let id: i64 = address.strip_prefix(URI)?.parse().ok()?;
    (uri(id) == address).then_some(id)
}

fn resource(note: &Summary) -> Resource {
    Resource::new(uri(note.id), note.title.clone()).with_mime_type(MIME)
}

/// A failure where the protocol has no place for a tool's error.
#[expect(clippy::needless_pass_by_value, reason = "the shape `map_err` wants")]
fn protocol_error(error: NoteError) -> ErrorData {
    match error {
        NoteError::Missing(_) => ErrorData::resource_not_found(error.to_string(), None),
        NoteError::Database(_) => {
            tracing::error!(%error, "notes");
            ErrorData::internal_error(error.to_string(), None)
        }
        _ => ErrorData::invalid_params(error.to_string(), None),
    }
}

#[cfg(test)]
mod tests;
