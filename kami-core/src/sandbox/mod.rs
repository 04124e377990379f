//! From grants to a store: what a guest finds around it, and nothing else.
//!
//! A [`Sandbox`] is a component linked once and ready to be entered any number of times. Each
//! entry makes a fresh store with a deny-all WASI context, to which only what the effective grants
//! list is added, and which nothing survives.

mod bindings;
mod admission;
mod cpu;
mod denials;
mod egress;
mod environment;
mod exports;
mod files;
mod http;
mod limiter;
mod mounts;
mod names;
mod output;
mod scratch;
mod sockets;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi::p2::bindings::filesystem;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::component::Component;
use crate::engine::{Code, Engine, EngineError, Metering};
use crate::grants::{Access, Denial, Effective, Recording, SCRATCH_PATH, ScratchMode};
use crate::name::PackageId;
use crate::scheduler::{Permit, Principal, Priority};
use crate::secrets::{Scrubber, SecretSource};

pub(crate) use admission::Refusal;
pub(crate) use bindings::exports::kami::tool as contract;
pub(crate) use bindings::kami::tool::types;
pub(crate) use bindings::v0_1;
pub(crate) use cpu::CpuClock;
pub(crate) use exports::Entry;
pub(crate) use limiter::is_out_of_memory;
pub use mounts::MountError;
pub use names::NameSource;
pub use output::Captured;
pub use scratch::forget;
pub(crate) use scratch::sweep;

use admission::Admission;
use denials::Denials;
use egress::GrantedSecrets;
use files::{Budget, Files, FilesView, KamiFiles};
use http::HttpGate;
use limiter::Limiter;
use mounts::Bound;
use names::Names;
use output::Capture;
use scratch::{Kept, Scratch};
use sockets::SocketGate;

/// How much more than its result a guest may hand to the host in one call between them: what is
/// around the result, and what it hands over on the way.
const TRANSFER_MARGIN: usize = 1 << 20;

/// The most random bytes per request of a guest.
const MAX_RANDOM_BYTES: u64 = 64 << 10;

/// The most bytes of headers in one `fields` resource.
const MAX_FIELDS_BYTES: usize = 32 << 10;

/// The most log lines and progress notices of one call; what comes after is dropped.
const MAX_EVENTS: u32 = 1000;

/// The longest log line or progress message, in bytes; what is longer is cut.
const MAX_EVENT_BYTES: usize = 8 << 10;

/// What the host has around a sandbox: plain values, read by whoever embeds this crate.
#[derive(Clone, Default)]
pub struct Surroundings {
    /// The environment from which granted variables are taken.
    pub environment: BTreeMap<String, String>,
    /// The directory in which scratch directories are made; without one, none is given.
    pub scratch: Option<PathBuf>,
    /// The directory in which packages keep theirs; without one, each call gets an empty one.
    pub kept: Option<PathBuf>,
    /// What is asked for in the place of what manifests say, and who is told what becomes of it.
    pub recording: Option<Recording>,
    /// The directory that holds keys, registry and native code, and that no mount may touch.
    pub private: Option<PathBuf>,
    /// Opens the secrets; without it, no secret has a value.
    pub secrets: Option<SecretSource>,
    /// Looks up names in the place of the system.
    pub names: Option<NameSource>,
    /// Whether the instructions of every call are counted, also where none are limited.
    pub metered: bool,
}

