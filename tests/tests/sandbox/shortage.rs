//! A machine that is short of something: a server that says so once, and answers all the same.

#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use kami_core::audit;
use kami_core::engine::{Allocation, Shortage};
use kami_core::grants::{Capabilities, Limit};
use kami_core::resolve::{HostOptions, Resolver};
use kami_core::scheduler::ScheduleOptions;
use kami_tests::lab::{Lab, enter, hostile, id, limits};
use kami_tests::server::{PATIENCE, Server, text};
use serde_json::json;

use super::scene::{Expect as _, Scene, UNHURRIED, install_for_limits};

/// What is said where there is no pool, and no more than once.
const NO_POOL: &str = "too little to reserve it for calls ahead";

/// What is said where native code cannot be kept, and where there is no cache at all.
const NOT_KEPT: &str = "cannot keep native code";
const NO_CACHE: &str = "native code cannot be kept";

fn add(server: &mut Server, n: i64) {
    let answer = server.call("add", &json!({"a": n, "b": 1}));
    assert_eq!(answer["structuredContent"], json!({"result": n + 1}), "{answer}");
}

/// Ends the server, which must have said `words` once, on one line.
#[track_caller]
fn said_once(server: Server, words: &str) -> String {
    let (status, log) = server.finish();
    assert!(status.success(), "{status}: {log}");
    assert_eq!(log.matches(words).count(), 1, "`{words}` in {log}");
    log
}

/// The suite runs twice: as it is, and after `ulimit -v`. This tells that the two differ.
#[test]
fn guests_have_the_memory_that_this_machine_has_room_for() {
    let scene = Scene::shared();
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: it fills in a structure that lives until it returns.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) }, 0);
    let expected = match limit.rlim_cur >> 30 {
        0..100 => Allocation::OnDemand,
        _ => Allocation::Pool,
    };
    assert_eq!(scene.engine().allocation(), expected);
}

#[test]
fn a_server_without_address_space_says_so_once_and_withstands_what_others_do() {
    for mebibytes in [1000, 4000] {
        let lab = Lab::with_neighbour();
        install_for_limits(&lab);
        let mut server =
            Server::start_after(&format!("ulimit -v {}", mebibytes << 10), lab.data(), &[]);
        let cases = [
            ("hasty/spin", json!({}), "[KAMI-TIMEOUT]"),
            ("limited/allocate", json!({}), "limit of 64 MiB [KAMI-MEMORY]"),
            ("limited/recurse", json!({}), "[KAMI-STACK]"),
            ("limited/panic", json!({"message": "boo"}), "[KAMI-PANIC]"),
            ("starved/count", json!({"to": 1_000_000_000}), "[KAMI-FUEL]"),
            ("limited/read", json!({"path": "/etc/passwd"}), "os error"),
        ];
        // The second time they come to what the first time left.
        for _ in 0..2 {
            let begun: Vec<u64> =
                cases.iter().map(|(tool, with, _)| server.begin(&id(tool), with)).collect();
            (0..20).for_each(|n| add(&mut server, n));
            for (request, (tool, _, expected)) in begun.into_iter().zip(&cases) {
                let answer = server.result(request);
                let (said, is_error) = text(&answer);
                assert!(is_error && said.contains(expected), "{tool}: {answer}");
            }
            let fuelled = server.call(&id("fuelled/count"), &json!({"to": 10}));
            assert!(!text(&fuelled).1, "{fuelled}");
        }
        let log = said_once(server, NO_POOL);
        assert!(log.contains(&format!("limited to {mebibytes} MiB")), "{log}");
        assert!(log.contains("ulimit -v ") && log.contains("--max-concurrent"), "{log}");
    }
}

