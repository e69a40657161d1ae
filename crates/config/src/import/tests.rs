use std::ffi::OsString;

use super::*;
use crate::{Config, ServerKind, Transport};

fn import_it(text: &str) -> Import {
    import(text, "secrets").unwrap()
}

/// Imports, writes the secrets as a caller would, and reads the result.
fn config_of(plan: &Import) -> Config {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("secrets")).unwrap();
    for secret in &plan.secrets {
        std::fs::write(
            folder.path().join("secrets").join(&secret.file),
            secret.value.expose(),
        )
        .unwrap();
    }
    let environment = |name: &str| {
        Some(OsString::from(if name == "HOME" {
            "/home/ann"
        } else {
            "from-env"
        }))
    };
    Config::parse_in(folder.path(), &plan.yaml, &environment)
        .unwrap_or_else(|problems| panic!("{problems}\n{}", plan.yaml))
}

const CLAUDE_DESKTOP: &str = r#"{
  "globalShortcut": "",
  "mcpServers": {
    "github": {
      "command": "npx",
      "args": ["-y", "@modelcontextprotocol/server-github"],
      "env": { "GITHUB_PERSONAL_ACCESS_TOKEN": "ghp_0123456789abcdef0123", "LOG": "1" }
    },
    "My Postgres": {
      "command": "docker",
      "args": ["run", "-e", "PGPASSWORD=hunter2", "mcp/postgres", "postgres://ann:hunter2@db/x", "--api-key", "k3y", "--max-tokens", "100"]
    },
    "remote": {
      "type": "sse",
      "url": "https://example.com/sse?api_key=k3y&v=1",
      "headers": { "Authorization": "Bearer t0ken", "X-Team": "blue" },
      "autoApprove": ["x"], "timeout": 60, "disabled": false
    }
  }
}"#;

#[test]
fn claude_desktop() {
    let plan = import_it(CLAUDE_DESKTOP);
    assert_eq!(
        plan.yaml,
        r#"# Made by `gatepost import`.
servers:
  "github":
    command: "npx"
    args: ["-y", "@modelcontextprotocol/server-github"]
    env:
      "GITHUB_PERSONAL_ACCESS_TOKEN": "${file:secrets/github-github_personal_access_token}"
      "LOG": "1"
  "My-Postgres":
    command: "docker"
    args: ["run", "-e", "PGPASSWORD=${file:secrets/my-postgres-pgpassword}", "mcp/postgres", "${file:secrets/my-postgres-argument}", "--api-key", "${file:secrets/my-postgres-api_key}", "--max-tokens", "100"]
  "remote":
    transport: sse
    url: "https://example.com/sse?api_key=${file:secrets/remote-api_key}&v=1"
    headers:
      "Authorization": "Bearer ${file:secrets/remote-authorization}"
      "X-Team": "blue"
"#
    );
    for secret in ["ghp_", "hunter2", "k3y", "t0ken"] {
        assert!(!format!("{plan:?}").contains(secret), "{secret} in {plan:?}");
    }
    assert_eq!(
        plan.warnings,
        [
            "mcpServers.My Postgres: is called `My-Postgres` now, since names are parts of tools' names",
            "mcpServers.remote.autoApprove: was left out; it does nothing in a gate",
            "mcpServers.remote.timeout: was left out, since clients disagree about its unit; write `timeout: 60s`",
        ]
    );
    let config = config_of(&plan);
    let ServerKind::Url {
        url,
        transport,
        headers,
    } = &config.servers[2].kind
    else {
        panic!()
    };
    assert_eq!(url.uri(), "https://example.com/sse?api_key=k3y&v=1");
    assert_eq!(
        (*transport, headers[0].1.expose()),
        (Transport::Sse, "Bearer t0ken")
    );
    let ServerKind::Command { args, .. } = &config.servers[1].kind else {
        panic!()
    };
    assert_eq!(args[2].expose(), "PGPASSWORD=hunter2");
}

#[test]
fn vs_code_with_comments_and_inputs() {
    let plan = import_it(
        r#"{
  // Inputs are asked for when a server starts.
  "inputs": [{ "type": "promptString", "id": "perplexity-key", "password": true }],
  "servers": {
    "perplexity": {
      "type": "stdio", "command": "npx", "args": ["-y", "server-perplexity", "${workspaceFolder}/x",],
      "env": { "PERPLEXITY_API_KEY": "${input:perplexity-key}", "HOME": "${userHome}" }, /* done */
    },
    "off": { "type": "http", "url": "https://example.com/mcp", "disabled": true },
  },
}"#,
    );
    assert!(plan.secrets.is_empty());
    assert_eq!(
        plan.warnings,
        [
            "servers.perplexity.args[2]: `${workspaceFolder}` means something in an editor only; write the value",
            "servers.perplexity.env.PERPLEXITY_API_KEY: asked for the input `perplexity-key`; set the environment \
             variable PERPLEXITY_KEY",
        ]
    );
    let config = config_of(&plan);
    let ServerKind::Command { args, env, .. } = &config.servers[0].kind else {
        panic!()
    };
    assert_eq!(args[2].expose(), "${workspaceFolder}/x");
    assert_eq!((env[0].1.expose(), env[1].1.expose()), ("from-env", "/home/ann"));
    assert_eq!(config.disabled, ["off"]);
}

#[test]
fn other_places_and_names() {
    let plan =
        import_it(r#"{"mcp": {"servers": {"a": {"serverUrl": "https://a.example/mcp"}, "b": 1, "c": {}}}}"#);
    assert_eq!(plan.warnings.len(), 2, "{:?}", plan.warnings);
    assert_eq!(config_of(&plan).servers.len(), 1);
    // Names that become equal stay apart.
    let plan = import_it(r#"{"mcpServers": {"a b": {"command": "1"}, "a-b": {"command": "2"}}}"#);
    let config = config_of(&plan);
    let named: Vec<String> = config
        .servers
        .iter()
        .map(|server| match &server.kind {
            ServerKind::Command { program, .. } => format!("{}={program}", server.name),
            _ => String::new(),
        })
        .collect();
    assert_eq!(named, ["a-b=1", "a-b-2=2"]);
    assert!(config_of(&import_it(r#"{"mcpServers": {}}"#)).servers.is_empty());
}

#[test]
fn what_cannot_be_imported_says_why() {
    assert_eq!(
        import("{}", "s").unwrap_err().to_string(),
        "found no servers: neither `mcpServers` nor `servers`, at the top or below `mcp`"
    );
    let error = import("{\n\"mcpServers\": {,\n", "s").unwrap_err().to_string();
    assert!(error.contains("line 2"), "{error}");
    let error = import(r#"{"mcpServers": {"a": {}, "a": {}}}"#, "s")
        .unwrap_err()
        .to_string();
    assert!(error.contains("the key `a` is there twice"), "{error}");
}
