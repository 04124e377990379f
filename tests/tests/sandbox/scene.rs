//! Hostile packages beside a neighbour, all in one process.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use kami_core::call::{CallOutcome, ContentBody};
use kami_core::component::Artifact;
use kami_core::engine::Engine;
use kami_core::grants::{
    Access, Binding, Capabilities, FsAccess, Grant, Limit, Limits, MountRequest,
};
use kami_core::resolve::Resolver;
use kami_tests::lab::{Called, Lab, enter, hostile, limits};
use kami_tests::web::Web;
use serde_json::{Value, json};

/// The longest that the neighbour may take, on a slow machine and however many guests spin.
pub const BOUND: Duration = Duration::from_secs(60);

/// The limit of the packages whose tools never end, in milliseconds.
pub const HASTY: u64 = 200;

/// What packages that end by themselves get: no clock ends them.
pub const UNHURRIED: u64 = 60_000;

/// A data directory with hostile packages, two web servers, and an engine.
pub struct Scene {
    /// What is installed, and the directories `docs` and `work`.
    pub lab: Lab,
    /// The server that the package `web` may reach.
    pub web: Web,
    /// A server that nobody may reach.
    pub elsewhere: Web,
    resolver: Arc<Resolver>,
}

impl Scene {
    /// The scene that the tests of this process share while they run.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Scene>> = Mutex::new(Weak::new());

        // A test that failed here says so itself.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let scene = Arc::new(Self::new());
            *shared = Arc::downgrade(&scene);
            scene
        })
    }

    /// A scene of one's own, for a test that counts visits, which others would add to.
    pub fn new() -> Self {
        let lab = Lab::with_neighbour();
        let (web, elsewhere) = (Web::start(), Web::start());
        install_for_limits(&lab);
        install_for_files(&lab);
        install_for_net(&lab, &web);
        install_for_demands(&lab, &web);
        let resolver = lab.resolver(&[
            ("KAMI_TEST_GRANTED", "granted"),
            ("KAMI_TEST_KEPT", "requested, and not granted"),
            ("KAMI_TEST_SECRET", "not even requested"),
        ]);
        Self { lab, web, elsewhere, resolver }
    }

    /// The engine on which its guests run.
    pub fn engine(&self) -> &Engine {
        self.resolver.engine()
    }

    /// Calls `package/tool`, while and after which the neighbour answers.
    #[track_caller]
    pub fn call(&self, tool: &str, arguments: Value) -> Called {
        self.call_all(vec![(tool, arguments)]).remove(0)
    }

    /// Makes several calls at once, while and after which the neighbour answers.
    #[track_caller]
    pub fn call_all(&self, calls: Vec<(&str, Value)>) -> Vec<Called> {
        beside_neighbour(&self.resolver, calls)
    }
}

/// Makes calls on a runtime of two threads, whatever the machine has, beside the neighbour.
#[track_caller]
pub fn beside_neighbour(resolver: &Arc<Resolver>, calls: Vec<(&str, Value)>) -> Vec<Called> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().expect("there are threads");
    runtime.block_on(async {
        neighbour_answers(resolver).await;
        let running = calls.into_iter().map(|(tool, arguments)| {
            let (resolver, tool) = (Arc::clone(resolver), tool.to_owned());
            tokio::spawn(async move {
                let called = enter(&resolver, &tool, &arguments).await;
                called.unwrap_or_else(|error| panic!("`{tool}` is refused: {error:?}"))
            })
        });
        let running: Vec<_> = running.collect();
        while !running.iter().all(|call| call.is_finished()) {
            neighbour_answers(resolver).await;
        }
        let mut done = Vec::new();
        for call in running {
            done.push(call.await.expect("the call does not panic"));
        }
        neighbour_answers(resolver).await;
        done
    })
}

/// Fails unless the neighbour gives the right answer within [`BOUND`].
async fn neighbour_answers(resolver: &Arc<Resolver>) {
    // On a worker's thread, where guests run too, and not on the one that waits.
    let resolver = Arc::clone(resolver);
    let asked = Instant::now();
    let answer =
        tokio::spawn(
            async move { enter(&resolver, "neighbour/add", &json!({"a": 40, "b": 2})).await },
        );
    let called = answer.await.expect("the call does not panic").expect("the neighbour is welcome");
    match called.report.outcome.complete() {
        Ok(result) => assert_eq!(result.structured, Some(json!({"result": 42}))),
        Err(error) => panic!("the neighbour suffers: {error:?}"),
    }
    assert!(asked.elapsed() < BOUND, "the neighbour took {:?}", asked.elapsed());
}

