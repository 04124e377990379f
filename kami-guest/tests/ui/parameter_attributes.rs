use kami_guest::prelude::*;

/// Repeats.
#[kami_tool]
fn repeat(
    text: String,
    #[kami(defualt = 2)] times: usize,
    #[kami(default)] separator: String,
    #[kami] end: String,
    #[cfg(unix)] start: String,
) -> String {
    vec![text; times].join(&separator) + &end + &start
}

/// Waits.
#[kami_tool]
fn wait(#[kami(default = "soon")] seconds: u32) {
    let _ = seconds;
}

fn main() {}
