//! What an artifact says about itself: identity, what it offers, requested capabilities.
//!
//! A [`Manifest`] is written once, at build, from two sources: the author's table in TOML
//! (see [`source`]) and the tool definitions that the component itself gives. It travels inside
//! the artifact as JSON, under its signature, so that a host lists tools without running them.

mod annotations;
pub mod difference;
mod offers;
pub mod source;
mod uri;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::grants::{Capabilities, SecretName};
use crate::name::{PackageId, ToolName};

pub use annotations::{Annotations, ClaimError};
pub use offers::{
    AboutResource, Audience, MAX_OFFERED, Offers, PromptArgument, PromptDefinition,
    ResourceAnnotations, ResourceDefinition, TemplateDefinition,
};
pub(crate) use offers::{DescribedPrompts, DescribedResources, parse as parse_offers};
pub use uri::{ResourceUri, UriError, UriTemplate};

/// The version of the manifest's shape that this crate writes, and the only one that it reads.
pub const FORMAT: u32 = 1;

/// The most bytes of JSON that a manifest may have: hundreds of tools fit.
pub const MAX_BYTES: usize = 4 << 20;

/// The most tools that one component may offer.
pub const MAX_TOOLS: usize = 1000;

/// A JSON object, in the order in which it was written.
pub type JsonObject = Map<String, Value>;

/// What an artifact says about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Manifest {
    format: u32,
    /// Whose package this is.
    pub package: Package,
    /// The tools that it offers.
    pub tools: Vec<ToolDefinition>,
    /// The resources that it offers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ResourceDefinition>,
    /// The forms of further resources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resource_templates: Vec<TemplateDefinition>,
    /// The prompts that it offers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prompts: Vec<PromptDefinition>,
    /// What it asks for.
    pub requests: Capabilities,
    /// Where it came from.
    pub provenance: Provenance,
}

/// Identity and description of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Package {
    /// Stays the same across versions.
    pub id: PackageId,
    /// The version of this artifact.
    pub version: semver::Version,
    /// For people, in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// One or two sentences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// An SPDX expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// As in `Cargo.toml`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authors: Vec<String>,
    /// A URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub homepage: Option<String>,
    /// A URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// How an artifact was made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Provenance {
    /// The program that sealed the artifact, with its version.
    pub builder: String,
    /// The compiler, where one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compiler: Option<String>,
    /// The digest of the bill of materials before compression, which stands for the lock file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<Digest>,
}

/// One tool, in the terms of the Model Context Protocol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolDefinition {
    /// Unique within the component.
    pub name: ToolName,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// For the model.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// JSON Schema 2020-12 of the arguments, an object.
    pub input_schema: JsonObject,
    /// JSON Schema 2020-12 of the structured result, an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<JsonObject>,
    /// Hints to the client, each proved by the capabilities once the manifest is made.
    #[serde(default)]
    pub annotations: Annotations,
    /// Whether a call may go on as a task, of which a client asks later what came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskMode>,
}

/// When a call of a tool becomes a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskMode {
    /// At once, for clients that know tasks.
    Optional,
    /// At once; clients that know none are refused.
    Required,
    /// Once its first questions are answered, for clients that know tasks.
    AfterInput,
}

/// Why a manifest cannot be.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// More bytes than [`MAX_BYTES`].
    #[error("the manifest has {0} bytes, and {MAX_BYTES} is the most")]
    TooLarge(usize),
    /// Written by a newer toolchain.
    #[error(
        "the manifest has format {0}, and this version reads format {FORMAT}: update cargo-kami"
    )]
    Format(u64),
    /// Not JSON, or not of the manifest's shape.
    #[error("the manifest is not valid")]
    Json(#[source] serde_json::Error),
    /// The component offers nothing at all.
    #[error(
        "the component describes no tool: put `#[kami_tool]`, `#[kami_resource]` or \
         `#[kami_prompt]` on at least one function"
    )]
    NoTools,
    /// More tools than [`MAX_TOOLS`].
    #[error("the component describes {0} tools, and {MAX_TOOLS} is the most")]
    TooManyTools(usize),
    /// More resources, templates or prompts than [`MAX_OFFERED`].
    #[error("the component describes {found} {what}, and {MAX_OFFERED} is the most")]
    TooManyOffered {
        /// Of what.
        what: &'static str,
        /// How many.
        found: usize,
    },
    /// Two resources of one URI, two prompts of one name, and the like.
    #[error("the component describes the {what} `{name}` twice")]
    Duplicate {
        /// What there is two of.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Two tools of one name.
    #[error("the component describes the tool `{0}` twice")]
    DuplicateTool(ToolName),
    /// A schema that does not describe an object.
    #[error("the {schema} schema of tool `{tool}` must have `\"type\": \"object\"`")]
    NotAnObject {
        /// Whose schema.
        tool: ToolName,
        /// `input` or `output`.
        schema: &'static str,
    },
    /// A secret that would be sent under the name of another one.
    #[error("the header of the secret `{name}` carries `{carried}`, which is another one")]
    Secret {
        /// The secret that is asked for.
        name: SecretName,
        /// The one that would be sent.
        carried: SecretName,
    },
    /// A hint that the capabilities do not prove.
    #[error("tool `{tool}`: {claim}")]
    Claim {
        /// Whose hint.
        tool: ToolName,
        /// Which hint, and why not.
        #[source]
        claim: ClaimError,
    },
}

