//! The jq language as a tool: an agent reshapes JSON without spending its context on it.
//!
//! The language itself is [jaq](https://github.com/01mf02/jaq)'s; `jq` runs a filter, and this
//! file says what goes in, what comes out, and how much of it.

mod jq;

use kami_guest::prelude::*;
use kami_guest::serde_json::Value;

/// The longest answer in bytes of JSON: beyond it, a model is better served by a narrower filter.
const MAX_OUTPUT_BYTES: usize = 256 * 1024;

/// What a filter gave.
#[derive(Debug, PartialEq)]
#[kami_type]
pub struct Results {
    /// every value that the filter gave, in order
    pub results: Vec<Value>,
    /// true if there were more results than were asked for or than fit into an answer
    pub truncated: bool,
}

/// Runs a jq filter over JSON: selects, reshapes, aggregates, sorts and counts.
///
/// Speaks the jq language with its standard library: paths (`.a.b[0]`, `.[]?`), pipes, `select`,
/// `map`, `group_by`, `to_entries`, `reduce`, `test` and `capture` (regular expressions), string
/// interpolation, `@csv`, `@base64d`, dates, user-defined functions and so on.
/// A filter gives any number of values, so `results` is always an array.
#[kami_tool]
pub fn json_query(
    /// the jq filter, for example `.items | map(select(.price > 10) | .name)`
    #[schemars(length(min = 1))]
    filter: String,
    /// the JSON to query: any value as it is, or a string that holds JSON text, which may be
    /// several values one after another (JSON Lines); the filter runs on each of them
    json: Value,
    /// how many results to return at most
    #[kami(default = 100)]
    #[schemars(range(min = 1, max = 10_000))]
    limit: usize,
) -> Result<Results, String> {
    let inputs = match json {
        Value::String(text) => jq::read_all(&text)?,
        value => jq::read_all(&value.to_string())?,
    };
    let filter = jq::Filter::compile(&filter)?;
    let mut answer = Results { results: Vec::new(), truncated: false };
    let mut bytes = 0;
    for result in filter.run(inputs) {
        let value = result?;
        bytes += value.to_string().len();
        if answer.results.len() == limit || bytes > MAX_OUTPUT_BYTES {
            answer.truncated = true;
            break;
        }
        answer.results.push(value);
    }
    if answer.results.is_empty() && answer.truncated {
        return Err(format!(
            "the first result alone is over {MAX_OUTPUT_BYTES} bytes of JSON: select less of it, \
             or ask for `keys` or `length` first"
        ));
    }
    Ok(answer)
}
