//! The registry over real files: what it promises to one process, to several, and after a crash.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::*;
use crate::component::{Artifact, fixtures};
use crate::grants::{Limit, Limits};
use crate::signing::{SecretKey, TrustStore, Unsigned, sign};

/// A data directory that is removed with the test.
struct Scene {
    dir: DataDir,
    _root: TempDir,
}

impl Scene {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        Self { dir: DataDir::new(root.path().join("data")), _root: root }
    }

    fn open(&self) -> Registry {
        Registry::open(&self.dir).unwrap()
    }

    /// Runs SQL behind the registry's back.
    fn tamper(&self, sql: &str) {
        let connection = Connection::open(self.dir.registry_file()).unwrap();
        connection.execute_batch(sql).unwrap();
    }
}

fn id(text: &str) -> PackageId {
    text.parse().unwrap()
}

fn alias(text: &str) -> Option<ToolName> {
    Some(text.parse().unwrap())
}

fn unsigned(id: &str, version: &str) -> SignedArtifact {
    let artifact = fixtures::artifact(id, version, "tool");
    SignedArtifact::verify(artifact, &TrustStore::default(), Unsigned::Allow, SystemTime::now())
        .unwrap()
}

fn install(registry: &mut Registry, artifact: &SignedArtifact) -> Result<Installed, RegistryError> {
    registry.install(artifact, &Grant::default(), &InstallOptions::default())
}

/// Every package has its file, with the right content, and no file is there without a package.
fn assert_consistent(dir: &DataDir) -> Vec<InstalledPackage> {
    let registry = Registry::open(dir).unwrap();
    let packages = registry.packages().unwrap();
    for package in &packages {
        let bytes = registry.dir.read_artifact(package.digest).unwrap();
        assert_eq!(Digest::of(&bytes), package.digest);
        assert_eq!(Artifact::parse(bytes).unwrap().manifest(), &package.manifest);
    }
    let check: String =
        registry.connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    packages
}

fn stored_files(dir: &DataDir) -> usize {
    fs::read_dir(dir.artifacts_dir()).unwrap().count()
}

#[test]
fn what_is_installed_is_read_back() {
    let scene = Scene::new();
    let key = SecretKey::generate().unwrap();
    let mut trust = TrustStore::default();
    trust.add(key.public(), "test");
    let artifact = sign(&fixtures::artifact("dev.example.signed", "1.2.3", "tool"), &key).unwrap();
    let artifact = Artifact::parse(artifact).unwrap();
    let artifact =
        SignedArtifact::verify(artifact, &trust, Unsigned::Refuse, SystemTime::now()).unwrap();
    let grant = Grant {
        net: vec!["*.example.com".parse().unwrap()],
        limits: Limits::default().with(Limit::Memory, 10).unwrap().into(),
        ..Grant::default()
    };
    let options = InstallOptions { alias: alias("short"), source: "./somewhere".to_owned() };

    let mut registry = scene.open();
    install(&mut registry, &unsigned("dev.example.other", "0.1.0")).unwrap();
    let installed = registry.install(&artifact, &grant, &options).unwrap();
    assert_eq!(installed.replaced, None);
    assert_eq!(installed.package.signer, Some(key.public()));
    assert!(installed.package.installed_at > 1_700_000_000);
    drop(registry);

    let registry = scene.open();
    let found = registry.package(&id("dev.example.signed")).unwrap().unwrap();
    assert_eq!(found, installed.package);
    assert_eq!((found.grant, found.alias, found.source), (grant, options.alias, options.source));
    assert_eq!(registry.package(&id("dev.example.absent")).unwrap(), None);
    assert_eq!(registry.dir.read_artifact(found.digest).unwrap(), artifact.artifact().bytes()[..]);
    let packages = assert_consistent(&scene.dir);
    let ids: Vec<_> = packages.iter().map(|package| package.id().as_str()).collect();
    assert_eq!(ids, ["dev.example.other", "dev.example.signed"]);
    assert_eq!(packages[0].signer, None);
}

