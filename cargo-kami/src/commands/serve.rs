//! `cargo kami serve`: the installed tools, for agents.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::builder::TypedValueParser as _;
use kami_core::mcp::{self, DiscoverOptions, ServeError, Server, ServerOptions};
use kami_core::registry::{ToolPattern, ToolSelection};
use kami_core::resolve::{Catalog, CatalogEntry};
use kami_core::scheduler::ScheduleOptions;
use tokio::net::TcpListener;

use crate::config::Config;
use crate::env_vars;
use crate::exit::{Exit, Failure};
use crate::ops::audit::AuditFlags;
use crate::ops::door::DoorFlags;
use crate::ops::selection::SelectionFlags;
#[cfg(feature = "otlp")]
use crate::ops::telemetry::{Exporter, TelemetryFlags};
use crate::ops::{host, policy};
use crate::settings::Settings;
use crate::shell::Shell;

/// How long what still runs at the end may go on, such as the record of a call that was ended.
const LAST_WORK: Duration = Duration::from_millis(500);

/// How long calls may go on at the end. Whoever started a server on stdin and stdout sends a harsher
/// signal after a few seconds; a service manager waits for longer.
const STDIO_DRAIN_SECONDS: u64 = 2;
const HTTP_DRAIN_SECONDS: u64 = 10;

/// Serve the installed tools to agents over MCP, on stdin and stdout or over HTTP
///
/// This is the command to put into a client's configuration (Claude, Cursor, VS Code...). Every
/// call runs in a fresh sandbox. Tools that are installed or removed meanwhile are announced. At
/// the end of the input, what was accepted is answered; then the server ends.
///
/// Each option can also stand in the config file under [serve], in one of its profiles, or in the
/// environment; `cargo kami config` shows what holds.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo kami serve
  cargo kami serve --data-dir ./tools -v
  cargo kami serve --tools 'dev.example.web/*' --exclude post
  cargo kami serve --tag office --exclude-tag experimental
  cargo kami serve --discover --pin search
  cargo kami serve --http 127.0.0.1:3000
  cargo kami serve --http 127.0.0.1:3000 --auth tokens
  cargo kami serve --profile office
  cargo kami serve --http 0.0.0.0:3000 --auth tokens --public-url https://tools.example.com
  cargo kami serve --max-concurrent 16 --max-queued 100
  claude mcp add kami -- cargo-kami serve")]
pub struct Args {
    /// Put into the `_meta` of each result what the call took
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true",
        hide_default_value = true,
        hide_possible_values = true,
        action = clap::ArgAction::Set
    )]
    stats: bool,
    /// The most calls in a minute, of all tools together; a lower number in the policy holds
    ///
    /// Over HTTP it is for all clients together, and for each one where clients show who they are.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_calls_per_minute: Option<u64>,
    /// Take what the table [profile.NAME] of the config file says, too
    #[arg(long, value_name = "NAME", env = env_vars::PROFILE.name, hide_env = true)]
    profile: Option<String>,
    /// Serve over HTTP at this address of this machine, on /mcp, instead of stdin and stdout
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,
    /// Serve on stdin and stdout, also where the config file has an address
    #[arg(long, conflicts_with = "http")]
    stdio: bool,
    #[command(flatten)]
    tools: SelectionFlags,
    /// List only `search_tools` and `call_tool`, by which a model finds the others
    ///
    /// For so many tools that a model should not read about all of them; `cargo kami list --tokens`
    /// tells what that costs. What may be called is the same: a tool that is not listed can also be
    /// called by its name.
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true",
        hide_default_value = true,
        hide_possible_values = true,
        action = clap::ArgAction::Set
    )]
    discover: bool,
    /// List these tools all the same: a pattern as in `--tools`; may be given again
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    pin: Vec<ToolPattern>,
    /// The most calls at once, of all tools together, from 1 to 3000
    ///
    /// Each takes memory up to its tool's limit. How many of one tool run at once is its own limit,
    /// `max-concurrent-calls`.
    #[arg(
        long,
        value_name = "N",
        default_value_t = ScheduleOptions::default().places,
        value_parser = clap::value_parser!(u32).range(1..=3000)
    )]
    max_concurrent: u32,
    /// The most calls that wait for others to end, from 0 to 10000
    ///
    /// A call beyond it fails at once with KAMI-BUSY, and a time after which to try again.
    #[arg(
        long,
        value_name = "N",
        default_value_t = ScheduleOptions::default().most_waiting,
        value_parser = clap::value_parser!(u32).range(0..=10_000).map(|most| most as usize)
    )]
    max_queued: usize,
    /// The longest that a call waits, from 1 to 3600 seconds
    ///
    /// No call waits longer than it may last, either. Then it fails with KAMI-BUSY, too.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = ScheduleOptions::default().patience.as_secs(),
        value_parser = clap::value_parser!(u64).range(1..=3600)
    )]
    max_queue_seconds: u64,
    /// How long calls may go on once the server is told to end, from 0 to 3600 seconds [default: 10 over
    /// HTTP, 2 on stdin and stdout]
    ///
    /// Those that take longer are ended, and whoever waits for them is told so.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=3600))]
    drain_seconds: Option<u64>,
    #[command(flatten)]
    audit: AuditFlags,
    #[cfg(feature = "otlp")]
    #[command(flatten)]
    telemetry: TelemetryFlags,
    #[command(flatten)]
    door: Box<DoorFlags>,
}

