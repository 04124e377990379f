//! Compares what an artifact says with what is in it.

use kami_core::component::Artifact;
use kami_core::grants::{Capabilities, FsAccess};
use kami_core::manifest::{JsonObject, ToolDefinition};
use serde::Serialize;
use serde_json::Value;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It works, but less well than it could.
    Warning,
    /// It cannot work as it is.
    Error,
}

/// Something that is wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub severity: Severity,
    pub message: String,
    pub help: String,
}

impl Finding {
    fn new(severity: Severity, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { severity, message: message.into(), help: help.into() }
    }
}

/// Everything that is wrong with `artifact`, beyond what made it an artifact at all.
pub fn check(artifact: &Artifact) -> Vec<Finding> {
    let manifest = artifact.manifest();
    let imports: Vec<&str> = artifact.component().imports().iter().map(String::as_str).collect();
    let mut findings = compare(&imports, &manifest.requests);
    findings.extend(manifest.tools.iter().flat_map(tool));
    if manifest.package.description.is_none() {
        let help = "add `description = \"...\"` under [package]";
        findings.push(Finding::new(Severity::Warning, "the package has no description", help));
    }
    findings
}

/// Compares imports with requests.
///
/// Imports tell a lot, as the linker drops those that no code can reach. An ordinary component
/// with the standard library imports `wasi:cli`, `wasi:io`, and where it hashes or tells the time
/// `wasi:random` and `wasi:clocks`: so these mean nothing. `wasi:http`, `wasi:sockets` and
/// `wasi:filesystem` are there only if something uses them. For files that may be a dependency
/// that also reads from paths, and never does: a warning, where the network is an error.
fn compare(imports: &[&str], requests: &Capabilities) -> Vec<Finding> {
    let imports_any = |package: &str| imports.iter().any(|import| import.starts_with(package));
    let (http, files) = (imports_any("wasi:http/"), imports_any("wasi:filesystem/"));
    let mut findings = Vec::new();
    let mut find = |condition: bool, severity, message: &str, help: &str| {
        if condition {
            findings.push(Finding::new(severity, message, help));
        }
    };
    find(
        http && requests.net.is_empty(),
        Severity::Error,
        "the component makes HTTP requests (it imports wasi:http), and `net-allow-list` is empty",
        "add the hosts under [package.metadata.kami.security]: net-allow-list = [\"api.example.com\"]",
    );
    find(
        !http && !requests.net.is_empty(),
        Severity::Warning,
        "`net-allow-list` asks for network access, and the component never uses it (no import of wasi:http)",
        "remove `net-allow-list`, or make requests by `kami_guest::http`",
    );
    find(
        imports_any("wasi:sockets/"),
        Severity::Error,
        "the component opens sockets (it imports wasi:sockets), which are never allowed",
        "make requests by `kami_guest::http`, and switch off the features of dependencies that use std::net",
    );
    find(
        files && requests.fs == FsAccess::None,
        Severity::Warning,
        "the component uses files (it imports wasi:filesystem), and `fs-access` is \"none\"",
        "write fs-access = \"read-only\" or \"sandbox\" under [package.metadata.kami.security], \
         or switch off the feature of the dependency that reads files",
    );
    find(
        !files && requests.fs != FsAccess::None,
        Severity::Warning,
        "`fs-access` asks for files, and the component never uses them (no import of wasi:filesystem)",
        "remove `fs-access` and the mounts",
    );
    find(
        requests.fs == FsAccess::ReadOnly && requests.mounts.is_empty(),
        Severity::Warning,
        "`fs-access` is \"read-only\", and there is no mount to read from",
        "add one, such as [package.metadata.kami.mounts.docs]",
    );
    let foreign = imports.iter().filter(|import| !is_offered(import));
    findings.extend(foreign.map(|import| {
        let message = format!("the component imports `{import}`, which the host does not offer");
        Finding::new(
            Severity::Error,
            message,
            "remove what needs it: hosts offer WASI 0.2 and kami:tool/host",
        )
    }));
    findings
}

/// Whether any host of ours has the interface, granted or not.
fn is_offered(import: &str) -> bool {
    const OFFERED: &[&str] = &[
        "kami:tool/",
        "wasi:cli/",
        "wasi:clocks/",
        "wasi:filesystem/",
        "wasi:http/",
        "wasi:io/",
        "wasi:random/",
        "wasi:sockets/",
    ];
    // The older contract imports its host without a package.
    import == "host" || OFFERED.iter().any(|package| import.starts_with(package))
}

