//! The server: installed tools, offered over the Model Context Protocol.
//!
//! A line travels like this: `lines` cuts it out of the input, `message` reads it or refuses
//! it, `stdio` takes note in `unanswered` that it wants an answer, `session` decides which era of
//! the protocol it speaks, `handler` lists what there is, and `outbox` writes it all out in order.
//!
//! What takes a guest to answer (a tool, a resource, a prompt, suggestions) is a `request` of its own
//! kind, and takes a way of its own past rmcp's service loop, through `calls`. `answer` finds what is
//! meant and enters the guest, `events` tells what it says meanwhile, and `outcome` turns what came
//! of it into a reply. Where the guest needs input first, `abilities` tells what the client can be
//! asked; then `questions` asks it, or `sealed` keeps the guest's state on its way through the client.
//! Where not all tools are listed, `discover` finds them, and turns a call through it into a direct one.
//!
//! Both eras are spoken on one connection, and each request says by itself which one it means:
//! 2026-07-28, where every request carries its protocol version in `_meta`, and 2025-11-25 back to
//! 2024-11-05, where `initialize` opens a session.
//!
//! The protocol's types and its service loop come from the crate `rmcp`; none of its types is
//! public here. Its own handshake and its own transport are not used: the first ends the connection
//! when a client opens with anything unexpected, the second is silent about what is not JSON.

mod abilities;
mod answer;
mod calls;
mod discover;
mod events;
mod handler;
mod http;
mod lines;
mod message;
mod news;
mod outbox;
mod outcome;
mod param_headers;
mod questions;
mod request;
mod sealed;
mod session;
mod stdin;
mod stdio;
mod tasks;
mod unanswered;
mod watched;
mod wire;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinError;

use crate::audit::{AuditEvent, AuditLog};
use crate::auth::{Gate, ToolSelection};
use crate::call::{CallReport, Listing, ToolResult};
use crate::digest::Digest;
use crate::metrics::Metrics;
use crate::pipeline::Pipelines;
use crate::rate::TokenBucket;
use crate::registry::RegistryError;
use crate::resolve::{Catalog, CatalogEntry, Resolver};
use crate::scheduler::Principal;
use crate::telemetry::Telemetry;
use discover::KnownOverview;
use handler::{Handler, Shared};
use http::Door;
use news::NewsDesk;
use outbox::Outbox;
use session::Session;
use stdio::StdioTransport;
use tasks::{SeenTo, Tasks};

pub use discover::DiscoverOptions;
pub use http::{
    HostName, HostNameError, HttpListener, ServerTls, ServerTlsError, TlsFiles, WebOrigin,
    WebOriginError,
};
pub use stdio::stdio_pipes;

/// How long the last replies may take to be written. A client that wants the process gone sends a
/// second, harsher signal after a few seconds.
const LAST_REPLIES: Duration = Duration::from_secs(1);

/// How many refusals in a minute are recorded of those that anybody can cause at will: the log is
/// bounded, and what it has of others is not to be pushed out.
const RECORDED_REFUSALS: u64 = 60;

/// Below this, watching the registry would be work.
const MIN_WATCH_INTERVAL: Duration = Duration::from_millis(10);

/// What an operator may choose about a server.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The most tools in one answer to `tools/list`; more come in pages.
    ///
    /// Many clients read only the first page, so that the default of 1000 is beyond what people
    /// install.
    pub page_size: NonZeroUsize,
    /// How often the registry is asked whether it changed.
    pub watch_interval: Duration,
    /// Whether each result tells, in its `_meta`, what the call took.
    pub stats: bool,
    /// Where calls are recorded; `None`: nowhere. While the log cannot be written, calls are refused.
    pub audit: Option<Arc<AuditLog>>,
    /// The most calls in a minute of one client over streams, and of all of them together over HTTP
    /// where nobody is asked who they are, as a client may open any number of sessions; `None`: any
    /// number.
    pub calls_per_minute: Option<u64>,
    /// Where they are told about in spans and numbers; `None`: nowhere.
    pub telemetry: Option<Telemetry>,
    /// On whose behalf calls are made; `None`: each connection is a principal of its own.
    pub principal: Option<Principal>,
    /// Which of the installed tools there are for clients, whoever they are.
    pub tools: ToolSelection,
    /// How they are found, where they are too many for a model to read about all of them; `None`: all
    /// are listed.
    pub discover: Option<DiscoverOptions>,
    /// How long calls may go on once the server is told to shut down. Those that take longer are
    /// ended, and whoever waits for them is told so.
    pub drain: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            page_size: const { NonZeroUsize::new(1000).unwrap() },
            watch_interval: Duration::from_millis(500),
            stats: false,
            audit: None,
            telemetry: None,
            calls_per_minute: None,
            principal: None,
            tools: ToolSelection::default(),
            discover: None,
            drain: Duration::from_secs(2),
        }
    }
}

