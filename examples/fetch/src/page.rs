//! From the bytes of an answer to something that a model can read.

use std::io;

use htmd::HtmlToMarkdown;
use htmd::options::{BulletListMarker, Options};
use kami_guest::prelude::*;
use markup5ever_rcdom::{Node, NodeData};

use crate::follow::Reply;
use crate::link;

/// How much of an error page is shown; the reason stands at its beginning.
const MAX_ERROR_CHARS: usize = 1000;

/// The elements of a page that say nothing to a reader.
const SKIPPED: [&str; 8] =
    ["head", "iframe", "noscript", "script", "style", "svg", "template", "button"];

/// An answer that was understood.
#[derive(Clone, Debug, PartialEq)]
pub enum Page {
    /// A picture that models can see.
    Image {
        /// The file.
        bytes: Vec<u8>,
        /// Its media type.
        mime_type: String,
    },
    /// Anything that can be read.
    Text {
        /// The address that answered.
        url: String,
        /// What the text is, for example `text/html as Markdown`.
        kind: String,
        /// All of it.
        text: String,
    },
}

/// A piece of a text.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// The first character, counted from 0.
    pub start: usize,
    /// How many characters there are at most.
    pub max_chars: usize,
}

impl Page {
    /// Makes sense of an answer.
    ///
    /// # Errors
    /// The status says that something went wrong, or this is neither text nor a picture.
    pub fn read(reply: Reply, raw: bool) -> Result<Self, String> {
        let Reply { url, status, content_type, body } = reply;
        let mime_type = content_type.split(';').next().unwrap_or_default().trim();
        if status < 400
            && ["image/png", "image/jpeg", "image/gif", "image/webp"].contains(&mime_type)
        {
            return Ok(Self::Image { bytes: body, mime_type: mime_type.to_owned() });
        }
        if body.contains(&0) {
            return Err(format!(
                "{url} answered {status} with {} bytes of `{mime_type}`, which is neither text \
                 nor a picture",
                body.len()
            ));
        }
        let text = String::from_utf8_lossy(&body).into_owned();
        let (kind, text) = match is_html(mime_type, &text) && !raw {
            true => (
                "text/html as Markdown".to_owned(),
                markdown(&url, &text).map_err(|error| format!("can't read {url}: {error}"))?,
            ),
            false => (mime_type.to_owned(), text),
        };
        match status {
            400.. => {
                let reason: String = text.chars().take(MAX_ERROR_CHARS).collect();
                Err(format!("{url} answered with status {status}: {}", reason.trim()))
            }
            _ => Ok(Self::Text { url, kind, text }),
        }
    }

    /// Shows the page, or a piece of its text and how to read on.
    ///
    /// # Errors
    /// The text ends before the piece.
    pub fn show(self, window: Window) -> Result<Content, String> {
        let (url, kind, text) = match self {
            Self::Image { bytes, mime_type } => return Ok(Content::image(bytes, mime_type)),
            Self::Text { url, kind, text } => (url, kind, text),
        };
        let total = text.chars().count();
        if window.start > total {
            return Err(format!(
                "`start` is {}, but {url} has only {total} characters",
                window.start
            ));
        }
        let piece: String = text.chars().skip(window.start).take(window.max_chars).collect();
        let end = window.start + piece.chars().count();
        let rest = match end < total {
            true => format!(
                "\n\n[characters {} to {end} of {total}: read on with start = {end}]",
                window.start
            ),
            false => String::new(),
        };
        Ok(Content::text(format!("{url} ({kind})\n\n{piece}{rest}")))
    }
}

fn is_html(mime_type: &str, text: &str) -> bool {
    let start: String = text.trim_start().chars().take(15).collect();
    let start = start.to_ascii_lowercase();
    match mime_type {
        "text/html" | "application/xhtml+xml" => true,
        "" => start.starts_with("<!doctype html") || start.starts_with("<html"),
        _ => false,
    }
}

/// The text of a page as Markdown, with absolute links.
///
/// # Errors
/// The parser failed.
pub fn markdown(url: &str, html: &str) -> io::Result<String> {
    let converter = HtmlToMarkdown::builder()
        .skip_tags(SKIPPED.to_vec())
        .options(Options {
            bullet_list_marker: BulletListMarker::Dash,
            ul_bullet_spacing: 1,
            ol_number_spacing: 1,
            ..Options::default()
        })
        .build();
    let tree = converter.html_to_tree(html)?;
    make_links_absolute(&tree, url);
    Ok(converter.tree_to_markdown(&tree))
}

/// Rewrites the links and sources below a node. Embedded data is dropped: a model can't read it.
fn make_links_absolute(node: &Node, base: &str) {
    if let NodeData::Element { attrs, .. } = &node.data {
        for attribute in attrs.borrow_mut().iter_mut() {
            if matches!(&*attribute.name.local, "href" | "src") {
                if attribute.value.starts_with("data:") {
                    attribute.value = "data:".into();
                } else if let Some(url) = link::resolve(base, &attribute.value) {
                    attribute.value = url.into();
                }
            }
        }
    }
    for child in node.children.borrow().iter() {
        make_links_absolute(child, base);
    }
}
