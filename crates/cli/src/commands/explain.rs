//! `gatepost explain`: what somebody would be answered, and which rule says so.

mod shown;

use std::{fs, path::Path, time::Duration};

use clap::ArgGroup;
use gatepost_audit::Moment;
use gatepost_config::Config;
use gatepost_gateway::{Question, Thing, Unseen, Verdict};
use gatepost_policy::{Facts, UnixMillis};

use super::keys::{existing, one_line};
use crate::{
    client::arguments,
    configuration::ConfigArgs,
    data_dir::DataDir,
    exit,
    failure::Failure,
    gate,
    output::{self, style},
    who::{Known, Named, known},
};
use shown::{Report, as_json, as_text};

/// How long servers of which nothing is known may take to say what they have.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long they have to end afterwards.
const GRACE: Duration = Duration::from_millis(500);
/// Who needs no credential.
const LOCAL: &str = "local";

/// Explain what somebody may do, and which rule says so
///
/// Asks what the gate asks when the call comes: the answer is the same. It prints the rule that decided, for a call and for
/// what somebody does not see. Exit code 6 says that it is not allowed. Works whether a gate runs or not, calls nothing and
/// records nothing; servers of which no list is kept are asked for it.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("thing").required(true).args(["call", "read", "prompt"]))]
pub(crate) struct Args {
    /// Who: a subject as its issuer writes it, `key:ID` for whoever has an API key, `local` for the gate's own side
    /// [default: `local` where callers are not asked who they are]
    #[arg(long = "as", value_name = "WHO", value_parser = one_line)]
    who: Option<String>,
    /// The issuer that knows the subject; not needed where the configuration has one only
    #[arg(long, value_name = "URL", value_parser = one_line)]
    issuer: Option<String>,
    /// The tenant that the subject acts for
    #[arg(long, value_parser = one_line)]
    tenant: Option<String>,
    /// A group that the subject is in; may be given several times
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// A scope of the subject's token; may be given several times, or several separated by spaces
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// The subject's mail address, as its issuer has verified it
    #[arg(long, value_parser = one_line)]
    email: Option<String>,
    /// Calling this tool, by its name at the endpoint
    #[arg(long, value_name = "TOOL")]
    call: Option<String>,
    /// Reading this resource
    #[arg(long, value_name = "URI")]
    read: Option<String>,
    /// Getting this prompt, by its name at the endpoint
    #[arg(long, value_name = "NAME")]
    prompt: Option<String>,
    /// With these arguments, a JSON object; `@FILE` reads them from a file, `-` from stdin
    #[arg(long, value_name = "JSON")]
    args: Option<String>,
    /// At the endpoint of this view or server, with its own names, instead of `/mcp`
    #[arg(long, value_name = "NAME")]
    view: Option<String>,
    /// At this time, such as `2027-01-01T09:30:00Z`, instead of now
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<UnixMillis>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print the explanation as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut config = args.config.source().load()?;
    let who = who(args, &config)?;
    let arguments = match args.args.as_deref() {
        None => String::new(),
        Some(given) => arguments::object(given)?,
    };
    let question = Question {
        who: who.as_ref(),
        endpoint: args.view.as_deref().unwrap_or_default(),
        thing: args.thing(),
        arguments: arguments.as_bytes(),
        now: args
            .at
            .unwrap_or_else(|| UnixMillis(Moment::now().0.div_euclid(1_000))),
    };
    // Nobody calls anything here.
    config.audit = None;
    let state = DataDir::temporary()?;
    let shared = std::mem::replace(&mut config.data_dir, state.path().to_path_buf());
    keep_listings(&shared, state.path());
    let shared = if shared.is_dir() { &*shared } else { state.path() };
    let report = gate::block_on(explained(config, shared, &question))?;
    // Names of tools and prompts begin with their server's, so nobody else has one that was found.
    if report.explained.found.is_empty() || matches!(question.thing, Thing::Resource(_)) {
        for unseen in &report.unseen {
            output::words(&warning(unseen));
        }
    }
    let text = if args.json {
        as_json(&report)
    } else {
        as_text(&report)
    };
    output::result(&text)?;
    match report.explained.verdict {
        Verdict::Allowed => Ok(()),
        _ => Err(Failure::Said(exit::DENIED)),
    }
}

impl Args {
    fn thing(&self) -> Thing<'_> {
        match (&self.call, &self.read, &self.prompt) {
            (_, Some(uri), _) => Thing::Resource(uri),
            (_, _, Some(name)) => Thing::Prompt(name),
            (name, None, None) => Thing::Tool(name.as_deref().unwrap_or_default()),
        }
    }
}

