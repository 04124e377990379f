//! From a name to a tool that may be called.
//!
//! The [`Catalog`] says which tools there are and how they are called; it is made from the registry
//! alone, and nothing is run or verified for it. [`Resolver::resolve`] turns an entry of it into a
//! [`VerifiedTool`]: bytes read once, digest and signature checked, compiled, linked under the
//! effective grants. That happens on the first call of a package, and again when it, its grant, the
//! operator's policy or the set of trusted keys changes.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use lru::LruCache;
use tokio::sync::OnceCell;

use crate::component::Artifact;
use crate::digest::Digest;
use crate::engine::{Compiler, Engine, EngineError, EngineOptions, Metering};
use crate::grants::{Effective, Grant};
use crate::manifest::ToolDefinition;
use crate::name::{PackageId, ToolName};
use crate::policy::{Policy, PolicyError, PolicyFile, Refusal, Ruling, Subject};
use crate::registry::{DataDir, InstalledPackage, Registry, RegistryError};
use crate::sandbox::{NameSource, Sandbox, SandboxError, Surroundings, sweep};
use crate::scheduler::{Priority, ScheduleOptions};
use crate::schema::{Schema, SchemaError};
use crate::secrets::SecretSource;
use crate::signing::{SignatureError, SignedArtifact, TrustError, TrustStore, Unsigned};

/// How many packages are kept ready. Each takes some hundred kilobytes.
const READY_PACKAGES: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// How old a catalog may be before the registry is asked whether it changed.
const CATALOG_AGE: Duration = Duration::from_millis(50);

/// Why a name does not lead to a tool, or the tool may not be called.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// No such tool.
    #[error("there is no tool `{name}`{}", did_you_mean(nearest.as_deref()))]
    NotFound {
        /// What was asked for, cut to a length that a person reads.
        name: String,
        /// The most similar name that there is.
        nearest: Option<String>,
    },
    /// The name means several tools.
    #[error("`{name}` could mean {}: name one of them", candidates.join(" or "))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// The names that it could mean.
        candidates: Vec<String>,
    },
    /// The stored file is not the one that was installed.
    #[error("the installed file of `{package}` was changed: its digest is not {expected}")]
    Tampered {
        /// Whose file.
        package: PackageId,
        /// The digest that it was installed with.
        expected: Digest,
    },
    /// The registry describes the package otherwise than the package does itself.
    #[error("the registry's record of `{0}` was changed: it differs from the signed manifest")]
    Record(PackageId),
    /// The signature is missing, wrong, or by a key that is not trusted for the package any more.
    #[error("`{package}` is refused")]
    Signature {
        /// Whose signature.
        package: PackageId,
        /// Why.
        #[source]
        source: SignatureError,
    },
    /// A schema that cannot be used to check arguments.
    #[error("the input schema of `{tool}` cannot be used: {source}")]
    Schema {
        /// Whose schema.
        tool: ToolName,
        /// Why not.
        source: SchemaError,
    },
    /// The component cannot be sandboxed.
    #[error("`{package}` cannot be loaded")]
    Sandbox {
        /// Which component.
        package: PackageId,
        /// Why not.
        #[source]
        source: SandboxError,
    },
    /// The engine does not start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The registry cannot be read.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The trusted keys cannot be read.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// There is no policy to go by.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The policy refuses the package.
    #[error("`{package}` may not run: {refusal}")]
    Refused {
        /// Which package.
        package: PackageId,
        /// By which section.
        refusal: Refusal,
    },
    /// The thread that loaded the tool ended early.
    #[error("loading was interrupted")]
    Interrupted,
}

impl ResolveError {
    /// A stable code by which people and programs look this up.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "KAMI-UNKNOWN",
            Self::Ambiguous { .. } => "KAMI-AMBIGUOUS",
            Self::Tampered { .. } | Self::Record(_) => "KAMI-TAMPERED",
            Self::Signature { .. } => "KAMI-SIGNATURE",
            Self::Schema { .. } => "KAMI-SCHEMA",
            Self::Sandbox { .. } => "KAMI-SANDBOX",
            Self::Engine(_) => "KAMI-ENGINE",
            Self::Registry(_) => "KAMI-REGISTRY",
            Self::Trust(_) => "KAMI-TRUST",
            Self::Policy(_) | Self::Refused { .. } => "KAMI-POLICY",
            Self::Interrupted => "KAMI-HOST",
        }
    }
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

