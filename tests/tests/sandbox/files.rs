//! Files, directories and the environment.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

use kami_core::call::{CallError, CallOutcome, call};
use kami_core::engine::{Engine, EngineOptions};
use kami_core::grants::{Capabilities, FsAccess, Grant, ScratchMode};
use kami_core::resolve::VerifiedTool;
use kami_core::sandbox::{MountError, SandboxError, Surroundings, forget};
use kami_core::signing::{SignedArtifact, Unsigned};
use kami_tests::lab::{Called, hostile, limits};
use serde_json::{Value, json};

use super::scene::{BOUND, Expect as _, Scene, UNHURRIED};

/// What the operator hears of a call that wrote too much.
const OVER: &str = "writing more than 64 MiB to files is denied: the limit max-write-mb is reached";

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
    called.fails(
        "the tool holds more than its limit of 128 open files, streams and the like [KAMI-HANDLES]",
    );
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

#[test]
fn a_call_writes_no_more_than_its_limit_however_it_writes() {
    // The others wait for scratch directories to end, and these are large.
    let scene = Scene::new();
    let scratch = ["/scratch"].as_slice();
    // The file itself counts for 4 KiB, so that the last mebibyte is never whole.
    let cases = [
        ("WriteAll", scratch, "63, then an error"),
        ("Write", scratch, "63, then insufficient-space"),
        ("Grow", scratch, "63, then insufficient-space"),
        ("Hole", scratch, "3, then insufficient-space"),
        ("Stream", scratch, "16383, then insufficient-space"),
        ("Append", scratch, "16383, then insufficient-space"),
        ("Files", scratch, "16384, then StorageFull"),
        ("Directories", scratch, "16384, then StorageFull"),
        ("WriteAll", &["/work", "/scratch"], "63, then an error"),
    ];
    for (how, directories, told) in cases {
        let arguments = json!({"how": how, "directories": directories});
        scene.call("files/fill", arguments).gives(told).denies(&[OVER]);
    }
    let arguments = json!({"how": "WriteAll", "directories": scratch, "most": 63});
    scene.call("files/fill", arguments).gives("63").denies(&[]);
}

#[test]
fn what_is_kept_counts_in_every_call_and_belongs_to_one_package() {
    let scene = Scene::shared();
    let (diary, other) = (Keeper::new(&scene, "diary"), Keeper::new(&scene, "other"));
    let file = |name: &str| json!({"name": name, "kibibytes": 20 << 10});
    diary.call("keep", file("a")).gives("a");
    diary.call("keep", file("b")).gives("a b");
    other.call("keep", json!({"name": "own", "kibibytes": 1})).gives("own");
    diary.call("keep", file("c")).gives("a b c").denies(&[]);
    diary.call("keep", file("d")).denies(&[OVER]);
    diary.call("discard", json!({})).gives("").denies(&[]);
    diary.call("keep", file("e")).gives("e").denies(&[]);
    other.call("discard", json!({})).gives("");

    // Several at once do not each have what is left.
    let files = ["f", "g", "h"].map(file);
    let called = diary.call_all("keep", files.into());
    assert!(called.iter().any(|called| !called.report.denials.is_empty()), "{called:?}");
    let kept = scene.lab.data().kept_scratch_dir();
    let entries = fs::read_dir(kept.join(diary.id.as_str()).join("0")).expect("it is there");
    let size = |entry: std::io::Result<fs::DirEntry>| entry.and_then(|entry| entry.metadata());
    let sizes = entries.map(|entry| size(entry).expect("it can be looked at").len() + 4096);
    assert!(sizes.sum::<u64>() <= 64 << 20);

    forget(&kept, &diary.id).expect("it can be removed");
    assert!(!kept.join(diary.id.as_str()).exists());
    diary.call("keep", json!({"name": "new", "kibibytes": 1})).gives("new");
}

