//! The keys that an operator trusts, what each may sign and for how long, and those withdrawn.
//!
//! The [`TrustStore`] is one TOML file, which people may edit too:
//!
//! ```text
//! version = 2
//!
//! [[key]]
//! label = "alice"
//! public = "ed25519:..."
//! scope = ["dev.example"]     # ids that it may sign; none listed: every id
//! expires = "2027-01-31"      # through the end of that day in UTC; without it: for ever
//! added = "command"           # or "first-use", or "rotation from ed25519:..."
//!
//! [[revoked]]
//! public = "ed25519:..."
//! reason = "the laptop was stolen"
//! date = "2026-11-20"
//! ```
//!
//! A key that stands in both lists is revoked. Version 1 had neither scope nor expiry nor the list
//! of revoked keys; it is read, and replaced by the next change.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{Date, PublicKey, Rotation, RotationError, SignatureError};
use crate::atomic_file;
use crate::name::{IdPrefix, PackageId};

/// The largest file that is read, in bytes: room for some ten thousand keys.
const MAX_BYTES: u64 = 4 << 20;

/// The longest reason that is taken over from another's list, in characters.
const MAX_REASON: usize = 200;

/// A public key with the terms on which it is trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedKey {
    /// Whose it is, for people.
    pub label: String,
    /// The key.
    pub public: PublicKey,
    /// The ids that it may sign for; empty: every id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scope: Vec<IdPrefix>,
    /// The last day on which it is trusted; `None`: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Date>,
    /// How it came to be trusted.
    #[serde(default)]
    pub added: Added,
}

impl TrustedKey {
    /// A key that is trusted for every id and for ever.
    pub fn new(public: PublicKey, label: impl Into<String>) -> Self {
        let (scope, expires, added) = (Vec::new(), None, Added::default());
        Self { label: label.into(), public, scope, expires, added }
    }

    /// Whether it may sign for `id`.
    pub fn covers(&self, id: &PackageId) -> bool {
        self.scope.is_empty() || self.scope.iter().any(|prefix| prefix.covers(id))
    }

    /// Its last day, if that is over.
    pub fn expired(&self, now: SystemTime) -> Option<Date> {
        self.expires.filter(|date| date.end() <= now)
    }
}

/// How a key came to be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Added {
    /// The operator said so by itself.
    #[default]
    Command,
    /// The operator was asked at the first installation of a tool by it.
    FirstUse,
    /// It follows a key that was trusted.
    Rotation(PublicKey),
}

const ROTATION: &str = "rotation from ";

impl FromStr for Added {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix(ROTATION)) {
            ("command", _) => Ok(Self::Command),
            ("first-use", _) => Ok(Self::FirstUse),
            (_, Some(key)) => key.parse().map(Self::Rotation).map_err(|error| format!("{error}")),
            _ => Err("expected `command`, `first-use` or `rotation from KEY`".to_owned()),
        }
    }
}

impl TryFrom<String> for Added {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Added> for String {
    fn from(added: Added) -> String {
        match added {
            Added::Command => "command".to_owned(),
            Added::FirstUse => "first-use".to_owned(),
            Added::Rotation(old) => format!("{ROTATION}{old}"),
        }
    }
}

/// A key whose signatures count no more, whoever trusts it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokedKey {
    /// The key.
    pub public: PublicKey,
    /// Why, for people.
    pub reason: String,
    /// When it was revoked.
    pub date: Date,
}

/// The public keys that an operator trusts, and those that are revoked, kept in one TOML file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustStore {
    keys: BTreeMap<PublicKey, TrustedKey>,
    revoked: BTreeMap<PublicKey, RevokedKey>,
}

/// Why the trust store cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read or written.
    #[error("cannot access the trust store {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file is not what [`TrustStore::save`] writes.
    #[error("the trust store {} is not valid", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// Where and why not.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// Two entries of which readers might believe different ones.
    #[error("the trust store {} has two entries for {key}: remove one of them", path.display())]
    Duplicate {
        /// Which file.
        path: PathBuf,
        /// The key that stands in it twice.
        key: PublicKey,
    },
}

/// The shape of the trust store's file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrustFile {
    version: TrustVersion,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    key: Vec<TrustedKey>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    revoked: Vec<RevokedKey>,
}

/// The versions of the file that are read, of which the last is written; another is an error.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
struct TrustVersion;

