//! `cargo kami uninstall`: a tool that is not called any more.

use anyhow::Context as _;
use kami_core::audit::AuditEvent;
use kami_core::registry::Registry;
use kami_core::sandbox::forget;

use crate::exit::{Exit, Failure};
use crate::ops::audit;
use crate::settings::Settings;
use crate::shell::Shell;

/// Uninstall tools
///
/// Servers that run drop the tool at once. Its grants are forgotten, and the
/// files that it kept are removed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo kami uninstall fetch
  cargo kami uninstall dev.example.fetch dev.example.search")]
pub struct Args {
    /// The ids of packages, or their last parts where these are unique
    #[arg(value_name = "ID", required = true)]
    names: Vec<String>,
}

pub fn run(args: &Args, settings: &Settings, shell: &Shell) -> anyhow::Result<Exit> {
    let mut registry = Registry::open(&settings.data_dir)?;
    let log = audit::open(&settings.data_dir)?;
    for name in &args.names {
        let packages = registry.packages()?;
        let exact = packages.iter().find(|package| package.id().as_str() == name);
        let mut short = packages.iter().filter(|package| package.id().short() == name);
        let package = match (exact, short.next(), short.next()) {
            (Some(package), _, _) | (None, Some(package), None) => package,
            (None, Some(first), Some(second)) => {
                let message = format!("`{name}` could mean `{}` or `{}`", first.id(), second.id());
                return Err(Failure::new(Exit::Usage, message).help("give the whole id").into());
            }
            (None, None, _) => {
                return Err(Failure::new(Exit::NotFound, format!("`{name}` is not installed"))
                    .help("cargo kami list shows what is")
                    .into());
            }
        };
        let removed = registry.uninstall(package.id())?;
        forget(&settings.data_dir.kept_scratch_dir(), removed.id())
            .with_context(|| format!("removing what {} kept", removed.id()))?;
        log.append(AuditEvent::Uninstall {
            package: removed.id().clone(),
            version: Some(removed.manifest.package.version.clone()),
        })?;
        shell.status(
            "Uninstalled",
            format_args!("{} {}", removed.id(), removed.manifest.package.version),
        );
    }
    Ok(Exit::Success)
}
