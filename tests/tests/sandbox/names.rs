//! Names whose servers lie: where a lookup leads, how often one is made, and who waits for it.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use kami_core::grants::Capabilities;
use kami_core::resolve::{HostOptions, Resolver};
use kami_tests::lab::{Called, Lab, hostile, limits};
use kami_tests::rude::CROWD;
use kami_tests::server::PATIENCE;
use kami_tests::web::Web;
use serde_json::{Value, json};

use super::scene::{Expect as _, HASTY, NET_TOOLS, UNHURRIED, beside_neighbour};

/// More addresses than anybody looks at.
const FAR_TOO_MANY: usize = 5_000;

/// Where a guest may be led, and where a server waits that nobody may be led to.
const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const NEAR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// What looking up a name gives at the first time, the second time, and so on.
type Answers = dyn Fn(&str, usize) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// Packages that may go to `api.test`, whose name server is under this test's control.
///
/// For `led` that name may lead to [`HERE`], for `public` to public addresses only. `hasty` is
/// `public` with little time.
struct Town {
    here: Web,
    near: Web,
    lookups: Arc<AtomicUsize>,
    resolver: Arc<Resolver>,
    _lab: Lab,
}

impl Town {
    fn new(
        answers: impl Fn(&str, usize) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Self {
        let lab = Lab::with_neighbour();
        let here = Web::start();
        let near = Web::start_at(NEAR, here.port());
        let port = here.port();
        let names = [format!("api.test:{port}"), format!("quick.test:{port}")];
        let range = format!("{HERE}/32:{port}");
        for (name, millis, net) in [
            ("led", UNHURRIED, [&names[..], &[range]].concat()),
            ("public", UNHURRIED, names.to_vec()),
            ("hasty", HASTY, names.to_vec()),
        ] {
            let net = net.iter().map(|entry| entry.parse().expect("it is an entry")).collect();
            let limits = limits(64, millis);
            let requests = Capabilities { net, limits, ..Capabilities::default() };
            lab.install(&hostile(name, NET_TOOLS, &requests));
        }
        let lookups = Arc::new(AtomicUsize::new(0));
        let (answers, counter): (Arc<Answers>, _) = (Arc::new(answers), Arc::clone(&lookups));
        let source = move |name: &str| answers(name, counter.fetch_add(1, Ordering::SeqCst));
        let options = HostOptions { names: Some(Arc::new(source)), ..HostOptions::default() };
        let resolver = Resolver::open(lab.data(), options).expect("the engine starts");
        Self { here, near, lookups, resolver: Arc::new(resolver), _lab: lab }
    }

    fn call(&self, tool: &str, arguments: Value) -> Called {
        beside_neighbour(&self.resolver, vec![(tool, arguments)]).remove(0)
    }

    fn get(&self, package: &str) -> Called {
        self.call(&format!("{package}/get"), json!({"url": self.url("page")}))
    }

    fn connect(&self, package: &str) -> Called {
        let address = format!("api.test:{}", self.here.port());
        self.call(&format!("{package}/connect"), json!({"address": address}))
    }

    fn url(&self, page: &str) -> String {
        format!("http://api.test:{}/{page}", self.here.port())
    }

    /// How many lookups there were, and visits to either server.
    fn counts(&self) -> (usize, usize, usize) {
        (self.lookups.load(Ordering::SeqCst), self.here.visits(), self.near.visits())
    }

    /// Fails unless there were so many lookups and visits. A server may notice a visit a moment after
    /// the guest has gone.
    #[track_caller]
    fn counted(&self, expected: (usize, usize, usize), what: &str) {
        let deadline = Instant::now() + PATIENCE;
        let fewer = |(_, here, near): (usize, usize, usize)| here < expected.1 || near < expected.2;
        while fewer(self.counts()) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(self.counts(), expected, "{what}");
    }
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().expect("it is an address")).collect()
}

