//! What one call, and one tool, may use.
//!
//! [`Limit`] is the table: every limit with its key, its unit, its range and its default. What an
//! author writes, what an operator grants, what a policy caps and what the documents say are all
//! read from there.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The most memory that can be asked for: all that a 32-bit guest can address.
pub const MAX_MEMORY_BYTES: u64 = 4096 << 20;

/// The longest time that can be asked for: an agent has given up long before.
pub const MAX_EXECUTION: Duration = Duration::from_secs(600);

/// The most bytes that can be asked for arguments and results. Each takes a multiple of that in
/// the host while it is read.
pub const MAX_TRANSFER_BYTES: u64 = 16 << 20;

/// The things of which a call, or all calls of a tool together, may use only so much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// Linear memory of one call, in mebibytes.
    Memory,
    /// Time by the wall clock, waiting in the host included, in milliseconds.
    Execution,
    /// Time that the guest's own code spends on a processor, in milliseconds.
    Cpu,
    /// Instructions, in units of fuel.
    Fuel,
    /// Bytes of a result, in kibibytes.
    Output,
    /// Bytes of log lines, stdout and stderr, in kibibytes.
    Log,
    /// Bytes of the arguments as JSON, in kibibytes.
    Arguments,
    /// Files, streams, requests and the like that are open at once.
    Handles,
    /// Bytes written to files, and those that a kept scratch directory holds, in mebibytes.
    Write,
    /// Calls of one package at once.
    Concurrency,
    /// Calls of one package in a minute.
    Rate,
}

impl Limit {
    /// Every limit, in the order in which they are told.
    pub const ALL: [Self; 11] = [
        Self::Memory,
        Self::Execution,
        Self::Cpu,
        Self::Fuel,
        Self::Output,
        Self::Log,
        Self::Arguments,
        Self::Handles,
        Self::Write,
        Self::Concurrency,
        Self::Rate,
    ];

    /// The key under which files say it.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Memory => "max-memory-mb",
            Self::Execution => "max-execution-ms",
            Self::Cpu => "max-cpu-ms",
            Self::Fuel => "max-fuel",
            Self::Output => "max-output-kb",
            Self::Log => "max-log-kb",
            Self::Arguments => "max-arguments-kb",
            Self::Handles => "max-handles",
            Self::Write => "max-write-mb",
            Self::Concurrency => "max-concurrent-calls",
            Self::Rate => "max-calls-per-minute",
        }
    }

    /// The limit that files call `key`.
    pub fn from_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|limit| limit.key() == key)
    }

    /// The most that can be asked for; the least is always 1.
    pub const fn most(self) -> u64 {
        match self {
            Self::Memory => MAX_MEMORY_BYTES >> 20,
            Self::Execution | Self::Cpu => MAX_EXECUTION.as_millis() as u64,
            Self::Fuel => u64::MAX,
            Self::Output | Self::Arguments => MAX_TRANSFER_BYTES >> 10,
            Self::Log => 16 << 10,
            // Each open file is a descriptor of the process, of which there may be 1024 for all.
            Self::Handles => 1024,
            Self::Write => 1 << 20,
            Self::Concurrency => 1024,
            Self::Rate => 10_000_000,
        }
    }

    /// What holds where nothing is said; `None` for what is then not bounded by itself.
    pub const fn default(self) -> Option<u64> {
        match self {
            Self::Memory => Some(64),
            // An agent's person waits for it. The examples take 20 µs to 300 ms.
            Self::Execution | Self::Cpu => Some(5000),
            // A model reads some hundred kilobytes at most.
            Self::Output | Self::Arguments => Some(1024),
            Self::Log => Some(256),
            Self::Handles => Some(128),
            Self::Write => Some(64),
            // An eighth of the places that a server has by default, so that no tool takes them all.
            Self::Concurrency => Some(32),
            Self::Fuel | Self::Rate => None,
        }
    }

    /// The limit in words, with its unit.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Memory => "MiB of memory",
            Self::Execution => "ms by the clock",
            Self::Cpu => "ms of processor time",
            Self::Fuel => "units of fuel",
            Self::Output => "KiB of result",
            Self::Log => "KiB of logs",
            Self::Arguments => "KiB of arguments",
            Self::Handles => "open files and streams",
            Self::Write => "MiB written to files",
            Self::Concurrency => "calls at once",
            Self::Rate => "calls a minute",
        }
    }

    fn range(self) -> String {
        match self.most() {
            u64::MAX => "at least 1".to_owned(),
            most => format!("from 1 to {most}"),
        }
    }

    /// Takes a value that can be one of this limit.
    ///
    /// # Errors
    /// Where it is zero or above [`Self::most`].
    pub fn check(self, value: u64) -> Result<u64, LimitError> {
        if (1..=self.most()).contains(&value) {
            Ok(value)
        } else {
            Err(LimitError::Range { limit: self, value })
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.key())
    }
}

