//! How things end: a server under load, a cancelled guest, and ten thousand calls of many clients.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kami_core::grants::{Capabilities, Limit};
use kami_tests::door::{Door, Reply, call, request};
use kami_tests::guests::guest;
use kami_tests::lab::{Lab, hostile, id, limits};
use serde_json::{Value, json};

/// A package whose calls may last a minute, with more places than anybody here takes.
fn lab() -> Lab {
    let lab = Lab::new();
    let patient = limits(16, 60_000).with(Limit::Cpu, 60_000);
    let patient = patient.and_then(|limits| limits.with(Limit::Concurrency, 64));
    let limits = patient.expect("the limits are possible");
    let requests = Capabilities { limits, ..Capabilities::default() };
    lab.install(&hostile("patient", &["sleep", "spin"], &requests));
    lab
}

#[test]
fn a_server_that_ends_under_load_answers_or_tells_everybody() {
    const DRAIN: u64 = 2;
    let lab = lab();
    let drain = DRAIN.to_string();
    let door = Door::start_with(lab.data(), &["--drain-seconds", &drain]);
    let session = door.open_session("2025-11-25");
    let session = [("Mcp-Session-Id", session.as_str())];
    let mut waiting = Vec::new();
    for number in 0..24 {
        let (tool, arguments, done) = match number % 3 {
            0 => ("patient/sleep", json!({"millis": 1000}), true),
            1 => ("patient/sleep", json!({"millis": 50_000}), false),
            _ => ("patient/spin", json!({}), false),
        };
        let (name, number) = (id(tool), 100 + number);
        let text = match number % 2 {
            0 => door.request("POST", "/mcp", &[], &call(number, &name, &arguments).to_string()),
            _ => {
                let params = json!({"name": name, "arguments": arguments});
                let message = json!({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params});
                door.request("POST", "/mcp", &session, &message.to_string())
            }
        };
        waiting.push((number, done, door.send(text.as_bytes())));
    }
    // All of them have begun, or wait for a place, by the time that this is answered.
    assert!(door.call(&id("patient/sleep"), &json!({"millis": 300}))["isError"] == false);
    let started = Instant::now();
    let ending = thread::spawn(move || door.finish());
    let mut told = 0;
    for (number, done, stream) in waiting {
        let reply = Reply::read(stream);
        let message = reply.messages().pop().expect("it is answered");
        assert_eq!(message["id"], number, "{reply:?}");
        let result = &message["result"];
        match done {
            true => assert_eq!(result["isError"], false, "{reply:?}"),
            false => {
                let text = result["content"][0]["text"].as_str().unwrap_or_default();
                assert!(text.ends_with("[KAMI-ENDED]"), "{reply:?}");
                told += 1;
            }
        }
    }
    assert_eq!(told, 16);
    assert!(ending.join().expect("waiting does not panic").success());
    assert!(started.elapsed() < Duration::from_secs(DRAIN + 20), "{:?}", started.elapsed());
}

/// How long a process has had a processor so far.
#[cfg(target_os = "linux")]
fn processor_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let (_, fields) = stat.rsplit_once(") ").expect("the name stands in parentheses");
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks: u64 =
        fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("it counts")).sum();
    // SAFETY: it reads a setting of the system, and nothing else.
    let second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Duration::from_secs_f64(ticks as f64 / second as f64)
}

#[cfg(target_os = "linux")]
#[test]
fn a_cancelled_guest_stops_computing_at_once() {
    /// What the guest may still compute. Beside it, a debug build of the server takes some time to
    /// notice and to clean up.
    const MOST: Duration = Duration::from_millis(50);
    let lab = lab();
    let door = Door::start(lab.data());
    let spin = call(1, &id("patient/spin"), &json!({})).to_string();
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let waiting = door.send(door.request("POST", "/mcp", &[], &spin).as_bytes());
        let began = processor_time(door.pid());
        // It computes, on a machine of whatever speed.
        while processor_time(door.pid()) < began + Duration::from_millis(200) {
            thread::sleep(Duration::from_millis(5));
        }
        let before = processor_time(door.pid());
        drop(waiting);
        thread::sleep(Duration::from_millis(500));
        fastest = fastest.min(processor_time(door.pid()) - before);
    }
    assert!(fastest <= MOST, "it computed for {fastest:?} after it was cancelled");
}

