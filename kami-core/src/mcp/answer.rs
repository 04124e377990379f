//! From what is asked of a guest to the answer.
//!
//! A guest that needs input first is entered again with what it was given. In a session, the host asks
//! the client, and comes back by itself; otherwise the questions are the answer, and the client comes
//! back with another request.

use std::sync::Arc;

use rmcp::model::{CallToolResult, ErrorCode, ErrorData, MetaObject};
use serde::Serialize;
use serde_json::{Value, json};

use super::abilities::missing;
use super::calls::{Caller, Terms};
use super::events::Speaker;
use super::handler::{FORBIDDEN, Handler, NOT_PERMITTED};
use super::message::brief;
use super::outcome;
use super::request::{Asked, Call, GuestRequest, Reference, TOOL_CALL};
use super::sealed::Binding;
use super::session::Era;
use super::tasks::needs_extension;
use crate::auth::Identity;
use crate::call::{
    Answer as Given, CallArguments, CallError, CallReport, Completing, CompletingOf, Continuation,
    EventSink, InputRequired, Outcome, Report, call_as, prompt_as, read_as, suggest_as,
};
use crate::digest::Digest;
use crate::manifest::{JsonObject, ResourceUri, TaskMode};
use crate::pipeline::{self, Pipeline};
use crate::registry::InstalledPackage;
use crate::resolve::{CatalogEntry, PromptEntry, VerifiedPackage, VerifiedTool};
use crate::scheduler::Principal;
use crate::witness::Witness;

/// The most times that a guest is entered for one request of a session.
const MOST_ROUNDS: usize = 32;

/// What a request is answered.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Answer {
    Tool(Box<CallToolResult>),
    Other(JsonObject),
}

/// What came of entering a guest once.
pub(super) enum Entered {
    Answer(Answer),
    /// The guest did not get to its end: what a model reads, and the same as plain text.
    Broken(Answer, String),
    /// It needs input first; of which artifact it is.
    Asks(InputRequired, Digest),
}

/// What a request turned out to mean.
pub(super) enum Target {
    Tool(CatalogEntry),
    Resource(Arc<InstalledPackage>),
    Prompt(PromptEntry),
    Suggestions(Arc<InstalledPackage>, CompletingOf),
}

impl Target {
    /// The name on the wire, if it has one.
    fn name(&self) -> Option<String> {
        match self {
            Self::Tool(entry) => Some(entry.wire_name.to_string()),
            Self::Prompt(entry) => Some(entry.wire_name.to_string()),
            Self::Resource(_) | Self::Suggestions(..) => None,
        }
    }

    /// Whether somebody who sees it may have it.
    pub(super) fn is_permitted_to(&self, identity: &Identity) -> bool {
        match self {
            Self::Tool(entry) => identity.may_call(entry),
            _ => identity.may_enter(self.package()),
        }
    }

    fn runs_as_a_task_alone(&self) -> bool {
        matches!(self, Self::Tool(entry) if entry.definition().task == Some(TaskMode::Required))
    }

    fn package(&self) -> &Arc<InstalledPackage> {
        match self {
            Self::Tool(entry) => &entry.package,
            Self::Prompt(entry) => &entry.package,
            Self::Resource(package) | Self::Suggestions(package, _) => package,
        }
    }
}

/// What a guest wanted back, on its way to it.
pub(super) enum Back {
    /// Through a client.
    Sealed(Option<String>),
    /// Through nobody's hands, for the artifact that gave it.
    Kept(Option<Vec<u8>>, Digest),
}

impl Answer {
    /// Adds or takes away what is the era's.
    pub(super) fn finish(&mut self, era: Era, handler: &Handler) {
        match (self, era) {
            (Self::Tool(result), Era::Stateless) => {
                handler.stamp(result.meta.get_or_insert_default());
            }
            // The field is younger than the era.
            (Self::Tool(result), Era::Session) => result.result_type = None,
            (Self::Other(result), Era::Stateless) => {
                result.entry("resultType").or_insert_with(|| "complete".into());
                let mut meta = MetaObject::default();
                handler.stamp(&mut meta);
                result.insert("_meta".to_owned(), Value::Object(meta.0));
            }
            (Self::Other(_), Era::Session) => {}
        }
    }

