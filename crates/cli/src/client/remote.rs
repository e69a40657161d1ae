//! A configuration of one server, made from the command line.

use std::time::Duration;

use gatepost_config::{Config, Secret, ServerKind};
use serde_json::{Map, Value, json};

use crate::{data_dir::DataDir, exit, failure::Failure};

/// How a server is spoken to.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RemoteArgs {
    /// A header of every request to the URL; `${env:NAME}` in it keeps a secret off the command line
    #[arg(long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,
    /// Which era of the protocol the server speaks; `auto` finds out
    #[arg(long, value_name = "ERA", default_value = "auto", value_parser = ["auto", "modern", "legacy"])]
    pub(crate) era: String,
    /// How long to wait for a server that says nothing, while it starts or in a call, such as `90s` [default: 60s]
    #[arg(long, value_name = "DURATION")]
    pub(crate) timeout: Option<String>,
}

impl RemoteArgs {
    /// The timeout, if one was given.
    ///
    /// # Errors
    /// When it is no duration.
    pub(crate) fn server_timeout(&self) -> Result<Option<Duration>, Failure> {
        if self.timeout.is_none() {
            return Ok(None);
        }
        // Read where durations are read: in the configuration of some server.
        let remote = Remote::one("any", json!({ "command": "any" }), self)?;
        Ok(remote.config.servers.first().map(|server| server.timeout))
    }
}

/// One server, and a place for the gate before it to keep what it must.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(crate) config: Config,
    /// What the server is called in it.
    pub(crate) name: String,
    /// Vanishes when dropped.
    pub(crate) state: DataDir,
}

impl Remote {
    /// The server behind a URL.
    ///
    /// # Errors
    /// When the URL or a header is none.
    pub(crate) fn url(url: &str, args: &RemoteArgs) -> Result<Self, Failure> {
        let mut headers = Map::new();
        for header in &args.headers {
            let (name, value) = header.split_once(':').ok_or_else(|| {
                usage(
                    format!(
                        "--header: `{}` has no `:`",
                        header.split(' ').next().unwrap_or_default()
                    ),
                    "write it like `Authorization: Bearer …`",
                )
            })?;
            headers.insert(name.trim().to_owned(), value.trim().into());
        }
        let authority = url
            .split("://")
            .nth(1)
            .unwrap_or(url)
            .split(['/', '?', '#'])
            .next()
            .unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        Self::one(host, json!({ "url": url, "headers": headers }), args)
    }

    /// A program on this machine. Unlike a configured one it gets the whole environment: it is started as if from the
    /// shell, by who typed its name.
    ///
    /// # Errors
    /// When an argument cannot stand in a configuration.
    pub(crate) fn command(command: &[String], args: &RemoteArgs) -> Result<Self, Failure> {
        let (program, arguments) = command
            .split_first()
            .ok_or_else(|| usage("no command after `--`".to_owned(), "write `-- PROGRAM ARGUMENT…`"))?;
        let base = program.rsplit(['/', '\\']).next().unwrap_or_default();
        let arguments: Vec<String> = arguments.iter().map(|argument| literal(argument)).collect();
        let mut remote = Self::one(
            base,
            json!({ "command": literal(program), "args": arguments }),
            args,
        )?;
        if let Some(ServerKind::Command { env, .. }) =
            remote.config.servers.first_mut().map(|server| &mut server.kind)
        {
            let variables = std::env::vars_os();
            let text = variables
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
            *env = text.map(|(name, value)| (name, Secret::new(value))).collect();
        }
        Ok(remote)
    }

    fn one(name: &str, mut server: Value, args: &RemoteArgs) -> Result<Self, Failure> {
        let state = DataDir::temporary()?;
        let name = usable(name);
        server["era"] = args.era.clone().into();
        if let Some(timeout) = &args.timeout {
            server["timeout"] = timeout.clone().into();
            server["start_timeout"] = timeout.clone().into();
        }
        let mut servers = Map::new();
        servers.insert(name.clone(), server);
        let config = json!({ "data_dir": literal(&state.path().display().to_string()), "servers": servers });
        // JSON is YAML: the same reader, and the same words for what is wrong, as for a file.
        let config = Config::parse_in(".".as_ref(), &config.to_string(), &|name| std::env::var_os(name));
        let config = config.map_err(|problems| {
            let prefix = format!("servers.{name}.");
            // What is wrong with the server as a whole follows from what is wrong with its parts.
            let parts = problems.iter().any(|problem| problem.path.starts_with(&prefix));
            let found = problems
                .iter()
                .filter(|problem| !parts || problem.path.starts_with(&prefix));
            let (said, remedies): (Vec<String>, Vec<&str>) = found
                .map(|problem| {
                    let key = problem.path.strip_prefix(&prefix).unwrap_or(&problem.path);
                    (format!("{}: {}", typed(key), problem.message), &*problem.remedy)
                })
                .unzip();
            usage(said.join("\n"), &remedies.join("\n"))
        })?;
        Ok(Self { config, name, state })
    }
}

