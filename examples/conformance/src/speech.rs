//! What a tool says while it runs: log lines, progress, and news about lists.

use std::thread::sleep;
use std::time::Duration;

use kami_guest::prelude::*;
use kami_guest::{Listing, list_changed, log, progress};

/// Between two lines, so that they cannot all arrive at the end.
const PAUSE: Duration = Duration::from_millis(50);

/// Logs three lines while it runs.
#[kami_tool]
pub fn test_tool_with_logging() -> &'static str {
    log::info("Tool execution started");
    sleep(PAUSE);
    log::info("Tool processing data");
    sleep(PAUSE);
    log::info("Tool execution completed");
    "three lines were logged"
}

/// Logs one line, which nobody hears who did not ask for logs.
#[kami_tool]
pub fn test_logging_tool() -> &'static str {
    log::info("a line was logged");
    "one line was logged"
}

/// Tells its progress in three steps, from 0 to 100.
#[kami_tool]
pub fn test_tool_with_progress() -> &'static str {
    for (step, done) in [0.0, 50.0, 100.0].into_iter().enumerate() {
        if step > 0 {
            sleep(PAUSE);
        }
        progress(done, Some(100.0), None);
    }
    "three steps were told"
}

/// Takes a moment, in which a client may lose and mend its connection.
#[kami_tool]
pub fn test_reconnection() -> &'static str {
    sleep(Duration::from_millis(100));
    "a moment has passed"
}

/// Says that the list of tools is another now.
#[kami_tool]
pub fn test_trigger_tool_change() -> &'static str {
    list_changed(Listing::Tools);
    "the list of tools is said to have changed"
}

/// Says that the list of prompts is another now.
#[kami_tool]
pub fn test_trigger_prompt_change() -> &'static str {
    list_changed(Listing::Prompts);
    "the list of prompts is said to have changed"
}
