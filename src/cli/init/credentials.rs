//! Users and passwords of RTSP URLs: a password becomes a reference to an environment variable.

use url::Url;

/// The parts of a URL around `USER[:PASSWORD]@`.
struct Parts<'a> {
    scheme: &'a str,
    user_info: Option<&'a str>,
    rest: &'a str,
}

fn parts_of(text: &str) -> Result<Parts<'_>, String> {
    let Some((scheme, after)) = text
        .split_once("://")
        .filter(|(scheme, _)| *scheme == "rtsp")
    else {
        return Err("expected rtsp://HOST/PATH".to_owned());
    };
    let end = after.find(['/', '?', '#']).unwrap_or(after.len());
    let (user_info, at) = match after[..end].rfind('@') {
        Some(at) => (Some(&after[..at]), at + 1),
        None => (None, 0),
    };
    Ok(Parts {
        scheme,
        user_info,
        rest: &after[at..],
    })
}

/// Whether a URL names a user.
pub fn has_user(text: &str) -> bool {
    parts_of(text).is_ok_and(|parts| parts.user_info.is_some())
}

/// The RTSP URL `text` as it stands in a pipeline: with `user`, if there is one and the URL has none, and with
/// `${variable}` in the place of a password.
///
/// # Errors
/// What is wrong with the URL; it is not repeated, as it may hold a password.
pub fn stream_url(text: &str, user: Option<&str>, variable: &str) -> Result<String, String> {
    let parts = parts_of(text)?;
    if has_secret(parts.rest) {
        return Err(
            "the path of the URL has a password: write ${NAME}, an environment variable, in its place"
                .to_owned(),
        );
    }
    let encoded = user.map(encoded_user).transpose()?;
    let user_info = match (parts.user_info, encoded) {
        (Some(user_info), _) => match user_info.split_once(':') {
            Some((_, password)) if is_reference(password) => format!("{user_info}@"),
            Some((name, _)) => format!("{name}:${{{variable}}}@"),
            None => format!("{user_info}@"),
        },
        (None, Some(user)) => format!("{user}:${{{variable}}}@"),
        (None, None) => String::new(),
    };
    let stream = format!("{}://{user_info}{}", parts.scheme, parts.rest);
    let is_url = Url::parse(&with_values(&stream, &variables_in(&stream), "x"));
    let is_url = is_url.is_ok_and(|url| url.host_str().is_some_and(|host| !host.is_empty()));
    if is_url && !stream.contains(|c: char| c.is_control() || c == ' ') {
        Ok(stream)
    } else {
        Err("expected rtsp://HOST/PATH".to_owned())
    }
}

/// Whether a path or query has a password, as some cameras want it.
fn has_secret(rest: &str) -> bool {
    let lower = rest.to_ascii_lowercase();
    let mut keys = ["password=", "passwd=", "pwd=", "pass="].into_iter();
    keys.any(|key| {
        let mut values = lower.split(key).skip(1);
        values.any(|value| !value.is_empty() && !value.starts_with(['$', '&', '_']))
    })
}

/// The environment variables that a text refers to as `${NAME}`.
pub fn variables_in(text: &str) -> Vec<String> {
    let parts = text.split("${").skip(1);
    let names = parts.filter_map(|part| Some(part.split_once('}')?.0));
    names
        .filter(|name| is_name(name))
        .map(str::to_owned)
        .collect()
}

/// The text with `value` in the place of the variables `names`.
pub fn with_values(text: &str, names: &[String], value: &str) -> String {
    names.iter().fold(text.to_owned(), |text, name| {
        text.replace(&format!("${{{name}}}"), value)
    })
}

/// Whether a password is one variable and nothing else.
fn is_reference(password: &str) -> bool {
    let name = password
        .strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'));
    name.is_some_and(is_name)
}

fn is_name(name: &str) -> bool {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.chars().all(is_of_name)
}

/// A user's name as it stands in a URL.
fn encoded_user(user: &str) -> Result<String, String> {
    let mut url = Url::parse("rtsp://host/").map_err(|error| error.to_string())?;
    let is_set = url.set_username(user).is_ok() && !user.is_empty();
    let encoded = Some(url.username().to_owned()).filter(|_| is_set);
    encoded.ok_or_else(|| "the user's name cannot be part of a URL".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_becomes_a_variable() {
        let stream = |text: &str, user: Option<&str>| stream_url(text, user, "CAMERA_PASSWORD");
        for (text, user, expected) in [
            ("rtsp://h/a", None, "rtsp://h/a"),
            ("rtsp://h/a@b", None, "rtsp://h/a@b"),
            ("rtsp://u@h/a", None, "rtsp://u@h/a"),
            (
                "rtsp://u:se:c@ret@h:554/a",
                None,
                "rtsp://u:${CAMERA_PASSWORD}@h:554/a",
            ),
            ("rtsp://u:${GATE}@h/a", None, "rtsp://u:${GATE}@h/a"),
            (
                "rtsp://u:${GATE}x@h/a",
                None,
                "rtsp://u:${CAMERA_PASSWORD}@h/a",
            ),
            (
                "rtsp://h/a",
                Some("a:b"),
                "rtsp://a%3Ab:${CAMERA_PASSWORD}@h/a",
            ),
            (
                "rtsp://u:x@h/a",
                Some("v"),
                "rtsp://u:${CAMERA_PASSWORD}@h/a",
            ),
            (
                "rtsp://h/a?password=${KEY}",
                None,
                "rtsp://h/a?password=${KEY}",
            ),
        ] {
            assert_eq!(stream(text, user).as_deref(), Ok(expected), "{text}");
        }
        for text in [
            "http://h/a",
            "rtsp://",
            "rtsp:///a",
            "h",
            "rtsp://h/user=a_password=b_channel=1",
            "rtsp://h/a?pwd=${KEY}&password=secret",
            "rtsp://h/ a",
        ] {
            assert!(stream(text, None).is_err(), "{text}");
        }
    }

    #[test]
    fn variables_are_found_and_replaced() {
        let text = "rtsp://u:${A}@h/${B_1}/${not one}/${";
        let names = variables_in(text);
        assert_eq!(names, ["A", "B_1"]);
        assert_eq!(
            with_values(text, &names, "x"),
            "rtsp://u:x@h/x/${not one}/${"
        );
    }
}
