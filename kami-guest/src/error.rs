//! Why a function ended early.

use std::fmt::Display;

use crate::ask::Question;

/// Why a function ended early: it failed, or it needs answers before it can go on.
///
/// `?` makes one of anything that has a text: a string, an error of `std`, or that of another crate.
/// It is also what [`elicit`](crate::elicit) and its like return while the answer is missing, so a
/// function that asks returns `Result<_, Error>`.
///
/// ```
/// use kami_guest::prelude::*;
///
/// /// Adds up the numbers in a file.
/// #[kami_tool]
/// fn add_up(path: String) -> Result<i64, Error> {
///     let text = std::fs::read_to_string(&path)?;
///     if text.is_empty() {
///         return Err(Error::new(format_args!("`{path}` is empty")));
///     }
///     let mut sum = 0;
///     for line in text.lines() {
///         sum += line.parse::<i64>()?;
///     }
///     Ok(sum)
/// }
/// # assert!(add_up("nowhere".into()).is_err());
/// ```
///
/// It has no `Display` of its own: that is what lets `?` take everything that has.
#[derive(Clone, Debug, PartialEq)]
pub struct Error(Box<Reason>);

#[derive(Clone, Debug, PartialEq)]
enum Reason {
    Failure { kind: ErrorKind, message: String },
    InputRequired(InputRequired),
}

/// What a function needs to know before it can go on, and what it wants back by then.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct InputRequired {
    pub questions: Vec<Question>,
    /// Filled in when the function is left, for until then it may change.
    pub state: Option<Vec<u8>>,
}

/// What kind of early end it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no tool, resource or prompt of that name.
    NotFound,
    /// The arguments, or an answer, don't fit their schema.
    InvalidArguments,
    /// It was tried and failed.
    Failed,
    /// No failure: there are questions to be answered first.
    InputRequired,
}

impl Error {
    /// It was tried and failed; the model reads the message.
    pub fn new(message: impl Display) -> Self {
        Self::of_kind(ErrorKind::Failed, message)
    }

    /// There is no such resource, as when the variables of its URI name nothing.
    ///
    /// A tool or a prompt that is called exists, so there this is as good as [`new`](Self::new).
    pub fn not_found(message: impl Display) -> Self {
        Self::of_kind(ErrorKind::NotFound, message)
    }

    /// The arguments make no sense, each by itself or together.
    pub fn invalid_arguments(message: impl Display) -> Self {
        Self::of_kind(ErrorKind::InvalidArguments, message)
    }

    /// What kind of early end it was.
    pub fn kind(&self) -> ErrorKind {
        match &*self.0 {
            Reason::Failure { kind, .. } => *kind,
            Reason::InputRequired(_) => ErrorKind::InputRequired,
        }
    }

    /// What the model reads; empty if there are only questions.
    pub fn message(&self) -> &str {
        match &*self.0 {
            Reason::Failure { message, .. } => message,
            Reason::InputRequired(_) => "",
        }
    }

    /// What has to be answered first.
    pub fn questions(&self) -> &[Question] {
        match &*self.0 {
            Reason::Failure { .. } => &[],
            Reason::InputRequired(input) => &input.questions,
        }
    }

    pub(crate) fn of_kind(kind: ErrorKind, message: impl Display) -> Self {
        // The alternate form is the one in which `anyhow` shows the causes as well.
        Self(Box::new(Reason::Failure { kind, message: format!("{message:#}") }))
    }

    pub(crate) fn asking(questions: Vec<Question>) -> Self {
        Self(Box::new(Reason::InputRequired(InputRequired { questions, state: None })))
    }

    /// Takes the error apart into questions, or a kind of failure and its message.
    #[cfg(target_family = "wasm")]
    pub(crate) fn into_parts(self) -> Result<InputRequired, (ErrorKind, String)> {
        match *self.0 {
            Reason::Failure { kind, message } => Err((kind, message)),
            Reason::InputRequired(input) => Ok(input),
        }
    }

    /// The error of a tool or prompt that there is: what is missing can only be something else.
    pub(crate) fn of_something_found(mut self) -> Self {
        if let Reason::Failure { kind: kind @ ErrorKind::NotFound, .. } = &mut *self.0 {
            *kind = ErrorKind::Failed;
        }
        self
    }

    /// What is asked, if anything is.
    pub(crate) fn input_required_mut(&mut self) -> Option<&mut InputRequired> {
        match &mut *self.0 {
            Reason::Failure { .. } => None,
            Reason::InputRequired(input) => Some(input),
        }
    }
}

impl<E: Display> From<E> for Error {
    fn from(error: E) -> Self {
        Self::new(error)
    }
}

/// A type that says why a function ended early.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be the error of a tool",
    label = "has no text for the model to read",
    note = "implement `Display` for it, or return `Result<_, String>`"
)]
pub trait ToolError {
    /// The error as the host is told.
    fn into_error(self) -> Error;
}

#[diagnostic::do_not_recommend]
impl<E: Display> ToolError for E {
    fn into_error(self) -> Error {
        Error::new(self)
    }
}

impl ToolError for Error {
    fn into_error(mut self) -> Error {
        if let Some(input) = self.input_required_mut() {
            input.state = crate::entry::kept_state();
        }
        self
    }
}
