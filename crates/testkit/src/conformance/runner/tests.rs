use super::*;

fn ran(outcomes: &[(&str, &[&str])]) -> BTreeMap<String, Scenario> {
    let scenario = |failed: &[&str]| Scenario {
        passed: 1,
        skipped: Vec::new(),
        failed: failed
            .iter()
            .map(|check| ((*check).to_owned(), "because".to_owned()))
            .collect(),
    };
    outcomes
        .iter()
        .map(|(name, failed)| ((*name).to_owned(), scenario(failed)))
        .collect()
}

/// The surprises of a run of 33 scenarios: those of `outcomes`, and others that pass.
fn surprises(outcomes: &[(&str, &[&str])], expected: &str) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), expected).expect("write it");
    let expected = ExpectedFailures::read(file.path()).expect("the list is right");
    let mut scenarios = ran(outcomes);
    for number in scenarios.len()..33 {
        scenarios.insert(format!("other-{number}"), Scenario::default());
    }
    Summary::new(scenarios, Requirements::Legacy20251125, &expected).surprises
}

const NONE: &str = "expected: []";
const PING: &str = "expected: [{scenario: ping, reason: known}]";
const PING_ONE: &str = "expected: [{scenario: ping, checks: [one], reason: known}]";

#[test]
fn what_fails_unlisted_is_a_surprise() {
    assert_eq!(
        surprises(&[("ping", &["one"])], NONE),
        ["ping failed: one: because"]
    );
    assert!(surprises(&[("ping", &[])], NONE).is_empty());
}

#[test]
fn what_passes_although_listed_is_a_surprise() {
    assert!(surprises(&[("ping", &["one"])], PING).is_empty());
    assert_eq!(
        surprises(&[("ping", &[])], PING),
        ["ping passed, but is listed as failing: take it off the list"]
    );
}

#[test]
fn a_listed_check_does_not_excuse_another() {
    assert!(surprises(&[("ping", &["one"])], PING_ONE).is_empty());
    assert_eq!(
        surprises(&[("ping", &["one", "two"])], PING_ONE),
        ["ping failed: two: because"]
    );
    assert_eq!(
        surprises(&[("ping", &["two"])], PING_ONE),
        [
            "ping failed: two: because",
            "ping: one did not fail, but is listed: take it off"
        ]
    );
}

#[test]
fn a_list_of_what_does_not_run_is_a_surprise() {
    assert_eq!(
        surprises(&[], PING),
        ["ping is listed as failing, but there is no such scenario"]
    );
}

#[test]
fn a_run_of_too_few_scenarios_is_a_surprise() {
    let summary = Summary::new(
        ran(&[("ping", &[])]),
        Requirements::Legacy20251125,
        &ExpectedFailures::none(),
    );
    assert_eq!(summary.surprises.len(), 1);
    assert!(summary.surprises[0].starts_with("1 scenarios ran"));
}

#[test]
fn names_are_read_from_the_summary_only() {
    let said = "✓ not-this: 1 passed, 0 failed\n\n=== SUMMARY ===\n✓ ping: 1 passed, 0 failed\n✗ caching: 0 passed, 1 failed\n\nTotal: 1 passed, 1 failed\n";
    assert_eq!(summary_names(said), ["ping", "caching"]);
}

#[test]
fn warnings_count_as_failures_and_a_missing_result_too() {
    let results = tempfile::tempdir().expect("a folder");
    let folder = results
        .path()
        .join("server-tasks-lifecycle-2026-11-21T08-53-32-123Z");
    std::fs::create_dir(&folder).expect("make it");
    let checks = r#"[{"id":"a","status":"SUCCESS"},{"id":"b","status":"WARNING","errorMessage":"should"},
        {"id":"c","status":"FAILURE","description":"must"},{"id":"c","status":"FAILURE","description":"again"},
        {"id":"d","status":"SKIPPED"}]"#;
    std::fs::write(folder.join("checks.json"), checks).expect("write it");
    let scenario = read_scenario(results.path(), "tasks-lifecycle").expect("it can be read");
    assert_eq!(
        (scenario.passed, scenario.skipped.as_slice()),
        (1, &["d".to_owned()][..])
    );
    let failed: Vec<_> = scenario
        .failed
        .iter()
        .map(|(id, why)| (id.as_str(), why.as_str()))
        .collect();
    assert_eq!(failed, [("b", "should"), ("c", "must; again")]);
    let absent = read_scenario(results.path(), "tasks").expect("it can be read");
    assert!(absent.failed.contains_key("tasks"));
}
