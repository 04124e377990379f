//! Which of the installed tools somebody gets: the only matcher of their names and tags.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::naming::possible_names;
use super::{CatalogEntry, InstalledPackage};
use crate::name::{PackageId, ToolName};

/// Names of tools: one, or all that fit a pattern in which `*` stands for any characters.
///
/// Without a slash, it is compared with the name by which agents call a tool. With one, it is compared
/// with `package-id/tool`, which no other package can take.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ToolPattern(String);

/// Text that is not a [`ToolPattern`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ToolPatternError {
    /// Nothing that a name could fit.
    #[error(
        "not a pattern for tools: expected a name such as `fetch_url`, or `dev.example.web/fetch`, \
         of at most {} characters, where `*` stands for any",
        ToolPattern::MAX_LENGTH
    )]
    Malformed,
    /// A package's id alone, which is no tool's name.
    #[error("a package is no tool: all of its tools are `ID/*`, such as `dev.example.web/*`")]
    Package,
}

impl ToolPattern {
    /// The most bytes that a pattern may have: those of the longest name.
    pub const MAX_LENGTH: usize = PackageId::MAX_LENGTH + "/".len() + ToolName::MAX_LENGTH;

    /// Whether this names the tool.
    pub fn names(&self, tool: &CatalogEntry) -> bool {
        match self.0.contains('/') {
            true => fits(&self.0, &tool.full_name()),
            false => fits(&self.0, tool.wire_name.as_str()),
        }
    }

    /// Whether this names every tool of a package, also those of later versions.
    pub fn names_all_of(&self, package: &InstalledPackage) -> bool {
        let whole = |(id, tool): (&str, &str)| tool == "*" && fits(id, package.id().as_str());
        self.0 == "*" || self.0.split_once('/').is_some_and(whole)
    }

    /// Whether this names a tool of a package, or could.
    fn touches(&self, package: &InstalledPackage) -> bool {
        match self.0.split_once('/') {
            Some((id, _)) => fits(id, package.id().as_str()),
            None => {
                package.manifest.tools.iter().any(|tool| self.fits_any_name(package, &tool.name))
            }
        }
    }

    /// Whether this names the tool, or did before others came that call theirs the same: what is
    /// kept from somebody does not come to them by another name.
    fn names_by_any_name(&self, tool: &CatalogEntry) -> bool {
        self.names(tool) || self.fits_any_name(&tool.package, &tool.definition().name)
    }

    /// Whether this fits a name that a tool may get as others come and go.
    fn fits_any_name(&self, package: &InstalledPackage, tool: &ToolName) -> bool {
        let names = possible_names(package.id(), package.alias.as_ref(), tool);
        names.iter().any(|name| fits(&self.0, name.as_str()))
    }
}

impl FromStr for ToolPattern {
    type Err = ToolPatternError;

    fn from_str(text: &str) -> Result<Self, ToolPatternError> {
        let known = |c: char| c.is_ascii_alphanumeric() || "_-.*/".contains(c);
        let length = (1..=Self::MAX_LENGTH).contains(&text.len());
        match text.matches('/').count() {
            0 if text.contains('.') && text.chars().all(known) => Err(ToolPatternError::Package),
            0 | 1 if length && text.chars().all(known) => Ok(Self(text.to_owned())),
            _ => Err(ToolPatternError::Malformed),
        }
    }
}

impl TryFrom<String> for ToolPattern {
    type Error = ToolPatternError;

    fn try_from(text: String) -> Result<Self, ToolPatternError> {
        text.parse()
    }
}

impl From<ToolPattern> for String {
    fn from(pattern: ToolPattern) -> Self {
        pattern.0
    }
}

impl fmt::Display for ToolPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A word by which the author of a package wants it to be found, whether letters are capital or small.
///
/// # Security
/// It is the author's word. An update that takes on or drops a tag needs consent, as one does that
/// tells a model something else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PackageTag(String);

/// Text that is not a [`PackageTag`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a tag: expected 1 to {} characters, and no control characters",
    PackageTag::MAX_LENGTH
)]
pub struct PackageTagError;

impl PackageTag {
    /// The most characters that a tag may have to be asked for.
    pub const MAX_LENGTH: usize = 64;

    /// Whether a package has it.
    fn is_of(&self, package: &InstalledPackage) -> bool {
        let tags = &package.manifest.package.tags;
        tags.iter().any(|tag| tag.to_lowercase() == self.0)
    }
}

impl FromStr for PackageTag {
    type Err = PackageTagError;

    fn from_str(text: &str) -> Result<Self, PackageTagError> {
        let length = (1..=Self::MAX_LENGTH).contains(&text.chars().count());
        let fits = length && !text.chars().any(char::is_control);
        if fits { Ok(Self(text.to_lowercase())) } else { Err(PackageTagError) }
    }
}

