//! What a schema lets one know of a place in what fits it, at a bounded cost.
//!
//! This is no validator: it finds what can never be. Where a schema says something that it does not
//! follow, the place may hold anything, and the call itself will show.

use std::fmt;

use serde_json::Value;

use super::pointer::{Pointer, index};

/// How many references and alternatives are followed on the way to one place.
const MAX_FOLLOWED: u32 = 64;

/// What decides about an object beyond its properties, and is not followed.
const NOT_FOLLOWED: [&str; 14] = [
    "allOf",
    "not",
    "if",
    "then",
    "else",
    "dependentSchemas",
    "dependencies",
    "patternProperties",
    "unevaluatedProperties",
    "anyOf",
    "oneOf",
    "$dynamicRef",
    "$recursiveRef",
    "$id",
];

/// What may stand beside a reference without changing what it means.
const SAID_BESIDE: [&str; 8] =
    ["$ref", "title", "description", "default", "examples", "deprecated", "readOnly", "$comment"];

/// What is known of a place.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape<'s> {
    /// A schema, and the whole that its references are about.
    Known { schema: &'s Value, root: &'s Value },
    /// Nothing.
    Anything,
}

/// Why there can be nothing at a place.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Missing {
    /// What stands above has these members only.
    Member { name: String, known: Vec<String> },
    /// What stands above has no members of the kind.
    NoMembers { name: String, types: Types },
}

/// The types that a value may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Types(u8);

const NAMES: [(&str, u8); 7] = [
    ("null", 1),
    ("boolean", 2),
    ("integer", 4),
    ("number", 4 | 8),
    ("string", 16),
    ("array", 32),
    ("object", 64),
];

impl Types {
    const ALL: Self = Self(127);
    const ARRAY: Self = Self(32);
    pub(super) const OBJECT: Self = Self(64);

    fn named(name: &str) -> Self {
        let found = NAMES.iter().find(|(known, _)| *known == name);
        found.map_or(Self::ALL, |(_, bits)| Self(*bits))
    }

    fn of(value: &Value) -> Self {
        Self::named(match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        })
    }

    /// Whether a value may be of both.
    pub(super) fn meet(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl fmt::Display for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0;
        let mut named = Vec::new();
        // A number may be an integer, which then needs no mention.
        for (name, bits) in NAMES.iter().rev() {
            if left & bits == *bits {
                left &= !bits;
                named.push(match *name {
                    "null" => "null".to_owned(),
                    "integer" | "array" | "object" => format!("an {name}"),
                    name => format!("a {name}"),
                });
            }
        }
        named.reverse();
        f.write_str(&if named.is_empty() { "nothing".to_owned() } else { named.join(" or ") })
    }
}

impl<'s> Shape<'s> {
    pub(super) fn of(root: &'s Value) -> Self {
        Self::Known { schema: root, root }
    }

    /// What is known of a place below this one.
    pub(super) fn at(self, pointer: &Pointer) -> Result<Self, Missing> {
        self.along(pointer.tokens())
    }

    /// The same, by the names on the way.
    pub(super) fn along(self, tokens: &[String]) -> Result<Self, Missing> {
        let mut fuel = MAX_FOLLOWED;
        tokens.iter().try_fold(self, |shape, token| shape.member(token, &mut fuel))
    }

    /// What is known of a member, or of an item.
    pub(super) fn child(self, name: &str) -> Result<Self, Missing> {
        self.member(name, &mut { MAX_FOLLOWED })
    }

    fn member(self, name: &str, fuel: &mut u32) -> Result<Self, Missing> {
        let Self::Known { schema, root } = self.followed(fuel) else { return Ok(Self::Anything) };
        let Some(members) = schema.as_object() else {
            return match schema {
                Value::Bool(false) => Err(missing(name, Vec::new())),
                _ => Ok(Self::Anything),
            };
        };
        for keyword in ["anyOf", "oneOf"] {
            if let Some(branches) = members.get(keyword).and_then(Value::as_array)
                && !members.contains_key("properties")
            {
                return Self::among(branches, root, name, fuel);
            }
        }
        let types = self.types_with(fuel);
        if !types.meet(Types(Types::OBJECT.0 | Types::ARRAY.0)) {
            return Err(Missing::NoMembers { name: name.to_owned(), types });
        }
        let known = |schema| Self::Known { schema, root };
        let properties = members.get("properties").and_then(Value::as_object);
        if let Some(property) = properties.and_then(|properties| properties.get(name)) {
            return Ok(known(property));
        }
        if NOT_FOLLOWED.iter().any(|keyword| members.contains_key(*keyword)) {
            return Ok(Self::Anything);
        }
        if types == Types::ARRAY {
            let Some(at) = index(name) else {
                return Err(Missing::NoMembers { name: name.to_owned(), types });
            };
            let first = members.get("prefixItems").and_then(|items| items.get(at));
            return Ok(first.or(members.get("items")).map_or(Self::Anything, known));
        }
        match (members.get("additionalProperties"), properties) {
            (Some(Value::Bool(true)), _) => Ok(Self::Anything),
            (Some(Value::Object(_)), _) => {
                Ok(members.get("additionalProperties").map_or(Self::Anything, known))
            }
            // Whoever names the members and says no more means that these are all: another name is
            // a mistake, of which nobody would hear otherwise.
            (_, Some(properties)) => Err(missing(name, properties.keys().cloned().collect())),
            (Some(Value::Bool(false)), None) => Err(missing(name, Vec::new())),
            _ => Ok(Self::Anything),
        }
    }

