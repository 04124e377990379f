//! By which names a server is addressed, and which web pages may talk to it.
//!
//! A page can have a browser send a request to a name that its own name server leads to this machine;
//! but then that name is in `Host`. And a browser says in `Origin` where the page is from.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HOST,
    HeaderMap, ORIGIN, VARY,
};
use http::uri::Authority;
use http::{HeaderValue, Method, Request, StatusCode};

use super::{Reply, text};

/// What pages may send beside what every page may.
const SENT: &str = "Authorization, Content-Type, Last-Event-ID, Mcp-Method, Mcp-Name, \
                    Mcp-Protocol-Version, Mcp-Session-Id";

/// What pages may read beside what every page may.
const READ: &str = "Mcp-Protocol-Version, Mcp-Session-Id, Retry-After, WWW-Authenticate";

/// For how many seconds a browser need not ask again.
const REMEMBERED: &str = "600";

/// Where a site is: `https://example.com`, with a port where it is not the usual one, and no path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebOrigin {
    /// In the form that browsers write.
    text: String,
    host: String,
}

/// Text that is not a [`WebOrigin`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a site: expected https://HOST or http://HOST, with a port where needed, and no path")]
pub struct WebOriginError;

impl FromStr for WebOrigin {
    type Err = WebOriginError;

    fn from_str(text: &str) -> Result<Self, WebOriginError> {
        let text = text.to_ascii_lowercase();
        let (scheme, rest) = text.split_once("://").ok_or(WebOriginError)?;
        let usual = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => return Err(WebOriginError),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let authority: Authority = rest.parse().map_err(|_| WebOriginError)?;
        let host = authority.host();
        if host.is_empty() || rest.contains('@') || rest.ends_with(':') {
            return Err(WebOriginError);
        }
        let shown = rest.strip_suffix(usual).unwrap_or(rest);
        Ok(Self { text: format!("{scheme}://{shown}"), host: host.to_owned() })
    }
}

impl fmt::Display for WebOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A name or address by which a server is addressed, without a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName(String);

/// Text that is not a [`HostName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a host: expected a name such as tools.example.com, or an address, without a port")]
pub struct HostNameError;

impl FromStr for HostName {
    type Err = HostNameError;

    fn from_str(text: &str) -> Result<Self, HostNameError> {
        let text = match text.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => format!("[{address}]"),
            _ => text.to_ascii_lowercase(),
        };
        let authority: Authority = text.parse().map_err(|_| HostNameError)?;
        if authority.host() == text && !text.is_empty() {
            Ok(Self(text))
        } else {
            Err(HostNameError)
        }
    }
}

/// Has the header `Host` say to whom a request is addressed, also where its target says it: over HTTP/2,
/// that is `:authority`, and a request need not have the header.
///
/// # Errors
/// Where the two differ: somebody else may have judged the other one.
pub(super) fn addressed<B>(request: &mut Request<B>) -> Result<(), &'static str> {
    let Some(authority) = request.uri().authority() else { return Ok(()) };
    let named = HeaderValue::from_str(authority.as_str());
    let named = named.map_err(|_| "the request is addressed to nobody")?;
    match request.headers().get(HOST) {
        Some(host) if !host.as_bytes().eq_ignore_ascii_case(named.as_bytes()) => {
            Err("a request names one host, and not another one in its target")
        }
        Some(_) => Ok(()),
        None => {
            request.headers_mut().insert(HOST, named);
            Ok(())
        }
    }
}

/// The names of a server, and the pages that may talk to it.
pub(super) struct Site {
    /// Whether it speaks TLS itself.
    pub(super) secure: bool,
    /// Where clients find it, if not where they say they do.
    pub(super) public: Option<WebOrigin>,
    /// More names than those of this machine itself.
    pub(super) hosts: Vec<HostName>,
    /// The pages that may talk to it, beside its own.
    pub(super) pages: Vec<WebOrigin>,
}