#[test]
fn a_new_version_replaces_the_old_one_and_its_file() {
    let scene = Scene::new();
    let mut registry = scene.open();
    let old = install(&mut registry, &unsigned("dev.example.t", "1.0.0")).unwrap().package;
    let new = install(&mut registry, &unsigned("dev.example.t", "2.0.0")).unwrap();
    assert_eq!(new.replaced, Some(semver::Version::new(1, 0, 0)));
    assert_eq!(assert_consistent(&scene.dir), [new.package]);
    let missing = registry.dir.read_artifact(old.digest);
    assert!(matches!(missing, Err(RegistryError::ArtifactMissing { .. })), "{missing:?}");

    let again = install(&mut registry, &unsigned("dev.example.t", "2.0.0")).unwrap();
    assert_eq!(again.replaced, Some(semver::Version::new(2, 0, 0)));
    assert_eq!(assert_consistent(&scene.dir), [again.package]);
    assert_eq!(stored_files(&scene.dir), 1);
}

#[test]
fn a_grant_is_replaced_only_where_nobody_was_faster() {
    let scene = Scene::new();
    let (mut one, mut other) = (scene.open(), scene.open());
    let seen = install(&mut one, &unsigned("dev.example.t", "1.0.0")).unwrap().package;
    let grant = Grant { net: vec!["example.com".parse().unwrap()], ..Grant::default() };
    let before = other.generation().unwrap();
    one.set_grant(&seen, &grant).unwrap();
    assert_ne!(other.generation().unwrap(), before);
    let changed = other.package(seen.id()).unwrap().unwrap();
    assert_eq!(changed, InstalledPackage { grant: grant.clone(), ..seen.clone() });

    let error = other.set_grant(&seen, &Grant::default()).unwrap_err();
    assert!(matches!(error, RegistryError::Changed(_)), "{error}");
    install(&mut one, &unsigned("dev.example.t", "2.0.0")).unwrap();
    let error = other.set_grant(&changed, &grant).unwrap_err();
    assert!(matches!(error, RegistryError::Changed(_)), "{error}");
    one.uninstall(seen.id()).unwrap();
    let error = other.set_grant(&seen, &grant).unwrap_err();
    assert!(matches!(error, RegistryError::NotInstalled(_)), "{error}");
}

#[test]
fn uninstalling_leaves_nothing_and_says_what_is_not_there() {
    let scene = Scene::new();
    let mut registry = scene.open();
    let package = install(&mut registry, &unsigned("dev.example.t", "1.0.0")).unwrap().package;
    assert_eq!(registry.uninstall(package.id()).unwrap(), package);
    assert_eq!(assert_consistent(&scene.dir), []);
    assert_eq!(stored_files(&scene.dir), 0);
    assert_eq!(registry.packages_with_tool(&"tool".parse().unwrap()).unwrap(), []);
    let error = registry.uninstall(package.id()).unwrap_err();
    assert!(matches!(error, RegistryError::NotInstalled(_)), "{error}");
}

#[test]
fn packages_are_found_by_their_tools() {
    let scene = Scene::new();
    let mut registry = scene.open();
    for id in ["dev.example.b", "dev.example.a"] {
        install(&mut registry, &unsigned(id, "1.0.0")).unwrap();
    }
    let found = registry.packages_with_tool(&"tool".parse().unwrap()).unwrap();
    assert_eq!(found, registry.packages().unwrap());
    assert_eq!(registry.packages_with_tool(&"other".parse().unwrap()).unwrap(), []);
}

#[test]
fn an_alias_has_one_owner() {
    let scene = Scene::new();
    let mut registry = scene.open();
    let options = InstallOptions { alias: alias("mine"), ..InstallOptions::default() };
    for version in ["1.0.0", "2.0.0"] {
        let first = unsigned("dev.example.first", version);
        registry.install(&first, &Grant::default(), &options).unwrap();
    }
    let before = registry.generation().unwrap();
    let second = unsigned("dev.example.second", "1.0.0");
    let error = registry.install(&second, &Grant::default(), &options).unwrap_err().to_string();
    assert_eq!(error, "the name `mine` is taken by `dev.example.first`: choose another one");
    assert_eq!(registry.generation().unwrap(), before);
    assert_eq!(assert_consistent(&scene.dir).len(), 1);
}

