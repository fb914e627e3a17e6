//! What a camera answers to a probe: its scopes, which hold its name, and the addresses of its device service.

use std::net::IpAddr;

use url::{Host, Url};

use super::xml::{XmlError, printable, read_body, text_below};

/// Most matches of one answer.
const MAX_MATCHES: usize = 16;
/// Longest name.
const MAX_NAME: usize = 64;

/// One `ProbeMatch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeMatch {
    /// The name from the scopes.
    pub name: Option<String>,
    /// Addresses of the device service, separated by space.
    pub addresses: String,
}

/// Why an answer is of no use.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    #[error(transparent)]
    Xml(#[from] XmlError),
    #[error("the answer is <{0}> instead of <ProbeMatches>")]
    NoMatches(String),
    #[error("the answer has no HTTP address of a device service")]
    NoAddress,
}

/// The cameras of an answer; none if it is of other devices.
///
/// # Errors
/// When it is no answer to a probe.
pub fn probe_matches(datagram: &[u8]) -> Result<Vec<ProbeMatch>, ProbeError> {
    read_body(datagram, |matches| {
        if matches.tag_name().name() != "ProbeMatches" {
            let name = printable(matches.tag_name().name(), MAX_NAME);
            return Err(ProbeError::NoMatches(name));
        }
        let entries = matches
            .children()
            .filter(|entry| entry.tag_name().name() == "ProbeMatch");
        let mut found = Vec::new();
        for entry in entries.take(MAX_MATCHES) {
            let types = text_below(entry, "Types").unwrap_or_default();
            let scopes = text_below(entry, "Scopes").unwrap_or_default();
            if types.contains("NetworkVideoTransmitter") || scopes.contains("onvif://") {
                found.push(ProbeMatch {
                    name: name_in(scopes),
                    addresses: text_below(entry, "XAddrs").unwrap_or_default().to_owned(),
                });
            }
        }
        Ok(found)
    })?
}

/// The camera's name, else its hardware.
fn name_in(scopes: &str) -> Option<String> {
    ["/name/", "/hardware/"].into_iter().find_map(|kind| {
        let mut scopes = scopes.split_whitespace();
        let name = scopes
            .find_map(|scope| scope.strip_prefix("onvif://")?.split_once(kind))?
            .1;
        let name = printable(&percent_decoded(name), MAX_NAME);
        Some(name).filter(|name| !name.is_empty())
    })
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).filter(|_| *first == b'%');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let digits = digits.filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl ProbeMatch {
    /// The device service at `from`, which sent the answer: of the addresses, the first with that host, else
    /// the first with that host put in.
    ///
    /// # Errors
    /// When there is none.
    pub fn device_url(&self, from: IpAddr) -> Result<Url, ProbeError> {
        let urls: Vec<Url> = self
            .addresses
            .split_whitespace()
            .filter_map(|address| Url::parse(address).ok())
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some())
            .collect();
        let of_sender = urls.iter().find(|url| is_host(url, from));
        let first = of_sender.or(urls.first()).ok_or(ProbeError::NoAddress)?;
        on_host(first, from).ok_or(ProbeError::NoAddress)
    }
}

/// Whether the host of a URL is this address.
fn is_host(url: &Url, address: IpAddr) -> bool {
    match url.host() {
        Some(Host::Ipv4(host)) => IpAddr::V4(host) == address,
        Some(Host::Ipv6(host)) => IpAddr::V6(host) == address,
        Some(Host::Domain(_)) | None => false,
    }
}

/// A URL without credentials, with this address as its host.
fn on_host(url: &Url, address: IpAddr) -> Option<Url> {
    let mut url = url.clone();
    url.set_ip_host(address).ok()?;
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    url.set_fragment(None);
    Some(url)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANSWER: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<SOAP-ENV:Envelope xmlns:SOAP-ENV="http://www.w3.org/2003/05/soap-envelope" xmlns:wsa="http://schemas.xmlsoap.org/ws/2004/08/addressing" xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" xmlns:dn="http://www.onvif.org/ver10/network/wsdl">
<SOAP-ENV:Header><wsa:RelatesTo>uuid:1</wsa:RelatesTo></SOAP-ENV:Header>
<SOAP-ENV:Body><d:ProbeMatches><d:ProbeMatch>
<wsa:EndpointReference><wsa:Address>urn:uuid:2</wsa:Address></wsa:EndpointReference>
<d:Types>dn:NetworkVideoTransmitter</d:Types>
<d:Scopes>onvif://www.onvif.org/hardware/X1 onvif://www.onvif.org/name/Gate%20camera%1b%</d:Scopes>
<d:XAddrs>http://169.254.1.2/onvif/device_service http://u:p@192.0.2.10:8000/onvif/device_service</d:XAddrs>
<d:MetadataVersion>1</d:MetadataVersion>
</d:ProbeMatch></d:ProbeMatches></SOAP-ENV:Body></SOAP-ENV:Envelope>"#;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_camera_is_asked_at_the_address_that_it_answered_from() {
        let found = probe_matches(ANSWER.as_bytes()).expect("an answer");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].name.as_deref(), Some("Gate camera\u{fffd}%"));
        for (from, expected) in [
            ("192.0.2.10", "http://192.0.2.10:8000/onvif/device_service"),
            ("169.254.1.2", "http://169.254.1.2/onvif/device_service"),
            ("198.51.100.1", "http://198.51.100.1/onvif/device_service"),
        ] {
            let url = found[0].device_url(address(from)).expect("an address");
            assert_eq!(url.as_str(), expected);
        }
    }

    #[test]
    fn other_devices_and_other_messages() {
        let printer = ANSWER
            .replace("dn:NetworkVideoTransmitter", "wsdp:Device")
            .replace("onvif://", "ldap://");
        assert_eq!(probe_matches(printer.as_bytes()), Ok(Vec::new()));
        let hello = ANSWER.replace("d:ProbeMatches", "d:Hello");
        assert_eq!(
            probe_matches(hello.as_bytes()),
            Err(ProbeError::NoMatches("Hello".to_owned()))
        );
        for addresses in ["", "ftp://192.0.2.10/", "http://", "\u{1b}[31m"] {
            let found = ProbeMatch {
                name: None,
                addresses: addresses.to_owned(),
            };
            let url = found.device_url(address("192.0.2.10"));
            assert_eq!(url, Err(ProbeError::NoAddress), "{addresses:?}");
        }
    }

    proptest! {
        #[test]
        fn a_damaged_answer_is_read_or_refused(
            damage in proptest::collection::vec((0..ANSWER.len(), any::<u8>()), 0..8),
            cut in 0..=ANSWER.len(),
        ) {
            let mut bytes = ANSWER.as_bytes().to_vec();
            for (at, byte) in damage {
                bytes[at] = byte;
            }
            bytes.truncate(cut);
            let from = address("192.0.2.10");
            for found in probe_matches(&bytes).unwrap_or_default() {
                prop_assert!(found.name.as_ref().is_none_or(|name| !name.contains(char::is_control)));
                if let Ok(url) = found.device_url(from) {
                    prop_assert!(is_host(&url, from) && url.username().is_empty());
                }
            }
        }
    }
}
