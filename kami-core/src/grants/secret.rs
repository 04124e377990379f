//! Secrets that tools ask for: by name, and for what.
//!
//! A secret is used in one of two ways. The host can add it to requests on their way out, so that
//! the guest never has it; or it can be given to the guest as an environment variable, which then
//! knows it and can tell it to every host that it reaches.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::endpoint::{Endpoint, Host, Scheme, split_port};
use super::{EnvName, GrantNameError};

/// Headers by which a request says what it is or how its answer is to be written. A secret has no
/// business there, and the host must know what they say.
const RESERVED_HEADERS: &[&str] = &[
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The name of a secret, which is that of an environment variable: `[A-Za-z_][A-Za-z0-9_]{0,127}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretName(String);

impl SecretName {
    /// The most characters of a name.
    pub const MAX_LENGTH: usize = 128;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SecretName {
    type Err = GrantNameError;

    fn from_str(text: &str) -> Result<Self, GrantNameError> {
        let name: EnvName = text.parse().map_err(|_| GrantNameError::Secret)?;
        Ok(Self(name.into()))
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for SecretName {
    type Error = GrantNameError;

    fn try_from(text: String) -> Result<Self, GrantNameError> {
        text.parse()
    }
}

impl From<SecretName> for String {
    fn from(name: SecretName) -> String {
        name.0
    }
}

/// What a tool wants a secret for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SecretRequest {
    /// What the operator should provide, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The header that the host adds to requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inject: Option<Injection>,
    /// Whether the guest itself gets the secret, as an environment variable of its name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub env: bool,
}

/// A header with a secret in it, and the one host whose requests get it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Injection {
    /// To whom it is told.
    pub host: SecretHost,
    /// In which header.
    pub header: HeaderTemplate,
}

impl Injection {
    /// Whether requests to `endpoint` get the header: those to its host, where nobody between can
    /// read them, which is over TLS or on this machine.
    pub fn applies_to(&self, endpoint: &Endpoint) -> bool {
        let private = match endpoint.scheme() {
            Scheme::Https => true,
            Scheme::Http => endpoint.is_loopback(),
            Scheme::Tcp => false,
        };
        private && self.host.matches(endpoint)
    }
}

/// Exactly one host: `host` or `host:port`; without a port it is the port of HTTPS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretHost {
    host: Host,
    port: Option<u16>,
}

impl SecretHost {
    fn matches(&self, endpoint: &Endpoint) -> bool {
        self.host == endpoint.host && self.port.unwrap_or(443) == endpoint.port
    }

    /// Whether the host is this machine itself, named by its address.
    pub fn is_loopback(&self) -> bool {
        matches!(self.host, Host::Address(address) if IpAddr::is_loopback(&address))
    }
}

impl FromStr for SecretHost {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let (host, port) = split_port(text).ok_or(SecretError::Host)?;
        Ok(Self { host: Host::parse(host).ok_or(SecretError::Host)?, port })
    }
}

impl fmt::Display for SecretHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// A header and its value around a secret: `Authorization: Bearer {GITHUB_TOKEN}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HeaderTemplate {
    name: String,
    before: String,
    secret: SecretName,
    after: String,
}

impl HeaderTemplate {
    /// The header's name, in lower case.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The secret that it carries.
    pub fn secret(&self) -> &SecretName {
        &self.secret
    }

    /// The header's value with `secret` in it.
    pub fn value(&self, secret: &str) -> String {
        format!("{}{secret}{}", self.before, self.after)
    }
}

impl FromStr for HeaderTemplate {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let (name, value) = text.split_once(':').ok_or(SecretError::Header)?;
        let name = name.to_ascii_lowercase();
        let is_token = (1..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        if !is_token {
            return Err(SecretError::Header);
        }
        if RESERVED_HEADERS.contains(&name.as_str()) {
            return Err(SecretError::Reserved(name));
        }
        let (before, rest) = value.trim().split_once('{').ok_or(SecretError::Header)?;
        let (secret, after) = rest.split_once('}').ok_or(SecretError::Header)?;
        let is_text =
            |text: &str| text.len() <= 256 && text.bytes().all(|b| matches!(b, b' '..=b'~'));
        if !is_text(before) || !is_text(after) || after.contains(['{', '}']) {
            return Err(SecretError::Header);
        }
        let secret = secret.parse().map_err(|_| SecretError::Header)?;
        Ok(Self { name, before: before.to_owned(), secret, after: after.to_owned() })
    }
}

impl fmt::Display for HeaderTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}{{{}}}{}", self.name, self.before, self.secret, self.after)
    }
}

