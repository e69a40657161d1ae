//! What a client calls a server's task.
//!
//! A server that sees one credential of the gate's cannot tell whose a task is, a bare id does not say which server gave it,
//! and two servers may give the same one. So the client gets a sealed token of the server, the tool whose call became the
//! task, and the server's own id. It opens on the same endpoint and for the same principal only.
//! Source: `eras.md` §8, MM; tasks extension, Security Considerations, Auth binding.

use std::borrow::Cow;

use gatepost_policy::Principal;
use gatepost_protocol::{
    json::{self, Span},
    translate::TASKS_EXTENSION,
};
use serde::{Deserialize, Serialize};

use crate::{
    catalog::EndpointName,
    seal::{Holder, Purpose, Sealer},
};

/// A task of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Task {
    /// The server's name.
    pub(crate) server: String,
    /// The tool, as the server calls it: who may call it may follow what it does.
    pub(crate) tool: String,
    /// The server's own id.
    pub(crate) id: String,
}

/// The token's plain text. Field names are short because the token travels in the `Mcp-Name` header.
#[derive(Serialize, Deserialize)]
struct Sealed<'a> {
    #[serde(borrow)]
    s: Cow<'a, str>,
    #[serde(borrow)]
    n: Cow<'a, str>,
    #[serde(borrow)]
    t: Cow<'a, str>,
    /// The endpoint.
    #[serde(borrow)]
    e: Cow<'a, str>,
    #[serde(borrow)]
    p: Holder<'a>,
}

impl Task {
    /// What this principal calls the task on this endpoint. Never the same twice.
    pub(crate) fn seal(&self, sealer: &Sealer, endpoint: &EndpointName, principal: &Principal) -> String {
        let sealed = Sealed {
            s: (&*self.server).into(),
            n: (&*self.tool).into(),
            t: (&*self.id).into(),
            e: endpoint.to_string().into(),
            p: Holder::of(principal),
        };
        // Strings always serialise; an empty token, which opens nothing, would be the safe answer.
        let plain = serde_json::to_vec(&sealed).unwrap_or_default();
        sealer.seal(Purpose::Task, &plain)
    }

    /// The task that was sealed into `token` for this principal on this endpoint.
    pub(crate) fn open(
        token: &str,
        sealer: &Sealer,
        endpoint: &EndpointName,
        principal: &Principal,
    ) -> Option<Self> {
        let plain = sealer.open(Purpose::Task, token)?;
        let sealed: Sealed<'_> = serde_json::from_slice(&plain).ok()?;
        let theirs = *sealed.e == endpoint.to_string() && sealed.p.is(principal);
        theirs.then(|| Self {
            server: sealed.s.into_owned(),
            tool: sealed.n.into_owned(),
            id: sealed.t.into_owned(),
        })
    }
}

/// Whether somebody's capabilities hold the tasks extension.
pub(crate) fn declared(capabilities: &[u8]) -> bool {
    within(capabilities, &["extensions", TASKS_EXTENSION])
        .is_some_and(|value| json::kind(capabilities, value) == Some(json::Kind::Object))
}

/// Whether a legacy server's capabilities say that it can make tasks of calls.
/// Source: MCP 2025-11-25, basic/utilities/tasks, Server Capabilities.
pub(crate) fn made_of_calls(capabilities: &[u8]) -> bool {
    within(capabilities, &["tasks", "requests", "tools", "call"])
        .is_some_and(|value| json::kind(capabilities, value) == Some(json::Kind::Object))
}

/// Whether a legacy server's tool can only be called as a task.
/// Source: MCP 2025-11-25, basic/utilities/tasks, Tool-Level Negotiation.
pub(crate) fn is_required(tool: &[u8]) -> bool {
    within(tool, &["execution", "taskSupport"]).is_some_and(|value| json::equals(tool, value, "required"))
}

fn within(raw: &[u8], path: &[&str]) -> Option<Span> {
    path.iter().try_fold(Span::all(raw), |span, name| {
        json::object(raw, span).ok()?.get(raw, name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_opens_where_and_for_whom_it_was_sealed() {
        let sealer = Sealer::new(&["key"]).unwrap();
        let (all, view) = (EndpointName::All, EndpointName::Named("v".into()));
        let (ann, bob) = (Principal::new("i", "ann \"a\""), Principal::new("i", "bob"));
        let task = Task {
            server: "s".into(),
            tool: "slow\"tool".into(),
            id: "täsk\n1".into(),
        };
        let token = task.seal(&sealer, &all, &ann);
        assert_eq!(Task::open(&token, &sealer, &all, &ann), Some(task.clone()));
        assert_eq!(Task::open(&token, &sealer, &view, &ann), None);
        assert_eq!(Task::open(&token, &sealer, &all, &bob), None);
        assert_eq!(Task::open("täsk\n1", &sealer, &all, &ann), None);
        let other = Sealer::new(&["other key"]).unwrap();
        assert_eq!(Task::open(&token, &other, &all, &ann), None);
    }

    #[test]
    fn a_legacy_server_says_that_it_makes_tasks_and_of_which_tools_only() {
        let all = r#"{"tasks":{"requests":{"tools":{"call":{}}}}}"#;
        assert!(made_of_calls(all.as_bytes()));
        for other in [r#"{"tasks":{"requests":{"tools":{}}}}"#, r#"{"tasks":{}}"#, "{}"] {
            assert!(!made_of_calls(other.as_bytes()), "{other}");
        }
        assert!(is_required(br#"{"execution":{"taskSupport":"required"}}"#));
        for other in [
            r#"{"execution":{"taskSupport":"optional"}}"#,
            r#"{"execution":{}}"#,
            r#"{"execution":7}"#,
        ] {
            assert!(!is_required(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn the_extension_is_declared_by_an_object() {
        for (capabilities, expected) in [
            (r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#, true),
            (r#"{"extensions":{"io.modelcontextprotocol/tasks":null}}"#, false),
            (r#"{"extensions":{"x/y":{}},"tasks":{}}"#, false),
            ("{}", false),
        ] {
            assert_eq!(declared(capabilities.as_bytes()), expected, "{capabilities}");
        }
    }
}
