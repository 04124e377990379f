//! A schema that no type has: it must reach the client with every keyword.

use std::borrow::Cow;

use kami_guest::prelude::*;
use kami_guest::schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// How to reach somebody.
#[derive(Deserialize)]
#[serde(crate = "kami_guest::serde", rename_all = "camelCase", deny_unknown_fields)]
pub struct Contact {
    name: Option<String>,
    address: Option<Address>,
    contact_method: Option<Method>,
    phone: Option<String>,
    email: Option<String>,
}

#[derive(Deserialize)]
#[serde(crate = "kami_guest::serde")]
struct Address {
    street: Option<String>,
    city: Option<String>,
}

#[derive(Deserialize)]
#[serde(crate = "kami_guest::serde", rename_all = "lowercase")]
enum Method {
    Phone,
    Email,
}

impl JsonSchema for Contact {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Contact".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "$defs": {
                "address": {
                    "$anchor": "addressDef",
                    "type": "object",
                    "properties": { "street": { "type": "string" }, "city": { "type": "string" } },
                },
            },
            "properties": {
                "name": { "type": "string" },
                "address": { "$ref": "#/$defs/address" },
                "contactMethod": { "type": "string", "enum": ["phone", "email"] },
                "phone": { "type": "string" },
                "email": { "type": "string" },
            },
            "allOf": [{ "anyOf": [{ "required": ["phone"] }, { "required": ["email"] }] }],
            "if": {
                "properties": { "contactMethod": { "const": "phone" } },
                "required": ["contactMethod"],
            },
            "then": { "required": ["phone"] },
            "else": { "required": ["email"] },
            "additionalProperties": false,
        })
    }
}

/// Tool with JSON Schema 2020-12 features: says how to reach somebody.
#[kami_tool]
pub fn json_schema_2020_12_tool(contact: Contact) -> String {
    let name = contact.name.as_deref().unwrap_or("somebody");
    let place = contact.address.and_then(|address| address.city.or(address.street));
    let way = match contact.contact_method {
        Some(Method::Phone) => contact.phone,
        Some(Method::Email) => contact.email,
        None => contact.email.or(contact.phone),
    };
    let way = way.unwrap_or_default();
    match place {
        Some(place) => format!("{name} in {place}: {way}"),
        None => format!("{name}: {way}"),
    }
}
