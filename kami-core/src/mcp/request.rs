//! What a client asks of a guest: a call of a tool, a resource, a prompt, suggestions.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use rmcp::model::{ErrorData, RequestId, RequestMetaObject};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::discover::Discovery;
use super::message::{bad_params, brief, meta, present, text};
use super::param_headers;
use crate::call::{Answer, CallArguments};
use crate::manifest::{JsonObject, ResourceUri};

/// The method that calls a tool.
pub(super) const TOOL_CALL: &str = "tools/call";

/// The most answers in one request.
const MOST_ANSWERS: usize = 64;

/// The most bytes of all answers: once parsed, they take many times that.
const MOST_ANSWER_BYTES: usize = 4 << 20;

/// The most arguments that are settled while one is typed.
const MOST_SETTLED: usize = 64;

/// A request that takes a guest to answer.
#[derive(Debug)]
pub(super) struct GuestRequest {
    pub(super) id: RequestId,
    pub(super) meta: RequestMetaObject,
    pub(super) asked: Asked,
    /// The answers to what was asked of the client before.
    pub(super) answers: Vec<Answer>,
    /// What the client was given with the questions.
    pub(super) state: Option<String>,
    /// Headers that repeat arguments, in the lower case, where the request came with headers.
    pub(super) headers: Option<Vec<(String, String)>>,
}

/// What is asked for, by names as the client writes them.
#[derive(Debug, Clone)]
pub(super) enum Asked {
    Tool(Call),
    Resource { uri: ResourceUri },
    Prompt { name: String, arguments: BTreeMap<String, String> },
    Task(TaskRequest),
    Discovery(Discovery),
    Suggestions { of: Reference, argument: String, value: String, settled: Vec<(String, String)> },
}

/// What is asked about a task.
#[derive(Debug, Clone)]
pub(super) struct TaskRequest {
    pub(super) method: &'static str,
    /// As the client writes it.
    pub(super) id: String,
}

/// The methods that are about tasks.
const ABOUT_TASKS: [&str; 3] = ["tasks/get", "tasks/update", "tasks/cancel"];

/// A call of a tool.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) name: String,
    text: Arc<str>,
    /// The value of the text, which takes several times its memory, until somebody needs it.
    arguments: Option<CallArguments>,
}

impl Call {
    fn new(name: String, arguments: CallArguments) -> Self {
        Self { name, text: arguments.shared_text(), arguments: Some(arguments) }
    }

    /// The call that was made with this text.
    ///
    /// # Errors
    /// Where the text is no object.
    pub(super) fn of_text(name: String, text: &str) -> Result<Self, ErrorData> {
        parsed(text).map(|arguments| Self::new(name, arguments))
    }

    /// What it is made with, as text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Refuses arguments that differ from the headers that repeat them.
    pub(super) fn check_headers(
        &self,
        schema: &JsonObject,
        headers: &[(String, String)],
    ) -> Result<(), ErrorData> {
        match &self.arguments {
            Some(arguments) => param_headers::check(schema, arguments.value(), headers),
            None => Ok(()),
        }
    }

    /// What it is made with; no more than the text of it is kept.
    ///
    /// # Errors
    /// Never: what was read once can be read again.
    pub(super) fn take_arguments(&mut self) -> Result<CallArguments, ErrorData> {
        match self.arguments.take() {
            Some(arguments) => Ok(arguments),
            None => parsed(&self.text),
        }
    }
}

/// Whose argument is typed.
#[derive(Debug, Clone)]
pub(super) enum Reference {
    Prompt(String),
    Template(String),
}

