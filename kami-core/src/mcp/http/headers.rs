//! Headers that repeat what a body says, so that what is in between need not read bodies.
//!
//! Requests of 2026-07-28 have them. Whoever routes by a header and whoever reads the body must have
//! seen the same, so a request whose headers say anything else is refused. What is refused here is
//! refused in the order that the protocol gives.

use http::{HeaderMap, StatusCode};
use rmcp::model::{ErrorCode, ErrorData};
use serde_json::value::RawValue;

use super::VERSION;
use crate::mcp::handler::supported_versions;
use crate::mcp::message::{
    Envelope, Refusal, bad_params, may_be_echoed, meta, no_method, serves, text, trimmed,
};
use crate::mcp::param_headers::{PREFIX, decoded};
use crate::mcp::request::Params;
use crate::mcp::session::Era;

/// The header that names the method.
const METHOD: &str = "mcp-method";

/// The header that names what the method is about.
const NAME: &str = "mcp-name";

/// How a message is spoken.
#[derive(Debug)]
pub(super) struct Spoken {
    pub(super) era: Era,
    /// The headers that repeat arguments, their names in the lower case.
    pub(super) parameters: Option<Vec<(String, String)>>,
}

impl Spoken {
    /// The status of a reply: an HTTP client of 2026-07-28 sees errors that are not about the matter.
    pub(super) fn status(&self, error: Option<ErrorCode>) -> StatusCode {
        match (self.era, error) {
            (_, None) => StatusCode::OK,
            (Era::Stateless, Some(ErrorCode::METHOD_NOT_FOUND)) => StatusCode::NOT_FOUND,
            (
                Era::Stateless,
                Some(
                    ErrorCode::HEADER_MISMATCH
                    | ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY
                    | ErrorCode::UNSUPPORTED_PROTOCOL_VERSION,
                ),
            )
            | (_, Some(ErrorCode::PARSE_ERROR | ErrorCode::INVALID_REQUEST)) => {
                StatusCode::BAD_REQUEST
            }
            (_, Some(_)) => StatusCode::OK,
        }
    }
}

/// A message whose headers do not fit it.
pub(super) struct Misspoken<'a> {
    pub(super) status: StatusCode,
    pub(super) why: Refusal<'a>,
}

/// Tells how a message is spoken.
///
/// # Errors
/// Where its headers do not fit it.
pub(super) fn spoken<'a>(
    headers: &HeaderMap,
    body: &'a [u8],
) -> Result<Spoken, Box<Misspoken<'a>>> {
    // What cannot be read is told so by who reads it next, in the same form.
    let outline: Envelope<'a> = serde_json::from_slice(trimmed(body)).unwrap_or_default();
    let refused = |error: ErrorData| {
        let status = match error.code {
            ErrorCode::METHOD_NOT_FOUND => StatusCode::NOT_FOUND,
            _ => StatusCode::BAD_REQUEST,
        };
        Box::new(Misspoken { status, why: Refusal::new(outline.id.filter(may_be_echoed), error) })
    };
    // Whoever reads them otherwise might take another one of two members with one name.
    let params = match outline.params.map(RawValue::get) {
        Some(object) if object.starts_with('{') => serde_json::from_str::<Params<'_>>(object)
            .map_err(|error| refused(bad_params(&error)))?,
        _ => Params::default(),
    };
    let meta = meta(params.meta).map_err(refused)?;
    let mismatch = |name: &str, problem: &str| {
        refused(ErrorData::header_mismatch(format!("the header `{name}` {problem}"), None))
    };
    let version = single(headers, VERSION).map_err(|problem| mismatch(VERSION, problem))?;
    let claimed = meta.protocol_version();
    let has_sessions = |version: &str| {
        let known = supported_versions();
        known.iter().any(|known| known.as_str() == version && known.has_initialize())
    };
    let stateless = version.is_some_and(|version| !has_sessions(version))
        || claimed.as_ref().is_some_and(|claimed| !has_sessions(claimed.as_str()));
    if !stateless {
        return Ok(Spoken { era: Era::Session, parameters: None });
    }
    let era = Era::Stateless;
    let (Some(_), Some(method)) = (outline.id, text(outline.method)) else {
        // A notification, or nothing that makes sense.
        return Ok(Spoken { era, parameters: None });
    };
    repeated(headers, METHOD, Some(&method)).map_err(|problem| mismatch(METHOD, problem))?;
    let named = match method.as_str() {
        "tools/call" | "prompts/get" => Some(params.name),
        "resources/read" => Some(params.uri),
        "tasks/get" | "tasks/update" | "tasks/cancel" => Some(params.task_id),
        _ => None,
    };
    if let Some(named) = named {
        let named = text(named);
        repeated(headers, NAME, named.as_deref()).map_err(|problem| mismatch(NAME, problem))?;
    }
    if !serves(&method, true) {
        return Err(refused(no_method(&method)));
    }
    match (version, claimed) {
        // It lacks more than that, and is told so below.
        (_, None) => {}
        (None, Some(_)) => return Err(mismatch(VERSION, "is missing")),
        (Some(version), Some(claimed)) if version != claimed.as_str() => {
            return Err(mismatch(VERSION, "differs from the protocol version in `_meta`"));
        }
        (Some(_), Some(_)) => {}
    }
    Era::of(&meta, false).map_err(refused)?;
    let parameters = headers.iter().filter(|(name, _)| name.as_str().starts_with(PREFIX));
    let parameters = parameters
        .map(|(name, value)| {
            Some((name.as_str().to_owned(), value.to_str().ok()?.trim().to_owned()))
        })
        .collect::<Option<_>>();
    match parameters {
        Some(parameters) => Ok(Spoken { era, parameters: Some(parameters) }),
        None => Err(mismatch(PREFIX, "holds what is no text")),
    }
}

/// The one value of a header, if it is there.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, &'static str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err("is there more than once"),
        (Some(value), None) => {
            value.to_str().map(|value| Some(value.trim())).map_err(|_| "holds what is no text")
        }
    }
}

/// Refuses a header that does not repeat what the body says.
fn repeated(headers: &HeaderMap, name: &str, said: Option<&str>) -> Result<(), &'static str> {
    let value = single(headers, name)?.ok_or("is missing")?;
    let same = decoded(value).is_some_and(|value| Some(value.as_str()) == said);
    if same { Ok(()) } else { Err("differs from the body") }
}