/// What an operator may choose about a server over HTTP.
#[derive(Default)]
pub struct HttpOptions {
    /// Tells who makes a request; `None`: nobody is asked, and everybody may do everything.
    pub gate: Option<Gate>,
    /// Where clients find this server, if that is not what their requests say, as behind a proxy.
    pub public: Option<WebOrigin>,
    /// The names by which requests may address it, beside those of this machine for itself and that
    /// of `public`.
    pub hosts: Vec<HostName>,
    /// The pages that may talk to it from a browser, beside those of this machine and of `public`.
    pub pages: Vec<WebOrigin>,
    /// Speaks TLS; `None`: whoever connects speaks plain HTTP.
    pub tls: Option<ServerTls>,
}

impl HttpOptions {
    /// Whether clients may be served who come by `listener`: [`Server::serve_http`] begins only then.
    ///
    /// # Errors
    /// Where other machines can reach it, and anybody could call the tools; or where nobody said by
    /// which names they address it.
    pub fn admit(&self, listener: &HttpListener) -> Result<(), ServeError> {
        match listener.exposed().map_err(ServeError::Listen)? {
            Some(address) if self.gate.is_none() => Err(ServeError::Exposed(address)),
            Some(address) if self.public.is_none() && self.hosts.is_empty() => {
                Err(ServeError::Unnamed(address))
            }
            _ => Ok(()),
        }
    }
}

/// What a client would be told about a call, as JSON.
pub fn result_json(report: &CallReport) -> serde_json::Value {
    outcome::json(report)
}

/// What a client would be told of a tool's result, as JSON: the document into which the steps of a
/// pipeline point.
pub fn result_document(result: ToolResult) -> serde_json::Value {
    outcome::document(result)
}

/// How a client is told of a tool, as JSON.
pub fn definition_json(tool: &CatalogEntry) -> serde_json::Value {
    serde_json::to_value(outcome::tool(tool)).unwrap_or_default()
}

/// How a client is told of the tools by which it finds others, see [`ServerOptions::discover`], as
/// JSON.
///
/// # Errors
/// Where the registry cannot be read.
pub fn discovery_json(catalog: &Catalog) -> Result<[serde_json::Value; 2], RegistryError> {
    discover::definitions(catalog)
}

/// Why serving ended other than by the end of the input.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The input broke; what had been accepted was answered.
    #[error("reading a message failed")]
    Read(#[source] io::Error),
    /// The output broke, as when the client is gone; calls were ended.
    #[error("writing a message failed")]
    Write(#[source] io::Error),
    /// The listener has no address.
    #[error("the listener cannot be used")]
    Listen(#[source] io::Error),
    /// The address can be reached from other machines, and nobody is asked who they are.
    #[error(
        "other machines can reach {0}, and anybody who does could call the tools: listen on \
         127.0.0.1 or [::1], or ask clients for tokens"
    )]
    Exposed(IpAddr),
    /// The address can be reached from other machines, and nobody said by which name.
    #[error(
        "other machines can reach {0}, but not by a name that requests may have: say how they \
         address this server"
    )]
    Unnamed(IpAddr),
    /// A defect in this crate.
    #[error("the server stopped unexpectedly")]
    Stopped(#[source] JoinError),
}

