//! Whether a call's arguments fit a tool's input schema, at a cost that is known beforehand.
//!
//! Both sides are hostile: the schema is the author's, the arguments are the client's, and JSON
//! Schema lets a few hundred bytes ask for more work than there is time. So a schema has a weight,
//! the number of subschemas once its references are followed, and arguments have a size; the work
//! is at most their product, and what would be too much is refused before it begins.
//!
//! A schema that refers to itself has no such bound. It is left to the tool, which reads its
//! arguments anyway, inside the sandbox, where time is bounded.

use std::collections::HashMap;

use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::Value;

use crate::manifest::{JsonObject, ToolDefinition};

/// The largest schema, in bytes of JSON.
const MAX_SCHEMA_BYTES: usize = 256 << 10;

/// The most subschemas, counted as often as they are referred to.
const MAX_WEIGHT: u64 = 10_000;

/// The deepest nesting of subschemas, counted through references. Whoever compiles a schema or
/// checks against it goes that deep on the stack, and people nest a tenth of it.
const MAX_NESTING: usize = 256;

/// The most regular expressions in one schema, each compiled to at most [`MAX_PATTERN_BYTES`].
const MAX_PATTERNS: usize = 100;

const MAX_PATTERN_BYTES: usize = 256 << 10;

/// The deepest nesting of arguments.
const MAX_DEPTH: usize = 64;

/// The most steps that one check may take: one for each subschema and value, at the most.
const MAX_STEPS: u64 = 50_000_000;

/// Up to this many steps, all problems are looked for and not only the first.
const THOROUGH_STEPS: u64 = 1_000_000;

/// How many problems are told.
const SHOWN: usize = 5;

/// Why a schema cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// More JSON than [`MAX_SCHEMA_BYTES`].
    #[error("it has {0} bytes, and {MAX_SCHEMA_BYTES} is the most")]
    TooLarge(usize),
    /// More subschemas than [`MAX_WEIGHT`].
    #[error("it has more than {MAX_WEIGHT} subschemas, counted as often as they are referred to")]
    TooHeavy,
    /// Deeper than [`MAX_NESTING`].
    #[error("it is nested more than {MAX_NESTING} levels deep, counted through its references")]
    TooDeep,
    /// More regular expressions than [`MAX_PATTERNS`].
    #[error("it has more than {MAX_PATTERNS} patterns")]
    TooManyPatterns,
    /// A reference that does not lead to a place in the same schema.
    #[error("its reference `{0}` does not lead to a place in the same schema")]
    Reference(String),
    /// Not a JSON Schema.
    #[error("it is not a valid JSON Schema: {0}")]
    Invalid(String),
}

/// A schema that can be used.
#[derive(Debug)]
pub struct Schema {
    validator: Validator,
    /// `None`: it refers to itself, and is left to the tool.
    weight: Option<u64>,
}

impl Schema {
    /// Compiles a schema of JSON Schema 2020-12.
    ///
    /// Patterns run on a linear-time engine, and references lead nowhere outside.
    ///
    /// # Errors
    /// Where it is not one, or asks for more work than a check may cost.
    pub fn compile(schema: &JsonObject) -> Result<Self, SchemaError> {
        let root = Value::Object(schema.clone());
        let length = root.to_string().len();
        if length > MAX_SCHEMA_BYTES {
            return Err(SchemaError::TooLarge(length));
        }
        let weight = Weigher::new(&root).weigh()?;
        let patterns =
            PatternOptions::regex().size_limit(MAX_PATTERN_BYTES).dfa_size_limit(MAX_PATTERN_BYTES);
        let validator = jsonschema::options()
            .with_draft(jsonschema::Draft::Draft202012)
            .with_pattern_options(patterns)
            .build(&root)
            .map_err(|error| SchemaError::Invalid(excerpt(&error.to_string())))?;
        Ok(Self { validator, weight })
    }

