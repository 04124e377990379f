//! Any number of calls of good and hostile guests, mixed by chance that can be repeated, by one
//! client of the real server: every answer is checked, and what they left is looked for.
//!
//! A part of the calls comes first, so that pools and caches are filled ([`Report::warm`]). What is
//! there then must be there in the end, and no more ([`Report::faults`]).

mod dice;
mod expect;
mod kinds;
mod report;
mod vitals;
mod world;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use kami_core::scheduler::DEFAULT_PLACES;
use serde_json::{Value, json};

use crate::lab::id;
use crate::server::{PATIENCE, Server};
use dice::Dice;
use expect::Expect;
use kinds::{Call, Kind};
pub use report::Report;
pub use vitals::Vitals;
use vitals::size_below;
use world::{CROWDS, World};

/// For how long nothing is called before what is left is counted: tokio's threads for blocking work
/// end when they had nothing to do for ten seconds.
const REST: Duration = Duration::from_secs(12);

/// How much longer is waited for what has still not ended, on a slow and busy machine.
const MORE_REST: Duration = Duration::from_secs(30);

/// How many calls begin before one is cancelled, at most: some run by then, others do not yet.
const CANCELLED_WITHIN: u64 = 8;

/// How many guests connect at once: the system keeps 128 connections for a server that is slow to
/// take them. It divides the number of places.
const AT_THE_DOOR: u32 = 64;

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How many calls.
    pub calls: u64,
    /// How many of them at once; a package has 32 places, and none is to wait for one.
    pub at_once: usize,
    /// What chance begins with.
    pub seed: u64,
}

impl Plan {
    /// How many calls come before the first look.
    fn warm_up(&self) -> u64 {
        (self.calls / 20).clamp(self.calls.min(2000), 50_000)
    }

    /// After how many calls each look follows: a hundred looks, unless that is too often.
    fn between_looks(&self) -> u64 {
        (self.calls / 100).max(1000)
    }

    /// After how many calls each change of an operator follows.
    fn between_changes(&self) -> u64 {
        (self.calls / 500).max(100)
    }
}

/// Why a soak did not come to its end: an answer that must not be, or none.
#[derive(Debug)]
pub struct Failure(String);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

/// Does what `plan` says, and tells `watch` of each look: how many calls there were, and what the
/// server held.
///
/// # Errors
/// Where an answer is not the one that it must be, the server does not end well, or this is not
/// Linux. What the server holds in the end is in [`Report::faults`].
pub fn run(plan: &Plan, watch: &mut dyn FnMut(u64, &Vitals)) -> Result<Report, Failure> {
    let mut soak = Soak::start(plan)?;
    let fresh = soak.look()?;
    soak.roll_call()?;
    soak.make(plan.warm_up(), watch)?;
    soak.roll_call()?;
    let warm = soak.rest(None)?;
    soak.samples.clear();
    soak.make(plan.calls.saturating_sub(soak.begun), watch)?;
    soak.roll_call()?;
    let end = soak.rest(Some(&warm))?;
    soak.call_each()?;
    soak.finish(fresh, warm, end)
}

/// One soak under way.
struct Soak<'a> {
    plan: &'a Plan,
    /// It ends before its data directory does, as fields are dropped in this order.
    server: Server,
    world: World,
    dice: Dice,
    /// The calls that are to be answered.
    waiting: HashMap<u64, (&'static Kind, Expect)>,
    /// The calls that are to be cancelled, each with the number of calls before which it is.
    to_cancel: VecDeque<(u64, u64)>,
    begun: u64,
    /// How many calls come before the next look, and before the next change.
    next_look: u64,
    next_change: u64,
    changes: u64,
    busy: Duration,
    outcomes: BTreeMap<(&'static str, &'static str), u64>,
    samples: Vec<(u64, Vitals)>,
    busiest: Vitals,
}

