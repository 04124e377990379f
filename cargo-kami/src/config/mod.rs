//! Defaults, the config file, the environment and what was typed, merged once.
//!
//! The definition of the command line says which keys there are, what they may be, and what they are
//! by default. What a file or a variable says becomes the default of the flag of the same name, in
//! [`Typed::merge`]; then the line is read once more. So there is one reader of values, and a flag that
//! is added can stand in the file at once.
//!
//! Global options stand at the top of the file, and those of `serve` under `[serve]`. Each
//! `[profile.NAME]` has options of `serve` too, which hold instead of these where that profile is named.

mod file;

use std::collections::BTreeMap;
use std::error::Error as _;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint};

use crate::diagnostic::relative;
use crate::env_vars;
use crate::exit::{Exit, Failure};
use crate::settings;
use crate::shell::{Color, Shell};
use file::ConfigFile;

/// The command whose options have a table of their own.
const SERVE: &str = "serve";

/// The command that shows what holds.
const CONFIG: &str = "config";

/// Options that choose what is merged, and cannot be in it.
const NOT_IN_A_FILE: &[&str] = &["help", "version", "config", "data-dir", "profile", "stdio"];

/// What was typed, read by itself.
pub struct Typed {
    command: Command,
    words: Vec<OsString>,
    matches: ArgMatches,
}

/// What holds for this run, and why.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Where the config file is, or would be.
    pub file: PathBuf,
    /// Each key with its value, in the order of the help.
    pub values: Vec<Effective>,
}

/// A key and its value.
#[derive(Debug, Clone)]
pub struct Effective {
    /// As in the file: `color`, or `serve.http`.
    pub key: String,
    /// None where nothing was said and nothing is the default.
    pub values: Vec<String>,
    pub origin: Origin,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    File { path: PathBuf, line: usize },
    Variable(String),
    Flag,
}

/// A value that stands for what is not typed.
#[derive(Debug, Clone)]
struct Layered {
    values: Vec<String>,
    origin: Origin,
}

/// One table of keys: the global ones, or those of `serve`.
#[derive(Default)]
struct Layer(BTreeMap<String, Layered>);

impl Typed {
    /// Reads a command line; where it is wrong or asks for help, says so and ends the process.
    pub fn read(command: Command, words: Vec<OsString>) -> Self {
        let matches = command.clone().get_matches_from(&words);
        Self { command, words, matches }
    }

    /// The terminal, as far as what was typed says how to use it.
    pub fn shell(&self) -> Shell {
        let color = self.matches.get_one::<Color>("color").copied().unwrap_or_default();
        Shell::new(color, self.matches.get_flag("quiet"))
    }

    /// Fills in what was not typed, and gives what holds.
    ///
    /// # Errors
    /// Where the file or a variable says what cannot be, or the file cannot be read.
    pub fn merge(self) -> anyhow::Result<(ArgMatches, Config)> {
        let Self { mut command, words, matches } = self;
        let given = matches.get_one::<PathBuf>("config").filter(|path| !is_empty(path));
        let path = match given {
            Some(path) => settings::absolute(path, "the config file")?,
            None => settings::data_dir(matches.get_one::<PathBuf>("data_dir"))?.config_file(),
        };
        let file = ConfigFile::read(&path, given.is_some())?;
        let serving = matches.subcommand().filter(|(name, _)| [SERVE, CONFIG].contains(name));
        let profile = match serving {
            Some((_, serve)) => serve.get_one::<String>("profile").cloned(),
            None => None,
        };
        let read = file.layers(&command, profile.as_deref(), &path)?;
        let (mut global, mut serve) = (read.global, read.serve);
        global.add_environment(&command, None)?;
        command = command.mut_args(|arg| global.fill(arg));
        if serving.is_some() {
            serve.add_environment(&command, Some(SERVE))?;
            for name in [SERVE, CONFIG] {
                command = command.mut_subcommand(name, |sub| sub.mut_args(|arg| serve.fill(arg)));
            }
        }
        let definition = command.clone();
        let matches = command.get_matches_from(words);
        let mut values = Vec::new();
        let deepest = matches.subcommand().map_or(&matches, |(_, sub)| sub);
        values.extend(effective(&definition, None, deepest, &global));
        if let Some(sub) = definition.find_subcommand(SERVE).filter(|_| serving.is_some()) {
            values.extend(effective(sub, Some(SERVE), deepest, &serve));
        }
        Ok((matches, Config { file: path, values }))
    }
}

impl Config {
    /// Refuses options of `serve` that were typed, or given by the environment, although they mean
    /// nothing without `needed`. What a file says for another time may stand there.
    ///
    /// # Errors
    /// Names the first one, and what to add.
    pub fn refuse(&self, keys: &[&str], needed: &str) -> Result<(), Failure> {
        let said = keys.iter().find_map(|key| {
            let full = format!("{SERVE}.{key}");
            match &self.values.iter().find(|value| value.key == full)?.origin {
                Origin::Default | Origin::File { .. } => None,
                Origin::Variable(name) => Some(name.clone()),
                Origin::Flag => Some(format!("--{key}")),
            }
        });
        let Some(said) = said else { return Ok(()) };
        let option = needed.split(' ').next().unwrap_or(needed);
        let message = format!("`{said}` means nothing without `{option}`");
        Err(Failure::new(Exit::Usage, message).help(format!("add `{needed}`")))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", relative(path).display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag => f.write_str("command line"),
        }
    }
}

