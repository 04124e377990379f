//! What the measurements have a guest do: nothing much, to see what a call costs; a lot, to see what
//! compiled code is worth in here; and nothing at all for a while, to see what a guest costs that
//! waits.

use std::thread;
use std::time::Duration;

use kami_guest::prelude::*;
use sha2::{Digest as _, Sha256};

/// Gives a text back.
#[kami_tool]
pub fn echo(
    /** the text */
    text: String,
) -> String {
    text
}

/// Waits, in the host.
#[kami_tool]
pub fn wait(
    /** for how many milliseconds */
    milliseconds: u32,
) -> u32 {
    thread::sleep(Duration::from_millis(milliseconds.into()));
    milliseconds
}

/// Hashes bytes.
#[kami_tool]
pub fn hash(
    /** how many KiB of them */
    kibibytes: u32,
) -> String {
    let block = [0x5a; 1 << 10];
    let mut hasher = Sha256::new();
    (0..kibibytes).for_each(|_| hasher.update(block));
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads JSON, and writes it again.
#[kami_tool]
pub fn rewrite(
    /** how many records there are */
    records: u32,
) -> Result<usize, serde_json::Error> {
    let record = r#"{"id":17,"name":"a record","tags":["one","two","three"],"at":[51.5,-0.12]}"#;
    let text = format!("[{}]", vec![record; records as usize].join(","));
    let value: serde_json::Value = serde_json::from_str(&text)?;
    Ok(value.to_string().len())
}

/// Counts the steps of the numbers below a bound on their way to 1, by Collatz's rule.
#[kami_tool]
pub fn collatz(
    /** the bound */
    below: u64,
) -> u64 {
    let steps = |mut number: u64| {
        let mut steps = 0;
        while number > 1 {
            number = if number.is_multiple_of(2) { number / 2 } else { 3 * number + 1 };
            steps += 1;
        }
        steps
    };
    (1..below).map(steps).sum()
}
