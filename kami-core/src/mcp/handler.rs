//! What is offered: lists of tools, resources and prompts, and news of changes.
//!
//! rmcp's service loop has all of this; what takes a guest to answer, [`super::calls`] has.
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
    CacheScope, ClientCapabilities, DiscoverResult, ErrorData, Implementation,
    InitializeRequestParams, InitializeResult, ListPromptsResult, ListResourceTemplatesResult,
    ListResourcesResult, ListToolsResult, MetaObject, PaginatedRequestParams,
    PromptListChangedNotification, ProtocolVersion, ResourceListChangedNotification,
    ResourceUpdatedNotification, ResourceUpdatedNotificationParam, ServerCapabilities,
    ServerConfig, ServerNotification, SetLevelRequestMethod, SetLevelRequestParams,
    SubscribeRequestParams, SubscriptionFilter, ToolListChangedNotification,
    UnsubscribeRequestParams,
};
use rmcp::service::{NotificationContext, RequestContext, SubscriptionContext};
use rmcp::{RoleServer, ServerHandler};
use serde_json::Value;
use tokio::sync::watch;

use super::ServerOptions;
use super::abilities::Abilities;
use super::discover::{DiscoverOptions, KnownOverview};
use super::events::guest_level;
use super::message::brief;
use super::news::{Listener, NewsDesk};
use super::outcome;
use super::request::Asked;
use super::sealed::StateKeys;
use super::session::Era;
use super::tasks::{EXTENSION, Tasks};
use super::watched::{self, Watched};
use crate::audit::{AuditError, AuditLog};
use crate::auth::Identity;
use crate::call::{Level, Listing};
use crate::digest::Digest;
use crate::manifest::{JsonObject, ResourceUri};
use crate::metrics::Metrics;
use crate::pipeline::Pipelines;
use crate::rate::TokenBucket;
use crate::registry::{InstalledPackage, RegistryError};
use crate::resolve::{
    Catalog, CatalogEntry, PromptEntry, ResolveError, Resolver, ResourceEntry, TemplateEntry,
};
use crate::scheduler::Principal;
use crate::telemetry::{Telemetry, TraceParent};
use crate::witness::{UNRECORDED, Witness};

/// How long a client may keep what `server/discover` says, which only changes with the program.
const DISCOVERY_TTL: Duration = Duration::from_secs(3600);

/// How long a client may keep a list of tools without asking again.
///
/// Whoever listens for changes hears of them sooner; whoever does not should find a tool that was
/// just installed.
const LIST_TTL: Duration = Duration::from_secs(1);

/// The code in the log of a request for which a scope is missing, and what that means.
pub(super) const FORBIDDEN: &str = "KAMI-SCOPE";
pub(super) const NOT_PERMITTED: &str = "the scopes of the token do not permit this";

/// What a legacy session hears before it says what it wants to hear.
const DEFAULT_LOG_LEVEL: Level = Level::Warning;

/// What the handlers of one server share.
pub(super) struct Shared {
    pub(super) resolver: Arc<Resolver>,
    pub(super) options: ServerOptions,
    /// Where changes are told.
    pub(super) desk: NewsDesk,
    /// What seals the states of guests.
    pub(super) state_keys: OnceLock<StateKeys>,
    pub(super) tasks: Arc<Tasks>,
    /// Becomes true at the end of the input.
    pub(super) ended: watch::Receiver<bool>,
    /// Becomes true once no call may go on.
    pub(super) closing: watch::Receiver<bool>,
    /// How often all of those may call whom nobody asked who they are.
    pub(super) rate: Option<Arc<TokenBucket>>,
    /// Counts calls, where somebody may ask for the numbers.
    pub(super) metrics: Option<Metrics>,
    /// How many refusals that anybody can cause at will are recorded.
    pub(super) refusals: TokenBucket,
    /// What there is to be found, where tools are.
    pub(super) overview: KnownOverview,
    /// The pipelines that were called last.
    pub(super) pipelines: Pipelines,
}

