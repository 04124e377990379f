//! The author's table, in TOML: what a package is called and what it asks for.
//!
//! Two places hold it. `[package.metadata.kami]` stands in a file whose other tables describe the
//! package, and may inherit from a workspace's table: [`Source`] and [`Defaults`]. A `tool.toml`
//! stands beside a component that was made by other means, and says everything: [`ToolFile`].
//! Both are read by pure functions over text that report every mistake at once, each with its
//! place and its remedy.

pub(crate) mod reader;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;

use super::Package;
use crate::grants::{
    Access, Capabilities, EnvName, FsAccess, HeaderTemplate, Injection, Limit, Limits, MountName,
    MountRequest, NetPattern, ScratchMode, SecretHost, SecretName, SecretRequest,
};
use crate::name::PackageId;
use reader::{Entries, Entry, Key, Reader};

pub use reader::{kind, nearest, syntax};
pub use write::write;

/// What an author's table says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Stays the same across versions.
    pub id: PackageId,
    /// For people, in lists.
    pub title: Option<String>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// What the tools ask for.
    pub requests: Capabilities,
}

/// What a workspace's table says for all of its packages.
#[derive(Debug, Clone, Default)]
pub struct Defaults(Table);

/// What a `tool.toml` says: all of it, as no other file describes the package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolFile {
    /// Identity and description.
    pub package: Package,
    /// What the tools ask for.
    pub requests: Capabilities,
    /// The component, relative to the file.
    pub component: PathBuf,
}

/// A table that cannot be used, with every reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", match .problems.as_slice() {
    [only] => only.message.clone(),
    [first, ..] => format!("{} (and {} more)", first.message, .problems.len() - 1),
    [] => "the manifest is not valid".to_owned(),
})]
pub struct SourceError {
    /// At least one mistake, in the order in which they stand in the text.
    pub problems: Vec<Problem>,
}

/// One mistake in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, in a sentence.
    pub message: String,
    /// The bytes of the text that are to blame.
    pub span: Range<usize>,
    /// A few words to stand at the span.
    pub label: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl Source {
    /// Reads the table at `path` in `text`; what it leaves out comes from `defaults`.
    ///
    /// # Errors
    /// Every mistake in the table, or, where `text` is not TOML, every mistake in the syntax.
    pub fn parse(text: &str, path: &[&str], defaults: &Defaults) -> Result<Self, SourceError> {
        let root = reader::syntax(text)?;
        let mut reader = Reader::at(path, elsewhere);
        let Some(found) = reader.find(&root) else {
            return reader.finish(None);
        };
        let entries = reader.entries(found, "", &[TABLE]);
        let table = Table::read(&mut reader, &entries).or(&defaults.0);
        if !entries.has(&ID) {
            reader.missing(&entries, &ID);
        }
        let requests = table.requests(&mut reader, &entries);
        let (title, tags) = (table.title, table.tags.unwrap_or_default());
        reader.finish(table.id.map(|id| Self { id, title, tags, requests }))
    }
}

impl Defaults {
    /// Reads the table at `path` in `text`; a workspace without one has no defaults.
    ///
    /// # Errors
    /// Every mistake in the table, or, where `text` is not TOML, every mistake in the syntax.
    pub fn parse(text: &str, path: &[&str]) -> Result<Self, SourceError> {
        let root = reader::syntax(text)?;
        let mut reader = Reader::at(path, elsewhere);
        let Some(found) = Reader::at(path, elsewhere).find(&root) else {
            return Ok(Self::default());
        };
        let entries = reader.entries(found, "", &[TABLE]);
        let table = Table::read(&mut reader, &entries);
        if let Some(id) = entries.get(&ID) {
            reader.problem(
                id.key_span(),
                "a workspace cannot give an id to its packages",
                "two packages of one id would replace each other",
                Some("move it into the package that it belongs to".to_owned()),
            );
        }
        reader.finish(Some(Self(table)))
    }
}

