//! What a tool is called with.

use std::fmt;
use std::sync::Arc;

use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::map::Entry;

use crate::manifest::JsonObject;

/// What a tool is called with: a JSON object, and the one text of it that the tool, the log and every
/// bound are about.
#[derive(Debug, Clone)]
pub struct CallArguments {
    value: Value,
    text: Arc<str>,
}

impl CallArguments {
    /// The object as JSON, as the tool gets it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The object as a value.
    pub(crate) fn value(&self) -> &Value {
        &self.value
    }

    /// The object as JSON, to be kept longer than the value.
    pub(crate) fn shared_text(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    /// The object as a value, and as text.
    pub(crate) fn into_parts(self) -> (Value, Arc<str>) {
        (self.value, self.text)
    }

    /// Reads an object, whose text the tool gets as it is.
    ///
    /// # Errors
    /// Where it is not JSON or no object, or where a key stands twice in an object: who checks the
    /// arguments and who uses them might take another one of the two.
    pub fn parse(text: &str) -> serde_json::Result<Self> {
        let Unambiguous(value) = serde_json::from_str(text)?;
        match value.is_object() {
            true => Ok(Self { value, text: text.into() }),
            false => Err(serde_json::Error::custom("it is not an object")),
        }
    }
}

/// A value in which no object has a key twice.
struct Unambiguous(Value);

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyValue;

        impl<'de> Visitor<'de> for AnyValue {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_string<E>(self, value: String) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                let mut array = Vec::new();
                while let Some(Unambiguous(item)) = items.next_element()? {
                    array.push(item);
                }
                Ok(Value::Array(array))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
                let mut object = JsonObject::new();
                while let Some(key) = members.next_key::<String>()? {
                    let Unambiguous(value) = members.next_value()?;
                    match object.entry(key) {
                        Entry::Vacant(entry) => drop(entry.insert(value)),
                        Entry::Occupied(_) => {
                            return Err(A::Error::custom("a key stands twice in an object"));
                        }
                    }
                }
                Ok(Value::Object(object))
            }
        }

        deserializer.deserialize_any(AnyValue).map(Self)
    }
}

impl From<JsonObject> for CallArguments {
    fn from(object: JsonObject) -> Self {
        let value = Value::Object(object);
        Self { text: value.to_string().into(), value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_passes_as_it_is_and_the_value_is_that_of_the_text() {
        let text = r#" { "b": [1, -2, 0.5, null, true, "\u00e9\n"], "a": {"c": {}} }"#;
        let arguments = CallArguments::parse(text).unwrap();
        assert_eq!(arguments.text(), text);
        let (value, _) = arguments.into_parts();
        assert_eq!(value, serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn what_could_mean_two_things_is_refused() {
        for text in [
            r#"{"a": 1, "a": 2}"#,
            r#"{"a": 1, "\u0061": 2}"#,
            r#"{"x": [{"a": 1, "b": {}, "a": 1}]}"#,
        ] {
            let refused = CallArguments::parse(text).unwrap_err().to_string();
            assert!(refused.contains("a key stands twice"), "{refused}");
        }
        for text in ["", "[]", "1", "null", "{} {}", r#"{"a": 1e999}"#, r#"{"a": "\ud800"}"#] {
            assert!(CallArguments::parse(text).is_err(), "{text}");
        }
        let deep = format!("{}{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
        assert!(CallArguments::parse(&deep).is_err(), "no nesting ends the process");
    }
}