    fn questions(asked: &InputRequired, state: Option<String>) -> Self {
        let request = |method: &str, params| json!({"method": method, "params": params});
        let requests: JsonObject = asked
            .requests
            .iter()
            .map(|asked| (asked.key.clone(), request(asked.method.as_str(), &asked.params)))
            .collect();
        let mut answer = JsonObject::new();
        answer.insert("resultType".to_owned(), "input_required".into());
        if !requests.is_empty() {
            answer.insert("inputRequests".to_owned(), requests.into());
        }
        if let Some(state) = state {
            answer.insert("requestState".to_owned(), state.into());
        }
        Self::Other(answer)
    }
}

impl Asked {
    /// What a client is told that asked for what cannot be had: a result if a model reads it.
    fn failure(&self, text: String) -> Result<Entered, ErrorData> {
        match self {
            Self::Tool(_) => Ok(Entered::Answer(outcome::failure(text).into())),
            _ => Err(ErrorData::internal_error(text, None)),
        }
    }
}

impl From<CallToolResult> for Answer {
    fn from(result: CallToolResult) -> Self {
        Self::Tool(Box::new(result))
    }
}

impl Handler {
    /// Has a guest answer a request, with as many rounds as it takes.
    pub(super) async fn answer(
        self: &Arc<Self>,
        caller: Caller,
        request: GuestRequest,
        terms: Terms,
    ) -> Result<Answer, ErrorData> {
        let GuestRequest { id: _, meta, mut asked, answers, state, headers } = request;
        // It has been read, and takes many times its length.
        drop(meta);
        match &asked {
            Asked::Task(task) => return self.task(&caller, task, answers, &terms).await,
            Asked::Discovery(asked) => return self.discover(&caller, asked, &terms).await,
            Asked::Tool(call) => {
                let answered = !answers.is_empty() || state.is_some();
                if self.becomes_task(&caller.identity, call, answered, &terms) {
                    let (state, headers) = (state.as_deref(), headers.as_deref());
                    let state = match self.check_call(&caller.identity, call, state, headers) {
                        Ok(state) => state,
                        Err(error) => {
                            self.record_refusal(&caller.identity, &call.name, &error).await;
                            return Err(error);
                        }
                    };
                    return self.begin_task(&caller, call, answers, state, &terms).await;
                }
            }
            _ => {}
        }
        let mut back = (answers, Back::Sealed(state));
        for _ in 0..MOST_ROUNDS {
            let entered = self.enter(&caller, &mut asked, back, &terms, headers.as_deref()).await?;
            let (input, artifact) = match entered {
                Entered::Answer(answer) | Entered::Broken(answer, _) => return Ok(answer),
                Entered::Asks(input, artifact) => (input, artifact),
            };
            let lacking = terms.abilities.lacking(&input);
            let questions = match (terms.era, &caller.questions) {
                (Era::Session, Some(questions)) => questions,
                (Era::Session, None) => {
                    return unanswered(&asked, "there is no session to ask in".to_owned());
                }
                (Era::Stateless, _) => {
                    if let Some(lacking) = lacking {
                        return Err(missing(&lacking));
                    }
                    let (owner, state) = (caller.identity.owner(), input.state.as_deref());
                    let sealed =
                        state.map(|state| self.seal(owner, state, &asked, artifact)).transpose()?;
                    return Ok(Answer::questions(&input, sealed));
                }
            };
            if let Some(lacking) = lacking {
                let why = format!("the client does not say that it can answer {lacking}");
                return unanswered(&asked, why);
            }
            let mut answers = Vec::with_capacity(input.requests.len());
            for request in &input.requests {
                match questions.ask(&*caller.wire, request).await {
                    Ok(result) => answers.push(Given { key: request.key.clone(), result }),
                    Err(error) => return unanswered(&asked, brief(&error.message)),
                }
            }
            back = (answers, Back::Kept(input.state, artifact));
        }
        unanswered(&asked, format!("it asked {MOST_ROUNDS} times in a row"))
    }

