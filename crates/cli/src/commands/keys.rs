//! `gatepost keys`: API keys, made, listed and revoked. A gate that runs notices within a second.

use gatepost_audit::Moment;
use gatepost_config::Config;
use gatepost_store::{
    FILE, KEY_PREFIX, KeyRecord, KeySettings, Presented, Revoked, Store, StoreError, StoredKey, UnixSeconds,
    create_key,
};
use serde_json::{Value, json};

use crate::{
    configuration::ConfigArgs,
    exit,
    failure::{Failure, counted},
    output::{self, style},
    table::table,
};

/// The most characters of a name.
const LONGEST_NAME: usize = 200;
const DAY: UnixSeconds = 86_400;
/// No key that ends is good for longer, in days: more is a slip of the finger.
const LONGEST_LIFE: UnixSeconds = 100 * 366;

/// Make, list and revoke API keys
///
/// Works on the data directory of the configuration, whether a gate runs on it or not; one that runs notices within a second.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Create(Create),
    List(List),
    Revoke(Revoke),
}

/// Make a key and print it: once, since only its hash is kept
#[derive(Debug, clap::Args)]
struct Create {
    /// A role of the configuration that whoever has the key has; may be given several times
    #[arg(long = "role", value_name = "ROLE", required = true)]
    roles: Vec<String>,
    /// The tenant that it acts for
    #[arg(long, value_parser = one_line)]
    tenant: Option<String>,
    /// What it is for, in your words
    #[arg(long, value_parser = one_line)]
    name: Option<String>,
    /// When it ends: after a time such as `90d` or `12h`, at the beginning of a day (UTC) such as `2027-01-01`, or `never`
    #[arg(long, value_name = "WHEN", default_value = "never", value_parser = Expiry::parse)]
    expires: Expiry,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print the key and what it is as JSON
    #[arg(long)]
    json: bool,
}

/// List the keys there are and were: never the keys themselves
#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
}

/// End a key for good
#[derive(Debug, clap::Args)]
struct Revoke {
    /// The key's id, from `gatepost keys list`
    id: String,
    #[command(flatten)]
    config: ConfigArgs,
}

/// When a key ends, as it was typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expiry {
    Never,
    After(UnixSeconds),
    At(UnixSeconds),
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::Create(args) => create(args),
        Command::List(args) => list(args),
        Command::Revoke(args) => revoke(args),
    }
}

fn create(args: &Create) -> Result<(), Failure> {
    let config = args.config.source().load()?;
    let now = now();
    let settings = KeySettings {
        roles: known_roles(&args.roles, &config)?,
        tenant: args.tenant.as_deref().map(Into::into),
        name: args.name.as_deref().map(Into::into),
        expires: args.expires.end(now)?,
    };
    let store = Store::open(&config.data_dir, &config.sealing_keys)?;
    let (key, stored) = create_key(&*store.keys, settings, now)?;
    let record = &stored.record;
    let text = if args.json {
        let mut made = described(&stored, now);
        made["key"] = json!(key.expose());
        format!("{made:#}\n")
    } else {
        format!("{}\n", key.expose())
    };
    if let Err(unheard) = output::result(&text) {
        // Nobody knows it, and nobody ever will.
        let revoked = store.keys.revoke(&record.id, now);
        let and = if revoked.is_ok() {
            "and was revoked"
        } else {
            "revoke it"
        };
        output::words(&format!("the key {} could not be printed, {and}\n", record.id));
        return Err(unheard.into());
    }
    output::words(&told(record, &config));
    Ok(())
}

/// What is worth knowing of a key that was just made.
fn told(record: &KeyRecord, config: &Config) -> String {
    let roles: Vec<&str> = record.roles.iter().map(|role| &**role).collect();
    let end = match record.expires {
        Some(end) => format!("is good until {}", moment(end)),
        None => "does not expire (`--expires 90d` makes one that does)".to_owned(),
    };
    let mut text = format!(
        "The key {} has the {} {} and {end}.\nKeep it now: it is not shown again.\n",
        record.id,
        if roles.len() == 1 { "role" } else { "roles" },
        roles.join(", ")
    );
    if !config.identity.as_ref().is_some_and(|identity| identity.api_keys) {
        let (warning, help) = (style::WARNING, style::HELP);
        text.push_str(&format!(
            "{warning}warning{warning:#}: this configuration takes no API keys\n  \
             {help}help{help:#}: write `identity: {{ api_keys: true }}` and restart the gate\n"
        ));
    }
    text
}

/// Names of roles that exist.
fn known_roles(names: &[String], config: &Config) -> Result<Vec<std::sync::Arc<str>>, Failure> {
    let mut roles: Vec<std::sync::Arc<str>> = Vec::with_capacity(names.len());
    for name in names {
        let Some(role) = config.roles.iter().find(|role| *role.rule.name == **name) else {
            let known = config.roles.iter().map(|role| &*role.rule.name);
            return Err(unknown("role", name, known));
        };
        if !roles.contains(&role.rule.name) {
            roles.push(role.rule.name.clone());
        }
    }
    Ok(roles)
}

