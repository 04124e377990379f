//! The transport over HTTP: one message in the body of each request, to `/mcp`.
//!
//! A reply comes as JSON, or, where the tool says something before it is done, as a stream of
//! events that ends with the reply. Requests of 2026-07-28 stand for themselves; those of earlier
//! revisions belong to a session, which `initialize` opens and `DELETE` ends.
//!
//! Whoever connects is not trusted, and web pages are kept out: a request has to be addressed to
//! this server by one of its names, and must not come from a page of anywhere else ([`site`]). Where
//! clients are asked who they are, each request brings a token ([`challenge`]), and what it opens goes on
//! as long as that holds ([`standing`]).
//!
//! Connections come from a [`listener`], over TLS where the operator has a certificate ([`tls`]), and
//! speak HTTP/1.1 or HTTP/2 ([`connection`]).

mod backlog;
mod body;
mod challenge;
mod connection;
mod exchange;
mod greeting;
mod headers;
mod listener;
mod room;
mod sessions;
mod site;
mod standing;
mod streams;
mod tls;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, ALLOW, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, RETRY_AFTER,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use rmcp::model::{
    ClientJsonRpcMessage, ClientNotification, ClientRequest, JsonRpcMessage, RequestId,
};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::HttpOptions;
use super::calls::{Caller, reply_to};
use super::handler::Handler;
use super::lines::LONGEST;
use super::message::{Fate, Refusal, read};
use super::session::{Era, Subscriptions};
use super::wire::json;
use crate::auth::{Gate, Identity};
use crate::metrics::Exposition;
use crate::scheduler::Principal;
use backlog::Backlog;
use body::ReplyBody;
use challenge::{Challenge, identify};
use connection::Visit;
use exchange::{Exchange, ask, news};
use headers::Spoken;
use room::{Full, Held};
use sessions::{HttpSession, Ongoing, Sessions};
use site::{Site, addressed};
use standing::Standing;
use tls::Acceptor;

pub use listener::HttpListener;
pub use site::{HostName, HostNameError, WebOrigin, WebOriginError};
pub use tls::{ServerTls, ServerTlsError, TlsFiles};

/// The one path that speaks the protocol.
const PATH: &str = "/mcp";

/// Where a client reads who gives tokens for that path, and where it looks next (RFC 9728).
const METADATA: &str = "/.well-known/oauth-protected-resource/mcp";
const METADATA_OF_ALL: &str = "/.well-known/oauth-protected-resource";

/// Where whoever watches over this server asks whether it is there, and whether to send it clients.
const HEALTH: &str = "/health";
const READY: &str = "/health/ready";

/// What calls take, in numbers.
const METRICS: &str = "/metrics";

/// The header that names a session.
const SESSION: &str = "mcp-session-id";

/// The header that names a revision of the protocol.
const VERSION: &str = "mcp-protocol-version";

/// The most connections at once; further ones wait to be accepted.
const MOST_CONNECTIONS: usize = 1024;

/// The most bytes of a head, and of what is read of a body at a time.
const READ_BUFFER: usize = 64 << 10;

/// The most bytes of all bodies, until their requests are answered, beyond what each connection has to
/// itself.
const MOST_BYTES: usize = 256 << 20;

/// How long a client may take over the head of a request, and over its body.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// How long nothing is accepted after the system had no descriptor for a connection.
const BREATHER: Duration = Duration::from_millis(50);

type Reply = Response<ReplyBody>;

/// What all connections share.
pub(super) struct Door {
    /// Makes the handler of a session.
    handlers: Box<dyn Fn() -> Handler + Send + Sync>,
    /// Handles what belongs to no session.
    stateless: Arc<Handler>,
    sessions: Sessions,
    subscriptions: Arc<Subscriptions>,
    ended: watch::Receiver<bool>,
    /// Tells who makes a request; `None`: nobody is asked.
    gate: Option<Arc<Gate>>,
    /// Speaks TLS with whoever connects.
    tls: Option<Acceptor>,
    /// Whether others than this machine may find it.
    exposed: bool,
    metrics: Exposition,
    site: Site,
    /// Bytes that bodies may still have.
    room: Arc<Semaphore>,
    /// What clients over HTTP/2 do not take.
    backlog: Arc<Backlog>,
}