    /// Records that a call was refused before it became a task.
    async fn record_refusal(&self, identity: &Identity, name: &str, error: &ErrorData) {
        let code = match error.code {
            ErrorCode::HEADER_MISMATCH => HEADERS,
            ErrorCode::INVALID_PARAMS => STATE,
            _ => FORBIDDEN,
        };
        if let Ok(witness) = self.witness(identity, None, TOOL_CALL, None).await {
            witness.refused_as(name, code, error.message.to_string());
        }
    }

    /// Checks what a call brings along before it becomes a task, and gives what the guest wants back.
    fn check_call(
        &self,
        identity: &Identity,
        call: &Call,
        state: Option<&str>,
        headers: Option<&[(String, String)]>,
    ) -> Result<Option<Vec<u8>>, ErrorData> {
        let catalog = self.resolver().catalog().map_err(|error| outcome::no_catalog(&error))?;
        let entry = self.find_tool(&catalog, identity, &call.name);
        let entry = entry.map_err(|error| outcome::unknown_tool(&error))?;
        if !identity.may_call(&entry) {
            return Err(ErrorData::invalid_request(NOT_PERMITTED, None));
        }
        if let Some(headers) = headers {
            call.check_headers(&entry.definition().input_schema, headers)?;
        }
        let asked = Asked::Tool(call.clone());
        let (owner, artifact) = (identity.owner(), entry.package.digest);
        state.map(|state| self.unseal(owner, state, &asked, artifact)).transpose()
    }

