//! How arguments are read, and what becomes of what a tool returns.

use std::collections::BTreeMap;
use std::fmt;

use kami_guest::ErrorKind;
use kami_guest::prelude::*;
use kami_guest::serde_json::{Value, json};
use kami_guest::testing::{Reply, call, describe_tool};

#[kami_type]
struct Size {
    width: u32,
    height: u32,
}

#[kami_type]
struct Image {
    name: String,
    sizes: Vec<Size>,
}

#[kami_type]
#[serde(rename_all = "lowercase")]
enum Unit {
    Pixel,
    Custom(f64),
}

#[kami_type]
#[serde(tag = "shape", rename_all = "lowercase")]
enum Shape {
    Circle { radius: f64 },
    Nothing,
}

#[kami_type]
enum Keyed {
    Width(u32),
    Size(Size),
}

#[derive(Debug)]
struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the scale is broken")?;
        if formatter.alternate() {
            formatter.write_str(": a spring is loose")?;
        }
        Ok(())
    }
}

/// Measures.
#[kami_tool]
fn measure(
    image: Image,
    unit: Unit,
    scale: Option<f64>,
    #[kami(default = 3)] digits: u8,
) -> String {
    let unit = match unit {
        Unit::Pixel => "px".to_owned(),
        Unit::Custom(factor) => factor.to_string(),
    };
    format!("{} {} {unit} {scale:?} {digits}", image.name, image.sizes.len())
}

/// Nothing.
#[kami_tool]
fn unit() {}

/// A number.
#[kami_tool]
fn number() -> u32 {
    5
}

/// A struct.
#[kami_tool]
fn structure() -> Size {
    Size { width: 1, height: 2 }
}

/// A map.
#[kami_tool]
fn map() -> BTreeMap<String, u8> {
    BTreeMap::from([("a".into(), 1)])
}

/// An optional struct.
#[kami_tool]
fn optional(some: bool) -> Option<Size> {
    some.then_some(Size { width: 1, height: 2 })
}

/// An enum of objects with a tag.
#[kami_tool]
fn tagged(circle: bool) -> Shape {
    if circle { Shape::Circle { radius: 1.0 } } else { Shape::Nothing }
}

/// An enum of objects with a key.
#[kami_tool]
fn keyed(size: bool) -> Keyed {
    if size { Keyed::Size(Size { width: 1, height: 2 }) } else { Keyed::Width(1) }
}

/// An enum of mixed variants.
#[kami_tool]
fn mixed(pixel: bool) -> Unit {
    if pixel { Unit::Pixel } else { Unit::Custom(0.5) }
}

/// Any JSON.
#[kami_tool]
fn any(object: bool) -> Value {
    if object { json!({"a": 1}) } else { json!([1]) }
}

/// A string as structured content.
#[kami_tool]
fn quoted() -> Json<String> {
    Json::new("text".to_owned())
}

/// Structured content with a picture.
#[kami_tool]
fn pictured() -> Json<Size> {
    Json::new(Size { width: 1, height: 1 }).content([Content::image([1], "image/png")])
}

/// Several contents.
#[kami_tool]
fn contents() -> Result<Vec<Content>, String> {
    Ok(vec!["one".into(), "two".into()])
}

/// Fails.
#[kami_tool]
fn fails() -> Result<Size, Broken> {
    Err(Broken)
}

/// Can't be written.
#[kami_tool]
fn unwritable() -> BTreeMap<Vec<u8>, u8> {
    BTreeMap::from([(vec![1], 1)])
}

/// A function that a test calls as it is.
#[kami_tool]
fn plain(a: i64, b: Option<i64>) -> Result<i64, String> {
    a.checked_add(b.unwrap_or_default()).ok_or_else(|| "too large".into())
}

#[test]
fn a_tool_is_still_a_function() {
    assert_eq!(plain(1, Some(2)), Ok(3));
    assert_eq!(plain(i64::MAX, Some(1)), Err("too large".into()));
}

#[test]
fn arguments_are_read_with_their_defaults() {
    let reply = call(
        "measure",
        json!({"image": {"name": "a", "sizes": [{"width": 1, "height": 2}]}, "unit": {"custom": 2.5}}),
    );
    assert_eq!(reply.unwrap().text(), "a 1 2.5 None 3");
}