#[test]
fn every_change_by_anyone_gives_another_generation() {
    let scene = Scene::new();
    let (mut writer, reader) = (scene.open(), scene.open());
    let mut seen = vec![reader.generation().unwrap()];
    let artifact = unsigned("dev.example.t", "1.0.0");
    for _ in 0..3 {
        install(&mut writer, &artifact).unwrap();
        seen.push(reader.generation().unwrap());
        writer.uninstall(&id("dev.example.t")).unwrap();
        seen.push(reader.generation().unwrap());
    }
    assert!(seen.is_sorted_by(|earlier, later| earlier < later), "{seen:?}");
    assert_eq!(reader.generation().unwrap(), *seen.last().unwrap());
}

#[test]
fn a_tampered_file_is_mended_by_installing_again() {
    let scene = Scene::new();
    let mut registry = scene.open();
    let artifact = unsigned("dev.example.t", "1.0.0");
    let digest = install(&mut registry, &artifact).unwrap().package.digest;
    let path = scene.dir.artifact_file(digest);
    let right = fs::read(&path).unwrap();
    let mut flipped = right.clone();
    flipped[20] ^= 1;
    for wrong in [&flipped[..], &right[1..], b""] {
        fs::write(&path, wrong).unwrap();
        assert_eq!(registry.dir.read_artifact(digest).unwrap(), wrong, "reading believes nothing");
        install(&mut registry, &artifact).unwrap();
        assert_eq!(fs::read(&path).unwrap(), right);
    }
}

#[test]
#[cfg(unix)]
fn files_that_are_none_are_refused_rather_than_waited_for() {
    use std::os::unix::net::UnixListener;
    let scene = Scene::new();
    let mut registry = scene.open();
    let artifact = unsigned("dev.example.t", "1.0.0");
    let digest = install(&mut registry, &artifact).unwrap().package.digest;
    let path = scene.dir.artifact_file(digest);
    fs::remove_file(&path).unwrap();
    let _socket = UnixListener::bind(&path).unwrap();
    let error = registry.dir.read_artifact(digest).unwrap_err();
    assert!(matches!(error, RegistryError::Io { action: "read", .. }), "{error}");
    install(&mut registry, &artifact).unwrap();
    assert_consistent(&scene.dir);
}

#[test]
#[cfg(unix)]
fn nobody_else_can_look_inside() {
    use std::os::unix::fs::PermissionsExt as _;
    let scene = Scene::new();
    let mut registry = scene.open();
    let digest =
        install(&mut registry, &unsigned("dev.example.t", "1.0.0")).unwrap().package.digest;
    let dir = &scene.dir;
    let wal = dir.path().join("registry.db-wal");
    for (mode, paths) in [
        (0o700, vec![dir.path().to_owned(), dir.artifacts_dir(), dir.keys_dir(), dir.cache_dir()]),
        (0o600, vec![dir.registry_file(), wal, dir.artifact_file(digest)]),
    ] {
        for path in paths {
            let found = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            assert_eq!(found, mode, "{}", path.display());
        }
    }
}

#[test]
fn a_file_in_the_way_is_named() {
    let scene = Scene::new();
    fs::write(scene.dir.path(), "not a directory").unwrap();
    let error = Registry::open(&scene.dir).unwrap_err();
    assert!(
        matches!(&error, RegistryError::NotADirectory { path } if path == scene.dir.path()),
        "{error}"
    );
    let below = DataDir::new(scene.dir.path().join("deeper"));
    assert!(matches!(Registry::open(&below).unwrap_err(), RegistryError::Io { .. }));
}

