//! One file for each command: its arguments, whose comments are the help text, and `run`.

pub mod build;
pub mod check;
pub mod new;

use crate::cli::Command;
use crate::exit::Exit;
use crate::settings::Settings;
use crate::shell::Shell;

/// Does what was asked for.
///
/// # Errors
/// Whatever stops the command; [`Exit::of`] gives it a code.
pub fn run(command: Command, settings: &Settings, shell: &Shell) -> anyhow::Result<Exit> {
    match command {
        Command::New(args) => new::run(&args, settings, shell),
        Command::Build(args) => build::run(&args, shell),
        Command::Check(args) => check::run(&args, shell),
    }
}
