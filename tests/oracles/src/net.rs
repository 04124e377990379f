//! What a tool may reach, against the documented rules, read naively.
//!
//! Four lines: what the manifest lists, what the operator lists, a method with a URL or a URL of the
//! scheme `tcp`, and the address to which its host resolves.

use std::net::IpAddr;

use kami_core::grants::{Capabilities, Effective, Endpoint, Grant, NetAccess, NetPattern, Scheme};

use crate::address::is_public_by_table;
use crate::first_line;

/// Decides about the access of `bytes`.
///
/// # Panics
/// Where the runtime decides otherwise than the rules, or means another host than its client.
pub fn check(bytes: &[u8]) {
    let (requested, rest) = first_line(bytes);
    let (granted, rest) = first_line(rest);
    let (wanted, address) = first_line(rest);
    let text = |line| std::str::from_utf8(line).ok();
    let (Some(requested), Some(granted), Some(wanted)) =
        (text(requested), text(granted), text(wanted))
    else {
        return;
    };
    let requested = check_entry(requested);
    let granted = check_entry(granted);
    let (method, url) = wanted.split_once(' ').unwrap_or(("GET", wanted));
    let Some((endpoint, target)) = check_url(url) else { return };
    let path = target.path.clone();
    let access = match endpoint.scheme() {
        Scheme::Tcp => NetAccess::socket(&endpoint),
        Scheme::Http | Scheme::Https => NetAccess::request(&endpoint, method, &path),
    };

    let address = text(address).and_then(|text| text.trim().parse::<IpAddr>().ok());
    let (mut allowed, mut in_range) = (true, true);
    let (mut capabilities, mut grant) = (Capabilities::default(), Grant::default());
    for (entry, list) in [(requested, &mut capabilities.net), (granted, &mut grant.net)] {
        let Some((pattern, rule)) = entry else {
            (allowed, in_range) = (false, false);
            continue;
        };
        let listed = rule.lists(&target, method, &target.host);
        assert_eq!(pattern.matches(&access), listed, "`{pattern}` and `{wanted}`");
        allowed &= listed;
        in_range &= matches!(rule.host, RuleHost::Range(..))
            && address.is_some_and(|address| {
                rule.lists(&target, method, &Host::Address(address.to_canonical()))
            });
        list.push(pattern);
    }
    let effective = Effective::new(capabilities, grant, Vec::new());
    assert_eq!(effective.network(&access).is_ok(), allowed, "`{wanted}`");

    if let Some(address) = address {
        let literal = target.host == Host::Address(address.to_canonical());
        let reachable = is_public_by_table(address) || literal || in_range;
        assert_eq!(effective.address(&access, address).is_ok(), reachable, "{url} at {address}");
    }
}

/// What a tool wants to reach, as the rules see it.
#[derive(Debug, PartialEq)]
struct Target {
    scheme: String,
    host: Host,
    port: u16,
    path: String,
}

#[derive(Debug, Clone, PartialEq)]
enum Host {
    /// Its labels.
    Name(Vec<String>),
    Address(IpAddr),
}

/// An entry, as the rules see it: what is `None` is left open.
#[derive(Debug)]
struct Rule {
    methods: Option<Vec<String>>,
    scheme: Option<String>,
    host: RuleHost,
    port: Option<u16>,
    path: Option<Vec<String>>,
}

#[derive(Debug)]
enum RuleHost {
    /// Every name.
    Any,
    /// Names below this one.
    Below(Vec<String>),
    Exactly(Host),
    /// Addresses with these bits at their beginning, of this many in all.
    Range(Vec<bool>, usize),
}

impl Rule {
    /// Whether it lists `target`, if `host` is where that leads.
    fn lists(&self, target: &Target, method: &str, host: &Host) -> bool {
        let socket = target.scheme == "tcp";
        let speaks_of_requests = self.methods.is_some() || self.path.is_some();
        let open_to_sockets = self.scheme.as_deref() == Some("tcp")
            || self.scheme.is_none() && !speaks_of_requests && !matches!(self.host, RuleHost::Any);
        if self.scheme.as_ref().is_some_and(|scheme| *scheme != target.scheme)
            || self.port.is_some_and(|port| port != target.port)
            || socket && !open_to_sockets
        {
            return false;
        }
        let host = match (&self.host, host) {
            (RuleHost::Any, Host::Name(_)) => true,
            (RuleHost::Below(suffix), Host::Name(name)) => {
                name.len() > suffix.len() && name[name.len() - suffix.len()..] == suffix[..]
            }
            (RuleHost::Exactly(expected), actual) => expected == actual,
            (RuleHost::Range(bits, width), Host::Address(address)) => {
                let actual = bits_of(*address);
                actual.len() == *width && actual.starts_with(bits)
            }
            _ => false,
        };
        let method = self.methods.as_ref().is_none_or(|all| all.iter().any(|one| one == method));
        let path = self
            .path
            .as_ref()
            .is_none_or(|pattern| plain(&target.path).is_some_and(|path| fits(pattern, &path)));
        host && (socket || method && path)
    }
}

