//! Room for what is kept of requests until they are answered.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The bytes that a request has taken.
#[derive(Default)]
pub(super) struct Held {
    free: Option<OwnedSemaphorePermit>,
    common: Option<OwnedSemaphorePermit>,
}

/// There is no room for more.
pub(super) struct Full;

impl Held {
    /// Takes more bytes: of what its connection has to itself, or else of what there is for all.
    pub(super) fn take(
        &mut self,
        bytes: usize,
        free: &Arc<Semaphore>,
        common: &Arc<Semaphore>,
    ) -> Result<(), Full> {
        let bytes = u32::try_from(bytes).map_err(|_| Full)?;
        for (room, held) in [(free, &mut self.free), (common, &mut self.common)] {
            let Ok(taken) = Arc::clone(room).try_acquire_many_owned(bytes) else { continue };
            match held {
                Some(held) => held.merge(taken),
                None => *held = Some(taken),
            }
            return Ok(());
        }
        Err(Full)
    }
}
