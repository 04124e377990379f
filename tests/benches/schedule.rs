//! What a place costs: where one is free, and where a thousand calls wait for it.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use kami_core::scheduler::{
    Claim, Lane, Permit, Principal, Priority, Refusal, ScheduleOptions, Scheduler,
};

/// The principals in the line, and the tools of each.
const MANY: usize = 10;

/// Longer than any run.
const PATIENCE: Duration = Duration::from_secs(3600);

fn claim(principal: usize, tool: usize) -> Claim {
    Claim {
        principal: Principal::named(&format!("client {principal}")),
        lane: Lane::new(&format!("dev.example.tool-{tool}"), 32),
        priority: Priority::Normal,
        patience: PATIENCE,
    }
}

fn poll(
    admitting: Pin<&mut impl Future<Output = Result<Permit, Refusal>>>,
    waker: &Waker,
) -> Option<Permit> {
    match admitting.poll(&mut Context::from_waker(waker)) {
        Poll::Ready(permit) => permit.ok(),
        Poll::Pending => None,
    }
}

/// Notes whose turn it is.
struct Bell {
    call: usize,
    rung: Arc<Mutex<VecDeque<usize>>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.lock().unwrap().push_back(self.call);
    }
}

fn benches(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _inside = runtime.enter();
    let mut group = criterion.benchmark_group("schedule");

    let scheduler = Scheduler::new(ScheduleOptions::default());
    let one = claim(0, 0);
    group.bench_function("a free place", |b| {
        b.iter(|| poll(pin!(scheduler.admit(one)), Waker::noop()).unwrap());
    });

    let options = ScheduleOptions { places: 8, patience: PATIENCE, ..ScheduleOptions::default() };
    let scheduler = Scheduler::new(options);
    let rung = Arc::new(Mutex::new(VecDeque::new()));
    let waker = |call| Waker::from(Arc::new(Bell { call, rung: Arc::clone(&rung) }));
    let claims: Vec<_> = (0..1000).map(|n| claim(n % MANY, n / MANY % MANY)).collect();
    let wakers: Vec<_> = (0..claims.len()).map(waker).collect();
    let admitting = |call: usize| Box::pin(scheduler.admit(claims[call]));
    let mut running = VecDeque::new();
    let mut calls = Vec::new();
    for (call, waker) in wakers.iter().enumerate() {
        let mut admitting = admitting(call);
        running.extend(poll(admitting.as_mut(), waker).map(|permit| (call, permit)));
        calls.push(admitting);
    }
    // One call ends, another begins, and the first one joins the line again.
    group.bench_function("a place that a thousand wait for", |b| {
        b.iter(|| {
            let (ended, permit) = running.pop_front().unwrap();
            drop(permit);
            calls[ended] = admitting(ended);
            assert!(poll(calls[ended].as_mut(), &wakers[ended]).is_none());
            let next = rung.lock().unwrap().pop_front().unwrap();
            let permit = poll(calls[next].as_mut(), &wakers[next]).unwrap();
            running.push_back((next, permit));
        });
    });
    group.finish();
}

criterion_group!(schedule_benches, benches);
criterion_main!(schedule_benches);