/// How much more memory a server may hold after thousands of calls than before them: what its allocator
/// keeps for the next ones. A leak of a few kilobytes for each call would be several times that.
const GROWTH_KIB: u64 = 24 << 10;

/// Has 16 clients of all eras make `calls` calls, and checks each reply.
fn ask_of_all_eras(door: &Door, calls: usize) {
    const CLIENTS: usize = 16;
    const ERAS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
    let made = AtomicUsize::new(0);
    let client = |client: usize| {
        let session = (client % 2 == 1).then(|| door.open_session(ERAS[client / 2 % 4]));
        loop {
            let number = made.fetch_add(1, Ordering::Relaxed);
            if number >= calls {
                return;
            }
            let text = format!("client {client}, call {number}");
            let (tool, arguments) = ("echo", json!({"text": text}));
            let number = number as u64;
            let reply = match &session {
                None => door.post(&[], &call(number, tool, &arguments)),
                Some(session) => {
                    let params = json!({"name": tool, "arguments": arguments});
                    let message = json!({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params});
                    door.post(&[("Mcp-Session-Id", session)], &message)
                }
            };
            let messages = reply.messages();
            assert_eq!(messages.len(), 1, "{reply:?}");
            let told: (&Value, &Value) =
                (&messages[0]["id"], &messages[0]["result"]["content"][0]["text"]);
            assert_eq!(told, (&json!(number), &json!(text)), "{reply:?}");
        }
    };
    thread::scope(|scope| {
        let client = &client;
        let clients: Vec<_> = (0..CLIENTS).map(|at| scope.spawn(move || client(at))).collect();
        clients.into_iter().for_each(|client| client.join().expect("no client panics"));
    });
}

#[test]
fn no_reply_of_many_clients_is_lost_doubled_or_crossed_and_memory_stays_flat() {
    let lab = Lab::new();
    lab.install(guest("workload"));
    let door = Door::start(lab.data());
    // First of all, everything is there that is there once.
    ask_of_all_eras(&door, 2000);
    stays_flat(&door, || ask_of_all_eras(&door, 10_000));
}

#[test]
fn resources_prompts_suggestions_and_questions_leave_memory_flat() {
    let lab = Lab::new();
    lab.install(guest("conformance"));
    let door = Door::start(lab.data());
    let ask = |method: &str, params: Value| {
        let mut message = request(1, method, params);
        let able = json!({"elicitation": {}, "sampling": {}, "roots": {}});
        message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = able;
        let answer = door.post(&[], &message).messages().pop().expect("it is answered");
        assert!(answer["result"].is_object(), "{method}: {answer}");
        answer["result"].clone()
    };
    let rounds = |rounds: usize| {
        for _ in 0..rounds {
            ask("resources/read", json!({"uri": "test://static-text"}));
            ask("resources/read", json!({"uri": "test://template/7/data"}));
            ask("prompts/get", json!({"name": "test_simple_prompt"}));
            let prompt = json!({"type": "ref/prompt", "name": "test_prompt_with_arguments"});
            let argument = json!({"name": "arg1", "value": "p"});
            ask("completion/complete", json!({"ref": prompt, "argument": argument}));
            let mut call = json!({"name": "test_input_required_result_request_state"});
            let asked = ask("tools/call", call.clone());
            assert_eq!(asked["resultType"], "input_required");
            call["requestState"] = asked["requestState"].clone();
            call["inputResponses"] =
                json!({"confirm": {"action": "accept", "content": {"ok": true}}});
            assert_eq!(ask("tools/call", call)["resultType"], "complete");
        }
    };
    rounds(200);
    stays_flat(&door, || rounds(1000));
}

/// Has something done, and fails where the server holds much more afterwards.
fn stays_flat(door: &Door, done: impl FnOnce()) {
    #[cfg(target_os = "linux")]
    let before = door.vitals();
    done();
    #[cfg(target_os = "linux")]
    {
        let after = door.vitals();
        let most = before.anonymous + GROWTH_KIB;
        assert!(after.anonymous <= most, "{before:?} became {after:?}");
    }
}
