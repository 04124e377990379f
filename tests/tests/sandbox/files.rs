//! Files, directories and the environment.

use std::fs;

use serde_json::{Value, json};

use super::scene::{Expect as _, Scene};

#[test]
fn only_bound_directories_are_seen_and_nothing_outside_of_them() {
    let scene = Scene::shared();
    let read = |path: &str| scene.call("files/read", json!({"path": path}));
    read("/docs/page.txt").gives("a page");
    read("/docs/inner/../page.txt").gives("a page");
    let outside = scene.lab.path("secret.txt");
    let refused = [
        "/etc/passwd",
        "etc/passwd",
        "../../etc/passwd",
        "/docs/../secret.txt",
        "/docs/../../../../etc/passwd",
        "/docs/inner/../../secret.txt",
        "/docs//etc/passwd",
        "/unbound/page.txt",
        "/proc/self/environ",
        "/docs/page.txt/..",
        "/docs/\0",
        outside.to_str().expect("the path is UTF-8"),
    ];
    for path in refused {
        refuses(&read(path), path);
    }
    refuses(&scene.call("files/list", json!({"path": "/"})), "the root");
    refuses(&scene.call("files/list", json!({"path": "/docs/.."})), "the parent");
    refuses(&scene.call("limited/read", json!({"path": "/docs/page.txt"})), "no grant at all");
}

#[cfg(unix)]
#[test]
fn links_lead_nowhere_outside() {
    let scene = Scene::shared();
    let read = |path: &str| scene.call("files/read", json!({"path": path}));
    read("/docs/same.txt").gives("a page");
    for path in [
        "/docs/up.txt",
        "/docs/passwd",
        "/docs/parent/secret.txt",
        "/docs/parent/docs/page.txt",
        "/docs/root/etc/passwd",
    ] {
        refuses(&read(path), path);
    }
    for target in ["/etc/passwd", "../secret.txt", "../docs/page.txt"] {
        let link = scene.lab.path("work/link");
        refuses(&scene.call("files/read_through_link", json!({"target": target})), target);
        // Whether a link was made or refused, it may not get in the way of the next one.
        if link.is_symlink() {
            fs::remove_file(link).expect("the link can be removed");
        }
    }
}

#[test]
fn what_is_read_only_stays_as_it_is() {
    let scene = Scene::shared();
    let changes = |package: &str, directory: &str| {
        let path = |name: &str| format!("/{directory}/{name}");
        [
            json!({"how": "Write", "path": path("page.txt")}),
            json!({"how": "Write", "path": path("new.txt")}),
            json!({"how": "Append", "path": path("page.txt")}),
            json!({"how": "Truncate", "path": path("page.txt")}),
            json!({"how": "Remove", "path": path("page.txt")}),
            json!({"how": "MakeDirectory", "path": path("new")}),
            json!({"how": "RenameTo", "path": path("page.txt"), "other": "/work/page.txt"}),
            json!({"how": "LinkTo", "path": path("page.txt"), "other": "/work/page.txt"}),
            json!({"how": "LinkTo", "path": path("page.txt"), "other": path("new.txt")}),
        ]
        .map(|change| (format!("{package}/change"), change))
    };
    let docs = || snapshot(&scene, "docs");
    let before = docs();
    for (tool, change) in changes("files", "docs").into_iter().chain(changes("viewer", "docs")) {
        refuses(&scene.call(&tool, change.clone()), &format!("{tool} {change}"));
        assert_eq!(docs(), before, "{tool} {change}");
    }

    let write = json!({"how": "Write", "path": "/work/new.txt"});
    refuses(&scene.call("viewer/change", write.clone()), "the lesser grant holds");
    scene.call("files/change", write).gives("changed");
    assert_eq!(fs::read_to_string(scene.lab.path("work/new.txt")).ok().as_deref(), Some("changed"));
}

#[test]
fn each_call_has_a_scratch_directory_of_its_own_that_ends_with_it() {
    let scene = Scene::shared();
    let note = |n: u64| json!({"note": format!("note {n}"), "wait_millis": 100});
    let calls = (0..4).map(|n| ("files/scratch", note(n)));
    for (n, called) in scene.call_all(calls.collect()).iter().enumerate() {
        called.gives(&format!("before: [], own: note {n}, all: note"));
    }
    refuses(&scene.call("viewer/scratch", note(4)), "reading only");

    // Ended by the clock, or by itself: neither leaves anything.
    let scratch = scene.lab.data().scratch_dir();
    let left = || fs::read_dir(&scratch).expect("the directory is there").count();
    let deadline = std::time::Instant::now() + super::scene::BOUND;
    while left() > 0 {
        // Other tests use it too, each for a moment.
        assert!(std::time::Instant::now() < deadline, "scratch directories stay behind");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

#[test]
fn open_files_are_bounded() {
    let called = Scene::shared().call("files/hoard", json!({"path": "/docs/page.txt"}));
    called
        .fails("the tool crashed (cannot lend resource: store handle limit exceeded) [KAMI-TRAP]");
}

#[test]
fn a_guest_finds_nothing_around_itself_but_what_is_granted() {
    let scene = Scene::shared();
    let nothing = json!({"environment": {}, "arguments": [], "stdin": "", "root": []});
    assert_eq!(*scene.call("limited/probe", json!({})).structured(), nothing);
    let mut granted = nothing;
    granted["environment"] = json!({"KAMI_TEST_GRANTED": "granted"});
    assert_eq!(*scene.call("files/probe", json!({})).structured(), granted);
}

/// Fails unless the tool reports an error of its own, in which nothing of a secret is.
#[track_caller]
fn refuses(called: &kami_tests::lab::Called, case: &str) {
    use kami_core::call::{CallError, CallOutcome};

    let CallOutcome::Failed(CallError::Tool(text)) = &called.report.outcome else {
        panic!("{case}: {called:?}");
    };
    for secret in ["the secret", "a page", "root:"] {
        assert!(!text.contains(secret), "{case}: {text}");
    }
}

/// All names and contents in a directory of the lab.
fn snapshot(scene: &Scene, directory: &str) -> Value {
    let entries = fs::read_dir(scene.lab.path(directory)).expect("the directory is there");
    let entries = entries.map(|entry| {
        let path = entry.expect("the entry can be read").path();
        let content = fs::read_to_string(&path).unwrap_or_default();
        (path.display().to_string(), Value::from(content))
    });
    entries.collect()
}
