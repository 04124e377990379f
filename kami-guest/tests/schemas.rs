//! What the model is told about tools with rich signatures, word for word.

use std::collections::{BTreeMap, HashMap};

use kami_guest::prelude::*;
use kami_guest::serde_json::{Value, json};
use kami_guest::testing::describe_tool;

/// Where to look.
#[kami_type]
#[serde(rename_all = "kebab-case")]
enum Place {
    /// In the archive.
    OldStuff,
    /// Everywhere else.
    NewStuff,
}

/// A range of years.
#[kami_type]
#[serde(deny_unknown_fields)]
struct Years {
    /// The first.
    #[schemars(range(min = 1900))]
    from: u16,
    #[serde(default)]
    to: Option<u16>,
}

#[kami_type]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Filter {
    Author { name: String },
    Years(Years),
}

#[kami_type]
struct Node {
    label: String,
    children: Vec<Node>,
}

/// Searches.
///
/// Give at least one word.
#[kami_tool(title = "Search", read_only, idempotent, open_world = false, destructive = false)]
#[expect(clippy::too_many_arguments, reason = "shows every kind of argument")]
fn search(
    /// The words, as a query.
    #[schemars(length(min = 1, max = 200))]
    #[serde(rename = "q")]
    query: String,
    /// A language code.
    #[schemars(regex(pattern = "^[a-z]{2}$"))]
    language: Option<String>,
    #[kami(default = 10)]
    #[schemars(range(min = 1, max = 100))]
    limit: u8,
    place: Place,
    filters: Vec<Filter>,
    weights: BTreeMap<String, f32>,
    years: Option<Years>,
    #[serde(default)] exact: bool,
    big: i64,
) -> Vec<String> {
    let _ = (language, limit, place, filters, weights, years, exact, big);
    vec![query]
}

#[test]
fn a_signature_is_a_schema() {
    let years = json!({
        "type": "object",
        "description": "A range of years.",
        "properties": {
            "from": {"type": "integer", "description": "The first.", "minimum": 1900, "maximum": 65535},
            "to": {"type": ["integer", "null"], "minimum": 0, "maximum": 65535},
        },
        "required": ["from"],
        "additionalProperties": false,
    });
    let mut optional_years = years.clone();
    optional_years["type"] = json!(["object", "null"]);
    let mut tagged_years = years;
    tagged_years["properties"]["kind"] = json!({"type": "string", "const": "years"});
    tagged_years["required"] = json!(["kind", "from"]);
    let expected = json!({
        "name": "search",
        "title": "Search",
        "description": "Searches.\n\nGive at least one word.",
        "annotations": {
            "readOnlyHint": true,
            "destructiveHint": false,
            "idempotentHint": true,
            "openWorldHint": false,
        },
        "inputSchema": {
            "type": "object",
            "properties": {
                "q": {
                    "type": "string",
                    "description": "The words, as a query.",
                    "minLength": 1,
                    "maxLength": 200,
                },
                "language": {
                    "type": ["string", "null"],
                    "description": "A language code.",
                    "pattern": "^[a-z]{2}$",
                },
                "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 10},
                "place": {
                    "description": "Where to look.",
                    "oneOf": [
                        {"type": "string", "const": "old-stuff", "description": "In the archive."},
                        {"type": "string", "const": "new-stuff", "description": "Everywhere else."},
                    ],
                },
                "filters": {
                    "type": "array",
                    "items": {
                        "oneOf": [
                            {
                                "type": "object",
                                "properties": {
                                    "kind": {"type": "string", "const": "author"},
                                    "name": {"type": "string"},
                                },
                                "required": ["kind", "name"],
                            },
                            tagged_years,
                        ],
                    },
                },
                "weights": {"type": "object", "additionalProperties": {"type": "number"}},
                "years": optional_years,
                "exact": {"type": "boolean", "default": false},
                "big": {"type": "integer"},
            },
            "required": ["q", "place", "filters", "weights", "big"],
            "additionalProperties": false,
        },
        "outputSchema": {
            "type": "object",
            "properties": {"result": {"type": "array", "items": {"type": "string"}}},
            "required": ["result"],
        },
    });
    assert_eq!(describe_tool("search"), expected);
}

/// Takes nothing.
#[kami_tool]
fn empty() {}

/// Takes a struct.
#[kami_tool]
fn whole(
    /** this one */
    years: Years,
) -> Years {
    years
}

