//! Questions to the person, the model and the client at the other end.
//!
//! ```
//! use kami_guest::prelude::*;
//! use kami_guest::serde_json::json;
//! use kami_guest::testing::Client;
//!
//! /// Who travels.
//! #[kami_type]
//! struct Traveller {
//!     /// the name as in the passport
//!     #[schemars(length(min = 1))]
//!     name: String,
//!     #[serde(default)]
//!     vegetarian: bool,
//! }
//!
//! /// Books a flight.
//! #[kami_tool]
//! fn book(city: String) -> Result<String, Error> {
//!     match elicit::<Traveller>("Who travels?")? {
//!         Answer::Accept(traveller) => Ok(format!("{} flies to {city}", traveller.name)),
//!         Answer::Decline | Answer::Cancel => Ok("nothing was booked".to_owned()),
//!     }
//! }
//!
//! let ada = Client::new().accept("elicit-1", json!({"name": "Ada"}));
//! assert_eq!(ada.enter(|| book("Rome".into())).unwrap(), "Ada flies to Rome");
//! ```
//!
//! # A function that asks runs more than once
//!
//! A guest is never suspended while a person thinks. Where the answer is missing, the question is an
//! `Err` that `?` carries out of the function; once there is an answer, the function is run again from
//! its beginning, in a fresh instance, and the same line gives the answer. So:
//!
//! * ask before you act: what comes before a question happens once more after it;
//! * ask the same questions in the same order as long as the answers are the same. A question is known
//!   by its key, `elicit-1`, `elicit-2`, `sample-1`, `roots-1`... by the order of asking, or one of your own:
//!   [`Elicitation::key`];
//! * [`together`] asks several questions at once, which spares the person a round;
//! * [`set_state`] keeps what was expensive to find out for the next run, and [`state`] gives it back. The
//!   host seals it, so that the client can't change it.
//!
//! Answers come from the other end of the connection, and are as trustworthy as it is.

mod elicit;
mod form;
mod json;
mod roots;
mod sample;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Error, entry};

pub use elicit::{Answer, Elicitation, UrlElicitation, elicit, elicit_url};
pub use form::Form;
pub use roots::{Root, Roots, roots};
pub use sample::{IncludeContext, Sampled, Sampling, sample};

/// One question, in the terms of the Model Context Protocol.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Question {
    /// Names the question within the call; the answer comes back under it.
    pub key: String,
    /// `elicitation/create`, `sampling/createMessage` or `roots/list`.
    pub method: &'static str,
    /// The parameters of that method.
    pub params: Value,
}

impl Question {
    /// The raw answer to the question, or the question as an error.
    fn ask(
        kind: &'static str,
        key: Option<String>,
        method: &'static str,
        params: impl FnOnce() -> Result<Value, Error>,
    ) -> Result<(String, Value), Error> {
        let key = match key {
            Some(key) => key,
            None => entry::next_key(kind)?,
        };
        match entry::answer(&key)? {
            Some(answer) => Ok((key, answer)),
            None => Err(Error::asking(vec![Question { key, method, params: params()? }])),
        }
    }
}

/// An answer that isn't what the protocol, or the question, says it has to be.
fn unfit(key: &str, error: impl std::fmt::Display) -> Error {
    Error::invalid_arguments(format_args!("the answer to `{key}` doesn't fit: {error}"))
}

/// Asks several questions at once.
///
/// It takes a tuple, or a vector, of results. If all are there it gives what they hold; else it
/// gathers their questions into one error. A failure among them comes first.
///
/// ```
/// use kami_guest::ask::{Sampled, together};
/// use kami_guest::prelude::*;
///
/// #[kami_type]
/// struct Name {
///     name: String,
/// }
///
/// /// Writes a letter.
/// #[kami_tool]
/// fn write_letter() -> Result<String, Error> {
///     let (name, letter) = together((
///         elicit::<Name>("Who are you?"),
///         sample("Write a letter without a signature.", 500),
///     ))?;
///     let name = name.accepted().map_or("anonymous".to_owned(), |Name { name }| name);
///     Ok(format!("{}\n\n{name}", letter.text()))
/// }
///
/// # use kami_guest::serde_json::json;
/// # use kami_guest::testing::Client;
/// let asked = Client::new().enter(write_letter).unwrap_err();
/// let keys: Vec<_> = asked.questions().iter().map(|question| &question.key).collect();
/// assert_eq!(keys, ["elicit-1", "sample-1"]);
/// ```
///
/// # Errors
///
/// The first failure, or all questions without an answer; also if two different ones bear the same key.
pub fn together<T: Together>(results: T) -> Result<T::Answers, Error> {
    results.together()
}

