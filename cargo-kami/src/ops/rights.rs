//! What a package asks for, was granted, and has: as rows for people, and the edits to a grant.
//!
//! The rows explain what [`grants`](kami_core::grants) decides and decide nothing: an entry of one
//! list is set beside the entries of the others that it has something in common with.

use std::fmt;
use std::str::FromStr;

use kami_core::grants::{
    Capabilities, Ceiling, EnvName, FsAccess, Grant, Limit, NetPattern, ScratchMode, SecretName,
};
use kami_core::policy::{Ruling, SectionName};
use serde::Serialize;

use crate::exit::{Exit, Failure};

/// One thing that is asked for or granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What kind of thing.
    pub kind: &'static str,
    /// Which one of its kind; empty where there is one.
    pub thing: String,
    /// What the manifest asks for.
    pub requested: String,
    /// What the operator, or the policy in the operator's place, granted.
    pub granted: String,
    /// What the policy's ceilings leave; empty where none speaks of it.
    pub policy: String,
    /// What the tool has.
    pub effective: String,
    /// Who cut it: `grant`, `manifest`, or a section of the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut_by: Option<String>,
}

/// How far one side permits what another asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cover {
    No,
    InPart,
    Yes,
}

impl Cover {
    fn of(permitted: bool) -> Self {
        if permitted { Self::Yes } else { Self::No }
    }
}

impl fmt::Display for Cover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::No => "no",
            Self::InPart => "in part",
            Self::Yes => "yes",
        })
    }
}

/// Every right of a package, in the order in which manifests have them.
pub fn rows(requests: &Capabilities, ruling: &Ruling) -> Vec<Row> {
    let table = Table { requests, ruling, grant: &ruling.grant };
    let mut rows = table.network();
    rows.extend(table.files());
    rows.extend(table.mounts());
    rows.extend(table.names(
        "env",
        requests.env.iter().collect(),
        ruling.grant.env.iter().collect(),
        |ceiling| ceiling.env.as_ref().map(|env| env.iter().collect()),
    ));
    rows.extend(table.names(
        "secret",
        requests.secrets.keys().collect(),
        ruling.grant.secrets.iter().collect(),
        |ceiling| ceiling.secrets.as_ref().map(|secrets| secrets.iter().collect()),
    ));
    rows.extend(table.limits());
    rows
}

/// The rows that do not have all that is asked for.
pub fn cut(rows: &[Row]) -> impl Iterator<Item = &Row> {
    rows.iter().filter(|row| row.cut_by.is_some())
}

struct Table<'a> {
    requests: &'a Capabilities,
    ruling: &'a Ruling,
    grant: &'a Grant,
}

