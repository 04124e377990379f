//! What is offered: the list of tools, calls to them, and news of changes.
//!
//! rmcp's service loop has all of it but the calls, which [`super::calls`] makes.
#![expect(
    deprecated,
    reason = "logging is deprecated in 2026-07-28 and still part of every revision"
)]

use std::borrow::Cow;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rmcp::model::{
    CacheScope, CallToolResult, ClientCapabilities, DiscoverResult, ErrorData, Implementation,
    InitializeRequestParams, InitializeResult, ListToolsResult, MetaObject, PaginatedRequestParams,
    ProtocolVersion, ServerCapabilities, ServerConfig, SetLevelRequestMethod,
    SetLevelRequestParams, SubscriptionFilter,
};
use rmcp::service::{NotificationContext, RequestContext, SubscriptionContext};
use rmcp::{RoleServer, ServerHandler};
use serde_json::Value;
use tokio::sync::watch;

use super::ServerOptions;
use super::calls::{Terms, ToolCall};
use super::events::{Speaker, guest_level};
use super::message::brief;
use super::outcome;
use super::wire::Wire;
use crate::auth::Identity;
use crate::call::{CallError, Level, call_as};
use crate::metrics::Metrics;
use crate::rate::TokenBucket;
use crate::resolve::{Catalog, CatalogEntry, ResolveError, Resolver};
use crate::scheduler::Principal;
use crate::witness::{UNRECORDED, Witness};

/// How long a client may keep what `server/discover` says, which only changes with the program.
const DISCOVERY_TTL: Duration = Duration::from_secs(3600);

/// How long a client may keep a list of tools without asking again.
///
/// Whoever listens for changes hears of them sooner; whoever does not should find a tool that was
/// just installed.
const LIST_TTL: Duration = Duration::from_secs(1);

/// The code in the log of a call for which a scope is missing, and what that means.
const FORBIDDEN: &str = "KAMI-SCOPE";
const NOT_PERMITTED: &str = "the scopes of the token do not permit this call";

/// What a legacy session hears before it says what it wants to hear.
const DEFAULT_LOG_LEVEL: Level = Level::Warning;

/// The tools of one registry, for one connection.
pub(super) struct Handler {
    resolver: Arc<Resolver>,
    options: ServerOptions,
    /// Changes with the catalog.
    generation: watch::Receiver<i64>,
    /// Becomes true at the end of the input.
    ended: watch::Receiver<bool>,
    /// Who opened the legacy session, by its own word, once somebody has.
    client: Mutex<Option<Arc<InitializeRequestParams>>>,
    /// The level of a legacy session.
    log_level: Mutex<Level>,
    /// What has changed since a legacy session was opened, until somebody listens for it.
    news: OnceLock<Mutex<Option<watch::Receiver<i64>>>>,
    /// Who answers, as `_meta` tells it.
    server_info: Value,
    /// How often all of those may call whom nobody asked who they are.
    rate: Option<Arc<TokenBucket>>,
    /// Counts calls, where somebody may ask for the numbers.
    metrics: Option<Metrics>,
    /// Who calls, where that is the same for the whole connection.
    identity: Arc<Identity>,
}

/// Every revision of the protocol, oldest first.
pub(super) fn supported_versions() -> Cow<'static, [ProtocolVersion]> {
    Cow::Borrowed(ProtocolVersion::KNOWN_VERSIONS)
}

/// Somebody whom nobody asked who they are.
fn anonymous(options: &ServerOptions, rate: Option<Arc<TokenBucket>>) -> Arc<Identity> {
    let principal = options.principal.unwrap_or_else(Principal::unnamed);
    Arc::new(Identity::anonymous(principal, rate))
}

fn is_stateless(context: &RequestContext<RoleServer>) -> bool {
    context.meta.protocol_version().is_some_and(|version| !version.has_initialize())
}

/// Who answers.
fn server_info() -> Implementation {
    Implementation::new("kami", env!("CARGO_PKG_VERSION"))
}

impl Handler {
    pub(super) fn new(
        resolver: Arc<Resolver>,
        options: ServerOptions,
        generation: watch::Receiver<i64>,
        ended: watch::Receiver<bool>,
        rate: Option<Arc<TokenBucket>>,
        metrics: Option<Metrics>,
    ) -> Self {
        Self {
            metrics,
            server_info: serde_json::to_value(server_info()).unwrap_or_default(),
            identity: anonymous(&options, rate.clone()),
            rate,
            resolver,
            options,
            generation,
            ended,
            client: Mutex::default(),
            log_level: Mutex::new(DEFAULT_LOG_LEVEL),
            news: OnceLock::new(),
        }
    }

