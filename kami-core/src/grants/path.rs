//! Paths of HTTP requests: their plain form, and the patterns that match it.

use std::fmt;
use std::str::FromStr;

/// A path in the one form in which it can be compared.
///
/// Letters that need no percent-encoding have none, and nothing in it means another path to some
/// server: no `.` or `..`, no empty segment but the last, no encoded slash, no backslash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlainPath(String);

impl PlainPath {
    /// Brings `path`, without query, into its plain form; `None` where servers could differ about
    /// what it means.
    pub(super) fn new(path: &str) -> Option<Self> {
        let plain = decode_unreserved(path)?;
        let segments: Vec<&str> = plain.strip_prefix('/')?.split('/').collect();
        let (_, all_but_last) = segments.split_last()?;
        let clear = all_but_last.iter().all(|segment| !segment.is_empty())
            && segments.iter().all(|segment| !is_dots(segment));
        clear.then_some(Self(plain))
    }

    fn segments(&self) -> impl Iterator<Item = &str> {
        self.0[1..].split('/')
    }
}

/// Whether a segment means this directory or the one above, also to servers that cut off
/// parameters after `;`.
fn is_dots(segment: &str) -> bool {
    let name = segment.split(';').next().unwrap_or_default();
    matches!(name, "." | "..")
}

fn decode_unreserved(path: &str) -> Option<String> {
    let mut plain = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                let digits = std::str::from_utf8(&digits).ok()?;
                if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                    return None;
                }
                match u8::from_str_radix(digits, 16).ok()? {
                    b'/' | b'\\' | b'%' | 0x00..0x20 | 0x7f => return None,
                    c if c.is_ascii_alphanumeric() || b"-._~".contains(&c) => plain.push(c.into()),
                    c => plain.push_str(&format!("%{c:02X}")),
                }
            }
            b'\\' | b'?' | b'#' | 0x00..=0x20 | 0x7f.. => return None,
            c => plain.push(c.into()),
        }
    }
    Some(plain)
}

/// A path in which `*` stands for one whole segment, or at the end for all that follows.
///
/// `/repos/*` matches `/repos/a` and `/repos/a/b`, and not `/repos` or `/repos/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PathPattern {
    path: PlainPath,
}

impl PathPattern {
    pub(super) fn matches(&self, path: &PlainPath) -> bool {
        let mut actual = path.segments();
        let mut expected = self.path.segments().peekable();
        while let Some(segment) = expected.next() {
            let Some(found) = actual.next() else { return false };
            match segment {
                "*" if expected.peek().is_none() => return !found.is_empty(),
                "*" => {}
                literal if literal == found => {}
                _ => return false,
            }
        }
        actual.next().is_none()
    }

    /// Whether some path is matched by both.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let mut ours = self.path.segments().peekable();
        let mut theirs = other.path.segments().peekable();
        loop {
            let (our, their) = match (ours.next(), theirs.next()) {
                (Some(our), Some(their)) => (our, their),
                (our, their) => return our.is_none() && their.is_none(),
            };
            // A `*` at the end takes all that follows, but not nothing.
            if our == "*" && ours.peek().is_none() {
                return !their.is_empty();
            }
            if their == "*" && theirs.peek().is_none() {
                return !our.is_empty();
            }
            if our != "*" && their != "*" && our != their {
                return false;
            }
        }
    }
}

impl FromStr for PathPattern {
    type Err = ();

    /// Refuses a `*` that is only part of a segment, which would match less than it seems to.
    fn from_str(text: &str) -> Result<Self, ()> {
        let path = PlainPath::new(text).ok_or(())?;
        let whole = path.segments().all(|segment| segment == "*" || !segment.contains('*'));
        whole.then_some(Self { path }).ok_or(())
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_segments() {
        let cases = [
            ("/", "/", true),
            ("/", "/a", false),
            ("/ok", "/ok", true),
            ("/ok", "/ok/", false),
            ("/ok", "/okay", false),
            ("/ok", "/OK", false),
            ("/ok", "/%6Fk", true),
            ("/repos/*", "/repos/a", true),
            ("/repos/*", "/repos/a/b", true),
            ("/repos/*", "/repos", false),
            ("/repos/*", "/repos/", false),
            ("/repos/*/issues", "/repos/a/issues", true),
            ("/repos/*/issues", "/repos/a/b/issues", false),
            ("/*", "/anything/at/all", true),
            ("/a%2Bb", "/a%2bb", true),
        ];
        for (pattern, path, expected) in cases {
            let pattern: PathPattern = pattern.parse().unwrap();
            let path = PlainPath::new(path).unwrap();
            assert_eq!(pattern.matches(&path), expected, "{pattern} against {path:?}");
        }
    }

    #[test]
    fn paths_about_which_servers_differ_match_nothing() {
        for path in [
            "",
            "repos",
            "/..",
            "/a/../b",
            "/a/./b",
            "/%2e%2E/b",
            "/.%2e",
            "//b",
            "/a//b",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a%+1",
            "/a%252e",
            "/..;/b",
            "/a b",
            "/a?b",
            "/a#b",
            "/ä",
        ] {
            assert_eq!(PlainPath::new(path), None, "{path}");
        }
    }

    #[test]
    fn patterns_overlap_where_one_path_fits_both() {
        let cases = [
            ("/ok", "/ok", true),
            ("/ok", "/no", false),
            ("/ok", "/ok/", false),
            ("/*", "/repos/a", true),
            ("/*", "/", false),
            ("/repos/*", "/*/issues", true),
            ("/repos/*", "/user/*", false),
            ("/repos/*/issues", "/*/a/*", true),
            ("/repos/*/issues", "/repos/*/pulls", false),
        ];
        for (one, other, expected) in cases {
            let [one, other] = [one, other].map(|text| text.parse::<PathPattern>().unwrap());
            assert_eq!(one.overlaps(&other), expected, "{one} and {other}");
            assert_eq!(other.overlaps(&one), expected, "{other} and {one}");
        }
    }

    #[test]
    fn half_wildcards_are_refused() {
        for text in ["/a*", "/*a/b", "/a/**", "a", "/../*"] {
            assert!(text.parse::<PathPattern>().is_err(), "{text}");
        }
    }
}