impl Table<'_> {
    fn network(&self) -> Vec<Row> {
        let cover = |side: &[NetPattern], entry: &NetPattern| match side {
            side if side.contains(entry) => Cover::Yes,
            side if side.iter().any(|other| other.overlaps(entry)) => Cover::InPart,
            _ => Cover::No,
        };
        let asked = self.requests.net.iter().map(|entry| {
            let granted = cover(&self.grant.net, entry);
            let ceilings = self.ceilings(|ceiling| Some(cover(ceiling.net.as_deref()?, entry)));
            let mut row = self.permission("net", entry, granted, &ceilings);
            if granted == Cover::InPart {
                let narrower = self.grant.net.iter().filter(|other| other.overlaps(entry));
                row.granted = narrower.map(ToString::to_string).collect::<Vec<_>>().join(", ");
            }
            row
        });
        let asks = |entry: &&NetPattern| self.requests.net.iter().any(|e| e.overlaps(entry));
        let unasked = self.grant.net.iter().filter(|entry| !asks(entry));
        asked.chain(unasked.map(|entry| unrequested("net", entry))).collect()
    }

    fn names<T: fmt::Display + PartialEq>(
        &self,
        kind: &'static str,
        requested: Vec<&T>,
        granted: Vec<&T>,
        permitted: impl Fn(&Ceiling) -> Option<Vec<&T>>,
    ) -> Vec<Row> {
        let asked = requested.iter().map(|name| {
            let cover = Cover::of(granted.contains(name));
            let ceilings =
                self.ceilings(|ceiling| Some(Cover::of(permitted(ceiling)?.contains(name))));
            self.permission(kind, name, cover, &ceilings)
        });
        let unasked = granted.iter().filter(|name| !requested.contains(name));
        asked.chain(unasked.map(|name| unrequested(kind, name))).collect()
    }

    fn files(&self) -> Vec<Row> {
        let (requested, granted) = (self.requests.fs, self.grant.fs);
        let ceilings = self.ceilings(|ceiling| ceiling.fs);
        let lowest = ceilings.iter().map(|(_, fs)| *fs).min();
        let mut rows = Vec::new();
        if requested != FsAccess::None || granted != FsAccess::None {
            let effective = lowest.unwrap_or(requested).min(requested).min(granted);
            let cut_by = match () {
                () if effective == requested => None,
                () if effective == granted => Some("grant".to_owned()),
                () => blame(&ceilings, |fs| *fs == effective),
            };
            rows.push(Row {
                kind: "fs",
                thing: String::new(),
                requested: requested.to_string(),
                granted: granted.to_string(),
                policy: lowest.map(|fs| fs.to_string()).unwrap_or_default(),
                effective: effective.to_string(),
                cut_by,
            });
        }
        if self.requests.scratch == ScratchMode::Kept {
            let granted = self.grant.scratch;
            rows.push(Row {
                kind: "scratch",
                thing: String::new(),
                requested: ScratchMode::Kept.to_string(),
                granted: granted.to_string(),
                policy: String::new(),
                effective: granted.to_string(),
                cut_by: (granted != ScratchMode::Kept).then(|| "grant".to_owned()),
            });
        }
        rows
    }

    fn mounts(&self) -> Vec<Row> {
        let effective = self.ruling.effective(self.requests.clone());
        let asked = self.requests.mounts.iter().map(|(name, request)| {
            let bound = self.grant.mounts.get(name);
            let below = |ceiling: &Ceiling| {
                let roots = ceiling.mount_roots.as_ref()?;
                Some(roots.iter().any(|root| bound.is_some_and(|b| b.path.starts_with(root))))
            };
            let ceilings = self.ceilings(below);
            let held = effective.mounts().find(|mount| mount.guest_path == name.guest_path());
            let access = held.as_ref().map(|mount| mount.access);
            let cut_by = match (bound, access) {
                (_, Some(access)) if access == request.access => None,
                (None, _) => Some("grant".to_owned()),
                (Some(b), Some(access)) if access == b.access => Some("grant".to_owned()),
                (Some(_), None) if ceilings.iter().any(|(_, below)| !below) => {
                    blame(&ceilings, |below| !below)
                }
                _ => Some("fs".to_owned()),
            };
            Row {
                kind: "mount",
                thing: name.to_string(),
                requested: request.access.to_string(),
                granted: bound.map_or("not bound".to_owned(), |b| {
                    format!("{} ({})", b.path.display(), b.access)
                }),
                policy: match ceilings.is_empty() || bound.is_none() {
                    true => String::new(),
                    false => Cover::of(ceilings.iter().all(|(_, below)| *below)).to_string(),
                },
                effective: access.map_or("no".to_owned(), |access| access.to_string()),
                cut_by,
            }
        });
        let unasked =
            self.grant.mounts.keys().filter(|name| !self.requests.mounts.contains_key(*name));
        asked.chain(unasked.map(|name| unrequested("mount", name))).collect()
    }

    fn limits(&self) -> Vec<Row> {
        let effective = self.ruling.effective(self.requests.clone()).limits();
        let text = |value: Option<u64>| value.map_or("none".to_owned(), |v| v.to_string());
        let rows = Limit::ALL.into_iter().filter_map(|limit| {
            let requested = self.requests.limits.get(limit);
            let cap = value_of(&self.grant.limits, limit);
            let ceilings = self.ceilings(|ceiling| value_of(&ceiling.limits, limit));
            let held = effective.get(limit);
            // What nobody bounds is not worth a row.
            held?;
            let cut_by = match () {
                () if held == requested => None,
                () if held == cap => Some("grant".to_owned()),
                () => blame(&ceilings, |value| Some(*value) == held),
            };
            Some(Row {
                kind: "limit",
                thing: limit.to_string(),
                requested: text(requested),
                granted: cap.map_or("as asked".to_owned(), |cap| cap.to_string()),
                policy: ceilings
                    .iter()
                    .map(|(_, value)| *value)
                    .min()
                    .map_or(String::new(), |v| v.to_string()),
                effective: text(held),
                cut_by,
            })
        });
        rows.collect()
    }

    /// What each ceiling says about one thing, where it says anything.
    fn ceilings<T>(&self, said: impl Fn(&Ceiling) -> Option<T>) -> Vec<(&SectionName, T)> {
        let ceilings = self.ruling.ceilings.iter();
        ceilings.filter_map(|(section, ceiling)| Some((section, said(ceiling)?))).collect()
    }

    fn permission(
        &self,
        kind: &'static str,
        thing: impl fmt::Display,
        granted: Cover,
        ceilings: &[(&SectionName, Cover)],
    ) -> Row {
        let lowest = ceilings.iter().map(|(_, cover)| *cover).min();
        let effective = lowest.unwrap_or(Cover::Yes).min(granted);
        let cut_by = match effective {
            Cover::Yes => None,
            _ if effective == granted => Some("grant".to_owned()),
            _ => blame(ceilings, |cover| *cover == effective),
        };
        Row {
            kind,
            thing: thing.to_string(),
            requested: Cover::Yes.to_string(),
            granted: granted.to_string(),
            policy: lowest.map(|cover| cover.to_string()).unwrap_or_default(),
            effective: effective.to_string(),
            cut_by,
        }
    }
}

