//! A parameter that HTTP clients repeat in a header.

use kami_guest::prelude::*;

/// Returns the value, which stands in the header `Mcp-Param-Value` as well.
#[kami_tool]
pub fn test_custom_header(
    /// any text
    #[kami(header = "Value")]
    value: String,
) -> String {
    value
}
