//! WS-Discovery: a probe by UDP, and the cameras that answer it.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

use url::Url;

use super::probe_match::{ProbeMatch, probe_matches};
use super::random_bits;

/// Where cameras listen for probes.
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);
/// The port of WS-Discovery.
const PORT: u16 = 3702;
/// The probe is repeated, as datagrams get lost.
const PROBES: u32 = 3;
/// Types of devices that are asked for: some cameras answer only to one of them.
const TYPES: [&str; 2] = ["dn:NetworkVideoTransmitter", "tds:Device"];
/// Most cameras, and most network interfaces.
const MAX_CAMERAS: usize = 256;
const MAX_INTERFACES: usize = 64;
/// Largest UDP datagram.
const MAX_DATAGRAM: usize = 65_535;

/// What is searched for.
#[derive(Clone, Debug)]
pub struct Search {
    /// One camera, `HOST[:PORT]` or the URL of its device service; none: all.
    pub address: Option<String>,
    /// Addresses of the network interfaces to search on; none: all.
    pub interfaces: Vec<Ipv4Addr>,
    /// How long answers are waited for.
    pub time: Duration,
}

/// Why a search was not possible.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    #[error("{0}: expected HOST, HOST:PORT or the URL http://HOST/onvif/device_service")]
    Address(String),
    #[error("{0}: {1}")]
    Resolve(String, io::Error),
    #[error("there is no network interface with an IPv4 address")]
    NoInterface,
    #[error("cannot search on {0}: {1}")]
    Socket(IpAddr, io::Error),
}

/// A camera that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundCamera {
    /// The name that it announces.
    pub name: Option<String>,
    /// Where it answered from.
    pub address: String,
    /// Its device service, or what is wrong with the answer.
    pub device: Result<Url, String>,
}

/// Finds cameras, in the order of their addresses.
///
/// # Errors
/// When there is nothing to search on. A camera that does not answer is not there, but for one that is named
/// by its host: its device service is then taken to be at the usual place.
pub fn search(search: &Search) -> Result<Vec<FoundCamera>, SearchError> {
    let Some(text) = search.address.as_deref() else {
        return search_group(SocketAddr::from((GROUP, PORT)), search);
    };
    let no_address = || SearchError::Address(text.escape_debug().to_string());
    if text.contains("://") {
        let url = Url::parse(text).ok();
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
        return Ok(vec![named(url.ok_or_else(no_address)?)]);
    }
    let (target, has_port) = resolve(text).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => no_address(),
        _ => SearchError::Resolve(text.to_owned(), error),
    })?;
    if target.ip().is_multicast() {
        return search_group(target, search);
    }
    let any = match target {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let found = UdpSocket::bind((any, 0)).and_then(|socket| probe(&socket, target, search.time));
    let found = cameras(found.map_err(|error| SearchError::Socket(target.ip(), error))?);
    if found.iter().any(|camera| camera.device.is_ok()) || has_port {
        return Ok(found);
    }
    let host = match target.ip() {
        IpAddr::V4(host) => host.to_string(),
        IpAddr::V6(host) => format!("[{host}]"),
    };
    let usual = Url::parse(&format!("http://{host}/onvif/device_service"));
    Ok(vec![named(usual.map_err(|_| no_address())?)])
}

/// A camera that is named by the URL of its device service.
fn named(mut device: Url) -> FoundCamera {
    // Credentials are given by other means, and would be shown.
    let _ = device.set_username("");
    let _ = device.set_password(None);
    FoundCamera {
        name: None,
        address: device.host_str().unwrap_or_default().to_owned(),
        device: Ok(device),
    }
}

/// The address of `HOST[:PORT]`, and whether there is a port.
fn resolve(text: &str) -> io::Result<(SocketAddr, bool)> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok((address, true));
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok((SocketAddr::new(address, PORT), false));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port.parse::<u16>())),
        None => (text, None),
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let port = port.transpose().map_err(|_| io::ErrorKind::InvalidInput)?;
    if host.is_empty() || !host.chars().all(is_name) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let addresses: Vec<_> = (host, port.unwrap_or(PORT)).to_socket_addrs()?.collect();
    let first = addresses.iter().find(|address| address.is_ipv4());
    let first = first.or(addresses.first()).copied();
    let first = first.ok_or(io::ErrorKind::NotFound)?;
    Ok((first, port.is_some()))
}

