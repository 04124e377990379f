//! Pipelines: every mistake has a place, what is accepted refers to nothing that is not there, and
//! pointers lead where another implementation says.

use kami_core::manifest::ToolDefinition;
use kami_core::pipeline::{
    Found, FoundTools, MAX_STEPS, Plan, Pointer, Reference, Source, Step, composition,
};
use serde_json::{Value, json};

use crate::{examples, first_line, manifest, source};

/// Reads `bytes` as a pipeline of the tools that there are here; and their first line as a pointer into
/// what the rest is as JSON.
///
/// # Panics
/// Where a mistake has no place in the text, what is accepted cannot be kept or contradicts itself, or
/// a pointer leads elsewhere.
pub fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match Source::parse(&text) {
        Ok(read) => check_accepted(&text, &read),
        Err(error) => source::check_problems(&text, &error),
    }
    let (pointer, document) = first_line(bytes);
    if let (Ok(pointer), Ok(document)) =
        (std::str::from_utf8(pointer), serde_json::from_slice(document))
    {
        check_pointer(pointer, &document);
    }
}

fn check_accepted(text: &str, source: &Source) {
    let count = source.steps.len();
    assert!((1..=MAX_STEPS).contains(&count), "{count} steps");
    for (at, step) in source.steps.iter().enumerate() {
        let before = step.needs().chain(step.after.iter().copied());
        assert!(before.max().is_none_or(|before| before < at), "{step:?} needs what comes later");
        let above = &source.steps[..at];
        assert!(above.iter().all(|other| other.name.value != step.name.value), "two of one name");
        check_apart(step);
        for wire in &step.wires {
            let named = wire.source.value.step.as_ref();
            let meant = wire.step.map(|at| &source.steps[at].name.value);
            assert_eq!(named, meant, "a step is taken for another one");
        }
    }
    let tools = tools();
    match Plan::check(source, &tools) {
        Err(error) => self::source::check_problems(text, &error),
        Ok(plan) => {
            assert!(source.tools().all(|name| matches!(tools.get(name), Some(Found::Tool(_)))));
            kami_core::schema::check(&plan.definition).expect("both schemas can be used");
            let reaches_out = |step: &Step| step.tool.value.tool.as_str() == "fetch";
            let harmless = plan.definition.annotations.read_only_hint == Some(true);
            assert!(!(harmless && source.steps.iter().any(reaches_out)), "it passes for harmless");
            if let Ok(kept) = composition(text, source, &plan) {
                manifest::check_accepted(&kept.manifest);
            }
        }
    }
}

/// No value goes to a place of another one, as a naive look at all pairs sees it.
fn check_apart(step: &Step) {
    let literals = step.literals.iter().map(|literal| literal.target.value.to_string());
    let wires = step.wires.iter().map(|wire| wire.target.value.to_string());
    let targets: Vec<String> = literals.chain(wires).collect();
    for (at, one) in targets.iter().enumerate() {
        for other in &targets[at + 1..] {
            let within = |a: &str, b: &str| a == b || a.starts_with(&format!("{b}/"));
            assert!(!within(one, other) && !within(other, one), "{one} and {other}");
        }
    }
}

fn check_pointer(text: &str, document: &Value) {
    let Ok(pointer) = text.parse::<Pointer>() else { return };
    assert_eq!(pointer.to_string(), text, "a pointer changes when it is written");
    assert_eq!(pointer.of(document), document.pointer(text), "{text} in {document}");
    let reference: Reference = format!("page#{text}").parse().expect("it is a place of a step");
    assert_eq!(reference.pointer, pointer);
}

/// What is installed here.
fn tools() -> FoundTools {
    let tool = |value: Value| {
        let tool: ToolDefinition = serde_json::from_value(value).expect("it is a tool");
        Found::Tool(Box::new(tool))
    };
    let fetch = json!({
        "name": "fetch",
        "inputSchema": {
            "type": "object",
            "properties": {
                "url": {"type": "string"},
                "method": {"$ref": "#/$defs/method"},
                "options": {"anyOf": [{"$ref": "#/$defs/options"}, {"type": "null"}]},
            },
            "required": ["url"],
            "$defs": {
                "method": {"enum": ["GET", "HEAD"]},
                "options": {"type": "object", "properties": {"again": {"$ref": "#/$defs/options"}}},
            },
        },
        "annotations": {"readOnlyHint": false, "openWorldHint": true},
    });
    let count = json!({
        "name": "count",
        "inputSchema": {
            "type": "object",
            "properties": {"text": {"type": "string"}, "most": {"type": "integer", "minimum": 1}},
            "required": ["text"],
            "additionalProperties": false,
        },
        "outputSchema": {
            "type": "object",
            "properties": {"words": {"type": "integer"}, "places": {"items": {"$ref": "#/$defs/p"}}},
            "required": ["words"],
            "$defs": {"p": {"type": "object", "properties": {"at": {"type": "integer"}}}},
        },
        "annotations": {"readOnlyHint": true, "openWorldHint": false},
    });
    let name = |text: &str| text.parse().expect("it is a name");
    FoundTools::from([
        (name("dev.example.web/fetch"), tool(fetch)),
        (name("dev.example.text/count"), tool(count)),
        (name("dev.example.text/other"), Found::NoTool(vec!["count".to_owned()])),
        (name("dev.example.all/report"), Found::Pipeline),
    ])
}

/// Pipelines with everything in them, with mistakes, and pointers.
pub fn examples() -> Vec<Vec<u8>> {
    examples::PIPELINES.iter().map(|text| text.as_bytes().to_vec()).collect()
}
