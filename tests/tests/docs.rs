//! The documents do what they say.
//!
//! In README.md and docs/*.md, every ```` ```sh ```` block is run as a person would type it: in
//! order, at a terminal, in one empty directory for each document, with every question answered
//! by `y`. A block in whatever language with `file=PATH` behind it is first written to that path.
//! Manifests are parsed, JSON is read, links are followed. ```` ```text ```` is for what cannot
//! be run.

use std::fs;
use std::path::{Path, PathBuf};

use kami_core::manifest::source::{Defaults, Source, ToolFile};
use kami_core::pipeline;
use kami_core::policy::Policy;
use kami_tests::guests::root;
use kami_tests::lab::Lab;
use kami_tests::outside::Outside;
use serde_json::{Value, json};

#[path = "docs/embedding.rs"]
mod embedding;

/// Commands that stand in a document and are not run here, with the reason.
const EXEMPT: [(&str, &str); 3] = [
    ("cargo run -p cargo-kami -- demo", ".ci/run runs it, in the checkout"),
    ("cargo test --workspace", "this test is part of it"),
    ("cargo install --path cargo-kami", "the program is on the PATH here, as it would be then"),
];

#[test]
fn the_readme_works_as_it_is_written() {
    let screen = run("README.md", "my-tool");
    assert!(screen.contains("212.0\n"), "{screen}");
    assert!(screen.contains("100.0\n"), "{screen}");
}

#[test]
fn the_authors_guide_works_as_it_is_written() {
    let screen = run("docs/author.md", "shop");
    assert!(screen.contains(r#"{"cents":300,"count":1}"#), "{screen}");
}

#[test]
fn the_operators_guide_works_as_it_is_written() {
    let screen = run("docs/operator.md", "search");
    assert!(screen.contains("buy tea"), "{screen}");
}

#[test]
fn no_other_document_has_commands_to_run() {
    for document in documents() {
        let name = document.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        let runs = ["README.md", "docs/author.md", "docs/operator.md"].contains(&name.as_str());
        assert_eq!(runs, !script(&name).is_empty(), "{name}");
    }
}

#[test]
fn every_manifest_in_a_document_is_one() {
    let mut count = 0;
    for (place, block) in blocks("toml") {
        let text = &block.text;
        let package = ["package", "metadata", "kami"];
        if text.contains("[package.metadata.kami]") {
            let parsed = Source::parse(text, &package, &Defaults::default());
            assert!(parsed.is_ok(), "{place}: {parsed:?}");
        } else if text.contains("[workspace.metadata.kami]") {
            let parsed = Defaults::parse(text, &["workspace", "metadata", "kami"]);
            assert!(parsed.is_ok(), "{place}: {parsed:?}");
        } else if text.contains("[[step]]") {
            let parsed = pipeline::Source::parse(text);
            assert!(parsed.is_ok(), "{place}: {parsed:?}");
        } else if text.contains("\n[serve]\n") {
            // The commands below it read it.
            continue;
        } else if text.starts_with("version = 1\n") {
            let parsed = Policy::parse(text, Path::new("/"));
            assert!(parsed.is_ok(), "{place}: {parsed:?}");
        } else {
            let parsed = ToolFile::parse(text);
            assert!(parsed.is_ok(), "{place}: {parsed:?}");
        }
        count += 1;
    }
    assert!(count >= 4, "there are manifests in the documents");
}

#[test]
fn every_configuration_in_a_document_starts_the_server() {
    for (place, block) in blocks("json") {
        let file: Value =
            serde_json::from_str(&block.text).unwrap_or_else(|e| panic!("{place}: {e}"));
        let servers = file.get("mcpServers").or(file.get("servers"));
        let server = servers.and_then(|servers| servers.get("kami"));
        let server = server.unwrap_or_else(|| panic!("{place} configures no server `kami`"));
        match server["url"].as_str() {
            None => {
                assert_eq!(server["command"], "cargo-kami", "{place}");
                assert_eq!(server["args"][0], "serve", "{place}");
            }
            // Then somebody has started it, by the command that stands above.
            Some(url) => {
                let address = url.strip_prefix("http://").and_then(|url| url.strip_suffix("/mcp"));
                let address = address.unwrap_or_else(|| panic!("{place} names {url}"));
                let command = format!("cargo kami serve --http {address}\n");
                let mut commands = blocks("text").into_iter();
                assert!(commands.any(|(_, block)| block.text == command), "{place}: {command}");
            }
        }
    }
}

/// A server goes on for ever, so that these are not run; but they are commands.
#[test]
fn every_server_in_a_document_can_be_started() {
    let person = Outside::new();
    let mut count = 0;
    for (place, block) in blocks("text") {
        let servers = block.text.lines().filter_map(|line| line.strip_prefix("cargo kami serve"));
        for flags in servers {
            let quoted = flags.split(' ').map(|word| word.trim_matches('\''));
            let words: Vec<&str> = quoted.filter(|word| !word.is_empty()).collect();
            let said = person.kami(&[&["serve"], &words[..], &["--help"]].concat());
            assert!(said.data(0).contains("Usage: "), "{place}: {flags}");
            count += 1;
        }
    }
    assert!(count >= 10, "there are servers in the documents");
}

#[test]
fn every_link_in_a_document_leads_somewhere() {
    let pages = ["ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"];
    let pages = pages.iter().map(|name| root().join(name)).chain(documents());
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path =
                if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(path.exists(), "{}: there is no {target}", page.display());
            if !anchor.is_empty() {
                let text = fs::read_to_string(&path).unwrap();
                let mut headings = text.lines().filter(|line| line.starts_with('#')).map(slug);
                assert!(headings.any(|slug| slug == anchor), "{}: {target}", page.display());
            }
        }
    }
}

