//! The requests that were accepted, and not yet answered or cancelled.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rmcp::model::RequestId;
use tokio::sync::Notify;

/// The most requests that may wait for an answer. Beyond it, nothing is read until one of them is
/// answered or ends at its time limit.
const MOST: usize = 1024;

/// The most bytes of requests that may wait for an answer, for the same reason.
const MOST_BYTES: usize = 64 << 20;

/// Takes note of requests from when they are accepted until they are settled, which happens once.
#[derive(Default)]
pub(super) struct Unanswered {
    requests: Mutex<Requests>,
    settled: Notify,
}

#[derive(Default)]
struct Requests {
    by_id: HashMap<RequestId, Request>,
    bytes: usize,
}

struct Request {
    size: usize,
    /// Ends what would answer it.
    end: Option<Box<dyn FnOnce() + Send>>,
}

impl Requests {
    fn has_room(&self) -> bool {
        self.by_id.len() < MOST && self.bytes < MOST_BYTES
    }
}

impl Unanswered {
    /// Adds a request, unless its id is in use.
    pub(super) fn insert(&self, id: RequestId, size: usize) -> bool {
        let mut requests = self.lock();
        match requests.by_id.entry(id) {
            Entry::Occupied(_) => false,
            Entry::Vacant(entry) => {
                entry.insert(Request { size, end: None });
                requests.bytes += size;
                true
            }
        }
    }

    /// Says what ends the work for a request, unless that is done already.
    pub(super) fn is_ended_by(&self, id: &RequestId, end: impl FnOnce() + Send + 'static) {
        if let Some(request) = self.lock().by_id.get_mut(id) {
            request.end = Some(Box::new(end));
        }
    }

    /// Takes a request away, and tells whether it was there: only then may it be answered.
    pub(super) fn settle(&self, id: &RequestId) -> bool {
        self.remove(id).is_some()
    }

    /// Takes a request away that nobody wants an answer to, and ends the work for it.
    pub(super) fn cancel(&self, id: &RequestId) {
        if let Some(Request { end: Some(end), .. }) = self.remove(id) {
            end();
        }
    }

    /// The same with all of them.
    pub(super) fn cancel_all(&self) {
        let requests = std::mem::take(&mut *self.lock());
        requests.by_id.into_values().filter_map(|request| request.end).for_each(|end| end());
        self.settled.notify_waiters();
    }

    /// Whether more may be accepted.
    pub(super) fn has_room(&self) -> bool {
        self.lock().has_room()
    }

    /// Waits until more may be accepted.
    pub(super) async fn room(&self) {
        self.until(Requests::has_room).await;
    }

    /// Waits until all are settled.
    pub(super) async fn none(&self) {
        self.until(|requests| requests.by_id.is_empty()).await;
    }

    async fn until(&self, holds: impl Fn(&Requests) -> bool) {
        loop {
            let mut settled = std::pin::pin!(self.settled.notified());
            // From here on, nothing is missed that happens before it is waited for.
            settled.as_mut().enable();
            if holds(&self.lock()) {
                return;
            }
            settled.await;
        }
    }

    fn remove(&self, id: &RequestId) -> Option<Request> {
        let mut requests = self.lock();
        let request = requests.by_id.remove(id)?;
        requests.bytes -= request.size;
        drop(requests);
        self.settled.notify_waiters();
        Some(request)
    }

    fn lock(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
