//! Has cargo compile one package into a component.
//!
//! Each package is compiled by a run of cargo of its own. Cargo unites the features of packages
//! that it compiles together, and an artifact must not depend on what was built beside it.
//!
//! The crate type is given here, so that a tool's package is an ordinary library: it needs no
//! `[lib]` section, and link-time optimisation is not lost to an `rlib` that nobody uses.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use cargo_metadata::{CrateType, Message, Metadata, PackageId};

use super::packages::{CargoOptions, Crate};
use super::toolchain::{TARGET, Toolchain, cargo, not_started};
use crate::env_vars;
use crate::exit::{Exit, Failure};
use crate::shell::Shell;

/// Compiles `package` and gives the path of its component, as cargo tells it.
///
/// Cargo's own diagnostics and progress go to stderr.
///
/// # Errors
/// Where cargo fails, or makes no component.
pub fn compile(
    package: &Crate,
    options: &CargoOptions,
    remaps: &Remaps,
    shell: &Shell,
) -> anyhow::Result<PathBuf> {
    let mut command = Command::new(cargo());
    // Build scripts are others' code.
    command.env_remove(env_vars::KEY_PASSPHRASE.name);
    command.args(["rustc", "--lib", "--crate-type", "cdylib", "--target", TARGET]);
    command.args(["--message-format", "json-render-diagnostics"]);
    command.args(["--profile", options.profile(), "--color", shell.color().as_str()]);
    command.arg("--manifest-path").arg(&package.manifest_path);
    if let Some(jobs) = &options.jobs {
        command.args(["--jobs", jobs]);
    }
    if shell.quiet() {
        command.arg("--quiet");
    }
    remaps.pass_to(&mut command);
    command.args(options.resolve_flags()).args(&options.cargo_args);
    tracing::debug!(?command, "compiling");

    let failed = || {
        let message = format!("cargo could not compile `{}`", package.name);
        anyhow::Error::from(Failure::new(Exit::Compile, message))
    };
    let mut child =
        command.stdout(Stdio::piped()).spawn().map_err(|error| not_started("cargo", error))?;
    let stdout = child.stdout.take().context("cargo has no output")?;
    let component = find_component(BufReader::new(stdout), &package.id);
    let status = child.wait().context("waiting for cargo")?;
    if !status.success() {
        return Err(failed());
    }
    component?.ok_or_else(failed).with_context(|| {
        Failure::new(Exit::Compile, format!("cargo made no component of `{}`", package.name))
            .help("flags after `--` must leave the crate type and the target as they are")
    })
}

/// Reads cargo's messages to their end, and keeps the component of `package`.
fn find_component(
    messages: impl std::io::BufRead,
    package: &PackageId,
) -> anyhow::Result<Option<PathBuf>> {
    let mut component = None;
    for message in Message::parse_stream(messages) {
        let message = message.context("reading the messages of cargo")?;
        if let Message::CompilerArtifact(artifact) = message
            && artifact.package_id == *package
            && artifact.target.crate_types.contains(&CrateType::CDyLib)
        {
            let made = artifact.filenames.into_iter().find(|file| file.extension() == Some("wasm"));
            component = made.map(|file| file.into_std_path_buf()).or(component);
        }
    }
    Ok(component)
}

/// The paths of this machine that must not get into an artifact, so that two checkouts in two
/// folders give the same bytes, and nobody learns where they were.
#[derive(Debug)]
pub struct Remaps(Vec<(PathBuf, String)>);

