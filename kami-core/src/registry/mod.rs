//! What is installed, from where, and what it was granted.
//!
//! A [`Registry`] is a SQLite database beside a content-addressed store of artifacts, both under
//! one [`DataDir`]. Any number of processes may use it at once. Only this module knows SQL.
//!
//! A crash at any moment leaves the state before or the state after, by the order of writes:
//!
//! - to install, the artifact's file comes first and the row that refers to it after;
//! - to uninstall, the row goes first and then the file, unless another row refers to it;
//! - both happen under the database's write lock, so that no process removes the file that
//!   another one is about to refer to.
//!
//! So every row has its file. A file without a row may stay behind, and does no harm.
//!
//! Each package is pinned to the key that signed it first; see [`Pin`].
//!
//! How clients call a tool is worked out when packages come and go, in the same transaction, so
//! that a tool is found at the same cost among ten and among ten thousand. So are the words by which
//! one is found that nobody can name.
//!
//! Beside the packages it knows the [`Token`]s by which clients show who they are, by their hashes.
//!
//! The registry believes nothing that it reads. Rows are parsed into the types they were made
//! of, and an artifact's bytes are verified by whoever wants to run them.

mod data_dir;
mod index;
mod names;
mod naming;
mod offers;
mod pin;
mod pipelines;
mod row;
mod schema;
mod selection;
mod store;
mod tokens;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::io;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Transaction, TransactionBehavior};

use crate::digest::Digest;
use crate::grants::Grant;
use crate::manifest::Manifest;
use crate::name::{FullName, PackageId, ToolName};
use crate::signing::{PublicKey, Rotation, SignedArtifact};

pub use data_dir::DataDir;
pub use names::CatalogEntry;
pub use naming::{CALL_TOOL, SEARCH_TOOLS};
pub use offers::{PromptEntry, ResourceEntry, TemplateEntry};
pub use pin::Pin;
pub use pipelines::Composition;
pub use row::RowError;
pub use selection::{PackageTag, PackageTagError, ToolPattern, ToolPatternError, ToolSelection};
pub use tokens::{Scope, ScopeError, Token, TokenName, TokenNameError};

/// A package that is installed.
#[derive(Debug, Clone, PartialEq)]
pub struct InstalledPackage {
    /// What its artifact says about itself.
    pub manifest: Manifest,
    /// Of all bytes of its artifact.
    pub digest: Digest,
    /// What the operator allows it.
    pub grant: Grant,
    /// The name by which the operator wants it to be called.
    pub alias: Option<ToolName>,
    /// The trusted key that signed it; `None` if it is unsigned and was allowed to be.
    pub signer: Option<PublicKey>,
    /// Where it came from, for people.
    pub source: String,
    /// In seconds since 1970.
    pub installed_at: u64,
    /// The tools that it calls, if it is a pipeline; what has code has none.
    pub steps: Vec<FullName>,
}

impl InstalledPackage {
    /// Whether it is made of other tools, and has no code of its own.
    pub fn is_pipeline(&self) -> bool {
        !self.steps.is_empty()
    }

    /// The package's identity.
    pub fn id(&self) -> &PackageId {
        &self.manifest.package.id
    }
}

/// What an operator says about an installation, besides the grant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InstallOptions {
    /// See [`InstalledPackage::alias`].
    pub alias: Option<ToolName>,
    /// See [`InstalledPackage::source`].
    pub source: String,
}

/// What an installation did.
#[derive(Debug, Clone, PartialEq)]
pub struct Installed {
    /// The package as it is now.
    pub package: InstalledPackage,
    /// The version that was there before, even if it is the same.
    pub replaced: Option<semver::Version>,
}

