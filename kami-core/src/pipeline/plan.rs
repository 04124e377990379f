//! Whether what a file says fits the tools that it names.
//!
//! Everything is looked for that can never go well: a tool that is not there, an argument that is
//! missing or that nobody takes, a value of a type that does not fit, a place at which there is
//! nothing. What may go well is left to the call, where each tool's own schema judges its arguments.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;
use std::sync::LazyLock;

use serde_json::{Value, json};

use super::pointer::{Pointer, StepName};
use super::shape::{Missing, Shape, Types};
use super::source::{At, Fallback, Literal, OnError, Source, Step, Wire};
use crate::grants::Capabilities;
use crate::manifest::source::reader::nearest;
use crate::manifest::source::{Problem, SourceError};
use crate::manifest::{
    Annotations, JsonObject, Manifest, ManifestError, Provenance, ToolDefinition,
};
use crate::name::FullName;
use crate::schema::Schema;

/// The most mistakes that are told.
const MAX_PROBLEMS: usize = 100;

/// How many names are told where one is not among them.
const MAX_NAMES: usize = 12;

/// What is installed under the name of a tool.
#[derive(Debug, Clone)]
pub enum Found {
    /// The tool.
    Tool(Box<ToolDefinition>),
    /// A package without such a tool; the tools that it has.
    NoTool(Vec<String>),
    /// A pipeline.
    Pipeline,
    /// Nothing.
    Nothing,
}

/// What is installed under each name that a file has.
pub type FoundTools = BTreeMap<FullName, Found>;

/// A pipeline that fits its tools.
#[derive(Debug)]
pub struct Plan {
    /// The tool that it is.
    pub definition: ToolDefinition,
    arguments: Schema,
    results: Option<Schema>,
}

/// What the pieces of a result look like, as the protocol has them.
static CONTENT: LazyLock<Value> = LazyLock::new(|| {
    let text = json!({"type": "string"});
    json!({"type": "array", "items": {"type": "object", "properties": {
        "type": text, "text": text, "data": text, "mimeType": text,
        "uri": text, "name": text, "title": text, "description": text,
        "size": {"type": "integer"},
        "resource": {"type": "object", "properties":
            {"uri": text, "mimeType": text, "text": text, "blob": text}},
        "annotations": {"type": "object"},
    }}})
});

impl Plan {
    /// Sets what a file says beside the tools that it names.
    ///
    /// # Errors
    /// Every mistake, a hundred at the most.
    pub fn check(source: &Source, tools: &FoundTools) -> Result<Self, SourceError> {
        let input = Value::Object(source.input.value.clone());
        let schemas = Schemas::all(tools);
        let mut check = Check { source, tools, input: &input, schemas, problems: Vec::new() };
        let arguments = check.arguments();
        source.steps.iter().for_each(|step| check.step(step));
        let output_schema = match &source.output {
            Some(wires) => Some(check.output(wires)),
            None => check.last(),
        };
        let Check { mut problems, .. } = check;
        problems.sort_by_key(|problem| problem.span.start);
        problems.truncate(MAX_PROBLEMS);
        let Some(arguments) = arguments.filter(|_| problems.is_empty()) else {
            return Err(SourceError { problems });
        };
        // One that is too large to be used would be none to clients either.
        let compiled = output_schema.as_ref().map(Schema::compile);
        let (output_schema, results) = match compiled {
            Some(Ok(schema)) => (output_schema, Some(schema)),
            _ => (None, None),
        };
        let hints = source.tools().filter_map(|name| match tools.get(name) {
            Some(Found::Tool(definition)) => Some(definition.annotations),
            _ => None,
        });
        let definition = ToolDefinition {
            annotations: Annotations::union(hints),
            ..source.definition(output_schema)
        };
        Ok(Self { definition, arguments, results })
    }

    /// What the arguments must fit.
    pub(super) fn arguments(&self) -> &Schema {
        &self.arguments
    }

    /// What the structured result must fit, if anything.
    pub(super) fn results(&self) -> Option<&Schema> {
        self.results.as_ref()
    }
}

impl Source {
    /// What clients are told, hints left out.
    fn definition(&self, output_schema: Option<JsonObject>) -> ToolDefinition {
        ToolDefinition {
            name: self.tool.clone(),
            title: self.package.title.clone(),
            description: self.package.description.clone().unwrap_or_default(),
            input_schema: self.input.value.clone(),
            output_schema,
            annotations: Annotations::default(),
            task: None,
        }
    }

