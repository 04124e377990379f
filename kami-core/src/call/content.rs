//! What guests give that people and models see: text, pictures, sounds, resources.

use super::{Said, strike};
use crate::sandbox::types;
use crate::secrets::Scrubber;

/// One piece of a result.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    /// The piece itself.
    pub body: ContentBody,
    /// Hints about it.
    pub annotations: Option<ContentAnnotations>,
}

/// The kinds of content.
#[derive(Debug, Clone, PartialEq)]
pub enum ContentBody {
    /// Text.
    Text(String),
    /// A picture.
    Image(Media),
    /// A sound.
    Audio(Media),
    /// A resource, contents included.
    Resource(ResourceContents),
    /// A pointer to a resource.
    ResourceLink(ResourceLink),
}

/// Binary media with its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// The bytes, not encoded.
    pub data: Vec<u8>,
    /// Such as `image/png`.
    pub mime_type: String,
}

/// A resource with its contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceContents {
    /// Its URI.
    pub uri: String,
    /// Its media type.
    pub mime_type: Option<String>,
    /// What it holds.
    pub body: ResourceBody,
}

/// What a resource holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourceBody {
    /// Text.
    Text(String),
    /// Bytes, not encoded.
    Blob(Vec<u8>),
}

/// A pointer to a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceLink {
    /// Its URI.
    pub uri: String,
    /// Its name, for programs.
    pub name: String,
    /// Its name, for people.
    pub title: Option<String>,
    /// What it is.
    pub description: Option<String>,
    /// Its media type.
    pub mime_type: Option<String>,
    /// Its size in bytes.
    pub size: Option<u64>,
}

/// Hints about a piece of content.
#[derive(Debug, Clone, PartialEq)]
pub struct ContentAnnotations {
    /// For whom it is meant; empty: for everyone.
    pub audience: Vec<Role>,
    /// From 0 (optional) to 1 (required).
    pub priority: Option<f64>,
    /// ISO 8601.
    pub last_modified: Option<String>,
}

/// Who is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The person.
    User,
    /// The model.
    Assistant,
}

impl Said for Content {
    fn scrub(&mut self, scrubber: &Scrubber) {
        let bytes = |bytes: &mut Vec<u8>| *bytes = scrubber.scrub_bytes(std::mem::take(bytes));
        let text = |text: &mut String| strike(text, scrubber);
        match &mut self.body {
            ContentBody::Text(content) => text(content),
            ContentBody::Image(media) | ContentBody::Audio(media) => {
                bytes(&mut media.data);
                text(&mut media.mime_type);
            }
            ContentBody::Resource(resource) => resource.scrub(scrubber),
            ContentBody::ResourceLink(link) => {
                let texts = [&mut link.title, &mut link.description, &mut link.mime_type];
                texts.into_iter().flatten().for_each(text);
                text(&mut link.uri);
                text(&mut link.name);
            }
        }
        if let Some(modified) = self.annotations.as_mut().and_then(|a| a.last_modified.as_mut()) {
            text(modified);
        }
    }
}

impl Said for ResourceContents {
    fn scrub(&mut self, scrubber: &Scrubber) {
        strike(&mut self.uri, scrubber);
        if let Some(mime_type) = &mut self.mime_type {
            strike(mime_type, scrubber);
        }
        match &mut self.body {
            ResourceBody::Text(text) => strike(text, scrubber),
            ResourceBody::Blob(bytes) => *bytes = scrubber.scrub_bytes(std::mem::take(bytes)),
        }
    }
}

impl Content {
    /// The bytes of all its texts and data.
    pub(super) fn size(&self) -> usize {
        self.body.size() + self.annotations.as_ref().map_or(0, ContentAnnotations::size)
    }
}

impl ContentAnnotations {
    /// What they take as JSON, about.
    fn size(&self) -> usize {
        let modified = self.last_modified.as_ref().map_or(0, String::len);
        modified + self.audience.len() * r#""assistant","#.len()
    }
}

impl ContentBody {
    fn size(&self) -> usize {
        match self {
            ContentBody::Text(text) => text.len(),
            ContentBody::Image(media) | ContentBody::Audio(media) => {
                media.data.len() + media.mime_type.len()
            }
            ContentBody::Resource(resource) => resource.size(),
            ContentBody::ResourceLink(link) => {
                let texts = [&link.title, &link.description, &link.mime_type];
                let texts = texts.into_iter().flatten().map(String::len).sum::<usize>();
                link.uri.len() + link.name.len() + texts
            }
        }
    }
}

impl ResourceContents {
    /// The bytes of all its texts and data.
    pub(super) fn size(&self) -> usize {
        let body = match &self.body {
            ResourceBody::Text(text) => text.len(),
            ResourceBody::Blob(bytes) => bytes.len(),
        };
        self.uri.len() + self.mime_type.as_ref().map_or(0, String::len) + body
    }
}

impl From<types::ResourceContents> for ResourceContents {
    fn from(resource: types::ResourceContents) -> Self {
        Self {
            uri: resource.uri,
            mime_type: resource.mime_type,
            body: match resource.body {
                types::ResourceBody::Text(text) => ResourceBody::Text(text),
                types::ResourceBody::Blob(bytes) => ResourceBody::Blob(bytes),
            },
        }
    }
}

impl From<types::Role> for Role {
    fn from(role: types::Role) -> Self {
        match role {
            types::Role::User => Self::User,
            types::Role::Assistant => Self::Assistant,
        }
    }
}

impl From<types::Content> for Content {
    fn from(content: types::Content) -> Self {
        let media = |media: types::Media| Media { data: media.data, mime_type: media.mime_type };
        let body = match content.body {
            types::ContentBody::Text(text) => ContentBody::Text(text),
            types::ContentBody::Image(image) => ContentBody::Image(media(image)),
            types::ContentBody::Audio(audio) => ContentBody::Audio(media(audio)),
            types::ContentBody::Resource(resource) => ContentBody::Resource(resource.into()),
            types::ContentBody::ResourceLink(link) => ContentBody::ResourceLink(ResourceLink {
                uri: link.uri,
                name: link.name,
                title: link.title,
                description: link.description,
                mime_type: link.mime_type,
                size: link.size,
            }),
        };
        let annotations = content.annotations.map(|hints| ContentAnnotations {
            audience: hints.audience.into_iter().map(Role::from).collect(),
            priority: hints.priority,
            last_modified: hints.last_modified,
        });
        Self { body, annotations }
    }
}
