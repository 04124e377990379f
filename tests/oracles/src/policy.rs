//! What a policy makes of a package, by another way than the policy's own: labels are compared as
//! lists, and sections are ranked by one number.

use std::path::Path;

use kami_core::grants::Grant;
use kami_core::policy::{Policy, SectionName, Subject, parse_grant};
use kami_core::signing::PublicKey;
use toml::{Table, Value};

use crate::{examples, source};

/// Where relative paths of a policy begin.
const DIRECTORY: &str = "/srv";

/// The most packages, signers and labels that are tried with one policy, each.
const TRIED: usize = 6;

/// Reads `bytes` as a policy, and asks it about packages of which it speaks, and some of which not.
///
/// # Panics
/// Where a mistake has no place in the text, or a package is treated otherwise than the rules say.
pub fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Err(error) = parse_grant(&text, Path::new(DIRECTORY)) {
        source::check_problems(&text, &error);
    }
    let policy = match Policy::parse(&text, Path::new(DIRECTORY)) {
        Ok(policy) => policy,
        Err(error) => return source::check_problems(&text, &error),
    };
    let table: Table = text.parse().expect("a policy is TOML");
    let sections = sections(&table);
    let named = |kind: &'static str| {
        sections.iter().filter(move |section| section.kind == kind).map(|section| section.name)
    };
    let ids = named("tool").flat_map(|name| {
        let name = name.trim_end_matches(".*");
        [name.to_owned(), format!("{name}.below")]
    });
    let keys = named("publisher").filter_map(|name| name.parse::<PublicKey>().ok());
    let keys = keys.map(Some).chain([None, Some(examples::key().public())]);
    let labels = named("publisher").map(Some).chain([None, Some("nobody")]);
    for id in ids.chain(["org.other".to_owned()]).take(TRIED) {
        for key in keys.clone().take(TRIED) {
            for label in labels.clone().take(TRIED) {
                check_decision(&policy, &table, &sections, &id, key.as_ref(), label);
            }
        }
    }
}

/// Compares what a policy and the rules say about one package.
fn check_decision(
    policy: &Policy,
    table: &Table,
    sections: &[Section<'_>],
    id: &str,
    key: Option<&PublicKey>,
    label: Option<&str>,
) {
    // What is no id names no package.
    let Ok(package) = id.parse() else { return };
    let subject = Subject { id: &package, signer: key, label };
    // Says more than nothing, so that it differs from a grant that is left out.
    let operator =
        Grant { env: ["BY_THE_OPERATOR".parse().expect("a name")].into(), ..Grant::default() };
    let applied = policy.apply(subject, &operator);
    let place = |name: &SectionName| {
        let at = sections.iter().position(|section| section.is(name));
        at.unwrap_or_else(|| panic!("{name} is not in the policy"))
    };
    let decided = match &applied {
        Err(refusal) => Decision::Refused(place(&refusal.section)),
        Ok(ruling) => {
            let mut ceilings: Vec<_> = ruling.ceilings.iter().map(|(at, _)| place(at)).collect();
            ceilings.sort_unstable();
            let granted_by = ruling.granted_by.as_ref().map(place);
            Decision::Permitted { granted_by, ceilings, priority: ruling.priority.to_string() }
        }
    };
    let key = key.map(ToString::to_string);
    assert_eq!(decided, decide(sections, id, key.as_deref(), label), "{id} {key:?} {label:?}");
    if let Ok(ruling) = applied {
        let said = ruling.granted_by.as_ref().map(|name| grant_of(table, &sections[place(name)]));
        assert_eq!(ruling.grant, said.unwrap_or(operator), "{id}");
    }
}

/// The grant of a section, read alone.
fn grant_of(table: &Table, section: &Section<'_>) -> Grant {
    let table = match section.kind {
        "default" => &table["default"],
        kind => &table[kind][section.name],
    };
    let text = toml::to_string(&table["grant"]).expect("what was read can be written");
    parse_grant(&text, Path::new(DIRECTORY)).expect("it is a grant there too")
}

/// The sections of a policy that can be read, in any order.
fn sections(table: &Table) -> Vec<Section<'_>> {
    fn section<'a>(kind: &'a str, name: &'a str, value: &'a Value) -> Section<'a> {
        Section {
            kind,
            name,
            refuse: value.get("refuse").and_then(Value::as_bool),
            priority: value.get("priority").and_then(Value::as_str),
            grants: value.get("grant").is_some(),
            has_ceiling: value.get("ceiling").is_some(),
        }
    }
    let default = table.get("default").map(|value| section("default", "", value));
    let named = ["publisher", "tool"].into_iter().flat_map(|kind| {
        let tables = table.get(kind).and_then(Value::as_table).into_iter().flatten();
        tables.map(move |(name, value)| section(kind, name, value))
    });
    default.into_iter().chain(named).collect()
}

