//! The table of names: which tool is meant by which name on the wire.
//!
//! How a tool is called depends on all others, so the names are worked out when packages come and
//! go, in the transaction that changes them, and not by those who look for a tool. They read one
//! row, or one page of rows, however many there are.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::Arc;

use lru::LruCache;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Params, Row};

use super::naming::{RESERVED, Unnamed, wire_names};
use super::row::{self, RowError, required};
use super::{DataDir, InstalledPackage, Registry, RegistryError};
use crate::manifest::{Manifest, ToolDefinition};
use crate::name::{PackageId, ToolName};

macro_rules! entries {
    ($rest:literal) => {
        concat!("SELECT names.name, names.package, names.tool AS item FROM names ", $rest)
    };
}

/// The tool with a name on the wire.
pub(super) const BY_NAME: &str = entries!("WHERE name = ?1");

/// One tool of one package.
const OF_PACKAGE: &str = entries!(
    "JOIN packages ON packages.key = names.package WHERE packages.id = ?1 AND names.tool = ?2"
);

/// Some tools, in the order of their names.
const PAGE: &str = entries!("WHERE name > ?1 ORDER BY name LIMIT ?2");

/// The names around one that is not there, in both directions.
const AROUND: [&str; 2] = [
    "SELECT name FROM names WHERE name < ?1 ORDER BY name DESC LIMIT 256",
    "SELECT name FROM names WHERE name >= ?1 ORDER BY name LIMIT 256",
];

/// The names of what may be meant by an id, a short id, or a tool's own name, in this order.
const MEANT: [&str; 3] = [
    "SELECT names.name FROM packages JOIN names ON names.package = packages.key
     WHERE packages.id = ?1 ORDER BY names.name LIMIT 10",
    "SELECT names.name FROM packages JOIN names ON names.package = packages.key
     WHERE instr(?1, '.') = 0 AND substr(packages.id, -1 - length(?1)) = '.' || ?1
     ORDER BY names.name LIMIT 10",
    "SELECT name FROM names WHERE tool = ?1 ORDER BY name LIMIT 10",
];

/// The ids that have a last label, or are it as a whole. An index holds all that this reads.
const IDS: &str = "SELECT id FROM packages
     WHERE id = ?1 OR instr(?1, '.') = 0 AND substr(id, -1 - length(?1)) = '.' || ?1
     ORDER BY id <> ?1, id";

/// All names, and all that they come from. No manifest is read: an index holds the ids, and another
/// one the few aliases.
const NAMES: &str = "SELECT name, package, tool FROM names";
const PACKAGES: &str = "SELECT key, id FROM packages ORDER BY id";
const ALIASES: &str = "SELECT key, alias FROM packages WHERE alias IS NOT NULL";

/// How many packages are kept as they were read. Most have some kilobytes, and none more than its
/// manifest may have.
const KNOWN_PACKAGES: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// One tool that clients may call.
#[derive(Debug, Clone)]
pub struct CatalogEntry {
    /// The name on the wire.
    pub wire_name: ToolName,
    /// The package that it belongs to.
    pub package: Arc<InstalledPackage>,
    pub(crate) index: usize,
}

impl CatalogEntry {
    /// What it is and takes, as recorded at install.
    pub fn definition(&self) -> &ToolDefinition {
        &self.package.manifest.tools[self.index]
    }

    /// The name that no other package can take: `id/tool`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.package.id(), self.definition().name)
    }
}

/// Packages that were read, by their keys, which mean the same for one generation.
#[derive(Debug)]
pub(super) struct Known {
    generation: i64,
    packages: LruCache<i64, Arc<InstalledPackage>>,
}

impl Default for Known {
    fn default() -> Self {
        Self { generation: 0, packages: LruCache::new(KNOWN_PACKAGES) }
    }
}

impl Registry {
    /// The tool with this name on the wire.
    ///
    /// # Errors
    /// Where the database, or the entry of its package, cannot be read.
    pub fn tool(&self, name: &ToolName) -> Result<Option<CatalogEntry>, RegistryError> {
        Ok(self.joined(BY_NAME, [name.as_str()], entry)?.pop())
    }

    /// The tool of this name in the package `id`.
    ///
    /// # Errors
    /// Where the database, or the entry of its package, cannot be read.
    pub fn tool_of(&self, id: &str, tool: &str) -> Result<Option<CatalogEntry>, RegistryError> {
        Ok(self.joined(OF_PACKAGE, [id, tool], entry)?.pop())
    }

    /// At most `count` tools in the order of their names, from the first one after `after` on.
    ///
    /// # Errors
    /// Where the database, or the entry of one of their packages, cannot be read.
    pub fn tools(&self, after: &str, count: usize) -> Result<Vec<CatalogEntry>, RegistryError> {
        self.joined(PAGE, (after, i64::try_from(count).unwrap_or(i64::MAX)), entry)
    }

