//! Calls that go on as tasks: a client asks later what came of them.
//!
//! A task is entered as any call is, and kept in a file of its own, so that it outlives both its
//! client's connection and this server. While it waits for answers, nothing runs. One whose server
//! ended in the middle of its work is begun again by the next server only where the tool says that
//! this does no harm.

mod record;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rmcp::model::{ErrorCode, ErrorData};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::abilities::{Abilities, missing};
use super::answer::{Answer, Back, Entered};
use super::calls::{Caller, Terms};
use super::handler::Handler;
use super::message::no_method;
use super::outcome;
use super::request::{Asked, Call, TaskRequest};
use super::session::Era;
use super::wire::Wire;
use crate::auth::Identity;
use crate::call::{Answer as Given, CallError, InputRequired};
use crate::manifest::{JsonObject, TaskMode};
use record::{Question, Record, Records, Status, TaskId};

/// The name of the extension, as clients and servers declare it.
pub(super) const EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// How often a client should ask, in milliseconds.
const POLL: u64 = 1000;

/// The most bytes of arguments, and of answers that come together: they are kept for a day.
const MOST_TASK_BYTES: usize = 1 << 20;

/// How many threads that may block see to the records at a time: others need some, too.
const MOST_AT_RECORDS: usize = 8;

/// What a client is told of a task that its server left behind.
const INTERRUPTED: &str =
    "the server ended while the tool ran; it may have done a part of its work";

/// The tasks that one server sees to.
pub(super) struct Tasks {
    directory: PathBuf,
    records: OnceLock<Arc<Records>>,
    running: Mutex<HashMap<TaskId, AbortHandle>>,
    turns: Semaphore,
}

/// Sees to the tasks of a server, those of servers before it included, until it is dropped.
pub(super) struct SeenTo {
    tasks: Arc<Tasks>,
    resuming: AbortHandle,
}

impl SeenTo {
    pub(super) fn new(handler: Arc<Handler>) -> Self {
        let tasks = Arc::clone(handler.tasks());
        let resuming = tokio::spawn(handler.resume_tasks()).abort_handle();
        Self { tasks, resuming }
    }
}

impl Drop for SeenTo {
    fn drop(&mut self) {
        self.resuming.abort();
        self.tasks.running().drain().for_each(|(_, running)| running.abort());
    }
}

impl Tasks {
    pub(super) fn new(directory: &Path) -> Self {
        let running = Mutex::default();
        let turns = Semaphore::new(MOST_AT_RECORDS);
        Self { directory: directory.to_owned(), records: OnceLock::new(), running, turns }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<TaskId, AbortHandle>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the records, on a thread that may block.
    async fn with<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Records) -> io::Result<T> + Send + 'static,
    ) -> Result<T, ErrorData> {
        // It is never closed.
        let _turn = self.turns.acquire().await.map_err(|_| broken())?;
        let tasks = Arc::clone(self);
        let work = tokio::task::spawn_blocking(move || {
            let records = match tasks.records.get() {
                Some(records) => records,
                None => {
                    let opened = Arc::new(Records::open(&tasks.directory, now)?);
                    tasks.records.get_or_init(|| opened)
                }
            };
            work(records)
        });
        let done = work.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        done.map_err(|error| {
            tracing::error!(%error, "a task cannot be kept");
            ErrorData::internal_error("the task cannot be kept: the server's log says more", None)
        })
    }
}