    /// What in `value` does not fit: the first few problems, each with its path. `what` it is, the
    /// problems call the whole of it.
    pub fn problems(&self, value: &Value, what: &str) -> Vec<String> {
        let Some(weight) = self.weight else { return Vec::new() };
        let Some(size) = size(value, MAX_DEPTH) else {
            return vec![format!("{what}: nested more than {MAX_DEPTH} levels deep")];
        };
        let steps = size.saturating_mul(weight);
        if steps > MAX_STEPS {
            return vec![format!("{what}: too large to be checked against the schema")];
        }
        if steps > THOROUGH_STEPS {
            let problem = self.validator.validate(value).err();
            return problem.map(|problem| describe(problem, what)).into_iter().collect();
        }
        let problems = self.validator.iter_errors(value).take(SHOWN);
        problems.map(|problem| describe(problem, what)).collect()
    }
}

/// Compiles all schemas of a tool.
///
/// # Errors
/// The first that cannot be used, as `input` or `output`, with the reason.
pub fn check(definition: &ToolDefinition) -> Result<(), (&'static str, SchemaError)> {
    Schema::compile(&definition.input_schema).map_err(|error| ("input", error))?;
    match &definition.output_schema {
        Some(schema) => Schema::compile(schema).map(drop).map_err(|error| ("output", error)),
        None => Ok(()),
    }
}

/// Path and problem, without the value, which may be large.
fn describe(error: ValidationError<'_>, what: &str) -> String {
    let path = error.instance_path().to_string();
    let path = if path.is_empty() { what } else { &path };
    excerpt(&format!("{path}: {}", error.masked()))
}

fn excerpt(text: &str) -> String {
    text.chars().take(300).collect()
}

/// How much there is to check: values, and text by the length. `None` where it is too deep.
fn size(value: &Value, depth: usize) -> Option<u64> {
    let depth = depth.checked_sub(1)?;
    let text = |text: &str| 1 + text.len() as u64 / 16;
    match value {
        Value::Array(items) => {
            items.iter().try_fold(1u64, |sum, item| Some(sum + size(item, depth)?))
        }
        Value::Object(members) => members
            .iter()
            .try_fold(1u64, |sum, (name, member)| Some(sum + text(name) + size(member, depth)?)),
        Value::String(string) => Some(text(string)),
        _ => Some(1),
    }
}

/// The keywords whose members are named by the author, and mean nothing by their names.
const NAMED: &[&str] =
    &["properties", "patternProperties", "dependentSchemas", "dependencies", "dependentRequired"];

/// What a subschema costs, references followed.
#[derive(Debug, Clone, Copy)]
struct Cost {
    weight: u64,
    height: usize,
}

impl Cost {
    /// The cost of a value with nothing in it.
    const ONE: Self = Self { weight: 1, height: 1 };

    /// The cost with `inner` standing within.
    fn and(self, inner: Self) -> Result<Self, SchemaError> {
        let weight = self.weight + inner.weight;
        let height = self.height.max(inner.height + 1);
        match (weight > MAX_WEIGHT, height > MAX_NESTING) {
            (true, _) => Err(SchemaError::TooHeavy),
            (_, true) => Err(SchemaError::TooDeep),
            _ => Ok(Self { weight, height }),
        }
    }
}

/// Counts the subschemas of a schema, following references.
struct Weigher<'a> {
    root: &'a Value,
    /// The cost of the place to which a reference leads; `None` while it is being weighed.
    known: HashMap<String, Option<Cost>>,
    /// How deep the walk is at present.
    depth: usize,
    patterns: usize,
    recursive: bool,
}

impl<'a> Weigher<'a> {
    fn new(root: &'a Value) -> Self {
        Self { root, known: HashMap::new(), depth: 0, patterns: 0, recursive: false }
    }

    fn weigh(mut self) -> Result<Option<u64>, SchemaError> {
        // The whole is what `#` leads to.
        self.known.insert(String::new(), None);
        let cost = self.of(self.root)?;
        Ok((!self.recursive).then_some(cost.weight))
    }

    /// Every value within counts as one, whatever keyword it stands under.
    fn of(&mut self, schema: &'a Value) -> Result<Cost, SchemaError> {
        if self.depth == MAX_NESTING {
            return Err(SchemaError::TooDeep);
        }
        self.depth += 1;
        let mut cost = Cost::ONE;
        match schema {
            Value::Object(members) => {
                for (keyword, member) in members {
                    cost = cost.and(self.keyword(keyword, member)?)?;
                }
            }
            Value::Array(items) => {
                for item in items {
                    cost = cost.and(self.of(item)?)?;
                }
            }
            _ => {}
        }
        self.depth -= 1;
        Ok(cost)
    }