#[test]
fn a_server_with_some_address_space_has_fewer_places_and_nobody_is_refused() {
    let lab = Lab::with_neighbour();
    install_for_limits(&lab);
    let mut server = Server::start_after("ulimit -v 167772160", lab.data(), &[]);
    let begun: Vec<u64> =
        (0..40).map(|_| server.begin(&id("hasty/sleep"), &json!({"millis": 1}))).collect();
    add(&mut server, 1);
    for request in begun {
        let answer = server.result(request);
        assert_eq!(text(&answer), ("", false), "{answer}");
    }
    let log = said_once(server, "suffices for 19 of 256 calls at once");
    assert!(!log.contains(NO_POOL), "{log}");
}

#[test]
fn guests_that_want_more_than_the_machine_has_are_refused_and_the_server_lives() {
    let lab = Lab::with_neighbour();
    let greedy = Capabilities { limits: limits(1024, UNHURRIED), ..Capabilities::default() };
    lab.install(&hostile("greedy", &["allocate"], &greedy));
    let small = Capabilities { limits: limits(16, UNHURRIED), ..Capabilities::default() };
    lab.install(&hostile("small", &["allocate"], &small));
    let mut server = Server::start_after("ulimit -v 1024000", lab.data(), &[]);
    for _ in 0..3 {
        let begun: Vec<u64> =
            (0..8).map(|_| server.begin(&id("greedy/allocate"), &json!({}))).collect();
        for request in begun {
            let answer = server.result(request);
            assert!(text(&answer).1 && text(&answer).0.ends_with("[KAMI-EXHAUSTED]"), "{answer}");
        }
        // What they had is there again.
        add(&mut server, 1);
        let answer = server.call(&id("small/allocate"), &json!({}));
        assert!(text(&answer).0.ends_with("limit of 16 MiB [KAMI-MEMORY]"), "{answer}");
    }
    said_once(server, NO_POOL);
}

#[cfg(target_os = "linux")]
#[test]
fn more_places_than_the_machine_has_mappings_for_become_fewer() {
    let most = fs::read_to_string("/proc/sys/vm/max_map_count").expect("Linux says it");
    let most: u64 = most.trim().parse().expect("it is a number");
    // More than any machine has mappings for, and none is reserved for them here.
    let schedule = ScheduleOptions { places: u32::MAX, ..ScheduleOptions::default() };
    let options =
        HostOptions { schedule, allocation: Allocation::OnDemand, ..HostOptions::default() };
    let lab = Lab::with_neighbour();
    let resolver = Resolver::open(lab.data(), options).expect("the engine starts");
    let [Shortage::Mappings { most: told, asked: u32::MAX, places, .. }] =
        resolver.engine().shortages()
    else {
        panic!("{:?}", resolver.engine().shortages());
    };
    assert_eq!(*told, most);
    assert!(u64::from(*places) < most && resolver.engine().places() <= *places, "{places}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let called = runtime.expect("there is a thread").block_on(enter(
        &resolver,
        "neighbour/add",
        &json!({"a": 1, "b": 2}),
    ));
    assert_eq!(called.expect("it is welcome").structured(), &json!({"result": 3}));
}

/// As many guests as there are places, all at once, twice over: no more mappings than were planned.
#[cfg(target_os = "linux")]
#[test]
fn a_guest_takes_no_more_mappings_than_are_planned_for_it() {
    const PLACES: usize = 64;
    let lab = Lab::with_neighbour();
    let plain = limits(16, UNHURRIED);
    let metered = plain.with(Limit::Fuel, 1 << 40).expect("the limit is possible");
    for (name, limits) in [("plain", plain), ("metered", metered)] {
        let limits = limits.with(Limit::Concurrency, PLACES as u64).expect("it is possible");
        let requests = Capabilities { limits, ..Capabilities::default() };
        lab.install(&hostile(name, &["sleep", "scribble"], &requests));
    }
    let flags = ["--max-concurrent", "64"];
    let mut server = Server::start_with(lab.data(), &flags, &[]);
    add(&mut server, 1);
    let maps = format!("/proc/{}/maps", server.process());
    let count = || fs::read_to_string(&maps).expect("the server runs").lines().count();
    let before = count();
    for package in ["plain", "metered"] {
        let with = json!({"own": 1, "other": 2});
        let used: Vec<u64> =
            (0..PLACES).map(|_| server.begin(&id(&format!("{package}/scribble")), &with)).collect();
        used.into_iter().for_each(|request| drop(server.result(request)));
        let long = json!({"millis": 59_000});
        let running: Vec<u64> =
            (0..PLACES).map(|_| server.begin(&id(&format!("{package}/sleep")), &long)).collect();
        // Once all sleep, a call of another waits.
        let deadline = Instant::now() + PATIENCE;
        let mut most = 0;
        let waiting = server.begin("add", &json!({"a": 1, "b": 1}));
        let settled = Instant::now() + Duration::from_millis(500);
        while Instant::now() < settled.min(deadline) {
            most = most.max(count());
            std::thread::sleep(Duration::from_millis(20));
        }
        running.into_iter().for_each(|request| server.cancel(request));
        server.result(waiting);
        let each = most.saturating_sub(before) / PLACES;
        assert!(each <= 16, "{package}: {most} mappings for {PLACES} calls, {before} before");
    }
    let (status, log) = server.finish();
    assert!(status.success(), "{status}: {log}");
}