/// What one registry offers, for one connection.
pub(super) struct Handler {
    shared: Arc<Shared>,
    /// Who opened the legacy session, by its own word, once somebody has, and what it can do.
    client: Mutex<Option<(Arc<InitializeRequestParams>, Abilities)>>,
    /// The level of a legacy session.
    log_level: Mutex<Level>,
    /// What has changed since a legacy session was opened, until somebody listens for it.
    news: OnceLock<Mutex<Option<Listener>>>,
    /// The resources of which the legacy session wants to hear.
    watched: Mutex<Watched>,
    /// Who answers, as `_meta` tells it.
    server_info: Value,
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
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            server_info: serde_json::to_value(server_info()).unwrap_or_default(),
            identity: anonymous(&shared.options, shared.rate.clone()),
            shared,
            client: Mutex::default(),
            log_level: Mutex::new(DEFAULT_LOG_LEVEL),
            news: OnceLock::new(),
            watched: Mutex::default(),
        }
    }

    /// Who opened the legacy session, if somebody has.
    pub(super) fn client(&self) -> Option<Arc<InitializeRequestParams>> {
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        client.as_ref().map(|(client, _)| Arc::clone(client))
    }

    /// What the client of the legacy session can be asked for.
    pub(super) fn abilities(&self) -> Abilities {
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        client.as_ref().map(|(_, abilities)| *abilities).unwrap_or_default()
    }

    pub(super) fn resolver(&self) -> &Arc<Resolver> {
        &self.shared.resolver
    }

    pub(super) fn pipelines(&self) -> &Pipelines {
        &self.shared.pipelines
    }

    pub(super) fn tasks(&self) -> &Arc<Tasks> {
        &self.shared.tasks
    }

    pub(super) fn metrics(&self) -> Option<&Metrics> {
        self.shared.metrics.as_ref()
    }

    /// Where calls are recorded.
    pub(super) fn audit(&self) -> Option<&Arc<AuditLog>> {
        self.shared.options.audit.as_ref()
    }

    /// Who hears of each call, where somebody follows traces.
    pub(super) fn telemetry(&self) -> Option<&Telemetry> {
        self.shared.options.telemetry.as_ref()
    }

    /// A witness of a request of somebody, before anything is looked up for it.
    ///
    /// # Errors
    /// While the log cannot be written.
    pub(super) async fn witness(
        &self,
        identity: &Identity,
        client: Option<String>,
        method: &'static str,
        trace: Option<&TraceParent>,
    ) -> Result<Witness, AuditError> {
        let options = &self.shared.options;
        let span = options.telemetry.as_ref().map(|telemetry| telemetry.begin(method, trace));
        match Witness::new(options.audit.as_ref(), client).await {
            Ok(witness) => Ok(witness.of(identity.name()).counted_by(self.metrics()).told_in(span)),
            Err(error) => {
                self.metrics().into_iter().for_each(|metrics| metrics.refused(UNRECORDED));
                span.into_iter().for_each(|span| span.end(Some(UNRECORDED), None));
                Err(error)
            }
        }
    }

    /// Whether one more refusal of somebody who asks too often belongs into the log.
    pub(super) fn records_refusal(&self) -> bool {
        self.shared.refusals.take().is_ok()
    }

    /// How tools are found, where not all are listed.
    pub(super) fn discovery(&self) -> Option<&DiscoverOptions> {
        self.shared.options.discover.as_ref()
    }

    pub(super) fn known_overview(&self) -> &KnownOverview {
        &self.shared.overview
    }

    /// Whether results tell what they took.
    pub(super) fn wants_stats(&self) -> bool {
        self.shared.options.stats
    }

    /// Waits until no call may go on.
    pub(super) async fn closed(&self) {
        let mut closing = self.shared.closing.clone();
        if closing.wait_for(|closing| *closing).await.is_err() {
            // Whoever could say so is gone, and everything with it.
            std::future::pending().await
        }
    }

    /// Where guests say that a list is another one now.
    pub(super) fn desk(&self) -> NewsDesk {
        self.shared.desk.clone()
    }

    /// What seals the states of guests; made when the first one is sealed or opened.
    pub(super) fn state_keys(&self) -> Result<&StateKeys, ErrorData> {
        if let Some(keys) = self.shared.state_keys.get() {
            return Ok(keys);
        }
        let path = self.shared.resolver.data().request_state_key_file();
        match StateKeys::open(&path, self.shared.resolver.clock()) {
            Ok(keys) => Ok(self.shared.state_keys.get_or_init(|| keys)),
            Err(error) => {
                let path = path.display();
                tracing::error!(%error, %path, "the key that seals the states of requests cannot be used");
                let message = "the state of the request cannot be sealed or opened";
                Err(ErrorData::internal_error(message, None))
            }
        }
    }

    /// From which level on the legacy session wants to hear what calls log.
    pub(super) fn log_level(&self) -> Level {
        *self.log_level.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the server's identity to a result, as 2026-07-28 wants it on each.
    pub(super) fn stamp(&self, meta: &mut MetaObject) {
        meta.insert("io.modelcontextprotocol/serverInfo".to_owned(), self.server_info.clone());
    }

    /// Hears of what changes from now on.
    pub(super) fn news_from_now(&self) -> Listener {
        self.shared.desk.listener()
    }

    /// The notifications for a session that is told that lists have changed.
    pub(super) fn notifications(&self, changed: &[Listing]) -> Vec<ServerNotification> {
        let mut told: Vec<ServerNotification> = changed
            .iter()
            .map(|listing| match listing {
                Listing::Tools => ToolListChangedNotification::default().into(),
                Listing::Resources => ResourceListChangedNotification::default().into(),
                Listing::Prompts => PromptListChangedNotification::default().into(),
            })
            .collect();
        if changed.contains(&Listing::Resources) {
            let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
            let updated =
                watched.updated(self.generation(), |uri| self.artifact_of(&self.identity, uri));
            told.extend(updated.into_iter().map(|uri| {
                let updated = ResourceUpdatedNotificationParam::new(uri.as_str());
                ServerNotification::from(ResourceUpdatedNotification::new(updated))
            }));
        }
        told
    }

    /// The state of the registry, or that of none.
    fn generation(&self) -> i64 {
        self.shared.resolver.catalog().map_or(-1, |catalog| catalog.generation())
    }

    /// The artifact that a resource comes from, if there is one for somebody.
    fn artifact_of(&self, identity: &Identity, uri: &ResourceUri) -> Option<Digest> {
        let owner = self.shared.resolver.catalog().ok()?.owner_of(uri).ok()?;
        owner.filter(|package| self.shows_all_of(identity, package)).map(|package| package.digest)
    }

    /// The same handler, for a connection or session of somebody who has shown who they are.
    pub(super) fn of(self, identity: Arc<Identity>) -> Self {
        Self { identity, ..self }
    }

    /// Who calls over this connection or session, unless they have shown to be somebody else.
    pub(super) fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// Somebody who has neither.
    pub(super) fn newcomer(&self) -> Arc<Identity> {
        anonymous(&self.shared.options, self.shared.rate.clone())
    }

    /// Whether somebody sees what is asked for and may not have it, which is recorded. Of what they
    /// do not see, they learn nothing here.
    pub(super) async fn forbids(&self, identity: &Identity, asked: &Asked, era: Era) -> bool {
        if identity.is_unrestricted() {
            return false;
        }
        let found = self.find(identity, asked, era);
        let forbidden = found.is_ok_and(|target| !target.is_permitted_to(identity));
        if forbidden
            && identity.take_turn().is_ok()
            && self.records_refusal()
            && let Ok(witness) = self.witness(identity, None, asked.method(), None).await
        {
            witness.refused_as(asked.name(), FORBIDDEN, NOT_PERMITTED.to_owned());
        }
        forbidden
    }

    /// Whether what a package offers besides tools is there for somebody.
    pub(super) fn shows_all_of(&self, identity: &Identity, package: &InstalledPackage) -> bool {
        self.shared.options.tools.allows_all_of(package) && identity.sees_all_of(package)
    }

    /// Whether a tool is there for somebody.
    pub(super) fn shows(&self, identity: &Identity, entry: &CatalogEntry) -> bool {
        self.shared.options.tools.allows(entry) && identity.sees(entry)
    }

    /// Finds a tool that is there for somebody.
    pub(super) fn find_tool(
        &self,
        catalog: &Catalog,
        identity: &Identity,
        name: &str,
    ) -> Result<CatalogEntry, ResolveError> {
        match identity.is_unrestricted() && self.shared.options.tools.is_everything() {
            true => catalog.find(name),
            false => catalog.find_among(name, |entry| self.shows(identity, entry)),
        }
    }

    /// Who makes a request: the gate before this has said so.
    fn asking<'a>(&'a self, context: &'a RequestContext<RoleServer>) -> &'a Arc<Identity> {
        context.extensions.get::<Arc<Identity>>().unwrap_or(&self.identity)
    }

    /// Whether tools can be found.
    pub(super) fn is_ready(&self) -> bool {
        self.shared.resolver.catalog().is_ok()
    }

    /// How many calls of one principal are accepted, to run or to wait.
    pub(super) fn accepted(&self) -> usize {
        self.shared.resolver.engine().scheduler().most_of_one()
    }
}