#[test]
fn no_path_leads_out_in_the_words_of_the_host_itself() {
    let scene = Scene::shared();
    let reach = |how: &str, path: &str, repeat: u32| {
        let arguments = json!({
            "how": how, "directory": "/work", "path": path, "repeat": repeat, "other": "/work:new",
        });
        scene.call("files/reach", arguments)
    };
    let outside = scene.lab.path("secret.txt");
    let outside = outside.to_str().expect("the path is UTF-8");
    let paths = [
        "..",
        "../secret.txt",
        "../docs/page.txt",
        "./../secret.txt",
        "/",
        "//",
        outside,
        "/etc/passwd",
        "/proc/self/environ",
        "../work/../secret.txt",
        "..//secret.txt/",
    ];
    for path in paths {
        for how in
            ["Read", "Stat", "ReadLink", "Create", "MakeDirectory", "Remove", "RenameTo", "Touch"]
        {
            let called = reach(how, path, 1);
            refuses(&called, &format!("{how} {path}"));
            let shown = format!(
                "`/work/{path}`, which leads out of its directory, is denied: no tool may do that"
            );
            // The others are refused in other words, too, such as that no link is there to read.
            let opens = ["Read", "Stat", "Create", "Touch"].contains(&how);
            let told = called.report.denials.iter().any(|denial| denial.to_string() == shown);
            assert!(told || !opens, "{how} {called:?}");
        }
    }
    for (path, repeat) in
        [("a\0b", 1), ("\0", 1), ("a", 256), ("a/", 1 << 19), ("../", 1 << 18), ("", 1)]
    {
        for how in
            ["Read", "Stat", "ReadLink", "Create", "MakeDirectory", "Remove", "RenameTo", "Touch"]
        {
            refuses(&reach(how, path, repeat), &format!("{how} {path:?} {repeat}"));
        }
    }
    assert_eq!(fs::read_to_string(outside).ok().as_deref(), Some("the secret"));
}

#[test]
fn no_links_are_made() {
    let scene = Scene::shared();
    let reach = |how: &str, directory: &str, other: &str| {
        let arguments =
            json!({"how": how, "directory": directory, "path": "page.txt", "other": other});
        scene.call("files/reach", arguments)
    };
    let hard = |path: &str| format!("a hard link to `{path}` is denied: no tool may do that");
    for (from, to) in
        [("/docs", "/work:l"), ("/docs", "/docs:l"), ("/work", "/work:l"), ("/scratch", "/work:l")]
    {
        let called = reach("LinkTo", from, to);
        refuses(&called, from);
        called.denies(&[&hard(&format!("{from}/page.txt"))]);
    }
    for at in ["/work", "/scratch", "/docs"] {
        let called = reach("SymlinkTo", at, "../secret.txt");
        refuses(&called, at);
        called.denies(&[&format!(
            "a symbolic link at `{at}/page.txt` is denied: no tool may do that"
        )]);
    }
    let called = reach("RenameTo", "/docs", "/work:page.txt");
    refuses(&called, "out of what is read-only");
    called
        .denies(&["changing `/docs/page.txt` is denied: the tool's manifest does not ask for it"]);
    let denial = &called.report.denials[0];
    assert_eq!(denial.line, "mounts.docs.access = \"read-write\"");
}

