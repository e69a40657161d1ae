//! What somebody may have meant.

/// The one of `known` that `name` is most like, if it is like any.
///
/// ```
/// assert_eq!(gatepost_policy::nearest("analist", ["analyst", "deployer"]), Some("analyst"));
/// ```
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|one| (strsim::jaro_winkler(name, one), one))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, one)| one)
}
