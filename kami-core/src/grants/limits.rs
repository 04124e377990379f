//! What one call may use.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The most memory that can be asked for: all that a 32-bit guest can address.
pub const MAX_MEMORY_BYTES: u64 = 4096 * MEBIBYTE;

/// The longest time that can be asked for: an agent has given up long before.
pub const MAX_EXECUTION: Duration = Duration::from_secs(600);

const MEBIBYTE: u64 = 1 << 20;

/// Bounds on one call, each positive and at most its maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawLimits", into = "RawLimits")]
pub struct Limits {
    memory_mb: u64,
    execution_ms: u64,
    fuel: Option<u64>,
}

/// A limit that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// Memory of zero, or of more than a guest can address.
    #[error("max-memory-mb is {0}, but must be from 1 to 4096")]
    Memory(u64),
    /// Time of zero, or beyond ten minutes.
    #[error("max-execution-ms is {0}, but must be from 1 to 600000")]
    Execution(u64),
    /// Fuel of zero, with which no instruction could run.
    #[error("max-fuel is 0, with which nothing can run: leave it out to have no fuel limit")]
    Fuel,
}

/// The shape of [`Limits`] on the wire and in files, before it is checked.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawLimits {
    max_memory_mb: u64,
    max_execution_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_fuel: Option<u64>,
}

impl Limits {
    /// Checks and takes the three limits: mebibytes, milliseconds, units of fuel.
    ///
    /// # Errors
    /// Names the first limit that is zero or above its maximum.
    pub fn new(memory_mb: u64, execution_ms: u64, fuel: Option<u64>) -> Result<Self, LimitError> {
        if !(1..=MAX_MEMORY_BYTES / MEBIBYTE).contains(&memory_mb) {
            return Err(LimitError::Memory(memory_mb));
        }
        if execution_ms == 0 || Duration::from_millis(execution_ms) > MAX_EXECUTION {
            return Err(LimitError::Execution(execution_ms));
        }
        if fuel == Some(0) {
            return Err(LimitError::Fuel);
        }
        Ok(Self { memory_mb, execution_ms, fuel })
    }

    /// The most bytes of linear memory that one call may have.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_mb * MEBIBYTE
    }

    /// The same in mebibytes.
    pub fn memory_mb(&self) -> u64 {
        self.memory_mb
    }

    /// The longest that one call may take by the wall clock, waiting in the host included.
    pub fn execution(&self) -> Duration {
        Duration::from_millis(self.execution_ms)
    }

    /// The most fuel that one call may burn; `None` leaves CPU bounded by time alone.
    pub fn fuel(&self) -> Option<u64> {
        self.fuel
    }

    /// The lower of both, limit by limit.
    pub fn min(self, other: Self) -> Self {
        Self {
            memory_mb: self.memory_mb.min(other.memory_mb),
            execution_ms: self.execution_ms.min(other.execution_ms),
            fuel: match (self.fuel, other.fuel) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (one, other) => one.or(other),
            },
        }
    }
}

impl Default for Limits {
    /// 64 MiB, 5 seconds, no fuel limit.
    fn default() -> Self {
        Self { memory_mb: 64, execution_ms: 5000, fuel: None }
    }
}

impl TryFrom<RawLimits> for Limits {
    type Error = LimitError;

    fn try_from(raw: RawLimits) -> Result<Self, LimitError> {
        Self::new(raw.max_memory_mb, raw.max_execution_ms, raw.max_fuel)
    }
}

impl From<Limits> for RawLimits {
    fn from(limits: Limits) -> Self {
        Self {
            max_memory_mb: limits.memory_mb,
            max_execution_ms: limits.execution_ms,
            max_fuel: limits.fuel,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_limits_are_refused() {
        assert_eq!(Limits::new(0, 1, None), Err(LimitError::Memory(0)));
        assert_eq!(Limits::new(4097, 1, None), Err(LimitError::Memory(4097)));
        assert_eq!(Limits::new(1, 0, None), Err(LimitError::Execution(0)));
        assert_eq!(Limits::new(1, u64::MAX, None), Err(LimitError::Execution(u64::MAX)));
        assert_eq!(Limits::new(1, 1, Some(0)), Err(LimitError::Fuel));
    }

    #[test]
    fn the_lower_side_holds() {
        let a = Limits::new(10, 900, None).unwrap();
        let b = Limits::new(20, 300, Some(7)).unwrap();
        assert_eq!(a.min(b), Limits::new(10, 300, Some(7)).unwrap());
    }
}
