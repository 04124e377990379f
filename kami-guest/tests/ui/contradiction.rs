use kami_guest::prelude::*;

/// Cleans.
#[kami_tool(read_only, idempotent, destructive)]
fn clean(path: String) {
    let _ = path;
}

fn main() {}
