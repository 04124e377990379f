//! Who gets a place, and who is told to come again: real guests, through real servers.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kami_core::call::{Continuation, call_as, describe};
use kami_core::component::Component;
use kami_core::engine::{Allocation, Compiler, Metering, native_code};
use kami_core::grants::{Capabilities, Limit};
use kami_core::manifest::JsonObject;
use kami_core::mcp::{self, ServerOptions};
use kami_core::resolve::{HostOptions, Resolver};
use kami_core::scheduler::{Principal, Priority, ScheduleOptions};
use kami_tests::lab::{Lab, enter, hostile, id, limits};
use kami_tests::raw::Raw;
use kami_tests::server::{PATIENCE, Server, text};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream};
use tokio::io::{ReadHalf, WriteHalf};

use super::scene::{Expect as _, UNHURRIED};

/// A sleep that only its test ends.
const FOR_EVER: u64 = 59_000;

/// A neighbour, and packages whose tool sleeps: of `slow` one call runs at a time, and of `patient`
/// and `urgent` as many as may.
fn lab() -> Lab {
    let lab = Lab::with_neighbour();
    let many = limits(16, UNHURRIED);
    let one = many.with(Limit::Concurrency, 1).expect("it is possible");
    for (name, limits) in [("slow", one), ("patient", many), ("urgent", many)] {
        let requests = Capabilities { limits, ..Capabilities::default() };
        lab.install(&hostile(name, &["sleep"], &requests));
    }
    lab
}

fn resolver(lab: &Lab, places: u32) -> Arc<Resolver> {
    let patience = Duration::from_secs(UNHURRIED / 1000);
    let schedule = ScheduleOptions { places, patience, ..ScheduleOptions::default() };
    let options = HostOptions { schedule, ..HostOptions::default() };
    Arc::new(Resolver::open(lab.data(), options).expect("the engine starts"))
}

fn runtime() -> tokio::runtime::Runtime {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().expect("there are threads")
}

/// Waits until so many calls run, and so many wait.
async fn until(resolver: &Resolver, running: usize, waiting: usize) {
    let scheduler = resolver.engine().scheduler();
    let deadline = Instant::now() + PATIENCE;
    while (scheduler.running(), scheduler.waiting()) != (running, waiting) {
        let counts = (scheduler.running(), scheduler.waiting());
        assert!(Instant::now() < deadline, "{counts:?} run and wait");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn a_slow_tool_at_its_limit_holds_up_no_other_of_the_same_client() {
    let lab = lab();
    let mut server = Server::start(lab.data());
    let slow: Vec<u64> =
        (0..50).map(|_| server.begin(&id("slow/sleep"), &json!({"millis": FOR_EVER}))).collect();
    for n in 0..50 {
        let add = server.begin("add", &json!({"a": n, "b": 1}));
        let (first, answer) = server.answer().expect("the fast one is answered");
        assert_eq!(first, add, "{answer}");
        assert_eq!(answer["result"]["structuredContent"], json!({"result": n + 1}), "{answer}");
    }
    slow.into_iter().for_each(|id| server.cancel(id));
    let (status, log) = server.finish();
    assert!(status.success(), "{status}: {log}");
}

/// A client of a server in this process.
struct Client {
    output: WriteHalf<DuplexStream>,
    input: BufReader<ReadHalf<DuplexStream>>,
    last: u64,
}

impl Client {
    async fn connect(resolver: &Arc<Resolver>) -> Self {
        let server = mcp::Server::new(Arc::clone(resolver), ServerOptions::default());
        let (client, stream) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move {
            let (input, output) = tokio::io::split(stream);
            server.serve_stdio(input, output, std::future::pending()).await
        });
        let (input, output) = tokio::io::split(client);
        let mut client = Self { output, input: BufReader::new(input), last: 0 };
        let hello = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "kami-tests", "version": "1"},
        });
        client.send("initialize", &hello).await;
        client.receive().await;
        client
    }

    async fn send(&mut self, method: &str, params: &Value) {
        self.last += 1;
        let id = self.last;
        let line = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let line = format!("{line}\n");
        self.output.write_all(line.as_bytes()).await.expect("the server reads");
    }

    async fn begin(&mut self, tool: &str, arguments: &Value) {
        self.send("tools/call", &json!({"name": id(tool), "arguments": arguments})).await;
    }

    async fn receive(&mut self) -> Value {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, self.input.read_line(&mut line)).await;
        read.expect("there is an answer").expect("the server writes");
        serde_json::from_str(&line).expect("it is a message")
    }
}

