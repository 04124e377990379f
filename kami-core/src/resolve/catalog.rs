//! Which tools there are, without reading more of them than is asked for.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use lru::LruCache;

use super::{ResolveError, lock};
use crate::manifest::ResourceUri;
use crate::name::{FullName, PackageId, ToolName};
use crate::registry::{
    CatalogEntry, DataDir, InstalledPackage, PromptEntry, Registry, RegistryError, ResourceEntry,
    TemplateEntry,
};
use crate::sandbox::Listing;

/// How many tools are found without asking the registry again, of those that were called last.
const FOUND_TOOLS: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// How many tools are read at a time: nobody who calls one waits for longer than that takes.
const CHUNK: usize = 64;

/// The tools of a registry, by the names under which clients call them.
///
/// What was found stays as it was; who wants to hear of changes asks
/// [`Resolver::catalog`](super::Resolver::catalog) again.
pub struct Catalog {
    generation: i64,
    registry: Arc<Mutex<Registry>>,
    found: Mutex<LruCache<String, CatalogEntry>>,
}

impl Catalog {
    /// Opens the registry in `data`, for its names alone.
    ///
    /// # Errors
    /// Where it cannot be opened.
    pub fn open(data: &DataDir) -> Result<Self, RegistryError> {
        Self::of(Arc::new(Mutex::new(Registry::open(data)?)))
    }

    /// The catalog of what is installed now.
    pub(super) fn of(registry: Arc<Mutex<Registry>>) -> Result<Self, RegistryError> {
        let generation = lock(&registry).generation()?;
        Ok(Self { generation, registry, found: Mutex::new(LruCache::new(FOUND_TOOLS)) })
    }

    /// The state of the registry from which it was made; another number is another state.
    pub fn generation(&self) -> i64 {
        self.generation
    }

    /// How many tools there are.
    ///
    /// # Errors
    /// Where the registry cannot be read.
    pub fn count(&self) -> Result<usize, RegistryError> {
        lock(&self.registry).tool_count()
    }

    /// Which lists are not empty, besides that of tools, which may be.
    ///
    /// # Errors
    /// Where the registry cannot be read.
    pub fn listings(&self) -> Result<Vec<Listing>, RegistryError> {
        let (resources, prompts) = lock(&self.registry).offers()?;
        let listings =
            [(Listing::Tools, true), (Listing::Resources, resources), (Listing::Prompts, prompts)];
        Ok(listings.into_iter().filter(|(_, there)| *there).map(|(listing, _)| listing).collect())
    }

