//! The runtime that calls tools, for the commands that do.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use kami_core::audit::AuditLog;
use kami_core::call::{
    self, CallArguments, CallOutcome, CallReport, Continuation, EventSink, GuestEvent,
};
use kami_core::digest::Digest;
use kami_core::engine::{Engine, EngineOptions};
use kami_core::manifest::Package;
use kami_core::mcp;
use kami_core::pipeline::{self, Caller, Ended, Pipeline};
use kami_core::policy::Ruling;
use kami_core::resolve::{HostOptions, Resolver, VerifiedTool};
use kami_core::sandbox::Surroundings;
use kami_core::scheduler::{Principal, ScheduleOptions};
use kami_core::signing::SignedArtifact;
use kami_core::witness::Witness;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::UnboundedReceiver;

use super::{compiler, outcome};
use crate::env_vars;
use crate::exit::{Exit, Failure};
use crate::ops::questions::AnswerOptions;
use crate::ops::secrets;
use crate::settings::Settings;
use crate::shell::{Shell, printable, quoted};

/// Starts the async runtime.
///
/// # Errors
/// Where the operating system gives no threads.
pub fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the async runtime")
}

/// Opens the registry and starts the engine. Call it inside the runtime.
///
/// # Errors
/// Where the registry cannot be opened or the engine does not start.
pub fn resolver(settings: &Settings, shell: &Shell) -> anyhow::Result<Arc<Resolver>> {
    scheduled_resolver(settings, ScheduleOptions::default(), shell)
}

/// The same, for a number of calls at once that an operator chose.
///
/// # Errors
/// Where the registry cannot be opened or the engine does not start.
pub fn scheduled_resolver(
    settings: &Settings,
    schedule: ScheduleOptions,
    shell: &Shell,
) -> anyhow::Result<Arc<Resolver>> {
    let options = HostOptions {
        environment: environment(),
        secrets: Some(secrets::source(&settings.data_dir, shell)),
        compiler: Some(compiler::compiler(settings.compile)),
        policy: Some(settings.policy.clone()),
        schedule,
        ..HostOptions::default()
    };
    Ok(Arc::new(Resolver::open(&settings.data_dir, options)?))
}

/// Compiles and links what is about to be installed, so that no call has to wait for it, and what
/// cannot be run is not installed.
///
/// # Errors
/// Where the component is not valid, or does not fit this host.
pub fn prepare(signed: &SignedArtifact, ruling: Ruling, settings: &Settings) -> anyhow::Result<()> {
    let cache = Some(settings.data_dir.cache_dir());
    let engine = engine(settings, cache)?;
    let surroundings = Surroundings {
        environment: environment(),
        scratch: Some(settings.data_dir.scratch_dir()),
        kept: Some(settings.data_dir.kept_scratch_dir()),
        private: Some(settings.data_dir.path().to_owned()),
        ..Surroundings::default()
    };
    VerifiedTool::load(&engine, signed, ruling, &surroundings)?;
    Ok(())
}

/// Starts an engine that compiles in a process of its own.
///
/// # Errors
/// Where this machine cannot run it.
pub fn engine(settings: &Settings, cache: Option<PathBuf>) -> anyhow::Result<Engine> {
    let compiler = Some(compiler::compiler(settings.compile));
    Ok(Engine::new(EngineOptions { cache, compiler, ..EngineOptions::default() })?)
}

/// Raises the number of files that this process may have open to what it may raise it to.
///
/// Each call of a tool may hold a hundred and more, and the usual limit of 1,024 is there for
/// programs that use `select`. Where it cannot be raised, calls beyond it fail, each by itself.
pub fn raise_file_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
        if let Err(error) = raised {
            tracing::warn!(%error, "cannot raise the limit of open files");
        }
    }
}