impl Remaps {
    /// Collects the workspace, path dependencies outside it, cargo's home, the target directory
    /// and the standard library.
    pub fn new(metadata: &Metadata, toolchain: &Toolchain) -> Self {
        let root = metadata.workspace_root.as_std_path();
        let mut remaps = vec![
            (root.to_owned(), "/workspace".to_owned()),
            (metadata.target_directory.clone().into_std_path_buf(), "/target".to_owned()),
        ];
        remaps.extend(cargo_home().map(|home| (home, "/cargo".to_owned())));
        remaps.extend(toolchain.standard_library.clone());
        for package in metadata.packages.iter().filter(|package| package.source.is_none()) {
            let directory = package.manifest_path.as_std_path().parent().unwrap_or(root);
            if !directory.starts_with(root) {
                let name = format!("/{}-{}", package.name, package.version);
                remaps.push((directory.to_owned(), name));
            }
        }
        // The compiler takes the last one that fits, which must be the most exact.
        remaps.sort_by_key(|(from, _)| from.as_os_str().len());
        Self(remaps)
    }

    fn flags(&self) -> impl Iterator<Item = OsString> {
        self.0.iter().map(|(from, to)| {
            let mut flag = OsString::from("--remap-path-prefix=");
            flag.push(from);
            flag.push("=");
            flag.push(to);
            flag
        })
    }

    /// Adds the flags to those that the user has.
    ///
    /// Cargo takes flags from one source only. If the environment has some, ours join them there;
    /// else ours join those of the target's configuration, as a list on the command line does.
    fn pass_to(&self, command: &mut Command) {
        let encoded = match (env_vars::CARGO_ENCODED_RUSTFLAGS.get(), env_vars::RUSTFLAGS.get()) {
            (Some(encoded), _) => Some(encoded),
            (None, Some(flags)) => Some(encode(&flags)),
            (None, None) => None,
        };
        match encoded {
            Some(mut flags) => {
                for flag in self.flags() {
                    flags.push("\u{1f}");
                    flags.push(flag);
                }
                command.env(env_vars::CARGO_ENCODED_RUSTFLAGS.name, flags);
            }
            None => {
                let flags: toml_edit::Array =
                    self.flags().map(|flag| flag.to_string_lossy().into_owned()).collect();
                command.arg("--config").arg(format!("target.{TARGET}.rustflags={flags}"));
            }
        }
    }
}

/// Turns flags that spaces separate into flags that 0x1f separates.
fn encode(flags: &OsStr) -> OsString {
    let text = flags.to_string_lossy();
    text.split_whitespace().collect::<Vec<_>>().join("\u{1f}").into()
}

fn cargo_home() -> Option<PathBuf> {
    let given = env_vars::CARGO_HOME.get().map(PathBuf::from);
    let home = given.or_else(|| Some(env::home_dir()?.join(".cargo")))?;
    Some(absolute(&home))
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_component_is_the_one_that_cargo_names() {
        let artifact = |id: &str, kind: &str, file: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"{id}","manifest_path":"/x/Cargo.toml","target":{{"kind":["{kind}"],"crate_types":["{kind}"],"name":"x","src_path":"/x/lib.rs","edition":"2024"}},"profile":{{"opt_level":"3","debuginfo":0,"debug_assertions":false,"overflow_checks":false,"test":false}},"features":[],"filenames":["{file}"],"executable":null,"fresh":true}}"#
            )
        };
        let messages = [
            artifact("other", "cdylib", "/t/other.wasm"),
            artifact("mine", "lib", "/t/libmine.rlib"),
            artifact("mine", "cdylib", "/t/mine.wasm"),
            "a build script's line".to_owned(),
        ];
        let find = |id: &str| {
            let id = PackageId { repr: id.to_owned() };
            find_component(messages.join("\n").as_bytes(), &id).unwrap()
        };
        assert_eq!(find("mine"), Some(PathBuf::from("/t/mine.wasm")));
        assert_eq!(find("absent"), None);
    }

    #[test]
    fn more_exact_paths_come_last() {
        let remaps = Remaps(vec![("/a".into(), "/x".into()), ("/a/b c".into(), "/y".into())]);
        let flags: Vec<_> = remaps.flags().collect();
        assert_eq!(flags, ["--remap-path-prefix=/a=/x", "--remap-path-prefix=/a/b c=/y"]);
        assert_eq!(encode(OsStr::new(" -C a  -C b ")), "-C\u{1f}a\u{1f}-C\u{1f}b");
    }
}