/// Offers the tools of one registry over the Model Context Protocol.
pub struct Server {
    resolver: Arc<Resolver>,
    options: ServerOptions,
}

impl Server {
    /// A server for what `resolver` finds; it runs once it is given a transport.
    pub fn new(resolver: Arc<Resolver>, options: ServerOptions) -> Self {
        Self { resolver, options }
    }

    /// Serves one client over a pair of byte streams, such as [`stdio_pipes`], until the input ends.
    ///
    /// Every request that was read by then is answered first. When `shutdown` is ready, the input
    /// counts as ended, and calls that take longer than [`ServerOptions::drain`] are ended too, and
    /// answered so. Dropping the future ends everything. Nothing but messages of the protocol is written to `output`.
    ///
    /// # Errors
    /// When a stream breaks.
    ///
    /// # Security
    /// The client is not trusted: whatever it sends costs bounded memory and is answered, refused
    /// or ignored.
    pub async fn serve_stdio(
        &self,
        input: impl AsyncRead + Send + Unpin + 'static,
        output: impl AsyncWrite + Send + Unpin + 'static,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let (outbox, writing) = Outbox::open(output);
        let mut writing = tokio::spawn(writing);
        let ended = watch::Sender::new(false);
        let desk = NewsDesk::new();
        let (read_failed, mut read_error) = oneshot::channel();

        let tasks = self.tasks();
        let closing = watch::Sender::new(false);
        let handler = Arc::new(self.handlers(&desk, &tasks, &ended, &closing, None)());
        let _seen_to = SeenTo::new(Arc::clone(&handler));
        let transport =
            StdioTransport::new(input, outbox, Arc::clone(&handler), ended.clone(), read_failed);
        let session =
            Session::new(Arc::clone(&handler), Arc::clone(handler.identity()), Arc::default());
        let running = rmcp::service::serve_directly(session, transport, None);
        let stop = running.cancellation_token();
        let mut serving = std::pin::pin!(running.waiting());

        let mut written = None;
        let served = tokio::select! {
            served = &mut serving => served,
            result = &mut writing => {
                written = Some(result);
                stop.cancel();
                serving.await
            }
            () = shutdown => {
                ended.send_replace(true);
                let closed = async {
                    tokio::time::sleep(self.options.drain).await;
                    closing.send_replace(true);
                    tokio::time::sleep(LAST_REPLIES).await;
                };
                tokio::select! {
                    served = &mut serving => served,
                    () = closed => {
                        stop.cancel();
                        serving.await
                    }
                }
            }
            never = self.watch(&desk) => match never {},
        };
        served.map_err(ServeError::Stopped)?;
        let written = match written {
            Some(written) => written,
            // On an ordinary end, all is written by now.
            None => match tokio::time::timeout(LAST_REPLIES, &mut writing).await {
                Ok(written) => written,
                Err(_) => {
                    tracing::warn!("the client did not read the last replies");
                    writing.abort();
                    return Ok(());
                }
            },
        };
        written.map_err(ServeError::Stopped)?.map_err(ServeError::Write)?;
        match read_error.try_recv() {
            Ok(error) => Err(ServeError::Read(error)),
            Err(_) => Ok(()),
        }
    }