#[test]
fn a_flood_of_one_client_keeps_no_other_client_waiting() {
    const FLOOD: usize = 100;
    let lab = lab();
    let resolver = resolver(&lab, 2);
    runtime().block_on(async {
        let (mut many, mut few) =
            (Client::connect(&resolver).await, Client::connect(&resolver).await);
        // What has to be compiled is, before it counts.
        for client in [&mut many, &mut few] {
            client.begin("neighbour/add", &json!({"a": 1, "b": 1})).await;
            assert_eq!(client.receive().await["result"]["structuredContent"], json!({"result": 2}));
            client.begin("patient/sleep", &json!({"millis": 1})).await;
            client.receive().await;
        }
        for _ in 0..FLOOD {
            many.begin("patient/sleep", &json!({"millis": 200})).await;
        }
        // All of them at once would take ten seconds.
        until(&resolver, 2, FLOOD - 2).await;
        let answered = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&answered);
        let counting = tokio::spawn(async move {
            for _ in 0..FLOOD {
                many.receive().await;
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        for n in 0..3 {
            few.begin("neighbour/add", &json!({"a": n, "b": 1})).await;
            let answer = few.receive().await;
            assert_eq!(answer["result"]["structuredContent"], json!({"result": n + 1}), "{answer}");
        }
        let answered = answered.load(Ordering::SeqCst);
        assert!(answered < FLOOD / 2, "{answered} calls of the flood went before");
        counting.abort();
    });
}

#[test]
fn a_full_line_answers_at_once_and_says_when_to_come_again() {
    let lab = lab();
    let flags = ["--max-concurrent", "1", "--max-queued", "1", "--max-queue-seconds", "3600"];
    let mut server = Server::start_with(lab.data(), &flags, &[]);
    let sleep = |millis: u64| json!({"millis": millis});
    assert_eq!(text(&server.call(&id("patient/sleep"), &sleep(1))), ("", false));
    // One runs, one waits, and one is one too many, whichever comes first.
    let calls: Vec<u64> =
        (0..3).map(|_| server.begin(&id("patient/sleep"), &sleep(FOR_EVER))).collect();
    let (refused, answer) = server.answer().expect("one of them is answered");
    let expected = "the server is busy: retry in 1 s [KAMI-BUSY]";
    assert_eq!(text(&answer["result"]), (expected, true), "{answer}");
    // Nor has a call of another tool a place, until there is one again.
    let answer = server.call("add", &json!({"a": 1, "b": 1}));
    assert!(text(&answer).0.ends_with("[KAMI-BUSY]"), "{answer}");
    calls.into_iter().filter(|id| *id != refused).for_each(|id| server.cancel(id));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = server.call("add", &json!({"a": 1, "b": 1}));
        if answer["structuredContent"] == json!({"result": 2}) {
            break;
        }
        assert!(text(&answer).0.ends_with("[KAMI-BUSY]"), "{answer}");
        assert!(Instant::now() < deadline, "what was cancelled holds its place");
    }
    let (status, log) = server.finish();
    assert!(status.success(), "{status}: {log}");
    let log = lab.cargo_kami(&["log", "--json"]).stdout;
    let of = |tool: &str, outcome: &str| {
        let is = |line: &&str| line.contains(&id(tool)) && line.contains(outcome);
        log.lines().filter(is).count()
    };
    assert_eq!((of("patient", "KAMI-BUSY"), of("patient", "KAMI-CANCELLED")), (1, 2), "{log}");
    assert!(of("neighbour", "KAMI-BUSY") >= 1, "{log}");
}

#[test]
fn a_call_waits_no_longer_than_the_operator_says() {
    let lab = lab();
    let flags = ["--max-concurrent", "1", "--max-queue-seconds", "1"];
    let mut server = Server::start_with(lab.data(), &flags, &[]);
    assert_eq!(text(&server.call(&id("patient/sleep"), &json!({"millis": 1}))), ("", false));
    let asked = Instant::now();
    let calls = [(); 2].map(|()| server.begin(&id("patient/sleep"), &json!({"millis": FOR_EVER})));
    let (refused, answer) = server.answer().expect("one of them is answered");
    assert!(text(&answer["result"]).0.ends_with("[KAMI-BUSY]"), "{answer}");
    assert!(asked.elapsed() >= Duration::from_secs(1), "{:?}", asked.elapsed());
    calls.into_iter().filter(|id| *id != refused).for_each(|id| server.cancel(id));
    let (status, log) = server.finish();
    assert!(status.success(), "{status}: {log}");
}

#[test]
fn the_policy_says_whose_calls_go_first() {
    let lab = lab();
    let policy = format!("version = 1\n[tool.\"{}\"]\npriority = \"high\"\n", id("urgent"));
    fs::write(lab.data().policy_file(), policy).expect("the policy can be written");
    let resolver = resolver(&lab, 1);
    runtime().block_on(async {
        let (ended, mut order) = tokio::sync::mpsc::unbounded_channel();
        let begin = |name: &'static str, millis: u64| {
            let (resolver, ended) = (Arc::clone(&resolver), ended.clone());
            tokio::spawn(async move {
                let catalog = resolver.catalog().expect("there is a registry");
                let entry = catalog.find(&id(&format!("{name}/sleep"))).expect("it is installed");
                let tool = resolver.resolve(&entry).await.expect("it is trusted");
                let arguments: JsonObject =
                    [("millis".to_owned(), json!(millis))].into_iter().collect();
                // Each is a principal, so that it is not their turn that decides.
                call_as(
                    Principal::unnamed(),
                    &tool,
                    arguments,
                    Continuation::default(),
                    Arc::new(()),
                )
                .await;
                // Nobody listens once the order is known.
                let _ = ended.send((name, tool.verified().priority()));
            })
        };
        let first = begin("patient", FOR_EVER);
        until(&resolver, 1, 0).await;
        for waiting in 1..=10 {
            begin("patient", 1);
            until(&resolver, 1, waiting).await;
        }
        begin("urgent", 1);
        until(&resolver, 1, 11).await;
        first.abort();
        let (name, priority) = order.recv().await.expect("the others go on");
        assert_eq!((name, priority), ("urgent", Priority::High));
        for _ in 0..10 {
            let (name, priority) = order.recv().await.expect("all get their turn");
            assert_eq!((name, priority), ("patient", Priority::Normal));
        }
    });
}

