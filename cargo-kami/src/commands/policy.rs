//! `cargo kami policy`: what the operator laid down.

use std::path::PathBuf;

use kami_core::policy::{Policy, PolicyFile, Publisher, SectionName, Subject};
use kami_core::registry::{InstalledPackage, Registry};
use kami_core::scheduler::Priority;
use kami_core::signing::TrustStore;
use serde::Serialize;

use crate::diagnostic::relative;
use crate::exit::{Exit, Failure};
use crate::ops::policy;
use crate::settings::Settings;
use crate::shell::{Shell, one_line};

/// Check a policy file, and show what it means for installed tools
///
/// The policy is the file that `--policy` or KAMI_POLICY names, else kami-policy.toml in the data
/// directory. It wins over grants, flags and answers. None in the current directory is looked for.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo kami policy check kami-policy.toml
  cargo kami policy show
  cargo kami policy show --policy kami-policy.toml --json")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Say whether a file is a policy, and what is wrong where it is not
    Check {
        /// The file [default: the policy that is in force]
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Show which sections decide about each installed package
    Show {
        /// Tell it as JSON on stdout, one object for each package
        #[arg(long)]
        json: bool,
    },
}

#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    refused_by: Option<String>,
    granted_by: Option<String>,
    ceilings: Vec<String>,
    priority: String,
}

pub fn run(args: &Args, settings: &Settings, shell: &Shell) -> anyhow::Result<Exit> {
    match &args.action {
        Action::Check { file } => check(file.as_ref(), settings, shell),
        Action::Show { json } => show(*json, settings, shell),
    }
}

fn check(file: Option<&PathBuf>, settings: &Settings, shell: &Shell) -> anyhow::Result<Exit> {
    let file = file.map_or_else(|| settings.policy.clone(), PolicyFile::required);
    let path = relative(file.path()).display();
    let Some(found) = policy::read(&file)? else {
        return Err(Failure::new(Exit::NotFound, format!("there is no policy at {path}")).into());
    };
    let trust = TrustStore::load(&settings.data_dir.trust_file())?;
    for section in found.section_names() {
        if let SectionName::Publisher(Publisher::Label(label)) = &section
            && !trust.keys().any(|key| key.label == *label)
        {
            let section = one_line(&section.to_string());
            shell.warn(format_args!("{section} is about nobody: no trusted key has that label"));
        }
    }
    let sections = found.section_names().count();
    shell.status("Valid", format_args!("{path}: the default, and {sections} more sections"));
    Ok(Exit::Success)
}

fn show(json: bool, settings: &Settings, shell: &Shell) -> anyhow::Result<Exit> {
    let path = settings.policy.path();
    let Some(policy) = policy::load(settings)? else {
        shell.note(format_args!("there is no policy at {}", path.display()));
        return Ok(Exit::Success);
    };
    shell.status("Policy", path.display());
    let trust = TrustStore::load(&settings.data_dir.trust_file())?;
    for package in Registry::open(&settings.data_dir)?.packages()? {
        let line = line(&policy, &package, &trust);
        if json {
            shell.json(&line)?;
        } else {
            let said = match (&line.refused_by, &line.granted_by) {
                (Some(section), _) => format!("refused by {section}"),
                (None, Some(section)) => format!("granted by {section}"),
                (None, None) => "granted by the operator".to_owned(),
            };
            let ceilings = match line.ceilings.as_slice() {
                [] => String::new(),
                ceilings => format!(", under the ceilings of {}", ceilings.join(", ")),
            };
            let priority = match line.priority.as_str() {
                "normal" => String::new(),
                other => format!(", at {other} priority"),
            };
            let said = one_line(&format!("{said}{ceilings}{priority}"));
            shell.data(format_args!("{:<32} {said}", line.id))?;
        }
    }
    Ok(Exit::Success)
}

fn line<'a>(policy: &Policy, package: &'a InstalledPackage, trust: &TrustStore) -> Line<'a> {
    let signer = package.signer.as_ref();
    let label = signer.and_then(|key| trust.label(key));
    let subject = Subject { id: package.id(), signer, label };
    let id = package.id().as_str();
    match policy.apply(subject, &package.grant) {
        Err(refusal) => Line {
            id,
            refused_by: Some(refusal.section.to_string()),
            granted_by: None,
            ceilings: Vec::new(),
            priority: Priority::default().to_string(),
        },
        Ok(ruling) => Line {
            id,
            refused_by: None,
            granted_by: ruling.granted_by.map(|section| section.to_string()),
            ceilings: ruling.ceilings.iter().map(|(section, _)| section.to_string()).collect(),
            priority: ruling.priority.to_string(),
        },
    }
}
