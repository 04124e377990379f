//! The sessions of clients that speak a revision before 2026-07-28.

use std::io;
use std::num::NonZeroUsize;
use std::sync::{self, Arc, MutexGuard, PoisonError};

use http::HeaderValue;
use lru::LruCache;
use rmcp::model::RequestId;
use tokio::sync::{Mutex, Notify, watch};

use crate::call::Listing;
use crate::digest::hex;
use crate::mcp::handler::Handler;
use crate::mcp::news::Listener;
use crate::mcp::questions::Questions;
use crate::mcp::unanswered::{Ticket, Unanswered};
use crate::scheduler::Principal;

/// The most sessions at once. One more ends the one that was silent for the longest; its client is
/// told so by its next request, and opens another.
const MOST: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// The most of them that one client has of whom it is known who it is. One more ends the one of its own
/// that was silent for the longest.
const MOST_OF_ONE: usize = 128;

/// How many random bytes name a session: nobody guesses them.
const ID_BYTES: usize = 16;

/// What belongs to one session.
pub(super) struct HttpSession {
    handler: Arc<Handler>,
    /// Whose it is: for anybody else, it is not there. `None` where nobody is asked.
    owner: Option<Principal>,
    unanswered: Unanswered,
    questions: Arc<Questions>,
    /// What has changed since whoever listens was told last. One listens at a time.
    news: Mutex<Listener>,
    /// How many have listened so far: the last of them does.
    turns: watch::Sender<u64>,
    ended: watch::Sender<bool>,
}

impl HttpSession {
    pub(super) fn new(handler: Handler, owner: Option<Principal>) -> Self {
        let unanswered = Unanswered::with_room_for(handler.accepted());
        let news = Mutex::new(handler.news_from_now());
        let (turns, ended) = (watch::Sender::new(0), watch::Sender::new(false));
        let questions = Arc::default();
        let handler = Arc::new(handler);
        Self { handler, owner, unanswered, questions, news, turns, ended }
    }

    /// Whether a revision of the protocol was agreed on.
    pub(super) fn is_open(&self) -> bool {
        self.handler.client().is_some()
    }

    pub(super) fn handler(&self) -> &Arc<Handler> {
        &self.handler
    }

    /// What its client is asked.
    pub(super) fn questions(&self) -> &Arc<Questions> {
        &self.questions
    }

    fn end(&self) {
        self.ended.send_replace(true);
        self.questions.close();
    }

    /// Waits for news and says it with `say`, until the session has ended or somebody else listens.
    ///
    /// A client that opens another stream may never notice that the first one broke. What is said is
    /// said on one of them.
    pub(super) async fn listen(&self, mut say: impl FnMut(&[Listing])) {
        let mut mine = 0;
        self.turns.send_modify(|turn| {
            *turn += 1;
            mine = *turn;
        });
        let (mut turns, mut ended) = (self.turns.subscribe(), self.ended.subscribe());
        let replaced = async {
            tokio::select! {
                _ = turns.wait_for(|turn| *turn != mine) => {}
                _ = ended.wait_for(|ended| *ended) => {}
            }
        };
        let telling = async {
            // Whoever listened before lets go of it.
            let mut news = self.news.lock().await;
            while let Some(changed) = news.changed().await {
                say(&changed);
            }
        };
        tokio::select! {
            biased;
            () = replaced => {}
            () = telling => {}
        }
    }

    /// Ends the call that the request `id` made.
    pub(super) fn cancel(&self, id: &RequestId) {
        self.unanswered.cancel(id);
    }
}

impl Drop for HttpSession {
    fn drop(&mut self) {
        self.end();
    }
}

/// A call of a session, while it is made.
pub(super) struct Ongoing {
    session: Arc<HttpSession>,
    id: RequestId,
    ticket: Ticket,
    cancelled: Arc<Notify>,
}

impl Ongoing {
    /// Takes note of a call, unless its id is in use.
    pub(super) fn new(session: Arc<HttpSession>, id: RequestId, size: usize) -> Option<Self> {
        let ticket = session.unanswered.insert(id.clone(), size)?;
        let cancelled = Arc::new(Notify::new());
        let notify = Arc::clone(&cancelled);
        session.unanswered.is_ended_by(&id, ticket, move || notify.notify_one());
        Some(Self { session, id, ticket, cancelled })
    }

    /// What `work` gives, or nothing if it is cancelled before.
    pub(super) async fn unless_cancelled<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            () = self.cancelled.notified() => None,
        }
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        self.session.unanswered.answer(&self.id, self.ticket, || {});
    }
}

/// All sessions, by their names.
pub(super) struct Sessions(sync::Mutex<LruCache<String, Arc<HttpSession>>>);

impl Sessions {
    pub(super) fn new() -> Self {
        Self(sync::Mutex::new(LruCache::new(MOST)))
    }

    /// Takes a session in, and gives its name.
    pub(super) fn add(&self, session: HttpSession) -> io::Result<HeaderValue> {
        let mut id = [0; ID_BYTES];
        getrandom::fill(&mut id).map_err(io::Error::other)?;
        let id = hex(&id);
        let value = HeaderValue::from_str(&id).map_err(io::Error::other)?;
        let mut sessions = self.lock();
        if let Some(owner) = session.owner {
            let own = |(_, other): &(&String, &Arc<HttpSession>)| other.owner == Some(owner);
            let oldest = sessions.iter().rev().find(own).map(|(id, _)| id.clone());
            let full = sessions.iter().filter(own).count() >= MOST_OF_ONE;
            if let Some(oldest) = oldest.filter(|_| full).and_then(|id| sessions.pop(&id)) {
                oldest.end();
            }
        }
        if let Some((_, oldest)) = sessions.push(id, Arc::new(session)) {
            oldest.end();
        }
        Ok(value)
    }

    /// A session, for whom it belongs to.
    pub(super) fn get(
        &self,
        id: &HeaderValue,
        owner: Option<Principal>,
    ) -> Option<Arc<HttpSession>> {
        let (id, mut sessions) = (id.to_str().ok()?, self.lock());
        // Whoever it does not belong to does not keep it alive either.
        sessions.peek(id).filter(|session| session.owner == owner)?;
        sessions.get(id).cloned()
    }

    /// Ends a session, for whom it belongs to; says whether there was one.
    pub(super) fn remove(&self, id: &HeaderValue, owner: Option<Principal>) -> bool {
        let Some(session) = self.get(id, owner) else { return false };
        if let Ok(id) = id.to_str() {
            self.lock().pop(id);
        }
        session.end();
        true
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<String, Arc<HttpSession>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
