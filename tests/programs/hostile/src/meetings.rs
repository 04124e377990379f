//! Leaves marks wherever it can, and looks for those of others.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

use kami_guest::prelude::*;

/// How often this program has been entered, if anything remembers.
static ENTERED: AtomicU32 = AtomicU32::new(0);

/// What was found of others, or of an earlier call.
#[kami_type]
struct Traces {
    entered: u32,
    environment: Vec<String>,
    files: Vec<String>,
    arguments: Vec<String>,
}

/// Leaves its mark in memory, environment and files, waits, and tells whose marks there are.
#[kami_tool]
fn meet(mark: String, wait_millis: u64) -> Result<Traces, std::io::Error> {
    ENTERED.fetch_add(1, Ordering::SeqCst);
    // SAFETY: a guest has one thread.
    unsafe { std::env::set_var(format!("MARK_OF_{mark}"), &mark) };
    fs::write(format!("/scratch/{mark}"), &mark)?;
    sleep(Duration::from_millis(wait_millis));
    let files = fs::read_dir("/scratch")?;
    let files = files.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut files = files.collect::<Result<Vec<_>, std::io::Error>>()?;
    files.sort();
    Ok(Traces {
        entered: ENTERED.load(Ordering::SeqCst),
        environment: std::env::vars().map(|(name, _)| name).collect(),
        files,
        arguments: std::env::args().collect(),
    })
}