impl<'a> Soak<'a> {
    fn start(plan: &'a Plan) -> Result<Self, Failure> {
        if !cfg!(target_os = "linux") {
            return Err(Failure("what a process holds is read from Linux's /proc".to_owned()));
        }
        let world = World::new();
        let server = Server::start(world.lab.data());
        Ok(Self {
            plan,
            world,
            server,
            dice: Dice::new(plan.seed),
            waiting: HashMap::new(),
            to_cancel: VecDeque::new(),
            begun: 0,
            next_look: plan.between_looks(),
            next_change: plan.between_changes(),
            changes: 0,
            busy: Duration::ZERO,
            outcomes: BTreeMap::new(),
            samples: Vec::new(),
            busiest: Vitals::default(),
        })
    }

    /// Makes as many calls as chance will have them, with looks and changes between them.
    fn make(&mut self, calls: u64, watch: &mut dyn FnMut(u64, &Vitals)) -> Result<(), Failure> {
        let end = self.begun + calls;
        while self.begun < end {
            let started = Instant::now();
            let kind = kinds::any(&mut self.dice);
            self.begin(kind)?;
            if self.begun >= self.next_change {
                self.next_change = self.begun + self.plan.between_changes();
                self.world.change();
                self.changes += 1;
            }
            let look = self.begun >= self.next_look;
            if look {
                self.next_look = self.begun + self.plan.between_looks();
                self.busiest = most(self.busiest, self.look()?);
                self.fill()?;
            }
            self.busy += started.elapsed();
            if look {
                let at = self.look()?;
                self.samples.push((self.begun, at));
                watch(self.begun, &at);
            }
        }
        self.wait_for_all()
    }

    /// Loads everything, and fills all places.
    fn roll_call(&mut self) -> Result<(), Failure> {
        self.call_each()?;
        self.fill()
    }

    /// Makes one call of each kind.
    fn call_each(&mut self) -> Result<(), Failure> {
        kinds::ALL.iter().try_for_each(|kind| self.begin(kind))?;
        self.wait_for_all()
    }

