//! The registry's database: opened, told from other files, and brought to the newest schema.
//!
//! Schemas only move forward. Each is a migration from the one before, and `user_version` counts
//! those that a file has had. A newer file is refused before anything in it is touched, and so is
//! a file that is not a registry, which `application_id` tells.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::{DataDir, RegistryError, index, names};
use crate::atomic_file;

/// `KAMI` in ASCII, in the header of every registry; `file` and others show it.
pub(super) const APPLICATION_ID: i32 = 0x4b41_4d49;

/// How long to wait for another process, which holds the registry while it writes and syncs one
/// artifact: a second, or some on a slow disk, and several processes may stand in line.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// The steps from an empty file to the newest schema. Published steps never change.
const MIGRATIONS: &[&str] = &[
    // One package may later have several versions: then `one_version` goes, and nothing refers
    // to `id`. What an operator may look for has a column; all else is in `manifest` and `granted`.
    "CREATE TABLE packages (
         key INTEGER PRIMARY KEY,
         id TEXT NOT NULL,
         version TEXT NOT NULL,
         digest TEXT NOT NULL,
         manifest TEXT NOT NULL,
         granted TEXT NOT NULL,
         alias TEXT,
         signer TEXT,
         source TEXT NOT NULL,
         installed_at INTEGER NOT NULL
     ) STRICT;
     CREATE UNIQUE INDEX one_version ON packages (id);
     CREATE UNIQUE INDEX one_owner ON packages (alias) WHERE alias IS NOT NULL;
     CREATE INDEX packages_by_digest ON packages (digest);

     CREATE TABLE tools (
         name TEXT NOT NULL,
         package INTEGER NOT NULL REFERENCES packages (key) ON DELETE CASCADE,
         PRIMARY KEY (name, package)
     ) STRICT, WITHOUT ROWID;
     CREATE INDEX tools_by_package ON tools (package);

     CREATE TABLE meta (
         only INTEGER PRIMARY KEY CHECK (only = 1),
         generation INTEGER NOT NULL
     ) STRICT;
     INSERT INTO meta (only, generation) VALUES (1, 0);",
    // Which key speaks for which id. Not a column of `packages`, as it outlives the package. What
    // is installed already is pinned to the key that signed it.
    "CREATE TABLE pins (
         id TEXT NOT NULL PRIMARY KEY,
         key TEXT NOT NULL,
         pinned_at INTEGER NOT NULL
     ) STRICT, WITHOUT ROWID;
     CREATE INDEX pins_by_key ON pins (key);
     INSERT INTO pins (id, key, pinned_at)
         SELECT id, signer, installed_at FROM packages WHERE signer IS NOT NULL;",
    // Which tool is meant by which name on the wire, and how many there are. What stands here for
    // the names of what is installed already is replaced by `names::renew`, which follows the last
    // step.
    "CREATE TABLE names (
         name TEXT NOT NULL PRIMARY KEY,
         package INTEGER NOT NULL REFERENCES packages (key) ON DELETE CASCADE,
         tool TEXT NOT NULL
     ) STRICT, WITHOUT ROWID;
     CREATE UNIQUE INDEX one_name ON names (package, tool);
     INSERT INTO names (name, package, tool)
         SELECT package || '/' || name, package, name FROM tools;
     DROP TABLE tools;
     ALTER TABLE meta ADD COLUMN tools INTEGER NOT NULL DEFAULT 0;",
    // What packages offer besides tools; those that are installed offer nothing else.
    "CREATE TABLE prompts (
         name TEXT NOT NULL PRIMARY KEY,
         package INTEGER NOT NULL REFERENCES packages (key) ON DELETE CASCADE,
         prompt TEXT NOT NULL
     ) STRICT, WITHOUT ROWID;
     CREATE UNIQUE INDEX one_prompt ON prompts (package, prompt);
     CREATE TABLE uris (
         template INTEGER NOT NULL,
         uri TEXT NOT NULL,
         prefix TEXT NOT NULL,
         package INTEGER NOT NULL REFERENCES packages (key) ON DELETE CASCADE,
         PRIMARY KEY (template, uri)
     ) STRICT, WITHOUT ROWID;
     CREATE INDEX uris_by_prefix ON uris (template, prefix);
     CREATE INDEX uris_by_package ON uris (package);",
    // Who may connect, by the hash of what they show.
    "CREATE TABLE tokens (
         name TEXT NOT NULL PRIMARY KEY,
         hash TEXT NOT NULL,
         scopes TEXT NOT NULL,
         tools TEXT NOT NULL,
         calls_per_minute INTEGER,
         created_at INTEGER NOT NULL,
         expires_at INTEGER
     ) STRICT, WITHOUT ROWID;
     CREATE UNIQUE INDEX tokens_by_hash ON tokens (hash);",
    // By which words each tool is found, and which row of words belongs to which. FTS5 keeps no text
    // (`content`), and a row of it goes by its key alone. `index::renew`, which follows the last step,
    // fills them.
    "CREATE TABLE searched (
         key INTEGER PRIMARY KEY,
         name TEXT NOT NULL UNIQUE,
         package INTEGER NOT NULL,
         tool TEXT NOT NULL
     ) STRICT;
     CREATE INDEX searched_by_package ON searched (package);
     CREATE VIRTUAL TABLE words USING fts5 (
         name, title, description, package, parameters,
         content = '', contentless_delete = 1, tokenize = 'porter unicode61'
     );",
    // The tools that a pipeline calls, with spaces in between; what has code has none.
    "ALTER TABLE packages ADD COLUMN steps TEXT;
     CREATE INDEX pipelines ON packages (id) WHERE steps IS NOT NULL;",
];

