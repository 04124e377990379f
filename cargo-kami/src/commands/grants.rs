//! `cargo kami grants`: what installed tools may do, and changes to it.

use kami_core::audit::AuditEvent;
use kami_core::grants::{Grant, MountName};
use kami_core::name::FullName;
use kami_core::policy::{Policy, Ruling, Subject};
use kami_core::registry::{DataDir, InstalledPackage, Registry, RegistryError};
use kami_core::resolve::Catalog;
use kami_core::signing::TrustStore;
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::ops::consent::{self, MountFlag};
use crate::ops::pipeline::{self, Right};
use crate::ops::rights::{self, Entry, Row};
use crate::ops::{audit, installed, policy};
use crate::settings::Settings;
use crate::shell::{Shell, one_line};

/// Show what tools may do, and change it
///
/// Each line sets what the tool asks for beside what was granted, what the policy leaves of it, and
/// what the tool has after all, with who cut it. A change holds for the next call, also of servers
/// that are running. Nobody gets more than they ask for.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo kami grants                                          all tools, one line each
  cargo kami grants fetch                                    one tool, all of it
  cargo kami grants fetch --allow net=https://docs.rs        grant a host that it asks for
  cargo kami grants fetch --deny net --deny env=HOME         all hosts, and a variable
  cargo kami grants search --mount docs=./docs:ro            bind a directory
  cargo kami grants fetch --allow max-memory-mb=32           a lower limit than it asks for")]
pub struct Args {
    /// An installed tool, or the id of its package
    #[arg(value_name = "TOOL")]
    tool: Option<String>,
    /// Start again from everything that is asked for, or from nothing; directories stay with `all`
    #[arg(long, value_name = "all|none", requires = "tool")]
    reset: Option<Reset>,
    /// Grant net=ENTRY, fs=ACCESS, scratch=kept, env=NAME, secret=NAME or a limit; without `=`, all
    /// of the kind
    #[arg(long, value_name = "KIND[=VALUE]", requires = "tool")]
    allow: Vec<Entry>,
    /// Take back the same
    #[arg(long, value_name = "KIND[=VALUE]", requires = "tool")]
    deny: Vec<Entry>,
    /// Bind a directory that the tool asks for; `:ro` after it allows reading only
    #[arg(long = "mount", value_name = "NAME=DIR[:ro|:rw]", requires = "tool")]
    mounts: Vec<MountFlag>,
    /// Take a directory away
    #[arg(long = "unmount", value_name = "NAME", requires = "tool")]
    unmounts: Vec<MountName>,
    /// Tell it as JSON on stdout, one object for each package
    #[arg(long)]
    json: bool,
}

impl Args {
    fn edits(&self) -> bool {
        let Self { reset, allow, deny, mounts, unmounts, .. } = self;
        reset.is_some()
            || !(allow.is_empty() && deny.is_empty() && mounts.is_empty() && unmounts.is_empty())
    }
}

/// What a pipeline's steps have, in `--json`.
#[derive(Serialize)]
struct PipelineLine<'a> {
    id: &'a str,
    version: String,
    /// The tools that it calls.
    steps: &'a [FullName],
    /// What any of its steps has.
    union: Vec<Right>,
}

/// What `--reset` starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Reset {
    /// What is asked for.
    All,
    /// Nothing.
    None,
}

#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    version: String,
    /// The section of the policy that refuses it, and then it has nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused_by: Option<String>,
    /// The section of the policy whose grant replaces the operator's.
    #[serde(skip_serializing_if = "Option::is_none")]
    granted_by: Option<String>,
    rights: Vec<Row>,
}

