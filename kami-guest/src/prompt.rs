//! A prompt as the registry holds it, and what it makes of its arguments.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::Error;
use crate::arguments::explain;
use crate::complete::{Completer, Settled, Suggestions, suggest, unknown_argument};
use crate::content::{Content, Message};
use crate::describe::{named, sorted};
use crate::error::ToolError;
use crate::output::Probe;

/// What a prompt gives: the beginning of a conversation.
///
/// ```
/// use kami_guest::prelude::*;
///
/// /// Explains a word to a child.
/// #[kami_prompt]
/// fn explain(word: String) -> Prompt {
///     Prompt::new([
///         Message::user("Explain words to me as to a child of five."),
///         Message::assistant("Gladly. Which word?"),
///         Message::user(word.clone()),
///     ])
///     .description(format!("what `{word}` means"))
/// }
/// # assert_eq!(explain("tide".into()).messages.len(), 3);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Prompt {
    /// What it is for; the prompt's own description if left out.
    pub description: Option<String>,
    /// What has been said so far.
    pub messages: Vec<Message>,
}

impl Prompt {
    /// A conversation of these messages.
    pub fn new(messages: impl IntoIterator<Item = Message>) -> Self {
        Self { description: None, messages: messages.into_iter().collect() }
    }

    /// Says what it is for, now that the arguments are known.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }
}

/// One registered prompt: what a person is told about it, and the function behind it.
pub struct PromptFunction {
    /// Unique in the component.
    pub name: &'static str,
    /// A name for people.
    pub title: Option<&'static str>,
    /// What it is for.
    pub description: &'static str,
    /// What it takes, in the order of the function's parameters.
    pub arguments: fn() -> Vec<Argument>,
    /// What suggests values for its arguments.
    pub completers: &'static [Completer],
    /// Runs it.
    pub get: fn(&Get) -> Result<Prompt, Error>,
    /// What is done with prompts. It is reached through them, so that a component has it only with a prompt.
    pub served_by: &'static Prompts,
}

inventory::collect!(PromptFunction);

/// An argument of a prompt: what a person is told about it.
pub struct Argument {
    /// Unique in the prompt.
    pub name: &'static str,
    /// A name for people.
    pub title: Option<&'static str>,
    /// What it means.
    pub description: &'static str,
    /// Whether it has to be given.
    pub required: bool,
}

/// What is done with prompts.
pub struct Prompts {
    describe: fn() -> Vec<Value>,
    get: fn(&PromptFunction, &str) -> Result<Prompt, Error>,
    complete: fn(&PromptFunction, &str, &str, &Settled) -> Result<Suggestions, Error>,
}

/// What is done with prompts, where there are any.
pub static PROMPTS: Prompts = Prompts {
    describe: || sorted(registered().map(|prompt| (prompt.name, prompt.describe()))),
    get: PromptFunction::get,
    complete: PromptFunction::complete,
};

/// One entry into a prompt.
pub struct Get {
    arguments: BTreeMap<String, String>,
}

/// How an argument is read from a text.
pub struct Reader<T> {
    required: bool,
    read: fn(Option<&str>) -> Result<T, String>,
}

/// A type that can be an argument of a prompt.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be an argument of a prompt",
    label = "can't be read from a text, as it has no `FromStr` whose error has a text",
    note = "a person fills it in: take a `String`, a number, an `Option` of those, or implement `FromStr`"
)]
pub trait PromptArgument: FromStr<Err: Display> {}

#[diagnostic::do_not_recommend]
impl<T: FromStr<Err: Display>> PromptArgument for T {}

impl<T> Probe<Option<T>> {
    /// The argument may be left out.
    pub fn argument(&self) -> Reader<Option<T>>
    where
        T: PromptArgument,
    {
        Reader {
            required: false,
            read: |given| given.map(|text| text.parse().map_err(describe_error::<T>)).transpose(),
        }
    }
}

/// What a `Probe` of anything but an `Option` answers.
pub trait Required<T> {
    /// The argument has to be given.
    fn argument(&self) -> Reader<T>
    where
        T: PromptArgument,
    {
        Reader {
            required: true,
            read: |given| given.unwrap_or_default().parse().map_err(describe_error::<T>),
        }
    }
}

impl<T> Required<T> for Probe<T> {}

fn describe_error<T: PromptArgument>(error: T::Err) -> String {
    error.to_string()
}

impl<T> Reader<T> {
    /// Whether the argument has to be given.
    pub fn is_required(&self) -> bool {
        self.required
    }
}

