//! One line of text, read as one message of the protocol: the table of what is served.
//!
//! Every line has one of three fates: it is a message for the session, it is refused with an error
//! that goes straight back to the client, or it deserves silence (a notification or a reply that
//! means nothing here: JSON-RPC forbids an answer to either).
//!
//! The envelope is read before its parameters, so that a request whose parameters are hopeless
//! is still answered under its own id, and each method's parameters are read into their own type,
//! so that an error names what is wrong with them.

use std::borrow::Cow;
use std::fmt::Display;

use rmcp::model::{
    CancelledNotification, ClientJsonRpcMessage, ClientNotification, ClientRequest, ErrorCode,
    ErrorData, Extensions, InitializedNotification, ListPromptsRequest, ListPromptsRequestMethod,
    ListResourceTemplatesRequest, ListResourceTemplatesRequestMethod, ListResourcesRequest,
    ListResourcesRequestMethod, ListToolsRequest, ListToolsRequestMethod, MetaObject,
    PaginatedRequestParams, PingRequest, Request, RequestId, RequestMetaObject,
    RequestOptionalParam,
};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::questions::Reply;
use super::request::{GuestRequest, is_for_a_guest};
use crate::manifest::JsonObject;

/// The longest id of a request, in bytes: it is repeated in what answers it.
const LONGEST_ID: usize = 256;

/// The longest message that neither takes a guest to answer nor answers a question of one, in bytes:
/// it is kept for as long as its connection likes.
const LONGEST_OTHER: usize = 64 << 10;

/// The longest answer to a question of a guest, in bytes: it is kept until all are answered that were
/// asked together.
const LONGEST_ANSWER: usize = 1 << 20;

/// What only sessions have: requests of 2026-07-28 find no such methods.
const OF_SESSIONS: [&str; 5] =
    ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"];

/// What to do about a line.
pub(super) enum Fate<'a> {
    /// Hand it to the session.
    Accept(Box<ClientJsonRpcMessage>),
    /// Have a guest answer it.
    Enter(GuestRequest),
    /// Hand it to whoever asked the client.
    Reply(Reply),
    /// Answer with an error at once.
    Refuse(Refusal<'a>),
    /// Nothing.
    Ignore,
}

/// An error reply that no session has to think about.
#[derive(Debug, Serialize)]
pub(super) struct Refusal<'a> {
    jsonrpc: &'static str,
    /// As the client wrote it; `null` where there is none that a reply may bear.
    id: Option<&'a RawValue>,
    error: ErrorData,
}

impl<'a> Refusal<'a> {
    pub(super) fn new(id: Option<&'a RawValue>, error: ErrorData) -> Self {
        Self { jsonrpc: "2.0", id, error }
    }

    /// The code of the error.
    pub(super) fn code(&self) -> ErrorCode {
        self.error.code
    }

    /// A well-formed message, or the lack of one, that breaks the rules of JSON-RPC or MCP.
    pub(super) fn invalid(id: Option<&'a RawValue>, why: impl Into<Cow<'static, str>>) -> Self {
        Self::new(id, ErrorData::invalid_request(why, None))
    }
}

/// The members of every JSON-RPC message, unread: what one of them holds cannot hide the others.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Envelope<'a> {
    #[serde(borrow, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    pub(super) method: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    pub(super) params: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

/// Keeps `null` apart from absence.
pub(super) fn present<'de, D: Deserializer<'de>>(
    value: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(value).map(Some)
}

/// Whether an id may stand in an answer: only text and numbers do, also where they are no valid id of
/// MCP.
pub(super) fn may_be_echoed(id: &&RawValue) -> bool {
    let id = id.get();
    id.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit()) && id.len() <= LONGEST_ID
}

/// A line without what may stand around a message. Whoever reads a part of one has to begin with it.
pub(super) fn trimmed(line: &[u8]) -> &[u8] {
    const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
    line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line).trim_ascii()
}

/// The `_meta` of a request, which takes many times its length once it is parsed.
///
/// # Errors
/// Where it is too long, or no object.
pub(super) fn meta(raw: Option<&RawValue>) -> Result<RequestMetaObject, ErrorData> {
    let text = raw.map_or("{}", RawValue::get);
    if text.len() > LONGEST_OTHER {
        let message = format!("`_meta` has at most {LONGEST_OTHER} bytes");
        return Err(ErrorData::invalid_params(message, None));
    }
    let meta: Option<JsonObject> = serde_json::from_str(text)
        .map_err(|_| ErrorData::invalid_params("`_meta` must be an object", None))?;
    Ok(RequestMetaObject(MetaObject(meta.unwrap_or_default())))
}