/// Has the C library's allocator keep what is freed, where all threads find it.
///
/// glibc gives threads that meet in the allocator an arena each, up to eight for each core, and what
/// is freed in one serves no other: over a million calls that is a tenth of a busy server's memory.
/// And it gives large buffers back to the system at once, which then has to make each page of the next
/// one anew: a fifth of what a call with a megabyte takes. Call it before there are other threads.
pub fn settle_allocator() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const MIB: libc::c_int = 1 << 20;
        let settings = [
            (libc::M_ARENA_MAX, 2),
            (libc::M_TRIM_THRESHOLD, 16 * MIB),
            (libc::M_MMAP_THRESHOLD, 4 * MIB),
        ];
        for (name, value) in settings {
            // SAFETY: it sets a number that the allocator reads when it makes or gives back memory.
            if unsafe { libc::mallopt(name, value) } == 0 {
                tracing::warn!(name, value, "the allocator does not take a setting");
            }
        }
    }
}

/// This process's environment, from which grants pick; what is not Unicode is no guest's matter, and
/// what opens the secrets is nobody's.
pub fn environment() -> std::collections::BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| env_vars::PRIVATE.iter().all(|private| private.name != name))
        .collect()
}

/// The method of every call that a person makes, as the audit log has it.
const CALL: &str = "tools/call";

/// The most times that a tool is entered for one call.
const MOST_ROUNDS: usize = 32;

/// A call that a person makes, as it is recorded.
#[derive(Clone)]
pub struct Calling {
    pub log: Arc<AuditLog>,
    /// How the log names the command.
    pub client: &'static str,
    /// By which name the tool is called.
    pub name: String,
    pub package: Package,
    /// Of the artifact.
    pub digest: Digest,
    pub arguments: CallArguments,
}

impl Calling {
    /// Has it recorded that the tool is about to be entered.
    ///
    /// # Errors
    /// While the log cannot be written.
    pub async fn witness(&self) -> anyhow::Result<Witness> {
        let mut witness = Witness::new(Some(&self.log), Some(self.client.to_owned())).await?;
        witness.saw(&self.name, CALL, &self.package, self.digest, self.arguments.text());
        Ok(witness)
    }
}

/// Calls a tool while showing its log lines, and answers what it asks, until it ends or the person
/// interrupts.
///
/// # Errors
/// Where signals cannot be awaited, or the terminal cannot be read.
pub async fn call(
    tool: &VerifiedTool,
    calling: &Calling,
    mut witness: Witness,
    answers: &AnswerOptions,
    shell: &Shell,
) -> anyhow::Result<Result<CallReport, Exit>> {
    let mut continuation = Continuation::default();
    for round in 1.. {
        let entered = enter(tool, calling, witness, continuation, shell).await?;
        let Ok(report) = entered else { return Ok(entered) };
        let CallOutcome::InputRequired(asked) = &report.outcome else { return Ok(Ok(report)) };
        if round == MOST_ROUNDS {
            break;
        }
        let answered = tokio::select! {
            answered = answers.answer(&calling.name, asked, shell) => answered?,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("waiting for Ctrl-C")?;
                return Ok(Err(Exit::Interrupted));
            }
        };
        let Some(given) = answered else { return Ok(Ok(report)) };
        continuation = Continuation { answers: given, state: asked.state.clone() };
        witness = calling.witness().await?;
    }
    let message = format!("`{}` asked {MOST_ROUNDS} times in a row", calling.name);
    Err(Failure::new(Exit::Tool, message).into())
}

/// Enters the tool once.
async fn enter(
    tool: &VerifiedTool,
    calling: &Calling,
    mut witness: Witness,
    continuation: Continuation,
    shell: &Shell,
) -> anyhow::Result<Result<CallReport, Exit>> {
    let (sender, events) = tokio::sync::mpsc::unbounded_channel();
    witness.knows(tool.verified());
    let (who, sink) = (Principal::default(), witness.watch(Arc::new(Forward(sender))));
    let running = call::call_as(who, tool, calling.arguments.clone(), continuation, sink);
    let report = shown(running, events, shell).await?;
    if let Ok(report) = &report {
        witness.ended(report);
    }
    Ok(report)
}

