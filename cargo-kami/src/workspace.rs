//! The workspace around a new package.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use toml_edit::{Array, DocumentMut, Item, Value};

/// The root of a workspace, and its Cargo.toml, whose comments and layout stay as they are.
#[derive(Debug)]
pub struct Workspace {
    root: PathBuf,
    document: DocumentMut,
}

impl Workspace {
    /// Finds the nearest root above `path`, unless that excludes the path.
    ///
    /// # Errors
    /// Where a Cargo.toml above cannot be read.
    pub fn around(path: &Path) -> anyhow::Result<Option<Self>> {
        for root in path.ancestors().skip(1) {
            let manifest = root.join("Cargo.toml");
            if !manifest.is_file() {
                continue;
            }
            let reading = || format!("reading {}", manifest.display());
            let text = fs::read_to_string(&manifest).with_context(reading)?;
            let document: DocumentMut = text.parse().with_context(reading)?;
            if document.get("workspace").is_some_and(Item::is_table_like) {
                let workspace = Self { root: root.to_owned(), document };
                return Ok(Some(workspace).filter(|workspace| !workspace.excludes(path)));
            }
        }
        Ok(None)
    }

    /// The directory of its Cargo.toml.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether its `workspace.dependencies` has the SDK.
    pub fn has_guest(&self) -> bool {
        let dependencies = self.table("dependencies").and_then(Item::as_table_like);
        dependencies.is_some_and(|dependencies| dependencies.contains_key("kami-guest"))
    }

    /// The path and new text of its Cargo.toml with the package at `path` among the members;
    /// `None` if it is one already.
    pub fn with_member(mut self, path: &Path) -> Option<(PathBuf, String)> {
        let member = self.name_of(path)?;
        if self.list("members").any(|pattern| matches(pattern, &member)) {
            return None;
        }
        let workspace = self.document.get_mut("workspace")?.as_table_like_mut()?;
        let members = workspace.entry("members").or_insert(Item::Value(Array::new().into()));
        push(members.as_array_mut()?, member);
        Some((self.root.join("Cargo.toml"), self.document.to_string()))
    }

    fn excludes(&self, path: &Path) -> bool {
        let is_member =
            self.name_of(path).is_some_and(|name| self.list("members").any(|m| m == name));
        !is_member
            && self.list("exclude").any(|excluded| path.starts_with(self.root.join(excluded)))
    }

    /// The path below the root, as members are written.
    fn name_of(&self, path: &Path) -> Option<String> {
        let below = path.strip_prefix(&self.root).ok()?;
        let names: Option<Vec<&str>> =
            below.components().map(|component| component.as_os_str().to_str()).collect();
        Some(names?.join("/"))
    }

    fn table(&self, key: &str) -> Option<&Item> {
        self.document.get("workspace")?.get(key)
    }

    fn list(&self, key: &str) -> impl Iterator<Item = &str> {
        let items = self.table(key).and_then(Item::as_array);
        items.into_iter().flatten().filter_map(Value::as_str)
    }
}

/// Adds a member in the manner of the last one, which may have a line of its own.
fn push(members: &mut Array, member: String) {
    let prefix = members.iter().last().and_then(|last| last.decor().prefix()?.as_str());
    let mut value = Value::from(member);
    match prefix.map(str::to_owned) {
        // A comment above the last member belongs to that one alone.
        Some(prefix) if members.len() > 1 || prefix.contains('\n') => {
            let indent = prefix.rfind('\n').map_or(prefix.as_str(), |at| &prefix[at..]);
            value.decor_mut().set_prefix(indent.to_owned());
            members.push_formatted(value);
        }
        _ => members.push(value),
    }
}

/// Whether a member's pattern means `path`; `*` and `?` stand for parts of one name.
fn matches(pattern: &str, path: &str) -> bool {
    let (mut patterns, mut names) = (pattern.trim_end_matches('/').split('/'), path.split('/'));
    loop {
        match (patterns.next(), names.next()) {
            (None, None) => return true,
            (Some(pattern), Some(name)) if matches_name(pattern.as_bytes(), name.as_bytes()) => {}
            _ => return false,
        }
    }
}

fn matches_name(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => {
            matches_name(rest, name) || (!name.is_empty() && matches_name(pattern, &name[1..]))
        }
        ([b'?', pattern @ ..], [_, name @ ..]) => matches_name(pattern, name),
        ([a, pattern @ ..], [b, name @ ..]) if a == b => matches_name(pattern, name),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_member(text: &str, member: &str) -> Option<String> {
        let workspace = Workspace { root: "/w".into(), document: text.parse().unwrap() };
        workspace.with_member(&Path::new("/w").join(member)).map(|(_, text)| text)
    }

    #[test]
    fn a_member_is_added_and_nothing_else_changes() {
        let cases = [
            ("[workspace]\n", "[workspace]\nmembers = [\"x\"]\n"),
            ("[workspace]\nmembers = []\n", "[workspace]\nmembers = [\"x\"]\n"),
            (
                "[workspace]\nmembers = [\"a\"] # ours\n",
                "[workspace]\nmembers = [\"a\", \"x\"] # ours\n",
            ),
            (
                "[workspace]\nmembers = [\"a\", \"b\"]\n",
                "[workspace]\nmembers = [\"a\", \"b\", \"x\"]\n",
            ),
            (
                "[workspace]\nmembers = [\n    \"a\",\n    # why b\n    \"b\",\n]\n# end\n",
                "[workspace]\nmembers = [\n    \"a\",\n    # why b\n    \"b\",\n    \"x\",\n]\n# end\n",
            ),
        ];
        for (before, after) in cases {
            assert_eq!(with_member(before, "x").as_deref(), Some(after));
        }
    }

    #[test]
    fn a_member_by_pattern_is_one_already() {
        let text = "[workspace]\nmembers = [\"examples/*\", \"t?ol\"]\n";
        for member in ["examples/x", "tool"] {
            assert_eq!(with_member(text, member), None, "{member}");
        }
        for other in ["examples/x/y", "examples", "tooool"] {
            assert!(with_member(text, other).is_some(), "{other}");
        }
    }

    #[test]
    fn the_nearest_root_counts_unless_it_excludes_the_place() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("package")).unwrap();
        fs::write(root.join("package/Cargo.toml"), "[package]\nname = \"p\"\n").unwrap();
        fs::write(root.join("Cargo.toml"), "[workspace]\nexclude = [\"vendor\"]\n").unwrap();
        let found = Workspace::around(&root.join("package/x")).unwrap();
        assert_eq!(found.map(|workspace| workspace.root), Some(root.clone()));
        assert!(Workspace::around(&root.join("vendor/x")).unwrap().is_none());
    }
}