#[test]
fn where_the_pool_has_no_room_a_call_is_told_to_come_again() {
    let lab = lab();
    let resolver = resolver(&lab, 1);
    let endless = Raw { start: "(loop (br 0))", ..Raw::default() }.component();
    runtime().block_on(async {
        let called = enter(&resolver, "neighbour/add", &json!({"a": 1, "b": 1})).await;
        called.expect("it is welcome");
        // What describes itself has no place of the scheduler's, and an instance of the pool; unless
        // the call beside it was the first to have that.
        let begin = || {
            let (engine, endless) = (resolver.engine().clone(), endless.clone());
            tokio::spawn(async move { describe(&engine, &endless).await.map(drop) })
        };
        let mut describing = begin();
        let started = Instant::now();
        let mut texts = Vec::new();
        let busy = "the server is busy: retry in 1 s [KAMI-BUSY]";
        while !texts.iter().any(|text| text == busy) && started.elapsed() < PATIENCE {
            if describing.is_finished() {
                describing = begin();
            }
            let called = enter(&resolver, "neighbour/add", &json!({"a": 1, "b": 1})).await;
            texts.push(called.expect("it is welcome").text());
        }
        describing.abort();
        // How it ended does not matter here.
        let _ = describing.await;
        texts.dedup();
        assert_eq!(texts.last().map(String::as_str), Some(busy), "{texts:?}");
        let again = enter(&resolver, "neighbour/add", &json!({"a": 1, "b": 1})).await;
        assert_eq!(again.expect("it is welcome").structured(), &json!({"result": 2}));
    });
}

#[test]
fn a_client_that_always_goes_away_has_a_tool_made_ready_once() {
    let lab = Lab::with_neighbour();
    let _ = fs::remove_dir_all(lab.data().cache_dir());
    let compilations = Arc::new(AtomicUsize::new(0));
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let counted = Arc::clone(&compilations);
    let compile = move |component: &Component, metering: Metering, allocation: Allocation| {
        counted.fetch_add(1, Ordering::SeqCst);
        // Opened once, it stays open.
        let _ = gate.lock().expect("nobody panics here").recv();
        native_code(component, metering, allocation)
    };
    // SAFETY: it gives what `native_code` gave.
    let compiler = unsafe { Compiler::new(compile) };
    let options = HostOptions { compiler: Some(compiler), ..HostOptions::default() };
    let resolver = Resolver::open(lab.data(), options).expect("the engine starts");
    runtime().block_on(async {
        let entry = resolver.catalog().expect("it can be read").find("add").expect("it is there");
        for _ in 0..200 {
            let waiting = resolver.resolve(&entry);
            assert!(tokio::time::timeout(Duration::from_millis(1), waiting).await.is_err());
        }
        drop(open);
        resolver.resolve(&entry).await.expect("it is ready in the end");
    });
    assert_eq!(compilations.load(Ordering::SeqCst), 1);
}
