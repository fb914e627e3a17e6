//! Reads SOAP messages of strangers: limits on size, nodes, attributes and namespaces, and no DTD, so that no
//! entity is ever expanded.

use roxmltree::{Document, Node, ParsingOptions};

/// Largest message.
pub const MAX_BYTES: usize = 1 << 20;
/// Most elements and texts of a message.
const MAX_NODES: u32 = 50_000;
/// Most attributes of an element: each is compared with all others.
const MAX_ATTRIBUTES: usize = 512;
/// Most declarations of namespaces: each element repeats those around it.
const MAX_NAMESPACES: usize = 4096;
/// Longest part of a stranger's text in a message of our own.
const MAX_QUOTED: usize = 120;

/// Why bytes are no SOAP message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    #[error("the answer is empty")]
    Empty,
    #[error("the answer is larger than {} kB", MAX_BYTES >> 10)]
    TooLarge,
    #[error("the answer has too many attributes or namespaces")]
    TooManyAttributes,
    #[error("the answer is an HTML page")]
    Html,
    #[error("the answer is not XML: {0}")]
    Syntax(String),
    #[error("the answer is no SOAP message but <{0}>")]
    NotSoap(String),
    #[error("the answer is a SOAP message without a body")]
    NoBody,
}

/// What `read` makes of the first element in the body of the SOAP message `bytes`.
///
/// # Errors
/// When there is no such element.
pub fn read_body<T>(bytes: &[u8], read: impl FnOnce(Node<'_, '_>) -> T) -> Result<T, XmlError> {
    if bytes.len() > MAX_BYTES {
        return Err(XmlError::TooLarge);
    }
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    let text = text.trim_end_matches(['\0', ' ', '\t', '\r', '\n']);
    if text.is_empty() {
        return Err(XmlError::Empty);
    }
    let begin: String = text.chars().take(16).collect::<String>().to_lowercase();
    if begin.starts_with("<!doctype html") || begin.starts_with("<html") {
        return Err(XmlError::Html);
    }
    let tags = text.split('<');
    if tags
        .clone()
        .any(|tag| tag.matches('=').count() > MAX_ATTRIBUTES)
        || text.matches("xmlns").count() > MAX_NAMESPACES
    {
        return Err(XmlError::TooManyAttributes);
    }
    let options = ParsingOptions {
        nodes_limit: MAX_NODES,
        ..ParsingOptions::default()
    };
    let document = Document::parse_with_options(text, options)
        .map_err(|error| XmlError::Syntax(printable(&error.to_string(), MAX_QUOTED)))?;
    let envelope = document.root_element();
    match envelope.tag_name().name() {
        "Envelope" => {}
        name if name.eq_ignore_ascii_case("html") => return Err(XmlError::Html),
        name => return Err(XmlError::NotSoap(printable(name, MAX_QUOTED))),
    }
    let body = child(envelope, "Body").ok_or(XmlError::NoBody)?;
    let content = body.first_element_child().ok_or(XmlError::NoBody)?;
    Ok(read(content))
}

/// The child element of this name, in any namespace: cameras differ in these.
pub fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children()
        .find(|child| child.is_element() && child.tag_name().name() == name)
}

/// The first element of this name below, in any namespace.
pub fn below<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.descendants()
        .skip(1)
        .find(|child| child.is_element() && child.tag_name().name() == name)
}

/// The text of an element without the space around it, if there is any.
pub fn text<'a>(node: Node<'a, '_>) -> Option<&'a str> {
    node.text().map(str::trim).filter(|text| !text.is_empty())
}

/// The text of the first element of this name below.
pub fn text_below<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    below(node, name).and_then(text)
}

/// A stranger's text as it may be shown: on one line, without characters that steer a terminal or the
/// direction of writing, of at most `longest` characters.
pub fn printable(text: &str, longest: usize) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut shown = String::new();
    for (i, c) in text.trim().chars().enumerate() {
        if i == longest {
            shown.push('…');
            break;
        }
        shown.push(match c {
            '\t' | '\r' | '\n' => ' ',
            c if steers(c) => '\u{fffd}',
            c => c,
        });
    }
    shown
}