impl Door {
    pub(super) fn new(
        handlers: impl Fn() -> Handler + Send + Sync + 'static,
        options: HttpOptions,
        exposed: bool,
        metrics: Exposition,
        ended: watch::Receiver<bool>,
    ) -> Self {
        let stateless = Arc::new(handlers());
        let room = Arc::new(Semaphore::new(MOST_BYTES));
        Self {
            handlers: Box::new(handlers),
            stateless,
            sessions: Sessions::new(),
            subscriptions: Arc::default(),
            ended,
            gate: options.gate.map(Arc::new),
            tls: options.tls.as_ref().map(ServerTls::acceptor),
            // Where it has a name for others, a proxy may bring them to an address of this machine.
            exposed: exposed || options.public.is_some() || !options.hosts.is_empty(),
            metrics,
            site: Site {
                secure: options.tls.is_some(),
                public: options.public,
                hosts: options.hosts,
                pages: options.pages,
            },
            room,
            backlog: Arc::default(),
        }
    }

    /// Serves every connection that `listener` accepts until `shutdown` is ready, and then those that
    /// are open until `drain` is, too.
    pub(super) async fn serve(
        self: Arc<Self>,
        listener: HttpListener,
        shutdown: impl Future<Output = ()>,
        drain: impl Future<Output = ()>,
    ) {
        let mut shutdown = std::pin::pin!(shutdown);
        let ending = watch::Sender::new(false);
        let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let accepted = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (listener.accept().await, place)
            };
            tokio::select! {
                () = &mut shutdown => break,
                // Forgets those that ended.
                Some(_) = connections.join_next() => {}
                (accepted, place) = accepted => match accepted {
                    Ok(stream) => {
                        let (door, ended) = (Arc::clone(&self), ending.subscribe());
                        connections.spawn(async move {
                            let _place = place;
                            connection::serve(door, stream, ended).await;
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection was not accepted");
                        tokio::time::sleep(BREATHER).await;
                    }
                },
            }
        }
        ending.send_replace(true);
        let rest = async { while connections.join_next().await.is_some() {} };
        tokio::select! {
            // Those that take longer are ended with the set.
            () = rest => {}
            () = drain => {}
            never = self.turn_away(&listener, &places) => match never {},
        }
    }

    /// Tells whoever connects that this server is about to end.
    async fn turn_away(
        self: &Arc<Self>,
        listener: &HttpListener,
        places: &Arc<Semaphore>,
    ) -> Infallible {
        let ending = watch::Sender::new(false);
        let mut connections = JoinSet::new();
        loop {
            let accepted = async {
                let place = Arc::clone(places).acquire_owned().await;
                (listener.accept().await, place)
            };
            tokio::select! {
                // Forgets those that ended.
                Some(_) = connections.join_next() => {}
                (accepted, place) = accepted => match accepted {
                    Ok(stream) => {
                        let (door, ended) = (Arc::clone(self), ending.subscribe());
                        connections.spawn(async move {
                            let _place = place;
                            connection::serve(door, stream, ended).await;
                        });
                    }
                    Err(_) => tokio::time::sleep(BREATHER).await,
                },
            }
        }
    }

    /// Answers a request.
    async fn respond(&self, mut request: Request<Incoming>, visit: Arc<Visit>) -> Reply {
        let page = self.site.page(request.headers());
        let (head_only, mut head) = (request.method() == Method::HEAD, Held::default());
        let mut reply = match addressed(&mut request) {
            Err(why) => text(StatusCode::FORBIDDEN, why),
            // Over HTTP/1.1, there is one at a time.
            Ok(())
                if visit.is_shared() && self.hold(&mut head, size(&request), &visit).is_err() =>
            {
                unavailable("too much at once")
            }
            Ok(()) => self.route(request, &visit).await,
        };
        self.site.share(page, &mut reply);
        if head_only {
            if let Some(length) = reply.body().length() {
                reply.headers_mut().insert(CONTENT_LENGTH, length.into());
            }
            reply = reply.map(ReplyBody::emptied);
        }
        if let Some(taken) = visit.taken() {
            reply.body_mut().is_taken(taken);
        }
        reply
    }

    /// Takes room for bytes of a request.
    fn hold(&self, held: &mut Held, bytes: usize, visit: &Visit) -> Result<(), Full> {
        held.take(bytes, &visit.free, &visit.share, &self.room)
    }

