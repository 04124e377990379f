//! Tools made of tools: what flows between them, what ends them, and whose rights they have.

use std::fs;
use std::sync::Arc;
use std::time::Instant;

use kami_core::call::Collected;
use kami_core::grants::Capabilities;
use kami_core::manifest::JsonObject;
use kami_core::mcp;
use kami_core::pipeline::{Caller, Pipelines, call};
use kami_core::resolve::Resolver;
use kami_core::scheduler::Principal;
use kami_tests::door::{Door, call as message};
use kami_tests::guests::{guest, root};
use kami_tests::lab::{Lab, Ran, hostile, id, limits, single};
use kami_tests::server::{PATIENCE, Server, text};
use serde_json::{Value, json};

use super::scene::UNHURRIED;

/// A file that has this id, tool and steps.
fn pipeline(name: &str, rest: &str) -> String {
    let id = id(name);
    // Steps that are compiled first take their time on a slow machine.
    let patient = if rest.contains("max-seconds") { "" } else { "max-seconds = 600\n" };
    format!(
        "version = 1\nid = \"{id}\"\npackage-version = \"1.0.0\"\ntool = \"{name}\"\n{patient}{rest}"
    )
}

/// A step that calls a tool of a package of the tests.
fn step(name: &str, tool: &str, rest: &str) -> String {
    format!("[[step]]\nid = \"{name}\"\ntool = \"{}\"\n{rest}\n", id(tool))
}

/// Installs a file, as an operator does.
fn install(lab: &Lab, text: &str) -> Ran {
    fs::write(lab.path("pipeline.toml"), text).expect("files can be written");
    lab.cargo_kami(&["install", "pipeline.toml", "--yes"])
}

/// A neighbour, and hostile tools that may take their time.
fn lab() -> Lab {
    let lab = Lab::with_neighbour();
    let requests = Capabilities { limits: limits(64, UNHURRIED), ..Capabilities::default() };
    let tools = ["chatter", "complain", "offer", "panic", "ramble", "refuse", "sleep", "swallow"];
    lab.install(&hostile("guest", &tools, &requests));
    lab
}

