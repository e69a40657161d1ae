//! Who may speak to a local endpoint through a browser: `Host` and `Origin`, exactly.
//!
//! A web page can make its visitor's browser send requests to 127.0.0.1 (DNS rebinding); its `Host` or `Origin` gives it
//! away. Source: MCP 2026-07-28, basic/transports/streamable-http#Security & Endpoint, rule 1.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderValue, Uri, header};

use crate::refusal::Refusal;

/// The names under which a listener may be addressed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Allowed {
    /// Lower-case authorities, such as `127.0.0.1:8080`. Empty: any (a private socket has no name).
    hosts: Vec<String>,
    /// Origins such as `https://app.example.com`, lower-case.
    origins: Vec<String>,
}

impl Allowed {
    /// The loopback names of `address` and what the configuration adds.
    pub(crate) fn new(address: Option<SocketAddr>, hosts: &[String], origins: &[String]) -> Self {
        let mut allowed = Self::default();
        if let Some(address) = address {
            let port = address.port();
            let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "[::1]".to_owned()];
            if !address.ip().is_unspecified() {
                names.push(match address.ip() {
                    std::net::IpAddr::V4(ip) => ip.to_string(),
                    std::net::IpAddr::V6(ip) => format!("[{ip}]"),
                });
            }
            names.dedup();
            for name in names {
                if port == 80 {
                    allowed.hosts.push(name.clone());
                }
                allowed.hosts.push(format!("{name}:{port}"));
            }
        }
        allowed
            .hosts
            .extend(hosts.iter().map(|host| host.to_ascii_lowercase()));
        for host in &allowed.hosts {
            allowed.origins.push(format!("http://{host}"));
            allowed.origins.push(format!("https://{host}"));
        }
        allowed.origins.extend(
            origins
                .iter()
                .map(|origin| origin.trim_end_matches('/').to_ascii_lowercase()),
        );
        allowed
    }

    /// Refuses what a foreign page could send.
    pub(crate) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        if !self.hosts.is_empty() {
            // HTTP/2 carries the authority in the URI, HTTP/1.1 in `Host`; two different ones are a smuggling attempt.
            let mut named = headers.get_all(header::HOST).iter().map(HeaderValue::as_bytes);
            let host = uri
                .authority()
                .map(|authority| authority.as_str().as_bytes())
                .or_else(|| named.next());
            let host = host.unwrap_or_default();
            if !contains(&self.hosts, host) || named.any(|other| !other.eq_ignore_ascii_case(host)) {
                return Err(Refusal::Host(printable(host)));
            }
        }
        for origin in headers.get_all(header::ORIGIN) {
            if !contains(&self.origins, origin.as_bytes()) {
                return Err(Refusal::Origin(printable(origin.as_bytes())));
            }
        }
        // An allowed Origin may well be another site (`http.origins`); without an Origin, a cross-site request is a page's.
        let cross_site = headers
            .get("sec-fetch-site")
            .is_some_and(|site| site == "cross-site");
        if cross_site && !headers.contains_key(header::ORIGIN) {
            return Err(Refusal::CrossSite);
        }
        Ok(())
    }
}

fn contains(allowed: &[String], value: &[u8]) -> bool {
    allowed
        .iter()
        .any(|name| name.as_bytes().eq_ignore_ascii_case(value))
}

fn printable(value: &[u8]) -> String {
    gatepost_policy::Printable(&String::from_utf8_lossy(value)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(hosts: &[&str], origins: &[&str], headers: &[(&str, &str)]) -> Result<(), String> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let allowed = Allowed::new(
            Some("127.0.0.1:8080".parse().unwrap()),
            &owned(hosts),
            &owned(origins),
        );
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        allowed
            .check(&Uri::from_static("/mcp"), &map)
            .map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn loopback_names_pass_with_their_port_only() {
        for host in ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "LOCALHOST:8080"] {
            check(&[], &[], &[("host", host)]).unwrap();
            check(&[], &[], &[("host", host), ("origin", &format!("http://{host}"))]).unwrap();
        }
        for host in [
            "localhost",
            "localhost:8081",
            "evil.example",
            "localhost:8080.evil.example",
            "",
        ] {
            assert!(check(&[], &[], &[("host", host)]).is_err(), "{host}");
        }
        assert!(check(&[], &[], &[]).is_err());
        assert!(check(&[], &[], &[("host", "localhost:8080"), ("host", "evil.example")]).is_err());
    }

    #[test]
    fn origins_are_exact_and_null_is_none() {
        let host = ("host", "localhost:8080");
        for origin in [
            "null",
            "http://evil.example",
            "http://localhost:8081",
            "http://localhost",
            "file://",
        ] {
            assert!(check(&[], &[], &[host, ("origin", origin)]).is_err(), "{origin}");
        }
        check(
            &[],
            &["https://app.example.com/"],
            &[host, ("origin", "https://app.example.com")],
        )
        .unwrap();
    }

    #[test]
    fn configured_hosts_and_cross_site_pages() {
        check(&["gate.example.com"], &[], &[("host", "gate.example.com")]).unwrap();
        let host = ("host", "localhost:8080");
        assert!(check(&[], &[], &[host, ("sec-fetch-site", "cross-site")]).is_err());
        check(&[], &[], &[host, ("sec-fetch-site", "same-origin")]).unwrap();
    }

    #[test]
    fn a_refusal_says_what_to_set() {
        let error = check(&[], &[], &[("host", "gate.example.com")]).unwrap_err();
        assert!(
            error.contains("gate.example.com") && error.contains("http.hosts"),
            "{error}"
        );
    }
}
