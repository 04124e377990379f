//! The command line as a person meets it: what it prints, what it asks, how it ends.
//!
//! Folders in `tests/cli` hold bad input, one kind each, with the transcript that is expected.
//! `KAMI_UPDATE=1 cargo test -p kami-tests --test cli` writes the transcripts anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use kami_core::registry::DataDir;
use kami_tests::guests::{guest, root};
use kami_tests::lab::Lab;
use kami_tests::outside::{Outside, Reply};
use kami_tests::server::{self, Server};
use kami_tests::web::Web;
use serde_json::{Value, json};

/// What the help promises to scripts.
const EXITS: [(i32, &str); 18] = [
    (0, "success"),
    (1, "a failure without a code of its own, such as an unreadable file"),
    (2, "the command line is wrong"),
    (10, "the manifest in Cargo.toml or tool.toml, or a pipeline, is wrong"),
    (11, "cargo could not read or compile the package"),
    (12, "the compiler or its target wasm32-wasip2 is missing"),
    (13, "the file is not what was expected, or cannot become an artifact"),
    (14, "`check` found mistakes"),
    (15, "unsigned, changed after signing, or signed by a key that is not trusted for it"),
    (16, "consent was not given, or the policy refuses"),
    (17, "nothing of that name"),
    (18, "the registry is corrupt or from a newer version"),
    (19, "the tool ran and failed, or was stopped"),
    (20, "the reader of the output went away"),
    (21, "the audit log is damaged, or cannot be written"),
    (22, "the secrets cannot be opened: no key, another's key, or a damaged store"),
    (23, "the policy file cannot be read, or is wrong"),
    (130, "interrupted"),
];

/// A package's whole way, by the commands that `cargo kami new` prints and by nothing else.
#[test]
fn the_printed_instructions_are_enough() {
    let person = Outside::new();
    let steps = new(&person, "cargo kami new my-tool");
    let call = r#"cargo kami call my-tool --input '{"name": "Ada"}'"#;
    assert_eq!(
        steps,
        [
            "cd my-tool",
            "cargo test",
            "cargo kami build",
            "cargo kami sign",
            "cargo kami install .",
            call,
        ]
    );

    let (status, screen) = person.at_terminal(&steps.join("\n"), "y");
    assert!(status.success(), "{screen}");
    for part in [
        "test result: ok. 2 passed",
        "Sealed target/kami/my-tool.wasm",
        "your key, trusted here",
        "Grant this to dev.example.my-tool? [y/N] y",
        "Installed dev.example.my-tool 0.1.0: greet",
        "Hello, Ada!",
    ] {
        assert!(screen.contains(part), "{part:?} is not in\n{screen}");
    }

    let mut server = Server::start(&person.data());
    let result = server.call("greet", &json!({"name": "Ada", "times": 2}));
    assert_eq!(server::text(&result), ("Hello, Ada! Hello, Ada!", false));
    let (status, log) = server.finish();
    assert!(status.success(), "{log}");

    a_build_that_changes_nothing_touches_nothing(&person, "my-tool");
    person.forget("my-tool", "my-tool");
    person.close();
}

/// The artifact was built and signed.
fn a_build_that_changes_nothing_touches_nothing(person: &Outside, name: &str) {
    let package = person.path().join(name);
    let artifact = package.join(format!("target/kami/{name}.wasm"));
    let state = || {
        let written = fs::metadata(&artifact).and_then(|data| data.modified()).unwrap();
        (written, fs::read(&artifact).unwrap())
    };
    let before = state();
    let manifest = package.join("Cargo.toml");
    let build =
        ["build", "--manifest-path", manifest.to_str().unwrap(), "--message-format", "json"];
    let reply = person.kami(&build);
    let line: Value = serde_json::from_str(reply.data(0)).unwrap();
    assert_eq!(line["package"], name);
    assert_eq!(line["artifact"], artifact.to_str().unwrap());
    assert_eq!(line["fresh"], true);
    assert_eq!(line["tools"], json!(["greet"]));
    assert!(state() == before, "the artifact was written again");
    let signed = person.kami(&["verify", artifact.to_str().unwrap()]);
    assert!(signed.stderr.contains("signed by default"), "{}", signed.stderr);
}

