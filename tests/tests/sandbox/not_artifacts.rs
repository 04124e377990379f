//! Files that are no artifacts: what they are is said, and what was expected.

use std::fs;

use kami_tests::guests::guest;
use kami_tests::lab::Lab;

#[test]
fn what_cannot_be_installed_is_named() {
    let lab = Lab::with_neighbour();
    let component = |text: &str| wat::parse_str(text).expect("it is written well");
    let good = guest("legacy").bytes().to_vec();
    let cut = good[..good.len() / 2].to_vec();
    for (name, bytes, told) in [
        ("empty", Vec::new(), "this is not WebAssembly"),
        ("noise", b"#!/bin/sh\n".repeat(100), "this is not WebAssembly"),
        ("header", good[..6].to_vec(), "the file is truncated"),
        ("cut", cut, "the file is truncated"),
        ("module", component("(module)"), "this is a core WebAssembly module"),
        (
            "world",
            component(r#"(component (instance $i) (export "wasi:cli/run@0.2.0" (instance $i)))"#),
            "this is a component of another world: it exports `wasi:cli/run@0.2.0`",
        ),
        ("bare", guest("legacy").component().bytes().to_vec(), "carries no manifest"),
        ("trailing", [&good[..], b"noise"].concat(), "the file is"),
    ] {
        let file = lab.path(name).with_extension("wasm");
        fs::write(&file, bytes).expect("files can be written");
        let file = file.to_str().expect("the path is UTF-8");
        for command in [
            &["install", file, "--yes", "--allow-unsigned"][..],
            &["run", file, "--yes", "--allow-unsigned", "--input", "{}"][..],
            &["verify", file][..],
            &["inspect", file][..],
        ] {
            let ran = lab.cargo_kami(command);
            assert_eq!(ran.code, Some(13), "{name}, {command:?}: {ran:?}");
            assert!(ran.stderr.contains(told), "{name}, {command:?}: {ran:?}");
        }
    }
    let list = lab.cargo_kami(&["list"]).stdout;
    assert_eq!(list.lines().count(), 1, "only the neighbour is there: {list}");
}
