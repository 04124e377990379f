//! `cargo kami record`: what a tool needs is what it turns out to use, and nothing else is opened.

use std::fs;

use kami_core::component::Artifact;
use kami_core::grants::{Access, Capabilities, Grant};
use kami_core::manifest::source::{Defaults, Source};
use kami_core::resolve::{HostOptions, Resolver};
use kami_tests::guests::program;
use kami_tests::lab::{Lab, enter, hostile, limits};
use kami_tests::outside::Outside;
use kami_tests::web::Web;
use serde_json::json;

use super::scene::{Expect as _, UNHURRIED};

const TABLE: &[&str] = &["package", "metadata", "kami"];

/// Asks for nothing but time.
fn modest(name: &str, tools: &[&str]) -> Artifact {
    let requests = Capabilities { limits: limits(64, UNHURRIED), ..Capabilities::default() };
    hostile(name, tools, &requests)
}

/// What a printed difference leads to.
fn requests(difference: &str) -> Capabilities {
    let kept = difference.lines().filter_map(|line| line.strip_prefix([' ', '+']));
    let text: String = kept.map(|line| format!("{line}\n")).collect();
    let text = format!("[package.metadata.kami]\nid = \"dev.example.x\"\n{text}");
    let source = Source::parse(&text, TABLE, &Defaults::default());
    source.unwrap_or_else(|error| panic!("{error:?} in\n{text}")).requests
}

#[test]
fn what_a_tool_needs_is_found_by_calling_it_and_suffices() {
    let (lab, web) = (Lab::with_neighbour(), Web::start());
    let file = lab.hand_out("modest.wasm", &modest("modest", &["request", "change", "probe"]));
    let work = lab.path("work");
    fs::create_dir(&work).unwrap();
    let mount = format!("work={}:rw", work.display());
    let record = |tool: &str, more: &[&str]| {
        let arguments = ["record", &file, "--yes", "--local", "--tool", tool];
        let ran = lab.cargo_kami_in(&[("KAMI_TEST_WORD", "seen")], &[&arguments, more].concat());
        ran.expect(0, "Finished");
        ran.stdout
    };
    let url = format!("{}/ok", web.origin());
    let calls = lab.path("calls.jsonl");
    let line = |method: &str| json!({"method": method, "url": url, "header": null}).to_string();
    fs::write(&calls, format!("{}\n\n{}\n", line("GET"), line("POST"))).unwrap();
    let printed = record("request", &["--inputs", calls.to_str().unwrap()]);
    assert_eq!(
        printed,
        format!(
            " [package.metadata.kami.security]\n+net-allow-list = [\"GET,POST {url}\"]\n \
             max-execution-ms = {UNHURRIED}\n max-cpu-ms = {UNHURRIED}\n"
        )
    );
    let needed = requests(&printed);
    assert_eq!((&needed.env, needed.fs), (&Default::default(), Default::default()));
    lab.install(&hostile("needing", &["request"], &needed));

    let change = json!({"how": "Write", "path": "/work/a", "other": null}).to_string();
    let printed = record("change", &["--mount", &mount, "--input", &change]);
    let mut needed = requests(&printed);
    assert!(needed.net.is_empty(), "{printed}");
    assert_eq!(needed.mounts.values().map(|m| m.access).collect::<Vec<_>>(), [Access::ReadWrite]);
    needed.limits = limits(64, UNHURRIED);
    let mut grant = Grant::all(&needed);
    let bound = kami_core::grants::Binding {
        path: work.canonicalize().unwrap(),
        access: Access::ReadWrite,
    };
    grant.mounts = needed.mounts.keys().map(|name| (name.clone(), bound.clone())).collect();
    lab.install_with(&hostile("writing", &["change"], &needed), &grant);

    let printed = record("probe", &["--env", "KAMI_TEST_WORD", "--mount", &mount]);
    assert!(printed.contains("+env-allow-list = [\"KAMI_TEST_WORD\"]"), "{printed}");

    let resolver = Resolver::open(lab.data(), HostOptions::default()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let call = |tool: &str, arguments| {
        runtime.block_on(enter(&resolver, tool, &arguments)).unwrap_or_else(|e| panic!("{e:?}"))
    };
    let ok = |method: &str| json!({"method": method, "url": url, "header": null});
    call("needing/request", ok("GET")).gives("200 fine").denies(&[]);
    assert_eq!(call("needing/request", ok("DELETE")).report.denials.len(), 1);
    let change = json!({"how": "Write", "path": "/work/b", "other": null});
    call("writing/change", change).gives("changed").denies(&[]);
}

#[test]
fn a_recording_opens_nothing_special_and_nothing_that_a_policy_closes() {
    let (lab, web) = (Lab::new(), Web::start());
    let file = lab.hand_out("modest.wasm", &modest("modest", &["get", "connect"]));
    let get = |url: String| json!({"url": url, "timeout_millis": null}).to_string();
    let input = get(format!("{}/ok", web.origin()));
    let by_name = get(format!("http://localhost:{}/ok", web.port()));
    let connect = json!({"address": web.address()}).to_string();
    let record = |tool: &str, input: &str, more: &[&str]| {
        let arguments = ["record", &file, "--tool", tool, "--input", input];
        lab.cargo_kami(&[&arguments, more].concat())
    };
    record("get", &input, &[]).expect(16, "nobody can be asked");
    for (tool, input) in [("get", &input), ("get", &by_name), ("connect", &connect)] {
        let ran = record(tool, input, &["--yes"]);
        ran.expect(19, "is denied");
        assert!(!ran.stdout.contains('+'), "{ran:?}");
    }
    let policy = lab.path("policy.toml");
    fs::write(&policy, "version = 1\n[default.ceiling]\nnet = [\"example.com\"]\n").unwrap();
    let policy = policy.to_str().unwrap();
    let ran = record("get", &input, &["--yes", "--local", "--policy", policy]);
    ran.expect(19, "the policy file does not permit it");
    assert_eq!(web.visits(), 0);
    // By a name, both the name and the address that it leads to are needed.
    let ran = record("get", &by_name, &["--yes", "--local"]);
    ran.expect(0, "Finished");
    assert!(ran.stdout.contains(&format!("GET http://localhost:{}/ok", web.port())), "{ran:?}");
    assert!(ran.stdout.contains("/32\"") || ran.stdout.contains("/128\""), "{ran:?}");
}

#[test]
fn a_person_decides_about_each_thing_that_is_recorded() {
    let (lab, web, outside) = (Lab::new(), Web::start(), Outside::new());
    let file = lab.hand_out("modest.wasm", &modest("modest", &["get"]));
    let url = format!("{}/ok", web.origin());
    let input = json!({"url": url, "timeout_millis": null});
    let script = format!(
        "'{}' --data-dir '{}' record '{file}' --input '{input}'",
        program().display(),
        lab.data().path().display()
    );
    let (status, shown) = outside.at_terminal(&script, "n");
    assert!(!status.success(), "{shown}");
    assert!(shown.contains(&format!("Permit GET {url}?")), "{shown}");
    assert_eq!(web.visits(), 0);
    let (status, shown) = outside.at_terminal(&script, "y");
    assert!(status.success(), "{shown}");
    assert!(shown.contains(&format!("+net-allow-list = [\"GET {url}\"]")), "{shown}");
    assert_eq!(web.visits(), 1);
}