/// Decides the fate of one line.
///
/// # Security
/// The line is whatever the client sent. Nothing here recurses deeper than serde_json allows.
pub(super) fn read(line: &[u8]) -> Fate<'_> {
    let line = trimmed(line);
    match line.first() {
        None => Fate::Ignore,
        Some(b'{') => match serde_json::from_slice::<Envelope<'_>>(line) {
            Ok(envelope) => envelope.fate(line),
            Err(error) if error.is_data() => {
                Fate::Refuse(Refusal::invalid(None, format!("not a message: {}", brief(&error))))
            }
            Err(error) => Fate::Refuse(unparsable(&error)),
        },
        Some(first) => Fate::Refuse(match serde_json::from_slice::<IgnoredAny>(line) {
            Err(error) => unparsable(&error),
            Ok(_) if *first == b'[' => {
                Refusal::invalid(None, "batches are not supported: send one message per line")
            }
            Ok(_) => Refusal::invalid(None, "a message is a JSON object"),
        }),
    }
}

fn unparsable(error: &serde_json::Error) -> Refusal<'static> {
    Refusal::new(None, ErrorData::parse_error(format!("not JSON: {}", brief(error)), None))
}

impl<'a> Envelope<'a> {
    fn fate(self, line: &'a [u8]) -> Fate<'a> {
        let echo = self.id.filter(may_be_echoed);
        let method = text(self.method);
        // A reply passes on to whoever asked, who bounds it, or to nobody.
        let may_be_long = method.as_deref().map_or(self.method.is_none(), is_for_a_guest);
        if !may_be_long && line.len() > LONGEST_OTHER {
            let why = format!("only what a tool gets has more than {LONGEST_OTHER} bytes");
            return match self.id {
                Some(_) => Fate::Refuse(Refusal::invalid(echo, why)),
                None => Fate::Ignore,
            };
        }
        if text(self.jsonrpc).as_deref() != Some("2.0") {
            return Fate::Refuse(Refusal::invalid(echo, "`jsonrpc` must be \"2.0\""));
        }
        if self.method.is_none() {
            return if self.result.is_some() || self.error.is_some() {
                self.reply()
            } else {
                Fate::Refuse(Refusal::invalid(
                    echo,
                    "a message has a `method`, a `result` or an `error`",
                ))
            };
        }
        let Some(method) = method else {
            return Fate::Refuse(Refusal::invalid(echo, "`method` must be a string"));
        };
        let Some(id) = self.id else {
            return notification(&method, self.params);
        };
        if id.get().len() > LONGEST_ID {
            let why = format!("an `id` has at most {LONGEST_ID} bytes");
            return Fate::Refuse(Refusal::invalid(None, why));
        }
        let Ok(id) = serde_json::from_str::<RequestId>(id.get()) else {
            return Fate::Refuse(Refusal::invalid(echo, "`id` must be a string or an integer"));
        };
        if is_for_a_guest(&method) {
            return match GuestRequest::read(id, &method, self.params) {
                Ok(request) => Fate::Enter(request),
                Err(error) => Fate::Refuse(Refusal::new(echo, error)),
            };
        }
        match request(&method, self.params) {
            Ok(request) => Fate::Accept(Box::new(ClientJsonRpcMessage::request(request, id))),
            Err(error) => Fate::Refuse(Refusal::new(echo, error)),
        }
    }
}

fn too_long() -> ErrorData {
    let message = format!("an answer has at most {LONGEST_ANSWER} bytes");
    ErrorData::invalid_params(message, None)
}

impl Envelope<'_> {
    /// A reply to a request of ours.
    fn reply(self) -> Fate<'static> {
        let id = self.id.filter(|id| id.get().len() <= LONGEST_ID);
        let id = id.and_then(|id| serde_json::from_str(id.get()).ok());
        let answered = match (self.result, self.error) {
            (Some(result), None) if result.get().len() > LONGEST_ANSWER => Some(Err(too_long())),
            (Some(result), None) => serde_json::from_str(result.get()).ok().map(Ok),
            (None, Some(error)) => serde_json::from_str(error.get()).ok().map(Err),
            _ => None,
        };
        match id.zip(answered) {
            Some((id, answered)) => Fate::Reply(Reply { id, answered }),
            None => {
                tracing::debug!("ignoring a reply that is not one");
                Fate::Ignore
            }
        }
    }
}

pub(super) fn text(raw: Option<&RawValue>) -> Option<String> {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
}

type Reader = fn(Params) -> Result<ClientRequest, ErrorData>;

/// The requests that no guest answers, by method.
fn reader(method: &str) -> Option<Reader> {
    Some(match method {
        "initialize" => |params| Ok(ClientRequest::InitializeRequest(params.request()?)),
        "server/discover" => |params| Ok(ClientRequest::DiscoverRequest(params.request()?)),
        "ping" => |params| {
            let extensions = extensions(params.meta);
            Ok(PingRequest { method: Default::default(), extensions }.into())
        },
        "logging/setLevel" => |params| Ok(ClientRequest::SetLevelRequest(params.request()?)),
        "tools/list" => |params| {
            let list: ListToolsRequest = params.page::<ListToolsRequestMethod>()?;
            Ok(list.into())
        },
        "prompts/list" => |params| {
            let list: ListPromptsRequest = params.page::<ListPromptsRequestMethod>()?;
            Ok(list.into())
        },
        "resources/list" => |params| {
            let list: ListResourcesRequest = params.page::<ListResourcesRequestMethod>()?;
            Ok(list.into())
        },
        "resources/templates/list" => |params| {
            let list: ListResourceTemplatesRequest =
                params.page::<ListResourceTemplatesRequestMethod>()?;
            Ok(list.into())
        },
        "resources/subscribe" => |params| Ok(ClientRequest::SubscribeRequest(params.request()?)),
        "resources/unsubscribe" => {
            |params| Ok(ClientRequest::UnsubscribeRequest(params.request()?))
        }
        "subscriptions/listen" => {
            |params| Ok(ClientRequest::SubscriptionsListenRequest(params.request()?))
        }
        _ => return None,
    })
}

