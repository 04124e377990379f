use kami_guest::prelude::*;

/// Does everything wrong with names.
#[kami_tool]
fn names(
    #[kami(header = "Region")] region: String,
    #[kami(header = "region")] other: String,
    #[kami(header = "")] empty: String,
    #[kami(header = "two words")] words: String,
    #[kami(header = 5)] number: String,
    #[kami(header = "A", complete = all)] completed: String,
) {
    let _ = (region, other, empty, words, number, completed);
}

/// Repeats what can't be repeated.
#[kami_tool]
fn types(#[kami(header = "Ratio")] ratio: f64, #[kami(header = "List")] list: Vec<String>) {
    let _ = (ratio, list);
}

fn main() {}
