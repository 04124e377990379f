//! A tool that answers, whatever goes on beside it.

use kami_guest::prelude::*;

/// Adds two numbers.
#[kami_tool]
pub fn add(
    /** the first number */
    a: i64,
    /** the second number */
    b: i64,
) -> Result<i64, String> {
    a.checked_add(b).ok_or_else(|| "the sum is too large".to_owned())
}
