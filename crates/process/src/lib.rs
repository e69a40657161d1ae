//! Process trees that never outlive the gate: spawn, supervise, end.
//!
//! A stdio server is seldom one process: `npx` starts `node`, `uvx` starts `python`, and either may start more. The
//! gate must take all of them with it on every way out, its own `kill -9` included, and no facility of the operating
//! system does that alone: a parent-death signal reaches only the direct child, and a process group is left with one
//! `setsid`.
//!
//! So every server is started through a small supervising process. It is the gate's own program, started again
//! ([`supervisor_main_if_asked`]), and it holds one end of a socket whose other end only the gate has. When that end
//! closes, for whatever reason, the supervisor ends everything below it: TERM, a short grace, KILL. On Linux it is a
//! *child subreaper*, so that processes which left the group or the session are found as well.
//!
//! ```text
//! gate ──socket── supervisor ──┬── npx ─── node        (stdin, stdout, stderr: straight between gate and npx)
//!                              └── something that called setsid and lost its parent
//! ```
//!
//! | system | gate ends cleanly | gate is killed | left the process group | supervisor is killed |
//! | --- | --- | --- | --- | --- |
//! | Linux | tree ended | tree ended | ended too | direct child killed at once, its group by a living gate |
//! | macOS | group ended | group ended | not found | group killed by a living gate |
//! | Windows | direct child killed | nothing | nothing | (there is none) |
//!
//! Everything specific to an operating system is in this crate.

mod child;
mod command;
mod environment;
mod error;
mod program;
mod signals;
mod supervisor;

pub use child::{Child, Exit};
pub use command::Command;
pub use environment::Inherit;
pub use error::SpawnError;
pub use signals::{ShutdownSignals, shutdown_signal};
pub use supervisor::{HookNotCalled, Supervisor, supervisor_main_if_asked};
