//! Files beside the tools that they name, without calling any.

use serde_json::{Value, json};

use super::*;
use crate::manifest::{Annotations, ToolDefinition};

/// A page that is fetched, and words that are counted.
fn tools() -> FoundTools {
    let tool = |value: Value| Found::Tool(Box::new(serde_json::from_value(value).unwrap()));
    let fetch = json!({
        "name": "fetch",
        "inputSchema": {
            "type": "object",
            "properties": {
                "url": {"type": "string"},
                "method": {"$ref": "#/$defs/method"},
                "options": {
                    "type": "object",
                    "properties": {"depth": {"type": "integer"}, "more": {"type": "boolean"}},
                    "required": ["depth"],
                },
            },
            "required": ["url"],
            "$defs": {"method": {"enum": ["GET", "HEAD"]}},
        },
        "annotations": {"readOnlyHint": false, "openWorldHint": true},
    });
    let count = json!({
        "name": "count",
        "inputSchema": {
            "type": "object",
            "properties": {"text": {"type": "string"}, "at": {"type": ["integer", "null"]}},
            "required": ["text"],
            "additionalProperties": false,
        },
        "outputSchema": {
            "type": "object",
            "properties": {
                "words": {"type": "integer"},
                "longest": {"type": "string"},
                "places": {"type": "array", "items": {"$ref": "#/$defs/place"}},
            },
            "required": ["words"],
            "$defs": {"place": {"type": "object", "properties": {"at": {"type": "integer"}}}},
        },
        "annotations": {"readOnlyHint": true, "openWorldHint": false},
    });
    let name = |text: &str| text.parse().unwrap();
    FoundTools::from([
        (name("dev.example.web/fetch"), tool(fetch)),
        (name("dev.example.text/count"), tool(count)),
        (name("dev.example.text/cuont"), Found::NoTool(vec!["count".to_owned()])),
        (name("dev.example.other/report"), Found::Pipeline),
    ])
}

const HEAD: &str = r#"
version = 1
id = "dev.example.report"
package-version = "1.0.0"
tool = "report"
[input]
type = "object"
properties.url = { type = "string" }
properties.times = { type = "integer" }
required = ["url"]
"#;

const PAGE: &str = r##"
[[step]]
id = "page"
tool = "dev.example.web/fetch"
from = { "/url" = "input#/url" }
"##;

const COUNT: &str = r##"
[[step]]
id = "count"
tool = "dev.example.text/count"
from = { "/text" = "page#/content/0/text" }
"##;

fn check(rest: &str) -> Result<(Source, Plan), SourceError> {
    let source = Source::parse(&format!("{HEAD}{rest}"))?;
    let plan = Plan::check(&source, &tools())?;
    Ok((source, plan))
}

/// Each mistake with the text that it blames.
fn mistakes(rest: &str) -> Vec<String> {
    let text = format!("{HEAD}{rest}");
    let error = check(rest).map(drop).unwrap_err();
    let told = |problem: &crate::manifest::source::Problem| {
        format!("{} | {}", text[problem.span.clone()].trim(), problem.message)
    };
    error.problems.iter().map(told).collect()
}

#[test]
fn what_fits_becomes_a_tool_with_the_schemas_and_hints_of_its_steps() {
    let (source, plan) = check(&format!("{PAGE}{COUNT}")).unwrap();
    assert_eq!(source.steps[1].needs().collect::<Vec<_>>(), [0]);
    let ToolDefinition { output_schema, annotations, .. } = &plan.definition;
    assert_eq!(output_schema.as_ref().unwrap()["required"], json!(["words"]));
    let hints = (annotations.read_only_hint, annotations.open_world_hint);
    assert_eq!(hints, (Some(false), Some(true)));

    let output = r##"
[output]
"/words" = "count#/structuredContent/words"
"/all/longest" = "count#/structuredContent/longest"
"/all/places" = "count#/structuredContent/places"
"/url" = "input#/url"
"##;
    let (_, plan) = check(&format!("{PAGE}{COUNT}{output}")).unwrap();
    let expected = json!({
        "type": "object",
        "properties": {
            "words": {"type": "integer"},
            // What refers to its own schema cannot stand in another one.
            "all": {
                "type": "object",
                "properties": {"longest": {"type": "string"}, "places": {}},
                "additionalProperties": false,
            },
            "url": {"type": "string"},
        },
        "additionalProperties": false,
        "required": ["url", "words"],
    });
    assert_eq!(Value::Object(plan.definition.output_schema.unwrap()), expected);

    let careless = COUNT.to_owned() + "on-error = \"continue\"\n";
    let (_, plan) = check(&format!("{PAGE}{careless}{output}")).unwrap();
    assert_eq!(plan.definition.output_schema.unwrap()["required"], json!(["url"]));
}

