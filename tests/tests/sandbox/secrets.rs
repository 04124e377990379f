//! The store of secrets, as people and scripts use it, and as somebody tampers with it.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use kami_tests::outside::{Outside, Reply};
use serde_json::Value;

const TOKEN: &str = "ghp_0123456789abcdef";
const PASSPHRASE: &str = "KAMI_SECRETS_PASSPHRASE";

/// Keeps a secret under a key in a file, so that no keyring of this machine is touched.
fn set(place: &Outside, name: &str, value: &str) -> Reply {
    place.kami_with_input(&["secret", "set", name, "--key", "key-file"], value)
}

/// Runs `cargo kami secret` with a passphrase in the environment.
fn with_passphrase(place: &Outside, passphrase: &str, arguments: &[&str]) -> (i32, String) {
    let mut command = place.command("cargo-kami");
    command.arg("secret").args(arguments).env(PASSPHRASE, passphrase);
    let output = command.env("TOKEN_HERE", TOKEN).stdin(Stdio::null()).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

fn names(place: &Outside) -> Vec<String> {
    let listed = place.kami(&["secret", "list", "--json"]);
    let line = |line: &str| serde_json::from_str::<Value>(line).unwrap()["name"].clone();
    listed.data(0).lines().map(|text| line(text).as_str().unwrap().to_owned()).collect()
}

/// Fails if a file below `directory` holds `plain`.
#[track_caller]
pub fn nowhere_in(directory: &Path, plain: &str) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            nowhere_in(&path, plain);
        } else {
            let bytes = fs::read(&path).unwrap();
            let found = bytes.windows(plain.len()).any(|part| part == plain.as_bytes());
            assert!(!found, "{} holds {plain}", path.display());
        }
    }
}

#[test]
fn a_secret_is_kept_listed_and_removed_and_never_shown() {
    let place = Outside::new();
    assert_eq!(place.kami(&["secret", "list"]).data(0), "");
    assert!(!place.data().path().exists(), "looking makes nothing");
    let kept = set(&place, "GITHUB_TOKEN", &format!("{TOKEN}\n"));
    assert_eq!(kept.data(0), "");
    assert!(kept.stderr.contains("Kept GITHUB_TOKEN, sealed with the key from: key-file"));
    let replaced = set(&place, "GITHUB_TOKEN", "another value");
    assert!(replaced.stderr.contains("Replaced GITHUB_TOKEN"), "{replaced:?}");
    let listed = place.kami(&["secret", "list"]);
    let words: Vec<_> = listed.data(0).split_whitespace().collect();
    assert!(matches!(words[..], ["GITHUB_TOKEN", time, "key-file"] if time.ends_with('Z')));
    for reply in [&kept, &replaced, &listed] {
        let said = format!("{reply:?}");
        assert!(!said.contains(TOKEN) && !said.contains("another value"), "{said}");
    }
    nowhere_in(place.data().path(), TOKEN);
    nowhere_in(place.data().path(), "another value");
    assert_eq!(place.kami(&["secret", "remove", "GITHUB_TOKEN"]).code, 0);
    assert_eq!(names(&place), [""; 0]);
    let missing = place.kami(&["secret", "remove", "GITHUB_TOKEN"]);
    assert_eq!(missing.code, 17);
    assert!(missing.stderr.contains("there is no secret called `GITHUB_TOKEN`"), "{missing:?}");
}

#[test]
fn what_is_no_secret_is_refused_and_not_repeated() {
    let place = Outside::new();
    for (value, told) in [
        ("hunter2", "too short"),
        ("two lines of\na key", "a control character"),
        (" hunter2hunter2", "white space"),
    ] {
        let refused = set(&place, "TOKEN", value);
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.stderr.contains(told), "{refused:?}");
        assert!(!refused.stderr.contains("hunter2") && !refused.stderr.contains("a key"));
    }
    assert_eq!(set(&place, "NOT-A-NAME", TOKEN).code, 2);
    let (code, told) = with_passphrase(&place, "p", &["set", "TOKEN", "--from-env", "UNSET_HERE"]);
    assert_eq!(code, 17, "{told}");
    assert!(!place.data().secrets_file().exists());
}

