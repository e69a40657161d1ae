//! What somebody may have meant.

/// Longer names are not compared: one of a megabyte must not cost its square in time.
const LONGEST: usize = 64;

/// How alike two names must be (Jaro-Winkler, 0 to 1) for one to be suggested for the other.
const ALIKE: f64 = 0.8;

/// The one of `known` that somebody who wrote `name` probably meant, if it is like any. Case does not count, and `-` is as
/// good as `_`. Nothing is like a name of more than 64 bytes.
///
/// ```
/// use gatepost_policy::nearest;
///
/// assert_eq!(nearest("Analist", ["analyst", "deployer"]), Some("analyst"));
/// assert_eq!(nearest("RATE-LIMIT", ["rate_limit"]), Some("rate_limit"));
/// assert_eq!(nearest("owner", ["analyst", "deployer"]), None);
/// ```
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > LONGEST {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let name = plain(name);
    known
        .into_iter()
        .map(|one| (strsim::jaro_winkler(&name, &plain(one)), one))
        .filter(|(likeness, _)| *likeness > ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, one)| one)
}
