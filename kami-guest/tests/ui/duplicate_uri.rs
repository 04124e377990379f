use kami_guest::prelude::*;

#[kami_resource(uri = "note://today")]
fn today() -> String {
    String::new()
}

#[kami_resource(uri = "note://today")]
fn now() -> String {
    String::new()
}

fn main() {}
