//! How much memory one call may take.

use wasmtime::ResourceLimiter;

use crate::engine::{
    MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLE_ELEMENTS, MAX_TABLES, SharedMemory,
};

/// Refuses growth over a limit, and remembers that it did.
pub(crate) struct Limiter {
    limit: usize,
    used: usize,
    peak: usize,
    /// The last growth, which may yet fail.
    growth: usize,
    refused: bool,
    shared: SharedMemory,
    /// The machine had no more when the guest asked last, within the limit.
    exhausted: bool,
}

impl Limiter {
    /// Bounds one call to `limit_bytes`, and to what the others leave of what is `shared`.
    pub(crate) fn new(limit_bytes: u64, shared: SharedMemory) -> Self {
        let limit = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
        Self { limit, used: 0, peak: 0, growth: 0, refused: false, shared, exhausted: false }
    }

    /// The most bytes of linear memory that there were at once.
    pub(crate) fn peak_bytes(&self) -> u64 {
        self.peak as u64
    }

    /// Whether the guest ever asked for more than its limit.
    pub(crate) fn refused(&self) -> bool {
        self.refused
    }

    /// Whether the machine had less than the guest asked for within its limit, the last time that it
    /// asked: who went on with less, and got that, did not end for want of memory.
    pub(crate) fn exhausted(&self) -> bool {
        self.exhausted
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.shared.shrink(self.used, self.used);
    }
}

impl ResourceLimiter for Limiter {
    /// Counts all memories of the component together.
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.growth = desired.saturating_sub(current);
        let used = self.used.saturating_add(self.growth);
        if used > self.limit {
            self.growth = 0;
            self.refused = true;
            return Ok(false);
        }
        self.exhausted = !self.shared.grow(self.used, self.growth);
        if self.exhausted {
            self.growth = 0;
            return Ok(false);
        }
        self.used = used;
        self.peak = self.peak.max(used);
        Ok(true)
    }

    /// Gives back what was granted and then could not be had.
    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.exhausted |= is_out_of_memory(&error);
        let growth = std::mem::take(&mut self.growth);
        self.shared.shrink(self.used, growth);
        self.used -= growth;
        Ok(())
    }

    fn instances(&self) -> usize {
        MAX_CORE_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        MAX_TABLES as usize
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES as usize
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE_ELEMENTS)
    }
}

/// Whether the reason is that the system gave no memory, or no mapping.
pub(crate) fn is_out_of_memory(error: &wasmtime::Error) -> bool {
    if error.is::<wasmtime::OutOfMemory>() {
        return true;
    }
    let root = error.root_cause();
    #[cfg(unix)]
    if let Some(error) = root.downcast_ref::<rustix::io::Errno>() {
        return *error == rustix::io::Errno::NOMEM;
    }
    root.downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::OutOfMemory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_memories_share_one_limit() {
        let mut limiter = Limiter::new(100, SharedMemory::default());
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(limiter.memory_growing(0, 40, None).unwrap());
        assert!(!limiter.refused());
        assert!(!limiter.memory_growing(40, 41, None).unwrap());
        assert!(limiter.refused());
        assert_eq!(limiter.peak_bytes(), 100);
    }

    #[test]
    fn growth_that_fails_is_given_back() {
        let mut limiter = Limiter::new(100, SharedMemory::default());
        assert!(limiter.memory_growing(0, 80, None).unwrap());
        let own_maximum = wasmtime::Error::msg("the memory's own maximum is exceeded");
        limiter.memory_grow_failed(own_maximum).unwrap();
        assert!(!limiter.exhausted() && !limiter.refused());
        assert!(limiter.memory_growing(0, 80, None).unwrap());
        let no_memory = std::io::Error::from(std::io::ErrorKind::OutOfMemory);
        limiter.memory_grow_failed(no_memory.into()).unwrap();
        assert!(limiter.exhausted() && !limiter.refused());
        assert!(limiter.memory_growing(0, 80, None).unwrap());
    }

    #[test]
    fn what_one_call_has_another_one_has_not_until_it_ends() {
        let shared = SharedMemory::new(Some(100), 5);
        let mut first = Limiter::new(80, shared.clone());
        let mut second = Limiter::new(80, shared);
        assert!(first.memory_growing(0, 60, None).unwrap());
        assert!(second.memory_growing(0, 10, None).unwrap(), "it has a share of its own");
        assert!(!second.memory_growing(10, 40, None).unwrap());
        assert!(second.exhausted() && !second.refused());
        drop(first);
        assert!(second.memory_growing(10, 40, None).unwrap());
        assert!(!second.exhausted(), "it was short of memory, and is not any more");
    }
}
