//! What to run: a program, its arguments and its surroundings. Never a shell line.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::child::Child;
use crate::environment::Inherit;
use crate::error::SpawnError;
use crate::program;
use crate::supervisor::{Mode, Supervisor};

/// A program to start, with its arguments and surroundings.
///
/// There is no shell in between: arguments reach the program as they are. Its stdin, stdout and stderr are pipes to
/// the gate; no other descriptor reaches it.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use gatepost_process::{Command, Supervisor};
///
/// let mut server = Command::new("npx")
///     .args(["-y", "@modelcontextprotocol/server-everything"])
///     .env("LOG_LEVEL", "debug")
///     .spawn(&Supervisor::current_exe()?)?;
/// let (stdin, stdout) = (server.stdin.take(), server.stdout.take());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Command {
    program: OsString,
    args: Vec<OsString>,
    env: BTreeMap<OsString, OsString>,
    inherit: Inherit,
    cwd: Option<PathBuf>,
}

impl Command {
    /// A command for `program`: a name on the server's `PATH`, or a path (relative ones start at
    /// [`cwd`](Self::cwd)).
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            inherit: Inherit::default(),
            cwd: None,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of the server's environment; it wins over an inherited one.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Sets variables of the server's environment; they win over inherited ones.
    #[must_use]
    pub fn envs(
        mut self,
        vars: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
    ) -> Self {
        self.env
            .extend(vars.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// Says how much of the gate's own environment the server inherits; [`Inherit::Essentials`] unless told.
    #[must_use]
    pub fn inherit(mut self, inherit: Inherit) -> Self {
        self.inherit = inherit;
        self
    }

    /// Sets the working directory; the gate's own unless told.
    #[must_use]
    pub fn cwd(mut self, cwd: impl Into<PathBuf>) -> Self {
        self.cwd = Some(cwd.into());
        self
    }

    /// The program as it was configured.
    #[must_use]
    pub fn program(&self) -> &OsStr {
        &self.program
    }

    /// Starts the program. Must be called within a tokio runtime.
    ///
    /// This returns once the supervising process runs, without waiting for the program itself. What can be known
    /// before is checked before; the rest (an interpreter that does not exist, say) is reported by
    /// [`Child::wait`] as [`Exit::NotStarted`](crate::Exit::NotStarted).
    ///
    /// # Errors
    /// When the program or the working directory is not there, may not be used, or the operating system refuses.
    pub fn spawn(&self, supervisor: &Supervisor) -> Result<Child, SpawnError> {
        let environment = self.environment();
        program::check_cwd(&self.program, self.cwd.as_deref())?;
        let path = environment.get(OsStr::new("PATH")).map(OsString::as_os_str);
        let file = program::resolve(&self.program, path, self.cwd.as_deref())?;
        match supervisor.mode() {
            #[cfg(unix)]
            Mode::Process { exe, grace } => {
                let launch = crate::supervisor::Launch {
                    name: &self.program,
                    file: &file,
                    args: &self.args,
                };
                let starting = exe.clone();
                launch
                    .spawn(exe, *grace, |command| self.surround(command, &environment))
                    .map_err(|source| SpawnError::Start {
                        program: self.program.clone(),
                        starting,
                        source,
                    })
            }
            Mode::None => self
                .spawn_plain(&file, &environment)
                .map_err(|source| SpawnError::Start {
                    program: self.program.clone(),
                    starting: file,
                    source,
                }),
        }
    }

    fn environment(&self) -> BTreeMap<OsString, OsString> {
        let mut environment: BTreeMap<_, _> = self.inherit.select(std::env::vars_os()).collect();
        environment.extend(self.env.clone());
        environment
    }

    /// Gives a process the server's surroundings. The supervisor lives in them too, so that it need not be told.
    fn surround(&self, command: &mut tokio::process::Command, environment: &BTreeMap<OsString, OsString>) {
        command
            .env_clear()
            .envs(environment)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
    }

    fn spawn_plain(&self, file: &Path, environment: &BTreeMap<OsString, OsString>) -> std::io::Result<Child> {
        let mut command = tokio::process::Command::new(file);
        self.surround(&mut command, environment);
        command.args(&self.args).stdin(Stdio::piped()).kill_on_drop(true);
        #[cfg(unix)]
        command.arg0(&self.program).process_group(0);
        Ok(Child::plain(command.spawn()?))
    }
}

/// Shows neither arguments nor variables' values: both hold secrets often enough.
impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Command")
            .field("program", &self.program)
            .field("args", &self.args.len())
            .field("env", &self.env.keys().collect::<Vec<_>>())
            .field("inherit", &self.inherit)
            .field("cwd", &self.cwd)
            .finish()
    }
}
