//! Asks a camera for its media profiles and their stream URIs.
//!
//! | service | operation | what for |
//! |---|---|---|
//! | device | GetSystemDateAndTime | the clock that a user's token is made by |
//! | device | GetServices, else GetCapabilities | where the media services are |
//! | device | GetDeviceInformation | the name, where the probe gave none |
//! | Media2, else Media | GetProfiles | size, codec and frame rate |
//! | Media2, else Media | GetStreamUri | the RTSP URL of each profile |

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use roxmltree::Node;
use serde::Serialize;
use url::Url;

use super::answers::{
    MEDIA, MEDIA2, MediaServices, StreamProfile, as_text, read_clock, read_profiles, read_services,
    read_stream,
};
use super::login::Login;
use super::search::FoundCamera;
use super::soap::{Operation, SoapClient, SoapError};
use super::xml::{escaped, printable, text_below};

const DEVICE: &str = "http://www.onvif.org/ver10/device/wsdl";

/// Time limit of all requests to one camera.
const CAMERA_TIMEOUT: Duration = Duration::from_secs(15);
/// Cameras that are asked at the same time.
const MAX_THREADS: usize = 16;
/// Longest name.
const MAX_NAME: usize = 64;

/// A camera with what it says of itself.
#[derive(Clone, Debug, Serialize)]
pub struct NetworkCamera {
    /// Its name, else its address.
    pub name: String,
    /// Where it was found.
    pub address: String,
    /// Its device service.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
    pub device_url: Option<Url>,
    /// Its profiles.
    pub profiles: Vec<StreamProfile>,
    /// What was wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Asks cameras, several at a time; in their order.
pub fn ask_all(found: Vec<FoundCamera>, login: Option<&Login>) -> Vec<NetworkCamera> {
    let count = found.len();
    let waiting = Mutex::new(found.into_iter().enumerate());
    let next = || {
        waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .next()
    };
    let mut cameras: Vec<(usize, NetworkCamera)> = std::thread::scope(|scope| {
        let threads = (0..count.min(MAX_THREADS)).map(|_| {
            scope.spawn(|| {
                let mut of_thread = Vec::new();
                while let Some((i, found)) = next() {
                    of_thread.push((i, ask(found, login)));
                }
                of_thread
            })
        });
        let threads: Vec<_> = threads.collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_default())
            .collect()
    });
    cameras.sort_by_key(|(i, _)| *i);
    cameras.into_iter().map(|(_, camera)| camera).collect()
}

fn ask(found: FoundCamera, login: Option<&Login>) -> NetworkCamera {
    let FoundCamera {
        name,
        address,
        device,
    } = found;
    let mut camera = NetworkCamera {
        name: name.clone().unwrap_or_else(|| address.clone()),
        address,
        device_url: device.as_ref().ok().cloned(),
        profiles: Vec::new(),
        error: None,
    };
    let device = match device {
        Ok(device) => device,
        Err(error) => {
            camera.error = Some(error);
            return camera;
        }
    };
    let mut talk = Talk {
        client: SoapClient::new(login, Instant::now() + CAMERA_TIMEOUT),
        device,
    };
    match talk.profiles() {
        Ok(profiles) => camera.profiles = profiles,
        Err(error) => camera.error = Some(error),
    }
    if name.is_none()
        && camera.error.is_none()
        && let Some(name) = talk.name()
    {
        camera.name = name;
    }
    camera
}

/// A conversation with one camera.
struct Talk<'a> {
    client: SoapClient<'a>,
    device: Url,
}

