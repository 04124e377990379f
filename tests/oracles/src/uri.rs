//! URIs of resources and forms of them, against the documented rules, read naively.
//!
//! Two lines: a form, and a URI.

use kami_core::manifest::{ResourceUri, UriTemplate};

use crate::first_line;

/// What is longer, or has more variables, is not read naively: that takes time beyond all bounds.
const NAIVE_BYTES: usize = 64;
const NAIVE_VARIABLES: usize = 3;

/// A form, taken apart by its braces.
enum Piece<'a> {
    Text(&'a str),
    Variable { reserved: bool },
}

/// Reads the form and the URI of `bytes`, and whether one has the other.
///
/// # Panics
/// Where a text is read as something else than it says, or matches otherwise than the rules have it.
pub fn check(bytes: &[u8]) {
    let (form, uri) = first_line(bytes);
    let (Ok(form), Ok(uri)) = (std::str::from_utf8(form), std::str::from_utf8(uri)) else { return };
    let uri = uri.parse::<ResourceUri>().ok();
    if let Some(uri) = &uri {
        assert_eq!(uri.to_string().parse::<ResourceUri>().as_ref(), Ok(uri));
        let (scheme, rest) = uri.as_str().split_once(':').expect("a URI has a scheme");
        assert!(scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && !rest.is_empty(), "{uri}");
        assert!(uri.as_str().bytes().all(|byte| byte.is_ascii_graphic()), "{uri}");
    }
    let Ok(form) = UriTemplate::try_from(form.to_owned()) else { return };
    let again = UriTemplate::try_from(form.as_str().to_owned());
    assert_eq!(again.as_ref(), Ok(&form));
    let pieces = pieces(form.as_str());
    let variables = pieces.iter().filter(|piece| matches!(piece, Piece::Variable { .. })).count();
    assert_eq!(form.variables().count(), variables, "{}", form.as_str());
    let Some(uri) = uri else { return };
    let matches = form.matches(&uri);
    if matches {
        assert!(uri.as_str().starts_with(form.prefix()), "{uri} of {}", form.as_str());
    }
    if uri.as_str().len() <= NAIVE_BYTES && variables <= NAIVE_VARIABLES {
        assert_eq!(matches, fits(&pieces, uri.as_str()), "{uri} of {}", form.as_str());
    }
}

fn pieces(form: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    for (at, part) in form.split('{').enumerate() {
        let text = match part.split_once('}').filter(|_| at > 0) {
            Some((name, text)) => {
                let reserved = name.starts_with('+') || name.ends_with('*');
                pieces.push(Piece::Variable { reserved });
                text
            }
            None => part,
        };
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
    }
    pieces
}

/// Tries every length of every variable.
fn fits(pieces: &[Piece<'_>], text: &str) -> bool {
    match pieces {
        [] => text.is_empty(),
        [Piece::Text(literal), rest @ ..] => {
            text.strip_prefix(literal).is_some_and(|text| fits(rest, text))
        }
        [Piece::Variable { reserved }, rest @ ..] => (1..=text.len()).any(|length| {
            let (value, text) = text.split_at(length);
            (*reserved || !value.contains(['/', '?', '#'])) && fits(rest, text)
        }),
    }
}

/// Forms, and URIs that have them or nearly.
pub fn examples() -> Vec<Vec<u8>> {
    [
        "test://template/{id}/data\ntest://template/7/data",
        "test://template/{id}/data\ntest://template//data",
        "note://{year}-{month}\nnote://2026-11",
        "note://{+path}.md\nnote://a/b.md.md",
        "file:{path*}\nfile:a/b?c#d",
        "a+b.c-d:x{a}y{b}z\na+b.c-d:xyyyzz",
        "x:{a}{b}\nx:ab",
        "x:{a}/{a}\nx:a/a",
        "{a}:x\nb:x",
        "x:{\nx:%7B",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
