//! `docs/lifecycles.md` says what the tables of `lifecycle` say. Run with `UPDATE_GOLDEN=1` to write it anew, then read the
//! difference before committing it.

use std::{fs, path::Path};

use gatepost_protocol::lifecycle::{Chart, ParkedState, SessionState, TokenState};

/// The page with what `chart` says between its markers; `None` where the page has lost them.
fn with(page: &str, life: &str, chart: &Chart) -> Option<String> {
    let begin = format!("<!-- begin {life}: generated from crates/protocol/src/lifecycle/{life}.rs -->\n");
    let end = format!("<!-- end {life} -->\n");
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    let says = format!("```mermaid\n{}```\n\n{}", chart.diagram(), chart.tables());
    Some([before, &begin, &says, &end, after].concat())
}

#[test]
fn the_page_of_lives_is_what_the_tables_say() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/lifecycles.md");
    let page = fs::read_to_string(&file).unwrap();
    let mut generated = page.clone();
    for (life, chart) in [
        ("parked", ParkedState::CHART),
        ("session", SessionState::CHART),
        ("token", TokenState::CHART),
    ] {
        generated = with(&generated, life, &chart).expect(life);
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, generated).unwrap();
    } else {
        assert!(
            page == generated,
            "docs/lifecycles.md is not what the tables say: run this test with UPDATE_GOLDEN=1"
        );
    }
}
