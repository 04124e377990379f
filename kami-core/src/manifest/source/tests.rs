use super::*;

const PATH: &[&str] = &["package", "metadata", "kami"];

const HEAD: &str = "[package]\nname = \"x\"\n[package.metadata.kami]\nid = \"dev.example.x\"\n";

fn parse(rest: &str) -> Result<Source, SourceError> {
    Source::parse(&format!("{HEAD}{rest}"), PATH, &Defaults::default())
}

/// The problems of `text` as `blamed text: message; label; help` lines.
fn told(text: &str, error: SourceError) -> Vec<String> {
    let line = |problem: &Problem| {
        let blamed = text.get(problem.span.clone()).expect("a span lies within the text");
        let help = problem.help.as_deref().unwrap_or("-");
        format!("{blamed}: {}; {}; {help}", problem.message, problem.label)
    };
    error.problems.iter().map(line).collect()
}

fn limits(values: &[(Limit, u64)]) -> Limits {
    values
        .iter()
        .fold(Limits::default(), |limits, (limit, value)| limits.with(*limit, *value).unwrap())
}

fn problems(rest: &str) -> Vec<String> {
    told(&format!("{HEAD}{rest}"), parse(rest).unwrap_err())
}

#[test]
fn everything_that_can_be_said_is_read() {
    let source = parse(
        r#"
title = "X"
tags = ["web", "text"]
[package.metadata.kami.security]
net-allow-list = ["api.github.com", "*.example.com"]
fs-access = "sandbox"
scratch = "kept"
env-allow-list = ["LANG"]
max_memory_mb = 0x80
max-execution-ms = 1_000
max-fuel = 7
[package.metadata.kami.mounts.docs]
access = "read-write"
description = "the files"
[package.metadata.kami.mounts]
other = {}
[package.metadata.kami.secrets.TOKEN]
host = "api.github.com"
header = "Authorization: Bearer {TOKEN}"
description = "to read issues"
[package.metadata.kami.secrets]
PLAIN = { env = true }
"#,
    )
    .unwrap();
    assert_eq!(source.id.as_str(), "dev.example.x");
    assert_eq!(source.title.as_deref(), Some("X"));
    assert_eq!(source.tags, ["web", "text"]);
    let requests = source.requests;
    assert_eq!(requests.net[1].as_str(), "*.example.com");
    assert_eq!(requests.fs, FsAccess::Sandbox);
    assert_eq!(requests.env.len(), 1);
    assert_eq!(
        requests.limits,
        limits(&[(Limit::Memory, 128), (Limit::Execution, 1000), (Limit::Fuel, 7)])
    );
    let docs = &requests.mounts[&"docs".parse().unwrap()];
    assert_eq!((docs.access, docs.description.as_str()), (Access::ReadWrite, "the files"));
    assert_eq!(requests.mounts[&"other".parse().unwrap()].access, Access::ReadOnly);
    assert_eq!(requests.scratch, ScratchMode::Kept);
    let token = &requests.secrets[&"TOKEN".parse().unwrap()];
    let inject = token.inject.as_ref().unwrap();
    assert_eq!(inject.host.to_string(), "api.github.com");
    assert_eq!(inject.header.value("x"), "Bearer x");
    assert!(!token.env && token.description == "to read issues");
    assert!(requests.secrets[&"PLAIN".parse().unwrap()].env);
}

#[test]
fn a_long_name_is_not_repeated_for_each_mistake_below_it() {
    let name = "n".repeat(100_000);
    let keys: String = (0..1000).map(|n| format!("k{n} = 1\n")).collect();
    let error = parse(&format!("[package.metadata.kami.mounts.{name}]\n{keys}")).unwrap_err();
    assert!(error.problems.len() >= 1000);
    let told: usize = error.problems.iter().map(|problem| problem.label.len()).sum();
    assert!(told < 1_000_000, "{told} bytes of labels");
}

#[test]
fn a_table_with_an_id_asks_for_nothing() {
    assert_eq!(parse("").unwrap().requests, Capabilities::default());
}