    /// Serves any number of clients over HTTP, on `/mcp`, until `shutdown` is ready; requests that
    /// are being answered then get [`ServerOptions::drain`] more, and are answered so if that does not
    /// do. Dropping the future ends everything.
    ///
    /// # Errors
    /// Where [`HttpOptions::admit`] has one.
    ///
    /// # Security
    /// Clients are not trusted: whatever they send, and however little of what they are sent they take,
    /// costs bounded memory and time. Requests that a web page has sent, of elsewhere or by a name that
    /// leads here, are refused. Without [`HttpOptions::tls`], tokens on their way from another machine
    /// are for a proxy in front of this to protect.
    pub async fn serve_http(
        &self,
        listener: impl Into<HttpListener>,
        options: HttpOptions,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let listener = listener.into();
        options.admit(&listener)?;
        let exposed = listener.exposed().map_err(ServeError::Listen)?.is_some();
        let tls = options.tls.clone();
        let renewing = async {
            match &tls {
                Some(tls) => tls.renew().await,
                None => std::future::pending().await,
            }
        };
        let ended = watch::Sender::new(false);
        let desk = NewsDesk::new();
        let tasks = self.tasks();
        let (metrics, exposition) = Metrics::new(self.resolver.engine());
        let closing = watch::Sender::new(false);
        let handlers = self.handlers(&desk, &tasks, &ended, &closing, Some(metrics));
        let _seen_to = SeenTo::new(Arc::new(handlers()));
        let door = Door::new(handlers, options, exposed, exposition, ended.subscribe());
        let door = Arc::new(door);
        let shutdown = async {
            shutdown.await;
            ended.send_replace(true);
        };
        let drain = async {
            tokio::time::sleep(self.options.drain).await;
            closing.send_replace(true);
            tokio::time::sleep(LAST_REPLIES).await;
        };
        tokio::select! {
            () = door.serve(listener, shutdown, drain) => Ok(()),
            never = self.watch(&desk) => match never {},
            never = renewing => match never {},
        }
    }

    fn tasks(&self) -> Arc<Tasks> {
        Arc::new(Tasks::new(&self.resolver.data().tasks_dir()))
    }

    /// Makes the handlers of connections and sessions, who share what a client may do in a minute.
    fn handlers(
        &self,
        desk: &NewsDesk,
        tasks: &Arc<Tasks>,
        ended: &watch::Sender<bool>,
        closing: &watch::Sender<bool>,
        metrics: Option<Metrics>,
    ) -> impl Fn() -> Handler + Send + Sync + 'static {
        let options = self.options.clone();
        let rate = options.calls_per_minute.map(|most| Arc::new(TokenBucket::per_minute(most)));
        let shared = Arc::new(Shared {
            resolver: Arc::clone(&self.resolver),
            options,
            desk: desk.clone(),
            state_keys: OnceLock::new(),
            tasks: Arc::clone(tasks),
            ended: ended.subscribe(),
            closing: closing.subscribe(),
            rate,
            metrics,
            refusals: TokenBucket::per_minute(RECORDED_REFUSALS),
            overview: KnownOverview::default(),
            pipelines: Pipelines::default(),
        });
        move || Handler::new(Arc::clone(&shared))
    }

    /// Tells everybody whenever the catalog changes, and records which policy is in
    /// force.
    async fn watch(&self, desk: &NewsDesk) -> Infallible {
        let mut interval =
            tokio::time::interval(self.options.watch_interval.max(MIN_WATCH_INTERVAL));
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut known: Option<(i64, Vec<Listing>)> = None;
        let mut policy = None;
        loop {
            interval.tick().await;
            let current = self.resolver.policy_file().digest();
            if std::mem::replace(&mut policy, current) != current {
                self.record_policy(current).await;
            }
            let current = self.resolver.catalog().and_then(|catalog| {
                let same = known.as_ref().is_some_and(|(known, _)| *known == catalog.generation());
                Ok((!same).then_some((catalog.generation(), catalog.listings()?)))
            });
            match current {
                Ok(None) => {}
                Ok(Some((generation, listings))) => {
                    let before = known.replace((generation, listings.clone()));
                    let Some((_, before)) = before else { continue };
                    // What was there and is not any more is another list, too.
                    let gone = before.into_iter().filter(|listing| !listings.contains(listing));
                    gone.chain(listings.iter().copied()).for_each(|listing| desk.changed(listing));
                }
                Err(error) => tracing::warn!(%error, "the registry cannot be read"),
            }
        }
    }

    async fn record_policy(&self, digest: Option<Digest>) {
        let Some(log) = &self.options.audit else { return };
        let file = self.resolver.policy_file().path().display().to_string();
        if let Err(error) = log.record(AuditEvent::Policy { file, digest }).await {
            tracing::error!(%error, "a change of the policy could not be recorded");
        }
    }
}