#[test]
fn the_cost_of_each_tool_is_told_with_what_it_would_cost_to_look_for_them() {
    let lab = Lab::new();
    let none = lab.cargo_kami(&["list", "--tokens"]);
    assert!(none.expect(0, "no tool is installed").stdout.is_empty(), "{none:?}");
    lab.install(guest("neighbour"));
    lab.install(guest("hello"));
    let shown = lab.cargo_kami(&["list", "--tokens"]);
    let lines: Vec<(usize, &str)> = shown
        .expect(0, "")
        .stdout
        .lines()
        .map(|line| line.trim_start().split_once(' ').expect("a number comes first"))
        .map(|(number, rest)| (number.parse().expect("it is a number"), rest.trim_start()))
        .collect();
    let [tools @ .., (total, all), (instead, discover)] = lines.as_slice() else {
        panic!("{shown:?}")
    };
    assert!(tools.iter().any(|(_, rest)| rest.starts_with("add ")), "{shown:?}");
    assert!(tools.iter().is_sorted_by(|(dear, _), (cheap, _)| dear >= cheap), "{shown:?}");
    assert_eq!(tools.iter().map(|(tokens, _)| tokens).sum::<usize>(), *total);
    assert_eq!(*all, format!("tokens for {} tools in all, by estimate", tools.len()));
    assert_eq!(*discover, "tokens instead with `cargo kami serve --discover`");
    assert!((200..1500).contains(instead), "{shown:?}");

    let told = lab.cargo_kami(&["list", "--tokens", "--json", "--filter", "neighbour"]);
    let told: Vec<Value> =
        told.stdout.lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect();
    let (name, tokens) = (&told[0]["name"], &told[0]["tokens"]);
    assert_eq!((told.len(), name), (2, &json!("add")), "{told:?}");
    let total =
        json!({"tools": 1, "tokens": tokens, "discover_tokens": told[1]["discover_tokens"]});
    assert_eq!(told[1], total);
}