/// Why the registry cannot do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Others may write to a directory that holds keys and native code.
    #[error(
        "{} belongs to another user or may be written by others: \
         make it yours alone (chmod 700), or use another data directory", path.display()
    )]
    Exposed {
        /// Which directory.
        path: PathBuf,
    },
    /// A path of the [`DataDir`] is taken by something else.
    #[error("{} is not a directory: remove it, or choose another data directory", path.display())]
    NotADirectory {
        /// What is in the way.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The database was written by a newer version of this program.
    #[error(
        "the registry {} has schema {found}, and this version knows schema {known}: \
         update cargo-kami; the registry was left as it is",
        path.display()
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema that this version knows.
        known: usize,
    },
    /// A SQLite database that belongs to another program.
    #[error(
        "{} is a database, but not a KAMI registry: move it away, or choose another data \
         directory; it was left as it is",
        path.display()
    )]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// Not a database, or a damaged one.
    #[error(
        "the registry {} is damaged: put a backup in its place, or move it away and install the \
         packages again; it was left as it is",
        path.display()
    )]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// What SQLite found.
        #[source]
        source: rusqlite::Error,
    },
    /// Another process did not let go of the database.
    #[error("another process has been busy with the registry {} for long: try again", path.display())]
    Busy {
        /// Which file.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// The database refused for another reason, such as a full disk.
    #[error("cannot use the registry {}", path.display())]
    Sql {
        /// Which file.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// A package is installed, but what the database says about it cannot be read.
    #[error("the registry's entry for `{package}` is damaged: install it again, or uninstall it")]
    Row {
        /// Which package.
        package: String,
        /// What cannot be read.
        #[source]
        source: RowError,
    },
    /// A package was uninstalled, and what the database said about it could not be read.
    #[error("`{package}` is uninstalled; the registry's entry for it was damaged")]
    UninstalledDamaged {
        /// Which package.
        package: PackageId,
        /// What could not be read.
        #[source]
        source: RowError,
    },
    /// There is nothing to uninstall.
    #[error("`{0}` is not installed")]
    NotInstalled(PackageId),
    /// Another process was faster.
    #[error("`{0}` was changed by another process meanwhile: look again, and decide anew")]
    Changed(PackageId),
    /// Another package has the alias.
    #[error("the name `{alias}` is taken by `{by}`: choose another one")]
    AliasTaken {
        /// Which alias.
        alias: ToolName,
        /// Whose it is.
        by: String,
    },
    /// The alias is a name of the host's own.
    #[error("`{0}` is a tool of the server itself: choose another name")]
    AliasReserved(ToolName),
    /// Another package has a URI, or others that begin so.
    #[error(
        "the resource `{uri}` cannot be told from `{taken}` of `{by}`: uninstall one of the two \
         packages"
    )]
    UriTaken {
        /// What the package offers.
        uri: String,
        /// What is there already, or how it begins.
        taken: String,
        /// Whose it is.
        by: String,
    },
    /// The package belongs to another key.
    #[error(
        "`{id}` is pinned to key {}, which signed it when it was first installed, and this file is \
         {}: it takes a rotation statement by the pinned key, or its pin is removed once its maker \
         confirmed the change",
        pinned.fingerprint(), signed_by(signer.as_ref())
    )]
    Pinned {
        /// Which package.
        id: PackageId,
        /// The key that it is pinned to.
        pinned: PublicKey,
        /// A key that signed the new file; `None` if nobody did.
        signer: Option<PublicKey>,
    },
    /// There is no pin to remove.
    #[error("`{0}` is not pinned to any key")]
    NotPinned(PackageId),
    /// A package is pinned, but to what cannot be read.
    #[error("the registry's pin of `{package}` is damaged: remove the pin, and install it again")]
    PinDamaged {
        /// Which package.
        package: String,
        /// What cannot be read.
        #[source]
        source: RowError,
    },
    /// Two tokens of one name could not be told apart.
    #[error("there is a token called `{0}` already: choose another name, or revoke that one first")]
    TokenExists(TokenName),
    /// There is no token to remove.
    #[error("there is no token called `{0}`")]
    NoToken(TokenName),
    /// There are as many tokens as there may be.
    #[error("there are too many tokens: revoke those that nobody uses any more")]
    TooManyTokens,
    /// A token is there, but what it permits cannot be read.
    #[error(
        "the registry's entry for the token `{token}` is damaged: revoke it, and create another"
    )]
    TokenDamaged {
        /// Which token.
        token: String,
        /// What cannot be read.
        #[source]
        source: RowError,
    },
    /// A grant that cannot be written down, because a path in it is not UTF-8.
    #[error("the grant cannot be stored")]
    Grant(#[source] serde_json::Error),
    /// A package's file is gone.
    #[error("the artifact {digest} is missing at {}: install its package again", path.display())]
    ArtifactMissing {
        /// Of which artifact.
        digest: Digest,
        /// Where it should be.
        path: PathBuf,
    },
}

