//! `mobilens devices --network`, against cameras of the tests' own.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Output;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_auth::{DigestClient, PasswordParams};
use serde_json::Value;
use sha1::{Digest, Sha1};

use crate::support::onvif::{
    Reply, Request, discover, envelope, http, loopback, not_authorized, probe_match, serve, soap,
    well,
};
use crate::support::{complaints, mobilens, run, skip, stderr};

const PASSWORD: &str = "open sesame";

pub fn devices(arguments: &[&str]) -> Output {
    let mut all = vec!["devices", "--network"];
    all.extend(arguments);
    run(&all)
}

/// With the user `viewer` and a password in the environment.
fn devices_of_viewer(device: &str, password: &str) -> Output {
    mobilens()
        .args([
            "devices",
            "--network",
            "--json",
            "--address",
            device,
            "--user",
            "viewer",
        ])
        .env("CAMERA_PASSWORD", password)
        .output()
        .expect("it starts")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

pub fn device_url(address: SocketAddr) -> String {
    format!("http://{address}/onvif/device_service")
}

/// The RTSP URLs of all profiles.
pub fn streams(output: &Output) -> Vec<String> {
    let found = json(output);
    let cameras = found["cameras"].as_array().expect("a list").iter();
    let profiles =
        cameras.flat_map(|camera| camera["profiles"].as_array().expect("a list").clone());
    profiles
        .filter_map(|profile| profile["rtsp_url"].as_str().map(str::to_owned))
        .collect()
}

const STREAMS: [&str; 2] = [
    "rtsp://192.0.2.7:554/main?a=1&b=2",
    "rtsp://192.0.2.7:554/sub?a=1&b=2",
];

pub fn good(request: &Request) -> Reply {
    well(request, "192.0.2.7:554")
}

#[test]
fn a_camera_that_is_found_is_listed_with_its_streams() {
    let (address, requests) = serve(good);
    // It names another machine, and is asked where it answered from.
    let elsewhere = format!("http://192.0.2.99:{}/onvif/device_service", address.port());
    let junk = vec![0xff; 100];
    let probe = discover(
        loopback(),
        vec![junk, probe_match("Gate%20north", &elsewhere)],
    );
    let output = devices(&["--address", &probe.to_string()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let table = String::from_utf8(output.stdout).expect("text");
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| {
            line.split("  ")
                .map(str::trim)
                .filter(|c| !c.is_empty())
                .collect()
        })
        .collect();
    assert_eq!(
        rows,
        [
            vec![
                "name", "address", "profile", "size", "codec", "fps", "RTSP URL"
            ],
            vec![
                "Gate north",
                "127.0.0.1",
                "Main",
                "1920x1080",
                "H264",
                "25",
                STREAMS[0]
            ],
            vec![
                "Gate north",
                "127.0.0.1",
                "Sub",
                "640x360",
                "JPEG",
                "-",
                STREAMS[1]
            ],
        ]
    );
    let asked: Vec<String> = requests
        .try_iter()
        .map(|request| format!("{} {}", request.path, request.operation()))
        .collect();
    assert_eq!(
        asked,
        [
            "/onvif/device_service GetServices",
            "/onvif/media GetProfiles",
            "/onvif/media GetStreamUri",
            "/onvif/media GetStreamUri",
        ]
    );
}

#[test]
fn a_camera_that_is_named_by_its_url_is_asked_for_its_name() {
    let (address, _requests) = serve(good);
    let output = devices(&["--json", "--address", &device_url(address)]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let found = json(&output);
    let camera = &found["cameras"][0];
    assert_eq!(camera["name"], "ACME X\u{a0}1");
    assert_eq!(camera["address"], "127.0.0.1");
    assert_eq!(camera["device_url"], device_url(address));
    let main = &camera["profiles"][0];
    assert_eq!(
        (&main["width_px"], &main["fps"]),
        (&1920.into(), &25.0.into())
    );
    assert_eq!(streams(&output), STREAMS);
    assert!(!stderr(&output).contains("secret"));
}

#[test]
fn probes_reach_a_multicast_group() {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port");
    let group = Ipv4Addr::new(239, 255, 255, 250);
    if let Err(error) = socket.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST) {
        return skip(&format!("no multicast on loopback: {error}"));
    }
    let (address, _requests) = serve(good);
    let port = discover(socket, vec![probe_match("Gate", &device_url(address))]).port();
    let group = format!("{group}:{port}");
    let output = devices(&[
        "--json",
        "--seconds",
        "2",
        "--interface",
        "127.0.0.1",
        "--address",
        &group,
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(streams(&output), STREAMS);
}

/// Media2 with H.265, whose fault makes way for Media.
#[test]
fn media2_is_preferred_and_media_is_the_fallback() {
    for is_broken in [false, true] {
        let (address, _requests) = serve(move |request| {
            let is_media2 = request.path == "/onvif/media2";
            match request.operation() {
                "GetServices" => soap(
                    "<GetServicesResponse>\
                     <Service><Namespace>http://www.onvif.org/ver10/media/wsdl</Namespace><XAddr>http://x/onvif/media</XAddr></Service>\
                     <Service><Namespace>http://www.onvif.org/ver20/media/wsdl</Namespace><XAddr>http://x/onvif/media2</XAddr></Service>\
                     </GetServicesResponse>",
                ),
                "GetProfiles" if is_media2 && is_broken => {
                    http("500 Error", "", &envelope("<env:Fault/>"))
                }
                "GetProfiles" if is_media2 => soap(
                    "<GetProfilesResponse><Profiles token=\"t\"><Name>P</Name><Configurations><VideoEncoder>\
                     <Encoding>H265</Encoding></VideoEncoder></Configurations></Profiles></GetProfilesResponse>",
                ),
                "GetStreamUri" if is_media2 && request.text("o:Protocol") == Some("RTSP") => soap(
                    "<GetStreamUriResponse><Uri>rtsp://192.0.2.7/5</Uri></GetStreamUriResponse>",
                ),
                _ => good(request),
            }
        });
        let output = devices(&["--json", "--address", &device_url(address)]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        if is_broken {
            assert_eq!(streams(&output), STREAMS);
        } else {
            assert_eq!(streams(&output), ["rtsp://192.0.2.7/5"]);
            assert_eq!(json(&output)["cameras"][0]["profiles"][0]["codec"], "H265");
        }
    }
}

/// An older camera, without GetServices.
#[test]
fn capabilities_take_the_place_of_services() {
    let (address, _requests) = serve(|request| match request.operation() {
        "GetServices" => http(
            "400 Bad Request",
            "",
            &envelope(
                "<env:Fault><env:Reason><env:Text>unknown</env:Text></env:Reason></env:Fault>",
            ),
        ),
        "GetCapabilities" => soap(
            "<GetCapabilitiesResponse><Capabilities><Media><XAddr>http://10.0.0.1/onvif/media</XAddr></Media>\
             </Capabilities></GetCapabilitiesResponse>",
        ),
        _ => good(request),
    });
    let output = devices(&["--json", "--address", &device_url(address)]);
    assert_eq!(streams(&output), STREAMS, "{}", stderr(&output));
}

/// Whether a request proves the password by a token of the camera's own time.
fn is_token_right(request: &Request) -> bool {
    let texts = ["wsse:Nonce", "wsu:Created", "wsse:Password"].map(|name| request.text(name));
    let [Some(nonce), Some(created), Some(digest)] = texts else {
        return false;
    };
    let mut hash = Sha1::new();
    hash.update(STANDARD.decode(nonce).expect("base64"));
    hash.update(created);
    hash.update(PASSWORD);
    created.starts_with("2019-07-01T12:")
        && request.text("wsse:Username") == Some("viewer")
        && STANDARD.encode(hash.finalize()) == digest
}

#[test]
fn a_user_is_proved_by_a_token_of_the_cameras_own_time() {
    let (address, requests) = serve(|request| match request.operation() {
        "GetSystemDateAndTime" => good(request),
        _ if is_token_right(request) => good(request),
        _ => not_authorized(),
    });
    let device = device_url(address);
    let output = devices_of_viewer(&device, PASSWORD);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(streams(&output), STREAMS);

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("password");
    std::fs::write(&file, format!("{PASSWORD}\n")).expect("room");
    let file = file.display().to_string();
    let by_file = [
        "--json",
        "--address",
        &device,
        "--user",
        "viewer",
        "--password-file",
        &file,
    ];
    assert_eq!(streams(&devices(&by_file)), STREAMS);

    let wrong = devices_of_viewer(&device, "wrong");
    assert_eq!(wrong.status.code(), Some(1));
    let expected =
        format!("mobilens: {device}: GetServices: the camera refuses the user or the password");
    assert_eq!(complaints(&wrong), [expected]);
    let none = devices(&["--address", &device]);
    assert_eq!(none.status.code(), Some(1));
    let expected = format!(
        "mobilens: {device}: GetServices: the camera wants a user and password: give --user"
    );
    assert_eq!(complaints(&none), [expected]);
    for request in requests.try_iter() {
        assert!(!request.head.contains(PASSWORD) && !request.body.contains(PASSWORD));
    }
}

const CHALLENGE: &str =
    "Digest realm=\"cam\", qop=\"auth\", nonce=\"dcd98b7102dd2f0e\", algorithm=MD5";

/// Whether a request proves the password by HTTP digest authentication.
fn is_digest_right(request: &Request) -> bool {
    let mut lines = request.head.lines();
    let Some(given) = lines.find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("authorization").then_some(value)
    }) else {
        return false;
    };
    let part = |name: &str| {
        let (_, rest) = given.split_once(&format!("{name}="))?;
        rest.split([',', '"'])
            .find(|part| !part.is_empty())
            .map(str::to_owned)
    };
    let challenges = http_auth::parse_challenges(CHALLENGE).expect("a challenge");
    let mut client = DigestClient::try_from(&challenges[0]).expect("digest");
    let count = part("nc").and_then(|count| u32::from_str_radix(&count, 16).ok());
    let cnonce = part("cnonce").unwrap_or_default();
    let expected = (0..count.unwrap_or(0)).map(|_| {
        let parameters = PasswordParams {
            username: "viewer",
            password: PASSWORD,
            uri: &request.path,
            method: "POST",
            body: Some(request.body.as_bytes()),
        };
        client
            .respond_with_testing_cnonce(&parameters, &cnonce)
            .expect("a response")
    });
    expected.last().as_deref() == Some(given)
}

#[test]
fn a_user_is_proved_by_http_digest_where_the_camera_asks_for_it() {
    let (address, requests) = serve(|request| {
        if is_digest_right(request) {
            good(request)
        } else {
            http(
                "401 Unauthorized",
                &format!("WWW-Authenticate: {CHALLENGE}\r\n"),
                "",
            )
        }
    });
    let output = devices_of_viewer(&device_url(address), PASSWORD);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(streams(&output), STREAMS);
    assert!(requests.try_iter().count() > 5);
    let wrong = devices_of_viewer(&device_url(address), "wrong");
    assert_eq!(wrong.status.code(), Some(1));
    // A request, and one with an answer to the challenge.
    let asked: Vec<_> = requests
        .try_iter()
        .map(|request| request.operation().to_owned())
        .collect();
    assert_eq!(
        asked.iter().filter(|name| *name == "GetServices").count(),
        1,
        "{asked:?}"
    );
}

#[test]
fn a_password_is_not_sent_to_who_asks_for_it() {
    let (address, requests) = serve(|_| {
        http(
            "401 Unauthorized",
            "WWW-Authenticate: Basic realm=\"cam\"\r\n",
            "",
        )
    });
    let output = devices_of_viewer(&device_url(address), PASSWORD);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(complaints(&output).len(), 1, "{}", stderr(&output));
    for request in requests.try_iter() {
        assert!(
            !request.head.to_lowercase().contains("authorization"),
            "{}",
            request.head
        );
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let refused = |arguments: &[&str], words: &str| {
        let output = run(arguments);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert!(
            stderr(&output).contains(words),
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert!(output.stdout.is_empty());
    };
    let network = |more: &[&'static str]| [&["devices", "--network"], more].concat();
    refused(&network(&["--address", "a b"]), "expected HOST");
    refused(&network(&["--address", "127.0.0.1:99999"]), "expected HOST");
    refused(
        &network(&["--address", "ftp://127.0.0.1/"]),
        "expected HOST",
    );
    refused(
        &network(&["--user", "a", "--password-env", "MOBILENS_NOT_SET"]),
        "environment variable MOBILENS_NOT_SET is not set",
    );
    refused(
        &network(&["--user", "a", "--password-file", "no/such/file"]),
        "cannot read no/such/file",
    );
    refused(&network(&["--password-file", "a"]), "--user");
    refused(&["devices", "--address", "127.0.0.1"], "--network");
    refused(&["devices", "--user", "a"], "--network");
    let nobody = loopback();
    let nobody = nobody.local_addr().expect("its address").to_string();
    let output = devices(&["--seconds", "1", "--address", &nobody]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        complaints(&output),
        [format!("mobilens: {nobody} did not answer within 1 s")]
    );
    let output = devices(&[
        "--json",
        "--address",
        "http://127.0.0.1:1/onvif/device_service",
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(complaints(&output).len(), 1, "{}", stderr(&output));
}

#[test]
fn cameras_of_this_machine_are_listed_as_json() {
    let output = run(&["devices", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(json(&output)["cameras"].is_array());
}