impl Manifest {
    /// Puts a manifest together, checks it, and completes the tools' annotations.
    ///
    /// # Errors
    /// Where nothing is offered, or too much, or two things under one name, or tools are without
    /// object schemas, or claim what the capabilities do not prove.
    pub fn new(
        package: Package,
        offers: impl Into<Offers>,
        requests: Capabilities,
        provenance: Provenance,
    ) -> Result<Self, ManifestError> {
        let Offers { mut tools, resources, resource_templates, prompts } = offers.into();
        for tool in &mut tools {
            tool.annotations = tool
                .annotations
                .proved_by(&requests)
                .map_err(|claim| ManifestError::Claim { tool: tool.name.clone(), claim })?;
        }
        let manifest = Self {
            format: FORMAT,
            package,
            tools,
            resources,
            resource_templates,
            prompts,
            requests,
            provenance,
        };
        manifest.check()?;
        match manifest.to_json().len() {
            written if written > MAX_BYTES => Err(ManifestError::TooLarge(written)),
            _ => Ok(manifest),
        }
    }

    /// Reads the JSON of a manifest section.
    ///
    /// # Errors
    /// Where it is too large, of another format, malformed, or against the rules of [`Self::new`].
    ///
    /// # Security
    /// The bytes are hostile until a signature says otherwise: size and nesting are bounded, and
    /// every field is parsed into its own type.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Head {
            format: u64,
        }

        if bytes.len() > MAX_BYTES {
            return Err(ManifestError::TooLarge(bytes.len()));
        }
        let head: Head = serde_json::from_slice(bytes).map_err(ManifestError::Json)?;
        if head.format != u64::from(FORMAT) {
            return Err(ManifestError::Format(head.format));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(ManifestError::Json)?;
        manifest.check()?;
        for tool in &manifest.tools {
            tool.annotations
                .proved_by(&manifest.requests)
                .map_err(|claim| ManifestError::Claim { tool: tool.name.clone(), claim })?;
        }
        // The registry keeps it with every default spelled out, and must be able to read that.
        match manifest.to_json().len() {
            written if written > MAX_BYTES => Err(ManifestError::TooLarge(written)),
            _ => Ok(manifest),
        }
    }

    /// The JSON that goes into the artifact: the same text for the same manifest.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self)
            .expect("a manifest holds only strings, numbers and string-keyed maps")
    }

    /// The definition of the tool called `name`.
    pub fn tool(&self, name: &str) -> Option<&ToolDefinition> {
        self.tools.iter().find(|tool| tool.name.as_str() == name)
    }

    fn check(&self) -> Result<(), ManifestError> {
        let Self { tools, resources, resource_templates, prompts, .. } = self;
        if tools.is_empty()
            && resources.is_empty()
            && resource_templates.is_empty()
            && prompts.is_empty()
        {
            return Err(ManifestError::NoTools);
        }
        if self.tools.len() > MAX_TOOLS {
            return Err(ManifestError::TooManyTools(self.tools.len()));
        }
        let mut seen = std::collections::HashSet::new();
        for tool in &self.tools {
            if !seen.insert(&tool.name) {
                return Err(ManifestError::DuplicateTool(tool.name.clone()));
            }
            tool.check_schemas()?;
        }
        offers::check(resources, resource_templates, prompts)?;
        self.check_secrets()
    }

    /// Consent to one secret must not be consent to another.
    fn check_secrets(&self) -> Result<(), ManifestError> {
        for (name, request) in &self.requests.secrets {
            let carried = request.inject.as_ref().map(|inject| inject.header.secret());
            if let Some(carried) = carried.filter(|carried| *carried != name) {
                let (name, carried) = (name.clone(), carried.clone());
                return Err(ManifestError::Secret { name, carried });
            }
        }
        Ok(())
    }
}

