//! `cargo kami serve`: the installed tools, for agents.

use std::sync::Arc;

use anyhow::Context as _;
use kami_core::mcp::{self, Server, ServerOptions};

use crate::exit::Exit;
use crate::ops::audit::AuditFlags;
use crate::ops::{host, policy};
use crate::settings::Settings;
use crate::shell::Shell;

/// Serve the installed tools to agents over MCP on stdin and stdout
///
/// This is the command to put into a client's configuration (Claude, Cursor, VS Code...). Every
/// call runs in a fresh sandbox. Tools that are installed or removed meanwhile are announced. At
/// the end of the input, what was accepted is answered; then the server ends.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo kami serve
  cargo kami serve --data-dir ./tools -v
  claude mcp add kami -- cargo-kami serve")]
pub struct Args {
    /// Put into the `_meta` of each result what the call took
    #[arg(long)]
    stats: bool,
    /// The most calls in a minute, of all tools together; a lower number in the policy holds
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_calls_per_minute: Option<u64>,
    #[command(flatten)]
    audit: AuditFlags,
}

pub fn run(args: &Args, settings: &Settings, shell: &Shell) -> anyhow::Result<Exit> {
    host::bound_arenas();
    host::raise_file_limit();
    host::runtime()?.block_on(async {
        let resolver = host::resolver(settings, shell)?;
        // A policy that cannot be read refuses every call, until it is mended.
        let policy = policy::load(settings).ok().flatten();
        let log = args.audit.open(&settings.data_dir, policy.as_ref())?;
        let limits = [policy.and_then(|policy| policy.calls_per_minute), args.max_calls_per_minute];
        let options = ServerOptions {
            stats: args.stats,
            audit: Some(Arc::clone(&log)),
            calls_per_minute: limits.into_iter().flatten().min(),
            ..ServerOptions::default()
        };
        let tools = resolver.catalog()?.count()?;
        shell.status("Serving", format_args!("{tools} tools on stdin and stdout"));
        let interrupted = interruption()?;
        let (input, output) = mcp::stdio_pipes();
        Server::new(resolver, options).serve_stdio(input, output, interrupted).await?;
        log.flush().await?;
        Ok(Exit::Success)
    })
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
