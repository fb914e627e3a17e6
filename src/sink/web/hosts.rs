//! Which hosts a request may be for, and from which origin it may change anything.
//!
//! A page of somebody else can have its own name resolve to this machine's address (DNS rebinding): the
//! browser then takes both for one site, and only the `Host` header tells them apart. An IP address in it
//! cannot be made to point elsewhere.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, header};

/// Stands for any host.
const ANY: &str = "*";

/// The host names by which the server may be addressed, besides IP addresses.
pub struct AllowedHosts {
    names: Vec<String>,
    any: bool,
}

impl AllowedHosts {
    /// `localhost`, this machine's own name, the same with `.local` (mDNS), and `more`; all if `*` is
    /// among them.
    pub fn new(more: &[String]) -> Self {
        let mut names = vec!["localhost".to_owned()];
        if let Some(name) = own_name() {
            names.push(format!("{name}.local"));
            names.push(name);
        }
        names.extend(more.iter().map(|name| normal(name)));
        Self {
            names,
            any: more.iter().any(|name| name == ANY),
        }
    }

    /// Whether a request with these parts is for an allowed host.
    ///
    /// # Errors
    /// The host that is not allowed; empty if there is none.
    pub fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), String> {
        let hosts = headers.get_all(header::HOST);
        let mut hosts: Vec<_> = hosts
            .iter()
            .map(|h| h.to_str().unwrap_or_default())
            .collect();
        if hosts.is_empty() {
            return Err(String::new());
        }
        hosts.extend(uri.authority().map(Authority::as_str));
        let refused = hosts.into_iter().find(|host| !self.allows(host));
        refused.map_or(Ok(()), |host| Err(host.to_owned()))
    }

    /// Whether `authority`, a host with or without a port, is allowed.
    fn allows(&self, authority: &str) -> bool {
        host_of(authority)
            .is_some_and(|host| self.any || is_address(host) || self.names.contains(&normal(host)))
    }
}

/// The host of an authority, which has nothing but a port beside it.
fn host_of(authority: &str) -> Option<&str> {
    let end = match authority.strip_prefix('[') {
        Some(v6) => v6.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(end);
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let is_plain = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
    (is_plain && !host.is_empty() && !host.contains('@')).then_some(host)
}

fn is_address(host: &str) -> bool {
    let v6 = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    match v6 {
        Some(v6) => v6.parse::<Ipv6Addr>().is_ok(),
        None => host.parse::<Ipv4Addr>().is_ok(),
    }
}

/// In lower case, without the dot at the end of a full name.
fn normal(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

/// This machine's name.
#[cfg(unix)]
fn own_name() -> Option<String> {
    let system = rustix::system::uname();
    let name = normal(system.nodename().to_str().ok()?);
    (!name.is_empty()).then_some(name)
}

#[cfg(not(unix))]
fn own_name() -> Option<String> {
    std::env::var("COMPUTERNAME").ok().map(|name| normal(&name))
}

/// Whether a request with these headers, which asks for a change, comes from this server's own page
/// or from no page at all. A browser adds `Origin` to each request that is not GET or HEAD, and over a
/// trustworthy connection `Sec-Fetch-Site`, which also holds behind a proxy that rewrites `Host`.
pub fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name: &str| {
        let value = headers.get(name);
        value.map(|value| value.to_str().unwrap_or_default())
    };
    if let Some(site) = text("sec-fetch-site") {
        return matches!(site, "same-origin" | "none");
    }
    let Some(origin) = text("origin") else {
        return true;
    };
    let (host, default_port) = match origin.split_once("://") {
        // The scheme may be that of a proxy for TLS; its default port is not in the origin.
        Some(("http", host)) => (host, ":80"),
        Some(("https", host)) => (host, ":443"),
        _ => return false,
    };
    let given = text("host").unwrap_or_default();
    host.eq_ignore_ascii_case(given.strip_suffix(default_port).unwrap_or(given))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("a value"));
        }
        headers
    }

    #[test]
    fn addresses_and_known_names_are_allowed_and_nothing_else() {
        let hosts = AllowedHosts::new(&["cams.example.org".to_owned()]);
        for (host, allowed) in [
            ("127.0.0.1:8080", true),
            ("192.0.2.7", true),
            ("[::1]:8080", true),
            ("localhost:8080", true),
            ("LocalHost.", true),
            ("Cams.example.org:443", true),
            ("example.org", false),
            ("evil.cams.example.org", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("evil@127.0.0.1", false),
            ("[::1].evil.example", false),
            ("[::1", false),
            ("::1", false),
            ("localhost:evil.example", false),
            ("x", false),
            ("", false),
            (":80", false),
        ] {
            assert_eq!(hosts.allows(host), allowed, "{host:?}");
        }
        assert!(AllowedHosts::new(&[ANY.to_owned()]).allows("anything:80"));
        if let Some(name) = own_name() {
            assert!(hosts.allows(&name) && hosts.allows(&format!("{name}.local:8080")));
        }
    }

    #[test]
    fn every_host_of_a_request_counts() {
        let hosts = AllowedHosts::new(&[]);
        let check = |uri: &str, pairs: &[(&'static str, &str)]| {
            let uri = uri.parse().expect("a URI");
            hosts.check(&uri, &headers(pairs))
        };
        assert_eq!(check("/", &[("host", "localhost")]), Ok(()));
        assert_eq!(check("/", &[]), Err(String::new()));
        let evil = Err("evil.example".to_owned());
        let twice = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(check("/", &twice), evil);
        assert_eq!(
            check("http://evil.example/", &[("host", "localhost")]),
            evil
        );
    }

    #[test]
    fn changes_come_from_the_own_page_or_from_no_page() {
        for (pairs, own) in [
            (&[("host", "cam:8080")][..], true),
            (&[("host", "cam:8080"), ("origin", "http://cam:8080")], true),
            (&[("host", "cam"), ("origin", "https://cam")], true),
            (&[("host", "cam:443"), ("origin", "https://cam")], true),
            (&[("host", "cam:8080"), ("origin", "http://cam")], false),
            (&[("host", "cam"), ("origin", "http://evil.example")], false),
            (&[("host", "cam"), ("origin", "null")], false),
            (&[("host", "127.0.0.1"), ("origin", "https://cam")], false),
            (&[("host", "cam"), ("sec-fetch-site", "same-origin")], true),
            (&[("host", "cam"), ("sec-fetch-site", "cross-site")], false),
            (&[("host", "cam"), ("sec-fetch-site", "same-site")], false),
        ] {
            assert_eq!(is_same_origin(&headers(pairs)), own, "{pairs:?}");
        }
    }
}
