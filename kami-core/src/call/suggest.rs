//! Suggestions while a person types.

use std::sync::Arc;
use std::time::Instant;

use super::entry::admitted;
use super::resource::nothing_exported;
use super::{CallError, EventSink, Outcome, Report, Said, strike};
use crate::manifest::UriTemplate;
use crate::name::ToolName;
use crate::resolve::VerifiedPackage;
use crate::sandbox::{Entry, contract};
use crate::scheduler::Principal;
use crate::secrets::Scrubber;

/// The most suggestions, as the protocol has it.
const MAX_VALUES: usize = 100;

/// What is being typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completing {
    /// Of what.
    pub of: CompletingOf,
    /// The argument, by its name.
    pub argument: String,
    /// What is there so far.
    pub value: String,
    /// Arguments that are settled, with their values.
    pub context: Vec<(String, String)>,
}

/// Whose argument is typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CompletingOf {
    /// A prompt's.
    Prompt(ToolName),
    /// That of the form of some URIs.
    Template(UriTemplate),
}

/// What a person may mean.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Suggestions {
    /// The best first; 100 at most.
    pub values: Vec<String>,
    /// How many there are.
    pub total: Option<u32>,
    /// Whether there are more.
    pub has_more: bool,
}

/// Asks a package for suggestions on behalf of a principal. One that has none to give gives none.
///
/// # Security
/// As with [`call_as`](super::call_as).
pub async fn suggest_as(
    principal: Principal,
    package: &VerifiedPackage,
    completing: &Completing,
    events: Arc<dyn EventSink>,
) -> Report<Suggestions> {
    let sandbox = package.sandbox();
    let limits = sandbox.effective().limits();
    let Completing { of, argument, value, context } = completing.clone();
    let settled = context.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    if argument.len() + value.len() + settled > limits.argument_bytes() {
        let error = CallError::answers_too_large(limits.argument_bytes());
        return Report::without_entry(error, Instant::now());
    }
    admitted(principal, package, events, async |store| {
        let Entry::V0_2(exports) = sandbox.entry() else { return Ok(nothing_exported()) };
        let Some(completion) = &exports.completion else {
            return Ok(Outcome::Complete(Suggestions::default()));
        };
        let instance = exports.instantiate(store).await?;
        let guest = completion.load(&mut *store, &instance)?;
        let reference = match of {
            CompletingOf::Prompt(name) => contract::completion::Reference::Prompt(name.into()),
            CompletingOf::Template(form) => contract::completion::Reference::Resource(form.into()),
        };
        let request = contract::completion::CompleteRequest { reference, argument, value, context };
        Ok(match guest.call_complete(store, &request).await? {
            Ok(given) => complete(given, limits.output_bytes()),
            Err(error) => Outcome::Failed(error.into()),
        })
    })
    .await
}

fn complete(given: contract::completion::Suggestions, limit_bytes: usize) -> Outcome<Suggestions> {
    let contract::completion::Suggestions { mut values, total, has_more } = given;
    let has_more = has_more || values.len() > MAX_VALUES;
    values.truncate(MAX_VALUES);
    match values.iter().map(String::len).sum::<usize>() > limit_bytes {
        true => Outcome::Failed(CallError::TooLarge { limit_bytes }),
        false => Outcome::Complete(Suggestions { values, total, has_more }),
    }
}

impl Said for Suggestions {
    fn scrub(&mut self, scrubber: &Scrubber) {
        self.values.iter_mut().for_each(|value| strike(value, scrubber));
    }
}
