//! What is attacked: every test of this folder, under the promise of SECURITY.md that it breaks if
//! the attack succeeds.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use kami_tests::guests::root;

/// The fewest hostile guests and inputs that deserve to be called a sandbox's tests. Each test
/// counts once, however many guests and inputs it has.
const FEWEST: usize = 60;

#[test]
fn every_attack_has_its_promise() {
    let page = fs::read_to_string(root().join("SECURITY.md")).expect("the page is there");
    let promises = promises(&page);
    let attacks = attacks(&root().join("tests/tests/sandbox"));
    for attack in &attacks {
        let named = promises.iter().any(|(_, tests)| tests.contains(&attack.as_str()));
        assert!(named, "SECURITY.md names no promise that `{attack}` attacks");
    }
    assert!(attacks.len() >= FEWEST, "there are only {} attacks", attacks.len());

    let mut list = format!("\n{} attacks on what SECURITY.md promises:\n", attacks.len());
    for (promise, tests) in promises {
        let here: Vec<_> =
            tests.into_iter().filter(|test| attacks.iter().any(|a| a == test)).collect();
        if !here.is_empty() {
            list += &format!("- {promise}: {}\n", here.join(", "));
        }
    }
    // What is printed is shown only where a test fails; this is for every run.
    std::io::stderr().write_all(list.as_bytes()).expect("stderr is open");
}

/// The rows of the table: each promise, and the tests that show it.
fn promises(page: &str) -> Vec<(&str, Vec<&str>)> {
    let row = |line| {
        let columns: Vec<&str> = str::trim_matches(line, [' ', '|']).split(" | ").collect();
        let [promise, _, tests] = columns[..] else { return None };
        Some((promise, tests.split(", ").map(|test| test.trim_matches('`')).collect()))
    };
    page.lines().filter(|line| line.starts_with("| ")).filter_map(row).collect()
}

/// The names of all tests in the files of a folder, but for this one.
fn attacks(folder: &Path) -> Vec<String> {
    let mut attacks = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be listed").path();
        if path.ends_with("attacks.rs") {
            continue;
        }
        let source = fs::read_to_string(&path).expect("source is text");
        for test in source.split("#[test]\n").skip(1) {
            let (_, name) = test.split_once("fn ").expect("a test is a function");
            let (name, _) = name.split_once('(').expect("a function takes something");
            attacks.push(name.to_owned());
        }
    }
    attacks
}
