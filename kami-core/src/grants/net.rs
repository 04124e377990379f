//! Entries of network allow-lists, and the one function that matches them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::address::AddressRange;
use super::endpoint::{Endpoint, Host, Scheme, parse_port, split_port};
use super::path::{PathPattern, PlainPath};

/// The most methods that one entry lists: there are nine in use.
const MAX_METHODS: usize = 16;

/// The longest entry. A longer path is not one that a person has read.
const MAX_LENGTH: usize = 2048;

/// What a tool wants to do on the network: one HTTP request, or one connection of a socket.
#[derive(Debug, Clone, Copy)]
pub struct NetAccess<'a> {
    endpoint: &'a Endpoint,
    request: Option<(&'a str, &'a str)>,
}

impl<'a> NetAccess<'a> {
    /// An HTTP request: where to, by which method, and the path without its query.
    pub fn request(endpoint: &'a Endpoint, method: &'a str, path: &'a str) -> Self {
        Self { endpoint, request: Some((method, path)) }
    }

    /// A connection of a socket.
    pub fn socket(endpoint: &'a Endpoint) -> Self {
        Self { endpoint, request: None }
    }

    /// Where it leads.
    pub fn endpoint(&self) -> &'a Endpoint {
        self.endpoint
    }

    /// Method and path of a request; `None` for a socket.
    pub fn method_and_path(&self) -> Option<(&'a str, &'a str)> {
        self.request
    }
}

impl fmt::Display for NetAccess<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.request {
            Some((method, path)) => write!(f, "{method} {}{path}", self.endpoint),
            None => write!(f, "a socket to {}", self.endpoint),
        }
    }
}

/// An entry of an allow-list: `[METHOD[,METHOD...] ][scheme://]host[:port][/path]`.
///
/// The host is a name, a literal address, a range of addresses such as `10.0.0.0/8`, or a wildcard.
/// `*.example.com` matches every name below `example.com` and not `example.com` itself. `*` matches
/// every name but no literal address, and HTTP requests only. Without a port every port matches;
/// without a scheme, HTTP, HTTPS and sockets do; without a method or path, each of them. An entry
/// with a method or a path, or with the scheme `http` or `https`, permits no socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NetPattern {
    text: String,
    methods: Vec<String>,
    scheme: Option<Scheme>,
    host: HostMatch,
    port: Option<u16>,
    path: Option<PathPattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostMatch {
    Any,
    Below(String),
    Exactly(Host),
    Within(AddressRange),
}

impl HostMatch {
    fn overlaps(&self, other: &Self) -> bool {
        let is_below = |name: &str, suffix: &str| {
            name.strip_suffix(suffix).is_some_and(|head| head.ends_with('.'))
        };
        match (self, other) {
            (Self::Any, Self::Any | Self::Below(_) | Self::Exactly(Host::Name(_))) => true,
            (Self::Below(one), Self::Below(other)) => {
                one == other || is_below(one, other) || is_below(other, one)
            }
            (Self::Below(suffix), Self::Exactly(Host::Name(name))) => is_below(name, suffix),
            (Self::Exactly(one), Self::Exactly(other)) => one == other,
            (Self::Within(range), Self::Exactly(Host::Address(address))) => {
                range.contains(*address)
            }
            (Self::Within(one), Self::Within(other)) => one.overlaps(other),
            (Self::Below(_), Self::Any)
            | (Self::Exactly(_), Self::Any | Self::Below(_) | Self::Within(_)) => {
                other.overlaps(self)
            }
            _ => false,
        }
    }
}

/// Text that is not an allow-list entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetPatternError {
    /// More text than any entry has.
    #[error("an entry has at most {MAX_LENGTH} characters")]
    Length,
    /// Something before the space that is no list of methods.
    #[error("before the space stand HTTP methods in capital letters, such as `GET` or `GET,HEAD`")]
    Method,
    /// A scheme other than the three that exist.
    #[error("the scheme must be http, https or tcp")]
    Scheme,
    /// A path that matches nothing, or would match other than it seems to.
    #[error(
        "the path must be plain, with `*` only as a whole segment, such as `/repos/*`: no `..`, \
         `//`, `?` or `#`"
    )]
    Path,
    /// A port that is not from 1 to 65535.
    #[error("the port must be from 1 to 65535")]
    Port,
    /// A range whose address or length is wrong.
    #[error(
        "a range is an address, `/` and a number of bits, such as 10.0.0.0/8, all other bits 0"
    )]
    Range,
    /// A method or path for what is no HTTP request.
    #[error("a `tcp` entry has neither method nor path, and names a port")]
    Socket,
    /// Neither a name nor an address.
    #[error("expected `host`, `*.host`, `host:port`, `https://host`, `10.0.0.0/8` or `*`")]
    Host,
}