fn now() -> u64 {
    // A clock before 1970 is wrong anyway.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A client has to know tasks.
pub(super) fn needs_extension() -> ErrorData {
    missing(&json!({"extensions": {EXTENSION: {}}}))
}

fn too_often(retry: Duration) -> ErrorData {
    outcome::error(&CallError::TooOften { retry })
}

/// The bytes of answers, as text.
fn size_of(answers: &[Given]) -> usize {
    answers.iter().map(|answer| answer.key.len() + answer.result.to_string().len()).sum()
}

fn broken() -> ErrorData {
    ErrorData::internal_error("the server made a mistake; its log says more", None)
}

fn no_task() -> ErrorData {
    ErrorData::invalid_params("there is no such task, or not any more", None)
}

/// Where nobody listens to what a tool says meanwhile.
struct Nobody;

impl Wire for Nobody {
    fn send(&self, _: Vec<u8>) {}
}

impl Handler {
    /// Whether a call is to go on as a task.
    pub(super) fn becomes_task(
        &self,
        identity: &Identity,
        call: &Call,
        answered: bool,
        terms: &Terms,
    ) -> bool {
        if !terms.tasks {
            return false;
        }
        let catalog = self.resolver().catalog();
        let entry = catalog.and_then(|catalog| self.find_tool(&catalog, identity, &call.name));
        let Ok(entry) = entry else {
            // It is told so by who makes calls.
            return false;
        };
        match entry.definition().task {
            None => false,
            Some(TaskMode::Optional | TaskMode::Required) => true,
            Some(TaskMode::AfterInput) => answered,
        }
    }

    /// Begins a task, and tells the client of it.
    pub(super) async fn begin_task(
        self: &Arc<Self>,
        caller: &Caller,
        call: &Call,
        answers: Vec<Given>,
        state: Option<Vec<u8>>,
        terms: &Terms,
    ) -> Result<Answer, ErrorData> {
        caller.identity.take_turn().map_err(too_often)?;
        let catalog = self.resolver().catalog().map_err(|error| outcome::no_catalog(&error))?;
        let entry = self.find_tool(&catalog, &caller.identity, &call.name);
        let entry = entry.map_err(|error| outcome::unknown_tool(&error))?;
        let bytes = call.text().len() + size_of(&answers);
        if bytes > MOST_TASK_BYTES {
            let message = format!("a task takes at most {MOST_TASK_BYTES} bytes");
            return Err(ErrorData::invalid_params(message, None));
        }
        let status = Status::working(answers, state);
        // The name that no other package can take, whatever comes and goes meanwhile.
        let (tool, artifact) = (entry.full_name(), entry.package.digest);
        let (identity, arguments) = (Arc::clone(&caller.identity), call.text().to_owned());
        let (handler, abilities) = (Arc::clone(self), terms.abilities);
        // Whoever closes the connection meanwhile leaves no task that nobody works at.
        let begun = tokio::spawn(async move {
            let owner = identity.owner().to_owned();
            let begin = move |records: &Records| {
                records.begin(&owner, (&tool, artifact), &arguments, status)
            };
            let record = handler.tasks().with(begin).await?;
            let told = record.outline(POLL);
            handler.spawn_task(identity, record, Some(abilities));
            Ok(told)
        });
        let mut told = begun.await.unwrap_or_else(|_| Err(broken()))?;
        told.insert("resultType".to_owned(), "task".into());
        Ok(Answer::Other(told))
    }

    /// Answers a request that is about a task.
    pub(super) async fn task(
        self: &Arc<Self>,
        caller: &Caller,
        request: &TaskRequest,
        answers: Vec<Given>,
        terms: &Terms,
    ) -> Result<Answer, ErrorData> {
        if terms.era == Era::Session {
            return Err(no_method(request.method));
        }
        if !terms.tasks {
            return Err(needs_extension());
        }
        let id: TaskId = request.id.parse().map_err(|_| no_task())?;
        // For anybody else, it is not there.
        let looked_for = id.clone();
        let found = self.tasks().with(move |records| records.get(&looked_for)).await?;
        let found = found.filter(|task| task.owner == caller.identity.owner());
        let found = found.ok_or_else(no_task)?;
        // Another token of the same owner may have fewer rights.
        let catalog = self.resolver().catalog().map_err(|error| outcome::no_catalog(&error))?;
        let entry = self.find_tool(&catalog, &caller.identity, &found.tool);
        if entry.is_ok_and(|entry| !caller.identity.may_call(&entry)) {
            return Err(no_task());
        }
        match request.method {
            "tasks/get" => {
                if found.is_working() {
                    self.see_to_orphan(&id).await?;
                }
                Ok(Answer::Other(detail(found)))
            }
            "tasks/update" => {
                caller.identity.take_turn().map_err(too_often)?;
                if size_of(&answers) > MOST_TASK_BYTES {
                    let message = format!("a task takes at most {MOST_TASK_BYTES} bytes");
                    return Err(ErrorData::invalid_params(message, None));
                }
                let (handler, identity) = (Arc::clone(self), Arc::clone(&caller.identity));
                let abilities = terms.abilities;
                // As above.
                let updated = tokio::spawn(async move {
                    let update =
                        move |records: &Records| records.change(&id, |task| answer(task, answers));
                    let (record, changed) =
                        handler.tasks().with(update).await?.ok_or_else(no_task)?;
                    if changed {
                        handler.spawn_task(identity, record, Some(abilities));
                    }
                    Ok(Answer::Other(JsonObject::new()))
                });
                updated.await.unwrap_or_else(|_| Err(broken()))
            }
            _ => {
                let cancelled = id.clone();
                let cancel = move |records: &Records| {
                    records.change(&cancelled, |task| {
                        (!task.status.is_last()).then_some(Status::Cancelled)
                    })
                };
                let record = self.tasks().with(cancel).await?;
                // Only now: nobody is to find it working that nobody works at.
                if let Some(running) = self.tasks().running().remove(&id) {
                    running.abort();
                }
                record.map(|_| Answer::Other(JsonObject::new())).ok_or_else(no_task)
            }
        }
    }

    /// Has a guest work at a task, if it is one to work at. That is for whoever made it one, who is one
    /// alone.
    fn spawn_task(
        self: &Arc<Self>,
        identity: Arc<Identity>,
        record: Record,
        abilities: Option<Abilities>,
    ) {
        let Status::Working { answers, state } = &record.status else { return };
        let answers = answers
            .iter()
            .map(|(key, result)| Given { key: key.clone(), result: result.clone() })
            .collect();
        let (state, id) = (state.clone(), record.id.clone());
        // Held until it is in there, so that it does not end before.
        let mut running = self.tasks().running();
        let handler = Arc::clone(self);
        let task = tokio::spawn(async move {
            let status = handler.work(identity, &record, answers, state, abilities).await;
            // Before anybody can find that it goes on, and make another one work at it.
            handler.tasks().running().remove(&record.id);
            handler.end_work(record.id, status).await;
        });
        running.insert(id, task.abort_handle());
    }

    /// Writes down what came of a task, unless it was cancelled meanwhile.
    async fn end_work(&self, id: TaskId, status: Status) {
        let end = move |records: &Records| {
            records.change(&id, |task| task.is_working().then_some(status))
        };
        // Where it cannot be written, the log says so, and the task stays as it was.
        let _ = self.tasks().with(end).await;
    }

    /// Enters a guest once for a task, and gives what came of it.
    async fn work(
        &self,
        identity: Arc<Identity>,
        record: &Record,
        answers: Vec<Given>,
        state: Option<Vec<u8>>,
        abilities: Option<Abilities>,
    ) -> Status {
        let wire = Arc::new(Nobody);
        let caller = Caller { identity, wire, questions: None, counted: true };
        let terms = Terms::of_a_task();
        let call = match Call::of_text(record.tool.clone(), &record.arguments) {
            Ok(call) => call,
            Err(error) => return failed(error),
        };
        let mut asked = Asked::Tool(call);
        let back = (answers, Back::Kept(state, record.artifact));
        match self.enter(&caller, &mut asked, back, &terms, None).await {
            Ok(Entered::Answer(Answer::Tool(result))) => match serde_json::to_value(*result) {
                Ok(Value::Object(result)) => Status::Completed { result },
                _ => Status::Failed { code: ErrorCode::INTERNAL_ERROR.0, message: String::new() },
            },
            Ok(Entered::Answer(Answer::Other(result))) => Status::Completed { result },
            Ok(Entered::Broken(_, message)) => {
                Status::Failed { code: ErrorCode::INTERNAL_ERROR.0, message }
            }
            Ok(Entered::Asks(input, _)) => match abilities.and_then(|able| able.lacking(&input)) {
                Some(lacking) => failed(missing(&lacking)),
                None => asks(&input),
            },
            Err(error) => failed(error),
        }
    }

    /// Sees to the tasks whose servers are gone.
    async fn resume_tasks(self: Arc<Self>) {
        // Where no task was ever begun, there is no directory.
        if !self.tasks().directory.exists() {
            return;
        }
        let Ok(orphans) = self.tasks().with(Records::orphans).await else { return };
        for record in orphans {
            self.resume(record).await;
        }
    }

    /// Sees to a task if its server is gone.
    async fn see_to_orphan(self: &Arc<Self>, id: &TaskId) -> Result<(), ErrorData> {
        let id = id.clone();
        if let Some(orphan) = self.tasks().with(move |records| records.adopt(&id)).await? {
            self.resume(orphan).await;
        }
        Ok(())
    }

    /// Begins a task again that nobody works at any more, or says that it cannot be.
    async fn resume(self: &Arc<Self>, record: Record) {
        let found = self.resolver().catalog().and_then(|catalog| catalog.find(&record.tool));
        let harmless = found.is_ok_and(|entry| {
            let hints = &entry.definition().annotations;
            hints.read_only_hint == Some(true) || hints.idempotent_hint == Some(true)
        });
        // What somebody may do now who was asked who they are, nobody can tell without them.
        if harmless && record.owner.is_empty() {
            return self.spawn_task(self.newcomer(), record, None);
        }
        let message = INTERRUPTED.to_owned();
        let status = Status::Failed { code: ErrorCode::INTERNAL_ERROR.0, message };
        self.end_work(record.id, status).await;
    }
}

fn failed(error: ErrorData) -> Status {
    Status::Failed { code: error.code.0, message: error.message.into_owned() }
}

fn asks(input: &InputRequired) -> Status {
    Status::InputRequired {
        requests: input.requests.iter().map(Question::from).collect(),
        answers: BTreeMap::new(),
        state: input.state.clone(),
    }
}

/// What becomes of a task with these answers, if it waits for any of them.
fn answer(task: &Record, given: Vec<Given>) -> Option<Status> {
    let Status::InputRequired { requests, answers, state } = &task.status else { return None };
    let mut answers = answers.clone();
    let mut requests = requests.clone();
    for Given { key, result } in given {
        if let Some(at) = requests.iter().position(|request| request.key == key) {
            requests.remove(at);
            answers.insert(key, result);
        }
    }
    let state = state.clone();
    Some(match requests.is_empty() {
        true => Status::Working { answers: answers.into_iter().collect(), state },
        false => Status::InputRequired { requests, answers, state },
    })
}

/// A task, with what came of it.
fn detail(record: Record) -> JsonObject {
    let mut told = record.outline(POLL);
    match record.status {
        Status::Working { .. } | Status::Cancelled => {}
        Status::InputRequired { requests, .. } => {
            let asked = requests
                .into_iter()
                .filter(Question::is_known)
                .map(|Question { key, method, params }| {
                    (key, json!({"method": method, "params": params}))
                })
                .collect::<JsonObject>();
            told.insert("inputRequests".to_owned(), asked.into());
        }
        Status::Completed { result } => drop(told.insert("result".to_owned(), result.into())),
        Status::Failed { code, message } => {
            told.insert("error".to_owned(), json!({"code": code, "message": message}));
        }
    }
    told
}
