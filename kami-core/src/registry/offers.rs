//! What packages offer besides tools: by which name each prompt goes, and whose each URI is.
//!
//! A client reads a resource by its URI alone, and URIs cannot be prefixed as names can: they stand
//! in what tools give. So each package has a space of URIs to itself, the URIs that it lists and all
//! that begin as one of its templates does, and one whose space overlaps another's is not installed.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::naming::{Unnamed, wire_names};
use super::row::{RowError, required};
use super::{DataDir, InstalledPackage, Registry, RegistryError};
use crate::manifest::{
    Manifest, PromptDefinition, ResourceDefinition, ResourceUri, TemplateDefinition,
};
use crate::name::{PackageId, ToolName};

/// Above every character of a URI.
const LAST: char = '\x7f';

macro_rules! prompts {
    ($rest:literal) => {
        concat!("SELECT name, package, prompt AS item FROM prompts ", $rest)
    };
}

/// The prompt with a name on the wire, and some in the order of their names.
const PROMPT: &str = prompts!("WHERE name = ?1");
const PROMPTS: &str = prompts!("WHERE name > ?1 ORDER BY name LIMIT ?2");

macro_rules! uris {
    ($rest:literal) => {
        concat!("SELECT uri, package, uri AS item FROM uris ", $rest)
    };
}

/// Who lists a URI, and who has the longest template that begins before it.
const LISTED: &str = uris!("WHERE template = 0 AND uri = ?1");
const BELOW: &str = uris!("WHERE template = 1 AND prefix <= ?1 ORDER BY prefix DESC, uri LIMIT 1");

/// The template of this form.
const TEMPLATE: &str = uris!("WHERE template = 1 AND uri = ?1");

/// Some resources, or templates, in the order of their URIs.
const RESOURCES: &str = uris!("WHERE template = 0 AND uri > ?1 ORDER BY uri LIMIT ?2");
const TEMPLATES: &str = uris!("WHERE template = 1 AND uri > ?1 ORDER BY uri LIMIT ?2");

/// Another package that lists a URI, has a template that begins before it, or has anything between
/// two texts.
const OTHER_LISTED: &str = "SELECT uri, package FROM uris
     WHERE template = 0 AND uri = ?1 AND package <> ?2";
const OTHER_BELOW: &str = "SELECT prefix, package FROM uris
     WHERE template = 1 AND substr(?1, 1, length(prefix)) = prefix AND package <> ?2 LIMIT 1";
const OTHER_WITHIN: &str = "SELECT uri, package FROM uris
     WHERE template = ?4 AND prefix >= ?1 AND prefix < ?3 AND package <> ?2 LIMIT 1";

/// One prompt that clients may pick.
#[derive(Debug, Clone)]
pub struct PromptEntry {
    /// The name on the wire.
    pub wire_name: ToolName,
    /// The package that it belongs to.
    pub package: Arc<InstalledPackage>,
    index: usize,
}

/// One resource that clients may read.
#[derive(Debug, Clone)]
pub struct ResourceEntry {
    /// The package that it belongs to.
    pub package: Arc<InstalledPackage>,
    index: usize,
}

/// The form of resources that clients may read.
#[derive(Debug, Clone)]
pub struct TemplateEntry {
    /// The package that they belong to.
    pub package: Arc<InstalledPackage>,
    index: usize,
}

impl PromptEntry {
    /// What it is and takes, as recorded at install.
    pub fn definition(&self) -> &PromptDefinition {
        &self.package.manifest.prompts[self.index]
    }
}

impl ResourceEntry {
    /// What it is, as recorded at install.
    pub fn definition(&self) -> &ResourceDefinition {
        &self.package.manifest.resources[self.index]
    }
}

impl TemplateEntry {
    /// What they are, as recorded at install.
    pub fn definition(&self) -> &TemplateDefinition {
        &self.package.manifest.resource_templates[self.index]
    }
}

