//! Why a server could not be started.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

/// Why a program could not be started. Each message names the program, the cause and the remedy, and reads well
/// after "failed to".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// The program is nowhere on the `PATH` that the server gets, or the path given does not exist.
    #[error("start `{}`: {}", .program.display(), not_found(.searched.as_ref()))]
    NotFound {
        /// The program as it was configured.
        program: OsString,
        /// The `PATH` that was searched; none when the program was given as a path.
        searched: Option<OsString>,
    },
    /// Something of that name exists, but may not be executed.
    #[error(
        "start `{}`: {} is not an executable file; make it one (chmod +x), or configure the interpreter as the \
         command and this file as its first argument",
        .program.display(), .path.display()
    )]
    NotExecutable {
        /// The program as it was configured.
        program: OsString,
        /// The file that was found.
        path: PathBuf,
    },
    /// The working directory does not exist, is no directory, or may not be entered.
    #[error("start `{}`: its working directory {} cannot be used ({source}); create it or correct `cwd`",
        .program.display(), .cwd.display())]
    WorkingDirectory {
        /// The program as it was configured.
        program: OsString,
        /// The directory that was configured.
        cwd: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The supervising process, or without one the program itself, could not be started.
    #[error("start `{}`: {source} (while starting {})", .program.display(), .starting.display())]
    Start {
        /// The program as it was configured.
        program: OsString,
        /// The file that was being started: the supervisor's program or the server's.
        starting: PathBuf,
        /// What the operating system said: too many processes or open files, arguments too long, and the like.
        source: io::Error,
    },
}

fn not_found(searched: Option<&OsString>) -> String {
    match searched {
        Some(path) => format!(
            "there is no such program on PATH ({}); install it, or configure its full path",
            path.display()
        ),
        None => {
            "there is no such file; correct the path (relative ones start at the server's `cwd`)".to_owned()
        }
    }
}