    /// All tools in the order of their names or, where `after` is given, those after that name.
    /// They are read as they are taken.
    pub fn entries(&self, after: Option<&str>) -> Entries<'_> {
        let after = after.unwrap_or_default().to_owned();
        Entries { catalog: self, after: Some(after), read: Vec::new().into_iter() }
    }

    /// Finds a tool by its name on the wire or by `id/tool`, which no other package can take.
    ///
    /// # Errors
    /// Where there is none, with the nearest name; or where the registry cannot be read.
    pub fn find(&self, name: &str) -> Result<CatalogEntry, ResolveError> {
        if let Some(entry) = lock(&self.found).get(name) {
            return Ok(entry.clone());
        }
        let entry = self.read(name)?.ok_or_else(|| self.not_found(name))?;
        lock(&self.found).put(name.to_owned(), entry.clone());
        Ok(entry)
    }

    /// The tool of this name, if there is one.
    ///
    /// # Errors
    /// Where the registry cannot be read.
    pub fn tool_of(&self, name: &FullName) -> Result<Option<CatalogEntry>, RegistryError> {
        lock(&self.registry).tool_of(name.package.as_str(), name.tool.as_str())
    }

    /// The package with this id, if there is one.
    ///
    /// # Errors
    /// Where the registry cannot be read.
    pub fn package(&self, id: &PackageId) -> Result<Option<InstalledPackage>, RegistryError> {
        lock(&self.registry).package(id)
    }

    /// The same among some of the tools: another one's name is as good as none, and nobody learns
    /// from what is not found what there is.
    ///
    /// # Errors
    /// Where there is none of them, or where the registry cannot be read.
    pub fn find_among(
        &self,
        name: &str,
        allows: impl FnOnce(&CatalogEntry) -> bool,
    ) -> Result<CatalogEntry, ResolveError> {
        let known = lock(&self.found).get(name).cloned();
        let found = match known {
            Some(entry) => Some(entry),
            None => self.read(name)?.inspect(|entry| {
                lock(&self.found).put(name.to_owned(), entry.clone());
            }),
        };
        let missing = || ResolveError::NotFound { name: brief(name), nearest: None };
        found.filter(allows).ok_or_else(missing)
    }

    /// At most `count` of some of the tools, which have any of the words of a question: the best first.
    ///
    /// # Errors
    /// Where the registry cannot be read.
    ///
    /// # Security
    /// The question may be any text. What is not among the tools takes none of the places.
    pub fn search(
        &self,
        question: &str,
        count: usize,
        allows: impl Fn(&CatalogEntry) -> bool,
    ) -> Result<Vec<CatalogEntry>, RegistryError> {
        let ranked = lock(&self.registry).ranked(question)?;
        let mut found = Vec::new();
        for name in ranked {
            if found.len() == count {
                break;
            }
            // The registry is held for one at a time. What is gone meanwhile is not found any more.
            let entry = lock(&self.registry).tool(&name)?;
            found.extend(entry.filter(&allows));
        }
        Ok(found)
    }

    /// The prompt with a name on the wire, if there is one.
    ///
    /// # Errors
    /// Where the registry cannot be read.
    pub fn prompt(&self, name: &str) -> Result<Option<PromptEntry>, RegistryError> {
        match name.parse() {
            Ok(name) => lock(&self.registry).prompt(&name),
            Err(_) => Ok(None),
        }
    }

    /// The template of this form, as it is written, if there is one.
    ///
    /// # Errors
    /// Where the registry cannot be read.
    pub fn template(&self, form: &str) -> Result<Option<TemplateEntry>, RegistryError> {
        lock(&self.registry).template(form)
    }

    /// The package that a resource is read from, if there is one.
    ///
    /// # Errors
    /// Where the registry cannot be read.
    pub fn owner_of(
        &self,
        uri: &ResourceUri,
    ) -> Result<Option<Arc<InstalledPackage>>, RegistryError> {
        lock(&self.registry).owner_of(uri)
    }

    /// At most `count` prompts in the order of their names, from the first one after `after` on.
    ///
    /// # Errors
    /// Where the registry cannot be read.
    pub fn prompts(&self, after: &str, count: usize) -> Result<Vec<PromptEntry>, RegistryError> {
        self.page(after, count, Registry::prompts, |entry| entry.wire_name.to_string())
    }

    /// At most `count` resources in the order of their URIs, from the first one after `after` on.
    ///
    /// # Errors
    /// Where the registry cannot be read.
    pub fn resources(
        &self,
        after: &str,
        count: usize,
    ) -> Result<Vec<ResourceEntry>, RegistryError> {
        self.page(after, count, Registry::resources, |entry| entry.definition().uri.to_string())
    }

    /// The same for the forms of resources.
    ///
    /// # Errors
    /// Where the registry cannot be read.
    pub fn templates(
        &self,
        after: &str,
        count: usize,
    ) -> Result<Vec<TemplateEntry>, RegistryError> {
        let form = |entry: &TemplateEntry| entry.definition().uri_template.as_str().to_owned();
        self.page(after, count, Registry::templates, form)
    }

    /// Reads a page in chunks, between which others may read.
    fn page<T>(
        &self,
        after: &str,
        count: usize,
        read: impl Fn(&Registry, &str, usize) -> Result<Vec<T>, RegistryError>,
        key: impl Fn(&T) -> String,
    ) -> Result<Vec<T>, RegistryError> {
        let (mut page, mut after) = (Vec::new(), after.to_owned());
        loop {
            let wanted = CHUNK.min(count - page.len());
            let chunk = read(&lock(&self.registry), &after, wanted)?;
            let found = chunk.len();
            if let Some(last) = chunk.last() {
                after = key(last);
            }
            page.extend(chunk);
            if found < CHUNK || page.len() == count {
                return Ok(page);
            }
        }
    }

    fn read(&self, name: &str) -> Result<Option<CatalogEntry>, RegistryError> {
        let registry = lock(&self.registry);
        match (name.split_once('/'), name.parse::<ToolName>()) {
            (Some((id, tool)), _) => registry.tool_of(id, tool),
            (None, Ok(name)) => registry.tool(&name),
            (None, Err(_)) => Ok(None),
        }
    }

    /// Finds a tool by every name that people use: as [`Self::find`] does, or by the id of its
    /// package, or by its package's or its own short name.
    ///
    /// Short names are for people, who see which tool is meant. For agents they would let one
    /// package take another's calls.
    ///
    /// # Errors
    /// Where there is none, with the nearest name; or several, with some of them; or where the
    /// registry cannot be read.
    pub fn find_loosely(&self, name: &str) -> Result<CatalogEntry, ResolveError> {
        let missing = match self.find(name) {
            Err(missing @ ResolveError::NotFound { .. }) => missing,
            found => return found,
        };
        let meant = lock(&self.registry).names_meant(name)?;
        match meant.as_slice() {
            [] => Err(missing),
            [only] => self.find(only.as_str()),
            several => {
                let candidates = several.iter().map(|name| format!("`{name}`")).collect();
                Err(ResolveError::Ambiguous { name: name.to_owned(), candidates })
            }
        }
    }

    /// With the most similar of the names that begin most like it: to compare it with all of ten
    /// thousand would be worth more to who asks for what is not there than to who mistyped.
    fn not_found(&self, name: &str) -> ResolveError {
        const SIMILAR: f64 = 0.75;
        let name = brief(name);
        let around = match lock(&self.registry).names_around(&name) {
            Ok(around) => around,
            Err(error) => return error.into(),
        };
        let nearest = around
            .into_iter()
            .map(|candidate| (strsim::jaro_winkler(&name, candidate.as_str()), candidate))
            .filter(|(similarity, _)| *similarity > SIMILAR)
            .max_by(|(a, _), (b, _)| a.total_cmp(b))
            .map(|(_, candidate)| candidate.to_string());
        ResolveError::NotFound { name, nearest }
    }
}