/// A name on the command line that the configuration does not have.
pub(crate) fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Failure {
    let all: Vec<&str> = known.collect();
    let remedy = match gatepost_policy::nearest(name, all.iter().copied()) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None if all.is_empty() => format!("the configuration has no {what}s; name another with -c"),
        None => format!("the configuration has these: {}", all.join(", ")),
    };
    let name = gatepost_policy::Printable(name);
    Failure::new(
        format!("there is no {what} `{name}` in the configuration"),
        remedy,
    )
    .code(exit::USAGE)
}

fn list(args: &List) -> Result<(), Failure> {
    let config = args.config.source().load()?;
    let keys = match existing(&config)? {
        Some(store) => store.keys.list()?,
        None => Vec::new(),
    };
    let text = if args.json {
        let keys: Vec<Value> = keys.iter().map(|key| described(key, now())).collect();
        format!("{:#}\n", json!({ "keys": keys }))
    } else {
        as_text(&keys, now())
    };
    Ok(output::result(&text)?)
}

/// What is kept in the data directory, if there is anything: to look must not make it.
pub(crate) fn existing(config: &Config) -> Result<Option<Store>, Failure> {
    if !config.data_dir.join(FILE).exists() {
        return Ok(None);
    }
    Ok(Some(Store::open(&config.data_dir, &config.sealing_keys)?))
}

fn as_text(keys: &[StoredKey], now: UnixSeconds) -> String {
    if keys.is_empty() {
        let dim = style::DIM;
        return format!("{dim}none{dim:#}\n");
    }
    let rows: Vec<[String; 8]> = keys
        .iter()
        .map(|key| {
            let record = &key.record;
            let roles: Vec<&str> = record.roles.iter().map(|role| &**role).collect();
            [
                record.id.to_string(),
                record.name.as_deref().unwrap_or_default().to_owned(),
                roles.join(","),
                record.tenant.as_deref().unwrap_or_default().to_owned(),
                day(key.created),
                record.expires.map_or_else(|| "never".to_owned(), day),
                key.last_used.map_or_else(|| "never".to_owned(), day),
                state(key, now).to_owned(),
            ]
        })
        .collect();
    let headings = [
        "ID",
        "NAME",
        "ROLES",
        "TENANT",
        "CREATED",
        "EXPIRES",
        "LAST USED",
        "STATE",
    ];
    table(headings, &rows)
}

fn described(key: &StoredKey, now: UnixSeconds) -> Value {
    let record = &key.record;
    json!({
        "id": &*record.id,
        "name": record.name.as_deref(),
        "roles": record.roles.iter().map(|role| &**role).collect::<Vec<_>>(),
        "tenant": record.tenant.as_deref(),
        "created": moment(key.created),
        "expires": record.expires.map(moment),
        "revoked": key.revoked.map(moment),
        "last_used": key.last_used.map(moment),
        "state": state(key, now),
    })
}

fn state(key: &StoredKey, now: UnixSeconds) -> &'static str {
    if key.revoked.is_some() {
        "revoked"
    } else if key.record.is_expired(now) {
        "expired"
    } else {
        "good"
    }
}

fn revoke(args: &Revoke) -> Result<(), Failure> {
    let config = args.config.source().load()?;
    let id = id_of(&args.id)?;
    let revoked = match existing(&config)? {
        Some(store) => store.keys.revoke(id, now())?,
        None => Revoked::Unknown,
    };
    match revoked {
        Revoked::Now => output::words(&format!(
            "The key {id} is revoked. A gate that runs refuses it within a second.\n"
        )),
        Revoked::Before(at) => output::words(&format!("The key {id} was revoked already, {}.\n", moment(at))),
        Revoked::Unknown => {
            return Err(Failure::new(
                format!(
                    "there is no API key {} in {}",
                    gatepost_policy::Printable(id),
                    config.data_dir.display()
                ),
                "`gatepost keys list` shows the ids; -c names another configuration",
            ));
        }
    }
    Ok(())
}

/// The id in what was given. Who found a whole key where it should not be pastes that.
fn id_of(given: &str) -> Result<&str, Failure> {
    if !given.starts_with(KEY_PREFIX) {
        return Ok(given);
    }
    // The text is not repeated: it may be a good key with a typing error.
    Presented::parse(given).map(|key| key.id()).map_err(|error| {
        let remedy = "give its id: the 12 characters after `gp_`";
        Failure::new(format!("this is no id of a key: {error}"), remedy).code(exit::USAGE)
    })
}

