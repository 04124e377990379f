//! The targets, each measured.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kami_core::call::{CallArguments, call};
use kami_core::resolve::{Resolver, VerifiedTool};
use serde_json::json;
use tokio::runtime::Runtime;

use super::bare::{Bare, Purpose};
use super::client::{Http, Piped, Request};
use super::place::{
    ECHO, Listening, Native, Place, native_http, on_one_core, own_memory, resident, to_first_answer,
};
use super::report::{Row, Target, shown};
use super::samples::{Samples, Shown, ratio};
use crate::guests::guest;

/// The size of the text that most calls carry, in bytes.
pub const KIB: usize = 1 << 10;

/// How many calls over HTTP and over pipes are on their way at once.
const AT_ONCE: usize = 16;

/// Wassette's throughput beside the native server's, 16 calls at once, on the machine on which both
/// were measured: 6.6 thousand calls a second, and 12.9 thousand.
const WASSETTE: f64 = 6.6 / 12.9;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// How often each is measured, by turns with what it is compared with.
    pub rounds: usize,
    /// How many calls make a round.
    pub calls: usize,
    /// How many tools are many.
    pub many_tools: usize,
    /// How many guests wait at once.
    pub waiting: usize,
}

impl Scale {
    /// What the document is made of.
    pub const FULL: Self = Self { rounds: 10, calls: 2000, many_tools: 10_000, waiting: 1000 };

    /// Just enough to see that everything works.
    pub const SMOKE: Self = Self { rounds: 1, calls: 40, many_tools: 50, waiting: 20 };

    /// How many calls make a round of something that takes `times` as long as most calls.
    fn fewer(self, times: usize) -> usize {
        (self.calls / times).max(3)
    }
}

/// Measures `ours` and `base` by turns.
fn by_turns(
    rounds: usize,
    mut ours: impl FnMut() -> Samples,
    mut base: impl FnMut() -> Samples,
) -> (Samples, Samples) {
    let (mut all_ours, mut all_base) = (Samples::default(), Samples::default());
    for _ in 0..rounds {
        all_ours.append(ours());
        all_base.append(base());
    }
    (all_ours, all_base)
}

fn compared(what: &str, ours: &Samples, base: &Samples, most: f64) -> Row {
    Row {
        what: what.to_owned(),
        ours: shown(ours),
        base: shown(base),
        figure: ratio(ours.median(), base.median()),
        target: Target::AtMost(most),
    }
}

/// Arguments as the server has them once it has read a message.
fn read(text: &str) -> CallArguments {
    CallArguments::parse(text).expect("they are an object")
}

/// How much longer the slow calls take than most.
fn steady(what: &str, samples: &Samples) -> Row {
    Row {
        what: format!("{what}: p99 against p50"),
        ours: Shown(samples.p99()).to_string(),
        base: Shown(samples.median()).to_string(),
        figure: ratio(samples.p99(), samples.median()),
        target: Target::AtMost(3.0),
    }
}

/// Calls in this process: what the sandbox costs, without a protocol.
pub struct Inside {
    runtime: Runtime,
    resolver: Arc<Resolver>,
    place: Place,
}

impl Inside {
    /// An engine for the tools of a place.
    pub fn new() -> Self {
        let runtime = Runtime::new().expect("the runtime starts");
        let place = Place::with_tools(0);
        let resolver = runtime.block_on(async { place.lab().resolver(&[]) });
        Self { runtime, resolver, place }
    }

    async fn call(&self, tool: &str, arguments: &CallArguments) -> Duration {
        let arguments = arguments.clone();
        let started = Instant::now();
        let tool = self.find(tool).await;
        let report = call(&tool, arguments, Arc::new(())).await;
        let taken = started.elapsed();
        report.outcome.complete().unwrap_or_else(|error| panic!("a call failed: {error}"));
        taken
    }

