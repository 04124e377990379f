//! `cargo kami uninstall`: a tool that is not called any more.

use anyhow::Context as _;
use kami_core::audit::AuditEvent;
use kami_core::registry::{Registry, RegistryError};
use kami_core::sandbox::forget;

use crate::exit::{Exit, Failure};
use crate::ops::{audit, installed};
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
        let id = installed::meant(&registry, name)?.ok_or_else(|| {
            Failure::new(Exit::NotFound, format!("`{name}` is not installed"))
                .help("cargo kami list shows what is")
        })?;
        let removed = match registry.uninstall(&id) {
            Ok(removed) => Ok(removed.manifest.package.version),
            Err(damage @ RegistryError::UninstalledDamaged { .. }) => Err(damage),
            Err(error) => return Err(error.into()),
        };
        forget(&settings.data_dir.kept_scratch_dir(), &id)
            .with_context(|| format!("removing what {id} kept"))?;
        let version = removed.as_ref().ok().cloned();
        log.append(AuditEvent::Uninstall { package: id.clone(), version })?;
        shell.status("Uninstalled", format_args!("{id} {}", removed?));
        for pipeline in registry.pipelines_of(&id).unwrap_or_default() {
            let pipeline = pipeline.id();
            shell.warn(format_args!(
                "the pipeline `{pipeline}` calls it, and is refused from now on"
            ));
        }
    }
    Ok(Exit::Success)
}