pub fn run(args: &Args, settings: &Settings, shell: &Shell) -> anyhow::Result<Exit> {
    let mut registry = Registry::open(&settings.data_dir)?;
    let scene = Scene {
        policy: policy::load(settings)?,
        trust: TrustStore::load(&settings.data_dir.trust_file())?,
    };
    let Some(name) = &args.tool else {
        for package in registry.packages()? {
            match package.is_pipeline() {
                true => {
                    scene.show_pipeline(&package, &settings.data_dir, &registry, args, shell)?
                }
                false => scene.summarize(&package, args.json, shell)?,
            }
        }
        return Ok(Exit::Success);
    };
    let mut package = find(&settings.data_dir, &registry, name)?;
    if package.is_pipeline() {
        if args.edits() {
            let message = format!("the pipeline `{}` has no grant of its own", package.id());
            return Err(Failure::new(Exit::Usage, message)
                .help("change those of the tools that it calls")
                .into());
        }
        scene.show_pipeline(&package, &settings.data_dir, &registry, args, shell)?;
        return Ok(Exit::Success);
    }
    let grant = edited(args, &package)?;
    if grant != package.grant {
        let log = audit::open(&settings.data_dir)?;
        registry.set_grant(&package, &grant)?;
        log.append(AuditEvent::Grant {
            package: package.id().clone(),
            before: serde_json::to_value(&package.grant)?,
            after: serde_json::to_value(&grant)?,
        })?;
        package.grant = grant;
        shell.status("Changed", format_args!("the grant of {}", package.id()));
    }
    scene.show(&package, args.json, shell)?;
    Ok(Exit::Success)
}

/// By the id of its package, whole or short, or by any name of one of its tools.
fn find(data: &DataDir, registry: &Registry, name: &str) -> anyhow::Result<InstalledPackage> {
    if let Some(id) = installed::meant(registry, name)? {
        return registry.package(&id)?.ok_or_else(|| RegistryError::NotInstalled(id).into());
    }
    let entry = Catalog::open(data)?.find_loosely(name)?;
    Ok(InstalledPackage::clone(&entry.package))
}

/// The grant after all edits, in the order of the help: what is taken is taken last.
fn edited(args: &Args, package: &InstalledPackage) -> anyhow::Result<Grant> {
    let requests = &package.manifest.requests;
    let mut grant = match args.reset {
        None => package.grant.clone(),
        Some(Reset::None) => Grant::default(),
        Some(Reset::All) => Grant { mounts: package.grant.mounts.clone(), ..Grant::all(requests) },
    };
    for entry in &args.allow {
        rights::allow(&mut grant, requests, entry)?;
    }
    grant.mounts.extend(consent::bind(requests, &args.mounts)?);
    for entry in &args.deny {
        rights::deny(&mut grant, entry)?;
    }
    for name in &args.unmounts {
        if grant.mounts.remove(name).is_none() {
            let message = format!("no directory is bound to `{name}`");
            return Err(Failure::new(Exit::NotFound, message).into());
        }
    }
    Ok(grant)
}

/// By what packages are judged.
struct Scene {
    policy: Option<Policy>,
    trust: TrustStore,
}

