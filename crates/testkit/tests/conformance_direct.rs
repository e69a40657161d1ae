//! The fixture passes the suite without anything in between. If it did not, a run through the gate would prove nothing.

use std::error::Error;
use std::path::PathBuf;

use gatepost_testkit::conformance::{Era, Fixture, Requirements, RunError, Summary, Transport, run};

type Outcome = Result<(), Box<dyn Error>>;

async fn run_directly(era: Era, requirements: Requirements) -> Result<Summary, Box<dyn Error>> {
    let fixture = Fixture::start(era, Transport::Http).await?;
    let list = format!(
        "../../conformance/expected-failures.direct.{}.yaml",
        requirements.revision()
    );
    let list = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(list);
    Ok(run(&fixture.url, requirements, &list).await?)
}

/// The checks that the suite leaves out, by scenario.
fn skipped(summary: &Summary) -> Vec<(&str, usize)> {
    let counted = summary
        .scenarios
        .iter()
        .map(|(name, scenario)| (name.as_str(), scenario.skipped.len()));
    counted.filter(|(_, count)| *count > 0).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_modern_fixture_passes_every_scenario() {
    let summary = run_directly(Era::Modern, Requirements::Modern20260728)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(summary.passed(), 50, "{summary}");
    // The suite has no checks for this one yet; of all others, none may be left out.
    assert_eq!(
        skipped(&summary),
        [("tasks-status-notifications", 1)],
        "{summary}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_legacy_fixture_passes_every_scenario() {
    let summary = run_directly(Era::Legacy, Requirements::Legacy20251125)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(summary.passed(), 33, "{summary}");
    assert_eq!(skipped(&summary), [], "{summary}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pass_that_nobody_expected_fails_the_run() -> Outcome {
    let fixture = Fixture::start(Era::Legacy, Transport::Http).await?;
    let list = tempfile::NamedTempFile::new()?;
    std::fs::write(
        list.path(),
        "expected: [{scenario: ping, reason: a gate that cannot answer}]\n",
    )?;
    let outcome = run(&fixture.url, Requirements::Legacy20251125, list.path()).await;
    let Err(RunError::Surprises(summary)) = outcome else {
        panic!("no surprise: {outcome:?}")
    };
    assert_eq!(
        summary.surprises,
        ["ping passed, but is listed as failing: take it off the list"]
    );
    Ok(())
}
