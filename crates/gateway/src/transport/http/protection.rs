//! What every answer tells a browser, and everything between, not to do with it.
//!
//! An answer of this gate is never a page: it is shown nowhere, framed nowhere, runs nothing and is kept by nobody. Source:
//! OWASP REST Security Cheat Sheet, Security Headers. What that lists for pages besides would say nothing about JSON.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// On every answer.
const ALWAYS: [(HeaderName, HeaderValue); 2] = [
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
];
/// RFC 6797: two years, as browsers' preload lists want it.
const ONLY_HTTPS: HeaderValue = HeaderValue::from_static("max-age=63072000");

/// Adds what is missing.
pub(super) fn protect(headers: &mut HeaderMap, only_https: bool) {
    for (name, value) in ALWAYS {
        headers.insert(name, value);
    }
    // What a tool says to one caller must not come out of a cache to another.
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    if only_https {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, ONLY_HTTPS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_says_itself_is_kept() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
        protect(&mut headers, false);
        assert_eq!(headers[header::CACHE_CONTROL], "max-age=60");
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert!(!headers.contains_key(header::STRICT_TRANSPORT_SECURITY));
        protect(&mut headers, true);
        assert_eq!(headers[header::STRICT_TRANSPORT_SECURITY], "max-age=63072000");
    }
}
