//! The tools over this crate's own files, and over a folder made for the purpose.

use std::fs;
use std::path::Path;

use search_files::{Folder, Match, Query, read, search};
use tempfile::TempDir;

fn this_crate() -> Folder {
    Folder::open(env!("CARGO_MANIFEST_DIR")).unwrap()
}

/// A project with a few traps: ignored, hidden and binary files.
fn project() -> (TempDir, Folder) {
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, content: &[u8]| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    write(".gitignore", b"target/\n*.log\n!keep.log\n");
    write(".env", b"PASSWORD=needle\n");
    write("notes.md", "first\nz needle \u{fc}\nlast\n".as_bytes());
    write("src/main.rs", b"fn main() {}\n// Needle\n");
    write("src/.gitignore", b"generated.rs\n");
    write("src/generated.rs", b"needle\n");
    write("src/build.log", b"needle\n");
    write("src/keep.log", b"needle\n");
    write("target/out.txt", b"needle\n");
    write("image.png", b"\x89PNG\0needle\n");
    let folder = Folder::open(root.path()).unwrap();
    (root, folder)
}

fn query(pattern: &str) -> Query {
    Query {
        pattern: pattern.to_owned(),
        ignore_case: false,
        folder: None,
        glob: None,
        context: 0,
        limit: 50,
    }
}

/// `file:line` of every match.
fn places(folder: &Folder, query: &Query) -> Vec<String> {
    let found = search(folder, query).unwrap();
    let place = |found: &Match| format!("{}:{}", found.file, found.line);
    found.matches.iter().map(place).collect()
}

#[test]
fn finds_a_line_in_this_crate() {
    let query = Query { glob: Some("*.toml".to_owned()), ..query(r"^id = .dev\.kami\.[a-z-]+.$") };
    let found = search(&this_crate(), &query).unwrap();
    assert_eq!(found.files_searched, 1);
    let [only] = found.matches.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(only.file, "Cargo.toml");
    assert_eq!(only.text, r#"id = "dev.kami.search-files""#);
}

#[test]
fn leaves_out_ignored_hidden_and_binary_files() {
    let (_root, folder) = project();
    assert_eq!(places(&folder, &query("needle")), ["notes.md:2", "src/keep.log:1"]);
    let any_case = Query { ignore_case: true, ..query("needle") };
    assert_eq!(places(&folder, &any_case), ["notes.md:2", "src/keep.log:1", "src/main.rs:2"]);
}

#[test]
fn ignore_files_of_the_root_hold_in_a_sub_folder() {
    let (_root, folder) = project();
    let in_src = Query { folder: Some("src".to_owned()), ..query("needle") };
    assert_eq!(places(&folder, &in_src), ["src/keep.log:1"]);
}

#[test]
fn shows_context_and_shortens_long_lines() {
    let (root, folder) = project();
    let with_context = Query { context: 1, ..query("needle") };
    let found = search(&folder, &with_context).unwrap();
    assert_eq!(
        found.matches[0],
        Match {
            file: "notes.md".to_owned(),
            line: 2,
            text: "z needle ü".to_owned(),
            before: vec!["first".to_owned()],
            after: vec!["last".to_owned()],
        }
    );
    fs::write(root.path().join("min.js"), "ü".repeat(5000)).unwrap();
    let found = search(&folder, &query("^ü+$")).unwrap();
    assert_eq!(found.matches[0].text, format!("{}...", "ü".repeat(300)));
}

#[test]
fn stops_at_the_limit() {
    let (_root, folder) = project();
    let one = Query { limit: 1, ..query("needle") };
    let found = search(&folder, &one).unwrap();
    assert_eq!(found.matches.len(), 1);
    assert!(found.truncated);
    assert!(!search(&folder, &query("needle")).unwrap().truncated);
}

#[test]
fn lists_files_in_order() {
    let (_root, folder) = project();
    let all = folder.list(None, None, 100).unwrap();
    assert_eq!(all.files, ["image.png", "notes.md", "src/keep.log", "src/main.rs"]);
    assert!(!all.truncated);
    let rust = folder.list(Some("src"), Some("*.rs"), 100).unwrap();
    assert_eq!(rust.files, ["src/main.rs"]);
    let first = folder.list(None, None, 1).unwrap();
    assert_eq!(first.files, ["image.png"]);
    assert!(first.truncated);
}

#[test]
fn reads_lines_and_says_how_to_read_on() {
    let (_root, folder) = project();
    assert_eq!(
        read(&folder, "notes.md", 1, 2).unwrap(),
        "1\tfirst\n2\tz needle ü\n[3 lines in all: read on with first_line = 3]\n"
    );
    assert_eq!(read(&folder, "notes.md", 3, 2).unwrap(), "3\tlast\n");
    assert_eq!(
        read(&folder, "notes.md", 4, 2).unwrap_err(),
        "`notes.md` has 3 lines: `first_line` 4 is past its end"
    );
}

#[test]
fn says_what_is_wrong() {
    let (_root, folder) = project();
    let error = search(&folder, &query("a(")).unwrap_err();
    assert!(error.starts_with("`pattern` is not a valid regular expression: regex parse error"));
    assert!(error.ends_with("unclosed group"), "{error}");
    assert_eq!(
        folder.list(Some("nowhere"), None, 1).unwrap_err(),
        "there is no folder `nowhere`: see `list_files` without `folder`"
    );
    for outside in ["../secret", "/etc/passwd", "src/../../secret"] {
        assert_eq!(
            folder.read(outside).unwrap_err(),
            format!(
                "`{outside}` leads out of the folder: give a path relative to it, without `..`"
            )
        );
    }
    assert_eq!(folder.read("image.png").unwrap_err(), "`image.png` is not a text file in UTF-8");
    let missing = folder.read("missing.md").unwrap_err();
    assert!(missing.starts_with("can't open `missing.md`: "), "{missing}");
    assert!(missing.ends_with("; `list_files` shows what is there"));
    let not_granted = Folder::open(Path::new("/nowhere/docs")).err().unwrap();
    assert_eq!(
        not_granted,
        "no folder is mounted at /nowhere/docs: the operator grants one with `--mount docs=FOLDER`"
    );
}