impl Get {
    /// The value of an argument.
    pub fn argument<T>(&self, name: &str, reader: &Reader<T>) -> Result<T, Error> {
        let given = self.arguments.get(name).map(String::as_str);
        if reader.required && given.is_none() {
            return Err(Error::invalid_arguments(format_args!("missing argument `{name}`")));
        }
        // Forms give an empty text for what was left empty.
        let given = given.filter(|text| reader.required || !text.is_empty());
        (reader.read)(given)
            .map_err(|error| Error::invalid_arguments(format_args!("`{name}`: {error}")))
    }

    /// The value of an argument, or its default.
    pub fn argument_or<T>(
        &self,
        name: &str,
        reader: &Reader<T>,
        default: fn() -> T,
    ) -> Result<T, Error> {
        match self.arguments.get(name).map(String::as_str) {
            None | Some("") => Ok(default()),
            Some(_) => self.argument(name, reader),
        }
    }
}

/// A type that a prompt can return.
#[diagnostic::on_unimplemented(
    message = "a prompt can't return `{Self}`",
    label = "is not made of messages",
    note = "return `String`, `Content`, `Message`, `Vec<Message>`, `Prompt`, or a `Result<T, E>` of such a `T`"
)]
pub trait PromptOutput {
    /// The conversation that it is.
    fn prompt(self) -> Result<Prompt, Error>;
}

/// What is one message of the person.
macro_rules! one_message {
    ($($ty:ty),*) => {
        $(impl PromptOutput for $ty {
            fn prompt(self) -> Result<Prompt, Error> {
                Ok(Prompt::new([Message::user(self)]))
            }
        })*
    };
}

one_message!(String, &'static str, Content);

impl PromptOutput for Message {
    fn prompt(self) -> Result<Prompt, Error> {
        Ok(Prompt::new([self]))
    }
}

impl PromptOutput for Vec<Message> {
    fn prompt(self) -> Result<Prompt, Error> {
        Ok(Prompt::new(self))
    }
}

impl PromptOutput for Prompt {
    fn prompt(self) -> Result<Prompt, Error> {
        Ok(self)
    }
}

impl<T: PromptOutput, E: ToolError> PromptOutput for Result<T, E> {
    fn prompt(self) -> Result<Prompt, Error> {
        self.map_err(ToolError::into_error)?.prompt()
    }
}

/// All prompts as `{"prompts": [...]}`, each in the shape that the Model Context Protocol gives it.
pub fn describe() -> Value {
    let prompts = registered().next().map(|any| (any.served_by.describe)());
    json!({ "prompts": prompts.unwrap_or_default() })
}

/// Renders the prompt of that name from a JSON object of texts.
pub fn get(name: &str, arguments: &str) -> Result<Prompt, Error> {
    match registered().find(|prompt| prompt.name == name) {
        Some(prompt) => (prompt.served_by.get)(prompt, arguments),
        None => Err(there_is_none(name)),
    }
}

/// Suggests values for an argument of the prompt of that name.
pub fn complete(
    name: &str,
    argument: &str,
    typed: &str,
    settled: &Settled,
) -> Result<Suggestions, Error> {
    match registered().find(|prompt| prompt.name == name) {
        Some(prompt) => (prompt.served_by.complete)(prompt, argument, typed, settled),
        None => Err(there_is_none(name)),
    }
}

fn registered() -> impl Iterator<Item = &'static PromptFunction> {
    inventory::iter::<PromptFunction>.into_iter()
}

fn there_is_none(name: &str) -> Error {
    Error::not_found(format_args!("there is no prompt `{name}`"))
}

impl PromptFunction {
    fn describe(&self) -> Value {
        let mut prompt = named(self.name, self.title, self.description);
        let arguments: Vec<Value> = (self.arguments)()
            .into_iter()
            .map(|argument| {
                let mut described = named(argument.name, argument.title, argument.description);
                described.insert("required".into(), argument.required.into());
                described.into()
            })
            .collect();
        prompt.insert("arguments".into(), arguments.into());
        prompt.into()
    }

    fn get(&self, arguments: &str) -> Result<Prompt, Error> {
        let arguments: BTreeMap<String, String> =
            serde_json::from_str(arguments).map_err(|error| explain(arguments, &error))?;
        if let Some(name) = arguments.keys().find(|name| !self.takes(name)) {
            return Err(unknown_argument(name));
        }
        let mut prompt = (self.get)(&Get { arguments }).map_err(Error::of_something_found)?;
        let description = self.description.trim();
        if prompt.description.is_none() && !description.is_empty() {
            prompt.description = Some(description.to_owned());
        }
        Ok(prompt)
    }

    fn complete(
        &self,
        argument: &str,
        typed: &str,
        settled: &Settled,
    ) -> Result<Suggestions, Error> {
        match self.takes(argument) {
            true => suggest(self.completers, argument, typed, settled),
            false => Err(unknown_argument(argument)),
        }
    }

    fn takes(&self, argument: &str) -> bool {
        (self.arguments)().iter().any(|known| known.name == argument)
    }
}
