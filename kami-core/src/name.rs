//! The names that identify packages and tools, parsed once and valid from then on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A name that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A tool name outside `[A-Za-z0-9_-]{1,64}`.
    #[error("`{0}` is not a tool name: use 1 to 64 of A-Z, a-z, 0-9, `_` and `-`")]
    Tool(String),
    /// A package id that is not reverse-DNS.
    #[error(
        "`{0}` is not a package id: use reverse-DNS in lower case with at least two labels, \
         such as `dev.example.my-tool`"
    )]
    Package(String),
    /// Not a package's id and a tool's name with a slash in between.
    #[error("`{0}` names no tool: write the id of its package, `/`, and its own name")]
    Full(String),
}

/// Shortens hostile input before it goes into an error message.
fn excerpt(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut shown: String = text.chars().take(LONGEST).filter(|c| !c.is_control()).collect();
    if text.chars().count() > LONGEST {
        shown.push('…');
    }
    shown
}

/// The name of a tool as MCP knows it: `[A-Za-z0-9_-]{1,64}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ToolName(String);

impl ToolName {
    /// The most bytes that a tool name may have.
    pub const MAX_LENGTH: usize = 64;

    /// Makes the longest valid name that begins with `text`: every other character becomes `_`.
    pub fn lossy(text: &str) -> Self {
        let mut name: String = text
            .chars()
            .take(Self::MAX_LENGTH)
            .map(|c| if is_tool_character(c) { c } else { '_' })
            .collect();
        if name.is_empty() {
            name.push('_');
        }
        Self(name)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_tool_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

impl FromStr for ToolName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let fits = (1..=Self::MAX_LENGTH).contains(&text.len());
        if fits && text.chars().all(is_tool_character) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Tool(excerpt(text)))
        }
    }
}

/// The identity of a package across versions: reverse-DNS, such as `dev.example.fetch`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PackageId(String);

impl PackageId {
    /// The most bytes that an id may have.
    pub const MAX_LENGTH: usize = 128;

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last label, by which people call the package.
    pub fn short(&self) -> &str {
        self.0.rsplit('.').next().unwrap_or(&self.0)
    }
}

/// A DNS label in lower case: letters, digits and inner hyphens.
fn is_label(label: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&label.len())
        && label.chars().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

impl FromStr for PackageId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let labels = text.split('.').count();
        let fits = text.len() <= Self::MAX_LENGTH && labels >= 2;
        let starts_with_letter = text.starts_with(|c: char| c.is_ascii_lowercase());
        if fits && starts_with_letter && text.split('.').all(is_label) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Package(excerpt(text)))
        }
    }
}

/// A tool by its package and its own name, which no other package can take: `dev.example.web/fetch`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FullName {
    /// The package that it belongs to.
    pub package: PackageId,
    /// Its own name.
    pub tool: ToolName,
}

impl FromStr for FullName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (package, tool) = text.split_once('/').ok_or_else(|| NameError::Full(excerpt(text)))?;
        Ok(Self { package: package.parse()?, tool: tool.parse()? })
    }
}

impl fmt::Display for FullName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.package, self.tool)
    }
}

impl From<FullName> for String {
    fn from(name: FullName) -> Self {
        name.to_string()
    }
}

impl TryFrom<String> for FullName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

/// What the ids of one maker's packages begin with, at the border of a label: `dev.example` covers
/// itself and `dev.example.fetch`, but not `dev.examples`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdPrefix(String);

impl IdPrefix {
    /// That of the maker of `id`: the id without its last label, or all of it where it has two,
    /// since a top-level domain is nobody's.
    pub fn of(id: &PackageId) -> Self {
        match id.0.rsplit_once('.') {
            Some((maker, _)) if maker.contains('.') => Self(maker.to_owned()),
            _ => Self(id.0.clone()),
        }
    }

    /// The prefix as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `id` is the prefix, or below it.
    pub fn covers(&self, id: &PackageId) -> bool {
        let rest = id.0.strip_prefix(&self.0);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

impl FromStr for IdPrefix {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        text.parse::<PackageId>().map(|id| Self(id.0))
    }
}

macro_rules! text_conversions {
    ($name:ty) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    };
}

text_conversions!(ToolName);
text_conversions!(PackageId);
text_conversions!(IdPrefix);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tool_names_are_what_mcp_clients_accept() {
        for good in ["add", "A-b_9", &"x".repeat(64)] {
            assert_eq!(good.parse::<ToolName>().unwrap().as_str(), good);
        }
        for bad in ["", "a b", "a.b", "ä", "a/b", "a\n", &"x".repeat(65)] {
            assert!(bad.parse::<ToolName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn package_ids_are_reverse_dns() {
        for good in ["dev.example", "dev.example.my-tool", "io.github.user1.x"] {
            assert_eq!(good.parse::<PackageId>().unwrap().as_str(), good);
        }
        for bad in ["", "tool", "Dev.Example", "dev..x", ".dev.x", "dev.-x", "1dev.x", "dev.x/../y"]
        {
            assert!(bad.parse::<PackageId>().is_err(), "{bad:?}");
        }
        assert_eq!("dev.example.fetch".parse::<PackageId>().unwrap().short(), "fetch");
    }

    #[test]
    fn prefixes_end_at_labels() {
        let id = |text: &str| text.parse::<PackageId>().unwrap();
        let prefix = "dev.example".parse::<IdPrefix>().unwrap();
        for (text, covered) in [
            ("dev.example", true),
            ("dev.example.fetch", true),
            ("dev.example.deep.fetch", true),
            ("dev.examples.fetch", false),
            ("dev.example-x", false),
            ("dev.other", false),
            ("com.dev.example", false),
        ] {
            assert_eq!(prefix.covers(&id(text)), covered, "{text}");
        }
        for (text, maker) in [
            ("dev.example", "dev.example"),
            ("dev.example.fetch", "dev.example"),
            ("io.github.user.fetch", "io.github.user"),
        ] {
            assert_eq!(IdPrefix::of(&id(text)).as_str(), maker);
        }
        for bad in ["", "dev", "dev.", "*.example", "dev.example.*"] {
            assert!(bad.parse::<IdPrefix>().is_err(), "{bad}");
        }
    }

    #[test]
    fn hostile_names_are_cut_before_they_are_shown() {
        let error = "\u{1b}[31m".repeat(1000).parse::<PackageId>().unwrap_err().to_string();
        assert!(error.len() < 400 && !error.contains('\u{1b}'), "{error:?}");
    }
}
