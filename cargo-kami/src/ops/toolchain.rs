//! The compiler, its version, and its target for components.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context as _;

use crate::env_vars;
use crate::exit::{Exit, Failure};
use crate::shell::Shell;

/// What tools are compiled to.
pub const TARGET: &str = "wasm32-wasip2";

/// The compiler that cargo will use.
#[derive(Debug)]
pub struct Toolchain {
    /// Such as `rustc 1.95.0 (59807616e 2026-04-14)`.
    pub version: String,
    /// Where the standard library's sources are if they are installed, and the path by which the
    /// compiler names them if they are not.
    pub standard_library: Option<(PathBuf, String)>,
}

/// The cargo that called us, or the one on the path.
pub fn cargo() -> OsString {
    env_vars::CARGO.get().unwrap_or_else(|| "cargo".into())
}

fn rustc() -> Command {
    Command::new(env_vars::RUSTC.get().unwrap_or_else(|| "rustc".into()))
}

/// A program that is needed could not be started.
pub fn not_started(program: &str, error: io::Error) -> anyhow::Error {
    let failure = Failure::new(Exit::Toolchain, format!("`{program}` could not be started"))
        .help("Rust and cargo come from https://rustup.rs");
    anyhow::Error::from(error).context(failure)
}

impl Toolchain {
    /// Asks the compiler who it is.
    ///
    /// # Errors
    /// Where there is none, or it does not answer.
    pub fn detect() -> anyhow::Result<Self> {
        let about = ask(rustc().arg("-vV"))?;
        let version = about.lines().next().unwrap_or_default().to_owned();
        let commit = about.lines().find_map(|line| line.strip_prefix("commit-hash: "));
        let sysroot = PathBuf::from(ask(rustc().args(["--print", "sysroot"]))?);
        let standard_library =
            commit.map(|commit| (sysroot.join("lib/rustlib/src/rust"), format!("/rustc/{commit}")));
        Ok(Self { version, standard_library })
    }

    /// Has rustup add the target if the compiler lacks it.
    ///
    /// # Errors
    /// Where it cannot be added, with the command that would.
    pub fn ensure_target(&self, without_network: bool, shell: &Shell) -> anyhow::Result<()> {
        if has_target()? {
            return Ok(());
        }
        let missing =
            Failure::new(Exit::Toolchain, format!("{} lacks the target {TARGET}", self.version));
        let command = format!("rustup target add {TARGET}");
        if without_network {
            return Err(missing.help(format!("run `{command}` while there is a network")).into());
        }
        shell.status("Adding", format_args!("target {TARGET} (`{command}`)"));
        match Command::new("rustup").args(["target", "add", TARGET]).stdout(Stdio::null()).status()
        {
            Ok(status) if status.success() && has_target()? => Ok(()),
            Ok(_) => {
                Err(missing.help(format!("`{command}` did not add it: run it to see why")).into())
            }
            Err(_) => Err(missing
                .help(format!(
                    "there is no rustup to add it: install the target's standard library with the \
                     system that installed rustc, or use https://rustup.rs and `{command}`"
                ))
                .into()),
        }
    }
}

/// Whether the target's standard library is there.
fn has_target() -> anyhow::Result<bool> {
    let directory = ask(rustc().args(["--print", "target-libdir", "--target", TARGET]))?;
    Ok(PathBuf::from(directory).is_dir())
}

fn ask(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stderr(Stdio::inherit()).output().map_err(|e| not_started("rustc", e))?;
    if !output.status.success() {
        return Err(Failure::new(Exit::Toolchain, format!("`{command:?}` failed")).into());
    }
    let text = String::from_utf8(output.stdout).context("reading what rustc says")?;
    Ok(text.trim_end().to_owned())
}
