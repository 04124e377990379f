//! How costs grow: with the number of tools, the size of arguments, the calls at once, the cores.

use serde_json::json;

use super::client::Request;
use super::place::{ECHO, Native, Place, to_first_answer};
use super::report::Growth;
use super::samples::Samples;
use super::targets::{KIB, Scale};

/// The cores that a process may run on, as the system's own tool says it.
const CORES: [(&str, f64); 2] = [("0", 1.0), ("0,1", 2.0)];

/// A round trip and a start, with more and more tools installed.
pub fn with_tools(scale: Scale) -> Growth {
    let counts = [10, 100, 1000, 10_000].map(|count: usize| count.min(scale.many_tools));
    let (mut calls, mut starts) = (Vec::new(), Vec::new());
    for count in counts {
        let place = Place::with_tools(count);
        let request = Request::echo(KIB);
        let trips = place.kami(&[]).one_by_one(&request, scale.calls);
        calls.push((whole(count), micros(&trips)));
        let mut samples = Samples::new();
        for _ in 0..(scale.calls / 100).max(3) {
            let request = Request::call(ECHO, &json!({"text": "hello"}));
            samples.push(to_first_answer(&mut place.serve(&[]), &request));
        }
        starts.push((whole(count), micros(&samples)));
    }
    Growth {
        name: "tools",
        title: "The number of installed tools",
        along: "tools",
        cost: "µs",
        series: vec![
            ("a round trip of 1 KiB".to_owned(), calls),
            ("process start to first answer".to_owned(), starts),
        ],
        bound: "A tool is found by one look into an index, the server starts without reading any \
                other, and those that are called are kept ready: what is left is the depth of the \
                index.",
    }
}

/// A round trip, with larger and larger arguments.
pub fn with_size(place: &Place, scale: Scale) -> Growth {
    let (mut kami, mut native) = (place.kami(&[]), Native::Pipes.start());
    let (mut ours, mut base) = (Vec::new(), Vec::new());
    for size in [100, KIB, 10 * KIB, 100 * KIB, KIB * KIB, 8 * KIB * KIB] {
        let request = Request::echo(size);
        let calls = (scale.calls * 10 * KIB / (size + 10 * KIB)).max(3);
        ours.push((whole(size), micros(&kami.one_by_one(&request, calls))));
        base.push((whole(size), micros(&native.one_by_one(&request, calls))));
    }
    Growth {
        name: "size",
        title: "The size of argument and result",
        along: "bytes",
        cost: "µs",
        series: vec![("kami".to_owned(), ours), ("native, `stdio_pipes()`".to_owned(), base)],
        bound: "How often the text is read and copied, once that takes longer than everything else: \
                into JSON, into the guest, within it, and back.",
    }
}

/// Throughput, with more and more calls on their way at once.
pub fn with_calls_at_once(place: &Place, scale: Scale) -> Growth {
    let flags = ["--max-concurrent", "256", "--max-queued", "4096"];
    let (mut kami, mut native) = (place.kami(&flags), Native::Pipes.start());
    let request = Request::echo(KIB);
    let (mut ours, mut base) = (Vec::new(), Vec::new());
    for at_once in [1, 4, 16, 64, 256, 1000, 2000] {
        let calls = (scale.calls * 4).max(at_once * 2);
        for (server, series) in [(&mut kami, &mut ours), (&mut native, &mut base)] {
            let (taken, _) = server.at_once(&request, at_once, calls);
            series.push((whole(at_once), whole(calls) / taken.as_secs_f64()));
        }
    }
    Growth {
        name: "at-once",
        title: "The number of calls at once",
        along: "calls on their way",
        cost: "calls a second",
        series: vec![("kami".to_owned(), ours), ("native, `stdio_pipes()`".to_owned(), base)],
        bound: "The cores, which the client shares: once both are busy, more calls only wait longer.",
    }
}

/// Throughput, on one core and on two.
pub fn with_cores(place: &Place, scale: Scale) -> Growth {
    let request = Request::echo(KIB);
    let (mut ours, mut base) = (Vec::new(), Vec::new());
    for (cores, count) in CORES {
        for (command, series) in
            [(place.serve(&[]), &mut ours), (Native::Pipes.command(), &mut base)]
        {
            let mut server = super::client::Piped::start(&mut on_cores(&command, cores));
            server.one_by_one(&request, scale.calls);
            let calls = scale.calls * 4;
            let (taken, _) = server.at_once(&request, 16, calls);
            series.push((count, whole(calls) / taken.as_secs_f64()));
        }
    }
    Growth {
        name: "cores",
        title: "The number of cores",
        along: "cores of the server",
        cost: "calls a second",
        series: vec![("kami".to_owned(), ours), ("native, `stdio_pipes()`".to_owned(), base)],
        bound: "The client runs on the same two cores, so that the second core is not the server's \
                alone.",
    }
}

/// The same command, on some cores only.
fn on_cores(command: &std::process::Command, cores: &str) -> std::process::Command {
    let mut bound = std::process::Command::new("taskset");
    bound.args(["--cpu-list", cores]).arg(command.get_program()).args(command.get_args());
    bound
}

fn micros(samples: &Samples) -> f64 {
    samples.median().as_secs_f64() * 1e6
}

#[expect(clippy::cast_precision_loss, reason = "it is far below 2^52")]
fn whole(number: usize) -> f64 {
    number as f64
}
