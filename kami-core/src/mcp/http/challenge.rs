//! Who makes a request: the bearer token that it brings, and what is answered where it is not enough.
//!
//! Statuses and challenges are those of RFC 6750 and RFC 9728, as the protocol's authorization
//! specification has them since 2025-06-18.

use http::header::{AUTHORIZATION, HeaderMap, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode, Uri};

use super::{Reply, text};
use crate::auth::{Gate, Identity, Refused};

/// Why a request is not answered as it was meant.
pub(super) enum Challenge {
    /// It shows nothing.
    Missing,
    /// It is no request that may bring a token.
    Malformed(&'static str),
    /// What it shows counts for nothing.
    Refused(Refused),
    /// Whoever makes it may not do that.
    Insufficient,
}

/// Tells who makes a request.
///
/// # Security
/// Only the gate reads the token. Nothing of it is in what this gives.
pub(super) async fn identify(
    gate: &Gate,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Identity, Challenge> {
    // What is in an address is in the logs of everybody who passes it on.
    let parameters = uri.query().unwrap_or_default().split('&');
    let names = parameters.map(|parameter| parameter.split('=').next().unwrap_or_default());
    if names.into_iter().any(|name| name.eq_ignore_ascii_case("access_token")) {
        return Err(Challenge::Malformed("a token comes in the header Authorization"));
    }
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let token = match (given.next(), given.next()) {
        (None, _) => return Err(Challenge::Missing),
        (Some(_), Some(_)) => return Err(Challenge::Malformed("there are several tokens")),
        (Some(value), None) => bearer(value)?,
    };
    let identity = gate.admit(token).await.map_err(Challenge::Refused)?;
    if identity.has_rights() { Ok(identity) } else { Err(Challenge::Insufficient) }
}

/// The token in the header, as RFC 6750 has it: `Bearer` and one word of some characters.
fn bearer(value: &HeaderValue) -> Result<&str, Challenge> {
    let invalid = Challenge::Refused(Refused::Invalid("the token is malformed"));
    let Ok(value) = value.to_str() else { return Err(invalid) };
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        // Other ways to show who one is are none here.
        return Err(Challenge::Missing);
    }
    let token = token.trim_matches(' ');
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if !token.is_empty() && token.bytes().all(known) { Ok(token) } else { Err(invalid) }
}

impl Challenge {
    /// The answer. `metadata` is where a client reads who gives tokens for this server.
    pub(super) fn reply(self, gate: &Gate, metadata: &str) -> Reply {
        let scope = gate.scope_of_calls();
        let (status, why, error) = match self {
            Self::Missing => {
                (StatusCode::UNAUTHORIZED, "a token is needed, in the header Authorization", None)
            }
            Self::Malformed(why) => (StatusCode::BAD_REQUEST, why, Some("invalid_request")),
            Self::Refused(Refused::Invalid(why)) => {
                (StatusCode::UNAUTHORIZED, why, Some("invalid_token"))
            }
            Self::Refused(Refused::Unavailable(why)) => {
                let mut reply = text(StatusCode::SERVICE_UNAVAILABLE, why);
                reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
                return reply;
            }
            Self::Insufficient => (
                StatusCode::FORBIDDEN,
                "the scopes of the token do not permit this",
                Some("insufficient_scope"),
            ),
        };
        let mut challenge = String::from("Bearer ");
        if let Some(error) = error {
            challenge += &format!(r#"error="{error}", error_description="{why}", "#);
        }
        challenge += &format!(r#"scope="{scope}", resource_metadata="{metadata}""#);
        let mut reply = text(status, why);
        // Every part is of ours, or was checked to be printable.
        if let Ok(challenge) = HeaderValue::try_from(challenge) {
            reply.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        reply
    }
}
