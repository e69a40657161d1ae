//! What the catalog noticed: things left out, clashes, odd names. For the log, `/health` and `gatepost check`.

use std::{fmt, sync::Arc};

use gatepost_policy::Printable;
use serde::{Serialize, Serializer};

use super::source::ListKind;

/// One thing worth knowing about a listing or a view. It prints as a sentence without its full stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Remark {
    /// An item without what an item must have.
    Skipped {
        /// In which list.
        list: &'static str,
        /// Its place in the server's list, from 0.
        at: usize,
        /// What it lacks.
        why: &'static str,
    },
    /// A server lists a name twice; the first counts.
    Repeated {
        /// What it is.
        noun: &'static str,
        /// Its name or URI.
        key: Box<str>,
    },
    /// A name with control, invisible or direction-changing characters.
    Misleading {
        /// What it is.
        noun: &'static str,
        /// Its name or URI.
        key: Box<str>,
    },
    /// A tool of a modern HTTP server whose `x-mcp-header` breaks the rules: the specification wants it left out
    /// (2026-07-28 server/tools, x-mcp-header).
    LeftOut {
        /// The tool's name.
        tool: Box<str>,
        /// Which rule.
        why: Box<str>,
    },
    /// The same from any other server: the annotation is ignored, clients that heed it will leave the tool out.
    HeadersIgnored {
        /// The tool's name.
        tool: Box<str>,
        /// Which rule.
        why: Box<str>,
    },
    /// A list that would not end; what came until then is offered.
    Cut {
        /// Which list.
        list: &'static str,
        /// What was met.
        why: &'static str,
    },
    /// A URI template that cannot be matched; reads by it find its server only on `/mcp/<server>`.
    BadTemplate {
        /// The template.
        template: Box<str>,
        /// What is wrong with it.
        why: Box<str>,
    },
    /// Two things of one view have the same public name or URI; the first is offered.
    Clash {
        /// What they are.
        noun: &'static str,
        /// The public name, URI or template.
        key: Box<str>,
        /// The server whose thing is offered.
        kept: Arc<str>,
        /// The server whose thing is not.
        hidden: Arc<str>,
    },
    /// A `rename` that meets nothing.
    RenameUnused {
        /// The prefixed name.
        from: Box<str>,
    },
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skipped { list, at, why } => write!(f, "item {at} of `{list}` is left out: {why}"),
            Self::Repeated { noun, key } => {
                write!(
                    f,
                    "the {noun} `{}` is listed twice; the first counts",
                    Printable(key)
                )
            }
            Self::Misleading { noun, key } => {
                write!(
                    f,
                    "the {noun} `{}` has characters that mislead a reader",
                    Printable(key)
                )
            }
            Self::LeftOut { tool, why } => {
                write!(
                    f,
                    "the tool `{}` is left out: its `x-mcp-header` is invalid: {why}",
                    Printable(tool)
                )
            }
            Self::HeadersIgnored { tool, why } => {
                write!(
                    f,
                    "the tool `{}` has an invalid `x-mcp-header`, which is ignored: {why}",
                    Printable(tool)
                )
            }
            Self::Cut { list, why } => write!(f, "`{list}` was cut: {why}"),
            Self::BadTemplate { template, why } => {
                write!(
                    f,
                    "the resource template `{}` matches nothing: {why}",
                    Printable(template)
                )
            }
            Self::Clash {
                noun,
                key,
                kept,
                hidden,
            } => write!(
                f,
                "the {noun} `{}` of server `{hidden}` is hidden by one of server `{kept}`",
                Printable(key)
            ),
            Self::RenameUnused { from } => write!(
                f,
                "`rename` names `{}`, which the view does not have",
                Printable(from)
            ),
        }
    }
}

impl Serialize for Remark {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Everything the catalog noticed, by server and by endpoint, in the order of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct CatalogReport {
    /// Each server with its state in the catalog.
    pub(crate) servers: Vec<ServerReport>,
    /// Each endpoint with remarks, by its path.
    pub(crate) endpoints: Vec<EndpointReport>,
}

/// One server in the catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ServerReport {
    /// Its name.
    pub(crate) server: Arc<str>,
    /// Whether anything is known of it, from now or from an earlier run.
    pub(crate) known: bool,
    /// How many tools, prompts, resources and templates it offers.
    #[serde(serialize_with = "by_kind")]
    pub(crate) items: [usize; 4],
    /// Why the latest refresh failed, if it did.
    pub(crate) failure: Option<String>,
    /// What was noticed.
    pub(crate) remarks: Vec<Remark>,
}

/// `{"tools": 6, …}` says more than `[6, …]`.
fn by_kind<S: Serializer>(items: &[usize; 4], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(ListKind::ALL.iter().map(ToString::to_string).zip(items))
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct EndpointReport {
    /// Its path, `/mcp` or `/mcp/<name>`.
    pub(crate) endpoint: String,
    /// What was noticed.
    pub(crate) remarks: Vec<Remark>,
}

impl fmt::Display for CatalogReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for server in &self.servers {
            if let Some(failure) = &server.failure {
                writeln!(
                    f,
                    "server `{}`: the latest refresh failed: {failure}",
                    server.server
                )?;
            }
            for remark in &server.remarks {
                writeln!(f, "server `{}`: {remark}", server.server)?;
            }
        }
        for endpoint in &self.endpoints {
            for remark in &endpoint.remarks {
                writeln!(f, "{}: {remark}", endpoint.endpoint)?;
            }
        }
        Ok(())
    }
}

/// Whether a name holds characters that make it read as something else; see [`Printable`].
pub(super) fn is_misleading(name: &str) -> bool {
    !name.bytes().all(|byte| (b' '..0x7f).contains(&byte))
        && name.chars().any(|c| {
            c != '\\'
                && Printable(c.encode_utf8(&mut [0; 4]))
                    .to_string()
                    .starts_with('\\')
        })
}

/// The words of a list in remarks.
pub(super) const fn list_name(kind: ListKind) -> &'static str {
    kind.method().name()
}
