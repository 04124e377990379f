//! `cargo kami run`: one call of a file, which is not installed.

use std::path::PathBuf;

use kami_core::call::CallArguments;
use kami_core::resolve::VerifiedTool;
use kami_core::sandbox::Surroundings;
use kami_core::signing::{TrustStore, Unsigned};

use crate::exit::Exit;
use crate::ops::arguments::{self, ArgumentOptions};
use crate::ops::consent::{ConsentOptions, Question};
use crate::ops::first_use::{self, FirstUseOptions};
use crate::ops::host::{self, Calling};
use crate::ops::outcome::{self, OutputOptions};
use crate::ops::questions::AnswerOptions;
use crate::ops::{audit, policy, secrets, source};
use crate::settings::Settings;
use crate::shell::Shell;

/// How the audit log names this command.
const CLIENT: &str = "cargo kami run";

/// Run a tool from a file once, without installing it
///
/// The same signature check, the same question and the same sandbox as for an installed tool. No
/// answer is remembered; that the call was made is in the audit log.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo kami run target/kami/my-tool.wasm --allow-unsigned --yes --input '{\"name\": \"you\"}'
  cargo kami run math.wasm --tool add --yes -- --a 1 --b 2")]
pub struct Args {
    /// An artifact, a package's directory, or a directory with a tool.toml
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Which of its tools, where there are several
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    #[command(flatten)]
    consent: ConsentOptions,
    #[command(flatten)]
    first_use: FirstUseOptions,
    /// Accept an artifact without a signature: one's own development build
    #[arg(long)]
    allow_unsigned: bool,
    #[command(flatten)]
    arguments: ArgumentOptions,
    #[command(flatten)]
    answers: AnswerOptions,
    #[command(flatten)]
    output: OutputOptions,
}

pub fn run(args: &Args, settings: &Settings, shell: &Shell) -> anyhow::Result<Exit> {
    let artifact = source::artifact(&args.path, shell)?;
    let mut trust = TrustStore::load(&settings.data_dir.trust_file())?;
    let unsigned = if args.allow_unsigned { Unsigned::Allow } else { Unsigned::Refuse };
    // Nobody is asked about a stranger's key, since the answer would not be kept.
    first_use::allow(&artifact, &mut trust, &args.first_use, None)?;
    let signed = source::verify(artifact, &trust, unsigned, &args.path.display().to_string())?;
    let policy = policy::load(settings)?;
    let question = Question { policy: policy.as_ref(), ..Question::new(&signed, &trust) };
    let ruling = question.ask(&args.consent, shell)?.ruling;
    let engine = host::engine(settings, None)?;
    let scratch = tempfile::tempdir()?;
    let surroundings = Surroundings {
        environment: host::environment(),
        scratch: Some(scratch.path().to_owned()),
        private: Some(settings.data_dir.path().to_owned()),
        secrets: Some(secrets::source(&settings.data_dir, shell)),
        metered: true,
        ..Surroundings::default()
    };
    let tools = {
        let _working = shell.working("Compiling to native code");
        VerifiedTool::load(&engine, &signed, ruling, &surroundings)?
    };
    let tool = host::pick(&tools, args.tool.as_deref())?;
    let arguments = CallArguments::from(arguments::read(&args.arguments, tool.definition())?);
    let log = audit::open(&settings.data_dir)?;
    let artifact = signed.artifact();
    let calling = Calling {
        log,
        client: CLIENT,
        name: tool.definition().name.to_string(),
        package: artifact.manifest().package.clone(),
        digest: artifact.digest(),
        arguments,
    };
    let runtime = host::runtime()?;
    let ended = runtime.block_on(async {
        let witness = calling.witness().await?;
        let called = host::call(tool, &calling, witness, &args.answers, shell).await;
        calling.log.flush().await?;
        match called? {
            Ok(report) => {
                outcome::show(&calling.name, tool.package(), &report, &args.output, shell)
            }
            Err(exit) => Ok(exit),
        }
    });
    // Somebody may still be asked, on a thread that has nobody to answer to.
    runtime.shutdown_background();
    ended
}