/// Calls a pipeline as [`call`] does a tool, with nobody who answers, and shows what was denied to its
/// steps.
///
/// # Errors
/// Where signals cannot be awaited.
pub async fn call_pipeline(
    resolver: &Arc<Resolver>,
    pipeline: &Arc<Pipeline>,
    calling: &Calling,
    witness: Witness,
    shell: &Shell,
) -> anyhow::Result<Result<CallReport, Exit>> {
    let (sender, events) = tokio::sync::mpsc::unbounded_channel();
    let (denied, mut denials) = tokio::sync::mpsc::unbounded_channel();
    let tell = move |ended: &Ended<'_>| {
        if let Ok(report) = ended.came {
            let (name, package) = (ended.entry.wire_name.to_string(), ended.entry.package.id());
            // Nobody listens any more once the command is interrupted.
            let _ = denied.send((name, package.clone(), report.denials.clone()));
        }
    };
    let caller = Caller {
        principal: Principal::default(),
        audit: Some(Arc::clone(&calling.log)),
        client: Some(calling.client.to_owned()),
        identity: None,
        metrics: None,
        telemetry: None,
        trace: None,
        events: Arc::new(Forward(sender)),
        document: mcp::result_document,
        tell: Arc::new(tell),
    };
    let running = pipeline::call(resolver, pipeline, calling.arguments.clone(), caller);
    let report = shown(running, events, shell).await?;
    if let Ok(report) = &report {
        witness.ended(report);
    }
    while let Ok((name, package, denials)) = denials.try_recv() {
        outcome::tell_denials(&name, &package, &denials, shell);
    }
    Ok(report)
}

/// Shows what is said until a call ends, or the person interrupts it.
async fn shown(
    running: impl Future<Output = CallReport>,
    mut events: UnboundedReceiver<GuestEvent>,
    shell: &Shell,
) -> anyhow::Result<Result<CallReport, Exit>> {
    tokio::pin!(running);
    let report = loop {
        tokio::select! {
            biased;
            Some(event) = events.recv() => tell(&event, shell),
            report = &mut running => break report,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("waiting for Ctrl-C")?;
                return Ok(Err(Exit::Interrupted));
            }
        }
    };
    while let Ok(event) = events.try_recv() {
        tell(&event, shell);
    }
    Ok(Ok(report))
}

/// The one that is meant of a file's tools: by its name, or the only one.
///
/// # Errors
/// Where there is none of that name, or there are several and none is named.
pub fn pick<'a>(
    tools: &'a [Arc<VerifiedTool>],
    name: Option<&str>,
) -> anyhow::Result<&'a Arc<VerifiedTool>> {
    let names =
        || tools.iter().map(|tool| tool.definition().name.as_str()).collect::<Vec<_>>().join(", ");
    match (name, tools) {
        (Some(name), tools) => {
            let found = tools.iter().find(|tool| tool.definition().name.as_str() == name);
            found.ok_or_else(|| {
                let message = format!("there is no tool `{name}` in it");
                Failure::new(Exit::NotFound, message).help(format!("there are: {}", names())).into()
            })
        }
        (None, [only]) => Ok(only),
        (None, _) => Err(Failure::new(Exit::Usage, "there are several tools in it")
            .help(format!("name one with --tool: {}", names()))
            .into()),
    }
}

/// Hands a guest's events to whoever shows them. Their number is bounded by the sandbox.
struct Forward(tokio::sync::mpsc::UnboundedSender<GuestEvent>);

impl EventSink for Forward {
    fn event(&self, event: GuestEvent) {
        // Nobody listens any more once the command is interrupted.
        let _ = self.0.send(event);
    }
}

fn tell(event: &GuestEvent, shell: &Shell) {
    match event {
        GuestEvent::Log { level, message } => {
            let level = format!("{level:?}").to_lowercase();
            for line in message.split('\n') {
                shell.say(format_args!("{level:>12} {}", printable(line)));
            }
        }
        GuestEvent::Progress { progress, total, message } => {
            let total = total.map(|total| format!(" of {total}")).unwrap_or_default();
            let message = message.as_deref().unwrap_or_default();
            shell.status("Progress", format_args!("{progress}{total} {}", quoted(message)));
        }
        GuestEvent::ListChanged(_) => {}
    }
}
