//! The URIs of resources, and the forms of URIs.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest URI, and the longest form of one, in bytes.
const LONGEST: usize = 2048;

/// The most variables of one form.
const MOST_VARIABLES: usize = 16;

/// Why a text is no URI of a resource, or no form of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// More bytes than a URI may have.
    #[error("a URI has at most {LONGEST} bytes")]
    TooLong,
    /// No scheme, or nothing behind it.
    #[error("a URI begins with a scheme and a colon, as in `note://today`")]
    Scheme,
    /// Spaces, quotes, braces and the like, and what is not ASCII.
    #[error(
        "a URI has no spaces, quotes, angle brackets, braces, or anything that is not ASCII: \
         write it as `%20` and so on"
    )]
    Character,
    /// What stands between braces is not `name`, `+name` or `name*`.
    #[error("a variable is written `{{name}}`, or `{{+name}}` where it may hold slashes")]
    Variable,
    /// Two variables with nothing between them.
    #[error("two variables need some text between them")]
    Adjacent,
    /// One variable twice.
    #[error("a variable stands only once in a template")]
    Twice,
    /// Too many variables.
    #[error("a template has at most {MOST_VARIABLES} variables")]
    TooMany,
    /// A form without any variable.
    #[error("a template has a variable; without one, it is a resource")]
    None,
}

/// The URI of one resource: as it is written, and not normalised, so that two spellings are two
/// resources for everyone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceUri(String);

/// The form of some URIs: a part of RFC 6570, of which it is told without doubt what matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UriTemplate {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// A variable: `+` lets it hold what parts a URI.
    Variable {
        name: String,
        reserved: bool,
    },
}

impl ResourceUri {
    /// The URI as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Display for ResourceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for ResourceUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for ResourceUri {
    type Error = UriError;

    fn try_from(text: String) -> Result<Self, UriError> {
        check_length(&text)?;
        check_scheme(&text)?;
        check_characters(&text)?;
        Ok(Self(text))
    }
}

impl From<ResourceUri> for String {
    fn from(uri: ResourceUri) -> Self {
        uri.0
    }
}

fn check_length(text: &str) -> Result<(), UriError> {
    if text.len() > LONGEST { Err(UriError::TooLong) } else { Ok(()) }
}

fn check_scheme(text: &str) -> Result<(), UriError> {
    let (scheme, rest) = text.split_once(':').ok_or(UriError::Scheme)?;
    let mut letters = scheme.chars();
    let begins = letters.next().is_some_and(|first| first.is_ascii_alphabetic());
    let goes_on = letters.all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    if begins && goes_on && !rest.is_empty() { Ok(()) } else { Err(UriError::Scheme) }
}

fn check_characters(text: &str) -> Result<(), UriError> {
    let accepted = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
    if text.bytes().all(accepted) { Ok(()) } else { Err(UriError::Character) }
}

impl UriTemplate {
    /// The form as it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// How all URIs of this form begin.
    pub fn prefix(&self) -> &str {
        match self.parts.first() {
            Some(Part::Literal(literal)) => literal,
            _ => "",
        }
    }

    /// The names of its variables.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable { name, .. } => Some(name.as_str()),
            Part::Literal(_) => None,
        })
    }

    /// Whether a URI has this form. It takes time in proportion to the URI, for each variable.
    pub fn matches(&self, uri: &ResourceUri) -> bool {
        let text = uri.as_str().as_bytes();
        // At which places what was looked at so far may end.
        let mut ends = vec![false; text.len() + 1];
        ends[0] = true;
        for part in &self.parts {
            let mut next = vec![false; text.len() + 1];
            match part {
                Part::Literal(literal) => {
                    for at in (0..=text.len()).filter(|at| ends[*at]) {
                        if text[at..].starts_with(literal.as_bytes()) {
                            next[at + literal.len()] = true;
                        }
                    }
                }
                Part::Variable { reserved, .. } => {
                    let mut within = false;
                    for at in 0..text.len() {
                        within |= ends[at];
                        within &= *reserved || !b"/?#".contains(&text[at]);
                        next[at + 1] = within;
                    }
                }
            }
            ends = next;
        }
        ends[text.len()]
    }
}

impl TryFrom<String> for UriTemplate {
    type Error = UriError;

    fn try_from(text: String) -> Result<Self, UriError> {
        check_length(&text)?;
        let mut parts = Vec::new();
        let mut rest = text.as_str();
        while let Some((literal, after)) = rest.split_once('{') {
            let (variable, after) = after.split_once('}').ok_or(UriError::Variable)?;
            if !literal.is_empty() {
                check_characters(literal)?;
                parts.push(Part::Literal(literal.to_owned()));
            } else if !parts.is_empty() {
                return Err(UriError::Adjacent);
            }
            parts.push(variable_of(variable)?);
            rest = after;
        }
        if !rest.is_empty() {
            check_characters(rest)?;
            parts.push(Part::Literal(rest.to_owned()));
        }
        let template = Self { text, parts };
        check_scheme(template.prefix())?;
        let mut names: Vec<_> = template.variables().collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        match (count, names.len()) {
            (0, _) => Err(UriError::None),
            (all, different) if all != different => Err(UriError::Twice),
            (all, _) if all > MOST_VARIABLES => Err(UriError::TooMany),
            _ => Ok(template),
        }
    }
}

