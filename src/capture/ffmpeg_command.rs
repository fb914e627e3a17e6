//! The command line of `ffmpeg`, without secrets: every user of the machine can read it.
//!
//! A URL with user, password or query, and options such as `-headers`, go into a script of the concat
//! demuxer, which ffmpeg reads from its standard input (ffmpeg 5.0 or newer; the format is described in
//! its documentation of demuxers, section `concat`).

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Child, Stdio};

use url::Url;

use super::ffmpeg::FfmpegInput;
use super::source::credentials_of;
use super::spawn::{find_program, spawn};

/// Protocols that the script's URL may use; no files, which a server's playlist could name.
const PROTOCOLS: &str = "pipe,crypto,data,http,https,httpproxy,tls,tcp,udp,udplite,rtp,srtp,rtsp,rtsps,\
                         rtmp,rtmps,rtmpt,rtmpts,rtmpe,rtmpte,srt,rist,ftp,sftp,mmsh,mmst,sctp";
/// Options whose values are secrets, or may hold some.
const SECRET_OPTIONS: [&str; 8] = [
    "headers",
    "cookies",
    "password",
    "passphrase",
    "decryption_key",
    "key",
    "auth",
    "http_proxy",
];
/// Options of demuxers and protocols: they are for the URL itself, so they go into its script, too.
/// All others are ffmpeg's own, or for decoders.
const URL_OPTIONS: [&str; 62] = [
    "allowed_extensions",
    "allowed_media_types",
    "analyzeduration",
    "auth_type",
    "avioflags",
    "buffer_size",
    "ca_file",
    "cafile",
    "cert",
    "cert_file",
    "connect_timeout",
    "fflags",
    "fifo_size",
    "format_probesize",
    "formatprobesize",
    "fpsprobesize",
    "http_persistent",
    "http_seekable",
    "icy",
    "key_file",
    "latency",
    "listen_timeout",
    "live_start_index",
    "localaddr",
    "localport",
    "location",
    "max_delay",
    "max_port",
    "max_probe_packets",
    "max_reload",
    "min_port",
    "mode",
    "multiple_requests",
    "overrun_nonfatal",
    "pbkeylen",
    "pkt_size",
    "probesize",
    "reconnect",
    "reconnect_at_eof",
    "reconnect_delay_max",
    "reconnect_on_http_error",
    "reconnect_on_network_error",
    "reconnect_streamed",
    "referer",
    "reorder_queue_size",
    "rtmp_app",
    "rtmp_buffer",
    "rtmp_live",
    "rtmp_playpath",
    "rtsp_flags",
    "rtsp_transport",
    "rw_timeout",
    "seekable",
    "sources",
    "streamid",
    "timeout",
    "tls_verify",
    "transtype",
    "use_wallclock_as_timestamps",
    "user_agent",
    "username",
    "verifyhost",
];
/// Shortest secret that is masked on its own in messages: a shorter one occurs in other words, too.
const MIN_SECRET_CHARS: usize = 4;
/// Stands for a secret.
const MASK: &str = "***";

/// Arguments of ffmpeg, and what it reads from standard input.
pub(super) struct FfmpegCommand {
    arguments: Vec<OsString>,
    script: Option<String>,
}

impl FfmpegCommand {
    /// The command that decodes `input` to Y4M on standard output.
    ///
    /// # Errors
    /// When an option that must go into the script has several lines.
    pub(super) fn new(input: &FfmpegInput) -> Result<Self, String> {
        let mut arguments: Vec<OsString> = [
            "-nostdin",
            "-hide_banner",
            "-loglevel",
            "level+info",
            "-nostats",
        ]
        .map(OsString::from)
        .into();
        let script = if has_secrets(input) {
            let (script, others) = url_script(input)?;
            arguments.extend(others.into_iter().map(OsString::from));
            arguments.extend(["-f", "concat", "-safe", "0"].map(OsString::from));
            arguments.extend(["-protocol_whitelist", PROTOCOLS].map(OsString::from));
            arguments.extend(["-i", "pipe:0"].map(OsString::from));
            Some(script)
        } else {
            arguments.extend(input.arguments.iter().map(OsString::from));
            arguments.extend(["-i".into(), input.input.clone()]);
            None
        };
        let filter = "format=yuv420p|yuvj420p,showinfo=checksum=0";
        arguments.extend(["-map", "0:v:0", "-vf", filter].map(OsString::from));
        arguments.extend(["-fps_mode", "passthrough", "-strict", "-1"].map(OsString::from));
        arguments.extend(["-f", "yuv4mpegpipe", "pipe:1"].map(OsString::from));
        Ok(Self { arguments, script })
    }

