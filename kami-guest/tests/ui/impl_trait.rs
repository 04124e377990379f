use kami_guest::prelude::*;

/// Shouts.
#[kami_tool]
fn shout(text: impl Into<String>) -> impl Serialize {
    text.into().to_uppercase()
}

fn main() {}
