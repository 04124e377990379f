//! Access tokens of an issuer: signed JSON, as RFC 9068 has it.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Refused;
use super::keys::{Algorithm, Key};

/// How far the clocks of an issuer and of this machine may differ, in seconds.
const LEEWAY: f64 = 30.0;

/// The last second that is told apart from later ones, in the year 9999.
const FARTHEST: f64 = 253_402_300_799.0;

/// The longest name of somebody, in bytes: those of OpenID Connect have 255 at most.
const LONGEST_SUBJECT: usize = 255;

/// The most scopes of one token that are looked at.
const MOST_SCOPES: usize = 256;

/// What comes of a token that cannot be read.
const MALFORMED: Refused = Refused::Invalid("the token is malformed");

/// A token of which nothing is proved yet.
pub(super) struct Unverified<'a> {
    pub(super) algorithm: Algorithm,
    /// The key that it names.
    pub(super) key: Option<String>,
    /// Header and claims, as they were signed.
    message: &'a str,
    claims: &'a str,
    signature: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    /// What has to be understood that this does not.
    crit: Option<IgnoredAny>,
}

/// Who a token is about, as its issuer says.
pub(super) struct Claims {
    /// Who, among all that the issuer knows.
    pub(super) subject: String,
    pub(super) scopes: BTreeSet<String>,
    /// Until when it holds, with what clocks may differ by.
    pub(super) end: SystemTime,
}

#[derive(Deserialize)]
struct Written {
    iss: String,
    aud: OneOrMany,
    exp: f64,
    nbf: Option<f64>,
    sub: Option<String>,
    scope: Option<String>,
    scp: Option<OneOrMany>,
    /// The key that whoever shows the token has to have.
    cnf: Option<IgnoredAny>,
}

/// A text, or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn texts(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

impl<'a> Unverified<'a> {
    /// Takes a token apart, as far as is needed to check its signature.
    pub(super) fn parse(token: &'a str) -> Result<Self, Refused> {
        let (message, signature) = token.rsplit_once('.').ok_or(MALFORMED)?;
        let (header, claims) = message.split_once('.').ok_or(MALFORMED)?;
        let header: Header = decode(header)?;
        let Some(algorithm) = Algorithm::of(&header.alg) else {
            return Err(Refused::Invalid("the token is not signed in a way that is accepted"));
        };
        if header.crit.is_some() {
            return Err(Refused::Invalid("the token asks for what is not understood here"));
        }
        // An issuer signs other things with the same keys, such as notices that somebody has left.
        let kinds = ["at+jwt", "application/at+jwt", "jwt"];
        let known = |kind: &String| kinds.iter().any(|known| kind.eq_ignore_ascii_case(known));
        if !header.typ.as_ref().is_none_or(known) {
            return Err(Refused::Invalid("the token is no access token"));
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| MALFORMED)?;
        Ok(Self { algorithm, key: header.kid, message, claims, signature })
    }

    /// Reads what the token says, now that it is known whose word that is.
    pub(super) fn verify(self, key: &Key, issuer: &str, audience: &str) -> Result<Claims, Refused> {
        if !key.signed(self.algorithm, self.message.as_bytes(), &self.signature) {
            return Err(Refused::Invalid("the signature of the token does not hold"));
        }
        let claims: Written = decode(self.claims)?;
        let refused = |why| Err(Refused::Invalid(why));
        if claims.iss != issuer {
            return refused("the token is of another issuer");
        }
        if !claims.aud.texts().iter().any(|one| one == audience) {
            return refused("the token is for another audience");
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        if claims.exp + LEEWAY <= now {
            return refused("the token has expired");
        }
        if claims.nbf.is_some_and(|begin| begin - LEEWAY > now) {
            return refused("the token is not valid yet");
        }
        if claims.cnf.is_some() {
            return refused("the token is bound to a key, which cannot be checked here");
        }
        let subject = claims.sub.filter(|sub| (1..=LONGEST_SUBJECT).contains(&sub.len()));
        let Some(subject) = subject else { return refused("the token names nobody") };
        let scopes = match (&claims.scope, &claims.scp) {
            (Some(scope), _) => std::slice::from_ref(scope),
            (None, Some(scopes)) => scopes.texts(),
            (None, None) => &[],
        };
        let scopes = scopes.iter().flat_map(|scopes| scopes.split_ascii_whitespace());
        let scopes = scopes.take(MOST_SCOPES).map(str::to_owned).collect();
        Ok(Claims { subject, scopes, end: end(claims.exp + LEEWAY) })
    }
}

/// A time in seconds since 1970, which an issuer may put further away than clocks go.
fn end(seconds: f64) -> SystemTime {
    let seconds = Duration::try_from_secs_f64(seconds.clamp(0.0, FARTHEST)).unwrap_or_default();
    UNIX_EPOCH + seconds
}

fn decode<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, Refused> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| MALFORMED)?;
    // A list could be read as the members of an object in their order, by whoever is not strict.
    if !json.starts_with(b"{") {
        return Err(MALFORMED);
    }
    serde_json::from_slice(&json).map_err(|_| MALFORMED)
}