/// A tool whose bytes, signature, schema and grants hold: the only thing that can be called.
pub struct VerifiedTool {
    package: PackageId,
    definition: ToolDefinition,
    arguments: Schema,
    sandbox: Arc<Sandbox>,
    priority: Priority,
}

impl VerifiedTool {
    /// Compiles and links the tools of a verified artifact under a policy's ruling, or under a
    /// grant where there is no policy.
    ///
    /// This takes CPU time in proportion to the component's size: call it off the async threads.
    ///
    /// # Errors
    /// Where the component is not valid, needs what this host does not offer, or has a schema that
    /// cannot be used.
    pub fn load(
        engine: &Engine,
        signed: &SignedArtifact,
        ruling: impl Into<Ruling>,
        surroundings: &Surroundings,
    ) -> Result<Vec<Arc<Self>>, ResolveError> {
        let artifact = signed.artifact();
        let manifest = artifact.manifest();
        let package = &manifest.package.id;
        let recording = surroundings.recording.as_ref();
        let requests = recording.map_or(&manifest.requests, |recording| &recording.requests);
        let ruling = ruling.into();
        let priority = ruling.priority;
        let mut effective = ruling.effective(requests.clone());
        if let Some(recording) = recording {
            effective = effective.recorded_by(Arc::clone(&recording.recorder));
        }
        let metering = match effective.limits().fuel() {
            None if !surroundings.metered => Metering::Off,
            _ => Metering::Fuel,
        };
        let code = engine.compile(artifact.component(), metering)?;
        let sandbox = Sandbox::new(
            engine,
            artifact.component(),
            &code,
            effective,
            surroundings,
            Some(package),
        )
        .map_err(|source| ResolveError::Sandbox { package: package.clone(), source })?;
        let sandbox = Arc::new(sandbox);
        let tools = manifest.tools.iter().map(|definition| {
            Ok(Arc::new(Self {
                package: package.clone(),
                arguments: Schema::compile(&definition.input_schema).map_err(|source| {
                    ResolveError::Schema { tool: definition.name.clone(), source }
                })?,
                definition: definition.clone(),
                sandbox: Arc::clone(&sandbox),
                priority,
            }))
        });
        tools.collect()
    }

    /// The package that it belongs to.
    pub fn package(&self) -> &PackageId {
        &self.package
    }

    /// What it is and takes.
    pub fn definition(&self) -> &ToolDefinition {
        &self.definition
    }

    /// What it may do.
    pub fn effective(&self) -> &Effective {
        self.sandbox.effective()
    }

    /// How urgent its calls are, as the policy says.
    pub fn priority(&self) -> Priority {
        self.priority
    }

    pub(crate) fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// What its arguments must fit.
    pub(crate) fn arguments(&self) -> &Schema {
        &self.arguments
    }
}

/// The tools of a registry, by the names under which clients call them.
pub struct Catalog {
    generation: i64,
    entries: BTreeMap<ToolName, CatalogEntry>,
}

/// One tool of a [`Catalog`].
#[derive(Debug, Clone)]
pub struct CatalogEntry {
    /// The name on the wire.
    pub wire_name: ToolName,
    /// The package that it belongs to.
    pub package: Arc<InstalledPackage>,
    index: usize,
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

impl Catalog {
    /// Makes the catalog of what is installed.
    ///
    /// # Errors
    /// Where the registry cannot be read.
    pub fn read(registry: &Registry) -> Result<Self, RegistryError> {
        let generation = registry.generation()?;
        Ok(Self::new(generation, registry.packages()?.into_iter().map(Arc::new)))
    }