/// Asks a multicast group on each interface.
fn search_group(group: SocketAddr, search: &Search) -> Result<Vec<FoundCamera>, SearchError> {
    let mut interfaces = search.interfaces.clone();
    if interfaces.is_empty() {
        let all = if_addrs::get_if_addrs().unwrap_or_default();
        interfaces.extend(all.iter().filter_map(|interface| match interface.ip() {
            IpAddr::V4(address) if !interface.is_loopback() => Some(address),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        }));
        interfaces.truncate(MAX_INTERFACES);
    }
    let probe_on = |interface: Ipv4Addr| -> io::Result<Answers> {
        let socket = UdpSocket::bind((interface, 0))?;
        // Linux sends by the interface of the socket's own address; others want to be told.
        #[cfg(unix)]
        rustix::net::sockopt::set_ip_multicast_if(&socket, &interface)?;
        probe(&socket, group, search.time)
    };
    let results: Vec<(Ipv4Addr, io::Result<Answers>)> = std::thread::scope(|scope| {
        let probe_on = &probe_on;
        let spawned: Vec<_> = interfaces
            .iter()
            .map(|interface| (*interface, scope.spawn(move || probe_on(*interface))))
            .collect();
        let joined = spawned.into_iter().map(|(interface, thread)| {
            let failed = || Err(io::Error::other("the thread ended"));
            (interface, thread.join().unwrap_or_else(|_| failed()))
        });
        joined.collect()
    });
    let (mut answers, mut last_error, mut is_any) = (Answers::new(), None, false);
    for (interface, result) in results {
        match result {
            Ok(more) => {
                is_any = true;
                for (from, answer) in more {
                    add(&mut answers, from, answer);
                }
            }
            Err(error) => {
                tracing::debug!("no search for cameras on {interface}: {error}");
                last_error = Some(SearchError::Socket(interface.into(), error));
            }
        }
    }
    match last_error {
        Some(error) if !is_any => Err(error),
        None if !is_any => Err(SearchError::NoInterface),
        _ => Ok(cameras(answers)),
    }
}

/// What each address answered.
type Answers = BTreeMap<IpAddr, Result<Vec<ProbeMatch>, String>>;

/// Adds an answer: what is right takes the place of what is wrong, and what says something of nothing.
fn add(answers: &mut Answers, from: IpAddr, answer: Result<Vec<ProbeMatch>, String>) {
    if answers.len() >= MAX_CAMERAS && !answers.contains_key(&from) {
        return;
    }
    let old = answers.entry(from).or_insert_with(|| answer.clone());
    match (&mut *old, answer) {
        (Ok(old), Ok(new)) => {
            let new = new.into_iter().filter(|found| !old.contains(found));
            let new: Vec<_> = new.take(MAX_CAMERAS.saturating_sub(old.len())).collect();
            old.extend(new);
        }
        (Err(_), Ok(new)) => *old = Ok(new),
        (_, Err(_)) => {}
    }
}

/// Sends probes to `target` and collects the answers; one camera is waited for until it answers.
fn probe(socket: &UdpSocket, target: SocketAddr, time: Duration) -> io::Result<Answers> {
    let begin = Instant::now();
    let deadline = begin + time;
    let (mut answers, mut sent) = (Answers::new(), 0);
    let mut datagram = vec![0; MAX_DATAGRAM];
    loop {
        let now = Instant::now();
        if now >= deadline {
            return Ok(answers);
        }
        let mut next = begin + time * sent / PROBES;
        if sent < PROBES && now >= next {
            for types in TYPES {
                let result = socket.send_to(probe_message(types).as_bytes(), target);
                // One that is not sent later may come through; without any, nobody answers.
                if let (Err(error), 0) = (result, sent) {
                    return Err(error);
                }
            }
            sent += 1;
            next = begin + time * sent / PROBES;
        }
        let until = if sent < PROBES {
            next.min(deadline)
        } else {
            deadline
        };
        let wait = until.saturating_duration_since(now);
        socket.set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
        let Ok((length, from)) = socket.recv_from(&mut datagram) else {
            // Nothing yet, or word that nobody listens there.
            continue;
        };
        let is_one = !target.ip().is_multicast();
        if is_one && from.ip() != target.ip() {
            continue;
        }
        let answer = probe_matches(&datagram[..length]).map_err(|error| error.to_string());
        let is_camera = answer.as_ref().is_ok_and(|found| !found.is_empty());
        add(&mut answers, from.ip(), answer);
        if is_one && is_camera {
            return Ok(answers);
        }
    }
}