#[test]
fn wrong_arguments_are_told_where_and_what() {
    let check = |arguments: Value, expected: &str| {
        let error = call("measure", arguments.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArguments, "{arguments}");
        assert_eq!(error.message(), expected, "{arguments}");
    };
    let image = json!({"name": "a", "sizes": []});
    check(json!({}), "missing field `image`");
    check(json!({"image": image}), "missing field `unit`");
    check(
        json!({"image": 5, "unit": "pixel"}),
        "`image`: invalid type: integer `5`, expected struct Image",
    );
    check(json!({"image": {"name": "a"}, "unit": "pixel"}), "`image`: missing field `sizes`");
    check(
        json!({"image": {"name": "a", "sizes": [{"width": 1, "height": 2}, {"width": 1, "height": -2}]}}),
        "`image.sizes[1].height`: invalid value: integer `-2`, expected u32",
    );
    check(
        json!({"image": {"name": "a", "sizes": [{"width": 1, "height": 2}, {"width": 1}]}}),
        "`image.sizes[1]`: missing field `height`",
    );
    check(
        json!({"image": {"name": "a", "sizes": {"width": 1}}}),
        "`image.sizes`: invalid type: map, expected a sequence",
    );
    check(
        json!({"image": {"name": [], "sizes": []}}),
        "`image.name`: invalid type: sequence, expected a string",
    );
    check(
        json!({"image": image, "unit": "inch"}),
        "`unit`: unknown variant `inch`, expected `pixel` or `custom`",
    );
    check(
        json!({"image": image, "unit": "pixel", "scale": "1"}),
        "`scale`: invalid type: string \"1\", expected f64",
    );
    check(
        json!({"digits": 256, "image": image, "unit": "pixel"}),
        "`digits`: invalid value: integer `256`, expected u8",
    );
    check(
        json!({"a \"quoted\"\n, key": [{"b": 1}], "image": image}),
        "unknown field `a \"quoted\"\n, key`, expected one of `image`, `unit`, `scale`, `digits`",
    );
}

#[test]
fn an_unknown_tool_is_not_found() {
    let error = call("nonesuch", json!({})).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.message(), "there is no tool `nonesuch`");
}

#[test]
fn results_are_structured_as_their_schema_says() {
    let check = |tool: &str, arguments: Value, text: &str, structured: Value| {
        let reply = call(tool, arguments).unwrap();
        assert_eq!(reply.text(), text, "{tool}");
        assert_eq!(reply.structured.unwrap_or_default(), structured, "{tool}");
        let schema = &describe_tool(tool)["outputSchema"];
        if let Some(required) = schema["required"].as_array() {
            assert_eq!(schema["type"], "object", "{tool}");
            for key in required {
                assert!(!structured[key.as_str().unwrap()].is_null(), "{tool}: {key}");
            }
        }
    };
    let size = json!({"width": 1, "height": 2});
    let size_text = r#"{"width":1,"height":2}"#;
    check("unit", json!({}), "", Value::Null);
    check("number", json!({}), "5", json!({"result": 5}));
    check("structure", json!({}), size_text, size.clone());
    check("map", json!({}), r#"{"a":1}"#, json!({"a": 1}));
    check("optional", json!({"some": true}), size_text, json!({"result": size}));
    check(
        "tagged",
        json!({"circle": true}),
        r#"{"shape":"circle","radius":1.0}"#,
        json!({"shape": "circle", "radius": 1.0}),
    );
    check(
        "tagged",
        json!({"circle": false}),
        r#"{"shape":"nothing"}"#,
        json!({"shape": "nothing"}),
    );
    check(
        "keyed",
        json!({"size": true}),
        r#"{"Size":{"width":1,"height":2}}"#,
        json!({"result": {"Size": size}}),
    );
    check("keyed", json!({"size": false}), r#"{"Width":1}"#, json!({"result": {"Width": 1}}));
    check("mixed", json!({"pixel": true}), r#""pixel""#, json!({"result": "pixel"}));
    check(
        "mixed",
        json!({"pixel": false}),
        r#"{"custom":0.5}"#,
        json!({"result": {"custom": 0.5}}),
    );
    check("any", json!({"object": true}), r#"{"a":1}"#, json!({"a": 1}));
    check("any", json!({"object": false}), "[1]", json!({"result": [1]}));
    check("quoted", json!({}), r#""text""#, json!({"result": "text"}));
    check("contents", json!({}), "one\ntwo", Value::Null);
    assert_eq!(
        call("optional", json!({"some": false})).unwrap().structured,
        Some(json!({"result": null}))
    );
}

#[test]
fn content_takes_the_place_of_the_json_text() {
    let Reply { content, structured, .. } = call("pictured", json!({})).unwrap();
    assert_eq!(content, [Content::image([1], "image/png")]);
    assert_eq!(structured, Some(json!({"width": 1, "height": 1})));
}

#[test]
fn an_error_is_the_text_with_its_causes() {
    let error = call("fails", json!({})).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed);
    assert_eq!(error.message(), "the scale is broken: a spring is loose");
}

#[test]
fn what_is_not_json_is_an_error() {
    let error = call("unwritable", json!({})).unwrap_err();
    assert_eq!(error.message(), "the result can't be written as JSON: key must be a string");
}