fn blame<T>(ceilings: &[(&SectionName, T)], is_it: impl Fn(&T) -> bool) -> Option<String> {
    let found = ceilings.iter().find(|(_, said)| is_it(said));
    Some(found.map_or_else(|| "policy".to_owned(), |(section, _)| section.to_string()))
}

/// What was granted and is not asked for: it takes effect nowhere.
fn unrequested(kind: &'static str, thing: impl fmt::Display) -> Row {
    Row {
        kind,
        thing: thing.to_string(),
        requested: "no".to_owned(),
        granted: "yes".to_owned(),
        policy: String::new(),
        effective: "no".to_owned(),
        cut_by: Some("manifest".to_owned()),
    }
}

fn value_of(limits: &kami_core::grants::Ceilings, limit: Limit) -> Option<u64> {
    limits.iter().find(|(capped, _)| *capped == limit).map(|(_, value)| value)
}

/// One `--allow` or `--deny`: a kind of thing, and one of that kind or all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    Net(Option<NetPattern>),
    Fs(Option<FsAccess>),
    Scratch(Option<ScratchMode>),
    Env(Option<EnvName>),
    Secret(Option<SecretName>),
    Limit(Limit, Option<u64>),
}

impl FromStr for Entry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, value) = match text.split_once('=') {
            Some((kind, value)) => (kind, Some(value)),
            None => (text, None),
        };
        fn parse<T: FromStr<Err: fmt::Display>>(value: Option<&str>) -> Result<Option<T>, String> {
            value.map(str::parse).transpose().map_err(|error: T::Err| error.to_string())
        }
        match kind {
            "net" => parse(value).map(Self::Net),
            "env" => parse(value).map(Self::Env),
            "secret" => parse(value).map(Self::Secret),
            "fs" => {
                let known = [FsAccess::None, FsAccess::ReadOnly, FsAccess::Sandbox];
                choose(value, &known).map(Self::Fs)
            }
            "scratch" => {
                choose(value, &[ScratchMode::Emptied, ScratchMode::Kept]).map(Self::Scratch)
            }
            _ => {
                let limit = Limit::from_key(kind).ok_or_else(|| {
                    "expected net=ENTRY, fs=ACCESS, scratch=kept, env=NAME, secret=NAME or \
                     a limit such as max-memory-mb=64"
                        .to_owned()
                })?;
                let value: Option<u64> = parse(value)?;
                let value = value.map(|value| limit.check(value)).transpose();
                value.map(|value| Self::Limit(limit, value)).map_err(|error| error.to_string())
            }
        }
    }
}

fn choose<T: Copy + fmt::Display>(value: Option<&str>, known: &[T]) -> Result<Option<T>, String> {
    let Some(value) = value else { return Ok(None) };
    let found = known.iter().copied().find(|known| known.to_string() == value);
    found.map(Some).ok_or_else(|| {
        let known: Vec<String> = known.iter().map(ToString::to_string).collect();
        format!("expected one of {}", known.join(", "))
    })
}

