//! Which key speaks for which package, from its first installation on.
//!
//! That a key is trusted says that its maker is welcome; it does not make another maker's packages
//! theirs. So the key that signed a package when it was first installed is pinned to the package's
//! id, and no other key replaces it. A pin outlives the package: who uninstalls and installs again
//! gets the same maker or is told.

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::row::{RowError, required, seconds};
use super::{DataDir, RegistryError};
use crate::name::PackageId;
use crate::signing::{PublicKey, Rotation};

/// All pins, in the order of their ids.
pub(super) const ALL: &str = "SELECT id, key, pinned_at FROM pins ORDER BY id";

const BY_ID: &str = "SELECT id, key, pinned_at FROM pins WHERE id = ?1";

const INSERT: &str = "INSERT INTO pins (id, key, pinned_at) VALUES (?1, ?2, ?3)";

const DELETE: &str = "DELETE FROM pins WHERE id = ?1";

const ROTATE: &str = "UPDATE pins SET key = ?2 WHERE key = ?1 RETURNING id, key, pinned_at";

/// The one key whose signature a package needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Which package, whether it is installed or not.
    pub id: PackageId,
    /// Its key.
    pub key: PublicKey,
    /// In seconds since 1970.
    pub pinned_at: u64,
}

/// All pins.
pub(super) fn all(connection: &Connection, dir: &DataDir) -> Result<Vec<Pin>, RegistryError> {
    let failed = |error| RegistryError::sql(dir, error);
    let mut statement = connection.prepare_cached(ALL).map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    let mut pins = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        pins.push(read(row)?);
    }
    Ok(pins)
}

/// The pin of one package.
pub(super) fn of(
    connection: &Connection,
    dir: &DataDir,
    id: &PackageId,
) -> Result<Option<Pin>, RegistryError> {
    let failed = |error| RegistryError::sql(dir, error);
    let mut statement = connection.prepare_cached(BY_ID).map_err(failed)?;
    let found = statement.query_row([id.as_str()], |row| Ok(read(row))).optional();
    found.map_err(failed)?.transpose()
}

/// The key to which a package by `signers` is to be pinned, or is; none for an unsigned one.
///
/// # Errors
/// Where it is pinned to another key.
pub(super) fn check(
    connection: &Connection,
    dir: &DataDir,
    id: &PackageId,
    signers: &[PublicKey],
) -> Result<Option<PublicKey>, RegistryError> {
    let first = signers.first().copied();
    match of(connection, dir, id)? {
        None => Ok(first),
        Some(pin) if signers.contains(&pin.key) => Ok(Some(pin.key)),
        Some(pin) => Err(RegistryError::Pinned { id: id.clone(), pinned: pin.key, signer: first }),
    }
}

/// Pins a package to a key, unless it is pinned.
pub(super) fn keep(
    connection: &Connection,
    dir: &DataDir,
    id: &PackageId,
    key: PublicKey,
    now: u64,
) -> Result<(), RegistryError> {
    if of(connection, dir, id)?.is_some() {
        return Ok(());
    }
    let values = (id.as_str(), key.to_string(), i64::try_from(now).unwrap_or(i64::MAX));
    connection
        .prepare_cached(INSERT)
        .and_then(|mut statement| statement.execute(values))
        .map(drop)
        .map_err(|error| RegistryError::sql(dir, error))
}

/// Forgets a pin, even one that cannot be read; says whether there was one.
pub(super) fn delete(
    connection: &Connection,
    dir: &DataDir,
    id: &PackageId,
) -> Result<bool, RegistryError> {
    connection
        .prepare_cached(DELETE)
        .and_then(|mut statement| statement.execute([id.as_str()]))
        .map(|deleted| deleted > 0)
        .map_err(|error| RegistryError::sql(dir, error))
}

/// Moves every pin from the old key to the new one, and gives the packages.
pub(super) fn rotate(
    connection: &Connection,
    dir: &DataDir,
    rotation: &Rotation,
) -> Result<Vec<PackageId>, RegistryError> {
    let failed = |error| RegistryError::sql(dir, error);
    let mut statement = connection.prepare_cached(ROTATE).map_err(failed)?;
    let (old, new) = (rotation.old().to_string(), rotation.successor().to_string());
    let mut rows = statement.query([old, new]).map_err(failed)?;
    let mut moved = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        moved.push(read(row)?.id);
    }
    moved.sort();
    Ok(moved)
}

fn read(row: &Row<'_>) -> Result<Pin, RegistryError> {
    let pin = || -> Result<Pin, RowError> {
        Ok(Pin {
            id: required(row, "id", str::parse)?,
            key: required(row, "key", str::parse)?,
            pinned_at: seconds(row, "pinned_at")?,
        })
    };
    pin().map_err(|source| RegistryError::PinDamaged { package: super::row::name(row), source })
}
