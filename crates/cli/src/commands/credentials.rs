//! `gatepost credentials`: the tokens that principals have with servers, which the gate presents on their behalf.

use std::{
    io::{self, IsTerminal, Read},
    sync::Arc,
};

use gatepost_config::{Config, Credential, Server};
use gatepost_policy::Principal;
use gatepost_store::{KEY_ISSUER, Kept, Slot, Store, Token};
use serde_json::{Value, json};
use signal_hook::consts::SIGINT;
use zeroize::Zeroizing;

use super::keys::{day, existing, moment, now, one_line, unknown};
use crate::{
    configuration::ConfigArgs,
    exit,
    failure::Failure,
    output::{self, style},
    table::table,
    who::{KEY, Named, known},
};

/// What is read of stdin, in bytes: more than any token has, so that one that is too long is seen to be.
const MOST_READ: u64 = 64 * 1024;

/// Keep tokens that principals have with servers, encrypted
///
/// The gate presents them to servers that have `principal: pat` among their `credentials`. Works on the data directory of the
/// configuration, whether a gate runs on it or not.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Set(Set),
    List(List),
    Remove(Remove),
}

/// Keep a principal's token for a server, instead of one that is there
///
/// Asks for the token, or reads it from stdin. It is never an argument: those can be seen by everybody.
#[derive(Debug, clap::Args)]
struct Set {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    config: ConfigArgs,
}

/// List which tokens there are: never the tokens themselves
#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
}

/// Delete a principal's token for a server
#[derive(Debug, clap::Args)]
struct Remove {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Which token.
#[derive(Debug, clap::Args)]
struct Place {
    /// The server, by its name in the configuration
    #[arg(long)]
    server: String,
    /// Whose token: a subject as its issuer writes it, `key:ID` for whoever has an API key, or `local` where callers are not
    /// asked who they are
    #[arg(long, value_name = "WHO", value_parser = one_line)]
    principal: String,
    /// The issuer that knows the subject; not needed where the configuration has one only
    #[arg(long, value_parser = one_line)]
    issuer: Option<String>,
    /// The tenant that the principal acts for
    #[arg(long, value_parser = one_line)]
    tenant: Option<String>,
    /// What kind of token it is: a personal access token
    #[arg(long, value_parser = [Slot::DEFAULT_NAME], default_value = Slot::DEFAULT_NAME)]
    name: String,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::Set(args) => set(args),
        Command::List(args) => list(args),
        Command::Remove(args) => remove(args),
    }
}

fn set(args: &Set) -> Result<(), Failure> {
    let config = args.config.source().load()?;
    let place = &args.place;
    let server = known_server(&place.server, &config)?;
    let store = Store::open(&config.data_dir, &config.sealing_keys)?;
    let principal = principal(place, &config, &store)?;
    let token = read_token(&format!("Token of {principal} for {}: ", server.name))?;
    let slot = Slot {
        server: &server.name,
        principal: &principal,
        name: &place.name,
    };
    let replaced = store.credentials.set(slot, &token, now())?;
    let done = if replaced { "replaced" } else { "kept" };
    output::words(&format!(
        "The token of {principal} for the server {} is {done}.\n",
        server.name
    ));
    if !server
        .credentials
        .iter()
        .any(|credential| matches!(credential, Credential::Principal))
    {
        let (warning, help) = (style::WARNING, style::HELP);
        output::words(&format!(
            "{warning}warning{warning:#}: this configuration does not present it\n  {help}help{help:#}: write \
             `credentials: [{{ principal: pat }}]` under `servers.{}` and restart the gate\n",
            server.name
        ));
    }
    Ok(())
}

fn known_server<'a>(name: &str, config: &'a Config) -> Result<&'a Server, Failure> {
    let servers = &config.servers;
    servers
        .iter()
        .find(|server| server.name == name)
        .ok_or_else(|| unknown("server", name, servers.iter().map(|server| server.name.as_str())))
}

/// Whose token it is.
fn principal(place: &Place, config: &Config, store: &Store) -> Result<Principal, Failure> {
    let named = Named {
        who: &place.principal,
        issuer: place.issuer.as_deref(),
        tenant: place.tenant.as_deref(),
        option: "--principal",
    };
    Ok(known(&named, config, Some(store))?.principal())
}

