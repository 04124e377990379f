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

use serde_json::json;

use super::session::Era;
use crate::audit::AuditError;
use crate::call::{
    CallError, CallOutcome, CallReport, CallStats, Content, ContentAnnotations, ContentBody,
    Outcome, Prompt, PromptMessage, Report, ResourceBody, ResourceContents, ResourceLink, Role,
    Suggestions, ToolResult,
};
use crate::grants::Denial;
use crate::manifest::{Audience, JsonObject, PromptArgument, ResourceAnnotations};
use crate::pipeline::Ended;
use crate::registry::InstalledPackage;
use crate::resolve::{CatalogEntry, PromptEntry, ResolveError, ResourceEntry, TemplateEntry};
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

/// What is installed under `name`, and may not run: what a client is told.
pub(super) fn refusal(name: &str, error: &ResolveError) -> String {
    let code = error.code();
    tracing::warn!(name, code, error = error as &dyn Error, "a tool was refused");
    error.for_client(name)
}

/// A call that is not made because it could not be recorded: what a client is told.
pub(super) fn unrecorded(error: &AuditError) -> String {
    match error {
        // The log has said so itself, once.
        AuditError::Failed(_) => tracing::debug!("a call was refused: the audit log failed"),
        _ => {
            tracing::error!(error = error as &dyn Error, "a call was refused: the audit log failed")
        }
    }
    format!("the call cannot be recorded, and so is not made [{UNRECORDED}]")
}

/// What a client would be told about a call, as JSON.
pub(super) fn json(report: &CallReport) -> serde_json::Value {
    let result = match &report.outcome {
        CallOutcome::Complete(result) => success(result.clone()),
        CallOutcome::InputRequired(input) => failure(input.unanswered().for_model()),
        CallOutcome::Failed(error) => failed(error, &report.denials),
    };
    serde_json::to_value(result).unwrap_or_default()
}

/// What a client would be told of a result, as JSON, without what says that it is one.
pub(super) fn document(result: ToolResult) -> serde_json::Value {
    let mut whole = JsonObject::new();
    let blocks: Vec<_> = result.content.into_iter().map(block).collect();
    whole.insert("content".to_owned(), serde_json::to_value(blocks).unwrap_or_default());
    if let Some(structured) = result.structured {
        whole.insert("structuredContent".to_owned(), structured);
    }
    whole.into()
}

/// Tells the operator what came of a step of a pipeline.
pub(super) fn ended(step: &Ended<'_>) {
    let name = step.entry.wire_name.as_str();
    match step.came {
        Ok(report) => log(name, &step.entry.package, report),
        Err(error) => {
            let code = error.code();
            tracing::warn!(name, code, error = error as &dyn Error, "a step was refused");
        }
    }
}

/// What a resource holds.
pub(super) fn contents(contents: Vec<ResourceContents>, era: Era) -> JsonObject {
    let contents: Vec<_> = contents.into_iter().map(resource).collect();
    let mut result = JsonObject::new();
    result.insert("contents".to_owned(), json!(contents));
    if era == Era::Stateless {
        // Nobody says when it changes.
        result.insert("ttlMs".to_owned(), 0.into());
        result.insert("cacheScope".to_owned(), "private".into());
    }
    result
}

/// A prompt, filled in.
pub(super) fn prompt(prompt: Prompt) -> JsonObject {
    let message = |PromptMessage { role, content }| json!({"role": role_name(role), "content": block(content)});
    let messages: Vec<_> = prompt.messages.into_iter().map(message).collect();
    let mut result = JsonObject::new();
    if let Some(description) = prompt.description {
        result.insert("description".to_owned(), description.into());
    }
    result.insert("messages".to_owned(), messages.into());
    result
}

/// What a person may mean.
pub(super) fn suggestions(Suggestions { values, total, has_more }: Suggestions) -> JsonObject {
    let mut completion = json!({"values": values, "hasMore": has_more});
    if let Some(total) = total {
        completion["total"] = total.into();
    }
    JsonObject::from_iter([("completion".to_owned(), completion)])
}

