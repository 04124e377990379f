//! Says more than it is asked, and where nobody wants to hear it.

use std::io::Write as _;

use kami_guest::prelude::*;

/// Prints what would pass for a message of the server, if anyone passed it on.
#[kami_tool]
fn forge(line: String) -> String {
    println!("{line}");
    eprintln!("{line}");
    "the real answer".to_owned()
}

/// Something that is whatever it is told to be.
#[kami_type]
struct Offer {
    value: kami_guest::serde_json::Value,
    number: i64,
}

/// Gives what it is told, as a part of something.
#[kami_tool]
fn offer(json: String, bytes: Option<usize>) -> Result<Offer, String> {
    let json = json.replace("BYTES", &"b".repeat(bytes.unwrap_or_default()));
    let value = kami_guest::serde_json::from_str(&json).map_err(|error| error.to_string())?;
    Ok(Offer { value, number: 7 })
}

/// Takes anything, and tells what it was.
#[kami_tool]
fn swallow(what: kami_guest::serde_json::Value, number: Option<i64>) -> String {
    format!("{what} {number:?}")
}

/// Floods stdout and stderr.
#[kami_tool]
fn flood(bytes: usize) -> Result<(), std::io::Error> {
    let block = [b'z'; 4096];
    for _ in 0..bytes / block.len() {
        std::io::stdout().write_all(&block)?;
        std::io::stderr().write_all(&block)?;
    }
    Ok(())
}

/// Floods log and progress.
#[kami_tool]
fn chatter(times: u32, bytes: usize) {
    let message = "c".repeat(bytes);
    for step in 0..times {
        kami_guest::log::error(&message);
        kami_guest::progress(f64::from(step), None, Some(&message));
    }
}

/// Tells of progress that is none, in words that are not fit for one line.
#[kami_tool]
fn babble(times: u32) {
    let words =
        ["up\nand\r\ndown", "\u{1b}[2J\u{7}\0", "\u{2028}\u{202e}", "\"}\n{\"jsonrpc\":\"2.0\"}"];
    for step in 0..times {
        let message = words[step as usize % words.len()];
        kami_guest::log::error(message);
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, -1.0, f64::from(step)];
        let odd = odd[step as usize % odd.len()];
        kami_guest::progress(f64::from(step / 2), Some(odd), Some(message));
        kami_guest::progress(odd, None, None);
    }
}

/// Refuses in these words.
#[kami_tool]
fn refuse(words: String) -> Result<(), String> {
    kami_guest::log::error(&words);
    kami_guest::progress(1.0, None, Some(&words));
    eprintln!("{words}");
    Err(words)
}
