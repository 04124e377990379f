//! The transport over HTTP: one message in the body of each request, to `/mcp`.
//!
//! A reply comes as JSON, or, where the tool says something before it is done, as a stream of
//! events that ends with the reply. Requests of 2026-07-28 stand for themselves; those of earlier
//! revisions belong to a session, which `initialize` opens and `DELETE` ends.
//!
//! Whoever connects is not trusted, and web pages are kept out: a request has to be addressed to
//! this machine by one of its local names, and must not come from a page of anywhere else.

mod body;
mod exchange;
mod headers;
mod sessions;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CONTENT_TYPE, HOST, HeaderMap, ORIGIN, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rmcp::model::{
    ClientJsonRpcMessage, ClientNotification, ClientRequest, JsonRpcMessage, RequestId,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;

use super::SHUTDOWN_GRACE;
use super::calls::{Caller, reply_to};
use super::handler::Handler;
use super::lines::LONGEST;
use super::message::{Fate, Refusal, read};
use super::session::{Era, subscriptions};
use super::wire::json;
use crate::scheduler::Principal;
use body::ReplyBody;
use exchange::{Exchange, ask, news};
use headers::Spoken;
use sessions::{HttpSession, Ongoing, Sessions};

/// The one path that speaks the protocol.
const PATH: &str = "/mcp";

/// The header that names a session.
const SESSION: &str = "mcp-session-id";

/// The header that names a revision of the protocol.
const VERSION: &str = "mcp-protocol-version";

/// The most connections at once; further ones wait to be accepted.
const MOST_CONNECTIONS: usize = 1024;

/// The most bytes of a head, and of what is read of a body at a time.
const READ_BUFFER: usize = 64 << 10;

/// The bytes of a body that every request may have.
const FREE_BYTES: usize = 64 << 10;

/// The most bytes of all bodies beyond that, until their requests are answered.
const MOST_BYTES: usize = 256 << 20;

/// How long a client may take over the head of a request, and over its body.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client may take none of what it is sent: it is kept in memory until then.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

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
    subscriptions: Arc<Semaphore>,
    ended: watch::Receiver<bool>,
    /// Bytes that bodies may still have.
    room: Arc<Semaphore>,
}

impl Door {
    pub(super) fn new(
        handlers: impl Fn() -> Handler + Send + Sync + 'static,
        ended: watch::Receiver<bool>,
    ) -> Self {
        let stateless = Arc::new(handlers());
        let room = Arc::new(Semaphore::new(MOST_BYTES));
        Self {
            handlers: Box::new(handlers),
            stateless,
            sessions: Sessions::new(),
            subscriptions: subscriptions(),
            ended,
            room,
        }
    }

