//! A small blocking HTTP client: wasi:http in the sandbox, the real network under `cargo test`.
//!
//! ```no_run
//! use kami_guest::http::{Error, Request};
//! use std::time::Duration;
//!
//! fn latest() -> Result<String, Error> {
//!     let response = Request::get("https://api.example.com/latest")
//!         .header("accept", "application/json")
//!         .timeout(Duration::from_secs(3))
//!         .send()?;
//!     Ok(response.text().into_owned())
//! }
//! ```
//!
//! In the sandbox a request goes only where the operator lets this tool go.
//! Redirects are not followed, for each hop may need a grant of its own: a 3xx
//! response is a response. So is 404; an [`Error`] means that there was no response.
//!
//! Absent on purpose: connection pools, cookies, decompression. A call lives in
//! a sandbox of its own that ends with it.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::time::Duration;

use url::Url;

mod url;

#[cfg(not(target_family = "wasm"))]
#[path = "native.rs"]
mod transport;
#[cfg(target_family = "wasm")]
#[path = "sandbox.rs"]
mod transport;

/// A body larger than this is an error unless [`Request::max_bytes`] says otherwise: 10 MiB,
/// which leaves room in the 64 MiB that a tool has by default.
pub const DEFAULT_MAX_BYTES: usize = 10 * 1024 * 1024;

/// Sent unless the tool names itself; some servers answer nobody without a name.
const USER_AGENT: &str = concat!("kami-guest/", env!("CARGO_PKG_VERSION"));

/// What is asked of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Method {
    /// Sends what is at the URL.
    Get,
    /// Sends what `Get` would, without the body.
    Head,
    /// Takes the body and does something with it.
    Post,
    /// Keeps the body at the URL.
    Put,
    /// Changes what is at the URL.
    Patch,
    /// Removes what is at the URL.
    Delete,
    /// Says what else can be asked.
    Options,
}

/// A request being put together.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    method: Method,
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    timeout: Option<Duration>,
    max_bytes: usize,
}

impl Request {
    /// A request of any method; the URL starts with `http://` or `https://`.
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        Self {
            method,
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: None,
            max_bytes: DEFAULT_MAX_BYTES,
        }
    }

    /// A GET request.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new(Method::Get, url)
    }

    /// A POST request.
    pub fn post(url: impl Into<String>) -> Self {
        Self::new(Method::Post, url)
    }

    /// Adds a header, beside those of the same name.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets what is sent along.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Gives up after this long, from the first byte sent to the last byte read.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Gives up on a response with a longer body than this.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sends the request and reads the whole response.
    ///
    /// # Errors
    ///
    /// If the URL or a header is malformed, the host denies the request, no response comes (in time), or its
    /// body is too long. A response with any status is not an error.
    pub fn send(mut self) -> Result<Response, Error> {
        let url = Url::parse(&self.url)
            .map_err(|reason| Error::InvalidUrl { url: self.url.clone(), reason })?;
        if !self.has_header("user-agent") {
            self.headers.push(("user-agent".into(), USER_AGENT.into()));
        }
        let takes_body = matches!(self.method, Method::Post | Method::Put | Method::Patch);
        if (takes_body || !self.body.is_empty()) && !self.has_header("content-length") {
            let length = self.body.len().to_string();
            self.headers.push(("content-length".into(), length));
        }
        transport::send(&self, &url)
    }

    fn has_header(&self, name: &str) -> bool {
        self.headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name))
    }
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    url: String,
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Response {
    /// The URL that was asked.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The status, for example 200.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// All headers in the order in which they came; bytes that are not UTF-8 are replaced.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The body.
    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// The body, given away.
    pub fn into_bytes(self) -> Vec<u8> {
        self.body
    }

    /// The body as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }
}

/// Why there is no response.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The URL can't be asked for.
    InvalidUrl {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A header is malformed, or is not the tool's to set.
    InvalidHeader {
        /// Its name.
        name: String,
    },
    /// The host doesn't let this tool go there.
    Denied {
        /// Host and port, as in the URL.
        host: String,
    },
    /// The time that the request was given is over.
    Timeout {
        /// Host and port, as in the URL.
        host: String,
    },
    /// The body of the response is longer than was allowed.
    TooLong {
        /// Host and port, as in the URL.
        host: String,
        /// How many bytes were allowed.
        max_bytes: usize,
    },
    /// The connection failed, or what came over it was not HTTP.
    Failed {
        /// Host and port, as in the URL.
        host: String,
        /// What happened.
        reason: String,
    },
}

impl Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidUrl { url, reason } => write!(formatter, "`{url}`: {reason}"),
            Self::InvalidHeader { name } => {
                write!(formatter, "the header `{name}` is malformed or can't be set")
            }
            Self::Denied { host } => {
                write!(formatter, "request to {host} denied by the host's policy")
            }
            Self::Timeout { host } => write!(formatter, "request to {host} timed out"),
            Self::TooLong { host, max_bytes } => {
                write!(formatter, "{host} answered with more than {max_bytes} bytes")
            }
            Self::Failed { host, reason } => {
                write!(formatter, "request to {host} failed: {reason}")
            }
        }
    }
}

impl std::error::Error for Error {}