#[test]
fn a_cache_that_cannot_be_used_costs_time_and_nothing_else() {
    type Spoil = fn(&Path);
    let ways: [(&str, Spoil); 5] = [
        ("a file in its place", |cache| fs::write(cache, "").expect("files can be written")),
        ("a key that is none", |cache| {
            fs::create_dir(cache).expect("directories can be made");
            fs::write(cache.join("key"), "short").expect("files can be written");
        }),
        ("a key that cannot be read", |cache| {
            fs::create_dir_all(cache.join("key")).expect("directories can be made");
        }),
        ("a link that leads nowhere", |cache| {
            std::os::unix::fs::symlink("/nowhere/at/all", cache).expect("links can be made");
        }),
        ("a directory that others may write to", |cache| {
            fs::create_dir(cache).expect("directories can be made");
            let all = fs::Permissions::from_mode(0o777);
            fs::set_permissions(cache, all).expect("it is ours");
        }),
    ];
    for (what, spoil) in ways {
        let lab = Lab::with_neighbour();
        install_for_limits(&lab);
        let cache = lab.data().cache_dir();
        // What was installed may have begun it.
        let _ = fs::remove_dir_all(&cache);
        spoil(&cache);
        let mut server = Server::start(lab.data());
        // Tools of both engines, and each twice.
        for n in 0..2 {
            add(&mut server, n);
            let fuelled = server.call(&id("fuelled/count"), &json!({"to": 10}));
            assert!(!text(&fuelled).1, "{what}: {fuelled}");
        }
        let log = said_once(server, NO_CACHE);
        assert!(log.contains(&cache.display().to_string()), "{what}: {log}");
    }
}

#[test]
fn what_cannot_be_kept_in_the_cache_is_said_once_and_compiled_again() {
    let lab = Lab::with_neighbour();
    install_for_limits(&lab);
    let call_all = |server: &mut Server| {
        add(server, 1);
        for tool in ["limited/exit", "twin/scribble", "fuelled/count"] {
            server.call(&id(tool), &json!({"status": 0, "own": 1, "other": 2, "to": 1}));
        }
        add(server, 2);
    };
    // Directories in the places of files are what not even root writes to.
    let mut server = Server::start(lab.data());
    call_all(&mut server);
    let (status, log) = server.finish();
    assert!(status.success() && !log.contains(NOT_KEPT), "{log}");
    let mut kept = 0;
    for engine in fs::read_dir(lab.data().cache_dir()).expect("there is a cache").flatten() {
        for file in fs::read_dir(engine.path()).into_iter().flatten().flatten() {
            fs::remove_file(file.path()).expect("files can be removed");
            fs::create_dir(file.path()).expect("directories can be made");
            fs::write(file.path().join("in the way"), "").expect("files can be written");
            kept += 1;
        }
    }
    assert!(kept >= 3, "{kept} files were kept");
    for _ in 0..2 {
        let mut server = Server::start(lab.data());
        call_all(&mut server);
        said_once(server, NOT_KEPT);
    }
}

