//! What the suite compares, compared here without a server.

use conformance::{PIXEL, SILENCE};
use kami_guest::content::{Body, Content};
use kami_guest::serde_json::{Value, json};
use kami_guest::testing::{self, Client};

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

#[test]
fn every_tool_and_prompt_says_what_it_is_for() {
    let (tools, prompts) = (testing::describe(), testing::describe_prompts());
    let (tools, prompts) = (&tools["tools"], &prompts["prompts"]);
    assert_eq!(names(tools).len(), 28);
    assert_eq!(names(prompts).len(), 5);
    for item in tools.as_array().unwrap().iter().chain(prompts.as_array().unwrap()) {
        assert!(!item["description"].as_str().unwrap().is_empty(), "{item}");
    }
}

#[test]
fn the_schema_keeps_every_keyword() {
    let schema = &testing::describe_tool("json_schema_2020_12_tool")["inputSchema"];
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["$defs"]["address"]["$anchor"], "addressDef");
    assert_eq!(schema["properties"]["address"], json!({"$ref": "#/$defs/address"}));
    assert_eq!(schema["allOf"][0]["anyOf"][1], json!({"required": ["email"]}));
    assert_eq!(schema["if"]["required"], json!(["contactMethod"]));
    assert_eq!(schema["then"], json!({"required": ["phone"]}));
    assert_eq!(schema["else"], json!({"required": ["email"]}));
    assert_eq!(schema["additionalProperties"], json!(false));
    let reply = testing::call("json_schema_2020_12_tool", json!({"name": "Ada", "email": "a@b"}));
    assert_eq!(reply.unwrap().text(), "Ada: a@b");
}

#[test]
fn the_header_is_named_in_the_schema() {
    let schema = &testing::describe_tool("test_custom_header")["inputSchema"];
    assert_eq!(schema["properties"]["value"]["type"], "string");
    assert_eq!(schema["properties"]["value"]["x-mcp-header"], "Value");
    assert_eq!(schema["required"], json!(["value"]));
}

#[test]
fn media_are_what_they_say() {
    assert!(PIXEL.starts_with(b"\x89PNG") && SILENCE.starts_with(b"RIFF"));
    let Content { body: Body::Audio(sound), .. } = conformance::test_audio_content() else {
        panic!("no sound");
    };
    assert_eq!(sound.mime_type, "audio/wav");
    let kinds = conformance::test_multiple_content_types();
    assert!(matches!(kinds[0].body, Body::Text(_)));
    assert!(matches!(kinds[1].body, Body::Image(_)));
    assert!(matches!(kinds[2].body, Body::Resource(_)));
}

#[test]
fn a_template_fills_in_what_stands_in_the_uri() {
    assert_eq!(
        conformance::template_data("123".to_owned()).unwrap(),
        r#"{"id":"123","templateTest":true,"data":"Data for ID: 123"}"#,
    );
}

#[test]
fn a_state_comes_back_with_the_answer() {
    let client = Client::new().accept("confirm", json!({"ok": true}));
    let reply = client.call("test_input_required_result_request_state", json!({})).unwrap();
    assert_eq!(reply.text(), "state-ok");
}

#[test]
fn the_second_round_knows_the_first() {
    let client = Client::new()
        .accept("step1", json!({"name": "Alice"}))
        .accept("step2", json!({"color": "blue"}));
    let reply = client.call("test_input_required_result_multi_round", json!({})).unwrap();
    assert_eq!(reply.text(), "Alice likes blue");
}

#[test]
fn three_kinds_of_questions_are_asked_at_once() {
    let client = Client::new()
        .accept("user_name", json!({"name": "Alice"}))
        .sampled("greeting", "Hello there!")
        .roots("client_roots", [("file:///test/root", "Test Root")]);
    let reply = client.call("test_input_required_result_multiple_inputs", json!({})).unwrap();
    assert_eq!(reply.text(), "Hello there! Alice, with 1 folders");
}

#[test]
fn a_prompt_may_ask_too() {
    let client = Client::new().accept("user_context", json!({"context": "tea"}));
    let prompt = client.get("test_input_required_result_prompt", json!({})).unwrap();
    assert_eq!(prompt.messages.len(), 1);
}

#[test]
fn choices_are_read_as_the_suite_answers_them() {
    let chosen = json!({
        "untitledSingle": "option1",
        "titledSingle": "value1",
        "legacyEnum": "opt1",
        "untitledMulti": ["option1", "option2"],
        "titledMulti": ["value1", "value2"],
    });
    let client = Client::new().accept("elicit-1", chosen.clone());
    let reply = client.call("test_elicitation_sep1330_enums", json!({})).unwrap();
    let text = reply.text();
    let content = text.strip_prefix("Elicitation completed: action=accept, content=").unwrap();
    assert_eq!(content.parse::<Value>().unwrap(), chosen);
}
