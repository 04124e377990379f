//! What holds for a running tool, and every decision about it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::denial::{Denial, DenialRule};
use super::endpoint::{Endpoint, Host};
use super::limits::{Limit, Limits};
use super::net::{NetAccess, NetPattern};
use super::recorder::Recorder;
use super::secret::{Injection, SecretName, SecretRequest};
use super::{Access, Capabilities, Ceilings, EnvName, FsAccess, Grant, ScratchMode, is_public};

/// What a policy allows at most, whatever was granted. What is `None` is not restricted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ceiling {
    /// Hosts that may be reached.
    pub net: Option<Vec<NetPattern>>,
    /// How far a tool may reach into files.
    pub fs: Option<FsAccess>,
    /// Directories of the host of which, or of what is below them, mounts may be bound.
    pub mount_roots: Option<Vec<PathBuf>>,
    /// Environment variables that may be read.
    pub env: Option<BTreeSet<EnvName>>,
    /// Secrets that may be used.
    pub secrets: Option<BTreeSet<SecretName>>,
    /// Caps on limits.
    pub limits: Ceilings,
}

/// A directory that a running tool sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount<'a> {
    /// Where the guest sees it.
    pub guest_path: String,
    /// What stands behind it.
    pub host_path: &'a Path,
    /// The least of what was asked for and what was given.
    pub access: Access,
}

/// What holds for a tool: what it asks for, was given, and no ceiling cuts off.
#[derive(Debug, Clone)]
pub struct Effective {
    requested: Capabilities,
    granted: Grant,
    ceilings: Vec<Ceiling>,
    /// The lowest of all sides, limit by limit.
    limits: Limits,
    /// Decides about the network in the place of request and grant.
    recorder: Option<Arc<dyn Recorder>>,
}

impl Effective {
    /// Puts a request, its answer and the policy's ceilings together.
    pub fn new(requested: Capabilities, granted: Grant, ceilings: Vec<Ceiling>) -> Self {
        let limits = requested.limits.under(&granted.limits);
        let limits = ceilings.iter().fold(limits, |limits, c| limits.under(&c.limits));
        Self { requested, granted, ceilings, limits, recorder: None }
    }

    /// Tells `recorder` what the tool does, and has it decide what else the tool may reach.
    pub fn recorded_by(mut self, recorder: Arc<dyn Recorder>) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// Who is told what the tool does, if anybody.
    pub fn recorder(&self) -> Option<&Arc<dyn Recorder>> {
        self.recorder.as_ref()
    }

    /// What a component gets while it is asked to describe itself: nothing.
    pub fn nothing() -> Self {
        // Descriptions have a bound of their own, and no other purpose than to be long.
        let limits = Limits::default().with(Limit::Output, Limit::Output.most());
        let limits = limits.expect("the most of a limit is possible");
        let requested = Capabilities { limits, ..Capabilities::default() };
        Self::new(requested, Grant::default(), Vec::new())
    }

    /// Decides about one HTTP request or one connection of a socket.
    ///
    /// # Errors
    /// A [`Denial`] that says what to add, and where.
    pub fn network(&self, access: &NetAccess<'_>) -> Result<(), Denial> {
        let asked = |recorder: &dyn Recorder| recorder.network(access);
        let entry = access.endpoint().to_string();
        self.decide(access, &entry, asked, |pattern| pattern.matches(access))
    }

    /// Decides whether a tool that uses sockets may ask for the addresses of `name`.
    ///
    /// # Errors
    /// A [`Denial`] that says what to add, and where.
    pub fn lookup(&self, name: &str) -> Result<(), Denial> {
        let thing = format!("looking up `{}`", name.escape_debug());
        let Some(host) = Host::parse(name) else {
            return Err(Denial::new(thing, DenialRule::NotRequested, String::new()));
        };
        let asked = |recorder: &dyn Recorder| {
            recorder.lookup(name);
            true
        };
        let entry = format!("tcp://{host}:PORT");
        self.decide(thing, &entry, asked, |pattern| pattern.matches_lookup(&host))
    }

    fn decide(
        &self,
        thing: impl std::fmt::Display,
        entry: &str,
        asked: impl Fn(&dyn Recorder) -> bool,
        matches: impl Fn(&NetPattern) -> bool,
    ) -> Result<(), Denial> {
        let listed = |patterns: &[NetPattern]| patterns.iter().any(&matches);
        let cut_off = || !self.ceilings.iter().all(|c| c.net.as_deref().is_none_or(listed));
        let (requested, granted) = match self.recorder.as_deref() {
            None => (listed(&self.requested.net), listed(&self.granted.net)),
            Some(recorder) => (cut_off() || asked(recorder), true),
        };
        if !requested {
            let line = format!("net-allow-list = [\"{entry}\"]");
            Err(Denial::new(thing, DenialRule::NotRequested, line))
        } else if !granted {
            let line = format!("--allow net={entry}");
            Err(Denial::new(thing, DenialRule::NotGranted, line))
        } else if cut_off() {
            Err(Denial::new(thing, DenialRule::Policy, format!("net = [\"{entry}\"]")))
        } else {
            Ok(())
        }
    }

