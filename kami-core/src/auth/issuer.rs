//! Somebody else who says who clients are: an OAuth 2.1 authorization server.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::fetch::{FetchError, IssuerUrl, fetch};
use super::identity::{Identity, Proof};
use super::jwt::Unverified;
use super::keys::{Algorithm, KeySet};
use super::{Refused, Scope, ToolSelection};
use crate::rate::TokenBucket;

/// How old keys may be before they are read again, while they are used.
const REFRESH: Duration = Duration::from_secs(5 * 60);

/// How old keys may be before they are trusted only after they were read again: so long, at the most,
/// one counts that the issuer has withdrawn, if it can be reached.
const OLD: Duration = Duration::from_secs(10 * 60);

/// How long whoever shows a token waits for that, as the keys may be good although the issuer does not
/// answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// For how long nobody waits after they could not be read.
const RESPITE: Duration = Duration::from_secs(30);

/// How old keys may be that could not be read again. Then the issuer has been away for so long that
/// it may have withdrawn any of them.
const STALE: Duration = Duration::from_secs(60 * 60);

/// How often in a minute keys are read. A token that names a key which nobody knows has them read
/// again, as after a rotation, and anybody can send one.
const READS_PER_MINUTE: u64 = 6;

/// The most characters of a subject in the name of an identity.
const SHOWN: usize = 128;

/// How to know the access tokens of an issuer.
#[derive(Debug, Clone)]
pub struct OAuthOptions {
    /// Whose they are, as they say themselves.
    pub issuer: IssuerUrl,
    /// For whom they are: this server, as the issuer names it.
    pub audience: String,
    /// Where the issuer's keys are; `None`: where its metadata says.
    pub jwks: Option<IssuerUrl>,
    /// The scopes that a token must have, each of them, to list and call every tool that is offered;
    /// where there are none, those of [`Scope`] say what it may do.
    pub scopes: Vec<String>,
}

/// Tells who shows an access token.
#[derive(Clone)]
pub(super) struct Issuer(Arc<Shared>);

struct Shared {
    options: OAuthOptions,
    known: Mutex<Known>,
    /// Held by whoever reads the keys.
    reading: tokio::sync::Mutex<()>,
    reads: TokenBucket,
}

/// The keys as they were read last.
#[derive(Default)]
struct Known {
    keys: Arc<KeySet>,
    /// When that began; `None`: never.
    since: Option<Instant>,
    /// How many times they have been read, or tried to.
    attempts: u64,
    /// When they could not be, if that was the last time.
    failed: Option<Instant>,
}

/// What an issuer says about itself (RFC 8414).
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: Option<String>,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
enum KeysError {
    #[error("{url} cannot be read")]
    Fetch {
        url: IssuerUrl,
        #[source]
        source: FetchError,
    },
    #[error("{url} is not what it should be")]
    Format {
        url: IssuerUrl,
        #[source]
        source: serde_json::Error,
    },
    #[error("the metadata at {url} is that of another issuer")]
    Issuer { url: IssuerUrl },
    #[error("the metadata at {url} names no place of keys that can be trusted")]
    Place { url: IssuerUrl },
    #[error("the issuer has no metadata")]
    Missing,
}

impl Issuer {
    pub(super) fn new(options: OAuthOptions) -> Self {
        Self(Arc::new(Shared {
            options,
            known: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
            reads: TokenBucket::per_minute(READS_PER_MINUTE),
        }))
    }

    pub(super) fn options(&self) -> &OAuthOptions {
        &self.0.options
    }

    /// Tells who shows `token`.
    pub(super) async fn admit(&self, token: &str) -> Result<Identity, Refused> {
        let OAuthOptions { issuer, audience, scopes, .. } = &self.0.options;
        let token = Unverified::parse(token)?;
        let keys = self.keys_for(token.key.as_deref(), token.algorithm).await?;
        let Some(key) = keys.find(token.key.as_deref(), token.algorithm) else {
            return Err(Refused::Invalid("the token is signed by a key that its issuer has not"));
        };
        let claims = token.verify(key, issuer.as_str(), audience)?;
        let scopes = rights(&claims.scopes, scopes);
        let shown: String = claims.subject.chars().take(SHOWN).collect();
        let owner = format!("oauth:{}\n{issuer}\n{}", shown.escape_debug(), claims.subject);
        let proof = Proof::Until(claims.end);
        Ok(Identity::known(owner, scopes, ToolSelection::default(), proof))
    }

    /// The keys of the issuer, with the one that is looked for, if it can be had.
    async fn keys_for(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Arc<KeySet>, Refused> {
        let (attempts, keys, age) = self.0.known();
        let Some(age) = age.filter(|age| *age < STALE) else {
            self.read_after(attempts).await;
            let (_, keys, age) = self.0.known();
            return match age {
                Some(age) if age < STALE => Ok(keys),
                _ => Err(Refused::Unavailable("the keys of the issuer cannot be read")),
            };
        };
        if keys.find(id, algorithm).is_none() {
            self.read_after(attempts).await;
            return Ok(self.0.known().1);
        }
        if age < REFRESH {
            return Ok(keys);
        }
        let reading = self.read_after(attempts);
        if age < OLD || self.0.is_away() {
            // Whoever has a key that is known does not wait for it.
            return Ok(keys);
        }
        // What comes later is for the next request.
        let _ = tokio::time::timeout(PATIENCE, reading).await;
        Ok(self.0.known().1)
    }

    /// Reads the keys, in a task of its own: who closes the connection does not spend a read that
    /// others wait for.
    fn read_after(&self, attempts: u64) -> impl Future<Output = ()> + use<> {
        let shared = Arc::clone(&self.0);
        let reading = tokio::spawn(async move { shared.read_after(attempts).await });
        // One that panicked has read nothing.
        async move { drop(reading.await) }
    }
}

impl Shared {
    /// How many times keys were read, the keys, and how old they are.
    fn known(&self) -> (u64, Arc<KeySet>, Option<Duration>) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        (known.attempts, Arc::clone(&known.keys), known.since.map(|since| since.elapsed()))
    }