    async fn find(&self, tool: &str) -> Arc<VerifiedTool> {
        let catalog = self.resolver.catalog().expect("the registry can be read");
        let entry = catalog.find(tool).expect("it is installed");
        self.resolver.resolve(&entry).await.expect("it can be loaded")
    }

    /// A call against the same guest in a host that does nothing else.
    pub fn calls(&self, scale: Scale) -> Vec<Row> {
        let bare = Bare::new(guest("workload"), Purpose::Fast);
        let text = json!({"text": "x".repeat(KIB)}).to_string();
        let arguments = read(&text);
        let (ours, base) = by_turns(
            scale.rounds,
            || self.many(scale.calls, async || self.call(ECHO, &arguments).await),
            || {
                self.many(scale.calls, async || {
                    let started = Instant::now();
                    bare.call(ECHO, &text).await;
                    started.elapsed()
                })
            },
        );
        let what = "inside the host: resolve, sandbox, call, drop";
        vec![compared(what, &ours, &base, 1.3), steady(what, &ours)]
    }

    /// Guests that compute, against wasmtime as it comes.
    pub fn computing(&self, scale: Scale) -> Vec<Row> {
        let plain = Bare::new(guest("workload"), Purpose::Plain);
        let metered = self.metered();
        let work = [
            ("SHA-256 of 4 MiB", "hash", json!({"kibibytes": 4096})),
            ("JSON, 4,000 records", "rewrite", json!({"records": 4000})),
            ("integers, Collatz below 100,000", "collatz", json!({"below": 100_000})),
        ];
        let mut rows = Vec::new();
        for (what, tool, arguments) in work {
            let text = arguments.to_string();
            let arguments = read(&text);
            let calls = scale.fewer(200);
            let base = || {
                self.many(calls, async || {
                    let started = Instant::now();
                    plain.call(tool, &text).await;
                    started.elapsed()
                })
            };
            let epochs = || self.many(calls, async || self.call(tool, &arguments).await);
            let (ours, against) = by_turns(scale.rounds, epochs, base);
            rows.push(compared(&format!("{what}; bounded in time"), &ours, &against, 1.25));
            let fuel = || self.many(calls, async || metered.call(tool, &arguments).await);
            let (ours, against) = by_turns(scale.rounds, fuel, base);
            rows.push(compared(&format!("{what}; metered by fuel as well"), &ours, &against, 1.45));
        }
        rows
    }

    /// The same tools with a limit of fuel.
    fn metered(&self) -> Self {
        let runtime = Runtime::new().expect("the runtime starts");
        let place = Place::metered();
        let resolver = runtime.block_on(async { place.lab().resolver(&[]) });
        Self { runtime, resolver, place }
    }

    fn many(&self, calls: usize, mut call: impl AsyncFnMut() -> Duration) -> Samples {
        self.runtime.block_on(async {
            let mut samples = Samples::default();
            for _ in 0..calls {
                samples.push(call().await);
            }
            samples
        })
    }

    /// Where its tools are.
    pub fn place(&self) -> &Place {
        &self.place
    }
}

impl Default for Inside {
    fn default() -> Self {
        Self::new()
    }
}

