//! What `gatepost serve` says once it listens: where it is, what it offers, how to connect each well-known client.

use std::fmt::Write;

use gatepost_config::Config;
use serde_json::json;

use crate::{commands::described, configuration::FILE, failure::counted, output::style};

/// The most endpoints that are listed; a banner is read at a glance.
const MOST_ENDPOINTS: usize = 12;

/// Where the gate really is.
#[derive(Debug)]
pub(crate) struct Whereabouts {
    /// Such as `http://127.0.0.1:8080`; `None` on a Unix socket.
    pub(crate) base: Option<String>,
    /// Where `/health` and `/metrics` are, in the same form; `None` also where others could reach them.
    pub(crate) ops: Option<String>,
    /// Whether there is no configuration.
    pub(crate) zero: bool,
    /// The path of this program, for clients that launch one.
    pub(crate) program: String,
}

/// One line of the list of endpoints.
struct Line {
    path: String,
    what: String,
}

pub(crate) fn banner(config: &Config, whereabouts: &Whereabouts) -> String {
    let lines = endpoints(config);
    let (good, heading, dim) = (style::GOOD, style::HEADING, style::DIM);
    let mut text = format!(
        "{good}Gatepost {}{good:#} stands before ",
        env!("CARGO_PKG_VERSION")
    );
    let _ = write!(text, "{}", counted(config.servers.len(), "server"));
    if !config.views.is_empty() {
        let _ = write!(text, " with {}", counted(config.views.len(), "view"));
    }
    text.push('\n');
    if whereabouts.zero {
        let _ = writeln!(
            text,
            "Without a configuration: this folder (read-only), a calculator, notes. To put your own servers here, write \
             {FILE}\nor let `gatepost import` take them from a client."
        );
    }
    text.push('\n');

    let base = whereabouts.base.as_deref().unwrap_or_default();
    if whereabouts.base.is_none() {
        let _ = writeln!(text, "  {}", config.listen);
    }
    let width = lines
        .iter()
        .take(MOST_ENDPOINTS)
        .map(|line| line.path.len())
        .max()
        .unwrap_or(0);
    for Line { path, what } in lines.iter().take(MOST_ENDPOINTS) {
        let _ = writeln!(
            text,
            "  {heading}{base}{path:<width$}{heading:#}  {dim}{what}{dim:#}"
        );
    }
    if lines.len() > MOST_ENDPOINTS {
        let more = lines.len() - MOST_ENDPOINTS;
        let _ = writeln!(
            text,
            "  and {more} more: gatepost check lists all servers and views"
        );
    }

    // Clients connect by URL. On a socket, that of what stands in front of it; which may also be why there is one.
    let public = config
        .http
        .public_url
        .as_ref()
        .map(|url| url.to_string().trim_end_matches('/').to_owned());
    if let (Some(base), Some(first)) = (public.or_else(|| whereabouts.base.clone()), lines.first()) {
        let _ = write!(
            text,
            "\nConnect a client:\n{}",
            clients(&format!("{base}{}", first.path), whereabouts)
        );
        text.push_str(credentials(config));
    }
    match (&whereabouts.ops, &whereabouts.base) {
        (Some(ops), _) => {
            let _ = write!(
                text,
                "\nHealth {ops}/health   metrics {ops}/metrics   probes {ops}/livez, /readyz, /startupz\n"
            );
        }
        // On a socket nobody knows under which URL it is reached.
        (None, Some(base)) => {
            let _ = write!(
                text,
                "\nProbes {base}/livez, /readyz, /startupz   health and metrics want a listener of their own: `ops.listen`\n"
            );
        }
        (None, None) => {}
    }
    text
}

fn endpoints(config: &Config) -> Vec<Line> {
    let mut lines = Vec::new();
    if config.endpoints.all {
        let what = "every server, names prefixed with server__".to_owned();
        lines.push(Line {
            path: "/mcp".to_owned(),
            what,
        });
    }
    for view in &config.views {
        let what = view
            .description
            .as_deref()
            .map(crate::output::harmless)
            .unwrap_or_default();
        let what = if what.is_empty() {
            "view".to_owned()
        } else {
            format!("view: {what}")
        };
        lines.push(Line {
            path: format!("/mcp/{}", view.name),
            what,
        });
    }
    if config.endpoints.servers {
        let servers = config.servers.iter();
        lines.extend(servers.map(|server| Line {
            path: format!("/mcp/{}", server.name),
            what: described(&server.kind),
        }));
    }
    lines
}