impl Asked {
    /// The method that asks for it.
    pub(super) fn method(&self) -> &'static str {
        match self {
            Self::Tool(_) | Self::Discovery(_) => TOOL_CALL,
            Self::Resource { .. } => "resources/read",
            Self::Prompt { .. } => "prompts/get",
            Self::Suggestions { .. } => "completion/complete",
            Self::Task(task) => task.method,
        }
    }

    /// The name that it asks for.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Tool(call) => &call.name,
            Self::Prompt { name, .. } => name,
            Self::Resource { uri } => uri.as_str(),
            Self::Task(task) => &task.id,
            Self::Discovery(discovery) => discovery.tool(),
            Self::Suggestions {
                of: Reference::Prompt(name) | Reference::Template(name), ..
            } => name,
        }
    }

    /// What is given with it, as text.
    pub(super) fn arguments(&self) -> Cow<'_, str> {
        match self {
            Self::Tool(call) => Cow::Borrowed(&call.text),
            Self::Prompt { arguments, .. } => Cow::Owned(serde_json::json!(arguments).to_string()),
            Self::Resource { .. }
            | Self::Suggestions { .. }
            | Self::Task(_)
            | Self::Discovery(_) => Cow::Borrowed(""),
        }
    }
}

/// Whether a method is one of those that take a guest to answer, or are about what one does.
pub(super) fn is_for_a_guest(method: &str) -> bool {
    matches!(method, "tools/call" | "resources/read" | "prompts/get" | "completion/complete")
        || ABOUT_TASKS.contains(&method)
}

/// The parameters of all of them. Arguments pass as they are written.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Params<'a> {
    #[serde(borrow, deserialize_with = "present")]
    pub(super) name: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    pub(super) uri: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    pub(super) task_id: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    arguments: Option<&'a RawValue>,
    #[serde(borrow, rename = "ref", deserialize_with = "present")]
    reference: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    argument: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    context: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    input_responses: Option<&'a RawValue>,
    request_state: Option<String>,
    #[serde(borrow, rename = "_meta", deserialize_with = "present")]
    pub(super) meta: Option<&'a RawValue>,
}

impl GuestRequest {
    /// The name of the tool, if it calls one.
    pub(super) fn tool(&self) -> Option<&str> {
        match &self.asked {
            Asked::Tool(call) => Some(&call.name),
            _ => None,
        }
    }

    /// Reads a request of such a method.
    ///
    /// # Errors
    /// What is wrong with its parameters.
    pub(super) fn read(
        id: RequestId,
        method: &str,
        params: Option<&RawValue>,
    ) -> Result<Self, ErrorData> {
        let params = params.map_or("{}", RawValue::get);
        if !params.starts_with('{') {
            return Err(ErrorData::invalid_params("`params` must be an object", None));
        }
        let params: Params<'_> =
            serde_json::from_str(params).map_err(|error| bad_params(&error))?;
        let asked = match method {
            "tools/call" => {
                let name = string(params.name, "`name` must be the name of a tool, a string")?;
                Asked::Tool(Call::new(name, arguments(params.arguments)?))
            }
            "resources/read" => Asked::Resource { uri: uri(params.uri)? },
            "prompts/get" => Asked::Prompt {
                name: string(params.name, "`name` must be the name of a prompt, a string")?,
                arguments: strings(params.arguments, "arguments")?,
            },
            "completion/complete" => suggestions(&params)?,
            _ => Asked::Task(TaskRequest {
                method: ABOUT_TASKS.into_iter().find(|known| *known == method).unwrap_or_default(),
                id: string(params.task_id, "`taskId` must be the id of a task, a string")?,
            }),
        };
        let given = given(params.input_responses)?;
        if given.len() > MOST_ANSWERS {
            let message = format!("`inputResponses` has at most {MOST_ANSWERS} answers");
            return Err(ErrorData::invalid_params(message, None));
        }
        if let Some((key, _)) = given.iter().find(|(_, answer)| !answer.is_object()) {
            let message = format!("`inputResponses`: the answer `{}` is no object", brief(key));
            return Err(ErrorData::invalid_params(message, None));
        }
        let answers = given.into_iter().map(|(key, result)| Answer { key, result }).collect();
        let meta = meta(params.meta)?;
        Ok(Self { id, meta, asked, answers, state: params.request_state, headers: None })
    }
}

