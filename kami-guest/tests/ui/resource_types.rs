use kami_guest::prelude::*;

struct Page;

#[kami_resource(uri = "page://one")]
fn page() -> Page {
    Page
}

#[kami_resource(uri = "page://{page}")]
fn read(page: Page) -> String {
    let Page = page;
    String::new()
}

#[kami_resource(uri = "page://nothing")]
fn nothing() {}

fn main() {}
