//! The list of failures that are known, each with its reason.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// What a file under `conformance/` holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExpectedFailures(Vec<Expectation>);

/// One scenario that is known to fail.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// The suite's name of the scenario.
    pub scenario: String,
    /// The checks that fail in it. Every other check of the scenario must pass. Empty: which of them fail is not said.
    #[serde(default)]
    pub checks: Vec<String>,
    /// Why it fails, for a reader who wonders whether it still must.
    pub reason: String,
}

/// The file of expected failures cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ExpectedError {
    /// It cannot be read.
    #[error("read the expected failures in {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not a list of expectations.
    #[error("understand the expected failures in {path}: {why}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        why: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    expected: Vec<Expectation>,
}

impl ExpectedFailures {
    /// Nothing is expected to fail.
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// If it cannot be read, is not of this form, names a scenario twice or gives no reason.
    pub fn read(path: &Path) -> Result<Self, ExpectedError> {
        let text = std::fs::read_to_string(path).map_err(|source| ExpectedError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text).map_err(|why| ExpectedError::Parse {
            path: path.to_owned(),
            why,
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let File { expected } = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        for (place, expectation) in expected.iter().enumerate() {
            let name = &expectation.scenario;
            if expectation.reason.trim().is_empty() {
                return Err(format!("{name} has no reason"));
            }
            if expected
                .iter()
                .take(place)
                .any(|earlier| earlier.scenario == *name)
            {
                return Err(format!("{name} is listed twice"));
            }
        }
        Ok(Self(expected))
    }

    /// What is expected of a scenario, if it is to fail.
    pub fn of(&self, scenario: &str) -> Option<&Expectation> {
        self.0.iter().find(|expectation| expectation.scenario == scenario)
    }

    /// All expectations, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Expectation> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_scenarios_with_their_reasons() {
        let text = "expected:\n  - scenario: ping\n    reason: nobody is home\n  - scenario: caching\n    checks: [a, b]\n    reason: not yet\n";
        let expected = ExpectedFailures::parse(text).expect("the form is right");
        assert_eq!(
            expected.of("ping").map(|e| e.reason.as_str()),
            Some("nobody is home")
        );
        assert_eq!(expected.of("caching").map(|e| e.checks.len()), Some(2));
        assert_eq!(expected.of("tools-list"), None);
        assert_eq!(
            ExpectedFailures::parse("expected: []\n"),
            Ok(ExpectedFailures::none())
        );
    }

    #[test]
    fn refuses_what_says_nothing_or_says_it_twice() {
        let refused = |text: &str| ExpectedFailures::parse(text).expect_err("the form is wrong");
        assert!(refused("expected:\n  - scenario: ping\n    reason: ' '\n").contains("ping has no reason"));
        let twice = "expected:\n  - {scenario: ping, reason: a}\n  - {scenario: ping, reason: b}\n";
        assert!(refused(twice).contains("ping is listed twice"));
        refused("expected:\n  - scenario: ping\n");
        refused("expected:\n  - {scenario: ping, reason: a, because: b}\n");
    }
}