    fn keyword(&mut self, keyword: &str, member: &'a Value) -> Result<Cost, SchemaError> {
        match (keyword, member) {
            ("$ref", Value::String(reference)) => self.target(reference),
            ("$dynamicRef" | "$recursiveRef", Value::String(reference)) => {
                Err(SchemaError::Reference(excerpt(reference)))
            }
            // References below it would lead elsewhere than those above.
            ("$id", Value::String(id)) if self.depth > 1 => {
                Err(SchemaError::Reference(excerpt(id)))
            }
            ("$defs" | "definitions", _) => Ok(Cost::ONE),
            ("pattern", Value::String(_)) => self.patterns(1),
            (keyword, Value::Object(members)) if NAMED.contains(&keyword) => {
                let mut cost = Cost::ONE;
                if keyword == "patternProperties" {
                    cost = cost.and(self.patterns(members.len())?)?;
                }
                for member in members.values() {
                    cost = cost.and(self.of(member)?)?;
                }
                Ok(cost)
            }
            _ => self.of(member),
        }
    }

    fn target(&mut self, reference: &str) -> Result<Cost, SchemaError> {
        let nowhere = || SchemaError::Reference(excerpt(reference));
        // Two spellings of one place must not be taken for two places, nor one for another.
        let pointer = reference.strip_prefix('#').and_then(percent_decoded).ok_or_else(nowhere)?;
        match self.known.get(&pointer) {
            Some(Some(cost)) => return Ok(*cost),
            Some(None) => {
                self.recursive = true;
                return Ok(Cost::ONE);
            }
            None => {}
        }
        let target = self.root.pointer(&pointer).ok_or_else(nowhere)?;
        self.known.insert(pointer.clone(), None);
        let cost = self.of(target)?;
        self.known.insert(pointer, Some(cost));
        Ok(cost)
    }

    fn patterns(&mut self, more: usize) -> Result<Cost, SchemaError> {
        self.patterns += more;
        if self.patterns > MAX_PATTERNS { Err(SchemaError::TooManyPatterns) } else { Ok(Cost::ONE) }
    }
}

