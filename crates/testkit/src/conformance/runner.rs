//! Runs the suite's server leg, and says which scenarios passed, failed or surprised.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::{Output, Stdio};

use serde::Deserialize;
use tokio::process::Command;

use super::expected::{ExpectedError, ExpectedFailures};
use crate::peers::{NotInstalled, Peers};

/// The suite's frozen sets of scenarios, one for each revision of the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requirements {
    /// 33 server scenarios, spoken with handshake and sessions.
    Legacy20251125,
    /// 50 server scenarios, spoken stateless.
    Modern20260728,
}

impl Requirements {
    /// The revision, as `--requirements` takes it.
    pub fn revision(self) -> &'static str {
        match self {
            Self::Legacy20251125 => "2025-11-25",
            Self::Modern20260728 => "2026-07-28",
        }
    }

    /// How many server scenarios the set has in the pinned suite, scored or not. A run that has fewer did not run.
    pub fn scenarios(self) -> usize {
        match self {
            Self::Legacy20251125 => 33,
            Self::Modern20260728 => 50,
        }
    }
}

/// One scenario's outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scenario {
    /// How many checks passed.
    pub passed: usize,
    /// The checks that failed, or that warned: a scenario passes without either (`conformance/README.md`).
    pub failed: BTreeMap<String, String>,
    /// The checks that the suite left out, because the server does not claim what they are about.
    pub skipped: Vec<String>,
}

/// How much of a check's complaint is kept, in characters.
const WHY_CHARS: usize = 400;

/// What a run came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Every scenario that ran.
    pub scenarios: BTreeMap<String, Scenario>,
    /// What nobody expected, in words: unexpected failures, and expected ones that passed.
    pub surprises: Vec<String>,
}

impl Summary {
    /// How many scenarios passed.
    pub fn passed(&self) -> usize {
        self.scenarios
            .values()
            .filter(|scenario| scenario.failed.is_empty())
            .count()
    }

    fn new(scenarios: BTreeMap<String, Scenario>, set: Requirements, expected: &ExpectedFailures) -> Self {
        let mut surprises = Vec::new();
        let wanted = set.scenarios();
        if scenarios.len() != wanted {
            surprises.push(format!(
                "{} scenarios ran, but the requirements of {} have {wanted}: the suite or its pin has changed",
                scenarios.len(),
                set.revision()
            ));
        }
        for (name, scenario) in &scenarios {
            match expected.of(name) {
                None => surprises.extend(
                    scenario
                        .failed
                        .iter()
                        .map(|(check, why)| format!("{name} failed: {check}: {why}")),
                ),
                Some(_) if scenario.failed.is_empty() => {
                    surprises.push(format!(
                        "{name} passed, but is listed as failing: take it off the list"
                    ));
                }
                Some(expectation) if !expectation.checks.is_empty() => {
                    let checks = &expectation.checks;
                    let unlisted = scenario
                        .failed
                        .iter()
                        .filter(|(check, _)| !checks.contains(check));
                    surprises.extend(unlisted.map(|(check, why)| format!("{name} failed: {check}: {why}")));
                    let passing = checks
                        .iter()
                        .filter(|check| !scenario.failed.contains_key(*check));
                    surprises
                        .extend(passing.map(|check| {
                            format!("{name}: {check} did not fail, but is listed: take it off")
                        }));
                }
                Some(_) => {}
            }
        }
        let absent = expected
            .iter()
            .filter(|expectation| !scenarios.contains_key(&expectation.scenario));
        surprises.extend(absent.map(|e| {
            format!(
                "{} is listed as failing, but there is no such scenario",
                e.scenario
            )
        }));
        Self { scenarios, surprises }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, scenario) in &self.scenarios {
            let sign = if scenario.failed.is_empty() { "✓" } else { "✗" };
            let (failed, skipped) = (scenario.failed.len(), scenario.skipped.len());
            writeln!(
                f,
                "{sign} {name}: {} passed, {failed} failed, {skipped} skipped",
                scenario.passed
            )?;
        }
        write!(
            f,
            "{} of {} scenarios passed",
            self.passed(),
            self.scenarios.len()
        )?;
        for surprise in &self.surprises {
            write!(f, "\nsurprise: {surprise}")?;
        }
        Ok(())
    }
}

