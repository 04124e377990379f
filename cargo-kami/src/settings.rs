//! Flags and environment, merged once into plain values.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use kami_core::policy::PolicyFile;
use kami_core::registry::DataDir;

use crate::env_vars::{self, Variable};
use crate::exit::{Exit, Failure};
use crate::ops::compiler::CompileLimits;
use crate::shell::Color;

/// The flags that every command has.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Flags {
    /// Where installed tools, grants and keys are kept [default: ~/.kami]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = env_vars::DATA_DIR.name,
        hide_env = true,
        help_heading = "Global options"
    )]
    pub data_dir: Option<PathBuf>,
    /// The policy file, which always wins [default: kami-policy.toml in the data directory]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = env_vars::POLICY.name,
        hide_env = true,
        help_heading = "Global options"
    )]
    pub policy: Option<PathBuf>,
    /// When to use colours
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true,
        help_heading = "Global options"
    )]
    pub color: Color,
    /// Say only what went wrong
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Global options")]
    pub quiet: bool,
    /// Log more to stderr (-vv and -vvv for still more)
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,
}

/// What holds for this run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the operator's state is.
    pub data_dir: DataDir,
    /// Where the operator's policy is. Never in the current directory by itself, which may be a
    /// stranger's checkout.
    pub policy: PolicyFile,
    /// How many times `-v` was given.
    pub verbosity: u8,
    /// What compiling one tool may take.
    pub compile: CompileLimits,
}

impl Settings {
    /// Decides by flag, then by environment, then by default.
    ///
    /// # Errors
    /// Where nothing says where the data directory is.
    pub fn merge(flags: Flags) -> anyhow::Result<Self> {
        let home = || std::env::home_dir().map(|home| home.join(".kami"));
        let given = flags.data_dir.filter(|path| !path.as_os_str().is_empty());
        let data_dir = given.or_else(home).with_context(|| {
            format!(
                "there is no home directory: give --data-dir or set {}",
                env_vars::DATA_DIR.name
            )
        })?;
        let data_dir = std::path::absolute(&data_dir)
            .with_context(|| format!("finding the data directory {}", data_dir.display()))?;
        let data_dir = DataDir::new(data_dir);
        let policy = match flags.policy.filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => PolicyFile::required(
                std::path::absolute(&path)
                    .with_context(|| format!("finding the policy {}", path.display()))?,
            ),
            None => PolicyFile::optional(data_dir.policy_file()),
        };
        let compile = compile_limits()?;
        Ok(Self { data_dir, policy, verbosity: flags.verbose, compile })
    }
}

fn compile_limits() -> anyhow::Result<CompileLimits> {
    let default = CompileLimits::default();
    let seconds = number(&env_vars::COMPILE_SECONDS)?.map(Duration::from_secs);
    let memory_mb = number(&env_vars::COMPILE_MEMORY)?;
    Ok(CompileLimits {
        time: seconds.unwrap_or(default.time),
        memory_mb: memory_mb.unwrap_or(default.memory_mb),
    })
}

/// The whole number in a variable, if it is set; what nobody could wait for or have is no limit.
fn number(variable: &Variable) -> Result<Option<u64>, Failure> {
    const MOST: u64 = 1 << 20;
    let Some(text) = variable.get() else { return Ok(None) };
    let number = text.to_str().and_then(|text| text.parse().ok());
    match number {
        Some(number) if (1..=MOST).contains(&number) => Ok(Some(number)),
        _ => {
            let message = format!("{} is not a whole number from 1 to {MOST}", variable.name);
            Err(Failure::new(Exit::Usage, message))
        }
    }
}