/// From a terminal without showing it, else from stdin up to its end. One line break after it is not part of it.
fn read_token(prompt: &str) -> Result<Token, Failure> {
    let unread = |error: io::Error| {
        Failure::new(
            format!("failed to read the token: {error}"),
            "type it, or give it on stdin: `gatepost credentials set … < FILE`",
        )
    };
    let mut text = if io::stdin().is_terminal() {
        match typed(prompt) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                return Err(Failure::Said(exit::INTERRUPTED));
            }
            Err(error) => return Err(unread(error)),
        }
    } else {
        let mut text = Zeroizing::new(String::new());
        io::stdin()
            .lock()
            .take(MOST_READ)
            .read_to_string(&mut text)
            .map_err(unread)?;
        text
    };
    let length = text.strip_suffix('\n').unwrap_or(&text);
    let length = length.strip_suffix('\r').unwrap_or(length).len();
    text.truncate(length);
    Token::new(text).map_err(|error| {
        Failure::new(
            format!("this is no token: {error}"),
            "give the token alone, without `Bearer` before it",
        )
        .code(exit::USAGE)
    })
}

/// Asks on the terminal. A Ctrl-C meanwhile is an answer and not a sudden end, which would leave a terminal that shows nothing
/// of what is typed.
fn typed(prompt: &str) -> io::Result<Zeroizing<String>> {
    let handled = signal_hook::flag::register(SIGINT, Arc::default())?;
    let text = rpassword::prompt_password(prompt);
    signal_hook::low_level::unregister(handled);
    text.map(Zeroizing::new)
}

fn list(args: &List) -> Result<(), Failure> {
    let config = args.config.source().load()?;
    let kept = match existing(&config)? {
        Some(store) => store.credentials.list()?,
        None => Vec::new(),
    };
    let text = if args.json {
        let kept: Vec<Value> = kept.iter().map(described).collect();
        format!("{:#}\n", json!({ "credentials": kept }))
    } else {
        as_text(&kept)
    };
    Ok(output::result(&text)?)
}

fn as_text(kept: &[Kept]) -> String {
    if kept.is_empty() {
        let dim = style::DIM;
        return format!("{dim}none{dim:#}\n");
    }
    let rows: Vec<[String; 7]> = kept
        .iter()
        .map(|one| {
            let (issuer, subject, tenant) = one.principal.as_key();
            [
                one.server.clone(),
                who(issuer, subject),
                if issuer == KEY_ISSUER {
                    String::new()
                } else {
                    issuer.to_owned()
                },
                tenant.unwrap_or_default().to_owned(),
                one.name.clone(),
                day(one.set),
                if one.opens {
                    "good"
                } else {
                    "sealed with another key: set it again"
                }
                .to_owned(),
            ]
        })
        .collect();
    table(
        ["SERVER", "PRINCIPAL", "ISSUER", "TENANT", "NAME", "SET", "STATE"],
        &rows,
    )
}

/// As `--principal` takes it.
fn who(issuer: &str, subject: &str) -> String {
    if issuer == KEY_ISSUER {
        format!("{KEY}{subject}")
    } else {
        subject.to_owned()
    }
}

fn described(kept: &Kept) -> Value {
    let (issuer, subject, tenant) = kept.principal.as_key();
    json!({
        "server": kept.server,
        "principal": who(issuer, subject),
        "issuer": issuer,
        "tenant": tenant,
        "name": kept.name,
        "set": moment(kept.set),
        "opens": kept.opens,
    })
}

/// Finds the token among those there are: what the configuration no longer has can be removed too.
fn remove(args: &Remove) -> Result<(), Failure> {
    let config = args.config.source().load()?;
    let place = &args.place;
    let none = || {
        Failure::new(
            format!("there is no such token in {}", config.data_dir.display()),
            "`gatepost credentials list` shows which there are; -c names another configuration",
        )
    };
    let store = existing(&config)?.ok_or_else(none)?;
    let kept = store.credentials.list()?;
    let mut meant = kept.iter().filter(|one| place.means(one));
    let one = meant.next().ok_or_else(none)?;
    let others = meant.count();
    if others > 0 {
        return Err(Failure::new(
            format!("{} tokens fit that", others + 1),
            "say which with --issuer and --tenant; `gatepost credentials list` shows them",
        )
        .code(exit::USAGE));
    }
    let slot = Slot {
        server: &one.server,
        principal: &one.principal,
        name: &one.name,
    };
    store.credentials.remove(slot)?;
    output::words(&format!(
        "The token of {} for the server {} is deleted.\n",
        one.principal, one.server
    ));
    Ok(())
}

impl Place {
    fn means(&self, kept: &Kept) -> bool {
        let (issuer, subject, tenant) = kept.principal.as_key();
        kept.server == self.server
            && kept.name == self.name
            && who(issuer, subject) == self.principal
            && self.issuer.as_deref().is_none_or(|named| named == issuer)
            && self.tenant.as_deref().is_none_or(|named| Some(named) == tenant)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use gatepost_store::{KeySettings, create_key};

    use super::*;
    use crate::golden;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        place: Place,
    }

