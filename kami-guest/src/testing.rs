//! Tools, resources and prompts as a host sees them, for tests of what clients are told.
//!
//! A function's own logic is tested by calling it. What is here tests the rest: names, schemas, how
//! arguments are read and results are written.
//!
//! ```
//! use kami_guest::prelude::*;
//! use kami_guest::serde_json::json;
//! use kami_guest::testing;
//!
//! /// Doubles a number.
//! #[kami_tool]
//! fn double(number: i64) -> i64 {
//!     number * 2
//! }
//!
//! let reply = testing::call("double", json!({"number": 21})).unwrap();
//! assert_eq!(reply.structured, Some(json!({"result": 42})));
//!
//! let error = testing::call("double", json!({"number": "21"})).unwrap_err();
//! assert_eq!(error.message(), "`number`: invalid type: string \"21\", expected i64");
//! ```
//!
//! A function that [asks](crate::ask) is entered through a [`Client`], which has the answers ready.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::complete::{self, Reference};
use crate::content::{Content, Resource};
use crate::entry::{self, Continuation};
use crate::error::ToolError;
use crate::{Error, Prompt, prompt, resource, tool};

pub use crate::complete::Suggestions;

/// What a call that succeeded gave.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Reply {
    /// What the model, or a person, is shown.
    pub content: Vec<Content>,
    /// What fits the output schema.
    pub structured: Option<Value>,
}

impl Reply {
    /// All text in the content, joined by line breaks.
    pub fn text(&self) -> String {
        let texts: Vec<&str> = self.content.iter().filter_map(Content::as_text).collect();
        texts.join("\n")
    }
}

/// All tools that are linked into this test, as the model is told about them: `{"tools": [...]}`.
pub fn describe() -> Value {
    tool::describe()
}

/// All resources that are linked into this test: `{"resources": [...], "resourceTemplates": [...]}`.
pub fn describe_resources() -> Value {
    resource::describe()
}

/// All prompts that are linked into this test: `{"prompts": [...]}`.
pub fn describe_prompts() -> Value {
    prompt::describe()
}

/// What the model is told about one tool.
///
/// # Panics
///
/// If there is no tool of that name.
pub fn describe_tool(name: &str) -> Value {
    tool::describe()["tools"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|tool| tool["name"] == name)
        .unwrap_or_else(|| panic!("there is no tool `{name}`"))
        .clone()
}

/// Calls a tool with a JSON object of arguments.
///
/// # Errors
///
/// What the model is told when the tool doesn't exist, when the arguments don't fit it, or when it failed;
/// what the tool asks.
pub fn call(name: &str, arguments: Value) -> Result<Reply, Error> {
    Client::new().call(name, arguments)
}

/// Reads a resource.
///
/// # Errors
///
/// If nothing has that URI, or if it couldn't be read; what the function asks.
pub fn read(uri: &str) -> Result<Vec<Resource>, Error> {
    Client::new().read(uri)
}

/// Renders a prompt from a JSON object of texts.
///
/// # Errors
///
/// If there is no such prompt, if the arguments don't fit it, or if it failed; what the function asks.
pub fn get(name: &str, arguments: Value) -> Result<Prompt, Error> {
    Client::new().get(name, arguments)
}

/// Completes an argument of a prompt, given what is typed and which other arguments are settled.
///
/// # Errors
///
/// If there is no such prompt or argument, or if the completion failed.
pub fn complete_prompt<const N: usize>(
    name: &str,
    argument: &str,
    typed: &str,
    settled: [(&str, &str); N],
) -> Result<Suggestions, Error> {
    complete::complete(&Reference::Prompt(name.to_owned()), argument, typed, &owned(settled))
}

/// Completes a variable of a resource template, given what is typed and which others are settled.
///
/// # Errors
///
/// If there is no such template or variable, or if the completion failed.
pub fn complete_resource<const N: usize>(
    uri_template: &str,
    variable: &str,
    typed: &str,
    settled: [(&str, &str); N],
) -> Result<Suggestions, Error> {
    complete::complete(
        &Reference::Resource(uri_template.to_owned()),
        variable,
        typed,
        &owned(settled),
    )
}

