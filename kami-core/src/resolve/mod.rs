//! From a name to a tool that may be called.
//!
//! The [`Catalog`] says which tools there are and how they are called; it reads in the registry what
//! it is asked for, and runs and verifies nothing. [`Resolver::resolve`] turns an entry of it into a
//! [`VerifiedTool`]: bytes read once, digest and signature checked, compiled, linked under the
//! effective grants. That happens on the first call of a package, and again when it, its grant, the
//! operator's policy or the set of trusted keys changes.

mod catalog;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use lru::LruCache;

use crate::component::Artifact;
use crate::digest::Digest;
use crate::engine::{Allocation, Compiler, Engine, EngineError, EngineOptions, Metering};
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

pub use crate::registry::{CatalogEntry, PromptEntry, ResourceEntry, TemplateEntry};
pub use catalog::{Catalog, Entries};

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
    /// A schema that cannot be used to check arguments, or results.
    #[error("a schema of `{tool}` cannot be used: {source}")]
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
    /// A pipeline that cannot be called as it is, or that was taken for what has code.
    #[error("the pipeline `{package}` cannot be called: {reason}")]
    Pipeline {
        /// Which pipeline.
        package: PackageId,
        /// Why not.
        reason: String,
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
            Self::Pipeline { .. } => "KAMI-PIPELINE",
            Self::Interrupted => "KAMI-HOST",
        }
    }

    /// What a client is told that called `name`, in one line that ends in the code.
    pub fn for_client(&self, name: &str) -> String {
        let why = match self {
            Self::Signature { source, .. } => format!("{self}: {source}"),
            // These speak of the host's own files.
            Self::Registry(_)
            | Self::Trust(_)
            | Self::Policy(_)
            | Self::Engine(_)
            | Self::Interrupted => format!("`{}` cannot be loaded", catalog::brief(name)),
            _ => self.to_string(),
        };
        format!("{why} [{}]", self.code())
    }
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

/// A package whose bytes, signature and grants hold: the only thing that is ever run.
pub struct VerifiedPackage {
    id: PackageId,
    sandbox: Sandbox,
    priority: Priority,
}

/// A tool of such a package, whose schemas hold too.
pub struct VerifiedTool {
    package: Arc<VerifiedPackage>,
    definition: ToolDefinition,
    arguments: Schema,
    results: Option<Schema>,
}

impl VerifiedPackage {
    /// Compiles and links a verified artifact under a policy's ruling, or under a grant where there
    /// is no policy.
    ///
    /// This takes CPU time in proportion to the component's size: call it off the async threads.
    ///
    /// # Errors
    /// Where the component is not valid, or needs what this host does not offer.
    pub fn load(
        engine: &Engine,
        signed: &SignedArtifact,
        ruling: impl Into<Ruling>,
        surroundings: &Surroundings,
    ) -> Result<Arc<Self>, ResolveError> {
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
        Ok(Arc::new(Self { id: package.clone(), sandbox, priority }))
    }

    /// Its identity.
    pub fn id(&self) -> &PackageId {
        &self.id
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
}

impl VerifiedTool {
    /// Loads a package, as [`VerifiedPackage::load`] does, with all of its tools.
    ///
    /// # Errors
    /// Where the package cannot be loaded, or has a schema that cannot be used.
    pub fn load(
        engine: &Engine,
        signed: &SignedArtifact,
        ruling: impl Into<Ruling>,
        surroundings: &Surroundings,
    ) -> Result<Vec<Arc<Self>>, ResolveError> {
        let package = VerifiedPackage::load(engine, signed, ruling, surroundings)?;
        Self::all(&package, &signed.artifact().manifest().tools)
    }

    fn all(
        package: &Arc<VerifiedPackage>,
        definitions: &[ToolDefinition],
    ) -> Result<Vec<Arc<Self>>, ResolveError> {
        let tool = |definition: &ToolDefinition| {
            let compile = |schema| {
                Schema::compile(schema).map_err(|source| ResolveError::Schema {
                    tool: definition.name.clone(),
                    source,
                })
            };
            Ok(Arc::new(Self {
                package: Arc::clone(package),
                arguments: compile(&definition.input_schema)?,
                results: definition.output_schema.as_ref().map(compile).transpose()?,
                definition: definition.clone(),
            }))
        };
        definitions.iter().map(tool).collect()
    }

    /// The package that it belongs to.
    pub fn package(&self) -> &PackageId {
        self.package.id()
    }

    /// What it is and takes.
    pub fn definition(&self) -> &ToolDefinition {
        &self.definition
    }

    /// What it may do.
    pub fn effective(&self) -> &Effective {
        self.package.effective()
    }

    /// The package that runs it.
    pub fn verified(&self) -> &VerifiedPackage {
        &self.package
    }

    /// What its arguments must fit.
    pub(crate) fn arguments(&self) -> &Schema {
        &self.arguments
    }