/// One section that says everything there is to say.
#[derive(Debug, Clone, Copy)]
pub struct Section<'a> {
    /// `default`, `publisher` or `tool`.
    pub kind: &'a str,
    /// The key or label, or the id or pattern; empty for the default.
    pub name: &'a str,
    /// What it says about refusing, if anything.
    pub refuse: Option<bool>,
    /// What it says about priority, if anything.
    pub priority: Option<&'a str>,
    /// Whether it has a grant.
    pub grants: bool,
    /// Whether it has a ceiling.
    pub has_ceiling: bool,
}

impl Section<'_> {
    /// Whether it is the one that is shown as `name`.
    fn is(&self, name: &SectionName) -> bool {
        match name {
            SectionName::Default => self.kind == "default",
            SectionName::Publisher(maker) => {
                self.kind == "publisher" && self.name == maker.to_string()
            }
            SectionName::Tool(pattern) => self.kind == "tool" && self.name == pattern.to_string(),
        }
    }
}

/// What sections make of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is refused, by the section at this place.
    Refused(usize),
    /// It may run.
    Permitted {
        /// The section whose grant replaces the operator's.
        granted_by: Option<usize>,
        /// The sections whose ceilings hold, in the order of their places.
        ceilings: Vec<usize>,
        /// How urgent its calls are.
        priority: String,
    },
}

