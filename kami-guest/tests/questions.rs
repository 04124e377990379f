//! What clients are asked, word for word, and what becomes of their answers.

use std::collections::{BTreeMap, BTreeSet};

use kami_guest::ask::{
    Elicitation, Form, IncludeContext, Roots, Sampling, UrlElicitation, set_state, state, together,
};
use kami_guest::prelude::*;
use kami_guest::serde_json::{Value, json};
use kami_guest::testing::Client;
use kami_guest::{ErrorKind, content};

/// The colour of the sky.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
#[kami_type]
#[serde(rename_all = "lowercase")]
enum Colour {
    Blue,
    Grey,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
#[kami_type]
enum Meal {
    #[schemars(title = "With meat")]
    Meat,
    /// Without meat
    Vegetarian,
    Any,
}

fn number() -> u32 {
    30
}

fn blue() -> Colour {
    Colour::Blue
}

#[derive(Debug, PartialEq)]
#[kami_type]
#[serde(deny_unknown_fields)]
struct Everything {
    /// as in the passport
    #[schemars(title = "Full name", length(min = 1, max = 80))]
    name: String,
    #[schemars(extend("format" = "email"))]
    email: Option<String>,
    #[schemars(extend("format" = "time"))]
    time: Option<String>,
    #[schemars(range(min = 18, max = 99))]
    #[serde(default = "number")]
    age: u32,
    score: f64,
    member: bool,
    #[serde(default = "blue")]
    colour: Colour,
    shade: Option<Colour>,
    meal: Meal,
    snack: Option<Meal>,
    #[schemars(length(min = 1))]
    colours: Vec<Colour>,
    meals: BTreeSet<Meal>,
    #[schemars(extend("enum" = ["a", "b"], "enumNames" = ["A", "B"]))]
    legacy: String,
}

fn first_question<T>(ask: impl Fn() -> Result<T, Error>) -> kami_guest::ask::Question {
    match Client::new().enter(ask) {
        Ok(_) => panic!("nothing is asked"),
        Err(error) => match error.questions() {
            [question] => question.clone(),
            _ => panic!("{error:?}"),
        },
    }
}

#[test]
fn a_struct_is_a_form() {
    let question = first_question(|| elicit::<Everything>("Tell me everything."));
    assert_eq!(question.key, "elicit-1");
    assert_eq!(question.method, "elicitation/create");
    // schemars gives the variants about which nothing is said first.
    let meals = json!([
        {"const": "Any", "title": "Any"},
        {"const": "Meat", "title": "With meat"},
        {"const": "Vegetarian", "title": "Without meat"},
    ]);
    let expected = json!({
        "mode": "form",
        "message": "Tell me everything.",
        "requestedSchema": {
            "type": "object",
            "properties": {
                "name": {
                    "type": "string",
                    "title": "Full name",
                    "description": "as in the passport",
                    "minLength": 1,
                    "maxLength": 80,
                },
                "email": {"type": "string", "format": "email"},
                "time": {"type": "string"},
                "age": {"type": "integer", "minimum": 18, "maximum": 99, "default": 30},
                "score": {"type": "number"},
                "member": {"type": "boolean"},
                "colour": {
                    "type": "string",
                    "description": "The colour of the sky.",
                    "enum": ["blue", "grey"],
                    "default": "blue",
                },
                "shade": {
                    "type": "string",
                    "description": "The colour of the sky.",
                    "enum": ["blue", "grey"],
                },
                "meal": {"type": "string", "oneOf": meals},
                "snack": {"type": "string", "oneOf": meals},
                "colours": {
                    "type": "array",
                    "items": {"type": "string", "enum": ["blue", "grey"]},
                    "minItems": 1,
                },
                "meals": {"type": "array", "items": {"anyOf": meals}},
                "legacy": {"type": "string", "enum": ["a", "b"], "enumNames": ["A", "B"]},
            },
            "required": ["name", "score", "member", "meal", "colours", "meals", "legacy"],
        },
    });
    assert_eq!(question.params, expected);
}

#[test]
fn what_is_no_struct_is_a_form_of_one_field() {
    let schema = |question: kami_guest::ask::Question| question.params["requestedSchema"].clone();
    assert_eq!(
        schema(first_question(|| elicit::<bool>("Sure?"))),
        json!({
            "type": "object",
            "properties": {"answer": {"type": "boolean"}},
            "required": ["answer"],
        })
    );
    assert_eq!(
        schema(first_question(|| elicit::<Option<Colour>>("Which?")))["required"],
        json!([])
    );
    let client = Client::new().accept("elicit-1", json!({"answer": ["Any"]}));
    let meals = client.enter(|| elicit::<Vec<Meal>>("Which?")).unwrap();
    assert_eq!(meals, Answer::Accept(vec![Meal::Any]));
}

#[kami_type]
struct Nested {
    inner: BTreeMap<String, String>,
}

#[kami_type]
struct Listed {
    words: Vec<String>,
}

#[kami_type]
struct Patterned {
    #[schemars(regex(pattern = "^a"))]
    word: String,
}

#[kami_type]
struct Recursive {
    inner: Vec<Recursive>,
}

#[kami_type]
enum Carrying {
    Nothing,
    Number(u32),
}

#[kami_type]
#[serde(tag = "kind")]
enum Tagged {
    One { a: u32 },
    Two { b: u32 },
}

#[test]
fn what_no_form_can_hold_is_refused() {
    fn check<T: Form>(reason: &str) {
        let error = Client::new().enter(|| elicit::<T>("?")).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Failed);
        let expected = format!("`{}` can't be asked for in a form: {reason}", T::schema_name());
        assert_eq!(error.message(), expected);
    }
    check::<Nested>("`inner` is a struct or a map, and forms aren't nested");
    check::<Listed>("`words` is a list, and a form has lists of choices only: use an enum");
    check::<Patterned>("`word` is restricted by `pattern`, which forms don't know");
    check::<Recursive>("it contains itself");
    check::<Carrying>("is an enum with data, and a form has plain choices only");
    check::<Tagged>("is an enum with data, and a form has plain choices only");
}