    fn new(generation: i64, packages: impl IntoIterator<Item = Arc<InstalledPackage>>) -> Self {
        let mut unnamed = Vec::new();
        for package in packages {
            unnamed.extend(
                (0..package.manifest.tools.len()).map(|index| (Arc::clone(&package), index)),
            );
        }
        let names = wire_names(&unnamed);
        let entries = names.into_iter().zip(unnamed).map(|(wire_name, (package, index))| {
            (wire_name.clone(), CatalogEntry { wire_name, package, index })
        });
        Self { generation, entries: entries.collect() }
    }

    /// The state of the registry from which it was made; another number is another state.
    pub fn generation(&self) -> i64 {
        self.generation
    }

    /// All tools, in the order of their names.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &CatalogEntry> {
        self.entries.values()
    }

    /// The names that tools of other packages would get if `package` were installed: each old one
    /// with the new one.
    pub fn renamings(&self, package: &InstalledPackage) -> Vec<(ToolName, ToolName)> {
        let mut packages: BTreeMap<&PackageId, _> =
            self.entries.values().map(|e| (e.package.id(), Arc::clone(&e.package))).collect();
        packages.insert(package.id(), Arc::new(package.clone()));
        let after = Self::new(self.generation, packages.into_values());
        let others = self.entries.values().filter(|entry| entry.package.id() != package.id());
        let renamed = others.filter_map(|entry| {
            let name = &after.find(&entry.full_name()).ok()?.wire_name;
            (*name != entry.wire_name).then(|| (entry.wire_name.clone(), name.clone()))
        });
        renamed.collect()
    }

    /// Finds a tool by its name on the wire or by `id/tool`, which no other package can take.
    ///
    /// # Errors
    /// Where there is none, with the nearest name.
    pub fn find(&self, name: &str) -> Result<&CatalogEntry, ResolveError> {
        if let Some((id, tool)) = name.split_once('/') {
            let matches = |entry: &&CatalogEntry| {
                entry.package.id().as_str() == id && entry.definition().name.as_str() == tool
            };
            return self.entries.values().find(matches).ok_or_else(|| self.not_found(name));
        }
        let wire_name = name.parse::<ToolName>().ok();
        wire_name.and_then(|name| self.entries.get(&name)).ok_or_else(|| self.not_found(name))
    }

    /// Finds a tool by every name that people use: as [`Self::find`] does, or by the id of its
    /// package, or by its package's or its own short name.
    ///
    /// Short names are for people, who see which tool is meant. For agents they would let one
    /// package take another's calls.
    ///
    /// # Errors
    /// Where there is none, with the nearest name; or several, with all of them.
    pub fn find_loosely(&self, name: &str) -> Result<&CatalogEntry, ResolveError> {
        if let Ok(entry) = self.find(name) {
            return Ok(entry);
        }
        let by: [&dyn Fn(&CatalogEntry) -> bool; 3] = [
            &|entry| entry.package.id().as_str() == name,
            &|entry| entry.package.id().short() == name,
            &|entry| entry.definition().name.as_str() == name,
        ];
        for matches in by {
            let mut found = self.entries.values().filter(|entry| matches(entry));
            match (found.next(), found.next()) {
                (None, _) => continue,
                (Some(entry), None) => return Ok(entry),
                (Some(first), Some(second)) => {
                    let all = [first, second].into_iter().chain(found.take(8));
                    let candidates = all.map(|entry| format!("`{}`", entry.wire_name)).collect();
                    return Err(ResolveError::Ambiguous { name: name.to_owned(), candidates });
                }
            }
        }
        Err(self.not_found(name))
    }

    fn not_found(&self, name: &str) -> ResolveError {
        const SIMILAR: f64 = 0.75;
        let name: String = name.chars().filter(|c| !c.is_control()).take(80).collect();
        let nearest = self
            .entries
            .keys()
            .map(|candidate| (strsim::jaro_winkler(&name, candidate.as_str()), candidate))
            .filter(|(similarity, _)| *similarity > SIMILAR)
            .max_by(|(a, _), (b, _)| a.total_cmp(b))
            .map(|(_, candidate)| candidate.to_string());
        ResolveError::NotFound { name, nearest }
    }
}