    /// Decides whether `access`, already permitted by name, may be had at `address`.
    ///
    /// A name leads to public addresses only: whoever controls its DNS entry must not be able to
    /// point it at the machine, its network or a cloud's metadata service. A special address is
    /// reached by requests that name it literally, and by names only where a range of addresses
    /// that holds it is permitted by everyone who decides.
    ///
    /// # Errors
    /// A [`Denial`] that names the address.
    pub fn address(&self, access: &NetAccess<'_>, address: IpAddr) -> Result<(), Denial> {
        let address = address.to_canonical();
        let leads = |patterns: &[NetPattern]| patterns.iter().any(|p| p.leads_to(access, address));
        let not_cut_off = || self.ceilings.iter().all(|c| c.net.as_deref().is_none_or(leads));
        let asked = || match &self.recorder {
            Some(recorder) => recorder.address(access, address),
            None => leads(&self.requested.net) && leads(&self.granted.net),
        };
        if is_public(address)
            || access.endpoint().literal_address() == Some(address)
            || not_cut_off() && asked()
        {
            return Ok(());
        }
        let thing = format!("{access}, which is {address},");
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let line = format!("net-allow-list = [\"{address}/{bits}\"]");
        Err(Denial::new(thing, DenialRule::SpecialAddress, line))
    }

    /// Whether `address` may be told to a guest that looked up a name.
    ///
    /// That takes a public address, or a range that holds it, on every side. Which port the guest
    /// then connects to, and whether it may, is decided by [`Self::network`] and [`Self::address`].
    pub fn may_be_told(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let holds = |patterns: &[NetPattern]| patterns.iter().any(|p| p.holds(address));
        let asked =
            self.recorder.is_some() || holds(&self.requested.net) && holds(&self.granted.net);
        is_public(address)
            || asked && self.ceilings.iter().all(|c| c.net.as_deref().is_none_or(holds))
    }

    /// The headers with secrets that the host adds to requests to `endpoint`.
    pub fn injections(&self, endpoint: &Endpoint) -> impl Iterator<Item = &Injection> {
        self.secrets().filter_map(move |(_, request)| {
            request.inject.as_ref().filter(|injection| injection.applies_to(endpoint))
        })
    }

    /// The secrets that the tool may use, and for what.
    pub fn secrets(&self) -> impl Iterator<Item = (&SecretName, &SecretRequest)> {
        self.requested.secrets.iter().filter(|(name, _)| {
            self.granted.secrets.contains(*name)
                && self
                    .ceilings
                    .iter()
                    .all(|c| c.secrets.as_ref().is_none_or(|s| s.contains(*name)))
        })
    }

