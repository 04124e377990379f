//! From packages to artifacts in `target/kami/`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use kami_core::component::{Artifact, Component};
use kami_core::engine::{Engine, EngineOptions};
use kami_core::grants::Capabilities;
use kami_core::manifest::source::ToolFile;
use kami_core::manifest::{Manifest, Offers, Package, Provenance};

use super::bill::Bill;
use super::compile::{Remaps, compile};
use super::packages::{CargoOptions, Crate, Selection};
use super::scratch::replace_file;
use super::toolchain::Toolchain;
use crate::diagnostic::{InvalidManifests, relative};
use crate::exit::{Exit, Failure};
use crate::shell::Shell;

/// Who seals artifacts, as they tell.
const BUILDER: &str = concat!("cargo-kami ", env!("CARGO_PKG_VERSION"));

/// An artifact that is up to date on disk.
#[derive(Debug)]
pub struct Built {
    /// The name of the package; of a `tool.toml`, the last label of its id.
    pub name: String,
    /// Where the artifact is.
    pub path: PathBuf,
    /// What is in it.
    pub artifact: Artifact,
    /// It was there already, and is untouched; so are its signatures.
    pub fresh: bool,
}

/// Builds every package that `options` mean, or the one that a `tool.toml` describes.
///
/// Blocks, and so is not to be called on an async runtime's thread.
///
/// # Errors
/// The first failure; what was built before it stays.
pub fn build(options: &CargoOptions, shell: &Shell) -> anyhow::Result<Vec<Built>> {
    if let Some(path) = options.manifest_path.as_deref().filter(|path| is_tool_file(path)) {
        return Ok(vec![build_tool_file(path, shell)?]);
    }
    let selection = Selection::read(options, shell)?;
    let toolchain = Toolchain::detect()?;
    toolchain.ensure_target(options.without_network(), shell)?;
    let remaps = Remaps::new(&selection.metadata, &toolchain);
    let directory = selection.metadata.target_directory.join("kami").into_std_path_buf();
    let mut describer = Describer::default();
    let mut built = Vec::with_capacity(selection.crates.len());
    for package in &selection.crates {
        let component = compile(package, options, &remaps, shell)?;
        let bill = Bill::of(&selection.metadata, &package.id)?;
        let plan = Plan::of_crate(package, &toolchain, bill, &directory);
        built.push(plan.carry_out(&component, &mut describer, shell)?);
    }
    Ok(built)
}

/// Makes an artifact of a component that no cargo package stands behind; it goes to
/// `target/kami/` beside the `tool.toml` at `path`.
///
/// # Errors
/// Where the file has mistakes, or the component is none of ours.
pub fn build_tool_file(path: &Path, shell: &Shell) -> anyhow::Result<Built> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let file = match ToolFile::parse(&text) {
        Ok(file) => file,
        Err(error) => return Err(InvalidManifests::one(path, text, error).into()),
    };
    let directory = path.parent().unwrap_or(Path::new(""));
    let component = directory.join(&file.component);
    let plan = Plan::of_tool_file(file, directory);
    plan.carry_out(&component, &mut Describer::default(), shell)
}

/// Whether a manifest path means a `tool.toml`.
fn is_tool_file(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "tool.toml")
}

/// All that an artifact will say, except what only its component knows.
struct Plan {
    name: String,
    package: Package,
    requests: Capabilities,
    provenance: Provenance,
    bill: Option<Bill>,
    path: PathBuf,
}

impl Plan {
    fn of_crate(package: &Crate, toolchain: &Toolchain, bill: Bill, directory: &Path) -> Self {
        Self {
            name: package.name.clone(),
            package: package.package.clone(),
            requests: package.source.requests.clone(),
            provenance: Provenance {
                builder: BUILDER.to_owned(),
                compiler: Some(toolchain.version.clone()),
                lock: Some(bill.digest),
            },
            bill: Some(bill),
            path: directory.join(format!("{}.wasm", package.name)),
        }
    }

    fn of_tool_file(file: ToolFile, directory: &Path) -> Self {
        let name = file.package.id.short().to_owned();
        Self {
            path: directory.join("target/kami").join(format!("{name}.wasm")),
            name,
            package: file.package,
            requests: file.requests,
            provenance: Provenance { builder: BUILDER.to_owned(), ..Provenance::default() },
            bill: None,
        }
    }

    fn carry_out(
        self,
        component: &Path,
        describer: &mut Describer,
        shell: &Shell,
    ) -> anyhow::Result<Built> {
        let bytes = fs::read(component)
            .with_context(|| format!("reading the component {}", relative(component).display()))?;
        if let Some(artifact) = self.existing(&bytes) {
            return Ok(Built { name: self.name, path: self.path, artifact, fresh: true });
        }
        let component = Component::parse(bytes).with_context(|| self.not_ours())?;
        let offers = describer.describe(&component, &self.name, shell)?;
        let manifest = Manifest::new(self.package, offers, self.requests, self.provenance)
            .with_context(|| format!("making the manifest of `{}`", self.name))?;
        let bill = self.bill.as_ref().map(|bill| bill.compressed.as_slice());
        let artifact = Artifact::parse(component.seal(&manifest, bill))
            .with_context(|| format!("reading the artifact of `{}` back", self.name))?;
        replace_file(&self.path, artifact.bytes())
            .with_context(|| format!("writing {}", self.path.display()))?;
        Ok(Built { name: self.name, path: self.path, artifact, fresh: false })
    }

    /// The artifact on disk, if building it again would change nothing.
    ///
    /// Then the component is the same, and with it the tools that it describes.
    fn existing(&self, component: &[u8]) -> Option<Artifact> {
        let artifact = Artifact::parse(fs::read(&self.path).ok()?).ok()?;
        let manifest = artifact.manifest();
        let bill = self.bill.as_ref().map(|bill| bill.compressed.as_slice());
        let same = artifact.component().bytes() == component
            && artifact.bill_of_materials() == bill
            && manifest.package == self.package
            && manifest.requests == self.requests
            && manifest.provenance == self.provenance;
        same.then_some(artifact)
    }

    /// Only a crate has a bill of materials.
    fn not_ours(&self) -> Failure {
        let name = &self.name;
        match self.bill {
            Some(_) => Failure::new(
                Exit::Artifact,
                format!("what `{name}` compiles to is not a tool"),
            )
            .help("depend on `kami-guest`, and put `#[kami_tool]` on a function of src/lib.rs"),
            None => {
                Failure::new(Exit::Artifact, format!("the component of `{name}` is not a tool"))
                    .help("build a component for the world `tool` of the WIT package `kami:tool`")
            }
        }
    }
}

/// Asks components what they offer, in a sandbox without any capability.
///
/// The engine is started for the first one: most builds find everything fresh.
#[derive(Default)]
struct Describer(Option<(Engine, tokio::runtime::Runtime)>);

impl Describer {
    fn describe(
        &mut self,
        component: &Component,
        name: &str,
        shell: &Shell,
    ) -> anyhow::Result<Offers> {
        let _working = shell.working(format!("Describing {name}"));
        let (engine, runtime) = match &mut self.0 {
            Some(started) => started,
            none => none.insert(start()?),
        };
        runtime
            .block_on(kami_core::call::describe(engine, component))
            .with_context(|| format!("asking `{name}` what it offers"))
    }
}

fn start() -> anyhow::Result<(Engine, tokio::runtime::Runtime)> {
    let engine = Engine::new(EngineOptions::default()).context("starting the engine")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("starting the async runtime")?;
    Ok((engine, runtime))
}
