use kami_guest::prelude::*;

struct Page;

#[kami_prompt]
fn page() -> Page {
    Page
}

#[kami_prompt]
fn get(page: Page, more: Option<Page>) -> String {
    let _ = (page, more);
    String::new()
}

#[kami_prompt]
fn complete(#[kami(complete = 5)] number: u8) -> String {
    number.to_string()
}

fn by_number(_: u8) -> Vec<String> {
    Vec::new()
}

#[kami_prompt]
fn complete_by_number(#[kami(complete = by_number)] number: u8) -> String {
    number.to_string()
}

fn main() {}