impl ToolFile {
    /// Reads the text of a `tool.toml`.
    ///
    /// # Errors
    /// Every mistake in the file, or, where `text` is not TOML, every mistake in the syntax.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        let root = reader::syntax(text)?;
        let mut reader = Reader::at(&[], elsewhere);
        let Some(found) = reader.find(&root) else {
            return reader.finish(None);
        };
        let entries = reader.entries(found, "", &[TABLE, FILE]);
        let table = Table::read(&mut reader, &entries);
        for required in [&ID, &VERSION, &COMPONENT] {
            if !entries.has(required) {
                reader.missing(&entries, required);
            }
        }
        let requests = table.requests(&mut reader, &entries);
        let version = reader.parsed(entries.get(&VERSION));
        let component: Option<PathBuf> = reader.parsed(entries.get(&COMPONENT));
        let description = reader.text(entries.get(&DESCRIPTION));
        let license = reader.text(entries.get(&LICENSE));
        let authors = reader.list(entries.get(&AUTHORS)).unwrap_or_default();
        let homepage = reader.text(entries.get(&HOMEPAGE));
        let repository = reader.text(entries.get(&REPOSITORY));
        let (title, tags) = (table.title, table.tags.unwrap_or_default());
        let file = table.id.zip(version).zip(component).map(|((id, version), component)| {
            let package = Package {
                id,
                version,
                title,
                description,
                license,
                authors,
                homepage,
                repository,
                tags,
            };
            Self { package, requests, component }
        });
        reader.finish(file)
    }
}

