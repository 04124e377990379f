//! Arguments against a schema: the cost is bounded, and the verdict is right.
//!
//! Two lines: a schema, and arguments. The verdict is compared with that of the crate which
//! validates and, where a schema has only common keywords, with a naive one that counts its steps.

use std::collections::{HashMap, HashSet};

use kami_core::schema::Schema;
use serde_json::{Value, json};

use crate::first_line;

/// The most subschemas that a schema may have, as `kami_core::schema` documents it.
const MAX_WEIGHT: u64 = 10_000;

/// Checks the arguments of the second line against the schema of the first.
///
/// # Panics
/// Where the verdict is wrong, takes more steps than a check may, or is told at length.
pub fn check(bytes: &[u8]) {
    let (schema, arguments) = first_line(bytes);
    let Ok(Value::Object(schema)) = serde_json::from_slice(schema) else { return };
    let Ok(compiled) = Schema::compile(&schema) else { return };
    let Ok(arguments) = serde_json::from_slice::<Value>(arguments) else { return };
    let schema = Value::Object(schema);
    let recursive = refers_to_itself(&schema);
    // Counted before it is paid.
    let mut naive = Naive { root: &schema, left: MAX_WEIGHT * values(&arguments) };
    let naive = if recursive { Err(Unknown) } else { naive.fits(&schema, &arguments) };

    let problems = compiled.problems(&arguments, "arguments");
    assert!(problems.len() <= 5 && problems.iter().all(|problem| problem.len() <= 1200));
    if recursive {
        return;
    }
    let refused = problems.iter().any(|problem| {
        problem.contains("levels deep") || problem.contains("too large to be checked")
    });
    if refused {
        return;
    }
    let fits = jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .with_pattern_options(jsonschema::PatternOptions::regex())
        .build(&schema)
        .expect("what was accepted is a schema")
        .is_valid(&arguments);
    assert_eq!(problems.is_empty(), fits, "{schema} and {arguments}: {problems:?}");

    if let Ok(verdict) = naive {
        assert_eq!(verdict, fits, "{schema} and {arguments}");
    }
}

/// How many values there are in `value`, itself included.
fn values(value: &Value) -> u64 {
    match value {
        Value::Array(items) => 1 + items.iter().map(values).sum::<u64>(),
        Value::Object(members) => 1 + members.values().map(values).sum::<u64>(),
        _ => 1,
    }
}

/// Whether some reference leads, by way of others or not, to a place that holds it.
fn refers_to_itself(schema: &Value) -> bool {
    let mut places = HashMap::from([("#".to_owned(), references(schema))]);
    let mut open: Vec<String> = places["#"].clone();
    while let Some(reference) = open.pop() {
        // An encoded reference leads somewhere that this reading does not know.
        if reference.contains('%') {
            return true;
        }
        if places.contains_key(&reference) {
            continue;
        }
        let within = place(schema, &reference).map(references).unwrap_or_default();
        open.extend(within.iter().cloned());
        places.insert(reference, within);
    }
    // A place without a way back goes, until there is none such.
    loop {
        let before = places.len();
        let known: HashSet<String> = places.keys().cloned().collect();
        places.retain(|_, to| to.iter().any(|reference| known.contains(reference)));
        if places.len() == before {
            return before > 0;
        }
    }
}

/// Every reference within `schema`, wherever it stands.
fn references(schema: &Value) -> Vec<String> {
    match schema {
        Value::Object(members) => {
            let own = members.get("$ref").and_then(Value::as_str).map(str::to_owned);
            own.into_iter().chain(members.values().flat_map(references)).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

/// Where a reference within the document leads.
fn place<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    root.pointer(reference.strip_prefix('#')?)
}

/// A keyword that this reading does not know.
#[derive(Debug)]
struct Unknown;

/// Reads schemas without a thought for speed: it goes everywhere, and repeats itself.
struct Naive<'a> {
    root: &'a Value,
    /// How many steps are left.
    left: u64,
}

impl Naive<'_> {
    fn fits(&mut self, schema: &Value, value: &Value) -> Result<bool, Unknown> {
        self.left = self.left.checked_sub(1).expect("the schema costs more than it may");
        let members = match schema {
            Value::Bool(verdict) => return Ok(*verdict),
            Value::Object(members) => members,
            _ => return Err(Unknown),
        };
        let mut fits = true;
        for (keyword, rule) in members {
            // Everywhere, also where the verdict is clear: what counts is the cost at its worst.
            fits &= self.keyword(keyword, rule, members, value)?;
        }
        Ok(fits)
    }

    fn keyword(
        &mut self,
        keyword: &str,
        rule: &Value,
        members: &serde_json::Map<String, Value>,
        value: &Value,
    ) -> Result<bool, Unknown> {
        Ok(match (keyword, rule) {
            ("$defs" | "definitions" | "title" | "description" | "default" | "examples", _) => true,
            ("$ref", Value::String(reference)) if !reference.contains('%') => {
                let target = place(self.root, reference).ok_or(Unknown)?;
                self.fits(target, value)?
            }
            ("allOf", Value::Array(all)) => self.count(all, value)? == all.len(),
            ("anyOf", Value::Array(any)) => self.count(any, value)? > 0,
            ("oneOf", Value::Array(one)) => self.count(one, value)? == 1,
            ("not", rule) => !self.fits(rule, value)?,
            ("type", rule) => is_of_type(rule, value)?,
            ("const", rule) => same(rule, value)?,
            ("enum", Value::Array(rules)) => {
                let same: Result<Vec<bool>, _> =
                    rules.iter().map(|rule| same(rule, value)).collect();
                same?.contains(&true)
            }
            ("required", Value::Array(names)) => value.as_object().is_none_or(|object| {
                names.iter().filter_map(Value::as_str).all(|name| object.contains_key(name))
            }),
            ("properties", Value::Object(rules)) => {
                let mut fits = true;
                for (name, rule) in rules {
                    if let Some(member) = value.as_object().and_then(|object| object.get(name)) {
                        fits &= self.fits(rule, member)?;
                    }
                }
                fits
            }
            ("additionalProperties", rule) if !members.contains_key("patternProperties") => {
                let known = members.get("properties").and_then(Value::as_object);
                let mut fits = true;
                for (name, member) in value.as_object().into_iter().flatten() {
                    if known.is_none_or(|known| !known.contains_key(name)) {
                        fits &= self.fits(rule, member)?;
                    }
                }
                fits
            }
            ("items", rule) if !members.contains_key("prefixItems") => {
                let mut fits = true;
                for item in value.as_array().into_iter().flatten() {
                    fits &= self.fits(rule, item)?;
                }
                fits
            }
            ("minItems", rule) => {
                value.as_array().is_none_or(|all| all.len() as f64 >= limit(rule))
            }
            ("maxItems", rule) => {
                value.as_array().is_none_or(|all| all.len() as f64 <= limit(rule))
            }
            ("minLength", rule) => value.as_str().is_none_or(|text| length(text) >= limit(rule)),
            ("maxLength", rule) => value.as_str().is_none_or(|text| length(text) <= limit(rule)),
            ("minimum", rule) if value.is_number() => small(value)? >= small(rule)?,
            ("maximum", rule) if value.is_number() => small(value)? <= small(rule)?,
            ("minimum" | "maximum", _) => true,
            _ => return Err(Unknown),
        })
    }

    fn count(&mut self, rules: &[Value], value: &Value) -> Result<usize, Unknown> {
        let mut count = 0;
        for rule in rules {
            count += usize::from(self.fits(rule, value)?);
        }
        Ok(count)
    }
}