impl Registry {
    /// Whether anything is offered besides tools: resources or templates of them, and prompts.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn offers(&self) -> Result<(bool, bool), RegistryError> {
        let query = "SELECT EXISTS (SELECT 1 FROM uris), EXISTS (SELECT 1 FROM prompts)";
        let found = self.connection.prepare_cached(query).and_then(|mut statement| {
            statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        });
        found.map_err(|error| RegistryError::sql(&self.dir, error))
    }

    /// The prompt with this name on the wire.
    ///
    /// # Errors
    /// Where the database, or the entry of its package, cannot be read.
    pub fn prompt(&self, name: &ToolName) -> Result<Option<PromptEntry>, RegistryError> {
        Ok(self.joined(PROMPT, [name.as_str()], prompt)?.pop())
    }

    /// At most `count` prompts in the order of their names, from the first one after `after` on.
    ///
    /// # Errors
    /// Where the database, or the entry of one of their packages, cannot be read.
    pub fn prompts(&self, after: &str, count: usize) -> Result<Vec<PromptEntry>, RegistryError> {
        self.joined(PROMPTS, (after, limit(count)), prompt)
    }

    /// At most `count` resources in the order of their URIs, from the first one after `after` on.
    ///
    /// # Errors
    /// Where the database, or the entry of one of their packages, cannot be read.
    pub fn resources(
        &self,
        after: &str,
        count: usize,
    ) -> Result<Vec<ResourceEntry>, RegistryError> {
        self.joined(RESOURCES, (after, limit(count)), resource)
    }

    /// The same for templates.
    ///
    /// # Errors
    /// Where the database, or the entry of one of their packages, cannot be read.
    pub fn templates(
        &self,
        after: &str,
        count: usize,
    ) -> Result<Vec<TemplateEntry>, RegistryError> {
        self.joined(TEMPLATES, (after, limit(count)), template)
    }

    /// The template of this form, as it is written.
    ///
    /// # Errors
    /// Where the database, or the entry of its package, cannot be read.
    pub fn template(&self, form: &str) -> Result<Option<TemplateEntry>, RegistryError> {
        Ok(self.joined(TEMPLATE, [form], template)?.pop())
    }

    /// The package whose resource a URI is: one that lists it, or has a template that it fits.
    ///
    /// # Errors
    /// Where the database, or the entry of that package, cannot be read.
    pub fn owner_of(
        &self,
        uri: &ResourceUri,
    ) -> Result<Option<Arc<InstalledPackage>>, RegistryError> {
        if let Some(found) = self.joined(LISTED, [uri.as_str()], resource)?.pop() {
            return Ok(Some(found.package));
        }
        // Between its beginning and the URI, no other package has anything.
        let below = self.joined(BELOW, [uri.as_str()], template)?.pop();
        Ok(below.map(|below| below.package).filter(|package| {
            let mut templates = package.manifest.resource_templates.iter();
            templates.any(|template| template.uri_template.matches(uri))
        }))
    }
}

