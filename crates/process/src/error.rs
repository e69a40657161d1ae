//! Why a server could not be started.

use std::ffi::{OsStr, OsString};
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

/// Beyond so many folders of a `PATH` only the first ones are named: a developer's has dozens, which say little.
const FOLDERS_NAMED: usize = 3;
/// No folder's name is longer than this in a message.
const FOLDER_SHOWN: usize = 80;

fn not_found(searched: Option<&OsString>) -> String {
    match searched {
        Some(path) => format!(
            "there is no such program on the server's PATH ({}); install it, configure its absolute path, \
             or add its folder with `env: {{PATH: …}}`",
            shortened(path)
        ),
        None => {
            "there is no such file; correct the path (relative ones start at the server's `cwd`)".to_owned()
        }
    }
}

/// What of a `PATH` helps to see whose it is.
fn shortened(path: &OsStr) -> String {
    let mut folders = std::env::split_paths(path).filter(|folder| !folder.as_os_str().is_empty());
    let mut named: Vec<String> = Vec::with_capacity(FOLDERS_NAMED);
    for folder in folders.by_ref().take(FOLDERS_NAMED) {
        let text = folder.display().to_string();
        named.push(match text.char_indices().nth(FOLDER_SHOWN) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        });
    }
    let named = named.join(", ");
    match (named.is_empty(), folders.count()) {
        (true, _) => "which is empty".to_owned(),
        (false, 0) => named,
        (false, more) => format!("{named} and {more} more"),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn told(path: &str) -> String {
        SpawnError::NotFound {
            program: "uvx".into(),
            searched: Some(path.into()),
        }
        .to_string()
    }

    #[test]
    fn a_program_that_is_not_there_is_told_with_its_remedy_and_little_of_the_path() {
        let remedy = "install it, configure its absolute path, or add its folder with `env: {PATH: …}`";
        for (path, shown) in [
            ("/a", "/a"),
            ("/a:/b::/c", "/a, /b, /c"),
            ("/a:/b:/c:/d", "/a, /b, /c and 1 more"),
            ("/a:/b:/c:/d:/e:/f", "/a, /b, /c and 3 more"),
            ("", "which is empty"),
        ] {
            let expected =
                format!("start `uvx`: there is no such program on the server's PATH ({shown}); {remedy}");
            assert_eq!(told(path), expected, "{path}");
        }
        let long = told(&format!("/{}:/b", "ä".repeat(5_000)));
        assert!(long.len() < 500 && long.contains("ä…, /b)"), "{long}");
    }
}
