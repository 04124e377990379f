//! What a sandboxed call costs, from cold bytes to a warm tool.
//!
//! `cold load` compiles; `cached load` takes native code from the cache; `enter` is the sandbox
//! alone, without the guest's work; `call` is all of it, and `contended` too, with sixteen at once on
//! as many threads as there are cores, by its share of the time. `native` is the same function outside
//! of any sandbox, so that the ratios can be read off one run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use kami_core::call::{self, CallOutcome};
use kami_core::engine::{Engine, EngineOptions};
use kami_core::grants::Grant;
use kami_core::manifest::JsonObject;
use kami_core::resolve::VerifiedTool;
use kami_core::sandbox::Surroundings;
use kami_core::signing::{SignedArtifact, TrustStore, Unsigned};
use kami_tests::guests;
use serde_json::json;
use tokio::runtime::Runtime;

/// How many calls contend.
const AT_ONCE: usize = 16;

fn load(engine: &Engine, signed: &SignedArtifact) -> Arc<VerifiedTool> {
    let grant = Grant::all(&signed.artifact().manifest().requests);
    let tools = VerifiedTool::load(engine, signed, grant, &Surroundings::default()).unwrap();
    let named = |tool: &&Arc<VerifiedTool>| tool.definition().name.as_str() == "measure_text";
    Arc::clone(tools.iter().find(named).unwrap())
}

fn arguments() -> JsonObject {
    let text = "the quick brown fox jumps over the lazy dog\n".repeat(24);
    [("text".to_owned(), json!(text))].into_iter().collect()
}

fn benches(criterion: &mut Criterion) {
    let artifact = guests::guest("hello").clone();
    let signed = SignedArtifact::verify(
        artifact,
        &TrustStore::default(),
        Unsigned::Allow,
        SystemTime::now(),
    )
    .unwrap();
    let cache = tempfile::tempdir().unwrap();
    let cached = EngineOptions { cache: Some(cache.path().into()), ..EngineOptions::default() };
    let runtime = Runtime::new().unwrap();
    let _inside = runtime.enter();

    let mut group = criterion.benchmark_group("load");
    group.sample_size(10);
    let engine = Engine::new(EngineOptions::default()).unwrap();
    group.bench_function("cold load", |b| b.iter(|| load(&engine, &signed)));
    let engine = Engine::new(cached).unwrap();
    let tool = load(&engine, &signed);
    group.bench_function("cached load", |b| b.iter(|| load(&engine, &signed)));
    group.bench_function("cached load and call", |b| {
        b.iter(|| {
            let tool = load(&engine, &signed);
            runtime.block_on(complete(&tool))
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("warm");
    let text = arguments()["text"].as_str().unwrap().to_owned();
    group.bench_function("native", |b| {
        b.iter(|| serde_json::to_string(&hello::measure_text(text.clone())).unwrap());
    });
    group.bench_function("enter", |b| {
        b.iter(|| runtime.block_on(call::warm_up(&tool)).unwrap());
    });
    group.bench_function("call", |b| {
        let call = |arguments| runtime.block_on(call::call(&tool, arguments, Arc::new(())));
        b.iter_batched(arguments, call, BatchSize::SmallInput);
    });
    group.bench_function("contended", |b| b.iter_custom(|calls| contend(&runtime, &tool, calls)));
    group.finish();
}

/// A call that succeeds.
async fn complete(tool: &VerifiedTool) {
    let report = call::call(tool, arguments(), Arc::new(())).await;
    assert!(matches!(report.outcome, CallOutcome::Complete(_)), "{:?}", report.outcome);
}

/// How long `calls` take, of which [`AT_ONCE`] are on their way at any time.
fn contend(runtime: &Runtime, tool: &Arc<VerifiedTool>, calls: u64) -> Duration {
    let left = Arc::new(AtomicU64::new(calls));
    let callers = (0..AT_ONCE).map(|_| {
        let (tool, left) = (Arc::clone(tool), Arc::clone(&left));
        async move {
            while left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
                complete(&tool).await;
            }
        }
    });
    let start = Instant::now();
    let callers: Vec<_> = callers.map(|caller| runtime.spawn(caller)).collect();
    runtime.block_on(async {
        for caller in callers {
            caller.await.unwrap();
        }
    });
    start.elapsed()
}

criterion_group!(call_benches, benches);
criterion_main!(call_benches);