    /// Has guests in all places of the server at once, each with more memory than a place keeps
    /// for the next one, and cancels them.
    ///
    /// What the engine keeps is then always the same, however chance fills its places otherwise,
    /// and what is resident can be compared.
    fn fill(&mut self) -> Result<(), Failure> {
        self.wait_for_all()?;
        let url = format!("{}/never", self.world.web.origin());
        let quiet = self.look()?;
        for (package, _) in CROWDS {
            let tool = id(&format!("{package}/linger"));
            let patience = Instant::now() + PATIENCE;
            let mut all: Vec<u64> = Vec::new();
            let before = self.world.web.visits();
            while all.len() < DEFAULT_PLACES as usize {
                let url = json!({"url": url});
                all.extend((0..AT_THE_DOOR).map(|_| self.server.begin(&tool, &url)));
                while self.world.web.visits() < before + all.len() {
                    if Instant::now() > patience {
                        let there = self.world.web.visits() - before;
                        let waiting = all.len();
                        return Err(Failure(format!(
                            "{there} of {waiting} guests of `{package}` run at once"
                        )));
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            self.busiest = most(self.busiest, self.look()?);
            all.iter().for_each(|request| self.server.cancel(*request));
            self.begun += all.len() as u64;
            *self.outcomes.entry(("all places, cancelled", "cancelled")).or_default() +=
                all.len() as u64;
            // Each has a connection, which ends with it. Whether all end is judged in the end.
            while self.look()?.sockets > quiet.sockets && Instant::now() < patience {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        // There are places again.
        self.begin(&kinds::ALL[0])?;
        self.wait_for_all()
    }

    /// Begins a call, once there is room for it.
    fn begin(&mut self, kind: &'static Kind) -> Result<(), Failure> {
        while self.waiting.len() + self.to_cancel.len() >= self.plan.at_once {
            self.cancel_what_is_due();
            self.wait_for_one()?;
        }
        let Call { method, params, expect } = (kind.make)(&mut self.dice, &self.world);
        let request = self.server.ask(method, &params);
        self.begun += 1;
        if matches!(expect, Expect::Nothing) {
            let due = self.begun + self.dice.below(CANCELLED_WITHIN);
            self.to_cancel.push_back((request, due));
            *self.outcomes.entry((kind.name, "cancelled")).or_default() += 1;
        } else {
            self.waiting.insert(request, (kind, expect));
        }
        self.cancel_what_is_due();
        Ok(())
    }

    fn cancel_what_is_due(&mut self) {
        let (begun, full) = (self.begun, self.waiting.is_empty());
        while let Some((request, _)) = self.to_cancel.pop_front_if(|(_, due)| full || *due <= begun)
        {
            self.server.cancel(request);
        }
    }

    fn wait_for_all(&mut self) -> Result<(), Failure> {
        for (request, _) in std::mem::take(&mut self.to_cancel) {
            self.server.cancel(request);
        }
        while !self.waiting.is_empty() {
            self.wait_for_one()?;
        }
        Ok(())
    }

    /// Waits for an answer, and judges it.
    fn wait_for_one(&mut self) -> Result<(), Failure> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        // Nobody reads what comes beside the answers, and it would add up.
        drop(self.server.notifications());
        let Some((request, message)) = self.server.answer() else {
            let kinds: Vec<&str> = self.waiting.values().map(|(kind, _)| kind.name).collect();
            return Err(Failure(format!("nothing is answered any more: {}", kinds.join(", "))));
        };
        let Some((kind, expect)) = self.waiting.remove(&request) else {
            return Err(Failure(format!("nobody waits for {}", brief(&message))));
        };
        let Some(outcome) = expect.outcome(&message) else {
            let (name, message) = (kind.name, brief(&message));
            return Err(Failure(format!("{name}: {expect:?} is expected, and not {message}")));
        };
        *self.outcomes.entry((kind.name, outcome)).or_default() += 1;
        Ok(())
    }

    fn look(&self) -> Result<Vitals, Failure> {
        let found =
            Vitals::with_scratch(self.server.process(), &self.world.lab.data().scratch_dir());
        found.map_err(|error| Failure(format!("the server cannot be looked at: {error}")))
    }

    /// Lets the server rest, until it holds no more than `before` if that comes about.
    fn rest(&self, before: Option<&Vitals>) -> Result<Vitals, Failure> {
        std::thread::sleep(REST);
        let patience = Instant::now() + MORE_REST;
        loop {
            let now = self.look()?;
            let rested = before.is_none_or(|before| now.is_back_at(before)) && now.scratch == 0;
            if rested || Instant::now() > patience {
                return Ok(now);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Ends the server, and checks its log.
    fn finish(mut self, fresh: Vitals, warm: Vitals, end: Vitals) -> Result<Report, Failure> {
        let last = self.server.call("add", &json!({"a": 40, "b": 2}));
        if last["structuredContent"] != json!({"result": 42}) {
            return Err(Failure(format!("the last call is answered with {}", brief(&last))));
        }
        let (status, log) = self.server.finish();
        if !status.success() {
            return Err(Failure(format!("the server ended with {status}: {log}")));
        }
        let verified = self.world.lab.cargo_kami(&["log", "verify"]);
        if verified.code != Some(0) {
            return Err(Failure(format!("the audit log does not hold: {}", verified.stderr)));
        }
        let data = self.world.lab.data();
        Ok(Report {
            seed: self.plan.seed,
            outcomes: self.outcomes,
            changes: self.changes,
            elapsed: self.busy,
            fresh,
            warm,
            samples: self.samples,
            busiest: self.busiest,
            end,
            disk: (size_below(data.path()), size_below(&data.audit_dir())),
        })
    }
}

/// The higher of each figure.
fn most(a: Vitals, b: Vitals) -> Vitals {
    Vitals {
        resident: a.resident.max(b.resident),
        anonymous: a.anonymous.max(b.anonymous),
        peak: a.peak.max(b.peak),
        threads: a.threads.max(b.threads),
        files: a.files.max(b.files),
        images: a.images.max(b.images),
        sockets: a.sockets.max(b.sockets),
        pipes: a.pipes.max(b.pipes),
        others: a.others.max(b.others),
        scratch: a.scratch.max(b.scratch),
    }
}

/// A message, cut to what a person reads.
fn brief(message: &Value) -> String {
    message.to_string().chars().take(600).collect()
}