    const ONE: &str =
        "identity: { jwt: [{ issuer: https://id.example.com, audience: [x], jwks_file: ./k.json }] }\n";
    const TWO: &str = "identity: { jwt: [{ issuer: https://id.example.com, audience: [x], jwks_file: ./k.json }, \
        { issuer: https://other.example.com, audience: [x], jwks_file: ./k.json, \
        tenant: { claim: org, allow: [acme, globex] } }] }\n";

    /// Whom a command line means under a configuration, or what is said to it.
    fn whom(yaml: &str, line: &str, store: &Store) -> Result<Principal, String> {
        let environment = |name: &str| (name == "HOME").then(|| "/home/ann".into());
        let config = Config::parse_in("/srv".as_ref(), yaml, &environment).unwrap();
        let words = ["x", "--server", "crm"].into_iter().chain(line.split(' '));
        let place = Line::parse_from(words).place;
        principal(&place, &config, store).map_err(|failure| match failure {
            Failure::Told {
                code,
                message,
                remedy,
            } => {
                assert_eq!(code, exit::USAGE);
                format!("{message}; {remedy}")
            }
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn a_principal_is_the_one_that_the_gate_will_know() {
        let store = Store::in_memory();
        let ann = Principal::new("https://id.example.com", "ann");
        let other = Principal::new("https://other.example.com", "ann").with_tenant("acme");
        for (yaml, line, principal) in [
            (ONE, "--principal ann", ann.clone()),
            (
                ONE,
                "--principal ann --issuer https://id.example.com",
                ann.clone(),
            ),
            (TWO, "--principal ann --issuer https://id.example.com", ann),
            (
                TWO,
                "--principal ann --issuer https://other.example.com --tenant acme",
                other,
            ),
            ("{}", "--principal local", Principal::local()),
            (
                ONE,
                "--principal local",
                Principal::new("https://id.example.com", "local"),
            ),
        ] {
            assert_eq!(whom(yaml, line, &store), Ok(principal), "{line}");
        }
        for (yaml, line, said) in [
            (
                TWO,
                "--principal ann",
                "--issuer: https://id.example.com, https://other",
            ),
            (
                ONE,
                "--principal ann --issuer https://id.example.org",
                "did you mean `https://id.example.com`?",
            ),
            (ONE, "--principal ann --tenant acme", "name no tenant"),
            (
                TWO,
                "--principal ann --issuer https://other.example.com",
                "--tenant: acme, globex",
            ),
            (
                TWO,
                "--principal ann --issuer https://other.example.com --tenant x",
                "no tenant `x`",
            ),
            ("{}", "--principal ann", "--principal local"),
            ("{}", "--principal key:nobody", "no API key nobody"),
        ] {
            let told = whom(yaml, line, &store).unwrap_err();
            assert!(told.contains(said), "{line}: {told}");
        }
    }

    #[test]
    fn a_key_brings_its_tenant_along() {
        let store = Store::in_memory();
        let settings = KeySettings {
            tenant: Some("acme".into()),
            ..KeySettings::default()
        };
        let (key, stored) = create_key(&*store.keys, settings, now()).unwrap();
        let line = format!("--principal key:{}", key.presented().id());
        assert_eq!(whom(ONE, &line, &store), Ok(stored.record.principal()));
        assert_eq!(
            whom(ONE, &format!("{line} --tenant acme"), &store),
            Ok(stored.record.principal())
        );
        assert!(whom(ONE, &format!("{line} --tenant globex"), &store).is_err());
        assert!(whom(ONE, &format!("{line} --issuer https://id.example.com"), &store).is_err());
        store.keys.revoke(key.presented().id(), now()).unwrap();
        assert!(whom(ONE, &line, &store).unwrap_err().contains("no longer good"));
    }

    #[test]
    fn a_list_says_whose_tokens_there_are() {
        let kept = |server: &str, principal: Principal, opens| Kept {
            server: server.to_owned(),
            principal,
            name: "pat".to_owned(),
            set: 1_785_231_000,
            opens,
        };
        let all = [
            kept("crm", Principal::new(KEY_ISSUER, "a1B2c3D4e5F6"), true),
            kept(
                "crm",
                Principal::new("https://id.example.com", "ann\u{1b}[2J").with_tenant("acme"),
                false,
            ),
        ];
        golden::check(
            "credentials-list",
            &anstream::adapter::strip_str(&as_text(&all)).to_string(),
        );
        assert_eq!(described(&all[1])["opens"], false);
        assert_eq!(described(&all[0])["principal"], "key:a1B2c3D4e5F6");
    }
}
