//! What a tool did in calls that were recorded, and the least that it must ask for to do it again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::mpsc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kami_core::grants::{
    Access, Capabilities, FsAccess, MountRequest, NetAccess, NetPattern, Recorder, SCRATCH_PATH,
    is_public,
};
use tokio::sync::mpsc::UnboundedSender;

/// The most different things that are recorded; a tool that wants more is refused it.
const MAX_THINGS: usize = 1000;

/// From this many paths at one host on, what they have in common is listed in their place.
const MAX_PATHS: usize = 8;

/// Who decides about what the manifest does not ask for.
#[derive(Debug)]
pub enum Decider {
    /// Nobody: it is permitted, but special addresses only where `local` says so.
    Everything {
        /// Whether this machine and its network may be reached.
        local: bool,
    },
    /// A person, who is asked at the terminal.
    Person(UnboundedSender<Asked>),
}

/// A question to a person, while the guest waits.
#[derive(Debug)]
pub struct Asked {
    /// What the tool wants, in its own words.
    pub thing: String,
    /// Where the answer goes.
    pub answer: mpsc::Sender<bool>,
}

/// Takes down what a tool does, and decides about it.
#[derive(Debug)]
pub struct Recorded {
    manifest: Capabilities,
    decider: Decider,
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    /// Methods, by host and path.
    requests: BTreeMap<(String, String), BTreeSet<String>>,
    /// Hosts with port of sockets, and ranges of special addresses.
    others: BTreeSet<String>,
    /// Names that were looked up for sockets.
    names: BTreeSet<String>,
    files: BTreeMap<String, Access>,
    environment: bool,
    /// What the person answered.
    answers: BTreeMap<String, bool>,
}

impl Notes {
    fn len(&self) -> usize {
        let Self { requests, others, names, files, environment: _, answers } = self;
        let methods: usize = requests.values().map(BTreeSet::len).sum();
        methods + others.len() + names.len() + files.len() + answers.len()
    }
}

impl Recorded {
    /// Records a tool whose manifest asks for `manifest`.
    pub fn new(manifest: Capabilities, decider: Decider) -> Self {
        Self { manifest, decider, notes: Mutex::default() }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is room for one thing more.
    fn has_room(&self) -> bool {
        self.notes().len() < MAX_THINGS
    }

    /// Has the decider decide about something that the manifest does not ask for.
    fn decide(&self, thing: String, special: bool) -> bool {
        let person = match &self.decider {
            Decider::Everything { local } => return *local || !special,
            Decider::Person(person) => person,
        };
        if let Some(answer) = self.notes().answers.get(&thing) {
            return *answer;
        }
        let (sender, answer) = mpsc::channel();
        let sent = person.send(Asked { thing: thing.clone(), answer: sender });
        // Nobody answers any more once the command is interrupted.
        let answer = sent.is_ok() && answer.recv().unwrap_or(false);
        self.notes().answers.insert(thing, answer);
        answer
    }

    /// The least that the tool must ask for. `offered` is what it was given while it was recorded.
    pub fn needed(&self, offered: &Capabilities) -> Capabilities {
        let notes = self.notes();
        let touched = |guest_path: &str| {
            let below = format!("{guest_path}/");
            let paths = notes.files.iter();
            let touching =
                paths.filter(|(path, _)| *path == guest_path || path.starts_with(&below));
            touching.map(|(_, access)| *access).max()
        };
        let mounts: BTreeMap<_, _> = offered
            .mounts
            .iter()
            .filter_map(|(name, mount)| {
                let access = touched(&name.guest_path())?;
                let description = mount.description.clone();
                Some((name.clone(), MountRequest { access, description }))
            })
            .collect();
        let uses_scratch = touched(SCRATCH_PATH).is_some();
        let changes = mounts.values().any(|mount| mount.access == Access::ReadWrite);
        let fs = match (uses_scratch || changes, mounts.is_empty()) {
            (true, _) => FsAccess::Sandbox,
            (false, false) => FsAccess::ReadOnly,
            (false, true) => FsAccess::None,
        };
        let scratch = if uses_scratch { self.manifest.scratch } else { Default::default() };
        let env = if notes.environment { offered.env.clone() } else { BTreeSet::new() };
        let reached = |name: &kami_core::grants::SecretName| {
            let request = &self.manifest.secrets[name];
            let sent = request.inject.as_ref().is_some_and(|injection| {
                let endpoints = notes.requests.keys();
                endpoints
                    .filter_map(|(endpoint, _)| kami_core::grants::Endpoint::of_url(endpoint))
                    .any(|endpoint| injection.applies_to(&endpoint))
            });
            sent || request.env && notes.environment
        };
        let secrets = self.manifest.secrets.iter().filter(|(name, _)| reached(name));
        Capabilities {
            net: notes.entries(),
            fs,
            scratch,
            mounts,
            env,
            secrets: secrets.map(|(name, request)| (name.clone(), request.clone())).collect(),
            limits: self.manifest.limits,
        }
    }
}

impl Notes {
    /// Takes back what was permitted by its name and led nowhere.
    fn forget(&mut self, access: &NetAccess<'_>) {
        let endpoint = access.endpoint().to_string();
        match access.method_and_path() {
            Some((_, path)) => drop(self.requests.remove(&(endpoint, path.to_owned()))),
            None => drop(self.others.remove(&endpoint)),
        }
    }

