//! `cargo kami config`: what holds of all options, and why.

use serde::Serialize;

use super::serve;
use crate::config::{Effective, Origin};
use crate::exit::{Exit, Failure};
use crate::settings::Settings;
use crate::shell::Shell;

/// Show each option's value, and where it comes from
///
/// An option is what was typed; else what a variable says (KAMI_ and its name, as
/// KAMI_MAX_CONCURRENT); else what the profile of `--profile` says, which is a table in the config
/// file; else what that file says; else its default. Global options stand at the top of the file, and
/// those of `serve` under [serve]:
///
///   version = 1
///   log-format = "json"
///   [serve]
///   http = "127.0.0.1:3000"
///   max-concurrent = 16
///   [profile.office]
///   tag = ["office"]
///
/// Give options of `serve` to see what it would make of them.
#[derive(Debug, clap::Args)]
// `serve` has a group of the usual name.
#[group(id = "config-options")]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  cargo kami config
  cargo kami config serve.http
  cargo kami config --profile office --max-concurrent 4
  cargo kami config --json | jq -r 'select(.from != \"default\") | .key'"
)]
pub struct Args {
    /// Show the value of this one alone
    #[arg(value_name = "KEY")]
    key: Option<String>,
    /// Tell each as JSON on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    serve: Box<serve::Args>,
}

#[derive(Serialize)]
struct Line<'a> {
    key: &'a str,
    values: &'a [String],
    from: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    variable: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
}

impl<'a> Line<'a> {
    fn of(value: &'a Effective) -> Self {
        let line = Self {
            key: &value.key,
            values: &value.values,
            from: "default",
            variable: None,
            file: None,
            line: None,
        };
        match &value.origin {
            Origin::Default => line,
            Origin::Flag => Self { from: "flag", ..line },
            Origin::Variable(name) => Self { from: "environment", variable: Some(name), ..line },
            Origin::File { path, line: at } => {
                let file = Some(path.display().to_string());
                Self { from: "file", file, line: Some(*at), ..line }
            }
        }
    }
}

pub fn run(args: &Args, settings: &Settings, shell: &Shell) -> anyhow::Result<Exit> {
    let mut values = settings.config.values.clone();
    for (key, value) in args.serve.derived() {
        let unsaid = values.iter_mut().find(|found| found.key == key && found.values.is_empty());
        unsaid.into_iter().for_each(|found| found.values = vec![value.clone()]);
    }
    for (key, path) in [
        ("data-dir", settings.data_dir.path()),
        ("config", &*settings.config.file),
        ("policy", settings.policy.path()),
    ] {
        let found = values.iter_mut().find(|found| found.key == key);
        found.into_iter().for_each(|found| found.values = vec![path.display().to_string()]);
    }
    if let Some(key) = &args.key {
        values.retain(|value| value.key == *key);
        if values.is_empty() {
            let failure = Failure::new(Exit::NotFound, format!("there is no option `{key}`"));
            return Err(failure.help("`cargo kami config` shows all of them").into());
        }
    }
    if args.key.is_none() && !settings.config.file.exists() {
        let file = settings.config.file.display();
        shell.note(format_args!("there is no config file at {file}"));
    }
    for value in &values {
        if args.json {
            shell.json(&Line::of(value))?;
        } else if args.key.is_some() {
            value.values.iter().try_for_each(|value| shell.data(value))?;
        } else {
            let shown = match value.values.as_slice() {
                [] => "-".to_owned(),
                values => values.join(","),
            };
            shell.data(format_args!("{:<28} {shown:<32} {}", value.key, value.origin))?;
        }
    }
    Ok(Exit::Success)
}