/// Opens the database, which is made if it is not there.
pub(super) fn open(dir: &DataDir) -> Result<Connection, RegistryError> {
    let path = dir.registry_file();
    if let Err(source) = atomic_file::ensure(&path) {
        return Err(RegistryError::Io { action: "create", path, source });
    }
    let mut connection = connect(&path).map_err(|error| RegistryError::sql(dir, error))?;
    migrate(&mut connection, dir, MIGRATIONS, |writing| {
        names::renew(writing, dir)?;
        index::renew(writing, dir)
    })?;
    configure(&connection).map_err(|error| RegistryError::sql(dir, error))?;
    Ok(connection)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    // Without CREATE: the file is there, and only its owner may read it, as SQLite then does
    // for its companions. NO_MUTEX: Rust already gives the connection to one thread at a time.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Nothing in a file that someone prepared may run, and broken pages are noticed early.
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(connection)
}

/// Settings that a file gets only once it is known to be a registry.
fn configure(connection: &Connection) -> rusqlite::Result<()> {
    use_write_ahead_log(connection)?;
    // Not NORMAL, which forgets the last transactions in a power cut: an uninstalled package
    // would be back in the list, its file gone, and a withdrawn grant would hold again.
    connection.pragma_update(None, "synchronous", "full")?;
    // On macOS only this makes a sync reach the disk; elsewhere it means nothing.
    connection.pragma_update(None, "fullfsync", true)
}

/// Lets readers and a writer work side by side.
///
/// Where a file system cannot do that, SQLite says so in its answer, which is not looked at, and
/// goes on with locks, which is as safe.
fn use_write_ahead_log(connection: &Connection) -> rusqlite::Result<()> {
    let start = Instant::now();
    loop {
        match connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(())) {
            // Here SQLite does not wait by itself: it would have to raise a lock that it holds.
            // The others who opened a new registry at the same moment are soon done.
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && start.elapsed() < BUSY_TIMEOUT =>
            {
                thread::sleep(Duration::from_millis(5));
            }
            done => return done,
        }
    }
}

/// What the header of a database says.
struct Header {
    application_id: i32,
    user_version: i64,
    objects: i64,
}

