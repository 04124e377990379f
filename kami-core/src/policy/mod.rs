//! What an operator lays down in a file, for packages that are not even installed yet.
//!
//! A `kami-policy.toml` says per package, per maker and for all the rest what is granted without
//! asking, what nobody may grant, and what is refused. It can be checked in and reviewed, works
//! where nobody can be asked, and always wins: over the registry, over flags, over a person's yes.
//!
//! It is found only where an operator put it, by name or in the data directory, and never in the
//! current directory, which may be a stranger's checkout. A policy that cannot be read or
//! understood refuses everything: half of a policy is not the policy.

mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::digest::Digest;
use crate::grants::{Capabilities, Ceiling, Effective, Grant};
use crate::manifest::source::SourceError;
use crate::manifest::source::reader::below;
use crate::name::{NameError, PackageId};
use crate::scheduler::Priority;
use crate::signing::{PublicKey, PublicKeyError};

pub use source::parse_grant;

/// The version of the file's shape, and the only one that is read.
pub const VERSION: u64 = 1;

/// The most bytes that the file may have: thousands of sections fit.
pub const MAX_BYTES: usize = 1 << 20;

/// What one `kami-policy.toml` says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    default: Section,
    publishers: BTreeMap<Publisher, Section>,
    tools: BTreeMap<ToolPattern, Section>,
    /// The most calls that one client may make in a minute, of all tools together.
    pub calls_per_minute: Option<u64>,
    /// What the audit log holds of a call's arguments, where the policy says so.
    pub audited_arguments: Option<AuditedArguments>,
}

/// What the audit log holds of a call's arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditedArguments {
    /// Their digest, by which one can tell whether they were the same.
    Digest,
    /// All of them.
    Full,
}

impl fmt::Display for AuditedArguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Digest => "digest",
            Self::Full => "full",
        })
    }
}

/// What one section says; what it leaves out is said by less specific ones, or by nobody.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Section {
    refuse: Option<bool>,
    priority: Option<Priority>,
    grant: Option<Grant>,
    ceiling: Option<Ceiling>,
}

/// Whose packages a section is about: those of a key, or of each trusted key with a label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Publisher {
    /// Packages that this key signed.
    Key(PublicKey),
    /// Packages that a key signed which is trusted under this label.
    Label(String),
}

impl FromStr for Publisher {
    type Err = PublicKeyError;

    fn from_str(text: &str) -> Result<Self, PublicKeyError> {
        match text.starts_with("ed25519:") {
            true => text.parse().map(Self::Key),
            false => Ok(Self::Label(text.to_owned())),
        }
    }
}

impl fmt::Display for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, "{key}"),
            Self::Label(label) => f.write_str(label),
        }
    }
}

/// Which packages a section is about: `dev.example.fetch`, or with `dev.example.*` all below
/// `dev.example`, which is not itself one of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ToolPattern {
    /// The one package of this id.
    Exactly(PackageId),
    /// Packages whose id begins with this one and a dot.
    Below(PackageId),
}

impl ToolPattern {
    /// Whether `id` is one that is meant.
    pub fn matches(&self, id: &PackageId) -> bool {
        match self {
            Self::Exactly(expected) => expected == id,
            Self::Below(prefix) => {
                let rest = id.as_str().strip_prefix(prefix.as_str());
                rest.is_some_and(|rest| rest.starts_with('.'))
            }
        }
    }

    /// All patterns that match one id differ in this number, and the highest means the fewest.
    fn specificity(&self) -> usize {
        match self {
            Self::Exactly(_) => usize::MAX,
            Self::Below(prefix) => prefix.as_str().len(),
        }
    }
}

impl FromStr for ToolPattern {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.strip_suffix(".*") {
            Some(prefix) => prefix.parse().map(Self::Below),
            None => text.parse().map(Self::Exactly),
        }
    }
}

impl fmt::Display for ToolPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(id) => write!(f, "{id}"),
            Self::Below(prefix) => write!(f, "{prefix}.*"),
        }
    }
}

