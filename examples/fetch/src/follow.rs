//! Requests, and the redirects that answer them.

use std::time::Duration;

use kami_guest::http;
use kami_guest::prelude::*;

use crate::{Request, link};

/// How many redirects are followed: as many as ordinary sites need, and no loops.
const MAX_REDIRECTS: usize = 8;

/// How long one hop may take. The whole call has the sandbox's 30 seconds.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The largest answer that is read; the text of the largest pages is a tenth of it.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// How to ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[kami_type]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    #[default]
    Get,
    Post,
}

/// One request on the way to a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The address, absolute and in ASCII.
    pub url: String,
    /// How to ask.
    pub method: Method,
    /// Names in small letters, and values.
    pub headers: Vec<(String, String)>,
    /// What is sent along.
    pub body: Option<String>,
}

/// The answer at the end of the way.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The address that answered.
    pub url: String,
    /// The HTTP status.
    pub status: u16,
    /// The media type and its parameters, in small letters; empty if the server told none.
    pub content_type: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Hop {
    /// The first request.
    ///
    /// # Errors
    /// The address is not one of the web, or there is a body to a GET.
    pub fn new(request: &Request) -> Result<Self, String> {
        if request.method == Method::Get && request.body.is_some() {
            return Err("a GET carries no `body`: set `method` to POST".to_owned());
        }
        let mut headers: Vec<(String, String)> = request
            .headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
            .collect();
        let mut default = |name: &str, value: &str| {
            if headers.iter().all(|(given, _)| given != name) {
                headers.push((name.to_owned(), value.to_owned()));
            }
        };
        default("accept", "text/html, text/*;q=0.9, application/json;q=0.9, */*;q=0.5");
        if request.body.is_some() {
            default("content-type", "application/json");
        }
        Ok(Self {
            url: link::request_url(&request.url)?,
            method: request.method,
            headers,
            body: request.body.clone(),
        })
    }

    /// The request that a redirect asks for.
    ///
    /// As browsers do, it turns into a GET unless the status forbids that (307, 308), and leaves
    /// credentials behind when it goes to another server.
    ///
    /// # Errors
    /// The new address is not one of the web.
    pub fn redirected(self, status: u16, location: &str) -> Result<Self, String> {
        let target = link::resolve(&self.url, location)
            .ok_or_else(|| format!("{} redirects to `{location}`, which is no URL", self.url))?;
        let url = link::request_url(&target)?;
        let keeps_method = matches!(status, 307 | 308);
        let keeps_credentials = link::same_origin(&self.url, &url);
        let keeps = |name: &str| match name {
            "authorization" | "cookie" | "proxy-authorization" => keeps_credentials,
            "content-type" => keeps_method,
            _ => true,
        };
        Ok(Self {
            url,
            method: if keeps_method { self.method } else { Method::Get },
            headers: self.headers.into_iter().filter(|(name, _)| keeps(name)).collect(),
            body: self.body.filter(|_| keeps_method),
        })
    }

    fn send(&self) -> Result<http::Response, String> {
        let mut request = match self.method {
            Method::Get => http::Request::get(&self.url),
            Method::Post => http::Request::post(&self.url),
        };
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(body) = &self.body {
            request = request.body(body.as_bytes());
        }
        request
            .timeout(TIMEOUT)
            .max_bytes(MAX_BYTES)
            .send()
            .map_err(|error| format!("can't fetch {}: {error}", self.url))
    }
}

/// Sends a request and follows the redirects.
///
/// # Errors
/// A request failed or was denied, or there are too many redirects.
pub fn follow(mut hop: Hop) -> Result<Reply, String> {
    for _ in 0..=MAX_REDIRECTS {
        let response = hop.send()?;
        let status = response.status();
        match response.header("location") {
            Some(location) if matches!(status, 301 | 302 | 303 | 307 | 308) => {
                hop = hop.redirected(status, location)?;
            }
            _ => {
                let content_type = response.header("content-type").unwrap_or_default();
                return Ok(Reply {
                    url: hop.url,
                    status,
                    content_type: content_type.to_ascii_lowercase(),
                    body: response.into_bytes(),
                });
            }
        }
    }
    Err(format!("gave up after {MAX_REDIRECTS} redirects, the last to {}", hop.url))
}
