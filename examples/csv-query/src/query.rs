//! Filter, then group and aggregate or select, then sort.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use csv::StringRecord;
use kami_guest::prelude::*;

use crate::cell::{self, Cell};
use crate::statistics::{mean, quantile, sorted, standard_deviation};
use crate::table::{Source, Table};

/// What to ask of a table.
#[derive(Clone, Debug)]
#[kami_type]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// the CSV file's path in the granted folder, for example `sales/2026.csv`; give either this
    /// or `csv`
    pub path: Option<String>,
    /// the CSV text itself, with a header row; give either this or `path`
    pub csv: Option<String>,
    /// the character between columns; if left out, the one of comma, semicolon, tab and `|` that
    /// the header row has most of
    pub delimiter: Option<char>,
    /// conditions that a row has to meet, all of them
    #[serde(default)]
    pub filters: Vec<Condition>,
    /// the columns whose values make up a group, for example `["country", "year"]`
    #[serde(default)]
    pub group_by: Vec<String>,
    /// what to work out for each group, or for all rows together without `group_by`
    #[serde(default)]
    pub aggregates: Vec<Aggregate>,
    /// the columns to return, all if left out; not together with `group_by` or `aggregates`
    #[serde(default)]
    pub columns: Vec<String>,
    /// the column of the answer to sort by, for example `year` or `mean(price)`; empty cells come
    /// last
    pub sort_by: Option<String>,
    /// whether to sort from large to small
    #[serde(default)]
    pub descending: bool,
    /// how many rows to return at most
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 5000))]
    pub limit: usize,
}

fn default_limit() -> usize {
    100
}

/// A condition on one cell of a row.
#[derive(Clone, Debug)]
#[kami_type]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// the column
    pub column: String,
    /// how to compare; `eq`, `ne`, `lt`, `le`, `gt` and `ge` are =, ≠, <, ≤, > and ≥, `in` is
    /// equality to one of a list, `contains` and `starts_with` ignore case
    pub op: Operator,
    /// what to compare with: a list for `in`, nothing for `empty` and `not_empty`
    pub value: Option<Operand>,
}

/// How to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[kami_type]
#[serde(rename_all = "snake_case")]
pub enum Operator {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    Contains,
    StartsWith,
    Empty,
    NotEmpty,
}

/// What to compare with.
#[derive(Clone, Debug)]
#[kami_type]
#[serde(untagged)]
pub enum Operand {
    One(Scalar),
    List(Vec<Scalar>),
}

/// A single value to compare with.
#[derive(Clone, Debug)]
#[kami_type]
#[serde(untagged)]
pub enum Scalar {
    Number(f64),
    Boolean(bool),
    Text(String),
}

/// One thing to work out for a group.
#[derive(Clone, Debug)]
#[kami_type]
#[serde(deny_unknown_fields)]
pub struct Aggregate {
    /// what to work out; `count` without a column counts rows, all others leave out empty cells
    pub function: Function,
    /// the column to work it out of; only `count` does without
    pub column: Option<String>,
    /// what to call it in the answer; like `mean(price)` if left out
    pub name: Option<String>,
}

/// What to work out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[kami_type]
#[serde(rename_all = "snake_case")]
pub enum Function {
    Count,
    CountDistinct,
    Sum,
    Mean,
    Median,
    StandardDeviation,
    Min,
    Max,
}

/// The rows that answer a query.
#[derive(Debug, PartialEq)]
#[kami_type]
pub struct Answer {
    /// the names of the columns
    pub columns: Vec<String>,
    /// the rows, each with one value for each column
    pub rows: Vec<Vec<Cell>>,
    /// how many rows of the table met all filters
    pub rows_matched: usize,
    /// true if there are more rows in the answer than `limit` let through
    pub truncated: bool,
}

impl Query {
    /// The table that is asked.
    pub fn source(&self) -> Source {
        Source { path: self.path.clone(), csv: self.csv.clone(), delimiter: self.delimiter }
    }
}

/// Answers a query.
///
/// # Errors
/// A column is not there, a condition lacks its value, or numbers are asked of a column of text.
pub fn query(table: &Table, query: &Query) -> Result<Answer, String> {
    let matched = filter(table, &query.filters)?;
    let (columns, mut rows) = match query.group_by.is_empty() && query.aggregates.is_empty() {
        true => select(table, &matched, &query.columns)?,
        false if !query.columns.is_empty() => {
            return Err(
                "`columns` does not go with `group_by` and `aggregates`: these make the columns"
                    .to_owned(),
            );
        }
        false => aggregate(table, &matched, query)?,
    };
    if let Some(name) = &query.sort_by {
        let column = columns.iter().position(|column| column == name);
        let column = column.ok_or_else(|| {
            let columns = columns.join("`, `");
            format!("`sort_by` is `{name}`, but the columns of the answer are `{columns}`")
        })?;
        rows.sort_by(|left, right| order(&left[column], &right[column], query.descending));
    }
    let truncated = rows.len() > query.limit;
    rows.truncate(query.limit);
    Ok(Answer { columns, rows, rows_matched: matched.len(), truncated })
}

