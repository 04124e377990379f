//! `cargo kami`: Rust functions as tools that AI agents call in a sandbox.
//!
//! What was typed ([`cli`]) is merged with a file and the environment ([`config`]) into [`settings`],
//! and one file in [`commands`] does the work, with what several commands do in [`ops`]. A command gives an
//! [`exit::Exit`] or an error, from which [`exit`] tells the code and [`shell`] the words. Only
//! [`shell`] writes to the terminal.

mod cli;
mod commands;
mod config;
mod diagnostic;
mod env_vars;
mod exit;
mod logging;
mod ops;
mod settings;
mod shell;
mod summary;
mod template;
mod workspace;

use std::process::ExitCode;

use clap::FromArgMatches as _;
use cli::Cli;
use config::Typed;
use exit::Exit;
use ops::compiler::Job;
use settings::Settings;
use shell::Shell;

/// The program: reads this process's command line, does what it says, and tells how it ended.
///
/// A process that was started by another one of this program does one job for it and nothing else.
pub fn main() -> ExitCode {
    if let Some(job) = Job::of_this_process() {
        return job.work();
    }
    let typed = Cli::typed();
    let mut shell = typed.shell();
    let outcome = run(typed, &mut shell);
    let exit = outcome.unwrap_or_else(|error| {
        let exit = Exit::of(&error);
        // A reader that has seen enough, such as `head`, is no failure to speak of.
        if exit != Exit::OutputClosed {
            shell.error(&error);
        }
        exit
    });
    exit.into()
}

fn run(typed: Typed, shell: &mut Shell) -> anyhow::Result<Exit> {
    let (matches, config) = typed.merge()?;
    let Cli { flags, command } = Cli::from_arg_matches(&matches)?;
    *shell = Shell::new(flags.color, flags.quiet);
    let settings = Settings::of(&flags, config)?;
    logging::start(&flags, shell)?;
    commands::run(command, &settings, shell)
}