    /// What is known of a member of what may be one of several things.
    fn among(
        branches: &'s [Value],
        root: &'s Value,
        name: &str,
        fuel: &mut u32,
    ) -> Result<Self, Missing> {
        let mut found = None;
        let mut missing = None;
        for schema in branches {
            match (Self::Known { schema, root }.member(name, fuel), &found) {
                (Ok(shape), None) => found = Some(shape),
                (Ok(_), Some(_)) => found = Some(Self::Anything),
                // That one has no members hides that another one has others.
                (Err(why @ Missing::Member { .. }), _) => missing = Some(why),
                (Err(why), _) => missing = missing.or(Some(why)),
            }
        }
        match (found, missing) {
            (None, Some(missing)) => Err(missing),
            (found, _) => Ok(found.unwrap_or(Self::Anything)),
        }
    }

    /// The schema that is meant, where this one only refers to it.
    fn followed(self, fuel: &mut u32) -> Self {
        let Self::Known { mut schema, root } = self else { return self };
        while let Some(reference) = schema.get("$ref") {
            *fuel = fuel.saturating_sub(1);
            let alone = schema.as_object().is_some_and(|members| {
                members.keys().all(|key| SAID_BESIDE.contains(&key.as_str()))
            });
            let path = reference.as_str().and_then(|reference| reference.strip_prefix('#'));
            let target =
                path.filter(|path| !path.contains('%')).and_then(|path| root.pointer(path));
            match target.filter(|_| alone && *fuel > 0) {
                Some(target) => schema = target,
                None => return Self::Anything,
            }
        }
        *fuel = fuel.saturating_sub(1);
        if *fuel == 0 { Self::Anything } else { Self::Known { schema, root } }
    }

    /// The types that a value here may have.
    pub(super) fn types(self) -> Types {
        self.types_with(&mut { MAX_FOLLOWED })
    }

    fn types_with(self, fuel: &mut u32) -> Types {
        let Self::Known { schema, root } = self.followed(fuel) else { return Types::ALL };
        let Some(members) = schema.as_object() else { return Types::ALL };
        let any = |values: &[Value], of: &mut dyn FnMut(&Value) -> Types| {
            Types(values.iter().fold(0, |bits, value| bits | of(value).0))
        };
        let mut types = match members.get("type") {
            Some(Value::String(name)) => Types::named(name),
            Some(Value::Array(names)) => {
                any(names, &mut |name| name.as_str().map_or(Types::ALL, Types::named))
            }
            _ => Types::ALL,
        };
        if let Some(value) = members.get("const") {
            types.0 &= Types::of(value).0;
        }
        if let Some(Value::Array(values)) = members.get("enum") {
            types.0 &= any(values, &mut Types::of).0;
        }
        for keyword in ["anyOf", "oneOf"] {
            if let Some(Value::Array(branches)) = members.get(keyword) {
                let mut bits = 0;
                for schema in branches {
                    bits |= Self::Known { schema, root }.types_with(fuel).0;
                }
                types.0 &= bits;
            }
        }
        types
    }

    /// The members that an object here must have.
    pub(super) fn required(self) -> impl Iterator<Item = &'s str> {
        let schema = match self.followed(&mut { MAX_FOLLOWED }) {
            Self::Known { schema, .. } => schema.get("required").and_then(Value::as_array),
            Self::Anything => None,
        };
        schema.into_iter().flatten().filter_map(Value::as_str)
    }

    /// Whether an object here must have a member.
    pub(super) fn requires(self, name: &str) -> bool {
        self.required().any(|required| required == name)
    }
}

fn missing(name: &str, known: Vec<String>) -> Missing {
    Missing::Member { name: name.to_owned(), known }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_place_is_known_where_a_schema_says_so_and_missing_where_it_cannot_be() {
        let schema = json!({
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "list": {"type": "array", "items": {"$ref": "#/$defs/item"}},
                "maybe": {"anyOf": [{"$ref": "#/$defs/item"}, {"type": "null"}]},
                "map": {"type": "object", "additionalProperties": {"type": "integer"}},
                "open": {"type": "object"},
                "itself": {"$ref": "#"},
                "circle": {"$ref": "#/$defs/circle"},
            },
            "$defs": {
                "item": {"type": "object", "properties": {"size": {"type": "integer"}}},
                "circle": {"$ref": "#/$defs/circle"},
            },
        });
        let types = |text: &str| {
            let pointer: Pointer = text.parse().unwrap();
            Shape::of(&schema).at(&pointer).map(|shape| shape.types().to_string())
        };
        for (text, expected) in [
            ("", "an object"),
            ("/name", "a string"),
            ("/list/7/size", "an integer"),
            ("/maybe", "null or an object"),
            ("/maybe/size", "an integer"),
            ("/map/whatever", "an integer"),
            ("/itself/itself/name", "a string"),
        ] {
            assert_eq!(types(text).unwrap(), expected, "{text}");
        }
        for text in ["/open/x/y", "/circle/x"] {
            assert_eq!(types(text).unwrap(), Types::ALL.to_string(), "{text}");
        }
        for text in ["/nmae", "/name/x", "/list/x", "/list/0/sizes", "/maybe/sizes", "/map/a/b"] {
            assert!(types(text).is_err(), "{text}");
        }
    }

    #[test]
    fn alternatives_within_alternatives_end() {
        let mut schema = json!({"type": "string"});
        for _ in 0..40 {
            schema = json!({"anyOf": [schema.clone(), {"type": "null"}]});
        }
        let twice = json!({"$ref": "#/$defs/a"});
        let bomb = json!({"$defs": {"a": {"anyOf": [twice, twice, twice]}}, "$ref": "#/$defs/a"});
        for schema in [schema, bomb] {
            assert_eq!(Shape::of(&schema).types(), Types::ALL);
            assert!(matches!(Shape::of(&schema).child("x"), Ok(Shape::Anything)));
        }
    }
}