#[test]
fn a_person_accepts_declines_or_cancels() {
    let ask = || elicit::<bool>("Sure?");
    let yes = Client::new().accept("elicit-1", json!({"answer": true}));
    assert_eq!(yes.enter(ask), Ok(Answer::Accept(true)));
    assert_eq!(Client::new().decline("elicit-1").enter(ask), Ok(Answer::Decline));
    assert_eq!(Client::new().cancel("elicit-1").enter(ask), Ok(Answer::Cancel));
    assert_eq!(Answer::Accept(5).accepted(), Some(5));
    assert_eq!(Answer::<u8>::Cancel.accepted(), None);
}

#[test]
fn an_answer_that_does_not_fit_is_an_error() {
    let check = |answer: Value, message: &str| {
        let client = Client::new().answer("elicit-1", answer.clone());
        let error = client.enter(|| elicit::<bool>("Sure?")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArguments, "{answer}");
        let expected = format!("the answer to `elicit-1` doesn't fit: {message}");
        assert_eq!(error.message(), expected, "{answer}");
    };
    for content in [json!("yes"), json!(["yes"]), json!(true), Value::Null] {
        let answer = json!({"action": "accept", "content": content});
        check(answer, "`content` has to be an object with the fields");
    }
    for answer in [json!("yes"), json!([]), Value::Null] {
        check(answer, "it has to be an object with an `action`");
    }
    check(
        json!({"action": "accept", "content": {"answer": "yes"}}),
        "invalid type: string \"yes\", expected a boolean",
    );
    check(json!({"action": "accept"}), "`content` has to be an object with the fields");
    check(
        json!({"action": "shrug"}),
        "unknown variant `shrug`, expected one of `accept`, `decline`, `cancel`",
    );
    check(json!({}), "missing field `action`");
}

#[test]
fn a_person_is_sent_to_a_page() {
    let question = first_question(|| {
        UrlElicitation::new("Sign in.", "https://example.com").key("login").ask()
    });
    assert_eq!(question.key, "login");
    assert_eq!(
        question.params,
        json!({"mode": "url", "message": "Sign in.", "url": "https://example.com"})
    );
    let client = Client::new().answer("elicit-1", json!({"action": "accept"}));
    let answer = client.enter(|| elicit_url("Sign in.", "https://example.com"));
    assert_eq!(answer, Ok(Answer::Accept(())));
}

