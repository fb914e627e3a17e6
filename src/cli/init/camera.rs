//! The source: what the command line or an answer names, or what is found.

use std::path::PathBuf;

use mobilens::config::{InputSource, is_url};

use super::arguments::InitArgs;
use super::credentials::{has_user, stream_url, variables_in, with_values};
use super::error::InitError;
use super::prompt::Prompt;
use crate::cli::devices::arguments::LoginArgs;
use crate::cli::devices::local_cameras;

/// Where frames come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A camera of this machine: its device path.
    Device(String),
    /// A network camera: its URL, without a password.
    Rtsp(String),
    /// A clip.
    Video(PathBuf),
    /// A clip's URL.
    VideoUrl(String),
    /// A picture, or a folder of pictures.
    Images(PathBuf),
}

impl Source {
    /// Whether frames come when they come.
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Device(_) | Self::Rtsp(_))
    }

    /// The key and the value that may refer to environment variables.
    fn expanded(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::Rtsp(url) => Some(("source.rtsp.url", url)),
            Self::VideoUrl(url) => Some(("source.video.path", url)),
            Self::Device(_) | Self::Video(_) | Self::Images(_) => None,
        }
    }

    /// Environment variables that must be set before a run, and are not.
    pub fn unset_variables(&self) -> Vec<String> {
        let names = self.expanded().map(|(_, text)| variables_in(text));
        let is_unset =
            |name: &String| std::env::var(name).map_or(true, |value| value.trim().is_empty());
        names
            .unwrap_or_default()
            .into_iter()
            .filter(is_unset)
            .collect()
    }

    /// The `--set` with which the pipeline can be checked before they are set.
    pub fn checked_override(&self) -> Option<String> {
        let (key, text) = self.expanded()?;
        let unset = self.unset_variables();
        (!unset.is_empty()).then(|| format!("{key}={}", with_values(text, &unset, "x")))
    }
}

/// What a text names.
enum Named {
    Source(Source),
    /// `rtsp://`, of which the user may be asked.
    Stream(String),
    /// `onvif` or `onvif://ADDRESS`.
    Network(Option<String>),
}

/// Finds the source.
///
/// # Errors
/// When there is none, or the input ends.
pub fn source(arguments: &InitArgs, prompt: &mut Prompt<'_>) -> Result<Source, InitError> {
    arguments.login.validate_variable()?;
    let named = match &arguments.camera {
        Some(text) => named(text, &arguments.login).map_err(InitError::Camera)?,
        None => asked(&arguments.login, prompt)?,
    };
    match named {
        Named::Source(source) => Ok(source),
        Named::Stream(text) => stream(&text, arguments, prompt),
        Named::Network(address) => {
            let text = network_stream(address, arguments, prompt)?;
            stream(&text, arguments, prompt)
        }
    }
}

fn asked(login: &LoginArgs, prompt: &mut Prompt<'_>) -> Result<Named, InitError> {
    let cameras = local_cameras();
    if !prompt.asks() {
        let (device, _) = cameras.into_iter().next().ok_or_else(|| {
            let why = "no camera is connected; name one, for instance --camera rtsp://HOST/PATH";
            InitError::Camera(why.to_owned())
        })?;
        return Ok(Named::Source(Source::Device(device)));
    }
    prompt.say("Where do frames come from?");
    for (i, (device, name)) in cameras.iter().enumerate() {
        prompt.say(&format!("  {}) {device}: {name}", i + 1));
    }
    let search = cameras.len() + 1;
    if cfg!(feature = "onvif") {
        prompt.say(&format!("  {search}) search for network cameras (ONVIF)"));
    }
    prompt.say("  or rtsp://HOST/PATH, a clip, a picture, or a folder of pictures");
    let has_choice = cfg!(feature = "onvif") || !cameras.is_empty();
    let default = if has_choice { "1" } else { "" };
    prompt.ask("Number, URL or path", default, |answer| {
        match answer.parse::<usize>() {
            Ok(number) if number == search && cfg!(feature = "onvif") => Ok(Named::Network(None)),
            Ok(number) => {
                let chosen = number.checked_sub(1).and_then(|i| cameras.get(i));
                let (device, _) = chosen.ok_or("there is no such number")?;
                Ok(Named::Source(Source::Device(device.clone())))
            }
            Err(_) => named(answer, login),
        }
    })
}

