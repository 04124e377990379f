//! Packages as rows: written from strong types and parsed back into them.

use std::error::Error;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Params, Row, named_params};

use super::{DataDir, InstalledPackage, RegistryError, index, names, offers};
use crate::digest::Digest;
use crate::grants::Grant;
use crate::manifest::Manifest;
use crate::name::{FullName, PackageId, ToolName};

/// Every column that makes an [`InstalledPackage`].
macro_rules! columns {
    () => {
        "id, version, digest, manifest, granted, alias, signer, source, installed_at, steps"
    };
}

/// All packages. The order of SQLite's text is that of [`PackageId`]: by bytes.
pub(super) const ALL: &str = concat!("SELECT ", columns!(), " FROM packages ORDER BY id");

/// All pipelines. An index holds which packages are.
pub(super) const PIPELINES: &str =
    concat!("SELECT ", columns!(), " FROM packages WHERE steps IS NOT NULL ORDER BY id");

/// The package with an id.
pub(super) const BY_ID: &str = concat!("SELECT ", columns!(), " FROM packages WHERE id = ?1");

/// The package of a row that refers to it.
pub(super) const BY_KEY: &str = concat!("SELECT ", columns!(), " FROM packages WHERE key = ?1");

const DELETE: &str = concat!("DELETE FROM packages WHERE id = ?1 RETURNING ", columns!());

const INSERT: &str = concat!(
    "INSERT INTO packages (",
    columns!(),
    ") VALUES (:id, :version, :digest, :manifest, :granted, :alias, :signer, :source, :installed_at, :steps)"
);

/// Why a row cannot be read, although it is there.
#[derive(Debug, thiserror::Error)]
#[error("its `{column}` cannot be read")]
pub struct RowError {
    /// The column that does not hold what it should.
    pub column: &'static str,
    /// Why not.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

/// The packages that one of the queries above finds. One that cannot be read is an error.
pub(super) fn select(
    connection: &Connection,
    dir: &DataDir,
    query: &str,
    parameters: impl Params,
) -> Result<Vec<InstalledPackage>, RegistryError> {
    let failed = |error| RegistryError::sql(dir, error);
    let mut statement = connection.prepare_cached(query).map_err(failed)?;
    let mut rows = statement.query(parameters).map_err(failed)?;
    let mut packages = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        let package =
            parse(row).map_err(|source| RegistryError::Row { package: name(row), source })?;
        packages.push(package);
    }
    Ok(packages)
}

/// Adds a package, which must not be there. Its tools and prompts get their names by
/// [`names::renew`] and [`offers::renew`].
pub(super) fn insert(
    connection: &Connection,
    dir: &DataDir,
    package: &InstalledPackage,
) -> Result<(), RegistryError> {
    let failed = |error| RegistryError::sql(dir, error);
    let manifest = package.manifest.to_json();
    let granted = serde_json::to_string(&package.grant).map_err(RegistryError::Grant)?;
    let mut statement = connection.prepare_cached(INSERT).map_err(failed)?;
    let key = statement
        .insert(named_params! {
            ":id": package.id().as_str(),
            ":version": package.manifest.package.version.to_string(),
            ":digest": package.digest.to_string(),
            // JSON is text, and it is not checked a second time for being UTF-8.
            ":manifest": ToSqlOutput::Borrowed(ValueRef::Text(&manifest)),
            ":granted": granted,
            ":alias": package.alias.as_ref().map(ToolName::as_str),
            ":signer": package.signer.map(|key| key.to_string()),
            ":source": package.source,
            ":installed_at": i64::try_from(package.installed_at).unwrap_or(i64::MAX),
            ":steps": package.is_pipeline().then(|| steps_text(&package.steps)),
        })
        .map_err(failed)?;
    index::forget(connection, key).map_err(failed)?;
    names::add(connection, key, &package.manifest).map_err(failed)?;
    offers::add(connection, dir, key, &package.manifest)
}

