//! The one place that says in MCP's terms what KAMI's types mean.
//!
//! A request that makes no sense is an error of the protocol. A tool that refuses, fails or is
//! stopped is a result that says so (`isError`), because the model reads results: the tool's own
//! words where the tool speaks, and otherwise one line that ends with a stable code. What an
//! operator needs beyond that goes to the log and never to the model.

use std::error::Error;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rmcp::model::{
    self, AudioContent, CallToolResult, ContentBlock, EmbeddedResource, ErrorData, ImageContent,
    MetaObject, TextContent, Tool, ToolAnnotations,
};

use crate::audit::AuditError;
use crate::call::{
    CallError, CallOutcome, CallReport, CallStats, Content, ContentAnnotations, ContentBody,
    ResourceBody, ResourceContents, ResourceLink, Role, ToolResult,
};
use crate::grants::Denial;
use crate::resolve::{CatalogEntry, ResolveError};
use crate::witness::UNRECORDED;

/// The key in a result's `_meta` under which stands what a call took.
const STATS: &str = "dev.kami/stats";

/// A tool's definition under its name on the wire.
pub(super) fn tool(entry: &CatalogEntry) -> Tool {
    let definition = entry.definition();
    let hints = &definition.annotations;
    let mut tool = Tool::default();
    tool.name = entry.wire_name.to_string().into();
    tool.title.clone_from(&definition.title);
    tool.description =
        (!definition.description.is_empty()).then(|| definition.description.clone().into());
    tool.input_schema = Arc::new(definition.input_schema.clone());
    tool.output_schema = definition.output_schema.clone().map(Arc::new);
    tool.annotations = Some(ToolAnnotations::from_raw(
        None,
        hints.read_only_hint,
        hints.destructive_hint,
        hints.idempotent_hint,
        hints.open_world_hint,
    ));
    tool
}

/// The registry cannot be read: no request about tools can be answered.
pub(super) fn no_catalog(error: &ResolveError) -> ErrorData {
    tracing::error!(error = error as &dyn Error, "the registry cannot be read");
    let message = format!("the installed tools cannot be read [{}]", error.code());
    ErrorData::internal_error(message, None)
}

/// A name under which no tool was found.
pub(super) fn unknown_tool(error: &ResolveError) -> ErrorData {
    if let ResolveError::Registry(_) = error {
        return no_catalog(error);
    }
    ErrorData::invalid_params(error.to_string(), None)
}

/// A tool that is installed and may not run.
pub(super) fn refusal(entry: &CatalogEntry, error: &ResolveError) -> CallToolResult {
    let (tool, code) = (entry.wire_name.as_str(), error.code());
    tracing::warn!(tool, code, error = error as &dyn Error, "a tool was refused");
    let why = match error {
        ResolveError::Signature { source, .. } => format!("{error}: {source}"),
        // These speak of the host's own files.
        ResolveError::Registry(_)
        | ResolveError::Trust(_)
        | ResolveError::Policy(_)
        | ResolveError::Engine(_)
        | ResolveError::Interrupted => format!("`{tool}` cannot be loaded"),
        _ => error.to_string(),
    };
    failure(format!("{why} [{code}]"))
}

/// A call that was refused before its tool was looked for.
pub(super) fn refused(error: &CallError) -> CallToolResult {
    failure(error.for_model())
}

/// A call that is not made because it could not be recorded.
pub(super) fn unrecorded(error: &AuditError) -> CallToolResult {
    match error {
        // The log has said so itself, once.
        AuditError::Failed(_) => tracing::debug!("a call was refused: the audit log failed"),
        _ => {
            tracing::error!(error = error as &dyn Error, "a call was refused: the audit log failed")
        }
    }
    failure(format!("the call cannot be recorded, and so is not made [{UNRECORDED}]"))
}

/// What came of a call.
pub(super) fn reply(entry: &CatalogEntry, report: CallReport) -> CallToolResult {
    log(entry, &report);
    match report.outcome {
        CallOutcome::Complete(result) => success(result),
        CallOutcome::Failed(error) => failed(&error, &report.denials),
    }
}

/// What a client would be told about a call, as JSON.
pub(super) fn json(report: &CallReport) -> serde_json::Value {
    let result = match &report.outcome {
        CallOutcome::Complete(result) => success(result.clone()),
        CallOutcome::Failed(error) => failed(error, &report.denials),
    };
    serde_json::to_value(result).unwrap_or_default()
}

/// Tells in the result's `_meta` what the call took.
pub(super) fn attach(result: &mut CallToolResult, stats: &CallStats) {
    let stats = serde_json::json!({
        "insideMicros": stats.inside.as_micros() as u64,
        "totalMicros": stats.total.as_micros() as u64,
        "memoryPeakBytes": stats.memory_peak_bytes,
        "fuel": stats.fuel,
        "cpuMicros": stats.cpu.as_micros() as u64,
    });
    let meta = result.meta.get_or_insert_with(|| MetaObject(model::JsonObject::new()));
    meta.0.insert(STATS.to_owned(), stats);
}

