//! What a browser wants to hear before it lets a page of an allowed origin use the gate.
//!
//! `Allowed::check` has already refused every origin that is not ours or in `http.origins`, so whatever origin a request
//! still has here may be told that it is welcome, by name and never as `*`. Source: Fetch standard, CORS protocol.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};

use super::body::Outgoing;

const METHODS: &str = "POST, GET, DELETE";
/// What MCP clients send; `Mcp-Param-*` depend on the tools, so a preflight's own list is added.
const HEADERS: &str = "content-type, accept, authorization, x-api-key, mcp-protocol-version, mcp-method, mcp-name, mcp-session-id, \
                       last-event-id, traceparent, tracestate, baggage";
const EXPOSED: &str = "mcp-session-id, x-request-id, www-authenticate, retry-after";
/// How long a browser may remember the answer, in seconds.
const MAX_AGE: &str = "600";
const PARAM: &str = "mcp-param-";
const REQUESTED_HEADERS: HeaderName = header::ACCESS_CONTROL_REQUEST_HEADERS;

/// The origin of a request that a browser makes for a page.
pub(super) fn origin(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(header::ORIGIN).cloned()
}

/// Whether the request only asks what it might do.
pub(super) fn is_preflight<B>(request: &Request<B>) -> bool {
    *request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ORIGIN)
        && request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight of an allowed origin.
pub(super) fn preflight(asked: &HeaderMap) -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static(METHODS),
    );
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(HEADERS),
    );
    let requested = asked
        .get(&REQUESTED_HEADERS)
        .and_then(|names| names.to_str().ok())
        .unwrap_or_default();
    for name in requested
        .split(',')
        .map(str::trim)
        .filter(|name| name.to_ascii_lowercase().starts_with(PARAM))
    {
        if let Ok(name) = HeaderValue::from_str(name) {
            headers.append(header::ACCESS_CONTROL_ALLOW_HEADERS, name);
        }
    }
    response
}

/// Tells the browser that the page may read this answer.
pub(super) fn welcome(origin: HeaderValue, headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(EXPOSED),
    );
    headers.append(header::VARY, HeaderValue::from_static("origin"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preflight_names_what_clients_send_and_the_tools_own_headers() {
        let mut asked = HeaderMap::new();
        asked.insert(
            REQUESTED_HEADERS,
            HeaderValue::from_static("content-type, Mcp-Param-Region, x-evil"),
        );
        let response = preflight(&asked);
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        let allowed: Vec<_> = response
            .headers()
            .get_all(header::ACCESS_CONTROL_ALLOW_HEADERS)
            .iter()
            .collect();
        assert!(allowed[0].to_str().unwrap().contains("mcp-session-id"));
        assert_eq!(allowed[1..], ["Mcp-Param-Region"]);
    }

    #[test]
    fn an_origin_is_welcomed_by_name() {
        let mut headers = HeaderMap::new();
        welcome(HeaderValue::from_static("https://app.example.com"), &mut headers);
        assert_eq!(
            headers[header::ACCESS_CONTROL_ALLOW_ORIGIN],
            "https://app.example.com"
        );
        assert_eq!(headers[header::VARY], "origin");
    }

    #[test]
    fn only_a_question_of_a_page_is_a_preflight() {
        let check = |method: Method, names: &[&'static str]| {
            let mut request = Request::new(());
            *request.method_mut() = method;
            for name in names {
                request
                    .headers_mut()
                    .insert(*name, HeaderValue::from_static("POST"));
            }
            is_preflight(&request)
        };
        assert!(check(
            Method::OPTIONS,
            &["origin", "access-control-request-method"]
        ));
        assert!(!check(Method::OPTIONS, &["access-control-request-method"]));
        assert!(!check(Method::OPTIONS, &["origin"]));
        assert!(!check(Method::POST, &["origin", "access-control-request-method"]));
    }
}