    /// Enters a guest once.
    pub(super) async fn enter(
        &self,
        caller: &Caller,
        asked: &mut Asked,
        (answers, back): (Vec<Given>, Back),
        terms: &Terms,
        headers: Option<&[(String, String)]>,
    ) -> Result<Entered, ErrorData> {
        let identity = &caller.identity;
        let (client, trace) = (terms.client.clone(), terms.trace.as_ref());
        let mut witness = match self.witness(identity, client, asked.method(), trace).await {
            Ok(witness) => witness,
            Err(error) => {
                return asked.failure(outcome::unrecorded(&error));
            }
        };
        let turn = if caller.counted { Ok(()) } else { identity.take_turn() };
        if let Err(retry) = turn {
            let error = CallError::TooOften { retry };
            // Who calls too often must not fill the log with that.
            match self.records_refusal() {
                true => witness.refused_as(asked.name(), error.code(), error.to_string()),
                false => witness.overlooks(error.code()),
            }
            return asked.failure(error.for_model());
        }
        let target = match self.find(identity, asked, terms.era) {
            // Whoever let it come this far has asked `forbids`.
            Ok(target) if target.is_permitted_to(identity) => target,
            Ok(_) => {
                witness.refused_as(asked.name(), FORBIDDEN, NOT_PERMITTED.to_owned());
                return Err(ErrorData::invalid_request(NOT_PERMITTED, None));
            }
            Err((error, code)) => {
                witness.refused_as(asked.name(), code, error.message.to_string());
                return Err(error);
            }
        };
        if target.runs_as_a_task_alone() && !terms.tasks {
            let error = needs_extension();
            witness.refused_as(asked.name(), UNABLE, error.message.to_string());
            return Err(error);
        }
        let package = Arc::clone(target.package());
        if let (Target::Tool(entry), Asked::Tool(call), Some(headers)) = (&target, &*asked, headers)
        {
            let schema = &entry.definition().input_schema;
            if let Err(error) = call.check_headers(schema, headers) {
                witness.refused_as(asked.name(), HEADERS, error.message.to_string());
                return Err(error);
            }
        }
        let state = match back {
            Back::Kept(_, artifact) if artifact != package.digest => {
                let error = CallError::Unanswered("the package was replaced meanwhile".to_owned());
                witness.refused_as(asked.name(), error.code(), error.to_string());
                return asked.failure(error.for_model());
            }
            Back::Kept(state, _) => state,
            Back::Sealed(None) => None,
            Back::Sealed(Some(sealed)) => {
                match self.unseal(identity.owner(), &sealed, asked, package.digest) {
                    Ok(state) => Some(state),
                    Err(error) => {
                        witness.refused_as(asked.name(), STATE, error.message.to_string());
                        return Err(error);
                    }
                }
            }
        };
        let continuation = Continuation { answers, state };
        let shown = target.name().unwrap_or_else(|| asked.name().to_owned());
        let about = &package.manifest.package;
        witness.saw(&shown, asked.method(), about, package.digest, &asked.arguments());
        let ready = match &target {
            Target::Tool(entry) if entry.package.is_pipeline() => {
                let resolved = self.pipelines().resolve(self.resolver(), entry).await;
                resolved.map(Ready::Pipeline)
            }
            Target::Tool(entry) => self.resolver().resolve(entry).await.map(Ready::Tool),
            _ => self.resolver().package(&package).await.map(Ready::Package),
        };
        let ready = match ready {
            Ok(ready) => ready,
            Err(error) => {
                witness.refused(asked.name(), &error);
                return asked.failure(outcome::refusal(&shown, &error));
            }
        };
        if let Some(package) = ready.package() {
            witness.knows(package);
        }
        let wire = Arc::clone(&caller.wire);
        let progress = terms.progress.clone();
        let speaker = Speaker::new(wire, self.desk(), &shown, terms.log_level, progress);
        let events: Arc<dyn EventSink> = Arc::new(speaker);
        let events = match &ready {
            // What is denied to a step stands in the record of its own call.
            Ready::Pipeline(_) => events,
            _ => witness.watch(events),
        };
        let principal = identity.principal();
        let entry = Entry { principal, package, shown, witness, events };
        match (ready, target, asked) {
            (Ready::Tool(tool), _, Asked::Tool(call)) => {
                let arguments = call.take_arguments()?;
                self.call(entry, &tool, arguments, continuation).await
            }
            (Ready::Pipeline(pipeline), _, Asked::Tool(call)) => {
                let arguments = call.take_arguments()?;
                let caller = pipeline::Caller {
                    principal,
                    audit: self.audit().cloned(),
                    client: terms.client.clone(),
                    identity: identity.name().map(str::to_owned),
                    metrics: self.metrics().cloned(),
                    telemetry: self.telemetry().cloned(),
                    trace: terms.trace.clone(),
                    events: Arc::clone(&entry.events),
                    document: outcome::document,
                    tell: Arc::new(outcome::ended),
                };
                let called = pipeline::call(self.resolver(), &pipeline, arguments, caller);
                self.ended(entry, called.await)
            }
            (Ready::Package(ready), Target::Resource(_), Asked::Resource { uri }) => {
                read(entry, &ready, uri, continuation, terms.era).await
            }
            (Ready::Package(ready), Target::Prompt(prompt), Asked::Prompt { arguments, .. }) => {
                let (name, events) = (&prompt.definition().name, Arc::clone(&entry.events));
                let report = prompt_as(principal, &ready, name, arguments, continuation, events);
                let report = report.await;
                entry.end(report, outcome::prompt)
            }
            (
                Ready::Package(ready),
                Target::Suggestions(_, of),
                Asked::Suggestions { argument, value, settled, .. },
            ) => {
                let completing = Completing {
                    of,
                    argument: argument.clone(),
                    value: value.clone(),
                    context: settled.clone(),
                };
                let events = Arc::clone(&entry.events);
                let report = suggest_as(principal, &ready, &completing, events).await;
                entry.end(report, outcome::suggestions)
            }
            _ => unreachable!("a target is found for what was asked"),
        }
    }

    async fn call(
        &self,
        entry: Entry,
        tool: &VerifiedTool,
        arguments: CallArguments,
        continuation: Continuation,
    ) -> Result<Entered, ErrorData> {
        let events = Arc::clone(&entry.events);
        let report = call_as(entry.principal, tool, arguments, continuation, events).await;
        self.ended(entry, report)
    }

