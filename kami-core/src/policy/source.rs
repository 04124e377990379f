//! The text of a policy: sections, and in them grants and ceilings.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt::Display;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use super::{AuditedArguments, Policy, Section, VERSION};
use crate::grants::{Access, Binding, Ceiling, Ceilings, FsAccess, Grant, Limit, ScratchMode};
use crate::manifest::source::reader::{self, Entries, Key, Reader, below};
use crate::manifest::source::{LIMIT_KEYS, SourceError, read_limits};
use crate::scheduler::Priority;

const VERSION_KEY: Key = Key::new("version", "version = 1");
const DEFAULT: Key = Key::new("default", r#"default = { ceiling = { fs = "read-only" } }"#);
const PUBLISHER: Key = Key::new("publisher", "publisher = { alice = { refuse = true } }");
const TOOL: Key = Key::new("tool", r#"tool = { "dev.example.*" = { refuse = true } }"#);
const SERVER: Key = Key::new("server", "server = { max-calls-per-minute = 600 }");
const AUDIT: Key = Key::new("audit", r#"audit = { arguments = "digest" }"#);

/// The keys of the file itself.
const FILE: &[Key] = &[VERSION_KEY, DEFAULT, PUBLISHER, TOOL, SERVER, AUDIT];

const REFUSE: Key = Key::new("refuse", "refuse = true");
const PRIORITY: Key = Key::new("priority", r#"priority = "high""#);
const GRANT: Key = Key::new("grant", r#"grant = { net = ["api.example.com"] }"#);
const CEILING: Key = Key::new("ceiling", r#"ceiling = { net = ["*.example.com"] }"#);

/// The keys of a section.
const SECTION: &[Key] = &[REFUSE, PRIORITY, GRANT, CEILING];

const NET: Key = Key::new("net", r#"net = ["api.example.com"]"#);
const FS: Key = Key::new("fs", r#"fs = "read-only""#);
const SCRATCH: Key = Key::new("scratch", r#"scratch = "kept""#);
const MOUNTS: Key = Key::new("mounts", r#"mounts = { docs = { path = "./docs" } }"#);
const MOUNT_ROOTS: Key = Key::new("mount-roots", r#"mount-roots = ["/srv"]"#);
const ENV: Key = Key::new("env", r#"env = ["LANG"]"#);
const SECRETS: Key = Key::new("secrets", r#"secrets = ["GITHUB_TOKEN"]"#);
const LIMITS: Key = Key::new("limits", "limits = { max-memory-mb = 64 }");

/// The keys of a grant.
const GRANT_KEYS: &[Key] = &[NET, FS, SCRATCH, MOUNTS, ENV, SECRETS, LIMITS];

/// The keys of a ceiling.
const CEILING_KEYS: &[Key] = &[NET, FS, MOUNT_ROOTS, ENV, SECRETS, LIMITS];

const PATH: Key = Key::new("path", r#"path = "./docs""#);
const ACCESS: Key = Key::new("access", r#"access = "read-only""#);

/// The keys of one mount.
const MOUNT_KEYS: &[Key] = &[PATH, ACCESS];

const CALLS: Key = Key::new("max-calls-per-minute", "max-calls-per-minute = 600");
const ARGUMENTS: Key = Key::new("arguments", r#"arguments = "digest""#);

/// The keys of `server`.
const SERVER_KEYS: &[Key] = &[CALLS];

/// The keys of `audit`.
const AUDIT_KEYS: &[Key] = &[ARGUMENTS];

const FS_ACCESS: [FsAccess; 3] = [FsAccess::None, FsAccess::ReadOnly, FsAccess::Sandbox];

pub(super) fn parse(text: &str, directory: &Path) -> Result<Policy, SourceError> {
    let root = reader::syntax(text)?;
    let mut reader = Reader::at(&[], elsewhere);
    let Some(found) = reader.find(&root) else { return reader.finish(None) };
    let entries = reader.entries(found, "", &[FILE]);
    check_version(&mut reader, &entries);
    let mut sections = Sections { reader: &mut reader, directory };
    let default = sections.default(&entries);
    let publishers = sections.named(&entries, &PUBLISHER);
    let tools = sections.named(&entries, &TOOL);
    let server = reader.table(entries.get(&SERVER), "server", &[SERVER_KEYS]);
    let calls_per_minute = server
        .and_then(|server| reader.number(server.get(&CALLS), |calls| Limit::Rate.check(calls)));
    let audit = reader.table(entries.get(&AUDIT), "audit", &[AUDIT_KEYS]);
    let known = [AuditedArguments::Digest, AuditedArguments::Full];
    let audited_arguments = audit.and_then(|audit| reader.choice(audit.get(&ARGUMENTS), &known));
    let policy = Policy { default, publishers, tools, calls_per_minute, audited_arguments };
    reader.finish(Some(policy))
}

/// Reads the text of a grant alone, as `grant` is in a policy; paths in it are relative to
/// `directory`.
///
/// # Errors
/// Every mistake in the text, or, where it is not TOML, every mistake in the syntax.
pub fn parse_grant(text: &str, directory: &Path) -> Result<Grant, SourceError> {
    let root = reader::syntax(text)?;
    let mut reader = Reader::at(&[], elsewhere);
    let Some(found) = reader.find(&root) else { return reader.finish(None) };
    let entries = reader.entries(found, "", &[GRANT_KEYS]);
    let grant = Sections { reader: &mut reader, directory }.grant(&entries, "");
    reader.finish(Some(grant))
}

/// Reads the version, so that no file is taken for what it is not.
fn check_version(reader: &mut Reader<'_>, entries: &Entries<'_>) {
    let Some(entry) = entries.get(&VERSION_KEY) else {
        return reader.missing(entries, &VERSION_KEY);
    };
    let version = reader.number(Some(entry), Ok::<_, Infallible>);
    if let Some(version) = version.filter(|version| *version != VERSION) {
        reader.problem(
            entry.key_span(),
            format!("this program does not know version {version} of a policy"),
            format!("it knows version {VERSION}"),
            Some("update cargo-kami".to_owned()),
        );
    }
}

/// An author's manifest and a policy speak of the same things by different names.
fn elsewhere(_: &Reader<'_>, key: &str, table: &str) -> Option<String> {
    let limits = LIMIT_KEYS.iter().any(|known| known.name() == key);
    let here = match key {
        "net-allow-list" => "net",
        "fs-access" => "fs",
        "env-allow-list" => "env",
        "mount-roots" if table.ends_with("grant") => {
            return Some("a ceiling has `mount-roots`; a grant has `mounts`".to_owned());
        }
        "priority" if table.ends_with("grant") || table.ends_with("ceiling") => {
            return Some("it belongs to the section itself, beside `grant`".to_owned());
        }
        "mounts" if table.ends_with("ceiling") => {
            return Some("a grant has `mounts`; a ceiling has `mount-roots`".to_owned());
        }
        _ if limits => return Some(format!("`{key}` belongs under `limits`")),
        _ => return None,
    };
    Some(format!("in a policy, it is `{here}`"))
}

/// Reads sections, and knows what their paths are relative to.
struct Sections<'r, 'p> {
    reader: &'r mut Reader<'p>,
    directory: &'r Path,
}

impl Sections<'_, '_> {
    fn default(&mut self, entries: &Entries<'_>) -> Section {
        let table = self.reader.table(entries.get(&DEFAULT), DEFAULT.name(), &[SECTION]);
        table.map(|table| self.section(&table, DEFAULT.name())).unwrap_or_default()
    }

    fn named<T>(&mut self, entries: &Entries<'_>, kind: &Key) -> BTreeMap<T, Section>
    where
        T: FromStr<Err: Display> + Display + Ord,
    {
        let tables = self.reader.named_tables(entries.get(kind), "", SECTION);
        let sections = tables.into_iter().map(|(name, _, table): (T, _, _)| {
            let header = below(kind.name(), &name.to_string());
            let section = self.section(&table, &header);
            (name, section)
        });
        sections.collect()
    }

    fn section(&mut self, entries: &Entries<'_>, header: &str) -> Section {
        let refuse = self.reader.flag(entries.get(&REFUSE));
        let priority = self.reader.choice(entries.get(&PRIORITY), &Priority::ALL);
        let at = below(header, GRANT.name());
        let grant = self.reader.table(entries.get(&GRANT), &at, &[GRANT_KEYS]);
        let grant = grant.map(|table| self.grant(&table, &at));
        let at = below(header, CEILING.name());
        let ceiling = self.reader.table(entries.get(&CEILING), &at, &[CEILING_KEYS]);
        let ceiling = ceiling.map(|table| self.ceiling(&table, &at));
        Section { refuse, priority, grant, ceiling }
    }

    fn grant(&mut self, entries: &Entries<'_>, header: &str) -> Grant {
        let fs = self.reader.choice(entries.get(&FS), &FS_ACCESS);
        let known = [ScratchMode::Emptied, ScratchMode::Kept];
        let mut grant = Grant {
            net: self.reader.list(entries.get(&NET)).unwrap_or_default(),
            fs: fs.unwrap_or_default(),
            scratch: self.reader.choice(entries.get(&SCRATCH), &known).unwrap_or_default(),
            mounts: BTreeMap::new(),
            env: self.set(entries, &ENV).unwrap_or_default(),
            secrets: self.set(entries, &SECRETS).unwrap_or_default(),
            limits: self.limits(entries, header),
        };
        let mounts = self.reader.named_tables(entries.get(&MOUNTS), header, MOUNT_KEYS);
        for (name, span, table) in mounts {
            let Some(binding) = self.binding(&table) else { continue };
            self.check_fs(grant.fs, fs.is_none() && entries.has(&FS), &binding, span, header);
            grant.mounts.insert(name, binding);
        }
        grant
    }

    /// A directory that could never be seen is not what its writer meant.
    fn check_fs(
        &mut self,
        fs: FsAccess,
        unreadable: bool,
        binding: &Binding,
        span: Range<usize>,
        header: &str,
    ) {
        let needed = match (fs, binding.access) {
            (FsAccess::None, Access::ReadOnly) => FsAccess::ReadOnly,
            (FsAccess::None | FsAccess::ReadOnly, Access::ReadWrite) => FsAccess::Sandbox,
            _ => return,
        };
        if unreadable {
            // That was blamed already.
            return;
        }
        self.reader.problem(
            span,
            format!("this directory is granted {}, and `fs` is \"{fs}\"", binding.access),
            "can never be used",
            Some(format!("write `fs = \"{needed}\"` under {}", self.reader.header(header))),
        );
    }

    fn binding(&mut self, entries: &Entries<'_>) -> Option<Binding> {
        let known = [Access::ReadOnly, Access::ReadWrite];
        let access = self.reader.choice(entries.get(&ACCESS), &known).unwrap_or_default();
        if !entries.has(&PATH) {
            self.reader.missing(entries, &PATH);
        }
        let path: PathBuf = self.reader.parsed(entries.get(&PATH))?;
        Some(Binding { path: absolute(self.directory, &path), access })
    }

    fn ceiling(&mut self, entries: &Entries<'_>, header: &str) -> Ceiling {
        let roots: Option<Vec<PathBuf>> = self.reader.list(entries.get(&MOUNT_ROOTS));
        let roots =
            roots.map(|roots| roots.iter().map(|root| absolute(self.directory, root)).collect());
        Ceiling {
            net: self.reader.list(entries.get(&NET)),
            fs: self.reader.choice(entries.get(&FS), &FS_ACCESS),
            mount_roots: roots,
            env: self.set(entries, &ENV),
            secrets: self.set(entries, &SECRETS),
            limits: self.limits(entries, header),
        }
    }

    fn set<T>(&mut self, entries: &Entries<'_>, key: &Key) -> Option<BTreeSet<T>>
    where
        T: FromStr<Err: Display> + Ord,
    {
        let list: Option<Vec<T>> = self.reader.list(entries.get(key));
        list.map(|list| list.into_iter().collect())
    }

    fn limits(&mut self, entries: &Entries<'_>, header: &str) -> Ceilings {
        let at = below(header, LIMITS.name());
        let table = self.reader.table(entries.get(&LIMITS), &at, &[LIMIT_KEYS]);
        let mut limits = Ceilings::default();
        for (limit, value) in table.iter().flat_map(|table| read_limits(self.reader, table)) {
            // It was judged when it was read.
            let _ = limits.set(limit, value);
        }
        limits
    }
}

/// Takes `..` out by the text alone: a path is compared by its components, of which it would be one.
fn absolute(directory: &Path, path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in directory.join(path).components() {
        match component {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}
