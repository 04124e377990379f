//! Where the links of a page and the redirects of a server lead.

use iri_string::types::{IriReferenceStr, IriStr};

/// The absolute address of a link that stands on the page at `base`, if it is a valid one.
pub fn resolve(base: &str, link: &str) -> Option<String> {
    let base = IriStr::new(base).ok()?;
    let link = IriReferenceStr::new(link.trim()).ok()?;
    Some(link.resolve_against(base.to_absolute()).to_string())
}

/// The address as it goes over the wire: in ASCII and without its fragment.
///
/// # Errors
/// It is not a valid address of `http` or `https`.
pub fn request_url(url: &str) -> Result<String, String> {
    let iri = IriStr::new(url.trim()).map_err(|_| {
        format!("`{url}` is not a valid URL: give a whole one, with spaces written as `%20`")
    })?;
    match (iri.scheme_str(), iri.authority_str()) {
        ("http" | "https", Some(authority)) if !authority.is_empty() => {
            Ok(iri.to_absolute().encode_to_uri().to_string())
        }
        _ => Err(format!("`{url}` is not a web address: it has to start with http:// or https://")),
    }
}

/// Whether both addresses are of one server, which may see the same credentials.
pub fn same_origin(left: &str, right: &str) -> bool {
    let origin = |url: &str| {
        let url = IriStr::new(url).ok()?;
        Some((url.scheme_str().to_owned(), url.authority_str()?.to_owned()))
    };
    origin(left).is_some() && origin(left) == origin(right)
}
