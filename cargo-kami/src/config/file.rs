//! The config file: TOML, whose keys are the long names of flags.

use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::Path;

use anyhow::Context as _;
use clap::{Arg, ArgAction, Command};
use kami_core::manifest::source::{Problem, SourceError, kind, nearest, syntax};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Layer, Layered, Origin, SERVE, is_path, judge, keys};
use crate::diagnostic::InvalidManifests;
use crate::exit::{Exit, Failure};

/// The version of the file's form.
const VERSION: &str = "1";

/// The table of profiles.
const PROFILE: &str = "profile";

/// The most bytes that are read of it.
const LONGEST: u64 = 1 << 20;

/// The text of the file, empty where there is none.
pub(super) struct ConfigFile(String);

/// What it says.
pub(super) struct Layers {
    pub(super) global: Layer,
    pub(super) serve: Layer,
}

impl ConfigFile {
    /// Reads the file, which has to be there if somebody named it.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub(super) fn read(path: &Path, required: bool) -> anyhow::Result<Self> {
        let reading = || format!("reading the config file {}", path.display());
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !required => {
                return Ok(Self(String::new()));
            }
            file => file.with_context(reading)?,
        };
        let mut text = String::new();
        file.take(LONGEST + 1).read_to_string(&mut text).with_context(reading)?;
        if text.len() as u64 > LONGEST {
            let message = format!("{} is larger than {LONGEST} bytes", path.display());
            return Err(Failure::new(Exit::Usage, message).into());
        }
        Ok(Self(text))
    }

    /// What it says for a run under a profile.
    ///
    /// # Errors
    /// Every mistake in it, or that there is no such profile.
    pub(super) fn layers(
        &self,
        command: &Command,
        profile: Option<&str>,
        path: &Path,
    ) -> anyhow::Result<Layers> {
        let Self(text) = self;
        let invalid = |error| {
            let invalid = InvalidManifests::one(path, text.clone(), error);
            let failure = Failure::new(Exit::Usage, "the config file cannot be used");
            anyhow::Error::from(invalid).context(failure)
        };
        let root = syntax(text).map_err(invalid)?;
        let mut reader = Reader { command, text, path, problems: Vec::new() };
        let mut layers = reader.root(&root);
        let mut profiles = reader.profiles(root.get_ref());
        if !reader.problems.is_empty() {
            reader.problems.sort_by_key(|problem| problem.span.start);
            return Err(invalid(SourceError { problems: reader.problems }));
        }
        let Some(wanted) = profile else { return Ok(layers) };
        let at = profiles.iter().position(|(name, _)| name == wanted);
        let Some(at) = at else {
            let known: Vec<&str> = profiles.iter().map(|(name, _)| name.as_str()).collect();
            let message = format!("there is no profile `{wanted}` in {}", path.display());
            let help = match known.as_slice() {
                [] => format!("it has none: write [profile.{wanted}] with options of `serve`"),
                known => format!("there are: {}", known.join(", ")),
            };
            return Err(Failure::new(Exit::Usage, message).help(help).into());
        };
        let (_, Layer(chosen)) = profiles.swap_remove(at);
        layers.serve.0.extend(chosen);
        Ok(layers)
    }
}