#[test]
fn the_template_files_reads_the_directory_that_is_bound() {
    let person = Outside::new();
    let steps = new(&person, "cargo kami new finder --template files");
    assert!(steps.contains(&"cargo kami install . --mount docs=.".to_owned()), "{steps:?}");
    let (status, screen) = person.at_terminal(&steps.join("\n"), "y");
    assert!(status.success(), "{screen}");
    assert!(screen.contains("test result: ok. 1 passed"), "{screen}");
    assert!(screen.contains(r#""file":"/docs/Cargo.toml""#), "{screen}");
    person.forget("finder", "finder");
    person.close();
}

#[test]
fn the_template_http_reaches_the_host_that_is_listed_and_no_other() {
    let (listed, other, person) = (Web::start(), Web::start(), Outside::new());
    let steps = new(&person, "cargo kami new reader --template http");
    let manifest = person.path().join("reader/Cargo.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    let entry = listed.origin();
    fs::write(&manifest, text.replace("raw.githubusercontent.com", &entry)).unwrap();
    // The last step reads from the web; here it reads from this machine.
    let (_, before) = steps.split_last().unwrap();
    let (status, screen) = person.at_terminal(&before.join("\n"), "y");
    assert!(status.success(), "{screen}");
    assert!(screen.contains("test result: ok. 2 passed"), "{screen}");
    assert!(screen.contains(&format!("network {entry}")), "{screen}");

    let page = format!("{}/page", listed.origin());
    assert_eq!(person.kami(&["call", "reader", "--", "--url", &page]).data(0), "fine\n");
    let elsewhere = format!("{}/page", other.origin());
    let denied = person.kami(&["call", "reader", "--", "--url", &elsewhere]);
    assert_eq!(denied.data(19), "");
    let line = format!("net-allow-list = [\"{}\"]", other.origin());
    assert!(denied.stderr.contains(&line), "{}", denied.stderr);
    assert_eq!(other.visits(), 0);
    person.forget("reader", "reader");
    person.close();
}

#[test]
fn a_new_package_becomes_a_member_of_the_workspace_around_it() {
    let person = Outside::new();
    // As a package of its own has it, so that the SDK is not compiled in another way.
    let profile = "[profile.release]\nlto = true\ncodegen-units = 1\nstrip = true\n";
    let manifest = person.path().join("Cargo.toml");
    fs::write(&manifest, format!("[workspace]\nresolver = \"3\"\nmembers = []\n\n{profile}"))
        .unwrap();
    person.kami(&["new", "tools/member"]).data(0);
    let text = fs::read_to_string(&manifest).unwrap();
    assert!(text.contains("members = [\"tools/member\"]"), "{text}");

    let reply = person.kami(&["build", "--workspace", "--message-format", "json"]);
    let line: Value = serde_json::from_str(reply.data(0)).unwrap();
    let artifact = person.path().join("target/kami/member.wasm");
    assert_eq!(line["artifact"], artifact.to_str().unwrap());
    assert_eq!(line["fresh"], false);
    let run = ["run", "target/kami/member.wasm", "--allow-unsigned", "--yes", "--", "--name=Ada"];
    assert_eq!(person.kami(&run).data(0), "Hello, Ada!\n");

    let taken = person.kami(&["new", "tools/member"]);
    assert_eq!((taken.code, taken.stdout.as_str()), (2, ""));
    assert!(taken.stderr.contains("tools/member is not empty"), "{}", taken.stderr);
    person.forget("member", "");
    person.close();
}

#[test]
fn a_call_takes_arguments_from_json_from_files_from_stdin_and_from_flags() {
    let person = with_greeter();
    let ada = r#"{"name": "Ada"}"#;
    fs::write(person.path().join("ada.json"), ada).unwrap();
    let cases: [(&[&str], &str, &str); 7] = [
        (&["call", "greet", "--input", ada], "", "Hello, Ada!\n"),
        (&["kami", "call", "greet", "--input", ada], "", "Hello, Ada!\n"),
        (&["exec", "greeter", "-i", ada], "", "Hello, Ada!\n"),
        (&["call", "dev.example.greeter", "--input-file", "ada.json"], "", "Hello, Ada!\n"),
        (&["call", "greet", "--input", "-"], ada, "Hello, Ada!\n"),
        (&["call", "greet", "--input-file", "-"], ada, "Hello, Ada!\n"),
        (&["call", "greet", "--", "--name", "Ada", "--times=2"], "", "Hello, Ada! Hello, Ada!\n"),
    ];
    for (arguments, input, expected) in cases {
        let reply = person.kami_with_input(arguments, input);
        assert_eq!(reply.data(0), expected, "{arguments:?}");
    }
    let reply = person.kami(&["call", "greet", "--input", ada, "--json"]);
    let result: Value = serde_json::from_str(reply.data(0)).unwrap();
    assert_eq!(server::text(&result), ("Hello, Ada!", false));
}

#[test]
fn a_call_that_cannot_be_made_says_why() {
    let person = with_greeter();
    let cases: [(&[&str], i32, &str); 9] = [
        (&["call", "gret"], 17, "there is no tool `gret`; did you mean `greet`?"),
        (&["call", "greet"], 19, "\"name\" is a required property [KAMI-ARGUMENTS]"),
        (
            &["call", "greet", "-i", r#"{"name": 5}"#],
            19,
            "/name: value is not of type \"string\" [KAMI-ARGUMENTS]",
        ),
        (&["call", "greet", "-i", r#"{"name": " "}"#], 19, "`name` is empty: say whom to greet"),
        (&["call", "greet", "-i", "{"], 2, "the input is not JSON"),
        (&["call", "greet", "-i", "[]"], 2, "the input is JSON, but not an object"),
        (&["call", "greet", "--", "--times", "x"], 2, "an integer was expected"),
        (&["call", "greet", "--", "--nam", "x"], 2, "--name <text> (required)  whom to greet"),
        (&["call", "greet", "--input-file", "none.json"], 1, "reading none.json"),
    ];
    for (arguments, code, expected) in cases {
        let reply = person.kami(arguments);
        assert_eq!(reply.data(code), "", "{arguments:?}");
        assert!(reply.stderr.contains(expected), "{arguments:?}: {}", reply.stderr);
    }
}

#[test]
fn a_server_answers_what_it_accepted_and_ends_with_its_input() {
    let person = with_greeter();
    let hello = json!({
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "someone", "version": "1"},
    });
    let call = json!({"name": "greet", "arguments": {"name": "Ada"}});
    let requests = [
        json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}),
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}),
        json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": call}),
    ];
    let lines: String = requests.iter().map(|request| format!("{request}\n")).collect();
    let reply = person.kami_with_input(&["serve"], &lines);
    let answers: BTreeMap<u64, Value> = json_lines(reply.data(0))
        .into_iter()
        .map(|answer| (answer["id"].as_u64().expect("only answers are written"), answer))
        .collect();
    assert_eq!(answers[&1]["result"]["protocolVersion"], "2025-11-25");
    assert_eq!(answers[&2]["result"]["tools"][0]["name"], "greet");
    assert_eq!(answers[&3]["result"]["content"][0]["text"], "Hello, Ada!");
    assert_eq!(answers.len(), 3);
}

/// What a tool asks has an answer from the line, from the person, or none.
#[test]
fn a_tool_that_asks_is_answered_by_a_flag_or_at_the_terminal() {
    let person = Outside::new();
    let file = person.path().join("asks.wasm");
    fs::write(&file, guest("conformance").bytes()).unwrap();
    let run = |tool: &'static str, flags: &[&'static str]| {
        let mut command = vec!["run", "asks.wasm", "--allow-unsigned", "--yes", "--tool", tool];
        command.extend(flags);
        command
    };
    let form = |answer: &'static str| {
        person.kami(&run("test_elicitation", &["--answer", answer, "--", "--message", "Who?"]))
    };
    let accepted = r#"action=accept, content={"username":"ada","email":"a@b.example"}"#;
    let fields = form(r#"elicit-1={"username":"ada","email":"a@b.example"}"#);
    assert_eq!(fields.data(0), format!("User response: {accepted}\n"));
    let declined = form("elicit-1=decline");
    assert!(declined.data(0).contains("action=decline"));
    for (answer, code, told) in [
        ("elicit-1=perhaps", 1, "neither a JSON object nor `accept`, `decline` or `cancel`"),
        ("other=decline", 19, "answer it with --answer 'elicit-1=...'"),
    ] {
        let reply = form(answer);
        assert_eq!(reply.code, code, "{}", reply.stderr);
        assert!(reply.stderr.contains(told), "{}", reply.stderr);
    }
    let roots = person.kami(&run("test_input_required_result_list_roots", &["--root", "."]));
    assert!(roots.data(0).contains("file://"));

    let dialog = [
        ("Answer `test_elicitation`?", "y"),
        ("email (User's email address):", "a@b.example"),
        ("username (User's response):", "ada"),
    ];
    let line =
        "cargo kami run asks.wasm --allow-unsigned --yes --tool test_elicitation -- --message Hm";
    let (status, screen) = person.in_dialog(line, &dialog);
    assert!(status.success(), "{screen}");
    assert!(screen.contains("`test_elicitation`: Hm") && screen.contains(accepted), "{screen}");
}

