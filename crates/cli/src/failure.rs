//! How a command fails: what failed and why, what to do next, and the exit code.

use std::{fmt::Write, io, process::ExitCode};

use gatepost_config::{Problem, Problems};

use crate::{exit, output::style};

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Somebody has to be told.
    Told {
        /// The exit code, one of [`crate::exit`].
        code: u8,
        /// What failed and why, on as many lines as it takes.
        message: String,
        /// What to do next.
        remedy: String,
    },
    /// Everything has been said already; only the exit code is left.
    Said(u8),
    /// Who read our output has gone (`gatepost list | head -1`), which is not an error.
    ReaderGone,
}

impl Failure {
    /// A failure without a code of its own.
    pub(crate) fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Told {
            code: exit::FAILURE,
            message: message.into(),
            remedy: remedy.into(),
        }
    }

    /// The same with another code.
    pub(crate) fn code(self, code: u8) -> Self {
        match self {
            Self::Told { message, remedy, .. } => Self::Told {
                code,
                message,
                remedy,
            },
            other => other,
        }
    }

    /// Says it on stderr and turns into the exit code.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Self::Told {
                code,
                message,
                remedy,
            } => {
                crate::output::words(&rendered(&message, &remedy));
                ExitCode::from(code)
            }
            Self::Said(code) => ExitCode::from(code),
            Self::ReaderGone => ExitCode::from(exit::OK),
        }
    }
}

fn rendered(message: &str, remedy: &str) -> String {
    let (error, help) = (style::ERROR, style::HELP);
    let mut text = format!("{error}error{error:#}: {message}\n");
    if !remedy.is_empty() {
        let _ = writeln!(
            text,
            "  {help}help{help:#}: {}",
            remedy.replace('\n', "\n        ")
        );
    }
    text
}

/// One finding of a configuration: where, what, and what to do, for people and for editors that know `file:line:`.
pub(crate) fn finding(kind: &str, problem: &Problem) -> String {
    let style = if kind == "error" {
        style::ERROR
    } else {
        style::WARNING
    };
    let help = style::HELP;
    let mut text = String::new();
    let _ = match (&problem.file, problem.line) {
        (Some(file), Some(line)) => write!(text, "{}:{line}: ", file.display()),
        (Some(file), None) => write!(text, "{}: ", file.display()),
        (None, Some(line)) => write!(text, "line {line}: "),
        (None, None) => Ok(()),
    };
    let _ = write!(text, "{style}{kind}{style:#}: ");
    if !problem.path.is_empty() {
        let _ = write!(text, "{}: ", problem.path);
    }
    let _ = writeln!(text, "{}", problem.message);
    if !problem.remedy.is_empty() {
        let _ = writeln!(text, "    {help}help{help:#}: {}", problem.remedy);
    }
    text
}

/// `1 problem`, `3 problems`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    if count == 1 {
        format!("1 {noun}")
    } else {
        format!("{count} {noun}s")
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        let found: String = problems.iter().map(|problem| finding("error", problem)).collect();
        Self::Told {
            code: exit::CONFIGURATION,
            message: format!(
                "the configuration has {}\n{}",
                counted(problems.count(), "problem"),
                found.trim_end()
            ),
            remedy: "mend it, then try `gatepost check`".to_owned(),
        }
    }
}

/// For writing to stdout, whose reader may leave at any time.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::ReaderGone;
        }
        Self::new(
            format!("failed to write the output: {error}"),
            "check what stdout is connected to",
        )
    }
}