/// Takes a struct among its arguments, by attribute.
#[kami_tool]
fn part(#[serde(rename = "range")] years: Years) -> Option<Years> {
    Some(years)
}

/// Takes a map, which is one argument.
#[kami_tool]
fn map(headers: HashMap<String, String>) -> HashMap<String, String> {
    headers
}

/// Takes whatever comes.
#[kami_tool]
fn open(#[serde(flatten)] rest: BTreeMap<String, Value>) -> Value {
    rest.into_values().next().unwrap_or_default()
}

/// Gives whatever came, as many times as you like.
#[kami_tool]
fn repeat(value: Value, times: usize, labels: BTreeMap<String, Value>) -> Vec<Value> {
    let _ = labels;
    vec![value; times]
}

/// Takes a tree.
#[kami_tool]
fn tree(root: Node, deep: bool) -> Node {
    let _ = deep;
    root
}

/// Takes what clients repeat in headers.
#[kami_tool]
fn routed(
    /// where to run
    #[kami(header = "Region")]
    region: String,
    #[kami(header = "Retries", default = 3)] retries: u8,
    #[kami(header = "Dry-Run")] dry_run: Option<bool>,
) {
    let _ = (region, retries, dry_run);
}

/// Takes one.
#[kami_tool]
fn routed_by_one(#[kami(header = "Tenant")] tenant: String) {
    let _ = tenant;
}

fn input(tool: &str) -> Value {
    describe_tool(tool)["inputSchema"].clone()
}

fn output(tool: &str) -> Value {
    describe_tool(tool)["outputSchema"].clone()
}

#[test]
fn no_parameters_are_an_empty_object() {
    let empty = json!({"type": "object", "properties": {}, "additionalProperties": false});
    assert_eq!(input("empty"), empty);
    assert_eq!(output("empty"), Value::Null);
}

#[test]
fn a_lone_struct_is_the_argument_object() {
    assert_eq!(input("whole")["required"], json!(["from"]));
    assert_eq!(input("part")["required"], json!(["range"]));
    assert_eq!(input("map")["required"], json!(["headers"]));
}

#[test]
fn a_flattened_parameter_lifts_strictness() {
    assert_ne!(input("open")["additionalProperties"], json!(false));
}

#[test]
fn a_header_is_named_beside_a_single_type() {
    let properties = json!({
        "region": {"type": "string", "description": "where to run", "x-mcp-header": "Region"},
        "retries": {
            "type": "integer",
            "minimum": 0,
            "maximum": 255,
            "default": 3,
            "x-mcp-header": "Retries",
        },
        "dry_run": {"type": "boolean", "x-mcp-header": "Dry-Run"},
    });
    assert_eq!(input("routed")["properties"], properties);
    assert_eq!(input("routed")["required"], json!(["region"]));
    let tenant = json!({"type": "string", "x-mcp-header": "Tenant"});
    assert_eq!(input("routed_by_one")["properties"]["tenant"], tenant);
}

#[test]
fn every_schema_is_an_object() {
    let labels = &input("repeat")["properties"]["labels"];
    assert_eq!(input("repeat")["properties"]["value"], json!({}));
    assert_eq!(labels, &json!({"type": "object"}));
    assert_eq!(output("repeat")["properties"]["result"], json!({"type": "array", "items": {}}));
}

#[test]
fn only_recursive_types_are_referred_to() {
    let schema = input("tree");
    let node = &schema["properties"]["root"];
    assert_eq!(node["properties"]["children"]["items"], json!({"$ref": "#/$defs/Node"}));
    assert_eq!(schema["$defs"]["Node"]["required"], json!(["label", "children"]));
    assert_eq!(output("tree")["$defs"]["Node"]["required"], json!(["label", "children"]));
}

#[test]
fn an_output_schema_is_that_of_an_object() {
    assert_eq!(output("whole")["required"], json!(["from", "to"]));
    assert_eq!(output("part")["required"], json!(["result"]));
    assert_eq!(output("map")["additionalProperties"], json!({"type": "string"}));
    assert_eq!(output("open"), Value::Null);
}

#[test]
fn schemas_carry_no_noise() {
    let tools = kami_guest::testing::describe().to_string();
    for noise in
        ["\"$schema\"", "\"uint", "\"int", "\"float\"", "\"double\"", "\"title\":\"Years\""]
    {
        // `"integer"` is a type, not a format.
        let tools = tools.replace("\"integer\"", "");
        assert!(!tools.contains(noise), "{noise} in {tools}");
    }
}