impl NetPattern {
    /// Whether `access` is one that this entry lists.
    pub fn matches(&self, access: &NetAccess<'_>) -> bool {
        self.matches_at(access, &access.endpoint.host)
    }

    /// Whether this is a range of addresses that lists `access` when its name leads to `address`.
    pub(super) fn leads_to(&self, access: &NetAccess<'_>, address: IpAddr) -> bool {
        matches!(self.host, HostMatch::Within(_))
            && self.matches_at(access, &Host::Address(address.to_canonical()))
    }

    /// Whether a socket may ask for the addresses of `name` at all, to connect to some port.
    pub(super) fn matches_lookup(&self, name: &Host) -> bool {
        self.permits_sockets() && self.matches_host(name)
    }

    /// Whether this is a range of addresses that holds `address`, for sockets to some port.
    pub(super) fn holds(&self, address: IpAddr) -> bool {
        self.permits_sockets()
            && matches!(&self.host, HostMatch::Within(range) if range.contains(address))
    }

    /// The entry in its one form: names in lower case, without what can be left out.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether every public host is meant.
    pub fn is_everything(&self) -> bool {
        self.host == HostMatch::Any
    }

    /// Whether sockets are permitted, and not only HTTP requests.
    pub fn permits_sockets(&self) -> bool {
        match self.scheme {
            Some(Scheme::Tcp) => true,
            Some(Scheme::Http | Scheme::Https) => false,
            None => self.methods.is_empty() && self.path.is_none() && self.host != HostMatch::Any,
        }
    }

    /// Whether HTTP requests are permitted, and not only sockets.
    pub fn permits_requests(&self) -> bool {
        self.scheme != Some(Scheme::Tcp)
    }

    /// Whether something is listed by both: only then can one be granted for what the other asks.
    pub fn overlaps(&self, other: &Self) -> bool {
        let agree = |one: Option<u16>, other: Option<u16>| {
            one.zip(other).is_none_or(|(one, other)| one == other)
        };
        self.host.overlaps(&other.host)
            && agree(self.port, other.port)
            && (self.overlaps_in_requests(other)
                || (self.permits_sockets() && other.permits_sockets()))
    }

    fn overlaps_in_requests(&self, other: &Self) -> bool {
        let shared = |method| other.methods.contains(method);
        let path = self.path.as_ref().zip(other.path.as_ref());
        self.permits_requests()
            && other.permits_requests()
            && self.scheme.zip(other.scheme).is_none_or(|(one, other)| one == other)
            && (self.methods.is_empty()
                || other.methods.is_empty()
                || self.methods.iter().any(shared))
            && path.is_none_or(|(one, other)| one.overlaps(other))
    }

    fn matches_at(&self, access: &NetAccess<'_>, host: &Host) -> bool {
        let endpoint = access.endpoint;
        self.matches_host(host)
            && self.scheme.is_none_or(|scheme| scheme == endpoint.scheme)
            && self.port.is_none_or(|port| port == endpoint.port)
            && match access.request {
                Some((method, path)) => self.matches_request(method, path),
                None => self.permits_sockets(),
            }
    }

    fn matches_request(&self, method: &str, path: &str) -> bool {
        (self.methods.is_empty() || self.methods.iter().any(|listed| listed == method))
            && self.path.as_ref().is_none_or(|pattern| {
                PlainPath::new(path).is_some_and(|path| pattern.matches(&path))
            })
    }

