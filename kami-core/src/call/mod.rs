//! From a verified package and what a client asks of it to an outcome.
//!
//! Each entry is one into a fresh sandbox, and leaves nothing behind. Whatever the guest does, the
//! caller gets a [`Report`] within the time limit, and dropping the future ends the guest at once.
//!
//! A guest that needs an answer from the person or the model at the other end is not suspended: it
//! ends with [`Outcome::InputRequired`], and is entered anew with a [`Continuation`].

mod arguments;
mod content;
mod describe;
mod entry;
mod error;
mod input;
mod prompt;
mod resource;
mod suggest;
mod tool;

use std::borrow::Cow;
use std::time::{Duration, Instant};

use crate::grants::Denial;
use crate::secrets::Scrubber;

pub use arguments::CallArguments;
pub use content::{
    Content, ContentAnnotations, ContentBody, Media, ResourceBody, ResourceContents, ResourceLink,
    Role,
};
pub use describe::{DescribeError, describe};
pub use error::CallError;
pub use input::{Answer, Continuation, InputMethod, InputRequest, InputRequired};
pub use prompt::{Prompt, PromptMessage, prompt_as};
pub use resource::read_as;
pub use suggest::{Completing, CompletingOf, Suggestions, suggest_as};
pub use tool::{CallOutcome, CallReport, ToolResult, call, call_as, warm_up};

pub use crate::sandbox::{Captured, Collected, EventSink, GuestEvent, Level, Listing};

/// The longest message of a guest that is passed on.
const MAX_MESSAGE_BYTES: usize = 16 << 10;

/// What came of an entry, and what it took.
#[derive(Debug)]
pub struct Report<T> {
    /// What the caller gets.
    pub outcome: Outcome<T>,
    /// What it took.
    pub stats: CallStats,
    /// What was denied to the guest on the way, for the operator.
    pub denials: Vec<Denial>,
    /// How many more there were, of which no more is known.
    pub denials_omitted: u64,
    /// The end of what the guest wrote to stdout, for the operator.
    pub stdout: Captured,
    /// The end of what the guest wrote to stderr, for the operator.
    pub stderr: Captured,
}

/// What came of an entry.
#[derive(Debug)]
pub enum Outcome<T> {
    /// The guest gave what it was asked for.
    Complete(T),
    /// It needs answers first.
    InputRequired(InputRequired),
    /// It did not.
    Failed(CallError),
}

/// What an entry took.
#[derive(Debug, Clone, Copy, Default)]
pub struct CallStats {
    /// From arguments to outcome, waiting for a place included.
    pub total: Duration,
    /// Setting up the sandbox and running the guest in it.
    pub inside: Duration,
    /// The most linear memory that there was at once.
    pub memory_peak_bytes: u64,
    /// The fuel that was burnt, where it is metered.
    pub fuel: Option<u64>,
    /// How long the guest's own code ran on a processor.
    pub cpu: Duration,
    /// Log lines and progress notices that were dropped, as there were too many.
    pub events_dropped: u64,
    /// Whether this is what several calls took together, each of which is counted by itself.
    pub is_sum: bool,
}

impl<T> Outcome<T> {
    /// What was asked for. Who answers no questions takes one for a failure.
    ///
    /// # Errors
    /// Why there is none.
    pub fn complete(self) -> Result<T, CallError> {
        match self {
            Self::Complete(given) => Ok(given),
            Self::InputRequired(input) => Err(input.unanswered()),
            Self::Failed(error) => Err(error),
        }
    }
}

impl<T> Report<T> {
    fn without_entry(error: CallError, started: Instant) -> Self {
        Self {
            outcome: Outcome::Failed(error),
            stats: CallStats { total: started.elapsed(), ..CallStats::default() },
            denials: Vec::new(),
            denials_omitted: 0,
            stdout: Captured::default(),
            stderr: Captured::default(),
        }
    }
}

/// What a guest said, and what may therefore hold a secret.
trait Said {
    /// Strikes out every secret that the guest may use.
    fn scrub(&mut self, scrubber: &Scrubber);
}

impl<T: Said> Said for Vec<T> {
    fn scrub(&mut self, scrubber: &Scrubber) {
        self.iter_mut().for_each(|said| said.scrub(scrubber));
    }
}

impl<T: Said> Said for Report<T> {
    fn scrub(&mut self, scrubber: &Scrubber) {
        if scrubber.is_empty() {
            return;
        }
        match &mut self.outcome {
            Outcome::Complete(said) => said.scrub(scrubber),
            Outcome::InputRequired(input) => input.scrub(scrubber),
            Outcome::Failed(error) => error.scrub(scrubber),
        }
        for captured in [&mut self.stdout, &mut self.stderr] {
            strike(&mut captured.text, scrubber);
        }
        for denial in &mut self.denials {
            strike(&mut denial.thing, scrubber);
            strike(&mut denial.line, scrubber);
        }
    }
}

fn strike(text: &mut String, scrubber: &Scrubber) {
    if let Cow::Owned(scrubbed) = scrubber.scrub_str(text) {
        *text = scrubbed;
    }
}

fn cut(mut message: String) -> String {
    if message.len() > MAX_MESSAGE_BYTES {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE_BYTES));
        message.push('…');
    }
    message
}