#[cfg(unix)]
#[test]
fn pipes_sockets_and_devices_are_not_opened_whenever_they_came() {
    let scene = Scene::shared();
    let pipe = scene.lab.path("work/pipe");
    // The packages are loaded, and then it appears.
    scene.call("files/list", json!({"path": "/work"}));
    make_pipe(&pipe);
    let socket = scene.lab.path("work/socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("it can be bound");
    let began = Instant::now();
    for (name, how) in [
        ("pipe", "Read"),
        ("pipe", "Create"),
        ("pipe", "Touch"),
        ("socket", "Read"),
        ("socket", "Touch"),
    ] {
        let arguments = json!({"how": how, "directory": "/work", "path": name});
        let called = scene.call("files/reach", arguments);
        refuses(&called, name);
        let denial = format!(
            "`/work/{name}`, which is neither file nor directory, is denied: no tool may do that"
        );
        called.denies(&[&denial]);
    }
    assert!(began.elapsed() < BOUND * 6, "somebody waited");
    let arguments = json!({"how": "Stat", "directory": "/work", "path": "pipe"});
    scene.call("files/reach", arguments).gives("DescriptorType::Unknown");
    fs::remove_file(pipe).expect("it is there");
    fs::remove_file(socket).expect("it is there");
}

#[cfg(target_os = "linux")]
#[test]
fn nobody_at_the_other_end_of_a_pipe_notices_a_guest() {
    let scene = Scene::new();
    let pipe = scene.lab.path("work/pipe");
    make_pipe(&pipe);
    let (sender, let_go) = mpsc::channel();
    std::thread::scope(|threads| {
        threads.spawn(|| {
            // This waits until somebody reads.
            let writer = fs::File::options().write(true).open(&pipe).expect("it is there");
            sender.send(()).expect("somebody listens");
            drop(writer);
        });
        for how in ["Read", "Touch"] {
            let arguments = json!({"how": how, "directory": "/work", "path": "pipe"});
            refuses(&scene.call("files/reach", arguments), how);
        }
        let noticed = let_go.recv_timeout(Duration::from_millis(100)).is_ok();
        // To read and write never waits.
        let reader = fs::File::options().read(true).write(true).open(&pipe);
        assert!(!noticed, "a guest opened it");
        let_go.recv_timeout(BOUND).expect("who reads is noticed");
        drop(reader);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_exchanged_while_it_is_opened_neither_shows_the_outside_nor_blocks() {
    let scene = Scene::new();
    let (work, outside) = (scene.lab.path("work"), scene.lab.path("outside"));
    fs::create_dir(&outside).expect("it can be made");
    fs::write(outside.join("leaf"), "the secret").expect("it can be written");
    fs::create_dir(work.join("door")).expect("it can be made");
    fs::write(work.join("door/leaf"), "inside").expect("it can be written");
    fs::write(work.join("valve"), "open").expect("it can be written");
    let ended = AtomicBool::new(false);
    let insist = |path: &str| scene.call("files/insist", json!({"path": path, "times": 3000}));
    let (sender, seen) = mpsc::channel();
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let (door, aside, valve) = (work.join("door"), work.join("aside"), work.join("valve"));
            while !ended.load(Ordering::Relaxed) {
                fs::rename(&door, &aside).expect("it can be moved");
                std::os::unix::fs::symlink(&outside, &door).expect("a link can be made");
                fs::remove_file(&door).expect("a link can be removed");
                fs::rename(&aside, &door).expect("it can be moved");
                fs::rename(&valve, &aside).expect("it can be moved");
                make_pipe(&valve);
                fs::rename(&aside, &valve).expect("it can be moved");
            }
        });
        // The runtime of a call does not end before its threads do: one that waits is noticed.
        threads.spawn(|| {
            for path in ["/work/door/leaf", "/work/valve"] {
                sender.send(insist(path).text()).expect("somebody listens");
            }
        });
        let texts = [(); 2].map(|()| seen.recv_timeout(BOUND * 6));
        ended.store(true, Ordering::Relaxed);
        for (text, right) in texts.into_iter().zip(["inside", "open"]) {
            let text = text.expect("nobody waits for the other end of a pipe");
            assert!(text.contains(right), "{text}");
            assert!(!text.contains("the secret"), "{text}");
        }
    });
}

#[cfg(unix)]
#[test]
fn a_mount_that_was_exchanged_is_noticed_and_never_shown() {
    let scene = Scene::new();
    let (docs, aside) = (scene.lab.path("docs"), scene.lab.path("aside"));
    let read = || scene.call("files/read", json!({"path": "/docs/page.txt"}));
    read().gives("a page");
    fs::rename(&docs, &aside).expect("it can be moved");
    let secret = scene.lab.path("elsewhere");
    fs::create_dir(&secret).expect("it can be made");
    fs::write(secret.join("page.txt"), "the secret").expect("it can be written");
    let moved = |called: &Called| {
        matches!(
            &called.report.outcome,
            CallOutcome::Failed(CallError::Sandbox(SandboxError::Mount(MountError::Moved(path))))
                if *path == docs
        )
    };
    assert!(moved(&read()), "it is gone");
    std::os::unix::fs::symlink(&secret, &docs).expect("a link can be made");
    assert!(moved(&read()), "a link is there");
    fs::remove_file(&docs).expect("it is there");
    fs::rename(&secret, &docs).expect("it can be moved");
    assert!(moved(&read()), "another directory is there");
    fs::rename(&docs, &secret).expect("it can be moved");
    fs::rename(&aside, &docs).expect("it can be moved");
    read().gives("a page");
}

