//! `cargo kami record`: real calls, and the least that a manifest must ask for to make them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use kami_core::audit::AuditLog;
use kami_core::call::{CallArguments, CallOutcome, CallReport};
use kami_core::component::Artifact;
use kami_core::grants::{
    Access, Capabilities, EnvName, FsAccess, Grant, Limit, Recorder, Recording,
};
use kami_core::manifest::{JsonObject, source::write};
use kami_core::resolve::{self, VerifiedTool};
use kami_core::sandbox::Surroundings;
use kami_core::signing::{SignedArtifact, TrustStore, Unsigned};
use serde_json::json;
use similar::{ChangeTag, TextDiff};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::exit::{Exit, Failure};
use crate::ops::arguments::{self, ArgumentOptions};
use crate::ops::consent::{self, MountFlag};
use crate::ops::first_use::{self, FirstUseOptions};
use crate::ops::host::{self, Calling};
use crate::ops::outcome;
use crate::ops::questions::AnswerOptions;
use crate::ops::recording::{Asked, Decider, Recorded};
use crate::ops::{audit, policy, secrets, source};
use crate::settings::Settings;
use crate::shell::{Shell, one_line};

/// The table of a `Cargo.toml` that holds requests.
const TABLE: &str = "package.metadata.kami";

/// How the audit log names this command.
const CLIENT: &str = "cargo kami record";

/// Find out what a tool must ask for, by calling it
///
/// Runs real calls in the sandbox, asks about everything that the manifest does not ask for, and
/// prints the smallest `[package.metadata.kami.security]` that these calls need, as a difference to
/// what the manifest says now. Limits stay as they are; what each call took is told beside it.
///
/// What the tool does is really done: record your own tools, or those you trust as much.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo kami record . --allow-unsigned --input '{\"url\": \"https://example.com\"}'
  cargo kami record . --allow-unsigned --yes --inputs calls.jsonl
  cargo kami record . --allow-unsigned --mount docs=./docs:rw --env LANG -- --query x")]
pub struct Args {
    /// A package's directory, an artifact, or the name of an installed tool
    #[arg(value_name = "PATH or TOOL")]
    name: String,
    /// Which of its tools, where there are several
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// Permit and note everything without asking, but no private or loopback address
    #[arg(short, long)]
    yes: bool,
    /// With --yes, permit addresses of this machine and its network too
    #[arg(long, requires = "yes")]
    local: bool,
    /// Show the tool a directory, whether or not its manifest asks for it; `:rw` lets it write there
    #[arg(long = "mount", value_name = "NAME=DIR[:ro|:rw]")]
    mounts: Vec<MountFlag>,
    /// Show the tool an environment variable, whether or not its manifest asks for it
    #[arg(long = "env", value_name = "NAME")]
    env: Vec<EnvName>,
    #[command(flatten)]
    first_use: FirstUseOptions,
    /// Accept an artifact without a signature: one's own development build
    #[arg(long)]
    allow_unsigned: bool,
    /// A file with the arguments of one call on each line, as JSON objects; `-` is stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["input", "input_file"])]
    inputs: Option<PathBuf>,
    #[command(flatten)]
    arguments: ArgumentOptions,
    #[command(flatten)]
    answers: AnswerOptions,
    /// Tell what is needed and what the manifest asks for as JSON on stdout
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, settings: &Settings, shell: &Shell) -> anyhow::Result<Exit> {
    if !args.yes && !shell.interactive() {
        return Err(Failure::new(Exit::Refused, "nobody can be asked what to permit here")
            .help("permit and note everything with --yes, if you trust the tool")
            .into());
    }
    let (signed, trust) = verified(args, settings, shell)?;
    let manifest = signed.artifact().manifest();
    let offered = offered(&manifest.requests, args)?;
    let (asked, questions) = tokio::sync::mpsc::unbounded_channel();
    let decider = match args.yes {
        true => Decider::Everything { local: args.local },
        false => Decider::Person(asked),
    };
    let recorded = Arc::new(Recorded::new(manifest.requests.clone(), decider));
    let scratch = tempfile::tempdir()?;
    let recorder: Arc<dyn Recorder> = Arc::clone(&recorded) as _;
    let surroundings = Surroundings {
        environment: host::environment(),
        scratch: Some(scratch.path().to_owned()),
        recording: Some(Recording { requests: offered.clone(), recorder }),
        private: Some(settings.data_dir.path().to_owned()),
        secrets: Some(secrets::source(&settings.data_dir, shell)),
        metered: true,
        ..Surroundings::default()
    };
    let mut grant = Grant::all(&offered);
    grant.mounts = consent::bind(&offered, &args.mounts)?;
    // What a policy cuts off stays cut off.
    let ruling = resolve::rule(policy::load(settings)?.as_ref(), &signed, &trust, &grant)?;
    let engine = host::engine(settings, None)?;
    let tools = {
        let _working = shell.working("Compiling to native code");
        VerifiedTool::load(&engine, &signed, ruling, &surroundings)?
    };
    let tool = host::pick(&tools, args.tool.as_deref())?;
    let calls = match &args.inputs {
        Some(file) => arguments::read_lines(file, &args.arguments.flags, tool.definition())?,
        None => vec![arguments::read(&args.arguments, tool.definition())?],
    };
    let runtime = host::runtime()?;
    let log = audit::open(&settings.data_dir)?;
    let session = Session {
        artifact: signed.artifact(),
        tool: Arc::clone(tool),
        log,
        questions,
        answers: args.answers.clone(),
        shell,
    };
    let ended = runtime.block_on(session.run(calls));
    // A guest that waits for an answer would hold up its end.
    runtime.shutdown_background();
    let exit = ended?;
    if exit != Exit::Interrupted {
        show(&manifest.requests, &recorded.needed(&offered), args.json, shell)?;
    }
    Ok(exit)
}

