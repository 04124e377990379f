//! What an artifact asks for, in words for people.

use std::time::Duration;

use kami_core::grants::{
    Capabilities, FsAccess, Grant, Limit, Limits, NetPattern, SCRATCH_PATH, ScratchMode,
    SecretName, SecretRequest,
};
use kami_core::manifest::Manifest;
use kami_core::manifest::difference::{Change, Difference};

/// One thing that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What kind of thing.
    pub subject: &'static str,
    /// The thing. It holds the author's words: see [`printable`](crate::shell::printable).
    pub text: String,
}

/// Everything that is asked for; the limits stand last, and are always there.
pub fn requests(requests: &Capabilities) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut add = |subject, text| lines.push(Line { subject, text });
    for pattern in &requests.net {
        add("network", network(pattern));
    }
    if requests.fs == FsAccess::Sandbox {
        let kept = match requests.scratch {
            ScratchMode::Emptied => "emptied after each call",
            ScratchMode::Kept => "KEPT from call to call",
        };
        add("files", format!("a private scratch directory at {SCRATCH_PATH}, {kept}"));
    }
    for (name, mount) in &requests.mounts {
        let mut text = format!("{} ({}) at {}", name, mount.access, name.guest_path());
        if !mount.description.is_empty() {
            text += &format!(": {}", mount.description);
        }
        add("directory", text);
    }
    if !requests.env.is_empty() {
        add("environment", list(&requests.env));
    }
    for (name, request) in &requests.secrets {
        add("secret", secret(name, request));
    }
    add("limits", limits(requests.limits));
    lines
}

/// Everything that is offered, with the first line of what a model or a person is told about it.
pub fn offers(manifest: &Manifest) -> Vec<Line> {
    let line = |subject, name: &str, description: &str| {
        let mut lines = description.lines();
        let first = lines.next().unwrap_or_default();
        let more = if lines.next().is_some() { " …" } else { "" };
        let separator = if first.is_empty() { "" } else { ": " };
        Line { subject, text: format!("{name}{separator}{first}{more}") }
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let tools = manifest.tools.iter();
    let tools = tools.map(|tool| line("tool", tool.name.as_str(), &tool.description));
    let resources = manifest.resources.iter().map(|resource| {
        line("resource", resource.uri.as_str(), &text(&resource.about.description))
    });
    let templates = manifest.resource_templates.iter().map(|template| {
        line("resources", template.uri_template.as_str(), &text(&template.about.description))
    });
    let prompts = manifest.prompts.iter();
    let prompts =
        prompts.map(|prompt| line("prompt", prompt.name.as_str(), &text(&prompt.description)));
    tools.chain(resources).chain(templates).chain(prompts).collect()
}

/// Everything that is granted.
pub fn grant(grant: &Grant) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut add = |subject, text| lines.push(Line { subject, text });
    for pattern in &grant.net {
        add("network", network(pattern));
    }
    add("files", grant.fs.to_string());
    if grant.scratch == ScratchMode::Kept {
        add("files", format!("{SCRATCH_PATH} may be kept"));
    }
    if !grant.env.is_empty() {
        add("environment", list(&grant.env));
    }
    if !grant.secrets.is_empty() {
        add("secrets", list(&grant.secrets));
    }
    let limits = grant.limits.iter().map(|(limit, value)| limit_value(limit, value));
    let limits = limits.collect::<Vec<_>>().join(", ");
    if !limits.is_empty() {
        add("limits", limits);
    }
    lines
}

/// What an update changes, in rows that begin with `+` and `-`.
pub fn difference(difference: &Difference) -> Vec<Line> {
    let text = format!("from {} to {}", difference.before, difference.after);
    let mut lines = vec![Line { subject: "update", text }];
    for change in &difference.changes {
        lines.push(Line { subject: "changed", text: change.thing.to_string() });
        let rows = rows(change);
        let hidden = rows.len().saturating_sub(MOST_ROWS);
        let shown = rows.into_iter().take(MOST_ROWS);
        lines.extend(shown.map(|text| Line { subject: "", text }));
        if hidden > 0 {
            let text =
                format!("… and {hidden} more rows: `cargo kami inspect FILE --json` has all");
            lines.push(Line { subject: "", text });
        }
    }
    lines
}

/// How many rows of one change are shown: a long description has fewer.
const MOST_ROWS: usize = 400;

/// How many characters a row has, so that none is cut and nothing hides behind its end.
const ROW: usize = 96;

/// The rows in which both sides differ. What they begin and end with alike is left out.
fn rows(change: &Change) -> Vec<String> {
    let side = |text: &Option<String>| text.iter().flat_map(|text| wrap(text)).collect::<Vec<_>>();
    let (before, after) = (side(&change.before), side(&change.after));
    let same = |(one, other): &(&String, &String)| one == other;
    let start = before.iter().zip(&after).take_while(same).count();
    let (before, after) = (&before[start..], &after[start..]);
    let end = before.iter().rev().zip(after.iter().rev()).take_while(same).count();
    let signed = |sign: char, rows: &[String]| {
        let rows = &rows[..rows.len() - end];
        rows.iter().map(|row| format!("{sign} {row}")).collect::<Vec<_>>()
    };
    [signed('-', before), signed('+', after)].concat()
}

