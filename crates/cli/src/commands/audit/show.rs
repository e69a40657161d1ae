//! Records for people: one line each.

use std::fmt::Write;

use gatepost_audit::{Entry, Record};
use gatepost_policy::Printable;

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
        _ => {
            // What the log says of itself: its own words, behind what every record has.
            let own = line
                .find("\"kind\":")
                .and_then(|at| line.get(at..))
                .and_then(|rest| rest.split_once(','));
            let own = own.map_or("", |(_, own)| own.trim_end_matches('}'));
            let own = own.split_once(",\"signature\"").map_or(own, |(own, _)| own);
            shown.push_str(&crate::output::harmless(own));
        }
    }
    shown.push('\n');
    shown
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
