//! A well-behaved client over HTTP/1.1 and HTTP/2: plain, over TLS, or through a Unix socket.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::door::headers_for;
use crate::server::PATIENCE;

/// A connection to a server.
pub struct Client {
    runtime: Runtime,
    sender: Sender,
    /// How requests name the server.
    pub base: String,
    /// The certificate that it showed.
    pub certificate: Option<Vec<u8>>,
}

#[derive(Clone)]
enum Sender {
    One(Arc<tokio::sync::Mutex<http1::SendRequest<Full<Bytes>>>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The head.
    pub headers: HeaderMap,
    /// The body.
    pub body: String,
}

/// Which version of HTTP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1.
    One,
    /// HTTP/2.
    Two,
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl Client {
    /// Connects to an address without TLS.
    ///
    /// # Panics
    /// Where nobody listens.
    pub fn plain(address: SocketAddr, version: Version) -> Self {
        let runtime = runtime();
        let stream = runtime.block_on(TcpStream::connect(address)).expect("the server listens");
        Self::over(runtime, Box::new(stream), version, format!("http://{address}"))
            .expect("HTTP is spoken")
    }

    /// Connects over TLS, as `config` says, and speaks what is agreed on.
    ///
    /// # Errors
    /// Where TLS is not agreed on.
    ///
    /// # Panics
    /// Where nobody listens.
    pub fn secure(address: SocketAddr, config: ClientConfig) -> Result<(Self, Version), String> {
        let runtime = runtime();
        let connected = runtime.block_on(async {
            let stream = TcpStream::connect(address).await.expect("the server listens");
            let name = ServerName::try_from("localhost").expect("it is a name");
            let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
            stream.map_err(|error| error.to_string())
        });
        let stream = connected?;
        let (_, session) = stream.get_ref();
        let version = match session.alpn_protocol() {
            Some(b"h2") => Version::Two,
            _ => Version::One,
        };
        let certificate = session.peer_certificates().and_then(|chain| chain.first());
        let certificate = certificate.map(|certificate| certificate.to_vec());
        let base = format!("https://localhost:{}", address.port());
        let client = Self::over(runtime, Box::new(stream), version, base)?;
        Ok((Self { certificate, ..client }, version))
    }

    /// Connects to a Unix socket.
    ///
    /// # Panics
    /// Where nobody listens.
    #[cfg(unix)]
    pub fn through(path: &std::path::Path, version: Version) -> Self {
        let runtime = runtime();
        let stream = runtime.block_on(tokio::net::UnixStream::connect(path));
        let stream = stream.expect("the server listens");
        Self::over(runtime, Box::new(stream), version, "http://localhost".to_owned())
            .expect("HTTP is spoken")
    }

    fn over(
        runtime: Runtime,
        stream: Box<dyn Duplex>,
        version: Version,
        base: String,
    ) -> Result<Self, String> {
        let stream = TokioIo::new(stream);
        let sender = runtime.block_on(async {
            match version {
                Version::One => {
                    let (sender, connection) =
                        http1::handshake(stream).await.map_err(|error| error.to_string())?;
                    tokio::spawn(connection);
                    Ok(Sender::One(Arc::new(tokio::sync::Mutex::new(sender))))
                }
                Version::Two => {
                    let handshake = http2::handshake(TokioExecutor::new(), stream).await;
                    let (sender, connection) = handshake.map_err(|error| error.to_string())?;
                    tokio::spawn(connection);
                    Ok::<_, String>(Sender::Two(sender))
                }
            }
        })?;
        Ok(Self { runtime, sender, base, certificate: None })
    }

    /// Begins a request, and gives what waits for its answer. The request is given up where that is
    /// dropped.
    pub fn begin(&self, request: Request<Full<Bytes>>) -> Pending<'_> {
        let sender = self.sender.clone();
        let sent = async move {
            match sender {
                Sender::One(sender) => sender.lock().await.send_request(request).await,
                Sender::Two(mut sender) => sender.send_request(request).await,
            }
        };
        Pending { client: self, task: self.runtime.spawn(sent) }
    }

    /// Makes a request, with some headers beside those that a client has to send.
    ///
    /// # Errors
    /// Where it is not answered.
    pub fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Answer, String> {
        self.begin(self.request(method, path, headers, body)).answer()
    }

    /// A request.
    ///
    /// # Panics
    /// Where it cannot be one.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Request<Full<Bytes>> {
        let mut request = match &self.sender {
            Sender::One(_) => {
                let (_, host) = self.base.split_once("://").expect("it is a URL");
                Request::builder().uri(path).header("host", host)
            }
            Sender::Two(_) => Request::builder().uri(format!("{}{path}", self.base)),
        };
        request = request.method(method);
        for (name, value) in headers_for(body) {
            request = request.header(name, value);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Full::from(body.to_owned())).expect("it is a request")
    }

    /// Makes a request of the protocol.
    ///
    /// # Errors
    /// Where it is not answered.
    pub fn post(&self, message: &Value) -> Result<Answer, String> {
        self.ask("POST", "/mcp", &[], &message.to_string())
    }
}

/// A request that is not answered yet.
pub struct Pending<'a> {
    client: &'a Client,
    task: tokio::task::JoinHandle<hyper::Result<http::Response<Incoming>>>,
}

impl Pending<'_> {
    /// Waits for the answer.
    ///
    /// # Errors
    /// Where there is none.
    ///
    /// # Panics
    /// Where it takes longer than anything should.
    pub fn answer(mut self) -> Result<Answer, String> {
        self.client.runtime.block_on(async {
            let answered = tokio::time::timeout(PATIENCE, async {
                let response = (&mut self.task).await.expect("nothing panics");
                let (head, body) = response.map_err(|error| format!("{error:?}"))?.into_parts();
                let body = body.collect().await.map_err(|error| format!("{error:?}"))?;
                Ok::<_, String>((head, body.to_bytes()))
            });
            let (head, body) = answered.await.expect("it is answered in time")?;
            let body = String::from_utf8(body.to_vec()).expect("the server speaks UTF-8");
            Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
        })
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Answer {
    /// The result of a call.
    ///
    /// # Panics
    /// Where it is none.
    pub fn result(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK.as_u16(), "{self:?}");
        let message: Value = serde_json::from_str(&self.body).expect("it is JSON");
        message["result"].clone()
    }
}

/// How a client trusts this authority, with what it offers to speak.
///
/// # Panics
/// Where the certificate is none.
pub fn trusting(authority: &crate::tls::Authority, alpn: &[&str]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate()).expect("it is a certificate");
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider knows them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().expect("threads can be started")
}