/// The package signed by all of `keys`, each of which is trusted.
fn signed(id: &str, version: &str, keys: &[&SecretKey]) -> SignedArtifact {
    let mut trust = TrustStore::default();
    let mut artifact = fixtures::artifact(id, version, "tool");
    for key in keys {
        trust.add(key.public(), "test");
        artifact = Artifact::parse(sign(&artifact, key).unwrap()).unwrap();
    }
    SignedArtifact::verify(artifact, &trust, Unsigned::Refuse, SystemTime::now()).unwrap()
}

fn key() -> SecretKey {
    SecretKey::generate().unwrap()
}

fn pinned(registry: &Registry) -> Vec<(String, PublicKey)> {
    let pins = registry.pins().unwrap();
    pins.into_iter().map(|pin| (pin.id.to_string(), pin.key)).collect()
}

#[test]
fn no_other_key_updates_a_package_though_it_is_trusted() {
    let scene = Scene::new();
    let mut registry = scene.open();
    let (alice, bob) = (key(), key());
    let id = id("dev.example.t");
    let first = install(&mut registry, &signed("dev.example.t", "1.0.0", &[&alice])).unwrap();
    let owned = [("dev.example.t".to_owned(), alice.public())];
    assert_eq!(pinned(&registry), owned);
    let generation = registry.generation().unwrap();
    let refused = [
        (signed("dev.example.t", "2.0.0", &[&bob]), Some(bob.public())),
        (unsigned("dev.example.t", "2.0.0"), None),
    ];
    for (artifact, by) in &refused {
        let error = install(&mut registry, artifact).unwrap_err();
        assert!(
            matches!(&error, RegistryError::Pinned { pinned, signer, .. }
                if *pinned == alice.public() && signer == by),
            "{error:?}"
        );
        assert!(error.to_string().contains(&alice.public().fingerprint()), "{error}");
        assert!(registry.check_pin(&id, artifact.signers()).is_err());
    }
    assert_eq!(registry.generation().unwrap(), generation);
    assert_eq!(assert_consistent(&scene.dir), [first.package]);
    assert_eq!(stored_files(&scene.dir), 1);

    // One of several signers is enough, and is the one that is noted.
    let both = signed("dev.example.t", "2.0.0", &[&bob, &alice]);
    let installed = install(&mut registry, &both).unwrap();
    assert_eq!(installed.package.signer, Some(alice.public()));

    // A pin outlives its package.
    registry.uninstall(&id).unwrap();
    assert_eq!(pinned(&registry), owned);
    assert!(install(&mut registry, &refused[0].0).is_err());
    registry.unpin(&id).unwrap();
    assert!(matches!(registry.unpin(&id), Err(RegistryError::NotPinned(_))));
    install(&mut registry, &refused[0].0).unwrap();
    assert_eq!(pinned(&registry), [("dev.example.t".to_owned(), bob.public())]);
}

#[test]
fn an_unsigned_package_is_pinned_by_its_first_signature() {
    let scene = Scene::new();
    let mut registry = scene.open();
    install(&mut registry, &unsigned("dev.example.t", "1.0.0")).unwrap();
    assert_eq!(pinned(&registry), []);
    let alice = key();
    install(&mut registry, &signed("dev.example.t", "1.0.0", &[&alice])).unwrap();
    assert_eq!(pinned(&registry), [("dev.example.t".to_owned(), alice.public())]);
}

#[test]
fn an_installation_that_fails_pins_nothing() {
    let scene = Scene::new();
    let mut registry = scene.open();
    let options = InstallOptions { alias: alias("mine"), ..InstallOptions::default() };
    let owner = unsigned("dev.example.first", "1.0.0");
    registry.install(&owner, &Grant::default(), &options).unwrap();
    let late = signed("dev.example.second", "1.0.0", &[&key()]);
    registry.install(&late, &Grant::default(), &options).unwrap_err();
    assert_eq!(pinned(&registry), []);
}

