//! Which requests may go out, against the documented rules, read naively.
//!
//! Four lines: what the manifest lists, what the operator lists, a URL, and the address to which
//! its host resolves.

use std::net::IpAddr;

use kami_core::grants::{Capabilities, Effective, Endpoint, Grant, HostPattern, Scheme};

use crate::address::is_public_by_table;
use crate::first_line;

/// Decides about the request of `bytes`.
///
/// # Panics
/// Where the runtime decides otherwise than the rules, or means another host than its client.
pub fn check(bytes: &[u8]) {
    let (requested, rest) = first_line(bytes);
    let (granted, rest) = first_line(rest);
    let (url, address) = first_line(rest);
    let text = |line| std::str::from_utf8(line).ok();
    let (Some(requested), Some(granted), Some(url)) = (text(requested), text(granted), text(url))
    else {
        return;
    };
    let requested = check_entry(requested);
    let granted = check_entry(granted);
    let Some((endpoint, target)) = check_url(url) else { return };

    let mut allowed = true;
    let (mut capabilities, mut grant) = (Capabilities::default(), Grant::default());
    for (entry, list) in [(requested, &mut capabilities.net), (granted, &mut grant.net)] {
        let Some((pattern, rule)) = entry else {
            allowed = false;
            continue;
        };
        let listed = rule.lists(&target);
        assert_eq!(pattern.matches(&endpoint), listed, "`{pattern}` and `{url}`");
        allowed &= listed;
        list.push(pattern);
    }
    let effective = Effective::new(capabilities, grant);
    assert_eq!(effective.endpoint(&endpoint).is_ok(), allowed, "`{url}`");

    let address = text(address).and_then(|text| text.trim().parse::<IpAddr>().ok());
    if let Some(address) = address {
        let reachable = is_public_by_table(address) || target.host == Host::Address(address);
        assert_eq!(effective.address(&endpoint, address).is_ok(), reachable, "{url} at {address}");
    }
}

/// A request, as the rules see it.
#[derive(Debug, PartialEq)]
struct Target {
    scheme: String,
    host: Host,
    port: u16,
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
    scheme: Option<String>,
    /// `None`: every name.
    host: Option<Host>,
    /// Names below the host, and not the host.
    below: bool,
    port: Option<u16>,
}

impl Rule {
    fn lists(&self, target: &Target) -> bool {
        if self.scheme.as_ref().is_some_and(|scheme| *scheme != target.scheme)
            || self.port.is_some_and(|port| port != target.port)
        {
            return false;
        }
        match (&self.host, &target.host) {
            (None, Host::Name(_)) => true,
            (Some(Host::Name(suffix)), Host::Name(name)) if self.below => {
                name.len() > suffix.len() && name[name.len() - suffix.len()..] == suffix[..]
            }
            (Some(host), actual) => !self.below && host == actual,
            (None, Host::Address(_)) => false,
        }
    }
}

/// Both readings of an entry, which are the same: the code's and the rules'.
fn check_entry(text: &str) -> Option<(HostPattern, Rule)> {
    let parsed = text.parse::<HostPattern>().ok();
    let rule = rule(&text.to_ascii_lowercase());
    assert_eq!(parsed.is_some(), rule.is_some(), "`{text}`: {parsed:?} {rule:?}");
    let (pattern, rule) = parsed.zip(rule)?;
    assert_eq!(pattern.as_str().parse::<HostPattern>().as_ref(), Ok(&pattern), "`{text}`");
    Some((pattern, rule))
}

/// `[scheme://]host[:port]`, where the host may be `*` or begin with `*.`.
fn rule(text: &str) -> Option<Rule> {
    let (scheme, authority) = match text.find("://") {
        Some(at) => (Some(text[..at].to_owned()), &text[at + 3..]),
        None => (None, text),
    };
    if scheme.as_ref().is_some_and(|scheme| scheme != "http" && scheme != "https") {
        return None;
    }
    let (name, port) = authority_of(authority)?;
    let (host, below) = match name.strip_prefix("*.") {
        None if name == "*" => (None, false),
        None => (Some(host(name)?), false),
        Some(suffix) => match host(suffix)? {
            Host::Address(_) => return None,
            name => (Some(name), true),
        },
    };
    Some(Rule { scheme, host, below, port })
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
    };
    let bare = host(&endpoint.host()).or_else(|| host(&format!("[{}]", endpoint.host())));
    let read = Target { scheme: scheme.to_owned(), host: bare?, port: endpoint.port() };
    assert_eq!(read, target, "`{url}`");

    if let Ok(uri) = url.parse::<http::Uri>() {
        let sent_to = host(uri.host()?).expect("the client knows the host");
        let port = uri.port_u16().unwrap_or(if scheme == "http" { 80 } else { 443 });
        assert_eq!((sent_to, port), (target.host.clone(), target.port), "the client and `{url}`");
    }
    Some((endpoint, target))
}

fn target(url: &str) -> Option<Target> {
    let (scheme, rest) = url.split_once("://")?;
    let default = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (name, port) = authority_of(&rest[..end])?;
    let host = host(name)?;
    Some(Target { scheme: scheme.to_owned(), host, port: port.unwrap_or(default) })
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
    let port = &text[colon + 1..];
    let number = port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse::<u16>())?;
    Some((&text[..colon], Some(number.ok().filter(|number| *number > 0)?)))
}

/// An address, in brackets where it is of IPv6, or labels; a dot at the end means nothing.
fn host(text: &str) -> Option<Host> {
    if let Some(inner) = text.strip_prefix('[') {
        let address = inner.strip_suffix(']')?.parse().ok()?;
        return Some(Host::Address(IpAddr::V6(address)));
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
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect()
}
