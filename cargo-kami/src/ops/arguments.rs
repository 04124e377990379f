//! A call's arguments: from JSON, or from flags that the tool's own schema defines.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use kami_core::manifest::{JsonObject, ToolDefinition};
use serde_json::Value;

use crate::exit::{Exit, Failure};

/// The most bytes of arguments that are read.
const MAX_BYTES: u64 = 16 << 20;

/// The flags by which a person gives arguments.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ArgumentOptions {
    /// The arguments, as a JSON object; `-` reads them from stdin
    #[arg(short, long, value_name = "JSON", conflicts_with = "input_file")]
    pub input: Option<String>,
    /// A file that holds the arguments; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub input_file: Option<PathBuf>,
    /// The tool's own flags, after `--`, such as `-- --url https://example.com`
    #[arg(last = true, value_name = "TOOL FLAGS")]
    pub flags: Vec<String>,
}

/// Puts the arguments together; flags override what the JSON says.
///
/// # Errors
/// Where the JSON is not an object, or a flag does not fit the schema.
pub fn read(options: &ArgumentOptions, tool: &ToolDefinition) -> anyhow::Result<JsonObject> {
    let text = match (options.input.as_deref(), options.input_file.as_deref()) {
        (Some("-"), _) => Some(read_stdin()?),
        (Some(json), _) => Some(json.to_owned()),
        (None, Some(path)) if path == Path::new("-") => Some(read_stdin()?),
        (None, Some(path)) => Some(read_file(path)?),
        (None, None) => None,
    };
    let mut arguments = match text {
        Some(text) => parse(&text)?,
        None => JsonObject::new(),
    };
    arguments.extend(Flags::new(tool).parse(&options.flags)?);
    Ok(arguments)
}

/// Puts the arguments of several calls together, one on each line of `file`; flags override what
/// each line says.
///
/// # Errors
/// Where a line is not a JSON object, or a flag does not fit the schema.
pub fn read_lines(
    file: &Path,
    flags: &[String],
    tool: &ToolDefinition,
) -> anyhow::Result<Vec<JsonObject>> {
    let text = match file == Path::new("-") {
        true => read_stdin()?,
        false => read_file(file)?,
    };
    let flags = Flags::new(tool).parse(flags)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(at, line)| {
            let mut arguments =
                parse(line).with_context(|| format!("{}, line {}", file.display(), at + 1))?;
            arguments.extend(flags.clone());
            Ok(arguments)
        })
        .collect()
}

fn read_file(path: &Path) -> anyhow::Result<String> {
    let reading = || format!("reading {}", path.display());
    read_bounded(fs::File::open(path).with_context(reading)?).with_context(reading)
}

fn read_stdin() -> anyhow::Result<String> {
    read_bounded(std::io::stdin()).context("reading stdin")
}

fn read_bounded(source: impl Read) -> anyhow::Result<String> {
    let mut text = String::new();
    source.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    ensure!(text.len() as u64 <= MAX_BYTES, "there are more than {MAX_BYTES} bytes of arguments");
    Ok(text)
}

fn parse(text: &str) -> anyhow::Result<JsonObject> {
    let example = r#"the arguments are a JSON object, such as '{"name": "value"}'"#;
    match serde_json::from_str(text) {
        Ok(Value::Object(arguments)) => Ok(arguments),
        Ok(_) => Err(Failure::new(Exit::Usage, "the input is JSON, but not an object")
            .help(example)
            .into()),
        Err(error) => {
            let message = format!("the input is not JSON: {error}");
            Err(Failure::new(Exit::Usage, message).help(example).into())
        }
    }
}

/// The flags of one tool: a property `max_bytes` is `--max-bytes`.
struct Flags<'a> {
    tool: &'a ToolDefinition,
}

impl<'a> Flags<'a> {
    fn new(tool: &'a ToolDefinition) -> Self {
        Self { tool }
    }

    fn properties(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.tool.input_schema.get("properties").and_then(Value::as_object).into_iter().flatten()
    }

    fn parse(&self, flags: &[String]) -> anyhow::Result<JsonObject> {
        let mut arguments = JsonObject::new();
        let mut rest = flags.iter();
        while let Some(flag) = rest.next() {
            let (name, attached) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (flag.as_str(), None),
            };
            let (property, schema) = self.find(name)?;
            let kind = Kind::of(schema, &self.tool.input_schema);
            let value = match (attached, &kind) {
                (Some(value), _) => value.to_owned(),
                (None, Kind::Boolean) => "true".to_owned(),
                (None, _) => rest.next().cloned().ok_or_else(|| {
                    Failure::new(Exit::Usage, format!("`{name}` needs a value")).help(self.usage())
                })?,
            };
            let value = kind.parse(&value).map_err(|expected| {
                Failure::new(Exit::Usage, format!("`{name}` is `{value}`, but {expected}"))
            })?;
            match (arguments.get_mut(property), value) {
                // A list is given one element a flag, or as JSON at once.
                (Some(Value::Array(list)), Value::Array(more)) => list.extend(more),
                (Some(_), _) => {
                    return Err(
                        Failure::new(Exit::Usage, format!("`{name}` is given twice")).into()
                    );
                }
                (None, value) => {
                    arguments.insert(property.clone(), value);
                }
            }
        }
        Ok(arguments)
    }

    fn find(&self, flag: &str) -> anyhow::Result<(&'a String, &'a Value)> {
        let found = self
            .properties()
            .find(|(name, _)| spelled(name) == flag || format!("--{name}") == flag);
        found.ok_or_else(|| {
            let message = format!("`{}` has no flag `{flag}`", self.tool.name);
            Failure::new(Exit::Usage, message).help(self.usage()).into()
        })
    }

    /// The tool's flags, one on a line.
    fn usage(&self) -> String {
        let required = |name: &str| {
            let list = self.tool.input_schema.get("required").and_then(Value::as_array);
            list.is_some_and(|list| list.iter().any(|entry| entry == name))
        };
        let lines = self.properties().map(|(name, schema)| {
            let kind = Kind::of(schema, &self.tool.input_schema);
            let must = if required(name) { " (required)" } else { "" };
            let about = schema.get("description").and_then(Value::as_str).unwrap_or_default();
            format!("\n  {} <{}>{must}  {about}", spelled(name), kind.name())
        });
        let lines: String = lines.collect();
        if lines.is_empty() {
            "it takes no arguments".to_owned()
        } else {
            format!("its flags are:{lines}")
        }
    }
}