    /// What is kept of the pipeline, with what its steps decide.
    ///
    /// # Errors
    /// Where it is too large, or not what a manifest may hold.
    pub fn manifest(
        &self,
        annotations: Annotations,
        output_schema: Option<JsonObject>,
    ) -> Result<Manifest, ManifestError> {
        let tool = ToolDefinition { annotations, ..self.definition(output_schema) };
        let (package, requests) = (self.package.clone(), Capabilities::default());
        Manifest::new(package, vec![tool], requests, Provenance::default())
    }
}

/// The schemas of a tool, as values.
struct Schemas {
    input: Value,
    output: Option<Value>,
}

impl Schemas {
    fn all(tools: &FoundTools) -> BTreeMap<&FullName, Rc<Self>> {
        let schemas = |found: &Found| match found {
            Found::Tool(definition) => Some(Rc::new(Self {
                input: Value::Object(definition.input_schema.clone()),
                output: definition.output_schema.clone().map(Value::Object),
            })),
            _ => None,
        };
        tools.iter().filter_map(|(name, found)| Some((name, schemas(found)?))).collect()
    }
}

/// A check that goes on after each mistake.
struct Check<'s> {
    source: &'s Source,
    tools: &'s FoundTools,
    input: &'s Value,
    schemas: BTreeMap<&'s FullName, Rc<Schemas>>,
    problems: Vec<Problem>,
}

