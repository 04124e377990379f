//! The WebAssembly engine: configured once, shared by every call of a process.
//!
//! One [`Engine`] holds wasmtime's engine, the thread that advances its epoch, and the native code
//! cache. Tools with a fuel limit run on a second wasmtime engine, made when the first of them is
//! compiled, so that the others don't pay for metering.

mod allocation;
mod cache;
mod compiler;
mod ticker;

use std::error::Error;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Once, OnceLock, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use wasmtime::{Config, Enabled, OptLevel, PoolingAllocationConfig, WasmBacktraceDetails};

use crate::component::Component;
use crate::digest::hex;
use crate::grants::MAX_MEMORY_BYTES;
use crate::scheduler::{ScheduleOptions, Scheduler};

pub(crate) use allocation::SharedMemory;
pub use allocation::{Allocation, Shortage};
use allocation::{Plan, RESERVED, Room};
use cache::NativeCache;
use compiler::Turns;
pub use compiler::{Compiler, native_code};
use ticker::Ticker;

/// The most elements of one table; the largest interpreters have a few thousand functions.
pub(crate) const MAX_TABLE_ELEMENTS: usize = 20_000;

/// The most core instances in one component; one with dynamic linking has about twenty.
pub(crate) const MAX_CORE_INSTANCES: u32 = 32;

/// The most tables in one component.
pub(crate) const MAX_TABLES: u32 = 8;

/// The most linear memories in one component.
pub(crate) const MAX_MEMORIES: u32 = 1;

/// The fewest compilations that may run at once, so that one which takes all the time that it gets
/// does not keep the next one waiting.
const MIN_COMPILATIONS: NonZeroUsize = NonZeroUsize::new(2).unwrap();

/// Where an [`Engine`] gets and keeps native code, and which calls it runs when.
#[derive(Debug, Clone, Default)]
pub struct EngineOptions {
    /// The directory of the native code cache, which only its owner may write; without one, every
    /// process compiles anew.
    pub cache: Option<PathBuf>,
    /// How many calls run at once, and how many wait.
    pub schedule: ScheduleOptions,
    /// Where the memory of guests comes from.
    pub allocation: Allocation,
    /// What compiles. Without one, that is done in this process, and a component that was made for
    /// it can take minutes and gigabytes: set one where components of strangers are compiled.
    pub compiler: Option<Compiler>,
}

/// Why there is no engine, or no native code.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// This machine cannot run the engine.
    #[error("cannot start the WebAssembly engine")]
    Start(#[source] wasmtime::Error),
    /// The epoch thread cannot be started.
    #[error("cannot start the thread that bounds guests in time")]
    Ticker(#[source] std::io::Error),
    /// The component is not valid, or larger than what is compiled.
    #[error("cannot compile the component")]
    Compile(#[source] Box<dyn Error + Send + Sync>),
    /// Compiling took longer than it may.
    #[error(
        "compiling the component took more than {} s: it holds functions that are too large, or \
         too many of them",
        limit.as_secs()
    )]
    TooSlow {
        /// How long it may take.
        limit: Duration,
    },
    /// Compiling took more memory than it may.
    #[error(
        "compiling the component took more than {limit_mb} MiB of memory: it holds functions that \
         are too large, or too many of them"
    )]
    TooMuchMemory {
        /// How much it may take, in mebibytes.
        limit_mb: u64,
    },
    /// The compiler ended without a result, in its own process.
    #[error("the compiler crashed on the component ({how})")]
    Crashed {
        /// How it ended.
        how: String,
    },
    /// The process that compiles cannot be run.
    #[error("cannot run the compiler")]
    Worker(#[source] std::io::Error),
}

/// The engine that all calls of a process share. Clones are cheap and mean the same engine.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    unmetered: Machine,
    metered: OnceLock<Machine>,
    /// Held by whoever starts that one: there may be room for one, and not for two.
    starting: Mutex<()>,
    options: EngineOptions,
    plan: Plan,
    memory: SharedMemory,
    complaints: Complaints,
    scheduler: Scheduler,
    compilations: Turns,
    /// Components whose native code was kept, and those that had to be compiled.
    hits: AtomicU64,
    misses: AtomicU64,
}

/// One wasmtime engine with what belongs to it.
struct Machine {
    wasmtime: wasmtime::Engine,
    allocation: Allocation,
    cache: Option<NativeCache>,
    _ticker: Ticker,
}

/// Whether instructions are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metering {
    /// CPU is bounded by time alone.
    Off,
    /// Every instruction burns fuel, the same amount on every machine.
    Fuel,
}