/// A limit that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// Zero, with which nothing could run, or more than the most.
    #[error("{limit} is {value}, but must be {}", limit.range())]
    Range {
        /// Which limit.
        limit: Limit,
        /// The value that was given.
        value: u64,
    },
    /// No limit of that name.
    #[error("there is no limit `{0}`")]
    Unknown(String),
}

/// Bounds on a call: a value, or its absence, for every [`Limit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, u64>", into = "BTreeMap<String, u64>")]
pub struct Limits([Option<u64>; Limit::ALL.len()]);

impl Limits {
    /// The same with one limit set.
    ///
    /// # Errors
    /// Where the value is out of the limit's range.
    pub fn with(mut self, limit: Limit, value: u64) -> Result<Self, LimitError> {
        self.0[limit as usize] = Some(limit.check(value)?);
        Ok(self)
    }

    /// The value of a limit, in the limit's own unit.
    pub fn get(&self, limit: Limit) -> Option<u64> {
        self.0[limit as usize]
    }

    /// The lower of both, limit by limit.
    pub fn under(mut self, ceilings: &Ceilings) -> Self {
        for (limit, ceiling) in &ceilings.0 {
            let value = &mut self.0[*limit as usize];
            *value = Some(value.map_or(*ceiling, |value| value.min(*ceiling)));
        }
        self
    }

    /// The most bytes of linear memory that one call may have.
    pub fn memory_bytes(&self) -> u64 {
        self.bounded(Limit::Memory) << 20
    }

    /// The longest that one call may take by the wall clock, waiting in the host included.
    pub fn execution(&self) -> Duration {
        Duration::from_millis(self.bounded(Limit::Execution))
    }

    /// The longest that the guest's own code may run on a processor.
    pub fn cpu(&self) -> Duration {
        Duration::from_millis(self.bounded(Limit::Cpu))
    }

    /// The most fuel that one call may burn; `None` leaves CPU bounded by time alone.
    pub fn fuel(&self) -> Option<u64> {
        self.get(Limit::Fuel)
    }

    /// The most bytes of one result.
    pub fn output_bytes(&self) -> usize {
        self.bounded_size(Limit::Output) << 10
    }

    /// The most bytes of log lines, stdout and stderr, together, that are kept of one call.
    pub fn log_bytes(&self) -> usize {
        self.bounded_size(Limit::Log) << 10
    }

    /// The most bytes of arguments, as JSON.
    pub fn argument_bytes(&self) -> usize {
        self.bounded_size(Limit::Arguments) << 10
    }

    /// The most resources that one call may hold at once.
    pub fn handles(&self) -> usize {
        self.bounded_size(Limit::Handles)
    }

    /// The most bytes that one call may write to files.
    pub fn write_bytes(&self) -> u64 {
        self.bounded(Limit::Write) << 20
    }

    /// The most calls of one package at once.
    pub fn concurrent_calls(&self) -> usize {
        self.bounded_size(Limit::Concurrency)
    }

    /// The most calls of one package in a minute; `None` for any number.
    pub fn calls_per_minute(&self) -> Option<u64> {
        self.get(Limit::Rate)
    }

    /// A limit that is always there, as every constructor sets it.
    fn bounded(&self, limit: Limit) -> u64 {
        self.get(limit).or(limit.default()).unwrap_or(limit.most())
    }

    fn bounded_size(&self, limit: Limit) -> usize {
        usize::try_from(self.bounded(limit)).unwrap_or(usize::MAX)
    }
}

impl Default for Limits {
    /// Each at its [`Limit::default`].
    fn default() -> Self {
        Self(Limit::ALL.map(Limit::default))
    }
}

/// Reads what a map says over the defaults, so that a limit that is new today bounds old files too.
impl TryFrom<BTreeMap<String, u64>> for Limits {
    type Error = LimitError;

