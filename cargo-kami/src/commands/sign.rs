//! `cargo kami sign`: a signature on an artifact.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use kami_core::component::Artifact;
use kami_core::signing;

use crate::diagnostic::relative;
use crate::exit::Exit;
use crate::ops::passphrase::PassphraseOptions;
use crate::ops::scratch::replace_file;
use crate::ops::{self, CargoOptions, keys, manifest_in, source};
use crate::settings::Settings;
use crate::shell::Shell;

/// Sign artifacts
///
/// The signature covers the code, the schemas and what the tool asks for, and goes into the same
/// file. Without a file, the package in this directory is built, if it needs to be, and signed.
/// Where you have no key yet, one is made. A key with a passphrase needs it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo kami sign                                the package in this directory
  cargo kami sign --workspace --key release      every tool of the workspace, with another key
  cargo kami sign target/kami/my-tool.wasm       a file")]
pub struct Args {
    /// An artifact, a package's directory, or a directory with a tool.toml
    #[arg(value_name = "PATH", conflicts_with_all = ["manifest_path", "packages", "workspace"])]
    path: Option<PathBuf>,
    /// The key's name
    #[arg(long, value_name = "NAME", default_value = keys::DEFAULT)]
    key: String,
    #[command(flatten)]
    passphrase: PassphraseOptions,
    #[command(flatten)]
    cargo: CargoOptions,
}

pub fn run(args: &Args, settings: &Settings, shell: &Shell) -> anyhow::Result<Exit> {
    let key = keys::read_or_make(&settings.data_dir, &args.key, &args.passphrase, shell)?;
    for (path, artifact) in artifacts(args, shell)? {
        let signed = signing::sign(&artifact, &key)
            .with_context(|| format!("signing {}", path.display()))?;
        replace_file(&path, &signed).with_context(|| format!("writing {}", path.display()))?;
        let fingerprint = key.public().fingerprint();
        let shown = relative(&path).display();
        shell.status("Signed", format_args!("{shown} with key `{}` ({fingerprint})", args.key));
    }
    Ok(Exit::Success)
}

fn artifacts(args: &Args, shell: &Shell) -> anyhow::Result<Vec<(PathBuf, Artifact)>> {
    let mut options = args.cargo.clone();
    match args.path.as_deref() {
        Some(path) if !path.is_dir() => return Ok(vec![(path.to_owned(), source::read(path)?)]),
        Some(directory) => options.manifest_path = Some(manifest_in(directory)),
        None if options.manifest_path.is_none() && Path::new("tool.toml").is_file() => {
            options.manifest_path = Some("tool.toml".into());
        }
        None => {}
    }
    let built = ops::build(&options, shell)?;
    Ok(built.into_iter().map(|built| (built.path, built.artifact)).collect())
}