/// `a + b + c`, by two steps.
fn sum() -> String {
    let input = r##"
[input]
type = "object"
properties = { a = { type = "integer" }, b = { type = "integer" }, c = { type = "integer" } }
required = ["a", "b", "c"]
"##;
    let first =
        step("first", "neighbour/add", r##"from = { "/a" = "input#/a", "/b" = "input#/b" }"##);
    let from = r##"from = { "/a" = "first#/structuredContent/result", "/b" = "input#/c" }"##;
    let second = step("second", "neighbour/add", from);
    let output = r##"
[output]
"/sum" = "second#/structuredContent/result"
"/first/two" = "first#/structuredContent/result"
"##;
    pipeline("sum", &format!("{input}{first}{second}{output}"))
}

fn ends(server: Server) {
    let (status, log) = server.finish();
    assert!(status.success(), "{status}: {log}");
}

#[test]
fn values_flow_from_step_to_step_and_each_call_is_recorded() {
    let lab = lab();
    install(&lab, &sum()).expect(0, "Installed dev.kami.test.sum 1.0.0: sum");
    let mut server = Server::start(lab.data());
    let listed = server.request("tools/list", &json!({}));
    let found = listed["tools"].as_array().unwrap().iter().find(|tool| tool["name"] == "sum");
    let found = found.expect("it is listed");
    assert_eq!(found["annotations"]["readOnlyHint"], true, "{found}");
    assert_eq!(found["outputSchema"]["properties"]["sum"]["type"], "integer", "{found}");

    let result = server.call("sum", &json!({"a": 1, "b": 2, "c": 39}));
    assert_eq!(result["structuredContent"], json!({"first": {"two": 3}, "sum": 42}), "{result}");
    assert_eq!(text(&result).0, result["structuredContent"].to_string());
    let wrong = server.call("sum", &json!({"a": 1, "b": 2}));
    assert!(text(&wrong).0.contains("[KAMI-ARGUMENTS]"), "{wrong}");
    let large = server.call("sum", &json!({"a": i64::MAX, "b": 1, "c": 1}));
    let expected =
        format!("step `first` ({}) failed: the sum is too large [KAMI-STEP]", id("neighbour/add"));
    assert_eq!(text(&large), (expected.as_str(), true));
    ends(server);

    let log = lab.cargo_kami(&["log", "--json"]).stdout;
    let records = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let told = |record: Value| {
        let flat = record.to_string();
        let of = |key: &str| {
            let at = flat.find(&format!("\"{key}\":\""))? + key.len() + 4;
            Some(flat[at..].split('"').next()?.to_owned())
        };
        let method = of("method").unwrap_or_else(|| "tools/call".to_owned());
        Some((of("tool")?, method, of("outcome")?))
    };
    let calls: Vec<_> = records.filter_map(told).collect();
    let step = |name: &str| format!("pipeline dev.kami.test.sum step {name}");
    let call =
        |tool: &str, method: String, outcome: &str| (tool.to_owned(), method, outcome.to_owned());
    let own = "tools/call".to_owned();
    for expected in [
        call("add", step("first"), "ok"),
        call("add", step("second"), "ok"),
        call("add", step("first"), "KAMI-TOOL"),
        call("sum", own.clone(), "ok"),
        call("sum", own.clone(), "KAMI-ARGUMENTS"),
        call("sum", own, "KAMI-STEP"),
    ] {
        let count = calls.iter().filter(|call| **call == expected).count();
        assert_eq!(count, 1, "{expected:?} in {calls:#?}");
    }
    assert_eq!(calls.len(), 6, "{calls:#?}");
}

/// Two steps that never end by themselves.
fn sleepers() -> String {
    let sleep = |name| step(name, "guest/sleep", "with = { millis = 59000 }");
    pipeline("sleepers", &(sleep("one") + &sleep("two")))
}

async fn until(resolver: &Resolver, running: usize) {
    let deadline = Instant::now() + PATIENCE;
    while resolver.engine().scheduler().running() != running {
        assert!(Instant::now() < deadline, "it is never {running} that run");
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

#[test]
fn steps_run_at_once_and_end_with_the_call_that_wanted_them() {
    let lab = lab();
    install(&lab, &sleepers()).expect(0, "Installed");
    let resolver = lab.resolver(&[]);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().expect("there are threads");
    runtime.block_on(async {
        let entry = resolver.catalog().unwrap().find("sleepers").unwrap();
        let pipeline = Pipelines::default().resolve(&resolver, &entry).await.unwrap();
        let caller = Caller {
            principal: Principal::default(),
            audit: None,
            client: None,
            identity: None,
            metrics: None,
            telemetry: None,
            trace: None,
            events: Arc::new(Collected::default()),
            document: mcp::result_document,
            tell: Arc::new(|_| {}),
        };
        let on = Arc::clone(&resolver);
        let calling =
            tokio::spawn(
                async move { call(&on, &pipeline, JsonObject::new().into(), caller).await },
            );
        // Each of them goes on for longer than anybody waits: that both run can only be at once.
        until(&resolver, 2).await;
        calling.abort();
        until(&resolver, 0).await;
    });
}

#[test]
fn a_cancelled_pipeline_leaves_no_guest_and_no_place_behind() {
    let lab = lab();
    // Longer than anybody waits here.
    let requests = Capabilities { limits: limits(16, 290_000), ..Capabilities::default() };
    lab.install(&hostile("patient", &["sleep"], &requests));
    let sleep = |name| step(name, "patient/sleep", "with = { millis = 280000 }");
    let steps = "max-seconds = 600\n".to_owned() + &sleep("one") + &sleep("two");
    install(&lab, &pipeline("sleepers", &steps)).expect(0, "Installed");
    // Both places are taken, and the neighbour gets one only once a guest has ended.
    let mut server = Server::start_with(lab.data(), &["--max-concurrent", "2"], &[]);
    for n in 0..4 {
        let sleeping = server.begin("sleepers", &json!({}));
        server.ask("ping", &json!({}));
        server.cancel(sleeping);
        let add = server.begin("add", &json!({"a": n, "b": 2}));
        let sum = server.result(add);
        assert_eq!(sum["structuredContent"], json!({"result": n + 2}));
    }
    ends(server);
}

#[test]
fn a_pipeline_waits_for_no_place_that_its_own_steps_need() {
    let lab = lab();
    let add = |name| step(name, "neighbour/add", "with = { a = 1, b = 2 }");
    let many: String = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"].map(add).concat();
    install(&lab, &pipeline("many", &many)).expect(0, "Installed");
    let mut server = Server::start_with(lab.data(), &["--max-concurrent", "1"], &[]);
    let calls: Vec<u64> = (0..4).map(|_| server.begin("many", &json!({}))).collect();
    for call in calls {
        assert_eq!(server.result(call)["structuredContent"], json!({"result": 3}));
    }
    ends(server);
}

#[test]
fn a_step_that_fails_does_what_the_file_says() {
    let lab = lab();
    let fails = |name: &str, rest: &str| {
        step(name, "guest/refuse", &format!("with = {{ words = \"no\" }}\n{rest}"))
    };
    let needs = |name: &str, of: &str, rest: &str| {
        let from = format!("from = {{ \"/what\" = \"{of}#/content/0/text\" }}\n{rest}");
        step(name, "guest/swallow", &from)
    };
    let last = step("last", "guest/swallow", "with = { what = \"end\" }\nafter = [\"failing\"]");
    let output = "[output]\n\"/needed\" = \"needing#/content/0/text\"\n\"/last\" = \"last#/content/0/text\"\n";
    let all = |on_error: &str, needing: &str| {
        let steps = fails("failing", on_error) + &needs("needing", "failing", needing) + &last;
        install(&lab, &pipeline("mixed", &(steps + output))).expect(0, "Installed");
    };
    let mut server = Server::start(lab.data());
    all("", "");
    let stopped = server.call("mixed", &json!({}));
    let expected = format!("step `failing` ({}) failed: no [KAMI-STEP]", id("guest/refuse"));
    assert_eq!(text(&stopped), (expected.as_str(), true));
    for (on_error, needing, expected) in [
        // What needs it is left out with it, and what only comes after it goes on.
        ("on-error = \"continue\"", "on-error = \"continue\"", json!({"last": "\"end\" None"})),
        (
            "on-error = \"continue\"",
            "on-error = { text = \"instead\" }",
            json!({"needed": "instead", "last": "\"end\" None"}),
        ),
        (
            "on-error = { text = \"another\" }",
            "",
            json!({"needed": "\"another\" None", "last": "\"end\" None"}),
        ),
    ] {
        all(on_error, needing);
        let deadline = Instant::now() + PATIENCE;
        // A server notices within moments that another file took the place of the one before.
        while server.call("mixed", &json!({}))["structuredContent"] != expected {
            assert!(Instant::now() < deadline, "{on_error}: {}", server.call("mixed", &json!({})));
        }
    }
    all("on-error = \"continue\"", "");
    let deadline = Instant::now() + PATIENCE;
    let missing = "it was not called, as `failing` gave nothing";
    while !text(&server.call("mixed", &json!({}))).0.contains(missing) {
        assert!(Instant::now() < deadline, "{}", server.call("mixed", &json!({})));
    }
    ends(server);
}

#[test]
fn whatever_ends_a_step_is_told_as_its_own() {
    let lab = lab();
    lab.install(guest("conformance"));
    let hasty = Capabilities { limits: limits(16, 200), ..Capabilities::default() };
    lab.install(&hostile("hasty", &["sleep", "spin"], &hasty));
    let asks = guest("conformance").manifest().package.id.to_string();
    let asking = format!(
        "[[step]]\nid = \"s\"\ntool = \"{asks}/test_elicitation\"\nwith = {{ message = \"who?\" }}\n"
    );
    let long = "y".repeat(4096) + "…";
    for (steps, expected) in [
        (asking, "nobody is asked in the middle of a pipeline [KAMI-INPUT] [KAMI-STEP]".to_owned()),
        (step("s", "hasty/spin", ""), "limit of 200 ms [KAMI-TIMEOUT] [KAMI-STEP]".to_owned()),
        (
            step("s", "guest/panic", "with = { message = \"m\" }"),
            "the tool crashed (panic) [KAMI-PANIC] [KAMI-STEP]".to_owned(),
        ),
        (step("s", "guest/complain", "with = { bytes = 9999 }"), format!("{long} [KAMI-STEP]")),
        (
            "max-seconds = 1\n".to_owned() + &step("s", "guest/sleep", "with = { millis = 59000 }"),
            "limit of 1000 ms [KAMI-TIMEOUT]".to_owned(),
        ),
    ] {
        install(&lab, &pipeline("failing", &steps)).expect(0, "Installed");
        let ran = lab.cargo_kami(&["call", "failing", "--input", "{}"]);
        assert_eq!(ran.code, Some(19), "{ran:?}");
        let said = ran.stderr.split_whitespace().collect::<String>();
        let expected: String = expected.split_whitespace().collect();
        assert!(said.contains(&expected), "{expected} is missing in {ran:?}");
    }
}

#[test]
fn no_result_reaches_further_than_the_place_it_is_put_to() {
    let lab = lab();
    let input = "[input]\ntype = \"object\"\nproperties.json = { type = \"string\" }\nproperties.bytes = { type = \"integer\" }\n";
    let offer = step(
        "offer",
        "guest/offer",
        r##"from = { "/json" = "input#/json", "/bytes" = "input#/bytes" }"##,
    );
    let from = r##"from = { "/what" = "offer#/structuredContent/value", "/number" = "offer#/structuredContent/number" }"##;
    let swallow = step("swallow", "guest/swallow", from);
    install(&lab, &pipeline("through", &format!("{input}{offer}{swallow}"))).expect(0, "Installed");
    let index = step(
        "index",
        "guest/swallow",
        r##"from = { "/what" = "offer#/structuredContent/value/items/1" }"##,
    );
    install(&lab, &pipeline("second", &format!("{input}{offer}{index}"))).expect(0, "Installed");
    let mut server = Server::start(lab.data());
    for value in [
        json!({"number": 8, "__proto__": {"number": 9}, "constructor": 1, "/number": 10}),
        json!([{"number": 8}]),
        json!("\"}, \"number\": 8"),
        json!(null),
    ] {
        let result = server.call("through", &json!({"json": value.to_string()}));
        // Guests sort the names in objects.
        let (said, number) = text(&result).0.rsplit_once(' ').expect("it tells both");
        assert_eq!((said.parse::<Value>().unwrap(), number), (value, "Some(7)"), "{result}");
    }
    let items = json!({"items": [1, {"a": [2]}, 3]});
    let result = server.call("second", &json!({"json": items.to_string()}));
    assert_eq!(text(&result), ("{\"a\":[2]} None", false));
    // What is not there is left out, and then the tool's own schema says what is missing.
    for other in [json!({"items": {"0": 1}}), json!({"items": [1]}), json!(5)] {
        let result = server.call("second", &json!({"json": other.to_string()}));
        assert!(text(&result).0.contains("[KAMI-ARGUMENTS]"), "{other}: {result}");
    }
    // Deeper than arguments may be.
    let deep = "[".repeat(100) + &"]".repeat(100);
    let result = server.call("through", &json!({"json": deep}));
    assert!(text(&result).0.contains("levels deep"), "{result}");
    // As large as a result may be, and larger than the arguments may be that it goes to.
    let result = server.call("through", &json!({"json": "\"BYTES\"", "bytes": 1_040_000}));
    assert!(!text(&result).1, "{:.200}", result.to_string());
    let twice = json!({"json": "[\"BYTES\", \"BYTES\"]", "bytes": 1_000_000});
    let result = server.call("through", &twice);
    assert!(text(&result).1, "{:.200}", result.to_string());
    ends(server);
}

#[test]
fn what_a_step_says_is_heard_and_progress_is_that_of_the_steps() {
    let lab = lab();
    let chatter = |name| step(name, "guest/chatter", "with = { times = 3, bytes = 5 }");
    let steps = chatter("one") + &chatter("two");
    install(&lab, &pipeline("talk", &steps)).expect(0, "Installed");
    let mut server = Server::start(lab.data());
    let params = json!({"name": "talk", "arguments": {}, "_meta": {"progressToken": "t"}});
    server.request("tools/call", &params);
    let heard = server.notifications();
    let of = |method: &str| -> Vec<Value> {
        heard.iter().filter(|m| m["method"] == method).map(|m| m["params"].clone()).collect()
    };
    let progress: Vec<_> = of("notifications/progress")
        .iter()
        .map(|told| (told["progress"].as_f64(), told["total"].as_f64()))
        .collect();
    assert_eq!(progress, [(Some(1.0), Some(2.0)), (Some(2.0), Some(2.0))], "{heard:?}");
    let logged = of("notifications/message");
    for expected in ["one: ccccc", "two: ccccc"] {
        let count = logged.iter().filter(|told| told["data"] == expected).count();
        assert_eq!(count, 3, "{expected} in {heard:?}");
    }
    ends(server);
}

#[test]
fn a_pipeline_that_does_not_fit_its_tools_any_more_is_refused() {
    let lab = lab();
    install(&lab, &sum()).expect(0, "Installed");
    let mut server = Server::start(lab.data());
    let arguments = json!({"a": 1, "b": 2, "c": 3});
    assert_eq!(server.call("sum", &arguments)["structuredContent"]["sum"], 6);
    let says = |server: &mut Server, words: &str| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let result = server.call("sum", &arguments);
            if text(&result).0.contains(words) {
                return;
            }
            assert!(Instant::now() < deadline, "`{words}` is missing in {result}");
        }
    };
    let gone = lab.cargo_kami(&["uninstall", &id("neighbour")]);
    gone.expect(0, "the pipeline `dev.kami.test.sum` calls it, and is refused from now on");
    says(&mut server, "`dev.kami.test.neighbour` is not installed");
    // A tool of the same name that takes and gives something else.
    let other = single(guest("neighbour").component(), "neighbour", &Capabilities::default());
    lab.install(&other);
    says(&mut server, "`dev.kami.test.neighbour` has no tool `add`");
    says(&mut server, "[KAMI-PIPELINE]");
    let mut changed = guest("neighbour").manifest().tools.clone();
    changed[0].input_schema["properties"]["c"] = json!({"type": "integer"});
    changed[0].input_schema["required"] = json!(["a", "b", "c"]);
    let component = guest("neighbour").component();
    let requests = Capabilities::default();
    lab.install(&kami_tests::lab::seal(component, "neighbour", changed, &requests));
    says(&mut server, "`dev.kami.test.neighbour/add` needs `c`");
    lab.install(guest("neighbour"));
    says(&mut server, "\"sum\":6");
    ends(server);
}

#[test]
fn what_is_told_of_a_pipeline_follows_what_its_steps_may_do() {
    let lab = lab();
    install(&lab, &sum()).expect(0, "Installed");
    let hints = || {
        let mut server = Server::start(lab.data());
        let listed = server.request("tools/list", &json!({}));
        let tools = listed["tools"].as_array().unwrap().clone();
        let hints = tools.into_iter().find(|tool| tool["name"] == "sum").unwrap();
        ends(server);
        let hints = &hints["annotations"];
        (hints["readOnlyHint"] == true, hints["openWorldHint"] == true)
    };
    assert_eq!(hints(), (true, false));
    let mut tools = guest("neighbour").manifest().tools.clone();
    tools[0].annotations = Default::default();
    let requests =
        Capabilities { net: vec!["api.example.com".parse().unwrap()], ..Capabilities::default() };
    let wider =
        kami_tests::lab::seal(guest("neighbour").component(), "neighbour", tools, &requests);
    lab.install(&wider);
    assert_eq!(hints(), (false, true));
    for command in [["grants", "sum"], ["inspect", "sum"]] {
        let shown = lab.cargo_kami(&command);
        let expected = "network api.example.com (first, second)\n";
        assert!(shown.stdout.contains(expected), "{shown:?}");
    }
    let again = install(&lab, &sum());
    again.expect(0, "signed by nobody: a local pipeline");
    again.expect(0, "network api.example.com (first, second)");
    // A grant that changes is another one for the pipeline at once.
    lab.cargo_kami(&["grants", "neighbour", "--deny", "net"]).expect(0, "Changed");
    let shown = lab.cargo_kami(&["grants", "sum"]);
    assert!(!shown.stdout.contains("api.example.com"), "{shown:?}");
    let refused = lab.cargo_kami(&["grants", "sum", "--allow", "net"]);
    refused.expect(2, "has no grant of its own");
    let listed = lab.cargo_kami(&["list"]);
    assert!(listed.stdout.contains("dev.kami.test.sum 1.0.0 (local pipeline)"), "{listed:?}");
    lab.cargo_kami(&["verify", &id("sum")]).expect(0, "local pipeline, as it was installed");
}

#[test]
fn a_token_may_call_a_pipeline_without_the_tools_that_it_calls() {
    let lab = lab();
    install(&lab, &sum()).expect(0, "Installed");
    let made = lab.cargo_kami(&["token", "create", "one", "--tools", "sum"]);
    let bearer = format!("Bearer {}", made.expect(0, "Created").stdout.trim());
    let door = Door::start_with(lab.data(), &["--auth", "tokens"]);
    let ask = |tool: &str, arguments: Value| {
        let reply = door.post(&[("Authorization", &bearer)], &message(1, tool, &arguments));
        reply.messages().pop().expect("there is a reply")
    };
    let result = ask("sum", json!({"a": 1, "b": 2, "c": 3}));
    assert_eq!(result["result"]["structuredContent"]["sum"], 6, "{result}");
    for direct in ["add", &id("neighbour/add")] {
        let refused = ask(direct, json!({"a": 1, "b": 2}));
        assert!(refused["error"]["message"].as_str().unwrap().contains("no tool"), "{refused}");
    }
    assert!(door.finish().success());
    let log = lab.cargo_kami(&["log", "--json"]).stdout;
    let of_steps = log.lines().filter(|line| line.contains("pipeline dev.kami.test.sum step"));
    let of_steps: Vec<_> = of_steps.collect();
    assert_eq!(of_steps.len(), 2, "{log}");
    assert!(of_steps.iter().all(|line| line.contains("\"token:one\"")), "{of_steps:?}");
}

#[test]
fn a_call_of_a_pipeline_is_one_call_of_its_client() {
    let lab = lab();
    install(&lab, &sum()).expect(0, "Installed");
    let policy = "version = 1\n[server]\nmax-calls-per-minute = 1\n";
    fs::write(lab.data().policy_file(), policy).expect("files can be written");
    let mut server = Server::start(lab.data());
    let first = server.call("sum", &json!({"a": 1, "b": 2, "c": 3}));
    assert_eq!(first["structuredContent"]["sum"], 6, "{first}");
    let second = server.call("sum", &json!({"a": 1, "b": 2, "c": 3}));
    assert!(text(&second).0.contains("[KAMI-RATE]"), "{second}");
    ends(server);
}

#[test]
fn the_policy_refuses_a_pipeline_and_each_of_its_steps() {
    let lab = lab();
    install(&lab, &sum()).expect(0, "Installed");
    let refuse = |name: &str| {
        let policy = format!("version = 1\n[tool.\"{}\"]\nrefuse = true\n", id(name));
        fs::write(lab.data().policy_file(), policy).expect("files can be written");
        let ran = lab.cargo_kami(&["call", "sum", "--input", r#"{"a": 1, "b": 2, "c": 3}"#]);
        assert_ne!(ran.code, Some(0), "{ran:?}");
        ran
    };
    let own = refuse("sum");
    own.expect(16, "`dev.kami.test.sum` may not run");
    let step = refuse("neighbour");
    step.expect(19, "`dev.kami.test.neighbour` may not run");
    step.expect(19, "[KAMI-POLICY] [KAMI-STEP]");
    refuse("sum").expect(16, "may not run");
    install(&lab, &sum()).expect(16, "may not run");
}

#[test]
fn a_pipeline_that_was_changed_on_disk_is_refused() {
    let lab = lab();
    install(&lab, &sum()).expect(0, "Installed");
    let installed = lab.registry().package(&id("sum").parse().unwrap()).unwrap().unwrap();
    let file = lab.data().pipeline_file(installed.digest);
    let text = fs::read_to_string(&file).expect("the file is there");
    fs::write(&file, text.replace("input#/c", "input#/a")).expect("files can be written");
    let call = ["call", "sum", "--input", r#"{"a": 1, "b": 2, "c": 3}"#];
    lab.cargo_kami(&call).expect(15, "was changed");
    lab.cargo_kami(&["verify", &id("sum")]).expect(15, "was changed");
    install(&lab, &sum()).expect(0, "Installed");
    assert!(lab.cargo_kami(&call).expect(0, "").stdout.contains("\"sum\":6"));
    lab.cargo_kami(&["uninstall", "sum"]).expect(0, "Uninstalled");
    assert!(!file.exists(), "nothing is left of it");
}

#[test]
fn no_pipeline_takes_the_place_of_a_signed_package_nor_calls_another_one() {
    let lab = lab();
    install(&lab, &sum()).expect(0, "Installed");
    let add = step("s", "neighbour/add", "with = { a = 1, b = 2 }");
    install(&lab, &pipeline("neighbour", &add)).expect(15, "is pinned to key");
    let nested = step("s", "sum/sum", "with = { a = 1, b = 2, c = 3 }");
    let refused = install(&lab, &pipeline("nested", &nested));
    refused.expect(10, "`dev.kami.test.sum/sum` is a pipeline");
    // Nobody is there to be asked.
    fs::write(lab.path("pipeline.toml"), pipeline("other", &add)).expect("files can be written");
    lab.cargo_kami(&["install", "pipeline.toml"]).expect(16, "nobody can be asked for consent");
    assert!(lab.registry().package(&id("other").parse().unwrap()).unwrap().is_none());
}

#[test]
fn a_pipeline_is_announced_selected_and_found_as_any_tool() {
    let lab = lab();
    let mut server = Server::start(lab.data());
    server.request("tools/list", &json!({}));
    let tagged = sum().replace("tool = \"sum\"", "tool = \"sum\"\ntags = [\"sums\"]");
    install(&lab, &tagged).expect(0, "Installed");
    let deadline = Instant::now() + PATIENCE;
    let told = "notifications/tools/list_changed";
    while !server.notifications().iter().any(|message| message["method"] == told) {
        assert!(Instant::now() < deadline, "nobody hears of it");
        server.request("ping", &json!({}));
    }
    ends(server);
    let arguments = json!({"a": 1, "b": 2, "c": 3});
    // What it calls need not be offered.
    let mut server = Server::start_with(lab.data(), &["--tag", "sums"], &[]);
    let listed = server.request("tools/list", &json!({}));
    let names: Vec<_> = listed["tools"].as_array().unwrap().iter().map(|t| &t["name"]).collect();
    assert_eq!(names, ["sum"]);
    assert_eq!(server.call("sum", &arguments)["structuredContent"]["sum"], 6);
    ends(server);
    let mut server = Server::start_with(lab.data(), &["--discover"], &[]);
    let found = server.call("search_tools", &json!({"query": "sums"}));
    assert!(text(&found).0.contains("\"sum\""), "{found}");
    let called = server.call("call_tool", &json!({"name": "sum", "arguments": arguments}));
    assert_eq!(called["structuredContent"]["sum"], 6, "{called}");
    ends(server);
    let costs = lab.cargo_kami(&["list", "--tokens"]);
    assert!(costs.stdout.contains("sum "), "{costs:?}");
}

#[test]
fn the_example_of_a_pipeline_works_with_the_examples() {
    let lab = Lab::new();
    for example in ["csv-query", "json-query"] {
        lab.install(guest(example));
    }
    let file = root().join("examples/pipelines/table-report.toml");
    let installed = lab.cargo_kami(&["install", file.to_str().unwrap(), "--yes"]);
    installed.expect(0, "Installed dev.kami.table-report 0.1.0: table_report");
    let mut server = Server::start(lab.data());
    let csv = "name,age\nAda,36\nAlan,41\n";
    // Once both are compiled, a pipeline of seconds is enough on any machine.
    server.call("describe_csv", &json!({"csv": csv}));
    server.call("json_query", &json!({"filter": ".", "json": 1}));
    let arguments = json!({"csv": csv, "rows": 1});
    let result = server.call("table_report", &arguments);
    let report = json!({"columns": ["name", "age"], "rows": 2, "sample": [["Ada", 36]]});
    assert_eq!(result["structuredContent"], report, "{result}");
    ends(server);
}