/// Results that [`together`] takes.
pub trait Together {
    /// What the results hold.
    type Answers;
    /// All that the results hold, or all their questions.
    ///
    /// # Errors
    ///
    /// Those of [`together`].
    fn together(self) -> Result<Self::Answers, Error>;
}

/// The questions gathered so far, and the first failure.
#[derive(Default)]
struct Gathered {
    questions: Vec<Question>,
    failure: Option<Error>,
}

impl Gathered {
    fn take<T>(&mut self, result: Result<T, Error>) -> Option<T> {
        let error = match result {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        for question in error.questions() {
            match self.questions.iter().find(|other| other.key == question.key) {
                None => self.questions.push(question.clone()),
                Some(same) if same == question => {}
                Some(_) => self.fail(Error::new(format_args!(
                    "two different questions bear the key `{}`",
                    question.key
                ))),
            }
        }
        if error.questions().is_empty() {
            self.fail(error);
        }
        None
    }

    fn fail(&mut self, error: Error) {
        self.failure.get_or_insert(error);
    }

    fn into_error(self) -> Error {
        self.failure.unwrap_or_else(|| Error::asking(self.questions))
    }
}

macro_rules! tuples {
    ($(($($index:tt $answer:ident),*))*) => {
        $(
            impl<$($answer),*> Together for ($(Result<$answer, Error>,)*) {
                type Answers = ($($answer,)*);
                fn together(self) -> Result<Self::Answers, Error> {
                    let mut gathered = Gathered::default();
                    let answers = ($(gathered.take(self.$index),)*);
                    match answers {
                        ($(Some($answer),)*) => Ok(($($answer,)*)),
                        _ => Err(gathered.into_error()),
                    }
                }
            }
        )*
    };
}

#[expect(non_snake_case, reason = "each answer is named after its type")]
mod tuples {
    use super::*;

    tuples! {
        (0 A, 1 B)
        (0 A, 1 B, 2 C)
        (0 A, 1 B, 2 C, 3 D)
        (0 A, 1 B, 2 C, 3 D, 4 E)
        (0 A, 1 B, 2 C, 3 D, 4 E, 5 F)
    }
}

impl<T> Together for Vec<Result<T, Error>> {
    type Answers = Vec<T>;
    fn together(self) -> Result<Self::Answers, Error> {
        let mut gathered = Gathered::default();
        let count = self.len();
        let answers: Vec<T> = self.into_iter().filter_map(|result| gathered.take(result)).collect();
        if answers.len() < count { Err(gathered.into_error()) } else { Ok(answers) }
    }
}

/// What the function kept when it was last left, if this isn't its first run and it kept something.
///
/// # Errors
///
/// If the state isn't a `T`, or outside of a call.
pub fn state<T: DeserializeOwned>() -> Result<Option<T>, Error> {
    entry::state()
}

/// Keeps a value for the next run of the function, until it is set anew.
///
/// ```
/// use kami_guest::ask::{set_state, state};
/// use kami_guest::prelude::*;
///
/// /// Sums up what is in the archive, after asking whether to.
/// #[kami_tool]
/// fn sum_up() -> Result<u64, Error> {
///     let sum = match state()? {
///         Some(sum) => sum,
///         None => (1..=100).sum(),
///     };
///     set_state(&sum)?;
///     match elicit("Tell you the sum?")? {
///         Answer::Accept(true) => Ok(sum),
///         _ => Err("then I won't".into()),
///     }
/// }
/// # use kami_guest::{serde_json::json, testing::Client};
/// # let yes = Client::new().accept("elicit-1", json!({"answer": true}));
/// # assert_eq!(yes.enter(sum_up).unwrap(), 5050);
/// ```
///
/// # Errors
///
/// If it can't be written as JSON, or outside of a call.
pub fn set_state<T: Serialize>(state: &T) -> Result<(), Error> {
    entry::set_state(state)
}
