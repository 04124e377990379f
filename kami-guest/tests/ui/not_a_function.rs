use kami_guest::prelude::*;

#[kami_tool]
struct Point {
    x: f64,
}

#[kami_tool]
impl Point {
    fn x(&self) -> f64 {
        self.x
    }
}

#[kami_type]
fn nothing() {}

#[kami_tool]
mod tools {}

fn main() {}