const ID: Key = Key::new("id", r#"id = "dev.example.my-tool""#);
const TITLE: Key = Key::new("title", r#"title = "My tool""#);
const TAGS: Key = Key::new("tags", r#"tags = ["web"]"#);
const SECURITY: Key = Key::new("security", "security = { max-memory-mb = 64 }");
const MOUNTS: Key = Key::new("mounts", r#"mounts = { docs = { access = "read-only" } }"#);

const SECRETS: Key = Key::new(
    "secrets",
    r#"secrets = { API_KEY = { host = "api.example.com", header = "X-Key: {API_KEY}" } }"#,
);

/// The keys of the table itself.
const TABLE: &[Key] = &[ID, TITLE, TAGS, SECURITY, MOUNTS, SECRETS];

const VERSION: Key = Key::new("version", r#"version = "0.1.0""#);
const COMPONENT: Key = Key::new("component", r#"component = "my-tool.wasm""#);
const DESCRIPTION: Key = Key::new("description", r#"description = "What it is for""#);
const LICENSE: Key = Key::new("license", r#"license = "MIT""#);
const AUTHORS: Key = Key::new("authors", r#"authors = ["Ann <ann@example.com>"]"#);
const HOMEPAGE: Key = Key::new("homepage", r#"homepage = "https://example.com""#);
const REPOSITORY: Key = Key::new("repository", r#"repository = "https://example.com/repo""#);

/// The keys that only a `tool.toml` has, as elsewhere the package's own fields say it.
const FILE: &[Key] = &[VERSION, COMPONENT, DESCRIPTION, LICENSE, AUTHORS, HOMEPAGE, REPOSITORY];

const NET: Key = Key::new("net-allow-list", r#"net-allow-list = ["api.example.com"]"#);
const FS: Key = Key::new("fs-access", r#"fs-access = "read-only""#);
const SCRATCH: Key = Key::new("scratch", r#"scratch = "kept""#);
const ENV: Key = Key::new("env-allow-list", r#"env-allow-list = ["LANG"]"#);

/// The keys of `security`, besides the limits.
const SECURITY_KEYS: &[Key] = &[NET, FS, SCRATCH, ENV];

/// The keys of limits, wherever they stand.
pub(crate) const LIMIT_KEYS: &[Key] = &[
    Key::limit(Limit::Memory, "max-memory-mb = 64"),
    Key::limit(Limit::Execution, "max-execution-ms = 5000"),
    Key::limit(Limit::Cpu, "max-cpu-ms = 5000"),
    Key::limit(Limit::Fuel, "max-fuel = 10000000"),
    Key::limit(Limit::Output, "max-output-kb = 1024"),
    Key::limit(Limit::Log, "max-log-kb = 256"),
    Key::limit(Limit::Arguments, "max-arguments-kb = 1024"),
    Key::limit(Limit::Handles, "max-handles = 128"),
    Key::limit(Limit::Write, "max-write-mb = 64"),
    Key::limit(Limit::Concurrency, "max-concurrent-calls = 32"),
    Key::limit(Limit::Rate, "max-calls-per-minute = 600"),
];

const ACCESS: Key = Key::new("access", r#"access = "read-only""#);

/// The keys of one mount.
const MOUNT_KEYS: &[Key] = &[ACCESS, DESCRIPTION];

const HOST: Key = Key::new("host", r#"host = "api.example.com""#);
const HEADER: Key = Key::new("header", r#"header = "Authorization: Bearer {API_KEY}""#);
const SECRET_ENV: Key = Key::new("env", "env = true");

/// The keys of one secret.
const SECRET_KEYS: &[Key] = &[DESCRIPTION, HOST, HEADER, SECRET_ENV];

/// Where a key belongs that stands in the wrong table.
fn elsewhere(reader: &Reader<'_>, key: &str, table: &str) -> Option<String> {
    let is_of = |keys: &[Key]| keys.iter().any(|known| known.name() == key);
    if (is_of(SECURITY_KEYS) || is_of(LIMIT_KEYS)) && table != "security" {
        Some(format!("`{key}` belongs under {}", reader.header("security")))
    } else if is_of(TABLE) && !table.is_empty() {
        Some(format!("`{key}` belongs under {}", reader.header("")))
    } else if is_of(FILE) && table.is_empty() {
        Some(format!("the package's own `{key}` is used: set it there"))
    } else {
        None
    }
}

/// The table as it was written: what is absent is `None`, as a workspace may still say it.
#[derive(Debug, Clone, Default)]
struct Table {
    id: Option<PackageId>,
    title: Option<String>,
    tags: Option<Vec<String>>,
    net: Option<Vec<NetPattern>>,
    fs: Option<Written<FsAccess>>,
    scratch: Option<Written<ScratchMode>>,
    env: Option<Vec<EnvName>>,
    limits: BTreeMap<Limit, u64>,
    mounts: BTreeMap<MountName, Written<MountRequest>>,
    secrets: BTreeMap<SecretName, SecretRequest>,
}

/// A value with its place, unless it stands in another text.
#[derive(Debug, Clone)]
struct Written<T> {
    value: T,
    span: Option<Range<usize>>,
}

impl<T: Clone> Written<T> {
    fn elsewhere(&self) -> Self {
        Self { value: self.value.clone(), span: None }
    }
}

impl Table {
    fn read(reader: &mut Reader<'_>, entries: &Entries<'_>) -> Self {
        let mut table = Self {
            id: reader.parsed(entries.get(&ID)),
            title: reader.text(entries.get(&TITLE)),
            tags: reader.list(entries.get(&TAGS)),
            ..Self::default()
        };
        let known = [SECURITY_KEYS, LIMIT_KEYS];
        if let Some(security) = reader.table(entries.get(&SECURITY), "security", &known) {
            table.read_security(reader, &security);
        }
        for (name, span, mount) in reader.named_tables(entries.get(&MOUNTS), "", MOUNT_KEYS) {
            let value = read_mount(reader, &mount);
            table.mounts.insert(name, Written { value, span: Some(span) });
        }
        for (name, span, secret) in reader.named_tables(entries.get(&SECRETS), "", SECRET_KEYS) {
            let request = read_secret(reader, &name, span, &secret);
            table.secrets.insert(name, request);
        }
        table
    }

    fn read_security(&mut self, reader: &mut Reader<'_>, entries: &Entries<'_>) {
        self.net = reader.list(entries.get(&NET));
        self.env = reader.list(entries.get(&ENV));
        self.fs = entries.get(&FS).map(|entry| read_fs(reader, entry));
        self.scratch = entries.get(&SCRATCH).and_then(|entry| {
            let known = [ScratchMode::Emptied, ScratchMode::Kept];
            let value = reader.choice(Some(entry), &known)?;
            Some(Written { value, span: Some(entry.key_span()) })
        });
        self.limits = read_limits(reader, entries);
    }

    /// Fills in key by key, and mount by mount, what is not there.
    fn or(mut self, defaults: &Self) -> Self {
        for (name, mount) in &defaults.mounts {
            self.mounts.entry(name.clone()).or_insert_with(|| mount.elsewhere());
        }
        for (name, secret) in &defaults.secrets {
            self.secrets.entry(name.clone()).or_insert_with(|| secret.clone());
        }
        for (limit, value) in &defaults.limits {
            self.limits.entry(*limit).or_insert(*value);
        }
        Self {
            id: self.id,
            title: self.title.or_else(|| defaults.title.clone()),
            tags: self.tags.or_else(|| defaults.tags.clone()),
            net: self.net.or_else(|| defaults.net.clone()),
            fs: self.fs.or_else(|| defaults.fs.as_ref().map(Written::elsewhere)),
            scratch: self.scratch.or_else(|| defaults.scratch.as_ref().map(Written::elsewhere)),
            env: self.env.or_else(|| defaults.env.clone()),
            limits: self.limits,
            mounts: self.mounts,
            secrets: self.secrets,
        }
    }

    /// What the table asks for, once everything in it agrees with everything else.
    fn requests(&self, reader: &mut Reader<'_>, entries: &Entries<'_>) -> Capabilities {
        let fs = self.fs.as_ref().map_or(FsAccess::None, |fs| fs.value);
        for (name, mount) in &self.mounts {
            let needed = match (fs, mount.value.access) {
                (FsAccess::None, Access::ReadOnly) => FsAccess::ReadOnly,
                (FsAccess::None | FsAccess::ReadOnly, Access::ReadWrite) => FsAccess::Sandbox,
                _ => continue,
            };
            reader.problem(
                mount.span.clone().unwrap_or_else(|| entries.span()),
                format!(
                    "the mount `{name}` is {}, and `fs-access` is \"{fs}\"",
                    mount.value.access
                ),
                "can never be used",
                Some(format!(
                    "write `fs-access = \"{needed}\"` under {}",
                    reader.header("security")
                )),
            );
        }
        if let Some(scratch) = &self.scratch
            && fs != FsAccess::Sandbox
        {
            reader.problem(
                scratch.span.clone().unwrap_or_else(|| entries.span()),
                format!("there is no scratch directory where `fs-access` is \"{fs}\""),
                "can never be used",
                Some(format!(
                    "write `fs-access = \"sandbox\"` under {}",
                    reader.header("security")
                )),
            );
        }
        let mounts = self.mounts.iter().map(|(name, mount)| (name.clone(), mount.value.clone()));
        Capabilities {
            net: self.net.clone().unwrap_or_default(),
            fs,
            scratch: self.scratch.as_ref().map(|scratch| scratch.value).unwrap_or_default(),
            mounts: mounts.collect(),
            env: self.env.iter().flatten().cloned().collect::<BTreeSet<_>>(),
            secrets: self.secrets.clone(),
            limits: self.limits(),
        }
    }

    /// Each limit was judged when it was read, so none is left out here.
    fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        for (limit, value) in &self.limits {
            limits = limits.with(*limit, *value).unwrap_or(limits);
        }
        limits
    }
}

/// Takes what is not readable for the widest access, so that no mount is blamed for it as well.
fn read_fs(reader: &mut Reader<'_>, entry: &Entry<'_>) -> Written<FsAccess> {
    let known = [FsAccess::None, FsAccess::ReadOnly, FsAccess::Sandbox];
    let value = reader.choice(Some(entry), &known).unwrap_or(FsAccess::Sandbox);
    Written { value, span: Some(entry.key_span()) }
}

/// The limits that a table sets.
pub(crate) fn read_limits(reader: &mut Reader<'_>, entries: &Entries<'_>) -> BTreeMap<Limit, u64> {
    let read = |limit: Limit| {
        let entry = entries.named(limit.key());
        Some((limit, reader.number(entry, |value| limit.check(value))?))
    };
    Limit::ALL.into_iter().filter_map(read).collect()
}

fn read_mount(reader: &mut Reader<'_>, entries: &Entries<'_>) -> MountRequest {
    let known = [Access::ReadOnly, Access::ReadWrite];
    MountRequest {
        access: reader.choice(entries.get(&ACCESS), &known).unwrap_or_default(),
        description: reader.text(entries.get(&DESCRIPTION)).unwrap_or_default(),
    }
}

/// A secret says to which host it goes and in which header, or that the guest gets it.
fn read_secret(
    reader: &mut Reader<'_>,
    name: &SecretName,
    span: Range<usize>,
    entries: &Entries<'_>,
) -> SecretRequest {
    let host: Option<SecretHost> = reader.parsed(entries.get(&HOST));
    let header: Option<HeaderTemplate> = reader.parsed(entries.get(&HEADER));
    let env = reader.flag(entries.get(&SECRET_ENV)).unwrap_or_default();
    let description = reader.text(entries.get(&DESCRIPTION)).unwrap_or_default();
    let missing = match (entries.has(&HOST), entries.has(&HEADER)) {
        (true, false) => Some(&HEADER),
        (false, true) => Some(&HOST),
        (false, false) if !entries.has(&SECRET_ENV) => Some(&HOST),
        _ => None,
    };
    if let Some(missing) = missing {
        reader.missing(entries, missing);
    }
    if let Some(header) = &header
        && header.secret() != name
    {
        reader.problem(
            span,
            format!("the header of the secret `{name}` carries another one"),
            format!("the header says {{{}}}", header.secret()),
            Some(format!("write {{{name}}} in it")),
        );
    }
    let inject = host.zip(header).map(|(host, header)| Injection { host, header });
    SecretRequest { description, inject, env }
}

#[cfg(test)]
mod tests;