    /// Starts ffmpeg with pipes for its output.
    ///
    /// # Errors
    /// In one line, when it is not installed or cannot be started.
    pub(super) fn spawn(self) -> Result<Child, String> {
        let ffmpeg = find_program("ffmpeg").ok_or("it needs ffmpeg, which is not installed")?;
        let stdin = if self.script.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        };
        let mut child = spawn(&ffmpeg, self.arguments, stdin)
            .map_err(|e| format!("cannot start ffmpeg: {e}"))?;
        if let (Some(script), Some(mut stdin)) = (self.script, child.stdin.take()) {
            // It is shorter than a pipe's buffer. If ffmpeg has ended, its own message says why.
            let _ = stdin.write_all(script.as_bytes());
        }
        Ok(child)
    }
}

/// Whether the input or its options must not be seen on the command line.
fn has_secrets(input: &FfmpegInput) -> bool {
    let has_secret_option = input
        .arguments
        .iter()
        .any(|argument| option_name(argument).is_some_and(|name| SECRET_OPTIONS.contains(&name)));
    url_of(input).is_some_and(|url| {
        let has_user = !url.username().is_empty() || url.password().is_some();
        has_user || url.query().is_some() || has_secret_option
    })
}

fn url_of(input: &FfmpegInput) -> Option<Url> {
    let text = input.input.to_str().filter(|text| text.contains("://"))?;
    Url::parse(text).ok()
}

fn option_name(argument: &str) -> Option<&str> {
    argument.strip_prefix('-')
}

/// The script that opens the input's URL, and the arguments that are not for it.
fn url_script(input: &FfmpegInput) -> Result<(String, Vec<String>), String> {
    let mut script = "ffconcat version 1.0\n".to_owned();
    let url = input.input.to_string_lossy();
    // Writing to a string cannot fail.
    let _ = writeln!(script, "file {}", quoted(&url));
    let mut others = Vec::new();
    let mut arguments = input.arguments.iter();
    while let Some(argument) = arguments.next() {
        let name = option_name(argument)
            .filter(|name| SECRET_OPTIONS.contains(name) || URL_OPTIONS.contains(name));
        let (Some(name), Some(value)) = (name, arguments.as_slice().first()) else {
            others.push(argument.clone());
            continue;
        };
        arguments.next();
        let value = value.trim_end_matches(['\r', '\n']);
        if value.contains(['\r', '\n']) {
            return Err(format!(
                "ffmpeg_args: the value of {argument} must be one line, as it is kept off ffmpeg's command line"
            ));
        }
        let _ = writeln!(script, "option {name} {}", quoted(value));
    }
    Ok((script, others))
}

/// `text` in the quotes of ffmpeg's scripts.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Takes secrets out of what ffmpeg says, which may repeat its input.
#[derive(Clone)]
pub(super) struct Redaction {
    /// What is replaced, by what, in this order.
    replacements: Vec<(String, String)>,
}

impl Redaction {
    /// For the messages of an ffmpeg process on `input`.
    pub(super) fn new(input: &FfmpegInput) -> Self {
        let text = input.input.to_string_lossy().into_owned();
        let mut replacements = vec![(text, input.name.clone())];
        if has_secrets(input) {
            // The script's name.
            replacements.push(("pipe:0".to_owned(), input.name.clone()));
        }
        let mut secrets = Vec::new();
        if let Some(url) = url_of(input) {
            let (user, password) = (url.username(), url.password().unwrap_or_default());
            replacements.push((format!("{user}:{password}@"), String::new()));
            secrets.push(password.to_owned());
            secrets.push(credentials_of(&url).1);
            secrets.push(url.query().unwrap_or_default().to_owned());
        }
        for pair in input.arguments.windows(2) {
            if option_name(&pair[0]).is_some_and(|name| SECRET_OPTIONS.contains(&name)) {
                secrets.push(pair[1].trim().to_owned());
            }
        }
        secrets.retain(|secret| secret.chars().count() >= MIN_SECRET_CHARS);
        replacements.extend(secrets.into_iter().map(|secret| (secret, MASK.to_owned())));
        replacements.retain(|(secret, _)| !secret.is_empty() && secret != ":@");
        Self { replacements }
    }