/// What the native code cache was good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLookups {
    /// Components whose native code was kept.
    pub hits: u64,
    /// Components that had to be compiled.
    pub misses: u64,
}

/// Native code, ready to be instantiated.
#[derive(Clone)]
pub struct Code {
    pub(crate) component: wasmtime::component::Component,
    pub(crate) metering: Metering,
}

impl Engine {
    /// Starts an engine.
    ///
    /// # Errors
    /// Where this machine cannot run it at all. Where it only has not enough of something, there
    /// are fewer places than were asked for, or calls are slower, and [`Engine::shortages`] tells why.
    pub fn new(options: EngineOptions) -> Result<Self, EngineError> {
        let (room, asked) = (Room::of_this_process(), options.schedule.places);
        let mut plan = room.plan(options.allocation, asked);
        let complaints = Complaints::none_yet();
        let start = |plan: &Plan| {
            let Plan { allocation, places, .. } = *plan;
            Machine::start(Metering::Off, allocation, places, &options, &complaints)
        };
        let unmetered = match start(&plan) {
            Err(EngineError::Start(error)) if plan.allocation == Allocation::Pool => {
                plan = room.plan(Allocation::OnDemand, asked);
                plan.shortages.push(Shortage::refused(asked, &error));
                start(&plan)?
            }
            started => started?,
        };
        for shortage in &plan.shortages {
            tracing::warn!("{shortage}");
        }
        let memory = SharedMemory::new(plan.memory, plan.places);
        let schedule = ScheduleOptions { places: plan.places, ..options.schedule };
        let scheduler = Scheduler::new(schedule);
        let cores = std::thread::available_parallelism().unwrap_or(MIN_COMPILATIONS);
        let compilations = Turns::new(cores.max(MIN_COMPILATIONS).get());
        let shared = Shared {
            unmetered,
            metered: OnceLock::new(),
            starting: Mutex::default(),
            options,
            plan,
            memory,
            complaints,
            scheduler,
            compilations,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Turns a component into native code, or takes that from the cache.
    ///
    /// This takes CPU time in proportion to the component's size, and waits while as many others
    /// compile as the machine has cores: call it off the async threads.
    ///
    /// # Errors
    /// Where the component is not valid, or compiling it takes more than it may. Nothing of a failed
    /// attempt is kept.
    ///
    /// # Security
    /// The component is hostile; wasmtime validates it. Cached native code is used only if this
    /// data directory's own key authenticates it.
    pub fn compile(&self, component: &Component, metering: Metering) -> Result<Code, EngineError> {
        let machine = self.machine(metering)?;
        let source = component.bytes();
        if let Some(component) = machine.cached(source) {
            self.shared.hits.fetch_add(1, Relaxed);
            return Ok(Code { component, metering });
        }
        let turn = self.shared.compilations.take();
        // Whoever had the turn may have compiled the same.
        if turn.waited
            && let Some(component) = machine.cached(source)
        {
            self.shared.hits.fetch_add(1, Relaxed);
            return Ok(Code { component, metering });
        }
        self.shared.misses.fetch_add(1, Relaxed);
        let failed = |error: wasmtime::Error| EngineError::Compile(error.into());
        let native = match &self.shared.options.compiler {
            Some(compiler) => compiler.compile(component, metering, machine.allocation)?,
            None => machine.wasmtime.precompile_component(source).map_err(failed)?,
        };
        let component = machine.load(&native).map_err(failed)?;
        if let Some(cache) = &machine.cache
            && let Err(error) = cache.store(source, &native)
        {
            self.shared.complaints.not_kept(cache.directory(), &error);
        }
        Ok(Code { component, metering })
    }

    /// How often native code was kept when it was needed, so far.
    pub fn cache_lookups(&self) -> CacheLookups {
        let Shared { hits, misses, .. } = &*self.shared;
        CacheLookups { hits: hits.load(Relaxed), misses: misses.load(Relaxed) }
    }

    /// Gives places to all calls.
    pub fn scheduler(&self) -> &Scheduler {
        &self.shared.scheduler
    }

    /// Where the memory of guests comes from, after what this process has room for.
    pub fn allocation(&self) -> Allocation {
        self.shared.unmetered.allocation
    }

    /// How many calls run at once, at the most.
    pub fn places(&self) -> u32 {
        self.shared.plan.places
    }

    /// What this process has too little of for what was asked. It was logged when the engine started.
    pub fn shortages(&self) -> &[Shortage] {
        &self.shared.plan.shortages
    }

    /// What guests share of memory.
    pub(crate) fn memory(&self) -> &SharedMemory {
        &self.shared.memory
    }

    /// The wasmtime engine on which `metering` runs.
    pub(crate) fn wasmtime(&self, metering: Metering) -> Result<&wasmtime::Engine, EngineError> {
        self.machine(metering).map(|machine| &machine.wasmtime)
    }

    fn machine(&self, metering: Metering) -> Result<&Machine, EngineError> {
        if metering == Metering::Off {
            return Ok(&self.shared.unmetered);
        }
        if let Some(machine) = self.shared.metered.get() {
            return Ok(machine);
        }
        let Shared { metered, starting, options, plan, complaints, .. } = &*self.shared;
        let _one_at_a_time = starting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(machine) = metered.get() {
            return Ok(machine);
        }
        let start =
            |allocation| Machine::start(metering, allocation, plan.places, options, complaints);
        let machine = match start(plan.allocation) {
            Err(EngineError::Start(error)) if plan.allocation == Allocation::Pool => {
                tracing::warn!("{}", Shortage::refused(plan.places, &error));
                start(Allocation::OnDemand)?
            }
            started => started?,
        };
        Ok(metered.get_or_init(|| machine))
    }
}

impl Machine {
    fn start(
        metering: Metering,
        allocation: Allocation,
        places: u32,
        options: &EngineOptions,
        complaints: &Complaints,
    ) -> Result<Self, EngineError> {
        let mut config = config(metering, allocation);
        if allocation == Allocation::Pool {
            config.allocation_strategy(pool(places));
        }
        let wasmtime = wasmtime::Engine::new(&config).map_err(EngineError::Start)?;
        let ticker = Ticker::start(&wasmtime).map_err(EngineError::Ticker)?;
        let cache = options.cache.as_ref().and_then(|directory| {
            let opened = NativeCache::open(directory, &fingerprint(&wasmtime));
            opened.inspect_err(|error| complaints.no_cache(directory, error)).ok()
        });
        Ok(Self { wasmtime, allocation, cache, _ticker: ticker })
    }

    /// What the cache has for `source`, if it may be run.
    fn cached(&self, source: &[u8]) -> Option<wasmtime::component::Component> {
        let native = self.cache.as_ref()?.load(source)?;
        self.load(&native)
            .inspect_err(
                |error| tracing::warn!(%error, "cached native code does not load; compiling"),
            )
            .ok()
    }

    /// Makes native code ready to be instantiated; it comes from the cache or from the compiler.
    fn load(&self, native: &[u8]) -> wasmtime::Result<wasmtime::component::Component> {
        // SAFETY: what the cache gives carries a MAC under a key that only this data directory's
        // owner can read, over the digest of the same source and this engine's fingerprint; what
        // the compiler gives is what `native_code` gave, as `Compiler::new` demands. So both are
        // what an engine of this version and configuration made of the same source.
        unsafe { wasmtime::component::Component::deserialize(&self.wasmtime, native) }
    }
}

/// What is said once for all engines of a process, and not for every call.
struct Complaints {
    cache: Once,
    store: Once,
}

impl Complaints {
    fn none_yet() -> Self {
        Self { cache: Once::new(), store: Once::new() }
    }

    fn no_cache(&self, directory: &Path, error: &std::io::Error) {
        self.cache.call_once(|| {
            tracing::warn!(
                path = %directory.display(),
                %error,
                "native code cannot be kept, so every start compiles anew: make this a directory that \
                 the server may write to, or remove what is there"
            );
        });
    }

    fn not_kept(&self, directory: &Path, error: &std::io::Error) {
        self.store.call_once(|| {
            tracing::warn!(
                path = %directory.display(),
                %error,
                "cannot keep native code, so the next start compiles anew: make room there, or let \
                 the server write to it"
            );
        });
    }
}

/// What native code must have been made by to be used.
///
/// wasmtime's hash covers its own version, the target triple, the compiler's settings, the flags of
/// the instruction set that it found on this machine's CPU, the tunables (fuel, epochs, memory) and
/// the WebAssembly features. A `.cwasm` repeats all of that within, and wasmtime compares it with
/// the CPU again when it loads one. This crate's version is added, whose bounds may change.
fn fingerprint(engine: &wasmtime::Engine) -> String {
    struct Update(Sha256);

    impl std::hash::Hasher for Update {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }

        fn finish(&self) -> u64 {
            0
        }
    }

    let mut hasher = Update(Sha256::new());
    std::hash::Hash::hash(&engine.precompile_compatibility_hash(), &mut hasher);
    hasher.0.update(env!("CARGO_PKG_VERSION"));
    hex(&hasher.0.finalize()[..16])
}

fn config(metering: Metering, allocation: Allocation) -> Config {
    let mut config = Config::new();
    config
        // Preview 2 needs no concurrent tasks inside one store, and pays 2.8 µs for the ability.
        .concurrency_support(false)
        .epoch_interruption(true)
        .consume_fuel(metering == Metering::Fuel)
        .max_wasm_stack(512 << 10)
        .async_stack_size(1 << 20)
        .cranelift_opt_level(OptLevel::Speed)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        // Every proposal that tools don't need is surface that hostile code could probe.
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_relaxed_simd(false)
        .wasm_tail_call(false)
        .wasm_wide_arithmetic(false)
        // The limiter counts growth by whole pages.
        .wasm_custom_page_sizes(false);
    if allocation == Allocation::OnDemand {
        // The usual 4 GiB for each memory are just what there is no room for. The code checks bounds.
        config
            .memory_reservation(RESERVED)
            .memory_reservation_for_growth(RESERVED)
            .memory_guard_size(64 << 10);
    }
    config
}

/// The pool from which instances are taken: no system call and no page fault on a warm call.
fn pool(places: u32) -> PoolingAllocationConfig {
    let places = places.max(1);
    let pagemap_scan = PoolingAllocationConfig::is_pagemap_scan_available();
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(places)
        .total_memories(places)
        .total_stacks(places)
        .total_tables(MAX_TABLES.saturating_mul(places))
        .total_core_instances(MAX_CORE_INSTANCES.saturating_mul(places))
        .max_memories_per_component(MAX_MEMORIES)
        .max_tables_per_component(MAX_TABLES)
        .max_core_instances_per_component(MAX_CORE_INSTANCES)
        .max_component_instance_size(256 << 10)
        .max_core_instance_size(256 << 10)
        .max_memory_size(MAX_MEMORY_BYTES as usize)
        .table_elements(MAX_TABLE_ELEMENTS)
        .max_unused_warm_slots(places)
        .pagemap_scan(Enabled::Auto)
        // Without the scan, resetting kept memory costs a memset, so less of it is kept.
        .linear_memory_keep_resident(if pagemap_scan { 1 << 20 } else { 64 << 10 })
        .table_keep_resident(if pagemap_scan { 1 << 20 } else { 16 << 10 });
    pool
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    #[test]
    fn what_is_compiled_elsewhere_runs_on_an_engine_with_a_pool() {
        let of = |config: &Config| fingerprint(&wasmtime::Engine::new(config).unwrap());
        let mut pooling = config(Metering::Off, Allocation::Pool);
        assert_eq!(
            of(pooling.allocation_strategy(pool(1))),
            of(&config(Metering::Off, Allocation::Pool))
        );
    }

    #[test]
    fn no_more_compile_at_once_than_there_are_turns() {
        let turns = Turns::new(2);
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let _turn = turns.take();
                    most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
                    std::thread::sleep(Duration::from_millis(5));
                    running.fetch_sub(1, SeqCst);
                });
            }
        });
        assert_eq!(most.into_inner(), 2);
    }

    #[test]
    fn nothing_of_a_failed_attempt_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let attempts = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&attempts);
        // SAFETY: what it gives comes from `native_code` for the same component, or is an error.
        let compiler = unsafe {
            Compiler::new(move |component, metering, allocation| {
                match counted.fetch_add(1, SeqCst) {
                    0 => Err(EngineError::TooSlow { limit: Duration::from_secs(1) }),
                    _ => native_code(component, metering, allocation),
                }
            })
        };
        let engine = Engine::new(EngineOptions {
            cache: Some(directory.path().to_owned()),
            compiler: Some(compiler),
            ..EngineOptions::default()
        });
        let (engine, component) = (engine.unwrap(), crate::component::fixtures::component());
        let compile = || engine.compile(&component, Metering::Off).map(drop);
        assert!(matches!(compile(), Err(EngineError::TooSlow { .. })));
        compile().unwrap();
        compile().unwrap();
        assert_eq!(attempts.load(SeqCst), 2, "the third time it comes from the cache");
    }

    #[test]
    fn fingerprints_tell_engines_apart_and_stay_the_same() {
        let of = |metering, allocation| {
            fingerprint(&wasmtime::Engine::new(&config(metering, allocation)).unwrap())
        };
        let (off, fuel) = (Metering::Off, Metering::Fuel);
        let (pool, demand) = (Allocation::Pool, Allocation::OnDemand);
        assert_eq!(of(off, pool), of(off, pool));
        assert_ne!(of(off, pool), of(fuel, pool));
        assert_ne!(of(off, pool), of(off, demand));
    }
}
