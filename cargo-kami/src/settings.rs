//! Flags and environment, merged once into plain values.

use std::path::PathBuf;

use anyhow::Context as _;
use kami_core::registry::DataDir;

use crate::env_vars;
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
    /// How many times `-v` was given.
    pub verbosity: u8,
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
        Ok(Self { data_dir: DataDir::new(data_dir), verbosity: flags.verbose })
    }
}
