//! The parts of a URL that a request is made of; nothing is decoded or normalised.

/// An `http` or `https` URL, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Url<'a> {
    pub is_https: bool,
    /// Host, and port if there is one.
    pub authority: &'a str,
    /// Starts with a slash.
    pub path_with_query: String,
}

impl<'a> Url<'a> {
    /// Takes a URL apart, or says what is wrong with it.
    pub fn parse(url: &'a str) -> Result<Self, &'static str> {
        let (scheme, rest) =
            url.split_once("://").ok_or("a URL starts with `http://` or `https://`")?;
        let is_https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err("only `http` and `https` URLs can be requested"),
        };
        if !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("spaces and characters beyond ASCII have to be percent-encoded");
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.is_empty() || authority.starts_with(':') {
            return Err("the host is missing");
        }
        if authority.contains('@') {
            return Err("a user name can't be part of the URL: send an `authorization` header");
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self { is_https, authority, path_with_query: format!("{slash}{path}") })
    }

    /// The URL as the server sees it.
    #[cfg(not(target_family = "wasm"))]
    pub fn without_fragment(&self) -> String {
        let scheme = if self.is_https { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority, self.path_with_query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let check = |url, is_https, authority, path_with_query: &str| {
            let expected = Url { is_https, authority, path_with_query: path_with_query.into() };
            assert_eq!(Url::parse(url), Ok(expected), "{url}");
        };
        check("http://example.com", false, "example.com", "/");
        check("HTTPS://example.com:8443/a/b?c=d#e", true, "example.com:8443", "/a/b?c=d");
        check("http://127.0.0.1?q=/", false, "127.0.0.1", "/?q=/");
        check("http://[::1]:80/", false, "[::1]:80", "/");
    }

    #[test]
    fn what_is_not_a_url_is_told_why() {
        let check = |url, word| {
            let reason = Url::parse(url).unwrap_err();
            assert!(reason.contains(word), "{url}: {reason}");
        };
        check("example.com", "starts with");
        check("ftp://example.com", "only");
        check("http://", "host is missing");
        check("http:///path", "host is missing");
        check("http://:80/", "host is missing");
        check("http://me@example.com", "user name");
        check("http://example.com/a b", "percent-encoded");
        check("http://example.com/\r\nx: y", "percent-encoded");
        check("http://bücher.example", "percent-encoded");
    }
}