impl Site {
    /// Refuses a request that is addressed to somebody else, or that a page of somewhere else may
    /// have had a browser send.
    pub(super) fn accepts(&self, headers: &HeaderMap) -> Result<(), &'static str> {
        // Of several lines, somebody else may have judged another one.
        if [HOST, ORIGIN].iter().any(|name| headers.get_all(name).iter().nth(1).is_some()) {
            return Err("a request names one host, and comes from one page");
        }
        let value = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        if !value(HOST).is_some_and(|host| self.is_named(host)) {
            return Err(match self.public.is_some() || !self.hosts.is_empty() {
                true => "this server does not go by that name",
                false => "this server answers to localhost, 127.0.0.1 and [::1] alone",
            });
        }
        match value(ORIGIN) {
            Some(page) if !self.welcomes(page) => Err("pages of other machines are not answered"),
            _ => Ok(()),
        }
    }

    fn is_named(&self, authority: &str) -> bool {
        let Ok(authority) = authority.parse::<Authority>() else { return false };
        if authority.as_str().contains('@') {
            return false;
        }
        let host = authority.host();
        let public = self.public.as_ref().map(|public| public.host.as_str());
        let given = self.hosts.iter().map(|host| host.0.as_str());
        is_local(host) || given.chain(public).any(|name| name.eq_ignore_ascii_case(host))
    }

    fn welcomes(&self, page: &str) -> bool {
        let Ok(page) = page.parse::<WebOrigin>() else { return false };
        is_local(&page.host) || self.public.as_ref() == Some(&page) || self.pages.contains(&page)
    }

    /// Where a client that sent these headers finds this server. They were accepted, so that the
    /// name is one of its own.
    ///
    /// Whoever finds it by another name than this machine has for itself, and showed a token, came
    /// through TLS: its own, or that of a proxy.
    pub(super) fn base(&self, headers: &HeaderMap) -> String {
        if let Some(public) = &self.public {
            return public.to_string();
        }
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
        let local = host.parse::<Authority>().is_ok_and(|authority| is_local(authority.host()));
        let scheme = if self.secure || !local { "https" } else { "http" };
        format!("{scheme}://{host}")
    }

    /// The answer to a browser that asks what a page may do.
    pub(super) fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<Reply> {
        let asks = method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if !asks || self.page(headers).is_none() {
            return None;
        }
        let mut reply = text(StatusCode::NO_CONTENT, "");
        for (name, value) in [
            (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, DELETE"),
            (ACCESS_CONTROL_ALLOW_HEADERS, SENT),
            (ACCESS_CONTROL_MAX_AGE, REMEMBERED),
        ] {
            reply.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        Some(reply)
    }

    /// The page that sent a request, if it is one that may read the answer.
    pub(super) fn page(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        let page = origin.to_str().ok()?.parse::<WebOrigin>().ok()?;
        self.pages.contains(&page).then(|| origin.clone())
    }

    /// Lets a page read an answer.
    pub(super) fn share(&self, page: Option<HeaderValue>, reply: &mut Reply) {
        if self.pages.is_empty() {
            return;
        }
        let headers = reply.headers_mut();
        // What one page gets is no answer for another one.
        headers.append(VARY, HeaderValue::from_static("Origin"));
        if let Some(page) = page {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, page);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(READ));
        }
    }
}

/// Whether a host is this machine, by whatever name it has for itself.
fn is_local(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_are_written_as_browsers_write_them() {
        for (text, told) in [
            ("https://Tools.Example.com/", "https://tools.example.com"),
            ("https://tools.example.com:443", "https://tools.example.com"),
            ("http://tools.example.com:443", "http://tools.example.com:443"),
            ("http://[::1]:3000", "http://[::1]:3000"),
        ] {
            assert_eq!(text.parse::<WebOrigin>().map(|site| site.to_string()).as_deref(), Ok(told));
        }
        for bad in [
            "",
            "null",
            "*",
            "file://",
            "https://",
            "https:///",
            "ftp://a.example",
            "https://a.example/path",
            "https://a.example?",
            "https://a@b.example",
            "a.example",
            "https://a.example:",
            "https://a b.example",
        ] {
            assert_eq!(bad.parse::<WebOrigin>(), Err(WebOriginError), "{bad}");
        }
    }

    #[test]
    fn a_request_is_addressed_to_one_host() {
        for (target, host, addressed_to) in [
            ("/mcp", Some("a.example"), Ok(Some("a.example"))),
            ("/mcp", None, Ok(None)),
            ("http://a.example/mcp", None, Ok(Some("a.example"))),
            ("http://a.example/mcp", Some("A.example"), Ok(Some("A.example"))),
            ("http://a.example/mcp", Some("a.example:80"), Err(())),
            ("http://a.example/mcp", Some("localhost"), Err(())),
            ("http://a.example/mcp", Some(""), Err(())),
        ] {
            let mut request = Request::get(target).body(()).unwrap();
            if let Some(host) = host {
                request.headers_mut().insert(HOST, HeaderValue::from_static(host));
            }
            let done = addressed(&mut request).map_err(|_| ());
            let named = request.headers().get(HOST).and_then(|host| host.to_str().ok());
            assert_eq!(done.map(|()| named), addressed_to, "{target} {host:?}");
        }
    }

    #[test]
    fn a_name_for_others_is_one_over_tls() {
        let base = |secure, public: Option<&str>, host: &'static str| {
            let public = public.map(|public| public.parse().unwrap());
            let site = Site { secure, public, hosts: Vec::new(), pages: Vec::new() };
            site.base(&HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]))
        };
        assert_eq!(base(false, None, "localhost:3000"), "http://localhost:3000");
        assert_eq!(base(true, None, "[::1]:3000"), "https://[::1]:3000");
        assert_eq!(base(false, None, "tools.example.com"), "https://tools.example.com");
        let plain = Some("http://10.0.0.5:3000");
        assert_eq!(base(false, plain, "10.0.0.5:3000"), "http://10.0.0.5:3000");
    }

    #[test]
    fn hosts_have_no_port() {
        for (text, told) in [("A.example", "a.example"), ("10.0.0.5", "10.0.0.5"), ("::1", "[::1]")]
        {
            assert_eq!(text.parse::<HostName>().map(|host| host.0).as_deref(), Ok(told));
        }
        for bad in ["", "a.example:80", "http://a.example", "a/b", "a@b", "a b"] {
            assert_eq!(bad.parse::<HostName>(), Err(HostNameError), "{bad}");
        }
    }
}
