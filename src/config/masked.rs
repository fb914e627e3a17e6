//! Masks secrets in a configuration that is shown: passwords, tokens, headers, queries of URLs.
//!
//! A `${NAME}` is shown as it is: it names an environment variable and not its value.

use super::environment::{TextPart, parts_of};
use super::schema::{PipelineConfig, SourceConfig};

/// Stands for a secret; as long as the shortest token.
const MASK: &str = "********";

/// Options of ffmpeg whose value is a secret or may hold one.
const SECRET_OPTIONS: [&str; 6] = [
    "-headers",
    "-cookies",
    "-password",
    "-decryption_key",
    "-key",
    "-auth",
];

/// Replaces the pipeline's secrets by asterisks.
pub fn mask_secrets(config: &mut PipelineConfig) {
    mask_source(&mut config.source);
    if let Some(fallback) = &mut config.fallback {
        mask_source(fallback);
    }
    for sink in &mut config.sinks {
        if let Some(token) = sink.web.as_mut().and_then(|web| web.token.as_mut()) {
            *token = masked_text(token);
        }
        if let Some(mqtt) = &mut sink.mqtt {
            mqtt.url = masked_url(&mqtt.url);
        }
        if let Some(webhook) = &mut sink.webhook {
            webhook.url = masked_url(&webhook.url);
            for value in webhook.headers.values_mut() {
                *value = masked_header(value);
            }
        }
    }
}

fn mask_source(source: &mut SourceConfig) {
    if let Some(rtsp) = &mut source.rtsp {
        rtsp.url = masked_url(&rtsp.url);
        mask_arguments(&mut rtsp.ffmpeg_args);
    }
    if let Some(video) = &mut source.video {
        if let Some(path) = video.path.to_str() {
            video.path = masked_url(path).into();
        }
        mask_arguments(&mut video.ffmpeg_args);
    }
}

fn mask_arguments(arguments: &mut [String]) {
    let mut is_secret = false;
    for argument in arguments {
        let follows = SECRET_OPTIONS.contains(&argument.as_str());
        *argument = if is_secret {
            masked_text(argument)
        } else {
            masked_url(argument)
        };
        is_secret = follows;
    }
}

/// A text that is a secret: only its references to environment variables are shown.
fn masked_text(text: &str) -> String {
    let parts = parts_of(text);
    let is_reference = |part: &TextPart<'_>| matches!(part, TextPart::Variable(_));
    if parts.iter().all(is_reference) {
        text.to_owned()
    } else {
        MASK.to_owned()
    }
}

/// A header's value: authentication schemes and references are shown.
fn masked_header(value: &str) -> String {
    let is_scheme = |word: &str| {
        let schemes = ["basic", "bearer", "digest", "token"];
        schemes.contains(&word.to_ascii_lowercase().as_str())
    };
    let words = value.split(' ').map(|word| {
        if is_scheme(word) {
            word.to_owned()
        } else {
            masked_text(word)
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A URL without its password and the values of its query; any other text as it is.
fn masked_url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let (rest, fragment) = split(rest, '#');
    let (rest, query) = split(rest, '?');
    let (authority, path) = match rest.find('/') {
        // A password may hold a slash that is not escaped.
        Some(slash) => rest.split_at(rest.rfind('@').map_or(slash, |at| {
            rest[at..].find('/').map_or(rest.len(), |i| at + i)
        })),
        None => (rest, ""),
    };
    let authority = match authority.rsplit_once('@') {
        None => authority.to_owned(),
        Some((user, host)) => match user.split_once(':') {
            Some((user, password)) => format!("{user}:{}@{host}", masked_text(password)),
            // A user without a password is as good as a token.
            None => format!("{}@{host}", masked_text(user)),
        },
    };
    let query = query.map(|query| {
        let pairs = query.split('&').map(|pair| match pair.split_once('=') {
            Some((name, value)) => format!("{name}={}", masked_text(value)),
            None => masked_text(pair),
        });
        format!("?{}", pairs.collect::<Vec<_>>().join("&"))
    });
    let fragment = fragment.map(|fragment| format!("#{}", masked_text(fragment)));
    format!(
        "{scheme}://{authority}{path}{}{}",
        query.unwrap_or_default(),
        fragment.unwrap_or_default()
    )
}

fn split(text: &str, separator: char) -> (&str, Option<&str>) {
    match text.split_once(separator) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_shown_without_their_secrets() {
        for (url, masked) in [
            ("rtsp://a/b", "rtsp://a/b"),
            ("rtsp://user:word@a:554/b", "rtsp://user:********@a:554/b"),
            ("rtsp://user:w/o/r@a/b", "rtsp://user:********@a/b"),
            ("rtsp://user:${WORD}@a/b", "rtsp://user:${WORD}@a/b"),
            ("mqtt://key@a", "mqtt://********@a"),
            ("https://a/b?c=d&e", "https://a/b?c=********&********"),
            ("https://a/b?c=${D}", "https://a/b?c=${D}"),
            ("../street.mp4", "../street.mp4"),
        ] {
            assert_eq!(masked_url(url), masked, "{url}");
        }
    }

    #[test]
    fn headers_keep_their_scheme_and_references() {
        assert_eq!(masked_header("Bearer abc"), "Bearer ********");
        assert_eq!(masked_header("Bearer ${KEY}"), "Bearer ${KEY}");
        assert_eq!(masked_header("abc"), "********");
    }

    #[test]
    fn arguments_after_secret_options_are_masked() {
        let mut arguments = ["-headers", "Authorization: x", "-an"].map(str::to_owned);
        mask_arguments(&mut arguments);
        assert_eq!(arguments, ["-headers", "********", "-an"]);
    }
}
