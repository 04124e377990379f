//! What a component says that it offers.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::entry::enter;
use super::{CallError, Outcome};
use crate::component::Component;
use crate::engine::{Engine, EngineError, Metering};
use crate::grants::Effective;
use crate::manifest::{
    DescribedPrompts, DescribedResources, ManifestError, Offers, parse_description, parse_offers,
};
use crate::sandbox::{Entry, Sandbox, SandboxError, Surroundings};

/// The longest that a component may take to describe itself, which is a matter of microseconds.
const DESCRIBE_LIMIT: Duration = Duration::from_secs(5);

/// What a component says, as it says it.
#[derive(Default)]
struct Descriptions {
    tools: String,
    resources: Option<String>,
    prompts: Option<String>,
}

/// Asks a component what it offers, in a sandbox without any capability.
///
/// # Errors
/// Where it cannot be run, ends early, or describes nothing sensible.
pub async fn describe(engine: &Engine, component: &Component) -> Result<Offers, DescribeError> {
    let code = engine.compile(component, Metering::Off)?;
    let sandbox = Sandbox::new(
        engine,
        component,
        &code,
        Effective::nothing(),
        &Surroundings::default(),
        None,
    )?;
    let report = enter(&sandbox, Arc::new(()), DESCRIBE_LIMIT, async |store| {
        let mut said = Descriptions::default();
        match sandbox.entry() {
            Entry::V0_2(exports) => {
                let instance = exports.instantiate(store).await?;
                let tools = exports.tools.load(&mut *store, &instance)?;
                said.tools = tools.call_describe(&mut *store).await?;
                if let Some(resources) = &exports.resources {
                    let resources = resources.load(&mut *store, &instance)?;
                    said.resources = Some(resources.call_describe(&mut *store).await?);
                }
                if let Some(prompts) = &exports.prompts {
                    let prompts = prompts.load(&mut *store, &instance)?;
                    said.prompts = Some(prompts.call_describe(&mut *store).await?);
                }
            }
            Entry::V0_1(pre) => {
                let guest = pre.instantiate_async(&mut *store).await?;
                said.tools = v0_1_description(&guest.kami_tool_tool().call_describe(store).await?);
            }
        }
        Ok(Outcome::Complete(said))
    })
    .await;
    match report.outcome {
        Outcome::Complete(said) => Ok(said.parse()?),
        Outcome::InputRequired(_) => unreachable!("nothing above asks for input"),
        Outcome::Failed(error) => Err(DescribeError::Failed { error, stderr: report.stderr.text }),
    }
}

impl Descriptions {
    fn parse(&self) -> Result<Offers, ManifestError> {
        let mut offers = Offers::from(parse_description(&self.tools)?);
        if let Some(text) = &self.resources {
            let described: DescribedResources = parse_offers(text)?;
            offers.resources = described.resources;
            offers.resource_templates = described.resource_templates;
        }
        if let Some(text) = &self.prompts {
            offers.prompts = parse_offers::<DescribedPrompts>(text)?.prompts;
        }
        Ok(offers)
    }
}

/// Why a component could not be asked which tools it has.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    /// It cannot be compiled.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// It cannot be sandboxed.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// It ended before it answered.
    #[error("the component cannot describe itself: {error}")]
    Failed {
        /// How it ended.
        #[source]
        error: CallError,
        /// What it wrote to stderr.
        stderr: String,
    },
    /// What it answered is no description.
    #[error("the component's description is not valid")]
    Description(#[from] ManifestError),
}

/// Brings the first contract's description of its one tool into today's shape.
fn v0_1_description(text: &str) -> String {
    let mut tool = match serde_json::from_str(text) {
        Ok(Value::Object(tool)) => tool,
        // Not an object: leave it for the parser to say so.
        _ => return text.to_owned(),
    };
    let schema = ["input_schema", "inputSchema"].iter().find_map(|key| tool.shift_remove(*key));
    let schema = schema.unwrap_or_else(|| serde_json::json!({"type": "object"}));
    tool.insert("inputSchema".into(), schema);
    serde_json::json!({"tools": [tool]}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_contracts_description_is_understood() {
        let text = r#"{"name": "echo", "description": "Echoes", "input_schema": {"type": "object"}, "version": "1"}"#;
        let tools = parse_description(&v0_1_description(text)).unwrap();
        assert_eq!((tools.len(), tools[0].name.as_str()), (1, "echo"));
        assert!(parse_description(&v0_1_description("not json")).is_err());
    }
}
