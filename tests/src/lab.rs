//! A throw-away data directory, with packages made of the guests.

use std::collections::BTreeMap;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::SystemTime;

use kami_core::call::{CallReport, Collected, GuestEvent, call};
use kami_core::component::{Artifact, Component};
use kami_core::grants::{Capabilities, Grant, Limit, Limits};
use kami_core::manifest::{Annotations, Manifest, Package, Provenance, ToolDefinition};
use kami_core::registry::{DataDir, InstallOptions, Installed, Registry};
use kami_core::resolve::{HostOptions, ResolveError, Resolver};
use kami_core::signing::{SecretKey, SignedArtifact, TrustStore, Unsigned, sign};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::guests::{guest, program, without_settings};

/// The id of the package called `name`.
pub fn id(name: &str) -> String {
    format!("dev.kami.test.{name}")
}

/// Limits in mebibytes and milliseconds.
pub fn limits(memory_mb: u64, millis: u64) -> Limits {
    let limits = Limits::default().with(Limit::Memory, memory_mb);
    limits
        .and_then(|limits| limits.with(Limit::Execution, millis))
        // A guest that spins meets the clock first, unless a test says otherwise.
        .and_then(|limits| limits.with(Limit::Cpu, millis.max(5000)))
        .expect("the limits are possible")
}

/// Seals `component` as the package `name`.
pub fn seal(
    component: &Component,
    name: &str,
    tools: Vec<ToolDefinition>,
    requests: &Capabilities,
) -> Artifact {
    let package = json!({"id": id(name), "version": "1.0.0"});
    seal_as(component, serde_json::from_value(package).expect("it is a package"), tools, requests)
}

/// Seals `component` as a package that says more about itself.
pub fn seal_as(
    component: &Component,
    package: Package,
    tools: Vec<ToolDefinition>,
    requests: &Capabilities,
) -> Artifact {
    let manifest = Manifest::new(package, tools, requests.clone(), Provenance::default());
    let bytes = component.seal(&manifest.expect("it is a manifest"), Some(b"no materials"));
    Artifact::parse(bytes).expect("it is an artifact")
}

/// The package `name` with some of the tools of the guest `hostile`.
pub fn hostile(name: &str, tools: &[&str], requests: &Capabilities) -> Artifact {
    let hostile = guest("hostile");
    let tools = tools.iter().map(|tool| {
        let definition = hostile.manifest().tool(tool);
        let definition = definition.unwrap_or_else(|| panic!("`hostile` has no tool `{tool}`"));
        // What was proved for a package that asks for nothing does not hold for one that does.
        ToolDefinition { annotations: Annotations::default(), ..definition.clone() }
    });
    seal(hostile.component(), name, tools.collect(), requests)
}

/// The package `name` with a tool of the same name, which takes anything.
pub fn single(component: &Component, name: &str, requests: &Capabilities) -> Artifact {
    let tool = json!({"name": name, "description": "A tool.", "inputSchema": {"type": "object"}});
    seal(component, name, vec![serde_json::from_value(tool).expect("it is a tool")], requests)
}

/// A data directory that ends with its value, and the key that it trusts.
pub struct Lab {
    directory: TempDir,
    data: DataDir,
    key: SecretKey,
}