    fn try_from(map: BTreeMap<String, u64>) -> Result<Self, LimitError> {
        let ceilings = Ceilings::try_from(map)?;
        ceilings
            .0
            .iter()
            .try_fold(Self::default(), |limits, (limit, value)| limits.with(*limit, *value))
    }
}

impl From<Limits> for BTreeMap<String, u64> {
    fn from(limits: Limits) -> Self {
        let all = Limit::ALL.into_iter();
        all.filter_map(|limit| Some((limit.key().to_owned(), limits.get(limit)?))).collect()
    }
}

/// Caps on [`Limits`], by an operator or a policy: what is not named is not capped.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, u64>", into = "BTreeMap<String, u64>")]
pub struct Ceilings(BTreeMap<Limit, u64>);

impl Ceilings {
    /// Caps one limit.
    ///
    /// # Errors
    /// Where the value is out of the limit's range.
    pub fn set(&mut self, limit: Limit, value: u64) -> Result<(), LimitError> {
        self.0.insert(limit, limit.check(value)?);
        Ok(())
    }

    /// Lifts the cap on one limit; says whether there was one.
    pub fn lift(&mut self, limit: Limit) -> bool {
        self.0.remove(&limit).is_some()
    }

    /// The caps that there are.
    pub fn iter(&self) -> impl Iterator<Item = (Limit, u64)> {
        self.0.iter().map(|(limit, value)| (*limit, *value))
    }

    /// Whether nothing is capped.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Caps everything at what is asked for now, so that a later version gets no more by asking.
impl From<Limits> for Ceilings {
    fn from(limits: Limits) -> Self {
        let all = Limit::ALL.into_iter();
        Self(all.filter_map(|limit| Some((limit, limits.get(limit)?))).collect())
    }
}

impl TryFrom<BTreeMap<String, u64>> for Ceilings {
    type Error = LimitError;

    fn try_from(map: BTreeMap<String, u64>) -> Result<Self, LimitError> {
        let mut ceilings = Self::default();
        for (key, value) in map {
            let limit = Limit::from_key(&key).ok_or(LimitError::Unknown(key))?;
            ceilings.set(limit, value)?;
        }
        Ok(ceilings)
    }
}

impl From<Ceilings> for BTreeMap<String, u64> {
    fn from(ceilings: Ceilings) -> Self {
        ceilings.0.into_iter().map(|(limit, value)| (limit.key().to_owned(), value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_limits_are_refused() {
        for limit in Limit::ALL {
            assert!(Limits::default().with(limit, 0).is_err(), "{limit}");
            assert!(Limits::default().with(limit, limit.most()).is_ok(), "{limit}");
            if let Some(more) = limit.most().checked_add(1) {
                let error = Limits::default().with(limit, more).unwrap_err();
                assert!(error.to_string().starts_with(limit.key()), "{error}");
            }
        }
    }

    #[test]
    fn the_table_is_in_the_order_of_its_numbers() {
        for (at, limit) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(limit as usize, at);
            assert_eq!(Limit::from_key(limit.key()), Some(limit));
        }
    }

    #[test]
    fn the_lower_side_holds() {
        let asked = Limits::default().with(Limit::Memory, 10).unwrap();
        let mut ceilings = Ceilings::default();
        ceilings.set(Limit::Memory, 20).unwrap();
        ceilings.set(Limit::Execution, 300).unwrap();
        ceilings.set(Limit::Fuel, 7).unwrap();
        let limits = asked.under(&ceilings);
        assert_eq!(limits.memory_bytes(), 10 << 20);
        assert_eq!(limits.execution(), Duration::from_millis(300));
        assert_eq!(limits.fuel(), Some(7));
        assert_eq!(limits.handles(), Limits::default().handles());
    }

    #[test]
    fn what_a_file_leaves_out_has_its_default_and_what_it_misspells_is_an_error() {
        let limits: Limits = serde_json::from_str(r#"{"max-memory-mb": 5}"#).unwrap();
        assert_eq!(limits, Limits::default().with(Limit::Memory, 5).unwrap());
        let written = serde_json::to_string(&limits).unwrap();
        assert_eq!(serde_json::from_str::<Limits>(&written).unwrap(), limits);
        let error = serde_json::from_str::<Ceilings>(r#"{"max-memory": 5}"#).unwrap_err();
        assert!(error.to_string().contains("no limit `max-memory`"), "{error}");
    }
}
