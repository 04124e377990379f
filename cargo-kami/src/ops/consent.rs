//! Showing what a tool asks for, and asking whether it shall have it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context as _;
use kami_core::grants::{Access, Binding, Capabilities, Grant, MountName};
use kami_core::manifest::Manifest;
use kami_core::manifest::difference::{Difference, carried_over};
use kami_core::name::ToolName;
use kami_core::pipeline::Source;
use kami_core::policy::{Policy, Ruling};
use kami_core::registry::InstalledPackage;
use kami_core::resolve;
use kami_core::signing::{SignedArtifact, TrustStore};

use super::pipeline::{self, Checked, Right};
use super::policy;
use crate::exit::{Exit, Failure};
use crate::shell::{Shell, one_line};
use crate::summary;

/// The flags by which an operator answers a request.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ConsentOptions {
    /// Grant what the tool asks for, or accept what an update changes, without asking back
    #[arg(short, long)]
    pub yes: bool,
    /// Grant this instead of everything: `all`, `none`, or a TOML file such as a policy's `grant`
    #[arg(long, value_name = "all|none|FILE")]
    pub grant: Option<GrantChoice>,
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

impl MountFlag {
    /// Which mount is bound.
    pub fn name(&self) -> &MountName {
        &self.name
    }

    /// What may be done there, where the flag says so.
    pub fn access(&self) -> Option<Access> {
        self.access
    }
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

/// A `--grant`.
#[derive(Debug, Clone)]
pub enum GrantChoice {
    /// What is asked for.
    All,
    /// Nothing.
    None,
    /// What a file says.
    File(PathBuf),
}

impl FromStr for GrantChoice {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "all" => Self::All,
            "none" => Self::None,
            path => Self::File(path.into()),
        })
    }
}

impl GrantChoice {
    /// The grant that is meant for a package with these requests.
    ///
    /// # Errors
    /// Where the file cannot be read, or is no grant.
    pub fn read(&self, requests: &Capabilities) -> anyhow::Result<Grant> {
        match self {
            Self::All => Ok(Grant::all(requests)),
            Self::None => Ok(Grant::default()),
            Self::File(path) => policy::read_grant(path),
        }
    }
}

/// What is to be consented to, and what was decided about it before.
pub struct Question<'a> {
    /// The artifact that wants to be installed or run.
    pub signed: &'a SignedArtifact,
    /// Whose labels are shown.
    pub trust: &'a TrustStore,
    /// What the operator laid down.
    pub policy: Option<&'a Policy>,
    /// The version that it takes the place of.
    pub replaced: Option<&'a InstalledPackage>,
    /// The names of other packages' tools that change, before and after.
    pub renamed: Vec<(ToolName, ToolName)>,
}

/// What came of it.
pub struct Consented {
    /// What the operator granted, to be remembered.
    pub grant: Grant,
    /// What holds, after the policy.
    pub ruling: Ruling,
}

impl<'a> Question<'a> {
    /// Asks about an artifact that replaces nothing, where there is no policy.
    pub fn new(signed: &'a SignedArtifact, trust: &'a TrustStore) -> Self {
        Self { signed, trust, policy: None, replaced: None, renamed: Vec::new() }
    }

    /// Shows what the artifact asks for, or what an update changes, and asks for consent, unless
    /// a flag or the policy has answered.
    ///
    /// # Errors
    /// Where the policy refuses, consent is not given, nobody can be asked, or a mount does not fit.
    pub fn ask(&self, options: &ConsentOptions, shell: &Shell) -> anyhow::Result<Consented> {
        let difference =
            self.replaced.map(|before| Difference::between(&before.manifest, self.manifest()));
        let mut grant = self.proposal(options)?;
        grant.mounts.extend(bind(&self.manifest().requests, &options.mounts)?);
        let ruling = resolve::rule(self.policy, self.signed, self.trust, &grant)?;
        if ruling.granted_by.is_some() && options.grant.is_none() {
            // Nobody was asked, so nobody's answer is kept for when the policy is gone.
            grant = self.replaced.map(|before| before.grant.clone()).unwrap_or_default();
        }
        self.introduce(shell);
        self.show(difference.as_ref(), &ruling, shell);
        self.warn(options, &ruling, shell);
        let answered = match &difference {
            // Code in the place of the operator's own file is another thing, whatever it says.
            Some(_) if self.replaced.is_some_and(InstalledPackage::is_pipeline) => false,
            Some(difference) => !difference.needs_consent(),
            None => options.grant.is_some(),
        };
        if !(answered || options.yes || ruling.granted_by.is_some()) {
            self.confirm(shell)?;
        }
        Ok(Consented { grant, ruling })
    }