/// A run that is not as expected, or could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A program that the run needs is not there.
    #[error(transparent)]
    NotInstalled(#[from] NotInstalled),
    /// The list of expected failures cannot be used.
    #[error(transparent)]
    Expected(#[from] ExpectedError),
    /// The suite did not run to its end.
    #[error("run the conformance suite: {why}")]
    Suite {
        /// What happened, and the end of what the suite said.
        why: String,
    },
    /// Something passed or failed that should not have.
    #[error("the conformance suite has surprises:\n{0}")]
    Surprises(Box<Summary>),
}

/// Runs every server scenario of `requirements` against `url`, and compares with the failures listed in `expected`.
///
/// The suite's own `--expected-failures` judges only the scenarios that the revision scores; this compares all of them, and
/// counts a warning as a failure.
///
/// # Errors
///
/// [`RunError::Surprises`] if a scenario failed that is not listed, or one that is listed passed; else why there was no run.
pub async fn run(url: &str, requirements: Requirements, expected: &Path) -> Result<Summary, RunError> {
    let expected = ExpectedFailures::read(expected)?;
    let peers = Peers::of_this_checkout();
    let results =
        tempfile::tempdir().map_err(|error| suite(&format!("no folder for its results: {error}")))?;
    let output = Command::new(peers.npm("conformance")?)
        .args([
            "server",
            "--url",
            url,
            "--requirements",
            requirements.revision(),
            "-o",
        ])
        .arg(results.path())
        .env("PATH", peers.npm_path()?)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| suite(&error.to_string()))?;
    let scenarios = gather(&output, results.path())?;
    let summary = Summary::new(scenarios, requirements, &expected);
    if summary.surprises.is_empty() {
        Ok(summary)
    } else {
        Err(RunError::Surprises(Box::new(summary)))
    }
}

fn suite(why: &str) -> RunError {
    RunError::Suite { why: why.to_owned() }
}

/// A line of `checks.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Check {
    id: String,
    status: String,
    #[serde(default)]
    error_message: Option<String>,
    #[serde(default)]
    description: String,
}

/// Which scenarios ran is said on standard output (also of those that broke down), how their checks went in the results.
fn gather(output: &Output, results: &Path) -> Result<BTreeMap<String, Scenario>, RunError> {
    let said = String::from_utf8_lossy(&output.stdout);
    let names = summary_names(&said);
    if names.is_empty() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = said.lines().chain(complaint.lines()).collect();
        let last = last
            .iter()
            .skip(last.len().saturating_sub(20))
            .copied()
            .collect::<Vec<_>>()
            .join("\n");
        return Err(suite(&format!(
            "it ended with {} and no summary:\n{last}",
            output.status
        )));
    }
    names
        .into_iter()
        .map(|name| Ok((name.to_owned(), read_scenario(results, name)?)))
        .collect()
}

/// The names in the lines `✓ name: 3 passed, 0 failed` after the headline.
fn summary_names(said: &str) -> Vec<&str> {
    let summary = said
        .split_once("=== SUMMARY ===")
        .map_or("", |(_, summary)| summary);
    let line = |line: &'_ str| {
        line.strip_prefix("✓ ")
            .or_else(|| line.strip_prefix("✗ "))
            .is_some()
    };
    summary
        .lines()
        .filter(|text| line(text))
        .filter_map(|text| text.split_once(' ')?.1.split_once(':').map(|(name, _)| name))
        .collect()
}

/// A scenario's checks are in `server-<name>-<time>/checks.json`, where the time has always the same length.
fn read_scenario(results: &Path, name: &str) -> Result<Scenario, RunError> {
    const TIME: usize = "-2026-07-28T12-00-00-000Z".len();
    let broke = |error: std::io::Error| suite(&format!("its results cannot be read: {error}"));
    let mut scenario = Scenario::default();
    let folder = std::fs::read_dir(results)
        .map_err(broke)?
        .flatten()
        .find(|entry| {
            let folder = entry.file_name().to_string_lossy().into_owned();
            folder.len().checked_sub(TIME).and_then(|end| folder.get(..end))
                == Some(&format!("server-{name}"))
        });
    let checks = folder
        .map(|folder| folder.path().join("checks.json"))
        .filter(|checks| checks.exists());
    let Some(checks) = checks else {
        scenario.failed.insert(
            name.to_owned(),
            "the scenario broke down before its end".to_owned(),
        );
        return Ok(scenario);
    };
    let text = std::fs::read_to_string(checks).map_err(broke)?;
    let checks: Vec<Check> =
        serde_json::from_str(&text).map_err(|error| suite(&format!("its results are odd: {error}")))?;
    for check in checks {
        match check.status.as_str() {
            "SUCCESS" => scenario.passed += 1,
            "FAILURE" | "WARNING" => {
                let why = check.error_message.unwrap_or(check.description);
                // A message that is wrong by its schema is quoted whole: the beginning says which and why.
                let why: String = why.chars().take(WHY_CHARS).collect();
                let already = scenario.failed.entry(check.id).or_default();
                if !already.is_empty() {
                    already.push_str("; ");
                }
                already.push_str(&why);
            }
            "SKIPPED" => scenario.skipped.push(check.id),
            // INFO is the suite's diary.
            _ => {}
        }
    }
    Ok(scenario)
}

#[cfg(test)]
mod tests;