#[test]
fn pins_follow_a_rotation() {
    let scene = Scene::new();
    let mut registry = scene.open();
    let (old, new, bob) = (key(), key(), key());
    for (id, key) in [("dev.example.a", &old), ("dev.example.b", &old), ("dev.other.c", &bob)] {
        install(&mut registry, &signed(id, "1.0.0", &[key])).unwrap();
    }
    let rotation = Rotation::sign(&old, &new).unwrap();
    let moved = registry.rotate_pins(&rotation).unwrap();
    assert_eq!(moved, [id("dev.example.a"), id("dev.example.b")]);
    assert_eq!(registry.rotate_pins(&rotation).unwrap(), []);
    assert!(install(&mut registry, &signed("dev.example.a", "1.1.0", &[&old])).is_err());
    install(&mut registry, &signed("dev.example.a", "1.1.0", &[&new])).unwrap();
    install(&mut registry, &signed("dev.other.c", "1.1.0", &[&bob])).unwrap();
}

#[test]
fn a_registry_without_pins_gets_those_of_what_is_installed() {
    let scene = Scene::new();
    let alice = key();
    let mut registry = scene.open();
    install(&mut registry, &signed("dev.example.t", "1.0.0", &[&alice])).unwrap();
    install(&mut registry, &unsigned("dev.example.u", "1.0.0")).unwrap();
    drop(registry);
    scene.tamper("DROP TABLE pins; PRAGMA user_version = 1");
    assert_eq!(pinned(&scene.open()), [("dev.example.t".to_owned(), alice.public())]);
}

#[test]
fn a_damaged_pin_lets_nobody_pass() {
    let scene = Scene::new();
    let mut registry = scene.open();
    let alice = key();
    let artifact = signed("dev.example.t", "1.0.0", &[&alice]);
    install(&mut registry, &artifact).unwrap();
    for damage in ["key = 'ed25519:00'", "key = ''", "pinned_at = -1"] {
        scene.tamper(&format!("UPDATE pins SET {damage}"));
        for error in [registry.pins().unwrap_err(), install(&mut registry, &artifact).unwrap_err()]
        {
            assert!(matches!(error, RegistryError::PinDamaged { .. }), "{damage}: {error:?}");
        }
        registry.unpin(&id("dev.example.t")).unwrap();
        install(&mut registry, &artifact).unwrap();
        assert_eq!(registry.pins().unwrap()[0].key, alice.public());
    }
}

/// Puts `content` where the registry should be, and expects a refusal that changes nothing.
fn refused(case: &str, content: &[u8]) -> RegistryError {
    let scene = Scene::new();
    scene.dir.create().unwrap();
    let path = scene.dir.registry_file();
    fs::write(&path, content).unwrap();
    let error = Registry::open(&scene.dir).expect_err(case);
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    assert!(fs::read(&path).unwrap() == content, "changed after: {error}");
    error
}

/// The bytes of a registry with one package, after some SQL.
fn database(sql: &str) -> Vec<u8> {
    let scene = Scene::new();
    install(&mut scene.open(), &unsigned("dev.example.t", "1.0.0")).unwrap();
    scene.tamper(sql);
    fs::read(scene.dir.registry_file()).unwrap()
}

#[test]
fn a_newer_registry_is_refused_and_left_as_it_is() {
    let error = refused("newer", &database("PRAGMA user_version = 99"));
    assert!(matches!(error, RegistryError::Newer { found: 99, known: 2, .. }), "{error}");
    assert!(error.to_string().contains("update"), "{error}");
}

#[test]
fn another_programs_database_is_refused_and_left_as_it_is() {
    for sql in ["PRAGMA application_id = 7", "PRAGMA application_id = 0"] {
        let error = refused(sql, &database(sql));
        assert!(matches!(error, RegistryError::Foreign { .. }), "{sql}: {error}");
    }
}