fn owned<const N: usize>(settled: [(&str, &str); N]) -> [(String, String); N] {
    settled.map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// A client with answers ready.
///
/// It does what a host does with a function that [asks](crate::ask): runs it anew with the answers to its
/// questions, and with the state it was left in, until it asks nothing more.
///
/// ```
/// use kami_guest::prelude::*;
/// use kami_guest::serde_json::json;
/// use kami_guest::testing::Client;
///
/// /// Forgets a note.
/// #[kami_tool]
/// fn forget(name: String) -> Result<String, Error> {
///     match elicit(format!("Really forget `{name}`?"))? {
///         Answer::Accept(true) => Ok("it is gone".into()),
///         _ => Ok("it stays".into()),
///     }
/// }
///
/// let sure = Client::new().accept("elicit-1", json!({"answer": true}));
/// assert_eq!(sure.enter(|| forget("milk".into())).unwrap(), "it is gone");
/// assert_eq!(sure.call("forget", json!({"name": "milk"})).unwrap().text(), "it is gone");
///
/// // Who has no answer is told the question.
/// let error = Client::new().enter(|| forget("milk".into())).unwrap_err();
/// assert_eq!(error.questions()[0].params["message"], "Really forget `milk`?");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Client {
    answers: BTreeMap<String, Value>,
}

impl Client {
    /// A client that knows no answer.
    pub fn new() -> Self {
        Self::default()
    }

    /// The person fills in the form of that key.
    pub fn accept(self, key: &str, content: Value) -> Self {
        self.answer(key, json!({"action": "accept", "content": content}))
    }

    /// The person says no.
    pub fn decline(self, key: &str) -> Self {
        self.answer(key, json!({"action": "decline"}))
    }

    /// The person leaves without a choice.
    pub fn cancel(self, key: &str) -> Self {
        self.answer(key, json!({"action": "cancel"}))
    }

    /// The model says a text.
    pub fn sampled(self, key: &str, text: &str) -> Self {
        let content = json!({"type": "text", "text": text});
        self.answer(
            key,
            json!({"role": "assistant", "content": content, "model": "test", "stopReason": "endTurn"}),
        )
    }

    /// The client works in these folders, each a URI and a name.
    pub fn roots<const N: usize>(self, key: &str, roots: [(&str, &str); N]) -> Self {
        let roots = roots.map(|(uri, name)| json!({"uri": uri, "name": name}));
        self.answer(key, json!({"roots": Value::from(roots.to_vec())}))
    }

    /// Any result, as the protocol writes it.
    pub fn answer(mut self, key: &str, result: Value) -> Self {
        self.answers.insert(key.to_owned(), result);
        self
    }

    /// Runs a function until it asks nothing more, or something to which there is no answer.
    ///
    /// # Errors
    ///
    /// Those of the function, questions without an answer among them.
    pub fn enter<T>(&self, function: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
        let mut given = Continuation::default();
        loop {
            // Within the entry, for the error takes the entry's state with it.
            let ended = entry::enter(given, || function().map_err(ToolError::into_error));
            let mut error = match ended {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let Some(input) = error.input_required_mut() else {
                return Err(error);
            };
            let answers = input.questions.iter().map(|question| {
                let answer = self.answers.get(&question.key)?;
                Some((question.key.clone(), answer.to_string()))
            });
            let Some(answers) = answers.collect() else {
                return Err(error);
            };
            given = Continuation { answers, state: input.state.take() };
        }
    }

    /// Calls a tool with a JSON object of arguments.
    ///
    /// # Errors
    ///
    /// Those of [`call`].
    pub fn call(&self, name: &str, arguments: Value) -> Result<Reply, Error> {
        let reply = self.enter(|| tool::call(name, &arguments.to_string()))?;
        Ok(Reply {
            content: reply.content,
            structured: reply
                .structured
                .map(|json| serde_json::from_str(&json).expect("structured content is JSON")),
        })
    }

    /// Reads a resource.
    ///
    /// # Errors
    ///
    /// Those of [`read`].
    pub fn read(&self, uri: &str) -> Result<Vec<Resource>, Error> {
        self.enter(|| resource::read(uri))
    }

    /// Renders a prompt from a JSON object of texts.
    ///
    /// # Errors
    ///
    /// Those of [`get`].
    pub fn get(&self, name: &str, arguments: Value) -> Result<Prompt, Error> {
        self.enter(|| prompt::get(name, &arguments.to_string()))
    }
}
