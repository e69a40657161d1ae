//! `gatepost check`: everything that is wrong with a configuration, without starting anything.

use std::fmt::Write;

use gatepost_config::{Config, Problem, ServerKind};
use gatepost_modules::Context;
use serde_json::{Value, json};

use crate::{
    configuration::{ConfigArgs, Source},
    data_dir::DataDir,
    exit,
    failure::{Failure, counted, finding},
    output::{self, style},
};

/// Validate the configuration offline
///
/// Says everything that is wrong at once, each with its file and line and the remedy. Starts nothing and asks no server.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let source = args.config.source();
    let checked = match &source {
        Source::File(file) => Config::load(file),
        Source::Zero => Config::zero(".".as_ref()),
    };
    let checked = match checked {
        Ok(config) => match modules(&config, &source)? {
            refused if refused.is_empty() => Ok(config),
            refused => Err(refused),
        },
        Err(problems) => Err(problems.iter().cloned().collect()),
    };
    let report = if args.json {
        as_json(&source, &checked)
    } else {
        as_text(&source, &checked)
    };
    output::result(&report)?;
    match checked {
        Ok(_) => Ok(()),
        Err(_) => Err(Failure::Said(exit::CONFIGURATION)),
    }
}

/// What the modules say of their options. Each is made for a moment, in a temporary folder: it may keep things.
fn modules(config: &Config, source: &Source) -> Result<Vec<Problem>, Failure> {
    let state = DataDir::temporary()?;
    let context = Context {
        data_dir: state.path().to_path_buf(),
        folder: config.folder.clone(),
    };
    let file = match source {
        Source::File(file) => Some(file.clone()),
        Source::Zero => None,
    };
    let refused = config.servers.iter().filter_map(|server| {
        let ServerKind::Module { module, options } = &server.kind else {
            return None;
        };
        let error = gatepost_modules::module(module, options.expose(), &context).err()?;
        let mut problem = options.problem(&server.name, error.option(), error.problem(), error.remedy());
        problem.file = problem.file.or_else(|| file.clone());
        Some(problem)
    });
    Ok(refused.collect())
}

fn name_of(source: &Source) -> String {
    match source {
        Source::File(file) => file.display().to_string(),
        Source::Zero => "no configuration".to_owned(),
    }
}

fn as_text(source: &Source, checked: &Result<Config, Vec<Problem>>) -> String {
    let mut text = String::new();
    match checked {
        Err(problems) => {
            problems
                .iter()
                .for_each(|problem| text.push_str(&finding("error", problem)));
            let _ = writeln!(
                text,
                "{}: {}",
                name_of(source),
                counted(problems.len(), "problem")
            );
        }
        Ok(config) => {
            config
                .warnings
                .iter()
                .for_each(|warning| text.push_str(&finding("warning", warning)));
            let good = style::GOOD;
            let _ = write!(text, "{}: {good}fine{good:#}", name_of(source));
            if !config.warnings.is_empty() {
                let _ = write!(text, ", with {}", counted(config.warnings.len(), "warning"));
            }
            text.push('\n');
            summary(&mut text, config);
        }
    }
    text
}

fn summary(text: &mut String, config: &Config) {
    let _ = writeln!(text, "  listens on  {}", config.listen);
    if let Some(ops) = &config.ops {
        let _ = writeln!(text, "  operators   {ops}");
    }
    let _ = writeln!(text, "  data        {}", config.data_dir.display());
    let _ = writeln!(text, "  callers     {}", callers(config));
    if !config.roles.is_empty() {
        let roles = config.roles.iter().map(|role| &*role.rule.name);
        let _ = writeln!(text, "  roles       {}", roles.collect::<Vec<_>>().join(", "));
    }
    if let Some(audit) = &config.audit {
        let signed = if audit.signing_key.is_some() {
            ", signed"
        } else {
            ""
        };
        let _ = writeln!(text, "  audit       on{signed}");
    }
    let width = config
        .servers
        .iter()
        .map(|server| server.name.len())
        .chain(config.views.iter().map(|v| v.name.len()));
    let width = width.max().unwrap_or(0);
    for (at, server) in config.servers.iter().enumerate() {
        let title = if at == 0 { "servers" } else { "" };
        let _ = writeln!(
            text,
            "  {title:<10}  {:<width$}  {}",
            server.name,
            described(&server.kind)
        );
    }
    if config.servers.is_empty() {
        text.push_str("  servers     none: add some under `servers:`, or `gatepost import` a client's\n");
    }
    if !config.disabled.is_empty() {
        let _ = writeln!(text, "  disabled    {}", config.disabled.join(", "));
    }
    for (at, view) in config.views.iter().enumerate() {
        let title = if at == 0 { "views" } else { "" };
        let _ = writeln!(text, "  {title:<10}  {:<width$}  /mcp/{}", view.name, view.name);
    }
}

