//! A real issuer of access tokens: npm's `oidc-provider`, run by `testing/peers/issuer/issuer.mjs`, which says what it does.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::gate::{Post, within};
use crate::peers::{NotInstalled, Peers};

/// A running issuer. Dropping it kills it.
#[derive(Debug)]
pub struct Issuer {
    child: Child,
    url: String,
    address: SocketAddr,
    options: Value,
    folder: TempDir,
    node: PathBuf,
}

impl Issuer {
    /// Starts an issuer whose clients are the members of `clients`, each an object of the claims that its tokens have:
    /// `json!({ "ann": { "groups": ["analysts"], "org": "acme" } })`.
    ///
    /// # Errors
    ///
    /// If it is not installed.
    pub async fn start(clients: Value) -> Result<Self, NotInstalled> {
        Self::with(json!({ "clients": clients })).await
    }

    /// As [`Issuer::start`], with all options of the script.
    ///
    /// # Errors
    ///
    /// If it is not installed.
    ///
    /// # Panics
    ///
    /// If it does not start.
    #[expect(clippy::unwrap_used, reason = "a test cannot go on without it")]
    pub async fn with(options: Value) -> Result<Self, NotInstalled> {
        let peers = Peers::of_this_checkout();
        let (home, node) = (peers.npm_home()?, peers.npm("node")?);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testing/peers/issuer/issuer.mjs");
        // Node looks for packages beside a script.
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(script, folder.path().join("issuer.mjs")).unwrap();
        std::os::unix::fs::symlink(home.join("node_modules"), folder.path().join("node_modules")).unwrap();
        let (child, url) = run(&node, folder.path(), &options).await;
        let authority = url.split('/').nth(2).unwrap();
        Ok(Self {
            child,
            address: authority.parse().unwrap(),
            url,
            options,
            folder,
            node,
        })
    }

    /// What it calls itself.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where tokens are to be had.
    pub fn token_url(&self) -> String {
        format!("{}/token", self.url)
    }

    /// A token for `client` and the server `resource`, limited to `scopes`, which are separated by spaces.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[expect(clippy::panic, reason = "a test cannot go on without it")]
    pub async fn token(&self, client: &str, resource: &str, scopes: &str) -> String {
        let form = format!(
            "grant_type=client_credentials&client_id={client}&client_secret=secret-of-{client}&resource={}&scope={}",
            escaped(resource),
            escaped(scopes)
        );
        let path = format!("{}/token", self.path());
        let post = Post::new(Method::POST, &path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        let answer = self.exchange(&post).await;
        match answer["access_token"].as_str() {
            Some(token) => token.to_owned(),
            None => panic!("a token for {client} was refused: {answer}"),
        }
    }

    /// Signs with a new key from now on. The keys before are still published if `keep` says so. Gives the new key's name.
    pub async fn rotate(&self, keep: bool) -> String {
        let post = Post::new(Method::POST, &format!("/test/rotate?keep={keep}"));
        let answer = self.exchange(&post).await;
        answer["kid"].as_str().unwrap_or_default().to_owned()
    }

    /// How often it has been asked for its metadata, its keys and for tokens: `{"metadata": 1, "keys": 1, "tokens": 0}`.
    pub async fn counts(&self) -> Value {
        self.exchange(&Post::get("/test/counts")).await
    }

    /// Ends it. Nobody answers at its address until [`Issuer::revive`].
    pub async fn kill(&mut self) {
        let _ = self.child.kill().await;
    }

    /// Starts it again at the same address. It has new keys.
    pub async fn revive(&mut self) {
        self.options["port"] = json!(self.address.port());
        (self.child, self.url) = run(&self.node, self.folder.path(), &self.options).await;
    }

    fn path(&self) -> &str {
        self.options["path"].as_str().unwrap_or_default()
    }

    async fn exchange(&self, post: &Post) -> Value {
        let post = post.clone().set("host", self.address.to_string());
        post.send(self.address).await.whole().await.json()
    }
}

#[expect(clippy::unwrap_used, reason = "a test cannot go on without it")]
async fn run(node: &Path, folder: &Path, options: &Value) -> (Child, String) {
    let mut child = Command::new(node)
        .arg(folder.join("issuer.mjs"))
        .arg(options.to_string())
        .env("NODE_NO_WARNINGS", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = within("the issuer", lines.next_line()).await.unwrap().unwrap();
    let started: Value = serde_json::from_str(&line).unwrap();
    (child, started["issuer"].as_str().unwrap().to_owned())
}

/// `application/x-www-form-urlencoded`.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
