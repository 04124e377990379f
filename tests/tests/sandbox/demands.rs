//! Guests that ask the host for far too much at once, or for next to nothing for ever.

use serde_json::json;

use super::scene::{Expect as _, Scene};

const TIMED_OUT: &str = "the tool ran longer than its limit of 200 ms [KAMI-TIMEOUT]";

#[test]
fn no_number_is_too_large_to_ask_for() {
    let scene = Scene::shared();
    let cases = [
        ("Random", "requested len 4294967296 exceeds limit 65536"),
        ("InsecureRandom", "requested len 18446744073709551615 exceeds limit 65536"),
        ("ReadFile", "65536 bytes"),
        ("ReadStream", "65536 bytes"),
        ("SkipStream", "65536 bytes"),
        ("ReadInput", "closed"),
        ("Zeroes", "cannot write more zeroes"),
        ("Splice", "65536 bytes"),
        ("PollNothing", "empty poll list"),
        ("PollPair", "2 ready"),
        ("PollSame", "[KAMI-HANDLES]"),
        ("PollMany", "[KAMI-HANDLES]"),
        ("LongField", "[KAMI-SIZE]"),
        ("ManyFields", "total size of fields exceeds limit"),
        ("LongAuthority", "[KAMI-SIZE]"),
        ("LongMethod", "[KAMI-SIZE]"),
        ("LongPath", "[KAMI-SIZE]"),
        ("LongLog", "[KAMI-SIZE]"),
    ];
    let wrong = cases.map(|(demand, told)| {
        let text = scene.call("hoarder/demand", json!({"what": demand})).text();
        (!text.contains(told)).then(|| format!("{demand}: {text}"))
    });
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    scene.call("idler/demand", json!({"what": "Moment"})).fails(TIMED_OUT);
}

#[test]
fn calls_of_the_host_that_return_at_once_buy_no_time() {
    let scene = Scene::shared();
    for chore in [
        "Clock",
        "Random",
        "Environment",
        "Log",
        "Fields",
        "Poll",
        "ReadNothing",
        "WriteNothing",
        "Stat",
        "Grow",
        "Fill",
        "Copy",
    ] {
        let ends = scene.call_all(vec![
            ("idler/fidget", json!({"chore": chore})),
            ("toiler/fidget", json!({"chore": chore})),
            ("starveling/fidget", json!({"chore": chore})),
        ]);
        ends[0].fails(TIMED_OUT);
        ends[1].fails("the tool computed longer than its limit of 100 ms [KAMI-CPU]");
        ends[2].fails("the tool burnt all of its 2000000 units of fuel [KAMI-FUEL]");
    }
}