#[test]
fn a_damaged_registry_is_refused_and_left_as_it_is() {
    let whole = database("");
    let mut header = whole.clone();
    header[..16].fill(0);
    let mut schema = whole.clone();
    schema[100..1000].fill(0xff);
    let cases: [(&str, &[u8]); 7] = [
        ("text", b"this was a letter to my aunt\n"),
        ("two bytes", b"SQ"),
        ("cut in the header", &whole[..50]),
        ("cut in the middle", &whole[..whole.len() / 2]),
        ("no header", &header),
        ("no schema", &schema),
        ("no tables", &database("DROP TABLE meta")),
    ];
    for (case, content) in cases {
        let error = refused(case, content);
        assert!(matches!(error, RegistryError::Corrupt { .. }), "{case}: {error:?}");
    }
}

#[test]
fn damage_anywhere_neither_panics_nor_empties_the_list() {
    let whole = database("VACUUM");
    let scene = Scene::new();
    scene.dir.create().unwrap();
    let mut noticed = 0;
    for at in (0..whole.len()).step_by(61) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        fs::write(scene.dir.registry_file(), &damaged).unwrap();
        let found = Registry::open(&scene.dir).and_then(|registry| registry.packages());
        match found {
            // Free space, statistics, or text that means something else but is still valid.
            Ok(packages) => assert_eq!(packages.len(), 1, "byte {at}"),
            Err(_) => noticed += 1,
        }
    }
    assert!(noticed > 0);
}

#[test]
fn a_damaged_entry_is_named_and_mended() {
    let cases = [
        ("version", "'one'"),
        ("version", "'3.0.0'"),
        ("digest", "'sha256:00'"),
        ("manifest", "'{}'"),
        ("manifest", "CAST(x'ff' AS TEXT)"),
        ("manifest", "replace(manifest, 'dev.example.t', 'dev.example.u')"),
        ("granted", "'{\"net\": [\"no host at all\"]}'"),
        ("alias", "'two words'"),
        ("signer", "'ed25519:00'"),
        ("installed_at", "-1"),
    ];
    let scene = Scene::new();
    let mut registry = scene.open();
    let artifact = unsigned("dev.example.t", "1.0.0");
    let id = id("dev.example.t");
    for (column, value) in cases {
        let damage = format!("UPDATE packages SET {column} = {value}");
        install(&mut registry, &artifact).unwrap();
        scene.tamper(&damage);
        for error in [registry.packages().unwrap_err(), registry.package(&id).unwrap_err()] {
            // A version that merely differs is noticed where it disagrees with the manifest.
            let blamed = if value == "'3.0.0'" { "manifest" } else { column };
            match error {
                RegistryError::Row { package, source } => {
                    assert_eq!((package.as_str(), source.column), (id.as_str(), blamed), "{value}");
                }
                other => panic!("{value}: {other:?}"),
            }
        }
        install(&mut registry, &artifact).unwrap();
        assert_consistent(&scene.dir);
        scene.tamper(&damage);
        let error = registry.uninstall(&id).unwrap_err();
        assert!(matches!(error, RegistryError::UninstalledDamaged { .. }), "{value}: {error:?}");
        assert_eq!(registry.package(&id).unwrap(), None);
    }
}

#[test]
fn foreign_keys_hold() {
    let scene = Scene::new();
    let registry = scene.open();
    let dangling = "INSERT INTO tools (name, package) VALUES ('tool', 1)";
    assert!(registry.connection.execute(dangling, []).is_err());
}

#[test]
fn an_installer_that_dies_between_file_and_row_leaves_the_old_state() {
    let scene = Scene::new();
    let mut registry = scene.open();
    let old = install(&mut registry, &unsigned("dev.example.t", "1.0.0")).unwrap().package;
    let generation = registry.generation().unwrap();
    let new = unsigned("dev.example.t", "2.0.0");
    {
        let connection = &mut registry.connection;
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        store::put(&scene.dir, new.artifact().digest(), new.artifact().bytes()).unwrap();
        row::delete(&transaction, &scene.dir, old.id()).unwrap();
        // Dropped here, like the connection of a process that is gone.
    }
    assert_eq!(assert_consistent(&scene.dir), [old]);
    assert_eq!(registry.generation().unwrap(), generation);
    let new = install(&mut registry, &new).unwrap().package;
    assert_eq!(assert_consistent(&scene.dir), [new]);
    assert_eq!(stored_files(&scene.dir), 1);
}