fn signed_by(key: Option<&PublicKey>) -> String {
    match key {
        Some(key) => format!("signed by key {}", key.fingerprint()),
        None => "not signed".to_owned(),
    }
}

impl RegistryError {
    /// Tells apart what a caller can act on in different ways.
    fn sql(dir: &DataDir, source: rusqlite::Error) -> Self {
        let path = dir.registry_file();
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Corrupt { path, source }
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Self::Busy { path, source }
            }
            _ => Self::Sql { path, source },
        }
    }
}

/// The installed packages of one [`DataDir`].
#[derive(Debug)]
pub struct Registry {
    connection: Connection,
    dir: DataDir,
    /// What clients asked for last.
    known: RefCell<names::Known>,
    /// Whether this one has looked for what killed installers left behind.
    swept: bool,
}

impl Registry {
    /// Opens the registry; where there is none, makes one with all its directories.
    ///
    /// # Errors
    /// Where the database is damaged, is not a registry, or is from a newer version. It is then
    /// left as it is.
    pub fn open(dir: &DataDir) -> Result<Self, RegistryError> {
        dir.create()?;
        let connection = schema::open(dir)?;
        let known = RefCell::default();
        let registry = Self { connection, dir: dir.clone(), known, swept: false };
        match registry.prepare() {
            Ok(()) => Ok(registry),
            // The header is right, but not what it promises.
            Err(RegistryError::Sql { path, source }) => {
                Err(RegistryError::Corrupt { path, source })
            }
            Err(other) => Err(other),
        }
    }

    /// Prepares the queries, which proves that their tables are there.
    fn prepare(&self) -> Result<(), RegistryError> {
        for query in [
            row::ALL,
            row::PIPELINES,
            row::BY_ID,
            names::BY_NAME,
            pin::ALL,
            tokens::BY_HASH,
            index::RANKED,
        ] {
            self.connection
                .prepare_cached(query)
                .map_err(|error| RegistryError::sql(&self.dir, error))?;
        }
        self.generation().map(drop)
    }

    /// Installs a package, or replaces the version that is there, with its grant and its alias. Its
    /// first installation pins it to the key that signed it.
    ///
    /// # Errors
    /// Where it is pinned to another key, another package has the alias, or something cannot be
    /// written; then nothing has changed.
    pub fn install(
        &mut self,
        artifact: &SignedArtifact,
        grant: &Grant,
        options: &InstallOptions,
    ) -> Result<Installed, RegistryError> {
        self.sweep();
        let signers = artifact.signers();
        let artifact = artifact.artifact();
        let mut package = InstalledPackage {
            manifest: artifact.manifest().clone(),
            digest: artifact.digest(),
            grant: grant.clone(),
            alias: options.alias.clone(),
            signer: None,
            source: options.source.clone(),
            installed_at: now(),
            steps: Vec::new(),
        };
        let dir = &self.dir;
        let before = write(&mut self.connection, dir, |transaction| {
            package.signer = pin::check(transaction, dir, package.id(), signers)?;
            check_alias(transaction, dir, &package)?;
            store::put(dir, dir.artifact_file(package.digest), artifact.bytes())?;
            let before = row::delete(transaction, dir, package.id())?;
            row::insert(transaction, dir, &package)?;
            if let Some(key) = package.signer {
                pin::keep(transaction, dir, package.id(), key, package.installed_at)?;
            }
            names::renew(transaction, dir)?;
            index::renew(transaction, dir)?;
            offers::renew(transaction, dir)?;
            pipelines::renew(transaction, dir, package.id())?;
            Ok(before)
        })?;
        // An entry that could not be read is mended by being replaced.
        let before = before.and_then(Result::ok);
        if let Some(before) = &before {
            self.discard(before.digest);
        }
        Ok(Installed { package, replaced: before.map(|before| before.manifest.package.version) })
    }

