//! Questions to a client of a session, and its answers.
//!
//! Before 2026-07-28, what a guest asks is a request to the client. While it is open, nothing of the
//! guest is: it is entered anew with the answer.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rmcp::model::{ErrorCode, ErrorData, RequestId};
use serde_json::{Value, json};
use tokio::sync::{Notify, oneshot};

use super::wire::{Wire, json as text};
use crate::call::InputRequest;

/// The most questions that are open at a time. Requests that wait for answers leave room for others.
const MOST_OPEN: usize = 256;

/// How long a person may think.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// How the ids of our requests begin.
const ID: &str = "kami-";

type Answered = Result<Value, ErrorData>;

/// The open questions to one client.
#[derive(Default)]
pub(super) struct Questions {
    open: Mutex<Open>,
    opened: Notify,
}

#[derive(Default)]
struct Open {
    last: u64,
    waiting: HashMap<u64, oneshot::Sender<Answered>>,
    closed: bool,
}

/// What a client says to a request of ours.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) id: RequestId,
    pub(super) answered: Answered,
}

impl Questions {
    /// Asks a client over `wire`, and waits for its answer.
    ///
    /// Dropping the future takes the question back.
    ///
    /// # Errors
    /// Where it refuses, has not answered in time, or cannot answer any more.
    pub(super) async fn ask(&self, wire: &dyn Wire, request: &InputRequest) -> Answered {
        let (number, answer) = self.begin()?;
        let pending = Pending { questions: self, wire, number };
        let id = format!("{ID}{number}");
        let method = request.method.as_str();
        let message =
            json!({"jsonrpc": "2.0", "id": id, "method": method, "params": request.params});
        wire.send(text(&message));
        let answered = tokio::time::timeout(PATIENCE, answer).await;
        match answered {
            Ok(Ok(answered)) => {
                std::mem::forget(pending);
                answered
            }
            Ok(Err(_)) => Err(unanswered("the client is gone")),
            Err(_) => Err(unanswered("the client took too long")),
        }
    }

    /// Waits until a question is open.
    pub(super) async fn any(&self) {
        loop {
            let opened = self.opened.notified();
            if self.is_any_open() {
                return;
            }
            opened.await;
        }
    }

    /// Whether a question is open.
    pub(super) fn is_any_open(&self) -> bool {
        !self.lock().waiting.is_empty()
    }

    fn begin(&self) -> Result<(u64, oneshot::Receiver<Answered>), ErrorData> {
        let mut open = self.lock();
        if open.closed {
            return Err(unanswered("the client is gone"));
        }
        if open.waiting.len() == MOST_OPEN {
            return Err(unanswered("too many questions are open"));
        }
        open.last += 1;
        let number = open.last;
        let (sender, answer) = oneshot::channel();
        open.waiting.insert(number, sender);
        drop(open);
        self.opened.notify_waiters();
        Ok((number, answer))
    }

    /// Takes an answer. One that nobody waits for is not one.
    pub(super) fn answered(&self, Reply { id, answered }: Reply) {
        let RequestId::String(id) = id else { return };
        let number = id.strip_prefix(ID).and_then(|number| number.parse().ok());
        if let Some(waiting) = number.and_then(|number: u64| self.lock().waiting.remove(&number)) {
            // Whoever asked may have been cancelled just now.
            let _ = waiting.send(answered);
        }
    }

    /// Nobody answers any more.
    pub(super) fn close(&self) {
        let mut open = self.lock();
        open.closed = true;
        open.waiting.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unanswered(why: &'static str) -> ErrorData {
    ErrorData::new(ErrorCode::INTERNAL_ERROR, why, None)
}

/// A question that is taken back when it is dropped.
struct Pending<'a> {
    questions: &'a Questions,
    wire: &'a dyn Wire,
    number: u64,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.questions.lock().waiting.remove(&self.number);
        let params = json!({"requestId": format!("{ID}{}", self.number)});
        let method = "notifications/cancelled";
        self.wire.send(text(&json!({"jsonrpc": "2.0", "method": method, "params": params})));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::call::InputMethod;
    use crate::manifest::JsonObject;

    #[derive(Default)]
    struct Sent(Mutex<Vec<Value>>);

    impl Wire for Sent {
        fn send(&self, message: Vec<u8>) {
            self.0.lock().unwrap().push(serde_json::from_slice(&message).unwrap());
        }
    }

    fn question() -> InputRequest {
        let key = "k".to_owned();
        InputRequest { key, method: InputMethod::Roots, params: JsonObject::new() }
    }

    fn reply(id: &str) -> Reply {
        Reply { id: RequestId::String(id.into()), answered: Ok(json!({"roots": []})) }
    }

    #[tokio::test]
    async fn an_answer_reaches_who_asked() {
        let (questions, wire) = (Arc::new(Questions::default()), Arc::new(Sent::default()));
        let asking = {
            let (questions, wire) = (Arc::clone(&questions), Arc::clone(&wire));
            tokio::spawn(async move { questions.ask(&*wire, &question()).await })
        };
        while wire.0.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(wire.0.lock().unwrap()[0]["method"], "roots/list");
        for other in ["kami-2", "kami-", "1", "kami-x"] {
            questions.answered(reply(other));
        }
        questions.answered(reply("kami-1"));
        assert_eq!(asking.await.unwrap().unwrap(), json!({"roots": []}));
        questions.answered(reply("kami-1"));
        assert_eq!(wire.0.lock().unwrap().len(), 1, "nothing was taken back");
    }

    #[tokio::test]
    async fn a_question_is_taken_back_with_what_asked() {
        let (questions, wire) = (Questions::default(), Sent::default());
        let question = question();
        let asking = questions.ask(&wire, &question);
        assert!(tokio::time::timeout(Duration::from_millis(5), asking).await.is_err());
        let sent = wire.0.lock().unwrap();
        assert_eq!(sent[1]["method"], "notifications/cancelled");
        assert_eq!(sent[1]["params"]["requestId"], sent[0]["id"]);
    }

    #[tokio::test]
    async fn nobody_waits_for_a_client_that_is_gone() {
        let (questions, wire) = (Questions::default(), Sent::default());
        let question = question();
        let asking = questions.ask(&wire, &question);
        let (answered, ()) = tokio::join!(asking, async { questions.close() });
        assert!(answered.unwrap_err().message.contains("gone"));
        assert!(questions.ask(&wire, &question).await.is_err());
    }

    #[tokio::test]
    async fn questions_are_bounded() {
        let (questions, wire) = (Questions::default(), Sent::default());
        let open: Vec<_> = (0..MOST_OPEN).map(|_| questions.begin().unwrap()).collect();
        assert!(questions.ask(&wire, &question()).await.unwrap_err().message.contains("many"));
        drop(open);
    }
}