fn order(left: &Cell, right: &Cell, descending: bool) -> Ordering {
    match descending && *left != Cell::Empty && *right != Cell::Empty {
        true => right.order(left),
        false => left.order(right),
    }
}

/// The rows that meet all conditions.
fn filter<'t>(table: &'t Table, conditions: &[Condition]) -> Result<Vec<&'t StringRecord>, String> {
    let conditions: Vec<(usize, &Condition)> = conditions
        .iter()
        .map(|condition| {
            condition.check()?;
            Ok((table.column(&condition.column)?, condition))
        })
        .collect::<Result<_, String>>()?;
    let meets_all = |row: &&StringRecord| {
        conditions.iter().all(|(column, condition)| condition.is_met(row[*column].trim()))
    };
    Ok(table.rows().iter().filter(meets_all).collect())
}

impl Condition {
    /// Whether the operator has the kind of value that it needs.
    fn check(&self) -> Result<(), String> {
        let needs = match (self.op, &self.value) {
            (Operator::Empty | Operator::NotEmpty, None)
            | (Operator::In, Some(Operand::List(_))) => return Ok(()),
            (Operator::Empty | Operator::NotEmpty, Some(_)) => "no `value`",
            (Operator::In, _) => "a list as its `value`",
            (_, None | Some(Operand::List(_))) => "a single `value`",
            (_, Some(_)) => return Ok(()),
        };
        Err(format!("the filter on `{}` needs {needs} for its `op`", self.column))
    }

    /// An empty cell meets no comparison but `ne`.
    fn is_met(&self, text: &str) -> bool {
        let is_empty = cell::is_empty(text);
        let operand = match &self.value {
            None => return is_empty == (self.op == Operator::Empty),
            Some(_) if is_empty => return self.op == Operator::Ne,
            Some(Operand::List(items)) => return items.iter().any(|item| item.equals(text)),
            Some(Operand::One(operand)) => operand,
        };
        match self.op {
            Operator::Ne => !operand.equals(text),
            Operator::Lt => operand.order(text).is_some_and(Ordering::is_lt),
            Operator::Le => operand.order(text).is_some_and(Ordering::is_le),
            Operator::Gt => operand.order(text).is_some_and(Ordering::is_gt),
            Operator::Ge => operand.order(text).is_some_and(Ordering::is_ge),
            Operator::Contains => folded(text).contains(&folded(&operand.text())),
            Operator::StartsWith => folded(text).starts_with(&folded(&operand.text())),
            Operator::Eq | Operator::In | Operator::Empty | Operator::NotEmpty => {
                operand.equals(text)
            }
        }
    }
}

fn folded(text: &str) -> String {
    text.to_lowercase()
}

impl Scalar {
    /// How a cell compares with this; not at all, if this is a number and the cell is none.
    fn order(&self, text: &str) -> Option<Ordering> {
        let operand = self.text();
        match (cell::number(text), cell::number(&operand)) {
            (Some(cell), Some(operand)) => cell.partial_cmp(&operand),
            (None, Some(_)) => None,
            (_, None) if matches!(self, Self::Boolean(_)) => Some(folded(text).cmp(&operand)),
            (_, None) => Some(text.cmp(&operand)),
        }
    }

    fn equals(&self, text: &str) -> bool {
        self.order(text) == Some(Ordering::Equal)
    }

    fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Boolean(boolean) => boolean.to_string(),
            Self::Text(text) => text.trim().to_owned(),
        }
    }
}

/// The columns' names and the rows of an answer.
type Rows = (Vec<String>, Vec<Vec<Cell>>);

fn select(table: &Table, rows: &[&StringRecord], names: &[String]) -> Result<Rows, String> {
    let names = match names {
        [] => table.columns(),
        names => names,
    };
    let readers = readers(table, names)?;
    let rows = rows.iter().map(|row| readers.iter().map(|reader| reader.read(row)).collect());
    Ok((names.to_vec(), rows.collect()))
}

/// Reads the cells of one column: as numbers only if all of them are.
struct Reader {
    column: usize,
    is_numeric: bool,
}

impl Reader {
    fn read(&self, row: &StringRecord) -> Cell {
        match self.is_numeric {
            true => Cell::read(&row[self.column]),
            false => Cell::read_text(&row[self.column]),
        }
    }
}

