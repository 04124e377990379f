//! Components of the first contract stay runnable, under the same rules.

use kami_core::call::{GuestEvent, Level};
use kami_tests::guests::guest;
use kami_tests::lab::Lab;
use serde_json::json;

use super::scene::{Expect as _, beside_neighbour};

#[test]
fn a_component_of_the_first_contract_runs() {
    let lab = Lab::with_neighbour();
    lab.install(guest("legacy"));
    let resolver = lab.resolver(&[]);
    let shout = |text| {
        let calls = vec![("legacy/shout", json!({"text": text}))];
        beside_neighbour(&resolver, calls).remove(0)
    };
    let called = shout("hello");
    called.gives("HELLO");
    let log = GuestEvent::Log { level: Level::Warning, message: "hello".into() };
    assert_eq!(called.events, [log]);
    shout("").fails("there is nothing to shout");
    shout("panic").fails("the tool crashed (panic) [KAMI-PANIC]");
}