    /// Who opened the legacy session, if somebody has.
    pub(super) fn client(&self) -> Option<Arc<InitializeRequestParams>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From which level on the legacy session wants to hear what calls log.
    pub(super) fn log_level(&self) -> Level {
        *self.log_level.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the server's identity to a result, as 2026-07-28 wants it on each.
    pub(super) fn stamp(&self, meta: &mut MetaObject) {
        meta.insert("io.modelcontextprotocol/serverInfo".to_owned(), self.server_info.clone());
    }

    /// What changes from now on.
    pub(super) fn news_from_now(&self) -> watch::Receiver<i64> {
        let mut news = self.generation.clone();
        news.mark_unchanged();
        news
    }

    /// Who calls over this connection or session, unless they have shown to be somebody else.
    pub(super) fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// Somebody who has neither.
    pub(super) fn newcomer(&self) -> Arc<Identity> {
        anonymous(&self.options, self.rate.clone())
    }

    /// Whether somebody sees a tool of this name and may not call it, which is recorded. Of what they
    /// do not see, they learn nothing here.
    pub(super) async fn forbids(&self, identity: &Identity, name: &str) -> bool {
        if identity.is_unrestricted() {
            return false;
        }
        let catalog = self.resolver.catalog();
        let entry = catalog.and_then(|catalog| self.find(&catalog, identity, name));
        let forbidden = entry.is_ok_and(|entry| !identity.may_call(&entry));
        if forbidden && let Ok(witness) = Witness::new(self.options.audit.as_ref(), None).await {
            let witness = witness.of(identity.name()).counted_by(self.metrics.as_ref());
            witness.refused_as(name, FORBIDDEN, NOT_PERMITTED.to_owned());
        }
        forbidden
    }

    /// Whether a tool is there for somebody.
    fn shows(&self, identity: &Identity, entry: &CatalogEntry) -> bool {
        self.options.tools.allows(entry) && identity.sees(entry)
    }

    /// Finds a tool that is there for somebody.
    fn find(
        &self,
        catalog: &Catalog,
        identity: &Identity,
        name: &str,
    ) -> Result<CatalogEntry, ResolveError> {
        match identity.is_unrestricted() && self.options.tools.is_everything() {
            true => catalog.find(name),
            false => catalog.find_among(name, |entry| self.shows(identity, entry)),
        }
    }

    /// Whether tools can be found.
    pub(super) fn is_ready(&self) -> bool {
        self.resolver.catalog().is_ok()
    }

    /// How many calls of one principal are accepted, to run or to wait.
    pub(super) fn accepted(&self) -> usize {
        self.resolver.engine().scheduler().most_of_one()
    }

    /// Calls a tool on behalf of somebody, to whom notifications go through `wire`.
    pub(super) async fn call(
        &self,
        identity: &Identity,
        request: ToolCall,
        terms: Terms,
        wire: Arc<dyn Wire>,
    ) -> Result<CallToolResult, ErrorData> {
        let witness = Witness::new(self.options.audit.as_ref(), terms.client).await;
        let mut witness = match witness {
            Ok(witness) => witness.of(identity.name()).counted_by(self.metrics.as_ref()),
            Err(error) => {
                self.metrics.iter().for_each(|metrics| metrics.refused(UNRECORDED));
                return Ok(outcome::unrecorded(&error));
            }
        };
        if let Err(retry) = identity.take_turn() {
            let error = CallError::TooOften { retry };
            witness.refused_as(&request.name, error.code(), error.to_string());
            return Ok(outcome::refused(&error));
        }
        let catalog = match self.resolver.catalog() {
            Ok(catalog) => catalog,
            Err(error) => {
                witness.refused(&request.name, &error);
                return Err(outcome::no_catalog(&error));
            }
        };
        let entry = match self.find(&catalog, identity, &request.name) {
            // Whoever let it come this far has asked `forbids`.
            Ok(entry) if identity.may_call(&entry) => entry,
            Ok(_) => {
                witness.refused_as(&request.name, FORBIDDEN, NOT_PERMITTED.to_owned());
                return Err(ErrorData::invalid_request(NOT_PERMITTED, None));
            }
            Err(error) => {
                witness.refused(&request.name, &error);
                return Err(outcome::unknown_tool(&error));
            }
        };
        let arguments = request.arguments;
        let package = &entry.package;
        let (about, digest) = (&package.manifest.package, package.digest);
        witness.saw(&entry.wire_name, about, digest, &arguments);
        let tool = match self.resolver.resolve(&entry).await {
            Ok(tool) => tool,
            Err(error) => {
                witness.refused(&request.name, &error);
                return Ok(outcome::refusal(&entry, &error));
            }
        };
        witness.knows(&tool);
        let logger = entry.wire_name.clone();
        let speaker = Speaker::new(wire, logger, terms.log_level, terms.progress);
        let events = witness.watch(Arc::new(speaker));
        let report = call_as(identity.principal(), &tool, arguments, events).await;
        witness.ended(&report);
        let stats = self.options.stats.then_some(report.stats);
        let mut result = outcome::reply(&entry, report);
        if let Some(stats) = stats {
            outcome::attach(&mut result, &stats);
        }
        Ok(result)
    }
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_logging()
            .enable_tools()
            .enable_tool_list_changed()
            .build();
        ServerConfig::new(capabilities)
            .with_server_info(server_info())
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        supported_versions()
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        let result = self.negotiate_initialize(&request)?;
        // What was agreed on counts, not what was asked for; and no more is kept than is used.
        let Implementation { name, version, .. } = &request.client_info;
        let who = Implementation::new(brief(name), brief(version));
        let client = InitializeRequestParams::new(ClientCapabilities::default(), who)
            .with_protocol_version(result.protocol_version.clone());
        self.news.get_or_init(|| Mutex::new(Some(self.news_from_now())));
        let who = Arc::new(client.clone());
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(who);
        context.peer.set_peer_info(client);
        Ok(result)
    }