/// What is wrong with one tool: schemas that are none, and words that the model will miss.
fn tool(tool: &ToolDefinition) -> Vec<Finding> {
    let mut findings = Vec::new();
    let schemas = [("input", Some(&tool.input_schema)), ("output", tool.output_schema.as_ref())];
    for (which, schema) in schemas {
        let Some(schema) = schema else { continue };
        if let Err(error) = validate(schema) {
            findings.push(Finding::new(
                Severity::Error,
                format!("the {which} schema of tool `{}` is not JSON Schema 2020-12: {error}", tool.name),
                "mend the #[schemars(...)] attributes or the JsonSchema implementation of its types",
            ));
        }
    }
    if tool.description.trim().is_empty() {
        findings.push(Finding::new(
            Severity::Warning,
            format!("tool `{}` has no description, by which a model would choose it", tool.name),
            "write a doc comment above the function",
        ));
    }
    let undescribed: Vec<&str> = undescribed(&tool.input_schema);
    if !undescribed.is_empty() {
        findings.push(Finding::new(
            Severity::Warning,
            format!(
                "tool `{}` does not describe its parameters: {}",
                tool.name,
                undescribed.join(", ")
            ),
            "write a doc comment before each parameter",
        ));
    }
    findings
}

fn validate(schema: &JsonObject) -> Result<(), String> {
    let schema = Value::Object(schema.clone());
    jsonschema::draft202012::meta::validate(&schema)
        .map_err(|error| format!("{error} (at `{}`)", error.instance_path()))
}

/// The parameters that have no description.
fn undescribed(schema: &JsonObject) -> Vec<&str> {
    let properties = schema.get("properties").and_then(Value::as_object);
    let described = |property: &Value| {
        let text = property.get("description").and_then(Value::as_str);
        // What is described elsewhere in the schema is described.
        text.is_some_and(|text| !text.trim().is_empty()) || property.get("$ref").is_some()
    };
    let properties = properties.into_iter().flatten();
    properties.filter(|(_, property)| !described(property)).map(|(name, _)| name.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What an ordinary component with the standard library imports.
    const ORDINARY: &[&str] = &[
        "kami:tool/host@0.2.0",
        "wasi:cli/environment@0.2.6",
        "wasi:cli/exit@0.2.6",
        "wasi:cli/stderr@0.2.6",
        "wasi:io/streams@0.2.6",
        "wasi:random/insecure-seed@0.2.6",
    ];

    fn found(extra: &[&str], requests: &Capabilities) -> Vec<Severity> {
        let imports = [ORDINARY, extra].concat();
        compare(&imports, requests).into_iter().map(|finding| finding.severity).collect()
    }

    #[test]
    fn imports_are_judged_by_what_is_asked_for() {
        let nothing = Capabilities::default();
        let network = Capabilities { net: vec!["*".parse().unwrap()], ..Capabilities::default() };
        let scratch = Capabilities { fs: FsAccess::Sandbox, ..Capabilities::default() };
        let unmounted = Capabilities { fs: FsAccess::ReadOnly, ..Capabilities::default() };
        let http = "wasi:http/outgoing-handler@0.2.4";
        let files = "wasi:filesystem/types@0.2.6";
        use Severity::{Error, Warning};
        assert_eq!(found(&[], &nothing), []);
        assert_eq!(found(&[http], &nothing), [Error]);
        assert_eq!(found(&[http], &network), []);
        assert_eq!(found(&[], &network), [Warning]);
        assert_eq!(found(&[files], &nothing), [Warning]);
        assert_eq!(found(&[files], &scratch), []);
        assert_eq!(found(&[], &scratch), [Warning]);
        assert_eq!(found(&[files], &unmounted), [Warning]);
        assert_eq!(found(&["wasi:sockets/tcp@0.2.6"], &network), [Warning, Error]);
        assert_eq!(found(&["vendor:x/y"], &nothing), [Error]);
    }

    #[test]
    fn schemas_and_words_are_judged() {
        let judge = |value: Value| {
            let definition: ToolDefinition = serde_json::from_value(value).unwrap();
            tool(&definition).into_iter().map(|finding| finding.message).collect::<Vec<_>>()
        };
        let good = json!({"name": "t", "description": "Does.", "inputSchema": {
            "type": "object", "properties": {"a": {"type": "string", "description": "the a"}}}});
        assert_eq!(judge(good), Vec::<String>::new());
        let bad = judge(json!({"name": "t", "inputSchema": {
            "type": "object", "properties": {"a": {"type": "strin"}}}}));
        assert_eq!(bad.len(), 3, "{bad:#?}");
        assert!(bad[0].contains("/properties/a/type"), "{}", bad[0]);
    }
}