/// A section by its name, which is shown as its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SectionName {
    /// What holds for every package.
    Default,
    /// What holds for a maker's packages.
    Publisher(Publisher),
    /// What holds for one package, or for those below one id.
    Tool(ToolPattern),
}

impl fmt::Display for SectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("[default]"),
            Self::Publisher(publisher) => {
                write!(f, "[{}]", below("publisher", &publisher.to_string()))
            }
            Self::Tool(pattern) => write!(f, "[{}]", below("tool", &pattern.to_string())),
        }
    }
}

/// A package, as far as a policy tells packages apart.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Its id.
    pub id: &'a PackageId,
    /// The trusted key that signed it; `None` where it is unsigned.
    pub signer: Option<&'a PublicKey>,
    /// The label under which the key is trusted.
    pub label: Option<&'a str>,
}

/// What a policy makes of a package's grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruling {
    /// What is granted.
    pub grant: Grant,
    /// The section that granted it; `None` where the operator's own grant stands.
    pub granted_by: Option<SectionName>,
    /// What cuts the grant off, all of it together, with the sections that say so.
    pub ceilings: Vec<(SectionName, Ceiling)>,
    /// How urgent its calls are.
    pub priority: Priority,
}

impl Ruling {
    /// What holds for a package that asks for `requested`.
    pub fn effective(&self, requested: Capabilities) -> Effective {
        let ceilings = self.ceilings.iter().map(|(_, ceiling)| ceiling.clone());
        Effective::new(requested, self.grant.clone(), ceilings.collect())
    }
}

/// The grant as it is, where there is no policy.
impl From<Grant> for Ruling {
    fn from(grant: Grant) -> Self {
        Self { grant, granted_by: None, ceilings: Vec::new(), priority: Priority::default() }
    }
}

/// A package that may be neither installed nor run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the policy refuses it under {section}")]
pub struct Refusal {
    /// The section that says so.
    pub section: SectionName,
}

impl Policy {
    /// Reads the text of a policy; paths in it are relative to `directory`.
    ///
    /// # Errors
    /// Every mistake in the file, or, where `text` is not TOML, every mistake in the syntax.
    pub fn parse(text: &str, directory: &Path) -> Result<Self, SourceError> {
        source::parse(text, directory)
    }

    /// Decides about a package which the operator granted `granted`.
    ///
    /// Sections are taken from the most specific one on: the package's own, those of ids above it
    /// from the longest, its signer's by key, then by label, and the default. The first that says
    /// whether to refuse decides that, and so does the first with a priority; the first with a grant
    /// replaces the operator's, and the ceilings of all of them hold together.
    ///
    /// # Errors
    /// Where it is refused, with the section that says so.
    pub fn apply(&self, subject: Subject<'_>, granted: &Grant) -> Result<Ruling, Refusal> {
        let sections = self.sections(subject);
        let refuses = sections.iter().find_map(|(name, section)| Some((name, section.refuse?)));
        if let Some((section, true)) = refuses {
            return Err(Refusal { section: section.clone() });
        }
        let granting = sections.iter().find_map(|(name, s)| Some((name, s.grant.as_ref()?)));
        let ceilings = sections
            .iter()
            .filter_map(|(name, section)| Some((name.clone(), section.ceiling.clone()?)));
        Ok(Ruling {
            grant: granting.map_or(granted, |(_, grant)| grant).clone(),
            granted_by: granting.map(|(name, _)| name.clone()),
            ceilings: ceilings.collect(),
            priority: sections.iter().find_map(|(_, s)| s.priority).unwrap_or_default(),
        })
    }