    async fn discover(&self, _: RequestContext<RoleServer>) -> Result<DiscoverResult, ErrorData> {
        let versions = supported_versions().into_owned();
        Ok(DiscoverResult::from_server_info(versions, self.get_info())
            .with_ttl_ms(milliseconds(DISCOVERY_TTL))
            .with_cache_scope(CacheScope::Public))
    }

    async fn set_level(
        &self,
        request: SetLevelRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        if is_stateless(&context) {
            return Err(ErrorData::method_not_found::<SetLevelRequestMethod>());
        }
        if self.client().is_none() {
            // The level is the session's; without one, it would be somebody else's too.
            let message = "only a session has a level: send `initialize` first";
            return Err(ErrorData::invalid_request(message, None));
        }
        *self.log_level.lock().unwrap_or_else(PoisonError::into_inner) = guest_level(request.level);
        Ok(())
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let catalog = self.resolver.catalog().map_err(|error| outcome::no_catalog(&error))?;
        let after = match request.and_then(|request| request.cursor) {
            Some(cursor) => Some(name_of(&cursor)?),
            None => None,
        };
        let identity = context.extensions.get::<Arc<Identity>>().unwrap_or(&self.identity);
        let mut entries = catalog.entries(after.as_deref()).filter(|entry| {
            // What cannot be read is told to whoever asks for a list.
            entry.as_ref().map_or(true, |entry| self.shows(identity, entry))
        });
        let page: Result<Vec<_>, _> = entries.by_ref().take(self.options.page_size.get()).collect();
        let page = page.map_err(|error| outcome::no_catalog(&error.into()))?;
        let next_cursor = match (page.last(), entries.next()) {
            (Some(last), Some(_)) => Some(cursor_after(last.wire_name.as_str())),
            _ => None,
        };
        let mut result = ListToolsResult::with_all_items(page.iter().map(outcome::tool).collect());
        result.next_cursor = next_cursor;
        if is_stateless(&context) {
            result =
                result.with_ttl_ms(milliseconds(LIST_TTL)).with_cache_scope(CacheScope::Private);
        }
        Ok(result)
    }

    fn accepted_subscription_filter(&self, _: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(SubscriptionFilter::builder().tools_list_changed().build())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let mut ended = self.ended.clone();
        let mut generation = self.news_from_now();
        loop {
            tokio::select! {
                () = context.cancelled() => return Ok(()),
                _ = ended.wait_for(|ended| *ended) => return Ok(()),
                changed = generation.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                }
            }
            if context.accepted().tools_list_changed == Some(true)
                && context.sink().notify_tool_list_changed().await.is_err()
            {
                return Ok(());
            }
        }
    }

    /// Opens the news of a legacy session; each notification has its own task.
    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        let news = self.news.get();
        let news = news.and_then(|n| n.lock().unwrap_or_else(PoisonError::into_inner).take());
        let Some(mut news) = news else { return };
        while news.changed().await.is_ok() {
            if context.peer.notify_tool_list_changed().await.is_err() {
                return;
            }
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A cursor says after which name the next page begins, so that it stays good when tools come and
/// go between two pages.
fn cursor_after(name: &str) -> String {
    URL_SAFE_NO_PAD.encode(name)
}

fn name_of(cursor: &str) -> Result<String, ErrorData> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| ErrorData::invalid_params("`cursor` is not one that this server gave", None))
}