    /// Takes note of what came of a call, and tells it.
    fn ended(&self, entry: Entry, report: CallReport) -> Result<Entered, ErrorData> {
        let Entry { package, shown, witness, .. } = entry;
        witness.ended(&report);
        outcome::log(&shown, &package, &report);
        let stats = self.wants_stats().then_some(report.stats);
        let mut broken = None;
        let mut result = match report.outcome {
            Outcome::InputRequired(input) => return Ok(Entered::Asks(input, package.digest)),
            Outcome::Complete(result) => outcome::success(result),
            Outcome::Failed(error) => {
                broken = (!error.is_the_guests_own()).then(|| error.for_model());
                outcome::failed(&error, &report.denials)
            }
        };
        if let Some(stats) = stats {
            outcome::attach(&mut result, &stats);
        }
        Ok(match broken {
            Some(message) => Entered::Broken(result.into(), message),
            None => Entered::Answer(result.into()),
        })
    }

    /// Finds what is asked for and there for somebody, or says why not, with a code for the log.
    pub(super) fn find(
        &self,
        identity: &Identity,
        asked: &Asked,
        era: Era,
    ) -> Result<Target, (ErrorData, &'static str)> {
        let unreadable = |error| {
            let code = crate::resolve::ResolveError::code(&error);
            (outcome::no_catalog(&error), code)
        };
        let catalog = self.resolver().catalog().map_err(unreadable)?;
        let unknown = |error| (error, UNKNOWN);
        let shows = |package: &Arc<InstalledPackage>| self.shows_all_of(identity, package);
        let no_prompt = |name: &str| {
            let message = format!("there is no prompt `{}`", brief(name));
            unknown(ErrorData::invalid_params(message, None))
        };
        let prompt = |name: &str| {
            let found = catalog.prompt(name).map_err(|error| unreadable(error.into()))?;
            found.filter(|entry| shows(&entry.package)).ok_or_else(|| no_prompt(name))
        };
        match asked {
            Asked::Tool(call) => match self.find_tool(&catalog, identity, &call.name) {
                Ok(entry) => Ok(Target::Tool(entry)),
                Err(error) => Err((outcome::unknown_tool(&error), error.code())),
            },
            Asked::Resource { uri } => {
                let owner = catalog.owner_of(uri).map_err(|error| unreadable(error.into()))?;
                let owner = owner.filter(shows);
                let message = || format!("there is no resource `{}`", brief(uri));
                owner.map(Target::Resource).ok_or_else(|| unknown(no_resource(era, uri, message())))
            }
            Asked::Prompt { name, arguments } => {
                let entry = prompt(name)?;
                let mut required = entry.definition().arguments.iter().filter(|a| a.required);
                match required.find(|argument| !arguments.contains_key(&argument.name)) {
                    None => Ok(Target::Prompt(entry)),
                    Some(missing) => {
                        let message = format!("the prompt needs the argument `{}`", missing.name);
                        Err((ErrorData::invalid_params(message, None), "KAMI-ARGUMENTS"))
                    }
                }
            }
            Asked::Suggestions { of: Reference::Prompt(name), .. } => {
                let entry = prompt(name)?;
                let of = CompletingOf::Prompt(entry.definition().name.clone());
                Ok(Target::Suggestions(entry.package, of))
            }
            Asked::Task(_) | Asked::Discovery(_) => {
                Err(unknown(ErrorData::invalid_params("it takes no guest to answer this", None)))
            }
            Asked::Suggestions { of: Reference::Template(form), .. } => {
                let found = catalog.template(form).map_err(|error| unreadable(error.into()))?;
                let entry = found.filter(|entry| shows(&entry.package)).ok_or_else(|| {
                    let message = format!("there is no template `{}`", brief(form));
                    unknown(ErrorData::invalid_params(message, None))
                })?;
                let of = CompletingOf::Template(entry.definition().uri_template.clone());
                Ok(Target::Suggestions(entry.package, of))
            }
        }
    }

