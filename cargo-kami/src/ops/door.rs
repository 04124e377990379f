//! Who may come in over HTTP, and by which name: the flags of `serve` about it.

use anyhow::Context as _;
use kami_core::auth::{AuthOptions, Gate};
use kami_core::mcp::{HostName, HttpOptions, WebOrigin};
use kami_core::registry::{DataDir, Registry};

use crate::shell::Shell;

/// The flags that only mean something over HTTP.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Over HTTP")]
pub struct DoorFlags {
    /// Answer only to who shows one of these tokens: `tokens`, those of `cargo kami token create`
    #[arg(long, value_name = "KIND", requires = "http", hide_possible_values = true)]
    auth: Vec<Kind>,
    /// Where clients find this server, if not at the address that it listens on, such as
    /// https://tools.example.com in front of it
    #[arg(long, value_name = "URL", requires = "http")]
    public_url: Option<WebOrigin>,
    /// A name or address by which requests may address this server, beside localhost and that of
    /// `--public-url`; may be given again
    #[arg(long, value_name = "HOST", requires = "http", value_delimiter = ',')]
    allow_host: Vec<HostName>,
    /// A site whose pages may talk to this server from a browser, such as https://app.example.com;
    /// may be given again
    #[arg(long, value_name = "ORIGIN", requires = "http", value_delimiter = ',')]
    cors_origin: Vec<WebOrigin>,
}

/// What a client may show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// A token of `cargo kami token create`.
    Tokens,
}

impl DoorFlags {
    /// What they say, with the most calls in a minute of each client that is known.
    ///
    /// # Errors
    /// Where the registry cannot be opened.
    pub fn options(
        self,
        data: &DataDir,
        calls_per_minute: Option<u64>,
        shell: &Shell,
    ) -> anyhow::Result<HttpOptions> {
        let auth = AuthOptions { tokens: self.auth.contains(&Kind::Tokens), calls_per_minute };
        if auth.tokens && Registry::open(data)?.tokens().is_ok_and(|tokens| tokens.is_empty()) {
            shell.note("there are no tokens yet: `cargo kami token create NAME` makes one");
        }
        let gate = auth.tokens.then(|| Gate::new(data, auth)).transpose();
        Ok(HttpOptions {
            gate: gate.context("reading the tokens")?,
            public: self.public_url,
            hosts: self.allow_host,
            pages: self.cors_origin,
        })
    }
}