impl ToolDefinition {
    fn check_schemas(&self) -> Result<(), ManifestError> {
        let is_object = |schema: &JsonObject| schema.get("type") == Some(&Value::from("object"));
        let schemas =
            [("input", Some(&self.input_schema)), ("output", self.output_schema.as_ref())];
        for (name, schema) in schemas {
            if schema.is_some_and(|schema| !is_object(schema)) {
                return Err(ManifestError::NotAnObject { tool: self.name.clone(), schema: name });
            }
        }
        Ok(())
    }
}

/// Reads what a component's `describe` gives: `{"tools": [...]}`.
///
/// # Errors
/// Where the text is too large, not JSON, or not of that shape.
///
/// # Security
/// The text comes from a guest.
pub fn parse_description(text: &str) -> Result<Vec<ToolDefinition>, ManifestError> {
    #[derive(Deserialize)]
    struct Description {
        tools: Vec<ToolDefinition>,
    }

    parse_offers::<Description>(text).map(|description| description.tools)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tool(name: &str) -> ToolDefinition {
        serde_json::from_value(json!({"name": name, "inputSchema": {"type": "object"}})).unwrap()
    }

    fn manifest(tools: Vec<ToolDefinition>) -> Result<Manifest, ManifestError> {
        let package =
            serde_json::from_value(json!({"id": "dev.example.t", "version": "1.0.0"})).unwrap();
        Manifest::new(package, tools, Capabilities::default(), Provenance::default())
    }

    #[test]
    fn what_is_written_is_read_back() {
        let written = manifest(vec![tool("a"), tool("b")]).unwrap();
        assert_eq!(Manifest::from_json(&written.to_json()).unwrap(), written);
    }

    #[test]
    fn newer_formats_are_refused_before_anything_else_is_read() {
        let error = Manifest::from_json(br#"{"format": 2, "anything": []}"#).unwrap_err();
        assert!(matches!(error, ManifestError::Format(2)), "{error}");
    }

    #[test]
    fn tools_that_cannot_be_told_apart_are_refused() {
        let error = manifest(vec![tool("a"), tool("a")]).unwrap_err();
        assert!(matches!(error, ManifestError::DuplicateTool(_)), "{error}");
        assert!(matches!(manifest(vec![]).unwrap_err(), ManifestError::NoTools));
    }

    #[test]
    fn a_forged_hint_is_refused_on_reading() {
        let mut value = serde_json::to_value(manifest(vec![tool("a")]).unwrap()).unwrap();
        value["requests"]["net"] = json!(["example.com"]);
        let error = Manifest::from_json(value.to_string().as_bytes()).unwrap_err();
        assert!(matches!(error, ManifestError::Claim { .. }), "{error}");
    }

    #[test]
    fn no_secret_is_sent_under_the_name_of_another() {
        let mut value = serde_json::to_value(manifest(vec![tool("a")]).unwrap()).unwrap();
        let inject = |header: &str| json!({"inject": {"host": "a.example", "header": header}});
        value["requests"]["secrets"] = json!({"HARMLESS": inject("X: {HARMLESS}")});
        Manifest::from_json(value.to_string().as_bytes()).unwrap();
        value["requests"]["secrets"] = json!({"HARMLESS": inject("X: {VALUABLE}")});
        let error = Manifest::from_json(value.to_string().as_bytes()).unwrap_err();
        assert!(matches!(error, ManifestError::Secret { .. }), "{error}");
    }

    #[test]
    fn a_manifest_that_grows_when_it_is_kept_is_refused() {
        let mut value = serde_json::to_value(manifest(vec![tool("a")]).unwrap()).unwrap();
        value["tools"][0].as_object_mut().unwrap().remove("annotations");
        let room = MAX_BYTES - value.to_string().len() - r#""description":"","#.len();
        value["tools"][0]["description"] = json!("x".repeat(room));
        let text = value.to_string();
        assert!(text.len() <= MAX_BYTES);
        let error = Manifest::from_json(text.as_bytes()).unwrap_err();
        assert!(matches!(error, ManifestError::TooLarge(_)), "{error}");
    }
}
