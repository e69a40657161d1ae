//! `gatepost audit tail`, `query`, `export`: who called what, and how it ended.

use std::{
    io::{self, Write},
    thread,
    time::Duration,
};

use clap::ValueEnum;
use gatepost_audit::{Filter, Moment, Record, Tail};
use gatepost_policy::Pattern;

use super::{Place, show, unreadable};
use crate::{
    exit,
    failure::{Failure, counted},
    output,
};

/// How often a log that is followed is looked at.
const FOLLOW: Duration = Duration::from_millis(200);

/// Show the newest records, and with -f those to come
#[derive(Debug, clap::Args)]
pub(crate) struct TailArgs {
    #[command(flatten)]
    place: Place,
    /// Go on with what is added
    #[arg(short, long)]
    follow: bool,
    /// How many records to begin with
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 10)]
    lines: usize,
    /// Print the records as they are in the log
    #[arg(long)]
    json: bool,
}

/// List calls and denials, each with how it ended
#[derive(Debug, clap::Args)]
pub(crate) struct QueryArgs {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    wanted: Wanted,
    /// How many at most, the newest; 0: all
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: usize,
    /// Print one JSON object for each, with the records as they are in the log
    #[arg(long)]
    json: bool,
}

/// Write records to stdout as JSON Lines, as they are in the log
///
/// All records of a time. If more is asked for: calls and denials that match, each call with its outcome.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    wanted: Wanted,
}

#[derive(Debug, clap::Args)]
struct Wanted {
    /// Not before: 2026-07-28T09:30:00Z, 2026-07-28, or how long ago: 90s, 15m, 2h, 7d
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// By this subject
    #[arg(long, value_name = "SUBJECT")]
    principal: Option<String>,
    /// By this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Of a tool, prompt or resource; a pattern such as `crm__*`
    #[arg(long, value_name = "PATTERN")]
    tool: Option<String>,
    /// Of this server
    #[arg(long)]
    server: Option<String>,
    /// That ended so
    #[arg(long, value_enum)]
    outcome: Option<Ended>,
    /// That was decided so
    #[arg(long, value_enum)]
    decision: Option<Decided>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Ended {
    Ok,
    ToolError,
    Error,
    Cancelled,
    Abandoned,
    NotSent,
    Unknown,
    /// It has not ended
    Open,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Decided {
    Allow,
    Deny,
}

impl Wanted {
    fn filter(&self) -> Result<Filter, Failure> {
        let time = |text: &Option<String>| text.as_deref().map(moment).transpose();
        let tool = match &self.tool {
            None => None,
            Some(text) => Some(Pattern::new(text).map_err(|error| {
                Failure::new(
                    format!("`--tool {text}`: {error}"),
                    "write a name, or a pattern with `*`",
                )
                .code(exit::USAGE)
            })?),
        };
        let outcome = self.outcome.and_then(|ended| ended.to_possible_value());
        Ok(Filter {
            since: time(&self.since)?,
            until: time(&self.until)?,
            principal: self.principal.clone(),
            tenant: self.tenant.clone(),
            tool,
            server: self.server.clone(),
            outcome: outcome.map(|value| value.get_name().to_owned()),
            allowed: self.decision.map(|decided| decided == Decided::Allow),
        })
    }
}

/// A moment, or how long ago it was.
fn moment(text: &str) -> Result<Moment, Failure> {
    let ago = || {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return None,
        };
        let micros = number
            .parse::<u32>()
            .ok()
            .map(|number| i64::from(number) * seconds * 1_000_000)?;
        Some(Moment(Moment::now().0.saturating_sub(micros)))
    };
    Moment::parse(text).or_else(ago).ok_or_else(|| {
        Failure::new(
            format!("`{text}` is no time"),
            "write 2026-07-28T09:30:00Z, 2026-07-28, or how long ago: 90s, 15m, 2h, 7d",
        )
        .code(exit::USAGE)
    })
}

pub(crate) fn tail(args: &TailArgs) -> Result<(), Failure> {
    let (folder, _) = args.place.find()?;
    let failed = |error: io::Error| unreadable(&error, &folder);
    let mut tail = Tail::last(&folder, args.lines).map_err(failed)?;
    loop {
        while let Some(line) = tail.read().map_err(failed)? {
            let text = String::from_utf8_lossy(&line);
            let shown = match Record::of(&line) {
                Some(record) if !args.json => show::record(&record, &text),
                _ => format!("{}\n", output::foreign(&text)),
            };
            output::result(&shown)?;
        }
        if !args.follow {
            return Ok(());
        }
        thread::sleep(FOLLOW);
    }
}

pub(crate) fn query(args: &QueryArgs) -> Result<(), Failure> {
    let (folder, _) = args.place.find()?;
    let filter = args.wanted.filter()?;
    let found =
        gatepost_audit::query(&folder, &filter, args.limit).map_err(|error| unreadable(&error, &folder))?;
    let mut text = String::new();
    for entry in &found {
        if args.json {
            let outcome = entry.outcome.as_ref().map_or("null", |(_, line)| line.get());
            let kind = if entry.record.kind == "denial" {
                "denial"
            } else {
                "intent"
            };
            text.push_str(&format!(
                "{{\"{kind}\":{},\"outcome\":{outcome}}}\n",
                entry.line.get()
            ));
        } else {
            text.push_str(&show::entry(entry));
        }
    }
    output::result(&text)?;
    if !args.json {
        let more = if args.limit > 0 && found.len() == args.limit {
            ", the newest: there may be more (`--limit`)"
        } else {
            ""
        };
        output::words(&format!(
            "{}{more}\n",
            counted(found.len(), "entry").replace("entrys", "entries")
        ));
    }
    Ok(())
}

pub(crate) fn export(args: &ExportArgs) -> Result<(), Failure> {
    let (folder, _) = args.place.find()?;
    let filter = args.wanted.filter()?;
    let mut stdout = io::BufWriter::with_capacity(256 * 1024, io::stdout().lock());
    gatepost_audit::export(&folder, &filter, |line| {
        stdout.write_all(line)?;
        stdout.write_all(b"\n")
    })
    .map_err(|error| unreadable(&error, &folder))?;
    Ok(stdout.flush()?)
}
