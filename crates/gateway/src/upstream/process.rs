//! Programs that speak MCP on their standard input and output: started on demand, watched, and ended as a tree.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use gatepost_config::ServerKind;
use gatepost_process::{Child, Command, Supervisor};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader},
    sync::oneshot,
    time::Instant,
};

use super::{
    CallError, Cause, backoff,
    change::Announcer,
    incoming::Waiting,
    pipe::{Inlet, Pipe, read_lines, write_lines},
    session::Ender,
};

/// Lines on stderr are cut here.
const LOGGED_LINE: u64 = 8 * 1024;
/// A process that lived this long was no crash at the start.
const SETTLED: Duration = Duration::from_secs(30);
/// How long an ended output may precede the end of the process.
const EXIT_WITHIN: Duration = Duration::from_secs(2);

/// Starts one server's processes and slows down when they keep dying.
pub(crate) struct Launcher {
    command: Command,
    supervisor: Supervisor,
    context: Waiting,
    announcer: Announcer,
    crashes: Arc<Crashes>,
}

/// How the last processes of a server ended.
pub(crate) struct Crashes(Mutex<Ended>);

#[derive(Default)]
struct Ended {
    failures: u32,
    until: Option<Instant>,
    last: Option<CallError>,
}

impl Launcher {
    /// For a server that is a command; `None` for any other.
    pub(crate) fn new(
        kind: &ServerKind,
        supervisor: &Supervisor,
        context: Waiting,
        announcer: Announcer,
    ) -> Option<Self> {
        let ServerKind::Command {
            program,
            args,
            env,
            cwd,
            ..
        } = kind
        else {
            return None;
        };
        let mut command = Command::new(program.expose())
            .args(args.iter().map(gatepost_config::Text::expose))
            .envs(env.iter().map(|(name, value)| (name.as_str(), value.expose())));
        if let Some(cwd) = cwd {
            command = command.cwd(cwd);
        }
        Some(Self {
            command,
            supervisor: supervisor.clone(),
            context,
            announcer,
            crashes: Arc::new(Crashes::new()),
        })
    }

    /// How the last ones ended.
    pub(crate) fn crashes(&self) -> &Arc<Crashes> {
        &self.crashes
    }

    /// Starts one process. While the last ones keep dying, this fails at once with what the last one died of.
    pub(crate) fn launch(&self) -> Result<(Arc<Pipe>, Ender), CallError> {
        self.crashes.check()?;
        let mut child = self.command.spawn(&self.supervisor).map_err(|error| {
            let error = self.context.error(Cause::NotStarted(error.to_string()), true);
            self.crashes.note(error.clone(), Duration::ZERO);
            error
        })?;
        let missing = || {
            self.context
                .error(Cause::NotStarted("it has no pipes".to_owned()), true)
        };
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let (pipe, inlet, unsent) = Pipe::new(Arc::clone(&self.context.server), self.announcer.clone());
        let words = Arc::new(Mutex::new(String::new()));
        let logging = child.stderr.take().map(|stderr| {
            tokio::spawn(log_stderr(
                stderr,
                Arc::clone(&self.context.server),
                Arc::clone(&words),
            ))
        });
        let writing = tokio::spawn(write_lines(stdin, unsent));
        let (stop, stopped) = oneshot::channel();
        let running = Running {
            child,
            inlet,
            writing: writing.abort_handle(),
            logging,
            words,
            context: self.context.clone(),
            crashes: Arc::clone(&self.crashes),
        };
        let done = tokio::spawn(running.run(stdout, stopped));
        let ender: Ender = Box::new(move |grace| {
            Box::pin(async move {
                let _ = stop.send(grace);
                let _ = done.await;
            })
        });
        tracing::info!(target: "gatepost::server", server = &*self.context.server, "started");
        Ok((pipe, ender))
    }
}

/// One process and all that hangs on it.
struct Running {
    child: Child,
    inlet: Inlet,
    writing: tokio::task::AbortHandle,
    logging: Option<tokio::task::JoinHandle<()>>,
    words: Arc<Mutex<String>>,
    context: Waiting,
    crashes: Arc<Crashes>,
}

