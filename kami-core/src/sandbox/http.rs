//! Outgoing HTTP requests, and who may make them.
//!
//! A request passes in four steps: its method, host, port and path are matched against the grants; the
//! name is resolved once; every address is judged; and the connection goes to an address that was
//! judged, with TLS to the name that was granted. So a DNS entry that changes between check and
//! use changes nothing. Redirects are not followed here: each hop is the guest's own request.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tokio_rustls::rustls::pki_types::ServerName;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::denials::Denials;
use super::egress::GrantedSecrets;
use super::names::Names;
use crate::grants::{Denial, DenialRule, Effective, Endpoint, NetAccess, Scheme};
use crate::tls;

/// The longest that resolving, connecting or waiting for the next byte may take, each. The call's
/// own limit is usually shorter.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest response body that a guest can read: no guest has more memory than it is worth.
const MAX_RESPONSE_BYTES: usize = 64 << 20;

/// The largest request body that a guest can send.
const MAX_REQUEST_BYTES: usize = 64 << 20;

/// The most headers in a response.
const MAX_HEADERS: usize = 128;

/// The most bytes of a response's head.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// The most requests of one call at once; further ones wait. Each may hold a connection's buffers.
const MAX_REQUESTS: usize = 16;

/// Headers by which some servers take a request for one of another method.
const METHOD_HEADERS: &[&str] = &["x-http-method-override", "x-http-method", "x-method-override"];

type ResponseParts = (http::Response<WasiBody>, Driver);
type Driver = Box<dyn Future<Output = Result<(), Error>> + Send>;

/// Decides about and carries out a guest's requests.
pub(crate) struct HttpGate {
    effective: Arc<Effective>,
    denials: Denials,
    names: Names,
    /// Requests of this call.
    requests: Arc<Semaphore>,
    secrets: Arc<GrantedSecrets>,
}

impl HttpGate {
    pub(crate) fn new(
        effective: Arc<Effective>,
        denials: Denials,
        names: Names,
        secrets: Arc<GrantedSecrets>,
    ) -> Self {
        let requests = Arc::new(Semaphore::new(MAX_REQUESTS));
        Self { effective, denials, names, requests, secrets }
    }

    /// The endpoint that `request` names, if the grants permit the request.
    fn permit(&self, request: &http::Request<WasiBody>) -> Result<Endpoint, Error> {
        let uri = request.uri();
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            _ => return Err(Error::HttpRequestUriInvalid),
        };
        let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
        let endpoint =
            Endpoint::new(scheme, authority.as_str()).ok_or(Error::HttpRequestUriInvalid)?;
        let path = if uri.path().is_empty() { "/" } else { uri.path() };
        let access = NetAccess::request(&endpoint, request.method().as_str(), path);
        let decision = self.effective.network(&access).and_then(|()| plain(request, &access));
        decision.map_err(|denial| {
            self.denials.push(denial);
            Error::HttpRequestDenied
        })?;
        Ok(endpoint)
    }
}

/// Refuses requests that ask a server to take them for others than they are.
///
/// A tunnel leads wherever its server likes, and some servers take the method from a header.
fn plain(request: &http::Request<WasiBody>, access: &NetAccess<'_>) -> Result<(), Denial> {
    // A server that knows no cases takes `connect` for a tunnel too.
    let method = request.method().as_str();
    let tunnel = ["CONNECT", "TRACE"].iter().any(|tunnel| method.eq_ignore_ascii_case(tunnel));
    let header = METHOD_HEADERS.iter().find(|name| request.headers().contains_key(**name));
    let thing = match (tunnel, header) {
        (false, None) => return Ok(()),
        (true, _) => access.to_string(),
        (false, Some(name)) => format!("{access} with the header {name}"),
    };
    Err(Denial { thing, rule: DenialRule::Unsafe, line: String::new() })
}

