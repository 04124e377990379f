//! Which section decides, what each says, and how mistakes are told.

use std::path::Path;

use super::*;
use crate::grants::{Access, FsAccess, Limit, MountName};
use crate::signing::SecretKey;

fn parse(text: &str) -> Result<Policy, SourceError> {
    Policy::parse(text, Path::new("/srv/team"))
}

fn policy(sections: &str) -> Policy {
    parse(&format!("version = 1\n{sections}")).unwrap_or_else(|e| panic!("{e}: {:?}", e.problems))
}

fn id(text: &str) -> PackageId {
    text.parse().unwrap()
}

fn unsigned(id: &PackageId) -> Subject<'_> {
    Subject { id, signer: None, label: None }
}

/// Every problem as `line: message: help`.
fn problems(text: &str) -> Vec<String> {
    let error = parse(text).expect_err("it is not a policy");
    let line = |at: usize| text[..at].matches('\n').count() + 1;
    let told = error.problems.iter().map(|p| {
        format!("{}: {}: {}", line(p.span.start), p.message, p.help.clone().unwrap_or_default())
    });
    told.collect()
}

#[test]
fn the_most_specific_grant_replaces_the_operators() {
    let key = SecretKey::generate().unwrap().public();
    let other = SecretKey::generate().unwrap().public();
    let policy = policy(&format!(
        r#"
        default.grant.env = ["DEFAULT"]
        publisher.alice.grant.env = ["LABEL"]
        publisher."{key}".grant.env = ["KEY"]
        tool."dev.example.*".grant.env = ["ABOVE"]
        tool."dev.example.deep.*".grant.env = ["DEEP"]
        tool."dev.example.deep.fetch".grant.env = ["EXACT"]
        tool."dev.example.silent".ceiling.env = []
        "#
    ));
    let cases = [
        ("org.other", None, None, "DEFAULT", "[default]"),
        ("org.other", None, Some("alice"), "DEFAULT", "[default]"),
        ("org.other", Some(&other), Some("alice"), "LABEL", "[publisher.alice]"),
        ("org.other", Some(&key), Some("alice"), "KEY", ""),
        ("dev.example", Some(&key), None, "KEY", ""),
        ("dev.example.fetch", Some(&key), None, "ABOVE", "[tool.\"dev.example.*\"]"),
        ("dev.example.deep", None, None, "ABOVE", "[tool.\"dev.example.*\"]"),
        ("dev.example.deeper.x", None, None, "ABOVE", "[tool.\"dev.example.*\"]"),
        ("dev.example.deep.x", None, None, "DEEP", "[tool.\"dev.example.deep.*\"]"),
        ("dev.example.deep.fetch", None, None, "EXACT", "[tool.\"dev.example.deep.fetch\"]"),
        ("dev.example.silent", None, None, "ABOVE", "[tool.\"dev.example.*\"]"),
        ("dev.examples.x", None, None, "DEFAULT", "[default]"),
    ];
    for (package, signer, label, variable, section) in cases {
        let package = id(package);
        let granted = Grant { env: ["OPERATOR".parse().unwrap()].into(), ..Grant::default() };
        let ruling = policy.apply(Subject { id: &package, signer, label }, &granted).unwrap();
        let env: Vec<_> = ruling.grant.env.iter().map(|name| name.as_str()).collect();
        assert_eq!(env, [variable], "{package}");
        let by = ruling.granted_by.unwrap().to_string();
        assert!(by == section || section.is_empty(), "{package}: {by}");
    }
}

#[test]
fn without_a_grant_in_the_policy_the_operators_stands() {
    let granted = Grant { env: ["OPERATOR".parse().unwrap()].into(), ..Grant::default() };
    let policy = policy("default.ceiling.fs = \"none\"");
    let ruling = policy.apply(unsigned(&id("a.b")), &granted).unwrap();
    assert_eq!((ruling.grant, ruling.granted_by), (granted, None));
}

