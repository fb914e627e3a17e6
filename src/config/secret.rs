//! Secrets that come from the environment, and addresses that may hold them.

use std::path::Path;

/// `text` with each `${NAME}` replaced from the environment; the first name that is not there is the
/// error.
///
/// # Errors
/// The name of a variable that is not set.
pub fn expand_env(text: &str) -> Result<String, String> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let is_name = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let Some((name, after)) = after.split_once('}').filter(|(name, _)| is_name(name)) else {
            expanded += before;
            expanded += "${";
            rest = after;
            continue;
        };
        expanded += before;
        expanded += &std::env::var(name).map_err(|_| name.to_owned())?;
        rest = after;
    }
    Ok(expanded + rest)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_and_what_is_missing_is_named() {
        let home = std::env::var("PATH").expect("set everywhere");
        assert_eq!(expand_env("a${PATH}b"), Ok(format!("a{home}b")));
        assert_eq!(
            expand_env("plain ${ and }"),
            Ok("plain ${ and }".to_owned())
        );
        assert_eq!(
            expand_env("${NOT_SET_ANYWHERE}"),
            Err("NOT_SET_ANYWHERE".to_owned())
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