/// The artifact that is meant, whose signature is as good as that of any other that is run, and by
/// whose word.
fn verified(
    args: &Args,
    settings: &Settings,
    shell: &Shell,
) -> anyhow::Result<(SignedArtifact, TrustStore)> {
    let path = Path::new(&args.name);
    let artifact: Artifact = match path.is_dir() {
        true => source::artifact(path, shell)?,
        false => source::named(&args.name, settings)?,
    };
    let mut trust = TrustStore::load(&settings.data_dir.trust_file())?;
    let unsigned = if args.allow_unsigned { Unsigned::Allow } else { Unsigned::Refuse };
    first_use::allow(&artifact, &mut trust, &args.first_use, None)?;
    let signed = source::verify(artifact, &trust, unsigned, &args.name)?;
    Ok((signed, trust))
}

/// What the tool is given: what it asks for, a scratch directory, and what the flags add.
fn offered(requests: &Capabilities, args: &Args) -> anyhow::Result<Capabilities> {
    let mut offered = requests.clone();
    offered.fs = FsAccess::Sandbox;
    for flag in &args.mounts {
        let mount = offered.mounts.entry(flag.name().clone()).or_default();
        mount.access = mount.access.max(flag.access().unwrap_or(Access::ReadOnly));
    }
    offered.env.extend(args.env.iter().cloned());
    if !args.yes {
        // While a person thinks, the clock goes on.
        let limits = offered.limits.with(Limit::Execution, Limit::Execution.most());
        offered.limits = limits.context("raising the time limit")?;
    }
    Ok(offered)
}

/// Calls, one after another, between which a person answers questions.
struct Session<'a> {
    artifact: &'a Artifact,
    tool: Arc<VerifiedTool>,
    log: Arc<AuditLog>,
    questions: UnboundedReceiver<Asked>,
    answers: AnswerOptions,
    shell: &'a Shell,
}

impl Session<'_> {
    /// Makes all calls, also after one that fails.
    async fn run(mut self, calls: Vec<JsonObject>) -> anyhow::Result<Exit> {
        let mut worst = Exit::Success;
        for arguments in calls {
            let Some(report) = self.call(arguments).await? else { return Ok(Exit::Interrupted) };
            let name = self.tool.definition().name.as_str();
            // Stdout is for what is needed.
            outcome::explain(name, self.tool.package(), &report, self.shell);
            if !matches!(report.outcome, CallOutcome::Complete(_)) {
                worst = Exit::Tool;
            }
        }
        self.log.flush().await?;
        Ok(worst)
    }

    /// Makes one call; `None` where the person interrupts it.
    async fn call(&mut self, arguments: JsonObject) -> anyhow::Result<Option<CallReport>> {
        let calling = Calling {
            log: Arc::clone(&self.log),
            client: CLIENT,
            name: self.tool.definition().name.to_string(),
            package: self.artifact.manifest().package.clone(),
            digest: self.artifact.digest(),
            arguments: CallArguments::from(arguments),
        };
        let witness = calling.witness().await?;
        let answers = self.answers.clone();
        let (tool, shell) = (Arc::clone(&self.tool), self.shell.clone());
        // Not on this thread, which must hear questions and Ctrl-C while the guest waits.
        let mut call =
            tokio::spawn(
                async move { host::call(&tool, &calling, witness, &answers, &shell).await },
            );
        loop {
            tokio::select! {
                biased;
                Some(question) = self.questions.recv() => ask(question, self.shell),
                interrupted = tokio::signal::ctrl_c() => {
                    interrupted.context("waiting for Ctrl-C")?;
                    return Ok(None);
                }
                ended = &mut call => return Ok(ended.context("the call")??.ok()),
            }
        }
    }
}

/// Has a person answer, on a thread that nobody waits for.
fn ask(question: Asked, shell: &Shell) {
    let shell = shell.clone();
    std::thread::spawn(move || {
        let permit = format!("Permit {}?", one_line(&question.thing));
        let answer = shell.confirm(permit).ok().flatten().unwrap_or(false);
        // The guest may have been ended in the meantime.
        let _ = question.answer.send(answer);
    });
}

fn show(
    before: &Capabilities,
    needed: &Capabilities,
    as_json: bool,
    shell: &Shell,
) -> anyhow::Result<()> {
    if as_json {
        return Ok(shell.json(&json!({"manifest": before, "needed": needed}))?);
    }
    let (old, new) = (write(before, TABLE), write(needed, TABLE));
    if old == new {
        shell.note("the manifest asks for exactly what these calls needed");
    }
    for change in TextDiff::from_lines(&old, &new).iter_all_changes() {
        let sign = match change.tag() {
            ChangeTag::Equal => ' ',
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
        };
        shell.data(format_args!("{sign}{}", change.value().trim_end_matches('\n')))?;
    }
    Ok(())
}