fn is_of_type(rule: &Value, value: &Value) -> Result<bool, Unknown> {
    let names = match rule {
        Value::Array(names) => names.as_slice(),
        name => std::slice::from_ref(name),
    };
    let mut fits = false;
    for name in names {
        fits |= match name.as_str().ok_or(Unknown)? {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "number" => value.is_number(),
            "integer" => value.is_number() && small(value)?.fract() == 0.0,
            "string" => value.is_string(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            _ => return Err(Unknown),
        };
    }
    Ok(fits)
}

/// Equality of JSON, where 1 is 1.0 and the order of members means nothing.
fn same(one: &Value, other: &Value) -> Result<bool, Unknown> {
    Ok(match (one, other) {
        (Value::Number(_), Value::Number(_)) => small(one)? == small(other)?,
        (Value::Array(ones), Value::Array(others)) => {
            let mut equal = ones.len() == others.len();
            for (one, other) in ones.iter().zip(others) {
                equal &= same(one, other)?;
            }
            equal
        }
        (Value::Object(ones), Value::Object(others)) => {
            let mut equal = ones.len() == others.len();
            for (name, one) in ones {
                equal &= match others.get(name) {
                    Some(other) => same(one, other)?,
                    None => false,
                };
            }
            equal
        }
        _ => one == other,
    })
}

/// A number that a float holds exactly; others are compared in ways that differ.
fn small(number: &Value) -> Result<f64, Unknown> {
    const EXACT: f64 = (1_u64 << 53) as f64;
    number.as_f64().filter(|number| number.abs() < EXACT).ok_or(Unknown)
}

fn limit(rule: &Value) -> f64 {
    rule.as_f64().unwrap_or(f64::NAN)
}

fn length(text: &str) -> f64 {
    text.chars().count() as f64
}

/// Schemas of tools as people write them, and others that are heavier than they look.
pub fn examples() -> Vec<Vec<u8>> {
    let doubling = |deepest: usize| {
        let level = |level: usize| {
            let next = json!({"$ref": format!("#/$defs/a{}", level + 1)});
            (format!("a{level}"), json!({"allOf": [next, next]}))
        };
        let mut all: serde_json::Map<String, Value> = (0..deepest).map(level).collect();
        all.insert(format!("a{deepest}"), json!({"type": "string"}));
        Value::Object(all)
    };
    let pairs = [
        (
            json!({"type": "object", "properties": {"url": {"type": "string", "minLength": 1}, "sizes": {"type": "array", "items": {"type": "integer", "maximum": 9}}}, "required": ["url"], "additionalProperties": false}),
            json!({"url": "x", "sizes": [1, 2.0]}),
        ),
        (
            json!({"type": "object", "properties": {"a": {"oneOf": [{"const": 1}, {"enum": ["x", null, [1]]}]}, "b": {"not": {"type": ["null", "boolean"]}}}}),
            json!({"a": [1.0], "b": true}),
        ),
        (json!({"type": "object", "$ref": "#/$defs/a0", "$defs": doubling(3)}), json!({"a": 1})),
        (
            json!({"type": "object", "properties": {"pattern": {"$ref": "#/$defs/a0"}}, "$defs": doubling(3)}),
            json!({"pattern": "x"}),
        ),
        (
            json!({"type": "object", "properties": {"next": {"$ref": "#"}, "p": {"pattern": "^a+$"}}, "patternProperties": {"^x": {"minimum": 1}}}),
            json!({"next": {"p": "aa", "x": 0}}),
        ),
    ];
    pairs.map(|(schema, arguments)| format!("{schema}\n{arguments}").into_bytes()).to_vec()
}
