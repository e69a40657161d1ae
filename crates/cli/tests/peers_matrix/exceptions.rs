//! What does not work, and why. Strict both ways: what is listed here and works must leave the list.

use crate::Outcomes;

/// Some cells of the table, with one reason.
pub(crate) struct Exception {
    clients: &'static [&'static str],
    servers: &'static [&'static str],
    features: &'static [&'static str],
    pub(crate) reason: &'static str,
}

const EVERY_CLIENT: &[&str] = &["modern", "modern_python", "legacy", "old_sse", "stdio", "connect"];

/// Every cell that is not `ok`.
pub(crate) const EXCEPTIONS: &[Exception] = &[Exception {
    clients: EVERY_CLIENT,
    servers: &["modern_fastmcp"],
    features: &["subscribe", "list_changed"],
    reason: "FastMCP 4.1 has no `subscriptions/listen`: without a gate nobody is told of its changes either.",
}];

/// The number, from 0, of the exception that a cell falls under.
pub(crate) fn of(client: &str, server: &str, feature: &str) -> Option<usize> {
    EXCEPTIONS.iter().position(|exception| {
        exception.clients.contains(&client)
            && exception.servers.contains(&server)
            && exception.features.contains(&feature)
    })
}

/// Stops the test if a cell is not what the list says.
pub(crate) fn check(outcomes: &Outcomes) {
    let wrong: Vec<String> = outcomes
        .iter()
        .filter_map(|(&(client, server, feature), outcome)| {
            match (outcome == "ok", of(client, server, feature)) {
                (true, Some(_)) => Some(format!(
                    "{client} -> {server}, {feature}: works, but is listed as an exception"
                )),
                (false, None) => Some(format!("{client} -> {server}, {feature}: {outcome}")),
                _ => None,
            }
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{} cells of the matrix:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
