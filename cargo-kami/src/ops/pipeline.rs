//! Pipelines: files of steps, shown with all that their steps may do.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use kami_core::grants::{Grant, Limit};
use kami_core::pipeline::{self, MAX_BYTES, OnError, Plan, Source, Step};
use kami_core::policy::{Policy, Ruling, Subject};
use kami_core::registry::{DataDir, InstalledPackage, Registry};
use kami_core::resolve::Catalog;
use kami_core::signing::TrustStore;
use serde::Serialize;

use super::rights;
use crate::diagnostic::InvalidManifests;
use crate::exit::{Exit, Failure};
use crate::settings::Settings;
use crate::summary::limit_value;

/// What stands where a signer would.
pub const UNSIGNED: &str = "local pipeline";

/// Whether a path is that of a pipeline, and not of a crate or an artifact.
pub fn is_file(path: &Path) -> bool {
    let manifest = ["Cargo.toml", "tool.toml", "kami-policy.toml"];
    let named = path.file_name().is_some_and(|name| manifest.iter().any(|known| name == *known));
    path.extension().is_some_and(|extension| extension == "toml") && !named && !path.is_dir()
}

/// A file that fits the tools that it names.
pub struct Checked {
    /// All of it.
    pub text: String,
    /// What it says.
    pub source: Source,
    /// Beside its tools.
    pub plan: Plan,
}

/// Reads a pipeline and sets it beside what is installed.
///
/// # Errors
/// Where it cannot be read or has mistakes, which are shown at their lines.
pub fn check(path: &Path, settings: &Settings) -> anyhow::Result<Checked> {
    let text = read(path)?;
    let invalid = |error| {
        let failure = Failure::new(Exit::Manifest, "this pipeline cannot be used");
        anyhow::Error::from(InvalidManifests::one(path, text.clone(), error)).context(failure)
    };
    let source = Source::parse(&text).map_err(invalid)?;
    let catalog = Catalog::open(&settings.data_dir)?;
    let (found, _) = pipeline::find(&source, &catalog)?;
    let plan = Plan::check(&source, &found).map_err(invalid)?;
    Ok(Checked { text, source, plan })
}

/// Reads no more than a pipeline may have, and a byte.
fn read(path: &Path) -> anyhow::Result<String> {
    let reading = || format!("reading {}", path.display());
    // A pipe would keep whoever opens it.
    let found = std::fs::metadata(path).with_context(reading)?;
    if !found.is_file() || found.len() > MAX_BYTES as u64 {
        let message = format!("{} is no file of at most {} KiB", path.display(), MAX_BYTES >> 10);
        return Err(Failure::new(Exit::Manifest, message).into());
    }
    let mut text = String::new();
    let limit = MAX_BYTES as u64 + 1;
    let file = File::open(path).with_context(reading)?;
    file.take(limit).read_to_string(&mut text).with_context(reading)?;
    Ok(text)
}

/// The file of a pipeline that is installed, as it was then.
///
/// # Errors
/// Where it is missing, or was changed.
pub fn stored(package: &InstalledPackage, data: &DataDir) -> anyhow::Result<Source> {
    let text = data.read_pipeline(package.digest)?;
    let changed = || {
        let message = format!("the installed file of `{}` was changed", package.id());
        Failure::new(Exit::Signature, message).help("install it again from where it came from")
    };
    if kami_core::digest::Digest::of(text.as_bytes()) != package.digest {
        return Err(changed().into());
    }
    Source::parse(&text).map_err(|_| changed().into())
}

/// One right that some of the steps have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Right {
    /// What kind of thing.
    pub kind: &'static str,
    /// Which one of its kind; empty where there is one.
    pub thing: String,
    /// What they have of it; of a limit, the most that any of them has.
    pub effective: String,
    /// Which steps have it.
    pub steps: Vec<String>,
}

/// Everything that the steps of a pipeline have after all, each by its own package's grant.
///
/// It is worked out whenever it is shown: a grant that changes is another one for the pipeline, too.
pub fn union<'a>(
    steps: impl IntoIterator<Item = (&'a str, Option<&'a InstalledPackage>)>,
    policy: Option<&Policy>,
    trust: &TrustStore,
) -> Vec<Right> {
    let mut union: Vec<Right> = Vec::new();
    for (step, package) in steps {
        let Some(package) = package else {
            add(&mut union, "step", step, "NOT INSTALLED".to_owned(), step);
            continue;
        };
        let granted = &package.grant;
        let signer = package.signer.as_ref();
        let label = signer.and_then(|key| trust.label(key));
        let ruling = match policy {
            Some(policy) => policy.apply(Subject { id: package.id(), signer, label }, granted),
            None => Ok(Ruling::from(Grant::clone(granted))),
        };
        let ruling = match ruling {
            Ok(ruling) => ruling,
            Err(refusal) => {
                let said = format!("REFUSED by the policy under {}", refusal.section);
                add(&mut union, "step", step, said, step);
                continue;
            }
        };
        for row in rights::rows(&package.manifest.requests, &ruling) {
            let effective = match row.kind {
                _ if ["no", "none", ""].contains(&row.effective.as_str()) => continue,
                "mount" => format!("{}, {}", row.granted, row.effective),
                _ => row.effective,
            };
            add(&mut union, row.kind, &row.thing, effective, step);
        }
    }
    union
}

