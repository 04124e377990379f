//! Places in JSON documents (RFC 6901), and in what the steps of a pipeline give.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::manifest::JsonObject;

/// The name of the pipeline's own arguments among the sources.
pub const INPUT: &str = "input";

/// The longest pointer, in bytes, and the most names in one. People write a tenth of it.
const MAX_BYTES: usize = 1024;
const MAX_TOKENS: usize = 32;

/// The longest name of a step.
const MAX_STEP: usize = 32;

/// A place in a JSON document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Pointer(Vec<String>);

/// A text that is no pointer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// It begins with something else than `/`.
    #[error("a pointer is empty, for the whole, or begins with `/`")]
    Start,
    /// A `~` that stands for nothing.
    #[error("in a pointer, `~0` stands for `~` and `~1` for `/`; any other `~` is a mistake")]
    Escape,
    /// More than anybody needs.
    #[error("a pointer has at most {MAX_BYTES} bytes and {MAX_TOKENS} names")]
    TooLong,
}

impl Pointer {
    /// The names and indices on the way to the place.
    pub fn tokens(&self) -> &[String] {
        &self.0
    }

    /// What stands at the place, if anything does.
    pub fn of<'v>(&self, document: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(document, |value, token| match value {
            Value::Object(members) => members.get(token),
            Value::Array(items) => items.get(index(token)?),
            _ => None,
        })
    }

    /// Puts a value to the place in an object, in objects that are made where there are none.
    ///
    /// The place must be no other's, nor below or above another's: then what stands there already is
    /// replaced.
    pub(super) fn put(&self, document: &mut JsonObject, value: Value) {
        let Some((last, above)) = self.0.split_last() else { return };
        let mut object = document;
        for token in above {
            let member = object.entry(token.clone()).or_insert_with(|| JsonObject::new().into());
            if !member.is_object() {
                *member = JsonObject::new().into();
            }
            object = match member {
                Value::Object(members) => members,
                _ => return,
            };
        }
        object.insert(last.clone(), value);
    }

    /// Whether one of the places is the other, or stands within it.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(a, b)| a == b)
    }

    /// The place of a member below this one.
    pub(super) fn below(&self, name: &str) -> Self {
        Self(self.0.iter().cloned().chain([name.to_owned()]).collect())
    }
}

/// The index that a name in a pointer means in an array.
pub(super) fn index(token: &str) -> Option<usize> {
    let plain = token == "0" || !token.starts_with('0');
    let digits = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_digit());
    (plain && digits).then(|| token.parse().ok()).flatten()
}

impl FromStr for Pointer {
    type Err = PointerError;

    fn from_str(text: &str) -> Result<Self, PointerError> {
        if text.len() > MAX_BYTES {
            return Err(PointerError::TooLong);
        }
        if text.is_empty() {
            return Ok(Self::default());
        }
        let names = text.strip_prefix('/').ok_or(PointerError::Start)?.split('/');
        let tokens: Vec<String> = names.map(unescaped).collect::<Result<_, _>>()?;
        if tokens.len() > MAX_TOKENS { Err(PointerError::TooLong) } else { Ok(Self(tokens)) }
    }
}

fn unescaped(name: &str) -> Result<String, PointerError> {
    let mut token = String::with_capacity(name.len());
    let mut rest = name.chars();
    while let Some(c) = rest.next() {
        token.push(match c {
            '~' => match rest.next() {
                Some('0') => '~',
                Some('1') => '/',
                _ => return Err(PointerError::Escape),
            },
            other => other,
        });
    }
    Ok(token)
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|token| write!(f, "/{}", token.replace('~', "~0").replace('/', "~1")))
    }
}

/// The name of a step: `[a-z0-9][a-z0-9_-]{0,31}`, and not `input`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepName(String);

/// A text that names no step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a step is called by 1 to {MAX_STEP} of a-z, 0-9, `_` and `-`, and not `{INPUT}`, which is what \
     the pipeline is called with"
)]
pub struct StepNameError;

impl StepName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StepName {
    type Err = StepNameError;

    fn from_str(text: &str) -> Result<Self, StepNameError> {
        let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let fits = (1..=MAX_STEP).contains(&text.len())
            && text.starts_with(letter)
            && text.chars().all(|c| letter(c) || matches!(c, '_' | '-'));
        if fits && text != INPUT { Ok(Self(text.to_owned())) } else { Err(StepNameError) }
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A place in what a step gives, or in the arguments: `page#/content/0/text`, `input#/url`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Which step's; `None`: the arguments.
    pub step: Option<StepName>,
    /// Where.
    pub pointer: Pointer,
}

/// A text that refers to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The part before `#`.
    #[error(transparent)]
    Step(#[from] StepNameError),
    /// The part behind it.
    #[error(transparent)]
    Pointer(#[from] PointerError),
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (step, pointer) = text.split_once('#').unwrap_or((text, ""));
        let step = (step != INPUT).then(|| step.parse()).transpose()?;
        Ok(Self { step, pointer: pointer.parse()? })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = self.step.as_ref().map_or(INPUT, StepName::as_str);
        write!(f, "{step}#{}", self.pointer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pointers_lead_where_rfc_6901_says() {
        let document = json!({
            "foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "m~n": 8, " ": 7, "k\"l": 6,
            "01": "a name, and no index",
        });
        let at = |text: &str| text.parse::<Pointer>().unwrap().of(&document).cloned();
        for (text, value) in [
            ("", Some(document.clone())),
            ("/foo/0", Some(json!("bar"))),
            ("/", Some(json!(0))),
            ("/a~1b", Some(json!(1))),
            ("/c%d", Some(json!(2))),
            ("/m~0n", Some(json!(8))),
            ("/ ", Some(json!(7))),
            ("/k\"l", Some(json!(6))),
            ("/01", Some(json!("a name, and no index"))),
            ("/foo/-", None),
            ("/foo/01", None),
            ("/foo/+1", None),
            ("/foo/2", None),
            ("/foo/99999999999999999999999", None),
            ("/foo/bar", None),
            ("/foo/0/x", None),
            ("/nothing", None),
        ] {
            assert_eq!(at(text), value, "{text}");
            assert_eq!(text.parse::<Pointer>().unwrap().to_string(), text);
        }
        for text in ["foo", "#/foo", "/~", "/~2", "/a~", &"/".repeat(40), &"/x".repeat(600)] {
            assert!(text.parse::<Pointer>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_put_stands_where_it_was_put_and_nowhere_else() {
        let mut document = JsonObject::new();
        let place = |text: &str| text.parse::<Pointer>().unwrap();
        place("/a/b").put(&mut document, json!({"__proto__": {"x": 1}}));
        place("/a/c").put(&mut document, json!(2));
        place("/0").put(&mut document, json!([3]));
        let expected = json!({"a": {"b": {"__proto__": {"x": 1}}, "c": 2}, "0": [3]});
        assert_eq!(Value::from(document), expected);
        assert!(place("/a").overlaps(&place("/a/b")) && place("").overlaps(&place("/x")));
        assert!(!place("/a").overlaps(&place("/ab")) && !place("/a/b").overlaps(&place("/a/c")));
    }

    #[test]
    fn references_name_a_step_or_the_arguments() {
        for text in ["input#/url", "page#", "page#/content/0/text", "2-b_c#/a~1b"] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), text);
        }
        assert_eq!("page".parse::<Reference>().unwrap().to_string(), "page#");
        for text in ["", "#/x", "Page#/x", "page#x", "page #/x", "page/x", "-a#"] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