    fn matches_host(&self, host: &Host) -> bool {
        match (&self.host, host) {
            (HostMatch::Any, Host::Name(_)) => true,
            (HostMatch::Below(suffix), Host::Name(name)) => {
                name.strip_suffix(suffix.as_str()).is_some_and(|head| head.ends_with('.'))
            }
            (HostMatch::Exactly(expected), actual) => expected == actual,
            (HostMatch::Within(range), Host::Address(address)) => range.contains(*address),
            _ => false,
        }
    }

    fn parse(text: &str) -> Result<Self, NetPatternError> {
        if text.len() > MAX_LENGTH {
            return Err(NetPatternError::Length);
        }
        let (methods, rest) = match text.split_once(' ') {
            Some((methods, rest)) => (parse_methods(methods)?, rest),
            None => (Vec::new(), text),
        };
        let (scheme, rest) = match rest.split_once("://") {
            Some((scheme, rest)) => {
                let scheme = Scheme::parse(&scheme.to_ascii_lowercase());
                (Some(scheme.ok_or(NetPatternError::Scheme)?), rest)
            }
            None => (None, rest),
        };
        let (host, port, path) = match parse_range(rest)? {
            Some((range, port)) => (HostMatch::Within(range), port, None),
            None => parse_host(rest)?,
        };
        if scheme == Some(Scheme::Tcp) && (!methods.is_empty() || path.is_some() || port.is_none())
        {
            return Err(NetPatternError::Socket);
        }
        let mut pattern = Self { text: String::new(), methods, scheme, host, port, path };
        pattern.text = pattern.canonical();
        Ok(pattern)
    }

    fn canonical(&self) -> String {
        let mut text = self.methods.join(",");
        if !text.is_empty() {
            text.push(' ');
        }
        if let Some(scheme) = self.scheme {
            text += &format!("{scheme}://");
        }
        text += &match &self.host {
            HostMatch::Any => "*".to_owned(),
            HostMatch::Below(suffix) => format!("*.{suffix}"),
            HostMatch::Exactly(host) => host.to_string(),
            HostMatch::Within(range) => range.to_string(),
        };
        if let Some(port) = self.port {
            text += &format!(":{port}");
        }
        if let Some(path) = &self.path {
            text += &path.to_string();
        }
        text
    }
}

fn parse_methods(text: &str) -> Result<Vec<String>, NetPatternError> {
    let is_method =
        |text: &str| (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_uppercase());
    let methods: Vec<String> = text.split(',').map(str::to_owned).collect();
    let valid = methods.len() <= MAX_METHODS && methods.iter().all(|method| is_method(method));
    valid.then_some(methods).ok_or(NetPatternError::Method)
}

/// Reads `10.0.0.0/8` or `10.0.0.0/8:443`: an address with a number after the slash is a range.
fn parse_range(text: &str) -> Result<Option<(AddressRange, Option<u16>)>, NetPatternError> {
    let Some((address, rest)) = text.split_once('/') else { return Ok(None) };
    let Some(Host::Address(address)) = Host::parse(address) else { return Ok(None) };
    let (bits, port) = match rest.split_once(':') {
        Some((bits, port)) => (bits, Some(port)),
        None => (rest, None),
    };
    if bits.is_empty() || !bits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    let port = port.map(|port| parse_port(port).ok_or(NetPatternError::Port)).transpose()?;
    let bits = bits.parse().map_err(|_| NetPatternError::Range)?;
    let range = AddressRange::new(address, bits).ok_or(NetPatternError::Range)?;
    Ok(Some((range, port)))
}

type HostPortPath = (HostMatch, Option<u16>, Option<PathPattern>);

fn parse_host(text: &str) -> Result<HostPortPath, NetPatternError> {
    let (authority, path) = match text.find(['/', '?', '#']) {
        Some(at) => (&text[..at], Some(&text[at..])),
        None => (text, None),
    };
    let path = path.map(str::parse).transpose().map_err(|()| NetPatternError::Path)?;
    let (host, port) = split_port(authority).ok_or(NetPatternError::Port)?;
    let host = match host.strip_prefix("*.") {
        _ if host == "*" => HostMatch::Any,
        Some(suffix) => match Host::parse(suffix) {
            Some(Host::Name(name)) => HostMatch::Below(name),
            _ => return Err(NetPatternError::Host),
        },
        None => HostMatch::Exactly(Host::parse(host).ok_or(NetPatternError::Host)?),
    };
    Ok((host, port, path))
}