fn limit(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn prompt(row: &Row<'_>, package: Arc<InstalledPackage>) -> Result<PromptEntry, RowError> {
    let index = required(row, "item", |name| {
        let mut prompts = package.manifest.prompts.iter();
        prompts.position(|found| found.name.as_str() == name).ok_or("its manifest has no such one")
    })?;
    Ok(PromptEntry { wire_name: required(row, "name", str::parse)?, package, index })
}

fn resource(row: &Row<'_>, package: Arc<InstalledPackage>) -> Result<ResourceEntry, RowError> {
    let index = required(row, "item", |uri| {
        let mut resources = package.manifest.resources.iter();
        resources.position(|found| found.uri.as_str() == uri).ok_or("its manifest has no such one")
    })?;
    Ok(ResourceEntry { package, index })
}

fn template(row: &Row<'_>, package: Arc<InstalledPackage>) -> Result<TemplateEntry, RowError> {
    let index = required(row, "item", |uri| {
        let mut templates = package.manifest.resource_templates.iter();
        let found = templates.position(|found| found.uri_template.as_str() == uri);
        found.ok_or("its manifest has no such one")
    })?;
    Ok(TemplateEntry { package, index })
}

/// Adds what a new package offers besides tools. Its prompts get their names by [`renew`].
///
/// # Errors
/// Where the space of its URIs overlaps that of another package.
pub(super) fn add(
    connection: &Connection,
    dir: &DataDir,
    key: i64,
    manifest: &Manifest,
) -> Result<(), RegistryError> {
    let failed = |error| RegistryError::sql(dir, error);
    for prompt in &manifest.prompts {
        let (name, prompt) = (placeholder(key, prompt.name.as_str()), prompt.name.as_str());
        let add = "INSERT INTO prompts (name, package, prompt) VALUES (?1, ?2, ?3)";
        connection
            .prepare_cached(add)
            .and_then(|mut statement| statement.execute((name, key, prompt)))
            .map_err(failed)?;
    }
    let resources = manifest.resources.iter().map(|resource| &resource.uri);
    let resources = resources.map(|uri| (false, uri.as_str(), uri.as_str()));
    let templates = manifest.resource_templates.iter().map(|template| &template.uri_template);
    let templates = templates.map(|template| (true, template.as_str(), template.prefix()));
    for (is_template, uri, prefix) in resources.chain(templates) {
        if let Some((taken, by)) = overlap(connection, key, is_template, prefix).map_err(failed)? {
            return Err(RegistryError::UriTaken { uri: uri.to_owned(), taken, by });
        }
        let add = "INSERT INTO uris (template, uri, prefix, package) VALUES (?1, ?2, ?3, ?4)";
        connection
            .prepare_cached(add)
            .and_then(|mut statement| statement.execute((is_template, uri, prefix, key)))
            .map_err(failed)?;
    }
    Ok(())
}

/// A URI of another package, and that package's id, which cannot be told from what begins so.
fn overlap(
    connection: &Connection,
    key: i64,
    is_template: bool,
    prefix: &str,
) -> rusqlite::Result<Option<(String, String)>> {
    let first = |query: &str, parameters: &[&dyn rusqlite::ToSql]| {
        connection
            .prepare_cached(query)?
            .query_row(parameters, |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))
            .optional()
    };
    let mut found = first(OTHER_BELOW, &[&prefix, &key])?;
    if found.is_none() && is_template {
        let end = format!("{prefix}{LAST}");
        for template in [false, true] {
            found = found.or(first(OTHER_WITHIN, &[&prefix, &key, &end, &template])?);
        }
    } else if found.is_none() {
        found = first(OTHER_LISTED, &[&prefix, &key])?;
    }
    let Some((uri, by)) = found else { return Ok(None) };
    let query = "SELECT id FROM packages WHERE key = ?1";
    let by = connection.prepare_cached(query)?.query_row([by], |row| row.get(0))?;
    Ok(Some((uri, by)))
}

/// Stands in the place of a name; nobody can ask for it, as no name has a slash.
fn placeholder(package: i64, prompt: &str) -> String {
    format!("{package}/{prompt}")
}

