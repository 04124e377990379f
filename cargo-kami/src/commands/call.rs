//! `cargo kami call`: one call of an installed tool.

use kami_core::call::CallArguments;
use kami_core::pipeline::Pipelines;
use kami_core::resolve::ResolveError;
use kami_core::witness::Witness;

use crate::exit::Exit;
use crate::ops::arguments::{self, ArgumentOptions};
use crate::ops::audit::AuditFlags;
use crate::ops::host::{self, Calling};
use crate::ops::outcome::{self, OutputOptions};
use crate::ops::policy;
use crate::ops::questions::AnswerOptions;
use crate::settings::Settings;
use crate::shell::Shell;

/// How the audit log names this command.
const CLIENT: &str = "cargo kami call";

/// Call an installed tool, exactly as an agent would
///
/// Arguments are given as JSON, or by flags that the tool's own schema defines: an argument
/// `max_bytes` is `--max-bytes`. The result goes to stdout; logs, denials and timing to stderr.
/// What the tool asks meanwhile is asked at the terminal, or answered by `--answer`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo kami call add --input '{\"a\": 1, \"b\": 2}'
  cargo kami call fetch -- --url https://example.com --max-bytes 4096
  echo '{\"a\": 1, \"b\": 2}' | cargo kami call add --input -
  cargo kami call book-table --answer 'guests={\"count\": 2}'
  cargo kami call thumbnail --input-file args.json -o small.png")]
pub struct Args {
    /// The tool's name, its package's id or short name, or `id/tool`
    #[arg(value_name = "TOOL")]
    name: String,
    #[command(flatten)]
    arguments: ArgumentOptions,
    #[command(flatten)]
    answers: AnswerOptions,
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
    let package = &entry.package;
    let calling = Calling {
        log,
        client: CLIENT,
        name: entry.wire_name.to_string(),
        package: package.manifest.package.clone(),
        digest: package.digest,
        arguments,
    };
    let runtime = host::runtime()?;
    let ended = runtime.block_on(async {
        let witness = calling.witness().await?;
        let refused = async |witness: Witness, error: ResolveError| {
            witness.refused(&args.name, &error);
            calling.log.flush().await?;
            Err(error.into())
        };
        let called = if package.is_pipeline() {
            match Pipelines::default().resolve(&resolver, &entry).await {
                Ok(pipeline) => {
                    host::call_pipeline(&resolver, &pipeline, &calling, witness, shell).await
                }
                Err(error) => return refused(witness, error).await,
            }
        } else {
            match resolver.resolve(&entry).await {
                Ok(tool) => host::call(&tool, &calling, witness, &args.answers, shell).await,
                Err(error) => return refused(witness, error).await,
            }
        };
        calling.log.flush().await?;
        match called? {
            Ok(report) => outcome::show(&calling.name, package.id(), &report, &args.output, shell),
            Err(exit) => Ok(exit),
        }
    });
    // Somebody may still be asked, on a thread that has nobody to answer to.
    runtime.shutdown_background();
    ended
}
