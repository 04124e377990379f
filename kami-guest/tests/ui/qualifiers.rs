use kami_guest::prelude::*;

/// Waits.
#[kami_tool]
async fn wait(seconds: u32) {
    let _ = seconds;
}

/// Pokes.
#[kami_tool]
unsafe fn poke(address: u32) {
    let _ = address;
}

/// Exports.
#[kami_tool]
extern "C" fn export(number: u32) -> u32 {
    number
}

fn main() {}