#[cfg(unix)]
#[test]
fn large_directories_and_names_that_are_no_text_are_listed() {
    use std::os::unix::ffi::OsStrExt as _;

    let scene = Scene::new();
    let work = scene.lab.path("work");
    let count = || scene.call("files/count_names", json!({"directory": "/work"}));
    for name in [&b"\xff\xfe"[..], b"\xf0\x28", b"\x1b[31m", b"a\nb"] {
        fs::write(work.join(std::ffi::OsStr::from_bytes(name)), "").expect("it can be written");
    }
    count().gives("2 named, 2 nameless");
    for at in 0..100_000 {
        fs::File::create(work.join(at.to_string())).expect("it can be made");
    }
    count().gives("100002 named, 2 nameless");
    for at in 100_000..140_000 {
        fs::File::create(work.join(at.to_string())).expect("it can be made");
    }
    count().fails("insufficient-memory");
}

/// A package whose scratch directory is kept, beside the scene's neighbour.
struct Keeper {
    scene: Arc<Scene>,
    id: kami_core::name::PackageId,
    tools: Vec<Arc<VerifiedTool>>,
}

fn surroundings(scene: &Scene) -> Surroundings {
    Surroundings {
        scratch: Some(scene.lab.data().scratch_dir()),
        kept: Some(scene.lab.data().kept_scratch_dir()),
        ..Surroundings::default()
    }
}

impl Keeper {
    fn new(scene: &Arc<Scene>, name: &str) -> Self {
        Self::with(scene, name, &surroundings(scene))
    }

    fn with(scene: &Arc<Scene>, name: &str, surroundings: &Surroundings) -> Self {
        let requests = Capabilities {
            fs: FsAccess::Sandbox,
            scratch: ScratchMode::Kept,
            limits: limits(256, UNHURRIED),
            ..Capabilities::default()
        };
        let artifact = hostile(name, &["discard", "keep"], &requests);
        let signed = SignedArtifact::verify(
            artifact,
            &scene.lab.trust(),
            Unsigned::Allow,
            SystemTime::now(),
        );
        let signed = signed.expect("nobody has to sign it");
        let engine = Engine::new(EngineOptions::default()).expect("the engine starts");
        let tools = VerifiedTool::load(&engine, &signed, Grant::all(&requests), surroundings);
        let tools = tools.expect("it can be loaded");
        Self { scene: Arc::clone(scene), id: tools[0].package().clone(), tools }
    }

    #[track_caller]
    fn call(&self, tool: &str, arguments: Value) -> Called {
        self.call_all(tool, vec![arguments]).remove(0)
    }

    /// Makes several calls at once, after which the neighbour answers.
    #[track_caller]
    fn call_all(&self, tool: &str, arguments: Vec<Value>) -> Vec<Called> {
        let tool = self.tools.iter().find(|found| found.definition().name.as_str() == tool);
        let tool = tool.expect("it has the tool");
        let runtime = tokio::runtime::Runtime::new().expect("there are threads");
        let called = runtime.block_on(async {
            let running = arguments.into_iter().map(|arguments| {
                let arguments = arguments.as_object().expect("arguments are an object").clone();
                let tool = Arc::clone(tool);
                tokio::spawn(async move { call(&tool, arguments, Arc::new(())).await })
            });
            let mut called = Vec::new();
            for call in running.collect::<Vec<_>>() {
                let report = call.await.expect("the call does not panic");
                called.push(Called { report, events: Vec::new() });
            }
            called
        });
        self.scene.call("neighbour/add", json!({"a": 1, "b": 2}));
        called
    }
}

#[cfg(unix)]
fn make_pipe(path: &Path) {
    use std::os::unix::ffi::OsStrExt as _;

    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).expect("no byte of it is zero");
    // SAFETY: `path` is a string that ends in a zero, and lives until the call ends.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0, "a pipe can be made");
}

/// Fails unless the tool reports an error of its own, in which nothing of a secret is.
#[track_caller]
fn refuses(called: &Called, case: &str) {
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
