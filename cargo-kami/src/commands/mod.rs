//! One file for each command: its arguments, whose comments are the help text, and `run`.

pub mod build;
pub mod call;
pub mod check;
pub mod config;
pub mod demo;
pub mod explain;
pub mod grants;
pub mod inspect;
pub mod install;
pub mod keygen;
pub mod list;
pub mod log;
pub mod new;
pub mod policy;
pub mod publish;
pub mod record;
pub mod run;
pub mod secret;
pub mod serve;
pub mod sign;
pub mod status;
pub mod token;
pub mod trust;
pub mod uninstall;
pub mod verify;

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
        Command::New(args) => new::run(&args, shell),
        Command::Build(args) => build::run(&args, shell),
        Command::Check(args) => check::run(&args, shell),
        Command::Keygen(args) => keygen::run(&args, settings, shell),
        Command::Sign(args) => sign::run(&args, settings, shell),
        Command::Verify(args) => verify::run(&args, settings, shell),
        Command::Trust(args) => trust::run(&args, settings, shell),
        Command::Secret(args) => secret::run(&args, settings, shell),
        Command::Install(args) => install::run(&args, settings, shell),
        Command::Grants(args) => grants::run(&args, settings, shell),
        Command::Policy(args) => policy::run(&args, settings, shell),
        Command::Uninstall(args) => uninstall::run(&args, settings, shell),
        Command::List(args) => list::run(&args, settings, shell),
        Command::Inspect(args) => inspect::run(&args, settings, shell),
        Command::Call(args) => call::run(&args, settings, shell),
        Command::Run(args) => run::run(&args, settings, shell),
        Command::Record(args) => record::run(&args, settings, shell),
        Command::Explain(args) => explain::run(&args, shell),
        Command::Serve(args) => serve::run(&args, settings, shell),
        Command::Token(args) => token::run(&args, settings, shell),
        Command::Log(args) => log::run(&args, settings, shell),
        Command::Status(args) => status::run(&args, settings, shell),
        Command::Config(args) => config::run(&args, settings, shell),
        Command::Publish(args) => publish::run(&args, settings, shell),
        Command::Demo(args) => demo::run(&args, shell),
    }
}
