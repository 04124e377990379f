//! A resource as the registry holds it, and how a URI finds the function behind it.

use std::fmt::Display;
use std::str::FromStr;

use serde_json::{Map, Value, json};

use crate::Error;
use crate::complete::{Completer, Settled, Suggestions, suggest, unknown_argument};
use crate::content::{Resource, ResourceBody};
use crate::describe::{named, sorted};
use crate::error::ToolError;

/// One registered resource, or a template of many: what is told about it, and the function behind it.
pub struct ResourceFunction {
    /// A URI, or a URI template; unique in the component.
    pub uri: &'static str,
    /// The URI taken apart. A template has variables.
    pub parts: &'static [Part],
    /// What to call it.
    pub name: &'static str,
    /// A name for people.
    pub title: Option<&'static str>,
    /// What it is.
    pub description: &'static str,
    /// The media type of what it holds.
    pub mime_type: Option<&'static str>,
    /// Size in bytes.
    pub size: Option<u64>,
    /// For whom it is meant; `user` or `assistant`.
    pub audience: Option<&'static str>,
    /// From 0 (optional) to 1 (required).
    pub priority: Option<f64>,
    /// ISO 8601 time of the last change.
    pub last_modified: Option<&'static str>,
    /// What suggests values for its variables.
    pub completers: &'static [Completer],
    /// Runs it.
    pub read: fn(&Read<'_>) -> Result<Vec<Resource>, Error>,
    /// What is done with resources. It is reached through them, so that a component has it only with a
    /// resource.
    pub served_by: &'static Resources,
}

inventory::collect!(ResourceFunction);

/// What is done with resources.
pub struct Resources {
    /// Describes all resources, or all templates.
    describe: fn(templates: bool) -> Vec<Value>,
    read: fn(&str) -> Result<Vec<Resource>, Error>,
    complete: fn(&ResourceFunction, &str, &str, &Settled) -> Result<Suggestions, Error>,
}

/// What is done with resources, where there are any.
pub static RESOURCES: Resources = Resources {
    describe: |templates| {
        let wanted = registered().filter(|function| function.is_template() == templates);
        sorted(wanted.map(|function| (function.uri, function.describe())))
    },
    read: find_and_read,
    complete: ResourceFunction::complete,
};

/// A part of a URI template.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// Text that stands for itself.
    Literal(&'static str),
    /// A variable: one segment of a path or, if it is reserved, anything.
    Variable {
        /// The name of the parameter.
        name: &'static str,
        /// Whether it is `{+name}`, which spans slashes.
        reserved: bool,
    },
}

/// One entry into a resource.
pub struct Read<'a> {
    /// As the client asked for it.
    uri: &'a str,
    /// The values of the variables, in the order of the template.
    variables: Vec<String>,
    mime_type: Option<&'static str>,
}

/// A type that can be a variable of a URI template.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be a variable of a URI",
    label = "can't be read from a text, as it has no `FromStr` whose error has a text",
    note = "take a `String`, a number, or implement `FromStr` for a type of your own"
)]
pub trait UriVariable: FromStr<Err: Display> {}

#[diagnostic::do_not_recommend]
impl<T: FromStr<Err: Display>> UriVariable for T {}

impl Read<'_> {
    /// The value of the variable at that place in the template.
    pub fn variable<T: UriVariable>(&self, index: usize, name: &str) -> Result<T, Error> {
        self.variables[index].parse().map_err(|error| {
            Error::not_found(format_args!("there is no resource `{}`: `{name}`: {error}", self.uri))
        })
    }

    /// What the function returned, with what its attributes say.
    pub fn contents(&self, returned: impl ResourceOutput) -> Result<Vec<Resource>, Error> {
        let mut contents = returned.contents(self.uri)?;
        for resource in &mut contents {
            if resource.mime_type.is_none() {
                resource.mime_type = self.mime_type.map(str::to_owned);
            }
        }
        Ok(contents)
    }
}

