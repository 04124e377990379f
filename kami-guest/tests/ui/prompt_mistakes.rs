use kami_guest::prelude::*;

#[kami_prompt(nam = "a b", description = "x")]
fn keys() -> String {
    String::new()
}

#[kami_prompt(name = "a b")]
async fn everything<T>(text: &str, _: String, #[kami(header = "X")] other: T) -> String {
    let _ = other;
    text.to_owned()
}

#[kami_prompt]
fn same(#[kami(name = "b")] a: String, b: String) -> String {
    a + &b
}

#[kami_prompt]
fn values(#[kami(complete)] a: String, #[kami(default)] b: String, #[kami] c: String) -> String {
    a + &b + &c
}

fn main() {}
