//! The operator's log: to stderr, quiet unless asked.

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;

use crate::settings::Flags;
use crate::shell::Shell;

/// What each number of `-v` shows. The protocol library logs every message at its own levels, and
/// stays a step behind ours.
const LEVELS: [&str; 4] =
    ["warn,rmcp::service=error", "info,rmcp=warn", "debug,rmcp=info", "trace,rmcp=debug"];

/// The form of what is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For people, who see themselves when it comes.
    #[default]
    Plain,
    /// For what collects logs: an object on each line, with its time.
    Json,
}

/// Starts logging for the whole process, by a filter or else by the number of `-v`.
///
/// # Errors
/// Where the filter cannot be read.
pub fn start(flags: &Flags, shell: &Shell) -> anyhow::Result<()> {
    let filter = match &flags.log {
        Some(value) => EnvFilter::try_new(value)
            .with_context(|| format!("reading the log filter `{value}`"))?,
        None => EnvFilter::new(LEVELS[usize::from(flags.verbose).min(LEVELS.len() - 1)]),
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match flags.log_format {
        LogFormat::Plain => log.with_ansi(shell.colored()).without_time().init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}