#[test]
fn what_can_never_go_well_is_found_before_anything_is_called() {
    let step = |lines: &str| {
        format!("{PAGE}[[step]]\nid = \"count\"\ntool = \"dev.example.text/count\"\n{lines}\n")
    };
    for (rest, expected) in [
        (step(""), "\"dev.example.text/count\" | `dev.example.text/count` needs `text`"),
        (
            step(r##"from = { "/text" = "input#/times" }"##),
            "\"input#/times\" | `/text` of `dev.example.text/count` takes a string",
        ),
        (
            step(r##"from = { "/text" = "input#/uri" }"##),
            "\"input#/uri\" | there is nothing at `/uri` of `the arguments`",
        ),
        (
            step(r##"from = { "/text" = "page#/structured" }"##),
            "\"page#/structured\" | there is nothing at `/structured` of `page`",
        ),
        (
            step(r##"from = { "/text" = "page#/content/x/text" }"##),
            "\"page#/content/x/text\" | there is nothing at `/content/x/text` of `page`",
        ),
        (
            step("with = { text = \"x\", words = 1 }"),
            "words | `dev.example.text/count` takes no `words`",
        ),
        (step("with = { text = 1 }"), "text | `dev.example.text/count` does not take this"),
        (
            step("with = { text = { x = \"y\" } }"),
            "x | `/text` of `dev.example.text/count` is a string, and no object",
        ),
        (
            PAGE.to_owned() + "with = { method = \"PUT\" }",
            "method | `dev.example.web/fetch` does not take this",
        ),
        (
            PAGE.to_owned() + "with = { options = { more = true } }",
            "\"dev.example.web/fetch\" | `dev.example.web/fetch` needs `depth`",
        ),
        (
            PAGE.replace("web/fetch", "text/cuont"),
            "\"dev.example.text/cuont\" | `dev.example.text` has no tool `cuont`",
        ),
        (
            PAGE.replace("web/fetch", "other/report"),
            "\"dev.example.other/report\" | `dev.example.other/report` is a pipeline",
        ),
        (
            PAGE.replace("web/fetch", "nobody/fetch"),
            "\"dev.example.nobody/fetch\" | `dev.example.nobody` is not installed",
        ),
        (
            PAGE.to_owned() + "on-error = \"continue\"",
            "on-error | the result is that of the last step, which may fail",
        ),
        (
            format!("{PAGE}{COUNT}on-error = {{ text = \"none\" }}"),
            "on-error | `dev.example.text/count` gives structured content",
        ),
        (
            format!("{PAGE}{COUNT}on-error = {{ structuredContent = {{ words = \"none\" }} }}"),
            "on-error | this cannot take the place of what `dev.example.text/count` gives",
        ),
        (
            format!("{PAGE}{COUNT}[output]\n\"\" = \"count#/structuredContent/words\""),
            "\"count#/structuredContent/words\" | the structured content of a result is an object",
        ),
    ] {
        assert_eq!(mistakes(&rest), [expected], "{rest}");
    }
}

#[test]
fn a_file_that_contradicts_itself_is_no_pipeline() {
    for (rest, expected) in [
        (COUNT.to_owned() + PAGE, "\"page#/content/0/text\" | the step `page` has not ended yet"),
        (PAGE.to_owned() + "after = [\"page\"]", "\"page\" | the step `page` has not ended yet"),
        (
            format!("{PAGE}{}", COUNT.replace("page#", "pgae#")),
            "\"pgae#/content/0/text\" | there is no step `pgae`",
        ),
        (PAGE.to_owned() + PAGE, "\"page\" | two steps are called `page`"),
        (PAGE.to_owned() + "with = { url = \"x\" }", "url | two values go to `/url`"),
        (
            PAGE.replace("\"/url\" =", "\"/a\" = \"input#/url\", \"/a/b\" ="),
            "\"/a/b\" | `/a/b` lies within `/a`, which has a value",
        ),
        (PAGE.replace("\"/url\"", "url"), "url | this is no JSON pointer"),
        (PAGE.replace("\"/url\"", "\"/~u\""), "\"/~u\" | this is no JSON pointer"),
        (
            PAGE.replace("input#/url", "input#url"),
            "\"input#url\" | this says nowhere where the value comes from",
        ),
        (PAGE.replace("\"page\"", "\"input\""), "\"input\" | `id` has a value that cannot be"),
        (PAGE.to_owned() + "wiht = {}", "wiht | unknown key `wiht`"),
        (
            PAGE.to_owned() + "with = { when = 2026-01-01 }",
            "2026-01-01 | this value cannot be written in JSON",
        ),
        (PAGE.to_owned() + "with = { much = inf }", "inf | this value cannot be written in JSON"),
        (format!("{PAGE}[output]\n"), "output | the result has no parts"),
    ] {
        assert_eq!(mistakes(&rest), [expected], "{rest}");
    }
    let many: String = (0..=MAX_STEPS).map(|at| PAGE.replace("page", &format!("p{at}"))).collect();
    assert!(mistakes(&many)[0].ends_with("a pipeline has 1 to 64 steps"), "{many}");
    let long = format!("{HEAD}{PAGE}# {}", "x".repeat(MAX_BYTES));
    assert!(Source::parse(&long).unwrap_err().to_string().contains("at most 1024 KiB"));
}

#[test]
fn all_mistakes_are_told_at_once_and_not_too_many() {
    let wrong = "\n[[step]]\nid = \"Bad\"\ntool = \"x\"\nfrom = { a = \"b\" }\nuses = 1\n";
    let told = mistakes(wrong);
    assert_eq!(told.len(), 5, "{told:#?}");
    let told = mistakes(&format!("with = {{ {} }}", "a = inf, ".repeat(10)));
    assert!(!told.is_empty());
    let many: String = (0..500).map(|at| format!("k{at} = 1\n")).collect();
    assert_eq!(Source::parse(&many).unwrap_err().problems.len(), 100);
}

#[test]
fn what_is_kept_says_what_the_file_says() {
    let (source, plan) = check(&format!("{PAGE}{COUNT}")).unwrap();
    let kept = composition("text", &source, &plan).unwrap();
    assert_eq!(kept.steps, source.tools().cloned().collect::<Vec<_>>());
    let again = source.manifest(plan.definition.annotations, plan.definition.output_schema.clone());
    assert_eq!(again.unwrap(), kept.manifest);
    let other = source.manifest(Annotations::default(), None).unwrap();
    assert_ne!(other, kept.manifest);
}