/// What a client is told about what no model reads.
pub(super) fn error(error: &CallError) -> ErrorData {
    match error {
        CallError::InvalidArguments(_) | CallError::NotFound(_) => {
            ErrorData::invalid_params(error.for_model(), None)
        }
        _ => ErrorData::internal_error(error.for_model(), None),
    }
}

/// The definition of a prompt under its name on the wire.
pub(super) fn prompt_definition(entry: &PromptEntry) -> model::Prompt {
    let definition = entry.definition();
    let argument = |argument: &PromptArgument| {
        let mut told = model::PromptArgument::new(argument.name.clone());
        told.title.clone_from(&argument.title);
        told.description.clone_from(&argument.description);
        told.required = Some(argument.required);
        told
    };
    let arguments: Vec<_> = definition.arguments.iter().map(argument).collect();
    let arguments = (!arguments.is_empty()).then_some(arguments);
    let mut prompt =
        model::Prompt::new(entry.wire_name.as_str(), definition.description.clone(), arguments);
    prompt.title.clone_from(&definition.title);
    prompt
}

/// The definition of a resource.
pub(super) fn resource_definition(entry: &ResourceEntry) -> model::Resource {
    let definition = entry.definition();
    let about = &definition.about;
    let mut resource = model::Resource::new(definition.uri.as_str(), about.name.as_str());
    resource.title.clone_from(&about.title);
    resource.description.clone_from(&about.description);
    resource.mime_type.clone_from(&about.mime_type);
    resource.size = definition.size;
    resource.annotations = about.annotations.clone().map(|hints| annotations(hints.into()));
    resource
}

/// The definition of resources of one form.
pub(super) fn template_definition(entry: &TemplateEntry) -> model::ResourceTemplate {
    let definition = entry.definition();
    let about = &definition.about;
    let form = definition.uri_template.as_str();
    let mut template = model::ResourceTemplate::new(form, about.name.as_str());
    template.title.clone_from(&about.title);
    template.description.clone_from(&about.description);
    template.mime_type.clone_from(&about.mime_type);
    template.annotations = about.annotations.clone().map(|hints| annotations(hints.into()));
    template
}

impl From<ResourceAnnotations> for ContentAnnotations {
    fn from(hints: ResourceAnnotations) -> Self {
        let role = |audience| match audience {
            Audience::User => Role::User,
            Audience::Assistant => Role::Assistant,
        };
        Self {
            audience: hints.audience.into_iter().map(role).collect(),
            priority: hints.priority,
            last_modified: hints.last_modified,
        }
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        Role::Assistant => "assistant",
    }
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
pub(super) fn log<T>(tool: &str, package: &InstalledPackage, report: &Report<T>) {
    for denial in &report.denials {
        let (thing, rule, code) = (&denial.thing, denial.rule, denial.rule.code());
        let fix = denial.hint(package.id().as_str()).unwrap_or_default();
        tracing::warn!(tool, ?thing, %rule, code, ?fix, "a tool was denied something");
    }
    match &report.outcome {
        Outcome::Complete(_) | Outcome::InputRequired(_) => {
            tracing::debug!(tool, total = ?report.stats.total, inside = ?report.stats.inside, "called");
        }
        Outcome::Failed(
            // What came of a step was told when it ended.
            error @ (CallError::Tool(_)
            | CallError::NotFound(_)
            | CallError::InvalidArguments(_)
            | CallError::Step { .. }),
        ) => {
            tracing::debug!(tool, code = error.code(), ?error, "a tool declined a call");
        }
        Outcome::Failed(error) => {
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
pub(super) fn failed(error: &CallError, denials: &[Denial]) -> CallToolResult {
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

pub(super) fn failure(text: String) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(text)])
}

pub(super) fn success(result: ToolResult) -> CallToolResult {
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