/// A type that a resource can hold.
#[diagnostic::on_unimplemented(
    message = "a resource can't return `{Self}`",
    label = "is neither text nor bytes",
    note = "return `String`, `Vec<u8>`, `Resource`, `Vec<Resource>`, or a `Result<T, E>` of such a `T`"
)]
pub trait ResourceOutput {
    /// What it holds, at the URI that was asked for unless it says otherwise itself.
    fn contents(self, uri: &str) -> Result<Vec<Resource>, Error>;
}

impl ResourceOutput for String {
    fn contents(self, uri: &str) -> Result<Vec<Resource>, Error> {
        Ok(vec![Resource::text(uri, self)])
    }
}

impl ResourceOutput for &'static str {
    fn contents(self, uri: &str) -> Result<Vec<Resource>, Error> {
        Ok(vec![Resource::text(uri, self)])
    }
}

impl ResourceOutput for Vec<u8> {
    fn contents(self, uri: &str) -> Result<Vec<Resource>, Error> {
        Ok(vec![Resource::blob(uri, self)])
    }
}

impl ResourceOutput for ResourceBody {
    fn contents(self, uri: &str) -> Result<Vec<Resource>, Error> {
        match self {
            Self::Text(text) => text.contents(uri),
            Self::Blob(data) => data.contents(uri),
        }
    }
}

impl ResourceOutput for Resource {
    fn contents(self, _: &str) -> Result<Vec<Resource>, Error> {
        Ok(vec![self])
    }
}

impl ResourceOutput for Vec<Resource> {
    fn contents(self, _: &str) -> Result<Vec<Resource>, Error> {
        Ok(self)
    }
}

impl<T: ResourceOutput, E: ToolError> ResourceOutput for Result<T, E> {
    fn contents(self, uri: &str) -> Result<Vec<Resource>, Error> {
        self.map_err(ToolError::into_error)?.contents(uri)
    }
}

/// All resources and templates as `{"resources": [...], "resourceTemplates": [...]}`, in the shapes of the
/// Model Context Protocol.
pub fn describe() -> Value {
    let described = |templates| {
        let any = registered().next();
        any.map(|any| (any.served_by.describe)(templates)).unwrap_or_default()
    };
    json!({"resources": described(false), "resourceTemplates": described(true)})
}

/// Reads the resource of that URI.
pub fn read(uri: &str) -> Result<Vec<Resource>, Error> {
    match registered().next() {
        Some(any) => (any.served_by.read)(uri),
        None => Err(there_is_none(uri)),
    }
}

/// Suggests values for a variable of that template.
pub fn complete(
    uri_template: &str,
    variable: &str,
    typed: &str,
    settled: &Settled,
) -> Result<Suggestions, Error> {
    match registered().find(|function| function.uri == uri_template) {
        Some(function) => (function.served_by.complete)(function, variable, typed, settled),
        None => Err(there_is_none(uri_template)),
    }
}

fn registered() -> impl Iterator<Item = &'static ResourceFunction> {
    inventory::iter::<ResourceFunction>.into_iter()
}

fn there_is_none(uri: &str) -> Error {
    Error::not_found(format_args!("there is no resource `{uri}`"))
}

fn find_and_read(uri: &str) -> Result<Vec<Resource>, Error> {
    let matches =
        registered().filter_map(|function| Some((function, captures(function.parts, uri)?)));
    // A URI beats a template, and a template that says more beats one that says less.
    match matches.max_by_key(|(function, _)| function.rank()) {
        Some((function, variables)) => {
            (function.read)(&Read { uri, variables, mime_type: function.mime_type })
        }
        None => Err(there_is_none(uri)),
    }
}

