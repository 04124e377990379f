//! Keys that sign what they may not: too late, too much, withdrawn, or another's.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kami_core::component::Artifact;
use kami_core::registry::RegistryError;
use kami_core::resolve::{HostOptions, ResolveError, Resolver};
use kami_core::signing::{
    Date, RevokedKey, Rotation, SecretKey, SignatureError, TrustStore, TrustedKey, sign,
};
use kami_tests::guests::guest;
use kami_tests::lab::{Lab, enter, id};
use kami_tests::outside::Outside;
use kami_tests::server::{Server, text};
use serde_json::{Value, json};

fn key() -> SecretKey {
    SecretKey::generate().expect("there is entropy")
}

/// Writes the neighbour, signed by `keys`, to a file of the lab.
fn file(lab: &Lab, name: &str, keys: &[&SecretKey]) -> String {
    let path: PathBuf = lab.path(name);
    let artifact = keys.iter().fold(guest("neighbour").clone(), |artifact, key| {
        Artifact::parse(sign(&artifact, key).expect("few have signed it")).expect("it is whole")
    });
    fs::write(&path, artifact.bytes()).expect("files can be written");
    path.to_str().expect("the path is UTF-8").to_owned()
}

/// Changes the trusted keys of the lab.
fn change(lab: &Lab, change: impl FnOnce(&mut TrustStore)) {
    let changed = TrustStore::update(&lab.data().trust_file(), |trust| {
        change(trust);
        Ok::<_, kami_core::signing::TrustError>(())
    });
    changed.expect("the trusted keys can be written");
}

fn terms(lab: &Lab) -> TrustedKey {
    TrustedKey::new(lab.key().public(), "lab")
}

