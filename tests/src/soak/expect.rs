//! What an answer must be.

use serde_json::Value;

use crate::server::text;

/// What the answer to a call must be.
#[derive(Debug, Clone)]
pub(super) enum Expect {
    /// This text.
    Gives(String),
    /// A text with these words.
    Says(String),
    /// A text of this length.
    Length(usize),
    /// This structured result.
    Structured(Value),
    /// A failure in the tool's own words, with these among them.
    Fails(&'static str),
    /// The same, after something was denied under this code.
    Denied(&'static str, &'static str),
    /// A failure in one line of ours that ends in this code.
    Code(&'static str),
    /// An error of the protocol that says so.
    Unknown,
    /// A list of tools.
    Listed,
    /// Nothing: the call is cancelled while it lasts.
    Nothing,
    /// One of several.
    OneOf(Vec<Self>),
}

impl Expect {
    /// Judges a message; gives what came out in a word or two, or `None` where it must not be.
    pub(super) fn outcome(&self, message: &Value) -> Option<&'static str> {
        let result = &message["result"];
        let (text, is_error) = text(result);
        let succeeded =
            |fits: bool| (fits && result.is_object() && !is_error).then_some("answered");
        match self {
            Self::Gives(expected) => succeeded(text == expected),
            Self::Says(words) => succeeded(text.contains(words)),
            Self::Length(length) => succeeded(text.len() == *length),
            Self::Structured(value) => succeeded(result["structuredContent"] == *value),
            Self::Fails(words) => (is_error && text.contains(words)).then_some("its own error"),
            Self::Denied(words, code) => {
                let denial = result["content"][1]["text"].as_str().unwrap_or_default();
                let denied = is_error && text.contains(words) && ends_in(denial, code);
                denied.then_some(code)
            }
            Self::Code(code) => (is_error && ends_in(text, code)).then_some(code),
            Self::Unknown => {
                let error = message["error"]["message"].as_str();
                error.filter(|error| error.starts_with("there is no tool")).map(|_| "unknown tool")
            }
            Self::Listed => result["tools"].as_array().filter(|l| !l.is_empty()).map(|_| "listed"),
            Self::Nothing => None,
            Self::OneOf(all) => all.iter().find_map(|expect| expect.outcome(message)),
        }
    }
}

fn ends_in(text: &str, code: &str) -> bool {
    text.ends_with(&format!("[{code}]"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_that_must_not_be_is_none() {
        let told = |text: &str, is_error: bool| {
            let content = json!([{"type": "text", "text": text}]);
            json!({"id": 1, "result": {"content": content, "isError": is_error}})
        };
        let unknown = json!({"id": 1, "error": {"message": "there is no tool `x`"}});
        let timed_out = Expect::Code("KAMI-TIMEOUT");
        let fine = Expect::Gives("fine".to_owned());
        assert_eq!(timed_out.outcome(&told("over [KAMI-TIMEOUT]", true)), Some("KAMI-TIMEOUT"));
        assert_eq!(fine.outcome(&told("fine", false)), Some("answered"));
        assert_eq!(Expect::Unknown.outcome(&unknown), Some("unknown tool"));
        for (expect, message) in [
            (&timed_out, told("over [KAMI-CPU]", true)),
            (&timed_out, told("over [KAMI-TIMEOUT]", false)),
            (&timed_out, unknown.clone()),
            (&fine, told("fine", true)),
            (&fine, told("not fine", false)),
            (&fine, unknown),
            (&Expect::Unknown, told("there is no tool `x`", true)),
            (&Expect::Denied("fine", "KAMI-UNSAFE"), told("fine", true)),
            (&Expect::Nothing, told("fine", false)),
        ] {
            assert_eq!(expect.outcome(&message), None, "{expect:?}: {message}");
        }
    }
}