impl FromStr for NetPattern {
    type Err = NetPatternError;

    fn from_str(text: &str) -> Result<Self, NetPatternError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for NetPattern {
    type Error = NetPatternError;

    fn try_from(text: String) -> Result<Self, NetPatternError> {
        Self::parse(&text)
    }
}

impl From<NetPattern> for String {
    fn from(pattern: NetPattern) -> String {
        pattern.text
    }
}

impl fmt::Display for NetPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `access` is `METHOD url` or a `tcp://` address.
    fn matches(pattern: &str, access: &str) -> bool {
        let pattern: NetPattern = pattern.parse().unwrap_or_else(|e| panic!("{pattern}: {e}"));
        let (method, url) = access.split_once(' ').unwrap_or(("GET", access));
        let Some(endpoint) = Endpoint::of_url(url) else { return false };
        if endpoint.scheme() == Scheme::Tcp {
            return pattern.matches(&NetAccess::socket(&endpoint));
        }
        let rest = url.split_once("://").unwrap().1;
        let path = rest.find('/').map_or("/", |at| &rest[at..]);
        pattern.matches(&NetAccess::request(&endpoint, method, path))
    }

    #[test]
    fn patterns_match_what_they_say() {
        let cases = [
            ("example.com", "https://example.com/x", true),
            ("example.com", "http://EXAMPLE.com.:8080", true),
            ("example.com", "https://www.example.com", false),
            ("example.com", "https://example.com.evil.org", false),
            ("example.com", "https://notexample.com", false),
            ("*.example.com", "https://a.b.example.com", true),
            ("*.example.com", "https://example.com", false),
            ("*.example.com", "https://evilexample.com", false),
            ("example.com:8443", "https://example.com:8443", true),
            ("example.com:8443", "https://example.com", false),
            ("https://example.com", "http://example.com", false),
            ("https://example.com", "https://example.com:444", true),
            ("*", "https://anything.org", true),
            ("*", "https://127.0.0.1", false),
            ("127.0.0.1", "http://127.0.0.1:1234", true),
            ("127.0.0.1", "http://[::ffff:127.0.0.1]:1234", true),
            ("127.0.0.1:80", "http://127.0.0.1:1234", false),
            ("[::1]:80", "http://[::1]", true),
            ("[::1]", "http://[::2]", false),
            ("10.0.0.0/8", "http://10.255.0.1", true),
            ("10.0.0.0/8", "http://11.0.0.1", false),
            ("10.0.0.0/8", "http://ten.example", false),
            ("10.0.0.0/8:443", "https://10.0.0.1", true),
            ("10.0.0.0/8:443", "http://10.0.0.1", false),
            ("[fd00::]/8", "http://[fd12::1]", true),
        ];
        for (pattern, access, expected) in cases {
            assert_eq!(matches(pattern, access), expected, "{pattern} against {access}");
        }
    }

    #[test]
    fn methods_and_paths_narrow_an_entry() {
        let cases = [
            ("GET example.com", "GET https://example.com/x", true),
            ("GET example.com", "POST https://example.com/x", false),
            ("GET example.com", "HEAD https://example.com/x", false),
            ("GET example.com", "get https://example.com/x", false),
            ("GET,HEAD example.com", "HEAD https://example.com", true),
            ("GET api.example.com/repos/*", "GET https://api.example.com/repos/a/b", true),
            ("GET api.example.com/repos/*", "GET https://api.example.com/user", false),
            ("GET api.example.com/repos/*", "GET https://api.example.com/repos/../user", false),
            ("https://127.0.0.1:4000/ok", "POST https://127.0.0.1:4000/ok", true),
            ("https://127.0.0.1:4000/ok", "GET https://127.0.0.1:4000/not", false),
            ("https://127.0.0.1/a:b", "GET https://127.0.0.1/a:b", true),
        ];
        for (pattern, access, expected) in cases {
            assert_eq!(matches(pattern, access), expected, "{pattern} against {access}");
        }
    }

