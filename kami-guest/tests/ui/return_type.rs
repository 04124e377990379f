use kami_guest::prelude::*;

struct Point {
    x: f64,
}

/// Finds.
#[kami_tool]
fn find(x: f64) -> Point {
    Point { x }
}

/// Tries to find.
#[kami_tool]
fn try_find(x: f64) -> Result<Point, String> {
    Ok(Point { x })
}

fn main() {}
