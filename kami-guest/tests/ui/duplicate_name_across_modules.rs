mod whole {
    use kami_guest::prelude::*;

    /// Adds.
    #[kami_tool]
    fn add(a: i64, b: i64) -> i64 {
        a + b
    }
}

mod fractions {
    use kami_guest::prelude::*;

    /// Adds fractions.
    #[kami_tool]
    fn add(a: f64, b: f64) -> f64 {
        a + b
    }
}

fn main() {}
