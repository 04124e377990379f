//! Tools that are made of tools: a file of steps, whose results go into the arguments of others.
//!
//! A pipeline is a package with text in the place of code. Its operator writes it, so it has no
//! signature, and asks for nothing: each step runs under what its own package was granted. What one step
//! gives to another does not pass through the client; what a step logs, or says when it fails, does.
//!
//! [`Source`] is what a file says. [`Plan`] is that beside the tools which it names, when it is
//! installed and again when one of them has changed. [`call`] makes the calls.

mod plan;
mod pointer;
mod run;
mod shape;
mod source;
#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use tokio::sync::Semaphore;

use crate::manifest::Manifest;
use crate::manifest::source::SourceError;
use crate::name::{FullName, PackageId};
use crate::registry::{Composition, InstalledPackage, RegistryError};
use crate::resolve::{Catalog, CatalogEntry, ResolveError, Resolver};

pub use plan::{Found, FoundTools, Plan};
pub use pointer::{Pointer, PointerError, Reference, ReferenceError, StepName, StepNameError};
pub use run::{Caller, Ended, call};
pub use source::{At, Fallback, Literal, MAX_BYTES, MAX_STEPS, OnError, Source, Step, Wire};

/// How many calls of pipelines there are at once. They take no places of their own, but memory for what
/// lies between their steps, and each a place in the log beside those of its steps.
const MOST_LIVE: usize = 64;

/// How many pipelines are kept ready. Each takes some kilobytes, and as much again as its text.
const READY: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// A pipeline beside the tools that it calls, all of them as they are installed.
#[derive(Debug)]
pub struct Pipeline {
    package: Arc<InstalledPackage>,
    source: Source,
    plan: Plan,
    steps: Vec<CatalogEntry>,
    /// How many calls of pipelines there may be at once.
    live: Arc<Semaphore>,
}

impl Pipeline {
    /// What was installed.
    pub fn package(&self) -> &InstalledPackage {
        &self.package
    }

    /// What it says.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// What each step calls.
    pub fn steps(&self) -> &[CatalogEntry] {
        &self.steps
    }

    fn load(
        resolver: &Resolver,
        catalog: &Catalog,
        package: &Arc<InstalledPackage>,
        live: Arc<Semaphore>,
    ) -> Result<Self, ResolveError> {
        let source = stored(resolver, package)?;
        let (tools, entries) = find(&source, catalog)?;
        let plan = Plan::check(&source, &tools).map_err(|mistakes| ResolveError::Pipeline {
            package: package.id().clone(),
            reason: format!("it does not fit its steps any more: {}", told(&mistakes)),
        })?;
        // Clients were told what it gives, and hold it to that.
        let told = package.manifest.tools.first().and_then(|tool| tool.output_schema.as_ref());
        if plan.definition.output_schema.as_ref() != told {
            return Err(ResolveError::Pipeline {
                package: package.id().clone(),
                reason: "its steps give something else than they did: install it again".to_owned(),
            });
        }
        let steps =
            source.tools().map(|name| entries.iter().find(|e| e.full_name() == name.to_string()));
        let steps: Option<Vec<CatalogEntry>> = steps.map(Option::<&CatalogEntry>::cloned).collect();
        let steps = steps.ok_or(ResolveError::Interrupted)?;
        Ok(Self { package: Arc::clone(package), source, plan, steps, live })
    }
}

/// The file of an installed pipeline, which has to be the one that was installed.
fn stored(resolver: &Resolver, package: &InstalledPackage) -> Result<Source, ResolveError> {
    let id = package.id();
    let text = resolver.data().read_pipeline(package.digest)?;
    let tampered = || ResolveError::Tampered { package: id.clone(), expected: package.digest };
    if crate::digest::Digest::of(text.as_bytes()) != package.digest {
        return Err(tampered());
    }
    let source = Source::parse(&text).map_err(|_| tampered())?;
    let [tool] = package.manifest.tools.as_slice() else {
        return Err(ResolveError::Record(id.clone()));
    };
    // What its steps decide follows them in the registry, and is no part of the file.
    let manifest = source.manifest(tool.annotations, tool.output_schema.clone());
    // As the registry keeps it: a number may be another one once it was written and read.
    match manifest.and_then(|manifest| Manifest::from_json(&manifest.to_json())) {
        Ok(manifest) if manifest == package.manifest && source.tools().eq(package.steps.iter()) => {
            Ok(source)
        }
        _ => Err(ResolveError::Record(id.clone())),
    }
}

