use kami_guest::prelude::*;

/// Does everything wrong.
#[kami_tool(name = "every thing", read_only, destructive)]
async fn everything<T>(text: &str, (a, b): (i64, i64), other: impl Into<T>) {
    let _ = (text, a, b, other.into());
}

fn main() {
    let _ = everything::<i64>("", (1, 2), 3);
}
