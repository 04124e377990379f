//! What the examples have no use for and a client still has to understand: progress and log
//! messages while a call runs, and every kind of content.

use std::thread::sleep;
use std::time::Duration;

use kami_guest::content::Role;
use kami_guest::{log, prelude::*, progress};

/// Takes its time, and says how far it has come.
#[kami_tool(read_only)]
pub fn count_slowly(
    /// how many steps to take
    #[schemars(range(min = 1, max = 100))]
    steps: u32,
    /// how long a step takes, in milliseconds
    #[schemars(range(min = 0, max = 1000))]
    pause: u64,
) -> String {
    for step in 1..=steps {
        sleep(Duration::from_millis(pause));
        let message = format!("step {step}");
        progress(f64::from(step), Some(f64::from(steps)), Some(&message));
        log::info(message);
    }
    log::warn("that was slow");
    format!("took {steps} steps")
}

/// Returns one piece of content of every kind.
#[kami_tool(read_only)]
pub fn show_everything() -> Vec<Content> {
    let bytes: Vec<u8> = (0..=255).collect();
    vec![
        Content::text("ünïcödé 🦀\n").audience([Role::User]).priority(0.5),
        Content::image(bytes.clone(), "image/png"),
        Content::audio(bytes.clone(), "audio/wav"),
        Resource::text("memo:///note", "a note").mime_type("text/plain").into(),
        Resource::blob("memo:///bytes", bytes).into(),
        ResourceLink::new("https://example.com/report", "report")
            .title("A report")
            .mime_type("text/html")
            .size(12)
            .into(),
    ]
}
