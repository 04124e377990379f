//! Documents of an issuer, over HTTPS.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::tls;

/// How long a document may take in all: whoever waits for it waits for a client of ours.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The most bytes of a document. Those of large issuers have some ten kilobytes.
const MOST_BYTES: usize = 256 << 10;

/// The most headers of an answer, and the most bytes of its head.
const MOST_HEADERS: usize = 128;
const MOST_HEAD_BYTES: usize = 64 << 10;

/// Where a document of an issuer is: by `https`, or by `http` on this machine. It keeps the form in
/// which it was written, as issuers are compared by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerUrl {
    text: String,
    uri: Uri,
}

/// Text that is not an [`IssuerUrl`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the address of an issuer: expected https://HOST/PATH, or http:// on this machine")]
pub struct IssuerUrlError;

impl FromStr for IssuerUrl {
    type Err = IssuerUrlError;

    fn from_str(text: &str) -> Result<Self, IssuerUrlError> {
        let uri: Uri = text.parse().map_err(|_| IssuerUrlError)?;
        let url = Self { text: text.to_owned(), uri };
        let secure = url.is_secure() || url.uri.scheme_str() == Some("http") && url.is_local();
        let plain = url.uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
            && !url.host().is_empty()
            && !text.contains('#');
        if secure && plain { Ok(url) } else { Err(IssuerUrlError) }
    }
}

impl fmt::Display for IssuerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl IssuerUrl {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether who it is at the other end is proved.
    pub(super) fn is_secure(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    /// The places where the metadata of this issuer may be, in the order in which clients of the
    /// protocol try them.
    pub(super) fn places_of_metadata(&self) -> Vec<Self> {
        let origin = match (self.uri.scheme_str(), self.uri.authority()) {
            (Some(scheme), Some(authority)) => format!("{scheme}://{authority}"),
            _ => return Vec::new(),
        };
        let path = self.uri.path().trim_end_matches('/');
        let mut places = vec![
            format!("{origin}/.well-known/oauth-authorization-server{path}"),
            format!("{origin}/.well-known/openid-configuration{path}"),
        ];
        if !path.is_empty() {
            places.push(format!("{origin}{path}/.well-known/openid-configuration"));
        }
        places.iter().filter_map(|place| place.parse().ok()).collect()
    }

    fn host(&self) -> &str {
        let host = self.uri.host().unwrap_or_default();
        host.trim_start_matches('[').trim_end_matches(']')
    }

    fn is_local(&self) -> bool {
        let address = self.host().parse::<IpAddr>();
        self.host().eq_ignore_ascii_case("localhost") || address.is_ok_and(|ip| ip.is_loopback())
    }

    fn port(&self) -> u16 {
        self.uri.port_u16().unwrap_or(if self.is_secure() { 443 } else { 80 })
    }
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("it took too long")]
    Late,
    #[error("no connection")]
    Connect(#[source] std::io::Error),
    #[error(transparent)]
    Tls(#[from] tls::NoAuthorities),
    #[error("the host is no name of a server")]
    Host,
    #[error("no answer")]
    Http(#[from] hyper::Error),
    #[error("the answer is {0}")]
    Status(StatusCode),
    #[error("the answer broke off, or has more than {MOST_BYTES} bytes")]
    Body,
    #[error("no request can be made of this address")]
    Request(#[from] http::Error),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Reads a document. It has to be where it is said to be: nobody is followed elsewhere.
///
/// # Security
/// The operator trusts the issuer to say who clients are, and not with this machine: whatever it
/// answers costs bounded memory and time.
pub(super) async fn fetch(url: &IssuerUrl) -> Result<Bytes, FetchError> {
    tokio::time::timeout(TIMEOUT, exchange(url)).await.unwrap_or(Err(FetchError::Late))
}

async fn exchange(url: &IssuerUrl) -> Result<Bytes, FetchError> {
    let authority = url.uri.authority().map_or("", |authority| authority.as_str());
    let target = url.uri.path_and_query().map_or("/", |target| target.as_str());
    let request = Request::get(target)
        .header(HOST, authority)
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, concat!("kami/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())?;
    let mut client = http1::Builder::new();
    client.max_headers(MOST_HEADERS).max_buf_size(MOST_HEAD_BYTES);
    let (mut sender, connection) = client.handshake(TokioIo::new(connect(url).await?)).await?;
    let answer = async {
        let response = sender.send_request(request).await?;
        match response.status() {
            StatusCode::OK => {
                let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
                Ok(body.map_err(|_| FetchError::Body)?.to_bytes())
            }
            status => Err(FetchError::Status(status)),
        }
    };
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // What came before the end is still to be read.
        _ = connection => answer.await,
    }
}

async fn connect(url: &IssuerUrl) -> Result<Box<dyn Stream>, FetchError> {
    let stream = TcpStream::connect((url.host(), url.port())).await;
    let stream = stream.map_err(FetchError::Connect)?;
    if !url.is_secure() {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(url.host().to_owned()).map_err(|_| FetchError::Host)?;
    let stream = tls::connector()?.connect(name, stream).await;
    Ok(Box::new(stream.map_err(FetchError::Connect)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuers_prove_who_they_are_or_are_this_machine() {
        for good in
            ["https://a.example", "https://a.example/t/", "http://127.0.0.1:80", "http://[::1]"]
        {
            assert_eq!(good.parse::<IssuerUrl>().as_ref().map(IssuerUrl::as_str), Ok(good));
        }
        for bad in [
            "",
            "a.example",
            "http://a.example",
            "http://127.0.0.1.a.example",
            "ftp://a.example",
            "https://",
            "https://a@b.example",
            "https://a.example/#part",
            "/path",
        ] {
            assert_eq!(bad.parse::<IssuerUrl>(), Err(IssuerUrlError), "{bad}");
        }
    }

    #[test]
    fn metadata_is_looked_for_where_clients_look_for_it() {
        let places = |url: &str| -> Vec<String> {
            let url: IssuerUrl = url.parse().unwrap();
            url.places_of_metadata().iter().map(IssuerUrl::to_string).collect()
        };
        assert_eq!(
            places("https://a.example/"),
            [
                "https://a.example/.well-known/oauth-authorization-server",
                "https://a.example/.well-known/openid-configuration",
            ]
        );
        assert_eq!(
            places("https://a.example:8443/t/one"),
            [
                "https://a.example:8443/.well-known/oauth-authorization-server/t/one",
                "https://a.example:8443/.well-known/openid-configuration/t/one",
                "https://a.example:8443/t/one/.well-known/openid-configuration",
            ]
        );
    }
}