/// Breaks lines at spaces, or where there are none for long, anywhere.
fn wrap(text: &str) -> Vec<String> {
    let mut rows = Vec::new();
    for line in text.lines() {
        let mut row = String::new();
        let mut length = 0;
        for word in line.split_inclusive(' ') {
            let word: Vec<char> = word.chars().collect();
            if length > 0 && length + word.len() > ROW {
                rows.push(std::mem::take(&mut row));
                length = 0;
            }
            for part in word.chunks(ROW) {
                if length + part.len() > ROW {
                    rows.push(std::mem::take(&mut row));
                    length = 0;
                }
                row.extend(part);
                length += part.len();
            }
        }
        rows.push(row);
    }
    rows
}

/// An entry as a sentence: `GET https://api.example.com/repos/*` is exact, `example.com` is not
/// obviously more than a web site.
fn network(pattern: &NetPattern) -> String {
    let entry = match pattern.is_everything() {
        true => format!("EVERY public host ({pattern})"),
        false => pattern.to_string(),
    };
    match (pattern.permits_requests(), pattern.permits_sockets()) {
        (true, true) => format!("{entry}: HTTP requests and TCP connections"),
        (false, _) => format!("{entry}: TCP connections"),
        (true, false) => format!("{entry}: HTTP requests"),
    }
}

fn secret(name: &SecretName, request: &SecretRequest) -> String {
    let mut uses = Vec::new();
    if let Some(inject) = &request.inject {
        uses.push(format!("sent to {} as `{}`, unseen by the tool", inject.host, inject.header));
    }
    if request.env {
        uses.push("READ BY THE TOOL ITSELF, which can tell it to every host it reaches".to_owned());
    }
    let mut text = format!("{name}: {}", uses.join("; "));
    if !request.description.is_empty() {
        text += &format!(" ({})", request.description);
    }
    text
}

/// Memory and time always, and whatever is other than it would be by itself.
fn limits(limits: Limits) -> String {
    let told = Limit::ALL.into_iter().filter(|limit| {
        matches!(limit, Limit::Memory | Limit::Execution) || limits.get(*limit) != limit.default()
    });
    let told = told.filter_map(|limit| Some(limit_value(limit, limits.get(limit)?)));
    told.collect::<Vec<_>>().join(", ")
}

/// A limit with its value, as people say it.
pub fn limit_value(limit: Limit, value: u64) -> String {
    let seconds = |what: &str| format!("{}{what}", duration(Duration::from_millis(value)));
    match limit {
        Limit::Execution => seconds(""),
        Limit::Cpu => seconds(" of processor time"),
        _ => format!("{value} {}", limit.describe()),
    }
}

fn duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis.is_multiple_of(1000) {
        format!("{} s", millis / 1000)
    } else {
        format!("{millis} ms")
    }
}

fn list<'a, T: ToString + 'a>(items: impl IntoIterator<Item = &'a T>) -> String {
    items.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A number of bytes, as people say it.
pub fn size(bytes: usize) -> String {
    const KIB: usize = 1 << 10;
    const MIB: usize = 1 << 20;
    match bytes {
        MIB.. => format!("{:.1} MiB", bytes as f64 / MIB as f64),
        KIB.. => format!("{:.1} KiB", bytes as f64 / KIB as f64),
        _ => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use kami_core::manifest::difference::{Thing, Weight};

    use super::*;

    #[test]
    fn a_tool_that_asks_for_nothing_has_limits_all_the_same() {
        let lines = requests(&Capabilities::default());
        let text = "64 MiB of memory, 5 s".to_owned();
        assert_eq!(lines, [Line { subject: "limits", text }]);
    }

    #[test]
    fn only_what_differs_is_shown_and_none_of_it_is_cut() {
        let change = |before: &str, after: &str| Change {
            thing: Thing::Network,
            before: Some(before.to_owned()),
            after: Some(after.to_owned()),
            weight: Weight::Told,
        };
        assert_eq!(rows(&change("a\nb\nc", "a\nx\ny\nc")), ["- b", "+ x", "+ y"]);
        assert_eq!(rows(&change("a", "a\na")), ["+ a"]);
        let long = "word ".repeat(1000) + &"x".repeat(500);
        let shown = rows(&change("", &long));
        assert!(shown.iter().all(|row| row.chars().count() <= ROW + 2));
        let whole: String = shown.iter().map(|row| &row[2..]).collect();
        assert_eq!(whole, long);
    }

    #[test]
    fn sizes_are_rounded_for_people() {
        let said: Vec<String> = [999, 1024, 1_600_000].map(size).into();
        assert_eq!(said, ["999 bytes", "1.0 KiB", "1.5 MiB"]);
    }
}
