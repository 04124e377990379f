//! The forms of which the protocol knows: one level of strings, numbers, booleans and choices.
//!
//! schemars says what a type is; here it is said again in the few words that clients understand, or
//! refused. A field that a client can't show would be a question without an answer.

use schemars::JsonSchema;
use serde::de::{DeserializeOwned, Error as _};
use serde_json::{Map, Value, json};

use crate::Error;
use crate::schema::input_schema;
use crate::shape::is_struct;

/// A type that a person can be asked for.
#[diagnostic::on_unimplemented(
    message = "nobody can be asked for a `{Self}`",
    label = "can't be read from JSON, or has no JSON schema",
    note = "put `#[kami_type]` on a type of your own, or derive `Deserialize` and `JsonSchema`"
)]
pub trait Form: DeserializeOwned + JsonSchema {}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned + JsonSchema> Form for T {}

/// The one field of a form for a type that isn't a struct.
const ANSWER: &str = "answer";

/// What a keyword may stand beside a field of any type.
const COMMON: [&str; 4] = ["type", "title", "description", "default"];

/// The formats of strings that clients can check.
const FORMATS: [&str; 4] = ["email", "uri", "date", "date-time"];

/// The schema of the form for a type.
pub fn schema<T: Form>() -> Result<Value, Error> {
    let mut whole = input_schema::<T>();
    let definitions = whole.as_object_mut().and_then(|schema| schema.remove("$defs"));
    let form = match definitions {
        Some(_) => Err("it contains itself".to_owned()),
        None if is_struct::<T>() => form(&whole),
        None => field(&lone(whole)).map(|(field, optional)| {
            let required: &[&str] = if optional { &[] } else { &[ANSWER] };
            json!({"type": "object", "properties": {ANSWER: field}, "required": required})
        }),
    };
    form.map_err(|reason| {
        Error::new(format_args!("`{}` can't be asked for in a form: {reason}", T::schema_name()))
    })
}

/// Reads what was filled in.
///
/// # Errors
///
/// What doesn't fit, which a client decides.
pub fn read<T: Form>(mut content: Value) -> serde_json::Result<T> {
    if !content.is_object() {
        return Err(serde_json::Error::custom("`content` has to be an object with the fields"));
    }
    if is_struct::<T>() {
        return serde_json::from_value(content);
    }
    serde_json::from_value(content[ANSWER].take())
}

/// Undoes what makes every schema one of an object.
fn lone(mut schema: Value) -> Value {
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("properties");
    }
    schema
}

fn form(schema: &Value) -> Result<Value, String> {
    if let Some(word) = ["oneOf", "anyOf", "allOf"].iter().find(|&&word| !schema[word].is_null()) {
        return Err(format!("a form has the same fields for everybody, and no `{word}`"));
    }
    let mut properties = Map::new();
    let mut optionals = Vec::new();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let (field, optional) = field(property).map_err(|reason| format!("`{name}` {reason}"))?;
        properties.insert(name.clone(), field);
        if optional {
            optionals.push(name.as_str());
        }
    }
    let required: Vec<&Value> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|name| !name.as_str().is_some_and(|name| optionals.contains(&name)))
        .collect();
    Ok(json!({"type": "object", "properties": properties, "required": required}))
}

/// A field in the protocol's words, and whether it may be left out.
fn field(schema: &Value) -> Result<(Value, bool), String> {
    let (schema, optional) = without_null(schema);
    let field = match schema["type"].as_str() {
        Some("array") => choices(&schema)?,
        _ if schema.get("enum").is_some() || schema.get("oneOf").is_some() => choice(&schema)?,
        Some("string") => keep(string(schema), &["minLength", "maxLength", "format"])?,
        Some("number" | "integer") => keep(schema, &["minimum", "maximum"])?,
        Some("boolean") => keep(schema, &[])?,
        Some("object") => return Err("is a struct or a map, and forms aren't nested".to_owned()),
        _ => return Err("has no single type".to_owned()),
    };
    Ok((field, optional))
}

/// Takes `null` out of what may be given: an optional field is simply left empty.
fn without_null(schema: &Value) -> (Value, bool) {
    let mut schema = schema.clone();
    if let Some([Value::String(ty), Value::String(null)]) =
        schema["type"].as_array().map(Vec::as_slice)
        && null == "null"
    {
        schema["type"] = ty.clone().into();
        if let Some(values) = schema.get_mut("enum").and_then(Value::as_array_mut) {
            values.retain(|value| !value.is_null());
        }
        return (schema, true);
    }
    let alternatives = schema["anyOf"].as_array().map(Vec::as_slice);
    if let Some([some, null]) = alternatives
        && null["type"] == "null"
    {
        let mut some = some.clone();
        for (key, value) in schema.as_object().into_iter().flatten() {
            if key != "anyOf" {
                some[key] = value.clone();
            }
        }
        return (some, true);
    }
    (schema, false)
}

/// A format that clients don't know is still checked when the answer is read.
fn string(mut schema: Value) -> Value {
    let known = schema["format"].as_str().is_some_and(|format| FORMATS.contains(&format));
    if !known && let Some(schema) = schema.as_object_mut() {
        schema.remove("format");
    }
    schema
}

/// One of several texts.
fn choice(schema: &Value) -> Result<Value, String> {
    if schema.get("enum").is_some() {
        let mut field = keep(schema.clone(), &["enum", "enumNames"])?;
        field["type"] = "string".into();
        return Ok(field);
    }
    let options = options(schema)?;
    let mut field = keep(schema.clone(), &["oneOf"])?;
    field["type"] = "string".into();
    field["oneOf"] = options;
    Ok(field)
}

/// Some of several texts.
fn choices(schema: &Value) -> Result<Value, String> {
    let items = &schema["items"];
    let items = if items.get("oneOf").is_some() {
        json!({"anyOf": options(items)?})
    } else if items["type"] == "string" && items.get("enum").is_some() {
        json!({"type": "string", "enum": items["enum"]})
    } else {
        return Err("is a list, and a form has lists of choices only: use an enum".to_owned());
    };
    let mut schema = schema.clone();
    if let Some(schema) = schema.as_object_mut() {
        // Nobody can choose the same twice.
        schema.remove("uniqueItems");
    }
    let mut field = keep(schema, &["items", "minItems", "maxItems"])?;
    field["items"] = items;
    Ok(field)
}

/// The variants of an enum, each with what a person reads: its title, its comment, or its name.
fn options(schema: &Value) -> Result<Value, String> {
    let mut options = Vec::new();
    for variant in schema["oneOf"].as_array().into_iter().flatten() {
        let title = variant["title"].as_str().or(variant["description"].as_str());
        let names = match variant["enum"].as_array() {
            Some(names) => names.as_slice(),
            None => std::slice::from_ref(&variant["const"]),
        };
        for name in names {
            let Some(name) = name.as_str() else {
                return Err("is an enum with data, and a form has plain choices only".to_owned());
            };
            options.push(json!({"const": name, "title": title.unwrap_or(name)}));
        }
    }
    Ok(options.into())
}

/// The schema, if it says nothing but what is common and what is listed.
fn keep(schema: Value, listed: &[&str]) -> Result<Value, String> {
    let keywords = schema.as_object().into_iter().flatten();
    let mut keywords = keywords.map(|(keyword, _)| keyword.as_str());
    match keywords.find(|keyword| !COMMON.contains(keyword) && !listed.contains(keyword)) {
        Some(keyword) => Err(format!("is restricted by `{keyword}`, which forms don't know")),
        None => Ok(schema),
    }
}