    async fn route(&self, request: Request<Incoming>, visit: &Visit) -> Reply {
        let path = request.uri().path();
        match path {
            // Whoever watches may know this machine by any name, and learns one word.
            HEALTH => return text(StatusCode::OK, "alive\n"),
            READY => return self.ready(),
            PATH | METADATA | METADATA_OF_ALL | METRICS => {}
            _ => {
                return text(StatusCode::NOT_FOUND, "there is nothing here; MCP is spoken on /mcp");
            }
        }
        if let Err(why) = self.site.accepts(request.headers()) {
            return text(StatusCode::FORBIDDEN, why);
        }
        if let Some(reply) = self.site.preflight(request.method(), request.headers()) {
            return reply;
        }
        match path {
            PATH if *self.ended.borrow() => unavailable("this server is about to end"),
            PATH => self.speak(request, visit).await,
            METRICS => self.measure(&request).await,
            _ => self.metadata(&request),
        }
    }

    /// Whether clients are to be sent here.
    fn ready(&self) -> Reply {
        if *self.ended.borrow() {
            return unavailable("this server is about to end\n");
        }
        match self.stateless.is_ready() {
            true => text(StatusCode::OK, "ready\n"),
            false => unavailable("the registry cannot be read\n"),
        }
    }

    /// What calls take. Where others than this machine may ask, they have to show a token.
    async fn measure(&self, request: &Request<Incoming>) -> Reply {
        if let Some(gate) = self.gate.as_ref().filter(|_| self.exposed)
            && let Err(challenge) = identify(gate, request.uri(), request.headers()).await
        {
            let base = self.site.base(request.headers());
            return challenge.reply(gate, &format!("{base}{METADATA}"));
        }
        match *request.method() {
            Method::GET | Method::HEAD => {
                reply(StatusCode::OK, Exposition::CONTENT_TYPE, self.metrics.text().into())
            }
            _ => not_allowed("GET, HEAD"),
        }
    }

    /// Who gives tokens for this server.
    fn metadata(&self, request: &Request<Incoming>) -> Reply {
        let Some(gate) = &self.gate else {
            return text(StatusCode::NOT_FOUND, "nobody is asked for a token here");
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return not_allowed("GET, HEAD");
        }
        let base = self.site.base(request.headers());
        let mut metadata = serde_json::json!({
            "resource": format!("{base}{PATH}"),
            "scopes_supported": gate.scopes(),
            "bearer_methods_supported": ["header"],
            "resource_name": "KAMI",
        });
        // A member without any values is left out.
        if let Some(issuer) = gate.issuer() {
            metadata["authorization_servers"] = serde_json::json!([issuer]);
        }
        reply(StatusCode::OK, "application/json", json(&metadata).into())
    }

    /// Answers a request that speaks the protocol.
    async fn speak(&self, mut request: Request<Incoming>, visit: &Visit) -> Reply {
        let metadata = || format!("{}{METADATA}", self.site.base(request.headers()));
        let identity = match &self.gate {
            None => Arc::clone(&visit.newcomer),
            Some(gate) => match identify(gate, request.uri(), request.headers()).await {
                Ok(identity) => Arc::new(identity),
                Err(challenge) => return challenge.reply(gate, &metadata()),
            },
        };
        // Nobody behind this has a use for it.
        request.headers_mut().remove(AUTHORIZATION);
        let mut reply = match *request.method() {
            Method::POST => self.post(request, Arc::clone(&identity), visit).await,
            Method::GET => self.listen(request.headers(), &identity),
            Method::DELETE => self.end(request.headers(), &identity),
            _ => not_allowed("POST, GET, DELETE"),
        };
        if let Some(gate) = &self.gate {
            reply.body_mut().lasts_while(|| Standing::new(Arc::clone(gate), identity));
        }
        reply
    }