/// Names tools: each its own name or the operator's alias where that is unique, else with its
/// package's short name before it, else its whole id, else a digest of both after it.
///
/// The result depends on the set of tools only, not on the order of installs.
fn wire_names(tools: &[(Arc<InstalledPackage>, usize)]) -> Vec<ToolName> {
    let mut levels = vec![0; tools.len()];
    loop {
        let names: Vec<ToolName> = tools
            .iter()
            .zip(&levels)
            .map(|((package, index), level)| wire_name(package, *index, *level))
            .collect();
        let mut holders: HashMap<&ToolName, Vec<usize>> = HashMap::new();
        for (at, name) in names.iter().enumerate() {
            holders.entry(name).or_default().push(at);
        }
        let clashes: Vec<usize> =
            holders.into_values().filter(|holders| holders.len() > 1).flatten().collect();
        if clashes.is_empty() {
            return names;
        }
        // An alias was chosen by the operator, and yields only to another alias.
        let aliased = |at: &usize| levels[*at] == 0 && tools[*at].0.alias.is_some();
        let yielding: Vec<usize> = clashes.iter().copied().filter(|at| !aliased(at)).collect();
        let yielding = if yielding.is_empty() { clashes } else { yielding };
        yielding.into_iter().for_each(|at| levels[at] += 1);
    }
}

fn wire_name(package: &InstalledPackage, index: usize, level: u32) -> ToolName {
    let id = &package.manifest.package.id;
    let tool = package.manifest.tools[index].name.as_str();
    let alone = package.manifest.tools.len() == 1;
    let name = match (level, &package.alias) {
        (0, Some(alias)) if alone => alias.to_string(),
        (0, Some(alias)) => format!("{alias}_{tool}"),
        (0, None) => tool.to_owned(),
        (1, _) => format!("{}_{tool}", id.short()),
        (2, _) => format!("{id}_{tool}"),
        (salt, _) => {
            let digest = Digest::of(format!("{id}/{tool}/{salt}").as_bytes()).short();
            let room = ToolName::MAX_LENGTH - digest.len() - 1;
            format!("{}_{digest}", &tool[..tool.len().min(room)])
        }
    };
    ToolName::lossy(&name)
}

/// Finds, verifies and keeps ready the tools of one data directory.
pub struct Resolver {
    data: DataDir,
    registry: Mutex<Registry>,
    engine: Engine,
    surroundings: Surroundings,
    clock: fn() -> SystemTime,
    policy: PolicyFile,
    latest: Mutex<Latest>,
    ready: Mutex<LruCache<PackageId, Arc<Slot>>>,
}

/// What was last seen on disk, and when.
struct Latest {
    seen: Instant,
    catalog: Arc<Catalog>,
    trust: TrustState,
    secrets: Option<SystemTime>,
    policy: Digest,
}

/// Stands for the set of keys that are trusted at some moment.
struct TrustState {
    /// Of the trust store's file.
    digest: Digest,
    /// When the next key ceases to be trusted although the file stays as it is.
    expiry: Option<SystemTime>,
}

impl TrustState {
    /// Where the file cannot be read, nobody is trusted.
    fn read(data: &DataDir, now: SystemTime) -> Self {
        let digest = Self::digest(data);
        let store = TrustStore::load(&data.trust_file());
        let expiry = store.ok().and_then(|store| store.next_expiry(now));
        Self { digest, expiry }
    }

    /// Whether the same keys are still trusted, for the price of one small file.
    fn holds(&self, data: &DataDir, now: SystemTime) -> bool {
        self.expiry.is_none_or(|expiry| now < expiry) && self.digest == Self::digest(data)
    }

    fn digest(data: &DataDir) -> Digest {
        Digest::of(&std::fs::read(data.trust_file()).unwrap_or_default())
    }
}

/// A package that is ready, or being made so by whoever came first.
struct Slot {
    digest: Digest,
    grant: Grant,
    tools: OnceCell<Vec<Arc<VerifiedTool>>>,
}

