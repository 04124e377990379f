//! `cargo kami call`: one call of an installed tool.

use kami_core::call::CallArguments;
use kami_core::pipeline::Pipelines;
use kami_core::resolve::ResolveError;
use kami_core::witness::Witness;

use crate::exit::Exit;
use crate::ops::arguments::{self, ArgumentOptions};
use crate::ops::audit::AuditFlags;
use crate::ops::outcome::{self, OutputOptions};
use crate::ops::{host, policy};
use crate::settings::Settings;
use crate::shell::Shell;

/// How the audit log names this command.
const CLIENT: &str = "cargo kami call";

/// Call an installed tool, exactly as an agent would
///
/// Arguments are given as JSON, or by flags that the tool's own schema defines: an argument
/// `max_bytes` is `--max-bytes`. The result goes to stdout; logs, denials and timing to stderr.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo kami call add --input '{\"a\": 1, \"b\": 2}'
  cargo kami call fetch -- --url https://example.com --max-bytes 4096
  echo '{\"a\": 1, \"b\": 2}' | cargo kami call add --input -
  cargo kami call thumbnail --input-file args.json -o small.png")]
pub struct Args {
    /// The tool's name, its package's id or short name, or `id/tool`
    #[arg(value_name = "TOOL")]
    name: String,
    #[command(flatten)]
    arguments: ArgumentOptions,
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    audit: AuditFlags,
}

pub fn run(args: &Args, settings: &Settings, shell: &Shell) -> anyhow::Result<Exit> {
    let resolver = host::resolver(settings, shell)?;
    let catalog = resolver.catalog()?;
    let entry = catalog.find_loosely(&args.name)?;
    let arguments = CallArguments::from(arguments::read(&args.arguments, entry.definition())?);
    let log = args.audit.open(&settings.data_dir, policy::load(settings)?.as_ref())?;
    host::runtime()?.block_on(async {
        let mut witness = Witness::new(Some(&log), Some(CLIENT.to_owned())).await?;
        let package = &entry.package;
        let (about, digest) = (&package.manifest.package, package.digest);
        witness.saw(entry.wire_name.as_str(), host::CALL, about, digest, arguments.text());
        let refused = async |witness: Witness, error: ResolveError| {
            witness.refused(&args.name, &error);
            log.flush().await?;
            Err(error.into())
        };
        let called = if package.is_pipeline() {
            match Pipelines::default().resolve(&resolver, &entry).await {
                Ok(pipeline) => {
                    let place = host::Place { resolver: &resolver, log: &log, client: CLIENT };
                    host::call_pipeline(&pipeline, arguments, place, witness, shell).await?
                }
                Err(error) => return refused(witness, error).await,
            }
        } else {
            match resolver.resolve(&entry).await {
                Ok(tool) => host::call(&tool, arguments, witness, shell).await?,
                Err(error) => return refused(witness, error).await,
            }
        };
        log.flush().await?;
        match called {
            Ok(report) => {
                let name = entry.wire_name.as_str();
                outcome::show(name, package.id(), &report, &args.output, shell)
            }
            Err(exit) => Ok(exit),
        }
    })
}
