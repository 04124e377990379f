//! Who may come in over HTTP, and by which name: the flags of `serve` about it.

use std::path::PathBuf;

use anyhow::Context as _;
use kami_core::auth::{AuthOptions, Gate, IssuerUrl, OAuthOptions};
use kami_core::mcp::{HostName, HttpOptions, WebOrigin};
use kami_core::registry::{DataDir, Registry};

use crate::config::means_nothing;
use crate::exit::Failure;
use crate::ops::listener;
use crate::shell::Shell;

/// The flags that only mean something over HTTP.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Over HTTP")]
pub struct DoorFlags {
    /// Answer only to who shows one of these tokens: `tokens`, those of `cargo kami token create`
    #[arg(long, value_name = "KIND", hide_possible_values = true)]
    auth: Vec<Kind>,
    /// Answer to who shows an access token of this OAuth 2.1 authorization server, which has to be at
    /// an https address, or on this machine
    #[arg(long, value_name = "URL")]
    oauth_issuer: Option<IssuerUrl>,
    /// For whom such a token has to be: this server, as the issuer names it, usually its URL
    #[arg(long, value_name = "URI")]
    oauth_audience: Option<String>,
    /// Where the issuer's keys are, if not where its metadata says
    #[arg(long, value_name = "URL")]
    oauth_jwks: Option<IssuerUrl>,
    /// A scope of the issuer's that such a token has to have, and that permits to list and call all
    /// tools that are offered; may be given again [default: `kami:call` and the like decide]
    #[arg(long, value_name = "SCOPE", value_parser = scope)]
    oauth_scope: Vec<String>,
    /// Where clients find this server, if not at the address that it listens on, such as
    /// https://tools.example.com in front of it
    ///
    /// Clients are told to find who gives tokens there. Otherwise they are told so by the name that they
    /// used: at https://, but for localhost and the like without TLS.
    #[arg(long, value_name = "URL")]
    public_url: Option<WebOrigin>,
    /// A name or address by which requests may address this server, beside localhost and that of
    /// `--public-url`; may be given again
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    allow_host: Vec<HostName>,
    /// A site whose pages may talk to this server from a browser, such as https://app.example.com;
    /// may be given again
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',')]
    cors_origin: Vec<WebOrigin>,
    /// Speak TLS with the certificate in this file: PEM, with those that lead to an authority behind it;
    /// it may be renewed while the server runs
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The key of that certificate: PEM, without a passphrase
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
}

/// What a client may show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// A token of `cargo kami token create`.
    Tokens,
}

/// A scope, as RFC 6749 has it: a word that can stand in a challenge.
fn scope(text: &str) -> Result<String, &'static str> {
    let known = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
    match (1..=256).contains(&text.len()) && text.chars().all(known) {
        true => Ok(text.to_owned()),
        false => Err("a scope is one word, without quotes and backslashes"),
    }
}

impl DoorFlags {
    /// Those that mean something over HTTP only; the others mean something with one of them.
    pub const KEYS: &[&str] =
        &["auth", "oauth-issuer", "public-url", "allow-host", "cors-origin", "tls-cert", "tls-key"];

    /// Refuses those that mean something with another one only, if that is not there.
    ///
    /// # Errors
    /// Names the first one.
    pub fn check(&self) -> Result<(), Failure> {
        let of_oauth = [
            ("oauth-audience", self.oauth_audience.is_some()),
            ("oauth-jwks", self.oauth_jwks.is_some()),
            ("oauth-scope", !self.oauth_scope.is_empty()),
        ];
        let alone = match (&self.oauth_issuer, &self.oauth_audience) {
            (Some(_), None) => Some(("oauth-issuer", "--oauth-audience URI")),
            (Some(_), Some(_)) => None,
            (None, _) => {
                let said = of_oauth.iter().find(|(_, said)| *said);
                said.map(|(key, _)| (*key, "--oauth-issuer URL"))
            }
        };
        // Wherever it is said: without it, this server would ask nobody who they are.
        alone.map_or(Ok(()), |(key, needed)| Err(means_nothing(&format!("--{key}"), needed)))
    }

    /// What they say, with the most calls in a minute of each client that is known.
    ///
    /// # Errors
    /// Where the registry cannot be opened, or there is no TLS with the files that are named.
    pub fn options(
        self,
        data: &DataDir,
        calls_per_minute: Option<u64>,
        shell: &Shell,
    ) -> anyhow::Result<HttpOptions> {
        let tokens = self.auth.contains(&Kind::Tokens);
        let oauth = self.oauth_issuer.zip(self.oauth_audience).map(|(issuer, audience)| {
            OAuthOptions { issuer, audience, jwks: self.oauth_jwks, scopes: self.oauth_scope }
        });
        let auth = AuthOptions { tokens, oauth, calls_per_minute };
        let asks = auth.tokens || auth.oauth.is_some();
        if tokens && Registry::open(data)?.tokens().is_ok_and(|tokens| tokens.is_empty()) {
            shell.note("there are no tokens yet: `cargo kami token create NAME` makes one");
        }
        let gate = asks.then(|| Gate::new(data, auth)).transpose();
        Ok(HttpOptions {
            gate: gate.context("reading the tokens")?,
            public: self.public_url,
            hosts: self.allow_host,
            pages: self.cors_origin,
            tls: listener::tls(self.tls_cert, self.tls_key)?,
        })
    }
}