#[test]
fn each_mistake_has_its_place_and_its_remedy() {
    let security = "[package.metadata.kami.security]\n";
    let cases: &[(&str, &str)] = &[
        (
            "tittle = 1",
            "tittle: unknown key `tittle`; not a key of [package.metadata.kami]; did you mean `title`?",
        ),
        (
            "fs_access = 1",
            "fs_access: unknown key `fs_access`; not a key of [package.metadata.kami]; `fs-access` belongs under [package.metadata.kami.security]",
        ),
        (
            "license = \"MIT\"",
            "license: unknown key `license`; not a key of [package.metadata.kami]; the package's own `license` is used: set it there",
        ),
        (
            "zzz = 1",
            "zzz: unknown key `zzz`; not a key of [package.metadata.kami]; known keys: id, title, tags, security, mounts, secrets",
        ),
        (
            "title = 5",
            "5: `title` must be a string; this is an integer; write it as in `title = \"My tool\"`",
        ),
        (
            "tags = [1]",
            "1: `tags` must be an array of strings; this is an integer; write it as in `tags = [\"web\"]`",
        ),
        (
            "security = 1",
            "1: `security` must be a table; this is an integer; write it as in `security = { max-memory-mb = 64 }`",
        ),
        (
            "mounts = { docs = 1 }",
            "1: `mounts` must be a table of tables; this is an integer; write it as in `mounts = { docs = { access = \"read-only\" } }`",
        ),
        (
            "mounts = { docs = {} }",
            "docs: the mount `docs` is read-only, and `fs-access` is \"none\"; can never be used; write `fs-access = \"read-only\"` under [package.metadata.kami.security]",
        ),
        (
            "security.fs-access = \"read-only\"\nmounts.docs.access = \"read-write\"",
            "docs: the mount `docs` is read-write, and `fs-access` is \"read-only\"; can never be used; write `fs-access = \"sandbox\"` under [package.metadata.kami.security]",
        ),
        (
            "security.fs-access = \"readonly\"\nmounts.docs.access = \"read-write\"",
            "\"readonly\": `fs-access` cannot be \"readonly\"; unknown value; write one of \"none\", \"read-only\", \"sandbox\"",
        ),
        (
            "security.fs-access = \"read-only\"\nmounts.scratch = {}",
            "scratch: `mounts` has a value that cannot be; a mount's name is 1 to 32 of a-z, 0-9 and `-`, starts with a letter or digit, and is not `scratch`; write it as in `mounts = { docs = { access = \"read-only\" } }`",
        ),
        (
            "security.scratch = \"kept\"",
            "scratch: there is no scratch directory where `fs-access` is \"none\"; can never be used; write `fs-access = \"sandbox\"` under [package.metadata.kami.security]",
        ),
        (
            "secrets.KEY = { host = \"a.example\" }",
            "{ host = \"a.example\" }: `header` is missing; in this table; add `header = \"Authorization: Bearer {API_KEY}\"`",
        ),
        (
            "secrets.KEY = { host = \"a.example\", header = \"X: {OTHER}\" }",
            "KEY: the header of the secret `KEY` carries another one; the header says {OTHER}; write {KEY} in it",
        ),
        (
            "secrets.KEY = { host = \"*.example\", header = \"X: {KEY}\" }",
            "\"*.example\": `host` has a value that cannot be; a secret goes to exactly one host: `api.example.com` or `api.example.com:8443`; write it as in `host = \"api.example.com\"`",
        ),
        (
            "secrets.KEY = { env = 1 }",
            "1: `env` must be true or false; this is an integer; write it as in `env = true`",
        ),
        (
            "security.max-memory-mb = 0",
            "0: max-memory-mb is 0, but must be from 1 to 4096; impossible limit; write it as in `max-memory-mb = 64`",
        ),
        (
            "security.max-memory-mb = -1",
            "-1: `max-memory-mb` must be a whole number above 0; out of range; write it as in `max-memory-mb = 64`",
        ),
        (
            "security.max-fuel = 0",
            "0: max-fuel is 0, but must be at least 1; impossible limit; write it as in `max-fuel = 10000000`",
        ),
        (
            "security.max-execution-ms = 1.5",
            "1.5: `max-execution-ms` must be a whole number; this is a float; write it as in `max-execution-ms = 5000`",
        ),
        (
            "security.max-fuel = 1\nsecurity.max_fuel = 2",
            "max_fuel: `max-fuel` is given twice; the same key with `-` and with `_`; keep one of them, preferably `max-fuel`",
        ),
        (
            "security.id = 1",
            "id: unknown key `id`; not a key of [package.metadata.kami.security]; `id` belongs under [package.metadata.kami]",
        ),
    ];
    for (rest, expected) in cases {
        assert_eq!(problems(rest), [*expected], "{rest}");
    }
    let host = problems(&format!("{security}net-allow-list = [\"x.org/pa*th\", \"y.org\"]"));
    assert_eq!(
        host,
        [
            "\"x.org/pa*th\": `net-allow-list` has a value that cannot be; the path must be plain, with `*` only as a whole segment, such as `/repos/*`: no `..`, `//`, `?` or `#`; write it as in `net-allow-list = [\"api.example.com\"]`"
        ]
    );
}

