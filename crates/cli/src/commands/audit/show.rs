//! Records for people: one line each.

use std::fmt::Write;

use gatepost_audit::{Entry, Record};
use gatepost_policy::Printable;
use gatepost_protocol::json::{self, Span};

use crate::output::style;

/// A call with its outcome, or a denial, on one line.
pub(super) fn entry(entry: &Entry) -> String {
    let record = &entry.record;
    let (good, bad, dim) = (style::GOOD, style::ERROR, style::DIM);
    let mut line = format!(
        "{dim}{}{dim:#}  {:<24}  {:<36}  ",
        record.time,
        who(record),
        what(record)
    );
    let _ = match &entry.outcome {
        _ if record.kind == "denial" => write!(line, "{bad}{}{bad:#}", denied(record)),
        None => write!(line, "{dim}open{dim:#}"),
        Some((outcome, _)) => {
            let word = outcome.outcome.as_deref().unwrap_or("?");
            let style = if word == "ok" { good } else { bad };
            let code = outcome.code.map(|code| format!(" {code}")).unwrap_or_default();
            write!(line, "{style}{}{code}{style:#}{}", Printable(word), took(outcome))
        }
    };
    line.push_str(&by(record));
    line.push('\n');
    line
}

/// Any record on one line.
pub(super) fn record(record: &Record, line: &str) -> String {
    let (dim, heading) = (style::DIM, style::HEADING);
    let mut shown = format!(
        "{dim}{}{dim:#}  {heading}{:<10}{heading:#}  ",
        record.time,
        Printable(&record.kind).to_string()
    );
    match record.kind.as_str() {
        "intent" => {
            let _ = write!(shown, "{:<24}  {}{}", who(record), what(record), by(record));
        }
        "denial" => {
            let _ = write!(
                shown,
                "{:<24}  {}  {}{}",
                who(record),
                what(record),
                denied(record),
                by(record)
            );
        }
        "outcome" => {
            let of = record.of.as_deref().unwrap_or("?");
            let word = record.outcome.as_deref().unwrap_or("?");
            let code = record.code.map(|code| format!(" {code}")).unwrap_or_default();
            let _ = write!(
                shown,
                "{}{code}{}  of {}",
                Printable(word),
                took(record),
                Printable(of)
            );
        }
        "credential" => {
            let whose = match record.who.subject {
                Some(_) => who(record),
                None => "the gate".to_owned(),
            };
            let _ = write!(shown, "{whose:<24}  {}", own(line));
        }
        // What the log says of itself.
        _ => shown.push_str(&own(line)),
    }
    shown.push('\n');
    shown
}

/// What a record has besides what every record has, and whose it is: `name value`, in its own order.
fn own(line: &str) -> String {
    let raw = line.as_bytes();
    let Ok(members) = json::object(raw, Span::all(raw)) else {
        return String::new();
    };
    let shown = |span: Span| {
        let text = json::text(raw, span).unwrap_or_else(|| String::from_utf8_lossy(span.of(raw)));
        Printable(&text).to_string()
    };
    let own = members
        .iter()
        .skip_while(|member| !json::equals(raw, member.key, "kind"))
        .skip(1)
        .filter(|member| {
            !["who", "signature"]
                .iter()
                .any(|name| json::equals(raw, member.key, name))
        });
    let own = own.map(|member| format!("{} {}", shown(member.key), shown(member.value)));
    own.collect::<Vec<_>>().join("  ")
}

fn who(record: &Record) -> String {
    let who = &record.who;
    let subject = who.subject.as_deref().map_or_else(
        || who.address.as_deref().unwrap_or("nobody known").to_owned(),
        |subject| Printable(subject).to_string(),
    );
    match &who.tenant {
        Some(tenant) => format!("{subject} ({})", Printable(tenant)),
        None => subject,
    }
}

fn what(record: &Record) -> String {
    let what = &record.what;
    let method = what.method.as_deref().or(what.endpoint.as_deref()).unwrap_or("?");
    match &what.name {
        Some(name) if method == "tools/call" => Printable(name).to_string(),
        Some(name) => format!("{} {}", Printable(method), Printable(name)),
        None => Printable(method).to_string(),
    }
}

fn denied(record: &Record) -> String {
    let decision = &record.decision;
    let status = decision
        .status
        .map(|status| format!(" {status}"))
        .unwrap_or_default();
    let reason = decision.reason.as_deref().unwrap_or_default();
    format!("denied{status}: {}", Printable(reason))
}

fn by(record: &Record) -> String {
    let dim = style::DIM;
    match (&record.decision.role, &record.decision.rule) {
        (None, None) => String::new(),
        (Some(role), None) => format!("  {dim}by {}{dim:#}", Printable(role)),
        (None, Some(rule)) => format!("  {dim}by {}{dim:#}", Printable(rule)),
        (Some(role), Some(rule)) => format!("  {dim}by {}: {}{dim:#}", Printable(role), Printable(rule)),
    }
}

fn took(outcome: &Record) -> String {
    match outcome.us {
        None => String::new(),
        Some(us) if us < 1_000 => format!("  {us} µs"),
        Some(us) if us < 1_000_000 => format!("  {:.1} ms", us as f64 / 1e3),
        Some(us) => format!("  {:.1} s", us as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        let parsed = Record::of(line.as_bytes()).unwrap();
        anstream::adapter::strip_str(&record(&parsed, line)).to_string()
    }

    #[test]
    fn what_the_log_says_of_itself_is_no_json() {
        let begin = r#"{"seq":7,"time":"2026-11-21T18:28:04.756591Z","id":"x-7","prev":"00","kind":"#;
        let checkpoint = format!(r#"{begin}"checkpoint","open":0,"signed_by":"2ecf","signature":"abc="}}"#);
        assert_eq!(
            shown(&checkpoint),
            "2026-11-21T18:28:04.756591Z  checkpoint  open 0  signed_by 2ecf\n"
        );
        let resumed = format!(r#"{begin}"resumed","reason":"no, \"space\"","unwritten":22}}"#);
        assert_eq!(
            shown(&resumed),
            "2026-11-21T18:28:04.756591Z  resumed     reason no, \"space\"  unwritten 22\n"
        );
        let credential =
            format!(r#"{begin}"credential","who":{{}},"server":"crm","credential":"client_credentials"}}"#);
        assert_eq!(
            shown(&credential),
            "2026-11-21T18:28:04.756591Z  credential  the gate                  server crm  credential client_credentials\n"
        );
    }
}
