//! What a terminal shows, compared with files in `tests/golden/`. Run the tests with `UPDATE_GOLDEN=1` to accept changes,
//! then read the difference before committing it.

use std::{fs, path::Path};

#[track_caller]
pub(crate) fn check(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, text).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(text, expected, "{} differs", file.display());
}