fn variable_of(text: &str) -> Result<Part, UriError> {
    let (reserved, name) = match (text.strip_prefix('+'), text.strip_suffix('*')) {
        (Some(name), None) | (None, Some(name)) => (true, name),
        (None, None) => (false, text),
        (Some(_), Some(_)) => return Err(UriError::Variable),
    };
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    match is_name {
        true => Ok(Part::Variable { name: name.to_owned(), reserved }),
        false => Err(UriError::Variable),
    }
}

impl From<UriTemplate> for String {
    fn from(template: UriTemplate) -> Self {
        template.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Result<UriTemplate, UriError> {
        UriTemplate::try_from(text.to_owned())
    }

    #[test]
    fn a_uri_has_a_scheme_and_no_odd_characters() {
        for good in ["note://today", "test://a/b?c#d", "urn:isbn:0", "a+b-c.d:x", "x:a%20"] {
            assert_eq!(good.parse::<ResourceUri>().unwrap().as_str(), good);
        }
        for (bad, why) in [
            ("", UriError::Scheme),
            ("note", UriError::Scheme),
            ("note:", UriError::Scheme),
            ("1a:b", UriError::Scheme),
            (":b", UriError::Scheme),
            ("no te://x", UriError::Scheme),
            ("note://a b", UriError::Character),
            ("note://a\n", UriError::Character),
            ("note://{a}", UriError::Character),
            ("note://a\u{202e}b", UriError::Character),
            ("note://ä", UriError::Character),
        ] {
            assert_eq!(bad.parse::<ResourceUri>(), Err(why), "{bad:?}");
        }
        assert_eq!(
            format!("a:{}", "x".repeat(LONGEST)).parse::<ResourceUri>(),
            Err(UriError::TooLong)
        );
    }

    #[test]
    fn a_template_matches_what_has_its_form() {
        let check = |form: &str, matching: &[&str], others: &[&str]| {
            let form = template(form).unwrap();
            for uri in matching {
                assert!(form.matches(&uri.parse().unwrap()), "{} {uri}", form.as_str());
            }
            for uri in others {
                assert!(!form.matches(&uri.parse().unwrap()), "{} {uri}", form.as_str());
            }
        };
        check(
            "note://{name}",
            &["note://a", "note://a%2Fb", "note://a.b-c"],
            &["note://", "note:///a", "note://a/b", "note://a?b", "notes://a", "note://a#b"],
        );
        check(
            "test://t/{id}/data",
            &["test://t/1/data", "test://t/data/data"],
            &["test://t//data", "test://t/1/2/data", "test://t/1/data/", "test://t/1/dat"],
        );
        check("f://{+path}", &["f://a/b/c?d", "f:///"], &["f://", "g://a"]);
        check("f://{path*}.md", &["f://a/b.md", "f://.md.md"], &["f://.md", "f://a.mdx"]);
        check("c://{a}-{b}", &["c://1-2", "c://1-2-3", "c://--1"], &["c://-2", "c://1-", "c://12"]);
    }

    #[test]
    fn a_template_is_not_ambiguous() {
        for (bad, why) in [
            ("note://a", UriError::None),
            ("{scheme}://a", UriError::Scheme),
            ("note:{a}", UriError::Scheme),
            ("note://{a}{b}", UriError::Adjacent),
            ("note://{a}/{a}", UriError::Twice),
            ("note://{", UriError::Variable),
            ("note://{}", UriError::Variable),
            ("note://{a,b}", UriError::Variable),
            ("note://{?a}", UriError::Variable),
            ("note://{+a*}", UriError::Variable),
            ("note://{a}}", UriError::Character),
        ] {
            assert_eq!(template(bad), Err(why), "{bad:?}");
        }
        let many: String = (0..=MOST_VARIABLES).map(|n| format!("/{{v{n}}}")).collect();
        assert_eq!(template(&format!("a:b{many}")), Err(UriError::TooMany));
    }

    #[test]
    fn matching_takes_no_longer_than_it_must() {
        let form: String = (0..MOST_VARIABLES).map(|n| format!("a{{+v{n}}}")).collect();
        let form = template(&format!("x:{form}b")).unwrap();
        let uri = format!("x:{}", "a".repeat(LONGEST - 2)).parse().unwrap();
        let started = std::time::Instant::now();
        assert!(!form.matches(&uri));
        assert!(started.elapsed().as_secs() < 5, "with backtracking, this never ends");
    }
}
