//! Why a call gave no result.

use std::time::Duration;

use super::{Said, cut, strike};
use crate::sandbox::{Refusal, SandboxError, types};
use crate::secrets::Scrubber;

/// Why a call gave no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The arguments don't fit the schema: path and problem, one per line.
    #[error("the arguments don't fit the input schema: {}", .0.join("; "))]
    InvalidArguments(Vec<String>),
    /// The tool says that it failed, in its own words.
    #[error("{0}")]
    Tool(String),
    /// The guest has nothing of that name, in its own words.
    #[error("{0}")]
    NotFound(String),
    /// The wall-clock limit was reached, in the guest or in a host call.
    #[error("the tool ran longer than its limit of {} ms", .limit.as_millis())]
    TimedOut {
        /// The limit.
        limit: Duration,
    },
    /// The guest used up its time on a processor.
    #[error("the tool computed longer than its limit of {} ms", .limit.as_millis())]
    OutOfCpu {
        /// The limit.
        limit: Duration,
    },
    /// The guest gave up after more memory was refused to it.
    #[error("the tool needs more memory than its limit of {} MiB", .limit_bytes >> 20)]
    OutOfMemory {
        /// The limit.
        limit_bytes: u64,
    },
    /// The fuel limit was reached.
    #[error("the tool burnt all of its {limit} units of fuel")]
    OutOfFuel {
        /// The limit.
        limit: u64,
    },
    /// The stack limit was reached.
    #[error("the tool used up its stack, as endless recursion does")]
    StackOverflow,
    /// The guest held on to more of the host's things than it may.
    #[error("the tool holds more than its limit of {limit} open files, streams and the like")]
    TooManyHandles {
        /// The limit.
        limit: usize,
    },
    /// The guest handed over more than its result may have.
    #[error("the tool's result is larger than its limit of {} KiB", .limit_bytes >> 10)]
    TooLarge {
        /// The limit.
        limit_bytes: usize,
    },
    /// The package was called too often.
    #[error("the tool is called too often: try again in {} ms", .retry.as_millis().max(1))]
    TooOften {
        /// When another call may begin.
        retry: Duration,
    },
    /// Too many calls wait already, or this one waited too long for a place.
    #[error("the server is busy: retry in {} s", .retry.as_secs().max(1))]
    Busy {
        /// When it is worth to try again, by how long calls took lately.
        retry: Duration,
    },
    /// The machine had no memory or address space left for the guest, though its limits permit more.
    #[error("the machine has no memory left for this call: retry in {} s", .retry.as_secs().max(1))]
    Exhausted {
        /// When it is worth to try again.
        retry: Duration,
    },
    /// The guest panicked.
    #[error("the tool crashed (panic)")]
    Panicked {
        /// The panic's message, for the operator.
        message: String,
        /// `src/lib.rs:LINE:COLUMN`, for the operator.
        location: String,
    },
    /// The guest called `exit`.
    #[error("the tool exited with status {0} instead of answering")]
    Exited(i32),
    /// The guest trapped in another way.
    #[error("the tool crashed ({reason})")]
    Trapped {
        /// What happened, in a few words.
        reason: String,
    },
    /// The guest's answer is not one.
    #[error("the tool gave a reply that is not valid: {0}")]
    BadReply(String),
    /// The tool needs an answer from the client, and does not get one.
    #[error("the tool asked a question that was not answered: {0}")]
    Unanswered(String),
    /// A step of a pipeline failed.
    #[error("step `{step}` ({tool}) failed: {said}")]
    Step {
        /// By its name in the pipeline.
        step: String,
        /// What it called.
        tool: String,
        /// What a model would have been told about that call alone.
        said: String,
    },
    /// The sandbox could not be set up; nothing of the tool ran.
    #[error("the tool could not be started")]
    Sandbox(#[source] SandboxError),
}

impl CallError {
    /// A stable code by which people and programs look this up.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidArguments(_) => "KAMI-ARGUMENTS",
            Self::Tool(_) => "KAMI-TOOL",
            Self::NotFound(_) => "KAMI-UNKNOWN",
            Self::TimedOut { .. } => "KAMI-TIMEOUT",
            Self::OutOfMemory { .. } => "KAMI-MEMORY",
            Self::OutOfFuel { .. } => "KAMI-FUEL",
            Self::StackOverflow => "KAMI-STACK",
            Self::OutOfCpu { .. } => "KAMI-CPU",
            Self::TooManyHandles { .. } => "KAMI-HANDLES",
            Self::TooLarge { .. } => "KAMI-SIZE",
            Self::TooOften { .. } => "KAMI-RATE",
            Self::Busy { .. } => "KAMI-BUSY",
            Self::Exhausted { .. } => "KAMI-EXHAUSTED",
            Self::Panicked { .. } => "KAMI-PANIC",
            Self::Exited(_) => "KAMI-EXIT",
            Self::Trapped { .. } => "KAMI-TRAP",
            Self::BadReply(_) => "KAMI-REPLY",
            Self::Unanswered(_) => "KAMI-INPUT",
            Self::Step { .. } => "KAMI-STEP",
            Self::Sandbox(_) => "KAMI-SANDBOX",
        }
    }

    /// Whether the guest got to its end, and failed in words of its own.
    pub fn is_the_guests_own(&self) -> bool {
        matches!(self, Self::Tool(_) | Self::NotFound(_) | Self::InvalidArguments(_))
    }

    pub(super) fn answers_too_large(limit_bytes: usize) -> Self {
        Self::InvalidArguments(vec![format!("they are larger than {} KiB", limit_bytes >> 10)])
    }

    /// What the model reads: the tool's own words, or one short line that ends in the code.
    pub fn for_model(&self) -> String {
        match self {
            Self::Tool(message) | Self::NotFound(message) => message.clone(),
            other => format!("{other} [{}]", other.code()),
        }
    }
}

impl Said for CallError {
    fn scrub(&mut self, scrubber: &Scrubber) {
        match self {
            Self::Tool(text)
            | Self::NotFound(text)
            | Self::Unanswered(text)
            | Self::BadReply(text)
            | Self::Trapped { reason: text } => {
                strike(text, scrubber);
            }
            Self::Panicked { message, location } => {
                strike(message, scrubber);
                strike(location, scrubber);
            }
            Self::InvalidArguments(problems) => {
                problems.iter_mut().for_each(|problem| strike(problem, scrubber));
            }
            // The others hold nothing that a tool said.
            _ => {}
        }
    }
}

impl From<Refusal> for CallError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Rate(retry) => Self::TooOften { retry },
            Refusal::Busy(retry) => Self::Busy { retry },
        }
    }
}

impl From<types::Error> for CallError {
    fn from(types::Error { kind, message }: types::Error) -> Self {
        match kind {
            types::ErrorKind::InvalidArguments => Self::InvalidArguments(vec![cut(message)]),
            types::ErrorKind::NotFound => Self::NotFound(cut(message)),
            types::ErrorKind::Failed => Self::Tool(cut(message)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_reads_the_tools_own_words_or_one_line_with_a_code() {
        assert_eq!(CallError::Tool("no such city".into()).for_model(), "no such city");
        let limit = Duration::from_millis(50);
        assert_eq!(
            CallError::TimedOut { limit }.for_model(),
            "the tool ran longer than its limit of 50 ms [KAMI-TIMEOUT]"
        );
    }
}