async fn explained<'a>(
    config: Config,
    shared: &Path,
    question: &'a Question<'a>,
) -> Result<Report<'a>, Failure> {
    let endpoints: Vec<String> = config
        .servers
        .iter()
        .map(|server| server.name.clone())
        .chain(config.views.iter().map(|view| view.name.clone()))
        .collect();
    let gate = gate::build(config, shared)?;
    let unseen = gate.look_around(question, PATIENCE).await;
    let explained = gate.explain(question);
    let known = match explained.verdict {
        Verdict::NoEndpoint => endpoints,
        _ => gate.shown(question),
    };
    gate.close(GRACE).await;
    Ok(Report::new(question, explained, &known, unseen))
}

/// What is known of whoever `--as` names. `None`: the gate's own side.
fn who(args: &Args, config: &Config) -> Result<Option<Facts>, Failure> {
    let wrong = |message: String, remedy: &str| Err(Failure::new(message, remedy).code(exit::USAGE));
    let more = args.issuer.is_some()
        || args.tenant.is_some()
        || args.email.is_some()
        || !args.groups.is_empty()
        || !args.scopes.is_empty();
    let named = args.who.as_deref();
    let Some(identity) = &config.identity else {
        return match (named, more) {
            (None | Some(LOCAL), false) => Ok(None),
            _ => wrong(
                "this configuration has no `identity`: everybody who reaches the gate is `local`".to_owned(),
                "ask with `--as local`, or name the configuration that you mean with -c",
            ),
        };
    };
    let Some(who) = named else {
        return wrong(
            "who calls? This configuration has `identity`, and everybody may do something else".to_owned(),
            "write `--as SUBJECT` (with `--group`, `--scope` and what else the token says), `--as key:ID` for an API key, or \
             `--as local` for `gatepost stdio`",
        );
    };
    let named = Named {
        who,
        issuer: args.issuer.as_deref(),
        tenant: args.tenant.as_deref(),
        option: "--as",
    };
    // A subject may be called so too; then its issuer is named.
    let known = if who == LOCAL && args.issuer.is_none() {
        Known::Local
    } else {
        known(&named, config, existing(config)?.as_ref())?
    };
    let mut facts = known.facts();
    match known {
        Known::Local if more => wrong(
            "`local` has no tenant, groups, scopes or mail address".to_owned(),
            "leave them out, or name a subject",
        ),
        Known::Local => Ok(None),
        Known::Key(_) if !identity.api_keys => wrong(
            "this configuration takes no API keys".to_owned(),
            "write `identity: { api_keys: true }`",
        ),
        Known::Key(_) if !args.groups.is_empty() || !args.scopes.is_empty() || args.email.is_some() => wrong(
            "an API key has no groups, scopes or mail address".to_owned(),
            "leave them out: what it has was said when it was made",
        ),
        Known::Key(_) => Ok(Some(facts)),
        Known::Subject(_) => {
            let scopes = args
                .scopes
                .iter()
                .flat_map(|given| given.split_ascii_whitespace());
            facts.scopes = Some(scopes.map(Into::into).collect());
            facts.groups = args.groups.iter().map(|group| group.as_str().into()).collect();
            facts.email = args.email.as_deref().map(Into::into);
            Ok(Some(facts))
        }
    }
}

fn time(text: &str) -> Result<UnixMillis, String> {
    Moment::parse(text)
        .map(|Moment(micros)| UnixMillis(micros.div_euclid(1_000)))
        .ok_or_else(|| "write a time such as `2027-01-01T09:30:00Z`, or a day".to_owned())
}

/// Takes over the lists of servers that a gate has kept. What cannot be read is asked for again.
fn keep_listings(from: &Path, to: &Path) {
    let to = to.join(LISTINGS);
    let Ok(files) = fs::read_dir(from.join(LISTINGS)) else {
        return;
    };
    if fs::create_dir_all(&to).is_ok() {
        for file in files.filter_map(Result::ok) {
            let _ = fs::copy(file.path(), to.join(file.file_name()));
        }
    }
}

/// Where a gate keeps the lists of its servers, in its data directory.
const LISTINGS: &str = "catalogs";

fn warning(unseen: &Unseen) -> String {
    let (warning, server) = (style::WARNING, gatepost_policy::Printable(&unseen.server));
    format!(
        "{warning}warning{warning:#}: what the server {server} has is not known: {}\n",
        output::harmless(&unseen.why)
    )
}