#[test]
fn a_model_is_asked_with_all_that_the_protocol_knows() {
    let question = first_question(|| {
        Sampling::new(100)
            .key("capital")
            .message(Message::user("What is the capital of France?"))
            .message(Message::assistant(Content::audio([1, 2], "audio/wav")))
            .raw_message(json!({"role": "user", "content": []}))
            .system_prompt("Be brief.")
            .temperature(0.5)
            .stop_sequences(["\n"])
            .include_context(IncludeContext::ThisServer)
            .model_hint("claude")
            .cost_priority(0.25)
            .speed_priority(0.5)
            .intelligence_priority(0.75)
            .tools(json!([{"name": "add"}]))
            .tool_choice(json!({"mode": "auto"}))
            .metadata(json!({"a": 1}))
            .ask()
    });
    assert_eq!(question.method, "sampling/createMessage");
    let expected = json!({
        "messages": [
            {"role": "user", "content": {"type": "text", "text": "What is the capital of France?"}},
            {"role": "assistant", "content": {"type": "audio", "data": "AQI=", "mimeType": "audio/wav"}},
            {"role": "user", "content": []},
        ],
        "maxTokens": 100,
        "systemPrompt": "Be brief.",
        "temperature": 0.5,
        "stopSequences": ["\n"],
        "includeContext": "thisServer",
        "modelPreferences": {
            "hints": [{"name": "claude"}],
            "costPriority": 0.25,
            "speedPriority": 0.5,
            "intelligencePriority": 0.75,
        },
        "tools": [{"name": "add"}],
        "toolChoice": {"mode": "auto"},
        "metadata": {"a": 1},
    });
    assert_eq!(question.params, expected);
    let short = first_question(|| sample("Hi.", 5));
    assert_eq!(
        short.params,
        json!({
            "messages": [{"role": "user", "content": {"type": "text", "text": "Hi."}}],
            "maxTokens": 5,
        })
    );
}

#[test]
fn what_a_model_says_is_read() {
    let result = json!({
        "role": "assistant",
        "model": "m",
        "stopReason": "toolUse",
        "content": [
            {"type": "text", "text": "one"},
            {"type": "tool_use", "id": "1", "name": "add", "input": {}},
            {"type": "text", "text": "two"},
            {"type": "image", "data": "AQI=", "mimeType": "image/png"},
        ],
    });
    let client = Client::new().answer("sample-1", result.clone());
    let sampled = client.enter(|| sample("?", 1)).unwrap();
    assert_eq!(sampled.text(), "one\ntwo");
    assert_eq!(sampled.content.len(), 3);
    assert_eq!(sampled.content[2], Content::image([1, 2], "image/png"));
    assert_eq!((sampled.role, sampled.model.as_str()), (content::Role::Assistant, "m"));
    assert_eq!(sampled.stop_reason.as_deref(), Some("toolUse"));
    assert_eq!(sampled.json, result);

    let client = Client::new().answer("sample-1", json!({"role": "assistant"}));
    let error = client.enter(|| sample("?", 1)).unwrap_err();
    assert_eq!(error.message(), "the answer to `sample-1` doesn't fit: it has no `content`");
}

#[kami_type]
struct Name {
    name: String,
}

#[kami_type]
struct Progress {
    step: u8,
}

/// Asks three at once, and then one more.
#[kami_tool]
fn interview() -> Result<String, Error> {
    let round = state::<Progress>()?.map_or(1, |Progress { step }| step + 1);
    set_state(&Progress { step: round })?;
    let (name, capital, roots) = together((
        Elicitation::new("Who?").key("user_name").ask::<Name>(),
        sample("What is the capital of France?", 10),
        Roots::new().key("client_roots").ask(),
    ))?;
    let Some(Name { name }) = name.accepted() else {
        return Ok("nobody".into());
    };
    let sure = elicit::<bool>("Sure?")?;
    Ok(format!("{name} {} {} {sure:?} {round}", capital.text(), roots[0].uri))
}