/// What a fragment of a URI means: `%24` is `$`.
fn percent_decoded(fragment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn compile(schema: Value) -> Result<Schema, SchemaError> {
        Schema::compile(schema.as_object().unwrap())
    }

    #[test]
    fn problems_name_path_and_expected_type() {
        let schema = compile(json!({
            "type": "object",
            "properties": {"url": {"type": "string"}, "sizes": {"type": "array", "items": {"type": "integer"}}},
            "required": ["url"],
        }))
        .unwrap();
        let problems = schema.problems(&json!({"sizes": [1, "x"]}), "arguments");
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems.iter().any(|p| p.starts_with("/sizes/1: ") && p.contains("\"integer\"")));
        assert!(problems.iter().any(|p| p.starts_with("arguments: ") && p.contains("\"url\"")));
        assert_eq!(schema.problems(&json!({"url": "x"}), "arguments"), Vec::<String>::new());
    }

    #[test]
    fn schemas_that_double_at_every_level_are_refused() {
        let mut definitions = serde_json::Map::new();
        for level in 0..40 {
            let next = json!({"$ref": format!("#/$defs/a{}", level + 1)});
            definitions.insert(format!("a{level}"), json!({"allOf": [next, next]}));
        }
        definitions.insert("a40".into(), json!({"type": "object"}));
        let bomb = json!({"type": "object", "$defs": definitions, "$ref": "#/$defs/a0"});
        assert!(matches!(compile(bomb), Err(SchemaError::TooHeavy)));
    }

    #[test]
    fn nothing_hides_what_a_schema_weighs() {
        let mut definitions = serde_json::Map::new();
        for level in 0..40 {
            let next = json!({"$ref": format!("#/$defs/a{}", level + 1)});
            definitions.insert(format!("a{level}"), json!({"allOf": [next, next]}));
        }
        definitions.insert("a40".into(), json!({"type": "object"}));
        let bomb = json!({"$ref": "#/$defs/a0"});
        for name in ["pattern", "$defs", "definitions", "$ref", "$id", "properties"] {
            let schema = json!({"properties": {name: bomb}, "$defs": definitions});
            assert!(matches!(compile(schema), Err(SchemaError::TooHeavy)), "{name}");
        }
        // The encoded name is the bomb's, and not its own.
        let mut encoded = definitions.clone();
        encoded.insert("%61%30".into(), json!(true));
        let schema = json!({"not": {"$ref": "#/$defs/%61%30"}, "$defs": encoded});
        assert!(matches!(compile(schema), Err(SchemaError::TooHeavy)));
        // Below an id of its own, the same reference would lead to the inner definitions.
        let inner = json!({"$id": "inner", "$ref": "#/$defs/a0", "$defs": definitions});
        let schema = json!({"not": inner, "$defs": {"a0": true}});
        assert!(matches!(compile(schema), Err(SchemaError::Reference(_))));
    }

    #[test]
    fn long_ways_through_references_are_refused() {
        for step in [1, 10] {
            let mut definitions = serde_json::Map::new();
            for level in 0..5000 {
                let next = json!({"$ref": format!("#/$defs/a{}", level + 1)});
                definitions.insert(format!("a{level}"), next);
            }
            definitions.insert("a5000".into(), json!({"type": "object"}));
            // From its end on, no part of the way is long.
            let all: Vec<Value> = (0..=5000)
                .rev()
                .step_by(step)
                .map(|level| json!({"$ref": format!("#/$defs/a{level}")}))
                .collect();
            let schema = json!({"not": {"$ref": "#/$defs/a0"}, "$defs": definitions});
            assert!(matches!(compile(schema), Err(SchemaError::TooDeep)));
            let schema = json!({"allOf": all, "$defs": definitions});
            assert!(compile(schema).is_err());
        }
    }

    #[test]
    fn references_out_of_the_schema_are_refused() {
        for reference in ["https://example.com/schema", "other.json", "#anchor", "#/nowhere"] {
            let schema = json!({"type": "object", "properties": {"a": {"$ref": reference}}});
            assert!(matches!(compile(schema), Err(SchemaError::Reference(_))), "{reference}");
        }
        let dynamic = json!({"type": "object", "$dynamicRef": "#"});
        assert!(matches!(compile(dynamic), Err(SchemaError::Reference(_))));
    }

    #[test]
    fn schemas_that_refer_to_themselves_are_left_to_the_tool() {
        let tree = json!({
            "type": "object",
            "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}},
            "allOf": [{"$ref": "#/$defs/twice"}],
            "$defs": {"twice": {"properties": {"left": {"$ref": "#"}}}},
        });
        let schema = compile(tree).unwrap();
        let mut deep = json!({});
        for _ in 0..100 {
            deep = json!({"left": deep});
        }
        assert_eq!(schema.problems(&deep, "arguments"), Vec::<String>::new());
    }

    #[test]
    fn arguments_too_deep_or_too_large_are_refused_at_once() {
        let schema =
            compile(json!({"type": "object", "properties": {"a": {"items": {"type": "string"}}}}))
                .unwrap();
        let mut deep = json!(1);
        for _ in 0..100 {
            deep = json!([deep]);
        }
        assert!(schema.problems(&json!({"a": deep}), "arguments")[0].contains("levels deep"));
        let heavy: Vec<Value> = (0..900).map(|n| json!({"const": n})).collect();
        let schema =
            compile(json!({"type": "object", "properties": {"a": {"items": {"anyOf": heavy}}}}))
                .unwrap();
        let wide = json!({"a": vec![0; 1_000_000]});
        assert!(schema.problems(&wide, "arguments")[0].contains("too large"));
    }

    #[test]
    fn patterns_are_counted_and_bounded() {
        let patterns: Vec<Value> = (0..101).map(|n| json!({"pattern": format!("a{n}")})).collect();
        let schema = json!({"type": "object", "allOf": patterns});
        assert!(matches!(compile(schema), Err(SchemaError::TooManyPatterns)));
        let schema = json!({"type": "object", "properties": {"a": {"pattern": "(a{1000}){1000}"}}});
        assert!(matches!(compile(schema), Err(SchemaError::Invalid(_))));
    }
}
