//! Showing what a tool asks for, and asking whether it shall have it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context as _;
use kami_core::grants::{Access, Binding, Capabilities, Grant, MountName};
use kami_core::signing::{SignedArtifact, TrustStore};

use crate::exit::{Exit, Failure};
use crate::shell::{Shell, one_line};
use crate::summary;

/// The flags by which an operator answers a request.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ConsentOptions {
    /// Grant what the tool asks for without asking back
    #[arg(short, long)]
    pub yes: bool,
    /// Bind a directory that the tool asks for; `:ro` after it allows reading only
    #[arg(long = "mount", value_name = "NAME=DIR[:ro|:rw]")]
    pub mounts: Vec<MountFlag>,
}

/// One `--mount`.
#[derive(Debug, Clone)]
pub struct MountFlag {
    name: MountName,
    path: PathBuf,
    access: Option<Access>,
}

impl FromStr for MountFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, path) = text.split_once('=').ok_or("expected NAME=DIR, such as docs=./docs")?;
        let (path, access) = match path.rsplit_once(':') {
            Some((path, "ro")) => (path, Some(Access::ReadOnly)),
            Some((path, "rw")) => (path, Some(Access::ReadWrite)),
            _ => (path, None),
        };
        if path.is_empty() {
            return Err("the directory is missing after `=`".to_owned());
        }
        let name = name.parse().map_err(|error| format!("{error}"))?;
        Ok(Self { name, path: path.into(), access })
    }
}

/// Shows what the artifact asks for, asks for consent, and gives the grant.
///
/// # Errors
/// Where consent is not given, nobody can be asked, or a mount does not fit.
pub fn ask(
    signed: &SignedArtifact,
    options: &ConsentOptions,
    trust: &TrustStore,
    shell: &Shell,
) -> anyhow::Result<Grant> {
    let manifest = signed.artifact().manifest();
    let package = &manifest.package;
    let mounts = bind(&manifest.requests, &options.mounts)?;
    shell.tell(format_args!("{} {}", package.id, package.version));
    if let Some(description) = &package.description {
        shell.tell(format_args!("{:>12} {}", "about", one_line(description)));
    }
    let signer = match signed.signer() {
        Some(key) => {
            format!("{} (key {})", trust.label(&key).unwrap_or_default(), key.fingerprint())
        }
        None => "nobody: allowed as one's own development build".to_owned(),
    };
    shell.tell(format_args!("{:>12} {}", "signed by", one_line(&signer)));
    let tools: Vec<&str> = manifest.tools.iter().map(|tool| tool.name.as_str()).collect();
    shell.tell(format_args!("{:>12} {}", "tools", tools.join(", ")));
    for line in summary::requests(&manifest.requests) {
        shell.tell(format_args!("{:>12} {}", line.subject, one_line(&line.text)));
    }
    for (name, binding) in &mounts {
        let (path, access) = (binding.path.display(), binding.access);
        shell.tell(format_args!("{:>12} {name} is {path} ({access})", "mount"));
    }
    for name in manifest.requests.mounts.keys().filter(|name| !mounts.contains_key(name)) {
        shell.warn(format_args!("the directory `{name}` is not bound, so the tool won't see one"));
        shell.help(format_args!("bind it with --mount {name}=DIR"));
    }
    let question = format!("Grant this to {}?", package.id);
    let consent = if options.yes { Some(true) } else { shell.confirm(question)? };
    match consent {
        Some(true) => Ok(Grant { mounts, ..Grant::all(&manifest.requests) }),
        Some(false) => Err(Failure::new(Exit::Refused, "not granted; nothing was changed").into()),
        None => Err(Failure::new(Exit::Refused, "nobody can be asked for consent here")
            .help("read what the tool asks for above, and grant it with --yes")
            .into()),
    }
}

/// Fits `--mount` flags to what is asked for.
fn bind(
    requests: &Capabilities,
    flags: &[MountFlag],
) -> anyhow::Result<BTreeMap<MountName, Binding>> {
    let mut bound = BTreeMap::new();
    for flag in flags {
        let Some(request) = requests.mounts.get(&flag.name) else {
            let known: Vec<String> = requests.mounts.keys().map(ToString::to_string).collect();
            let help = match known.as_slice() {
                [] => "it asks for no directory at all".to_owned(),
                known => format!("it asks for: {}", known.join(", ")),
            };
            let message = format!("the tool asks for no directory called `{}`", flag.name);
            return Err(Failure::new(Exit::Usage, message).help(help).into());
        };
        let path = std::fs::canonicalize(&flag.path)
            .with_context(|| format!("binding `{}` to {}", flag.name, flag.path.display()))?;
        let access = flag.access.unwrap_or(request.access);
        if bound.insert(flag.name.clone(), Binding { path, access }).is_some() {
            let message = format!("the directory `{}` is bound twice", flag.name);
            return Err(Failure::new(Exit::Usage, message).into());
        }
    }
    Ok(bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_with_and_without_access() {
        let flag = |text: &str| text.parse::<MountFlag>().unwrap();
        assert_eq!(flag("docs=./docs").access, None);
        assert_eq!(flag("docs=/a:ro").access, Some(Access::ReadOnly));
        assert_eq!(flag("docs=/a:rw").path, PathBuf::from("/a"));
        assert_eq!(flag("docs=C:\\x").path, PathBuf::from("C:\\x"));
        for bad in ["docs", "docs=", "../x=/a", "docs=:ro"] {
            assert!(bad.parse::<MountFlag>().is_err(), "{bad}");
        }
    }
}