#[test]
fn questions_are_asked_together_and_answers_are_kept() {
    let client = Client::new()
        .accept("user_name", json!({"name": "Ada"}))
        .sampled("sample-1", "Paris")
        .roots("client_roots", [("file:///src", "src")]);

    let first = Client::new().call("interview", json!({})).unwrap_err();
    let keys: Vec<_> = first.questions().iter().map(|asked| asked.key.as_str()).collect();
    assert_eq!(keys, ["user_name", "sample-1", "client_roots"]);
    assert_eq!(first.kind(), ErrorKind::InputRequired);
    assert_eq!(first.message(), "");

    let second = client.call("interview", json!({})).unwrap_err();
    let keys: Vec<_> = second.questions().iter().map(|asked| asked.key.as_str()).collect();
    assert_eq!(keys, ["elicit-1"]);

    let client = client.accept("elicit-1", json!({"answer": true}));
    let reply = client.call("interview", json!({})).unwrap();
    assert_eq!(reply.text(), "Ada Paris file:///src Accept(true) 3");
    assert_eq!(client.enter(interview).unwrap(), reply.text());
}

#[test]
fn a_failure_comes_before_questions() {
    let client = Client::new().answer("sample-1", json!(5));
    let error = client
        .enter(|| together((elicit::<bool>("?"), sample("?", 1), elicit::<bool>("??"))))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InputRequired, "nothing is wrong before there are answers");
    let client = client.decline("elicit-1").decline("elicit-2");
    let error = client
        .enter(|| together((elicit::<bool>("?"), sample("?", 1), elicit::<bool>("??"))))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArguments);
}

#[test]
fn one_key_is_one_question() {
    let ask = |message: &str| Elicitation::new(message).key("k").ask::<bool>();
    let same = Client::new().enter(|| together((ask("a"), ask("a")))).unwrap_err();
    assert_eq!(same.questions().len(), 1);
    let error = Client::new().enter(|| together((ask("a"), ask("b")))).unwrap_err();
    assert_eq!(error.message(), "two different questions bear the key `k`");
    let many = Client::new().decline("elicit-1").decline("elicit-2");
    let answers = many.enter(|| together(vec![elicit::<bool>("a"), elicit("b")])).unwrap();
    assert_eq!(answers, [Answer::Decline, Answer::Decline]);
}

/// Resources and prompts ask as tools do.
#[kami_resource(uri = "secret://door")]
fn door() -> Result<String, Error> {
    match elicit::<bool>("Open it?")? {
        Answer::Accept(true) => Ok("open".into()),
        _ => Err(Error::not_found("there is no door")),
    }
}

#[kami_prompt]
fn letter() -> Result<String, Error> {
    let name = Elicitation::new("To whom?").key("to").ask::<Name>()?;
    Ok(format!("Write to {}.", name.accepted().map_or("nobody".into(), |Name { name }| name)))
}

#[test]
fn resources_and_prompts_ask_too() {
    let client = Client::new()
        .accept("elicit-1", json!({"answer": true}))
        .accept("to", json!({"name": "Ada"}));
    assert_eq!(client.read("secret://door").unwrap(), [Resource::text("secret://door", "open")]);
    let letter = client.get("letter", json!({})).unwrap();
    assert_eq!(letter.messages, [Message::user("Write to Ada.")]);
    let shut = Client::new().decline("elicit-1").read("secret://door").unwrap_err();
    assert_eq!(shut.kind(), ErrorKind::NotFound);
}

#[test]
fn outside_of_a_call_there_is_nobody_to_ask() {
    let error = letter().unwrap_err();
    assert!(error.message().starts_with("there is nobody to ask outside of a call"));
}

/// Everything that has a text becomes an error.
#[kami_tool]
fn many_errors(kind: u8) -> Result<u8, Error> {
    match kind {
        0 => Err("text".into()),
        1 => Ok("x".parse::<u8>()?),
        2 => Ok(Err::<u8, _>(String::from("string"))?),
        3 => Err(Error::invalid_arguments("they make no sense")),
        _ => Err(Error::not_found("a file")),
    }
}

#[test]
fn errors_say_what_kind_they_are() {
    let check = |kind: u8, expected: ErrorKind, message: &str| {
        let error = Client::new().call("many_errors", json!({"kind": kind})).unwrap_err();
        assert_eq!((error.kind(), error.message()), (expected, message));
    };
    check(0, ErrorKind::Failed, "text");
    check(1, ErrorKind::Failed, "invalid digit found in string");
    check(2, ErrorKind::Failed, "string");
    check(3, ErrorKind::InvalidArguments, "they make no sense");
    // The tool itself is there.
    check(4, ErrorKind::Failed, "a file");
}