/// Why a component cannot be put into a sandbox, or entered.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// No engine for it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The component imports what this host does not offer.
    #[error("the component does not fit this host")]
    Link(#[source] wasmtime::Error),
    /// A directory that cannot be mounted.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The scratch directory cannot be made.
    #[error("cannot make a scratch directory")]
    Scratch(#[source] std::io::Error),
    /// The secrets that the tool may use cannot be opened.
    #[error("cannot open the secrets")]
    Secrets(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store cannot be set up.
    #[error("cannot set up the sandbox")]
    Store(#[source] wasmtime::Error),
}

/// Severity of a log line, as in RFC 5424.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Details for whoever debugs the tool.
    Debug,
    /// What happens.
    Info,
    /// What happens and matters.
    Notice,
    /// What may become a problem.
    Warning,
    /// What failed.
    Error,
    /// What makes a part useless.
    Critical,
    /// What someone must act upon.
    Alert,
    /// What makes the whole useless.
    Emergency,
}

/// A list that a component provides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Listing {
    /// Its tools.
    Tools,
    /// Its resources.
    Resources,
    /// Its prompts.
    Prompts,
}

/// What a guest tells the host while it runs.
#[derive(Debug, Clone, PartialEq)]
pub enum GuestEvent {
    /// A line for the log.
    Log {
        /// How severe.
        level: Level,
        /// Bounded, but otherwise as the guest wrote it.
        message: String,
    },
    /// How far it has come.
    Progress {
        /// How much is done.
        progress: f64,
        /// How much there is.
        total: Option<f64>,
        /// In words.
        message: Option<String>,
    },
    /// A list is different now.
    ListChanged(Listing),
}

impl GuestEvent {
    fn scrubbed(self, scrubber: &Scrubber) -> Self {
        let scrub = |text: String| match scrubber.scrub_str(&text) {
            Cow::Owned(scrubbed) => scrubbed,
            Cow::Borrowed(_) => text,
        };
        match self {
            Self::Log { level, message } => Self::Log { level, message: scrub(message) },
            Self::Progress { progress, total, message } => {
                Self::Progress { progress, total, message: message.map(scrub) }
            }
            Self::ListChanged(listing) => Self::ListChanged(listing),
        }
    }
}

/// Takes what guests tell while they run.
pub trait EventSink: Send + Sync {
    /// Takes one event, without blocking: it is called on the guest's own thread.
    fn event(&self, event: GuestEvent);

    /// Takes what is denied to a guest, as it happens; the report repeats it. Nothing was struck out
    /// of it yet.
    fn denied(&self, _denial: &Denial) {}
}

/// Takes events to nowhere.
impl EventSink for () {
    fn event(&self, _: GuestEvent) {}
}

/// A component, linked to exactly what it may use, ready to be entered.
pub struct Sandbox {
    engine: Engine,
    metering: Metering,
    entry: Entry,
    effective: Arc<Effective>,
    variables: Vec<(String, String)>,
    mounts: Vec<(Bound, String)>,
    scratch: Option<ScratchSource>,
    names: Names,
    admission: Admission,
    secrets: Arc<GrantedSecrets>,
}

/// Where scratch directories come from.
enum ScratchSource {
    /// Each call gets an empty one, made in this directory.
    Emptied(PathBuf),
    /// All calls share one.
    Kept(Kept),
}

impl Sandbox {
    /// Links `code`, which was compiled from `component`, under `effective` grants.
    ///
    /// Only a `package` has a place for what is to be kept, and all calls of one share its limit of
    /// calls at once.
    ///
    /// # Errors
    /// Where the component imports what the host does not offer, or a mount is not fit to be one.
    ///
    /// # Security
    /// Nothing of the component runs here. Mounts are vetted and opened here, once; every call gets
    /// the directories that were vetted.
    pub fn new(
        engine: &Engine,
        component: &Component,
        code: &Code,
        effective: Effective,
        surroundings: &Surroundings,
        package: Option<&PackageId>,
    ) -> Result<Self, SandboxError> {
        let private = surroundings.private.as_deref();
        let bind = |mount: crate::grants::Mount<'_>| {
            Bound::open(&mount, private).map(|bound| (bound, mount.guest_path))
        };
        let mounts = effective.mounts().map(bind).collect::<Result<_, _>>()?;
        let secrets = granted_secrets(&effective, surroundings)?;
        let variables: Vec<_> = effective
            .env()
            .filter_map(|name| {
                let value = surroundings.environment.get(name.as_str())?;
                Some((name.to_string(), value.clone()))
            })
            .chain(secrets.variables(&effective))
            .collect();
        let mut linker = linker(engine.wasmtime(code.metering)?).map_err(SandboxError::Link)?;
        if let Some(recorder) = effective.recorder() {
            environment::link(&mut linker, recorder, &variables).map_err(SandboxError::Link)?;
        }
        let linked = linker.instantiate_pre(&code.component).map_err(SandboxError::Link)?;
        Ok(Self {
            engine: engine.clone(),
            metering: code.metering,
            entry: Entry::new(component, linked).map_err(SandboxError::Link)?,
            variables,
            mounts,
            scratch: scratch_source(&effective, surroundings, package),
            names: Names::new(surroundings.names.clone()),
            admission: Admission::new(package, &effective.limits()),
            secrets: Arc::new(secrets),
            effective: Arc::new(effective),
        })
    }

    /// What the component may do here.
    pub fn effective(&self) -> &Effective {
        &self.effective
    }

    /// Finds the secrets that the component may use in what comes out of it.
    pub(crate) fn scrubber(&self) -> &Scrubber {
        self.secrets.scrubber()
    }

    /// Waits for a place to run a call in.
    pub(crate) async fn admit(
        &self,
        principal: Principal,
        priority: Priority,
    ) -> Result<Permit, Refusal> {
        self.admission.admit(self.engine.scheduler(), principal, priority).await
    }

    pub(crate) fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Makes a fresh store for one entry.
    pub(crate) async fn store(
        &self,
        events: Arc<dyn EventSink>,
    ) -> Result<Store<State>, SandboxError> {
        let limits = self.effective.limits();
        let denials = Denials::new(Arc::clone(&events));
        let log_bytes = limits.log_bytes();
        let (stdout, stderr) = (Capture::new(log_bytes), Capture::new(log_bytes));
        let cpu = CpuClock::default();
        let mut wasi = WasiCtxBuilder::new();
        wasi.stdout(stdout.clone())
            .stderr(stderr.clone())
            .max_random_size(MAX_RANDOM_BYTES)
            .envs(&self.variables);
        let sockets =
            SocketGate::new(Arc::clone(&self.effective), denials.clone(), self.names.clone());
        guard_sockets(&mut wasi, sockets.clone());
        let (files, scratch) = self.files(&denials).await?;
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles());
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(MAX_FIELDS_BYTES);

        let state = State {
            wasi: wasi.build(),
            files,
            http,
            table,
            gate: HttpGate::new(
                Arc::clone(&self.effective),
                denials.clone(),
                self.names.clone(),
                Arc::clone(&self.secrets),
            ),
            sockets,
            limiter: Limiter::new(limits.memory_bytes(), self.engine.memory().clone()),
            events,
            secrets: Arc::clone(&self.secrets),
            events_left: MAX_EVENTS,
            log_bytes_left: log_bytes,
            events_dropped: 0,
            cpu,
            cpu_limit: limits.cpu(),
            stdout,
            stderr,
            denials,
            _scratch: scratch,
        };
        let mut store = Store::new(self.engine.wasmtime(self.metering)?, state);
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(limits.output_bytes() + TRANSFER_MARGIN);
        store.set_max_component_handles(limits.handles());
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|store| {
            let state: &State = store.data();
            if state.cpu.running() > state.cpu_limit {
                return Err(wasmtime::Error::new(CpuExhausted));
            }
            Ok(UpdateDeadline::Yield(1))
        });
        if self.metering == Metering::Fuel {
            store.set_fuel(limits.fuel().unwrap_or(u64::MAX)).map_err(SandboxError::Store)?;
        }
        Ok(store)
    }

    /// The file system for one call, and the directory that ends with it.
    async fn files(&self, denials: &Denials) -> Result<(Files, Option<Scratch>), SandboxError> {
        let mut roots = Vec::with_capacity(self.mounts.len() + 1);
        for (bound, guest_path) in &self.mounts {
            roots.push((bound.dir()?, guest_path.clone()));
        }
        let (mut scratch, mut room) = (None, None);
        let path = match &self.scratch {
            None => None,
            Some(ScratchSource::Emptied(parent)) => {
                let own = Scratch::new(parent).map_err(SandboxError::Scratch)?;
                Some(scratch.insert(own).path())
            }
            Some(ScratchSource::Kept(kept)) => {
                let (path, shared) = kept.enter().await.map_err(SandboxError::Scratch)?;
                room = Some(shared);
                Some(path)
            }
        };
        if let Some(path) = path {
            let handle = mounts::open_directory(&path).map_err(SandboxError::Scratch)?;
            let dir = mounts::preopen(handle, Access::ReadWrite);
            roots.push((dir, SCRATCH_PATH.to_owned()));
        }
        let budget = Budget::new(self.effective.limits().write_bytes(), room, denials.clone());
        let files = Files::new(roots, Arc::clone(&self.effective), denials.clone(), budget);
        Ok((files, scratch))
    }

    /// How much of the fuel with which `store` began is burnt; `None` where fuel is not metered.
    pub(crate) fn fuel_burnt(&self, store: &Store<State>) -> Option<u64> {
        let tank = self.effective.limits().fuel().unwrap_or(u64::MAX);
        store.get_fuel().ok().map(|left| tank.saturating_sub(left))
    }
}

