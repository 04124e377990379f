//! What one call leaves for the next one, which has the same memory after it: nothing.

use std::sync::Arc;

use kami_core::engine::Allocation;
use kami_core::grants::{Capabilities, Limit};
use kami_core::resolve::{HostOptions, Resolver};
use kami_core::scheduler::ScheduleOptions;
use kami_tests::lab::{Lab, enter, hostile, limits};
use serde_json::json;

use super::scene::{Expect as _, UNHURRIED};

/// How many guests come by, one after the other in the same few places.
const GUESTS: u64 = 10_000;

/// Fewer than guests come at once, so that each place is used again and again.
const PLACES: u32 = 4;

/// How many come at once.
const AT_ONCE: u64 = 16;

/// Two packages that look for each other's mark, without and with metering.
fn lab() -> Lab {
    let lab = Lab::new();
    let plain = limits(16, UNHURRIED);
    let metered = plain.with(Limit::Fuel, 1 << 40).expect("the limit is possible");
    for (names, limits) in [(["plain", "twin"], plain), (["metered", "metered-twin"], metered)] {
        for name in names {
            let requests = Capabilities { limits, ..Capabilities::default() };
            lab.install(&hostile(name, &["scribble"], &requests));
        }
    }
    lab
}

/// Has guests of two packages come by in turn, each of which looks for the other's mark and its own,
/// and leaves its own everywhere.
fn alternate(allocation: Allocation, [odd, even]: [&'static str; 2]) {
    let lab = lab();
    let schedule = ScheduleOptions { places: PLACES, ..ScheduleOptions::default() };
    let options = HostOptions { schedule, allocation, ..HostOptions::default() };
    let resolver = Arc::new(Resolver::open(lab.data(), options).expect("the engine starts"));
    assert!(resolver.engine().places() <= PLACES);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().expect("there are threads");
    runtime.block_on(async {
        for round in 0..GUESTS / AT_ONCE {
            let guests: Vec<_> = (0..AT_ONCE)
                .map(|n| {
                    let (name, own, other) = if n % 2 == 0 { (odd, 1, 2) } else { (even, 2, 1) };
                    let resolver = Arc::clone(&resolver);
                    tokio::spawn(async move {
                        let arguments = json!({"own": own, "other": other});
                        enter(&resolver, &format!("{name}/scribble"), &arguments).await
                    })
                })
                .collect();
            for guest in guests {
                let called = guest.await.expect("no call panics").expect("both are welcome");
                let found = called.structured();
                let nothing = json!({"dirty": 0, "other": false, "own": true});
                assert_eq!(*found, nothing, "round {round}");
            }
        }
    });
}

#[test]
fn no_guest_finds_what_another_left_in_memory() {
    alternate(Allocation::Pool, ["plain", "twin"]);
}

#[test]
fn no_guest_that_is_metered_finds_what_another_left() {
    alternate(Allocation::Pool, ["metered", "metered-twin"]);
}

#[test]
fn no_guest_without_a_pool_finds_what_another_left() {
    alternate(Allocation::OnDemand, ["plain", "twin"]);
}

#[test]
fn no_guest_that_is_metered_without_a_pool_finds_what_another_left() {
    alternate(Allocation::OnDemand, ["metered", "metered-twin"]);
}