/// The answers to what was asked of the client.
fn given(value: Option<&RawValue>) -> Result<JsonObject, ErrorData> {
    let text = value.map_or("{}", RawValue::get);
    if text.len() > MOST_ANSWER_BYTES {
        let message = format!("`inputResponses` has at most {MOST_ANSWER_BYTES} bytes");
        return Err(ErrorData::invalid_params(message, None));
    }
    let given: Option<JsonObject> = serde_json::from_str(text)
        .map_err(|_| ErrorData::invalid_params("`inputResponses` must be an object", None))?;
    Ok(given.unwrap_or_default())
}

fn string(value: Option<&RawValue>, wanted: &'static str) -> Result<String, ErrorData> {
    text(value).ok_or_else(|| ErrorData::invalid_params(wanted, None))
}

fn arguments(value: Option<&RawValue>) -> Result<CallArguments, ErrorData> {
    match value.map(RawValue::get) {
        None | Some("null") => Ok(CallArguments::from(JsonObject::new())),
        Some(object) if object.starts_with('{') => parsed(object),
        Some(_) => Err(ErrorData::invalid_params("`arguments` must be an object", None)),
    }
}

fn parsed(object: &str) -> Result<CallArguments, ErrorData> {
    CallArguments::parse(object)
        .map_err(|error| ErrorData::invalid_params(format!("`arguments`: {}", brief(error)), None))
}

fn uri(value: Option<&RawValue>) -> Result<ResourceUri, ErrorData> {
    let uri = string(value, "`uri` must be the URI of a resource, a string")?;
    let data = serde_json::json!({"uri": brief(&uri)});
    uri.parse().map_err(|error| ErrorData::invalid_params(format!("`uri`: {error}"), Some(data)))
}

fn strings(
    value: Option<&RawValue>,
    name: &'static str,
) -> Result<BTreeMap<String, String>, ErrorData> {
    match value.map(RawValue::get) {
        None | Some("null") => Ok(BTreeMap::new()),
        Some(object) => serde_json::from_str(object).map_err(|_| {
            let message = format!("`{name}` must be an object whose values are strings");
            ErrorData::invalid_params(message, None)
        }),
    }
}

fn suggestions(params: &Params<'_>) -> Result<Asked, ErrorData> {
    #[derive(Deserialize)]
    struct Argument {
        name: String,
        value: String,
    }

    #[derive(Default, Deserialize)]
    struct Context {
        #[serde(default, deserialize_with = "or_default")]
        arguments: BTreeMap<String, String>,
    }

    fn or_default<'de, D: Deserializer<'de>>(
        value: D,
    ) -> Result<BTreeMap<String, String>, D::Error> {
        Option::deserialize(value).map(Option::unwrap_or_default)
    }

    fn decoded<'a, T: Deserialize<'a>>(
        value: Option<&'a RawValue>,
        wanted: &'static str,
    ) -> Result<T, ErrorData> {
        let value = value.and_then(|value| serde_json::from_str(value.get()).ok());
        value.ok_or_else(|| ErrorData::invalid_params(wanted, None))
    }

    #[derive(Deserialize)]
    #[serde(tag = "type")]
    enum Ref {
        #[serde(rename = "ref/prompt")]
        Prompt { name: String },
        #[serde(rename = "ref/resource")]
        Resource { uri: String },
    }

    let of = decoded(
        params.reference,
        "`ref` must be {\"type\": \"ref/prompt\", \"name\": ...} or {\"type\": \"ref/resource\", \
         \"uri\": ...}",
    )?;
    let of = match of {
        Ref::Prompt { name } => Reference::Prompt(name),
        Ref::Resource { uri } => Reference::Template(uri),
    };
    let wanted = "`argument` must be {\"name\": ..., \"value\": ...}, both strings";
    let Argument { name, value } = decoded(params.argument, wanted)?;
    let context: Context = match params.context {
        None => Context::default(),
        some => decoded(some, "`context` must be {\"arguments\": {...}}, of strings")?,
    };
    if context.arguments.len() > MOST_SETTLED {
        let message = format!("`context` has at most {MOST_SETTLED} arguments");
        return Err(ErrorData::invalid_params(message, None));
    }
    let settled = context.arguments.into_iter().collect();
    Ok(Asked::Suggestions { of, argument: name, value, settled })
}
