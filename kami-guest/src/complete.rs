//! Suggestions for an argument that a person is typing.

use std::collections::BTreeMap;

use crate::error::ToolError;
use crate::{Error, prompt, resource};

/// As many suggestions as the protocol lets one give at once.
const MOST: usize = 100;

/// What suggests values for one argument.
pub struct Completer {
    /// The argument of a prompt, or the variable of a template.
    pub argument: &'static str,
    /// Runs it on what is typed so far, and on the arguments that are settled.
    pub complete: fn(&str, &Settled) -> Result<Vec<String>, Error>,
}

/// Whose argument is completed.
pub enum Reference {
    /// A prompt, by its name.
    Prompt(String),
    /// A resource template, by itself.
    Resource(String),
}

/// Some suggestions, and how many there are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Suggestions {
    /// The first 100.
    pub values: Vec<String>,
    /// How many there are in all.
    pub total: usize,
    /// Whether there are more than given.
    pub has_more: bool,
}

/// Arguments that are settled, each a name and a value.
pub type Settled = [(String, String)];

/// Suggests values for an argument of a prompt or of a template.
pub fn complete(
    reference: &Reference,
    argument: &str,
    typed: &str,
    settled: &Settled,
) -> Result<Suggestions, Error> {
    match reference {
        Reference::Prompt(name) => prompt::complete(name, argument, typed, settled),
        Reference::Resource(uri) => resource::complete(uri, argument, typed, settled),
    }
}

/// What the completer of an argument suggests. Where there is none, that is no mistake.
pub fn suggest(
    completers: &[Completer],
    argument: &str,
    typed: &str,
    settled: &Settled,
) -> Result<Suggestions, Error> {
    let mut values = match completers.iter().find(|completer| completer.argument == argument) {
        Some(completer) => (completer.complete)(typed, settled)?,
        None => Vec::new(),
    };
    let total = values.len();
    values.truncate(MOST);
    Ok(Suggestions { values, total, has_more: total > MOST })
}

/// The error where a prompt or a template has no such argument.
pub fn unknown_argument(argument: &str) -> Error {
    Error::invalid_arguments(format_args!("there is no argument `{argument}`"))
}

/// Runs what stands under `#[kami(complete = ...)]`.
pub fn run<M>(
    completion: impl Completion<M>,
    typed: &str,
    settled: &Settled,
) -> Result<Vec<String>, Error> {
    completion.complete(typed, settled)
}

/// What can stand under `#[kami(complete = ...)]`. `M` tells apart functions of one and two parameters.
#[diagnostic::on_unimplemented(
    message = "this can't complete an argument",
    label = "is neither a list nor a function from what is typed to suggestions",
    note = "write `fn(&str) -> Vec<String>` or `fn(&str, &BTreeMap<String, String>) -> Vec<String>`, \
            where the second parameter holds the arguments that are settled, or a list such as `[\"a\", \"b\"]`"
)]
pub trait Completion<M> {
    /// Everything that could be meant.
    fn complete(self, typed: &str, settled: &Settled) -> Result<Vec<String>, Error>;
}

impl<F, R> Completion<fn(&str) -> R> for F
where
    F: Fn(&str) -> R,
    R: CompletionOutput,
{
    fn complete(self, typed: &str, _: &Settled) -> Result<Vec<String>, Error> {
        self(typed).values()
    }
}

impl<F, R> Completion<fn(&str, &BTreeMap<String, String>) -> R> for F
where
    F: Fn(&str, &BTreeMap<String, String>) -> R,
    R: CompletionOutput,
{
    fn complete(self, typed: &str, settled: &Settled) -> Result<Vec<String>, Error> {
        self(typed, &settled.iter().cloned().collect()).values()
    }
}

/// A fixed list: those of it that begin with what is typed, in upper or lower case.
impl<const N: usize> Completion<()> for [&str; N] {
    fn complete(self, typed: &str, _: &Settled) -> Result<Vec<String>, Error> {
        let typed = typed.to_lowercase();
        let fits = |value: &&str| value.to_lowercase().starts_with(&typed);
        Ok(self.into_iter().filter(fits).map(str::to_owned).collect())
    }
}

/// What a completing function can return.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no list of suggestions",
    note = "return `Vec<String>`, `Vec<&'static str>`, or a `Result<T, E>` of such a `T`"
)]
pub trait CompletionOutput {
    /// The suggestions.
    fn values(self) -> Result<Vec<String>, Error>;
}

impl<S: Into<String>> CompletionOutput for Vec<S> {
    fn values(self) -> Result<Vec<String>, Error> {
        Ok(self.into_iter().map(Into::into).collect())
    }
}

impl<T: CompletionOutput, E: ToolError> CompletionOutput for Result<T, E> {
    fn values(self) -> Result<Vec<String>, Error> {
        self.map_err(ToolError::into_error)?.values()
    }
}
