//! Holds the code to what ARCHITECTURE.md promises about it.

use std::fs;
use std::path::{Path, PathBuf};

/// The modules of kami-core, in reading order: each uses only those above it.
const MODULES: &[&str] = &[
    "atomic_file",
    "code",
    "digest",
    "name",
    "private_directory",
    "rate",
    "scheduler",
    "tls",
    "grants",
    "manifest",
    "schema",
    "component",
    "signing",
    "policy",
    "registry",
    "secrets",
    "audit",
    "engine",
    "sandbox",
    "resolve",
    "call",
    "metrics",
    "telemetry",
    "witness",
    "pipeline",
    "auth",
    "mcp",
];

/// What appears in no module of kami-core but those named, with the reason.
const ABSENT: &[(&str, &[&str], &str)] = &[
    ("println!", &[], "kami-core never prints"),
    ("print!", &[], "kami-core never prints"),
    ("std::process", &[], "kami-core never spawns a process"),
    ("tokio::process", &[], "kami-core never spawns a process"),
    ("std::env", &[], "kami-core gets plain values from whoever embeds it"),
    ("cargo_metadata", &[], "kami-core never hears of cargo"),
    ("rusqlite", &["registry"], "only the registry knows SQL"),
    ("rmcp::", &["mcp"], "the protocol crate stays behind `mcp`"),
    ("prometheus_client", &["metrics"], "only `metrics` knows how they are written"),
    ("opentelemetry::", &["telemetry"], "only `telemetry` knows how they are told"),
    ("ring::signature", &["auth"], "only `auth` judges tokens"),
    ("ed25519_dalek", &["signing"], "only `signing` knows the algorithm"),
    ("chacha20poly1305", &["secrets", "mcp"], "only secrets, and states of requests, are sealed"),
    ("wasmparser", &["component"], "bytes become a component in one place"),
    ("NetPattern", &["grants", "manifest"], "`grants` is the only matcher"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every source file of kami-core with its module and its text, tests left out.
fn sources() -> Vec<(String, PathBuf, String)> {
    let source = root().join("kami-core/src");
    let mut files = Vec::new();
    let mut directories = vec![source.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.file_name().unwrap() != "tests.rs" {
                let below = path.strip_prefix(&source).unwrap();
                let first = below.components().next().unwrap().as_os_str().to_str().unwrap();
                let module = first.trim_end_matches(".rs").to_owned();
                let text = fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]").next().unwrap().to_owned();
                files.push((module, path, text));
            }
        }
    }
    files
}

/// Code without its comments, which may speak of anything.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.starts_with("//"))
}

#[test]
fn lib_rs_names_the_modules_in_reading_order() {
    let text = fs::read_to_string(root().join("kami-core/src/lib.rs")).unwrap();
    let modules = text.lines().map(|line| line.strip_prefix("pub ").unwrap_or(line));
    let declared: Vec<&str> =
        modules.filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';')).collect();
    assert_eq!(declared, MODULES);
}

#[test]
fn each_module_uses_only_those_above_it() {
    let place = |module: &str| MODULES.iter().position(|name| *name == module);
    let mut uses = 0;
    for (module, path, text) in sources().iter().filter(|(module, ..)| module != "lib") {
        let own = place(module).unwrap_or_else(|| panic!("{module} is not in the list"));
        for line in code(text) {
            for (at, _) in line.match_indices("crate::") {
                let rest = &line[at + "crate::".len()..];
                let name: String =
                    rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let Some(used) = place(&name) else { continue };
                uses += 1;
                assert!(
                    used <= own,
                    "{}: `{module}` uses `{name}`, which stands below it",
                    path.display()
                );
            }
        }
    }
    assert!(uses > 50, "only {uses} uses were found: the test does not see the code");
}

#[test]
fn what_must_be_absent_is_absent() {
    for (module, path, text) in sources() {
        for (word, allowed, reason) in ABSENT {
            if allowed.contains(&module.as_str()) {
                continue;
            }
            let found = code(&text).find(|line| line.contains(word));
            assert_eq!(found, None, "{}: {reason}", path.display());
        }
    }
}

#[test]
fn architecture_md_lists_every_module_and_crate() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for module in MODULES {
        assert!(
            text.contains(&format!("`{module}`")),
            "ARCHITECTURE.md does not mention `{module}`"
        );
    }
    for folder in [
        "cargo-kami",
        "kami-core",
        "kami-guest",
        "kami-guest-macros",
        "wit",
        "templates",
        "examples",
        "tests",
    ] {
        assert!(
            text.contains(&format!("`{folder}/`")),
            "ARCHITECTURE.md does not mention `{folder}/`"
        );
    }
}

#[test]
fn only_the_shell_prints() {
    let mut directories = vec![root().join("cargo-kami/src")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let prints = code(&text).any(|line| {
                ["println!", "print!", "io::stdout()", "io::stderr()"]
                    .iter()
                    .any(|word| line.contains(word))
            });
            let is_shell = path.file_name().unwrap() == "shell.rs";
            assert!(!prints || is_shell, "{} prints: that is the shell's matter", path.display());
        }
    }
}

/// Every code that the program can say is explained, and nothing is explained that it never says.
#[test]
fn every_code_is_explained_and_said() {
    let explained: Vec<&str> = kami_core::code::ALL.iter().map(|code| code.code).collect();
    let mut said = std::collections::BTreeSet::new();
    let commands = root().join("cargo-kami/src/ops/audit.rs");
    let commands_text = fs::read_to_string(&commands).unwrap();
    let said_by = sources().into_iter().filter(|(module, ..)| module != "code");
    for (_, path, text) in said_by.chain([(String::new(), commands, commands_text)]) {
        for piece in text.split("\"KAMI-").skip(1) {
            let code = format!("KAMI-{}", piece.split('"').next().unwrap());
            assert!(explained.contains(&code.as_str()), "{code} in {}", path.display());
            said.insert(code);
        }
    }
    for code in explained {
        assert!(said.contains(code), "{code} is explained, and nothing says it");
    }
}
