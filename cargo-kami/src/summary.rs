//! What an artifact asks for, in words for people.

use std::time::Duration;

use kami_core::grants::{Capabilities, FsAccess, Limits, SCRATCH_PATH};

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
    if !requests.net.is_empty() {
        let entries = requests.net.iter().map(|pattern| match pattern.as_str() {
            "*" => "EVERY public host".to_owned(),
            entry => entry.to_owned(),
        });
        add("network", entries.collect::<Vec<_>>().join(", "));
    }
    if requests.fs == FsAccess::Sandbox {
        add("files", format!("a private scratch directory at {SCRATCH_PATH}"));
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
    add("limits", limits(requests.limits));
    lines
}

fn limits(limits: Limits) -> String {
    let mut text =
        format!("{} MiB of memory, {}", limits.memory_mb(), duration(limits.execution()));
    if let Some(fuel) = limits.fuel() {
        text += &format!(", {fuel} units of fuel");
    }
    text
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