fn readers(table: &Table, names: &[String]) -> Result<Vec<Reader>, String> {
    names
        .iter()
        .map(|name| {
            let column = table.column(name)?;
            Ok(Reader { column, is_numeric: table.is_numeric(column) })
        })
        .collect()
}

fn aggregate(table: &Table, rows: &[&StringRecord], query: &Query) -> Result<Rows, String> {
    let keys = readers(table, &query.group_by)?;
    let sources: Vec<Option<Reader>> = query
        .aggregates
        .iter()
        .map(|aggregate| aggregate.source(table))
        .collect::<Result<_, _>>()?;
    let answers = groups(rows, &keys).into_iter().map(|group| {
        let key = group.first().map(|row| keys.iter().map(|reader| reader.read(row)));
        let values = query
            .aggregates
            .iter()
            .zip(&sources)
            .map(|(aggregate, source)| aggregate.function.apply(source.as_ref(), &group));
        key.into_iter().flatten().chain(values).collect()
    });
    let names = query.group_by.iter().cloned();
    let columns = names.chain(query.aggregates.iter().map(Aggregate::name));
    Ok((columns.collect(), answers.collect()))
}

/// The rows of each group, the groups in order of their first row. Without keys all rows are one
/// group, even if there are none.
fn groups<'t>(rows: &[&'t StringRecord], keys: &[Reader]) -> Vec<Vec<&'t StringRecord>> {
    if keys.is_empty() {
        return vec![rows.to_vec()];
    }
    let mut groups: Vec<Vec<&StringRecord>> = Vec::new();
    let mut positions: HashMap<Vec<&str>, usize> = HashMap::new();
    for row in rows {
        let cell = |reader: &Reader| match row[reader.column].trim() {
            text if cell::is_empty(text) => "",
            text => text,
        };
        let key = keys.iter().map(cell).collect();
        let position = *positions.entry(key).or_insert(groups.len());
        if position == groups.len() {
            groups.push(Vec::new());
        }
        groups[position].push(row);
    }
    groups
}

impl Aggregate {
    fn name(&self) -> String {
        let function = self.function.name();
        match (&self.name, &self.column) {
            (Some(name), _) => name.clone(),
            (None, Some(column)) => format!("{function}({column})"),
            (None, None) => function.to_owned(),
        }
    }

    /// The column to work on, after a check that the function can.
    fn source(&self, table: &Table) -> Result<Option<Reader>, String> {
        let function = self.function.name();
        let Some(name) = &self.column else {
            return match self.function {
                Function::Count => Ok(None),
                _ => Err(format!("the aggregate `{function}` needs a `column`")),
            };
        };
        let reader = Reader {
            column: table.column(name)?,
            is_numeric: table.is_numeric(table.column(name)?),
        };
        if self.function.needs_numbers() && !reader.is_numeric {
            let is_text = |text: &&str| !cell::is_empty(text) && cell::number(text).is_none();
            let mut cells = table.rows().iter().map(|row| &row[reader.column]);
            let example = cells.find(is_text).unwrap_or_default();
            return Err(format!(
                "`{function}` needs numbers, but the column `{name}` has text in it, such as \
                 `{example}`"
            ));
        }
        Ok(Some(reader))
    }
}

impl Function {
    /// As the caller writes it.
    fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::CountDistinct => "count_distinct",
            Self::Sum => "sum",
            Self::Mean => "mean",
            Self::Median => "median",
            Self::StandardDeviation => "standard_deviation",
            Self::Min => "min",
            Self::Max => "max",
        }
    }

    fn needs_numbers(self) -> bool {
        matches!(self, Self::Sum | Self::Mean | Self::Median | Self::StandardDeviation)
    }

    /// Works this out for a group; without a source it counts the rows.
    fn apply(self, source: Option<&Reader>, rows: &[&StringRecord]) -> Cell {
        let Some(source) = source else {
            return rows.len().into();
        };
        let texts = || {
            rows.iter().map(|row| row[source.column].trim()).filter(|text| !cell::is_empty(text))
        };
        let cells = || rows.iter().map(|row| source.read(row));
        let values = || cells().filter(|cell| *cell != Cell::Empty);
        let numbers = || texts().filter_map(cell::number).collect::<Vec<_>>();
        let computed = match self {
            Self::Count => return texts().count().into(),
            Self::CountDistinct => return texts().collect::<HashSet<_>>().len().into(),
            Self::Min => return values().min_by(Cell::order).unwrap_or(Cell::Empty),
            Self::Max => return values().max_by(Cell::order).unwrap_or(Cell::Empty),
            Self::Sum => Some(numbers().iter().sum()),
            Self::Mean => mean(&numbers()),
            Self::Median => quantile(&sorted(numbers()), 0.5),
            Self::StandardDeviation => standard_deviation(&numbers()),
        };
        computed.map_or(Cell::Empty, Cell::from)
    }
}
