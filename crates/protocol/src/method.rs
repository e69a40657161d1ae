//! Every method and notification of every version, in one flat table.

use crate::version::Version;

/// Who sends a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Client to server.
    ToServer,
    /// Server to client.
    ToClient,
    /// Either side.
    Both,
}

/// Whether a message is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// Has an id and is answered.
    Request,
    /// Has no id and is never answered.
    Notification,
}

/// The parameter that names what a request is about. In 2026-07-28 it is also the source of the `Mcp-Name` header
/// (basic/transports/streamable-http, Request Metadata; for tasks ext-tasks, Request Headers).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// `params.name`
    Name,
    /// `params.uri`
    Uri,
    /// `params.taskId`
    TaskId,
}

impl Target {
    /// The parameter's name.
    pub const fn param(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Uri => "uri",
            Self::TaskId => "taskId",
        }
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MethodFacts {
    /// The method as it is on the wire.
    pub name: &'static str,
    /// Who sends it.
    pub direction: Direction,
    /// Request or notification.
    pub kind: MessageKind,
    /// What names its target, if it has one.
    pub target: Option<Target>,
    /// Whether sending it again after a failure changes nothing: true for what only reads, and for what sets a value.
    /// `tools/call` is not, whatever a server's annotations say.
    pub repeatable: bool,
    /// First version that has it.
    pub first: Version,
    /// Last version that has it.
    pub last: Version,
}

macro_rules! methods {
    ($($(#[$doc:meta])* $variant:ident $name:literal $direction:ident $kind:ident $target:expr, $repeatable:literal, $first:ident ..= $last:ident;)*) => {
        /// A method or notification of MCP, of any version.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Method {
            $($(#[$doc])* $variant,)*
        }

        impl Method {
            /// Every method, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The method called `name`, exactly as written: names are case-sensitive.
            pub fn parse(name: &str) -> Option<Self> {
                Some(match name {
                    $($name => Self::$variant,)*
                    _ => return None,
                })
            }

            /// The method's row in the table.
            pub const fn facts(self) -> MethodFacts {
                match self {
                    $(Self::$variant => MethodFacts {
                        name: $name,
                        direction: Direction::$direction,
                        kind: MessageKind::$kind,
                        target: $target,
                        repeatable: $repeatable,
                        first: Version::$first,
                        last: Version::$last,
                    },)*
                }
            }
        }
    };
}

const NONE: Option<Target> = None;
const NAME: Option<Target> = Some(Target::Name);
const URI: Option<Target> = Some(Target::Uri);
const TASK: Option<Target> = Some(Target::TaskId);

// Rows: name, direction, kind, target, repeatable, versions. The `tasks/*` of 2025-11-25 are in its schema; those of
// 2026-07-28 are the extension `io.modelcontextprotocol/tasks`, which has `update` instead of `result` and `list`.
methods! {
    /// Legacy handshake.
    Initialize "initialize" ToServer Request NONE, false, V2024_11_05 ..= V2025_11_25;
    /// End of the legacy handshake.
    Initialized "notifications/initialized" ToServer Notification NONE, false, V2024_11_05 ..= V2025_11_25;
    /// What a modern server offers.
    Discover "server/discover" ToServer Request NONE, true, V2026_07_28 ..= V2026_07_28;
    /// Is the other side alive.
    Ping "ping" Both Request NONE, true, V2024_11_05 ..= V2025_11_25;
    /// The tools there are.
    ToolsList "tools/list" ToServer Request NONE, true, V2024_11_05 ..= V2026_07_28;
    /// Runs a tool.
    ToolsCall "tools/call" ToServer Request NAME, false, V2024_11_05 ..= V2026_07_28;
    /// The prompts there are.
    PromptsList "prompts/list" ToServer Request NONE, true, V2024_11_05 ..= V2026_07_28;
    /// Fills in a prompt.
    PromptsGet "prompts/get" ToServer Request NAME, true, V2024_11_05 ..= V2026_07_28;
    /// The resources there are.
    ResourcesList "resources/list" ToServer Request NONE, true, V2024_11_05 ..= V2026_07_28;
    /// The resource templates there are.
    ResourceTemplatesList "resources/templates/list" ToServer Request NONE, true, V2024_11_05 ..= V2026_07_28;
    /// Reads a resource.
    ResourcesRead "resources/read" ToServer Request URI, true, V2024_11_05 ..= V2026_07_28;
    /// Watches a resource.
    ResourcesSubscribe "resources/subscribe" ToServer Request URI, true, V2024_11_05 ..= V2025_11_25;
    /// Stops watching a resource.
    ResourcesUnsubscribe "resources/unsubscribe" ToServer Request URI, true, V2024_11_05 ..= V2025_11_25;
    /// A stream of change notices.
    SubscriptionsListen "subscriptions/listen" ToServer Request NONE, true, V2026_07_28 ..= V2026_07_28;
    /// Which part of the asked-for notices will come.
    SubscriptionsAcknowledged "notifications/subscriptions/acknowledged" ToClient Notification NONE, false, V2026_07_28 ..= V2026_07_28;
    /// Completes an argument.
    CompletionComplete "completion/complete" ToServer Request NONE, true, V2024_11_05 ..= V2026_07_28;
    /// How much a session wants to hear.
    LoggingSetLevel "logging/setLevel" ToServer Request NONE, true, V2024_11_05 ..= V2025_11_25;
    /// The state of a task.
    TasksGet "tasks/get" Both Request TASK, true, V2025_11_25 ..= V2026_07_28;
    /// Input for a task that waits for it.
    TasksUpdate "tasks/update" ToServer Request TASK, false, V2026_07_28 ..= V2026_07_28;
    /// Ends a task.
    TasksCancel "tasks/cancel" Both Request TASK, true, V2025_11_25 ..= V2026_07_28;
    /// Waits for a task's result.
    TasksResult "tasks/result" Both Request TASK, true, V2025_11_25 ..= V2025_11_25;
    /// The tasks there are.
    TasksList "tasks/list" Both Request NONE, true, V2025_11_25 ..= V2025_11_25;
    /// A task's state changed (2025-11-25).
    TasksStatus "notifications/tasks/status" Both Notification TASK, false, V2025_11_25 ..= V2025_11_25;
    /// A task's state changed (extension of 2026-07-28).
    TasksNotice "notifications/tasks" ToClient Notification TASK, false, V2026_07_28 ..= V2026_07_28;
    /// Asks the client's model. A message of its own only for legacy peers; inside `inputRequests` for modern ones.
    SamplingCreateMessage "sampling/createMessage" ToClient Request NONE, false, V2024_11_05 ..= V2025_11_25;
    /// Asks the user. Like sampling, no message of its own in 2026-07-28.
    ElicitationCreate "elicitation/create" ToClient Request NONE, false, V2025_06_18 ..= V2025_11_25;
    /// Asks for the client's roots. Like sampling, no message of its own in 2026-07-28.
    RootsList "roots/list" ToClient Request NONE, true, V2024_11_05 ..= V2025_11_25;
    /// The sender no longer wants an answer.
    Cancelled "notifications/cancelled" Both Notification NONE, false, V2024_11_05 ..= V2026_07_28;
    /// How far a request has got. In 2026-07-28 only servers send it.
    Progress "notifications/progress" Both Notification NONE, false, V2024_11_05 ..= V2026_07_28;
    /// A log line.
    LogMessage "notifications/message" ToClient Notification NONE, false, V2024_11_05 ..= V2026_07_28;
    /// The list of tools changed.
    ToolsListChanged "notifications/tools/list_changed" ToClient Notification NONE, false, V2024_11_05 ..= V2026_07_28;
    /// The list of prompts changed.
    PromptsListChanged "notifications/prompts/list_changed" ToClient Notification NONE, false, V2024_11_05 ..= V2026_07_28;
    /// The list of resources changed.
    ResourcesListChanged "notifications/resources/list_changed" ToClient Notification NONE, false, V2024_11_05 ..= V2026_07_28;
    /// A watched resource changed.
    ResourcesUpdated "notifications/resources/updated" ToClient Notification URI, false, V2024_11_05 ..= V2026_07_28;
    /// The client's roots changed.
    RootsListChanged "notifications/roots/list_changed" ToServer Notification NONE, false, V2024_11_05 ..= V2025_11_25;
    /// A URL elicitation was finished outside.
    ElicitationComplete "notifications/elicitation/complete" ToClient Notification NONE, false, V2025_11_25 ..= V2025_11_25;
}

impl Method {
    /// The method as it is on the wire.
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// Whether `version` has this method.
    pub fn known_to(self, version: Version) -> bool {
        let facts = self.facts();
        facts.first <= version && version <= facts.last
    }

    /// Whether a client may send this to a server.
    pub fn from_client(self) -> bool {
        self.facts().direction != Direction::ToClient
    }

    /// Whether it is a request.
    pub fn is_request(self) -> bool {
        self.facts().kind == MessageKind::Request
    }

    /// Whether the answer carries `ttlMs` and `cacheScope` in 2026-07-28 (server/utilities/caching).
    pub const fn is_cacheable(self) -> bool {
        matches!(
            self,
            Self::Discover
                | Self::ToolsList
                | Self::PromptsList
                | Self::ResourcesList
                | Self::ResourceTemplatesList
                | Self::ResourcesRead
        )
    }

    /// Whether a modern server may answer `input_required` (2026-07-28 basic/patterns/mrtr, Supported Requests).
    pub const fn may_ask(self) -> bool {
        matches!(self, Self::ToolsCall | Self::PromptsGet | Self::ResourcesRead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_by_its_name() {
        for &method in Method::ALL {
            let facts = method.facts();
            assert_eq!(Method::parse(facts.name), Some(method));
            assert!(facts.first <= facts.last, "{}", facts.name);
            let noticed = facts.name.starts_with("notifications/");
            assert_eq!(noticed, facts.kind == MessageKind::Notification, "{}", facts.name);
        }
        assert_eq!(Method::parse("Tools/call"), None);
        assert_eq!(Method::parse("tools/call "), None);
    }

    #[test]
    fn versions_know_their_methods() {
        use Version::{V2024_11_05, V2025_11_25, V2026_07_28};
        assert!(Method::Ping.known_to(V2024_11_05) && !Method::Ping.known_to(V2026_07_28));
        assert!(Method::Discover.known_to(V2026_07_28) && !Method::Discover.known_to(V2025_11_25));
        assert!(Method::ToolsCall.known_to(V2024_11_05) && Method::ToolsCall.known_to(V2026_07_28));
    }
}
