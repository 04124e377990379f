//! What a guest was denied during one call.

use std::sync::{Arc, Mutex, PoisonError};

use super::EventSink;
use crate::grants::Denial;

/// How many different denials are remembered of one call; those that follow are counted.
const MAX_DENIALS: usize = 32;

/// Remembers what was denied, and passes each on as it happens.
#[derive(Clone)]
pub(crate) struct Denials {
    so_far: Arc<Mutex<SoFar>>,
    events: Arc<dyn EventSink>,
}

#[derive(Default)]
struct SoFar {
    denials: Vec<Denial>,
    omitted: u64,
}

impl Denials {
    pub(crate) fn new(events: Arc<dyn EventSink>) -> Self {
        Self { so_far: Arc::default(), events }
    }

    pub(crate) fn push(&self, denial: Denial) {
        let mut so_far = self.so_far.lock().unwrap_or_else(PoisonError::into_inner);
        if so_far.denials.contains(&denial) {
            return;
        }
        if so_far.denials.len() < MAX_DENIALS {
            self.events.denied(&denial);
            so_far.denials.push(denial);
        } else {
            so_far.omitted += 1;
        }
    }

    /// All that is remembered, and how many were not.
    pub(crate) fn take(&self) -> (Vec<Denial>, u64) {
        let taken =
            std::mem::take(&mut *self.so_far.lock().unwrap_or_else(PoisonError::into_inner));
        (taken.denials, taken.omitted)
    }
}