    fn seal(
        &self,
        owner: &str,
        state: &[u8],
        asked: &Asked,
        artifact: Digest,
    ) -> Result<String, ErrorData> {
        let arguments = asked.arguments();
        let sealed = self.state_keys()?.seal(state, &binding(owner, asked, artifact, &arguments));
        sealed.map_err(|error| {
            tracing::error!(%error, "a state cannot be sealed");
            ErrorData::internal_error("the state of the request cannot be sealed", None)
        })
    }

    fn unseal(
        &self,
        owner: &str,
        sealed: &str,
        asked: &Asked,
        artifact: Digest,
    ) -> Result<Vec<u8>, ErrorData> {
        let arguments = asked.arguments();
        let binding = binding(owner, asked, artifact, &arguments);
        let state = self.state_keys()?.unseal(sealed, &binding);
        state.map_err(|error| ErrorData::invalid_params(error.to_string(), None))
    }
}

/// The code of what is not there.
const UNKNOWN: &str = "KAMI-UNKNOWN";

/// The code of a request whose headers say something else than its body.
const HEADERS: &str = "KAMI-HEADERS";

/// The code of a call that takes a client that can do more.
const UNABLE: &str = "KAMI-CLIENT";

/// The code of a state that does not open.
const STATE: &str = "KAMI-STATE";

/// What is run.
enum Ready {
    Tool(Arc<VerifiedTool>),
    Pipeline(Arc<Pipeline>),
    Package(Arc<VerifiedPackage>),
}

impl Ready {
    /// The one package that runs, if it is one.
    fn package(&self) -> Option<&VerifiedPackage> {
        match self {
            Self::Tool(tool) => Some(tool.verified()),
            Self::Package(package) => Some(package),
            Self::Pipeline(_) => None,
        }
    }
}

/// A guest that is about to be entered, and what is around it.
struct Entry {
    principal: Principal,
    package: Arc<InstalledPackage>,
    /// The name under which it is known.
    shown: String,
    witness: Witness,
    events: Arc<dyn EventSink>,
}

impl Entry {
    /// Takes note of what came of it, and tells it.
    fn end<T>(
        self,
        report: Report<T>,
        tell: impl FnOnce(T) -> JsonObject,
    ) -> Result<Entered, ErrorData> {
        self.witness.ended(&report);
        outcome::log(&self.shown, &self.package, &report);
        match report.outcome {
            Outcome::Complete(given) => Ok(Entered::Answer(Answer::Other(tell(given)))),
            Outcome::InputRequired(input) => Ok(Entered::Asks(input, self.package.digest)),
            Outcome::Failed(error) => Err(outcome::error(&error)),
        }
    }
}

async fn read(
    entry: Entry,
    package: &VerifiedPackage,
    uri: &ResourceUri,
    continuation: Continuation,
    era: Era,
) -> Result<Entered, ErrorData> {
    let events = Arc::clone(&entry.events);
    let report = read_as(entry.principal, package, uri, continuation, events).await;
    if let Outcome::Failed(CallError::NotFound(message)) = &report.outcome {
        let error = no_resource(era, uri, message.clone());
        entry.witness.ended(&report);
        return Err(error);
    }
    entry.end(report, |contents| outcome::contents(contents, era))
}

fn unanswered(asked: &Asked, why: String) -> Result<Answer, ErrorData> {
    let error = CallError::Unanswered(why);
    match asked {
        Asked::Tool(_) => Ok(outcome::failure(error.for_model()).into()),
        _ => Err(outcome::error(&error)),
    }
}

/// There was a code of its own for this before 2026-07-28.
fn no_resource(era: Era, uri: &ResourceUri, message: String) -> ErrorData {
    let code = match era {
        Era::Stateless => ErrorCode::INVALID_PARAMS,
        Era::Session => ErrorCode::RESOURCE_NOT_FOUND,
    };
    ErrorData::new(code, message, Some(json!({"uri": uri})))
}

fn binding<'a>(
    owner: &'a str,
    asked: &'a Asked,
    artifact: Digest,
    arguments: &'a str,
) -> Binding<'a> {
    Binding { owner, asked: (asked.method(), asked.name()), artifact, arguments }
}