#[test]
fn secrets_that_many_processes_set_at_once_are_all_there() {
    let place = Outside::new();
    let expected: Vec<String> = (0..8).map(|at| format!("NAME_{at}")).collect();
    std::thread::scope(|scope| {
        for name in &expected {
            scope.spawn(|| assert_eq!(set(&place, name, TOKEN).data(0), ""));
        }
    });
    assert_eq!(names(&place), expected);
}

#[test]
fn a_store_that_was_changed_is_refused_and_left() {
    let place = Outside::new();
    set(&place, "TOKEN", TOKEN).data(0);
    let file = place.data().secrets_file();
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    for bytes in [bytes, b"noise".to_vec()] {
        fs::write(&file, &bytes).unwrap();
        for reply in [
            place.kami(&["secret", "list"]),
            place.kami(&["secret", "remove", "TOKEN"]),
            place.kami(&["secret", "rekey", "--key", "passphrase"]),
            set(&place, "TOKEN", TOKEN),
        ] {
            assert_eq!((reply.code, reply.stdout.as_str()), (22, ""), "{reply:?}");
        }
        assert!(fs::read(&file).unwrap() == bytes, "the store was changed");
    }
}

#[test]
fn a_missing_or_foreign_key_opens_nothing() {
    let place = Outside::new();
    set(&place, "TOKEN", TOKEN).data(0);
    let (key, away) = (place.data().secrets_key_file(), place.path().join("away"));
    fs::rename(&key, &away).unwrap();
    let missing = place.kami(&["secret", "list"]);
    assert_eq!(missing.code, 22, "{missing:?}");
    assert!(missing.stderr.contains("the key of the secrets is missing"), "{missing:?}");
    assert!(!key.exists(), "no other key is put in its place");
    fs::write(&key, "noise").unwrap();
    assert_eq!(place.kami(&["secret", "list"]).code, 22);
    fs::rename(&away, &key).unwrap();
    assert_eq!(names(&place), ["TOKEN"]);
}

#[test]
fn a_passphrase_opens_the_store_where_there_is_no_terminal() {
    let place = Outside::new();
    let right = "correct horse battery staple";
    let (code, told) =
        with_passphrase(&place, right, &["set", "TOKEN", "--from-env", "TOKEN_HERE"]);
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("with the key from: passphrase"), "{told}");
    let (code, told) = with_passphrase(&place, right, &["list"]);
    assert!(code == 0 && told.contains("TOKEN"), "{told}");
    let (code, told) = with_passphrase(&place, "wrong horse", &["list"]);
    assert!(code == 22 && told.contains("the passphrase is wrong"), "{told}");
    let nobody = place.kami(&["secret", "list"]);
    assert_eq!(nobody.code, 22);
    assert!(nobody.stderr.contains("help: set KAMI_SECRETS_PASSPHRASE"), "{nobody:?}");
    assert!(!place.data().secrets_key_file().exists());
    let elsewhere = set(&place, "OTHER", TOKEN);
    assert_eq!(elsewhere.code, 16, "{elsewhere:?}");
}

#[test]
fn the_key_can_be_given_to_another_keeper() {
    let place = Outside::new();
    set(&place, "TOKEN", TOKEN).data(0);
    let key = place.data().secrets_key_file();
    let (code, told) = with_passphrase(&place, "new one", &["rekey", "--key", "passphrase"]);
    assert_eq!(code, 0, "{told}");
    assert!(!key.exists(), "the old key is still there");
    assert_eq!(place.kami(&["secret", "list"]).code, 22);
    let (code, told) = with_passphrase(&place, "new one", &["rekey", "--key", "key-file"]);
    assert_eq!(code, 0, "{told}");
    assert_eq!(names(&place), ["TOKEN"]);
    assert_eq!(Outside::new().kami(&["secret", "rekey", "--key", "key-file"]).code, 17);
}

#[test]
fn what_is_typed_at_a_terminal_is_not_shown() {
    let place = Outside::new();
    let dialog = [
        ("Value of TOKEN: ", TOKEN),
        ("New passphrase for the secrets: ", "correct horse"),
        ("The same again: ", "correct horse"),
        ("Passphrase of the secrets: ", "correct horse"),
    ];
    let script = "cargo-kami secret set TOKEN --key passphrase\ncargo-kami secret list";
    let (status, screen) = place.in_secret(script, &dialog);
    assert!(status.success(), "{screen}");
    assert!(screen.contains("Kept TOKEN"), "{screen}");
    assert!(!screen.contains(TOKEN) && !screen.contains("correct horse"), "{screen}");
}