/// The secrets are opened only for a component that may use one.
fn granted_secrets(
    effective: &Effective,
    surroundings: &Surroundings,
) -> Result<GrantedSecrets, SandboxError> {
    let Some(open) = surroundings.secrets.as_ref().filter(|_| effective.secrets().next().is_some())
    else {
        return Ok(GrantedSecrets::default());
    };
    let secrets = open().map_err(SandboxError::Secrets)?;
    GrantedSecrets::pick(effective, &secrets).map_err(|error| SandboxError::Secrets(error.into()))
}

/// Links everything that a component may import. What an import may then do is the store's matter.
fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    // In the place of wasmtime's own, which it uses.
    linker.allow_shadowing(true);
    filesystem::types::add_to_linker::<_, KamiFiles>(&mut linker, State::files)?;
    filesystem::preopens::add_to_linker::<_, KamiFiles>(&mut linker, State::files)?;
    linker.allow_shadowing(false);
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    sockets::link(&mut linker)?;
    bindings::kami::tool::host::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    v0_1::kami::tool::host::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    Ok(linker)
}

/// Has every use of a socket decided upon. There are no datagrams, for nobody.
fn guard_sockets(wasi: &mut WasiCtxBuilder, gate: SocketGate) {
    wasi.allow_ip_name_lookup(false).allow_udp(false).allow_tcp(true).socket_addr_check(
        move |address, usage| Box::pin(std::future::ready(gate.permits(address, usage))),
    );
}