    /// Serves every connection that `listener` accepts until `shutdown` is ready, and then for a
    /// little longer those that are open.
    pub(super) async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
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
                    Ok((stream, _)) => {
                        let (door, ended) = (Arc::clone(&self), ending.subscribe());
                        connections.spawn(async move {
                            let _place = place;
                            door.connection(stream, ended).await;
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection was not accepted");
                        tokio::time::sleep(BREATHER).await;
                    }
                },
            }
        }
        drop(listener);
        ending.send_replace(true);
        let rest = async { while connections.join_next().await.is_some() {} };
        // Those that take longer are ended with the set.
        let _ = tokio::time::timeout(SHUTDOWN_GRACE, rest).await;
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, mut ended: watch::Receiver<bool>) {
        // Otherwise, the end of a reply waits until the client has acknowledged its beginning.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection stays slow");
        }
        let principal = self.stateless.newcomer();
        let service = service_fn(|request| {
            let door = Arc::clone(&self);
            async move { Ok::<_, Infallible>(door.respond(request, principal).await) }
        });
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(READ_TIMEOUT)
            .max_buf_size(READ_BUFFER);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(WRITE_TIMEOUT));
        let serving = builder.serve_connection(TokioIo::new(Box::pin(stream)), service);
        let mut serving = std::pin::pin!(serving);
        let ended = async {
            // An error means that whoever could say so is gone, which is the end too.
            let _ = ended.wait_for(|ended| *ended).await;
        };
        let served = tokio::select! {
            served = &mut serving => served,
            () = ended => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(error) = served {
            tracing::debug!(%error, "a connection broke");
        }
    }

    /// Answers a request of a connection that calls on behalf of `principal`, unless it is a
    /// session's.
    async fn respond(&self, request: Request<Incoming>, principal: Principal) -> Reply {
        if request.uri().path() != PATH {
            return text(StatusCode::NOT_FOUND, "there is nothing here; MCP is spoken on /mcp");
        }
        if let Err(why) = is_local(request.headers()) {
            return text(StatusCode::FORBIDDEN, why);
        }
        match *request.method() {
            Method::POST => self.post(request, principal).await,
            Method::GET => self.listen(request.headers()),
            Method::DELETE => self.end(request.headers()),
            _ => {
                let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "POST, GET or DELETE");
                let methods = http::HeaderValue::from_static("POST, GET, DELETE");
                reply.headers_mut().insert(ALLOW, methods);
                reply
            }
        }
    }

    /// One message of the client.
    async fn post(&self, request: Request<Incoming>, principal: Principal) -> Reply {
        let (head, body) = request.into_parts();
        if let Err((status, why)) = negotiated(&head.headers) {
            return text(status, why);
        }
        let (body, room) = match tokio::time::timeout(READ_TIMEOUT, self.collect(body)).await {
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
            Era::Session => match self.session(&head.headers) {
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
                let (handler, principal) = match &session {
                    Some(session) => (session.handler(), session.handler().principal()),
                    None => (&self.stateless, principal),
                };
                let handler = Arc::clone(handler);
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
                let caller = Caller { principal, wire: exchange.wire(), questions };
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
            Fate::Accept(message) => self.accept(session, *message, spoken, room).await,
        }
    }

    /// Reads a body, and gives what it keeps of the room for all of them.
    async fn collect(
        &self,
        mut body: Incoming,
    ) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), Reply> {
        let (mut bytes, mut held) = (Vec::new(), None::<OwnedSemaphorePermit>);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| text(StatusCode::BAD_REQUEST, "the body broke off"))?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > LONGEST {
                let why = format!("a message has at most {LONGEST} bytes");
                return Err(refusal(StatusCode::PAYLOAD_TOO_LARGE, &Refusal::invalid(None, why)));
            }
            bytes.extend_from_slice(&data);
            let has = held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            let more = bytes.len().saturating_sub(FREE_BYTES + has);
            let permit = u32::try_from(more)
                .ok()
                .filter(|more| *more > 0)
                .map(|more| Arc::clone(&self.room).try_acquire_many_owned(more));
            match (permit.transpose(), &mut held) {
                (Ok(None), _) => {}
                (Ok(Some(permit)), Some(held)) => held.merge(permit),
                (Ok(permit), held) => *held = permit,
                (Err(_), _) => {
                    let mut reply = text(StatusCode::SERVICE_UNAVAILABLE, "too much at once");
                    reply.headers_mut().insert(RETRY_AFTER, http::HeaderValue::from_static("1"));
                    return Err(reply);
                }
            }
        }
        Ok((bytes, held))
    }

    async fn accept(
        &self,
        session: Option<Arc<HttpSession>>,
        message: ClientJsonRpcMessage,
        spoken: Spoken,
        room: Option<OwnedSemaphorePermit>,
    ) -> Reply {
        match &message {
            JsonRpcMessage::Request(request) => {
                let opens = matches!(request.request, ClientRequest::InitializeRequest(_));
                let (handler, opened) = match session {
                    Some(session) => (Arc::clone(session.handler()), None),
                    None if opens => {
                        let session = HttpSession::new((self.handlers)());
                        (Arc::clone(session.handler()), Some(session))
                    }
                    None => (Arc::clone(&self.stateless), None),
                };
                let subscriptions = Arc::clone(&self.subscriptions);
                let mut reply = ask(handler, subscriptions, message, spoken, room).await;
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
    fn listen(&self, headers: &HeaderMap) -> Reply {
        match self.session(headers) {
            Ok(Some(session)) => news(session, self.ended.clone()),
            Ok(None) => text(StatusCode::METHOD_NOT_ALLOWED, "only a session has news of its own"),
            Err(NoSession) => no_session(),
        }
    }

    fn end(&self, headers: &HeaderMap) -> Reply {
        match headers.get(SESSION) {
            Some(id) => {
                self.sessions.remove(id);
                text(StatusCode::OK, "")
            }
            None => text(StatusCode::BAD_REQUEST, "which session?"),
        }
    }

    /// The session that a request names, if it names one.
    fn session(&self, headers: &HeaderMap) -> Result<Option<Arc<HttpSession>>, NoSession> {
        let mut named = headers.get_all(SESSION).iter();
        match (named.next(), named.next()) {
            (None, _) => Ok(None),
            (Some(id), None) => self.sessions.get(id).map(Some).ok_or(NoSession),
            (Some(_), Some(_)) => Err(NoSession),
        }
    }
}

/// A request names a session that there is not, or not any more.
struct NoSession;

fn no_session() -> Reply {
    text(StatusCode::NOT_FOUND, "there is no such session: initialize one")
}

/// Refuses what a web page of somewhere else may have had a browser send: a page can name this
/// server by a name of its own, but then the name is in `Host`.
fn is_local(headers: &HeaderMap) -> Result<(), &'static str> {
    let local = |authority: &str| {
        let authority = authority.parse::<http::uri::Authority>().ok();
        authority.is_some_and(|authority| {
            let host = authority.host();
            let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
            host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|ip| ip.is_loopback())
        })
    };
    // Of several lines, somebody else may have judged another one.
    if [HOST, ORIGIN].iter().any(|name| headers.get_all(name).iter().nth(1).is_some()) {
        return Err("a request names one host, and comes from one page");
    }
    let value = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if !value(HOST).is_some_and(local) {
        return Err("this server answers to localhost, 127.0.0.1 and [::1] alone");
    }
    let page = |origin: &str| {
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        authority.is_some_and(local)
    };
    match value(ORIGIN) {
        Some(origin) if !page(origin) => Err("pages of other machines are not answered"),
        _ => Ok(()),
    }
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
