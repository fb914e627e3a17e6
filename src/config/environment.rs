//! `${NAME}` references to environment variables, and URLs that may hold them.

use std::env::VarError;
use std::path::Path;

use url::Url;

/// `text` with each `${NAME}` replaced by the environment variable's value. One that is empty is an
/// error, too: it stands for a secret, or for what the server is to be told.
///
/// # Errors
/// The message that names the first variable that is not set or empty.
pub fn expand_env(text: &str) -> Result<String, String> {
    let mut expanded = String::new();
    for part in parts_of(text) {
        match part {
            TextPart::Literal(text) => expanded += text,
            TextPart::Variable(name) => {
                let value = std::env::var(name).map_err(|error| match error {
                    VarError::NotPresent => format!("environment variable {name} is not set"),
                    VarError::NotUnicode(_) => format!("environment variable {name} is not UTF-8"),
                })?;
                if value.trim().is_empty() {
                    return Err(format!("environment variable {name} is empty"));
                }
                expanded += &value;
            }
        }
    }
    Ok(expanded)
}

/// A part of a text with references to environment variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextPart<'a> {
    /// Text as it is.
    Literal(&'a str),
    /// The `NAME` of a `${NAME}`.
    Variable(&'a str),
}

/// Splits `text` at its `${NAME}` references.
pub(super) fn parts_of(text: &str) -> Vec<TextPart<'_>> {
    let (mut parts, mut literal, mut at) = (Vec::new(), 0, 0);
    while let Some(start) = text[at..].find("${").map(|i| at + i) {
        at = start + 2;
        let name = name_at(&text[at..]);
        let end = at + name.len();
        if text[end..].starts_with('}') {
            if literal < start {
                parts.push(TextPart::Literal(&text[literal..start]));
            }
            parts.push(TextPart::Variable(name));
            at = end + 1;
            literal = at;
        }
    }
    if literal < text.len() {
        parts.push(TextPart::Literal(&text[literal..]));
    }
    parts
}

/// The name at the start of `text`; empty if there is none.
fn name_at(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

/// Whether a path is a URL instead.
pub fn is_url(path: &Path) -> bool {
    path.to_str()
        .and_then(|text| text.split_once("://"))
        .is_some_and(|(scheme, _)| {
            !scheme.is_empty()
                && scheme
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '+')
        })
}

/// The URL of a server, with its `${NAME}` references replaced.
///
/// # Errors
/// What is wrong with it; the URL is not repeated, as it may hold a password.
pub fn server_url(text: &str, schemes: &[&str]) -> Result<Url, String> {
    let url = Url::parse(&expand_env(text)?).map_err(|e| format!("invalid URL: {e}"))?;
    if schemes.contains(&url.scheme()) && url.host_str().is_some_and(|host| !host.is_empty()) {
        Ok(url)
    } else {
        Err(format!("expected {}://HOST", schemes.join("://HOST or ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_and_a_missing_one_is_named() {
        let path = std::env::var("PATH").expect("set everywhere");
        assert_eq!(expand_env("a${PATH}b"), Ok(format!("a{path}b")));
        assert_eq!(
            expand_env("plain ${ and }"),
            Ok("plain ${ and }".to_owned())
        );
        assert_eq!(
            expand_env("${not this}${PATH}"),
            Ok(format!("${{not this}}{path}"))
        );
        assert_eq!(
            expand_env("${NOT_SET_ANYWHERE}"),
            Err("environment variable NOT_SET_ANYWHERE is not set".to_owned())
        );
    }

    #[test]
    fn a_url_has_a_scheme() {
        for (text, expected) in [
            ("https://a/b.m3u8", true),
            ("a/b.mp4", false),
            ("://a", false),
        ] {
            assert_eq!(is_url(Path::new(text)), expected, "{text}");
        }
    }
}