/// One page of a list: what comes after a name, and the cursor of the next page.
struct Page<T> {
    items: Vec<T>,
    next: Option<String>,
}

impl Handler {
    /// Reads a page of what `shows` lets somebody see, with `read`, which gives so many from after a
    /// name on.
    fn page<T>(
        &self,
        request: Option<PaginatedRequestParams>,
        read: impl Fn(&Catalog, &str, usize) -> Result<Vec<T>, RegistryError>,
        name: impl Fn(&T) -> String,
        shows: impl Fn(&T) -> bool,
    ) -> Result<Page<T>, ErrorData> {
        let catalog =
            self.shared.resolver.catalog().map_err(|error| outcome::no_catalog(&error))?;
        let mut after = match request.and_then(|request| request.cursor) {
            Some(cursor) => name_of(&cursor)?,
            None => String::new(),
        };
        let size = self.shared.options.page_size.get();
        let wanted = size.saturating_add(1);
        let mut items = Vec::new();
        loop {
            let found = read(&catalog, &after, wanted);
            let found = found.map_err(|error| outcome::no_catalog(&error.into()))?;
            let more = found.len() == wanted;
            after = found.last().map_or(after, &name);
            items.extend(found.into_iter().filter(&shows));
            if !more || items.len() > size {
                break;
            }
        }
        let more = items.len() > size;
        items.truncate(size);
        let next = items.last().filter(|_| more).map(|last| cursor_after(&name(last)));
        Ok(Page { items, next })
    }
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_logging()
            .enable_completions()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_list_changed()
            .enable_resources_subscribe()
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
        let abilities = Abilities::of(&request.capabilities);
        let who = (Arc::new(client.clone()), abilities);
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(who);
        context.peer.set_peer_info(client);
        Ok(result)
    }

    async fn discover(&self, _: RequestContext<RoleServer>) -> Result<DiscoverResult, ErrorData> {
        let versions = supported_versions().into_owned();
        let mut info = self.get_info();
        // Sessions have no tasks.
        let tasks = (EXTENSION.to_owned(), JsonObject::new());
        info.capabilities.extensions.get_or_insert_default().extend([tasks]);
        Ok(DiscoverResult::from_server_info(versions, info)
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
        let identity = self.asking(&context);
        let mut tools = Vec::new();
        if self.discovery().is_some() && request.as_ref().is_none_or(|page| page.cursor.is_none()) {
            let catalog = self.resolver().catalog().map_err(|error| outcome::no_catalog(&error))?;
            let found = self.discovery_tools(&catalog, identity);
            tools.extend(found.map_err(|error| outcome::no_catalog(&error.into()))?);
        }
        let nothing = self.discovery().is_some_and(|options| options.pins.is_empty());
        let read = |catalog: &Catalog, after: &str, count| match nothing {
            true => Ok(Vec::new()),
            false => catalog.entries(Some(after)).take(count).collect(),
        };
        let name = |entry: &CatalogEntry| entry.wire_name.to_string();
        let shows = |entry: &CatalogEntry| self.is_pinned(entry) && self.shows(identity, entry);
        let page = self.page(request, read, name, shows)?;
        tools.extend(page.items.iter().map(outcome::tool));
        let mut result = ListToolsResult::with_all_items(tools);
        result.next_cursor = page.next;
        if is_stateless(&context) {
            result =
                result.with_ttl_ms(milliseconds(LIST_TTL)).with_cache_scope(CacheScope::Private);
        }
        Ok(result)
    }

    async fn list_prompts(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let name = |entry: &PromptEntry| entry.wire_name.to_string();
        let identity = self.asking(&context);
        let shows = |entry: &PromptEntry| self.shows_all_of(identity, &entry.package);
        let page = self.page(request, Catalog::prompts, name, shows)?;
        let prompts = page.items.iter().map(outcome::prompt_definition).collect();
        let mut result = ListPromptsResult::with_all_items(prompts);
        result.next_cursor = page.next;
        if is_stateless(&context) {
            result =
                result.with_ttl_ms(milliseconds(LIST_TTL)).with_cache_scope(CacheScope::Private);
        }
        Ok(result)
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let uri = |entry: &ResourceEntry| entry.definition().uri.to_string();
        let identity = self.asking(&context);
        let shows = |entry: &ResourceEntry| self.shows_all_of(identity, &entry.package);
        let page = self.page(request, Catalog::resources, uri, shows)?;
        let resources = page.items.iter().map(outcome::resource_definition).collect();
        let mut result = ListResourcesResult::with_all_items(resources);
        result.next_cursor = page.next;
        if is_stateless(&context) {
            result =
                result.with_ttl_ms(milliseconds(LIST_TTL)).with_cache_scope(CacheScope::Private);
        }
        Ok(result)
    }

    async fn list_resource_templates(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let form = |entry: &TemplateEntry| entry.definition().uri_template.as_str().to_owned();
        let identity = self.asking(&context);
        let shows = |entry: &TemplateEntry| self.shows_all_of(identity, &entry.package);
        let page = self.page(request, Catalog::templates, form, shows)?;
        let templates = page.items.iter().map(outcome::template_definition).collect();
        let mut result = ListResourceTemplatesResult::with_all_items(templates);
        result.next_cursor = page.next;
        if is_stateless(&context) {
            result =
                result.with_ttl_ms(milliseconds(LIST_TTL)).with_cache_scope(CacheScope::Private);
        }
        Ok(result)
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let uri = watchable(&request.uri)?;
        let artifact = self.artifact_of(self.asking(&context), &uri);
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if !watched.add(uri, artifact) {
            let message = format!("a session watches at most {} resources", watched::MOST);
            return Err(ErrorData::invalid_request(message, None));
        }
        Ok(())
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let uri = watchable(&request.uri)?;
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).remove(&uri);
        Ok(())
    }

    fn accepted_subscription_filter(
        &self,
        asked: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        let mut accepted = SubscriptionFilter::new();
        accepted.tools_list_changed = asked.tools_list_changed;
        accepted.prompts_list_changed = asked.prompts_list_changed;
        accepted.resources_list_changed = asked.resources_list_changed;
        let uris = asked.resource_subscriptions.as_deref().unwrap_or_default();
        let uris: Vec<_> = uris
            .iter()
            .filter(|uri| uri.parse::<ResourceUri>().is_ok())
            .take(watched::MOST)
            .cloned()
            .collect();
        accepted.resource_subscriptions = (!uris.is_empty()).then_some(uris);
        Some(accepted)
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let mut ended = self.shared.ended.clone();
        let mut news = self.news_from_now();
        let uris = context.accepted().resource_subscriptions.clone().unwrap_or_default();
        let identity = self.asking(context.request_context());
        let artifact_of = |uri: &ResourceUri| self.artifact_of(identity, uri);
        let mut watched = Watched::default();
        for uri in uris.iter().filter_map(|uri| uri.parse::<ResourceUri>().ok()) {
            let artifact = artifact_of(&uri);
            watched.add(uri, artifact);
        }
        loop {
            let changed = tokio::select! {
                () = context.cancelled() => return Ok(()),
                _ = ended.wait_for(|ended| *ended) => return Ok(()),
                changed = news.changed() => changed,
            };
            let Some(changed) = changed else { return Ok(()) };
            let (accepted, sink) = (context.accepted(), context.sink());
            for listing in &changed {
                let wanted = match listing {
                    Listing::Tools => accepted.tools_list_changed,
                    Listing::Resources => accepted.resources_list_changed,
                    Listing::Prompts => accepted.prompts_list_changed,
                };
                if wanted != Some(true) {
                    continue;
                }
                let told = match listing {
                    Listing::Tools => sink.notify_tool_list_changed().await,
                    Listing::Resources => sink.notify_resource_list_changed().await,
                    Listing::Prompts => sink.notify_prompt_list_changed().await,
                };
                if told.is_err() {
                    return Ok(());
                }
            }
            for uri in watched.updated(self.generation(), artifact_of) {
                if sink.notify_resource_updated(uri.as_str()).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    /// Opens the news of a legacy session; each notification has its own task.
    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        let news = self.news.get();
        let news = news.and_then(|n| n.lock().unwrap_or_else(PoisonError::into_inner).take());
        let Some(mut news) = news else { return };
        while let Some(changed) = news.changed().await {
            for told in self.notifications(&changed) {
                if context.peer.send_notification(told).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The URI of what a client wants to hear of.
fn watchable(uri: &str) -> Result<ResourceUri, ErrorData> {
    uri.parse().map_err(|error| ErrorData::invalid_params(format!("`uri`: {error}"), None))
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