/// Decides about the package `id`, signed by `key`, which is trusted under `label`.
pub fn decide(
    sections: &[Section<'_>],
    id: &str,
    key: Option<&str>,
    label: Option<&str>,
) -> Decision {
    let ranked = |says: &dyn Fn(&Section<'_>) -> bool| {
        let applying = sections.iter().enumerate().filter(|(_, section)| says(section));
        applying
            .filter_map(|(at, section)| Some((rank(section, id, key, label)?, at)))
            .max()
            .map(|(_, at)| at)
    };
    if let Some(at) = ranked(&|section| section.refuse.is_some())
        && sections[at].refuse == Some(true)
    {
        return Decision::Refused(at);
    }
    let holds =
        |at: &usize| sections[*at].has_ceiling && rank(&sections[*at], id, key, label).is_some();
    let urgent = ranked(&|section| section.priority.is_some());
    Decision::Permitted {
        granted_by: ranked(&|section| section.grants),
        ceilings: (0..sections.len()).filter(holds).collect(),
        priority: urgent.and_then(|at| sections[at].priority).unwrap_or("normal").to_owned(),
    }
}

/// How specific a section is about a package; `None` where it is about others.
fn rank(section: &Section<'_>, id: &str, key: Option<&str>, label: Option<&str>) -> Option<usize> {
    let labels: Vec<&str> = id.split('.').collect();
    match section.kind {
        "default" => Some(0),
        "publisher" if key == Some(section.name) => Some(2),
        // What looks like a key is one, whatever somebody calls his own.
        "publisher" if section.name.starts_with("ed25519:") => None,
        "publisher" if key.is_some() && label == Some(section.name) => Some(1),
        "tool" if section.name == id => Some(usize::MAX),
        "tool" => {
            let pattern: Vec<&str> = section.name.split('.').collect();
            let (last, above) = pattern.split_last()?;
            let below = *last == "*" && labels.len() > above.len() && labels.starts_with(above);
            below.then_some(2 + above.len())
        }
        _ => None,
    }
}

/// Policies with everything in them, and with mistakes.
pub fn examples() -> Vec<Vec<u8>> {
    let maker =
        format!("version = 1\n[publisher.\"{}\"]\ngrant = {{}}\n", examples::key().public());
    POLICIES.iter().map(|text| text.as_bytes().to_vec()).chain([maker.into_bytes()]).collect()
}

/// What operators write.
const POLICIES: &[&str] = &[
    "version = 1\n",
    r#"version = 1
[server]
max-calls-per-minute = 600
[audit]
arguments = "full"
[default]
refuse = true
priority = "low"
[default.ceiling]
net = ["*.example.com", "10.0.0.0/8:443"]
fs = "read-only"
mount-roots = ["/srv", "./data"]
env = ["LANG"]
secrets = ["TOKEN"]
limits = { max-memory-mb = 64, max-execution-ms = 1_000 }
[publisher.alice]
refuse = false
grant = { net = ["GET https://api.example.com/v1/*"], env = ["LANG"] }
[tool."dev.example.*"]
refuse = true
[tool."dev.example.fetch"]
refuse = false
priority = "high"
[tool."dev.example.fetch".grant]
fs = "sandbox"
scratch = "kept"
secrets = ["TOKEN"]
mounts = { docs = { path = "./docs", access = "read-write" } }
limits = { max-cpu-ms = 10 }
"#,
    "version = 2\n[tool.\"nonsense\"]\nrefuse = \"yes\"\npriority = 1\n[default.grant]\nmount-roots = 1\n",
    "net = [\"example.com\"]\nfs = \"none\"\nlimits = { max-memory-mb = 1 }\n",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn text(sections: &[Section<'_>]) -> String {
        let mut text = "version = 1\n".to_owned();
        for Section { kind, name, refuse, priority, grants, has_ceiling } in sections {
            let name = if name.is_empty() { String::new() } else { format!(".\"{name}\"") };
            text += &format!("[{kind}{name}]\n");
            text += &refuse.map(|refuse| format!("refuse = {refuse}\n")).unwrap_or_default();
            let priority = priority.map(|priority| format!("priority = \"{priority}\"\n"));
            text += &priority.unwrap_or_default();
            text += if *grants { "grant = {}\n" } else { "" };
            text += if *has_ceiling { "ceiling = {}\n" } else { "" };
        }
        text
    }

    /// Every set of sections, about every package, with something else in each section each time.
    #[test]
    fn policies_decide_as_the_oracle_does() {
        let signer = examples::key().public();
        let key = signer.to_string();
        let names = [
            ("default", ""),
            ("publisher", "alice"),
            ("publisher", key.as_str()),
            ("tool", "dev.example.*"),
            ("tool", "dev.example.deep.*"),
            ("tool", "dev.example.deep.fetch"),
        ];
        let mut refused = 0;
        for set in 1..1 << names.len() {
            for salt in 0..8_usize {
                let chosen = (0..names.len()).filter(|at| set >> at & 1 == 1);
                let written = chosen.map(|at| {
                    let mix = (set ^ (salt * 37)).wrapping_mul(at * 2 + 3) >> 1;
                    Section {
                        kind: names[at].0,
                        name: names[at].1,
                        refuse: [None, Some(true), Some(false), None][mix % 4],
                        priority: [None, Some("low"), Some("normal"), Some("high")][mix / 2 % 4],
                        grants: mix / 4 % 2 == 1,
                        has_ceiling: mix / 8 % 2 == 1,
                    }
                });
                let text = text(&written.collect::<Vec<_>>());
                let policy = Policy::parse(&text, Path::new(DIRECTORY)).unwrap();
                let table: Table = text.parse().unwrap();
                let sections = sections(&table);
                for id in ["org.other", "dev.example", "dev.example.deep", "dev.example.deep.fetch"]
                {
                    for (signer, label) in
                        [(None, None), (Some(&signer), None), (Some(&signer), Some("alice"))]
                    {
                        check_decision(&policy, &table, &sections, id, signer, label);
                        let key = signer.map(|_| key.as_str());
                        let decision = decide(&sections, id, key, label);
                        refused += usize::from(matches!(decision, Decision::Refused(_)));
                    }
                }
            }
        }
        assert!(refused > 100, "only {refused} were refused");
    }
}