/// What is put to a place: a value, or objects with values in them.
enum Node<'s> {
    Members(BTreeMap<&'s str, Node<'s>>),
    Literal(&'s Literal),
    Wire(&'s Wire),
}

impl<'s> Node<'s> {
    fn of(step: &'s Step) -> Self {
        let literals =
            step.literals.iter().map(|literal| (&literal.target.value, Node::Literal(literal)));
        let wires = step.wires.iter().map(|wire| (&wire.target.value, Node::Wire(wire)));
        Self::all(literals.chain(wires))
    }

    fn all(leaves: impl Iterator<Item = (&'s Pointer, Self)>) -> Self {
        let mut root = Self::Members(BTreeMap::new());
        for (pointer, leaf) in leaves {
            root.put(pointer.tokens(), leaf);
        }
        root
    }

    fn put(&mut self, tokens: &'s [String], leaf: Self) {
        match (tokens.split_first(), self) {
            (None, place) => *place = leaf,
            (Some((first, rest)), Self::Members(members)) => members
                .entry(first)
                .or_insert_with(|| Self::Members(BTreeMap::new()))
                .put(rest, leaf),
            // The reader of the file has said so: no two values overlap.
            (Some(_), _) => {}
        }
    }

    /// Where something of it stands in the file.
    fn span(&self) -> Range<usize> {
        match self {
            Self::Literal(literal) => literal.target.span.clone(),
            Self::Wire(wire) => wire.target.span.clone(),
            Self::Members(members) => members.values().next().map(Self::span).unwrap_or_default(),
        }
    }
}

impl<'s> Check<'s> {
    fn problem(
        &mut self,
        span: &Range<usize>,
        message: impl Into<String>,
        label: impl Into<String>,
        help: Option<String>,
    ) {
        let (message, label) = (message.into(), label.into());
        self.problems.push(Problem { message, span: span.clone(), label, help });
    }

    fn arguments(&mut self) -> Option<Schema> {
        let At { value, span } = &self.source.input;
        if value.get("type") != Some(&Value::from("object")) {
            let help = Some("write `type = \"object\"` under [input]".to_owned());
            let message = "the schema of the arguments must have the type \"object\"";
            self.problem(span, message, "arguments are an object", help);
        }
        let schema = Schema::compile(value);
        let failed = |error| {
            self.problem(span, "the schema of the arguments cannot be used", error, None);
        };
        schema.map_err(|error| error.to_string()).map_err(failed).ok()
    }

    fn definition(&self, name: &FullName) -> Option<&'s ToolDefinition> {
        match self.tools.get(name)? {
            Found::Tool(definition) => Some(definition),
            _ => None,
        }
    }

    fn step(&mut self, step: &'s Step) {
        let At { value: name, span } = &step.tool;
        if self.definition(name).is_none() {
            // What it takes from others may be wrong whatever it is.
            for wire in &step.wires {
                self.given(wire);
            }
        }
        match self.tools.get(name) {
            Some(Found::Tool(definition)) => {
                self.arguments_of(step, definition);
                if let OnError::Instead(fallback) = &step.on_error.value {
                    self.fallback(step, fallback, definition);
                }
            }
            Some(Found::NoTool(known)) => {
                let message = format!("`{}` has no tool `{}`", name.package, name.tool);
                let help = among(name.tool.as_str(), known);
                self.problem(span, message, "unknown tool", Some(help));
            }
            Some(Found::Pipeline) => {
                let message = format!("`{name}` is a pipeline");
                let help = "write its steps here: what one pipeline may do is seen in one file";
                self.problem(span, message, "no step of another one", Some(help.to_owned()));
            }
            Some(Found::Nothing) | None => {
                let message = format!("`{}` is not installed", name.package);
                let help =
                    "install it first; `cargo kami list --json` shows the ids that there are";
                self.problem(span, message, "unknown package", Some(help.to_owned()));
            }
        }
    }

    fn arguments_of(&mut self, step: &'s Step, definition: &'s ToolDefinition) {
        let Some(schemas) = self.schemas.get(&step.tool.value).map(Rc::clone) else { return };
        let node = Node::of(step);
        let mut literals = Vec::new();
        self.node(step, Shape::of(&schemas.input), &node, &Pointer::default(), &mut literals);
        let problems = misfits(&definition.input_schema, &literals);
        for (literal, problem) in problems {
            let (span, at) = (&literal.target.span, &literal.target.value);
            self.problem(span, format!("`{}` does not take this", step.tool.value), problem, {
                Some(format!("`{at}` is checked against the input schema of the tool"))
            });
        }
    }

    /// Sets what is put to a place beside what may stand there.
    fn node<'n>(
        &mut self,
        step: &'s Step,
        shape: Shape<'n>,
        node: &Node<'s>,
        place: &Pointer,
        literals: &mut Vec<(Value, &'s Literal)>,
    ) {
        let members = match node {
            Node::Literal(literal) => {
                if let Shape::Known { schema, .. } = shape {
                    literals.push((schema.clone(), literal));
                }
                return;
            }
            Node::Wire(wire) => {
                let takes = format!("`{place}` of `{}` takes", step.tool.value);
                return self.flows(wire, shape, &takes);
            }
            Node::Members(members) => members,
        };
        if !shape.types().meet(Types::OBJECT) {
            let message =
                format!("`{place}` of `{}` is {}, and no object", step.tool.value, shape.types());
            return self.problem(&node.span(), message, "put within it", None);
        }
        for required in shape.required().filter(|required| !members.contains_key(*required)) {
            let at = place.below(required);
            let message = format!("`{}` needs `{required}`", step.tool.value);
            let label = format!("nothing goes to `{at}`");
            let help = format!(
                "add `\"{at}\" = \"input#/{required}\"` to its `from`, or a value to its `with`"
            );
            self.problem(&step.tool.span, message, label, Some(help));
        }
        for (name, inner) in members {
            match shape.child(name) {
                Ok(shape) => self.node(step, shape, inner, &place.below(name), literals),
                Err(missing) => {
                    let tool = &step.tool.value;
                    let label = format!("nothing of `{tool}` at `{}`", place.below(name));
                    let message = format!("`{tool}` takes no `{}`", name.escape_debug());
                    self.problem(&inner.span(), message, label, Some(told(&missing)));
                }
            }
        }
    }

    /// Whether what a value is may be what stands at the place that it goes to.
    fn flows(&mut self, wire: &'s Wire, target: Shape<'_>, takes: &str) {
        let Some(source) = self.given(wire) else { return };
        if !source.meet(target.types()) {
            let message = format!("{takes} {}", target.types());
            let label = format!("this is {source}");
            let help = "take another part of it, or another tool between the two".to_owned();
            self.problem(&wire.source.span, message, label, Some(help));
        }
    }

    /// What the value that is taken may be; `None` where there can be none, which is said.
    fn given(&mut self, wire: &'s Wire) -> Option<Types> {
        let pointer = &wire.source.value.pointer;
        let found = match wire.step.map(|at| &self.source.steps[at]) {
            None => Shape::of(self.input).at(pointer).map(Shape::types),
            Some(step) => self.result(step, pointer),
        };
        let missing = match found {
            Ok(types) => return Some(types),
            Err(missing) => missing,
        };
        let of = wire.source.value.step.as_ref().map_or("the arguments", StepName::as_str);
        let message = format!("there is nothing at `{pointer}` of `{of}`");
        let label = match &missing {
            Missing::Member { name, .. } => format!("no `{}`", name.escape_debug()),
            Missing::NoMembers { types, .. } => format!("what stands above is {types}"),
        };
        self.problem(&wire.source.span, message, label, Some(told(&missing)));
        None
    }

    /// What may stand at a place in what a step gives.
    fn result(&self, step: &'s Step, pointer: &Pointer) -> Result<Types, Missing> {
        let Some((first, rest)) = pointer.tokens().split_first() else { return Ok(Types::OBJECT) };
        match first.as_str() {
            "content" => Shape::of(&CONTENT).along(rest).map(Shape::types),
            "structuredContent" => match self.schemas.get(&step.tool.value) {
                Some(schemas) => {
                    let shape = schemas.output.as_ref().map_or(Shape::Anything, Shape::of);
                    shape.along(rest).map(Shape::types)
                }
                None => Ok(Shape::Anything.types()),
            },
            name => {
                let known = ["content", "structuredContent"].map(str::to_owned).to_vec();
                Err(Missing::Member { name: name.to_owned(), known })
            }
        }
    }

    fn fallback(&mut self, step: &Step, fallback: &Fallback, definition: &ToolDefinition) {
        let Some(schema) = &definition.output_schema else { return };
        let span = &step.on_error.span;
        let Some(structured) = &fallback.structured else {
            let message = format!("`{}` gives structured content", step.tool.value);
            let help = "add `structuredContent` that fits its output schema".to_owned();
            return self.problem(span, message, "what takes its place has none", Some(help));
        };
        let Ok(schema) = Schema::compile(schema) else { return };
        for problem in schema.problems(&Value::Object(structured.clone()), "structuredContent") {
            let message = format!("this cannot take the place of what `{}` gives", step.tool.value);
            self.problem(span, message, problem, None);
        }
    }

    /// The schema of what the last step gives.
    fn last(&mut self) -> Option<JsonObject> {
        let last = self.source.steps.last()?;
        if last.on_error.value == OnError::Continue {
            let message = "the result is that of the last step, which may fail";
            let help =
                "stop, give something in its place, or say under [output] what the result is";
            self.problem(
                &last.on_error.span,
                message,
                "nothing goes on here",
                Some(help.to_owned()),
            );
        }
        self.definition(&last.tool.value)?.output_schema.clone()
    }

    /// The schema of what is put together.
    fn output(&mut self, wires: &'s [Wire]) -> JsonObject {
        for wire in wires {
            let given = self.given(wire);
            let whole = wire.target.value.tokens().is_empty();
            if let Some(types) = given.filter(|types| whole && !types.meet(Types::OBJECT)) {
                let label = format!("this is {types}");
                let message = "the structured content of a result is an object";
                let help = "put it to a place within, such as `\"/result\"`".to_owned();
                self.problem(&wire.source.span, message, label, Some(help));
            }
        }
        let leaves = wires.iter().map(|wire| (&wire.target.value, Node::Wire(wire)));
        match self.part(&Node::all(leaves)).0 {
            Value::Object(mut schema) => {
                schema.insert("type".to_owned(), "object".into());
                schema
            }
            _ => JsonObject::from_iter([("type".to_owned(), "object".into())]),
        }
    }

    /// The schema of a part of what is put together, and whether the part is always there.
    fn part(&self, node: &Node<'_>) -> (Value, bool) {
        match node {
            Node::Literal(literal) => (json!({"const": literal.value}), true),
            Node::Wire(wire) => self.carried(wire),
            Node::Members(members) => {
                let mut properties = JsonObject::new();
                let mut required = Vec::new();
                for (name, inner) in members {
                    let (schema, certain) = self.part(inner);
                    properties.insert((*name).to_owned(), schema);
                    required.extend(certain.then_some(*name));
                }
                let certain = !required.is_empty();
                let mut schema = json!({
                    "type": "object",
                    "properties": properties,
                    "additionalProperties": false,
                });
                if certain {
                    schema["required"] = json!(required);
                }
                (schema, certain)
            }
        }
    }

    /// The schema of a value that is taken, if it can stand elsewhere, and whether there is always one.
    fn carried(&self, wire: &Wire) -> (Value, bool) {
        let pointer = &wire.source.value.pointer;
        let anything = || Value::Object(JsonObject::new());
        let (shape, tokens, certain) = match wire.step.map(|at| &self.source.steps[at]) {
            None => (Shape::of(self.input), pointer.tokens(), true),
            Some(step) => match pointer.tokens().split_first() {
                Some((first, rest)) if first == "structuredContent" => {
                    let schemas = self.schemas.get(&step.tool.value);
                    let Some(schema) = schemas.and_then(|schemas| schemas.output.as_ref()) else {
                        return (anything(), false);
                    };
                    // What takes the place of a result fits the schema as well.
                    (Shape::of(schema), rest, self.is_certain(step))
                }
                Some((first, rest)) if first == "content" => (Shape::of(&CONTENT), rest, false),
                _ => return (json!({"type": "object"}), self.is_certain(step)),
            },
        };
        let mut certain = certain;
        let mut place = shape;
        for token in tokens {
            // What may be something else than an object may be without its members.
            certain &= place.types() == Types::OBJECT && place.requires(token);
            match place.child(token) {
                Ok(next) => place = next,
                Err(_) => return (anything(), false),
            }
        }
        match place {
            Shape::Known { schema, .. } if stands_alone(schema) => (schema.clone(), certain),
            _ => (anything(), certain),
        }
    }

    /// Whether a step has a result wherever the pipeline has one.
    fn is_certain(&self, step: &Step) -> bool {
        let mut known = BTreeSet::new();
        let mut asked = vec![step];
        while let Some(step) = asked.pop() {
            // A step that is left out because of another one gives what takes its place, too.
            if step.on_error.value == OnError::Continue {
                return false;
            }
            for at in step.needs().filter(|_| step.on_error.value == OnError::Stop) {
                if known.insert(at) {
                    asked.push(&self.source.steps[at]);
                }
            }
        }
        true
    }
}

/// Whether a schema means the same elsewhere.
fn stands_alone(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => members.iter().all(|(keyword, member)| {
            let refers =
                ["$ref", "$dynamicRef", "$recursiveRef", "$id", "$anchor", "$dynamicAnchor"];
            !refers.contains(&keyword.as_str()) && stands_alone(member)
        }),
        Value::Array(items) => items.iter().all(stands_alone),
        _ => true,
    }
}