#[test]
fn nothing_is_installed_without_consent() {
    let person = Outside::new();
    sign_greeter(&person);
    let nobody = person.kami(&["install", "greeter.wasm"]);
    assert_eq!(nobody.data(16), "");
    for part in ["limits 64 MiB of memory, 5 s", "grant it with --yes"] {
        assert!(nobody.stderr.contains(part), "{part:?} is not in\n{}", nobody.stderr);
    }
    let (status, screen) = person.at_terminal("cargo kami install greeter.wasm", "n");
    assert_eq!(status.code(), Some(16), "{screen}");
    assert!(screen.contains("not granted; nothing was changed"), "{screen}");
    assert_eq!(person.kami(&["list", "--json"]).data(0), "");
}

#[test]
fn what_is_not_signed_is_refused_unless_it_is_ones_own() {
    let person = Outside::new();
    fs::write(person.path().join("greeter.wasm"), greeter()).unwrap();
    for command in ["install", "run"] {
        let refused = person.kami(&[command, "greeter.wasm", "--yes"]);
        assert_eq!(refused.data(15), "");
        assert!(refused.stderr.contains("cargo kami sign greeter.wasm"), "{}", refused.stderr);
    }
    person.kami(&["install", "greeter.wasm", "--yes", "--allow-unsigned"]).data(0);
    assert!(person.kami(&["list"]).data(0).contains("UNSIGNED"));
    let line: Value = serde_json::from_str(person.kami(&["list", "--json"]).data(0)).unwrap();
    assert_eq!(line["signer"], Value::Null);
}