/// Gives every prompt the name that it has among those that are there now: its own where that is
/// unique, as with tools. Only what changes is written.
pub(super) fn renew(connection: &Connection, dir: &DataDir) -> Result<(), RegistryError> {
    let write = || -> rusqlite::Result<()> {
        let query = "SELECT prompts.name, prompts.package, prompts.prompt, packages.id
                     FROM prompts JOIN packages ON packages.key = prompts.package";
        let mut statement = connection.prepare_cached(query)?;
        let rows = statement.query_map([], |row| {
            let (name, package): (String, i64) = (row.get(0)?, row.get(1)?);
            let (prompt, id): (String, String) = (row.get(2)?, row.get(3)?);
            Ok((name, package, prompt, id))
        })?;
        let rows: Vec<_> = rows.collect::<rusqlite::Result<_>>()?;
        // What cannot be read keeps what stands in the place of its name.
        let readable: Vec<_> = rows
            .iter()
            .filter_map(|(name, package, prompt, id)| {
                let parsed = (id.parse::<PackageId>().ok()?, prompt.parse::<ToolName>().ok()?);
                Some((name, *package, parsed))
            })
            .collect();
        let unnamed: Vec<_> = readable
            .iter()
            .map(|(_, _, (id, prompt))| Unnamed { id, alias: None, tool: prompt, alone: false })
            .collect();
        let names = wire_names(&unnamed, &[]);
        let changed = || {
            let named = readable.iter().zip(&names);
            named.filter(|((old, ..), new)| old.as_str() != new.as_str())
        };
        // First all that go: one may have the name that another one gets.
        let mut delete = connection.prepare_cached("DELETE FROM prompts WHERE name = ?1")?;
        for ((old, ..), _) in changed() {
            delete.execute([old.as_str()])?;
        }
        let add = "INSERT INTO prompts (name, package, prompt) VALUES (?1, ?2, ?3)";
        let mut add = connection.prepare_cached(add)?;
        for ((_, package, (_, prompt)), name) in changed() {
            add.execute((name.as_str(), package, prompt.as_str()))?;
        }
        Ok(())
    };
    write().map_err(|error| RegistryError::sql(dir, error))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use serde_json::json;

    use super::*;
    use crate::component::{Artifact, fixtures};
    use crate::grants::Grant;
    use crate::registry::InstallOptions;
    use crate::signing::{SignedArtifact, TrustStore, Unsigned};

    /// Installs a package that offers these resources, templates and prompts.
    fn install(
        registry: &mut Registry,
        id: &str,
        uris: &[&str],
        prompts: &[&str],
    ) -> Result<(), RegistryError> {
        let mut manifest = fixtures::manifest(id, "1.0.0", "tool");
        for uri in uris {
            match uri.contains('{') {
                true => {
                    let template = json!({"uriTemplate": uri, "name": "t"});
                    let template = serde_json::from_value(template).unwrap();
                    manifest.resource_templates.push(template);
                }
                false => {
                    let resource = serde_json::from_value(json!({"uri": uri, "name": "r"}));
                    manifest.resources.push(resource.unwrap());
                }
            }
        }
        let prompt = |name| serde_json::from_value(json!({"name": name})).unwrap();
        manifest.prompts = prompts.iter().map(prompt).collect();
        let artifact = Artifact::parse(fixtures::component().seal(&manifest, None)).unwrap();
        let (trust, now) = (TrustStore::default(), SystemTime::now());
        let artifact = SignedArtifact::verify(artifact, &trust, Unsigned::Allow, now).unwrap();
        registry.install(&artifact, &Grant::default(), &InstallOptions::default()).map(drop)
    }

    fn registry() -> (Registry, tempfile::TempDir) {
        let root = tempfile::tempdir().unwrap();
        (Registry::open(&DataDir::new(root.path().join("data"))).unwrap(), root)
    }

    #[test]
    fn a_resource_has_one_owner() {
        let (mut registry, _root) = registry();
        install(&mut registry, "com.a.notes", &["note://today", "note://{name}", "a:b"], &[])
            .unwrap();
        install(&mut registry, "com.b.files", &["file:///{+path}", "a:c"], &[]).unwrap();
        let owner = |uri: &str| {
            let owner = registry.owner_of(&uri.parse().unwrap()).unwrap();
            owner.map(|package| package.id().to_string())
        };
        for (uri, expected) in [
            ("note://today", Some("com.a.notes")),
            ("note://other", Some("com.a.notes")),
            ("note://other/page", None),
            ("note:x", None),
            ("file:///etc/x", Some("com.b.files")),
            ("file:/x", None),
            ("zzz:z", None),
            ("a:b", Some("com.a.notes")),
            ("a:c", Some("com.b.files")),
            ("a:d", None),
        ] {
            assert_eq!(owner(uri).as_deref(), expected, "{uri}");
        }
        let uris: Vec<_> = registry.resources("", 10).unwrap();
        let uris: Vec<_> = uris.iter().map(|entry| entry.definition().uri.as_str()).collect();
        assert_eq!(uris, ["a:b", "a:c", "note://today"]);
        assert_eq!(registry.resources("a:b", 1).unwrap()[0].definition().uri.as_str(), "a:c");
        let forms = registry.templates("", 10).unwrap();
        let forms: Vec<_> = forms.iter().map(|f| f.definition().uri_template.as_str()).collect();
        assert_eq!(forms, ["file:///{+path}", "note://{name}"]);
    }

    #[test]
    fn no_package_takes_the_resources_of_another() {
        let (mut registry, _root) = registry();
        install(&mut registry, "com.a.notes", &["note://today", "memo://x/{name}"], &[]).unwrap();
        for overlapping in [
            "note://today",
            "note://{name}",
            "note://tod{rest}",
            "memo://x/{other}",
            "memo://x/a{b}",
            "memo://{+all}",
            "memo://x/page",
        ] {
            let refused = install(&mut registry, "com.evil.x", &[overlapping], &[]).unwrap_err();
            assert!(
                matches!(&refused, RegistryError::UriTaken { by, .. } if by == "com.a.notes"),
                "{overlapping}: {refused}"
            );
            assert!(registry.package(&"com.evil.x".parse().unwrap()).unwrap().is_none());
        }
        // Also between two templates of which one begins as the other does.
        install(&mut registry, "com.c.archive", &["doc://{+id}", "doc://archive/{id}"], &[])
            .unwrap();
        for overlapping in ["doc://today", "doc://b{+x}", "doc://a", "doc://archive/x", "doc://zzz"]
        {
            let refused = install(&mut registry, "com.evil.x", &[overlapping], &[]).unwrap_err();
            assert!(matches!(&refused, RegistryError::UriTaken { .. }), "{overlapping}: {refused}");
        }
        for uri in ["doc://today", "doc://archive/x", "doc://zzz"] {
            let owner = registry.owner_of(&uri.parse().unwrap()).unwrap();
            assert_eq!(owner.unwrap().id().as_str(), "com.c.archive", "{uri}");
        }
        let apart = ["note://tomorrow", "memo://y/{name}", "note://today/{x}"];
        install(&mut registry, "com.good.x", &apart, &[]).unwrap();
        // Its own it may replace, and what goes is free.
        install(&mut registry, "com.a.notes", &["note://today"], &[]).unwrap();
        install(&mut registry, "com.b.memos", &["memo://x/{name}"], &[]).unwrap();
        registry.uninstall(&"com.a.notes".parse().unwrap()).unwrap();
        install(&mut registry, "com.b.notes", &["note://today"], &[]).unwrap();
    }

    #[test]
    fn prompts_have_names_as_tools_do() {
        let (mut registry, _root) = registry();
        install(&mut registry, "com.a.notes", &[], &["sum_up", "greet"]).unwrap();
        let names = |registry: &Registry| -> Vec<String> {
            let prompts = registry.prompts("", 10).unwrap();
            prompts.iter().map(|prompt| prompt.wire_name.to_string()).collect()
        };
        assert_eq!(names(&registry), ["greet", "sum_up"]);
        install(&mut registry, "com.b.mail", &[], &["greet"]).unwrap();
        assert_eq!(names(&registry), ["mail_greet", "notes_greet", "sum_up"]);
        let found = registry.prompt(&"mail_greet".parse().unwrap()).unwrap().unwrap();
        assert_eq!(found.package.id().as_str(), "com.b.mail");
        assert!(registry.prompt(&"greet".parse().unwrap()).unwrap().is_none());
        registry.uninstall(&"com.a.notes".parse().unwrap()).unwrap();
        assert_eq!(names(&registry), ["greet"]);
    }
}
