//! Artifacts that cost far more than they weigh: refused before anything compiles them, or given up
//! within the limits of the process that does.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use kami_core::component::Artifact;
use kami_core::engine::{Allocation, Metering, native_code};
use kami_core::grants::Capabilities;
use kami_tests::bombs::{
    body, br_table, busy, component, declarations, doubling, functions, globals, items, locals,
    long_export, long_import, module, nested_components, nested_types, number, passive_elements,
    planted, section, sized, types,
};
use kami_tests::guests::program;
use kami_tests::lab::{Lab, id, single};
use kami_tests::raw::Raw;
use kami_tests::server::{Server, text};
use serde_json::json;

use super::scene::BOUND;

/// What all of them are but for what was planted.
fn fine() -> Artifact {
    single(&Raw::default().component(), "bomb", &Capabilities::default())
}

fn write(path: &Path, bytes: &[u8]) -> String {
    fs::write(path, bytes).expect("files can be written");
    path.to_str().expect("the path is UTF-8").to_owned()
}

/// A component that instantiates, 1,000 times, whatever component it is given.
fn handed_in() -> Vec<u8> {
    let ty = items(7, 1, &[0x41, 0], 1);
    let import = items(10, 1, &[&[0x00][..], &sized(b"part"), &[0x04, 0]].concat(), 1);
    component(&[ty, import, items(5, 1_000, &[0x00, 0, 0], 1_000)])
}

