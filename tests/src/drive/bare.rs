//! A host that does nothing but run a guest: what the sandbox is measured against.
//!
//! It has no grants, no schemas, no reports and no limits beyond those that it is asked for; a call
//! is a store, an instance, the guest's own work, and their end.

use std::time::Duration;

use kami_core::component::Artifact;
use wasmtime::component::{Component, HasSelf, Linker, ResourceTable};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Store,
    StoreLimits, StoreLimitsBuilder, WasmBacktraceDetails,
};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "tool",
        exports: { default: async },
    });
}

use bindings::ToolPre;
use bindings::exports::kami::tool::tools::{CallOutcome, CallRequest};
use bindings::kami::tool::host::{self, Level, Listing};
use bindings::kami::tool::types;

/// How often the epoch of a fast host advances.
const TICK: Duration = Duration::from_millis(10);

/// The most places that a fast host has.
const PLACES: u32 = 64;

/// What a host is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// wasmtime as it comes, to compare compiled code with.
    Plain,
    /// The fastest way that is known to make a call with limits, to compare calls with.
    Fast,
}

/// One guest, ready to be called.
pub struct Bare {
    engine: Engine,
    guest: ToolPre<State>,
    purpose: Purpose,
}

struct State {
    wasi: WasiCtx,
    table: ResourceTable,
    limits: StoreLimits,
}

impl Bare {
    /// Compiles the component of an artifact.
    ///
    /// # Panics
    /// Where it is not a tool.
    pub fn new(artifact: &Artifact, purpose: Purpose) -> Self {
        let mut config = Config::new();
        if purpose == Purpose::Fast {
            fast(&mut config);
        }
        let engine = Engine::new(&config).expect("the engine starts");
        if purpose == Purpose::Fast {
            let engine = engine.weak();
            std::thread::spawn(move || {
                while let Some(engine) = engine.upgrade() {
                    engine.increment_epoch();
                    std::thread::sleep(TICK);
                }
            });
        }
        let component = Component::new(&engine, artifact.component().bytes());
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).expect("names are free");
        host::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)
            .expect("names are free");
        let guest = linker.instantiate_pre(&component.expect("it compiles"));
        let guest = ToolPre::new(guest.expect("it is linked")).expect("it is a tool");
        Self { engine, guest, purpose }
    }

    /// Makes a call in a fresh instance, and gives the text of its result.
    ///
    /// # Panics
    /// Where the guest fails.
    pub async fn call(&self, tool: &str, arguments: &str) -> String {
        let state = State {
            wasi: WasiCtxBuilder::new().build(),
            table: ResourceTable::new(),
            limits: StoreLimitsBuilder::new().memory_size(64 << 20).build(),
        };
        let mut store = Store::new(&self.engine, state);
        if self.purpose == Purpose::Fast {
            store.limiter(|state| &mut state.limits);
            store.set_epoch_deadline(1);
            store.epoch_deadline_async_yield_and_update(1);
        }
        let request = CallRequest {
            name: tool.to_owned(),
            arguments: arguments.to_owned(),
            continuation: types::Continuation { answers: Vec::new(), state: None },
        };
        let called = async {
            let guest = self.guest.instantiate_async(&mut store).await?;
            guest.kami_tool_tools().call_call(&mut store, &request).await
        };
        let called = tokio::time::timeout(Duration::from_secs(60), called).await;
        match called.expect("it ends in time").expect("it does not trap") {
            CallOutcome::Complete(result) => match result.content.into_iter().next() {
                Some(types::Content { body: types::ContentBody::Text(text), .. }) => text,
                other => panic!("`{tool}` gave {other:?}"),
            },
            other => panic!("`{tool}` ended with {other:?}"),
        }
    }
}

fn fast(config: &mut Config) {
    let scan = PoolingAllocationConfig::is_pagemap_scan_available();
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(PLACES)
        .total_memories(PLACES)
        .total_stacks(PLACES)
        .total_tables(3 * PLACES)
        .total_core_instances(8 * PLACES)
        .max_memories_per_component(1)
        .max_tables_per_component(3)
        .max_core_instances_per_component(8)
        .max_component_instance_size(64 << 10)
        .max_core_instance_size(64 << 10)
        .max_memory_size(64 << 20)
        .table_elements(10_000)
        .max_unused_warm_slots(PLACES)
        .pagemap_scan(Enabled::Auto)
        .linear_memory_keep_resident(if scan { 1 << 20 } else { 64 << 10 })
        .table_keep_resident(if scan { 1 << 20 } else { 16 << 10 });
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(512 << 10)
        .async_stack_size(1 << 20)
        .cranelift_opt_level(OptLevel::Speed)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable);
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl types::Host for State {}

impl host::Host for State {
    fn log(&mut self, _: Level, _: String) {}

    fn progress(&mut self, _: f64, _: Option<f64>, _: Option<String>) {}

    fn list_changed(&mut self, _: Listing) {}
}