fn told(mistakes: &SourceError) -> String {
    let mistake = |problem: &crate::manifest::source::Problem| {
        format!("{} ({})", problem.message, problem.label)
    };
    let told: Vec<String> = mistakes.problems.iter().take(3).map(mistake).collect();
    told.join("; ")
}

/// Looks for the tools that a file names.
///
/// # Errors
/// Where the registry cannot be read.
pub fn find(
    source: &Source,
    catalog: &Catalog,
) -> Result<(FoundTools, Vec<CatalogEntry>), RegistryError> {
    let (mut tools, mut entries) = (FoundTools::new(), Vec::new());
    for name in source.tools() {
        if tools.contains_key(name) {
            continue;
        }
        let found = match catalog.tool_of(name)? {
            Some(entry) if entry.package.is_pipeline() => Found::Pipeline,
            Some(entry) => {
                let definition = entry.definition().clone();
                entries.push(entry);
                Found::Tool(Box::new(definition))
            }
            None => match catalog.package(&name.package)? {
                Some(package) if package.is_pipeline() => Found::Pipeline,
                Some(package) => {
                    let tools = package.manifest.tools.iter();
                    Found::NoTool(tools.map(|tool| tool.name.to_string()).collect())
                }
                None => Found::Nothing,
            },
        };
        tools.insert(name.clone(), found);
    }
    Ok((tools, entries))
}

/// What a registry is to keep of a pipeline.
///
/// # Errors
/// Where there is more to it than a manifest may hold.
pub fn composition(
    text: &str,
    source: &Source,
    plan: &Plan,
) -> Result<Composition, crate::manifest::ManifestError> {
    let definition = &plan.definition;
    let manifest = source.manifest(definition.annotations, definition.output_schema.clone())?;
    let steps: Vec<FullName> = source.tools().cloned().collect();
    Ok(Composition { manifest, steps, text: text.to_owned() })
}

/// The pipelines that were called last, ready to be called again.
pub struct Pipelines {
    ready: Mutex<LruCache<PackageId, (i64, Arc<Pipeline>)>>,
    live: Arc<Semaphore>,
}

impl Default for Pipelines {
    fn default() -> Self {
        let live = Arc::new(Semaphore::new(MOST_LIVE));
        Self { ready: Mutex::new(LruCache::new(READY)), live }
    }
}

impl Pipelines {
    /// Reads a pipeline and sets it beside its tools, unless nothing has changed since that was done.
    ///
    /// # Errors
    /// Where its file or record was changed, the policy refuses it, or it does not fit its tools.
    pub async fn resolve(
        &self,
        resolver: &Arc<Resolver>,
        entry: &CatalogEntry,
    ) -> Result<Arc<Pipeline>, ResolveError> {
        let catalog = resolver.catalog()?;
        resolver.permits(&entry.package)?;
        let (id, generation) = (entry.package.id(), catalog.generation());
        if let Some((known, pipeline)) = self.ready().get(id)
            && *known == generation
            && pipeline.package.digest == entry.package.digest
        {
            return Ok(Arc::clone(pipeline));
        }
        let (resolver, package) = (Arc::clone(resolver), Arc::clone(&entry.package));
        let live = Arc::clone(&self.live);
        let load = move || Pipeline::load(&resolver, &catalog, &package, live);
        let loaded = tokio::task::spawn_blocking(load).await;
        let pipeline = Arc::new(loaded.unwrap_or(Err(ResolveError::Interrupted))?);
        self.ready().put(id.clone(), (generation, Arc::clone(&pipeline)));
        Ok(pipeline)
    }

    fn ready(&self) -> MutexGuard<'_, LruCache<PackageId, (i64, Arc<Pipeline>)>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