fn bits_of(address: IpAddr) -> Vec<bool> {
    let bytes = match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect()
}

/// Whether `*` in the pattern can be replaced by segments so that it is the path.
fn fits(pattern: &[String], path: &[String]) -> bool {
    match (pattern, path) {
        ([], []) => true,
        ([last], [first, ..]) if last == "*" => !first.is_empty(),
        ([segment, pattern @ ..], [found, path @ ..]) => {
            (segment == "*" || segment == found) && fits(pattern, path)
        }
        _ => false,
    }
}

/// The segments of a path about which no two servers differ.
fn plain(path: &str) -> Option<Vec<String>> {
    let visible = |byte: u8| (0x21..0x7f).contains(&byte) && !b"\\?#".contains(&byte);
    if !path.bytes().all(visible) {
        return None;
    }
    let mut pieces = path.split('%');
    let mut text = pieces.next()?.to_owned();
    for piece in pieces {
        let digits = piece.get(..2)?;
        let byte = u8::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))?;
        match byte {
            b'/' | b'\\' | b'%' | 0x7f | 0..0x20 => return None,
            b'-' | b'.' | b'_' | b'~' => text.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => text.push(char::from(byte)),
            _ => text += &format!("%{}", digits.to_ascii_uppercase()),
        }
        text += &piece[2..];
    }
    let segments: Vec<String> = text.strip_prefix('/')?.split('/').map(str::to_owned).collect();
    let before_last = &segments[..segments.len() - 1];
    let climbs = |segment: &String| {
        segment == "." || segment == ".." || segment.starts_with(".;") || segment.starts_with("..;")
    };
    (!before_last.iter().any(String::is_empty) && !segments.iter().any(climbs)).then_some(segments)
}

/// Both readings of an entry, which are the same: the code's and the rules'.
fn check_entry(text: &str) -> Option<(NetPattern, Rule)> {
    let parsed = text.parse::<NetPattern>().ok();
    let rule = rule(text);
    assert_eq!(parsed.is_some(), rule.is_some(), "`{text}`: {parsed:?} {rule:?}");
    let (pattern, rule) = parsed.zip(rule)?;
    assert_eq!(pattern.as_str().parse::<NetPattern>().as_ref(), Ok(&pattern), "`{text}`");
    Some((pattern, rule))
}

/// `[METHOD[,METHOD] ][scheme://]host[:port][/path]`, where the host may be `*`, begin with `*.`, or
/// be an address with a slash and a number of bits.
fn rule(text: &str) -> Option<Rule> {
    if text.len() > 2048 {
        return None;
    }
    let (methods, text) = match text.find(' ') {
        None => (None, text),
        Some(space) => (Some(methods(&text[..space])?), &text[space + 1..]),
    };
    let (scheme, rest) = match text.find("://") {
        Some(at) => (Some(text[..at].to_ascii_lowercase()), &text[at + 3..]),
        None => (None, text),
    };
    if scheme.as_ref().is_some_and(|scheme| !["http", "https", "tcp"].contains(&scheme.as_str())) {
        return None;
    }
    let (host, port, path) = match range(rest) {
        Some(range) => {
            let (host, port) = range?;
            (host, port, None)
        }
        None => host_port_path(rest)?,
    };
    let requests = methods.is_some() || path.is_some();
    let socket = scheme.as_deref() == Some("tcp");
    (!socket || !requests && port.is_some()).then_some(Rule { methods, scheme, host, port, path })
}

fn methods(text: &str) -> Option<Vec<String>> {
    let methods: Vec<String> = text.split(',').map(str::to_owned).collect();
    let good = |method: &String| {
        (1..=20).contains(&method.len()) && method.bytes().all(|byte| byte.is_ascii_uppercase())
    };
    (methods.len() <= 16 && methods.iter().all(good)).then_some(methods)
}

/// `None`: no range at all. `Some(None)`: one that is none.
#[expect(clippy::option_option, reason = "the two absences mean different things")]
fn range(text: &str) -> Option<Option<(RuleHost, Option<u16>)>> {
    let (address, rest) = text.split_once('/')?;
    let Host::Address(address) = host(address)? else { return None };
    let end = rest.find(':').unwrap_or(rest.len());
    let digits = &rest[..end];
    if digits.is_empty() || digits.bytes().any(|byte| !byte.is_ascii_digit()) {
        return None;
    }
    let all = bits_of(address);
    let read = || {
        let count: usize = digits.parse().ok().filter(|count| *count <= all.len())?;
        let port = match rest.get(end + 1..) {
            None => None,
            Some(port) => Some(number_of(port)?),
        };
        let rest_is_zero = all[count..].iter().all(|bit| !bit);
        rest_is_zero.then(|| (RuleHost::Range(all[..count].to_vec(), all.len()), port))
    };
    Some(read())
}