/// Replaces the manifest of a package.
pub(super) fn set_manifest(
    connection: &Connection,
    dir: &DataDir,
    package: &InstalledPackage,
) -> Result<(), RegistryError> {
    let manifest = package.manifest.to_json();
    let manifest = ToSqlOutput::Borrowed(ValueRef::Text(&manifest));
    let update = "UPDATE packages SET manifest = ?1 WHERE id = ?2";
    let written = connection
        .prepare_cached(update)
        .and_then(|mut statement| statement.execute((manifest, package.id().as_str())));
    written.map(drop).map_err(|error| RegistryError::sql(dir, error))
}

/// Replaces the grant of a package.
pub(super) fn set_grant(
    connection: &Connection,
    dir: &DataDir,
    id: &PackageId,
    grant: &Grant,
) -> Result<(), RegistryError> {
    let granted = serde_json::to_string(grant).map_err(RegistryError::Grant)?;
    let update = "UPDATE packages SET granted = ?1 WHERE id = ?2";
    let written = connection
        .prepare_cached(update)
        .and_then(|mut statement| statement.execute([granted.as_str(), id.as_str()]));
    written.map(drop).map_err(|error| RegistryError::sql(dir, error))
}

/// Deletes a package and gives what it was: `None` if there was none, an error inside if it was
/// there and is gone, but could not be read.
pub(super) fn delete(
    connection: &Connection,
    dir: &DataDir,
    id: &PackageId,
) -> Result<Option<Result<InstalledPackage, RowError>>, RegistryError> {
    let failed = |error| RegistryError::sql(dir, error);
    let mut statement = connection.prepare_cached(DELETE).map_err(failed)?;
    let mut rows = statement.query([id.as_str()]).map_err(failed)?;
    let deleted = rows.next().map_err(failed)?.map(parse);
    Ok(deleted)
}

/// The id in a row, as far as it can be shown.
pub(super) fn name(row: &Row<'_>) -> String {
    match row.get_ref("id") {
        Ok(ValueRef::Text(text)) => {
            String::from_utf8_lossy(text).escape_debug().take(PackageId::MAX_LENGTH).collect()
        }
        _ => "?".to_owned(),
    }
}

fn parse(row: &Row<'_>) -> Result<InstalledPackage, RowError> {
    let id: PackageId = required(row, "id", str::parse)?;
    let version: semver::Version = required(row, "version", str::parse)?;
    let manifest = required(row, "manifest", |text| -> Result<_, Boxed> {
        let manifest = Manifest::from_json(text.as_bytes())?;
        let package = &manifest.package;
        if package.id == id && package.version == version {
            Ok(manifest)
        } else {
            Err(format!("it is that of {} {}", package.id, package.version).into())
        }
    })?;
    Ok(InstalledPackage {
        manifest,
        digest: required(row, "digest", str::parse::<Digest>)?,
        grant: required(row, "granted", |text| serde_json::from_str(text))?,
        alias: optional(row, "alias", str::parse)?,
        signer: optional(row, "signer", str::parse)?,
        source: required(row, "source", str::parse)?,
        installed_at: seconds(row, "installed_at")?,
        steps: optional(row, "steps", |text| text.split(' ').map(str::parse).collect())?
            .unwrap_or_default(),
    })
}

/// Tools by their names, which have no spaces.
fn steps_text(steps: &[FullName]) -> String {
    steps.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

type Boxed = Box<dyn Error + Send + Sync>;

pub(super) fn column<T>(
    row: &Row<'_>,
    column: &'static str,
    parse: impl FnOnce(ValueRef<'_>) -> Result<T, Boxed>,
) -> Result<T, RowError> {
    let value = row.get_ref(column).map_err(Boxed::from);
    value.and_then(parse).map_err(|source| RowError { column, source })
}

/// A time that was written in seconds since 1970.
pub(super) fn seconds(row: &Row<'_>, name: &'static str) -> Result<u64, RowError> {
    column(row, name, |value| Ok(u64::try_from(value.as_i64()?)?))
}

pub(super) fn required<T, E: Into<Boxed>>(
    row: &Row<'_>,
    name: &'static str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, RowError> {
    column(row, name, |value| parse(value.as_str()?).map_err(E::into))
}

fn optional<T, E: Into<Boxed>>(
    row: &Row<'_>,
    name: &'static str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>, RowError> {
    column(row, name, |value| value.as_str_or_null()?.map(parse).transpose().map_err(E::into))
}
