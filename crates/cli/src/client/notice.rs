//! What a server says while it works: progress and log messages, shown on stderr.

use std::{
    fmt::Write,
    io::IsTerminal,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::output::{self, style};

/// Goes back to the start of the line and empties it.
const CLEAR: &str = "\r\u{1b}[2K";

/// On a terminal, progress stays on one line; a file gets a line each time.
#[derive(Debug)]
pub(crate) struct Notices {
    terminal: bool,
    /// Whether there is a line of progress to be cleared.
    shown: AtomicBool,
}

#[derive(Deserialize)]
struct Progress {
    progress: Value,
    total: Option<Value>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct Log {
    level: String,
    logger: Option<String>,
    data: Value,
}

impl Default for Notices {
    fn default() -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
            shown: AtomicBool::new(false),
        }
    }
}

impl Notices {
    /// Shows a notification. What is not understood is not shown: it is the server's, and nothing depends on it.
    pub(crate) fn show(&self, method: &str, params: Option<&RawValue>) {
        let Some(line) = params.and_then(|params| rendered(method, params)) else {
            return;
        };
        self.clear();
        if self.terminal && method == "notifications/progress" {
            self.shown.store(true, Relaxed);
            output::words(&line);
        } else {
            output::words(&format!("{line}\n"));
        }
    }

    /// Makes room for something else.
    pub(crate) fn clear(&self) {
        if self.shown.swap(false, Relaxed) {
            output::words(CLEAR);
        }
    }
}

fn rendered(method: &str, params: &RawValue) -> Option<String> {
    let dim = style::DIM;
    match method {
        "notifications/progress" => {
            let Progress {
                progress,
                total,
                message,
            } = serde_json::from_str(params.get()).ok()?;
            let mut text = format!("{dim}progress{dim:#} {progress}");
            if let Some(total) = total {
                let _ = write!(text, "/{total}");
            }
            if let Some(message) = message {
                let _ = write!(text, " {}", gatepost_policy::Printable(&message));
            }
            Some(text)
        }
        "notifications/message" => {
            let Log { level, logger, data } = serde_json::from_str(params.get()).ok()?;
            let data = match data {
                Value::String(text) => text,
                other => other.to_string(),
            };
            let logger = logger.map(|logger| format!(" {logger}:")).unwrap_or_default();
            Some(format!(
                "{dim}{}{dim:#}{}",
                output::harmless(&level),
                output::harmless(&format!("{logger} {data}"))
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, params: &str, shown: Option<&str>) {
        let params = RawValue::from_string(params.to_owned()).unwrap();
        let text = rendered(method, &params).map(|text| anstream::adapter::strip_str(&text).to_string());
        assert_eq!(text.as_deref(), shown);
    }

    #[test]
    fn what_a_server_says_is_one_harmless_line() {
        let progress = r#"{"progressToken":1,"progress":3,"total":10,"message":"half\u001b[2J"}"#;
        check(
            "notifications/progress",
            progress,
            Some(r"progress 3/10 half\u{1b}[2J"),
        );
        check(
            "notifications/progress",
            r#"{"progress":0.5}"#,
            Some("progress 0.5"),
        );
        check(
            "notifications/message",
            r#"{"level":"warning","data":"slow"}"#,
            Some("warning slow"),
        );
        check(
            "notifications/message",
            r#"{"level":"info","logger":"db","data":{"a":1}}"#,
            Some(r#"info db: {"a":1}"#),
        );
        check("notifications/other", "{}", None);
        check("notifications/progress", "{}", None);
    }
}