/// How a [`Resolver`] runs tools.
#[derive(Clone)]
pub struct HostOptions {
    /// The environment from which granted variables are taken.
    pub environment: BTreeMap<String, String>,
    /// Opens the secrets; without it, no secret has a value.
    pub secrets: Option<SecretSource>,
    /// Looks up names in the place of the system, for requests and sockets of tools.
    pub names: Option<NameSource>,
    /// How many calls run at once, and how many wait.
    pub schedule: ScheduleOptions,
    /// Tells the time by which keys expire.
    pub clock: fn() -> SystemTime,
    /// What compiles, as [`EngineOptions::compiler`] says.
    pub compiler: Option<Compiler>,
    /// The operator's policy; `None` takes the one in the data directory, if there is one.
    pub policy: Option<PolicyFile>,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            environment: BTreeMap::new(),
            secrets: None,
            names: None,
            schedule: ScheduleOptions::default(),
            clock: SystemTime::now,
            compiler: None,
            policy: None,
        }
    }
}

impl Resolver {
    /// Opens the registry in `data` and starts an engine.
    ///
    /// # Errors
    /// Where the registry cannot be opened or the engine does not start.
    pub fn open(data: &DataDir, options: HostOptions) -> Result<Self, ResolveError> {
        let registry = Registry::open(data)?;
        let cache = Some(data.cache_dir());
        let HostOptions { environment, secrets, names, schedule, clock, compiler, policy } =
            options;
        let engine = Engine::new(EngineOptions { cache, schedule, compiler })?;
        let surroundings = Surroundings {
            environment,
            scratch: Some(data.scratch_dir()),
            kept: Some(data.kept_scratch_dir()),
            private: Some(data.path().to_owned()),
            secrets,
            names,
            ..Surroundings::default()
        };
        let catalog = Arc::new(Catalog::read(&registry)?);
        let policy = policy.unwrap_or_else(|| PolicyFile::optional(data.policy_file()));
        if let Err(error) = policy.load() {
            // It may be mended while tools are served; until then, each call is refused.
            tracing::error!(%error, "no tool may run");
        }
        let latest = Latest {
            seen: Instant::now(),
            catalog,
            trust: TrustState::read(data, clock()),
            secrets: age_of_secrets(data),
            policy: policy.state(),
        };
        sweep(&data.scratch_dir());
        Ok(Self {
            data: data.clone(),
            registry: Mutex::new(registry),
            engine,
            surroundings,
            clock,
            policy,
            latest: Mutex::new(latest),
            ready: Mutex::new(LruCache::new(READY_PACKAGES)),
        })
    }

    /// The engine on which tools run.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The tools that there are now, give or take 50 milliseconds.
    ///
    /// # Errors
    /// Where the registry cannot be read.
    pub fn catalog(&self) -> Result<Arc<Catalog>, ResolveError> {
        let mut latest = lock(&self.latest);
        if latest.seen.elapsed() >= CATALOG_AGE {
            let registry = lock(&self.registry);
            if registry.generation()? != latest.catalog.generation {
                latest.catalog = Arc::new(Catalog::read(&registry)?);
            }
            let now = (self.clock)();
            let secrets = age_of_secrets(&self.data);
            if !latest.trust.holds(&self.data, now) || latest.secrets != secrets {
                latest.trust = TrustState::read(&self.data, now);
                latest.secrets = secrets;
                // Whoever is not trusted any more must not be found ready, nor with old secrets.
                lock(&self.ready).clear();
            }
            let policy = self.policy.state();
            if std::mem::replace(&mut latest.policy, policy) != policy {
                // Each is judged anew, also by a policy that cannot be read any more.
                lock(&self.ready).clear();
            }
            latest.seen = Instant::now();
        }
        Ok(Arc::clone(&latest.catalog))
    }

    /// The file of the operator's policy, whether or not it is there.
    pub fn policy_file(&self) -> &PolicyFile {
        &self.policy
    }