impl Args {
    /// Where to serve over HTTP, if not on stdin and stdout.
    fn address(&self) -> Option<SocketAddr> {
        self.http.filter(|_| !self.stdio)
    }

    fn schedule(&self) -> ScheduleOptions {
        let most = self.max_queued;
        // On stdin and stdout there is one client, and all of the line is its own.
        let of_one = if self.address().is_some() { most.div_ceil(2) } else { most };
        ScheduleOptions {
            places: self.max_concurrent,
            most_waiting: most,
            most_waiting_of_one: of_one,
            patience: Duration::from_secs(self.max_queue_seconds),
        }
    }

    fn drain(&self) -> u64 {
        let usual = if self.address().is_some() { HTTP_DRAIN_SECONDS } else { STDIO_DRAIN_SECONDS };
        self.drain_seconds.unwrap_or(usual)
    }

    /// What options come to whose default is decided by others.
    pub fn derived(&self) -> [(&'static str, String); 1] {
        [("serve.drain-seconds", self.drain().to_string())]
    }

    /// Refuses options that mean something with another one only, if that is not there.
    fn check(&self, config: &Config) -> Result<(), Failure> {
        if !self.discover {
            config.refuse(&["pin"], "--discover")?;
        }
        if self.address().is_none() {
            config.refuse(DoorFlags::KEYS, "--http 127.0.0.1:3000")?;
        }
        self.door.check(config)
    }
}

pub fn run(args: &Args, settings: &Settings, shell: &Shell) -> anyhow::Result<Exit> {
    args.check(&settings.config)?;
    host::settle_allocator();
    host::raise_file_limit();
    let runtime = host::runtime()?;
    #[cfg(feature = "otlp")]
    let exporter = args.telemetry.start(runtime.handle())?;
    let ended = runtime.block_on(async {
        // A policy that cannot be read refuses every call, until it is mended.
        let policy = policy::load(settings).ok().flatten();
        let resolver = host::scheduled_resolver(settings, args.schedule(), shell)?;
        let log = args.audit.open(&settings.data_dir, policy.as_ref())?;
        let limits = [policy.and_then(|policy| policy.calls_per_minute), args.max_calls_per_minute];
        let calls_per_minute = limits.into_iter().flatten().min();
        let options = ServerOptions {
            stats: args.stats,
            audit: Some(Arc::clone(&log)),
            #[cfg(feature = "otlp")]
            telemetry: exporter.as_ref().map(Exporter::telemetry),
            calls_per_minute,
            tools: args.tools.selection(),
            discover: args.discover.then(|| DiscoverOptions { pins: args.pin.clone() }),
            drain: Duration::from_secs(args.drain()),
            ..ServerOptions::default()
        };
        let tools = count(&*resolver.catalog()?, &options.tools)?;
        let interrupted = interruption()?;
        let server = Server::new(resolver, options);
        let served = match args.address() {
            Some(address) => {
                let door = args.door.clone();
                let door = door.options(&settings.data_dir, calls_per_minute, shell)?;
                let listener = TcpListener::bind(address).await;
                let listener = listener.with_context(|| format!("listening on {address}"))?;
                let address = listener.local_addr()?;
                shell.status("Serving", format_args!("{tools} tools on http://{address}/mcp"));
                server.serve_http(listener, door, interrupted).await.map_err(advised)
            }
            None => {
                shell.status("Serving", format_args!("{tools} tools on stdin and stdout"));
                let (input, output) = mcp::stdio_pipes();
                server.serve_stdio(input, output, interrupted).await.map_err(Into::into)
            }
        };
        log.flush().await?;
        served?;
        Ok(Exit::Success)
    });
    #[cfg(feature = "otlp")]
    if let Some(exporter) = exporter {
        exporter.finish();
    }
    // Where stdin is no pipe, a thread may be reading it, and reads on until somebody writes.
    runtime.shutdown_timeout(LAST_WORK);
    ended
}

/// How many tools are offered.
fn count(catalog: &Catalog, tools: &ToolSelection) -> anyhow::Result<usize> {
    if tools.is_everything() {
        return Ok(catalog.count()?);
    }
    let offered = |entry: &Result<CatalogEntry, _>| match entry {
        Ok(entry) => tools.allows(entry),
        Err(_) => true,
    };
    let entries: Result<Vec<_>, _> = catalog.entries(None).filter(offered).collect();
    Ok(entries?.len())
}

/// With the flags that would make it possible.
fn advised(error: ServeError) -> anyhow::Error {
    let help = match &error {
        ServeError::Exposed(_) => "ask clients for tokens with `--auth tokens` or `--oauth-issuer`",
        ServeError::Unnamed(_) => "name it with `--public-url https://HOST` or `--allow-host HOST`",
        _ => return error.into(),
    };
    Failure::new(Exit::Usage, error.to_string()).help(help).into()
}

/// Ends when this process is told to: by Ctrl-C, or as a service manager does.
fn interruption() -> anyhow::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    let mut terminated = {
        use tokio::signal::unix::{SignalKind, signal};
        signal(SignalKind::terminate()).context("waiting for SIGTERM")?
    };
    #[cfg(not(unix))]
    let mut terminated = tokio::signal::windows::ctrl_close().context("waiting for the end")?;
    Ok(async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated.recv() => {}
        }
    })
}