/// Fails unless every way to the neighbour ends with this.
#[track_caller]
fn refused(lab: &Lab, told: &str) {
    let path = file(lab, "again.wasm", &[lab.key()]);
    for command in [
        &["verify", &id("neighbour")][..],
        &["verify", &path],
        &["install", &path, "--yes"],
        &["run", &path, "--yes", "--input", r#"{"a": 1, "b": 2}"#],
        &["call", "add", "--input", r#"{"a": 1, "b": 2}"#],
    ] {
        lab.cargo_kami(command).expect(15, told);
    }
    let mut server = Server::start(lab.data());
    let answer = server.call("add", &json!({"a": 1, "b": 1}));
    let (text, is_error) = text(&answer);
    assert!(is_error && text.ends_with("[KAMI-SIGNATURE]"), "{answer}");
    assert!(server.finish().0.success());
}

#[test]
fn an_expired_key_ends_its_tools() {
    let lab = Lab::with_neighbour();
    let expires = Some("2020-02-29".parse().expect("it is a date"));
    change(&lab, |trust| trust.insert(TrustedKey { expires, ..terms(&lab) }));
    refused(&lab, "trust in it ended with 2020-02-29");
    let list = lab.cargo_kami(&["trust", "list"]).stdout;
    assert!(list.contains("EXPIRED"), "{list}");

    let public = lab.key().public().to_string();
    let add = ["trust", "add", &public, "--label", "lab", "--expires"];
    lab.cargo_kami(&[&add[..], &["2020-03-01"]].concat()).expect(2, "2020-03-01 is over");
    lab.cargo_kami(&[&add[..], &["2020-02-30"]].concat()).expect(2, "not a date");
    lab.cargo_kami(&[&add[..], &["9999-12-31"]].concat()).expect(0, "through 9999-12-31");
    lab.cargo_kami(&["verify"]).expect(0, "signed by lab");
}

#[test]
fn a_key_signs_for_no_id_outside_of_its_scope() {
    let lab = Lab::with_neighbour();
    let scope = vec!["dev.kami.tes".parse().expect("it is a prefix")];
    change(&lab, |trust| trust.insert(TrustedKey { scope, ..terms(&lab) }));
    refused(&lab, "is not trusted for `dev.kami.test.neighbour`");

    let public = lab.key().public().to_string();
    let add = ["trust", "add", &public, "--label", "lab", "--scope", "dev.kami.test"];
    lab.cargo_kami(&add).expect(0, "for dev.kami.test");
    lab.cargo_kami(&["verify"]).expect(0, "signed by lab");
}

#[test]
fn a_revoked_key_ends_its_tools_while_the_server_runs() {
    let lab = Lab::with_neighbour();
    let mut server = Server::start(lab.data());
    let call = json!({"a": 1, "b": 1});
    assert_eq!(server.call("add", &call)["structuredContent"], json!({"result": 2}));
    let public = lab.key().public().to_string();
    lab.cargo_kami(&["trust", "revoke", &public, "--reason", "stolen"]).expect(0, "Revoked");
    let deadline = Instant::now() + super::scene::BOUND;
    while !text(&server.call("add", &call)).0.ends_with("[KAMI-SIGNATURE]") {
        assert!(Instant::now() < deadline, "a revoked key still works");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(server.finish().0.success());
    refused(&lab, "(stolen)");

    // Nobody trusts it again by accident.
    let add = ["trust", "add", &public, "--label", "again"];
    lab.cargo_kami(&add).expect(16, "was revoked on");
    let path = file(&lab, "revoked.wasm", &[lab.key()]);
    lab.cargo_kami(&["install", &path, "--yes", "--trust-key", &public]).expect(15, "(stolen)");
    let line = lab.cargo_kami(&["trust", "list", "--json"]).stdout;
    let line: Value = serde_json::from_str(&line).expect("it is one line of JSON");
    assert_eq!((&line["state"], &line["reason"]), (&json!("revoked"), &json!("stolen")));
}

#[test]
fn a_list_revokes_and_trusts_nobody() {
    let (lab, other) = (Lab::with_neighbour(), Lab::new());
    let (public, date) = (lab.key().public(), Date::of(SystemTime::now()));
    let mut list = other.trust();
    list.revoke(RevokedKey { public, reason: "on the list\n of all".to_owned(), date });
    let path = lab.path("revoked.toml");
    list.save(&path).expect("files can be written");
    let path = path.to_str().expect("the path is UTF-8");
    lab.cargo_kami(&["trust", "import", path]).expect(0, "Revoked");
    lab.cargo_kami(&["trust", "import", path]).expect(0, "nothing in it was new");
    refused(&lab, "on the list");
    let trusted = lab.cargo_kami(&["trust", "list"]).stdout;
    assert!(!trusted.contains(&other.key().public().to_string()), "{trusted}");
    lab.cargo_kami(&["trust", "import", "nowhere.toml"]).expect(17, "there is no file");
}

/// The seconds since 1970 that the resolver of the next test is told.
static CLOCK: AtomicU64 = AtomicU64::new(0);

#[tokio::test]
async fn a_key_that_expires_while_the_server_runs_ends_its_tools() {
    let lab = tokio::task::spawn_blocking(Lab::with_neighbour).await.expect("no panic");
    let day: Date = "2027-01-31".parse().expect("it is a date");
    change(&lab, |trust| trust.insert(TrustedKey { expires: Some(day), ..terms(&lab) }));
    let end = day.end().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
    CLOCK.store(end - 1, Ordering::SeqCst);
    let clock = || UNIX_EPOCH + Duration::from_secs(CLOCK.load(Ordering::SeqCst));
    let options = HostOptions { clock, ..HostOptions::default() };
    let resolver = Arc::new(Resolver::open(lab.data(), options).expect("the engine starts"));
    let call = json!({"a": 1, "b": 1});
    enter(&resolver, "neighbour/add", &call).await.expect("the key is trusted until tonight");

    CLOCK.store(end, Ordering::SeqCst);
    // The resolver looks at its surroundings 20 times a second.
    tokio::time::sleep(Duration::from_millis(60)).await;
    let error = enter(&resolver, "neighbour/add", &call).await.expect_err("it is tomorrow");
    assert!(
        matches!(
            &error,
            ResolveError::Signature { source: SignatureError::Expired { date, .. }, .. }
                if *date == day
        ),
        "{error:?}"
    );
}

#[test]
fn an_update_by_another_key_is_refused_though_it_is_trusted() {
    let lab = Lab::with_neighbour();
    let other = key();
    change(&lab, |trust| trust.add(other.public(), "other"));
    let path = file(&lab, "other.wasm", &[&other]);
    let (pinned, signer) = (lab.key().public(), other.public());
    for command in [&["install", &path, "--yes"][..], &["install", &path]] {
        let ran = lab.cargo_kami(command);
        ran.expect(15, &format!("pinned to key {}", pinned.fingerprint()));
        ran.expect(15, &format!("signed by key {}", signer.fingerprint()));
        ran.expect(15, &format!("pinned to lab ({pinned}), signed by other ({signer})"));
        ran.expect(15, "cargo kami trust rotate FILE");
        ran.expect(15, "cargo kami trust unpin dev.kami.test.neighbour");
    }
    let unsigned = file(&lab, "unsigned.wasm", &[]);
    let install = ["install", &unsigned, "--yes", "--allow-unsigned"];
    lab.cargo_kami(&install).expect(15, "this file is not signed");
    lab.cargo_kami(&["verify"]).expect(0, "signed by lab");

    // Who uninstalls it first gets no further.
    lab.cargo_kami(&["uninstall", &id("neighbour")]).expect(0, "");
    lab.cargo_kami(&["install", &path, "--yes"]).expect(15, "pinned to key");
    let pins = lab.cargo_kami(&["trust", "pins"]).stdout;
    assert!(pins.contains(&id("neighbour")) && pins.contains(&pinned.to_string()), "{pins}");
    // A second signature by the pinned key is what it takes.
    let both = file(&lab, "both.wasm", &[&other, lab.key()]);
    lab.cargo_kami(&["install", &both, "--yes"]).expect(0, "Installed");

    lab.cargo_kami(&["trust", "unpin", &id("neighbour")]).expect(0, "Unpinned");
    lab.cargo_kami(&["trust", "unpin", &id("neighbour")]).expect(17, "is not pinned");
    lab.cargo_kami(&["install", &path, "--yes"]).expect(0, "Installed");
    let back = file(&lab, "back.wasm", &[lab.key()]);
    lab.cargo_kami(&["install", &back, "--yes"]).expect(15, &signer.fingerprint());
}

#[test]
fn an_update_follows_a_rotation() {
    let lab = Lab::with_neighbour();
    let new = key();
    let rotation = Rotation::sign(lab.key(), &new).expect("the keys differ");
    let update = file(&lab, "update.wasm", &[&new]);
    lab.cargo_kami(&["install", &update, "--yes"]).expect(15, "pinned to key");
    let statement = lab.path("new.rotation");
    fs::write(&statement, format!("{rotation}\n")).expect("files can be written");
    let path = statement.to_str().expect("the path is UTF-8");
    for statement in [path, &rotation.to_string()] {
        lab.cargo_kami(&["trust", "rotate", statement]).expect(0, "Trusted");
    }
    lab.cargo_kami(&["verify"]).expect(0, "signed by lab");
    let old = file(&lab, "old.wasm", &[lab.key()]);
    lab.cargo_kami(&["install", &old, "--yes"]).expect(15, "pinned to key");
    lab.cargo_kami(&["install", &update, "--yes"]).expect(0, "Installed");
    assert_eq!(
        lab.registry().pins().expect("the registry can be read")[0].key,
        new.public(),
        "the new key alone updates it"
    );
}

#[test]
fn a_forged_rotation_statement_changes_nothing() {
    let lab = Lab::with_neighbour();
    let (eve, new) = (key(), key());
    let genuine = Rotation::sign(lab.key(), &new).expect("the keys differ").to_string();
    let before = fs::read(lab.data().trust_file()).expect("there are trusted keys");
    let by_eve = Rotation::sign(&eve, &new).expect("the keys differ").to_string();
    let claimed = by_eve.replace(&eve.public().to_string(), &lab.key().public().to_string());
    let (head, last) = genuine.split_at(genuine.len() - 1);
    let flipped = format!("{head}{}", if last == "0" { "1" } else { "0" });
    for (statement, code, told) in [
        (by_eve, 15, "is not trusted here"),
        (claimed, 15, "a signature on it does not hold"),
        (flipped, 15, "a signature on it does not hold"),
        (head.to_owned(), 15, "not a rotation statement"),
        (genuine.replace("v1", "v2"), 15, "not a rotation statement"),
    ] {
        lab.cargo_kami(&["trust", "rotate", &statement]).expect(code, told);
    }
    assert_eq!(fs::read(lab.data().trust_file()).expect("it is still there"), before);
    let pins = lab.registry().pins().expect("the registry can be read");
    assert_eq!(pins[0].key, lab.key().public());

    // A key that is withdrawn names no successor.
    let public = lab.key().public().to_string();
    lab.cargo_kami(&["trust", "revoke", &public, "--reason", "stolen"]).expect(0, "Revoked");
    lab.cargo_kami(&["trust", "rotate", &genuine]).expect(15, "was revoked on");
}

#[test]
fn a_strangers_key_is_named_or_refused_where_nobody_can_be_asked() {
    let lab = Lab::new();
    let (maker, other) = (key(), key());
    let path = file(&lab, "new.wasm", &[&maker]);
    let (public, other) = (maker.public().to_string(), other.public().to_string());
    let add = format!("cargo kami trust add {public} --label NAME --scope dev.kami.test");
    let install = ["install", &path, "--yes"];
    lab.cargo_kami(&install).expect(15, &add).expect(15, &format!("--trust-key {public}"));
    let wrong = [&install[..], &["--trust-key", &other]].concat();
    lab.cargo_kami(&wrong).expect(15, "did not sign this file");

    // Without consent to what it asks for, nothing is remembered; and `run` remembers nothing.
    let named = ["--trust-key", &public];
    lab.cargo_kami(&[&["install", &path][..], &named].concat()).expect(16, "nobody can be asked");
    let sum = r#"{"a": 1, "b": 2}"#;
    let run = [&["run", &path, "--tool", "add", "--yes", "--input", sum][..], &named].concat();
    assert_eq!(lab.cargo_kami(&run).stdout.trim(), "3");
    lab.cargo_kami(&install).expect(15, &add);

    lab.cargo_kami(&[&install[..], &named].concat()).expect(0, "for `dev.kami.test`");
    lab.cargo_kami(&install).expect(0, "Installed");
    let trust = TrustStore::load(&lab.data().trust_file()).expect("it can be read");
    let scope = &trust.get(&maker.public()).expect("it is trusted").scope;
    assert_eq!(scope.iter().map(ToString::to_string).collect::<Vec<_>>(), ["dev.kami.test"]);
}

#[test]
fn a_person_is_asked_once_about_a_strangers_key() {
    let (person, maker) = (Outside::new(), key());
    let signed = sign(guest("neighbour"), &maker).expect("nobody has signed it");
    fs::write(person.path().join("new.wasm"), signed).expect("files can be written");
    let (status, screen) = person.at_terminal("cargo-kami install new.wasm --yes", "n");
    assert_eq!(status.code(), Some(16), "{screen}");
    assert!(screen.contains("the key is not trusted; nothing was changed"), "{screen}");
    person.kami(&["install", "new.wasm", "--yes"]).data(15);

    let (status, screen) = person.at_terminal("cargo-kami install new.wasm --yes", "y");
    assert!(status.success(), "{screen}");
    let question = format!(
        "Trust key {} for `dev.kami.test` and everything below? [y/N]",
        maker.public().fingerprint()
    );
    assert!(screen.contains(&question), "{screen}");
    assert!(screen.contains(&maker.public().to_string()), "{screen}");
    let (status, screen) = person.at_terminal("cargo-kami install new.wasm --yes", "n");
    assert!(status.success() && !screen.contains("Trust key"), "{screen}");
    let line: Value = serde_json::from_str(person.kami(&["trust", "list", "--json"]).data(0))
        .expect("it is one line of JSON");
    assert_eq!((&line["added"], &line["scope"]), (&json!("first-use"), &json!(["dev.kami.test"])));
}

#[test]
fn a_key_with_a_passphrase_signs_for_who_knows_it() {
    let lab = Lab::new();
    let (right, wrong) = (lab.path("right"), lab.path("wrong"));
    fs::write(&right, "correct horse\n").expect("files can be written");
    fs::write(&wrong, "battery staple\n").expect("files can be written");
    let (right, wrong) = (right.to_str().expect("UTF-8"), wrong.to_str().expect("UTF-8"));
    let keygen = ["keygen", "--name", "release", "--passphrase"];
    lab.cargo_kami(&keygen).expect(2, "nobody can be asked here");
    assert!(!lab.data().keys_dir().join("release.key").exists());
    lab.cargo_kami(&[&keygen[..], &["--passphrase-file", right]].concat()).expect(0, "Created");

    let kept = fs::read_to_string(lab.data().keys_dir().join("release.key")).expect("it is there");
    assert!(kept.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"), "{kept}");
    assert!(!kept.contains("correct horse") && SecretKey::from_pem(&kept).is_err());
    let path = file(&lab, "mine.wasm", &[]);
    let sign = ["sign", &path, "--key", "release"];
    lab.cargo_kami(&sign).expect(2, "nobody can be asked here").expect(2, "KAMI_KEY_PASSPHRASE");
    lab.cargo_kami(&[&sign[..], &["--passphrase-file", wrong]].concat())
        .expect(1, "the passphrase is wrong");
    lab.cargo_kami(&["verify", &path]).expect(15, "not signed");
    lab.cargo_kami(&[&sign[..], &["--passphrase-file", right]].concat()).expect(0, "Signed");
    lab.cargo_kami(&["verify", &path]).expect(0, "signed by release");
}

#[test]
fn a_maker_rotates_a_key_and_its_users_follow() {
    let (maker, user) = (Outside::new(), Outside::new());
    let bare = guest("neighbour").bytes();
    let ship = |name: &str, key: &str| {
        fs::write(maker.path().join(name), bare).expect("files can be written");
        maker.kami(&["sign", name, "--key", key]).data(0);
        fs::copy(maker.path().join(name), user.path().join(name)).expect("files can be copied");
    };
    let public = maker.kami(&["keygen", "--name", "old"]).data(0).trim().to_owned();
    ship("first.wasm", "old");
    user.kami(&["install", "first.wasm", "--yes", "--trust-key", &public]).data(0);
    maker.kami(&["install", "first.wasm", "--yes"]).data(0);

    let statement = maker.kami(&["keygen", "--name", "new", "--rotates", "old"]);
    let statement = statement.data(0);
    assert!(statement.starts_with(&format!("kami:rotation/v1\nold: {public}\n")), "{statement}");
    let kept = fs::read_to_string(maker.data().keys_dir().join("new.rotation"));
    assert_eq!(kept.expect("it is kept"), statement);
    ship("second.wasm", "new");
    // The maker's own machine knows already.
    maker.kami(&["install", "second.wasm", "--yes"]).data(0);
    user.kami(&["install", "second.wasm", "--yes"]).data(15);
    fs::write(user.path().join("new.rotation"), statement).expect("files can be written");
    user.kami(&["trust", "rotate", "new.rotation"]).data(0);
    user.kami(&["install", "second.wasm", "--yes"]).data(0);
    user.kami(&["install", "first.wasm", "--yes"]).data(15);
}

#[test]
fn a_person_is_asked_for_the_passphrase() {
    let person = Outside::new();
    let path = person.path().join("mine.wasm");
    fs::write(&path, guest("neighbour").bytes()).expect("files can be written");
    let script = "cargo-kami keygen --passphrase\ncargo-kami sign mine.wasm";
    let (status, screen) = person.at_terminal(script, "correct horse");
    assert!(status.success(), "{screen}");
    assert!(screen.contains("Passphrase for the new key `default`"), "{screen}");
    assert!(screen.contains("The same again"), "{screen}");
    assert!(screen.contains("Passphrase of the key `default`"), "{screen}");
    person.kami(&["verify", "mine.wasm"]).data(0);
    let (status, screen) = person.at_terminal("cargo-kami sign mine.wasm", "battery staple");
    assert_eq!(status.code(), Some(1), "{screen}");
}

#[test]
fn a_registry_refuses_what_slips_past_the_question() {
    let lab = Lab::with_neighbour();
    let other = Lab::new();
    let artifact = sign(guest("neighbour"), other.key()).expect("nobody has signed it");
    let artifact = Artifact::parse(artifact).expect("it is whole");
    let signed = kami_core::signing::SignedArtifact::verify(
        artifact,
        &other.trust(),
        kami_core::signing::Unsigned::Refuse,
        SystemTime::now(),
    );
    let signed = signed.expect("the key is trusted");
    let refused = lab.registry().install(&signed, &Default::default(), &Default::default());
    assert!(matches!(refused, Err(RegistryError::Pinned { .. })), "{refused:?}");
}