/// What can be expected of a call.
pub trait Expect {
    /// Fails unless the tool gave this text.
    fn gives(&self, text: &str) -> &Self;
    /// Fails unless the call failed and the model reads this.
    fn fails(&self, text: &str) -> &Self;
    /// Fails unless the operator hears of exactly these denials.
    fn denies(&self, denials: &[&str]) -> &Self;
    /// What the model reads.
    fn text(&self) -> String;
    /// The structured part of the answer.
    fn structured(&self) -> &Value;
}

impl Expect for Called {
    #[track_caller]
    fn gives(&self, text: &str) -> &Self {
        assert!(matches!(self.report.outcome, CallOutcome::Complete(_)), "{self:?}");
        assert_eq!(self.text(), text, "{self:?}");
        self
    }

    #[track_caller]
    fn fails(&self, text: &str) -> &Self {
        assert!(matches!(self.report.outcome, CallOutcome::Failed(_)), "{self:?}");
        assert_eq!(self.text(), text, "{self:?}");
        self
    }

    #[track_caller]
    fn denies(&self, denials: &[&str]) -> &Self {
        let told: Vec<String> = self.report.denials.iter().map(ToString::to_string).collect();
        assert_eq!(told, denials, "{self:?}");
        self
    }

    fn text(&self) -> String {
        match &self.report.outcome {
            CallOutcome::Complete(result) => {
                match result.content.first().map(|first| &first.body) {
                    Some(ContentBody::Text(text)) => text.clone(),
                    _ => String::new(),
                }
            }
            CallOutcome::InputRequired(input) => input.unanswered().for_model(),
            CallOutcome::Failed(error) => error.for_model(),
        }
    }

    #[track_caller]
    fn structured(&self) -> &Value {
        match &self.report.outcome {
            CallOutcome::Complete(result) => result.structured.as_ref().expect("it has structure"),
            other => panic!("no structure, but {other:?}"),
        }
    }
}

fn only(limits: Limits) -> Capabilities {
    Capabilities { limits, ..Capabilities::default() }
}

/// `hasty` for what never ends by itself, `limited` for the rest, `fuelled` and `starved` for fuel.
pub fn install_for_limits(lab: &Lab) {
    lab.install(&hostile("hasty", &["spin", "sleep"], &only(limits(16, HASTY))));
    let capped = |limit, value| limits(16, UNHURRIED).with(limit, value).expect("it is possible");
    for (name, limits) in [
        ("thoughtless", capped(Limit::Cpu, 100)),
        ("seldom", capped(Limit::Rate, 2)),
        ("single", limits(16, HASTY).with(Limit::Concurrency, 1).expect("it is possible")),
    ] {
        lab.install(&hostile(name, &["spin", "sleep"], &only(limits)));
    }
    let tools = [
        "allocate", "babble", "chatter", "complain", "connect", "count", "exit", "flood", "forge",
        "panic", "probe", "ramble", "read", "recurse", "refuse", "scribble",
    ];
    lab.install(&hostile("limited", &tools, &only(limits(64, UNHURRIED))));
    lab.install(&hostile("twin", &["scribble"], &only(limits(64, UNHURRIED))));
    for (name, fuel) in [("fuelled", 1_000_000_000), ("starved", 100_000)] {
        let limits = limits(64, UNHURRIED).with(Limit::Fuel, fuel).expect("the limit is possible");
        lab.install(&hostile(name, &["count"], &only(limits)));
    }
}

/// `hermit`, which has one place, and all the time that it wants.
pub fn install_hermit(lab: &Lab) {
    let limits = limits(16, UNHURRIED).with(Limit::Concurrency, 1).expect("it is possible");
    lab.install(&hostile("hermit", &["spin", "sleep"], &only(limits)));
}