impl Expiry {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "never" {
            return Ok(Self::Never);
        }
        // A date alone begins with four digits and a dash; a duration has none.
        if let Some(Moment(micros)) = Moment::parse(text) {
            return u64::try_from(micros / 1_000_000)
                .map(Self::At)
                .map_err(|_| "it is before 1970".to_owned());
        }
        let units = [("h", 3_600), ("d", DAY), ("w", 7 * DAY)];
        let seconds = units.iter().find_map(|(unit, seconds)| {
            let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
            number.checked_mul(*seconds)
        });
        match seconds {
            Some(0) => Err("a key must be good for some time".to_owned()),
            Some(seconds) if seconds > LONGEST_LIFE * DAY => {
                Err("it is more than a hundred years away; write `never`".to_owned())
            }
            Some(seconds) => Ok(Self::After(seconds)),
            None => {
                Err("write a time such as `90d` or `12h`, a day such as `2027-01-01`, or `never`".to_owned())
            }
        }
    }

    /// The first moment at which the key is no longer good.
    fn end(self, now: UnixSeconds) -> Result<Option<UnixSeconds>, Failure> {
        match self {
            Self::Never => Ok(None),
            Self::After(seconds) => Ok(Some(now.saturating_add(seconds))),
            Self::At(end) if end > now => Ok(Some(end)),
            Self::At(end) => Err(Failure::new(
                format!("--expires: {} is over", moment(end)),
                "name a day to come",
            )
            .code(exit::USAGE)),
        }
    }
}

/// A name that fits on a line.
pub(super) fn one_line(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        Err("it is empty".to_owned())
    } else if text.chars().count() > LONGEST_NAME {
        Err(format!("it has more than {}", counted(LONGEST_NAME, "character")))
    } else if text.chars().any(char::is_control) {
        Err("it has a line break or another control character".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

pub(crate) fn now() -> UnixSeconds {
    u64::try_from(Moment::now().0 / 1_000_000).unwrap_or(0)
}

/// `2026-07-28T09:30:00Z`.
pub(crate) fn moment(seconds: UnixSeconds) -> String {
    let micros = i64::try_from(seconds)
        .unwrap_or(i64::MAX)
        .saturating_mul(1_000_000);
    Moment(micros).to_string().replace(".000000Z", "Z")
}

/// `2026-07-28`.
pub(super) fn day(seconds: UnixSeconds) -> String {
    moment(seconds).chars().take(10).collect()
}

/// The store's messages say themselves what to do.
impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::new(error.to_string(), "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    /// 2026-07-28T09:30:00Z
    const NOW: UnixSeconds = 1_785_231_000;

    #[test]
    fn ends_as_people_write_them() {
        for (text, end) in [
            ("never", None),
            ("90d", Some(NOW + 90 * DAY)),
            ("12h", Some(NOW + 12 * 3_600)),
            ("2w", Some(NOW + 14 * DAY)),
            ("2027-01-01", Some(1_798_761_600)),
            ("2026-07-28T11:30:01+02:00", Some(NOW + 1)),
        ] {
            assert_eq!(Expiry::parse(text).unwrap().end(NOW).unwrap(), end, "{text}");
        }
        for text in [
            "",
            "90",
            "d",
            "-1d",
            "0d",
            "1.5d",
            "36601d",
            "99999999999999999w",
            "tomorrow",
            "2026-02-30",
            "1960-01-01",
        ] {
            assert!(Expiry::parse(text).is_err(), "{text}");
        }
        for past in ["2026-07-28", "2026-07-28T09:30:00Z"] {
            assert!(Expiry::parse(past).unwrap().end(NOW).is_err(), "{past}");
        }
    }

    #[test]
    fn a_list_says_what_is_still_good() {
        let store = Store::in_memory();
        let mut keys = Vec::new();
        for (roles, tenant, name, expires) in [
            (
                &["analyst", "operator"][..],
                Some("acme"),
                Some("nightly report ☕"),
                None,
            ),
            (&["analyst"], None, None, Some(NOW)),
            (
                &["analyst"],
                Some("globex"),
                Some("CI \u{1b}[2J"),
                Some(NOW + 90 * DAY),
            ),
        ] {
            let settings = KeySettings {
                roles: roles.iter().map(|role| (*role).into()).collect(),
                tenant: tenant.map(Into::into),
                name: name.map(Into::into),
                expires,
            };
            let (key, _) = create_key(&*store.keys, settings, NOW - 200 * DAY + keys.len() as u64).unwrap();
            keys.push(key);
        }
        let used = keys[0].presented().id().into();
        store.keys.used(&[(used, NOW - DAY)]).unwrap();
        store.keys.revoke(keys[2].presented().id(), NOW).unwrap();
        let listed = store.keys.list().unwrap();
        let mut text = anstream::adapter::strip_str(&as_text(&listed, NOW)).to_string();
        for (at, key) in keys.iter().enumerate() {
            assert!(!text.contains(&key.expose()[16..]));
            text = text.replace(key.presented().id(), &format!("id{at:010}"));
        }
        golden::check("keys-list", &text);
        let json = described(&listed[2], NOW);
        assert_eq!(json["state"], "revoked");
        assert_eq!(json["revoked"], "2026-07-28T09:30:00Z");
        assert_eq!(json["last_used"], Value::Null);
    }
}