/// What the text of an option or answer means.
fn named(text: &str, login: &LoginArgs) -> Result<Named, String> {
    if let Ok(index) = text.parse::<u8>() {
        return Ok(Named::Source(Source::Device(format!("/dev/video{index}"))));
    }
    if text.starts_with("/dev/") {
        return Ok(Named::Source(Source::Device(text.to_owned())));
    }
    if text == "onvif" {
        return Ok(Named::Network(None));
    }
    if let Some(address) = text.strip_prefix("onvif://") {
        let address = address.trim_end_matches('/');
        return Ok(Named::Network(Some(address.to_owned())));
    }
    if text.starts_with("rtsp://") {
        // What is wrong is said now, where it can be answered again.
        stream_url(text, login.user.as_deref(), &login.password_env)?;
        return Ok(Named::Stream(text.to_owned()));
    }
    if text.is_empty() {
        return Err("expected a device, a URL or a path".to_owned());
    }
    if is_url(text.as_ref()) {
        let parsed = url::Url::parse(text).map_err(|error| format!("invalid URL: {error}"))?;
        let password = parsed.password().unwrap_or_default();
        if !password.is_empty() && !text.contains(":${") {
            return Err(
                "the URL has a password: write ${NAME}, an environment variable, in its place"
                    .to_owned(),
            );
        }
        return Ok(Named::Source(Source::VideoUrl(text.to_owned())));
    }
    let source = InputSource::of(text).map_err(|error| {
        let why = error.0.first().map_or("", |first| first.message.as_str());
        format!("{}: {why}", text.escape_debug())
    })?;
    let source = source.source();
    match (source.video, source.images) {
        (Some(video), _) if video.path.is_file() => Ok(Named::Source(Source::Video(video.path))),
        (_, Some(images)) => Ok(Named::Source(Source::Images(images.path))),
        _ => Err("expected a device, a URL, a clip, a picture or a folder".to_owned()),
    }
}

/// A stream with the user that the command line or an answer gives.
fn stream(text: &str, arguments: &InitArgs, prompt: &mut Prompt<'_>) -> Result<Source, InitError> {
    let mut login = arguments.login.clone();
    if login.user.is_none() && prompt.asks() && !has_user(text) {
        let user = prompt.ask("User of the camera", "none", |answer| {
            let user = Some(answer.to_owned()).filter(|answer| answer != "none");
            stream_url(text, user.as_deref(), &login.password_env).map(|_| user)
        })?;
        login.user = user;
        if login.user.is_some() {
            let default = login.password_env.clone();
            let question = "Environment variable that will hold the password";
            login.password_env = prompt.ask(question, &default, |answer| {
                let mut asked = login.clone();
                asked.password_env = answer.to_owned();
                let is_name = asked.validate_variable().map_err(|error| error.to_string());
                is_name.map(|()| asked.password_env)
            })?;
        }
    }
    let url = stream_url(text, login.user.as_deref(), &login.password_env);
    url.map(Source::Rtsp).map_err(InitError::Camera)
}

#[cfg(not(feature = "onvif"))]
fn network_stream(
    _: Option<String>,
    _: &InitArgs,
    _: &mut Prompt<'_>,
) -> Result<String, InitError> {
    let why = "this build finds no network cameras: build it with the Cargo feature `onvif`";
    Err(InitError::Camera(why.to_owned()))
}

/// The RTSP URL of a camera that is found: the one that is chosen, else the first.
#[cfg(feature = "onvif")]
fn network_stream(
    address: Option<String>,
    arguments: &InitArgs,
    prompt: &mut Prompt<'_>,
) -> Result<String, InitError> {
    use std::time::Duration;

    use crate::cli::devices::login_of;
    use crate::cli::onvif::{Search, ask_all, search};

    /// How long cameras may take to answer.
    const SEARCH_TIME: Duration = Duration::from_secs(3);

    let login = login_of(&arguments.login)?;
    prompt.say(&format!("Searching for {} s ...", SEARCH_TIME.as_secs()));
    let found = search(&Search {
        address,
        interfaces: Vec::new(),
        time: SEARCH_TIME,
    });
    let found = found.map_err(|error| InitError::Camera(error.to_string()))?;
    let (mut streams, mut errors) = (Vec::new(), Vec::new());
    for camera in ask_all(found, login.as_ref()) {
        let of_camera = camera
            .error
            .map(|error| format!("{}: {error}", camera.address));
        errors.extend(of_camera);
        for profile in camera.profiles {
            let of_profile = profile
                .error
                .map(|error| format!("{}: {error}", camera.address));
            errors.extend(of_profile);
            let Some(url) = profile.rtsp_url.filter(|url| url.scheme() == "rtsp") else {
                continue;
            };
            let size = profile.width_px.zip(profile.height_px);
            let size = size.map_or_else(String::new, |(w, h)| format!(" {w}x{h}"));
            let shown = format!("{}, {}{size}: {url}", camera.name, profile.name);
            streams.push((shown, url.to_string()));
        }
    }
    let Some((_, first)) = streams.first() else {
        let why = errors.into_iter().next();
        let why = why.unwrap_or_else(|| "no network camera answered".to_owned());
        return Err(InitError::Camera(why));
    };
    if !prompt.asks() || streams.len() == 1 {
        return Ok(first.clone());
    }
    prompt.say("Which stream?");
    for (i, (shown, _)) in streams.iter().enumerate() {
        prompt.say(&format!("  {}) {shown}", i + 1));
    }
    prompt.ask("Number", "1", |answer| {
        let number = answer.parse::<usize>().ok();
        let chosen = number.and_then(|number| streams.get(number.checked_sub(1)?));
        let chosen = chosen.map(|(_, url)| url.clone());
        chosen.ok_or_else(|| format!("expected 1 to {}", streams.len()))
    })
}
