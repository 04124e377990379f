//! What a soak calls: packages of good and hostile guests, two web servers, and changes to them.

use std::collections::BTreeMap;
use std::fs;

use kami_core::component::Artifact;
use kami_core::grants::{
    Access, Binding, Capabilities, FsAccess, Grant, Limit, Limits, MountRequest, ScratchMode,
};
use kami_core::scheduler::DEFAULT_PLACES;

use crate::guests::guest;
use crate::lab::{Lab, hostile, id, limits};
use crate::web::Web;

/// The limit of packages whose tools never end, in milliseconds: a few ticks of the engine's clock,
/// so that a million calls have time for many of them.
const HASTY: u64 = 30;

/// The same for those whose tools wait for servers, which costs no processor time.
const HURRIED: u64 = 50;

/// What packages that end by themselves get: no clock ends them.
const UNHURRIED: u64 = 60_000;

/// Which change is one of the policy: it has everything loaded anew, which takes long.
const POLICY_CHANGE: u64 = 10;

/// Packages that may take every place of the server, with their fuel: what is metered runs on an
/// engine of its own.
pub(super) const CROWDS: [(&str, Option<u64>); 2] = [("crowd", None), ("metered", Some(1 << 40))];

/// A data directory with all packages, and what they reach for.
pub(super) struct World {
    pub(super) lab: Lab,
    /// What `web` and others may reach.
    pub(super) web: Web,
    /// What nobody may reach.
    pub(super) elsewhere: Web,
    changes: u64,
}

impl World {
    pub(super) fn new() -> Self {
        let lab = Lab::with_neighbour();
        lab.install(guest("legacy"));
        let world = Self { lab, web: Web::start(), elsewhere: Web::start(), changes: 0 };
        world.install_what_ends_badly();
        world.install_what_writes();
        world.install_what_reaches_out();
        world.lab.install_with(&world.changing(), &Grant::default());
        world
    }

    /// Does what an operator may do while tools are served.
    ///
    /// By turns `changing` may reach the web and may not, and `coming` is installed, in a new
    /// version each time, updated, and removed. Now and then the policy is written anew.
    pub(super) fn change(&mut self) {
        self.changes += 1;
        match self.changes % 4 {
            0 => self.set_grant(&Grant::default()),
            1 => self.install_coming(),
            2 => {
                self.set_grant(&Grant::all(&self.changing().manifest().requests));
                self.install_coming();
            }
            _ => {
                let coming = id("coming").parse().expect("it is an id");
                self.lab.registry().uninstall(&coming).expect("it is installed");
            }
        }
        if self.changes.is_multiple_of(POLICY_CHANGE) {
            let (new, file) = (self.lab.path("policy"), self.lab.data().policy_file());
            let policy = format!("version = 1\n# Change {}.\n", self.changes);
            // In one step: a policy that is half written refuses everything.
            fs::write(&new, policy).expect("files can be written");
            fs::rename(&new, &file).expect("the policy can be replaced");
        }
    }

    fn changing(&self) -> Artifact {
        hostile("changing", &["get"], &reaching(&self.web.origin(), UNHURRIED))
    }

    fn set_grant(&self, grant: &Grant) {
        let mut registry = self.lab.registry();
        let changing = id("changing").parse().expect("it is an id");
        let package = registry.package(&changing).expect("the registry can be read");
        let package = package.expect("`changing` is installed");
        registry.set_grant(&package, grant).expect("the grant can be changed");
    }

    fn install_coming(&self) {
        // Another manifest makes another file, as a new version does.
        let limits = limits(16, UNHURRIED + self.changes);
        self.lab.install(&hostile("coming", &["forge"], &only(limits)));
    }

    fn install_what_ends_badly(&self) {
        let install = |name: &str, tools: &[&str], limits: Limits| {
            self.lab.install(&hostile(name, tools, &only(limits)));
        };
        let with = |limits: Limits, limit, value| {
            limits.with(limit, value).expect("the limit is possible")
        };
        let unhurried = limits(16, UNHURRIED);
        install("hasty", &["sleep", "spin"], limits(16, HASTY));
        install("lean", &["spin"], with(unhurried, Limit::Cpu, 20));
        install("patient", &["sleep", "spin"], with(unhurried, Limit::Cpu, UNHURRIED));
        install("starved", &["count"], with(unhurried, Limit::Fuel, 100_000));
        install("crash", &["allocate", "connect", "exit", "panic", "read", "recurse"], unhurried);
        let loud = with(with(unhurried, Limit::Output, 64), Limit::Log, 16);
        install("loud", &["chatter", "complain", "flood", "forge", "ramble"], loud);
    }

    fn install_what_writes(&self) {
        let docs = self.lab.path("docs");
        fs::create_dir(&docs).expect("directories can be made");
        fs::write(docs.join("page.txt"), "a page").expect("files can be written");
        let name = || "docs".parse().expect("it is a mount's name");
        let limits = limits(16, UNHURRIED).with(Limit::Write, 1).expect("the limit is possible");
        let request = MountRequest { access: Access::ReadOnly, description: String::new() };
        let requests = Capabilities {
            fs: FsAccess::Sandbox,
            mounts: BTreeMap::from([(name(), request)]),
            ..only(limits)
        };
        let binding = Binding { path: docs, access: Access::ReadOnly };
        let mounts = BTreeMap::from([(name(), binding)]);
        let grant = Grant { mounts, ..Grant::all(&requests) };
        let tools = ["change", "fill", "hoard", "read", "scratch"];
        self.lab.install_with(&hostile("files", &tools, &requests), &grant);

        // One at a time, as two that discard the same file are in each other's way.
        let limits = limits.with(Limit::Concurrency, 1).expect("the limit is possible");
        let requests =
            Capabilities { fs: FsAccess::Sandbox, scratch: ScratchMode::Kept, ..only(limits) };
        self.lab.install(&hostile("keeper", &["discard", "keep"], &requests));
    }

    fn install_what_reaches_out(&self) {
        let tools = ["connect", "follow", "get", "listen", "request", "resolve", "send_datagram"];
        let (origin, address) = (self.web.origin(), self.web.address());
        for (name, entry, millis) in [
            ("web", &origin, UNHURRIED),
            ("hurried", &origin, HURRIED),
            ("dialler", &address, UNHURRIED),
        ] {
            self.lab.install(&hostile(name, &tools, &reaching(entry, millis)));
        }
        for (name, fuel) in CROWDS {
            let mut requests = reaching(&origin, UNHURRIED);
            let places = u64::from(DEFAULT_PLACES);
            let limits = requests.limits.with(Limit::Concurrency, places);
            let limits = limits.and_then(|limits| match fuel {
                Some(fuel) => limits.with(Limit::Fuel, fuel),
                None => Ok(limits),
            });
            requests.limits = limits.expect("the limits are possible");
            self.lab.install(&hostile(name, &["linger"], &requests));
        }
    }
}

fn only(limits: Limits) -> Capabilities {
    Capabilities { limits, ..Capabilities::default() }
}

fn reaching(entry: &str, millis: u64) -> Capabilities {
    let net = vec![entry.parse().expect("it is an entry")];
    Capabilities { net, ..only(limits(16, millis)) }
}
