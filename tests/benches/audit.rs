//! What the audit log costs: on the way of a call, and in the thread that writes.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kami_core::audit::{
    Arguments, AuditArguments, AuditEvent, AuditLog, AuditOptions, CallRecord, Durability, verify,
};
use kami_core::digest::Digest;
use kami_core::registry::DataDir;

/// Fewer than may wait, so that nobody waits for the writer.
const BURST: u64 = 2000;

/// Many more than may wait, so that the writer decides.
const FLOOD: u64 = 20_000;

const ARGUMENTS: &str = r#"{"url":"https://api.example.com/v1/things?page=2","max_bytes":4096}"#;

fn call() -> AuditEvent {
    AuditEvent::Call(Box::new(CallRecord {
        tool: "fetch".to_owned(),
        method: "tools/call".into(),
        package: "dev.example.fetch".parse().unwrap(),
        version: "1.2.3".parse().unwrap(),
        digest: Digest::of(b"artifact"),
        client: Some("bench 1".to_owned()),
        identity: None,
        arguments: Arguments::of(ARGUMENTS, AuditArguments::Digest),
        outcome: "ok".into(),
        micros: 18,
        fuel: None,
        denials: Vec::new(),
        denials_omitted: 0,
    }))
}

fn benches(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut group = criterion.benchmark_group("audit");
    group.sample_size(20).measurement_time(Duration::from_secs(5));
    for (name, durability) in
        [("synced", Durability::EachBatch), ("left to the system", Durability::LeftToSystem)]
    {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::new(directory.path().join("data"));
        let options = AuditOptions { durability, ..AuditOptions::default() };
        let log = AuditLog::open(&data, options).unwrap();
        // One record among few, as a call makes it; the time for the writer is not counted.
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("record, {name}"), |b| {
            b.iter_custom(|times| {
                let mut spent = Duration::ZERO;
                let mut left = times;
                while left > 0 {
                    let burst = left.min(BURST);
                    left -= burst;
                    let started = Instant::now();
                    runtime.block_on(async {
                        for _ in 0..burst {
                            log.record(call()).await.unwrap();
                        }
                    });
                    spent += started.elapsed();
                    runtime.block_on(log.flush()).unwrap();
                }
                spent
            });
        });
        group.throughput(Throughput::Elements(FLOOD));
        group.bench_function(format!("write, {name}"), |b| {
            b.iter(|| {
                runtime.block_on(async {
                    for _ in 0..FLOOD {
                        log.record(call()).await.unwrap();
                    }
                    log.flush().await.unwrap();
                });
            });
        });
        drop(log);
        let verified = verify(&data, None).unwrap();
        group.throughput(Throughput::Elements(verified.records));
        group
            .bench_function(format!("verify, {name}"), |b| b.iter(|| verify(&data, None).unwrap()));
    }
    group.finish();
}

criterion_group!(audit_benches, benches);
criterion_main!(audit_benches);