#[test]
fn all_mistakes_are_told_at_once_in_their_order() {
    let told = problems(
        "tilte = 1\n[package.metadata.kami.security]\nnet-allow-list = [\"a b\", 3]\nmax-fuel = 0\nx = 1",
    );
    assert_eq!(told.len(), 5, "{told:#?}");
    assert!(told[0].contains("tilte") && told[3].contains("max-fuel"), "{told:#?}");
}

#[test]
fn what_is_missing_is_named() {
    let cases = [
        (
            "[package]\nname = \"x\"",
            "[package]: the table [package.metadata.kami] is missing; expected in this file; add [package.metadata.kami] with `id = \"dev.example.my-tool\"`",
        ),
        (
            "[package.metadata.kami]",
            "[package.metadata.kami]: `id` is missing; in this table; add `id = \"dev.example.my-tool\"`",
        ),
        (
            "[package.metadata]\nkami = 3",
            "3: `kami` must be a table; this is an integer; write [package.metadata.kami]",
        ),
        (
            "[package.metadata.kami]\nid = 1",
            "1: `id` must be a string; this is an integer; write it as in `id = \"dev.example.my-tool\"`",
        ),
    ];
    for (text, expected) in cases {
        let error = Source::parse(text, PATH, &Defaults::default()).unwrap_err();
        assert_eq!(told(text, error), [expected], "{text}");
    }
}

#[test]
fn mistakes_in_syntax_have_a_place_too() {
    let text = "[package.metadata.kami]\nid = x";
    let error = Source::parse(text, PATH, &Defaults::default()).unwrap_err();
    assert_eq!(error.problems[0].message, "the file is not valid TOML");
    assert_eq!(&text[error.problems[0].span.clone()], "x");
}

#[test]
fn a_package_overrides_its_workspace_key_by_key() {
    let path = &["workspace", "metadata", "kami"];
    let workspace = r#"
[workspace.metadata.kami]
tags = ["ours"]
security = { max-memory-mb = 32, max-execution-ms = 100, fs-access = "sandbox" }
mounts.docs.access = "read-write"
"#;
    let defaults = Defaults::parse(workspace, path).unwrap();
    let text = format!("{HEAD}security.max-memory-mb = 8\n");
    let source = Source::parse(&text, PATH, &defaults).unwrap();
    assert_eq!(source.tags, ["ours"]);
    assert_eq!(source.requests.limits, limits(&[(Limit::Memory, 8), (Limit::Execution, 100)]));
    assert_eq!(source.requests.mounts.len(), 1);

    let text = format!("{HEAD}security.fs-access = \"none\"\n");
    let error = Source::parse(&text, PATH, &defaults).unwrap_err();
    assert_eq!(&text[error.problems[0].span.clone()], "[package.metadata.kami]");

    assert!(Defaults::parse("[package]", path).is_ok());
    let error = Defaults::parse("[workspace.metadata.kami]\nid = \"a.b\"", path).unwrap_err();
    assert_eq!(error.problems[0].message, "a workspace cannot give an id to its packages");
}

#[test]
fn a_tool_file_says_everything_itself() {
    let text = r#"
id = "dev.example.py"
version = "1.2.3"
component = "py.wasm"
license = "MIT"
authors = ["Ann"]
[security]
max-memory-mb = 256
"#;
    let file = ToolFile::parse(text).unwrap();
    assert_eq!(file.package.version, semver::Version::new(1, 2, 3));
    assert_eq!(file.component, PathBuf::from("py.wasm"));
    assert_eq!(file.requests.limits.memory_bytes(), 256 << 20);

    let text = "id = \"dev.example.py\"\nversion = \"1\"\nfs-access = 1";
    assert_eq!(
        told(text, ToolFile::parse(text).unwrap_err()),
        [
            ": `component` is missing; in this table; add `component = \"my-tool.wasm\"`",
            "\"1\": `version` has a value that cannot be; unexpected end of input while parsing major version number; write it as in `version = \"0.1.0\"`",
            "fs-access: unknown key `fs-access`; not a key of the top of the file; `fs-access` belongs under [security]",
        ]
    );
}

#[test]
fn noise_is_never_more_than_an_error() {
    let mut noise = 7_u64;
    let alphabet: Vec<char> = "[]{}=.\"'\\\n#-_ 0xkami,idñ\u{0}é\u{1f600}".chars().collect();
    for _ in 0..20_000 {
        let mut text = String::from("[package.metadata.kami]\n");
        for _ in 0..40 {
            noise = noise.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            text.push(alphabet[(noise >> 33) as usize % alphabet.len()]);
        }
        for error in [
            Source::parse(&text, PATH, &Defaults::default()).err(),
            Defaults::parse(&text, PATH).err(),
            ToolFile::parse(&text).err(),
        ]
        .into_iter()
        .flatten()
        {
            told(&text, error);
        }
    }
}
