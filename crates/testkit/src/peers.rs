//! Real programs that tests talk to: what `scripts/install-test-peers.sh` brings.
//!
//! From npm (`testing/peers/node`): `conformance`, `inspector`, `mcp-server-everything`, `mcp-server-filesystem`,
//! `mcp-server-memory`, `node`, and the library `oidc-provider`, see [`crate::issuer`]. From PyPI (`testing/peers/python`, one environment a file): `fastmcp`, `mcp-client`,
//! `mcp-server-fetch`, `mcp-server-sqlite`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A peer is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("find {path}: it is not installed; run `make install-peers`")]
pub struct NotInstalled {
    /// Where it should be.
    pub path: PathBuf,
}

/// Where the peers are.
#[derive(Debug, Clone)]
pub struct Peers {
    home: PathBuf,
}

impl Peers {
    /// The peers of this checkout, in `.cache/peers` at its root.
    pub fn of_this_checkout() -> Self {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
        let root = crates.and_then(Path::parent).unwrap_or(Path::new("."));
        Self {
            home: root.join(".cache/peers"),
        }
    }

    /// A program from npm, by the name of its command. Start it with [`Peers::npm_path`] as its `PATH`.
    ///
    /// # Errors
    ///
    /// If it is not there.
    pub fn npm(&self, command: &str) -> Result<PathBuf, NotInstalled> {
        installed(self.home.join("node/node_modules/.bin").join(command))
    }

    /// The folder that scripts for Node must lie in to find the packages: `import` looks beside the script and above it,
    /// never in the working folder.
    ///
    /// # Errors
    ///
    /// If it is not there.
    pub fn npm_home(&self) -> Result<PathBuf, NotInstalled> {
        installed(self.home.join("node"))
    }

    /// A program from PyPI: `environment` is the name of a file in `testing/peers/python`.
    ///
    /// # Errors
    ///
    /// If it is not there.
    pub fn python(&self, environment: &str, command: &str) -> Result<PathBuf, NotInstalled> {
        installed(self.home.join(format!("py-{environment}/bin")).join(command))
    }

    /// `PATH` for peers from npm: the Node that came with them is first, because the machine's may be too old.
    ///
    /// # Errors
    ///
    /// If that Node is not there.
    pub fn npm_path(&self) -> Result<OsString, NotInstalled> {
        let node = self.npm("node")?;
        let own = node.parent().map(Path::to_owned);
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let all = own.into_iter().chain(std::env::split_paths(&inherited));
        // A folder whose name holds the separator cannot be in a `PATH`: as good as not there.
        std::env::join_paths(all).map_err(|_| NotInstalled { path: node })
    }
}

fn installed(path: PathBuf) -> Result<PathBuf, NotInstalled> {
    if path.exists() {
        Ok(path)
    } else {
        Err(NotInstalled { path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_says_how_to_get_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let peers = Peers {
            home: folder.path().to_owned(),
        };
        let missing = peers.npm("inspector").expect_err("nothing is installed");
        assert!(
            missing
                .to_string()
                .ends_with("inspector: it is not installed; run `make install-peers`")
        );
        std::fs::create_dir_all(folder.path().join("py-mcp-client/bin/python")).expect("install it");
        assert!(peers.python("mcp-client", "python").is_ok());
    }

    #[test]
    fn the_peers_own_node_comes_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let bin = folder.path().join("node/node_modules/.bin");
        std::fs::create_dir_all(bin.join("node")).expect("install it");
        let path = Peers {
            home: folder.path().to_owned(),
        }
        .npm_path()
        .expect("it is there");
        assert_eq!(std::env::split_paths(&path).next(), Some(bin));
    }
}
