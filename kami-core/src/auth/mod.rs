//! Who asks: from what a client shows to an [`Identity`], which says what it may do.
//!
//! A [`Gate`] takes the bearer token of a request. One that this program made (`kami_...`) is looked up
//! in the registry, by its hash and for each request, so that a token that was revoked is refused at
//! once. Any other is taken for an access token of the OAuth 2.1 authorization server that the operator
//! trusts, if there is one: a JWT, whose signature, issuer, audience and time have to hold. The keys for
//! that come from the issuer, now and then, and no client has them read more often than that.
//!
//! Nothing of a token goes any further than this module: what comes out is an identity, or a
//! reason in words of ours.
//!
//! # Rights
//! There are three kinds of [`Scope`], which add up: `kami:read` permits to list tools, `kami:call` to
//! list and call them, and `tool:PATTERN` to list and call those that fit the pattern. Beside them a
//! token may be confined to a [`ToolSelection`]. Whoever has fewer scopes may do less; there is no
//! scope that takes anything away, as a client may ask an issuer for fewer than it could have.

mod fetch;
mod identity;
mod issuer;
mod jwt;
mod keys;
mod token;

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use lru::LruCache;

use crate::digest::Digest;
use crate::rate::TokenBucket;
use crate::registry::{DataDir, Registry, RegistryError};
use crate::scheduler::Principal;
use identity::Proof;
use issuer::Issuer;

pub use crate::registry::{Scope, ToolPattern, ToolSelection};
pub use fetch::{IssuerUrl, IssuerUrlError};
pub use identity::Identity;
pub use issuer::OAuthOptions;
pub use token::NewToken;

/// The longest token that is looked at, in bytes. Issuers stay below 4 KiB, as many servers take no
/// longer heads.
pub const LONGEST_TOKEN: usize = 8 << 10;

/// How many identities have their rate kept, of those that called last. One that is forgotten may
/// call as if it had not called for a minute.
const RATES: NonZeroUsize = NonZeroUsize::new(1 << 16).unwrap();

/// What comes of a token whose time is over.
const EXPIRED: Refused = Refused::Invalid("the token has expired");

/// Which tokens a server accepts.
#[derive(Debug, Clone, Default)]
pub struct AuthOptions {
    /// Those that `cargo kami token` made.
    pub tokens: bool,
    /// The access tokens of an OAuth 2.1 authorization server.
    pub oauth: Option<OAuthOptions>,
    /// The most calls in a minute of each identity; a token may have a lower number of its own.
    pub calls_per_minute: Option<u64>,
}

/// Why a request is refused, in words for its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The token counts for nothing here, or does not any more.
    #[error("{0}")]
    Invalid(&'static str),
    /// Nobody can tell for now.
    #[error("{0}")]
    Unavailable(&'static str),
}

/// Tells who makes a request by what it shows.
pub struct Gate {
    /// Where the tokens are that this program made.
    tokens: Option<Mutex<Registry>>,
    issuer: Option<Issuer>,
    calls_per_minute: Option<u64>,
    rates: Mutex<LruCache<(Principal, u64), Arc<TokenBucket>>>,
}

impl Gate {
    /// A gate that accepts what the options say.
    ///
    /// # Errors
    /// Where the registry in `data` cannot be opened.
    pub fn new(data: &DataDir, options: AuthOptions) -> Result<Self, RegistryError> {
        let tokens = options.tokens.then(|| Registry::open(data).map(Mutex::new)).transpose()?;
        let rates = Mutex::new(LruCache::new(RATES));
        let issuer = options.oauth.map(Issuer::new);
        Ok(Self { tokens, issuer, calls_per_minute: options.calls_per_minute, rates })
    }

    /// The scopes that there are here.
    pub fn scopes(&self) -> Vec<String> {
        match self.issuer.as_ref().map(|issuer| issuer.options().scopes.as_slice()) {
            None | Some([]) => [Scope::Read, Scope::Call].iter().map(Scope::to_string).collect(),
            Some(scopes) => scopes.to_vec(),
        }
    }

    /// Who gives tokens for this server, if somebody else does.
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_ref().map(|issuer| issuer.options().issuer.as_str())
    }

    /// What a client has to have to call every tool.
    pub fn scope_of_calls(&self) -> String {
        match self.issuer.as_ref().map(|issuer| issuer.options().scopes.as_slice()) {
            None | Some([]) => Scope::Call.to_string(),
            Some(scopes) => scopes.join(" "),
        }
    }

    /// Tells who shows `token`.
    ///
    /// # Errors
    /// Where that is nobody, or cannot be found out.
    ///
    /// # Security
    /// The token is whatever a client sent, and a secret if it is good: it is in no error and no log.
    pub async fn admit(&self, token: &str) -> Result<Identity, Refused> {
        if token.len() > LONGEST_TOKEN {
            return Err(Refused::Invalid("the token is too long"));
        }
        match (&self.tokens, &self.issuer) {
            (Some(registry), _) if token.starts_with(token::PREFIX) => {
                self.look_up(registry, token::hash(token))
            }
            (_, Some(issuer)) if !token.starts_with(token::PREFIX) => {
                Ok(self.rated(issuer.admit(token).await?, self.calls_per_minute))
            }
            _ => Err(Refused::Invalid("the token is of no kind that is accepted here")),
        }
    }

    /// Tells whether what somebody showed still holds, who was let in before.
    ///
    /// # Errors
    /// Where it does not, or that cannot be found out.
    pub fn confirm(&self, identity: &Identity) -> Result<(), Refused> {
        match (identity.proof(), &self.tokens) {
            (Proof::Nothing, _) => Ok(()),
            (Proof::Until(end), _) if SystemTime::now() < *end => Ok(()),
            (Proof::Until(_), _) => Err(EXPIRED),
            (Proof::Token(hash), Some(registry)) => self.look_up(registry, *hash).map(drop),
            (Proof::Token(_), None) => Err(Refused::Invalid("no tokens are accepted here")),
        }
    }

    /// Finds a token of this program's own, by its hash.
    fn look_up(&self, registry: &Mutex<Registry>, hash: Digest) -> Result<Identity, Refused> {
        let found = lock(registry).token(hash).map_err(|error| {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "tokens cannot be looked up");
            Refused::Unavailable("tokens cannot be looked up")
        })?;
        let token = found.ok_or(Refused::Invalid("the token is unknown, or was revoked"))?;
        if token.expires_at.is_some_and(|expires| expires <= now()) {
            return Err(EXPIRED);
        }
        let rate = [token.calls_per_minute, self.calls_per_minute].into_iter().flatten().min();
        // A token that is made anew under the name of an old one is another one, however soon. What
        // stands in files is not what tokens are found by.
        let owner = Digest::of(format!("kami owner of a token\n{hash}").as_bytes());
        let owner = format!("token:{}\n{owner}", token.name);
        let identity = Identity::known(owner, token.scopes, token.tools, Proof::Token(hash));
        Ok(self.rated(identity, rate))
    }

    /// Gives an identity the bucket that all of its requests share.
    fn rated(&self, identity: Identity, rate: Option<u64>) -> Identity {
        let bucket = rate.map(|most| {
            let mut rates = lock(&self.rates);
            let key = (identity.principal(), most);
            Arc::clone(rates.get_or_insert(key, || Arc::new(TokenBucket::per_minute(most))))
        });
        identity.with_rate(bucket)
    }
}

/// In seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