    /// The directories to preopen: mounts that were asked for, bound, and not cut off.
    pub fn mounts(&self) -> impl Iterator<Item = Mount<'_>> {
        let fs = self.fs();
        self.requested.mounts.iter().filter_map(move |(name, request)| {
            let binding = self.granted.mounts.get(name)?;
            let access = match fs {
                FsAccess::None => return None,
                FsAccess::ReadOnly => Access::ReadOnly,
                FsAccess::Sandbox => request.access.min(binding.access),
            };
            let host_path = binding.path.as_path();
            let below = |roots: &Vec<PathBuf>| roots.iter().any(|root| host_path.starts_with(root));
            let permitted = self.ceilings.iter().all(|c| c.mount_roots.as_ref().is_none_or(below));
            let guest_path = name.guest_path();
            permitted.then_some(Mount { guest_path, host_path, access })
        })
    }

    /// Why `thing`, a change below the mount that the guest sees at `guest_path`, is denied.
    pub fn change_denied(&self, thing: String, guest_path: &str) -> Denial {
        let name = guest_path.trim_start_matches('/');
        let requested = self.requested.mounts.iter().find(|(mount, _)| mount.as_str() == name);
        let bound = self.granted.mounts.iter().find(|(mount, _)| mount.as_str() == name);
        if self.requested.fs != FsAccess::Sandbox {
            let line = "fs-access = \"sandbox\"".to_owned();
            Denial::new(thing, DenialRule::NotRequested, line)
        } else if requested.is_none_or(|(_, mount)| mount.access == Access::ReadOnly) {
            let line = format!("mounts.{name}.access = \"read-write\"");
            Denial::new(thing, DenialRule::NotRequested, line)
        } else if self.granted.fs != FsAccess::Sandbox {
            Denial::new(thing, DenialRule::NotGranted, "--allow fs=sandbox".to_owned())
        } else if bound.is_some_and(|(_, binding)| binding.access == Access::ReadWrite) {
            Denial::new(thing, DenialRule::Policy, "fs = \"sandbox\"".to_owned())
        } else {
            let path = bound.map_or("PATH".into(), |(_, binding)| binding.path.to_string_lossy());
            Denial::new(thing, DenialRule::NotGranted, format!("--mount {name}={path}:rw"))
        }
    }

    /// Whether the tool has a scratch directory, and what becomes of it after a call.
    pub fn scratch(&self) -> Option<ScratchMode> {
        let mode = self.requested.scratch.min(self.granted.scratch);
        (self.fs() == FsAccess::Sandbox).then_some(mode)
    }

    fn fs(&self) -> FsAccess {
        let ceilings = self.ceilings.iter().filter_map(|ceiling| ceiling.fs);
        ceilings.chain([self.granted.fs]).fold(self.requested.fs, FsAccess::min)
    }

    /// The environment variables that the tool may see.
    pub fn env(&self) -> impl Iterator<Item = &EnvName> {
        self.requested.env.intersection(&self.granted.env).filter(|name| {
            self.ceilings.iter().all(|c| c.env.as_ref().is_none_or(|env| env.contains(*name)))
        })
    }

    /// The lowest of all sides, limit by limit.
    pub fn limits(&self) -> Limits {
        self.limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grants::Binding;
    use crate::grants::{MountName, MountRequest};

    fn patterns(entries: &[&str]) -> Vec<NetPattern> {
        entries.iter().map(|entry| entry.parse().unwrap()).collect()
    }

    fn asking(net: &[&str]) -> Capabilities {
        Capabilities { net: patterns(net), ..Capabilities::default() }
    }

    fn granted(requested: &Capabilities) -> Effective {
        Effective::new(requested.clone(), Grant::all(requested), Vec::new())
    }

    fn rule(effective: &Effective, url: &str) -> Result<(), DenialRule> {
        let endpoint = Endpoint::of_url(url).unwrap();
        effective.network(&NetAccess::request(&endpoint, "GET", "/")).map_err(|d| d.rule)
    }

    #[test]
    fn every_side_must_list_an_endpoint() {
        let requested = asking(&["*.example.com", "other.org"]);
        let grant = Grant {
            net: patterns(&["api.example.com", "old.example.com", "elsewhere.net"]),
            ..Grant::default()
        };
        let ceilings = vec![
            Ceiling::default(),
            Ceiling { net: Some(patterns(&["api.example.com"])), ..Ceiling::default() },
        ];
        let effective = Effective::new(requested, grant, ceilings);
        assert_eq!(rule(&effective, "https://api.example.com"), Ok(()));
        assert_eq!(rule(&effective, "https://www.example.com"), Err(DenialRule::NotGranted));
        assert_eq!(rule(&effective, "https://elsewhere.net"), Err(DenialRule::NotRequested));
        assert_eq!(rule(&effective, "https://old.example.com"), Err(DenialRule::Policy));
    }

    #[test]
    fn a_name_never_leads_to_a_special_address() {
        let effective = granted(&asking(&["*", "http://127.0.0.1:8080", "localhost"]));
        let at = |url: &str, ip: &str| {
            let endpoint = Endpoint::of_url(url).unwrap();
            let access = NetAccess::request(&endpoint, "GET", "/");
            effective.address(&access, ip.parse().unwrap()).is_ok()
        };
        assert!(at("https://example.com", "93.184.216.34"));
        assert!(!at("https://example.com", "127.0.0.1"));
        assert!(!at("http://localhost:8080", "127.0.0.1"), "not even where the address is listed");
        assert!(at("http://127.0.0.1:8080", "127.0.0.1"));
        assert!(at("http://127.0.0.1:8080", "::ffff:127.0.0.1"));
        assert!(!at("http://127.0.0.1:8080", "127.0.0.2"));
        assert!(!at("https://example.com", "169.254.169.254"));
        assert!(!effective.may_be_told("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn a_name_leads_to_a_special_address_in_a_range_that_all_sides_permit() {
        let requested = asking(&["intranet.example", "10.0.0.0/8:443"]);
        let open = granted(&requested);
        let at = |effective: &Effective, url: &str| {
            let endpoint = Endpoint::of_url(url).unwrap();
            let access = NetAccess::request(&endpoint, "GET", "/");
            effective.address(&access, "10.1.2.3".parse().unwrap()).is_ok()
        };
        assert!(at(&open, "https://intranet.example"));
        assert!(!at(&open, "http://intranet.example"), "another port");
        assert!(open.may_be_told("10.1.2.3".parse().unwrap()));
        let grant = Grant { net: patterns(&["intranet.example"]), ..Grant::default() };
        assert!(!at(
            &Effective::new(requested.clone(), grant, Vec::new()),
            "https://intranet.example"
        ));
        let ceiling = Ceiling { net: Some(patterns(&["intranet.example"])), ..Ceiling::default() };
        let cut = Effective::new(requested.clone(), Grant::all(&requested), vec![ceiling]);
        assert!(!at(&cut, "https://intranet.example"));
    }

    #[test]
    fn names_are_looked_up_for_sockets_only_where_sockets_are_permitted() {
        let effective = granted(&asking(&["db.example.com:5432", "https://web.example.com", "*"]));
        assert!(effective.lookup("DB.example.com.").is_ok());
        assert!(effective.lookup("web.example.com").is_err());
        assert!(effective.lookup("other.example.com").is_err());
        assert!(effective.lookup("127.1").is_err());
        assert!(effective.lookup("\u{202e}").is_err());
    }

    #[test]
    fn mounts_need_a_request_a_binding_file_access_and_a_permitted_root() {
        let docs: MountName = "docs".parse().unwrap();
        let mut requested = Capabilities { fs: FsAccess::Sandbox, ..Capabilities::default() };
        requested
            .mounts
            .insert(docs.clone(), MountRequest { access: Access::ReadWrite, ..Default::default() });
        let mut grant = Grant::all(&requested);
        let count = |grant: &Grant, ceilings: &[Ceiling]| {
            Effective::new(requested.clone(), grant.clone(), ceilings.to_vec()).mounts().count()
        };
        assert_eq!(count(&grant, &[]), 0, "not bound");
        grant.mounts.insert(docs, Binding { path: "/srv/docs".into(), access: Access::ReadOnly });
        let effective = Effective::new(requested.clone(), grant.clone(), Vec::new());
        let mounts: Vec<_> = effective.mounts().collect();
        assert_eq!(mounts[0].guest_path, "/docs");
        assert_eq!(mounts[0].access, Access::ReadOnly, "the lesser access holds");
        let roots =
            |root: &str| [Ceiling { mount_roots: Some(vec![root.into()]), ..Ceiling::default() }];
        assert_eq!(count(&grant, &roots("/srv")), 1);
        assert_eq!(count(&grant, &roots("/srv/do")), 0, "a name is matched as a whole");
        assert_eq!(count(&grant, &[Ceiling { fs: Some(FsAccess::None), ..Ceiling::default() }]), 0);
        grant.fs = FsAccess::None;
        assert_eq!(count(&grant, &[]), 0, "file access not granted");
    }

    #[test]
    fn the_lowest_limit_of_all_sides_holds() {
        let limits = |memory, fuel| {
            let limits = Limits::default().with(Limit::Memory, memory).unwrap();
            limits.with(Limit::Fuel, fuel).unwrap()
        };
        let requested = Capabilities { limits: limits(8, 30), ..Capabilities::default() };
        let granted = Grant { limits: limits(4, 50).into(), ..Grant::default() };
        let ceiling = Ceiling { limits: limits(6, 20).into(), ..Ceiling::default() };
        let held = |ceilings| {
            let limits = Effective::new(requested.clone(), granted.clone(), ceilings).limits();
            (limits.get(Limit::Memory).unwrap(), limits.get(Limit::Fuel).unwrap())
        };
        assert_eq!(held(Vec::new()), (4, 30));
        assert_eq!(held(vec![ceiling]), (4, 20));
    }

    #[test]
    fn secrets_need_a_request_a_grant_and_no_ceiling_against_it() {
        let name: SecretName = "TOKEN".parse().unwrap();
        let mut requested = Capabilities::default();
        let inject = Injection {
            host: "api.example.com".parse().unwrap(),
            header: "Authorization: Bearer {TOKEN}".parse().unwrap(),
        };
        let request = SecretRequest { inject: Some(inject), ..SecretRequest::default() };
        requested.secrets.insert(name.clone(), request);
        let endpoint = Endpoint::of_url("https://api.example.com").unwrap();
        let count = |grant: Grant, ceilings: Vec<Ceiling>| {
            Effective::new(requested.clone(), grant, ceilings).injections(&endpoint).count()
        };
        assert_eq!(count(Grant::default(), Vec::new()), 0);
        assert_eq!(count(Grant::all(&requested), Vec::new()), 1);
        let ceiling = Ceiling { secrets: Some(BTreeSet::new()), ..Ceiling::default() };
        assert_eq!(count(Grant::all(&requested), vec![ceiling]), 0);
    }
}