/// Adds to a grant what is asked for.
///
/// # Errors
/// Where it is not asked for, so that granting it would change nothing.
pub fn allow(grant: &mut Grant, requests: &Capabilities, entry: &Entry) -> Result<(), Failure> {
    match entry {
        Entry::Net(Some(entry)) => {
            if !requests.net.iter().any(|requested| requested.overlaps(entry)) {
                return Err(unasked(&format!("net={entry}"), &requests.net));
            }
            if !grant.net.contains(entry) {
                grant.net.push(entry.clone());
            }
        }
        Entry::Net(None) => {
            let missing = requests.net.iter().filter(|entry| !grant.net.contains(entry));
            let missing: Vec<NetPattern> = missing.cloned().collect();
            grant.net.extend(missing);
        }
        Entry::Fs(access) => {
            let access = access.unwrap_or(requests.fs);
            if access > requests.fs {
                return Err(unasked(&format!("fs={access}"), [requests.fs]));
            }
            grant.fs = grant.fs.max(access);
        }
        Entry::Scratch(mode) => {
            let mode = mode.unwrap_or(requests.scratch);
            if mode > requests.scratch {
                return Err(unasked(&format!("scratch={mode}"), [requests.scratch]));
            }
            grant.scratch = grant.scratch.max(mode);
        }
        Entry::Env(Some(name)) if !requests.env.contains(name) => {
            return Err(unasked(&format!("env={name}"), &requests.env));
        }
        Entry::Env(Some(name)) => drop(grant.env.insert(name.clone())),
        Entry::Env(None) => grant.env.extend(requests.env.iter().cloned()),
        Entry::Secret(Some(name)) if !requests.secrets.contains_key(name) => {
            return Err(unasked(&format!("secret={name}"), requests.secrets.keys()));
        }
        Entry::Secret(Some(name)) => drop(grant.secrets.insert(name.clone())),
        Entry::Secret(None) => grant.secrets.extend(requests.secrets.keys().cloned()),
        Entry::Limit(limit, value) => allow_limit(grant, requests, *limit, *value)?,
    }
    Ok(())
}

fn allow_limit(
    grant: &mut Grant,
    requests: &Capabilities,
    limit: Limit,
    value: Option<u64>,
) -> Result<(), Failure> {
    let requested = requests.limits.get(limit);
    let Some(value) = value.or(requested) else {
        grant.limits.lift(limit);
        return Ok(());
    };
    if requested.is_some_and(|requested| value > requested) {
        return Err(unasked(&format!("{limit}={value}"), requested));
    }
    grant.limits.set(limit, value).map_err(|error| Failure::new(Exit::Usage, error.to_string()))
}

fn unasked<T: fmt::Display>(entry: &str, asked: impl IntoIterator<Item = T>) -> Failure {
    let asked: Vec<String> = asked.into_iter().map(|item| item.to_string()).collect();
    let help = match asked.as_slice() {
        [] => "it asks for nothing of the kind".to_owned(),
        asked => format!("it asks for: {}", asked.join(", ")),
    };
    let message =
        format!("`{entry}` could never take effect: the tool's manifest does not ask for it");
    Failure::new(Exit::Usage, message).help(help)
}

/// Takes something from a grant.
///
/// # Errors
/// Where it is not in the grant, or the whole of which it is a part would have to go.
pub fn deny(grant: &mut Grant, entry: &Entry) -> Result<(), Failure> {
    match entry {
        Entry::Net(Some(entry)) => {
            let before = grant.net.len();
            grant.net.retain(|granted| granted != entry);
            if grant.net.len() == before {
                return Err(not_granted(&format!("net={entry}"), &grant.net));
            }
        }
        Entry::Net(None) => grant.net.clear(),
        Entry::Fs(access) => {
            grant.fs = match access {
                Some(FsAccess::Sandbox) => grant.fs.min(FsAccess::ReadOnly),
                _ => FsAccess::None,
            };
        }
        Entry::Scratch(_) => grant.scratch = ScratchMode::Emptied,
        Entry::Env(Some(name)) => {
            if !grant.env.remove(name) {
                return Err(not_granted(&format!("env={name}"), &grant.env));
            }
        }
        Entry::Env(None) => grant.env.clear(),
        Entry::Secret(Some(name)) => {
            if !grant.secrets.remove(name) {
                return Err(not_granted(&format!("secret={name}"), &grant.secrets));
            }
        }
        Entry::Secret(None) => grant.secrets.clear(),
        Entry::Limit(limit, _) => {
            return Err(Failure::new(Exit::Usage, format!("{limit} cannot be denied altogether"))
                .help(format!("allow less: --allow {limit}=1")));
        }
    }
    Ok(())
}