fn scratch_source(
    effective: &Effective,
    surroundings: &Surroundings,
    package: Option<&PackageId>,
) -> Option<ScratchSource> {
    match (effective.scratch()?, &surroundings.kept, package) {
        (ScratchMode::Kept, Some(parent), Some(package)) => {
            Some(ScratchSource::Kept(Kept::new(parent, package)))
        }
        _ => surroundings.scratch.clone().map(ScratchSource::Emptied),
    }
}

/// Everything that one store holds.
pub(crate) struct State {
    wasi: WasiCtx,
    files: Files,
    http: WasiHttpCtx,
    table: ResourceTable,
    gate: HttpGate,
    sockets: SocketGate,
    limiter: Limiter,
    events: Arc<dyn EventSink>,
    secrets: Arc<GrantedSecrets>,
    events_left: u32,
    /// Bytes of log lines that are still passed on.
    log_bytes_left: usize,
    events_dropped: u64,
    cpu: CpuClock,
    cpu_limit: Duration,
    stdout: Capture,
    stderr: Capture,
    denials: Denials,
    /// Removed from the disk when the store is dropped.
    _scratch: Option<Scratch>,
}

impl State {
    pub(crate) fn memory_peak_bytes(&self) -> u64 {
        self.limiter.peak_bytes()
    }

