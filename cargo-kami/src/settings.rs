//! The global options, and the plain values that they come to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::value_parser;
use kami_core::policy::PolicyFile;
use kami_core::registry::DataDir;

use crate::config::Config;
use crate::env_vars;
use crate::logging::LogFormat;
use crate::ops::compiler::CompileLimits;
use crate::shell::Color;

/// The most that anybody could wait for, or have.
const MOST: u64 = 1 << 20;

/// The flags that every command has. Where none is typed, [`crate::config`] fills in what else says
/// it.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct Flags {
    /// Where installed tools, grants and keys are kept [default: ~/.kami]
    #[arg(long, global = true, value_name = "DIR", env = env_vars::DATA_DIR.name, hide_env = true)]
    pub data_dir: Option<PathBuf>,
    /// The config file, which says what is not typed [default: config.toml in the data directory]
    #[arg(long, global = true, value_name = "FILE", env = env_vars::CONFIG.name, hide_env = true)]
    pub config: Option<PathBuf>,
    /// The policy file, which always wins [default: kami-policy.toml in the data directory]
    #[arg(long, global = true, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// When to use colours
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true
    )]
    pub color: Color,
    /// Say only what went wrong
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Log more to stderr (-vv and -vvv for still more)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// What is logged, such as `debug` or `kami_core=trace,rmcp=warn`; `-v` is a shorter way
    #[arg(long, global = true, value_name = "FILTER", hide_short_help = true)]
    pub log: Option<String>,
    /// How it is logged: as `plain` text, or each event as a line of `json`
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "plain",
        hide_possible_values = true,
        hide_short_help = true
    )]
    pub log_format: LogFormat,
    /// The longest that compiling one tool may take
    #[arg(
        long,
        global = true,
        value_name = "SECONDS",
        default_value_t = CompileLimits::default().time.as_secs(),
        value_parser = value_parser!(u64).range(1..=MOST),
        hide_short_help = true
    )]
    pub compile_seconds: u64,
    /// The most memory that compiling one tool may take
    #[arg(
        long,
        global = true,
        value_name = "MIB",
        default_value_t = CompileLimits::default().memory_mb,
        value_parser = value_parser!(u64).range(1..=MOST),
        hide_short_help = true
    )]
    pub compile_memory_mb: u64,
}

/// What holds for this run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the operator's state is.
    pub data_dir: DataDir,
    /// Where the operator's policy is. Never in the current directory by itself, which may be a
    /// stranger's checkout.
    pub policy: PolicyFile,
    /// What compiling one tool may take.
    pub compile: CompileLimits,
    /// What holds of all options, and why.
    pub config: Config,
}

impl Settings {
    /// What the global options come to.
    ///
    /// # Errors
    /// Where nothing says where the data directory is.
    pub fn of(flags: &Flags, config: Config) -> anyhow::Result<Self> {
        let data_dir = data_dir(flags.data_dir.as_ref())?;
        let policy = match flags.policy.as_ref().filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => PolicyFile::required(absolute(path, "the policy")?),
            None => PolicyFile::optional(data_dir.policy_file()),
        };
        let compile = CompileLimits {
            time: Duration::from_secs(flags.compile_seconds),
            memory_mb: flags.compile_memory_mb,
        };
        Ok(Self { data_dir, policy, compile, config })
    }
}

/// The data directory that was named, or the usual one.
///
/// # Errors
/// Where there is no home to have it in.
pub fn data_dir(given: Option<&PathBuf>) -> anyhow::Result<DataDir> {
    let home = || std::env::home_dir().map(|home| home.join(".kami"));
    let given = given.filter(|path| !path.as_os_str().is_empty());
    let path = given.cloned().or_else(home).with_context(|| {
        format!("there is no home directory: give --data-dir or set {}", env_vars::DATA_DIR.name)
    })?;
    Ok(DataDir::new(absolute(&path, "the data directory")?))
}

/// A path that means the same wherever this process goes.
///
/// # Errors
/// Where there is no current directory.
pub fn absolute(path: &Path, what: &str) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("finding {what} {}", path.display()))
}
