//! Looks around.

use std::collections::BTreeMap;
use std::io::Read as _;

use kami_guest::prelude::*;

/// All that a program finds around itself.
#[kami_type]
struct Surroundings {
    environment: BTreeMap<String, String>,
    arguments: Vec<String>,
    stdin: String,
    root: Vec<String>,
}

/// Tells all that it finds around itself.
#[kami_tool]
fn probe() -> Surroundings {
    let mut stdin = String::new();
    if let Err(error) = std::io::stdin().read_to_string(&mut stdin) {
        stdin = format!("unreadable: {error}");
    }
    let root = std::fs::read_dir("/").into_iter().flatten().flatten();
    Surroundings {
        environment: std::env::vars().collect(),
        arguments: std::env::args().collect(),
        stdin,
        root: root.map(|entry| entry.path().display().to_string()).collect(),
    }
}