/// What somebody typed who has never seen the configuration that was made of it.
fn typed(key: &str) -> String {
    match key.split_once('.') {
        Some(("headers", header)) => format!("--header {header}"),
        _ if key == "timeout" || key == "start_timeout" => "--timeout".to_owned(),
        _ if key == "url" => "the URL".to_owned(),
        _ => key.to_owned(),
    }
}

fn usage(message: String, remedy: &str) -> Failure {
    Failure::new(message, remedy).code(exit::USAGE)
}

/// Text that means itself in a configuration.
fn literal(text: &str) -> String {
    text.replace("${", "$${")
}

/// A name for the server, which appears in messages and nowhere else.
fn usable(name: &str) -> String {
    let mut usable = String::new();
    for c in name.chars().take(60) {
        match c {
            c if c.is_ascii_alphanumeric() => usable.push(c),
            '.' | '-' if !usable.is_empty() => usable.push(c),
            _ if !usable.is_empty() && !usable.ends_with('-') => usable.push('-'),
            _ => {}
        }
    }
    let usable = usable.trim_end_matches(['-', '.']);
    if usable.is_empty() {
        "server".to_owned()
    } else {
        usable.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(headers: &[&str]) -> RemoteArgs {
        RemoteArgs {
            headers: headers.iter().map(ToString::to_string).collect(),
            era: "auto".to_owned(),
            timeout: Some("7s".to_owned()),
        }
    }

    #[test]
    fn names_are_usable_ones() {
        for (name, expected) in [
            ("127.0.0.1:8080", "127.0.0.1-8080"),
            ("[::1]:8080", "1-8080"),
            ("my__server_", "my-server"),
            ("näme", "n-me"),
            ("", "server"),
        ] {
            assert_eq!(usable(name), expected, "{name}");
        }
    }

    #[test]
    fn a_url_with_headers() {
        let remote = Remote::url("http://localhost:9/mcp", &args(&["Authorization: Bearer a:b"])).unwrap();
        assert_eq!(remote.name, "localhost-9");
        let server = &remote.config.servers[0];
        assert_eq!((server.timeout.as_secs(), server.start_timeout.as_secs()), (7, 7));
        let ServerKind::Url { url, headers, .. } = &server.kind else {
            panic!("{server:?}")
        };
        assert_eq!(url.uri().path(), "/mcp");
        assert_eq!(
            (headers[0].0.as_str(), headers[0].1.expose()),
            ("authorization", "Bearer a:b")
        );
    }

    #[test]
    fn arguments_mean_themselves() {
        let command: Vec<String> = ["./bin/serve-it", "${HOME}", "$${env:X}"]
            .map(str::to_owned)
            .to_vec();
        let remote = Remote::command(&command, &args(&[])).unwrap();
        assert_eq!(remote.name, "serve-it");
        let ServerKind::Command {
            program, args, env, ..
        } = &remote.config.servers[0].kind
        else {
            panic!()
        };
        assert_eq!(program.expose(), "./bin/serve-it");
        let args: Vec<&str> = args.iter().map(gatepost_config::Text::expose).collect();
        assert_eq!(args, ["${HOME}", "$${env:X}"]);
        assert!(env.iter().any(|(name, _)| name == "PATH"));
    }

    #[test]
    fn a_mistake_is_named() {
        let failure = Remote::url("localhost/mcp", &args(&[])).unwrap_err();
        let Failure::Told {
            code,
            message,
            remedy,
        } = failure
        else {
            panic!("{failure:?}")
        };
        // Nothing of the configuration that was made of the command line, which nobody has seen.
        assert_eq!((code, message.as_str()), (exit::USAGE, "the URL: is no URL"));
        assert!(remedy.contains("https://host/mcp"), "{remedy}");
        assert!(Remote::url("http://x/mcp", &args(&["nonsense"])).is_err());
        let failure = Remote::url(
            "http://x/mcp",
            &args(&["Authorization: Bearer ${env:NO_SUCH_VARIABLE}"]),
        );
        let Err(Failure::Told { message, remedy, .. }) = failure else {
            panic!("{failure:?}")
        };
        assert_eq!(
            message,
            "--header Authorization: the environment variable NO_SUCH_VARIABLE is not set"
        );
        assert!(remedy.starts_with("set it"), "{remedy}");
    }
}