/// A text as it stands in XML.
pub fn escaped(text: &str) -> String {
    let mut xml = String::new();
    for c in text.chars() {
        match c {
            '&' => xml += "&amp;",
            '<' => xml += "&lt;",
            '>' => xml += "&gt;",
            '"' => xml += "&quot;",
            '\'' => xml += "&apos;",
            c => xml.push(c),
        }
    }
    xml
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name_of(xml: &str) -> Result<String, XmlError> {
        read_body(xml.as_bytes(), |body| body.tag_name().name().to_owned())
    }

    fn soap(body: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\">\
             <s:Body>{body}</s:Body></s:Envelope>"
        )
    }

    #[test]
    fn a_message_is_read_and_anything_else_is_named() {
        assert_eq!(name_of(&soap("<a/>")), Ok("a".to_owned()));
        assert_eq!(
            name_of(&format!("\u{feff}\n{}\0", soap("<a/>"))),
            Ok("a".to_owned())
        );
        assert_eq!(name_of(&soap("")), Err(XmlError::NoBody));
        assert_eq!(name_of(" \n"), Err(XmlError::Empty));
        assert_eq!(name_of("<!DOCTYPE html><p>x"), Err(XmlError::Html));
        assert_eq!(name_of("<HTML>"), Err(XmlError::Html));
        assert_eq!(
            name_of("<?xml version=\"1.0\"?><html/>"),
            Err(XmlError::Html)
        );
        assert_eq!(name_of("<rss/>"), Err(XmlError::NotSoap("rss".to_owned())));
        for text in ["{\"a\": 1}", "<a", &soap("<a>"), "\u{1}\u{2}"] {
            assert!(matches!(name_of(text), Err(XmlError::Syntax(_))), "{text}");
        }
        assert_eq!(
            read_body(&vec![b' '; MAX_BYTES + 1], |_| ()),
            Err(XmlError::TooLarge)
        );
    }

    #[test]
    fn entities_are_not_expanded() {
        let mut dtd = "<!ENTITY a \"ha\">".to_owned();
        for (of, name) in "abcdefgh".chars().zip("bcdefghi".chars()) {
            dtd += &format!("<!ENTITY {name} \"{}\">", format!("&{of};").repeat(20));
        }
        let xml = format!(
            "<!DOCTYPE x [{dtd}]>{}",
            soap("<a>&i;</a>").replacen("<?xml version=\"1.0\"?>", "", 1)
        );
        assert!(matches!(name_of(&xml), Err(XmlError::Syntax(_))));
    }

    #[test]
    fn what_would_take_long_is_refused() {
        let deep = soap(&format!(
            "{}{}",
            "<a>".repeat(40_000),
            "</a>".repeat(40_000)
        ));
        assert_eq!(name_of(&deep), Ok("a".to_owned()));
        let deeper = soap(&format!(
            "{}{}",
            "<a>".repeat(90_000),
            "</a>".repeat(90_000)
        ));
        assert!(matches!(name_of(&deeper), Err(XmlError::Syntax(_))));
        let attributes: String = (0..50_000).map(|i| format!(" a{i}='>'")).collect();
        assert_eq!(
            name_of(&soap(&format!("<a{attributes}/>"))),
            Err(XmlError::TooManyAttributes)
        );
        let namespaces: String = (0..20_000)
            .map(|i| format!("<a xmlns:n{i}='n{i}'>"))
            .collect();
        assert_eq!(
            name_of(&soap(&namespaces)),
            Err(XmlError::TooManyAttributes)
        );
    }

    #[test]
    fn what_is_shown_does_not_steer_the_terminal() {
        assert_eq!(
            printable(" a\u{1b}[31m\nb\u{202e}c ", 80),
            "a\u{fffd}[31m b\u{fffd}c"
        );
        assert_eq!(printable("abcdef", 3), "abc…");
        assert_eq!(
            escaped("<a b='\"&'>"),
            "&lt;a b=&apos;&quot;&amp;&apos;&gt;"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read_body(&bytes, |body| text_below(body, "a").map(str::to_owned));
        }

        #[test]
        fn escaped_texts_are_read_back(content in "[ -~äöü€]{1,40}") {
            let xml = soap(&format!("<a><b>{}</b></a>", escaped(&content)));
            let read = read_body(xml.as_bytes(), |body| text_below(body, "b").map(str::to_owned));
            let expected = Some(content.trim()).filter(|text| !text.is_empty());
            prop_assert_eq!(read, Ok(expected.map(str::to_owned)));
        }
    }
}
