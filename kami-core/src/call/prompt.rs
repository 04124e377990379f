//! Rendering prompts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::entry::admitted;
use super::resource::nothing_exported;
use super::tool::asked_for;
use super::{
    CallError, Content, Continuation, EventSink, Outcome, Report, Role, Said, cut, strike,
};
use crate::name::ToolName;
use crate::resolve::VerifiedPackage;
use crate::sandbox::{Entry, contract};
use crate::scheduler::Principal;
use crate::secrets::Scrubber;

/// The most messages of one prompt.
const MAX_MESSAGES: usize = 1000;

/// A prompt with its arguments filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    /// For people.
    pub description: Option<String>,
    /// What is said, in order.
    pub messages: Vec<PromptMessage>,
}

/// One thing that is said.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptMessage {
    /// Who says it.
    pub role: Role,
    /// What.
    pub content: Content,
}

/// Renders a prompt of a package on behalf of a principal, or goes on where input was needed.
///
/// # Security
/// As with [`call_as`](super::call_as).
pub async fn prompt_as(
    principal: Principal,
    package: &VerifiedPackage,
    name: &ToolName,
    arguments: &BTreeMap<String, String>,
    continuation: Continuation,
    events: Arc<dyn EventSink>,
) -> Report<Prompt> {
    let sandbox = package.sandbox();
    let limits = sandbox.effective().limits();
    let arguments = serde_json::json!(arguments).to_string();
    if arguments.len() + continuation.size() > limits.argument_bytes() {
        let error = CallError::answers_too_large(limits.argument_bytes());
        return Report::without_entry(error, Instant::now());
    }
    admitted(principal, package, events, async |store| {
        let Entry::V0_2(exports) = sandbox.entry() else { return Ok(nothing_exported()) };
        let Some(prompts) = &exports.prompts else { return Ok(nothing_exported()) };
        let instance = exports.instantiate(store).await?;
        let guest = prompts.load(&mut *store, &instance)?;
        let request = contract::prompts::GetRequest {
            name: name.to_string(),
            arguments,
            continuation: continuation.into(),
        };
        Ok(match guest.call_get(store, &request).await? {
            contract::prompts::GetOutcome::Complete(prompt) => {
                complete(prompt, limits.output_bytes())
            }
            contract::prompts::GetOutcome::InputRequired(asked) => asked_for(asked),
            contract::prompts::GetOutcome::Error(error) => Outcome::Failed(error.into()),
        })
    })
    .await
}

fn complete(prompt: contract::prompts::Prompt, limit_bytes: usize) -> Outcome<Prompt> {
    if prompt.messages.len() > MAX_MESSAGES {
        let reason = format!("it has more than {MAX_MESSAGES} messages");
        return Outcome::Failed(CallError::BadReply(reason));
    }
    let message = |message: contract::prompts::Message| PromptMessage {
        role: message.role.into(),
        content: message.content.into(),
    };
    let messages: Vec<_> = prompt.messages.into_iter().map(message).collect();
    let size = messages.iter().map(|message| message.content.size()).sum::<usize>();
    match size > limit_bytes {
        true => Outcome::Failed(CallError::TooLarge { limit_bytes }),
        false => Outcome::Complete(Prompt { description: prompt.description.map(cut), messages }),
    }
}

impl Said for Prompt {
    fn scrub(&mut self, scrubber: &Scrubber) {
        if let Some(description) = &mut self.description {
            strike(description, scrubber);
        }
        self.messages.iter_mut().for_each(|message| message.content.scrub(scrubber));
    }
}