impl Layer {
    /// Adds what the environment says, which holds instead of what is there.
    fn add_environment(&mut self, command: &Command, table: Option<&str>) -> anyhow::Result<()> {
        let definition = table.and_then(|name| command.find_subcommand(name)).unwrap_or(command);
        for key in keys(definition) {
            let name = key.get_long().unwrap_or_default();
            let found = env_vars::of_key(name).into_iter().find_map(|variable| {
                let value = std::env::var_os(&variable).filter(|value| !value.is_empty())?;
                Some((variable, value))
            });
            let Some((variable, value)) = found else { continue };
            let said = format!("{variable}={}", value.display());
            let not_so = |why: &str| {
                let help = format!("it stands for `--{name}`: see `cargo kami help serve`");
                Failure::new(Exit::Usage, format!("{said}: {why}")).help(help)
            };
            let text = value.into_string().map_err(|_| not_so("it is not Unicode"))?;
            let values = match key.get_value_delimiter() {
                Some(delimiter) => text.split(delimiter).map(str::to_owned).collect(),
                None => vec![text],
            };
            judge(command, table, key, &values).map_err(|why| not_so(&why))?;
            let layered = Layered { values, origin: Origin::Variable(variable) };
            self.0.insert(name.to_owned(), layered);
        }
        Ok(())
    }

    /// Makes what is here the default of a flag.
    fn fill(&self, arg: Arg) -> Arg {
        match arg.get_long().and_then(|name| self.0.get(name)) {
            Some(Layered { values, .. }) => arg.default_values(values.clone()),
            None => arg,
        }
    }
}

/// The options of a command that can stand in a file.
fn keys(definition: &Command) -> impl Iterator<Item = &Arg> {
    let is_key = |arg: &&Arg| arg.get_long().is_some_and(|name| !NOT_IN_A_FILE.contains(&name));
    definition.get_arguments().filter(is_key)
}

/// Whether a flag may have these values, as the command line's own reader sees it.
fn judge(
    command: &Command,
    table: Option<&str>,
    key: &Arg,
    values: &[String],
) -> Result<(), String> {
    let name = key.get_long().unwrap_or_default();
    match key.get_action() {
        ArgAction::Count => {
            let most = values.iter().all(|value| matches!(value.as_str(), "0" | "1" | "2" | "3"));
            return most.then_some(()).ok_or_else(|| "expected a number from 0 to 3".to_owned());
        }
        ArgAction::SetTrue => {
            let flag = values.iter().all(|value| matches!(value.as_str(), "true" | "false"));
            return flag.then_some(()).ok_or_else(|| "expected true or false".to_owned());
        }
        _ => {}
    }
    // Global options are read in front of any command.
    let mut words = vec!["cargo-kami".to_owned(), table.unwrap_or("status").to_owned()];
    words.extend(values.iter().map(|value| format!("--{name}={value}")));
    let Err(error) = command.clone().try_get_matches_from(words) else { return Ok(()) };
    if let Some(source) = error.source() {
        return Err(source.to_string());
    }
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(known)) => Err(format!("expected one of {}", known.join(", "))),
        _ => Err("the value cannot be read".to_owned()),
    }
}

/// Whether a value names a file, which is looked for beside the file that names it.
fn is_path(key: &Arg) -> bool {
    let hint = key.get_value_hint();
    matches!(hint, ValueHint::AnyPath | ValueHint::FilePath | ValueHint::DirPath)
}

fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

/// What holds of the options of one command.
fn effective(
    definition: &Command,
    table: Option<&str>,
    matches: &ArgMatches,
    layer: &Layer,
) -> impl Iterator<Item = Effective> {
    let in_none = ["help", "version"];
    let mut found = Vec::new();
    for arg in definition.get_arguments() {
        let Some(name) = arg.get_long().filter(|name| !in_none.contains(name)) else { continue };
        let id = arg.get_id().as_str();
        let raw = matches.get_raw(id).into_iter().flatten();
        let mut values: Vec<String> = raw.map(|value| value.display().to_string()).collect();
        let origin = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => Origin::Flag,
            Some(ValueSource::EnvVariable) => {
                let variable = arg.get_env().map(|name| name.display().to_string());
                Origin::Variable(variable.unwrap_or_default())
            }
            _ => layer.0.get(name).map_or(Origin::Default, |layered| layered.origin.clone()),
        };
        if origin == Origin::Flag {
            // What was typed of a flag that takes nothing leaves no text.
            match arg.get_action() {
                ArgAction::Count => values = vec![matches.get_count(id).to_string()],
                ArgAction::SetTrue => values = vec![matches.get_flag(id).to_string()],
                _ => {}
            }
        }
        let key = table.map_or_else(|| name.to_owned(), |table| format!("{table}.{name}"));
        found.push(Effective { key, values, origin });
    }
    found.into_iter()
}