    /// One message of the client.
    async fn post(
        &self,
        request: Request<Incoming>,
        identity: Arc<Identity>,
        visit: &Visit,
    ) -> Reply {
        let (head, body) = request.into_parts();
        if let Err((status, why)) = negotiated(&head.headers) {
            return text(status, why);
        }
        let (body, room) = match tokio::time::timeout(READ_TIMEOUT, self.collect(body, visit)).await
        {
            Ok(Ok(body)) => body,
            Ok(Err(reply)) => return reply,
            Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "the body took too long"),
        };
        let mut spoken = match headers::spoken(&head.headers, &body) {
            Ok(spoken) => spoken,
            Err(misspoken) => return refusal(misspoken.status, &misspoken.why),
        };
        let session = match spoken.era {
            Era::Stateless => None,
            Era::Session => match self.session(&head.headers, &identity) {
                Ok(session) => session,
                Err(NoSession) => return no_session(),
            },
        };
        match read(&body) {
            Fate::Ignore => accepted(),
            Fate::Refuse(why) => refusal(spoken.status(Some(why.code())), &why),
            Fate::Reply(reply) => {
                if let Some(session) = session {
                    session.questions().answered(reply);
                }
                accepted()
            }
            Fate::Enter(mut request) => {
                request.headers = spoken.parameters.take();
                let questions = session.as_ref().map(|session| Arc::clone(session.questions()));
                let (handler, identity) = self.speaker(session.as_deref(), identity);
                handler.see_through(&mut request);
                if handler.forbids(&identity, &request.asked, spoken.era).await {
                    return self.insufficient(&head.headers);
                }
                let ongoing = match session {
                    Some(session) => {
                        let id = request.id.clone();
                        match Ongoing::new(session, id, body.len()) {
                            Some(ongoing) => Some(ongoing),
                            None => return in_use(&request.id),
                        }
                    }
                    None => None,
                };
                let exchange = Exchange::new();
                let caller = Caller { identity, wire: exchange.wire(), questions, counted: false };
                let answering = async move {
                    let _room = room;
                    let reply = reply_to(&handler, caller, request);
                    match ongoing {
                        Some(ongoing) => ongoing.unless_cancelled(reply).await,
                        // To close the connection is to cancel.
                        None => Some(reply.await),
                    }
                };
                exchange.answer(answering, move |error| spoken.status(error)).await
            }
            Fate::Accept(message) => self.accept(session, identity, *message, spoken, room).await,
        }
    }

    /// Reads a body, and gives what it keeps of the room for all of them.
    async fn collect(&self, mut body: Incoming, visit: &Visit) -> Result<(Vec<u8>, Held), Reply> {
        let (mut bytes, mut held) = (Vec::new(), Held::default());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| text(StatusCode::BAD_REQUEST, "the body broke off"))?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > LONGEST {
                let why = format!("a message has at most {LONGEST} bytes");
                return Err(refusal(StatusCode::PAYLOAD_TOO_LARGE, &Refusal::invalid(None, why)));
            }
            let room = self.hold(&mut held, data.len(), visit);
            room.map_err(|Full| unavailable("too much at once"))?;
            bytes.extend_from_slice(&data);
        }
        Ok((bytes, held))
    }

    async fn accept(
        &self,
        session: Option<Arc<HttpSession>>,
        identity: Arc<Identity>,
        message: ClientJsonRpcMessage,
        spoken: Spoken,
        room: Held,
    ) -> Reply {
        match &message {
            JsonRpcMessage::Request(request) => {
                let opens = matches!(request.request, ClientRequest::InitializeRequest(_));
                let opened = (opens && session.is_none()).then(|| self.open(&identity));
                let session = session.as_deref().or(opened.as_ref());
                let (handler, identity) = self.speaker(session, identity);
                let subscriptions = Arc::clone(&self.subscriptions);
                let mut reply = ask(handler, identity, subscriptions, message, spoken, room).await;
                // Only one that was agreed on is a session.
                if let Some(session) = opened.filter(|session| session.is_open()) {
                    match self.sessions.add(session) {
                        Ok(id) => {
                            reply.headers_mut().insert(SESSION, id);
                        }
                        Err(error) => {
                            tracing::error!(%error, "a session has no name");
                            return text(StatusCode::SERVICE_UNAVAILABLE, "no more sessions");
                        }
                    }
                }
                reply
            }
            JsonRpcMessage::Notification(notification) => {
                if let ClientNotification::CancelledNotification(cancelled) =
                    &notification.notification
                    && let (Some(session), Some(id)) = (session, &cancelled.params.request_id)
                {
                    session.cancel(id);
                }
                accepted()
            }
            // They have a fate of their own.
            JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_) => accepted(),
        }
    }

    /// The news of a session.
    fn listen(&self, headers: &HeaderMap, identity: &Identity) -> Reply {
        match self.session(headers, identity) {
            Ok(Some(session)) => news(session, self.ended.clone()),
            Ok(None) => text(StatusCode::METHOD_NOT_ALLOWED, "only a session has news of its own"),
            Err(NoSession) => no_session(),
        }
    }

    fn end(&self, headers: &HeaderMap, identity: &Identity) -> Reply {
        match headers.get(SESSION) {
            Some(id) => match self.sessions.remove(id, self.known(identity)) {
                true => text(StatusCode::OK, ""),
                false => no_session(),
            },
            None => text(StatusCode::BAD_REQUEST, "which session?"),
        }
    }

    /// Tells that more scopes are needed.
    fn insufficient(&self, headers: &HeaderMap) -> Reply {
        let metadata = format!("{}{METADATA}", self.site.base(headers));
        match &self.gate {
            Some(gate) => Challenge::Insufficient.reply(gate, &metadata),
            None => text(StatusCode::FORBIDDEN, "this is not permitted"),
        }
    }

    /// A session of somebody.
    fn open(&self, identity: &Arc<Identity>) -> HttpSession {
        let handler = (self.handlers)();
        match self.known(identity) {
            Some(owner) => HttpSession::new(handler.of(Arc::clone(identity)), Some(owner)),
            None => HttpSession::new(handler, None),
        }
    }

    /// What answers a request, and who makes it.
    fn speaker(
        &self,
        session: Option<&HttpSession>,
        identity: Arc<Identity>,
    ) -> (Arc<Handler>, Arc<Identity>) {
        let handler = session.map_or(&self.stateless, HttpSession::handler);
        // Where nobody is asked, all requests of a session are made by one.
        let identity = match (&self.gate, session) {
            (None, Some(_)) => Arc::clone(handler.identity()),
            _ => identity,
        };
        (Arc::clone(handler), identity)
    }

    /// Whose sessions somebody may use; anybody's where nobody is asked.
    fn known(&self, identity: &Identity) -> Option<Principal> {
        self.gate.as_ref().map(|_| identity.principal())
    }

    /// The session that a request names, if it names one and may use it.
    fn session(
        &self,
        headers: &HeaderMap,
        identity: &Identity,
    ) -> Result<Option<Arc<HttpSession>>, NoSession> {
        let mut named = headers.get_all(SESSION).iter();
        match (named.next(), named.next()) {
            (None, _) => Ok(None),
            (Some(id), None) => {
                self.sessions.get(id, self.known(identity)).map(Some).ok_or(NoSession)
            }
            (Some(_), Some(_)) => Err(NoSession),
        }
    }
}

