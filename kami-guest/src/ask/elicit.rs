//! Questions to the person.

use serde::Deserialize;
use serde_json::{Value, json};

use super::form::{self, Form};
use super::{Question, unfit};
use crate::Error;

const METHOD: &str = "elicitation/create";

/// What a person did with a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<T> {
    /// The person answered.
    Accept(T),
    /// The person said no.
    Decline,
    /// The person left without a choice.
    Cancel,
}

impl<T> Answer<T> {
    /// The answer, if the person gave one.
    pub fn accepted(self) -> Option<T> {
        match self {
            Self::Accept(answer) => Some(answer),
            Self::Decline | Self::Cancel => None,
        }
    }
}

/// Asks the person to fill in a form; it is short for [`Elicitation::new`] and [`ask`](Elicitation::ask).
///
/// The form's fields are those of the struct `T`: strings, numbers, booleans, enums without data, and
/// lists of such enums. Comments become descriptions, `Option` and defaults make a field optional. For
/// a `T` that isn't a struct, such as `bool`, the form has one field, `answer`.
///
/// ```
/// use kami_guest::prelude::*;
///
/// /// Empties the archive.
/// #[kami_tool(destructive)]
/// fn empty() -> Result<&'static str, Error> {
///     match elicit::<bool>("Really forget everything?")? {
///         Answer::Accept(true) => Ok("it is empty now"),
///         _ => Ok("nothing was done"),
///     }
/// }
/// # use kami_guest::{serde_json::json, testing::Client};
/// # let yes = Client::new().accept("elicit-1", json!({"answer": true}));
/// # assert_eq!(yes.enter(empty).unwrap(), "it is empty now");
/// ```
///
/// # Errors
///
/// Those of [`Elicitation::ask`].
pub fn elicit<T: Form>(message: impl Into<String>) -> Result<Answer<T>, Error> {
    Elicitation::new(message).ask()
}

/// Asks the person to open a web page, as to sign in or to pay; it is short for [`UrlElicitation`].
///
/// What the person does there stays between them and that page. [`Answer::Accept`] says that they
/// agreed to open it, not that they are done.
///
/// # Errors
///
/// Those of [`Elicitation::ask`].
pub fn elicit_url(message: impl Into<String>, url: impl Into<String>) -> Result<Answer<()>, Error> {
    UrlElicitation::new(message, url).ask()
}

/// A form for the person to fill in.
///
/// ```
/// use kami_guest::ask::Elicitation;
/// use kami_guest::prelude::*;
///
/// #[kami_type]
/// struct Name {
///     name: String,
/// }
///
/// /// Greets the person.
/// #[kami_tool]
/// fn hello() -> Result<String, Error> {
///     match Elicitation::new("What is your name?").key("user_name").ask()? {
///         Answer::Accept(Name { name }) => Ok(format!("Hello, {name}!")),
///         _ => Ok("Hello, stranger!".to_owned()),
///     }
/// }
/// # let shy = kami_guest::testing::Client::new().decline("user_name");
/// # assert_eq!(shy.enter(hello).unwrap(), "Hello, stranger!");
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is asked before `ask`"]
pub struct Elicitation {
    key: Option<String>,
    message: String,
}

impl Elicitation {
    /// A form under a message that says what is asked and why.
    pub fn new(message: impl Into<String>) -> Self {
        Self { key: None, message: message.into() }
    }

    /// Names the question within the call, in place of `elicit-1` and so on.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The answer.
    ///
    /// # Errors
    ///
    /// The question itself while there is no answer; if the answer doesn't fit `T`; if `T` is more than a
    /// form can hold.
    pub fn ask<T: Form>(self) -> Result<Answer<T>, Error> {
        let Self { key, message } = self;
        let (key, answer) = Question::ask("elicit", key, METHOD, || {
            let schema = form::schema::<T>()?;
            Ok(json!({"mode": "form", "message": message, "requestedSchema": schema}))
        })?;
        read(&key, answer, |content| form::read(content))
    }
}

/// A web page for the person to open; see [`elicit_url`].
#[derive(Clone, Debug)]
#[must_use = "nothing is asked before `ask`"]
pub struct UrlElicitation {
    key: Option<String>,
    message: String,
    url: String,
}

impl UrlElicitation {
    /// A web page, and a message that says why to open it.
    pub fn new(message: impl Into<String>, url: impl Into<String>) -> Self {
        Self { key: None, message: message.into(), url: url.into() }
    }

    /// Names the question within the call, in place of `elicit-1` and so on.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Whether the person agreed.
    ///
    /// # Errors
    ///
    /// The question itself while there is no answer.
    pub fn ask(self) -> Result<Answer<()>, Error> {
        let Self { key, message, url } = self;
        let (key, answer) = Question::ask("elicit", key, METHOD, || {
            Ok(json!({"mode": "url", "message": message, "url": url}))
        })?;
        read(&key, answer, |_| Ok(()))
    }
}

/// The result of `elicitation/create`.
#[derive(Deserialize)]
struct Elicited {
    action: Action,
    #[serde(default)]
    content: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Accept,
    Decline,
    Cancel,
}

fn read<T>(
    key: &str,
    answer: Value,
    accept: impl FnOnce(Value) -> serde_json::Result<T>,
) -> Result<Answer<T>, Error> {
    if !answer.is_object() {
        return Err(unfit(key, "it has to be an object with an `action`"));
    }
    let Elicited { action, content } =
        serde_json::from_value(answer).map_err(|error| unfit(key, error))?;
    match action {
        Action::Accept => accept(content).map(Answer::Accept).map_err(|error| unfit(key, error)),
        Action::Decline => Ok(Answer::Decline),
        Action::Cancel => Ok(Answer::Cancel),
    }
}