/// What a client needs besides the URL.
fn credentials(config: &Config) -> &'static str {
    let Some(identity) = &config.identity else {
        return "";
    };
    match (identity.api_keys, identity.jwt.is_empty()) {
        (true, true) => {
            "Each presents an API key as the header `Authorization: Bearer gp_…`; make one with `gatepost keys create`.\n"
        }
        (true, false) => {
            "Each presents a token of a configured issuer, or an API key as `Authorization: Bearer gp_…` (`gatepost keys \
             create`).\n"
        }
        (false, _) => {
            "Each presents a token of a configured issuer, which most clients ask for by themselves.\n"
        }
    }
}

/// A line to paste for each client, as its own documentation has it.
fn clients(url: &str, whereabouts: &Whereabouts) -> String {
    let vs_code = json!({ "name": "gatepost", "type": "http", "url": url });
    let cursor = json!({ "mcpServers": { "gatepost": { "url": url } } });
    // By hand, since the command comes before its arguments in everybody's documentation.
    let desktop = format!(
        r#"{{"mcpServers":{{"gatepost":{{"command":{},"args":["connect",{}]}}}}}}"#,
        json!(whereabouts.program),
        json!(url)
    );
    let lines = [
        (
            "Claude Code",
            format!("claude mcp add --transport http gatepost {url}"),
        ),
        ("Claude Desktop", format!("claude_desktop_config.json: {desktop}")),
        ("VS Code", format!("code --add-mcp '{vs_code}'")),
        ("Cursor", format!(".cursor/mcp.json: {cursor}")),
        ("Codex", format!("codex mcp add gatepost --url {url}")),
        (
            "Gemini CLI",
            format!("gemini mcp add --transport http gatepost {url}"),
        ),
        (
            "MCP Inspector",
            format!("npx @modelcontextprotocol/inspector --transport http --server-url {url}"),
        ),
        ("this terminal", format!("gatepost list --url {url}")),
    ];
    let mut text = String::new();
    for (client, line) in lines {
        let _ = writeln!(text, "  {client:<15} {line}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    fn shown(yaml: &str, base: Option<&str>) -> String {
        let environment = |name: &str| (name == "HOME").then(|| "/home/ann".into());
        let config = Config::parse_in("/srv".as_ref(), yaml, &environment).unwrap();
        let whereabouts = Whereabouts {
            base: base.map(str::to_owned),
            ops: base.map(str::to_owned),
            zero: false,
            program: "/usr/local/bin/gatepost".to_owned(),
        };
        anstream::adapter::strip_str(&banner(&config, &whereabouts)).to_string()
    }

    #[test]
    fn zero_configuration() {
        let config = Config::zero("/srv".as_ref()).unwrap();
        let whereabouts = Whereabouts {
            base: Some("http://127.0.0.1:8080".to_owned()),
            ops: Some("http://127.0.0.1:8080".to_owned()),
            zero: true,
            program: "/usr/local/bin/gatepost".to_owned(),
        };
        let text = anstream::adapter::strip_str(&banner(&config, &whereabouts)).to_string();
        golden::check("banner-zero", &text);
    }

    #[test]
    fn clients_get_the_public_url_of_a_view() {
        let yaml = "listen: unix:/run/g.sock\nhttp: { public_url: https://gate.example.com/ }\n\
            endpoints: { all: false, servers: false }\nservers: { a: { command: x, args: [secret] } }\n\
            views: { support: { include: [\"a__*\"], description: For support. } }\n";
        golden::check("banner-view", &shown(yaml, None));
    }

    #[test]
    fn health_is_not_promised_where_others_could_ask() {
        let config = Config::zero("/srv".as_ref()).unwrap();
        let whereabouts = Whereabouts {
            base: Some("http://192.0.2.1:8080".to_owned()),
            ops: None,
            zero: true,
            program: "/usr/local/bin/gatepost".to_owned(),
        };
        let text = banner(&config, &whereabouts);
        assert!(
            !text.contains("/health") && text.contains("`ops.listen`"),
            "{text}"
        );
    }

    #[test]
    fn many_servers_stay_short() {
        let servers: String = (0..40).map(|at| format!("  s{at}: {{ command: x }}\n")).collect();
        let text = shown(&format!("servers:\n{servers}"), Some("http://[::1]:9"));
        assert!(text.contains("and 29 more"), "{text}");
        assert!(text.lines().count() < 30, "{text}");
    }
}
