//! A tool for AI agents: the comments are what the model reads.

use kami_guest::prelude::*;

/// Greets a person by name.
#[kami_tool]
pub fn greet(
    /// whom to greet
    name: String,
    /// how many times
    #[kami(default = 1)]
    #[schemars(range(min = 1, max = 10))]
    times: usize,
) -> Result<String, String> {
    let name = name.trim();
    if name.is_empty() {
        return Err("`name` is empty: say whom to greet".to_owned());
    }
    Ok(vec![format!("Hello, {name}!"); times].join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greets_as_often_as_asked() {
        assert_eq!(
            greet("Ada".to_owned(), 2).unwrap(),
            "Hello, Ada! Hello, Ada!"
        );
    }

    #[test]
    fn wants_a_name() {
        assert!(
            greet(" ".to_owned(), 1)
                .unwrap_err()
                .contains("`name` is empty")
        );
    }
}