impl Talk<'_> {
    fn profiles(&mut self) -> Result<Vec<StreamProfile>, String> {
        if self.client.has_login() {
            self.take_clock();
        }
        let services = self.services()?;
        let all = "<o:Type>All</o:Type>";
        let mut result = Err("it has no media service".to_owned());
        for (url, namespace, parameters) in
            [(services.media2, MEDIA2, all), (services.media, MEDIA, "")]
        {
            let Some(url) = url else { continue };
            let name = "GetProfiles";
            let operation = Operation { namespace, name };
            match self.client.call(&url, operation, parameters, read_profiles) {
                Ok(profiles) if profiles.is_empty() => {
                    result = Err("it has no media profiles".to_owned());
                }
                Ok(mut profiles) => {
                    self.add_streams(&url, namespace, &mut profiles);
                    return Ok(profiles);
                }
                Err(error) => {
                    result = Err(format!("{name}: {error}"));
                    if error.is_final() {
                        break;
                    }
                }
            }
        }
        result
    }

    /// A token must be of about the camera's own time, which may be far from ours.
    fn take_clock(&mut self) {
        let operation = Operation {
            namespace: DEVICE,
            name: "GetSystemDateAndTime",
        };
        let answer = self
            .client
            .call_without_login(&self.device, operation, read_clock);
        match answer {
            Ok(Some(now)) => self.client.set_clock(now),
            Ok(None) => tracing::debug!("{}: no time that can be read", self.device),
            Err(error) => tracing::debug!("{}: no time: {error}", self.device),
        }
    }

    fn services(&mut self) -> Result<MediaServices, String> {
        let namespace = DEVICE;
        const NONE: &str = "it has no media service";
        let mut last = None;
        for (name, parameters) in [
            (
                "GetServices",
                "<o:IncludeCapability>false</o:IncludeCapability>",
            ),
            ("GetCapabilities", "<o:Category>Media</o:Category>"),
        ] {
            let operation = Operation { namespace, name };
            let device = self.device.clone();
            let answer = self.client.call(&device, operation, parameters, |answer| {
                read_services(answer, &device)
            });
            match answer {
                Ok(services) if services == MediaServices::default() => {
                    last = Some(NONE.to_owned());
                }
                Ok(services) => return Ok(services),
                Err(error) => {
                    // A camera that answered the first need not know the second.
                    if last.as_deref() != Some(NONE) {
                        last = Some(format!("{name}: {error}"));
                    }
                    if error.is_final() {
                        break;
                    }
                }
            }
        }
        Err(last.unwrap_or_default())
    }

    fn add_streams(&mut self, url: &Url, namespace: &'static str, profiles: &mut [StreamProfile]) {
        let name = "GetStreamUri";
        let operation = Operation { namespace, name };
        let mut last: Option<SoapError> = None;
        for profile in profiles {
            if let Some(error) = last.as_ref().filter(|error| error.is_final()) {
                profile.error = Some(format!("{name}: {error}"));
                continue;
            }
            let parameters = stream_parameters(namespace, &profile.token);
            let answer = self.client.call(url, operation, &parameters, read_stream);
            match answer {
                Ok(Ok(url)) => profile.rtsp_url = Some(url),
                Ok(Err(why)) => profile.error = Some(format!("{name}: {why}")),
                Err(error) => {
                    profile.error = Some(format!("{name}: {error}"));
                    last = Some(error);
                }
            }
        }
    }

    /// Manufacturer and model.
    fn name(&mut self) -> Option<String> {
        let operation = Operation {
            namespace: DEVICE,
            name: "GetDeviceInformation",
        };
        let read = |answer: Node<'_, '_>| {
            let parts = ["Manufacturer", "Model"].map(|part| text_below(answer, part));
            let parts: Vec<&str> = parts.into_iter().flatten().collect();
            printable(&parts.join(" "), MAX_NAME)
        };
        let name = self.client.call(&self.device, operation, "", read).ok();
        name.filter(|name| !name.is_empty())
    }
}

/// The parameters of GetStreamUri: an RTSP session with RTP.
fn stream_parameters(namespace: &str, token: &str) -> String {
    let token = format!("<o:ProfileToken>{}</o:ProfileToken>", escaped(token));
    if namespace == MEDIA2 {
        return format!("<o:Protocol>RTSP</o:Protocol>{token}");
    }
    format!(
        "<o:StreamSetup xmlns:tt=\"http://www.onvif.org/ver10/schema\"><tt:Stream>RTP-Unicast</tt:Stream>\
         <tt:Transport><tt:Protocol>RTSP</tt:Protocol></tt:Transport></o:StreamSetup>{token}"
    )
}
