//! What clients are told about prompts, word for word, and what becomes of their arguments.

use std::str::FromStr;

use kami_guest::ErrorKind;
use kami_guest::prelude::*;
use kami_guest::serde_json::{Value, json};
use kami_guest::testing::{complete_prompt, describe_prompts, get};

enum Tone {
    Friendly,
    Stern,
}

impl FromStr for Tone {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "friendly" => Ok(Self::Friendly),
            "stern" => Ok(Self::Stern),
            other => Err(format!("there is no tone `{other}`")),
        }
    }
}

fn languages(typed: &str) -> Vec<&'static str> {
    ["Rust", "Ruby", "Python"].into_iter().filter(|name| name.starts_with(typed)).collect()
}

/// Asks for a review.
#[kami_prompt(name = "code-review", title = "Code review")]
fn review(
    /// the code
    #[kami(name = "sourceCode", title = "Source code")]
    code: String,
    #[kami(complete = languages)] language: Option<String>,
    #[kami(complete = ["friendly", "stern"])] tone: Tone,
    #[kami(default = 3)] findings: u8,
) -> String {
    let tone = match tone {
        Tone::Friendly => "kindly",
        Tone::Stern => "strictly",
    };
    format!("{tone} {language:?} {findings}: {code}")
}

#[kami_prompt]
fn plain() -> &'static str {
    "Hello."
}

/// A conversation.
#[kami_prompt]
fn conversation() -> Result<Vec<Message>, String> {
    Ok(vec![
        Message::user(Content::image([1], "image/png")),
        Message::assistant("A whale."),
        Message::user(Content::from(Resource::text("note://a", "text"))),
    ])
}

/// A template.
#[kami_prompt]
fn described(topic: String) -> Prompt {
    Prompt::new([Message::user("?")]).description(format!("about {topic}"))
}

#[kami_prompt]
fn broken() -> Result<String, Error> {
    Err(Error::not_found("the file is not there"))
}

#[test]
fn prompts_are_described_in_the_shape_of_the_protocol() {
    let expected = json!({"prompts": [
        {"name": "broken", "arguments": []},
        {
            "name": "code-review",
            "title": "Code review",
            "description": "Asks for a review.",
            "arguments": [
                {
                    "name": "sourceCode",
                    "title": "Source code",
                    "description": "the code",
                    "required": true,
                },
                {"name": "language", "required": false},
                {"name": "tone", "required": true},
                {"name": "findings", "required": false},
            ],
        },
        {"name": "conversation", "description": "A conversation.", "arguments": []},
        {
            "name": "described",
            "description": "A template.",
            "arguments": [{"name": "topic", "required": true}],
        },
        {"name": "plain", "arguments": []},
    ]});
    assert_eq!(describe_prompts(), expected);
}

#[test]
fn arguments_are_read_from_texts() {
    let check = |arguments: Value, expected: &str| {
        let prompt = get("code-review", arguments).unwrap();
        assert_eq!(prompt.messages, [Message::user(expected)]);
        assert_eq!(prompt.description.as_deref(), Some("Asks for a review."));
    };
    check(json!({"sourceCode": "x", "tone": "stern"}), "strictly None 3: x");
    check(
        json!({"sourceCode": "", "tone": "friendly", "language": "C", "findings": "5"}),
        "kindly Some(\"C\") 5: ",
    );
    // What a form leaves empty is left out.
    check(
        json!({"sourceCode": "x", "tone": "friendly", "language": "", "findings": ""}),
        "kindly None 3: x",
    );
}

#[test]
fn wrong_arguments_are_told_which_and_why() {
    let check = |arguments: Value, expected: &str| {
        let error = get("code-review", arguments.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArguments, "{arguments}");
        assert_eq!(error.message(), expected, "{arguments}");
    };
    check(json!({"tone": "stern"}), "missing argument `sourceCode`");
    check(json!({"sourceCode": "x", "tone": "odd"}), "`tone`: there is no tone `odd`");
    check(
        json!({"sourceCode": "x", "tone": "stern", "findings": "many"}),
        "`findings`: invalid digit found in string",
    );
    check(json!({"code": "x"}), "there is no argument `code`");
    check(json!({"tone": 5}), "`tone`: invalid type: integer `5`, expected a string");
    let error = get("nonesuch", json!({})).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.message(), "there is no prompt `nonesuch`");
}

#[test]
fn what_is_returned_is_the_conversation() {
    assert_eq!(get("plain", json!({})).unwrap(), Prompt::new([Message::user("Hello.")]));
    let conversation = get("conversation", json!({})).unwrap();
    assert_eq!(conversation.description.as_deref(), Some("A conversation."));
    assert_eq!(conversation.messages, self::conversation().unwrap());
    let described = get("described", json!({"topic": "tea"})).unwrap();
    assert_eq!(described.description.as_deref(), Some("about tea"));
}

#[test]
fn a_prompt_that_is_there_is_never_not_found() {
    let error = get("broken", json!({})).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Failed, "the file is not there"));
}

#[test]
fn arguments_are_completed() {
    let check = |argument: &str, typed: &str, expected: &[&str]| {
        let suggestions = complete_prompt("code-review", argument, typed, []).unwrap();
        assert_eq!(suggestions.values, expected, "{argument} {typed}");
    };
    check("language", "Ru", &["Rust", "Ruby"]);
    check("tone", "", &["friendly", "stern"]);
    check("tone", "ST", &["stern"]);
    check("sourceCode", "fn", &[]);
    let error = complete_prompt("code-review", "code", "", []).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArguments);
    assert_eq!(complete_prompt("none", "code", "", []).unwrap_err().kind(), ErrorKind::NotFound);
}
