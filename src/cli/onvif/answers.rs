//! What is read from a camera's answers.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use roxmltree::Node;
use serde::{Serialize, Serializer};
use url::Url;

use super::xml::{below, child, printable, text, text_below};

/// Namespaces of the services.
pub const MEDIA: &str = "http://www.onvif.org/ver10/media/wsdl";
pub const MEDIA2: &str = "http://www.onvif.org/ver20/media/wsdl";

/// Most profiles of a camera.
const MAX_PROFILES: usize = 64;
/// Longest token of a profile, longest name, and longest URL.
const MAX_TOKEN: usize = 256;
const MAX_NAME: usize = 64;
const MAX_URL: usize = 2048;

/// A media profile. What the camera does not say is none.
#[derive(Clone, Debug, Serialize)]
pub struct StreamProfile {
    /// Its name.
    pub name: String,
    /// Width of the picture.
    pub width_px: Option<u32>,
    /// Height of the picture.
    pub height_px: Option<u32>,
    /// Codec.
    pub codec: Option<String>,
    /// Frames per second.
    pub fps: Option<f64>,
    /// The stream without credentials.
    #[serde(serialize_with = "as_text")]
    pub rtsp_url: Option<Url>,
    /// Why there is no stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip)]
    pub token: String,
}

/// A URL as text, for serde.
pub fn as_text<S: Serializer>(url: &Option<Url>, serializer: S) -> Result<S::Ok, S::Error> {
    url.as_ref().map(Url::as_str).serialize(serializer)
}

/// Where a camera's media services are.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct MediaServices {
    pub media: Option<Url>,
    pub media2: Option<Url>,
}