#[test]
fn the_ceilings_of_all_sections_hold_together() {
    let policy = policy(
        r#"
        default.ceiling = { net = ["*.example.com"], limits = { max-memory-mb = 100 } }
        [tool."dev.example.*".ceiling.limits]
        max-memory-mb = 50
        max-execution-ms = 700
        [tool."dev.example.t"]
        ceiling.limits.max-memory-mb = 80
        "#,
    );
    let package = id("dev.example.t");
    let requested = Capabilities {
        net: vec!["*".parse().unwrap(), "a.example.com".parse().unwrap()],
        ..Capabilities::default()
    };
    let ruling = policy.apply(unsigned(&package), &Grant::all(&requested)).unwrap();
    assert_eq!(ruling.ceilings.len(), 3);
    let effective = ruling.effective(requested);
    assert_eq!(effective.limits().get(Limit::Memory), Some(50));
    assert_eq!(effective.limits().get(Limit::Execution), Some(700));
    let allowed = |url: &str| {
        let endpoint = crate::grants::Endpoint::of_url(url).unwrap();
        let access = crate::grants::NetAccess::request(&endpoint, "GET", "/");
        effective.network(&access).is_ok()
    };
    assert!(allowed("https://a.example.com"));
    assert!(!allowed("https://example.org"));
}

#[test]
fn the_most_specific_word_about_refusing_decides() {
    let policy = policy(
        r#"
        default.refuse = true
        tool."dev.example.*".refuse = false
        tool."dev.example.bad".refuse = true
        tool."dev.example.bad.grant".grant.env = ["X"]
        "#,
    );
    for (package, refused) in [
        ("org.other", Some("[default]")),
        ("dev.example", Some("[default]")),
        ("dev.example.good", None),
        ("dev.example.bad", Some("[tool.\"dev.example.bad\"]")),
        ("dev.example.bad.grant", None),
    ] {
        let package = id(package);
        let refusal = policy.apply(unsigned(&package), &Grant::default()).err();
        assert_eq!(refusal.map(|r| r.section.to_string()).as_deref(), refused, "{package}");
    }
}

#[test]
fn the_most_specific_word_about_priority_decides() {
    let policy = policy(
        r#"
        default.priority = "low"
        tool."dev.example.*".priority = "high"
        tool."dev.example.usual".priority = "normal"
        tool."dev.example.silent".grant.env = ["X"]
        "#,
    );
    for (package, expected) in [
        ("org.other", Priority::Low),
        ("dev.example.urgent", Priority::High),
        ("dev.example.usual", Priority::Normal),
        ("dev.example.silent", Priority::High),
    ] {
        let package = id(package);
        let ruling = policy.apply(unsigned(&package), &Grant::default()).unwrap();
        assert_eq!(ruling.priority, expected, "{package}");
    }
    let nothing = Policy::default().apply(unsigned(&id("a.b")), &Grant::default()).unwrap();
    assert_eq!(nothing.priority, Priority::Normal);
}

#[test]
fn everything_that_can_be_said_is_read() {
    let policy = policy(
        r#"
        [default.grant]
        net = ["GET https://api.example.com/repos/*"]
        fs = "sandbox"
        scratch = "kept"
        env = ["LANG"]
        secrets = ["TOKEN"]
        limits = { max-memory-mb = 32, max-fuel = 5 }
        [default.grant.mounts.docs]
        path = "./docs/../notes"
        [default.grant.mounts.work]
        path = "/work/"
        access = "read-write"
        [default.ceiling]
        mount-roots = [".", "/work/../data"]
        [server]
        max-calls-per-minute = 60
        [audit]
        arguments = "full"
        "#,
    );
    assert_eq!(policy.calls_per_minute, Some(60));
    assert_eq!(policy.audited_arguments, Some(AuditedArguments::Full));
    let ruling = policy.apply(unsigned(&id("a.b")), &Grant::default()).unwrap();
    let mount = |name: &str| &ruling.grant.mounts[&name.parse::<MountName>().unwrap()];
    assert_eq!(mount("docs").path, Path::new("/srv/team/notes"));
    assert_eq!(mount("docs").access, Access::ReadOnly);
    assert_eq!(mount("work").path, Path::new("/work"));
    assert_eq!(ruling.grant.fs, FsAccess::Sandbox);
    let roots = ruling.ceilings[0].1.mount_roots.clone().unwrap();
    assert_eq!(roots, [Path::new("/srv/team"), Path::new("/data")]);
}