    /// Makes a tool ready to be called, or gives the one that is.
    ///
    /// # Errors
    /// Where its file or record was changed, its signature does not hold, or it cannot be loaded.
    /// Nothing of a failed attempt is kept: the next one looks again.
    pub async fn resolve(&self, entry: &CatalogEntry) -> Result<Arc<VerifiedTool>, ResolveError> {
        let slot = self.slot(&entry.package);
        let tools = slot.tools.get_or_try_init(|| self.load(Arc::clone(&entry.package))).await?;
        let tool = tools.get(entry.index).map(Arc::clone);
        tool.ok_or_else(|| ResolveError::Record(entry.package.id().clone()))
    }

    fn slot(&self, package: &InstalledPackage) -> Arc<Slot> {
        let id = &package.manifest.package.id;
        let mut ready = lock(&self.ready);
        if let Some(slot) = ready.get(id)
            && slot.digest == package.digest
            && slot.grant == package.grant
        {
            return Arc::clone(slot);
        }
        let slot = Arc::new(Slot {
            digest: package.digest,
            grant: package.grant.clone(),
            tools: OnceCell::new(),
        });
        ready.put(id.clone(), Arc::clone(&slot));
        slot
    }

    async fn load(
        &self,
        package: Arc<InstalledPackage>,
    ) -> Result<Vec<Arc<VerifiedTool>>, ResolveError> {
        let engine = self.engine.clone();
        let surroundings = self.surroundings.clone();
        let data = self.data.clone();
        let now = (self.clock)();
        let policy = self.policy.clone();
        let load = move || {
            let policy = policy.load()?;
            let bytes = data.read_artifact(package.digest)?;
            let trust = TrustStore::load(&data.trust_file())?;
            let signed = verify(bytes, &package, &trust, now)?;
            let ruling = rule(policy.as_ref(), &signed, &trust, &package.grant)?;
            VerifiedTool::load(&engine, &signed, ruling, &surroundings)
        };
        tokio::task::spawn_blocking(load).await.unwrap_or(Err(ResolveError::Interrupted))
    }
}

/// Checks that `bytes` are what was installed as `package` and may still be run at `now`.
pub fn verify(
    bytes: Vec<u8>,
    package: &InstalledPackage,
    trust: &TrustStore,
    now: SystemTime,
) -> Result<SignedArtifact, ResolveError> {
    let id = &package.manifest.package.id;
    let artifact = match Artifact::parse(bytes) {
        Ok(artifact) if artifact.digest() == package.digest => artifact,
        _ => return Err(ResolveError::Tampered { package: id.clone(), expected: package.digest }),
    };
    if *artifact.manifest() != package.manifest {
        return Err(ResolveError::Record(id.clone()));
    }
    let unsigned = if package.signer.is_none() { Unsigned::Allow } else { Unsigned::Refuse };
    SignedArtifact::verify(artifact, trust, unsigned, now)
        .map_err(|source| ResolveError::Signature { package: id.clone(), source })
}

/// What holds for a verified artifact that an operator granted `granted`, under the policy if there
/// is one.
///
/// # Errors
/// Where the policy refuses it.
pub fn rule(
    policy: Option<&Policy>,
    signed: &SignedArtifact,
    trust: &TrustStore,
    granted: &Grant,
) -> Result<Ruling, ResolveError> {
    let Some(policy) = policy else { return Ok(granted.clone().into()) };
    let id = &signed.artifact().manifest().package.id;
    let signer = signed.signer();
    let label = signer.as_ref().and_then(|key| trust.label(key));
    policy
        .apply(Subject { id, signer: signer.as_ref(), label }, granted)
        .map_err(|refusal| ResolveError::Refused { package: id.clone(), refusal })
}