impl Lab {
    /// An empty registry that trusts one key, made on the spot.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("there is room for a directory");
        let data = DataDir::new(directory.path().join("data"));
        data.create().expect("a data directory can be made");
        let lab = Self { directory, data, key: SecretKey::generate().expect("there is entropy") };
        lab.trust().save(&lab.data.trust_file()).expect("the trusted keys can be written");
        lab
    }

    /// A registry with the guest `neighbour`.
    pub fn with_neighbour() -> Self {
        let lab = Self::new();
        lab.install(guest("neighbour"));
        lab
    }

    /// The data directory.
    pub fn data(&self) -> &DataDir {
        &self.data
    }

    /// A place for other files, outside the data directory.
    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// The key that is trusted.
    pub fn key(&self) -> &SecretKey {
        &self.key
    }

    /// The set of trusted keys with which the lab began.
    pub fn trust(&self) -> TrustStore {
        let mut trust = TrustStore::default();
        trust.add(self.key.public(), "lab");
        trust
    }

    /// The registry, opened anew.
    pub fn registry(&self) -> Registry {
        Registry::open(&self.data).expect("the registry can be opened")
    }

    fn sign(&self, artifact: &Artifact) -> Artifact {
        let signed = sign(artifact, &self.key).expect("nobody else has signed it");
        Artifact::parse(signed).expect("signing keeps it whole")
    }

    /// Signs a package, and installs it with everything that it asks for.
    pub fn install(&self, artifact: &Artifact) -> Installed {
        self.install_with(artifact, &Grant::all(&artifact.manifest().requests))
    }

    /// Signs a package, and installs it with a grant.
    pub fn install_with(&self, artifact: &Artifact, grant: &Grant) -> Installed {
        self.install_in(&mut self.registry(), artifact, grant)
    }

    /// Signs any number of packages, and installs each with everything that it asks for.
    pub fn install_all(&self, artifacts: impl IntoIterator<Item = Artifact>) {
        let mut registry = self.registry();
        for artifact in artifacts {
            let grant = Grant::all(&artifact.manifest().requests);
            self.install_in(&mut registry, &artifact, &grant);
        }
    }

    fn install_in(&self, registry: &mut Registry, artifact: &Artifact, grant: &Grant) -> Installed {
        let signed = self.sign(artifact);
        let signed =
            SignedArtifact::verify(signed, &self.trust(), Unsigned::Refuse, SystemTime::now());
        let signed = signed.expect("the key is trusted");
        let options = InstallOptions { alias: None, source: "tests".to_owned() };
        registry.install(&signed, grant, &options).expect("it can be installed")
    }

    /// Signs a package and writes it to a file, as a maker hands it out.
    pub fn hand_out(&self, name: &str, artifact: &Artifact) -> String {
        let file = self.path(name);
        std::fs::write(&file, self.sign(artifact).bytes()).expect("files can be written");
        file.to_str().expect("the path is text").to_owned()
    }

    /// Starts an engine for what is installed, with an environment to take variables from.
    pub fn resolver(&self, environment: &[(&str, &str)]) -> Arc<Resolver> {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let environment: BTreeMap<_, _> = environment.iter().map(pair).collect();
        let options = HostOptions { environment, ..HostOptions::default() };
        Arc::new(Resolver::open(&self.data, options).expect("the engine starts"))
    }

    /// Runs `cargo kami` on this data directory.
    pub fn cargo_kami(&self, arguments: &[&str]) -> Ran {
        self.cargo_kami_in(&[], arguments)
    }

    /// Runs `cargo kami` on this data directory, with more in its environment.
    pub fn cargo_kami_in(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Ran {
        let mut command = Command::new(program());
        command.args(arguments).arg("--data-dir").arg(self.data.path());
        command.current_dir(self.directory.path());
        without_settings(&mut command);
        command.envs(environment.iter().copied());
        Ran::new(command.output().expect("the program starts"))
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

/// What a run of the program left.
#[derive(Debug)]
pub struct Ran {
    /// The exit code.
    pub code: Option<i32>,
    /// All of stdout.
    pub stdout: String,
    /// All of stderr, on one line: how it is wrapped depends on the terminal.
    pub stderr: String,
}

impl Ran {
    fn new(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program speaks UTF-8");
        let stderr = text(output.stderr).replace('│', " ");
        let stderr = stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        Self { code: output.status.code(), stdout: text(output.stdout), stderr }
    }

    /// Fails unless it ended with `code` and said `words` on stderr.
    #[track_caller]
    pub fn expect(&self, code: i32, words: &str) -> &Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.contains(words), "`{words}` is missing in {self:?}");
        self
    }
}

/// What came of a call.
#[derive(Debug)]
pub struct Called {
    /// What it did.
    pub report: CallReport,
    /// What it said meanwhile.
    pub events: Vec<GuestEvent>,
}

/// Calls `tool`, which is `package/tool`.
///
/// # Errors
/// Where it is refused before it runs.
pub async fn enter(
    resolver: &Resolver,
    tool: &str,
    arguments: &Value,
) -> Result<Called, ResolveError> {
    let catalog = resolver.catalog()?;
    let tool = resolver.resolve(&catalog.find(&id(tool))?).await?;
    let events = Arc::new(Collected::default());
    let arguments = arguments.as_object().expect("arguments are an object").clone();
    let report = call(&tool, arguments, Arc::clone(&events) as _).await;
    Ok(Called { report, events: events.take() })
}