fn spelled(property: &str) -> String {
    format!("--{}", property.replace('_', "-"))
}

/// How a flag's text becomes JSON.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Boolean,
    Integer,
    Number,
    Text,
    List(Box<Kind>),
    Json,
}

impl Kind {
    fn of(schema: &Value, root: &JsonObject) -> Self {
        let schema = resolve(schema, root);
        let types: Vec<&str> = match schema.get("type") {
            Some(Value::String(name)) => vec![name],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            _ if schema.get("enum").is_some() || schema.get("const").is_some() => vec!["string"],
            _ => vec![],
        };
        let first = types.into_iter().find(|name| *name != "null");
        match first {
            Some("boolean") => Self::Boolean,
            Some("integer") => Self::Integer,
            Some("number") => Self::Number,
            Some("string") => Self::Text,
            Some("array") => {
                let items = schema.get("items").map_or(Self::Json, |items| Self::of(items, root));
                Self::List(Box::new(items))
            }
            _ => Self::Json,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Boolean => "true|false",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Text => "text",
            Self::List(_) => "item, repeatable",
            Self::Json => "JSON",
        }
    }

    fn parse(&self, text: &str) -> Result<Value, &'static str> {
        match self {
            Self::Boolean => {
                text.parse().map(Value::Bool).map_err(|_| "`true` or `false` was expected")
            }
            Self::Integer => {
                let signed = text.parse::<i64>().map(Value::from);
                signed
                    .or_else(|_| text.parse::<u64>().map(Value::from))
                    .map_err(|_| "an integer was expected")
            }
            Self::Number => text
                .parse()
                .ok()
                .and_then(serde_json::Number::from_f64)
                .map(Value::Number)
                .ok_or("a number was expected"),
            Self::Text => Ok(Value::from(text)),
            Self::List(items) => match serde_json::from_str(text) {
                Ok(Value::Array(list)) => Ok(Value::Array(list)),
                _ => items.parse(text).map(|item| Value::Array(vec![item])),
            },
            Self::Json => Ok(serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))),
        }
    }
}

/// Follows a local reference, and looks past the `null` of an optional value, a few steps at most.
fn resolve<'a>(mut schema: &'a Value, root: &'a JsonObject) -> &'a Value {
    for _ in 0..8 {
        let reference = schema.get("$ref").and_then(Value::as_str);
        let target = reference
            .and_then(|path| path.strip_prefix("#/$defs/"))
            .and_then(|name| root.get("$defs")?.get(name));
        let some = schema.get("anyOf").and_then(Value::as_array).and_then(|options| {
            options.iter().find(|option| option.get("type") != Some(&Value::from("null")))
        });
        match target.or(some) {
            Some(next) => schema = next,
            None => break,
        }
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tool() -> ToolDefinition {
        serde_json::from_value(json!({
            "name": "fetch",
            "inputSchema": {
                "type": "object",
                "required": ["url"],
                "properties": {
                    "url": {"type": "string", "description": "where"},
                    "max_bytes": {"type": ["integer", "null"]},
                    "verbose": {"type": "boolean"},
                    "tags": {"type": "array", "items": {"type": "string"}},
                    "mode": {"anyOf": [{"$ref": "#/$defs/Mode"}, {"type": "null"}]},
                    "extra": {"type": "object"},
                },
                "$defs": {"Mode": {"type": "string", "enum": ["a", "b"]}},
            },
        }))
        .unwrap()
    }

    fn parse(flags: &[&str]) -> Result<Value, String> {
        let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
        let parsed = Flags::new(&tool()).parse(&flags);
        parsed.map(Value::Object).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_take_the_types_of_the_schema() {
        let flags = [
            "--url",
            "5",
            "--max-bytes=4096",
            "--verbose",
            "--tags",
            "x",
            "--tags",
            "y",
            "--mode",
            "a",
            "--extra",
            r#"{"k": 1}"#,
        ];
        let expected = json!({
            "url": "5", "max_bytes": 4096, "verbose": true, "tags": ["x", "y"], "mode": "a", "extra": {"k": 1},
        });
        assert_eq!(parse(&flags).unwrap(), expected);
    }

    #[test]
    fn flags_that_do_not_fit_are_named() {
        assert!(parse(&["--ulr", "x"]).unwrap_err().contains("has no flag `--ulr`"));
        assert!(parse(&["--max-bytes", "x"]).unwrap_err().contains("an integer was expected"));
        assert!(parse(&["--url"]).unwrap_err().contains("needs a value"));
        assert!(parse(&["--url", "a", "--url", "b"]).unwrap_err().contains("given twice"));
    }
}
