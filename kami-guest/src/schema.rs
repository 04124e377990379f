//! JSON Schema 2020-12 from types, without what costs a model tokens and tells it nothing.
//!
//! Schemas are built only when a component describes itself, or asks a person to fill in a form.

use schemars::generate::{Contract, SchemaSettings};
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

/// The formats that JSON Schema 2020-12 defines; schemars has more, such as `int64`.
const STANDARD_FORMATS: [&str; 19] = [
    "date",
    "date-time",
    "duration",
    "email",
    "hostname",
    "idn-email",
    "idn-hostname",
    "ipv4",
    "ipv6",
    "iri",
    "iri-reference",
    "json-pointer",
    "regex",
    "relative-json-pointer",
    "time",
    "uri",
    "uri-reference",
    "uri-template",
    "uuid",
];

/// The schema of an argument object.
pub fn input_schema<T: JsonSchema>() -> Value {
    let mut schema = schema_of::<T>(Contract::Deserialize);
    schema.entry("type").or_insert("object".into());
    schema.entry("properties").or_insert(json!({}));
    schema.into()
}

/// The schema of a structured result, if one schema fits all values of the type.
///
/// The schema of a result must be that of an object, so others are wrapped as
/// `{"result": ...}`, just as their values are.
pub fn output_schema<T: JsonSchema>() -> Option<Value> {
    let mut schema = schema_of::<T>(Contract::Serialize);
    let definitions = schema.remove("$defs");
    let mut object = match shape(&Value::Object(schema.clone()), definitions.as_ref()) {
        Shape::Object => {
            schema.insert("type".into(), "object".into());
            schema
        }
        Shape::Other => wrapped(schema.into()),
        Shape::Either => return None,
    };
    if let Some(definitions) = definitions {
        object.insert("$defs".into(), definitions);
    }
    Some(object.into())
}

/// The schema of `{"result": ...}` around a type that is never exposed as an object.
pub fn wrapped_output_schema<T: JsonSchema>() -> Value {
    let mut schema = schema_of::<T>(Contract::Serialize);
    let definitions = schema.remove("$defs");
    let mut object = wrapped(schema.into());
    if let Some(definitions) = definitions {
        object.insert("$defs".into(), definitions);
    }
    object.into()
}

fn wrapped(schema: Value) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("type".into(), "object".into());
    object.insert("properties".into(), json!({ "result": schema }));
    object.insert("required".into(), json!(["result"]));
    object
}

/// The schema of a type, with everything inline that is not recursive: many clients don't follow references.
fn schema_of<T: JsonSchema>(contract: Contract) -> Map<String, Value> {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.contract = contract;
        })
        .into_generator();
    let mut schema = T::json_schema(&mut generator);
    let definitions = generator.take_definitions(false);
    if !definitions.is_empty() {
        schema.insert("$defs".into(), definitions.into());
    }
    RecursiveTransform(tidy).transform(&mut schema);
    match schema.to_value() {
        Value::Object(schema) => schema,
        // `true`: anything goes.
        _ => Map::new(),
    }
}

fn tidy(schema: &mut Schema) {
    let Some(schema) = schema.as_object_mut() else {
        // Many clients take every schema for an object, and refuse the tool that has `true` in its own.
        if schema.as_bool() == Some(true) {
            *schema = Schema::default();
        }
        return;
    };
    // More properties are allowed anyway.
    if schema.get("additionalProperties") == Some(&Value::Bool(true)) {
        schema.remove("additionalProperties");
    }
    let unknown_format = schema
        .get("format")
        .and_then(Value::as_str)
        .is_some_and(|format| !STANDARD_FORMATS.contains(&format));
    if unknown_format {
        schema.remove("format");
    }
    // Clients repeat in headers only what has a single type, and leave out what is absent.
    if schema.contains_key("x-mcp-header")
        && let Some(Value::Array(types)) = schema.get_mut("type")
        && let Some(ty) = types.iter().position(|ty| ty != "null")
    {
        let ty = types.swap_remove(ty);
        schema.insert("type".into(), ty);
    }
    // An absent optional value is `null` anyway.
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
}

/// Whether the values of a schema are exposed as they are, or wrapped.
enum Shape {
    Object,
    Other,
    /// It depends on the value.
    Either,
}

/// Judges a schema as `shape::is_object` judges each value of it.
fn shape(schema: &Value, definitions: Option<&Value>) -> Shape {
    if is_externally_tagged(schema) {
        return Shape::Other;
    }
    match &schema["type"] {
        Value::String(ty) if ty == "object" => return Shape::Object,
        Value::String(_) => return Shape::Other,
        Value::Array(types) if !types.contains(&"object".into()) => return Shape::Other,
        _ => {}
    }
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return match definitions.and_then(|definitions| definitions.get(name)) {
            Some(schema) => shape(schema, None),
            None => Shape::Either,
        };
    }
    let alternatives = schema["oneOf"].as_array().or(schema["anyOf"].as_array());
    let shapes = alternatives.into_iter().flatten().map(|schema| shape(schema, definitions));
    shapes
        .reduce(|all, one| match (all, one) {
            (Shape::Object, Shape::Object) => Shape::Object,
            (Shape::Other, Shape::Other) => Shape::Other,
            _ => Shape::Either,
        })
        .unwrap_or(Shape::Either)
}

/// Whether this is an enum in serde's default form: strings, and objects of the one key that names the variant.
fn is_externally_tagged(schema: &Value) -> bool {
    schema["oneOf"].as_array().is_some_and(|variants| {
        variants.iter().all(|variant| {
            let is_name = variant["type"] == "string";
            let is_keyed = variant["additionalProperties"] == false
                && variant["properties"].as_object().is_some_and(|properties| {
                    properties.len() == 1
                        && properties.values().all(|value| value.get("const").is_none())
                });
            is_name || is_keyed
        })
    })
}