/// About how many bytes the head of a request takes.
fn size(request: &Request<Incoming>) -> usize {
    let fields = request.headers().iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + 32).sum::<usize>();
    request.uri().path().len() + request.uri().query().map_or(0, str::len) + fields
}

/// A request names a session that there is not, or not any more.
struct NoSession;

fn no_session() -> Reply {
    text(StatusCode::NOT_FOUND, "there is no such session: initialize one")
}

/// Refuses a request that does not speak the protocol.
fn negotiated(headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
    let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let essence = |text: &str| text.split(';').next().unwrap_or_default().trim().to_lowercase();
    if value(CONTENT_TYPE.as_str()).map(essence).as_deref() != Some("application/json") {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "a message is application/json"));
    }
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let accepted: Vec<_> = accepted.flat_map(|value| value.split(',')).map(essence).collect();
    let accepts = |kind: &str, all: &str| {
        accepted.iter().any(|accepted| accepted == kind || accepted == all || accepted == "*/*")
    };
    if !accepts("application/json", "application/*") || !accepts("text/event-stream", "text/*") {
        let why = "a reply is application/json or text/event-stream: accept both";
        return Err((StatusCode::NOT_ACCEPTABLE, why));
    }
    Ok(())
}

fn text(status: StatusCode, text: &'static str) -> Reply {
    reply(status, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

fn not_allowed(methods: &'static str) -> Reply {
    let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, methods);
    reply.headers_mut().insert(ALLOW, http::HeaderValue::from_static(methods));
    reply
}

fn unavailable(why: &'static str) -> Reply {
    let mut reply = text(StatusCode::SERVICE_UNAVAILABLE, why);
    reply.headers_mut().insert(RETRY_AFTER, http::HeaderValue::from_static("1"));
    reply
}

fn refusal(status: StatusCode, refusal: &Refusal<'_>) -> Reply {
    reply(status, "application/json", json(refusal).into())
}

/// Two requests under one id could not be told apart when one is cancelled.
fn in_use(id: &RequestId) -> Reply {
    let why =
        format!("the request with the id `{}` is not answered yet", super::message::brief(id));
    refusal(StatusCode::BAD_REQUEST, &Refusal::invalid(None, why))
}

fn accepted() -> Reply {
    text(StatusCode::ACCEPTED, "")
}

fn reply(status: StatusCode, kind: &'static str, body: Bytes) -> Reply {
    let mut reply = Response::new(ReplyBody::whole(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(kind));
    reply
}
