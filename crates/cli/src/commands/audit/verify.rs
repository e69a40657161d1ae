//! `gatepost audit verify`: is the log what was written?

use std::{fmt::Write, fs, path::Path};

use gatepost_audit::{Fault, FaultKind, Hash, Known, PublicKey, Report};
use serde_json::json;

use super::{Place, unreadable};
use crate::{
    exit,
    failure::{Failure, counted},
    output::{self, style},
};

/// Check that no record was changed, removed, reordered or cut off, and name the first that was
///
/// Works on a copy of the folder, offline. Exit code 1: something is wrong.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
    /// The public key of `audit.signing_key`, as a PEM file or Base64; may be given more than once [default: the one of
    /// the configuration]
    #[arg(long, value_name = "FILE")]
    public_key: Vec<String>,
    /// A record that must be there: `NUMBER:HASH`, or a file with a record, such as a checkpoint that a sink received
    #[arg(long, value_name = "FILE|NUMBER:HASH")]
    expect_checkpoint: Vec<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let (folder, config) = args.place.find()?;
    let mut keys = Vec::new();
    for key in &args.public_key {
        keys.push(PublicKey::load(key).map_err(|error| no_key(key, &error))?);
    }
    if keys.is_empty() {
        let signing = config
            .and_then(|config| config.audit)
            .and_then(|audit| audit.signing_key);
        keys.extend(signing.and_then(|key| PublicKey::of(&key)));
    }
    let mut known = Known {
        keys,
        records: Vec::new(),
    };
    for text in &args.expect_checkpoint {
        known.records.push(expected(text)?);
    }
    let report = gatepost_audit::verify(&folder, &known).map_err(|error| unreadable(&error, &folder))?;
    if report.last.is_none() && report.fault.is_none() {
        return Err(nothing_there(&folder));
    }
    let text = if args.json {
        as_json(&report)
    } else {
        as_text(&report, &known, &folder)
    };
    output::result(&text)?;
    match report.fault {
        None => Ok(()),
        Some(_) => Err(Failure::Said(exit::FAILURE)),
    }
}

fn no_key(text: &str, error: &dyn std::error::Error) -> Failure {
    let there = Path::new(text).try_exists().unwrap_or(true);
    let missing = if there {
        ""
    } else {
        "there is no such file, and it is "
    };
    Failure::new(format!("--public-key {text}: {missing}{error}"), "").code(exit::USAGE)
}

/// A gate begins its log with a record. A folder without any proves nothing, least of all that nothing is missing.
fn nothing_there(folder: &Path) -> Failure {
    Failure::new(
        format!("there is no record in {}", folder.display()),
        "if a gate has ever written its log there, all of it was removed; if not, name the folder with `--dir FOLDER`, or the \
         configuration with `-c FILE`",
    )
}

/// `NUMBER:HASH`, or a file that holds a record.
fn expected(text: &str) -> Result<(u64, Hash), Failure> {
    let pair = text
        .split_once(':')
        .and_then(|(seq, hash)| Some((seq.parse().ok()?, Hash::parse(hash.as_bytes())?)));
    if let Some(pair) = pair {
        return Ok(pair);
    }
    let line = fs::read(text).map_err(|error| {
        Failure::new(
            format!("`{text}` is neither NUMBER:HASH nor a file that can be read: {error}"),
            "write what an earlier `gatepost audit verify` printed as `end`, or name a file with one record",
        )
        .code(exit::USAGE)
    })?;
    let line = line.trim_ascii_end();
    gatepost_audit::Record::of(line)
        .filter(|record| record.seq > 0 && !line.contains(&b'\n'))
        .map(|record| (record.seq, Hash::of(line)))
        .ok_or_else(|| {
            Failure::new(
                format!("{text} does not hold one record of an audit log"),
                "put one line of the log into it, exactly as a sink received it",
            )
            .code(exit::USAGE)
        })
}

fn said(fault: &Fault) -> String {
    let range = |through: u64| {
        if through == fault.seq {
            format!("record {through}")
        } else {
            format!("records {} to {through}", fault.seq)
        }
    };
    let were = |through: u64| if through == fault.seq { "was" } else { "were" };
    match fault.kind {
        FaultKind::Changed => format!("record {} was changed", fault.seq),
        FaultKind::Removed { through } => format!("{} {} removed", range(through), were(through)),
        FaultKind::CutOff { through } => format!("{} {} cut off the end", range(through), were(through)),
        FaultKind::Moved => format!("record {} was moved", fault.seq),
        FaultKind::Repeated => format!("record {} stands there twice", fault.seq),
        FaultKind::Foreign => format!("record {} belongs to another log", fault.seq),
        FaultKind::Rewritten { through } => {
            format!("one of {} was changed and the chain made to fit", range(through))
        }
        FaultKind::Unsigned => format!("record {} should be signed and is not", fault.seq),
    }
}