    #[test]
    fn entries_overlap_where_something_is_listed_by_both() {
        let cases = [
            ("example.com", "example.com", true),
            ("example.com", "https://example.com:8443", true),
            ("example.com", "www.example.com", false),
            ("*.example.com", "api.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "*.eu.example.com", true),
            ("*.example.com", "*.example.org", false),
            ("*", "api.example.com", true),
            ("*", "127.0.0.1", false),
            ("*", "10.0.0.0/8", false),
            ("10.0.0.0/8", "10.1.0.0/16", true),
            ("10.0.0.0/8", "10.1.2.3:80", true),
            ("10.0.0.0/8", "11.0.0.0/8", false),
            ("https://example.com", "http://example.com", false),
            ("example.com:80", "example.com:443", false),
            ("GET example.com", "POST example.com", false),
            ("GET,HEAD example.com", "HEAD example.com", true),
            ("GET example.com", "tcp://example.com:80", false),
            ("example.com", "tcp://example.com:80", true),
            ("GET https://example.com/a/*", "https://example.com:443", true),
            ("example.com/a/*", "example.com/b/*", false),
        ];
        for (one, other, expected) in cases {
            let [a, b] = [one, other].map(|text| text.parse::<NetPattern>().unwrap());
            assert_eq!(a.overlaps(&b), expected, "{one} and {other}");
            assert_eq!(b.overlaps(&a), expected, "{other} and {one}");
        }
    }

    #[test]
    fn sockets_are_permitted_by_entries_that_speak_of_no_requests() {
        let cases = [
            ("example.com", "tcp://example.com:25", true),
            ("example.com:5432", "tcp://example.com:5432", true),
            ("example.com:5432", "tcp://example.com:25", false),
            ("tcp://example.com:5432", "tcp://example.com:5432", true),
            ("tcp://example.com:5432", "http://example.com:5432", false),
            ("https://example.com", "tcp://example.com:443", false),
            ("GET example.com", "tcp://example.com:443", false),
            ("example.com/x", "tcp://example.com:443", false),
            ("*", "tcp://example.com:443", false),
            ("tcp://*:443", "tcp://example.com:443", true),
            ("10.0.0.0/8:5432", "tcp://10.1.2.3:5432", true),
        ];
        for (pattern, access, expected) in cases {
            assert_eq!(matches(pattern, access), expected, "{pattern} against {access}");
        }
    }

    #[test]
    fn entries_that_cannot_match_are_errors() {
        use NetPatternError as Error;
        let cases = [
            ("ftp://x.org", Error::Scheme),
            ("x.org/a*", Error::Path),
            ("x.org/../a", Error::Path),
            ("x.org?q", Error::Path),
            ("x.org:99999", Error::Port),
            ("x.org:", Error::Port),
            ("*x.org", Error::Host),
            ("a.*.org", Error::Host),
            ("", Error::Host),
            ("*.127.0.0.1", Error::Host),
            ("get x.org", Error::Method),
            ("GET, x.org", Error::Method),
            (" x.org", Error::Method),
            ("GET  x.org", Error::Host),
            ("10.0.0.0/33", Error::Range),
            ("10.0.0.1/8", Error::Range),
            ("10.0.0.0/8:0", Error::Port),
            ("10.0.0.0/8:1]:80", Error::Port),
            ("10.0.0.0/8:41]", Error::Port),
            ("tcp://x.org", Error::Socket),
            ("tcp://x.org:1/a", Error::Socket),
            ("GET tcp://x.org:1", Error::Socket),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<NetPattern>(), Err(expected), "{text}");
        }
        assert_eq!("x".repeat(3000).parse::<NetPattern>(), Err(Error::Length));
    }

    #[test]
    fn an_entry_is_written_in_one_form() {
        for (text, canonical) in [
            ("EXAMPLE.com.", "example.com"),
            ("HTTPS://Example.com:8443/A", "https://example.com:8443/A"),
            ("GET,HEAD *.Example.com/%61", "GET,HEAD *.example.com/a"),
            ("[FD00::]/8:1", "[fd00::]/8:1"),
        ] {
            let pattern: NetPattern = text.parse().unwrap();
            assert_eq!(pattern.as_str(), canonical);
            assert_eq!(canonical.parse::<NetPattern>().unwrap(), pattern);
        }
    }
}