/// The camera's clock, in UTC.
pub fn read_clock(answer: Node<'_, '_>) -> Option<Timestamp> {
    let utc = below(answer, "UTCDateTime")?;
    let number = |name| text_below(utc, name)?.parse::<i16>().ok();
    let small = |name| number(name).and_then(|number| i8::try_from(number).ok());
    let (hour, minute, second) = (small("Hour")?, small("Minute")?, small("Second")?);
    let (year, month, day) = (number("Year")?, small("Month")?, small("Day")?);
    let time = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// The media services in the answer to GetServices or GetCapabilities.
pub fn read_services(answer: Node<'_, '_>, device: &Url) -> MediaServices {
    let mut services = MediaServices::default();
    for node in answer.descendants().filter(Node::is_element) {
        let slot = match (
            node.tag_name().name(),
            child(node, "Namespace").and_then(text),
        ) {
            ("Service", Some(MEDIA)) | ("Media", None) => &mut services.media,
            ("Service", Some(MEDIA2)) => &mut services.media2,
            _ => continue,
        };
        let address = child(node, "XAddr").and_then(text);
        if slot.is_none() {
            *slot = address.and_then(|address| service_url(address, device));
        }
    }
    services
}

/// The address of a service on the device's own host: behind a translation of addresses cameras name another,
/// and no other machine is sent what proves a user.
fn service_url(address: &str, device: &Url) -> Option<Url> {
    let named = Url::parse(address)
        .ok()
        .filter(|_| address.len() <= MAX_URL)?;
    let mut url = device.clone();
    if matches!(named.scheme(), "http" | "https") && named.host() == device.host() {
        url.set_scheme(named.scheme()).ok()?;
        url.set_port(named.port()).ok()?;
    }
    url.set_path(named.path());
    url.set_query(named.query());
    Some(url)
}

/// The profiles of Media and of Media2.
pub fn read_profiles(answer: Node<'_, '_>) -> Vec<StreamProfile> {
    let profiles = answer
        .children()
        .filter(|profile| profile.tag_name().name() == "Profiles");
    let mut read = Vec::new();
    for profile in profiles.take(MAX_PROFILES) {
        let Some(token) = profile
            .attribute("token")
            .filter(|token| token.len() <= MAX_TOKEN)
        else {
            continue;
        };
        let name = child(profile, "Name").and_then(text).unwrap_or(token);
        let encoder = below(profile, "VideoEncoderConfiguration");
        let encoder = encoder.or_else(|| below(profile, "VideoEncoder"));
        let of_encoder = |name| encoder.and_then(|encoder| text_below(encoder, name));
        let pixels = |name| {
            of_encoder(name)?
                .parse()
                .ok()
                .filter(|pixels| *pixels <= 65_536)
        };
        let fps = of_encoder("FrameRateLimit").and_then(|fps| fps.parse::<f64>().ok());
        read.push(StreamProfile {
            name: printable(name, MAX_NAME),
            width_px: pixels("Width"),
            height_px: pixels("Height"),
            codec: of_encoder("Encoding").map(|codec| printable(codec, 16)),
            fps: fps.filter(|fps| (0.0..=1000.0).contains(fps)),
            rtsp_url: None,
            error: None,
            token: token.to_owned(),
        });
    }
    read
}

/// The RTSP URL without user and password, or what is wrong with it.
pub fn read_stream(answer: Node<'_, '_>) -> Result<Url, &'static str> {
    let text = text_below(answer, "Uri").ok_or("the answer has no URI")?;
    if text.len() > MAX_URL {
        return Err("the URI is too long");
    }
    let mut url = Url::parse(text).map_err(|_| "the URI cannot be read")?;
    if !matches!(url.scheme(), "rtsp" | "rtsps") || url.host_str().is_none_or(str::is_empty) {
        return Err("the URI is not that of an RTSP stream");
    }
    let cannot = |()| "the URI cannot be read";
    url.set_username("").map_err(cannot)?;
    url.set_password(None).map_err(cannot)?;
    Ok(url)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::xml::read_body;
    use super::*;

    fn of_body<T>(body: &str, read: impl FnOnce(Node<'_, '_>) -> T) -> T {
        let xml = format!("<Envelope><Body>{body}</Body></Envelope>");
        read_body(xml.as_bytes(), read).expect("SOAP")
    }

    const MEDIA_PROFILES: &str = "<GetProfilesResponse>\
        <Profiles token='a&amp;1'><Name>Main</Name><VideoEncoderConfiguration><Encoding>H264</Encoding>\
        <Resolution><Width>1920</Width><Height>1080</Height></Resolution>\
        <RateControl><FrameRateLimit>25</FrameRateLimit></RateControl></VideoEncoderConfiguration></Profiles>\
        <Profiles><Name>no token</Name></Profiles>\
        <Profiles token='b'><Configurations><VideoEncoder><Encoding>H265</Encoding><RateControl>\
        <FrameRateLimit>NaN</FrameRateLimit></RateControl></VideoEncoder></Configurations></Profiles>\
        </GetProfilesResponse>";

    #[test]
    fn profiles_of_both_services_are_read() {
        let profiles = of_body(MEDIA_PROFILES, read_profiles);
        assert_eq!(profiles.len(), 2);
        let [main, other] = &profiles[..] else {
            unreachable!()
        };
        assert_eq!((&*main.token, &*main.name), ("a&1", "Main"));
        assert_eq!((main.width_px, main.height_px), (Some(1920), Some(1080)));
        assert_eq!(
            (main.codec.as_deref(), main.fps),
            (Some("H264"), Some(25.0))
        );
        assert_eq!((&*other.token, &*other.name), ("b", "b"));
        assert_eq!((other.codec.as_deref(), other.fps), (Some("H265"), None));
    }

    #[test]
    fn a_service_stays_on_the_machine_of_the_device() {
        let device = Url::parse("http://192.0.2.10:8000/onvif/device_service").expect("a URL");
        for (address, expected) in [
            (
                "http://192.0.2.10:81/media?a=1",
                "http://192.0.2.10:81/media?a=1",
            ),
            ("http://192.0.2.10/media", "http://192.0.2.10/media"),
            (
                "http://u:p@10.0.0.1:99/media",
                "http://192.0.2.10:8000/media",
            ),
            ("ftp://192.0.2.10/media", "http://192.0.2.10:8000/media"),
        ] {
            let url = service_url(address, &device).expect("a URL");
            assert_eq!(url.as_str(), expected);
        }
        assert_eq!(service_url("media", &device), None);
    }

    #[test]
    fn a_stream_is_shown_without_its_password() {
        let stream = |uri: &str| of_body(&format!("<R><Uri>{uri}</Uri></R>"), read_stream);
        let url = stream(" rtsp://a:b@192.0.2.10:554/x?y=1&amp;z=2 ").expect("a URL");
        assert_eq!(url.as_str(), "rtsp://192.0.2.10:554/x?y=1&z=2");
        for uri in [
            "",
            "rtsp://",
            "http://192.0.2.10/",
            "file:///etc/passwd",
            "x",
        ] {
            assert!(stream(uri).is_err(), "{uri}");
        }
    }

    #[test]
    fn a_clock_that_cannot_be_is_none() {
        let clock = |year: &str, month: &str| {
            let body = format!(
                "<R><UTCDateTime><Time><Hour>7</Hour><Minute>50</Minute><Second>45</Second></Time>\
                 <Date><Year>{year}</Year><Month>{month}</Month><Day>16</Day></Date></UTCDateTime></R>"
            );
            of_body(&body, read_clock).map(|time| time.to_string())
        };
        assert_eq!(clock("2010", "9").as_deref(), Some("2010-09-16T07:50:45Z"));
        for (year, month) in [("2010", "13"), ("99999", "9"), ("", ""), ("-32768", "9")] {
            assert_eq!(clock(year, month), None, "{year} {month}");
        }
    }

    proptest! {
        #[test]
        fn any_damage_is_read_or_refused(
            damage in proptest::collection::vec((0..MEDIA_PROFILES.len(), any::<u8>()), 0..6),
        ) {
            let mut body = MEDIA_PROFILES.as_bytes().to_vec();
            for (at, byte) in damage {
                body[at] = byte;
            }
            let xml = [b"<Envelope><Body>", &body[..], b"</Body></Envelope>"].concat();
            let device = Url::parse("http://192.0.2.10/").expect("a URL");
            let profiles = read_body(&xml, |body| {
                let _ = (read_services(body, &device), read_stream(body).is_ok(), read_clock(body));
                read_profiles(body)
            });
            for profile in profiles.unwrap_or_default() {
                prop_assert!(!profile.name.contains(char::is_control));
                prop_assert!(profile.fps.is_none_or(f64::is_finite));
            }
        }
    }
}