    /// The network as entries of a manifest, few enough to be read.
    fn entries(&self) -> Vec<NetPattern> {
        // By host and methods, so that paths with something in common stand together.
        let mut hosts: BTreeMap<(&str, String), Vec<&str>> = BTreeMap::new();
        for ((endpoint, path), methods) in &self.requests {
            let methods = Vec::from_iter(methods.iter().map(String::as_str)).join(",");
            hosts.entry((endpoint, methods)).or_default().push(path);
        }
        let requests = hosts.into_iter().flat_map(|((endpoint, methods), paths)| {
            let paths = match paths.as_slice() {
                few if few.len() <= MAX_PATHS => few.iter().map(ToString::to_string).collect(),
                many => vec![format!("{}*", common_directory(many))],
            };
            paths.into_iter().map(move |path| entry(endpoint, &methods, &path))
        });
        let looked_up = self.names.iter().filter(|name| {
            // A connection says it with its port.
            let connected = format!("tcp://{name}:");
            !self.others.iter().any(|other| other.starts_with(&connected))
        });
        let others = self.others.iter().chain(looked_up);
        let mut entries: Vec<NetPattern> =
            requests.chain(others.cloned()).filter_map(|entry| entry.parse().ok()).collect();
        entries.dedup();
        entries
    }
}

/// The entry for requests to `path`; for all paths, where this one cannot stand in an entry.
fn entry(endpoint: &str, methods: &str, path: &str) -> String {
    let candidates = [format!("{methods} {endpoint}{path}"), format!("{methods} {endpoint}")];
    let reads = |text: &&String| text.parse::<NetPattern>().is_ok();
    candidates.iter().find(reads).cloned().unwrap_or_else(|| endpoint.to_owned())
}

/// The directory, with a slash at its end, in which all `paths` are.
fn common_directory<'a>(paths: &[&'a str]) -> &'a str {
    let Some((first, rest)) = paths.split_first() else { return "/" };
    let ends = first.match_indices('/').map(|(at, _)| at + 1).rev();
    let mut directories = ends.map(|end| &first[..end]);
    directories.find(|directory| rest.iter().all(|path| path.starts_with(directory))).unwrap_or("/")
}

impl Recorder for Recorded {
    fn network(&self, access: &NetAccess<'_>) -> bool {
        let listed = self.manifest.net.iter().any(|pattern| pattern.matches(access));
        let special = access.endpoint().literal_address().is_some_and(|ip| !is_public(ip));
        if !self.has_room() || !listed && !self.decide(access.to_string(), special) {
            return false;
        }
        let endpoint = access.endpoint().to_string();
        let mut notes = self.notes();
        match access.method_and_path() {
            Some((method, path)) => {
                let methods = notes.requests.entry((endpoint, path.to_owned())).or_default();
                methods.insert(method.to_owned());
            }
            None => {
                notes.others.insert(endpoint);
            }
        }
        true
    }

    fn address(&self, access: &NetAccess<'_>, address: IpAddr) -> bool {
        let thing = format!("{access}, which is {address}");
        let permitted = self.has_room() && self.decide(thing, true);
        let mut notes = self.notes();
        if permitted {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            notes.others.insert(format!("{address}/{bits}"));
        } else {
            notes.forget(access);
        }
        permitted
    }

    fn lookup(&self, name: &str) {
        if self.has_room() {
            self.notes().names.insert(name.trim_end_matches('.').to_ascii_lowercase());
        }
    }

    fn file(&self, path: &str, access: Access) {
        let mut notes = self.notes();
        if notes.files.contains_key(path) || notes.len() < MAX_THINGS {
            let noted = notes.files.entry(path.to_owned()).or_insert(access);
            *noted = access.max(*noted);
        }
    }

    fn environment(&self) {
        self.notes().environment = true;
    }
}