/// `files` with two directories bound and one not, and `viewer` which gets less than it asks for.
fn install_for_files(lab: &Lab) {
    let (docs, work) = (lab.path("docs"), lab.path("work"));
    fs::create_dir_all(docs.join("inner")).expect("directories can be made");
    fs::create_dir(&work).expect("directories can be made");
    fs::write(lab.path("secret.txt"), "the secret").expect("files can be written");
    fs::write(docs.join("page.txt"), "a page").expect("files can be written");
    fs::write(docs.join("inner/leaf.txt"), "a leaf").expect("files can be written");
    #[cfg(unix)]
    for (target, link) in [
        ("../secret.txt", "up.txt"),
        ("/etc/passwd", "passwd"),
        ("..", "parent"),
        ("/", "root"),
        ("page.txt", "same.txt"),
    ] {
        std::os::unix::fs::symlink(target, docs.join(link)).expect("links can be made");
    }

    let mount = |access| MountRequest { access, description: String::new() };
    let name = |text: &str| text.parse().expect("it is a mount's name");
    let variable = |text: &str| text.parse().expect("it is a variable's name");
    let requests = Capabilities {
        fs: FsAccess::Sandbox,
        mounts: BTreeMap::from([
            (name("docs"), mount(Access::ReadOnly)),
            (name("work"), mount(Access::ReadWrite)),
            (name("unbound"), mount(Access::ReadOnly)),
        ]),
        env: [variable("KAMI_TEST_GRANTED"), variable("KAMI_TEST_KEPT")].into(),
        limits: limits(64, UNHURRIED),
        ..Capabilities::default()
    };
    let grant = Grant {
        mounts: BTreeMap::from([
            // More than is asked for: the lesser holds.
            (name("docs"), Binding { path: docs, access: Access::ReadWrite }),
            (name("work"), Binding { path: work, access: Access::ReadWrite }),
        ]),
        env: [variable("KAMI_TEST_GRANTED"), variable("KAMI_TEST_SECRET")].into(),
        ..Grant::all(&requests)
    };
    let tools = [
        "change",
        "count_names",
        "discard",
        "fill",
        "hoard",
        "insist",
        "keep",
        "list",
        "probe",
        "reach",
        "read",
        "read_through_link",
        "scratch",
    ];
    lab.install_with(&hostile("files", &tools, &requests), &grant);
    let grant = Grant { fs: FsAccess::ReadOnly, ..grant };
    lab.install_with(&hostile("viewer", &tools, &requests), &grant);
}

/// `hoarder` with a scratch directory and a server; `idler`, `toiler` and `starveling` for those that
/// never end, with little time, processor time and fuel.
fn install_for_demands(lab: &Lab, web: &Web) {
    lab.install(&hoarder(web));
    let limits = limits(64, UNHURRIED);
    for (name, limit, value) in [
        ("idler", Limit::Execution, HASTY),
        ("toiler", Limit::Cpu, 100),
        ("starveling", Limit::Fuel, 2_000_000),
    ] {
        let limits = limits.with(limit, value).expect("the limit is possible");
        let requests = Capabilities { fs: FsAccess::Sandbox, ..only(limits) };
        lab.install(&hostile(name, &["demand", "fidget"], &requests));
    }
    let requests = Capabilities { fs: FsAccess::Sandbox, ..only(limits) };
    for name in ["guest", "stranger"] {
        lab.install(&hostile(name, &["meet"], &requests));
    }
}

/// The package `hoarder`, which may reach one server.
pub fn hoarder(web: &Web) -> Artifact {
    let requests = Capabilities {
        net: vec![web.origin().parse().expect("it is an entry")],
        fs: FsAccess::Sandbox,
        ..only(limits(64, UNHURRIED))
    };
    hostile("hoarder", &["demand", "pile"], &requests)
}

/// The tools of `hostile` that reach for the network.
pub const NET_TOOLS: &[&str] = &[
    "ask",
    "connect",
    "crowd",
    "follow",
    "get",
    "listen",
    "request",
    "resolve",
    "send_datagram",
    "sidestep",
    "upload",
];

/// `web` may reach one server by its address; `named` one by a name that leads to this machine;
/// `secure` one by TLS; `anywhere` may go to every public host besides; `ungranted` asks and gets nothing; `hurried` is `web` with little time.
fn install_for_net(lab: &Lab, web: &Web) {
    let tools = NET_TOOLS;
    let asking = |entry: String, limits| Capabilities {
        net: vec![entry.parse().expect("it is an entry")],
        ..only(limits)
    };
    let install = |name: &str, entry: String, millis: u64| {
        lab.install(&hostile(name, tools, &asking(entry, limits(64, millis))));
    };
    install("web", web.origin(), UNHURRIED);
    install("hurried", web.origin(), HASTY);
    install("named", format!("http://localhost:{}", web.port()), UNHURRIED);
    install("secure", format!("https://{}", web.address()), UNHURRIED);
    install("dialler", web.address(), UNHURRIED);
    install("ranged", format!("127.0.0.0/8:{}", web.port()), UNHURRIED);
    let several = |entries: &[String]| Capabilities {
        net: entries.iter().map(|entry| entry.parse().expect("it is an entry")).collect(),
        ..only(limits(64, UNHURRIED))
    };
    let name = format!("localhost:{}", web.port());
    lab.install(&hostile("caller", tools, &several(std::slice::from_ref(&name))));
    let range = format!("127.0.0.0/8:{}", web.port());
    lab.install(&hostile("insider", tools, &several(&[name, range, "[::1]/128".to_owned()])));
    lab.install(&hostile("anywhere", tools, &several(&["*".to_owned(), web.origin()])));
    install("exact", format!("GET {}/ok", web.origin()), UNHURRIED);
    let ungranted = hostile("ungranted", tools, &asking(web.origin(), limits(64, UNHURRIED)));
    lab.install_with(&ungranted, &Grant::default());
}
