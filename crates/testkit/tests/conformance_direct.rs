//! The fixture passes the suite without anything in between. If it did not, a run through the gate would prove nothing.

use std::path::PathBuf;

use gatepost_testkit::conformance::{Era, Fixture, Requirements, Transport, run};

async fn passes_all(era: Era, requirements: Requirements) {
    let fixture = Fixture::start(era, Transport::Http).await.expect("the fixture starts");
    let list = format!("../../conformance/expected-failures.direct.{}.yaml", requirements.revision());
    let list = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(list);
    match run(&fixture.url, requirements, &list).await {
        Ok(summary) => assert_eq!(summary.passed(), requirements.scenarios(), "{summary}"),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_modern_fixture_passes_every_scenario() {
    passes_all(Era::Modern, Requirements::Modern20260728).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_legacy_fixture_passes_every_scenario() {
    passes_all(Era::Legacy, Requirements::Legacy20251125).await;
}
