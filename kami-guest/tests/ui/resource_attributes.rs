use kami_guest::prelude::*;

#[kami_resource]
fn without_uri() -> String {
    String::new()
}

#[kami_resource(uri = "note://a", mimetype = "text/plain", priority = 2, audience = "model", size = "5")]
fn wrong_values() -> String {
    String::new()
}

#[kami_resource(uri = "note://{name}", size = 5)]
fn sized(name: String) -> String {
    name
}

#[kami_resource(uri = "note://{number}")]
fn number(#[serde(rename = "n")] #[kami(default = 5)] number: &u32) -> String {
    number.to_string()
}

#[kami_resource(uri = "note://b")]
struct Note;

fn main() {}