/// The literals that do not fit their place in a schema, each with the reason.
fn misfits<'s>(root: &JsonObject, literals: &[(Value, &'s Literal)]) -> Vec<(&'s Literal, String)> {
    if literals.is_empty() {
        return Vec::new();
    }
    // All at once, so that the definitions that they share are compiled once.
    let mut whole = JsonObject::new();
    for definitions in ["$defs", "definitions"] {
        if let Some(found) = root.get(definitions) {
            whole.insert(definitions.to_owned(), found.clone());
        }
    }
    let named = |(at, (schema, _)): (usize, &(Value, _))| (at.to_string(), schema.clone());
    let properties: JsonObject = literals.iter().enumerate().map(named).collect();
    whole.insert("properties".to_owned(), properties.into());
    // A reference to somewhere else makes them unknown, and the call will show.
    let Ok(schema) = Schema::compile(&whole) else { return Vec::new() };
    let value =
        |(at, (_, literal)): (usize, &(Value, &Literal))| (at.to_string(), literal.value.clone());
    let values: JsonObject = literals.iter().enumerate().map(value).collect();
    let problems = schema.problems(&Value::Object(values), "the values");
    let literal = |problem: String| {
        let path = problem.strip_prefix('/')?;
        let end = path.find(['/', ':'])?;
        let (_, literal) = literals.get(path[..end].parse::<usize>().ok()?)?;
        let (below, why) = path[end..].split_once(": ")?;
        let separator = if below.is_empty() { "" } else { ": " };
        Some((*literal, format!("{below}{separator}{why}")))
    };
    problems.into_iter().filter_map(literal).collect()
}

/// What there is instead of what is missing.
fn told(missing: &Missing) -> String {
    match missing {
        Missing::Member { name, known } => among(name, known),
        Missing::NoMembers { name, types } => {
            format!("{types} has nothing called `{}` in it", name.escape_debug())
        }
    }
}

fn among(name: &str, known: &[String]) -> String {
    if let Some(near) = nearest(name, known.iter().map(String::as_str)) {
        return format!("did you mean `{}`?", near.escape_debug());
    }
    let shown: Vec<String> = known
        .iter()
        .take(MAX_NAMES)
        .map(|name| format!("`{}`", name.chars().take(64).collect::<String>().escape_debug()))
        .collect();
    match shown.as_slice() {
        [] => "there are none at all".to_owned(),
        shown => format!("there are: {}", shown.join(", ")),
    }
}