/// The cameras of the answers, one for each device service.
fn cameras(answers: Answers) -> Vec<FoundCamera> {
    let mut cameras: Vec<FoundCamera> = Vec::new();
    for (from, answer) in answers {
        let found = match answer {
            Ok(found) => found.into_iter().map(|found| FoundCamera {
                address: from.to_string(),
                device: found.device_url(from).map_err(|error| error.to_string()),
                name: found.name,
            }),
            Err(error) => {
                cameras.push(FoundCamera {
                    name: None,
                    address: from.to_string(),
                    device: Err(format!("answered the probe, but {error}")),
                });
                continue;
            }
        };
        for camera in found {
            let is_known =
                |old: &FoundCamera| old.address == camera.address && old.device == camera.device;
            if !cameras.iter().any(is_known) && cameras.len() < MAX_CAMERAS {
                cameras.push(camera);
            }
        }
    }
    cameras
}

fn probe_message(types: &str) -> String {
    let bits = random_bits();
    // The version and variant of a random UUID.
    let bits = bits & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let digits = format!("{bits:032x}");
    let uuid = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &digits[part]);
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
         <e:Envelope xmlns:e=\"http://www.w3.org/2003/05/soap-envelope\" \
         xmlns:w=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\" \
         xmlns:d=\"http://schemas.xmlsoap.org/ws/2005/04/discovery\" \
         xmlns:dn=\"http://www.onvif.org/ver10/network/wsdl\" \
         xmlns:tds=\"http://www.onvif.org/ver10/device/wsdl\">\
         <e:Header><w:MessageID>uuid:{}</w:MessageID>\
         <w:To e:mustUnderstand=\"true\">urn:schemas-xmlsoap-org:ws:2005:04:discovery</w:To>\
         <w:Action e:mustUnderstand=\"true\">http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</w:Action>\
         </e:Header><e:Body><d:Probe><d:Types>{types}</d:Types></d:Probe></e:Body></e:Envelope>",
        uuid.join("-")
    )
}

#[cfg(test)]
mod tests {
    use super::super::xml::read_body;
    use super::*;

    #[test]
    fn an_address_has_a_port_or_the_usual_one() {
        for (text, expected) in [
            ("192.0.2.1", Some(("192.0.2.1:3702", false))),
            ("192.0.2.1:99", Some(("192.0.2.1:99", true))),
            ("[::1]", Some(("[::1]:3702", false))),
            ("::1", Some(("[::1]:3702", false))),
            ("[::1]:99", Some(("[::1]:99", true))),
            ("localhost:99999", None),
            ("a b", None),
            ("", None),
        ] {
            let resolved = resolve(text).ok();
            let expected = expected.map(|(address, has_port)| {
                (address.parse::<SocketAddr>().expect("an address"), has_port)
            });
            assert_eq!(resolved, expected, "{text}");
        }
    }

    #[test]
    fn a_probe_is_a_soap_message_with_an_identifier_of_its_own() {
        let message = probe_message(TYPES[0]);
        let name = read_body(message.as_bytes(), |body| body.tag_name().name().to_owned());
        assert_eq!(name.as_deref(), Ok("Probe"));
        assert_ne!(message, probe_message(TYPES[0]));
        let (_, id) = message.split_once("uuid:").expect("an identifier");
        assert_eq!(
            (&id[14..15], id[..36].matches('-').count()),
            ("4", 4),
            "{id}"
        );
    }

    #[test]
    fn a_right_answer_takes_the_place_of_a_wrong_one() {
        let from = IpAddr::from([192, 0, 2, 1]);
        let found = ProbeMatch {
            name: None,
            addresses: "http://192.0.2.1/a".to_owned(),
        };
        let mut answers = Answers::new();
        add(&mut answers, from, Err("wrong".to_owned()));
        assert!(cameras(answers.clone())[0].device.is_err());
        for _ in 0..2 {
            add(&mut answers, from, Ok(vec![found.clone()]));
            add(&mut answers, from, Err("wrong".to_owned()));
        }
        let cameras = cameras(answers);
        assert_eq!(cameras.len(), 1);
        assert_eq!(
            cameras[0].device,
            Ok(Url::parse("http://192.0.2.1/a").expect("a URL"))
        );
    }

    #[test]
    fn no_more_cameras_than_the_limit() {
        let mut answers = Answers::new();
        for i in 0..1000_u32 {
            add(
                &mut answers,
                IpAddr::from(i.to_be_bytes()),
                Err("wrong".to_owned()),
            );
        }
        assert_eq!(cameras(answers).len(), MAX_CAMERAS);
    }
}
