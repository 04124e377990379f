//! What is checked before a guest begins: once for an artifact, or for each call and each request.

use std::time::SystemTime;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use kami_core::component::Artifact;
use kami_core::grants::{Capabilities, Effective, Endpoint, Grant, NetAccess};
use kami_core::manifest::Manifest;
use kami_core::signing::{SignedArtifact, Unsigned, sign};
use kami_tests::guests;
use kami_tests::lab::{Lab, id};

/// The patterns of a tool that asks for many hosts.
const HOSTS: usize = 32;

fn artifact(criterion: &mut Criterion) {
    let lab = Lab::new();
    let signed = sign(guests::guest("hello"), lab.key()).unwrap();
    let artifact = Artifact::parse(signed.clone()).unwrap();
    let manifest = artifact.manifest().to_json();
    let trust = lab.trust();
    let mut group = criterion.benchmark_group("artifact");
    group.bench_function("parse", |b| {
        b.iter_batched(|| signed.clone(), Artifact::parse, BatchSize::SmallInput);
    });
    group.bench_function("parse the manifest", |b| b.iter(|| Manifest::from_json(&manifest)));
    group.bench_function("verify the signature", |b| {
        let verify = |artifact| {
            SignedArtifact::verify(artifact, &trust, Unsigned::Refuse, SystemTime::now()).unwrap()
        };
        b.iter_batched(|| artifact.clone(), verify, BatchSize::SmallInput);
    });
    group.finish();
}

fn grants(criterion: &mut Criterion) {
    let patterns = (0..HOSTS).map(|n| format!("https://*.host-{n}.example/v1/*").parse().unwrap());
    let requested = Capabilities { net: patterns.collect(), ..Capabilities::default() };
    let grant = Grant::all(&requested);
    let effective = Effective::new(requested, grant, Vec::new());
    let mut group = criterion.benchmark_group("grants");
    let urls = [
        ("the first host", "https://api.host-0.example/v1/items"),
        ("another host", "https://api.elsewhere.example/v1/items"),
    ];
    for (name, url) in urls {
        let endpoint = Endpoint::of_url(url).unwrap();
        group.bench_function(name, |b| {
            b.iter(|| effective.network(&NetAccess::request(&endpoint, "GET", "/v1/items")));
        });
    }
    group.finish();
}

fn resolving(criterion: &mut Criterion) {
    let lab = Lab::with_neighbour();
    let resolver = lab.resolver(&[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let name = id("neighbour/add");
    let mut group = criterion.benchmark_group("resolve");
    group.bench_function("a tool that is ready", |b| {
        b.iter(|| {
            let entry = resolver.catalog().unwrap().find_loosely(&name).unwrap();
            runtime.block_on(resolver.resolve(&entry)).unwrap()
        });
    });
    group.finish();
}

criterion_group!(checks, artifact, grants, resolving);
criterion_main!(checks);