    /// How many tools there are.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn tool_count(&self) -> Result<usize, RegistryError> {
        let count = || -> rusqlite::Result<i64> {
            let mut statement = self.connection.prepare_cached("SELECT tools FROM meta")?;
            statement.query_row([], |row| row.get(0))
        };
        let count = count().map_err(|error| RegistryError::sql(&self.dir, error))?;
        Ok(usize::try_from(count).unwrap_or_default())
    }

    /// The names before and after `name`, some hundred of each.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn names_around(&self, name: &str) -> Result<Vec<ToolName>, RegistryError> {
        let [before, after] = AROUND.map(|query| self.texts(query, name));
        Ok(before?.into_iter().chain(after?).collect())
    }

    /// The names of the tools, ten at most, that a person may mean who says `name`: those of the
    /// package with this id or, without any, this short id; or else those that call themselves so.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn names_meant(&self, name: &str) -> Result<Vec<ToolName>, RegistryError> {
        for query in MEANT {
            let names = self.texts(query, name)?;
            if !names.is_empty() {
                return Ok(names);
            }
        }
        Ok(Vec::new())
    }

    /// The packages that a person may mean who says `name`: the one with this id, or else those
    /// with this short id.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn ids_meant(&self, name: &str) -> Result<Vec<PackageId>, RegistryError> {
        let mut ids: Vec<PackageId> = self.texts(IDS, name)?;
        if ids.first().is_some_and(|first| first.as_str() == name) {
            ids.truncate(1);
        }
        Ok(ids)
    }

    /// The names that tools of other packages would get if a package with this manifest and this
    /// alias were installed: each old one with the new one.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn renamings(
        &self,
        manifest: &Manifest,
        alias: Option<&ToolName>,
    ) -> Result<Vec<(ToolName, ToolName)>, RegistryError> {
        // No row has it: SQLite counts keys from 1.
        const NEW: i64 = 0;
        let failed = |error| RegistryError::sql(&self.dir, error);
        let reading = self.connection.unchecked_transaction().map_err(failed)?;
        let mut tools = Tools::read(&reading).map_err(failed)?;
        let id = &manifest.package.id;
        let replaced: Vec<i64> = tools
            .packages
            .iter()
            .filter(|(_, about)| about.id == *id)
            .map(|(key, _)| *key)
            .collect();
        tools.rows.retain(|row| !replaced.contains(&row.package));
        let count = manifest.tools.len();
        tools.packages.insert(NEW, About { id: id.clone(), alias: alias.cloned(), tools: count });
        tools.rows.extend(manifest.tools.iter().map(|tool| NameRow {
            name: String::new(),
            package: NEW,
            tool: tool.name.to_string(),
        }));
        let mut renamed = Vec::new();
        for (row, name) in tools.rows.iter().zip(tools.names()) {
            if row.package != NEW
                && row.name != name
                && let (Ok(old), Ok(new)) = (row.name.parse(), name.parse())
            {
                renamed.push((old, new));
            }
        }
        renamed.sort();
        Ok(renamed)
    }

    /// Reads rows that refer to their packages, with these, as all of it was at one moment.
    pub(super) fn joined<T>(
        &self,
        query: &str,
        parameters: impl Params,
        entry: impl Fn(&Row<'_>, Arc<InstalledPackage>) -> Result<T, RowError>,
    ) -> Result<Vec<T>, RegistryError> {
        let failed = |error| RegistryError::sql(&self.dir, error);
        let reading = self.connection.unchecked_transaction().map_err(failed)?;
        let generation = super::generation(&reading).map_err(failed)?;
        let mut known = self.known.borrow_mut();
        if known.generation != generation {
            *known = Known { generation, ..Known::default() };
        }
        let mut statement = reading.prepare_cached(query).map_err(failed)?;
        let mut rows = statement.query(parameters).map_err(failed)?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next().map_err(failed)? {
            let key = row.get("package").map_err(failed)?;
            let package = known.packages.try_get_or_insert(key, || {
                let found = row::select(&reading, &self.dir, row::BY_KEY, [key])?;
                let found = found.into_iter().next().map(Arc::new);
                found.ok_or_else(|| failed(rusqlite::Error::QueryReturnedNoRows))
            });
            let package = Arc::clone(package?);
            let id = package.id().to_string();
            let entry = entry(row, package);
            entries.push(entry.map_err(|source| RegistryError::Row { package: id, source })?);
        }
        Ok(entries)
    }

    /// What a query gives that gives one text in each row. What cannot be parsed is left out: it
    /// belongs to a damaged entry, and whoever reads that is told.
    pub(super) fn texts<T: FromStr>(
        &self,
        query: &str,
        name: &str,
    ) -> Result<Vec<T>, RegistryError> {
        let read = || -> rusqlite::Result<Vec<T>> {
            let mut statement = self.connection.prepare_cached(query)?;
            let mut rows = statement.query([name])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.extend(parsed(row.get_ref(0)?));
            }
            Ok(found)
        };
        read().map_err(|error| RegistryError::sql(&self.dir, error))
    }
}

