//! What an artifact asks for, in words for people.

use std::time::Duration;

use kami_core::grants::{
    Capabilities, FsAccess, Limit, Limits, NetPattern, SCRATCH_PATH, ScratchMode, SecretName,
    SecretRequest,
};

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
    use super::*;

    #[test]
    fn a_tool_that_asks_for_nothing_has_limits_all_the_same() {
        let lines = requests(&Capabilities::default());
        let text = "64 MiB of memory, 5 s".to_owned();
        assert_eq!(lines, [Line { subject: "limits", text }]);
    }

    #[test]
    fn sizes_are_rounded_for_people() {
        let said: Vec<String> = [999, 1024, 1_600_000].map(size).into();
        assert_eq!(said, ["999 bytes", "1.0 KiB", "1.5 MiB"]);
    }
}