impl ResourceFunction {
    fn is_template(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Variable { .. }))
    }

    fn rank(&self) -> (bool, usize, &str) {
        let literal = |part: &Part| match part {
            Part::Literal(text) => text.len(),
            Part::Variable { .. } => 0,
        };
        (!self.is_template(), self.parts.iter().map(literal).sum(), self.uri)
    }

    fn describe(&self) -> Value {
        let mut resource = named(self.name, self.title, self.description);
        let uri = if self.is_template() { "uriTemplate" } else { "uri" };
        resource.insert(uri.into(), self.uri.into());
        if let Some(mime_type) = self.mime_type {
            resource.insert("mimeType".into(), mime_type.into());
        }
        if let Some(size) = self.size {
            resource.insert("size".into(), size.into());
        }
        let annotations: Map<String, Value> = [
            ("audience", self.audience.map(|role| json!([role]))),
            ("priority", self.priority.map(Value::from)),
            ("lastModified", self.last_modified.map(Value::from)),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect();
        if !annotations.is_empty() {
            resource.insert("annotations".into(), annotations.into());
        }
        resource.into()
    }

    fn complete(
        &self,
        variable: &str,
        typed: &str,
        settled: &Settled,
    ) -> Result<Suggestions, Error> {
        let is_it = |part: &Part| matches!(part, Part::Variable { name, .. } if *name == variable);
        match self.parts.iter().any(is_it) {
            true => suggest(self.completers, variable, typed, settled),
            false => Err(unknown_argument(variable)),
        }
    }
}

/// The values of a template's variables in a URI, if it is one of the template's.
fn captures(parts: &[Part], uri: &str) -> Option<Vec<String>> {
    let Some((part, rest)) = parts.split_first() else {
        return uri.is_empty().then(Vec::new);
    };
    match *part {
        Part::Literal(text) => captures(rest, uri.strip_prefix(text)?),
        // An empty value would make `note://` a note.
        Part::Variable { .. } if uri.is_empty() => None,
        Part::Variable { reserved, .. } => {
            let ends = |end: &char| !reserved && matches!(end, '/' | '?' | '#');
            let longest = uri.chars().position(|c| ends(&c)).unwrap_or(usize::MAX);
            // Where several values fit, the shortest is taken.
            uri.char_indices().skip(1).map(|(at, _)| at).chain([uri.len()]).take(longest).find_map(
                |at| {
                    let (value, after) = uri.split_at(at);
                    let later = captures(rest, after)?;
                    let mut values = vec![percent_decoded(value)?];
                    values.extend(later);
                    Some(values)
                },
            )
        }
    }
}

/// The text that was percent-encoded, if it was done rightly and is a text.
fn percent_decoded(encoded: &str) -> Option<String> {
    let mut bytes = encoded.bytes();
    let mut decoded = Vec::with_capacity(encoded.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                (digit()? * 16 + digit()?) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn variable(name: &'static str) -> Part {
        Part::Variable { name, reserved: false }
    }

    const REST: Part = Part::Variable { name: "rest", reserved: true };

    #[test]
    fn a_variable_is_one_segment() {
        let check = |parts: &[Part], uri: &str, expected: Option<&[&str]>| {
            let found = captures(parts, uri);
            let found = found.as_deref().map(|values| values.iter().map(String::as_str).collect());
            assert_eq!(found, expected.map(<[&str]>::to_vec), "{uri}");
        };
        let note = [Part::Literal("note://"), variable("name")];
        check(&note, "note://a", Some(&["a"]));
        check(&note, "note://ab", Some(&["ab"]));
        check(&note, "note://", None);
        check(&note, "note:/a", None);
        check(&note, "note://a/b", None);
        check(&note, "note://a?b", None);
        check(&note, "note://a%2Fb%20%C3%BC", Some(&["a/b ü"]));
        check(&note, "note://ü", Some(&["ü"]));
        for wrong in ["note://%", "note://%2", "note://%zz", "note://%ff"] {
            check(&note, wrong, None);
        }
        let data = [Part::Literal("t://"), variable("id"), Part::Literal("/data")];
        check(&data, "t://12/data", Some(&["12"]));
        check(&data, "t://12/date", None);
        check(&data, "t:///data", None);
        let pair = [variable("a"), Part::Literal("-"), variable("b")];
        check(&pair, "x-y-z", Some(&["x", "y-z"]));
        let path = [Part::Literal("f://"), REST];
        check(&path, "f://a/b?c", Some(&["a/b?c"]));
        let both = [Part::Literal("f://"), REST, Part::Literal("/"), variable("name")];
        check(&both, "f://a/b/c", Some(&["a/b", "c"]));
        check(&[Part::Literal("a:b")], "a:b", Some(&[]));
    }
}