impl Header {
    /// Reads within a transaction, so that all of it is from one moment.
    fn read(connection: &Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            application_id: connection
                .pragma_query_value(None, "application_id", |row| row.get(0))?,
            user_version: connection.pragma_query_value(None, "user_version", |row| row.get(0))?,
            // This parses the whole schema, which finds a file that is damaged there.
            objects: connection
                .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?,
        })
    }

    /// How many migrations the file has had.
    fn applied(&self, dir: &DataDir, migrations: &[&str]) -> Result<usize, RegistryError> {
        let known = migrations.len();
        let empty = self.application_id == 0 && self.user_version == 0 && self.objects == 0;
        if !empty && self.application_id != APPLICATION_ID {
            return Err(RegistryError::Foreign { path: dir.registry_file() });
        }
        match usize::try_from(self.user_version) {
            Ok(applied) if applied <= known => Ok(applied),
            _ => Err(RegistryError::Newer {
                path: dir.registry_file(),
                found: self.user_version,
                known,
            }),
        }
    }
}

/// Applies the migrations that the file has not had, and then does what SQL cannot say: all of it
/// or, on an error, nothing.
fn migrate(
    connection: &mut Connection,
    dir: &DataDir,
    migrations: &[&str],
    finish: impl FnOnce(&Connection) -> Result<(), RegistryError>,
) -> Result<(), RegistryError> {
    let failed = |error| RegistryError::sql(dir, error);
    let reading = connection.transaction().map_err(failed)?;
    let applied = Header::read(&reading).map_err(failed)?.applied(dir, migrations)?;
    drop(reading);
    if applied == migrations.len() {
        return Ok(());
    }
    let writing =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    // Another process may have been faster.
    let applied = Header::read(&writing).map_err(failed)?.applied(dir, migrations)?;
    for migration in &migrations[applied..] {
        writing.execute_batch(migration).map_err(failed)?;
    }
    finish(&writing)?;
    writing.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
    let version = i64::try_from(migrations.len()).expect("there are few migrations");
    writing.pragma_update(None, "user_version", version).map_err(failed)?;
    writing.commit().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_go_forward_and_each_runs_once() {
        let mut connection = Connection::open_in_memory().unwrap();
        let dir = DataDir::new("in-memory");
        let steps = [
            "CREATE TABLE a (x INTEGER) STRICT",
            "INSERT INTO a VALUES (1)",
            "INSERT INTO a SELECT x + 1 FROM a",
        ];
        for count in 1..=steps.len() {
            migrate(&mut connection, &dir, &steps[..count], |_| Ok(())).unwrap();
            migrate(&mut connection, &dir, &steps[..count], |_| Ok(())).unwrap();
        }
        let sum: i64 = connection.query_row("SELECT sum(x) FROM a", [], |row| row.get(0)).unwrap();
        assert_eq!(sum, 3);
        let error = migrate(&mut connection, &dir, &steps[..1], |_| Ok(())).unwrap_err();
        assert!(matches!(error, RegistryError::Newer { found: 3, known: 1, .. }), "{error}");
    }

    #[test]
    fn a_migration_that_fails_leaves_the_old_schema() {
        let mut connection = Connection::open_in_memory().unwrap();
        let dir = DataDir::new("in-memory");
        let steps = ["CREATE TABLE a (x INTEGER) STRICT", "DROP TABLE a", "nonsense"];
        migrate(&mut connection, &dir, &steps[..1], |_| Ok(())).unwrap();
        migrate(&mut connection, &dir, &steps, |_| Ok(())).unwrap_err();
        connection.query_row("SELECT count(*) FROM a", [], |_| Ok(())).unwrap();
        let refused = |_: &Connection| Err(RegistryError::Foreign { path: dir.registry_file() });
        migrate(&mut connection, &dir, &steps[..2], refused).unwrap_err();
        connection.query_row("SELECT count(*) FROM a", [], |_| Ok(())).unwrap();
        migrate(&mut connection, &dir, &steps[..2], |_| Ok(())).unwrap();
        connection.query_row("SELECT count(*) FROM a", [], |_| Ok(())).unwrap_err();
    }
}
