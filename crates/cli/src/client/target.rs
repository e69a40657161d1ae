//! Which server a client command talks to.

use std::path::PathBuf;

use gatepost_config::Config;

use crate::{
    client::remote::{Remote, RemoteArgs},
    commands::stdio,
    configuration::{ConfigArgs, Source},
    data_dir::DataDir,
    exit,
    failure::Failure,
};

/// Without `--url` and `-- COMMAND`, everything goes through the configured gate, in this process.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct TargetArgs {
    /// Talk to the server at this URL
    #[arg(long, value_name = "URL", conflicts_with_all = ["command", "view", "file"], help_heading = "Server")]
    url: Option<String>,
    /// Talk to this program on its stdin and stdout
    #[arg(last = true, value_name = "COMMAND", conflicts_with_all = ["view", "file"], help_heading = "Server")]
    command: Vec<String>,
    #[command(flatten, next_help_heading = "Server")]
    config: ConfigArgs,
    /// Through the configured gate: a view or server, with its own names, instead of everything
    #[arg(long, value_name = "NAME", help_heading = "Server")]
    view: Option<String>,
    #[command(flatten, next_help_heading = "Server")]
    remote: RemoteArgs,
}

/// A gate to be, and which of its endpoints to talk to.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) config: Config,
    pub(crate) endpoint: String,
    /// Where modules keep what they have to keep.
    pub(crate) modules_dir: PathBuf,
    /// How the target is named on a command line, to be repeated in a hint.
    pub(crate) repeated: String,
    pub(crate) _state: DataDir,
}

impl TargetArgs {
    /// Finds out.
    ///
    /// # Errors
    /// When the command line or the configuration is wrong.
    pub(crate) fn target(&self) -> Result<Target, Failure> {
        if let Some(url) = &self.url {
            return Ok(remote(Remote::url(url, &self.remote)?, format!(" --url {url}")));
        }
        if !self.remote.headers.is_empty() {
            let message = "--header is for servers behind a URL, and there is no --url";
            return Err(Failure::new(message, "add `--url URL`").code(exit::USAGE));
        }
        if !self.command.is_empty() {
            let repeated = format!(" -- {}", self.command.join(" "));
            return Ok(remote(Remote::command(&self.command, &self.remote)?, repeated));
        }
        self.configured()
    }

    fn configured(&self) -> Result<Target, Failure> {
        let source = self.config.source();
        let mut config = source.load()?;
        let modules_dir = config.data_dir.clone();
        let state = stdio::state(&mut config)?;
        if let Some(timeout) = self.remote.server_timeout()? {
            config
                .servers
                .iter_mut()
                .for_each(|server| (server.timeout, server.start_timeout) = (timeout, timeout));
        }
        let mut repeated = match &source {
            Source::File(file) if self.config.is_given() => format!(" -c {}", file.display()),
            _ => String::new(),
        };
        if let Some(view) = &self.view {
            repeated.push_str(&format!(" --view {view}"));
        }
        let endpoint = self.view.clone().unwrap_or_default();
        Ok(Target {
            config,
            endpoint,
            modules_dir,
            repeated,
            _state: state,
        })
    }
}

fn remote(Remote { config, name, state }: Remote, repeated: String) -> Target {
    Target {
        config,
        endpoint: name,
        modules_dir: state.path().to_path_buf(),
        repeated,
        _state: state,
    }
}