#[test]
fn a_maker_is_trusted_by_the_printed_command() {
    let (maker, person) = (Outside::new(), Outside::new());
    sign_greeter(&maker);
    fs::copy(maker.path().join("greeter.wasm"), person.path().join("greeter.wasm")).unwrap();
    let refused = person.kami(&["install", "greeter.wasm", "--yes"]);
    assert_eq!(refused.data(15), "");
    let at = refused.stderr.find("cargo kami trust add").expect("the command is printed");
    let command = refused.stderr[at..].lines().next().unwrap().replace("NAME", "maker");
    let (status, screen) = person.at_terminal(&command, "");
    assert!(status.success(), "{screen}");
    person.kami(&["install", "greeter.wasm", "--yes"]).data(0);
    assert!(person.kami(&["list"]).data(0).contains("(maker)"));

    let line: Value =
        serde_json::from_str(person.kami(&["trust", "list", "--json"]).data(0)).unwrap();
    person.kami(&["trust", "remove", line["public"].as_str().unwrap()]).data(0);
    let stopped = person.kami(&["call", "greet", "-i", r#"{"name": "Ada"}"#]);
    assert_eq!(stopped.data(15), "");
}

#[test]
fn a_changed_artifact_is_refused() {
    let person = with_greeter();
    let good = person.kami(&["verify"]);
    assert_eq!(good.data(0), "");
    assert!(good.stderr.contains("dev.example.greeter, signed by default"), "{}", good.stderr);

    let flip = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    flip(&person.path().join("greeter.wasm"));
    for command in [&["verify", "greeter.wasm"][..], &["install", "greeter.wasm", "--yes"]] {
        let refused = person.kami(command);
        assert_eq!(refused.data(15), "");
        assert!(refused.stderr.contains("don't run this one"), "{}", refused.stderr);
    }
    let stored = person.kami(&["inspect", "greet", "--json"]);
    let stored: Value = serde_json::from_str(stored.data(0)).unwrap();
    let digest = stored["digest"].as_str().unwrap().parse().unwrap();
    flip(&person.data().artifact_file(digest));
    for command in [&["verify"][..], &["call", "greet", "-i", r#"{"name": "Ada"}"#]] {
        let refused = person.kami(command);
        assert_eq!(refused.data(15), "", "{command:?}");
        assert!(refused.stderr.contains("was changed"), "{command:?}: {}", refused.stderr);
    }
}

#[test]
fn stdout_holds_data_and_nothing_else() {
    let person = with_greeter();
    let commands: [&[&str]; 10] = [
        &["keygen", "--name", "other", "--json"],
        &["trust", "list", "--json"],
        &["list", "--json"],
        &["status", "--json"],
        &["verify", "--json"],
        &["inspect", "greet", "--json"],
        &["check", "greeter.wasm", "--json"],
        &["publish", "--dry-run", "greeter.wasm"],
        &["call", "greet", "--json", "-i", r#"{"name": "Ada"}"#],
        &["install", "greeter.wasm", "--yes", "--json"],
    ];
    for command in commands {
        let reply = person.kami(command);
        assert!(!json_lines(reply.data(0)).is_empty(), "{command:?}");
    }
    for command in [&["sign", "greeter.wasm"][..], &["uninstall", "greeter"], &["list"]] {
        assert_eq!(person.kami(command).data(0), "", "{command:?}");
    }
}

#[test]
fn a_token_is_shown_once_listed_by_its_name_and_revoked() {
    let person = Outside::new();
    let terms = ["--tools", "dev.example.web/*", "--exclude", "post", "--rate", "60"];
    let made =
        person.kami(&[&["token", "create", "ci", "--expires", "2999-12-31"], &terms[..]].concat());
    let token = made.data(0).trim_end();
    assert!(token.starts_with("kami_") && token.len() == 48 && !token.contains('\n'), "{token}");
    let told = "the token ci: kami:call, tools dev.example.web/* but post, 60 calls a minute, until \
                3000-01-01T00:00:00.000Z";
    assert!(made.stderr.contains(told) && !made.stderr.contains(token), "{}", made.stderr);

    let again = person.kami(&["token", "create", "ci"]);
    assert_eq!(again.data(1), "");
    assert!(again.stderr.contains("there is a token called `ci` already"), "{}", again.stderr);
    let json = person.kami(&[
        "token",
        "create",
        "reader",
        "--scope",
        "kami:read,tool:fetch*",
        "--expires",
        "never",
        "--json",
    ]);
    let [made] = &json_lines(json.data(0))[..] else { panic!("{json:?}") };
    assert_eq!(made["scopes"], json!(["kami:read", "tool:fetch*"]));
    assert_eq!((&made["expires"], &made["state"]), (&Value::Null, &json!("valid")));
    assert_eq!(made["token"].as_str().map(str::len), Some(48));

    let list = person.kami(&["token", "list", "--json"]);
    let listed = json_lines(list.data(0));
    let names: Vec<_> = listed.iter().map(|token| &token["name"]).collect();
    assert_eq!(names, ["ci", "reader"]);
    assert!(listed.iter().all(|token| token.get("token").is_none()), "{list:?}");
    assert_eq!(listed[0]["tools"], json!({"include": ["dev.example.web/*"], "exclude": ["post"]}));
    assert_eq!(listed[0]["calls_per_minute"], 60);

    assert_eq!(person.kami(&["token", "revoke", "ci"]).data(0), "");
    let gone = person.kami(&["token", "revoke", "ci"]);
    assert_eq!(gone.data(17), "");
    assert!(gone.stderr.contains("cargo kami token list"), "{}", gone.stderr);
    assert_eq!(person.kami(&["token", "list"]).data(0).lines().count(), 1);
    let log = person.kami(&["log", "--kind", "token"]);
    let log = log.data(0);
    assert_eq!(log.lines().count(), 3, "{log}");
    assert!(log.contains(" create `ci`: ") && log.contains(" revoke `ci`"), "{log}");
    assert!(!log.contains(token), "{log}");

    for (arguments, words) in [
        (&["create", "a b"][..], "not a name for a token"),
        (&["create", "x", "--scope", "all"], "kami:call"),
        (&["create", "x", "--tools", "dev.example.web"], "dev.example.web/*"),
        (&["create", "x", "--expires", "soon"], "30d"),
        (&["create", "x", "--expires", "2020-01-01"], "that day is over"),
        (&["create", "x", "--rate", "0"], "rate"),
    ] {
        let refused = person.kami(&[&["token"], arguments].concat());
        assert_eq!(refused.data(2), "", "{arguments:?}");
        assert!(refused.stderr.contains(words), "{arguments:?}: {}", refused.stderr);
    }
}

#[test]
fn the_help_tells_every_exit_code() {
    let help = Outside::new().kami(&["--help"]);
    let (_, codes) = help.data(0).split_once("Exit codes:\n").expect("there is a list");
    let codes: Vec<(i32, &str)> = codes
        .lines()
        .filter_map(|line| line.trim().split_once("  "))
        .map(|(code, text)| (code.parse().expect("a code is a number"), text))
        .collect();
    assert_eq!(codes, EXITS);
}

/// Runs the command at the top of each transcript in a copy of its folder.
///
/// In the copy, `x.wat` becomes `x.wasm` and `x.sql` becomes `x.db`, and the data directory is
/// `data`. Whatever the command does, it leaves what was there as it was.
#[test]
fn bad_input_is_explained() {
    let mut wrong = Vec::new();
    let mut cases: Vec<PathBuf> = fs::read_dir(root().join("tests/cli"))
        .expect("there are cases")
        .map(|entry| entry.expect("a folder can be listed").path())
        .collect();
    cases.sort();
    assert!(!cases.is_empty());
    for case in cases {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        let file = case.join(TRANSCRIPT);
        let expected = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{name}: {e}"));
        let actual = transcript(&case, expected.lines().next().unwrap_or_default());
        if std::env::var_os("KAMI_UPDATE").is_some() {
            fs::write(&file, &actual).expect("a transcript can be written");
        } else if actual != expected {
            wrong.push(format!("{name} was\n{expected}\nand is\n{actual}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const TRANSCRIPT: &str = "transcript.txt";

fn transcript(case: &Path, command: &str) -> String {
    let person = Outside::new();
    copy(case, person.path());
    if person.path().join("Cargo.toml").exists() {
        fs::create_dir_all(person.path().join("src")).unwrap();
        fs::write(person.path().join("src/lib.rs"), "").unwrap();
    }
    let before = files(person.path());
    let words: Vec<&str> = command
        .strip_prefix("$ cargo kami ")
        .unwrap_or_else(|| panic!("{}: the first line is a command", case.display()))
        .split(' ')
        .collect();
    let mut program = person.command("cargo-kami");
    program.args(&words).env("KAMI_DATA_DIR", DataDir::new(person.path().join("data")).path());
    let output = program.output().expect("the program starts");
    let after = files(person.path());
    for (path, bytes) in &before {
        assert_eq!(after.get(path), Some(bytes), "{command} changed {}", path.display());
    }
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    let here = person.path().to_str().unwrap();
    let text = text.concat().replace(here, "[HERE]");
    // Cargo says so when other tests make it wait.
    let lines = text.lines().filter(|line| !line.contains("Blocking waiting for file lock"));
    let lines: String = lines.map(|line| format!("{}\n", line.trim_end())).collect();
    format!("{command}\n{lines}exit code {}\n", output.status.code().unwrap_or(-1))
}

/// Copies a case, and makes what it holds in words.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.extension().and_then(|extension| extension.to_str()) {
            _ if path.is_dir() => {
                fs::create_dir_all(&target).unwrap();
                copy(&path, &target);
            }
            _ if path.ends_with(TRANSCRIPT) => {}
            Some("wat") => {
                fs::write(target.with_extension("wasm"), wat::parse_file(&path).unwrap()).unwrap();
            }
            Some("sql") => {
                let database = rusqlite::Connection::open(target.with_extension("db")).unwrap();
                database.execute_batch(&fs::read_to_string(&path).unwrap()).unwrap();
            }
            _ => drop(fs::copy(&path, &target).unwrap()),
        }
    }
}

/// Every file below `directory` with its bytes.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// Makes a package at a terminal, and gives the commands that are printed.
fn new(person: &Outside, command: &str) -> Vec<String> {
    let (status, screen) = person.at_terminal(command, "");
    assert!(status.success(), "{screen}");
    let (_, steps) = screen.split_once("Next:\n").expect("the next steps are printed");
    steps.lines().map(|line| line.trim().to_owned()).collect()
}

/// The artifact of the template `hello`, not signed.
fn greeter() -> &'static [u8] {
    static GREETER: OnceLock<Vec<u8>> = OnceLock::new();

    GREETER.get_or_init(|| {
        let person = Outside::new();
        person.kami(&["new", "greeter"]).data(0);
        person.kami(&["build", "--manifest-path", "greeter/Cargo.toml"]).data(0);
        let bytes = fs::read(person.path().join("greeter/target/kami/greeter.wasm"));
        person.forget("greeter", "greeter");
        bytes.expect("the artifact is where it should be")
    })
}

/// Puts `greeter.wasm` there, signed by a key that is trusted there.
fn sign_greeter(person: &Outside) {
    fs::write(person.path().join("greeter.wasm"), greeter()).unwrap();
    assert_eq!(person.kami(&["sign", "greeter.wasm"]).data(0), "");
}

/// A place where the template `hello` is installed as `greeter`.
fn with_greeter() -> Outside {
    let person = Outside::new();
    sign_greeter(&person);
    let installed: Reply = person.kami(&["install", "greeter.wasm", "--yes"]);
    assert_eq!(installed.data(0), "");
    person
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}")))
        .collect()
}