    /// What its structured content must fit, if it said so.
    pub(crate) fn results(&self) -> Option<&Schema> {
        self.results.as_ref()
    }
}

/// Finds, verifies and keeps ready the tools of one data directory.
pub struct Resolver {
    data: DataDir,
    registry: Arc<Mutex<Registry>>,
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

/// A package that is ready, or not yet.
struct Slot {
    digest: Digest,
    grant: Grant,
    loaded: OnceLock<Loaded>,
    /// Held by the thread that makes it ready.
    loading: Arc<tokio::sync::Mutex<()>>,
}

/// What is run of a package.
struct Loaded {
    package: Arc<VerifiedPackage>,
    tools: Vec<Arc<VerifiedTool>>,
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
    /// Where the memory of guests comes from.
    pub allocation: Allocation,
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
            allocation: Allocation::default(),
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
        let HostOptions {
            environment,
            secrets,
            names,
            schedule,
            allocation,
            clock,
            compiler,
            policy,
        } = options;
        let engine = Engine::new(EngineOptions { cache, schedule, allocation, compiler })?;
        let surroundings = Surroundings {
            environment,
            scratch: Some(data.scratch_dir()),
            kept: Some(data.kept_scratch_dir()),
            private: Some(data.path().to_owned()),
            secrets,
            names,
            ..Surroundings::default()
        };
        let registry = Arc::new(Mutex::new(registry));
        let catalog = Arc::new(Catalog::of(Arc::clone(&registry))?);
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
            registry,
            engine,
            surroundings,
            clock,
            policy,
            latest: Mutex::new(latest),
            ready: Mutex::new(LruCache::new(READY_PACKAGES)),
        })
    }

    /// The directory that holds everything.
    pub fn data(&self) -> &DataDir {
        &self.data
    }

    /// The clock by which keys expire.
    pub(crate) fn clock(&self) -> fn() -> SystemTime {
        self.clock
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
            let generation = lock(&self.registry).generation()?;
            if generation != latest.catalog.generation() {
                latest.catalog = Arc::new(Catalog::of(Arc::clone(&self.registry))?);
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
        let slot = self.filled(&entry.package).await?;
        let tool = slot.loaded.get().and_then(|loaded| loaded.tools.get(entry.index));
        tool.map(Arc::clone).ok_or_else(|| ResolveError::Record(entry.package.id().clone()))
    }

    /// Makes a package ready for what is no tool of it, or gives the one that is.
    ///
    /// # Errors
    /// As with [`Self::resolve`].
    pub async fn package(
        &self,
        package: &Arc<InstalledPackage>,
    ) -> Result<Arc<VerifiedPackage>, ResolveError> {
        let slot = self.filled(package).await?;
        let package = slot.loaded.get().map(|loaded| Arc::clone(&loaded.package));
        package.ok_or(ResolveError::Interrupted)
    }

    /// Whether the policy lets what has no signature run at all, such as a pipeline.
    ///
    /// # Errors
    /// Where it refuses the package, or cannot be read.
    pub(crate) fn permits(&self, package: &InstalledPackage) -> Result<(), ResolveError> {
        let Some(policy) = self.policy.load()? else { return Ok(()) };
        let subject = Subject { id: package.id(), signer: None, label: None };
        policy
            .apply(subject, &package.grant)
            .map(drop)
            .map_err(|refusal| ResolveError::Refused { package: package.id().clone(), refusal })
    }

    async fn filled(&self, package: &Arc<InstalledPackage>) -> Result<Arc<Slot>, ResolveError> {
        if package.is_pipeline() {
            return Err(ResolveError::Pipeline {
                package: package.id().clone(),
                reason: "it has no code of its own".to_owned(),
            });
        }
        let slot = self.slot(package);
        if slot.loaded.get().is_none() {
            self.fill(Arc::clone(&slot), Arc::clone(package)).await?;
        }
        Ok(slot)
    }

    /// Makes a package ready, once. Who does not wait for the end of it does not make it end, and
    /// whoever comes next finds what came of it: no client has it done more than once at a time.
    async fn fill(
        &self,
        slot: Arc<Slot>,
        package: Arc<InstalledPackage>,
    ) -> Result<(), ResolveError> {
        let turn = Arc::clone(&slot.loading).lock_owned().await;
        if slot.loaded.get().is_some() {
            return Ok(());
        }
        let load = self.loader(package);
        let fill = move || {
            let _turn = turn;
            let loaded = load()?;
            slot.loaded.get_or_init(|| loaded);
            Ok(())
        };
        tokio::task::spawn_blocking(fill).await.unwrap_or(Err(ResolveError::Interrupted))
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
            loaded: OnceLock::new(),
            loading: Arc::default(),
        });
        ready.put(id.clone(), Arc::clone(&slot));
        slot
    }

    /// What makes a package ready, on a thread that may block.
    fn loader(
        &self,
        package: Arc<InstalledPackage>,
    ) -> impl FnOnce() -> Result<Loaded, ResolveError> + Send + 'static {
        let engine = self.engine.clone();
        let surroundings = self.surroundings.clone();
        let data = self.data.clone();
        let now = (self.clock)();
        let policy = self.policy.clone();
        move || {
            let policy = policy.load()?;
            let bytes = data.read_artifact(package.digest)?;
            let trust = TrustStore::load(&data.trust_file())?;
            let signed = verify(bytes, &package, &trust, now)?;
            let ruling = rule(policy.as_ref(), &signed, &trust, &package.grant)?;
            let verified = VerifiedPackage::load(&engine, &signed, ruling, &surroundings)?;
            let tools = VerifiedTool::all(&verified, &package.manifest.tools)?;
            Ok(Loaded { package: verified, tools })
        }
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
