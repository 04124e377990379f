//! The one place that says in MCP's terms what KAMI's types mean.
//!
//! A request that makes no sense is an error of the protocol. A tool that refuses, fails or is
//! stopped is a result that says so (`isError`), because the model reads results: the tool's own
//! words where the tool speaks, and otherwise one line that ends with a stable code. What an
//! operator needs beyond that goes to the log and never to the model.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rmcp::model::{
    self, AudioContent, CallToolResult, ContentBlock, EmbeddedResource, ErrorData, ImageContent,
    TextContent, Tool, ToolAnnotations,
};

use crate::call::{
    CallError, CallOutcome, CallReport, Content, ContentAnnotations, ContentBody, ResourceBody,
    ResourceContents, ResourceLink, Role, ToolResult,
};
use crate::resolve::{CatalogEntry, ResolveError};

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
    tracing::error!(error = error as &dyn std::error::Error, "the registry cannot be read");
    ErrorData::internal_error(
        format!("the installed tools cannot be read [{}]", error.code()),
        None,
    )
}

/// A name that no installed tool has.
pub(super) fn unknown_tool(error: &ResolveError) -> ErrorData {
    ErrorData::invalid_params(error.to_string(), None)
}

/// A tool that is installed and may not run.
pub(super) fn refusal(entry: &CatalogEntry, error: &ResolveError) -> CallToolResult {
    let code = error.code();
    let tool = entry.wire_name.as_str();
    tracing::warn!(tool, code, error = error as &dyn std::error::Error, "a tool was refused");
    failure(format!("{error} [{code}]"))
}

/// What came of a call.
pub(super) fn reply(entry: &CatalogEntry, report: CallReport) -> CallToolResult {
    log(entry, &report);
    match report.outcome {
        CallOutcome::Complete(result) => success(result),
        CallOutcome::Failed(CallError::Tool(text)) => failure(text),
        CallOutcome::Failed(error) => failure(format!("{} [{}]", error.for_model(), error.code())),
    }
}

fn log(entry: &CatalogEntry, report: &CallReport) {
    let tool = entry.wire_name.as_str();
    let stderr = report.stderr.excerpt();
    match &report.outcome {
        CallOutcome::Complete(_) => tracing::debug!(tool, total = ?report.stats.total, "called"),
        CallOutcome::Failed(error @ (CallError::Tool(_) | CallError::InvalidArguments(_))) => {
            tracing::debug!(tool, code = error.code(), %error, "a tool declined a call");
        }
        CallOutcome::Failed(error) => {
            let (code, error) = (error.code(), error as &dyn std::error::Error);
            tracing::warn!(tool, code, error, %stderr, "a call failed");
        }
    }
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
    #[expect(clippy::cast_possible_truncation, reason = "a priority is between 0 and 1")]
    let priority = given.priority.map(|priority| priority.clamp(0.0, 1.0) as f32);
    annotations.priority = priority;
    annotations.last_modified = given.last_modified;
    annotations
}
