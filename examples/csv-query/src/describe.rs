//! What is in a table, column by column.

use std::cmp::Reverse;
use std::collections::HashMap;

use kami_guest::prelude::*;

use crate::cell::{self, Cell};
use crate::statistics::{mean, quantile, sorted, standard_deviation};
use crate::table::Table;

/// How many of the most common values of a column are told.
const MOST_COMMON: usize = 5;

/// What is in a table.
#[derive(Debug, PartialEq)]
#[kami_type]
pub struct Description {
    /// how many rows there are below the header
    pub rows: usize,
    /// the columns, in order
    pub columns: Vec<Column>,
}

/// What is in a column.
#[derive(Debug, PartialEq)]
#[kami_type]
pub struct Column {
    /// the name, as in the header
    pub name: String,
    /// what the cells hold that are not empty
    #[serde(rename = "type")]
    pub kind: Kind,
    /// how many cells are empty
    pub empty: usize,
    /// how many different values there are, the empty one not counted
    pub distinct: usize,
    /// the smallest value; null if all cells are empty
    pub min: Cell,
    /// the value that a quarter of the numbers lie below
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lower_quartile: Option<f64>,
    /// the number in the middle
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median: Option<f64>,
    /// the value that three quarters of the numbers lie below
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upper_quartile: Option<f64>,
    /// the largest value; null if all cells are empty
    pub max: Cell,
    /// the mean of the numbers
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// the standard deviation of the numbers, as of a sample
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standard_deviation: Option<f64>,
    /// the most common values of a column that is not of numbers
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub most_common: Vec<Count>,
}

/// What the cells of a column hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[kami_type]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Integer,
    Number,
    Boolean,
    Date,
    Text,
    Empty,
}

/// A value and how often it occurs.
#[derive(Debug, PartialEq, Eq)]
#[kami_type]
pub struct Count {
    /// the value
    pub value: String,
    /// in how many rows
    pub count: usize,
}

/// Describes every column of a table.
pub fn describe(table: &Table) -> Description {
    let columns = table.columns().iter().enumerate().map(|(index, name)| {
        let cells = table.rows().iter().map(|row| row[index].trim());
        column(name, &cells.collect::<Vec<_>>())
    });
    Description { rows: table.rows().len(), columns: columns.collect() }
}

fn column(name: &str, cells: &[&str]) -> Column {
    let values: Vec<&str> = cells.iter().copied().filter(|text| !cell::is_empty(text)).collect();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for value in &values {
        *counts.entry(value).or_default() += 1;
    }
    let kind = kind(&values);
    let column = Column {
        name: name.to_owned(),
        kind,
        empty: cells.len() - values.len(),
        distinct: counts.len(),
        min: Cell::Empty,
        lower_quartile: None,
        median: None,
        upper_quartile: None,
        max: Cell::Empty,
        mean: None,
        standard_deviation: None,
        most_common: Vec::new(),
    };
    match kind {
        Kind::Integer | Kind::Number => {
            let numbers = sorted(values.iter().copied().filter_map(cell::number).collect());
            let cell = |number: Option<&f64>| number.map_or(Cell::Empty, |&number| number.into());
            Column {
                min: cell(numbers.first()),
                lower_quartile: quantile(&numbers, 0.25),
                median: quantile(&numbers, 0.5),
                upper_quartile: quantile(&numbers, 0.75),
                max: cell(numbers.last()),
                mean: mean(&numbers),
                standard_deviation: standard_deviation(&numbers),
                ..column
            }
        }
        Kind::Boolean | Kind::Date | Kind::Text | Kind::Empty => {
            let cell = |text: Option<&&str>| text.map_or(Cell::Empty, |text| Cell::read_text(text));
            Column {
                min: cell(values.iter().min()),
                max: cell(values.iter().max()),
                most_common: most_common(counts),
                ..column
            }
        }
    }
}

/// The narrowest kind that all values are of.
fn kind(values: &[&str]) -> Kind {
    let all = |is: fn(&str) -> bool| values.iter().all(|value| is(value));
    match values {
        [] => Kind::Empty,
        _ if all(|value| cell::number(value).is_some()) => {
            match all(|value| value.parse::<i64>().is_ok()) {
                true => Kind::Integer,
                false => Kind::Number,
            }
        }
        _ if all(|value| ["true", "false"].contains(&value.to_ascii_lowercase().as_str())) => {
            Kind::Boolean
        }
        _ if all(is_date) => Kind::Date,
        _ => Kind::Text,
    }
}

/// Whether a value starts with a date as of ISO 8601, such as `2026-11-21`; a time may follow.
fn is_date(value: &str) -> bool {
    let bytes = value.as_bytes();
    let number = |range| value.get(range).and_then(|part: &str| part.parse::<u8>().ok());
    bytes.len() >= 10
        && bytes[..4].iter().all(u8::is_ascii_digit)
        && bytes[4] == b'-'
        && bytes[7] == b'-'
        && number(5..7).is_some_and(|month| (1..=12).contains(&month))
        && number(8..10).is_some_and(|day| (1..=31).contains(&day))
        && bytes.get(10).is_none_or(|next| [b'T', b' '].contains(next))
}

fn most_common(counts: HashMap<&str, usize>) -> Vec<Count> {
    let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(value, count)| (Reverse(*count), *value));
    counts
        .into_iter()
        .take(MOST_COMMON)
        .map(|(value, count)| Count { value: value.to_owned(), count })
        .collect()
}
