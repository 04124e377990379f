//! Patterns over network endpoints, and the one function that matches them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The two schemes of outgoing requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// The port that a URL without one means.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "http" => Some(Self::Http),
            "https" => Some(Self::Https),
            _ => None,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

/// Where one request wants to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    scheme: Scheme,
    host: Host,
    port: u16,
}

/// A host as a URL names it: lower case, without a trailing dot, addresses parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Name(String),
    Address(IpAddr),
}

impl Endpoint {
    /// Takes a scheme and an authority (`host`, `host:port`, `[v6]:port`); `None` if it is not one.
    ///
    /// User information is refused rather than skipped: `trusted.com@evil.com` goes nowhere.
    pub fn new(scheme: Scheme, authority: &str) -> Option<Self> {
        let (host, port) = split_port(authority)?;
        let host = Host::parse(host)?;
        Some(Self { scheme, host, port: port.unwrap_or(scheme.default_port()) })
    }

    /// Takes `scheme://authority` and ignores what follows.
    pub fn of_url(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        Self::new(Scheme::parse(scheme)?, authority)
    }

    /// The scheme of the request.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host's name or address, without brackets.
    pub fn host(&self) -> String {
        match &self.host {
            Host::Name(name) => name.clone(),
            Host::Address(address) => address.to_string(),
        }
    }

    /// The literal address, where the host is one.
    pub fn literal_address(&self) -> Option<IpAddr> {
        match self.host {
            Host::Name(_) => None,
            Host::Address(address) => Some(address),
        }
    }

    /// The port, given or implied.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The narrowest sensible allow-list entry that would permit this endpoint.
    pub(super) fn as_entry(&self) -> String {
        if self.scheme == Scheme::Https && self.port == 443 {
            self.host.to_string()
        } else {
            self.to_string()
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        if self.port == self.scheme.default_port() { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        if let Some(v6) = text.strip_prefix('[') {
            let address: Ipv6Addr = v6.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Address(address.into()));
        }
        if let Ok(address) = text.parse() {
            return Some(Self::Address(IpAddr::V4(address)));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        // A last label of digits would be read as an address by some resolvers (`127.1`, `0x7f.1`).
        let numeric = |label: &str| label.starts_with(|c: char| c.is_ascii_digit());
        let valid = name.len() <= 253
            && name.split('.').all(is_host_label)
            && !name.rsplit('.').next().is_some_and(numeric);
        valid.then_some(Self::Name(name))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(v4)) => write!(f, "{v4}"),
            Self::Address(IpAddr::V6(v6)) => write!(f, "[{v6}]"),
        }
    }
}

/// A label as hosts are named in practice: letters, digits, `-` and `_`.
fn is_host_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

/// Splits `host:port`; an outer `None` means that the port is no port.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let bracket = authority.rfind(']').map_or(0, |end| end + 1);
    match authority[bracket..].find(':') {
        None => Some((authority, None)),
        Some(colon) => {
            let (host, port) = authority.split_at(bracket + colon);
            let digits = &port[1..];
            let valid = digits.chars().all(|c| c.is_ascii_digit());
            let port = digits.parse().ok().filter(|port| valid && *port != 0)?;
            Some((host, Some(port)))
        }
    }
}

/// An entry of an allow-list: `host`, `*.host`, `host:port`, `scheme://host[:port]`, or `*`.
///
/// `*.example.com` matches every name below `example.com` and not `example.com` itself. `*` matches
/// every name but no literal address. Without a port every port matches; without a scheme, both do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPattern {
    text: String,
    scheme: Option<Scheme>,
    host: HostMatch,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostMatch {
    Any,
    Below(String),
    Exactly(Host),
}

