//! The web as text: a page as Markdown, in pieces of the size that a model can use.
//!
//! Which hosts there are is the operator's decision: the sandbox checks every request, those that
//! follow a redirect too. [`follow`] talks HTTP, [`page`] makes something readable of the answer,
//! [`link`] finds out where links lead.

mod follow;
mod link;
mod page;

pub use follow::{Hop, Method, Reply, follow};
pub use page::{Page, Window, markdown};

use std::collections::BTreeMap;

use kami_guest::prelude::*;

/// What to fetch, and how much of it.
#[derive(Clone, Debug)]
#[kami_type]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// the address, for example `https://docs.rs/serde/latest/serde/`
    #[schemars(regex(pattern = r"^https?://"))]
    pub url: String,
    /// GET unless something is to be sent
    #[serde(default)]
    pub method: Method,
    /// request headers, for example `{"accept": "application/json"}`
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// what to send with POST; its content type is `application/json` unless `headers` has another
    pub body: Option<String>,
    /// whether to return HTML as it is instead of as Markdown
    #[serde(default)]
    pub raw: bool,
    /// the character of the text to start at, to read on in a long page
    #[serde(default)]
    pub start: usize,
    /// how many characters to return at most
    #[serde(default = "default_max_chars")]
    #[schemars(range(min = 1, max = 200_000))]
    pub max_chars: usize,
}

fn default_max_chars() -> usize {
    20_000
}

/// Fetches a web page or an API's answer from an allowed host; HTML comes as Markdown.
///
/// Follows redirects. A long text comes in pieces: the last line says with which `start` to read
/// on. A picture is returned as an image. An answer with a status of 400 or more is an error.
#[kami_tool]
pub fn fetch_url(request: Request) -> Result<Vec<Content>, String> {
    let hop = Hop::new(&request)?;
    let page = Page::read(follow(hop)?, request.raw)?;
    Ok(vec![page.show(Window { start: request.start, max_chars: request.max_chars })?])
}