    /// Replaces the grant of a package, which is still as `seen`.
    ///
    /// # Errors
    /// Where another process changed or uninstalled it since, or the database cannot be written;
    /// then nothing has changed.
    pub fn set_grant(
        &mut self,
        seen: &InstalledPackage,
        grant: &Grant,
    ) -> Result<(), RegistryError> {
        let dir = &self.dir;
        write(&mut self.connection, dir, |transaction| {
            let found = row::select(transaction, dir, row::BY_ID, [seen.id().as_str()])?;
            match found.first() {
                None => Err(RegistryError::NotInstalled(seen.id().clone())),
                Some(now) if now.digest != seen.digest || now.grant != seen.grant => {
                    Err(RegistryError::Changed(seen.id().clone()))
                }
                Some(_) => row::set_grant(transaction, dir, seen.id(), grant),
            }
        })
    }

    /// Uninstalls a package and gives what it was.
    ///
    /// # Errors
    /// Where it is not installed, or the database cannot be written; then nothing has changed.
    /// With [`RegistryError::UninstalledDamaged`] the package is uninstalled.
    pub fn uninstall(&mut self, id: &PackageId) -> Result<InstalledPackage, RegistryError> {
        let dir = &self.dir;
        let package = write(&mut self.connection, dir, |transaction| {
            let package = row::delete(transaction, dir, id)?;
            let package = package.ok_or_else(|| RegistryError::NotInstalled(id.clone()))?;
            names::renew(transaction, dir)?;
            index::renew(transaction, dir)?;
            offers::renew(transaction, dir)?;
            pipelines::renew(transaction, dir, id)?;
            Ok(package)
        })?;
        let package = package
            .map_err(|source| RegistryError::UninstalledDamaged { package: id.clone(), source })?;
        self.discard(package.digest);
        Ok(package)
    }

    /// All packages, ordered by id, as they were at one moment.
    ///
    /// # Errors
    /// Where the database, or the entry of one package, cannot be read.
    pub fn packages(&self) -> Result<Vec<InstalledPackage>, RegistryError> {
        row::select(&self.connection, &self.dir, row::ALL, [])
    }

    /// The package with an id; `None` if it is not installed.
    ///
    /// # Errors
    /// Where the database or the package's entry cannot be read.
    pub fn package(&self, id: &PackageId) -> Result<Option<InstalledPackage>, RegistryError> {
        let found = row::select(&self.connection, &self.dir, row::BY_ID, [id.as_str()])?;
        Ok(found.into_iter().next())
    }

    /// All pins, ordered by id.
    ///
    /// # Errors
    /// Where the database, or one of them, cannot be read.
    pub fn pins(&self) -> Result<Vec<Pin>, RegistryError> {
        pin::all(&self.connection, &self.dir)
    }

    /// Whether a file with valid signatures by `signers` may become the package `id`, as
    /// [`Self::install`] will decide it: so that nobody is asked about what is refused anyway.
    ///
    /// # Errors
    /// Where the package is pinned to another key, or the database cannot be read.
    pub fn check_pin(&self, id: &PackageId, signers: &[PublicKey]) -> Result<(), RegistryError> {
        pin::check(&self.connection, &self.dir, id, signers).map(drop)
    }

    /// Removes the pin of a package: the next key that signs it, and is trusted, may have it.
    ///
    /// # Errors
    /// Where it is not pinned, or the database cannot be written.
    pub fn unpin(&mut self, id: &PackageId) -> Result<(), RegistryError> {
        let dir = &self.dir;
        write(&mut self.connection, dir, |transaction| match pin::delete(transaction, dir, id)? {
            true => Ok(()),
            false => Err(RegistryError::NotPinned(id.clone())),
        })
    }