#[test]
fn an_uninstaller_that_dies_between_row_and_file_leaves_a_harmless_file() {
    let scene = Scene::new();
    let mut registry = scene.open();
    let artifact = unsigned("dev.example.t", "1.0.0");
    let package = install(&mut registry, &artifact).unwrap().package;
    write(&mut registry.connection, &scene.dir, |transaction| {
        row::delete(transaction, &scene.dir, package.id())
    })
    .unwrap();
    assert_eq!(assert_consistent(&scene.dir), []);
    assert_eq!(stored_files(&scene.dir), 1);
    install(&mut registry, &artifact).unwrap();
    assert_eq!(assert_consistent(&scene.dir).len(), 1);
}

/// Installs and uninstalls two versions of a few packages, `rounds` times, in a shuffled order.
fn churn(dir: &DataDir, seed: u64, rounds: u64) {
    let artifacts: Vec<_> = ["dev.example.a", "dev.example.b", "dev.example.c"]
        .iter()
        .flat_map(|id| ["1.0.0", "2.0.0"].map(|version| unsigned(id, version)))
        .collect();
    let mut registry = Registry::open(dir).unwrap();
    for round in 0..rounds {
        let draw = Digest::of(&[seed.to_le_bytes(), round.to_le_bytes()].concat()).as_bytes()[0];
        let artifact = &artifacts[usize::from(draw) % artifacts.len()];
        if draw < 160 {
            install(&mut registry, artifact).unwrap();
        } else {
            match registry.uninstall(&artifact.artifact().manifest().package.id) {
                Ok(_) | Err(RegistryError::NotInstalled(_)) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        registry.packages().unwrap();
    }
}

#[test]
fn many_may_make_the_registry_at_once() {
    const OPENERS: usize = 8;
    for _ in 0..25 {
        let scene = Scene::new();
        let start = Barrier::new(OPENERS);
        thread::scope(|scope| {
            for _ in 0..OPENERS {
                scope.spawn(|| {
                    start.wait();
                    assert_eq!(scene.open().packages().unwrap(), []);
                });
            }
        });
        assert_eq!(scene.open().generation().unwrap(), 0);
    }
}

#[test]
fn many_at_once_end_consistent() {
    let scene = Scene::new();
    thread::scope(|scope| {
        for seed in 0..8 {
            let dir = &scene.dir;
            scope.spawn(move || churn(dir, seed, 50));
        }
    });
    let packages = assert_consistent(&scene.dir);
    assert_eq!(stored_files(&scene.dir), packages.len(), "no file stays without its package");
}

/// The environment variable that names the data directory to a child process.
const CHILD: &str = "KAMI_TEST_REGISTRY_CHILD";

#[test]
#[ignore = "runs in the child processes of the next test"]
fn churns_until_killed() {
    if let Some(dir) = std::env::var_os(CHILD) {
        churn(&DataDir::new(dir), u64::from(std::process::id()), u64::MAX);
    }
}

fn spawn_churning(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "registry::tests::churns_until_killed", "--ignored"])
        .env(CHILD, dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn killed_processes_leave_every_package_with_its_file() {
    let scene = Scene::new();
    let mut last = None;
    for round in 0..12 {
        let mut children: Vec<_> = (0..2).map(|_| spawn_churning(scene.dir.path())).collect();
        thread::sleep(Duration::from_millis(80 + 37 * (round % 7)));
        for child in &mut children {
            assert!(child.try_wait().unwrap().is_none(), "a child failed by itself");
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_consistent(&scene.dir);
        last = Some(scene.open().generation().unwrap());
    }
    assert!(last > Some(0), "the children did nothing");
}

#[test]
fn a_registry_can_move_between_threads() {
    fn movable<T: Send>() {}
    movable::<Registry>();
}
