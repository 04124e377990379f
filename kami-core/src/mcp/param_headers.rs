//! Arguments that stand in headers as well, so that what is in between need not read bodies.
//!
//! Whoever routes by a header, and whoever reads the argument, must have seen the same. So a request
//! whose headers say anything else than its body is refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rmcp::model::ErrorData;
use serde_json::Value;

use super::message::brief;
use crate::manifest::JsonObject;

/// How the name of such a header begins; the rest is the schema's word for it.
pub(super) const PREFIX: &str = "mcp-param-";

/// Refuses arguments that differ from their headers, whose names are in the lower case.
pub(super) fn check(
    schema: &JsonObject,
    arguments: &Value,
    headers: &[(String, String)],
) -> Result<(), ErrorData> {
    for (path, name) in header_parameters(schema) {
        let argument = path.iter().try_fold(arguments, |value, name| value.get(name));
        let argument = argument.filter(|value| !value.is_null()).map(plain);
        let wanted = format!("{PREFIX}{}", name.to_ascii_lowercase());
        let mut values = headers.iter().filter(|(name, _)| *name == wanted).map(|(_, value)| value);
        let same = match (argument, values.next(), values.next()) {
            (None, None, None) => true,
            (Some(Some(argument)), Some(value), None) => {
                decoded(value).is_some_and(|value| value == argument)
            }
            // What is no text, number or truth value has no form in a header.
            (Some(None), None, None) => true,
            _ => false,
        };
        if !same {
            let (name, path) = (brief(name), brief(path.join(".")));
            let message = format!("the header `Mcp-Param-{name}` and the argument `{path}` differ");
            return Err(ErrorData::header_mismatch(message, None));
        }
    }
    Ok(())
}

/// The text of a value that a header can carry.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// The text that a header carries: as it is, or as `=?base64?...?=` where it could not be.
pub(super) fn decoded(value: &str) -> Option<String> {
    let Some(encoded) = value.strip_prefix("=?base64?").and_then(|v| v.strip_suffix("?=")) else {
        return Some(value.to_owned());
    };
    STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok())
}

/// A header that repeats an argument: each name of a property with `x-mcp-header`, where it stands,
/// and what that header would be called.
fn header_parameters(schema: &JsonObject) -> Vec<(Vec<&str>, &str)> {
    /// Deeper, nobody annotates anything.
    const DEEPEST: usize = 8;

    fn collect<'a>(
        schema: &'a JsonObject,
        path: &mut Vec<&'a str>,
        found: &mut Vec<(Vec<&'a str>, &'a str)>,
    ) {
        let Some(Value::Object(properties)) = schema.get("properties") else { return };
        if path.len() == DEEPEST {
            return;
        }
        for (name, property) in properties {
            let Value::Object(property) = property else { continue };
            path.push(name);
            if let Some(Value::String(header)) = property.get("x-mcp-header") {
                found.push((path.clone(), header));
            }
            collect(property, path, found);
            path.pop();
        }
    }

    let mut found = Vec::new();
    collect(schema, &mut Vec::new(), &mut found);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_argument_and_its_header_are_the_same() {
        let schema = json!({"properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "inner": {"properties": {"count": {"type": "integer", "x-mcp-header": "Count"}}},
            "free": {"type": "string"},
        }});
        let Value::Object(schema) = schema else { unreachable!() };
        let judged = |arguments: Value, headers: &[(&str, &str)]| {
            let headers: Vec<_> = headers
                .iter()
                .map(|(name, value)| (format!("{PREFIX}{name}"), (*value).to_owned()))
                .collect();
            check(&schema, &arguments, &headers).is_ok()
        };
        for (arguments, headers) in [
            (json!({"region": "eu"}), vec![("region", "eu")]),
            (json!({"region": "Hello"}), vec![("region", "=?base64?SGVsbG8=?=")]),
            (json!({"region": "SGVsbG8="}), vec![("region", "SGVsbG8=")]),
            (json!({"region": "=?base64?SGVsbG8="}), vec![("region", "=?base64?SGVsbG8=")]),
            (json!({"inner": {"count": 3}, "free": "x"}), vec![("count", "3")]),
            (json!({"region": null}), vec![]),
            (json!({}), vec![]),
            (json!({"free": "x"}), vec![("other", "y")]),
        ] {
            assert!(judged(arguments.clone(), &headers), "{arguments} {headers:?}");
        }
        for (arguments, headers) in [
            (json!({"region": "eu"}), vec![]),
            (json!({"region": "eu"}), vec![("region", "us")]),
            (json!({"region": "eu"}), vec![("region", "EU")]),
            (json!({"region": "eu"}), vec![("region", "eu"), ("region", "eu")]),
            (json!({"region": "Hello"}), vec![("region", "=?base64?SGVsbG8?=")]),
            (json!({"region": "Hello"}), vec![("region", "=?base64?SGVs!!!bG8=?=")]),
            (json!({"inner": {"count": 3}}), vec![("count", "4")]),
            (json!({}), vec![("region", "eu")]),
            (json!({"region": ["eu"]}), vec![("region", "eu")]),
        ] {
            assert!(!judged(arguments.clone(), &headers), "{arguments} {headers:?}");
        }
    }
}