#[test]
fn a_name_leads_where_its_one_lookup_led() {
    let town = Town::new(|_, nth| {
        Ok(match nth % 2 {
            0 => vec![HERE.into()],
            _ => vec![NEAR.into()],
        })
    });
    town.get("led").gives("200 fine").denies(&[]);
    town.counted((1, 1, 0), "what was judged is what is used");
    let denied = format!("GET {}, which is {NEAR}, is denied", town.url("page"));
    let called = town.get("led");
    assert!(called.report.denials[0].to_string().starts_with(&denied), "{called:?}");
    town.counted((2, 1, 0), "");

    let connected = town.connect("led").text();
    assert!(connected.starts_with("connected to 127.0.0.1:"), "{connected}");
    town.counted((3, 2, 0), "");
    let refused = town.connect("led").text();
    assert!(!refused.contains("connected"), "{refused}");
    town.counted((4, 2, 0), "");

    // Between a page and where it sends its visitors, the name changes too.
    let url = town.url(&format!("redirect?{}", town.url("page")));
    let called = town.call("led/follow", json!({"url": url}));
    assert!(called.text().contains("denied by the host's policy"), "{called:?}");
    assert!(called.report.denials[0].to_string().starts_with(&denied), "{called:?}");
    town.counted((6, 3, 0), "");
}

#[test]
fn whatever_a_name_server_says_nobody_is_led_to_a_special_address() {
    let answer = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&answer);
    let town = Town::new(move |_, _| Ok(lock(&told).clone()));
    let bad = [
        "127.0.0.2",
        "::ffff:127.0.0.2",
        "64:ff9b::7f00:2",
        "64:ff9b:1::7f00:2",
        "2002:7f00:2::",
        "::127.0.0.2",
        "0.0.0.0",
        "::",
        "::1",
        "255.255.255.255",
        "10.0.0.1",
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "168.63.129.16",
        "fd00:ec2::254",
        "fe80::1",
        "ff02::1",
    ];
    let mut lists: Vec<Vec<IpAddr>> = bad.iter().map(|address| addresses(&[address])).collect();
    lists.push(addresses(&bad));
    // The good one comes too late to be looked at.
    lists.push([vec![NEAR.into(); FAR_TOO_MANY], vec![HERE.into()]].concat());
    for list in &lists {
        *lock(&answer) = list.clone();
        let (lookups, ..) = town.counts();
        for package in ["led", "public"] {
            let called = town.get(package);
            assert!(called.text().contains("denied by the host's policy"), "{list:?}: {called:?}");
            let [denial] = called.report.denials.as_slice() else { panic!("{called:?}") };
            assert_eq!(denial.rule.code(), "KAMI-ADDRESS", "{list:?}: {denial}");
            let called = town.connect(package);
            assert!(!called.text().contains("connected"), "{list:?}: {called:?}");
        }
        town.counted((lookups + 4, 0, 0), &format!("{list:?}"));
    }

    // Where a good one is among them, that is where they go.
    let good = [
        addresses(&["127.0.0.1"]),
        addresses(&["::ffff:127.0.0.1"]),
        [addresses(&bad), vec![HERE.into()]].concat(),
        [vec![HERE.into()], vec![NEAR.into(); FAR_TOO_MANY]].concat(),
    ];
    for (n, list) in good.iter().enumerate() {
        *lock(&answer) = list.clone();
        town.get("led").gives("200 fine").denies(&[]);
        let connected = town.connect("led").text();
        assert!(connected.starts_with("connected to 127.0.0.1:"), "{list:?}: {connected}");
        let called = town.get("public");
        assert!(called.text().contains("denied by the host's policy"), "{list:?}: {called:?}");
        let called = town.connect("public");
        assert!(!called.text().contains("connected"), "{list:?}: {called:?}");
        let expected = (4 * (lists.len() + n + 1), 2 * (n + 1), 0);
        town.counted(expected, &format!("list {n}"));
    }
}

#[test]
fn what_was_not_told_of_a_name_is_not_to_be_had_by_it() {
    let town = Town::new(|_, _| Ok(vec![NEAR.into(), HERE.into()]));
    let name = format!("api.test:{}", town.here.port());
    let step_to = |to: String| town.call("led/sidestep", json!({"name": name, "address": to}));
    let (here, near) = (town.here.address(), town.near.address());
    step_to(here.clone()).gives(&format!("[{here}], and connected to {here}")).denies(&[]);
    let called = step_to(near);
    assert!(called.text().contains("Permission denied"), "{called:?}");
    assert_eq!(called.report.denials.len(), 1, "{called:?}");
    town.counted((2, 1, 0), "");
}