#[test]
fn what_no_honest_component_has_is_refused_before_it_is_compiled() {
    let lab = Lab::with_neighbour();
    let empty = body(&[]);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("many-types", types(200_000), "types and declarations in types, and 100000"),
        ("millions-of-types", types(3_000_000), "bytes of types"),
        ("declarations", declarations(1_000_000), "types and declarations in types"),
        ("nested-types", nested_types(50), "it has 21 levels of types, and 20 is the most"),
        ("deep-types", nested_types(100_000), "component type nesting is too deep"),
        ("nested", nested_components(100), "17 levels of modules and components"),
        ("deeper", nested_components(1_000), "17 levels of modules and components"),
        ("deep", nested_components(100_000), "17 levels of modules and components"),
        ("doubling", doubling(24, 2), "instances, those in instances counted"),
        ("cubed", doubling(3, 900), "instances, those in instances counted"),
        ("handed-in", handed_in(), "a component that is handed in from outside"),
        ("long-export", long_export(90_000), "it has 90000 bytes in one name"),
        ("long-import", long_import(90_000), "it has 90000 bytes in one name"),
        ("longest-import", long_import(8 << 20), "string size out of bounds"),
        ("globals", globals(70_000), "bytes in each instance of a module, and 1048576"),
        ("passive-elements", passive_elements(5_000), "elements of passive segments, and 4096"),
        ("functions", functions(400_000, &empty), "functions, and 150000"),
        ("large-function", functions(1, &busy(2_000_000)), "bytes in one function"),
        ("large-br-table", functions(1, &br_table(2_000_000)), "bytes in one function"),
        ("locals", functions(1, &locals(50_000)), "it has 50000 local variables in one function"),
        ("all-locals", functions(600, &locals(20_000)), "local variables, and 10000000"),
        ("memories", module(&[items(5, 100, &[0, 1], 100)]), "memories, and 64"),
        ("tables", module(&[items(4, 100, &[0x70, 0, 1], 100)]), "tables, and 64"),
        ("instances", items(2, 3_000, &[0, 0, 0], 3_000), "instances, those in instances counted"),
        ("modules", module(&[]).repeat(600), "modules and components"),
        ("sections", [0, 1, 0].repeat(200_000), "sections"),
        // Lies: more is promised than there is.
        ("lie-functions", module(&[items(3, u32::MAX as usize, &[0], 1)]), "functions, and 150000"),
        ("lie-types", items(7, u32::MAX as usize, &[0x73], 1), "types and declarations"),
        ("lie-data", module(&[items(11, u32::MAX as usize, &[1, 0], 1)]), "data and element"),
        ("lie-exports", module(&[items(7, u32::MAX as usize, &[0], 1)]), "imports, exports"),
        ("lie-imports", items(10, 999, &[0], 1), "not a valid component"),
        ("lie-number", [0, 0x82, 0x80, 0x80, 0x80, 0x80, 0x00, 0, 0].to_vec(), "too long"),
        ("lie-large-number", [0, 0xff, 0xff, 0xff, 0xff, 0x7f].to_vec(), "too large"),
        ("lie-name", section(0, &[100, b'n']), "unexpected"),
        ("lie-text", section(0, &[2, 0xff, 0xfe]), "UTF-8"),
        ("lie-module", section(1, &module(&[vec![1, 100, 0]])[2..]), "goes past"),
        ("lie-length", [&[1][..], &number(1 << 29), b"\0asm"].concat(), "the file is truncated"),
    ];
    for (name, bomb, told) in cases {
        let file = write(&lab.path(name).with_extension("wasm"), &planted(&fine(), &bomb));
        for command in [
            &["install", &file, "--yes", "--allow-unsigned"][..],
            &["inspect", &file][..],
            &["verify", &file][..],
        ] {
            let started = Instant::now();
            let ran = lab.cargo_kami(command);
            assert_eq!(ran.code, Some(13), "{name}, {command:?}: {ran:?}");
            assert!(ran.stderr.contains(told), "{name}, {command:?}: {ran:?}");
            assert!(started.elapsed() < BOUND, "{name} took {:?}", started.elapsed());
        }
    }
    let sum = lab.cargo_kami(&["call", "add", "--input", r#"{"a": 1, "b": 2}"#]);
    assert_eq!(sum.code, Some(0), "{sum:?}");
}

#[test]
fn globals_and_lifted_functions_are_counted_before_they_are_read() {
    let lab = Lab::new();
    let cases = [
        ("globals", module(&[items(6, u32::MAX as usize, &[0], 1)]), "globals, and 100000"),
        ("canonical", items(8, u32::MAX as usize, &[0], 1), "lifted and lowered functions"),
    ];
    for (name, bomb, told) in cases {
        let file = write(&lab.path(name).with_extension("wasm"), &planted(&fine(), &bomb));
        lab.cargo_kami(&["inspect", &file]).expect(13, told);
    }
}

#[test]
fn what_is_within_the_bounds_is_installed() {
    let lab = Lab::new();
    // Or the test above would pass whatever the bombs are.
    let sections = [
        types(1_000),
        nested_types(10),
        nested_components(10),
        doubling(5, 2),
        functions(100, &busy(90)),
        functions(1, &locals(1_000)),
        functions(1, &br_table(1_000)),
        long_export(1_000),
        module(&[items(4, 1, &[0x70, 0, 1], 1), items(5, 1, &[0, 1], 1)]),
    ];
    for (n, sections) in sections.iter().enumerate() {
        let bytes = planted(&fine(), sections);
        let file = write(&lab.path(&format!("{n}.wasm")), &bytes);
        let ran = lab.cargo_kami(&["install", &file, "--yes", "--allow-unsigned"]);
        assert_eq!(ran.code, Some(0), "{n}: {ran:?}");
        // Not again, as the same package.
        lab.cargo_kami(&["uninstall", &id("bomb")]).expect(0, "");
    }
}

#[test]
fn what_only_the_compiler_finds_is_refused_by_it_and_nothing_is_kept() {
    let lab = Lab::with_neighbour();
    let lie = module(&[items(5, 1, &[0, 1], 1), section(11, &[1, 0, 0x41, 0, 0x0b, 0xff, 0x7f])]);
    let cases = [
        ("br-table", functions(1, &br_table(100_000)), "`br_table` has 100000 targets"),
        ("data", lie, "unexpected end"),
        ("kind", section(99, &[]), "section"),
        ("stack", functions(1, &body(&[0x1a])), "expected a type but nothing on stack"),
    ];
    for (name, bomb, told) in cases {
        let file = write(&lab.path(name).with_extension("wasm"), &planted(&fine(), &bomb));
        // Nothing is compiled for these.
        assert_eq!(lab.cargo_kami(&["inspect", &file]).code, Some(0), "{name}");
        lab.cargo_kami(&["verify", &file]).expect(15, "not signed");
        for command in [
            &["install", &file, "--yes", "--allow-unsigned"][..],
            &["run", &file, "--yes", "--allow-unsigned", "--input", "{}"][..],
        ] {
            lab.cargo_kami(command).expect(13, told);
        }
    }
    assert_eq!(native_code_files(&lab), 0);
}

/// How many files of native code there are.
fn native_code_files(lab: &Lab) -> usize {
    let engines = fs::read_dir(lab.data().cache_dir()).into_iter().flatten().flatten();
    engines.filter_map(|engine| fs::read_dir(engine.path()).ok()).map(Iterator::count).sum()
}

#[test]
fn a_compilation_that_takes_too_long_is_ended() {
    let lab = Lab::new();
    let bomb = functions(20, &busy(500_000));
    let file = write(&lab.path("slow.wasm"), &planted(&fine(), &bomb));
    let command = ["install", &file, "--yes", "--allow-unsigned"];
    // The program is there before the time counts.
    program();
    let started = Instant::now();
    let ran = lab.cargo_kami_in(&[("KAMI_COMPILE_SECONDS", "1")], &command);
    ran.expect(13, "compiling the component took more than 1 s");
    assert!(started.elapsed() < BOUND, "it took {:?}", started.elapsed());
    assert_eq!(native_code_files(&lab), 0);
    assert_eq!(lab.cargo_kami(&["list", "--json"]).stdout.trim(), "", "it is not installed");
}

#[cfg(unix)]
#[test]
fn a_compilation_that_takes_too_much_memory_is_ended() {
    let lab = Lab::new();
    let bomb = functions(140_000, &body(&[]));
    let file = write(&lab.path("large.wasm"), &planted(&fine(), &bomb));
    let limit = [("KAMI_COMPILE_MEMORY_MB", "450")];
    let ran = lab.cargo_kami_in(&limit, &["install", &file, "--yes", "--allow-unsigned"]);
    ran.expect(13, "compiling the component took more than 450 MiB of memory");
    assert_eq!(native_code_files(&lab), 0);
    // The limit is not too low for everything.
    let file = write(&lab.path("fine.wasm"), fine().bytes());
    let ran = lab.cargo_kami_in(&limit, &["install", &file, "--yes", "--allow-unsigned"]);
    ran.expect(0, "Installed");
}

#[test]
fn limits_of_the_compiler_that_make_no_sense_are_refused() {
    let lab = Lab::new();
    for (name, value) in [
        ("KAMI_COMPILE_SECONDS", "0"),
        ("KAMI_COMPILE_SECONDS", "-1"),
        ("KAMI_COMPILE_MEMORY_MB", "much"),
    ] {
        lab.cargo_kami_in(&[(name, value)], &["list"]).expect(2, name);
    }
}

#[test]
fn a_server_that_compiles_a_bomb_answers_all_the_same() {
    let lab = Lab::with_neighbour();
    let slow = Artifact::parse(planted(&fine(), &functions(20, &busy(500_000))));
    // Nothing is compiled for this: as if it had been installed for another engine.
    lab.install(&slow.expect("it is within the bounds"));
    // The neighbour is compiled already: the limit is short, and this machine may be busy.
    lab.cargo_kami(&["call", "add", "--input", r#"{"a": 1, "b": 2}"#]).expect(0, "Finished");
    let mut server = Server::start_in(lab.data(), &[("KAMI_COMPILE_SECONDS", "3")]);
    let bombs: Vec<u64> = (0..2).map(|_| server.begin(&id("bomb/bomb"), &json!({}))).collect();
    for n in 0..20 {
        let asked = Instant::now();
        let answer = server.call("add", &json!({"a": n, "b": 1}));
        assert_eq!(answer["structuredContent"], json!({"result": n + 1}), "{answer}");
        assert!(asked.elapsed() < BOUND, "the neighbour took {:?}", asked.elapsed());
    }
    let answer = server.result(bombs[0]);
    assert_eq!(text(&answer), ("`bomb` cannot be loaded [KAMI-ENGINE]", true), "{answer}");
    let answer = server.call("add", &json!({"a": 1, "b": 1}));
    assert_eq!(answer["structuredContent"], json!({"result": 2}));
    let (status, log) = server.finish();
    assert!(status.success(), "{status}: {log}");
    assert!(log.contains("compiling the component took more than 3 s"), "{log}");
}

#[test]
fn the_same_may_be_compiled_by_several_at_once() {
    let lab = Lab::new();
    let bytes = planted(&fine(), &functions(50, &busy(2_000)));
    lab.install(&Artifact::parse(bytes).expect("it is within the bounds"));
    std::thread::scope(|scope| {
        let call = || lab.cargo_kami(&["call", &id("bomb"), "--input", "{}"]);
        let calls: Vec<_> = (0..4).map(|_| scope.spawn(call)).collect();
        for call in calls {
            let ran = call.join().expect("a call does not panic");
            assert_eq!(ran.code, Some(0), "{ran:?}");
        }
    });
    assert_eq!(native_code_files(&lab), 1);
}

#[test]
fn nothing_that_is_cut_off_anywhere_is_compiled() {
    let whole = fine();
    for end in 0..whole.bytes().len() {
        let cut = Artifact::parse(whole.bytes()[..end].to_vec());
        assert!(cut.is_err(), "cut at {end}");
    }
    // The same within a section whose length says that nothing is missing.
    let inner = [b"\0asm\x01\0\0\0".to_vec(), inner_sections()].concat();
    let mut compiled = 0;
    for end in 0..=inner.len() {
        let bytes = planted(&whole, &section(1, &inner[..end]));
        let Ok(artifact) = Artifact::parse(bytes) else { continue };
        if native_code(artifact.component(), Metering::Off, Allocation::Pool).is_ok() {
            compiled += 1;
        }
    }
    // Between two sections a cut leaves a module that is whole: an empty one, one with a type, and
    // all of it. A function without its body is none.
    assert_eq!(compiled, 3);
}

fn inner_sections() -> Vec<u8> {
    let sections =
        [items(1, 1, &[0x60, 0, 0], 1), items(3, 1, &[0], 1), items(10, 1, &sized(&busy(90)), 1)];
    sections.concat()
}

#[test]
fn reading_takes_time_in_proportion_to_the_bytes() {
    let time = |count: usize| {
        let bytes = planted(&fine(), &functions(count, &body(&[])));
        let started = Instant::now();
        Artifact::parse(bytes).expect("it is within the bounds");
        started.elapsed().max(Duration::from_millis(1))
    };
    time(1_000);
    let (short, long) = (time(10_000), time(100_000));
    assert!(long < 100 * short, "ten times the bytes took {long:?} instead of {short:?}");
}