/// Calls over pipes, against a native server.
pub fn over_pipes(place: &Place, scale: Scale) -> Vec<Row> {
    let (mut kami, mut stdio, mut pipes) =
        (place.kami(&[]), Native::Stdio.start(), Native::Pipes.start());
    let small = Request::echo(KIB);
    let mut apart = [const { Samples::new() }; 3];
    let mut rates = [const { Vec::new() }; 3];
    for _ in 0..scale.rounds {
        for (at, server) in [&mut kami, &mut stdio, &mut pipes].into_iter().enumerate() {
            apart[at].append(server.one_by_one(&small, scale.calls));
            let calls = scale.calls * 4;
            let (taken, _) = server.at_once(&small, AT_ONCE, calls);
            #[expect(clippy::cast_precision_loss, reason = "it is far below 2^52")]
            rates[at].push(calls as f64 / taken.as_secs_f64());
        }
    }
    let [ours, slow, fast] = &on_one_core(|| together(place, &small, scale));
    let [ours_apart, slow_apart, fast_apart] = &apart;
    let [our_rate, slow_rate, _] = rates.map(middle);
    let throughput = |base: f64, name: &str, least: f64| Row {
        what: format!("stdio, {AT_ONCE} calls at once, against {name}"),
        ours: per_second(our_rate),
        base: per_second(base),
        figure: our_rate / base,
        target: Target::AtLeast(least),
    };
    let large = Request::echo(1 << 20);
    let calls = scale.fewer(40);
    let (ours_large, base_large) = by_turns(
        scale.rounds,
        || kami.one_by_one(&large, calls),
        || pipes.one_by_one(&large, calls),
    );
    vec![
        compared("stdio, 1 KiB, on one core, against `stdio()`", ours, slow, 0.5),
        compared("stdio, 1 KiB, on one core, against `stdio_pipes()`", ours, fast, 1.7),
        compared("stdio, 1 KiB, on two cores, against `stdio()`", ours_apart, slow_apart, 0.5),
        compared(
            "stdio, 1 KiB, on two cores, against `stdio_pipes()`",
            ours_apart,
            fast_apart,
            1.7,
        ),
        throughput(slow_rate, "`stdio()`", 4.0),
        throughput(slow_rate * WASSETTE, "Wassette's share of `stdio()`", 8.0),
        compared("stdio, 1 MiB there and back", &ours_large, &base_large, 2.5),
    ]
}

/// Round trips by turns: ours, `stdio()`, `stdio_pipes()`.
fn together(place: &Place, request: &Request, scale: Scale) -> [Samples; 3] {
    let mut servers = [place.kami(&[]), Native::Stdio.start(), Native::Pipes.start()];
    let mut samples = [const { Samples::new() }; 3];
    for _ in 0..scale.rounds {
        for (server, samples) in servers.iter_mut().zip(&mut samples) {
            samples.append(server.one_by_one(request, scale.calls));
        }
    }
    samples
}

fn middle(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn per_second(rate: f64) -> String {
    format!("{:.1} k/s", rate / 1000.0)
}

/// Calls over HTTP, against a native server.
pub fn over_http(place: &Place, scale: Scale) -> Vec<Row> {
    let (kami, native) = (place.kami_http(&[]), native_http());
    let request = Request::echo(KIB);
    let mut rows = Vec::new();
    for connections in [1, AT_ONCE] {
        let (mut ours, mut base) = (Samples::default(), Samples::default());
        let (mut our_rates, mut base_rates) = (Vec::new(), Vec::new());
        for _ in 0..scale.rounds {
            for (server, samples, rates) in
                [(&kami, &mut ours, &mut our_rates), (&native, &mut base, &mut base_rates)]
            {
                let (taken, calls) = connected(server, &request, connections, scale.calls);
                #[expect(clippy::cast_precision_loss, reason = "it is far below 2^52")]
                rates.push(scale.calls as f64 / taken.as_secs_f64());
                samples.append(calls);
            }
        }
        let what =
            format!("HTTP, {connections} connections").replace("1 connections", "1 connection");
        let (ours_rate, base_rate) = (middle(our_rates), middle(base_rates));
        rows.push(compared(&what, &ours, &base, 1.3));
        rows.push(steady(&what, &ours));
        rows.push(Row {
            what: format!("{what}: throughput"),
            ours: per_second(ours_rate),
            base: per_second(base_rate),
            figure: ours_rate / base_rate,
            target: Target::AtLeast(0.75),
        });
    }
    rows
}

/// Makes calls over a number of connections, which share them, and tells how long all took.
fn connected(
    server: &Listening,
    request: &Request,
    connections: usize,
    calls: usize,
) -> (Duration, Samples) {
    let mut clients: Vec<Http> = (0..connections).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.call(request));
    let started = Instant::now();
    let samples = std::thread::scope(|scope| {
        let threads: Vec<_> = clients
            .iter_mut()
            .map(|client| scope.spawn(|| client.one_by_one(request, calls.div_ceil(connections))))
            .collect();
        let mut all = Samples::default();
        threads.into_iter().for_each(|thread| all.append(thread.join().expect("it is answered")));
        all
    });
    (started.elapsed(), samples)
}

