//! Questions to a CSV table: what is in it, which rows, how many, how much.
//!
//! An agent that reads a table to add up a column spends its context and gets the sum wrong;
//! here it asks for the sum. [`table`] reads, [`describe`] and [`query`] answer.

mod cell;
mod describe;
mod query;
mod statistics;
mod table;

pub use cell::Cell;
pub use describe::{Column, Count, Description, Kind, describe};
pub use query::{Aggregate, Answer, Condition, Function, Operand, Operator, Query, Scalar, query};
pub use table::{Source, Table};

use kami_guest::prelude::*;

/// Where the sandbox shows the folder that the operator granted.
const DATA: &str = "/data";

/// Describes a CSV table: its columns, their types, empty cells, distinct values and spread.
///
/// Number columns come with minimum, quartiles, maximum, mean and standard deviation, others with
/// their most common values. Call it before `query_csv` to learn the names of the columns.
/// Empty cells, `NA`, `N/A`, `NaN` and `null` count as empty.
#[kami_tool]
pub fn describe_csv(source: Source) -> Result<Description, String> {
    Ok(describe(&Table::read(&source, DATA.as_ref())?))
}

/// Filters, groups, aggregates and sorts the rows of a CSV table.
///
/// Without `aggregates` and `group_by` it returns the rows that meet all `filters`. With them it
/// returns one row for each group (or a single row): the group's values, then the aggregates.
/// Numbers compare as numbers, dates like `2026-11-21` in order of time, the rest as text.
#[kami_tool]
pub fn query_csv(question: Query) -> Result<Answer, String> {
    query(&Table::read(&question.source(), DATA.as_ref())?, &question)
}
