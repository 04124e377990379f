use kami_guest::prelude::*;

struct Point {
    x: f64,
}

/// Measures.
#[kami_tool]
fn measure(point: Point, unit: String) -> f64 {
    let _ = unit;
    point.x
}

/// Measures one.
#[kami_tool]
fn measure_one(point: Point) -> f64 {
    point.x
}

/// Measures many.
#[kami_tool]
fn measure_all(points: Vec<Point>, unit: String) -> usize {
    let _ = unit;
    points.len()
}

fn main() {}
