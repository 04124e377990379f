//! Which packages are meant, and what their tables say.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use cargo_metadata::{Metadata, MetadataCommand, Package as CargoPackage, PackageId};
use kami_core::manifest::Package;
use kami_core::manifest::source::{Defaults, Source};

use super::toolchain::{TARGET, cargo};
use crate::diagnostic::InvalidManifests;
use crate::exit::{Exit, Failure};
use crate::shell::Shell;

/// Where a package's table stands.
const TABLE: &[&str] = &["package", "metadata", "kami"];

/// Where a workspace's table stands.
const WORKSPACE_TABLE: &[&str] = &["workspace", "metadata", "kami"];

/// Cargo's own flags, passed on as they are.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct CargoOptions {
    /// Take this package of the workspace; may be given several times
    #[arg(short, long = "package", value_name = "PKG", help_heading = "Package selection")]
    pub packages: Vec<String>,
    /// Take every package of the workspace that has a [package.metadata.kami] table
    #[arg(long, conflicts_with = "packages", help_heading = "Package selection")]
    pub workspace: bool,
    /// The Cargo.toml, or a tool.toml beside a component that was made by other means
    #[arg(long, value_name = "PATH", help_heading = "Package selection")]
    pub manifest_path: Option<PathBuf>,
    /// Optimise; this is the default, as an artifact is there to be shipped
    #[arg(short, long, conflicts_with_all = ["debug", "profile"], help_heading = "Compilation")]
    pub release: bool,
    /// Compile fast and with debug assertions
    #[arg(long, conflicts_with = "profile", help_heading = "Compilation")]
    pub debug: bool,
    /// Compile with this profile of Cargo.toml
    #[arg(long, value_name = "NAME", help_heading = "Compilation")]
    pub profile: Option<String>,
    /// Switch features on
    #[arg(short = 'F', long, value_name = "FEATURES", help_heading = "Compilation")]
    pub features: Vec<String>,
    /// Switch every feature on
    #[arg(long, help_heading = "Compilation")]
    pub all_features: bool,
    /// Leave the default features off
    #[arg(long, help_heading = "Compilation")]
    pub no_default_features: bool,
    /// Run this many jobs at once
    #[arg(short, long, value_name = "N", help_heading = "Compilation")]
    pub jobs: Option<String>,
    /// Fail rather than change Cargo.lock
    #[arg(long, help_heading = "Compilation")]
    pub locked: bool,
    /// Do without the network
    #[arg(long, help_heading = "Compilation")]
    pub offline: bool,
    /// Both --locked and --offline
    #[arg(long, help_heading = "Compilation")]
    pub frozen: bool,
    /// More flags for `cargo rustc`, after `--`
    #[arg(last = true, value_name = "CARGO FLAGS")]
    pub cargo_args: Vec<String>,
}

impl CargoOptions {
    /// The flags that choose features and say how free cargo is, for every cargo command.
    pub fn resolve_flags(&self) -> Vec<String> {
        let mut flags = Vec::new();
        for features in &self.features {
            flags.extend(["--features".to_owned(), features.clone()]);
        }
        let switches = [
            ("--all-features", self.all_features),
            ("--no-default-features", self.no_default_features),
            ("--locked", self.locked),
            ("--offline", self.offline),
            ("--frozen", self.frozen),
        ];
        flags.extend(switches.iter().filter(|(_, on)| *on).map(|(flag, _)| (*flag).to_owned()));
        flags
    }

    /// The name of the profile.
    pub fn profile(&self) -> &str {
        match &self.profile {
            Some(name) => name,
            None if self.debug => "dev",
            None => "release",
        }
    }

    /// Whether the network must be left alone.
    pub fn without_network(&self) -> bool {
        self.offline || self.frozen
    }
}

/// The file in `directory` that describes what to build there.
pub fn manifest_in(directory: &Path) -> PathBuf {
    let tool_file = directory.join("tool.toml");
    if tool_file.is_file() { tool_file } else { directory.join("Cargo.toml") }
}

/// The packages to build, with what cargo knows about everything around them.
pub struct Selection {
    pub metadata: Metadata,
    pub crates: Vec<Crate>,
}

/// A package with a table of ours.
pub struct Crate {
    pub id: PackageId,
    pub name: String,
    pub manifest_path: PathBuf,
    pub source: Source,
    /// Identity and description, as they go into the manifest.
    pub package: Package,
}

impl Selection {
    /// Asks cargo for the packages, picks those that are meant, and reads their tables.
    ///
    /// # Errors
    /// Where cargo fails, no package has a table, or tables have mistakes: all of them at once.
    pub fn read(options: &CargoOptions, shell: &Shell) -> anyhow::Result<Self> {
        let metadata = metadata(options, shell)?;
        let picked = pick(&metadata, options)?;
        let mut invalid = InvalidManifests::default();
        let defaults = read_defaults(&metadata, &mut invalid)?;
        let mut crates = Vec::new();
        for package in picked {
            match read_crate(package, &defaults)? {
                Ok(found) => crates.push(found),
                Err(mistakes) => invalid.extend(mistakes),
            }
        }
        invalid.into_result()?;
        distinct(&crates)?;
        Ok(Self { metadata, crates })
    }
}

