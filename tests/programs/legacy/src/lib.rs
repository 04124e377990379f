//! A component of `wit/v0.1`, written without the SDK.
#![expect(missing_docs, reason = "the generated bindings have none")]

use serde_json::{Value, json};

wit_bindgen::generate!({
    path: "../../../wit/v0.1",
    world: "kami-tool",
});

struct Component;

export!(Component);

impl exports::kami::tool::tool::Guest for Component {
    /// Shouts what it is told.
    fn run(input: String) -> Result<String, String> {
        let input: Value = serde_json::from_str(&input).map_err(|error| error.to_string())?;
        match input["text"].as_str() {
            Some("") => Err("there is nothing to shout".to_owned()),
            Some("panic") => panic!("asked to"),
            text => {
                let text = text.unwrap_or_default();
                kami::tool::host::log(kami::tool::host::LogLevel::Warn, text);
                Ok(text.to_uppercase())
            }
        }
    }

    fn describe() -> String {
        let schema = json!({
            "type": "object",
            "properties": {"text": {"type": "string"}},
            "required": ["text"],
        });
        json!({"name": "shout", "description": "Shouts.", "input_schema": schema}).to_string()
    }
}