/// From the start of a process to its first answer, with few tools and with many.
pub fn starting(few: &Place, many: &Place, scale: Scale) -> Vec<Row> {
    let request = Request::call(ECHO, &json!({"text": "hello"}));
    let (mut ours, mut crowded, mut base) = Default::default();
    for _ in 0..scale.fewer(40) {
        for (command, samples) in [
            (&mut few.serve(&[]), &mut ours),
            (&mut many.serve(&[]), &mut crowded),
            (&mut Native::Stdio.command(), &mut base),
        ] {
            Samples::push(samples, to_first_answer(command, &request));
        }
    }
    few.forget_native_code();
    let cold = to_first_answer(&mut few.serve(&[]), &request);
    vec![
        compared("process start to first answer, 10 tools", &ours, &base, 2.0),
        compared(
            &format!("the same with {} tools, against 10", scale.many_tools),
            &crowded,
            &ours,
            1.2,
        ),
        Row {
            what: "the same with the native code of the tool removed: compiled anew".to_owned(),
            ours: Shown(cold).to_string(),
            base: Shown(ours.median()).to_string(),
            figure: ratio(cold, ours.median()),
            target: Target::AtLeast(1.0),
        },
    ]
}

/// What guests cost that wait in the host, and what they cost others.
pub fn waiting(place: &Place, scale: Scale) -> Vec<Row> {
    let places = (scale.waiting + 64).to_string();
    let flags = ["--max-concurrent", &places, "--max-queued", &places];
    let (mut kami, request) = (place.kami(&flags), Request::echo(KIB));
    // Enough for a quantile of the slowest.
    let calls = scale.calls * 5;
    let alone = kami.one_by_one(&request, calls);
    let before = own_memory(kami.process());
    let wait = Request::call("wait", &json!({"milliseconds": 20_000}));
    (0..scale.waiting).for_each(|_| kami.send(&wait));
    // They are entered in turn, so that the last of them waits when this is answered.
    kami.call_among(&request);
    let beside = kami.among(&request, calls);
    let after = own_memory(kami.process());
    #[expect(clippy::cast_precision_loss, reason = "they are far below 2^52")]
    let each = after.saturating_sub(before) as f64 / scale.waiting as f64 / 1024.0;
    vec![
        Row {
            what: format!("{} guests that wait in the host: memory of each", scale.waiting),
            ours: format!("{each:.0} KB"),
            base: "1 KB".to_owned(),
            figure: each,
            target: Target::AtMost(100.0),
        },
        Row {
            what: "p99 of other calls meanwhile".to_owned(),
            ours: Shown(beside.p99()).to_string(),
            base: format!("{} before", Shown(alone.p99())),
            figure: ratio(beside.p99(), alone.p99()),
            target: Target::AtMost(2.0),
        },
    ]
}

/// What a server takes that nobody called yet.
pub fn idle(place: &Place, tools: usize) -> Row {
    let mut kami: Piped = place.kami(&[]);
    kami.list();
    std::thread::sleep(Duration::from_secs(1));
    #[expect(clippy::cast_precision_loss, reason = "it is far below 2^52")]
    let mebibytes = resident(kami.process()) as f64 / f64::from(1 << 20);
    Row {
        what: format!("idle, {tools} tools listed and none called"),
        ours: format!("{mebibytes:.0} MB"),
        base: "1 MB".to_owned(),
        figure: mebibytes,
        target: Target::AtMost(60.0),
    }
}
