//! Reading resources.

use std::sync::Arc;
use std::time::Instant;

use super::entry::admitted;
use super::tool::asked_for;
use super::{CallError, Continuation, EventSink, Outcome, Report, ResourceContents};
use crate::manifest::ResourceUri;
use crate::resolve::VerifiedPackage;
use crate::sandbox::{Entry, contract};
use crate::scheduler::Principal;

/// The most pieces that one resource has.
const MAX_PIECES: usize = 1000;

/// Reads a resource of a package on behalf of a principal, or goes on where input was needed.
///
/// # Security
/// As with [`call_as`](super::call_as).
pub async fn read_as(
    principal: Principal,
    package: &VerifiedPackage,
    uri: &ResourceUri,
    continuation: Continuation,
    events: Arc<dyn EventSink>,
) -> Report<Vec<ResourceContents>> {
    let sandbox = package.sandbox();
    let limits = sandbox.effective().limits();
    if continuation.size() > limits.argument_bytes() {
        let error = CallError::answers_too_large(limits.argument_bytes());
        return Report::without_entry(error, Instant::now());
    }
    admitted(principal, package, events, async |store| {
        let Entry::V0_2(exports) = sandbox.entry() else { return Ok(nothing_exported()) };
        let Some(resources) = &exports.resources else { return Ok(nothing_exported()) };
        let instance = exports.instantiate(store).await?;
        let guest = resources.load(&mut *store, &instance)?;
        let request = contract::resources::ReadRequest {
            uri: uri.to_string(),
            continuation: continuation.into(),
        };
        let outcome = guest.call_read(store, &request).await?;
        Ok(match outcome {
            contract::resources::ReadOutcome::Complete(contents) => {
                let contents: Vec<_> = contents.into_iter().map(ResourceContents::from).collect();
                let size = contents.iter().map(ResourceContents::size).sum::<usize>();
                if contents.len() > MAX_PIECES {
                    let reason = format!("it has more than {MAX_PIECES} pieces");
                    Outcome::Failed(CallError::BadReply(reason))
                } else if size > limits.output_bytes() {
                    Outcome::Failed(CallError::TooLarge { limit_bytes: limits.output_bytes() })
                } else {
                    Outcome::Complete(contents)
                }
            }
            contract::resources::ReadOutcome::InputRequired(asked) => asked_for(asked),
            contract::resources::ReadOutcome::Error(error) => Outcome::Failed(error.into()),
        })
    })
    .await
}

/// A component whose manifest promises more than it exports.
pub(super) fn nothing_exported<T>() -> Outcome<T> {
    Outcome::Failed(CallError::BadReply("it does not export what it describes".to_owned()))
}