fn add(union: &mut Vec<Right>, kind: &'static str, thing: &str, effective: String, step: &str) {
    let alike = |right: &&mut Right| right.kind == kind && right.thing == thing;
    if kind == "limit" {
        if let Some(right) = union.iter_mut().find(alike) {
            let number = |text: &str| text.parse::<u64>().unwrap_or_default();
            if number(&effective) > number(&right.effective) {
                right.effective = effective;
            }
            return right.steps.push(step.to_owned());
        }
    } else if let Some(right) =
        union.iter_mut().filter(alike).find(|right| right.effective == effective)
    {
        return right.steps.push(step.to_owned());
    }
    let (thing, steps) = (thing.to_owned(), vec![step.to_owned()]);
    union.push(Right { kind, thing, effective, steps });
}

/// The same as lines for people: what kind of thing, and which steps have what of it. Of limits, only
/// memory and time are told.
pub fn lines(union: &[Right]) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    for right in union.iter().filter(|right| right.kind != "limit") {
        let kind = match right.kind {
            "net" => "network",
            "fs" => "files",
            "mount" => "directory",
            "env" => "environment",
            other => other,
        };
        let what = [right.thing.as_str(), right.effective.as_str()];
        let what: Vec<&str> = what.into_iter().filter(|text| !["", "yes"].contains(text)).collect();
        lines.push((kind, format!("{} ({})", what.join(": "), right.steps.join(", "))));
    }
    let limits = [Limit::Memory, Limit::Execution].into_iter().filter_map(|limit| {
        let found =
            union.iter().find(|right| right.thing == limit.key() && right.kind == "limit")?;
        Some(limit_value(limit, found.effective.parse().ok()?))
    });
    let limits = limits.collect::<Vec<_>>().join(", ");
    if !limits.is_empty() {
        lines.push(("limits", format!("{limits}, at the most of each step")));
    }
    lines
}

/// What each step calls, and how it stands to the others.
pub fn steps(source: &Source) -> Vec<String> {
    let line = |step: &Step| {
        let mut text = format!("{}: {}", step.name.value, step.tool.value);
        let mut before: Vec<usize> = step.needs().chain(step.after.iter().copied()).collect();
        before.sort_unstable();
        before.dedup();
        let before: Vec<&str> =
            before.iter().map(|at| source.steps[*at].name.value.as_str()).collect();
        if !before.is_empty() {
            text += &format!(", after {}", before.join(", "));
        }
        text += match step.on_error.value {
            OnError::Stop => "",
            OnError::Continue => "; goes on without it",
            OnError::Instead(_) => "; has something in its place",
        };
        text
    };
    source.steps.iter().map(line).collect()
}

/// Each step of an installed pipeline beside the package that it calls, if that is there.
///
/// # Errors
/// Where the registry cannot be read.
pub fn packages(
    source: &Source,
    registry: &Registry,
) -> anyhow::Result<Vec<(String, Option<InstalledPackage>)>> {
    let package = |step: &Step| {
        let found = registry.package(&step.tool.value.package)?;
        let found =
            found.filter(|package| package.manifest.tool(step.tool.value.tool.as_str()).is_some());
        Ok((step.name.value.to_string(), found))
    };
    source.steps.iter().map(package).collect()
}

/// The union of a pipeline that is installed, as of now.
///
/// # Errors
/// Where something cannot be read.
pub fn union_of(
    source: &Source,
    registry: &Registry,
    policy: Option<&Policy>,
    trust: &TrustStore,
) -> anyhow::Result<Vec<Right>> {
    let packages = packages(source, registry)?;
    let steps = packages.iter().map(|(step, package)| (step.as_str(), package.as_ref()));
    Ok(union(steps, policy, trust))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_is_told_once_with_all_steps_that_have_it() {
        let mut union = Vec::new();
        for (kind, thing, effective, step) in [
            ("net", "a.example", "yes", "one"),
            ("limit", "max-memory-mb", "64", "one"),
            ("net", "a.example", "yes", "two"),
            ("net", "a.example", "in part", "three"),
            ("limit", "max-memory-mb", "128", "two"),
            ("limit", "max-memory-mb", "32", "three"),
        ] {
            add(&mut union, kind, thing, effective.to_owned(), step);
        }
        assert_eq!(
            lines(&union),
            [
                ("network", "a.example (one, two)".to_owned()),
                ("network", "a.example: in part (three)".to_owned()),
                ("limits", "128 MiB of memory, at the most of each step".to_owned()),
            ]
        );
    }
}