impl WasiHttpHooks for HttpGate {
    fn send_request(
        &mut self,
        mut request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<ResponseParts, Error>> + Send> {
        let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
        let endpoint = match self.permit(&request) {
            Ok(endpoint) => endpoint,
            Err(error) => return Box::new(std::future::ready(Err(error))),
        };
        let headers = request.headers_mut();
        if let Err(denial) = self.secrets.inject(&self.effective, &endpoint, headers) {
            self.denials.push(denial);
            return Box::new(std::future::ready(Err(Error::HttpRequestDenied)));
        }
        let secrets = Arc::clone(&self.secrets);
        let effective = Arc::clone(&self.effective);
        let denials = self.denials.clone();
        let timeouts = Timeouts::new(options);
        let (names, requests) = (self.names.clone(), Arc::clone(&self.requests));
        Box::new(async move {
            let place =
                requests.acquire_owned().await.map_err(|_| Error::ConnectionLimitReached)?;
            let access = NetAccess::request(&endpoint, &method, &path);
            let resolved = resolve(&access, &effective, &denials, &names);
            let address = within(timeouts.connect, Error::DnsTimeout, resolved).await?;
            let stream =
                within(timeouts.connect, Error::ConnectionTimeout, connect(&endpoint, address));
            let (response, driver) = exchange(stream.await?, request, timeouts, place).await?;
            Ok((secrets.receive(response)?, driver))
        })
    }
}

/// How long each step of one request may take.
#[derive(Clone, Copy)]
struct Timeouts {
    connect: Duration,
    first_byte: Duration,
    between_bytes: Duration,
}

impl Timeouts {
    /// The guest may ask for less time than [`STEP_TIMEOUT`], not for more.
    fn new(options: Option<RequestOptions>) -> Self {
        let options = options.unwrap_or_default();
        let bounded = |asked: Option<Duration>| asked.map_or(STEP_TIMEOUT, |t| t.min(STEP_TIMEOUT));
        Self {
            connect: bounded(options.connect_timeout),
            first_byte: bounded(options.first_byte_timeout),
            between_bytes: bounded(options.between_bytes_timeout),
        }
    }
}

async fn within<T>(
    limit: Duration,
    late: Error,
    step: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::time::timeout(limit, step).await.unwrap_or(Err(late))
}

/// Resolves a permitted endpoint once, and gives the first address that is permitted too.
async fn resolve(
    access: &NetAccess<'_>,
    effective: &Effective,
    denials: &Denials,
    names: &Names,
) -> Result<SocketAddr, Error> {
    let endpoint = access.endpoint();
    let addresses = match endpoint.literal_address() {
        Some(address) => vec![address],
        None => {
            let found = names.look_up(endpoint.host()).await;
            found.map_err(|_| Error::DnsError { rcode: None, info_code: None })?
        }
    };
    if addresses.is_empty() {
        return Err(Error::DestinationNotFound);
    }
    let mut denied = None;
    for address in addresses {
        match effective.address(access, address) {
            Ok(()) => return Ok(SocketAddr::new(address, endpoint.port())),
            Err(denial) => denied = Some(denial),
        }
    }
    denied.into_iter().for_each(|denial| denials.push(denial));
    Err(Error::HttpRequestDenied)
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects to `address`, and speaks TLS to the endpoint's name where its scheme says so.
async fn connect(endpoint: &Endpoint, address: SocketAddr) -> Result<Box<dyn Stream>, Error> {
    let tcp = TcpStream::connect(address).await.map_err(Error::Connect)?;
    tcp.set_nodelay(true).map_err(Error::Connect)?;
    match endpoint.scheme() {
        Scheme::Http | Scheme::Tcp => Ok(Box::new(tcp)),
        Scheme::Https => {
            let connector = tls::connector().map_err(|error| {
                tracing::error!(%error, "no request can be sent");
                Error::TlsCertificateError
            })?;
            let name = match endpoint.literal_address() {
                Some(address) => ServerName::from(address),
                None => ServerName::try_from(endpoint.host())
                    .map_err(|_| Error::HttpRequestUriInvalid)?,
            };
            Ok(Box::new(connector.connect(name, tcp).await.map_err(Error::Tls)?))
        }
    }
}

/// Sends `request` over `stream` and waits for the head of the response.
///
/// The returned driver moves the bytes of the body; wasmtime runs it as a task that ends with the
/// response's resource, so nothing outlives the call.
async fn exchange(
    stream: Box<dyn Stream>,
    mut request: http::Request<WasiBody>,
    timeouts: Timeouts,
    place: OwnedSemaphorePermit,
) -> Result<ResponseParts, Error> {
    let mut client = http1::Builder::new();
    client.max_headers(MAX_HEADERS).max_buf_size(MAX_HEAD_BYTES);
    let (mut sender, connection) = client.handshake(TokioIo::new(stream)).await?;
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned();
    *request.uri_mut() = target.try_into().map_err(|_| Error::HttpRequestUriInvalid)?;
    let request = request.map(|body| {
        Limited::new(body, MAX_REQUEST_BYTES)
            .map_err(|_| Error::HttpRequestBodySize(None))
            .boxed_unsync()
    });

    let mut connection = Box::pin(connection);
    let mut closed = false;
    let response = within(timeouts.first_byte, Error::ConnectionReadTimeout, async {
        let response = sender.send_request(request);
        tokio::pin!(response);
        tokio::select! {
            // The driver closes the connection only once the response was given, or never will be.
            biased;
            response = &mut response => response.map_err(Error::from),
            ended = &mut connection => {
                closed = true;
                match ended {
                    Ok(()) => response.await.map_err(Error::from),
                    Err(error) => Err(Error::from(error)),
                }
            }
        }
    })
    .await?;
    let body = response.map(|body| {
        let body = Limited::new(Steady::new(body, timeouts.between_bytes), MAX_RESPONSE_BYTES);
        body.map_err(|error| match error.downcast::<Error>() {
            Ok(error) => *error,
            Err(_) => Error::HttpResponseBodySize(Some(MAX_RESPONSE_BYTES as u64)),
        })
        .boxed_unsync()
    });
    let driver = async move {
        let _held_to_the_end = place;
        if closed { Ok(()) } else { connection.await.map_err(Error::from) }
    };
    Ok((body, Box::new(driver)))
}

/// A body whose every frame must come within a time.
struct Steady {
    body: Incoming,
    limit: Duration,
    deadline: Pin<Box<Sleep>>,
}

impl Steady {
    fn new(body: Incoming, limit: Duration) -> Self {
        Self { body, limit, deadline: Box::pin(tokio::time::sleep(limit)) }
    }
}

impl Body for Steady {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            let next = Instant::now() + self.limit;
            self.deadline.as_mut().reset(next);
            return Poll::Ready(frame.map(|frame| frame.map_err(Error::from)));
        }
        match self.deadline.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Some(Err(Error::ConnectionReadTimeout))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
