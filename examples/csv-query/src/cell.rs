//! One cell of a table: nothing, a number, or text.

use std::cmp::Ordering;

use kami_guest::prelude::*;

/// What tables write where they have nothing to say, in small letters.
const EMPTY: [&str; 5] = ["", "na", "n/a", "nan", "null"];

/// Integers of more digits are identifiers, and an `f64` would garble them.
const MAX_DIGITS: usize = 15;

/// The value of a cell, in an answer.
#[derive(Clone, Debug, PartialEq)]
#[kami_type]
#[serde(untagged)]
pub enum Cell {
    Empty,
    Integer(i64),
    Number(f64),
    Text(String),
}

/// Whether a cell as written stands for nothing.
pub fn is_empty(text: &str) -> bool {
    EMPTY.contains(&text.trim().to_ascii_lowercase().as_str())
}

/// The number that a cell as written stands for.
///
/// Post codes and the like (`01234`) and identifiers of very many digits are not numbers.
pub fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let digits = text.strip_prefix('-').unwrap_or(text);
    let bytes = digits.as_bytes();
    let is_code = bytes.len() > 1 && bytes[0] == b'0' && bytes[1].is_ascii_digit();
    let is_long = bytes.len() > MAX_DIGITS && bytes.iter().all(u8::is_ascii_digit);
    if is_code || is_long || !bytes.first()?.is_ascii_digit() && bytes[0] != b'.' {
        return None;
    }
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

impl Cell {
    /// Reads a cell as written.
    pub fn read(text: &str) -> Self {
        match number(text) {
            _ if is_empty(text) => Self::Empty,
            Some(number) => number.into(),
            None => Self::Text(text.to_owned()),
        }
    }

    /// Reads a cell of a column that holds text, whatever this one looks like.
    pub fn read_text(text: &str) -> Self {
        match is_empty(text) {
            true => Self::Empty,
            false => Self::Text(text.to_owned()),
        }
    }

    /// Numbers before text; nothing at all comes after both.
    pub fn order(&self, other: &Self) -> Ordering {
        match (self.as_number(), other.as_number()) {
            (Some(left), Some(right)) => left.total_cmp(&right),
            _ => (self.rank(), self.as_text()).cmp(&(other.rank(), other.as_text())),
        }
    }

    fn as_number(&self) -> Option<f64> {
        match self {
            Self::Integer(number) => Some(*number as f64),
            Self::Number(number) => Some(*number),
            Self::Empty | Self::Text(_) => None,
        }
    }

    fn as_text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            _ => "",
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Integer(_) | Self::Number(_) => 0,
            Self::Text(_) => 1,
            Self::Empty => 2,
        }
    }
}

impl From<f64> for Cell {
    fn from(number: f64) -> Self {
        let is_exact = number.fract() == 0.0 && number.abs() < 2_f64.powi(53);
        match is_exact {
            true => Self::Integer(number as i64),
            false => Self::Number(number),
        }
    }
}

impl From<usize> for Cell {
    fn from(count: usize) -> Self {
        Self::Integer(count as i64)
    }
}
