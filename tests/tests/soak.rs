//! A short soak: thousands of calls leave nothing behind. A million of them take half an hour or
//! more: `cargo run -p kami-tests --bin soak`.

use kami_tests::soak::{Plan, run};

#[test]
fn thousands_of_calls_leave_nothing_behind() {
    let plan = Plan { calls: 4000, at_once: 16, seed: 1 };
    let report = run(&plan, &mut |_, _| {}).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(report.faults().is_empty(), "{:#?}\n{report}", report.faults());
}