impl Running {
    async fn run(mut self, stdout: impl AsyncRead + Unpin, mut stopped: oneshot::Receiver<Duration>) {
        let born = Instant::now();
        let server = &*self.context.server;
        let why = tokio::select! {
            why = read_lines(stdout, &self.inlet, self.context.limit) => why,
            grace = &mut stopped => {
                // Closing its input is how a server is asked to end (basic/lifecycle, Shutdown).
                self.writing.abort();
                self.inlet.end("it was stopped");
                let exit = self.child.shutdown(grace.unwrap_or(EXIT_WITHIN)).await;
                tracing::info!(target: "gatepost::server", server, %exit, "stopped");
                return;
            }
        };
        // The output ends a moment before the process does, whose end says more.
        let exit = tokio::time::timeout(EXIT_WITHIN, self.child.wait()).await;
        if let Some(logging) = self.logging.take() {
            let _ = tokio::time::timeout(Duration::from_millis(200), logging).await;
        }
        let mut reason = match &exit {
            Ok(exit) => format!("it {exit}"),
            Err(_) => why,
        };
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if !words.is_empty() {
            reason.push_str("; its last words: ");
            reason.push_str(&words);
        }
        tracing::warn!(target: "gatepost::server", server, reason, "ended by itself");
        self.crashes.note(
            self.context.error(Cause::Ended(reason.clone()), true),
            born.elapsed(),
        );
        self.inlet.end(&reason);
        self.writing.abort();
        if exit.is_err() {
            self.child.shutdown(EXIT_WITHIN).await;
        }
    }
}

impl Crashes {
    fn new() -> Self {
        Self(Mutex::default())
    }

    fn ended(&self) -> std::sync::MutexGuard<'_, Ended> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a new start is due; if not, why the last one failed.
    fn check(&self) -> Result<(), CallError> {
        let ended = self.ended();
        match (&ended.last, ended.until) {
            (Some(error), Some(until)) if Instant::now() < until => Err(error.clone()),
            _ => Ok(()),
        }
    }

    fn note(&self, error: CallError, lived: Duration) {
        let mut ended = self.ended();
        ended.failures = if lived >= SETTLED {
            1
        } else {
            ended.failures.saturating_add(1)
        };
        ended.until = Some(Instant::now() + backoff::delay(ended.failures));
        ended.last = Some(error);
    }

    /// The last one answers.
    pub(crate) fn recovered(&self) {
        self.ended().last = None;
    }

    /// How often in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.ended().failures
    }
}

/// Copies stderr to the log, line by line, and remembers the last one.
async fn log_stderr(stderr: impl AsyncRead + Unpin, server: Arc<str>, words: Arc<Mutex<String>>) {
    let mut stderr = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        // A longer line goes on in the next record.
        match (&mut stderr).take(LOGGED_LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(line.trim_ascii_end());
                if text.is_empty() {
                    continue;
                }
                tracing::info!(target: "gatepost::server", server = &*server, "{text}");
                let last: String = text.chars().take(200).collect();
                *words.lock().unwrap_or_else(PoisonError::into_inner) = last;
            }
        }
    }
}

/// How long a module may take to read that its calls are cancelled.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// A module's connection: the same pipe, in memory.
pub(crate) fn serve_module(
    module: &dyn crate::Module,
    context: &Waiting,
    announcer: Announcer,
) -> (Arc<Pipe>, Ender) {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (pipe, inlet, unsent) = Pipe::new(Arc::clone(&context.server), announcer);
    let (from, to) = tokio::io::split(ours);
    let serving = tokio::spawn(module.serve(theirs));
    let writing = tokio::spawn(write_lines(to, unsent));
    let limit = context.limit;
    let reading = tokio::spawn(async move {
        let why = read_lines(from, &inlet, limit).await;
        inlet.end(&why);
    });
    let ended = Arc::clone(&pipe);
    let ender: Ender = Box::new(move |grace| {
        Box::pin(async move {
            // The SDK waits for its handlers at the end of its input, and one that announces changes never returns by itself.
            let _ = tokio::time::timeout(grace.min(LAST_WORDS), ended.cancel_all()).await;
            // Both halves gone, the module reads the end of its input.
            writing.abort();
            reading.abort();
            ended.finish("it was stopped");
            let aborting = serving.abort_handle();
            if tokio::time::timeout(grace, serving).await.is_err() {
                aborting.abort();
            }
        })
    });
    (pipe, ender)
}

#[cfg(test)]
mod tests;
