//! A tool as the registry holds it, and what goes into and comes out of one call.

use serde_json::{Map, Value, json};

use crate::describe::sorted;
use crate::{Content, Error};

/// One registered tool: what the model is told about it, and the function behind it.
pub struct Tool {
    /// Unique in the component.
    pub name: &'static str,
    /// A name for people.
    pub title: Option<&'static str>,
    /// By this the model decides whether to call it.
    pub description: &'static str,
    /// What the author claims about it.
    pub hints: Hints,
    /// When a call may go on as a task: `optional`, `required` or `after-input`.
    pub task: Option<&'static str>,
    /// Builds the schema of the argument object.
    pub input_schema: fn() -> Value,
    /// Builds the schema of the structured result, if it has one.
    pub output_schema: fn() -> Option<Value>,
    /// Runs it.
    pub call: fn(&Call<'_>) -> Result<Reply, Error>,
}

inventory::collect!(Tool);

/// What the author claims about a tool; unsaid is unknown.
pub struct Hints {
    /// It changes nothing.
    pub read_only: Option<bool>,
    /// What it changes may be lost.
    pub destructive: Option<bool>,
    /// Calling it again with the same arguments changes nothing more.
    pub idempotent: Option<bool>,
    /// It deals with things outside its own control.
    pub open_world: Option<bool>,
}

/// One entry into a tool.
pub struct Call<'a> {
    /// A JSON object.
    pub(crate) arguments: &'a str,
}

/// What a tool that succeeded has to say.
pub struct Reply {
    /// What the model, or a person, is shown.
    pub content: Vec<Content>,
    /// A JSON text that fits the output schema.
    pub structured: Option<String>,
}

/// All tools as `{"tools": [...]}`, each in the shape that the Model Context Protocol gives it.
pub fn describe() -> Value {
    let tools = inventory::iter::<Tool>.into_iter();
    json!({ "tools": sorted(tools.map(|tool| (tool.name, tool.describe()))) })
}

/// Runs the tool of that name on a JSON object.
pub fn call(name: &str, arguments: &str) -> Result<Reply, Error> {
    match inventory::iter::<Tool>.into_iter().find(|tool| tool.name == name) {
        Some(tool) => (tool.call)(&Call { arguments }).map_err(Error::of_something_found),
        None => Err(Error::not_found(format_args!("there is no tool `{name}`"))),
    }
}

impl Tool {
    fn describe(&self) -> Value {
        let mut tool = Map::new();
        tool.insert("name".into(), self.name.into());
        if let Some(title) = self.title {
            tool.insert("title".into(), title.into());
        }
        tool.insert("description".into(), self.description.trim().into());
        tool.insert("inputSchema".into(), (self.input_schema)());
        if let Some(schema) = (self.output_schema)() {
            tool.insert("outputSchema".into(), schema);
        }
        let annotations = self.hints.annotations();
        if !annotations.is_empty() {
            tool.insert("annotations".into(), annotations.into());
        }
        if let Some(task) = self.task {
            tool.insert("task".into(), task.into());
        }
        tool.into()
    }
}

impl Hints {
    fn annotations(&self) -> Map<String, Value> {
        [
            ("readOnlyHint", self.read_only),
            ("destructiveHint", self.destructive),
            ("idempotentHint", self.idempotent),
            ("openWorldHint", self.open_world),
        ]
        .into_iter()
        .filter_map(|(key, hint)| Some((key.to_owned(), hint?.into())))
        .collect()
    }
}