    /// Whether the issuer could not be reached a moment ago.
    fn is_away(&self) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.failed.is_some_and(|failed| failed.elapsed() < RESPITE)
    }

    /// Reads the keys, unless somebody has since there were so many `attempts`, or it has been done
    /// too often.
    async fn read_after(&self, attempts: u64) {
        let _reading = self.reading.lock().await;
        if self.known().0 != attempts || self.reads.take().is_err() {
            return;
        }
        let since = Instant::now();
        let read = self.read().await;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.attempts += 1;
        known.failed = read.is_err().then(Instant::now);
        match read {
            Ok(keys) => (known.keys, known.since) = (Arc::new(keys), Some(since)),
            Err(error) => {
                let (error, issuer) = (&error as &dyn Error, &self.options.issuer);
                tracing::error!(error, %issuer, "the keys of the issuer cannot be read");
            }
        }
    }

    async fn read(&self) -> Result<KeySet, KeysError> {
        let url = match &self.options.jwks {
            Some(url) => url.clone(),
            None => self.find_keys().await?,
        };
        match fetch(&url).await {
            Ok(json) => KeySet::parse(&json).map_err(|source| KeysError::Format { url, source }),
            Err(source) => Err(KeysError::Fetch { url, source }),
        }
    }

    /// Where the issuer's metadata says that its keys are.
    async fn find_keys(&self) -> Result<IssuerUrl, KeysError> {
        let issuer = &self.options.issuer;
        for url in issuer.places_of_metadata() {
            let json = match fetch(&url).await {
                Ok(json) => json,
                Err(FetchError::Status(status)) if status.is_client_error() => continue,
                Err(source) => return Err(KeysError::Fetch { url, source }),
            };
            let metadata: Metadata = match serde_json::from_slice(&json) {
                Ok(metadata) => metadata,
                Err(source) => return Err(KeysError::Format { url, source }),
            };
            if metadata.issuer != issuer.as_str() {
                return Err(KeysError::Issuer { url });
            }
            let keys = metadata.jwks_uri.and_then(|uri| uri.parse::<IssuerUrl>().ok());
            // Whoever proves who they are does not send us to where nobody does.
            let keys = keys.filter(|keys| keys.is_secure() || !issuer.is_secure());
            return keys.ok_or(KeysError::Place { url });
        }
        Err(KeysError::Missing)
    }
}

/// What the scopes of a token permit. Those that are meant for others permit nothing here.
fn rights(given: &BTreeSet<String>, wanted: &[String]) -> BTreeSet<Scope> {
    match wanted {
        [] => given.iter().filter_map(|scope| scope.parse().ok()).collect(),
        wanted if wanted.iter().all(|scope| given.contains(scope)) => [Scope::Call].into(),
        _ => BTreeSet::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    const ONE: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"one",
        "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    /// Answers one request after the other with what is in `pages`, and then no more.
    fn issuer(pages: Vec<&'static str>) -> Issuer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url: IssuerUrl = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        std::thread::spawn(move || {
            for page in pages {
                let (mut stream, _) = listener.accept().unwrap();
                stream.read_exact(&mut [0; 16]).unwrap();
                let length = page.len();
                write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{page}")
                    .unwrap();
            }
        });
        let (audience, jwks) = (String::new(), Some(url.clone()));
        Issuer::new(OAuthOptions { issuer: url, audience, jwks, scopes: Vec::new() })
    }

    /// Makes the keys of an issuer older, as if nobody had come meanwhile.
    fn age(issuer: &Issuer, by: Duration) {
        let mut known = issuer.0.known.lock().unwrap();
        known.since =
            known.since.map(|since| since.checked_sub(by).expect("clocks go back so far"));
    }

    async fn has_one(issuer: &Issuer) -> Result<bool, Refused> {
        let keys = issuer.keys_for(Some("one"), Algorithm::EdDsa).await?;
        Ok(keys.find(Some("one"), Algorithm::EdDsa).is_some())
    }

    #[tokio::test]
    async fn keys_that_grew_old_unused_are_read_again_before_they_count() {
        let withdrawn = issuer(vec![ONE, r#"{"keys":[]}"#]);
        assert_eq!(has_one(&withdrawn).await, Ok(true));
        assert_eq!(has_one(&withdrawn).await, Ok(true));
        age(&withdrawn, OLD);
        assert_eq!(has_one(&withdrawn).await, Ok(false));

        let kept = issuer(vec![ONE, ONE]);
        assert_eq!(has_one(&kept).await, Ok(true));
        age(&kept, OLD);
        assert_eq!(has_one(&kept).await, Ok(true));
    }

    #[tokio::test]
    async fn keys_of_an_issuer_that_is_away_count_for_an_hour_and_no_longer() {
        let away = issuer(vec![ONE]);
        assert_eq!(has_one(&away).await, Ok(true));
        age(&away, OLD);
        assert_eq!(has_one(&away).await, Ok(true));
        age(&away, STALE - OLD);
        let refused = Refused::Unavailable("the keys of the issuer cannot be read");
        assert_eq!(has_one(&away).await, Err(refused));
    }
}
