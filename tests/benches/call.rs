//! What a sandboxed call costs, from cold bytes to a warm tool.
//!
//! `cold load` compiles; `cached load` takes native code from the cache; `enter` is the sandbox
//! alone, without the guest's work; `call` is all of it. `native` is the same function outside of
//! any sandbox, so that the ratios can be read off one run.

use std::sync::Arc;
use std::time::SystemTime;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use kami_core::call;
use kami_core::engine::{Engine, EngineOptions};
use kami_core::grants::Grant;
use kami_core::manifest::JsonObject;
use kami_core::resolve::VerifiedTool;
use kami_core::sandbox::Surroundings;
use kami_core::signing::{SignedArtifact, TrustStore, Unsigned};
use kami_tests::guests;
use serde_json::json;

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
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();

    let mut group = criterion.benchmark_group("load");
    group.sample_size(10);
    let engine = Engine::new(EngineOptions::default()).unwrap();
    group.bench_function("cold load", |b| b.iter(|| load(&engine, &signed)));
    let engine = Engine::new(cached).unwrap();
    let tool = load(&engine, &signed);
    group.bench_function("cached load", |b| b.iter(|| load(&engine, &signed)));
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
    group.finish();
}

criterion_group!(call_benches, benches);
criterion_main!(call_benches);