fn metadata(options: &CargoOptions, shell: &Shell) -> anyhow::Result<Metadata> {
    let mut command = Command::new(cargo());
    command.args(["metadata", "--format-version=1", "--filter-platform", TARGET]);
    command.args(options.resolve_flags()).args(["--color", shell.color().as_str()]);
    if let Some(path) = &options.manifest_path {
        command.arg("--manifest-path").arg(path);
    }
    if shell.quiet() {
        command.arg("--quiet");
    }
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| super::toolchain::not_started("cargo", error))?;
    if !output.status.success() {
        // Cargo has said why.
        return Err(Failure::new(Exit::Compile, "cargo could not read the package").into());
    }
    let text = String::from_utf8(output.stdout).context("reading what `cargo metadata` says")?;
    MetadataCommand::parse(text).context("reading what `cargo metadata` says")
}

/// Picks as cargo does, and of several packages those that have a table.
fn pick<'a>(
    metadata: &'a Metadata,
    options: &CargoOptions,
) -> Result<Vec<&'a CargoPackage>, Failure> {
    if !options.packages.is_empty() {
        return options.packages.iter().map(|spec| named(metadata, spec)).collect();
    }
    let members = metadata.workspace_packages();
    let meant = match metadata.root_package() {
        _ if options.workspace => members.clone(),
        Some(root) => vec![root],
        None => metadata.workspace_default_packages(),
    };
    let with_table = |packages: &[&'a CargoPackage]| -> Vec<&'a CargoPackage> {
        let has_table = |package: &&CargoPackage| package.metadata.get("kami").is_some();
        packages.iter().copied().filter(has_table).collect()
    };
    let picked = with_table(&meant);
    let elsewhere = with_table(&members);
    match (picked.is_empty(), meant.as_slice(), elsewhere.as_slice()) {
        (false, ..) => Ok(picked),
        // Reading the one package there is tells what to write, and where.
        (true, [only], []) => Ok(vec![only]),
        (true, _, elsewhere) => Err(no_table(elsewhere)),
    }
}

fn no_table(elsewhere: &[&CargoPackage]) -> Failure {
    let failure =
        Failure::new(Exit::Manifest, "no package here has a [package.metadata.kami] table");
    if elsewhere.is_empty() {
        return failure.help(
            "add one with `id = \"dev.example.my-tool\"` to the Cargo.toml of a package, \
             or start a new package with `cargo kami new my-tool`",
        );
    }
    let names: Vec<&str> = elsewhere.iter().map(|package| package.name.as_str()).collect();
    let names = names.join(", ");
    failure
        .help(format!("`--workspace` takes all members that have one, `-p` one of them: {names}"))
}

/// The member that `spec` names: `name`, `name@version`, or an id as cargo prints it.
fn named<'a>(metadata: &'a Metadata, spec: &str) -> Result<&'a CargoPackage, Failure> {
    let (name, version) = spec.split_once('@').map_or((spec, None), |(n, v)| (n, Some(v)));
    let matches = |package: &&CargoPackage| {
        package.id.repr == spec
            || (package.name.as_str() == name
                && version.is_none_or(|version| package.version.to_string() == version))
    };
    let members = metadata.workspace_packages();
    let names: Vec<&str> = members.iter().map(|package| package.name.as_str()).collect();
    members.iter().copied().find(|package| matches(package)).ok_or_else(|| {
        Failure::new(Exit::NotFound, format!("there is no package `{spec}` in this workspace"))
            .help(format!("the packages are: {}", names.join(", ")))
    })
}

fn read_defaults(metadata: &Metadata, invalid: &mut InvalidManifests) -> anyhow::Result<Defaults> {
    let path = metadata.workspace_root.join("Cargo.toml");
    let text = read(path.as_std_path())?;
    Ok(Defaults::parse(&text, WORKSPACE_TABLE).unwrap_or_else(|error| {
        invalid.add(path.as_std_path(), text, error);
        Defaults::default()
    }))
}

fn read_crate(
    package: &CargoPackage,
    defaults: &Defaults,
) -> anyhow::Result<Result<Crate, InvalidManifests>> {
    let manifest_path = package.manifest_path.clone().into_std_path_buf();
    let text = read(&manifest_path)?;
    let source = match Source::parse(&text, TABLE, defaults) {
        Ok(source) => source,
        Err(error) => return Ok(Err(InvalidManifests::one(&manifest_path, text, error))),
    };
    Ok(Ok(Crate {
        id: package.id.clone(),
        name: package.name.to_string(),
        manifest_path,
        package: Package {
            id: source.id.clone(),
            version: package.version.clone(),
            title: source.title.clone(),
            description: package.description.clone(),
            license: package.license.clone(),
            authors: package.authors.clone(),
            homepage: package.homepage.clone(),
            repository: package.repository.clone(),
            tags: source.tags.clone(),
        },
        source,
    }))
}

/// Two packages of one id would replace each other when they are installed.
fn distinct(crates: &[Crate]) -> Result<(), Failure> {
    let mut owners = BTreeMap::new();
    for found in crates {
        if let Some(other) = owners.insert(&found.source.id, &found.name) {
            let (id, name) = (&found.source.id, &found.name);
            let message = format!("the packages `{other}` and `{name}` have the same id `{id}`");
            return Err(Failure::new(Exit::Manifest, message)
                .help("give each its own `id` under [package.metadata.kami]"));
        }
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}