/// Text that is not an allow-list entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostPatternError {
    /// A scheme other than the two that exist.
    #[error("the scheme must be http or https")]
    Scheme,
    /// A path, query or fragment.
    #[error("an entry names a host, without a path")]
    Path,
    /// A port that is not from 1 to 65535.
    #[error("the port must be from 1 to 65535")]
    Port,
    /// Neither a name nor an address.
    #[error("expected `host`, `*.host`, `host:port`, `https://host` or `*`")]
    Host,
}

impl HostPattern {
    /// Whether `endpoint` is one of those that this entry lists.
    pub fn matches(&self, endpoint: &Endpoint) -> bool {
        let host = match (&self.host, &endpoint.host) {
            (HostMatch::Any, Host::Name(_)) => true,
            (HostMatch::Below(suffix), Host::Name(name)) => {
                name.strip_suffix(suffix.as_str()).is_some_and(|head| head.ends_with('.'))
            }
            (HostMatch::Exactly(host), actual) => host == actual,
            (HostMatch::Any | HostMatch::Below(_), Host::Address(_)) => false,
        };
        host && self.scheme.is_none_or(|scheme| scheme == endpoint.scheme)
            && self.port.is_none_or(|port| port == endpoint.port)
    }

    /// The entry as it was written, in lower case.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for HostPattern {
    type Err = HostPatternError;

    fn from_str(text: &str) -> Result<Self, HostPatternError> {
        let text = text.to_ascii_lowercase();
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => {
                (Some(Scheme::parse(scheme).ok_or(HostPatternError::Scheme)?), rest)
            }
            None => (None, text.as_str()),
        };
        if rest.contains(['/', '?', '#']) {
            return Err(HostPatternError::Path);
        }
        let (host, port) = split_port(rest).ok_or(HostPatternError::Port)?;
        let host = match host.strip_prefix("*.") {
            _ if host == "*" => HostMatch::Any,
            Some(suffix) => match Host::parse(suffix) {
                Some(Host::Name(name)) => HostMatch::Below(name),
                _ => return Err(HostPatternError::Host),
            },
            None => HostMatch::Exactly(Host::parse(host).ok_or(HostPatternError::Host)?),
        };
        Ok(Self { scheme, host, port, text })
    }
}

impl TryFrom<String> for HostPattern {
    type Error = HostPatternError;

    fn try_from(text: String) -> Result<Self, HostPatternError> {
        text.parse()
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> String {
        pattern.text
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, url: &str) -> bool {
        let pattern: HostPattern = pattern.parse().unwrap();
        Endpoint::of_url(url).is_some_and(|endpoint| pattern.matches(&endpoint))
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
            ("127.0.0.1:80", "http://127.0.0.1:1234", false),
            ("[::1]:80", "http://[::1]", true),
            ("[::1]", "http://[::2]", false),
        ];
        for (pattern, url, expected) in cases {
            assert_eq!(matches(pattern, url), expected, "{pattern} against {url}");
        }
    }

    #[test]
    fn authorities_that_fool_other_parsers_are_no_endpoints() {
        for url in [
            "http://good.com@evil.com",
            "http://127.1",
            "http://0x7f.1",
            "http://2130706433",
            "http://good.com:80:90",
            "http://good.com:+80",
            "http://good.com:0",
            "http://a b.com",
            "http://",
            "http://.",
            "http://a..b",
            "ftp://good.com",
            "http://[::1",
            "http://[::1]x:80",
        ] {
            assert_eq!(Endpoint::of_url(url), None, "{url}");
        }
    }

    #[test]
    fn entries_that_cannot_match_are_errors() {
        let cases = [
            ("ftp://x.org", HostPatternError::Scheme),
            ("x.org/path", HostPatternError::Path),
            ("x.org:99999", HostPatternError::Port),
            ("x.org:", HostPatternError::Port),
            ("*x.org", HostPatternError::Host),
            ("a.*.org", HostPatternError::Host),
            ("", HostPatternError::Host),
            ("*.127.0.0.1", HostPatternError::Host),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<HostPattern>(), Err(expected), "{text}");
        }
    }
}