impl Scene {
    fn line<'a>(&self, package: &'a InstalledPackage) -> Line<'a> {
        let requests = &package.manifest.requests;
        let granted = &package.grant;
        let signer = package.signer.as_ref();
        let label = signer.and_then(|key| self.trust.label(key));
        let ruling = match &self.policy {
            Some(policy) => policy.apply(Subject { id: package.id(), signer, label }, granted),
            None => Ok(Ruling::from(granted.clone())),
        };
        let (granted_by, refused_by, rights) = match ruling {
            Ok(ruling) => {
                let by = ruling.granted_by.as_ref().map(ToString::to_string);
                (by, None, rights::rows(requests, &ruling))
            }
            Err(refusal) => (None, Some(refusal.section.to_string()), Vec::new()),
        };
        let version = package.manifest.package.version.to_string();
        Line { id: package.id().as_str(), version, refused_by, granted_by, rights }
    }

    fn summarize(
        &self,
        package: &InstalledPackage,
        json: bool,
        shell: &Shell,
    ) -> anyhow::Result<()> {
        let line = self.line(package);
        if json {
            return Ok(shell.json(&line)?);
        }
        let Line { id, version, refused_by, granted_by, rights } = &line;
        let cut: Vec<String> = rights::cut(rights)
            .map(|row| format!("{} {} ({})", row.kind, row.thing, cut(row)).replace("  ", " "))
            .collect();
        let mut said = match refused_by {
            Some(section) => format!("REFUSED by the policy under {section}"),
            None if cut.is_empty() => "has all that it asks for".to_owned(),
            None => format!("without {}", cut.join(", ")),
        };
        if let Some(section) = granted_by {
            said = format!("granted by the policy under {section}; {said}");
        }
        shell.data(format_args!("{id:<32} {version:<10} {}", one_line(&said)))?;
        Ok(())
    }

    /// A pipeline in one line, or all of it where it was asked for.
    fn show_pipeline(
        &self,
        package: &InstalledPackage,
        data: &DataDir,
        registry: &Registry,
        args: &Args,
        shell: &Shell,
    ) -> anyhow::Result<()> {
        let source = pipeline::stored(package, data)?;
        let union = pipeline::union_of(&source, registry, self.policy.as_ref(), &self.trust)?;
        let id = package.id().as_str();
        let version = package.manifest.package.version.to_string();
        if args.json {
            return Ok(shell.json(&PipelineLine { id, version, steps: &package.steps, union })?);
        }
        if args.tool.is_none() {
            let steps: Vec<String> = package.steps.iter().map(ToString::to_string).collect();
            let said = format!("has what its steps have: {}", steps.join(", "));
            shell.data(format_args!("{id:<32} {version:<10} {}", one_line(&said)))?;
            return Ok(());
        }
        shell.data(format_args!("{id} {version}"))?;
        shell.data(
            "a pipeline: it has no grant of its own, and its steps have those of their packages",
        )?;
        for step in pipeline::steps(&source) {
            shell.data(format_args!("{:>12} {}", "step", one_line(&step)))?;
        }
        for (kind, text) in pipeline::lines(&union) {
            shell.data(format_args!("{kind:>12} {}", one_line(&text)))?;
        }
        Ok(())
    }

    fn show(&self, package: &InstalledPackage, json: bool, shell: &Shell) -> anyhow::Result<()> {
        let line = self.line(package);
        if json {
            return Ok(shell.json(&line)?);
        }
        shell.data(format_args!("{} {}", line.id, line.version))?;
        if let Some(section) = &line.refused_by {
            shell.data(format_args!("refused by the policy under {}", one_line(section)))?;
            return Ok(());
        }
        if let Some(section) = &line.granted_by {
            let section = one_line(section);
            shell
                .data(format_args!("granted by the policy under {section}, not by the operator"))?;
        }
        table(&line.rights, shell)
    }
}

/// Who cut something, as people say it; empty where nobody did.
fn cut(row: &Row) -> String {
    match row.cut_by.as_deref() {
        Some("grant") => "cut by the grant".to_owned(),
        Some("manifest") => "not asked for".to_owned(),
        Some("fs") => "cut by fs".to_owned(),
        Some(section) => format!("cut by the policy under {section}"),
        None => String::new(),
    }
}

/// Columns as wide as what is in them.
fn table(rows: &[Row], shell: &Shell) -> anyhow::Result<()> {
    let head = ["", "asked for", "granted", "policy", "effective"].map(str::to_owned);
    let mut lines = vec![head];
    for row in rows {
        let effective = match cut(row) {
            cut if cut.is_empty() => row.effective.clone(),
            cut => format!("{} ({cut})", row.effective),
        };
        let name = format!("{} {}", row.kind, row.thing);
        lines.push(
            [&name, &row.requested, &row.granted, &row.policy, &effective].map(|text| {
                if text.is_empty() { "-".to_owned() } else { one_line(text.trim_end()) }
            }),
        );
    }
    let width = |column: usize| {
        lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..4).map(width).collect();
    for line in &lines {
        let cells = line.iter().enumerate().map(|(at, cell)| match widths.get(at) {
            Some(width) => format!("{cell:<width$}  "),
            None => cell.clone(),
        });
        shell.data(cells.collect::<String>().trim_end())?;
    }
    Ok(())
}
