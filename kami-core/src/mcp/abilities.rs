//! What a client can be asked for.

use rmcp::model::{ClientCapabilities, ErrorCode, ErrorData};
use serde_json::{Value, json};

use crate::call::{InputMethod, InputRequest, InputRequired};

/// What a client says that it can do for a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Abilities {
    form: bool,
    page: bool,
    sampling: bool,
    /// Whether its model may be given tools.
    sampling_tools: bool,
    roots: bool,
}

impl Abilities {
    pub(super) fn of(capabilities: &ClientCapabilities) -> Self {
        let elicitation = capabilities.elicitation.as_ref();
        let page = elicitation.is_some_and(|elicitation| elicitation.url.is_some());
        let sampling = capabilities.sampling.as_ref();
        Self {
            // Who says no more than that it asks people shows forms.
            form: elicitation.is_some_and(|elicitation| elicitation.form.is_some() || !page),
            page,
            sampling: sampling.is_some(),
            sampling_tools: sampling.is_some_and(|sampling| sampling.tools.is_some()),
            roots: capabilities.roots.is_some(),
        }
    }

    /// What a client would have to be able to do as well, in the terms of the protocol.
    pub(super) fn lacking(self, asked: &InputRequired) -> Option<Value> {
        let lacking = |request: &InputRequest| match request.method {
            InputMethod::Elicitation if request.is_url() => {
                (!self.page).then(|| ("elicitation", json!({"url": {}})))
            }
            InputMethod::Elicitation => (!self.form).then(|| ("elicitation", json!({}))),
            InputMethod::Sampling if request.brings_tools() => {
                (!self.sampling_tools).then(|| ("sampling", json!({"tools": {}})))
            }
            InputMethod::Sampling => (!self.sampling).then(|| ("sampling", json!({}))),
            InputMethod::Roots => (!self.roots).then(|| ("roots", json!({}))),
        };
        let lacking: serde_json::Map<_, _> = asked
            .requests
            .iter()
            .filter_map(lacking)
            .map(|(name, settings)| (name.to_owned(), settings))
            .collect();
        (!lacking.is_empty()).then_some(Value::Object(lacking))
    }
}

/// A guest asks for what the client did not say that it can do.
pub(super) fn missing(required: &Value) -> ErrorData {
    let data = json!({"requiredCapabilities": required});
    ErrorData::new(
        ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY,
        "this takes a client that can be asked for more: see `requiredCapabilities`",
        Some(data),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::JsonObject;

    #[test]
    fn who_does_not_say_that_it_can_is_not_asked() {
        let asked = |method, url| {
            let mut params = JsonObject::new();
            params.insert("mode".into(), if url { "url" } else { "form" }.into());
            let requests = vec![InputRequest { key: "k".into(), method, params }];
            InputRequired { requests, state: None }
        };
        let lacking = |capabilities: Value, method, url| {
            let capabilities = serde_json::from_value(capabilities).unwrap();
            Abilities::of(&capabilities).lacking(&asked(method, url))
        };
        use InputMethod::{Elicitation, Roots, Sampling};
        assert_eq!(lacking(json!({"elicitation": {}}), Elicitation, false), None);
        assert_eq!(lacking(json!({"elicitation": {"form": {}}}), Elicitation, false), None);
        assert_eq!(lacking(json!({"elicitation": {"url": {}}}), Elicitation, true), None);
        assert_eq!(lacking(json!({"sampling": {}}), Sampling, false), None);
        assert_eq!(lacking(json!({"roots": {}}), Roots, false), None);
        let mut with_tools = asked(Sampling, false);
        with_tools.requests[0].params.insert("tools".into(), json!([]));
        for (able, required) in [
            (json!({"sampling": {}}), Some(json!({"sampling": {"tools": {}}}))),
            (json!({"sampling": {"tools": {}}}), None),
        ] {
            let able = serde_json::from_value(able).unwrap();
            assert_eq!(Abilities::of(&able).lacking(&with_tools), required);
        }
        for (able, method, url, required) in [
            (json!({}), Elicitation, false, json!({"elicitation": {}})),
            (json!({"elicitation": {}}), Elicitation, true, json!({"elicitation": {"url": {}}})),
            (json!({"elicitation": {"url": {}}}), Elicitation, false, json!({"elicitation": {}})),
            (json!({"elicitation": {}}), Sampling, false, json!({"sampling": {}})),
            (json!({"sampling": {}}), Roots, false, json!({"roots": {}})),
        ] {
            assert_eq!(lacking(able, method, url), Some(required));
        }
    }
}