#[test]
fn mistakes_are_told_with_line_value_and_remedy() {
    let cases = [
        ("", "1: `version` is missing: add `version = 1`"),
        ("version = 2", "1: this program does not know version 2 of a policy: update cargo-kami"),
        ("version = 1\n[defualt]", "2: unknown key `defualt`: did you mean `default`?"),
        (
            "version = 1\n[tool.fetch]",
            "2: `tool` has a value that cannot be: write it as in `tool = { \"dev.example.*\" = \
             { refuse = true } }`",
        ),
        (
            "version = 1\n[publisher.\"ed25519:00\"]",
            "2: `publisher` has a value that cannot be: write it as in `publisher = { alice = { \
             refuse = true } }`",
        ),
        (
            "version = 1\n[default.grant]\nnet-allow-list = []",
            "3: unknown key `net-allow-list`: in a policy, it is `net`",
        ),
        (
            "version = 1\n[default.ceiling]\nmax-memory-mb = 1",
            "3: unknown key `max-memory-mb`: `max-memory-mb` belongs under `limits`",
        ),
        (
            "version = 1\n[default.ceiling]\nmounts = {}",
            "3: unknown key `mounts`: a grant has `mounts`; a ceiling has `mount-roots`",
        ),
        (
            "version = 1\ndefault.grant.net = [\"https://\"]",
            "2: `net` has a value that cannot be: write it as in `net = [\"api.example.com\"]`",
        ),
        (
            "version = 1\n[tool.\"a.b\".grant.mounts.docs]\npath = \"x\"",
            "2: this directory is granted read-only, and `fs` is \"none\": write `fs = \
             \"read-only\"` under [tool.\"a.b\".grant]",
        ),
        (
            "version = 1\n[default.grant]\nfs = \"read-only\"\nmounts.docs = {}",
            "4: `path` is missing: add `path = \"./docs\"`",
        ),
        (
            "version = 1\n[tool.\"a.b\"]\npriority = \"urgent\"",
            "3: `priority` cannot be \"urgent\": write one of \"low\", \"normal\", \"high\"",
        ),
        (
            "version = 1\ndefault.priority = 1",
            "2: `priority` must be a string: write it as in `priority = \"high\"`",
        ),
        (
            "version = 1\n[tool.\"a.b\".grant]\npriority = \"high\"",
            "3: unknown key `priority`: it belongs to the section itself, beside `grant`",
        ),
        (
            "version = 1\naudit.arguments = \"none\"",
            "2: `arguments` cannot be \"none\": write one of \"digest\", \"full\"",
        ),
        (
            "version = 1\ndefault.ceiling.limits.max-fuel = 0",
            "2: max-fuel is 0, but must be at least 1: write it as in `max-fuel = 10000000`",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(problems(text), [expected], "{text}");
    }
}

#[test]
fn a_policy_file_is_required_only_where_it_was_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kami-policy.toml");
    let (named, usual) = (PolicyFile::required(&path), PolicyFile::optional(&path));
    assert_eq!(usual.load().unwrap(), None);
    assert!(matches!(named.load(), Err(PolicyError::Io { .. })));
    let absent = usual.state();

    fs::write(&path, "").unwrap();
    assert_ne!(usual.state(), absent, "an empty file is not no file");
    for file in [&named, &usual] {
        let told = file.load().unwrap_err().to_string();
        assert!(told.contains("line 1: `version` is missing"), "{told}");
    }
    fs::write(&path, "version = 1\ndefault.grant.fs = \"read-only\"").unwrap();
    assert!(usual.load().unwrap().is_some());
    fs::write(&path, vec![b'#'; MAX_BYTES + 1]).unwrap();
    assert!(matches!(usual.load(), Err(PolicyError::Io { .. })));
    fs::write(&path, b"\xff").unwrap();
    assert!(matches!(usual.load(), Err(PolicyError::Encoding { .. })));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(usual.load(), Err(PolicyError::Io { .. })), "not a file, and not nothing");
}