    /// The sections that are about a package, from the most specific one on.
    fn sections(&self, subject: Subject<'_>) -> Vec<(SectionName, &Section)> {
        let mut tools: Vec<_> =
            self.tools.iter().filter(|(pattern, _)| pattern.matches(subject.id)).collect();
        tools.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.specificity()));
        let tools = tools.into_iter().map(|(pattern, s)| (SectionName::Tool(pattern.clone()), s));
        let key = subject.signer.map(|key| Publisher::Key(*key));
        // A label is that of a key that signed it; without a signature nobody's section applies.
        let label = subject.signer.and(subject.label).map(|l| Publisher::Label(l.to_owned()));
        let publishers = [key, label].into_iter().flatten().filter_map(|publisher| {
            let section = self.publishers.get(&publisher)?;
            Some((SectionName::Publisher(publisher), section))
        });
        tools.chain(publishers).chain([(SectionName::Default, &self.default)]).collect()
    }

    /// The names of all sections that there are, besides the default one.
    pub fn section_names(&self) -> impl Iterator<Item = SectionName> {
        let publishers = self.publishers.keys().cloned().map(SectionName::Publisher);
        publishers.chain(self.tools.keys().cloned().map(SectionName::Tool))
    }
}

/// Where a policy is, and whether it must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    path: PathBuf,
    required: bool,
}

impl PolicyFile {
    /// A file that an operator named: where there is none, that is an error.
    pub fn required(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), required: true }
    }

    /// A file that may be there.
    pub fn optional(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), required: false }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the policy; `None` where there is no file, and none must be.
    ///
    /// # Errors
    /// Where the file cannot be read, or is not a policy.
    pub fn load(&self) -> Result<Option<Policy>, PolicyError> {
        let Some(bytes) = self.read()? else { return Ok(None) };
        let path = || self.path.clone();
        let text = String::from_utf8(bytes).map_err(|_| PolicyError::Encoding { path: path() })?;
        let directory = self.directory();
        let parsed = Policy::parse(&text, &directory).map(Some);
        parsed.map_err(|mistakes| PolicyError::Invalid { path: path(), text, mistakes })
    }

    /// Stands for what the file says, and for whether it can be read: another value is another
    /// state.
    pub fn state(&self) -> Digest {
        match self.read() {
            Ok(Some(bytes)) => Digest::of(&[b"policy\n", bytes.as_slice()].concat()),
            Ok(None) => Digest::of(b"none"),
            Err(error) => Digest::of(format!("{error}").as_bytes()),
        }
    }

    /// Of the bytes of the file; `None` where there is none, or it cannot be read.
    pub fn digest(&self) -> Option<Digest> {
        self.read().ok().flatten().map(|bytes| Digest::of(&bytes))
    }

    /// The directory to which paths in the file are relative, without links: the directories that
    /// are bound to tools are compared in that form.
    fn directory(&self) -> PathBuf {
        let path = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        let directory = path.parent().unwrap_or(&path);
        fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned())
    }

    fn read(&self) -> Result<Option<Vec<u8>>, PolicyError> {
        match read_bounded(&self.path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.required => Ok(None),
            Err(source) => Err(PolicyError::Io { path: self.path.clone(), source }),
        }
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    // Opening what is no regular file could block.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than any policy"));
    }
    Ok(bytes)
}

/// Why there is no policy to go by. Then nothing may be installed or called.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("cannot read the policy {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file is not text.
    #[error("the policy {} is not UTF-8 text", path.display())]
    Encoding {
        /// Which file.
        path: PathBuf,
    },
    /// The file has mistakes.
    #[error("the policy {} is not valid: {}", path.display(), told(text, mistakes))]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What it says.
        text: String,
        /// What is wrong, with every place.
        mistakes: SourceError,
    },
}

/// The first mistakes, each with its line and its remedy.
fn told(text: &str, error: &SourceError) -> String {
    const MOST: usize = 5;
    let told = error.problems.iter().take(MOST).map(|problem| {
        let before = text.as_bytes().get(..problem.span.start).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let help = problem.help.iter().map(|help| format!("; {help}")).collect::<String>();
        format!("line {line}: {} ({}){help}", problem.message, problem.label)
    });
    told.collect::<Vec<_>>().join(". ")
}