/// When the secrets were last changed, if there are any. Their file is replaced as a whole.
fn age_of_secrets(data: &DataDir) -> Option<SystemTime> {
    std::fs::metadata(data.secrets_file()).and_then(|found| found.modified()).ok()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::fixtures;
    use serde_json::json;

    fn package(id: &str, tools: &[&str], alias: Option<&str>) -> InstalledPackage {
        let mut manifest = fixtures::manifest(id, "1.0.0", tools[0]);
        let tool = |name| {
            serde_json::from_value(json!({"name": name, "inputSchema": {"type": "object"}}))
                .unwrap()
        };
        manifest.tools = tools.iter().map(tool).collect();
        InstalledPackage {
            manifest,
            digest: Digest::of(id.as_bytes()),
            grant: Grant::default(),
            alias: alias.map(|alias| alias.parse().unwrap()),
            signer: None,
            source: String::new(),
            installed_at: 0,
        }
    }

    fn catalog(packages: Vec<InstalledPackage>) -> Catalog {
        Catalog::new(0, packages.into_iter().map(Arc::new))
    }

    fn names(catalog: &Catalog) -> Vec<String> {
        catalog
            .entries()
            .map(|entry| format!("{}={}", entry.wire_name, entry.full_name()))
            .collect()
    }

    #[test]
    fn names_are_short_where_they_can_be_and_always_unique() {
        let catalog = catalog(vec![
            package("com.a.web", &["fetch", "post"], None),
            package("com.b.net", &["fetch"], None),
            package("org.c.net", &["fetch"], None),
        ]);
        assert_eq!(
            names(&catalog),
            [
                "com_b_net_fetch=com.b.net/fetch",
                "org_c_net_fetch=org.c.net/fetch",
                "post=com.a.web/post",
                "web_fetch=com.a.web/fetch",
            ]
        );
    }

    #[test]
    fn aliases_win_and_do_not_shift_others() {
        let catalog = catalog(vec![
            package("com.a.web", &["fetch"], None),
            package("com.b.net", &["get"], Some("fetch")),
        ]);
        assert_eq!(names(&catalog), ["fetch=com.b.net/get", "web_fetch=com.a.web/fetch"]);
    }

    #[test]
    fn names_too_long_to_tell_apart_get_a_digest() {
        let long = "x".repeat(64);
        let catalog = catalog(vec![
            package("com.a.web", &[&long], None),
            package("com.b.web", &[&long], None),
        ]);
        assert_eq!(catalog.entries().len(), 2);
        assert!(catalog.entries().all(|entry| entry.wire_name.as_str().len() <= 64));
    }

    #[test]
    fn tools_are_found_by_every_name_people_use() {
        let catalog = catalog(vec![
            package("com.a.web", &["fetch", "post"], None),
            package("com.b.hello", &["greet"], None),
        ]);
        for name in ["greet", "com.b.hello/greet", "com.b.hello", "hello"] {
            assert_eq!(
                catalog.find_loosely(name).unwrap().full_name(),
                "com.b.hello/greet",
                "{name}"
            );
        }
        assert!(
            matches!(catalog.find_loosely("web"), Err(ResolveError::Ambiguous { candidates, .. }) if candidates.len() == 2)
        );
        let error = catalog.find_loosely("gret").map(drop).unwrap_err().to_string();
        assert!(error.contains("did you mean `greet`?"), "{error}");
    }

    #[test]
    fn an_install_tells_whose_names_it_would_change() {
        let before = catalog(vec![
            package("com.a.web", &["fetch", "post"], None),
            package("com.b.net", &["get"], None),
        ]);
        let renamed = |package| {
            let renamings = before.renamings(&package);
            renamings.iter().map(|(old, new)| format!("{old}={new}")).collect::<Vec<_>>()
        };
        assert_eq!(renamed(package("org.c.net", &["fetch"], None)), ["fetch=web_fetch"]);
        assert_eq!(renamed(package("org.c.net", &["other"], None)), [""; 0]);
        assert_eq!(renamed(package("com.a.web", &["get"], None)), ["get=net_get"]);
    }

    #[test]
    fn no_package_takes_the_calls_of_another() {
        let good = package("com.good.web", &["fetch"], None);
        let evil = package("com.evil.fetch", &["fetch"], None);
        let catalog = catalog(vec![good, evil]);
        assert!(catalog.find("fetch").is_err(), "it was the name of the first one alone");
        assert_eq!(catalog.find("com.good.web/fetch").unwrap().full_name(), "com.good.web/fetch");
    }
}