#[test]
fn a_name_that_leads_nowhere_is_no_host() {
    let town = Town::new(|_, nth| match nth % 4 {
        0 | 1 => Ok(Vec::new()),
        _ => Err(io::ErrorKind::NotFound.into()),
    });
    for _ in 0..2 {
        let host = format!("api.test:{}", town.here.port());
        let nowhere = format!("request to {host} failed: there is no such host");
        town.get("led").fails(&nowhere).denies(&[]);
        let called = town.connect("led");
        assert!(!called.text().contains("connected"), "{called:?}");
    }
    town.counted((4, 0, 0), "");
}

/// A name server that answers for `api.test` once it is told to, and for others at once.
#[derive(Default)]
struct Slow {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    now: usize,
    most: usize,
    released: bool,
}

impl Slow {
    fn town() -> (Arc<Self>, Town) {
        let slow = Arc::new(Self::default());
        let asked = Arc::clone(&slow);
        let town = Town::new(move |name, _| {
            if name == "api.test" {
                asked.answer();
            }
            Ok(vec![HERE.into()])
        });
        (slow, town)
    }

    fn answer(&self) {
        let mut waiting = lock(&self.waiting);
        waiting.now += 1;
        waiting.most = waiting.most.max(waiting.now);
        self.changed.notify_all();
        let released = self.changed.wait_while(waiting, |waiting| !waiting.released);
        released.unwrap_or_else(PoisonError::into_inner).now -= 1;
    }

    /// Waits until so many are waiting at once.
    fn wait_for(&self, number: usize) {
        let fewer = |waiting: &mut Waiting| waiting.most < number;
        let waited = self.changed.wait_timeout_while(lock(&self.waiting), PATIENCE, fewer);
        let late = waited.unwrap_or_else(PoisonError::into_inner).1.timed_out();
        assert!(!late, "nobody asks {number} times at once");
    }

    fn release(&self) {
        lock(&self.waiting).released = true;
        self.changed.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_name_server_that_never_answers_keeps_only_those_who_ask_it() {
    let (slow, town) = Slow::town();
    let get = json!({"url": town.url("page")});
    let connect = json!({"address": format!("api.test:{}", town.here.port())});
    // More than may ask at once, one after the other, and none is answered.
    for _ in 0..2 {
        let mut calls = vec![("hasty/get", get.clone()); 6];
        calls.extend(vec![("hasty/connect", connect.clone()); 6]);
        for called in beside_neighbour(&town.resolver, calls) {
            let text = called.text();
            assert!(
                text.ends_with("[KAMI-TIMEOUT]") || text.ends_with("[KAMI-BUSY]"),
                "{called:?}"
            );
        }
    }
    assert_eq!((lock(&slow.waiting).most, town.here.visits()), (8, 0));
    // Others ask on, and the runtimes of the calls above have ended.
    let quick = format!("http://quick.test:{}/page", town.here.port());
    town.call("led/get", json!({"url": quick})).gives("200 fine");
    slow.release();
    town.get("led").gives("200 fine");
}

#[test]
fn a_package_has_no_more_than_eight_lookups_at_once() {
    let (slow, town) = Slow::town();
    let releaser = Arc::clone(&slow);
    let waiter = std::thread::spawn(move || {
        releaser.wait_for(8);
        // Time for those who should not come.
        std::thread::sleep(std::time::Duration::from_millis(200));
        let most = lock(&releaser.waiting).most;
        releaser.release();
        most
    });
    let url = town.url("page");
    town.call("led/crowd", json!({"url": url, "requests": 14})).gives("14 answered").denies(&[]);
    assert_eq!(waiter.join().expect("enough came"), 8);
    town.counted((14, 14, 0), "");
}

#[test]
fn a_call_has_no_more_than_sixteen_requests_at_once() {
    let town = Town::new(|_, _| Ok(vec![HERE.into()]));
    let url = town.url("rude/crowd");
    town.call("led/crowd", json!({"url": url, "requests": 40})).gives("40 answered").denies(&[]);
    assert_eq!(CROWD.most(), 16);
    town.counted((40, 40, 0), "");
}
