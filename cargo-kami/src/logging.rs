//! The operator's log: to stderr, quiet unless asked.

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;

use crate::env_vars;
use crate::shell::Shell;

/// What each number of `-v` shows. The protocol library logs every message at its own levels, and
/// stays a step behind ours.
const LEVELS: [&str; 4] =
    ["warn,rmcp::service=error", "info,rmcp=warn", "debug,rmcp=info", "trace,rmcp=debug"];

/// Starts logging for the whole process, by the environment or else by the number of `-v`.
///
/// # Errors
/// Where the environment's filter cannot be read.
pub fn start(verbosity: u8, shell: &Shell) -> anyhow::Result<()> {
    let asked = [env_vars::LOG, env_vars::RUST_LOG]
        .iter()
        .find_map(|variable| Some((variable.name, variable.get()?)));
    let filter = match asked {
        Some((name, value)) => {
            let value =
                value.into_string().map_err(|_| anyhow::anyhow!("{name} is not Unicode"))?;
            EnvFilter::try_new(&value).with_context(|| format!("reading {name}=`{value}`"))?
        }
        None => EnvFilter::new(LEVELS[usize::from(verbosity).min(LEVELS.len() - 1)]),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(shell.colored())
        .without_time()
        .init();
    Ok(())
}
