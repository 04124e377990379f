//! Registries that are damaged, from the future, or somebody else's.

use std::fs;

use kami_core::grants::Capabilities;
use kami_tests::lab::{Lab, hostile, id};
use rusqlite::Connection;

/// Fails unless every command refuses the registry, says why, and leaves it as it is.
#[track_caller]
fn refused(lab: &Lab, told: &str) {
    let file = lab.data().registry_file();
    let before = fs::read(&file).expect("the registry can be read");
    for command in [
        &["list"][..],
        &["status"][..],
        &["serve"][..],
        &["call", "add", "--input", "{}"][..],
        &["uninstall", "dev.kami.test.neighbour"][..],
    ] {
        let ran = lab.cargo_kami(command);
        assert_eq!(ran.code, Some(18), "{command:?}: {ran:?}");
        assert!(ran.stderr.contains(told), "{command:?}: {ran:?}");
        assert_eq!(ran.stdout, "", "{command:?}");
    }
    assert!(fs::read(&file).ok() == Some(before), "the registry was changed");
}

fn alter(lab: &Lab, sql: &str) {
    let registry = Connection::open(lab.data().registry_file()).expect("it is a database");
    registry.execute_batch(sql).expect("the statement is right");
}

#[test]
fn a_registry_that_is_noise_is_refused_and_left() {
    let lab = Lab::with_neighbour();
    fs::write(lab.data().registry_file(), "noise ".repeat(1000)).expect("files can be written");
    refused(&lab, "is damaged: put a backup in its place");
}

#[test]
fn a_registry_from_the_future_is_refused_left_and_good_again_for_its_program() {
    let lab = Lab::with_neighbour();
    let registry = Connection::open(lab.data().registry_file()).expect("it is a database");
    let own: i64 = registry
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .expect("a registry has a version");
    drop(registry);
    alter(&lab, "PRAGMA user_version = 99; PRAGMA wal_checkpoint(TRUNCATE)");
    refused(&lab, "has schema 99");
    alter(&lab, &format!("PRAGMA user_version = {own}; PRAGMA wal_checkpoint(TRUNCATE)"));
    let sum = lab.cargo_kami(&["call", "add", "--input", r#"{"a": 1, "b": 2}"#]);
    assert_eq!((sum.code, sum.stdout.trim()), (Some(0), "3"), "{sum:?}");
}

#[test]
fn a_stranger_s_database_is_refused_and_left() {
    let lab = Lab::with_neighbour();
    alter(&lab, "PRAGMA application_id = 7; PRAGMA wal_checkpoint(TRUNCATE)");
    refused(&lab, "is a database, but not a KAMI registry");
}

#[test]
fn a_damaged_entry_stops_no_other_tool_and_its_removal_is_recorded() {
    let lab = Lab::with_neighbour();
    lab.install(&hostile("victim", &["spin"], &Capabilities::default()));
    let victim = id("victim");
    alter(&lab, &format!("UPDATE packages SET granted = 'all of it' WHERE id = '{victim}'"));
    let sum = lab.cargo_kami(&["call", "add", "--input", r#"{"a": 1, "b": 2}"#]);
    assert_eq!((sum.code, sum.stdout.trim()), (Some(0), "3"), "{sum:?}");
    lab.cargo_kami(&["call", "spin", "--input", "{}"])
        .expect(18, "entry for `dev.kami.test.victim`");
    lab.cargo_kami(&["uninstall", "victim"]).expect(18, "`dev.kami.test.victim` is uninstalled");
    lab.cargo_kami(&["uninstall", "victim"]).expect(17, "`victim` is not installed");
    let recorded = lab.cargo_kami(&["log", "--kind", "uninstall", "--json"]);
    assert_eq!(recorded.stdout.matches(&victim).count(), 1, "{recorded:?}");
}
