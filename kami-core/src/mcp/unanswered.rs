//! The requests that were accepted, and not yet answered or cancelled.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rmcp::model::RequestId;
use tokio::sync::Notify;

/// The fewest requests that may wait for an answer. Beyond as many as may, nothing is read until one
/// of them is answered or ends at its time limit.
const FEWEST: usize = 1024;

/// The most bytes of requests that may wait for an answer, for the same reason.
const MOST_BYTES: usize = 64 << 20;

/// Takes note of requests from when they are accepted until they are settled, which happens once.
pub(super) struct Unanswered {
    requests: Mutex<Requests>,
    settled: Notify,
    most: usize,
}

#[derive(Default)]
struct Requests {
    by_id: HashMap<RequestId, Request>,
    bytes: usize,
    last_ticket: u64,
}

struct Request {
    ticket: Ticket,
    size: usize,
    /// Ends what would answer it.
    end: Option<Box<dyn FnOnce() + Send>>,
}

/// Tells a request from a later one with the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket(u64);

impl Requests {
    /// The request that a ticket was given to, if it is there.
    fn get_mut(&mut self, id: &RequestId, ticket: Ticket) -> Option<&mut Request> {
        self.by_id.get_mut(id).filter(|request| request.ticket == ticket)
    }

    fn remove(&mut self, id: &RequestId) -> Option<Request> {
        let request = self.by_id.remove(id)?;
        self.bytes -= request.size;
        Some(request)
    }
}

impl Unanswered {
    /// Has room for as many requests as `accepted`, which never wait for each other to be read.
    pub(super) fn with_room_for(accepted: usize) -> Self {
        let most = accepted.saturating_add(1).max(FEWEST);
        Self { requests: Mutex::default(), settled: Notify::new(), most }
    }

    /// Adds a request, unless its id is in use.
    pub(super) fn insert(&self, id: RequestId, size: usize) -> Option<Ticket> {
        let mut requests = self.lock();
        let ticket = Ticket(requests.last_ticket + 1);
        let Entry::Vacant(entry) = requests.by_id.entry(id) else { return None };
        entry.insert(Request { ticket, size, end: None });
        requests.bytes += size;
        requests.last_ticket = ticket.0;
        Some(ticket)
    }

    /// Says what ends the work for a request, which happens at once where it is settled already: it
    /// may have been cancelled since it was taken note of.
    pub(super) fn is_ended_by(
        &self,
        id: &RequestId,
        ticket: Ticket,
        end: impl FnOnce() + Send + 'static,
    ) {
        let mut requests = self.lock();
        let Some(request) = requests.get_mut(id, ticket) else {
            drop(requests);
            return end();
        };
        request.end = Some(Box::new(end));
    }

    /// Takes a request away and has it answered by `answer`, unless it is gone. Nobody sees the one
    /// without the other.
    pub(super) fn answer(&self, id: &RequestId, ticket: Ticket, answer: impl FnOnce()) {
        let mut requests = self.lock();
        if requests.get_mut(id, ticket).is_none() {
            return;
        }
        requests.remove(id);
        answer();
        drop(requests);
        self.settled.notify_waiters();
    }

    /// Takes a request away, whichever has this id.
    pub(super) fn settle(&self, id: &RequestId) {
        self.remove(id);
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
        self.has_room_in(&self.lock())
    }

    /// Waits until more may be accepted.
    pub(super) async fn room(&self) {
        self.until(|requests| self.has_room_in(requests)).await;
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

    fn has_room_in(&self, requests: &Requests) -> bool {
        requests.by_id.len() < self.most && requests.bytes < MOST_BYTES
    }

    fn remove(&self, id: &RequestId) -> Option<Request> {
        let request = self.lock().remove(id)?;
        self.settled.notify_waiters();
        Some(request)
    }

    fn lock(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    use super::*;

    #[test]
    fn what_is_cancelled_before_its_work_has_begun_ends_too() {
        let unanswered = Unanswered::with_room_for(0);
        let ended = Arc::new(AtomicU32::new(0));
        let end = || {
            let ended = Arc::clone(&ended);
            move || {
                ended.fetch_add(1, SeqCst);
            }
        };
        let (early, late) = (RequestId::Number(1), RequestId::Number(2));
        let ticket = unanswered.insert(early.clone(), 1).unwrap();
        unanswered.cancel(&early);
        unanswered.is_ended_by(&early, ticket, end());
        assert_eq!(ended.load(SeqCst), 1);

        let ticket = unanswered.insert(late.clone(), 1).unwrap();
        unanswered.is_ended_by(&late, ticket, end());
        assert_eq!(ended.load(SeqCst), 1);
        unanswered.cancel(&late);
        assert_eq!(ended.load(SeqCst), 2);
        unanswered.answer(&late, ticket, || panic!("it is not answered"));
    }

    #[test]
    fn an_id_that_is_used_again_means_the_later_request() {
        let unanswered = Unanswered::with_room_for(0);
        let id = RequestId::Number(7);
        let first = unanswered.insert(id.clone(), 1).unwrap();
        assert!(unanswered.insert(id.clone(), 1).is_none(), "it is in use");
        unanswered.cancel(&id);
        let second = unanswered.insert(id.clone(), 1).unwrap();
        unanswered.answer(&id, first, || panic!("the first one was cancelled"));
        let mut answered = false;
        unanswered.answer(&id, second, || answered = true);
        assert!(answered);
    }

    #[test]
    fn there_is_room_for_what_a_server_accepts() {
        let unanswered = Unanswered::with_room_for(3000);
        for id in 0..=3000 {
            assert!(unanswered.has_room(), "{id}");
            unanswered.insert(RequestId::Number(id), 1).unwrap();
        }
        assert!(!unanswered.has_room());
    }
}