impl TryFrom<String> for PackageTag {
    type Error = PackageTagError;

    fn try_from(text: String) -> Result<Self, PackageTagError> {
        text.parse()
    }
}

impl From<PackageTag> for String {
    fn from(tag: PackageTag) -> Self {
        tag.0
    }
}

impl fmt::Display for PackageTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Some of the installed tools, also of those that are installed later. The default is all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolSelection {
    /// Those that are in it; all where there is no pattern.
    pub include: Vec<ToolPattern>,
    /// Those of them that are not in it after all.
    pub exclude: Vec<ToolPattern>,
    /// Of those, only the tools of packages that have any of these tags; all where there is no tag.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<PackageTag>,
    /// And none of packages that have any of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_tags: Vec<PackageTag>,
}

impl ToolSelection {
    /// Whether a tool is in it.
    pub fn allows(&self, tool: &CatalogEntry) -> bool {
        (self.include.is_empty() || self.include.iter().any(|pattern| pattern.names(tool)))
            && !self.exclude.iter().any(|pattern| pattern.names_by_any_name(tool))
            && self.allows_tags_of(&tool.package)
    }

    /// Whether a package is in it as a whole, with what it offers besides tools.
    pub fn allows_all_of(&self, package: &InstalledPackage) -> bool {
        let included = |pattern: &ToolPattern| pattern.names_all_of(package);
        (self.include.is_empty() || self.include.iter().any(included))
            && !self.exclude.iter().any(|pattern| pattern.touches(package))
            && self.allows_tags_of(package)
    }

    /// Whether every tool is in it.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    fn allows_tags_of(&self, package: &InstalledPackage) -> bool {
        (self.tags.is_empty() || self.tags.iter().any(|tag| tag.is_of(package)))
            && !self.exclude_tags.iter().any(|tag| tag.is_of(package))
    }
}

/// Whether `text` fits `pattern`, in time that grows with the product of their lengths at most.
fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut read) = (0, 0);
    // The last `*`, and how far the text had been read that follows it.
    let mut star = None;
    while read < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(byte) if *byte == text[read] => (at, read) = (at + 1, read + 1),
            _ => match &mut star {
                Some((before, swallowed)) => {
                    *swallowed += 1;
                    (at, read) = (*before + 1, *swallowed);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters_and_nothing_else_does() {
        for (pattern, text, fit) in [
            ("fetch", "fetch", true),
            ("fetch", "fetch_url", false),
            ("fetch", "prefetch", false),
            ("*", "anything", true),
            ("fetch*", "fetch", true),
            ("*_url", "fetch_url", true),
            ("f*_*l", "fetch_the_url", true),
            ("f*_*l", "fetch", false),
            ("**a*b**", "xxaxxbxx", true),
            ("Fetch", "fetch", false),
            ("dev.example.*/get", "dev.example.web/get", true),
            ("dev.example.*/get", "devXexample.web/get", false),
        ] {
            assert_eq!(fits(pattern, text), fit, "{pattern} {text}");
        }
        let (pattern, text) = ("*a".repeat(90), "a".repeat(190) + "b");
        assert!(!fits(&pattern, &text), "and that took no time to speak of");
    }

    #[test]
    fn a_tag_is_the_same_in_capitals_and_is_kept_as_before_where_there_is_none() {
        let tag: PackageTag = "Web Tools".parse().unwrap();
        assert_eq!(tag, "web tools".parse().unwrap());
        for bad in ["", "a\nb", "a\0", &"x".repeat(PackageTag::MAX_LENGTH + 1)] {
            assert_eq!(bad.parse::<PackageTag>(), Err(PackageTagError), "{bad:?}");
        }
        let plain = r#"{"include":["a"],"exclude":[]}"#;
        let read: ToolSelection = serde_json::from_str(plain).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), plain);
        let tagged = ToolSelection { tags: vec![tag], ..ToolSelection::default() };
        assert!(!tagged.is_everything());
        let written = serde_json::to_string(&tagged).unwrap();
        assert_eq!(serde_json::from_str::<ToolSelection>(&written).unwrap(), tagged);
    }

    #[test]
    fn what_no_name_could_fit_is_no_pattern() {
        for good in ["a", "*", "fetch-*", "dev.example.web/*", "*/fetch"] {
            assert_eq!(good.parse::<ToolPattern>().map(String::from).as_deref(), Ok(good));
        }
        assert_eq!("dev.example.web".parse::<ToolPattern>(), Err(ToolPatternError::Package));
        let long = "a".repeat(ToolPattern::MAX_LENGTH + 1);
        for bad in ["", " ", "a b", "a/b/c", "a?", "ä", "a,b", "[a]", &long] {
            assert_eq!(bad.parse::<ToolPattern>(), Err(ToolPatternError::Malformed), "{bad}");
        }
    }
}