/// Reads tables, and collects what is wrong with them.
struct Reader<'a> {
    command: &'a Command,
    text: &'a str,
    path: &'a Path,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn root(&mut self, root: &Spanned<DeTable<'_>>) -> Layers {
        let table = root.get_ref();
        let mut layers = Layers { global: Layer::default(), serve: Layer::default() };
        if table.is_empty() {
            // Nothing is said in any version.
            return layers;
        }
        match table.get("version") {
            None => {
                let help = Some("add `version = 1` at the top".to_owned());
                self.problem(0..0, "`version` is missing".to_owned(), "in this file", help);
            }
            Some(value) if number(value).as_deref() != Some(VERSION) => {
                let message = "this program does not know that version of a config file";
                let help = Some("write `version = 1`, or update cargo-kami".to_owned());
                self.problem(value.span(), message.to_owned(), "it knows version 1", help);
            }
            Some(_) => {}
        }
        let command = self.command;
        let others = ["version", SERVE, PROFILE];
        layers.global = self.table(table, command, None, &others);
        if let Some(value) = table.get(SERVE) {
            layers.serve = self.serve(value, SERVE);
        }
        layers
    }

    fn profiles(&mut self, root: &DeTable<'_>) -> Vec<(String, Layer)> {
        let Some(value) = root.get(PROFILE) else { return Vec::new() };
        let Some(profiles) = value.get_ref().as_table() else {
            self.not_a_table(value, "profile.NAME");
            return Vec::new();
        };
        let profiles = profiles.iter().map(|(name, value)| {
            let name = name.get_ref();
            (name.to_string(), self.serve(value, &format!("{PROFILE}.{name}")))
        });
        profiles.collect()
    }

    /// Reads a table with options of `serve`.
    fn serve(&mut self, value: &Spanned<DeValue<'_>>, header: &str) -> Layer {
        let command = self.command;
        match (value.get_ref().as_table(), command.find_subcommand(SERVE)) {
            (Some(table), Some(definition)) => self.table(table, definition, Some(SERVE), &[]),
            _ => {
                self.not_a_table(value, header);
                Layer::default()
            }
        }
    }

    fn table(
        &mut self,
        table: &DeTable<'_>,
        definition: &Command,
        within: Option<&str>,
        others: &[&str],
    ) -> Layer {
        let mut layer = Layer::default();
        for (written, value) in table.iter() {
            let kebab = written.get_ref().replace('_', "-");
            let found = keys(definition).find(|key| key.get_long() == Some(&kebab));
            let Some(key) = found else {
                if !others.contains(&kebab.as_str()) {
                    self.unknown(&kebab, written.span(), definition, within, others);
                }
                continue;
            };
            let Some(values) = self.values(key, &kebab, value) else { continue };
            if let Err(why) = judge(self.command, within, key, &values) {
                let message = format!("`{kebab}` has a value that cannot be");
                let help = match within {
                    Some(command) => format!("`cargo kami help {command}` tells"),
                    None => "`cargo kami help` tells".to_owned(),
                };
                self.problem(value.span(), message, &why, Some(help));
            }
            let line = self.text[..value.span().start].matches('\n').count() + 1;
            let origin = Origin::File { path: self.path.to_owned(), line };
            layer.0.insert(kebab, Layered { values, origin });
        }
        layer
    }

    /// The values of a key as they would be typed.
    fn values(
        &mut self,
        key: &Arg,
        name: &str,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<Vec<String>> {
        let many = matches!(key.get_action(), ArgAction::Append);
        let flag = match key.get_action() {
            ArgAction::SetTrue => true,
            _ => key.get_num_args().is_some_and(|number| number.min_values() == 0),
        };
        let base = self.path.parent().filter(|_| is_path(key));
        let one = |value: &Spanned<DeValue<'_>>| match value.get_ref() {
            DeValue::String(text) if !flag => Some(match base {
                Some(base) => base.join(&**text).display().to_string(),
                None => text.to_string(),
            }),
            DeValue::Boolean(said) if flag => Some(said.to_string()),
            DeValue::Integer(_) if !flag => number(value),
            _ => None,
        };
        let (values, expected) = match value.get_ref() {
            DeValue::Array(items) if many => {
                (items.iter().map(one).collect(), "an array of strings")
            }
            _ if many => (one(value).map(|value| vec![value]), "an array of strings"),
            _ if flag => (one(value).map(|value| vec![value]), "true or false"),
            _ => (one(value).map(|value| vec![value]), "a string or a whole number"),
        };
        if values.is_none() {
            let message = format!("`{name}` must be {expected}");
            self.problem(value.span(), message, &kind(value), None);
        }
        values
    }

    fn unknown(
        &mut self,
        written: &str,
        span: Range<usize>,
        definition: &Command,
        within: Option<&str>,
        others: &[&str],
    ) {
        let names = || {
            let keys = keys(definition).filter_map(|key| key.get_long());
            keys.chain(others.iter().copied())
        };
        let of_serve = || {
            let serve = self.command.find_subcommand(SERVE).filter(|_| within.is_none())?;
            keys(serve).any(|key| key.get_long() == Some(written)).then_some(())
        };
        let help = if of_serve().is_some() {
            format!("it belongs under [{SERVE}]")
        } else if let Some(near) = nearest(written, names()) {
            format!("did you mean `{near}`?")
        } else {
            format!("known keys: {}", names().collect::<Vec<_>>().join(", "))
        };
        let message = format!("unknown key `{}`", written.escape_debug());
        self.problem(span, message, "not a key here", Some(help));
    }

    fn not_a_table(&mut self, value: &Spanned<DeValue<'_>>, header: &str) {
        let help = Some(format!("write it as [{header}]"));
        self.problem(value.span(), format!("`{header}` must be a table"), "no table", help);
    }

    fn problem(&mut self, span: Range<usize>, message: String, label: &str, help: Option<String>) {
        self.problems.push(Problem { message, span, label: label.to_owned(), help });
    }
}

/// A whole number in decimal digits.
fn number(value: &Spanned<DeValue<'_>>) -> Option<String> {
    let integer = value.get_ref().as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(|number| number.to_string())
}
