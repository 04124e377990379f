//! What can be typed: the global flags and one variant for each command.

use std::ffi::OsString;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{CommandFactory, Parser, Subcommand};

use crate::config::Typed;
use crate::settings::Flags;
use crate::{commands, env_vars, exit};

/// Turns Rust functions into tools that AI agents call in a sandbox
///
/// Write a function, put `#[kami_tool]` on it, and build it into one WebAssembly file that carries
/// its code, its schemas, what it asks for and its signature. Install the file, see what it asks
/// for, and serve it to any client of the Model Context Protocol.
#[derive(Debug, Parser)]
#[command(
    name = "cargo-kami",
    bin_name = "cargo kami",
    version,
    styles = STYLES,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  cargo kami new my-tool       start a tool
  cargo kami build             compile it into target/kami/my-tool.wasm
  cargo kami check             compare what it asks for with what it uses
  cargo kami install .         see what it asks for, and grant it
  cargo kami call my-tool      call it as an agent would
  cargo kami serve             offer what is installed over MCP

`cargo kami help COMMAND` says more about a command."
)]
pub struct Cli {
    #[command(flatten)]
    pub flags: Flags,
    #[command(subcommand)]
    pub command: Command,
}

/// The commands, in the order in which a person meets them.
#[derive(Debug, Subcommand)]
pub enum Command {
    New(commands::new::Args),
    Build(commands::build::Args),
    Check(commands::check::Args),
    Keygen(commands::keygen::Args),
    Sign(commands::sign::Args),
    Verify(commands::verify::Args),
    Trust(commands::trust::Args),
    Secret(commands::secret::Args),
    Install(commands::install::Args),
    Grants(commands::grants::Args),
    Policy(commands::policy::Args),
    Uninstall(commands::uninstall::Args),
    List(commands::list::Args),
    Inspect(commands::inspect::Args),
    #[command(visible_alias = "exec")]
    Call(commands::call::Args),
    Run(commands::run::Args),
    Record(commands::record::Args),
    Serve(commands::serve::Args),
    Token(commands::token::Args),
    Log(commands::log::Args),
    Status(commands::status::Args),
    Config(commands::config::Args),
    Explain(commands::explain::Args),
    Publish(commands::publish::Args),
    Demo(commands::demo::Args),
}

/// The colours of cargo's own help.
const STYLES: Styles = Styles::styled()
    .header(AnsiColor::BrightGreen.on_default().bold())
    .usage(AnsiColor::BrightGreen.on_default().bold())
    .literal(AnsiColor::BrightCyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

impl Cli {
    /// Reads the command line of this process, as `cargo kami X` or `cargo-kami X`; where it is
    /// wrong or asks for help, says so and ends the process, as clap does.
    pub fn typed() -> Typed {
        let command = Self::command().after_long_help(reference());
        Typed::read(command, without_cargo(std::env::args_os()).collect())
    }
}

/// Drops the `kami` that cargo puts before a subcommand's own arguments.
fn without_cargo(arguments: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    arguments.enumerate().filter(|(at, text)| *at != 1 || text != "kami").map(|(_, text)| text)
}

/// What the long help adds: every environment variable and every exit code.
fn reference() -> String {
    let mut text = String::from("Environment:\n");
    for variable in env_vars::ALL {
        text += &format!("  {:<28} {}\n", variable.name, variable.doc);
    }
    text += "\nExit codes:\n";
    for exit in exit::ALL {
        text += &format!("  {:>3}  {exit}\n", *exit as u8);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn both_ways_of_calling_mean_the_same() {
        let typed = |words: &[&str]| {
            let words = words.iter().map(OsString::from);
            without_cargo(words).map(|word| word.into_string().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(typed(&["cargo-kami", "kami", "build"]), ["cargo-kami", "build"]);
        assert_eq!(typed(&["cargo-kami", "build"]), ["cargo-kami", "build"]);
        assert_eq!(typed(&["cargo-kami", "new", "kami"]), ["cargo-kami", "new", "kami"]);
    }
}