/// Who may come, in short.
fn callers(config: &Config) -> String {
    let Some(identity) = &config.identity else {
        return "whoever reaches it, as `local`".to_owned();
    };
    let issuers = identity
        .jwt
        .iter()
        .map(|issuer| format!("tokens of {}", issuer.issuer));
    let keys = identity.api_keys.then(|| "API keys".to_owned());
    keys.into_iter().chain(issuers).collect::<Vec<_>>().join(", ")
}

/// What a server is, without its arguments, which may be long and may be secrets.
pub(crate) fn described(kind: &ServerKind) -> String {
    match kind {
        ServerKind::Module { module, .. } => format!("module {module}"),
        ServerKind::Command { program, args, .. } => {
            let more = if args.is_empty() { "" } else { " …" };
            format!("command {program}{more}")
        }
        ServerKind::Url { url, .. } => format!("url {url}"),
    }
}

fn as_json(source: &Source, checked: &Result<Config, Vec<Problem>>) -> String {
    let file = match source {
        Source::File(file) => json!(file),
        Source::Zero => Value::Null,
    };
    let report = match checked {
        Err(problems) => json!({ "ok": false, "file": file, "problems": problems, "warnings": [] }),
        Ok(config) => {
            let servers = config.servers.iter().map(|server| {
                let (kind, what) = match &server.kind {
                    ServerKind::Module { module, .. } => ("module", module.clone()),
                    ServerKind::Command { program, .. } => ("command", program.to_string()),
                    ServerKind::Url { url, .. } => ("url", url.to_string()),
                };
                json!({ "name": server.name, kind: what })
            });
            json!({
                "ok": true,
                "file": file,
                "problems": [],
                "warnings": config.warnings,
                "listen": config.listen.to_string(),
                "ops": config.ops.as_ref().map(ToString::to_string),
                "data_dir": config.data_dir,
                "identity": config.identity.as_ref().map(|identity| json!({
                    "api_keys": identity.api_keys,
                    "issuers": identity.jwt.iter().map(|issuer| &*issuer.issuer).collect::<Vec<_>>(),
                })),
                "roles": config.roles.iter().map(|role| &*role.rule.name).collect::<Vec<_>>(),
                "audit": config.audit.is_some(),
                "servers": servers.collect::<Vec<_>>(),
                "disabled": config.disabled,
                "views": config.views.iter().map(|view| view.name.as_str()).collect::<Vec<_>>(),
            })
        }
    };
    format!("{report:#}\n")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::golden;

    fn shown(yaml: &str) -> String {
        let environment = |name: &str| (name == "HOME").then(|| "/home/ann".into());
        let source = Source::File("gatepost.yaml".into());
        let checked = Config::parse_in(Path::new("/srv"), yaml, &environment);
        let checked = checked.map_err(|problems| problems.iter().cloned().collect());
        anstream::adapter::strip_str(&as_text(&source, &checked)).to_string()
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let yaml = "listen: 0.0.0.0:80\nhttp: { max_body: 4 }\nservers:\n  crm: { url: \"https://crm.internal/mcp\", timout: 30s }\n  \
            b: { command: x, headers: {} }\n  c: { url: \"${env:NOWHERE}\" }\nviews:\n  crm: {}\n";
        golden::check("check-wrong", &shown(yaml));
    }

    #[test]
    fn a_good_configuration_is_summed_up() {
        let yaml = "servers:\n  files: { module: files }\n  search: { command: npx, args: [-y, secret] }\n  \
            crm: { url: \"https://crm.internal/mcp?key=secret\" }\n  old: { command: x, disabled: true }\n\
            views: { support: { include: [\"crm__*\", \"gone__*\"] } }\nops: { listen: \"127.0.0.1:9090\" }\n";
        let text = shown(yaml);
        assert!(!text.contains("secret"), "{text}");
        golden::check("check-good", &text);
    }

    #[test]
    fn who_may_come_is_summed_up_too() {
        let yaml = "identity: { api_keys: true, jwt: [{ issuer: \"https://id.example.com\", audience: [gate] }] }\n\
            roles: { analyst: { allow: [\"*\"] }, writer: {} }\naudit: {}\nservers: { notes: { module: notes } }\n";
        let text = shown(yaml);
        for line in [
            "  callers     API keys, tokens of https://id.example.com\n",
            "  roles       analyst, writer\n",
            "  audit       on\n",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