    /// `text` without the secrets.
    pub(super) fn apply(&self, text: &str) -> String {
        let replace = |text: String, (secret, mask): &(String, String)| text.replace(secret, mask);
        self.replacements.iter().fold(text.to_owned(), replace)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn arguments(command: &FfmpegCommand) -> String {
        let arguments = command.arguments.iter().map(|a| a.to_string_lossy());
        arguments.collect::<Vec<_>>().join(" ")
    }

    fn command(url: &str, arguments: &[&str]) -> FfmpegCommand {
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        let input = FfmpegInput::file(Path::new(url), &arguments).expect("valid");
        FfmpegCommand::new(&input).expect("one line")
    }

    #[test]
    fn secrets_stand_in_the_script_and_not_in_the_arguments() {
        let url = "https://us%40er:se'cret@example.org/live.m3u8?token=abc";
        let with_url = command(url, &["-hwaccel", "vaapi", "-probesize", "1000"]);
        let line = arguments(&with_url);
        for secret in ["us%40er", "cret", "abc", "example.org", "probesize"] {
            assert!(!line.contains(secret), "{line}");
        }
        assert!(line.contains("-hwaccel vaapi -f concat"), "{line}");
        let script = with_url.script.expect("a script");
        let expected = "ffconcat version 1.0\n\
             file 'https://us%40er:se'\\''cret@example.org/live.m3u8?token=abc'\n\
             option rw_timeout '15000000'\noption probesize '1000'\n";
        assert_eq!(script, expected);
        let headers = ["-headers", "Authorization: Bearer xyz\r\n"];
        let with_header = command("https://example.org/a.mp4", &headers);
        assert!(!arguments(&with_header).contains("xyz"));
        let script = with_header.script.expect("a script");
        assert!(
            script.ends_with("option headers 'Authorization: Bearer xyz'\n"),
            "{script}"
        );
    }

    #[test]
    fn what_has_no_secret_is_an_argument() {
        for plain in [
            "https://example.org/a.mp4",
            "clip.mkv",
            "rtsp://10.0.0.7:554/1",
        ] {
            let command = command(plain, &["-re"]);
            assert!(command.script.is_none(), "{plain}");
            assert!(arguments(&command).contains(&format!("-re -i {plain} -map")));
        }
        let lines = ["-headers".to_owned(), "A: b\r\nC: d".to_owned()];
        let input = FfmpegInput::file(Path::new("http://a/b"), &lines).expect("valid");
        let refused = FfmpegCommand::new(&input).err();
        assert!(refused.is_some_and(|why| why.contains("-headers")));
    }

    #[test]
    fn messages_are_without_secrets() {
        let url = "http://us%40er:p%3Ass%20word@cam/v?token=abc";
        let arguments = ["-headers".to_owned(), "X-Key: 1234567".to_owned()];
        let input = FfmpegInput::file(Path::new(url), &arguments).expect("valid");
        let redaction = Redaction::new(&input);
        let said = format!(
            "cannot open {url}: for us%40er:p%3Ass%20word@ or p:ss word with X-Key: 1234567"
        );
        assert_eq!(
            redaction.apply(&said),
            "cannot open http://cam/v: for  or *** with ***"
        );
        let said = redaction.apply("pipe:0: Server returned 404 Not Found");
        assert_eq!(said, "http://cam/v: Server returned 404 Not Found");
        let file = FfmpegInput::file(Path::new("/a/clip.mkv"), &[]).expect("a file");
        let said = Redaction::new(&file).apply("/a/clip.mkv: Invalid data");
        assert_eq!(said, "clip.mkv: Invalid data");
    }
}
