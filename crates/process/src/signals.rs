//! The signals that ask the gate to stop.

use std::io;

/// Listens for the signals that ask this process to stop: SIGTERM and SIGINT, elsewhere Ctrl-C.
///
/// From its creation on, these signals no longer end the process by themselves. The first one usually begins
/// draining, a second one says that somebody lost patience.
#[derive(Debug)]
pub struct ShutdownSignals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(not(unix))]
    ctrl_c: tokio::signal::windows::CtrlC,
}

impl ShutdownSignals {
    /// Begins to listen. Signals that come before the first [`next`](Self::next) are kept.
    ///
    /// # Errors
    /// When the operating system refuses the handler.
    ///
    /// # Panics
    /// Outside a tokio runtime with its drivers enabled, as all of tokio does.
    pub fn listen() -> io::Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            Ok(Self {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            })
        }
        #[cfg(not(unix))]
        Ok(Self {
            ctrl_c: tokio::signal::windows::ctrl_c()?,
        })
    }

    /// Waits for the next request to stop and says its name, for the log. Cancel safe.
    pub async fn next(&mut self) -> &'static str {
        #[cfg(unix)]
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
        #[cfg(not(unix))]
        {
            self.ctrl_c.recv().await;
            "Ctrl-C"
        }
    }
}

/// Waits for the first request to stop and says its name: [`ShutdownSignals`] for who needs only one.
///
/// # Errors
/// As for [`ShutdownSignals::listen`].
pub async fn shutdown_signal() -> io::Result<&'static str> {
    Ok(ShutdownSignals::listen()?.next().await)
}

#[cfg(all(test, unix))]
mod tests {
    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    #[tokio::test]
    async fn names_the_signal_that_came() {
        let mut signals = ShutdownSignals::listen().unwrap();
        kill_process(getpid(), Signal::TERM).unwrap();
        assert_eq!(signals.next().await, "SIGTERM");
        kill_process(getpid(), Signal::INT).unwrap();
        assert_eq!(signals.next().await, "SIGINT");
    }
}