/// No file grows beyond this where the disk is full: neither the log nor native code, which has more;
/// but what wasmtime keeps of a guest's first memory, which is a file to the system.
#[cfg(target_os = "linux")]
const FULL: u64 = 256 << 10;

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_stops_the_cache_and_the_log_until_there_is_room() {
    let lab = Lab::with_neighbour();
    let _ = fs::remove_dir_all(lab.data().cache_dir());
    // Whoever writes too much is refused, and ended by no signal.
    let mut server = Server::start_after("trap '' XFSZ", lab.data(), &[]);
    limit_files(server.process(), Some(FULL));
    add(&mut server, 1);
    // The log grows with each call, until there is no room for it.
    let deadline = Instant::now() + PATIENCE;
    let mut refused = 0;
    while refused < 20 {
        let answer = server.call("add", &json!({"a": 1, "b": 1}));
        match text(&answer) {
            ("2", false) => assert!(Instant::now() < deadline, "the log is never full"),
            (said, true) => {
                assert!(said.ends_with("[KAMI-AUDIT]"), "{answer}");
                refused += 1;
            }
            _ => panic!("{answer}"),
        }
    }
    limit_files(server.process(), None);
    let deadline = Instant::now() + PATIENCE;
    while text(&server.call("add", &json!({"a": 1, "b": 1}))) != ("2", false) {
        assert!(Instant::now() < deadline, "the log is never written again");
        std::thread::sleep(Duration::from_millis(20));
    }
    let log = said_once(server, "the audit log cannot be written");
    assert_eq!(log.matches("the audit log is written again").count(), 1, "{log}");
    assert_eq!(log.matches(NOT_KEPT).count(), 1, "{log}");
    audit::verify(lab.data(), None).expect("the log holds");
}

/// Limits how large the files become that a process writes.
#[cfg(target_os = "linux")]
fn limit_files(process: u32, bytes: Option<u64>) {
    let process = libc::pid_t::try_from(process).expect("it is a process");
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both structures live until it returns, and the process is a child of this one.
    unsafe {
        let none = std::ptr::null();
        assert_eq!(libc::prlimit(process, libc::RLIMIT_FSIZE, none, &raw mut limit), 0);
        limit.rlim_cur = bytes.unwrap_or(limit.rlim_max);
        let none = std::ptr::null_mut();
        assert_eq!(libc::prlimit(process, libc::RLIMIT_FSIZE, &raw const limit, none), 0);
    }
}

#[test]
fn native_code_of_another_version_is_left_alone_and_made_anew() {
    let lab = Lab::with_neighbour();
    let mut server = Server::start(lab.data());
    add(&mut server, 1);
    server.finish();
    let cache = lab.data().cache_dir();
    let engines = || {
        let entries = fs::read_dir(&cache).expect("there is a cache").flatten();
        let mut engines: Vec<_> =
            entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        engines.sort();
        engines
    };
    let files = |engine: &Path| fs::read_dir(engine).map_or(0, |files| files.flatten().count());
    let [own] = &engines()[..] else { panic!("{:?}", engines()) };
    // As if another version had made all of it; and some of that where this one looks for its own.
    let others = cache.join("00000000000000000000000000000000");
    fs::rename(own, &others).expect("directories can be moved");
    fs::create_dir(own).expect("directories can be made");
    for file in fs::read_dir(&others).expect("it was moved").flatten() {
        let mut stale = fs::read(file.path()).expect("files can be read");
        stale[0] ^= 1;
        fs::write(own.join(file.file_name()), stale).expect("files can be written");
    }
    let mut server = Server::start(lab.data());
    add(&mut server, 2);
    add(&mut server, 3);
    let log = said_once(server, "not authentic; compiling");
    assert!(files(own) > 0 && files(&others) > 0, "{log}");
    // What was made anew is good.
    let mut server = Server::start(lab.data());
    add(&mut server, 4);
    let (_, log) = server.finish();
    assert!(!log.contains("not authentic"), "{log}");
}
