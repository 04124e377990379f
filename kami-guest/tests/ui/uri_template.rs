use kami_guest::prelude::*;

/// Has a variable that nobody takes, and a parameter that nobody gives.
#[kami_resource(uri = "note://{folder}/{name}")]
fn note(nme: String, page: u32) -> String {
    format!("{nme} {page}")
}

#[kami_resource(uri = "note://list")]
fn list(name: String) -> String {
    name
}

#[kami_resource(uri = "note://{a}/{a}")]
fn twice(a: String) -> String {
    a
}

#[kami_resource(uri = "note://{a}{b}")]
fn adjacent(a: String, b: String) -> String {
    a + &b
}

#[kami_resource(uri = "note://list{?page}")]
fn query(page: String) -> String {
    page
}

#[kami_resource(uri = "note://{name")]
fn open(name: String) -> String {
    name
}

#[kami_resource(uri = "notes")]
fn no_scheme() -> String {
    String::new()
}

fn main() {}