/// Tells the operator. Guest text is shown escaped, so that it cannot pass for anything else.
fn log(entry: &CatalogEntry, report: &CallReport) {
    let tool = entry.wire_name.as_str();
    for denial in &report.denials {
        let (thing, rule, code) = (&denial.thing, denial.rule, denial.rule.code());
        let fix = denial.hint(entry.package.id().as_str()).unwrap_or_default();
        tracing::warn!(tool, ?thing, %rule, code, ?fix, "a tool was denied something");
    }
    match &report.outcome {
        CallOutcome::Complete(_) => {
            tracing::debug!(tool, total = ?report.stats.total, inside = ?report.stats.inside, "called");
        }
        CallOutcome::Failed(error @ (CallError::Tool(_) | CallError::InvalidArguments(_))) => {
            tracing::debug!(tool, code = error.code(), ?error, "a tool declined a call");
        }
        CallOutcome::Failed(error) => {
            let stderr = end_of(&report.stderr.text);
            tracing::warn!(tool, code = error.code(), ?error, ?stderr, "a call failed");
        }
    }
}

/// The last lines of what a guest wrote, where a panic's message is.
fn end_of(text: &str) -> &str {
    const SHOWN: usize = 2 << 10;
    &text[text.ceil_char_boundary(text.len().saturating_sub(SHOWN))..]
}

/// A failure in the tool's words, and in one line of ours what was denied to it on the way.
fn failed(error: &CallError, denials: &[Denial]) -> CallToolResult {
    let mut result = failure(error.for_model());
    if let Some((first, others)) = denials.split_first() {
        let more = match others.len() {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        result.content.push(ContentBlock::text(format!("{}{more}", first.for_model())));
    }
    result
}

fn failure(text: String) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(text)])
}

fn success(result: ToolResult) -> CallToolResult {
    let content = result.content.into_iter().map(block).collect();
    let mut reply = CallToolResult::success(content);
    reply.structured_content = result.structured;
    reply
}

fn block(content: Content) -> ContentBlock {
    let annotations = content.annotations.map(annotations);
    match content.body {
        ContentBody::Text(text) => {
            let mut block = TextContent::new(text);
            block.annotations = annotations;
            ContentBlock::Text(block)
        }
        ContentBody::Image(media) => {
            let mut block = ImageContent::new(STANDARD.encode(media.data), media.mime_type);
            block.annotations = annotations;
            ContentBlock::Image(block)
        }
        ContentBody::Audio(media) => {
            let mut block = AudioContent::new(STANDARD.encode(media.data), media.mime_type);
            block.annotations = annotations;
            ContentBlock::Audio(block)
        }
        ContentBody::Resource(contents) => {
            let mut block = EmbeddedResource::new(resource(contents));
            block.annotations = annotations;
            ContentBlock::Resource(block)
        }
        ContentBody::ResourceLink(link) => {
            let mut block = resource_link(link);
            block.annotations = annotations;
            ContentBlock::ResourceLink(block)
        }
    }
}

fn resource(contents: ResourceContents) -> model::ResourceContents {
    let ResourceContents { uri, mime_type, body } = contents;
    match body {
        ResourceBody::Text(text) => {
            model::ResourceContents::TextResourceContents { uri, mime_type, text, meta: None }
        }
        ResourceBody::Blob(bytes) => {
            let blob = STANDARD.encode(bytes);
            model::ResourceContents::BlobResourceContents { uri, mime_type, blob, meta: None }
        }
    }
}

fn resource_link(link: ResourceLink) -> model::Resource {
    let mut resource = model::Resource::new(link.uri, link.name);
    resource.title = link.title;
    resource.description = link.description;
    resource.mime_type = link.mime_type;
    resource.size = link.size;
    resource
}

fn annotations(given: ContentAnnotations) -> model::Annotations {
    let audience: Vec<_> = given
        .audience
        .into_iter()
        .map(|role| match role {
            Role::User => model::Role::User,
            Role::Assistant => model::Role::Assistant,
        })
        .collect();
    let mut annotations = model::Annotations::default();
    annotations.audience = (!audience.is_empty()).then_some(audience);
    // What is not a number has no form in JSON.
    let priority = given.priority.filter(|priority| !priority.is_nan());
    #[expect(clippy::cast_possible_truncation, reason = "a priority is between 0 and 1")]
    let priority = priority.map(|priority| priority.clamp(0.0, 1.0) as f32);
    annotations.priority = priority;
    annotations.last_modified = given.last_modified;
    annotations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_is_a_number_between_0_and_1_or_none() {
        let told = |priority| {
            let given = ContentAnnotations {
                audience: Vec::new(),
                priority: Some(priority),
                last_modified: None,
            };
            annotations(given).priority
        };
        assert_eq!(told(0.5), Some(0.5));
        assert_eq!((told(-3.0), told(f64::INFINITY)), (Some(0.0), Some(1.0)));
        assert_eq!(told(f64::NAN), None);
    }
}