/// Whether there is a method, for requests that have a session or for those that stand for themselves.
pub(super) fn serves(method: &str, stateless: bool) -> bool {
    let known = is_for_a_guest(method) || reader(method).is_some();
    known && !(stateless && OF_SESSIONS.contains(&method))
}

fn request(method: &str, params: Option<&RawValue>) -> Result<ClientRequest, ErrorData> {
    let read = reader(method).ok_or_else(|| no_method(method))?;
    // Only now: an unknown method is told so whatever its parameters are.
    let params = Params::parse(params)?;
    match serves(method, params.is_stateless()) {
        true => read(params),
        false => Err(no_method(method)),
    }
}

pub(super) fn no_method(method: &str) -> ErrorData {
    let message = format!("there is no method `{}`", brief(method));
    ErrorData::new(ErrorCode::METHOD_NOT_FOUND, message, None)
}

/// The notifications that mean something here, by method.
fn notification<'a>(method: &str, params: Option<&RawValue>) -> Fate<'a> {
    let read = || -> Result<Option<ClientNotification>, ErrorData> {
        let params = Params::parse(params)?;
        Ok(match method {
            "notifications/cancelled" => {
                Some(CancelledNotification::new(decode(params.fields)?).into())
            }
            "notifications/initialized" => Some(InitializedNotification::default().into()),
            _ => None,
        })
    };
    match read() {
        Ok(Some(notification)) => {
            Fate::Accept(Box::new(ClientJsonRpcMessage::notification(notification)))
        }
        Ok(None) => Fate::Ignore,
        Err(error) => {
            tracing::debug!(%error, "ignoring a notification that cannot be read");
            Fate::Ignore
        }
    }
}

/// Parameters that are known to be an object, and whose `_meta` is.
struct Params {
    fields: JsonObject,
    meta: Option<JsonObject>,
}

impl Params {
    fn parse(raw: Option<&RawValue>) -> Result<Self, ErrorData> {
        let value = match raw {
            Some(raw) => serde_json::from_str(raw.get()).map_err(|error| bad_params(&error))?,
            None => Value::Null,
        };
        let mut fields = match value {
            Value::Object(fields) => fields,
            Value::Null => JsonObject::new(),
            _ => return Err(ErrorData::invalid_params("`params` must be an object", None)),
        };
        let meta = match fields.shift_remove("_meta") {
            Some(Value::Object(meta)) => Some(meta),
            None | Some(Value::Null) => None,
            Some(_) => return Err(ErrorData::invalid_params("`_meta` must be an object", None)),
        };
        Ok(Self { fields, meta })
    }

    /// Whether they name a revision of the protocol that has no sessions.
    fn is_stateless(&self) -> bool {
        let meta = self.meta.clone().map(|meta| RequestMetaObject(MetaObject(meta)));
        let version = meta.and_then(|meta| meta.protocol_version());
        version.is_some_and(|version| !version.has_initialize())
    }

    fn page<M: Default>(
        self,
    ) -> Result<RequestOptionalParam<M, PaginatedRequestParams>, ErrorData> {
        let Request { method, params, extensions, .. } = self.request::<M, _>()?;
        Ok(RequestOptionalParam { method, params: Some(params), extensions })
    }

    fn request<M: Default, P: DeserializeOwned>(self) -> Result<Request<M, P>, ErrorData> {
        let extensions = extensions(self.meta);
        let mut request = Request::new(decode(self.fields)?);
        request.extensions = extensions;
        Ok(request)
    }
}

fn decode<P: DeserializeOwned>(fields: JsonObject) -> Result<P, ErrorData> {
    P::deserialize(Value::Object(fields)).map_err(|error| bad_params(&error))
}

/// Puts `_meta` where rmcp looks for it.
fn extensions(meta: Option<JsonObject>) -> Extensions {
    let mut extensions = Extensions::new();
    if let Some(meta) = meta {
        extensions.insert(RequestMetaObject(MetaObject(meta)));
    }
    extensions
}

pub(super) fn bad_params(error: &serde_json::Error) -> ErrorData {
    ErrorData::invalid_params(format!("`params`: {}", brief(error)), None)
}

/// As much of a text that quotes the client as belongs into an error.
pub(super) fn brief(text: impl Display) -> String {
    const LONGEST: usize = 200;
    let text = text.to_string();
    let mut characters = text.chars();
    let mut shown: String = characters.by_ref().take(LONGEST).collect();
    if characters.next().is_some() {
        shown.push('…');
    }
    shown
}