    /// Whether the guest got less memory than it may have.
    pub(crate) fn memory_ran_out(&self) -> bool {
        self.limiter.exhausted()
    }

    pub(crate) fn memory_was_refused(&self) -> bool {
        self.limiter.refused()
    }

    pub(crate) fn take_stdout(&self) -> Captured {
        self.stdout.take()
    }

    pub(crate) fn take_stderr(&self) -> Captured {
        self.stderr.take()
    }

    /// All that is remembered of what was denied, and how many were not remembered.
    pub(crate) fn take_denials(&self) -> (Vec<Denial>, u64) {
        self.denials.take()
    }

    pub(crate) fn events_dropped(&self) -> u64 {
        self.events_dropped
    }

    pub(crate) fn cpu(&self) -> CpuClock {
        self.cpu.clone()
    }

    fn files(&mut self) -> FilesView<'_> {
        self.files.view(&mut self.table)
    }

    /// Passes an event on, as long as there are not too many, with not too much text.
    fn emit(&mut self, event: GuestEvent) {
        let bytes = match &event {
            GuestEvent::Log { message, .. } => message.len(),
            GuestEvent::Progress { message, .. } => message.as_ref().map_or(0, String::len),
            GuestEvent::ListChanged(_) => 0,
        };
        match (self.events_left.checked_sub(1), self.log_bytes_left.checked_sub(bytes)) {
            (Some(events), Some(bytes)) => {
                (self.events_left, self.log_bytes_left) = (events, bytes);
                self.events.event(event.scrubbed(self.secrets.scrubber()));
            }
            _ => self.events_dropped += 1,
        }
    }
}

/// A guest that has used up its processor time.
#[derive(Debug, thiserror::Error)]
#[error("the guest has used up its processor time")]
pub(crate) struct CpuExhausted;

fn bounded(mut text: String) -> String {
    if text.len() > MAX_EVENT_BYTES {
        text.truncate(text.floor_char_boundary(MAX_EVENT_BYTES));
        text.push('…');
    }
    text
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.gate }
    }
}

impl types::Host for State {}

impl bindings::kami::tool::host::Host for State {
    fn log(&mut self, level: bindings::kami::tool::host::Level, message: String) {
        use bindings::kami::tool::host::Level as Wire;

        let level = match level {
            Wire::Debug => Level::Debug,
            Wire::Info => Level::Info,
            Wire::Notice => Level::Notice,
            Wire::Warning => Level::Warning,
            Wire::Error => Level::Error,
            Wire::Critical => Level::Critical,
            Wire::Alert => Level::Alert,
            Wire::Emergency => Level::Emergency,
        };
        self.emit(GuestEvent::Log { level, message: bounded(message) });
    }

    fn progress(&mut self, progress: f64, total: Option<f64>, message: Option<String>) {
        self.emit(GuestEvent::Progress { progress, total, message: message.map(bounded) });
    }

    fn list_changed(&mut self, what: bindings::kami::tool::host::Listing) {
        use bindings::kami::tool::host::Listing as Wire;

        self.emit(GuestEvent::ListChanged(match what {
            Wire::Tools => Listing::Tools,
            Wire::Resources => Listing::Resources,
            Wire::Prompts => Listing::Prompts,
        }));
    }
}

impl v0_1::kami::tool::host::Host for State {
    fn log(&mut self, level: v0_1::kami::tool::host::LogLevel, message: String) {
        use v0_1::kami::tool::host::LogLevel as Wire;

        let level = match level {
            Wire::Trace | Wire::Debug => Level::Debug,
            Wire::Info => Level::Info,
            Wire::Warn => Level::Warning,
            Wire::Error => Level::Error,
        };
        self.emit(GuestEvent::Log { level, message: bounded(message) });
    }
}

/// Collects events, for tests and for callers that show them afterwards.
#[derive(Default)]
pub struct Collected(Mutex<Vec<GuestEvent>>);

impl Collected {
    /// The events so far.
    pub fn take(&self) -> Vec<GuestEvent> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl EventSink for Collected {
    fn event(&self, event: GuestEvent) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}
