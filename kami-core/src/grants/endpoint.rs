//! Where a tool wants to go: scheme, host and port, read from what the tool itself wrote.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// By which means a host is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
    /// A TCP socket, of which nobody knows what is said on it.
    Tcp,
}

impl Scheme {
    /// The port that a URL without one means; a socket always names its own.
    pub fn default_port(self) -> Option<u16> {
        match self {
            Self::Http => Some(80),
            Self::Https => Some(443),
            Self::Tcp => None,
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "http" => Some(Self::Http),
            "https" => Some(Self::Https),
            "tcp" => Some(Self::Tcp),
            _ => None,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Tcp => "tcp",
        })
    }
}

/// Where one request or connection wants to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub(super) scheme: Scheme,
    pub(super) host: Host,
    pub(super) port: u16,
}

/// A host as a URL names it: lower case, without a trailing dot, addresses parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
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
        Some(Self { scheme, host, port: port.or(scheme.default_port())? })
    }

    /// A socket to `address`.
    pub fn socket(address: SocketAddr) -> Self {
        Self {
            scheme: Scheme::Tcp,
            host: Host::Address(address.ip().to_canonical()),
            port: address.port(),
        }
    }

    /// A socket to what `name` resolves to; `None` if it is no name of a host.
    pub fn socket_to_name(name: &str, port: u16) -> Option<Self> {
        Some(Self { scheme: Scheme::Tcp, host: Host::parse(name)?, port })
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

    /// Whether the host is this machine itself, named by its address.
    pub fn is_loopback(&self) -> bool {
        self.literal_address().is_some_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        if Some(self.port) == self.scheme.default_port() {
            Ok(())
        } else {
            write!(f, ":{}", self.port)
        }
    }
}

impl Host {
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(v6) = text.strip_prefix('[') {
            let address: Ipv6Addr = v6.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Address(IpAddr::V6(address).to_canonical()));
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
pub(super) fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let bracket = authority.rfind(']').map_or(0, |end| end + 1);
    match authority[bracket..].find(':') {
        None => Some((authority, None)),
        Some(colon) => {
            let (host, port) = authority.split_at(bracket + colon);
            Some((host, Some(parse_port(&port[1..])?)))
        }
    }
}

/// Reads a port: digits only, and not 0.
pub(super) fn parse_port(digits: &str) -> Option<u16> {
    let valid = digits.chars().all(|c| c.is_ascii_digit());
    digits.parse().ok().filter(|port| valid && *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            "tcp://good.com",
            "http://[::1",
            "http://[::1]x:80",
        ] {
            assert_eq!(Endpoint::of_url(url), None, "{url}");
        }
    }
}
