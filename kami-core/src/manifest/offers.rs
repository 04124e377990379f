//! What a component offers besides code: tools, resources, templates of them, and prompts.
//!
//! A component says so itself, once, when it is built; from then on it stands in its manifest.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::uri::{ResourceUri, UriTemplate};
use super::{MAX_BYTES, ManifestError, ToolDefinition};
use crate::name::ToolName;

/// The most resources, templates and prompts, each, that one component may offer.
pub const MAX_OFFERED: usize = 1000;

/// Everything that a component offers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Offers {
    /// What a model may call.
    pub tools: Vec<ToolDefinition>,
    /// What a client may read.
    pub resources: Vec<ResourceDefinition>,
    /// What a client may read, by a URI that it puts together.
    pub resource_templates: Vec<TemplateDefinition>,
    /// What a person may pick.
    pub prompts: Vec<PromptDefinition>,
}

/// One resource, in the terms of the Model Context Protocol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceDefinition {
    /// By which it is read. No two packages of a registry have the same.
    pub uri: ResourceUri,
    /// What it is, and looks like.
    #[serde(flatten)]
    pub about: AboutResource,
    /// Its size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// Resources whose URIs have one form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateDefinition {
    /// The form.
    pub uri_template: UriTemplate,
    /// What they are, and look like.
    #[serde(flatten)]
    pub about: AboutResource,
}

/// What is said of a resource, and of resources of one form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AboutResource {
    /// For programs.
    pub name: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// For the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// For whom it is, and how much it matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<ResourceAnnotations>,
}

/// Hints about a resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceAnnotations {
    /// For whom it is meant; empty: for everyone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audience: Vec<Audience>,
    /// From 0 (optional) to 1 (required).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<f64>,
    /// ISO 8601.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
}

/// For whom something is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Audience {
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// One prompt, in the terms of the Model Context Protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PromptDefinition {
    /// Unique within the component, by the rules for tools.
    pub name: ToolName,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// For people, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What it takes, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<PromptArgument>,
}

/// One thing that a prompt takes, as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PromptArgument {
    /// Unique within the prompt.
    pub name: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// For people, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether the prompt cannot do without it.
    #[serde(default)]
    pub required: bool,
}

impl From<Vec<ToolDefinition>> for Offers {
    fn from(tools: Vec<ToolDefinition>) -> Self {
        Self { tools, ..Self::default() }
    }
}

/// What a component says of its resources.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DescribedResources {
    #[serde(default)]
    pub(crate) resources: Vec<ResourceDefinition>,
    #[serde(default)]
    pub(crate) resource_templates: Vec<TemplateDefinition>,
}

/// What a component says of its prompts.
#[derive(Deserialize)]
pub(crate) struct DescribedPrompts {
    #[serde(default)]
    pub(crate) prompts: Vec<PromptDefinition>,
}

/// Reads one of a component's descriptions.
///
/// # Security
/// The text comes from a guest.
pub(crate) fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, ManifestError> {
    if text.len() > MAX_BYTES {
        return Err(ManifestError::TooLarge(text.len()));
    }
    serde_json::from_str(text).map_err(ManifestError::Json)
}

/// Refuses what cannot be told apart, and more than may be.
pub(super) fn check(
    resources: &[ResourceDefinition],
    templates: &[TemplateDefinition],
    prompts: &[PromptDefinition],
) -> Result<(), ManifestError> {
    let counts = [
        ("resources", resources.len()),
        ("templates", templates.len()),
        ("prompts", prompts.len()),
    ];
    for (what, found) in counts {
        if found > MAX_OFFERED {
            return Err(ManifestError::TooManyOffered { what, found });
        }
    }
    let uris = resources.iter().map(|resource| ("resource", resource.uri.as_str()));
    let templates = templates.iter().map(|template| ("template", template.uri_template.as_str()));
    let names = prompts.iter().map(|prompt| ("prompt", prompt.name.as_str()));
    let mut seen = HashSet::new();
    for (what, name) in uris.chain(templates).chain(names) {
        if !seen.insert((what, name)) {
            return Err(ManifestError::Duplicate { what, name: name.to_owned() });
        }
    }
    for prompt in prompts {
        let mut seen = HashSet::new();
        if let Some(twice) = prompt.arguments.iter().find(|a| !seen.insert(a.name.as_str())) {
            return Err(ManifestError::Duplicate { what: "argument", name: twice.name.clone() });
        }
    }
    Ok(())
}