/// Why a secret cannot be injected in the way that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Not exactly one host.
    #[error("a secret goes to exactly one host: `api.example.com` or `api.example.com:8443`")]
    Host,
    /// Not a header with one secret in it.
    #[error(
        "expected a header with the secret's name in braces: `Authorization: Bearer {{TOKEN}}`"
    )]
    Header,
    /// A header that means something to the connection itself.
    #[error("a secret cannot be sent in the header `{0}`")]
    Reserved(String),
}

macro_rules! text_conversions {
    ($name:ty) => {
        impl TryFrom<String> for $name {
            type Error = SecretError;

            fn try_from(text: String) -> Result<Self, SecretError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.to_string()
            }
        }
    };
}

text_conversions!(SecretHost);
text_conversions!(HeaderTemplate);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_and_filled() {
        let header: HeaderTemplate = "Authorization: Bearer {GITHUB_TOKEN}".parse().unwrap();
        assert_eq!(header.name(), "authorization");
        assert_eq!(header.secret().as_str(), "GITHUB_TOKEN");
        assert_eq!(header.value("abc"), "Bearer abc");
        assert_eq!(header.to_string().parse::<HeaderTemplate>().unwrap(), header);
    }

    #[test]
    fn headers_that_cannot_be_sent_are_refused() {
        for text in [
            "Authorization",
            "Authorization: Bearer",
            "Authorization: {A}{B}",
            "Authorization: {}",
            "Authorization: {A B}",
            "a b: {A}",
            "X: line\r\nbreak {A}",
            ": {A}",
        ] {
            assert_eq!(text.parse::<HeaderTemplate>(), Err(SecretError::Header), "{text}");
        }
        let reserved = "Host: {A}".parse::<HeaderTemplate>();
        assert_eq!(reserved, Err(SecretError::Reserved("host".to_owned())));
    }

    #[test]
    fn a_secret_goes_to_its_host_and_only_where_nobody_listens() {
        let injection = |host: &str| Injection {
            host: host.parse().unwrap(),
            header: "X-Key: {KEY}".parse().unwrap(),
        };
        let cases = [
            ("api.example.com", "https://api.example.com", true),
            ("api.example.com", "https://api.example.com:8443", false),
            ("api.example.com:8443", "https://api.example.com:8443", true),
            ("api.example.com", "http://api.example.com", false),
            ("api.example.com", "http://api.example.com:443", false),
            ("api.example.com", "https://evil.api.example.com", false),
            ("127.0.0.1:4000", "http://127.0.0.1:4000", true),
            ("127.0.0.1:4000", "http://127.0.0.1:4001", false),
            ("10.0.0.1:4000", "http://10.0.0.1:4000", false),
            ("127.0.0.1:4000", "tcp://127.0.0.1:4000", false),
        ];
        for (host, url, expected) in cases {
            let endpoint = Endpoint::of_url(url).unwrap();
            assert_eq!(injection(host).applies_to(&endpoint), expected, "{host} and {url}");
        }
        for host in ["*", "*.example.com", "https://x.org", "x.org/path", "x.org:0", ""] {
            assert_eq!(host.parse::<SecretHost>(), Err(SecretError::Host), "{host}");
        }
    }
}
