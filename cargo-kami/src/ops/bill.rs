//! The bill of materials: every package that went into a component, as `cargo audit bin` reads it.

use std::collections::{BTreeMap, HashMap};

use anyhow::Context as _;
use auditable_serde::{DependencyKind, Package, Source, VersionInfo};
use cargo_metadata::{Metadata, Node, Package as CargoPackage, PackageId, TargetKind};
use kami_core::digest::Digest;

/// Version 1 of the format: compile-time dependencies of procedural macros are told apart.
const FORMAT: u32 = 1;

/// The strength with which a current `miniz_oxide` gives nearly its best.
const COMPRESSION: u8 = 8;

/// A bill of materials as it goes into an artifact.
#[derive(Debug)]
pub struct Bill {
    /// Zlib-compressed JSON in cargo-auditable's format.
    pub compressed: Vec<u8>,
    /// The digest of that JSON, which stands for the resolved dependencies.
    pub digest: Digest,
}

impl Bill {
    /// Lists what `root` resolves to for the target: dependencies of the code and, marked as
    /// such, of its making. Those of tests are left out.
    ///
    /// # Errors
    /// Where cargo's metadata has no such package.
    pub fn of(metadata: &Metadata, root: &PackageId) -> anyhow::Result<Self> {
        let json = serde_json::to_vec(&list(metadata, root)?)?;
        let compressed = miniz_oxide::deflate::compress_to_vec_zlib(&json, COMPRESSION);
        Ok(Self { compressed, digest: Digest::of(&json) })
    }
}

fn list(metadata: &Metadata, root: &PackageId) -> anyhow::Result<VersionInfo> {
    let resolve = metadata.resolve.as_ref().context("cargo gave no resolved dependencies")?;
    let nodes: HashMap<&PackageId, &Node> =
        resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let packages: HashMap<&PackageId, &CargoPackage> =
        metadata.packages.iter().map(|package| (&package.id, package)).collect();
    let kinds = kinds(root, &nodes, &packages)?;

    // The order is of what is told about a package, so that it is the same on every machine.
    let mut ids: Vec<&PackageId> = kinds.keys().copied().collect();
    ids.sort_by_key(|id| {
        let package = packages[*id];
        (&package.name, &package.version, source(package), id.repr.as_str())
    });
    let index: HashMap<&PackageId, usize> =
        ids.iter().enumerate().map(|(at, id)| (*id, at)).collect();
    let entry = |id: &&PackageId| {
        let package = packages[*id];
        let mut dependencies: Vec<usize> = followed(nodes[*id])
            .filter_map(|(dependency, _)| index.get(dependency).copied())
            .collect();
        dependencies.sort_unstable();
        dependencies.dedup();
        Package {
            name: package.name.to_string(),
            version: package.version.clone(),
            source: source(package),
            kind: kinds[*id],
            dependencies,
            root: *id == root,
        }
    };
    Ok(VersionInfo { packages: ids.iter().map(entry).collect(), format: FORMAT })
}

/// Walks from the root and marks each package with the strongest reason for which it is there.
fn kinds<'a>(
    root: &'a PackageId,
    nodes: &HashMap<&'a PackageId, &'a Node>,
    packages: &HashMap<&'a PackageId, &'a CargoPackage>,
) -> anyhow::Result<BTreeMap<&'a PackageId, DependencyKind>> {
    let mut kinds = BTreeMap::new();
    let mut open = vec![(root, DependencyKind::Runtime)];
    while let Some((id, reason)) = open.pop() {
        let (Some(node), Some(package)) = (nodes.get(id), packages.get(id)) else {
            anyhow::bail!("cargo's metadata speaks of `{}` without describing it", id.repr);
        };
        let kind = if runs_in_compiler(package) { DependencyKind::Build } else { reason };
        if kinds.get(id).is_some_and(|known| *known >= kind) {
            continue;
        }
        kinds.insert(id, kind);
        open.extend(followed(node).map(|(dependency, reason)| (dependency, reason.min(kind))));
    }
    Ok(kinds)
}

/// The dependencies of a package that take part in a build, with the strongest reason for each.
fn followed(node: &Node) -> impl Iterator<Item = (&PackageId, DependencyKind)> {
    node.deps.iter().filter_map(|dependency| {
        let reasons = dependency.dep_kinds.iter().filter_map(|info| match info.kind {
            cargo_metadata::DependencyKind::Normal => Some(DependencyKind::Runtime),
            cargo_metadata::DependencyKind::Build => Some(DependencyKind::Build),
            _ => None,
        });
        reasons.max().map(|reason| (&dependency.pkg, reason))
    })
}

fn runs_in_compiler(package: &CargoPackage) -> bool {
    package.targets.iter().any(|target| target.kind.contains(&TargetKind::ProcMacro))
}

fn source(package: &CargoPackage) -> Source {
    match &package.source {
        None => Source::Local,
        Some(source) if source.is_crates_io() => Source::CratesIo,
        Some(source) if source.repr.starts_with("git+") => Source::Git,
        Some(_) => Source::Registry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn package(name: &str, kind: &str) -> Value {
        json!({
            "name": name, "version": "1.0.0", "id": name, "source": null, "dependencies": [],
            "targets": [{"kind": [kind], "crate_types": [kind], "name": name, "src_path": "/l.rs", "edition": "2024"}],
            "features": {}, "manifest_path": "/Cargo.toml", "authors": [], "edition": "2024",
        })
    }

    fn node(id: &str, deps: &[(&str, Option<&str>)]) -> Value {
        let deps: Vec<Value> = deps
            .iter()
            .map(|(pkg, kind)| json!({"name": pkg, "pkg": pkg, "dep_kinds": [{"kind": kind, "target": null}]}))
            .collect();
        json!({"id": id, "dependencies": [], "deps": deps, "features": []})
    }

    #[test]
    fn each_package_is_listed_once_with_its_strongest_reason() {
        let metadata: Metadata = serde_json::from_value(json!({
            "packages": [package("tool", "lib"), package("shared", "lib"), package("macros", "proc-macro"),
                package("syntax", "lib"), package("tester", "lib"), package("builder", "lib")],
            "resolve": {"root": "tool", "nodes": [
                node("tool", &[("macros", None), ("shared", None), ("tester", Some("dev")), ("builder", Some("build"))]),
                node("macros", &[("syntax", None), ("shared", None)]),
                node("shared", &[]), node("syntax", &[]), node("tester", &[]), node("builder", &[]),
            ]},
            "workspace_members": ["tool"], "workspace_default_members": ["tool"],
            "workspace_root": "/", "target_directory": "/target", "version": 1,
        }))
        .unwrap();
        let root = PackageId { repr: "tool".to_owned() };
        let list = list(&metadata, &root).unwrap();
        let found: Vec<_> = list
            .packages
            .iter()
            .map(|package| (package.name.as_str(), package.kind == DependencyKind::Runtime))
            .collect();
        assert_eq!(
            found,
            [
                ("builder", false),
                ("macros", false),
                ("shared", true),
                ("syntax", false),
                ("tool", true)
            ]
        );
        let tool = &list.packages[4];
        assert!(tool.root && tool.dependencies == [0, 1, 2], "{tool:?}");

        let bill = Bill::of(&metadata, &root).unwrap();
        let json = miniz_oxide::inflate::decompress_to_vec_zlib(&bill.compressed).unwrap();
        assert_eq!(Digest::of(&json), bill.digest);
        assert_eq!(serde_json::from_slice::<VersionInfo>(&json).unwrap(), list);
    }
}