fn not_granted<T: fmt::Display>(entry: &str, granted: impl IntoIterator<Item = T>) -> Failure {
    let granted: Vec<String> = granted.into_iter().map(|item| item.to_string()).collect();
    let help = match granted.as_slice() {
        [] => "nothing of the kind is granted".to_owned(),
        granted => format!("granted are, each as a whole: {}", granted.join(", ")),
    };
    Failure::new(Exit::NotFound, format!("`{entry}` is not an entry of the grant")).help(help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kami_core::policy::{Policy, Subject};
    use serde_json::json;

    fn requests() -> Capabilities {
        serde_json::from_value(json!({
            "net": ["*.example.com", "GET https://api.org/v1/*"],
            "fs": "sandbox",
            "scratch": "kept",
            "mounts": {"docs": {"access": "read-write"}},
            "env": ["LANG", "HOME"],
            "secrets": {"T": {"env": true}},
            "limits": {"max-memory-mb": 64},
        }))
        .unwrap()
    }

    fn shown(grant: &Grant, policy: &str) -> Vec<String> {
        let text = format!("version = 1\n{policy}");
        let policy = Policy::parse(&text, std::path::Path::new("/srv")).unwrap();
        let id = "dev.example.t".parse().unwrap();
        let ruling = policy.apply(Subject { id: &id, signer: None, label: None }, grant).unwrap();
        let rows = rows(&requests(), &ruling);
        let told = cut(&rows).map(|row| {
            let Row { kind, thing, granted, policy, effective, cut_by, .. } = row;
            let by = cut_by.as_deref().unwrap_or_default();
            format!("{kind} {thing}: {granted}/{policy} -> {effective} ({by})")
        });
        told.collect()
    }

    #[test]
    fn each_row_says_who_cut_it() {
        let mut grant = Grant::all(&requests());
        assert_eq!(shown(&grant, ""), ["mount docs: not bound/ -> no (grant)"]);
        let binding = json!({"path": "/srv/docs", "access": "read-only"});
        grant.mounts.insert("docs".parse().unwrap(), serde_json::from_value(binding).unwrap());
        grant.net = vec!["api.example.com".parse().unwrap(), "other.net".parse().unwrap()];
        grant.env = ["LANG".parse().unwrap()].into();
        let policy = r#"
            [default.ceiling]
            fs = "read-only"
            env = ["HOME"]
            limits.max-memory-mb = 32
            [tool."dev.example.*".ceiling]
            mount-roots = ["/data"]
            secrets = []
        "#;
        assert_eq!(
            shown(&grant, policy),
            [
                "net *.example.com: api.example.com/ -> in part (grant)",
                "net GET https://api.org/v1/*: no/ -> no (grant)",
                "net other.net: yes/ -> no (manifest)",
                "fs : sandbox/read-only -> read-only ([default])",
                "mount docs: /srv/docs (read-only)/no -> no ([tool.\"dev.example.*\"])",
                "env HOME: no/yes -> no (grant)",
                "env LANG: yes/no -> no ([default])",
                "secret T: yes/no -> no ([tool.\"dev.example.*\"])",
                "limit max-memory-mb: 64/32 -> 32 ([default])",
            ]
        );
    }

    #[test]
    fn edits_give_what_is_asked_for_and_take_what_was_given() {
        let asked = requests();
        let entry = |text: &str| text.parse::<Entry>().unwrap_or_else(|e| panic!("{text}: {e}"));
        let mut grant = Grant::default();
        for text in ["net", "fs", "scratch", "env", "secret", "max-memory-mb"] {
            allow(&mut grant, &asked, &entry(text)).unwrap();
        }
        let all = Grant::all(&asked);
        assert_eq!((&grant.net, &grant.env, &grant.secrets), (&all.net, &all.env, &all.secrets));
        assert_eq!((grant.fs, grant.scratch), (all.fs, all.scratch));
        for text in
            ["net=other.org", "net=POST api.org", "env=PATH", "secret=OTHER", "max-memory-mb=65"]
        {
            let error = allow(&mut grant, &asked, &entry(text)).unwrap_err();
            assert!(error.to_string().contains("could never take effect"), "{text}: {error}");
        }
        // What a denial's hint says.
        allow(&mut grant, &asked, &entry("net=https://api.example.com")).unwrap();
        deny(&mut grant, &entry("net=*.example.com")).unwrap();
        assert!(deny(&mut grant, &entry("net=www.example.com")).is_err());
        for text in ["net", "fs", "scratch=kept", "env=HOME", "env", "secret=T"] {
            deny(&mut grant, &entry(text)).unwrap();
        }
        assert!(deny(&mut grant, &entry("max-memory-mb=3")).is_err());
        assert_eq!(Grant { limits: Default::default(), ..grant }, Grant::default());
        for text in ["", "nets", "fs=all", "net=", "max-memory-mb=0", "env=A B"] {
            assert!(text.parse::<Entry>().is_err(), "{text}");
        }
    }
}