fn host_port_path(text: &str) -> Option<(RuleHost, Option<u16>, Option<Vec<String>>)> {
    let end = text.find(['/', '?', '#']).unwrap_or(text.len());
    let path = match &text[end..] {
        "" => None,
        path => {
            let segments = plain(path)?;
            let half = |segment: &String| segment.contains('*') && segment != "*";
            Some(segments).filter(|segments| !segments.iter().any(half))?.into()
        }
    };
    let (name, port) = authority_of(&text[..end])?;
    let host = match name.strip_prefix("*.") {
        None if name == "*" => RuleHost::Any,
        None => RuleHost::Exactly(host(name)?),
        Some(suffix) => match host(suffix)? {
            Host::Address(_) => return None,
            Host::Name(labels) => RuleHost::Below(labels),
        },
    };
    Some((host, port, path))
}

/// Both readings of a URL, and that of the client that sends the request.
fn check_url(url: &str) -> Option<(Endpoint, Target)> {
    let parsed = Endpoint::of_url(url);
    let target = target(url);
    assert_eq!(parsed.is_some(), target.is_some(), "`{url}`: {parsed:?} {target:?}");
    let (endpoint, target) = parsed.zip(target)?;
    let scheme = match endpoint.scheme() {
        Scheme::Http => "http",
        Scheme::Https => "https",
        Scheme::Tcp => "tcp",
    };
    let bare = host(&endpoint.host()).or_else(|| host(&format!("[{}]", endpoint.host())));
    let path = target.path.clone();
    let read = Target { scheme: scheme.to_owned(), host: bare?, port: endpoint.port(), path };
    assert_eq!(read, target, "`{url}`");

    if let Ok(uri) = url.parse::<http::Uri>() {
        let sent_to = host(uri.host()?).expect("the client knows the host");
        let default = if scheme == "http" { 80 } else { 443 };
        let port = uri.port_u16().unwrap_or(default);
        assert_eq!((sent_to, port), (target.host.clone(), target.port), "the client and `{url}`");
    }
    Some((endpoint, target))
}

fn target(url: &str) -> Option<Target> {
    let (scheme, rest) = url.split_once("://")?;
    let default = match scheme {
        "http" => Some(80),
        "https" => Some(443),
        "tcp" => None,
        _ => return None,
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (name, port) = authority_of(&rest[..end])?;
    let host = host(name)?;
    let path = rest[end..].split(['?', '#']).next().filter(|path| !path.is_empty());
    let path = path.unwrap_or("/").to_owned();
    Some(Target { scheme: scheme.to_owned(), host, port: port.or(default)?, path })
}

/// `host[:port]`, where a host in brackets may have colons of its own.
fn authority_of(text: &str) -> Option<(&str, Option<u16>)> {
    let colon = if text.starts_with('[') {
        let end = text.find(']')? + 1;
        match text[end..].chars().next() {
            None => return Some((text, None)),
            Some(':') => end,
            Some(_) => return None,
        }
    } else {
        match text.find(':') {
            None => return Some((text, None)),
            Some(colon) => colon,
        }
    };
    Some((&text[..colon], Some(number_of(&text[colon + 1..])?)))
}

/// A port.
fn number_of(text: &str) -> Option<u16> {
    let number = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u16>())?;
    number.ok().filter(|number| *number > 0)
}

/// An address, in brackets where it is of IPv6, or labels; a dot at the end means nothing.
fn host(text: &str) -> Option<Host> {
    if let Some(inner) = text.strip_prefix('[') {
        let address = inner.strip_suffix(']')?.parse().ok()?;
        return Some(Host::Address(IpAddr::V6(address).to_canonical()));
    }
    if let Ok(address) = text.parse() {
        return Some(Host::Address(IpAddr::V4(address)));
    }
    let text = text.strip_suffix('.').unwrap_or(text);
    let labels: Vec<String> = text.split('.').map(str::to_ascii_lowercase).collect();
    let letters = |label: &String| {
        let mut bytes = label.bytes();
        bytes.all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
    };
    let fits = |label: &String| !label.is_empty() && label.len() < 64 && letters(label);
    // What ends in a number is an address to some resolvers.
    let number = labels.last()?.bytes().next()?.is_ascii_digit();
    (text.len() < 254 && labels.iter().all(fits) && !number).then_some(Host::Name(labels))
}

/// Requests that are permitted, and some that are nearly.
pub fn examples() -> Vec<Vec<u8>> {
    [
        "example.com\nexample.com\nhttps://example.com/x?y#z\n93.184.216.34",
        "*.example.com\na.example.com:8443\nhttps://A.example.com.:8443\n10.0.0.1",
        "*\nhttp://x_y.org:80\nhttp://x_y.org\n169.254.169.254",
        "127.0.0.1\nhttp://127.0.0.1:8080\nhttp://127.0.0.1:8080/\n127.0.0.1",
        "[::1]:80\n[::1]\nhttp://[::1]\n::1",
        "*.example.com\nexample.com\nhttps://example.com@evil.org:443\n1.1.1.1",
        "GET,HEAD https://a.org/x/*\na.org\nHEAD https://a.org/x/y/%7Ez?q\n1.1.1.1",
        "10.0.0.0/8:443\nin.org\nGET https://in.org/\n10.1.2.3",
        "tcp://db.org:5432\ndb.org\ntcp://db.org:5432\n1.1.1.1",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect()
}
