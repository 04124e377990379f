//! Packages that are made of the tools of others.
//!
//! What clients are told of a pipeline depends on what its steps may do. So it is worked out anew
//! when a package comes or goes that one of them belongs to, in the same transaction.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::{
    DataDir, InstallOptions, Installed, InstalledPackage, Registry, RegistryError, check_alias,
    index, names, now, offers, pin, row, store, write,
};
use crate::digest::Digest;
use crate::grants::Grant;
use crate::manifest::{Annotations, Manifest};
use crate::name::{FullName, PackageId};

/// What is kept of a pipeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Composition {
    /// What clients are told of it.
    pub manifest: Manifest,
    /// The tools that it calls, in the order of its steps.
    pub steps: Vec<FullName>,
    /// The file itself.
    pub text: String,
}

impl Registry {
    /// Installs a pipeline, or puts it in the place of the package that has its id. It is granted
    /// nothing, as it asks for nothing.
    ///
    /// # Errors
    /// Where its id is pinned to a key, another package has the alias, or something cannot be written;
    /// then nothing has changed.
    pub fn install_pipeline(
        &mut self,
        pipeline: &Composition,
        options: &InstallOptions,
    ) -> Result<Installed, RegistryError> {
        self.sweep();
        let package = InstalledPackage {
            manifest: pipeline.manifest.clone(),
            digest: Digest::of(pipeline.text.as_bytes()),
            grant: Grant::default(),
            alias: options.alias.clone(),
            signer: None,
            source: options.source.clone(),
            installed_at: now(),
            steps: pipeline.steps.clone(),
        };
        let dir = &self.dir;
        let before = write(&mut self.connection, dir, |transaction| {
            pin::check(transaction, dir, package.id(), &[])?;
            check_alias(transaction, dir, &package)?;
            let file = dir.pipeline_file(package.digest);
            store::put(dir, file, pipeline.text.as_bytes())?;
            let before = row::delete(transaction, dir, package.id())?;
            row::insert(transaction, dir, &package)?;
            names::renew(transaction, dir)?;
            index::renew(transaction, dir)?;
            offers::renew(transaction, dir)?;
            // A step of another pipeline may have been what this takes the place of.
            renew(transaction, dir, package.id())?;
            Ok(before)
        })?;
        let before = before.and_then(Result::ok);
        if let Some(before) = before.as_ref().filter(|before| before.digest != package.digest) {
            self.discard(before.digest);
        }
        Ok(Installed { package, replaced: before.map(|before| before.manifest.package.version) })
    }

    /// The pipelines of which a step calls a tool of this package, ordered by id.
    ///
    /// # Errors
    /// Where the database, or the entry of one of them, cannot be read.
    pub fn pipelines_of(&self, id: &PackageId) -> Result<Vec<InstalledPackage>, RegistryError> {
        let mut found = row::select(&self.connection, &self.dir, row::PIPELINES, [])?;
        found.retain(|pipeline| pipeline.steps.iter().any(|step| step.package == *id));
        Ok(found)
    }
}

/// Brings what is told of the pipelines that call tools of a package to what its tools may do now.
///
/// What cannot be read is left as it is: whoever reads it is told.
pub(super) fn renew(
    connection: &Connection,
    dir: &DataDir,
    changed: &PackageId,
) -> Result<(), RegistryError> {
    let readable = |found| match found {
        Err(RegistryError::Row { .. }) => Ok(Vec::new()),
        found => found,
    };
    let mut pipelines = readable(row::select(connection, dir, row::PIPELINES, []))?;
    let calls =
        |pipeline: &InstalledPackage| pipeline.steps.iter().any(|step| step.package == *changed);
    // Its own were worked out before somebody consented, who may have taken long.
    pipelines.retain(|pipeline| pipeline.id() == changed || calls(pipeline));
    let mut known: BTreeMap<PackageId, Option<InstalledPackage>> = BTreeMap::new();
    for mut pipeline in pipelines {
        let mut hints = Vec::new();
        for step in &pipeline.steps {
            if !known.contains_key(&step.package) {
                let found = row::select(connection, dir, row::BY_ID, [step.package.as_str()]);
                known.insert(step.package.clone(), readable(found)?.pop());
            }
            let package = known.get(&step.package).and_then(Option::as_ref);
            let tool = package.and_then(|package| package.manifest.tool(step.tool.as_str()));
            // Without one of its tools a pipeline is not called at all.
            hints.extend(tool.map(|tool| tool.annotations));
        }
        let union = Annotations::union(hints);
        let Some(tool) = pipeline.manifest.tools.first_mut() else { continue };
        if tool.annotations != union {
            tool.annotations = union;
            row::set_manifest(connection, dir, &pipeline)?;
        }
    }
    Ok(())
}
