//! The program and the guests, built once in each process, by cargo and by the program itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use cargo_metadata::Message;
use kami_core::component::Artifact;
use serde_json::Value;

/// The packages under `tests/programs`, the example that the benchmarks call, those that serve all of
/// the protocol, and those that the example of a pipeline calls.
const PROGRAMS: [&str; 9] = [
    "conformance",
    "conformance-tasks",
    "csv-query",
    "hello",
    "hostile",
    "json-query",
    "legacy",
    "neighbour",
    "workload",
];

/// The root of this checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package is in the checkout")
}

/// The program `cargo-kami`.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

    PROGRAM.get_or_init(|| executable("cargo-kami", "cargo-kami"))
}

/// Takes out of a command's environment what would make `cargo-kami` do something else than a test says.
pub fn without_settings(command: &mut Command) {
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy().to_uppercase();
        let set = ["KAMI_", "OTEL_"].iter().any(|prefix| name.starts_with(prefix));
        if set || name == "RUST_LOG" || name.ends_with("_PROXY") {
            command.env_remove(&variable);
        }
    }
}

/// The native server that the measurements compare with.
pub fn native_peer() -> &'static Path {
    static PEER: OnceLock<PathBuf> = OnceLock::new();

    PEER.get_or_init(|| executable("kami-tests", "native-peer"))
}

/// Builds a program of this workspace, optimised if whoever asks is.
fn executable(package: &str, name: &str) -> PathBuf {
    let mut build = cargo();
    build.args(["build", "--quiet", "--package", package, "--bin", name]);
    build.args(["--message-format", "json-render-diagnostics"]).current_dir(root());
    build.args((!cfg!(debug_assertions)).then_some("--release"));
    let output = succeed(&mut build);
    Message::parse_stream(&output.stdout[..])
        .filter_map(|message| match message {
            Ok(Message::CompilerArtifact(artifact)) => artifact.executable,
            _ => None,
        })
        .map(PathBuf::from)
        .find(|path| path.file_stem().is_some_and(|stem| stem == name))
        .expect("cargo says where the program is")
}

/// The artifact of the guest package `name`, not signed.
pub fn guest(name: &str) -> &'static Artifact {
    static GUESTS: OnceLock<BTreeMap<String, Artifact>> = OnceLock::new();

    let guests = GUESTS.get_or_init(|| {
        let mut build = Command::new(program());
        build.args(["--quiet", "build", "--message-format", "json"]).current_dir(root());
        build.args(PROGRAMS.iter().flat_map(|program| ["--package", program]));
        let output = succeed(&mut build);
        let built = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let built = built.map(|line| {
            let line: Value = serde_json::from_slice(line).expect("`build` tells JSON");
            let text = |key: &str| line[key].as_str().expect("`build` tells text").to_owned();
            let bytes = std::fs::read(text("artifact")).expect("the artifact can be read");
            (text("package"), Artifact::parse(bytes).expect("`build` makes artifacts"))
        });
        built.collect()
    });
    guests.get(name).unwrap_or_else(|| panic!("`{name}` is not one of {PROGRAMS:?}"))
}

/// The cargo that runs the tests, without what it told this package about itself: build scripts
/// that ask for such variables would run again, and everything above them would compile again.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// Runs a command, whose diagnostics go to stderr, to its good end.
fn succeed(command: &mut Command) -> Output {
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    assert!(output.status.success(), "{command:?} ended with {}", output.status);
    output
}
