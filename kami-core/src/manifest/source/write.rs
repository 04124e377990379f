//! The author's table the other way round: requests as an author would write them.

use std::fmt::Display;

use toml::Value;

use super::reader::below;
use super::{
    ACCESS, DESCRIPTION, ENV, FS, HEADER, HOST, MOUNTS, NET, SCRATCH, SECRET_ENV, SECRETS, SECURITY,
};
use crate::grants::{Access, Capabilities, FsAccess, Limit, Limits, ScratchMode};

/// The tables that ask for `requests`, below `table`, such as `package.metadata.kami`.
///
/// What is asked for by default is left out. Reading it gives the same requests again.
pub fn write(requests: &Capabilities, table: &str) -> String {
    let mut tables = vec![(below(table, SECURITY.name()), security(requests))];
    for (name, secret) in &requests.secrets {
        let mut lines = Vec::new();
        if !secret.description.is_empty() {
            lines.push(line(DESCRIPTION.name(), quoted(&secret.description)));
        }
        if let Some(inject) = &secret.inject {
            lines.push(line(HOST.name(), quoted(&inject.host.to_string())));
            lines.push(line(HEADER.name(), quoted(&inject.header.to_string())));
        }
        if secret.env {
            lines.push(line(SECRET_ENV.name(), "true".to_owned()));
        }
        tables.push((below(&below(table, SECRETS.name()), name.as_str()), lines));
    }
    for (name, mount) in &requests.mounts {
        let mut lines = Vec::new();
        if mount.access != Access::default() {
            lines.push(line(ACCESS.name(), quoted(&mount.access.to_string())));
        }
        if !mount.description.is_empty() {
            lines.push(line(DESCRIPTION.name(), quoted(&mount.description)));
        }
        tables.push((below(&below(table, MOUNTS.name()), name.as_str()), lines));
    }
    let text = tables.iter().map(|(header, lines)| format!("[{header}]\n{}", lines.concat()));
    text.collect::<Vec<_>>().join("\n")
}

/// The lines of the table `security`.
fn security(requests: &Capabilities) -> Vec<String> {
    let mut lines = Vec::new();
    let list = |entries: Vec<String>| match entries.as_slice() {
        [only] => format!("[{only}]"),
        entries => {
            let entries = entries.iter().map(|entry| format!("    {entry},\n"));
            format!("[\n{}]", entries.collect::<String>())
        }
    };
    if !requests.net.is_empty() {
        let entries = requests.net.iter().map(|entry| quoted(entry.as_str()));
        lines.push(line(NET.name(), list(entries.collect())));
    }
    if requests.fs != FsAccess::default() {
        lines.push(line(FS.name(), quoted(&requests.fs.to_string())));
    }
    if requests.scratch != ScratchMode::default() {
        lines.push(line(SCRATCH.name(), quoted(&requests.scratch.to_string())));
    }
    if !requests.env.is_empty() {
        let names = requests.env.iter().map(|name| quoted(name.as_str()));
        lines.push(line(ENV.name(), list(names.collect())));
    }
    let usual = Limits::default();
    for limit in Limit::ALL {
        let value = requests.limits.get(limit).filter(|value| usual.get(limit) != Some(*value));
        lines.extend(value.map(|value| line(limit.key(), value)));
    }
    lines
}

fn line(key: &str, value: impl Display) -> String {
    format!("{key} = {value}\n")
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