impl TryFrom<u32> for TrustVersion {
    type Error = String;

    fn try_from(version: u32) -> Result<Self, String> {
        match version {
            1 | 2 => Ok(Self),
            0 => Err("there is no version 0".to_owned()),
            other => {
                Err(format!("version {other} is newer than this program knows: update cargo-kami"))
            }
        }
    }
}

impl From<TrustVersion> for u32 {
    fn from(_: TrustVersion) -> u32 {
        2
    }
}

impl TrustStore {
    /// Reads the file at `path`; where there is none, nobody is trusted.
    ///
    /// # Errors
    /// Where the file is there but cannot be read or is not valid.
    pub fn load(path: &Path) -> Result<Self, TrustError> {
        match read(path) {
            Ok(text) => Self::parse(&text, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(TrustError::Io { path: path.into(), source }),
        }
    }

    fn parse(text: &str, path: &Path) -> Result<Self, TrustError> {
        let file: TrustFile = toml::from_str(text)
            .map_err(|source| TrustError::Format { path: path.into(), source: Box::new(source) })?;
        let duplicate = |key| TrustError::Duplicate { path: path.into(), key };
        let mut store = Self::default();
        for key in file.key {
            let public = key.public;
            if store.keys.insert(public, key).is_some() {
                return Err(duplicate(public));
            }
        }
        for key in file.revoked {
            let public = key.public;
            if store.revoked.insert(public, key).is_some() {
                return Err(duplicate(public));
            }
        }
        Ok(store)
    }

    /// Replaces the file at `path` as a whole.
    ///
    /// Whoever changes what another process may change at the same time, takes [`Self::update`].
    ///
    /// # Errors
    /// Where the file cannot be written; the old one is then still there.
    pub fn save(&self, path: &Path) -> Result<(), TrustError> {
        let file = TrustFile {
            version: TrustVersion,
            key: self.keys.values().cloned().collect(),
            revoked: self.revoked.values().cloned().collect(),
        };
        let text = toml::to_string(&file).expect("a trust file holds only strings and a number");
        atomic_file::replace(path, text.as_bytes())
            .map_err(|source| TrustError::Io { path: path.into(), source })
    }

    /// Reads the file at `path`, changes what was read, and replaces the file, while nobody else
    /// does the same: no revocation is lost because a key was added at that moment.
    ///
    /// # Errors
    /// Where the file cannot be read or written, or `change` fails; the old one is then still
    /// there.
    pub fn update<T, E: From<TrustError>>(
        path: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let lock = path.with_extension("lock");
        let failed = |source| TrustError::Io { path: lock.clone(), source };
        let held = File::options().create(true).append(true).open(&lock).map_err(failed)?;
        held.lock().map_err(failed)?;
        let mut store = Self::load(path)?;
        let changed = change(&mut store)?;
        store.save(path)?;
        Ok(changed)
    }

    /// Trusts a key on its terms, which replace those that it had.
    pub fn insert(&mut self, key: TrustedKey) {
        self.keys.insert(key.public, key);
    }

    /// Trusts `key` for every id and for ever.
    pub fn add(&mut self, key: PublicKey, label: impl Into<String>) {
        self.insert(TrustedKey::new(key, label));
    }

    /// Trusts `key` for the ids under `prefix`, beside what it is trusted for already.
    pub fn allow(&mut self, key: PublicKey, prefix: IdPrefix) {
        match self.keys.entry(key) {
            Entry::Vacant(entry) => {
                let label = prefix.to_string();
                let scope = vec![prefix];
                let added = Added::FirstUse;
                entry.insert(TrustedKey { scope, added, ..TrustedKey::new(key, label) });
            }
            Entry::Occupied(mut entry) => {
                let scope = &mut entry.get_mut().scope;
                // An empty scope is every id, and would become less.
                if !scope.is_empty() && !scope.contains(&prefix) {
                    scope.push(prefix);
                }
            }
        }
    }

    /// Stops trusting `key`; says whether it was trusted.
    pub fn remove(&mut self, key: &PublicKey) -> bool {
        self.keys.remove(key).is_some()
    }

    /// Makes a key's signatures count no more. The first revocation of a key stays.
    pub fn revoke(&mut self, key: RevokedKey) {
        self.revoked.entry(key.public).or_insert(key);
    }

    /// Revokes what `other` revokes, and trusts nobody whom it trusts; gives the keys that were
    /// not revoked before.
    ///
    /// # Security
    /// `other` may be a stranger's list. It can only take trust away, and its reasons are made to
    /// fit on one line.
    pub fn revoke_all(&mut self, other: Self) -> Vec<RevokedKey> {
        let is_new = |key: &RevokedKey| !self.revoked.contains_key(&key.public);
        let on_one_line = |key: RevokedKey| {
            let reason = key.reason.chars().filter(|c| !c.is_control()).take(MAX_REASON).collect();
            RevokedKey { reason, ..key }
        };
        let new: Vec<_> = other.revoked.into_values().filter(is_new).map(on_one_line).collect();
        self.revoked.extend(new.iter().map(|key| (key.public, key.clone())));
        new
    }

    /// Lets the new key of a statement stand where the old one does: same label, scope and expiry.
    ///
    /// The old key stays, so that what it signed still runs; it may be revoked then.
    ///
    /// # Errors
    /// Where the old key is not trusted, is revoked or has expired, or the new one is revoked or
    /// is trusted on other grounds.
    pub fn rotate(
        &mut self,
        rotation: &Rotation,
        now: SystemTime,
    ) -> Result<&TrustedKey, RotationError> {
        let (old, new) = (rotation.old(), rotation.successor());
        if let Some(found) = [old, new].iter().find_map(|key| self.revoked.get(key)) {
            return Err(RotationError::Revoked { key: found.public, date: found.date });
        }
        let trusted = self.keys.get(&old).ok_or(RotationError::Untrusted(old))?;
        if let Some(date) = trusted.expired(now) {
            return Err(RotationError::Expired { key: old, date });
        }
        let added = Added::Rotation(old);
        let successor = TrustedKey { public: new, added, ..trusted.clone() };
        match self.keys.entry(new) {
            Entry::Vacant(entry) => Ok(entry.insert(successor)),
            // The same statement, seen a second time.
            Entry::Occupied(entry) if entry.get().added == added => Ok(entry.into_mut()),
            Entry::Occupied(_) => Err(RotationError::Known(new)),
        }
    }

    /// Whether a signature by `key` on the package `id` counts at `now`; gives the key's terms.
    ///
    /// # Errors
    /// Where the key is revoked, is not trusted, is not trusted any more, or not for this id.
    pub fn judge(
        &self,
        key: PublicKey,
        id: &PackageId,
        now: SystemTime,
    ) -> Result<&TrustedKey, SignatureError> {
        if let Some(revoked) = self.revoked.get(&key) {
            return Err(SignatureError::Revoked(Box::new(revoked.clone())));
        }
        let trusted = self.keys.get(&key).ok_or_else(|| SignatureError::Untrusted(vec![key]))?;
        if !trusted.covers(id) {
            let key = Box::new(trusted.clone());
            return Err(SignatureError::OutOfScope { key, id: id.clone() });
        }
        match trusted.expired(now) {
            Some(date) => Err(SignatureError::Expired { key: Box::new(trusted.clone()), date }),
            None => Ok(trusted),
        }
    }

    /// The next moment at which a key that is trusted at `now` is not trusted any more.
    pub fn next_expiry(&self, now: SystemTime) -> Option<SystemTime> {
        let ends = self.keys.values().filter_map(|key| Some(key.expires?.end()));
        ends.filter(|end| *end > now).min()
    }

    /// The terms of a key that is not revoked.
    pub fn get(&self, key: &PublicKey) -> Option<&TrustedKey> {
        self.keys.get(key).filter(|_| !self.revoked.contains_key(key))
    }

    /// The label of a key that is trusted and not revoked.
    pub fn label(&self, key: &PublicKey) -> Option<&str> {
        self.get(key).map(|key| key.label.as_str())
    }

    /// Why a key's signatures count no more; `None` where it is not revoked.
    pub fn revocation(&self, key: &PublicKey) -> Option<&RevokedKey> {
        self.revoked.get(key)
    }

    /// All keys that are trusted and not revoked, whether they have expired or not.
    pub fn keys(&self) -> impl Iterator<Item = &TrustedKey> {
        self.keys.values().filter(|key| !self.revoked.contains_key(&key.public))
    }

    /// All keys that are revoked.
    pub fn revoked(&self) -> impl Iterator<Item = &RevokedKey> {
        self.revoked.values()
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let length = File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if length as u64 > MAX_BYTES {
        let message = format!("the file has more than {MAX_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(text)
}
