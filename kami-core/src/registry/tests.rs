//! The registry over real files: what it promises to one process, to several, and after a crash.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::naming::Unnamed;
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
    assert_eq!(names(dir), names_of(&packages));
    assert_eq!(registry.tool_count().unwrap(), names(dir).len());
    assert_eq!(
        indexed(&registry),
        names(dir).into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    );
    packages
}

/// The table of names as it is, with the tools as `id/tool`.
fn names(dir: &DataDir) -> Vec<(String, String)> {
    let registry = Registry::open(dir).unwrap();
    let query = "SELECT names.name, id || '/' || tool FROM names
                 JOIN packages ON packages.key = names.package ORDER BY names.name";
    let mut statement = registry.connection.prepare(query).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

/// The names of all tools that are indexed, each with its words.
fn indexed(registry: &Registry) -> Vec<String> {
    let query = "SELECT searched.name FROM searched JOIN words ON words.rowid = searched.key
                 ORDER BY searched.name";
    let mut statement = registry.connection.prepare(query).unwrap();
    let names = statement.query_map([], |row| row.get(0)).unwrap();
    let names = names.collect::<Result<_, _>>().unwrap();
    let rows: [i64; 2] = ["SELECT count(*) FROM words", "SELECT count(*) FROM searched"]
        .map(|query| registry.connection.query_row(query, [], |row| row.get(0)).unwrap());
    assert_eq!(rows[0], rows[1], "no words are left behind");
    names
}

/// The table of names as it should be, by what the manifests say.
fn names_of(packages: &[InstalledPackage]) -> Vec<(String, String)> {
    let mut unnamed = Vec::new();
    for package in packages {
        let (id, alias, tools) = (package.id(), package.alias.as_ref(), &package.manifest.tools);
        let alone = tools.len() == 1;
        unnamed.extend(tools.iter().map(|tool| Unnamed { id, alias, tool: &tool.name, alone }));
    }
    let names = naming::wire_names(&unnamed, &naming::RESERVED).into_iter().zip(&unnamed);
    let mut names: Vec<_> =
        names.map(|(name, of)| (name.to_string(), format!("{}/{}", of.id, of.tool))).collect();
    names.sort();
    names
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
    assert_eq!(registry.tool_count().unwrap(), 0);
    let error = registry.uninstall(package.id()).unwrap_err();
    assert!(matches!(error, RegistryError::NotInstalled(_)), "{error}");
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

/// The package with these tools.
fn with_tools(id: &str, tools: &[&str]) -> SignedArtifact {
    let mut manifest = fixtures::manifest(id, "1.0.0", "tool");
    let tool = |name: &&str| {
        let mut tool = manifest.tools[0].clone();
        tool.name = name.parse().unwrap();
        tool
    };
    manifest.tools = tools.iter().map(tool).collect();
    let artifact = Artifact::parse(fixtures::component().seal(&manifest, None)).unwrap();
    let (trust, now) = (TrustStore::default(), SystemTime::now());
    SignedArtifact::verify(artifact, &trust, Unsigned::Allow, now).unwrap()
}

/// Makes a registry what it was before there were names in it.
const DOWNGRADE: &str = "
    DROP INDEX pipelines;
    ALTER TABLE packages DROP COLUMN steps;
    CREATE TABLE tools (
        name TEXT NOT NULL,
        package INTEGER NOT NULL REFERENCES packages (key) ON DELETE CASCADE,
        PRIMARY KEY (name, package)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX tools_by_package ON tools (package);
    INSERT INTO tools (name, package) SELECT tool, package FROM names;
    DROP TABLE names;
    DROP TABLE tokens;
    DROP TABLE words;
    DROP TABLE searched;
    DROP TABLE prompts;
    DROP TABLE uris;
    ALTER TABLE meta DROP COLUMN tools;
    PRAGMA user_version = 2;";

#[test]
fn names_are_those_of_the_whole_set_after_any_changes_by_anyone() {
    const IDS: [&str; 5] = ["com.a.web", "com.b.web", "com.c.net", "org.a.web", "org.b.web-fetch"];
    const ALIASES: [Option<&str>; 5] = [None, Some("fetch"), Some("web"), Some("get"), None];
    let (long, longer) = ("x".repeat(64), "x".repeat(63) + "y");
    let tools: [&[&str]; 6] = [
        &["fetch"],
        &["get", "fetch"],
        &["web_fetch", "com_a_web_fetch"],
        &["post", "get", "put"],
        &[&long, &longer],
        &["web"],
    ];
    let scene = Scene::new();
    let mut registries = [scene.open(), scene.open()];
    let mut shapes = std::collections::BTreeSet::new();
    for round in 0u64..150 {
        let draw = Digest::of(&round.to_le_bytes());
        let draw = |at: usize, of: usize| usize::from(draw.as_bytes()[at]) % of;
        let registry = &mut registries[draw(0, 2)];
        let id = IDS[draw(1, IDS.len())];
        if draw(2, 4) == 0 {
            match registry.uninstall(&self::id(id)) {
                Ok(_) | Err(RegistryError::NotInstalled(_)) => {}
                Err(other) => panic!("{other:?}"),
            }
        } else {
            let artifact = with_tools(id, tools[draw(3, tools.len())]);
            let alias = ALIASES[draw(4, ALIASES.len())].and_then(alias);
            let before = names(&scene.dir);
            let manifest = artifact.artifact().manifest();
            let foretold = registry.renamings(manifest, alias.as_ref()).unwrap();
            let options = InstallOptions { alias, ..InstallOptions::default() };
            match registry.install(&artifact, &Grant::default(), &options) {
                Ok(_) => assert_eq!(renamed(&before, &names(&scene.dir), id), foretold),
                Err(RegistryError::AliasTaken { .. }) => assert_eq!(names(&scene.dir), before),
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_consistent(&scene.dir);
        if round % 10 == 0 {
            let before = names(&scene.dir);
            scene.tamper(DOWNGRADE);
            registries = [scene.open(), scene.open()];
            assert_eq!(names(&scene.dir), before, "the old registry was brought to the new form");
            let names: Vec<_> = before.iter().map(|(name, _)| name.clone()).collect();
            assert_eq!(indexed(&registries[0]), names, "it has an index now");
        }
        shapes.extend(names(&scene.dir).into_iter().map(|(name, _)| name));
    }
    // All kinds of names came about.
    for name in ["fetch", "web_fetch", "com_a_web_fetch", "fetch_get"] {
        assert!(shapes.contains(name), "{name} is missing in {shapes:?}");
    }
    assert!(shapes.iter().any(|name| name.starts_with("xxx") && name.contains('_')), "{shapes:?}");
}

/// Which tools of other packages than `id` have another name, before and after.
fn renamed(
    before: &[(String, String)],
    after: &[(String, String)],
    id: &str,
) -> Vec<(ToolName, ToolName)> {
    let others = before.iter().filter(|(_, tool)| tool.split('/').next() != Some(id));
    let renamed = others.filter_map(|(old, tool)| {
        let (new, _) = after.iter().find(|(_, found)| found == tool).unwrap();
        (new != old).then(|| (old.parse().unwrap(), new.parse().unwrap()))
    });
    renamed.collect()
}

#[test]
fn an_install_tells_whose_names_it_would_change() {
    let scene = Scene::new();
    let mut registry = scene.open();
    install(&mut registry, &with_tools("com.a.web", &["fetch", "post"])).unwrap();
    install(&mut registry, &with_tools("com.b.net", &["get"])).unwrap();
    let before = registry.generation().unwrap();
    let renamed = |id, tools: &[&str], alias: Option<ToolName>| {
        let artifact = with_tools(id, tools);
        let renamings = registry.renamings(artifact.artifact().manifest(), alias.as_ref()).unwrap();
        renamings.iter().map(|(old, new)| format!("{old}={new}")).collect::<Vec<_>>()
    };
    assert_eq!(renamed("org.c.net", &["fetch"], None), ["fetch=web_fetch"]);
    assert_eq!(renamed("org.c.net", &["other"], None), [""; 0]);
    assert_eq!(renamed("com.a.web", &["get"], None), ["get=net_get"]);
    assert_eq!(renamed("org.c.net", &["other"], alias("get")), ["get=net_get"]);
    assert_eq!(registry.generation().unwrap(), before, "nothing was changed");
}

#[test]
fn a_tool_is_read_as_it_is_now_whoever_changed_it() {
    let scene = Scene::new();
    let (mut writer, reader) = (scene.open(), scene.open());
    let name: ToolName = "tool".parse().unwrap();
    assert!(reader.tool(&name).unwrap().is_none());
    // The same key of the table each time, for another package or version.
    for (id, version) in
        [("dev.example.a", "1.0.0"), ("dev.example.b", "1.0.0"), ("dev.example.b", "2.0.0")]
    {
        let package = install(&mut writer, &unsigned(id, version)).unwrap().package;
        for _ in 0..2 {
            let found = reader.tool(&name).unwrap().unwrap();
            assert_eq!(*found.package, package);
            assert_eq!(found.full_name(), format!("{id}/tool"));
            assert_eq!(*reader.tool_of(id, "tool").unwrap().unwrap().package, package);
        }
        let grant = Grant { net: vec!["example.com".parse().unwrap()], ..Grant::default() };
        writer.set_grant(&package, &grant).unwrap();
        assert_eq!(reader.tools("", 9).unwrap()[0].package.grant, grant);
        if version == "1.0.0" && id == "dev.example.a" {
            writer.uninstall(package.id()).unwrap();
        }
    }
    assert!(reader.tool_of("dev.example.a", "tool").unwrap().is_none());
    assert!(reader.tool_of("dev.example.b", "other").unwrap().is_none());
}

#[test]
fn whoever_reads_waits_for_no_writer() {
    let scene = Scene::new();
    let (mut writer, reader) = (scene.open(), scene.open());
    install(&mut writer, &unsigned("dev.example.t", "1.0.0")).unwrap();
    let before = names(&scene.dir);
    // It has the write lock, and has changed something, until all others have read.
    write(&mut writer.connection, &scene.dir, |transaction| {
        row::delete(transaction, &scene.dir, &id("dev.example.t"))?;
        reader.connection.busy_timeout(Duration::ZERO).unwrap();
        assert!(reader.tool(&"tool".parse().unwrap()).unwrap().is_some());
        assert_eq!(reader.tools("", 9).unwrap().len(), 1);
        assert_eq!(reader.generation().unwrap(), 1);
        assert_eq!(names(&scene.dir), before, "neither does who opens it");
        let busy = reader.connection.execute("UPDATE meta SET generation = 0", []);
        assert!(busy.is_err(), "there is a writer");
        Ok(())
    })
    .unwrap();
    assert!(reader.tool(&"tool".parse().unwrap()).unwrap().is_none());
}

#[test]
fn a_damaged_entry_keeps_no_other_tool_from_its_name() {
    let scene = Scene::new();
    let mut registry = scene.open();
    install(&mut registry, &with_tools("com.a.web", &["fetch"])).unwrap();
    install(&mut registry, &with_tools("com.b.net", &["get"])).unwrap();
    let find = |registry: &Registry, name: &str| registry.tool(&name.parse().unwrap());
    for damage in ["alias = 'two words'", "id = 'no id'", "id = CAST(x'ff' AS TEXT)"] {
        scene.tamper(&format!("UPDATE packages SET {damage} WHERE id = 'com.a.web'"));
        let mut registry = scene.open();
        assert!(matches!(find(&registry, "fetch"), Err(RegistryError::Row { .. })), "{damage}");
        assert!(find(&registry, "get").unwrap().is_some(), "{damage}");
        install(&mut registry, &with_tools("org.c.net", &["fetch"])).unwrap();
        let found = find(&registry, "fetch").unwrap().unwrap();
        assert_eq!(found.full_name(), "org.c.net/fetch", "{damage}");
        assert!(matches!(registry.tools("", 9), Err(RegistryError::Row { .. })), "{damage}");
        registry.uninstall(&id("org.c.net")).unwrap();
        scene
            .tamper("DELETE FROM packages WHERE id <> 'com.b.net'; UPDATE meta SET generation = 0");
        install(&mut registry, &with_tools("com.a.web", &["fetch"])).unwrap();
        assert_consistent(&scene.dir);
    }
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
        (0o700, vec![dir.path().to_owned(), dir.artifacts_dir(), dir.keys_dir(), dir.audit_dir()]),
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
    scene.tamper(&format!("{DOWNGRADE} DROP TABLE pins; PRAGMA user_version = 1"));
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
    assert!(matches!(error, RegistryError::Newer { found: 99, known: 7, .. }), "{error}");
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
    let dangling = "INSERT INTO names (name, package, tool) VALUES ('tool', 1, 'tool')";
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
        let file = scene.dir.artifact_file(new.artifact().digest());
        store::put(&scene.dir, file, new.artifact().bytes()).unwrap();
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
        row::delete(transaction, &scene.dir, package.id())?;
        names::renew(transaction, &scene.dir)?;
        index::renew(transaction, &scene.dir)
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

fn token(name: &str) -> Token {
    Token {
        name: name.parse().unwrap(),
        scopes: ["kami:read", "tool:fetch*"].map(|scope| scope.parse().unwrap()).into(),
        tools: ToolSelection {
            include: vec!["dev.example.web/*".parse().unwrap()],
            exclude: vec!["post".parse().unwrap()],
            ..ToolSelection::default()
        },
        calls_per_minute: Some(60),
        created_at: 1_800_000_000,
        expires_at: None,
    }
}

#[test]
fn tokens_are_found_by_their_hash_and_by_nothing_else() {
    let scene = Scene::new();
    let mut registry = scene.open();
    let (secret, other) = (Digest::of(b"secret"), Digest::of(b"other"));
    let generation = registry.generation().unwrap();
    registry.add_token(&token("ci"), secret).unwrap();
    let again = registry.add_token(&token("ci"), other).unwrap_err();
    assert!(matches!(&again, RegistryError::TokenExists(name) if name.as_str() == "ci"), "{again}");
    let dated = Token { expires_at: Some(7), calls_per_minute: None, ..token("agent") };
    registry.add_token(&dated, other).unwrap();
    assert_eq!(registry.generation().unwrap(), generation, "no tool has changed");

    // Also by another process, which has the file open already.
    let reader = scene.open();
    assert_eq!(reader.token(secret).unwrap(), Some(token("ci")));
    assert_eq!(reader.token(Digest::of(b"guess")).unwrap(), None);
    assert_eq!(reader.tokens().unwrap(), [dated, token("ci")]);
    registry.remove_token(&"ci".parse().unwrap()).unwrap();
    assert_eq!(reader.token(secret).unwrap(), None);
    let gone = registry.remove_token(&"ci".parse().unwrap()).unwrap_err();
    assert!(matches!(gone, RegistryError::NoToken(_)), "{gone}");
}

#[test]
fn a_damaged_token_permits_nothing_and_can_be_revoked() {
    let scene = Scene::new();
    for (column, value) in [("scopes", "'everything'"), ("tools", "'[]'"), ("expires_at", "-1")] {
        let mut registry = scene.open();
        registry.add_token(&token("ci"), Digest::of(b"secret")).unwrap();
        scene.tamper(&format!("UPDATE tokens SET {column} = {value}"));
        let error = registry.token(Digest::of(b"secret")).unwrap_err();
        assert!(matches!(error, RegistryError::TokenDamaged { .. }), "{column}: {error}");
        registry.remove_token(&"ci".parse().unwrap()).unwrap();
    }
}

/// A package with one tool, which says this about itself.
fn describing(id: &str, tool: &str, description: &str, tags: &[&str]) -> SignedArtifact {
    let mut manifest = fixtures::manifest(id, "1.0.0", tool);
    manifest.tools[0].description = description.to_owned();
    manifest.package.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    let artifact = Artifact::parse(fixtures::component().seal(&manifest, None)).unwrap();
    let (trust, now) = (TrustStore::default(), SystemTime::now());
    SignedArtifact::verify(artifact, &trust, Unsigned::Allow, now).unwrap()
}

fn ranked(registry: &Registry, question: &str) -> Vec<String> {
    registry.ranked(question).unwrap().iter().map(ToolName::to_string).collect()
}

#[test]
fn tools_are_found_by_what_they_are_now() {
    let scene = Scene::new();
    let mut registry = scene.open();
    let reader = scene.open();
    for (id, tool, description, tags) in [
        ("com.a.web", "fetch_url", "Downloads a page.", &["web"][..]),
        ("com.b.sheet", "sumColumn", "Adds up numbers of a table.", &["csv", "office"]),
        ("com.c.clock", "now", "Tells the time.", &[]),
    ] {
        install(&mut registry, &describing(id, tool, description, tags)).unwrap();
    }
    for (question, first) in [
        ("fetch url", "fetch_url"),
        ("FETCHING URLS", "fetch_url"),
        ("downloading pages", "fetch_url"),
        ("web", "fetch_url"),
        ("com.a.web", "fetch_url"),
        ("column", "sumColumn"),
        ("sumcolumn", "sumColumn"),
        ("office", "sumColumn"),
        ("add num", "sumColumn"),
        ("what is the time, please?", "now"),
    ] {
        assert_eq!(
            ranked(&reader, question).first().map(String::as_str),
            Some(first),
            "{question}"
        );
    }
    assert_eq!(ranked(&reader, "weather"), [""; 0]);
    assert_eq!(ranked(&reader, ""), [""; 0]);

    // Another version is found by other words, and what is gone by none. The keys of rows come again.
    install(&mut registry, &describing("com.c.clock", "now", "Forecasts weather.", &[])).unwrap();
    assert_eq!(ranked(&reader, "weather"), ["now"]);
    assert_eq!(ranked(&reader, "time"), [""; 0]);
    registry.uninstall(&id("com.c.clock")).unwrap();
    assert_eq!(ranked(&reader, "weather"), [""; 0]);
    install(&mut registry, &describing("com.d.mail", "send", "Sends mail.", &[])).unwrap();
    assert_eq!(ranked(&reader, "weather"), [""; 0]);
    assert_eq!(ranked(&reader, "mail"), ["send"]);

    // A name that changes with another package's is found as it is then.
    install(&mut registry, &describing("com.e.post", "send", "Sends letters.", &[])).unwrap();
    assert_eq!(ranked(&reader, "mail"), ["mail_send"]);
    assert_eq!(ranked(&reader, "letters"), ["post_send"]);
    registry.uninstall(&id("com.e.post")).unwrap();
    assert_eq!(ranked(&reader, "mail"), ["send"]);
    assert_consistent(&scene.dir);
}

#[test]
fn a_package_that_cannot_be_read_keeps_no_other_from_being_found() {
    let scene = Scene::new();
    let mut registry = scene.open();
    for (id, tool) in [("com.a.web", "fetch"), ("com.b.sheet", "add")] {
        install(&mut registry, &describing(id, tool, "A tool.", &[])).unwrap();
    }
    scene.tamper(
        "UPDATE packages SET manifest = '{' WHERE id = 'com.a.web';
         DELETE FROM searched; INSERT INTO words(words) VALUES ('delete-all')",
    );
    install(&mut registry, &describing("com.c.clock", "now", "A clock.", &[])).unwrap();
    assert_eq!(ranked(&registry, "add"), ["add"]);
    assert_eq!(ranked(&registry, "now"), ["now"]);
    assert_eq!(ranked(&registry, "fetch"), [""; 0]);
}

#[test]
fn what_is_kept_from_packages_is_kept_from_aliases() {
    let scene = Scene::new();
    let mut registry = scene.open();
    for name in [SEARCH_TOOLS, CALL_TOOL] {
        let options = InstallOptions { alias: alias(name), source: String::new() };
        let artifact = unsigned("dev.example.t", "1.0.0");
        let refused = registry.install(&artifact, &Grant::default(), &options).unwrap_err();
        assert!(matches!(refused, RegistryError::AliasReserved(_)), "{refused}");
    }
    install(&mut registry, &describing("com.a.web", SEARCH_TOOLS, "Mine.", &[])).unwrap();
    install(&mut registry, &describing("com.search.search", "tools", "Mine.", &[])).unwrap();
    let options = InstallOptions { alias: alias("call"), source: String::new() };
    let artifact = with_tools("com.b.web", &["tool", "other"]);
    registry.install(&artifact, &Grant::default(), &options).unwrap();
    let names: Vec<_> = names(&scene.dir).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["call_other", "tools", "web_search_tools", "web_tool"]);
    assert_consistent(&scene.dir);
}