    /// Lets all packages that are pinned to a statement's old key follow to the new one, and gives
    /// them, ordered by id.
    ///
    /// # Errors
    /// Where the database cannot be written; then nothing has changed.
    ///
    /// # Security
    /// The statement proves what its old key wants. Whether that key's word counts here is for
    /// [`TrustStore::rotate`](crate::signing::TrustStore::rotate) to say, first.
    pub fn rotate_pins(&mut self, rotation: &Rotation) -> Result<Vec<PackageId>, RegistryError> {
        let dir = &self.dir;
        write(&mut self.connection, dir, |transaction| pin::rotate(transaction, dir, rotation))
    }

    /// A number that is another one after any process has changed the registry.
    ///
    /// Whoever keeps what it read should ask for the number first: then a change in between is
    /// noticed at the next look.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn generation(&self) -> Result<i64, RegistryError> {
        generation(&self.connection).map_err(|error| RegistryError::sql(&self.dir, error))
    }

    /// Removes an artifact that no package refers to any more.
    ///
    /// If that fails, the file stays and does no harm: what was asked for is done.
    fn discard(&mut self, digest: Digest) {
        if let Err(error) = self.remove_unused(digest) {
            tracing::warn!(
                %digest,
                error = &error as &dyn std::error::Error,
                "an unused artifact stays in the store"
            );
        }
    }

    fn remove_unused(&mut self, digest: Digest) -> Result<(), RegistryError> {
        let failed = |error| RegistryError::sql(&self.dir, error);
        // Nothing is written, but the lock keeps installers away, who may have found the file and
        // not yet referred to it.
        let lock = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        let query = "SELECT EXISTS (SELECT 1 FROM packages WHERE digest = ?1)";
        let used: bool = lock
            .prepare_cached(query)
            .and_then(|mut statement| statement.query_row([digest.to_string()], |row| row.get(0)))
            .map_err(failed)?;
        if used { Ok(()) } else { store::remove(&self.dir, digest) }
    }

    /// Once in this registry's life, before it writes: readers need not pay for it.
    fn sweep(&mut self) {
        if !std::mem::replace(&mut self.swept, true)
            && let Err(error) = store::sweep(&self.dir)
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "unfinished files stay in the store"
            );
        }
    }
}

fn generation(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("SELECT generation FROM meta")?.query_row([], |row| row.get(0))
}

/// Does `work` in one transaction under the write lock, and counts the generation up.
fn write<T>(
    connection: &mut Connection,
    dir: &DataDir,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, RegistryError>,
) -> Result<T, RegistryError> {
    let failed = |error| RegistryError::sql(dir, error);
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let done = work(&transaction)?;
    transaction.execute("UPDATE meta SET generation = generation + 1", []).map_err(failed)?;
    transaction.commit().map_err(failed)?;
    Ok(done)
}

/// Two packages of one name could not be told apart by a model.
fn check_alias(
    transaction: &Transaction<'_>,
    dir: &DataDir,
    package: &InstalledPackage,
) -> Result<(), RegistryError> {
    let Some(alias) = &package.alias else {
        return Ok(());
    };
    if naming::RESERVED.contains(&alias.as_str()) {
        return Err(RegistryError::AliasReserved(alias.clone()));
    }
    let query = "SELECT id FROM packages WHERE alias = ?1 AND id <> ?2";
    let owner: Option<String> = transaction
        .prepare_cached(query)
        .and_then(|mut statement| {
            statement
                .query_row([alias.as_str(), package.id().as_str()], |row| row.get(0))
                .optional()
        })
        .map_err(|error| RegistryError::sql(dir, error))?;
    match owner {
        Some(by) => Err(RegistryError::AliasTaken { alias: alias.clone(), by }),
        None => Ok(()),
    }
}

fn now() -> u64 {
    // A clock before 1970 is wrong anyway.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
