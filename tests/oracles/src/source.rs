//! The table that authors write in TOML: every mistake has a place, and what is accepted can be
//! sealed.

use kami_core::grants::Capabilities;
use kami_core::manifest::source::{self, Defaults, Source, SourceError, ToolFile};
use kami_core::manifest::{Manifest, Package, Provenance};

use crate::{examples, manifest};

const PACKAGE: &[&str] = &["package", "metadata", "kami"];
const WORKSPACE: &[&str] = &["workspace", "metadata", "kami"];

/// Reads `bytes` as a `Cargo.toml`, alone and below itself as a workspace, and as a `tool.toml`.
///
/// # Panics
/// Where a mistake has no place in the text, or what is accepted cannot be sealed.
pub fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    check_source(&text, &Defaults::default());
    match Defaults::parse(&text, WORKSPACE) {
        Ok(defaults) => check_source(&text, &defaults),
        Err(error) => check_problems(&text, &error),
    }
    match ToolFile::parse(&text) {
        Ok(file) => check_sealable(file.package, file.requests),
        Err(error) => check_problems(&text, &error),
    }
}

fn check_source(text: &str, defaults: &Defaults) {
    match Source::parse(text, PACKAGE, defaults) {
        Ok(Source { id, title, tags, requests }) => {
            check_written(&requests);
            let package = Package {
                id,
                version: "1.0.0".parse().expect("a version"),
                title,
                description: None,
                license: None,
                authors: Vec::new(),
                homepage: None,
                repository: None,
                tags,
            };
            check_sealable(package, requests);
        }
        Err(error) => check_problems(text, &error),
    }
}

/// What is asked for is the same once it was written as an author would.
fn check_written(requests: &Capabilities) {
    let table = PACKAGE.join(".");
    let written = source::write(requests, &table);
    let text = format!("[{table}]\nid = \"dev.example.x\"\n{written}");
    let read = Source::parse(&text, PACKAGE, &Defaults::default());
    let read = read.unwrap_or_else(|error| panic!("{error:?} in\n{text}"));
    assert_eq!(&read.requests, requests, "{text}");
}

/// Whoever is refused is told where in `text`, and why.
pub(crate) fn check_problems(text: &str, error: &SourceError) {
    assert!(!error.problems.is_empty(), "refused without a reason");
    assert!(!error.to_string().is_empty());
    for problem in &error.problems {
        assert!(text.get(problem.span.clone()).is_some(), "no place in the text: {problem:?}");
        assert!(!problem.message.is_empty() && !problem.label.is_empty(), "{problem:?}");
    }
}

/// What an author writes is what a host reads: it survives on its way through the manifest.
fn check_sealable(package: Package, requests: Capabilities) {
    let tool = examples::tool("t");
    let sealed = Manifest::new(package, vec![tool], requests, Provenance::default());
    manifest::check_accepted(&sealed.expect("a table that was read can be sealed"));
}

/// Tables with everything in them, and with mistakes.
pub fn examples() -> Vec<Vec<u8>> {
    examples::TABLES.iter().map(|text| text.as_bytes().to_vec()).collect()
}