/// The operator's guide repeats them as tables.
#[test]
fn the_tables_of_the_operators_guide_are_those_of_the_help() {
    let guide = fs::read_to_string(root().join("docs/operator.md")).unwrap();
    let help = Outside::new().kami(&["--help"]);
    let (_, reference) = help.data(0).split_once("Environment:\n").expect("the help tells them");
    for line in reference.lines().filter(|line| line.starts_with("  ")) {
        let (name, text) = line.trim().split_once("  ").expect("a name, and what it means");
        let rows = [name.to_owned(), format!("`{name}`")];
        let rows = rows.map(|name| format!("| {name} | {} |\n", text.trim()));
        assert!(rows.iter().any(|row| guide.contains(row)), "{line:?} is not in the guide");
    }
}

/// Each promise names the tests that show it.
#[test]
fn the_tests_that_security_md_names_exist() {
    let folders =
        ["kami-core/src", "cargo-kami/src", "tests/src", "tests/oracles/src", "tests/tests"];
    let source: String = folders.iter().flat_map(|folder| sources(&root().join(folder))).collect();
    let page = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let promises = page.lines().filter(|line| line.matches(" | ").count() == 2);
    let mut count = 0;
    for promise in promises.filter(|line| !line.starts_with("| promise")) {
        let (_, tests) = promise.trim_end_matches(" |").rsplit_once(" | ").unwrap();
        for test in tests.split(", ") {
            let name = test.trim_matches('`');
            assert!(source.contains(&format!("fn {name}(")), "there is no test {name:?}");
            count += 1;
        }
    }
    assert!(count > 40, "{count} tests are named");
}

#[test]
fn the_code_for_embedding_is_what_is_tested_below() {
    let code = include_str!("docs/embedding.rs");
    let shown: Vec<_> = blocks("rust").into_iter().filter(|(_, b)| b.text == code).collect();
    assert_eq!(shown.len(), 1, "docs/embedding.md shows tests/tests/docs/embedding.rs");
}

#[tokio::test]
async fn a_tool_can_be_called_without_a_server() {
    let lab = tokio::task::spawn_blocking(Lab::with_neighbour).await.unwrap();
    let ask = |tool, arguments| embedding::ask(lab.data(), tool, arguments);
    assert_eq!(ask("add", json!({"a": 2, "b": 3})).await.unwrap(), "5");
    let missing = ask("nothing", json!({})).await.unwrap_err();
    assert!(missing.to_string().contains("there is no tool `nothing`"), "{missing}");
    let wrong = ask("add", json!({"a": 2})).await.unwrap_err();
    assert!(wrong.to_string().contains("[KAMI-ARGUMENTS]"), "{wrong}");
}

/// A fenced block.
struct Block {
    language: String,
    /// Where its text is to be written.
    file: Option<String>,
    line: usize,
    text: String,
}

fn documents() -> Vec<PathBuf> {
    let guides = fs::read_dir(root().join("docs")).expect("there are guides");
    let guides = guides.map(|entry| entry.expect("a guide can be listed").path());
    // Plots lie in a folder of their own.
    let guides = guides.filter(|path| path.extension().is_some_and(|kind| kind == "md"));
    let mut all: Vec<PathBuf> = guides.chain([root().join("README.md")]).collect();
    all.sort();
    all
}

/// The texts of all Rust files below `folder`.
fn sources(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let mut texts = Vec::new();
    for path in entries.map(|entry| entry.expect("a file can be listed").path()) {
        if path.is_dir() {
            texts.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            texts.push(fs::read_to_string(&path).expect("source is text"));
        }
    }
    texts
}

/// Every block of one language, with its place.
fn blocks(language: &str) -> Vec<(String, Block)> {
    let mut found = Vec::new();
    for document in documents() {
        for block in read(&document) {
            if block.language == language {
                found.push((format!("{}:{}", document.display(), block.line), block));
            }
        }
    }
    found
}

fn read(document: &Path) -> Vec<Block> {
    let text = fs::read_to_string(document).unwrap();
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (at, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(info), None) => {
                let mut words = info.split(' ');
                let language = words.next().unwrap_or_default().to_owned();
                assert!(!language.is_empty(), "{}:{}: no language", document.display(), at + 1);
                let file = words.find_map(|word| word.strip_prefix("file=")).map(str::to_owned);
                open = Some(Block { language, file, line: at + 1, text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{}: a block does not end", document.display());
    blocks
}

/// What a document has a person do, as one script.
fn script(document: &str) -> String {
    let mut script = String::new();
    for block in read(&root().join(document)) {
        let Block { file, line, text, .. } = &block;
        if let Some(file) = file {
            script += &format!("cat > {file} <<'END OF FILE'\n{text}END OF FILE\n");
        } else if block.language == "sh" {
            let commands = text.lines().filter(|line| !EXEMPT.iter().any(|(c, _)| c == line));
            let commands: Vec<&str> = commands.collect();
            if !commands.is_empty() {
                script += &format!("echo '--- {document}:{line}'\n{}\n", commands.join("\n"));
            }
        }
    }
    script
}

/// Does what a document says; `package` is what it makes.
fn run(document: &str, package: &str) -> String {
    let person = Outside::new();
    let (status, screen) = person.at_terminal(&script(document), "y");
    assert!(status.success(), "{document} ended with {status}:\n{screen}");
    person.forget(package, package);
    person.close();
    screen
}

/// The anchor of a heading, as it is made from the text.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().replace(' ', "-")
}
