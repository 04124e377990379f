//! What `cargo kami new` starts from: the files of `templates/`, and the values put into them.

use std::path::{Path, PathBuf};

use kami_core::name::PackageId;
use toml_edit::{Array, InlineTable, Value};

use crate::workspace::Workspace;

/// A package to start from. Each offers one tool, so that it can be called by the package's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Template {
    /// A function of its arguments
    Hello,
    /// Reads from the web
    Http,
    /// Reads a directory that the operator names
    Files,
}

macro_rules! files {
    ($template:literal) => {
        &[
            ("Cargo.toml", include_str!(concat!("../templates/", $template, "/Cargo.toml.in"))),
            ("README.md", include_str!(concat!("../templates/", $template, "/README.md"))),
            (".gitignore", include_str!(concat!("../templates/", $template, "/gitignore"))),
            ("src/lib.rs", include_str!(concat!("../templates/", $template, "/src/lib.rs"))),
        ]
    };
}

impl Template {
    /// The files by their paths, with placeholders for [`Values`].
    pub fn files(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Hello => files!("hello"),
            Self::Http => files!("http"),
            Self::Files => files!("files"),
        }
    }

    /// Arguments to try the tool with.
    pub fn input(self) -> &'static str {
        match self {
            Self::Hello => r#"{"name": "Ada"}"#,
            Self::Http => {
                r#"{"url": "https://raw.githubusercontent.com/rust-lang/rust/main/README.md"}"#
            }
            Self::Files => r#"{"text": "kami"}"#,
        }
    }

    /// The command that installs it, in its directory.
    pub fn install(self) -> &'static str {
        match self {
            Self::Hello | Self::Http => "cargo kami install .",
            Self::Files => "cargo kami install . --mount docs=.",
        }
    }

    fn guest_features(self) -> &'static [&'static str] {
        match self {
            Self::Http => &["http"],
            Self::Hello | Self::Files => &[],
        }
    }
}

impl std::fmt::Display for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Hello => "hello",
            Self::Http => "http",
            Self::Files => "files",
        })
    }
}

/// What stands in place of the placeholders.
#[derive(Debug)]
pub struct Values {
    replaced: Vec<(&'static str, String)>,
    /// Cargo reads profiles only from the root of a workspace.
    with_profile: bool,
}

/// Small and fast code, as an artifact is loaded often and built seldom.
const PROFILE: &str = r#"
[profile.release]
lto = true
codegen-units = 1
strip = true
"#;

impl Values {
    /// Works out the values for a package at `path`.
    pub fn new(
        name: &str,
        id: &PackageId,
        template: Template,
        path: &Path,
        workspace: Option<&Workspace>,
    ) -> Self {
        let replaced = vec![
            ("{{name}}", name.to_owned()),
            ("{{id}}", id.to_string()),
            ("{{input}}", template.input().to_owned()),
            ("{{kami-guest}}", guest_dependency(template, path, workspace).to_string()),
        ];
        Self { replaced, with_profile: workspace.is_none() }
    }

    /// Puts the values into a file of a template.
    pub fn fill_in(&self, content: &str) -> String {
        let mut text = content.to_owned();
        for (placeholder, value) in &self.replaced {
            text = text.replace(placeholder, value);
        }
        if self.with_profile && content.starts_with("[package]") {
            text += PROFILE;
        }
        text
    }
}

/// The SDK, as a dependency: the workspace's, else the one beside this program's own sources
/// where those still are, else that of the registry.
fn guest_dependency(template: Template, path: &Path, workspace: Option<&Workspace>) -> Value {
    let mut table = InlineTable::new();
    match (workspace, checkout()) {
        (Some(workspace), _) if workspace.has_guest() => table.insert("workspace", true.into()),
        (Some(workspace), Some(guest)) if guest.starts_with(workspace.root()) => {
            table.insert("path", slashes(&relative_to(path, &guest)).into())
        }
        (_, Some(guest)) => table.insert("path", slashes(&guest).into()),
        (_, None) => table.insert("version", env!("CARGO_PKG_VERSION").into()),
    };
    let features: Array = template.guest_features().iter().copied().collect();
    if !features.is_empty() {
        table.insert("features", features.into());
    }
    table.into()
}

/// The SDK of the checkout that this program was built from.
fn checkout() -> Option<PathBuf> {
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.join("kami-guest");
    guest.join("Cargo.toml").is_file().then_some(guest)
}

/// The way from the directory `from` to `to`, both absolute.
fn relative_to(from: &Path, to: &Path) -> PathBuf {
    let common = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(common).map(|_| Path::new(".."));
    let down = to.components().skip(common).map(|component| Path::new(component.as_os_str()));
    up.chain(down).collect()
}

/// A path as Cargo.toml has it on every system.
fn slashes(path: &Path) -> String {
    path.display().to_string().replace('\\', "/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum as _;
    use kami_core::manifest::source::{Defaults, Source};

    #[test]
    fn every_template_is_whole() {
        let id = "dev.example.my-tool".parse().unwrap();
        for template in Template::value_variants() {
            let path = Path::new("/elsewhere/my-tool");
            let values = Values::new("my-tool", &id, *template, path, None);
            for (name, content) in template.files() {
                let text = values.fill_in(content);
                assert!(!text.contains("{{"), "{template}: {name} has a placeholder left");
                if *name == "Cargo.toml" {
                    let table = ["package", "metadata", "kami"];
                    let source = Source::parse(&text, &table, &Defaults::default()).unwrap();
                    assert_eq!(source.id, id);
                    assert!(text.contains("[profile.release]"));
                }
            }
            let input: serde_json::Value = serde_json::from_str(template.input()).unwrap();
            assert!(input.is_object());
        }
    }

    #[test]
    fn the_way_to_the_sdk_is_relative() {
        let way = relative_to(Path::new("/w/examples/x"), Path::new("/w/kami-guest"));
        assert_eq!(way, Path::new("../../kami-guest"));
    }
}