/// As much of a name that a client made up as a person reads.
pub(super) fn brief(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(80).collect()
}

/// Tools in the order of their names: see [`Catalog::entries`].
pub struct Entries<'a> {
    catalog: &'a Catalog,
    /// The name of the last one that was read; `None` once all were.
    after: Option<String>,
    read: std::vec::IntoIter<CatalogEntry>,
}

impl Iterator for Entries<'_> {
    type Item = Result<CatalogEntry, RegistryError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(entry) = self.read.next() {
            return Some(Ok(entry));
        }
        let after = self.after.take()?;
        // Not held while entries are used: calls look for their tools meanwhile.
        let read = match lock(&self.catalog.registry).tools(&after, CHUNK) {
            Ok(read) => read,
            Err(error) => return Some(Err(error)),
        };
        self.after = read.last().map(|last| last.wire_name.to_string());
        self.read = read.into_iter();
        self.read.next().map(Ok)
    }
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

    /// A registry with these packages; its directory ends with it.
    fn catalog(packages: &[(&str, &[&str])]) -> (Catalog, tempfile::TempDir) {
        let root = tempfile::tempdir().unwrap();
        let data = DataDir::new(root.path().join("data"));
        let mut registry = Registry::open(&data).unwrap();
        for (id, tools) in packages {
            let mut manifest = fixtures::manifest(id, "1.0.0", tools[0]);
            let tool = |name| {
                serde_json::from_value(json!({"name": name, "inputSchema": {"type": "object"}}))
                    .unwrap()
            };
            manifest.tools = tools.iter().map(tool).collect();
            let artifact = Artifact::parse(fixtures::component().seal(&manifest, None)).unwrap();
            let (trust, now) = (TrustStore::default(), SystemTime::now());
            let artifact = SignedArtifact::verify(artifact, &trust, Unsigned::Allow, now).unwrap();
            registry.install(&artifact, &Grant::default(), &InstallOptions::default()).unwrap();
        }
        (Catalog::open(&data).unwrap(), root)
    }

    #[test]
    fn tools_are_found_by_every_name_people_use() {
        let (catalog, _root) =
            catalog(&[("com.a.web", &["fetch", "post"]), ("com.b.hello", &["greet"])]);
        for name in ["greet", "com.b.hello/greet", "com.b.hello", "hello"] {
            for _ in 0..2 {
                let found = catalog.find_loosely(name).unwrap();
                assert_eq!(found.full_name(), "com.b.hello/greet", "{name}");
            }
        }
        for name in ["web", "com.a.web"] {
            let error = catalog.find_loosely(name).map(drop).unwrap_err();
            assert!(
                matches!(&error, ResolveError::Ambiguous { candidates, .. }
                    if *candidates == ["`fetch`", "`post`"]),
                "{name}: {error}"
            );
        }
        let error = catalog.find_loosely("gret").map(drop).unwrap_err().to_string();
        assert!(error.contains("did you mean `greet`?"), "{error}");
        for name in ["", ".", "b.hello", "%", "_", "com.b.hello/", "/greet", "hello/greet"] {
            let error = catalog.find_loosely(name).map(drop).unwrap_err();
            assert!(matches!(error, ResolveError::NotFound { .. }), "{name}: {error}");
        }
    }

    #[test]
    fn no_package_takes_the_calls_of_another() {
        let (catalog, _root) =
            catalog(&[("com.good.web", &["fetch"]), ("com.evil.fetch", &["fetch"])]);
        assert!(catalog.find("fetch").is_err(), "it was the name of the first one alone");
        assert_eq!(catalog.find("com.good.web/fetch").unwrap().full_name(), "com.good.web/fetch");
    }

    #[test]
    fn entries_come_in_the_order_of_their_names_from_any_place_on() {
        let names: Vec<String> = (0..3 * CHUNK).map(|n| format!("tool_{n:03}")).collect();
        let tools: Vec<&str> = names.iter().rev().map(String::as_str).collect();
        let (catalog, _root) = catalog(&[("com.a.web", &tools)]);
        assert_eq!(catalog.count().unwrap(), names.len());
        let listed = |after: Option<&str>| -> Vec<String> {
            catalog.entries(after).map(|entry| entry.unwrap().wire_name.to_string()).collect()
        };
        assert_eq!(listed(None), names);
        for at in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, names.len() - 1] {
            assert_eq!(listed(Some(&names[at])), names[at + 1..], "{at}");
        }
        // Also from one that is gone, or never was.
        assert_eq!(listed(Some("tool_099x")), names[100..]);
        assert_eq!(listed(Some("zzz")), [""; 0]);

        let listed: Vec<_> = catalog.entries(None).map(Result::unwrap).collect();
        let called = catalog.find("tool_100").unwrap();
        assert_eq!(called.definition().name.as_str(), "tool_100");
        assert!(
            listed.iter().all(|entry| Arc::ptr_eq(&entry.package, &called.package)),
            "a package is read once, however many tools it has"
        );
    }

    #[test]
    fn a_tool_that_is_called_again_is_not_looked_up_again() {
        let (catalog, _root) = catalog(&[("com.a.web", &["fetch"])]);
        let first = catalog.find("fetch").unwrap();
        // Who asked the registry would wait here for ever.
        let _busy = catalog.registry.lock().unwrap();
        let again = catalog.find("fetch").unwrap();
        assert!(Arc::ptr_eq(&first.package, &again.package));
    }
}