fn entry(row: &Row<'_>, package: Arc<InstalledPackage>) -> Result<CatalogEntry, RowError> {
    let index = required(row, "item", |tool| {
        let mut tools = package.manifest.tools.iter();
        tools.position(|found| found.name.as_str() == tool).ok_or("its manifest has no such tool")
    })?;
    Ok(CatalogEntry { wire_name: required(row, "name", str::parse)?, package, index })
}

fn parsed<T: FromStr>(value: ValueRef<'_>) -> Option<T> {
    value.as_str().ok()?.parse().ok()
}

/// Adds the tools of a new package, without names yet: [`renew`] gives them.
pub(super) fn add(connection: &Connection, key: i64, manifest: &Manifest) -> rusqlite::Result<()> {
    let add = "INSERT INTO names (name, package, tool) VALUES (?1, ?2, ?3)";
    let mut statement = connection.prepare_cached(add)?;
    for tool in &manifest.tools {
        let tool = tool.name.as_str();
        statement.execute((placeholder(key, tool), key, tool))?;
    }
    Ok(())
}

/// Stands in the place of a name; nobody can ask for it, as no name has a slash.
fn placeholder(package: i64, tool: &str) -> String {
    format!("{package}/{tool}")
}

/// Gives every tool the name that it has among those that are there now, and counts them. Only what
/// changes is written.
pub(super) fn renew(connection: &Connection, dir: &DataDir) -> Result<(), RegistryError> {
    let write = || -> rusqlite::Result<()> {
        let tools = Tools::read(connection)?;
        let names = tools.names();
        let changed = || tools.rows.iter().zip(&names).filter(|(row, name)| row.name != **name);
        // First all that go: one may have the name that another one gets.
        let mut delete = connection.prepare_cached("DELETE FROM names WHERE name = ?1")?;
        for (row, _) in changed() {
            delete.execute([&row.name])?;
        }
        let add = "INSERT INTO names (name, package, tool) VALUES (?1, ?2, ?3)";
        let mut add = connection.prepare_cached(add)?;
        for (row, name) in changed() {
            add.execute((name, row.package, &row.tool))?;
        }
        let count = i64::try_from(tools.rows.len()).unwrap_or(i64::MAX);
        connection.execute("UPDATE meta SET tools = ?1", [count]).map(drop)
    };
    write().map_err(|error| RegistryError::sql(dir, error))
}

/// Every tool with the name that it has, and all that its name should come from.
struct Tools {
    rows: Vec<NameRow>,
    packages: HashMap<i64, About>,
}

struct NameRow {
    name: String,
    package: i64,
    tool: String,
}

/// What a package contributes to the names of its tools.
struct About {
    id: PackageId,
    alias: Option<ToolName>,
    tools: usize,
}

impl Tools {
    /// Reads within a transaction, so that all of it is from one moment.
    ///
    /// An entry whose id or alias cannot be read is left out, and keeps nobody else from a name.
    fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let mut packages = HashMap::new();
        let mut statement = connection.prepare_cached(PACKAGES)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if let Some(id) = parsed(row.get_ref(1)?) {
                packages.insert(row.get(0)?, About { id, alias: None, tools: 0 });
            }
        }
        let mut statement = connection.prepare_cached(ALIASES)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let key: i64 = row.get(0)?;
            match (parsed(row.get_ref(1)?), packages.get_mut(&key)) {
                (None, _) => drop(packages.remove(&key)),
                (alias, Some(about)) => about.alias = alias,
                (Some(_), None) => {}
            }
        }
        let mut statement = connection.prepare_cached(NAMES)?;
        let rows = statement.query_map([], |row| {
            Ok(NameRow { name: row.get(0)?, package: row.get(1)?, tool: row.get(2)? })
        })?;
        let rows: Vec<NameRow> = rows.collect::<rusqlite::Result<_>>()?;
        for row in &rows {
            if let Some(about) = packages.get_mut(&row.package) {
                about.tools += 1;
            }
        }
        Ok(Self { rows, packages })
    }

    /// The name that each should have, in the order of the rows; where it cannot have one, what
    /// stands in its place.
    fn names(&self) -> Vec<String> {
        let readable = |(at, row): (usize, &NameRow)| {
            let about = self.packages.get(&row.package)?;
            Some((at, about, row.tool.parse::<ToolName>().ok()?))
        };
        let readable: Vec<_> = self.rows.iter().enumerate().filter_map(readable).collect();
        let unnamed: Vec<_> = readable
            .iter()
            .map(|(_, about, tool)| {
                let About { id, alias, tools } = about;
                Unnamed { id, alias: alias.as_ref(), tool, alone: *tools == 1 }
            })
            .collect();
        let mut names: Vec<String> =
            self.rows.iter().map(|row| placeholder(row.package, &row.tool)).collect();
        for ((at, ..), name) in readable.iter().zip(wire_names(&unnamed, &RESERVED)) {
            names[*at] = name.into();
        }
        names
    }
}