fn as_text(report: &Report, known: &Known, folder: &Path) -> String {
    let mut text = String::new();
    let (good, bad, dim) = (style::GOOD, style::ERROR, style::DIM);
    if let Some(fault) = &report.fault {
        let _ = writeln!(text, "{bad}{}{bad:#}: {}", said(fault), fault.because);
        if let Some(file) = &fault.file {
            let _ = writeln!(text, "  in         {}", file.display());
        }
        match &report.last {
            Some(last) if last.seq < fault.seq => {
                let _ = writeln!(text, "  intact     records up to {}, of {}", last.seq, last.time);
            }
            // The record at fault was read like any other: the one behind it told.
            _ if fault.seq > 1 => {
                let _ = writeln!(text, "  intact     records up to {}", fault.seq - 1);
            }
            _ => {}
        }
    } else if let (Some(first), Some(last)) = (&report.first, &report.last) {
        let _ = writeln!(
            text,
            "{good}fine{good:#}: records {} to {} are as they were written",
            first.seq, last.seq
        );
        let _ = writeln!(text, "  from       {}", first.time);
        let _ = writeln!(text, "  to         {}", last.time);
        let _ = writeln!(text, "  end        {}:{}", last.seq, last.hash);
    }
    let _ = writeln!(
        text,
        "  in         {} of {}",
        counted(report.segments, "segment"),
        folder.display()
    );
    if let Some(first) = report
        .first
        .as_ref()
        .filter(|first| first.seq > 1 && report.fault.is_none())
    {
        let _ = writeln!(
            text,
            "  begins     with record {}: those before were removed on purpose, which is on record",
            first.seq
        );
    }
    if known.keys.is_empty() {
        let _ = writeln!(
            text,
            "  signed     {} records; not checked, for want of a public key",
            report.checkpoints
        );
    } else {
        let through = report
            .signed_through
            .map_or_else(|| "none".to_owned(), |through| format!("records up to {through}"));
        let _ = writeln!(
            text,
            "  signed     {through}, by {} right signatures",
            report.signatures
        );
    }
    if report.torn > 0 {
        let _ = writeln!(
            text,
            "  unfinished {} bytes behind the last record: a write under way, or broken off when the gate was killed",
            report.torn
        );
    }
    for note in &report.notes {
        let _ = writeln!(text, "  note       {note}");
    }
    if report.fault.is_none() {
        for limit in limits(report, known) {
            let _ = writeln!(text, "  {dim}unproven{dim:#}   {limit}");
        }
    }
    text
}

/// What this verification cannot show, plainly.
fn limits(report: &Report, known: &Known) -> Vec<String> {
    let mut limits = Vec::new();
    let Some(last) = &report.last else { return limits };
    match report.signed_through.filter(|_| !known.keys.is_empty()) {
        Some(through) if through < last.seq => limits.push(format!(
            "that records {} to {} were not rewritten: no signature covers them yet",
            through + 1,
            last.seq
        )),
        Some(_) => {}
        None => limits.push(
            "that nobody rewrote the whole chain: only signatures show that (`audit.signing_key`, `--public-key`)".to_owned(),
        ),
    }
    let known_end = known.records.iter().any(|record| record.0 == last.seq);
    if !known_end {
        limits.push(match report.head {
            Some(_) => "that nothing was cut off the end together with the file `head`: \
                only a checkpoint kept elsewhere shows that (`--expect-checkpoint`)"
                .to_owned(),
            None => "that nothing was cut off the end: the file `head` is not there, nor a checkpoint kept elsewhere \
                (`--expect-checkpoint`)"
                .to_owned(),
        });
    }
    limits
}

fn as_json(report: &Report) -> String {
    let passed = |passed: &Option<gatepost_audit::Passed>| {
        passed
            .as_ref()
            .map(|passed| json!({ "seq": passed.seq, "time": passed.time, "hash": passed.hash.to_string() }))
    };
    let fault = report.fault.as_ref().map(|fault| {
        let (kind, through) = match fault.kind {
            FaultKind::Changed => ("changed", fault.seq),
            FaultKind::Removed { through } => ("removed", through),
            FaultKind::CutOff { through } => ("cut_off", through),
            FaultKind::Moved => ("moved", fault.seq),
            FaultKind::Repeated => ("repeated", fault.seq),
            FaultKind::Foreign => ("foreign", fault.seq),
            FaultKind::Rewritten { through } => ("rewritten", through),
            FaultKind::Unsigned => ("unsigned", fault.seq),
        };
        json!({ "kind": kind, "seq": fault.seq, "through": through, "file": fault.file, "because": fault.because })
    });
    let report = json!({
        "ok": report.fault.is_none(),
        "log": report.log,
        "segments": report.segments,
        "records": report.records,
        "first": passed(&report.first),
        "last": passed(&report.last),
        "signatures": report.signatures,
        "signed_through": report.signed_through,
        "head": report.head,
        "torn_bytes": report.torn,
        "notes": report.notes,
        "fault": fault,
    });
    format!("{report:#}\n")
}