    fn manifest(&self) -> &'a Manifest {
        self.signed.artifact().manifest()
    }

    /// What is granted on consent: what a flag says, or the grant that was there and what is newly
    /// asked for, or everything.
    fn proposal(&self, options: &ConsentOptions) -> anyhow::Result<Grant> {
        let requests = &self.manifest().requests;
        match (&options.grant, self.replaced) {
            (Some(choice), _) => choice.read(requests),
            (None, Some(before)) => {
                Ok(carried_over(&before.grant, &before.manifest.requests, requests))
            }
            (None, None) => Ok(Grant::all(requests)),
        }
    }

    fn introduce(&self, shell: &Shell) {
        let package = &self.manifest().package;
        shell.tell(format_args!("{} {}", package.id, package.version));
        if let Some(description) = &package.description {
            tell("about", description, shell);
        }
        let signer = match self.signed.signer() {
            Some(key) => {
                let label = self.trust.label(&key).unwrap_or_default();
                format!("{label} (key {})", key.fingerprint())
            }
            None => "nobody: allowed as one's own development build".to_owned(),
        };
        tell("signed by", &signer, shell);
    }

    fn show(&self, difference: Option<&Difference>, ruling: &Ruling, shell: &Shell) {
        let manifest = self.manifest();
        match difference {
            None => {
                for line in summary::offers(manifest) {
                    tell(line.subject, &line.text, shell);
                }
                for line in summary::requests(&manifest.requests) {
                    tell(line.subject, &line.text, shell);
                }
            }
            Some(difference) => {
                for line in summary::difference(difference) {
                    tell(line.subject, &line.text, shell);
                }
            }
        }
        for (name, binding) in &ruling.grant.mounts {
            let (path, access) = (binding.path.display(), binding.access);
            tell("mount", &format!("{name} is {path} ({access})"), shell);
        }
        if let Some(section) = &ruling.granted_by {
            tell("policy", &format!("grants under {section}, whatever anybody answers:"), shell);
            for line in summary::grant(&ruling.grant) {
                tell(line.subject, &line.text, shell);
            }
        }
        for (section, _) in &ruling.ceilings {
            tell("policy", &format!("{section} has a ceiling, which holds besides"), shell);
        }
    }

    fn warn(&self, options: &ConsentOptions, ruling: &Ruling, shell: &Shell) {
        let requests = &self.manifest().requests;
        let id = &self.manifest().package.id;
        for name in requests.mounts.keys().filter(|name| !ruling.grant.mounts.contains_key(*name)) {
            shell.warn(format_args!(
                "the directory `{name}` is not bound, so the tool won't see one"
            ));
            shell.help(match &ruling.granted_by {
                Some(section) => format!("bind it in the policy, under {section}"),
                None => format!("bind it with --mount {name}=DIR"),
            });
        }
        if let Some(section) = &ruling.granted_by
            && (options.grant.is_some() || !options.mounts.is_empty())
        {
            shell.warn(format_args!("the policy's grant under {section} holds instead of yours"));
        }
        for (old, new) in &self.renamed {
            shell.warn(format_args!(
                "agents will call the tool `{old}` by the name `{new}`: `{id}` has one of its name"
            ));
        }
        if !self.renamed.is_empty() {
            shell.help("keep the old names by giving this one another: --as NAME");
        }
    }

    fn confirm(&self, shell: &Shell) -> anyhow::Result<()> {
        let id = &self.manifest().package.id;
        let (question, nobody, help) = match self.replaced {
            None => (
                format!("Grant this to {id}?"),
                "nobody can be asked for consent here",
                "read what the tool asks for above, and grant it with --yes",
            ),
            Some(_) => (
                format!("Accept these changes of {id}?"),
                "the update asks for more or tells the model something else, and nobody can be \
                 asked here; nothing was changed",
                "read the difference above, and accept it with --yes",
            ),
        };
        match shell.confirm(question)? {
            Some(true) => Ok(()),
            Some(false) => {
                Err(Failure::new(Exit::Refused, "not granted; nothing was changed").into())
            }
            None => Err(Failure::new(Exit::Refused, nobody).help(help).into()),
        }
    }
}

/// Shows what a pipeline is and what it calls.
pub fn introduce_pipeline(
    checked: &Checked,
    replaced: Option<&InstalledPackage>,
    renamed: &[(ToolName, ToolName)],
    shell: &Shell,
) {
    let package = &checked.source.package;
    shell.tell(format_args!("{} {}", package.id, package.version));
    if let Some(description) = &package.description {
        tell("about", description, shell);
    }
    tell("signed by", "nobody: a local pipeline, which is its operator's own file", shell);
    if let Some(before) = replaced {
        let what = if before.is_pipeline() { "the pipeline" } else { "ANOTHER KIND OF PACKAGE" };
        tell("instead of", &format!("{what} {}", before.manifest.package.version), shell);
    }
    tell("tool", checked.source.tool.as_str(), shell);
    for step in pipeline::steps(&checked.source) {
        tell("step", &step, shell);
    }
    for (old, new) in renamed {
        shell.warn(format_args!(
            "agents will call the tool `{old}` by the name `{new}`: `{}` has one of its name",
            package.id
        ));
    }
}

/// Shows what the steps of a pipeline may do, and asks whether agents may call it.
///
/// # Errors
/// Where consent is not given, or nobody can be asked.
pub fn confirm_pipeline(
    source: &Source,
    union: &[Right],
    yes: bool,
    shell: &Shell,
) -> anyhow::Result<()> {
    for (kind, text) in pipeline::lines(union) {
        tell(kind, &text, shell);
    }
    tell("", &format!("{} s for the whole", source.limit.as_secs()), shell);
    if yes {
        return Ok(());
    }
    let question = "Let whoever may call this have its steps do all of that?";
    let help = "read what its steps may do above, and accept it with --yes";
    match shell.confirm(question)? {
        Some(true) => Ok(()),
        Some(false) => Err(Failure::new(Exit::Refused, "not accepted; nothing was changed").into()),
        None => {
            let message = "nobody can be asked for consent here";
            Err(Failure::new(Exit::Refused, message).help(help).into())
        }
    }
}

fn tell(subject: &str, text: &str, shell: &Shell) {
    shell.tell(format_args!("{subject:>12} {}", one_line(text)));
}

/// Fits `--mount` flags to what is asked for.
///
/// # Errors
/// Where the tool asks for no such directory, or there is none.
pub fn bind(
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
