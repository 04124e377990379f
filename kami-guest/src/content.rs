//! The content of a result: text, images, audio, resources and links to them.
//!
//! A tool that returns [`Content`] or `Vec<Content>` shows it to the model, or
//! to the person at the other end, as it is. A resource holds [`Resource`]s, and a
//! prompt is made of [`Message`]s.

/// One piece of a tool's result.
///
/// ```
/// use kami_guest::content::{Content, ResourceLink, Role};
///
/// let parts = vec![
///     Content::text("42 lines match"),
///     Content::image(vec![0x89, b'P', b'N', b'G'], "image/png").audience([Role::User]),
///     ResourceLink::new("file:///docs/report.md", "report.md").mime_type("text/markdown").into(),
/// ];
/// # assert_eq!(parts.len(), 3);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Content {
    /// The content itself.
    pub body: Body,
    /// Hints for whoever shows it; nothing is decided by them.
    pub annotations: Annotations,
}

/// The five kinds of content that the Model Context Protocol knows.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Body {
    /// Text, for the model to read.
    Text(String),
    /// A picture.
    Image(Media),
    /// A sound.
    Audio(Media),
    /// A resource with what it holds.
    Resource(Resource),
    /// A resource to be read later, if at all.
    ResourceLink(ResourceLink),
}

/// Binary data and what it is.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Media {
    /// The bytes of the file; they are encoded by the host.
    pub data: Vec<u8>,
    /// Their media type, for example `image/png`.
    pub mime_type: String,
}

/// A resource together with what it holds.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Resource {
    /// Names the resource.
    pub uri: String,
    /// The media type of what it holds.
    pub mime_type: Option<String>,
    /// What it holds.
    pub body: ResourceBody,
}

/// What a resource holds.
#[derive(Clone, Debug, PartialEq)]
pub enum ResourceBody {
    /// Text.
    Text(String),
    /// Anything else.
    Blob(Vec<u8>),
}

/// A pointer to a resource.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ResourceLink {
    /// Names the resource.
    pub uri: String,
    /// What to call it.
    pub name: String,
    /// A name for people.
    pub title: Option<String>,
    /// What it is, for the model.
    pub description: Option<String>,
    /// The media type of what it holds.
    pub mime_type: Option<String>,
    /// Size in bytes.
    pub size: Option<u64>,
}

/// Hints about a piece of content.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Annotations {
    /// For whom it is meant; empty for everyone.
    pub audience: Vec<Role>,
    /// From 0 (optional) to 1 (required).
    pub priority: Option<f64>,
    /// ISO 8601 time of the last change.
    pub last_modified: Option<String>,
}

/// A party to the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// One message of a conversation: a part of a prompt, or of what a model is asked to continue.
///
/// ```
/// use kami_guest::content::{Content, Message};
///
/// let conversation = [
///     Message::user("What is on this picture?"),
///     Message::user(Content::image([0x89, b'P', b'N', b'G'], "image/png")),
///     Message::assistant("A whale."),
/// ];
/// # assert_eq!(conversation[2].content.as_text(), Some("A whale."));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub content: Content,
}

impl Content {
    /// Text, for the model to read.
    pub fn text(text: impl Into<String>) -> Self {
        Body::Text(text.into()).into()
    }

    /// The bytes of a picture of the given media type.
    pub fn image(data: impl Into<Vec<u8>>, mime_type: impl Into<String>) -> Self {
        Body::Image(Media::new(data, mime_type)).into()
    }

    /// The bytes of a sound of the given media type.
    pub fn audio(data: impl Into<Vec<u8>>, mime_type: impl Into<String>) -> Self {
        Body::Audio(Media::new(data, mime_type)).into()
    }

    /// Says for whom this is meant.
    pub fn audience(mut self, roles: impl IntoIterator<Item = Role>) -> Self {
        self.annotations.audience = roles.into_iter().collect();
        self
    }

    /// Says how much this matters, from 0 (optional) to 1 (required).
    pub fn priority(mut self, priority: f64) -> Self {
        self.annotations.priority = Some(priority);
        self
    }

    /// Says when this last changed, as an ISO 8601 time.
    pub fn last_modified(mut self, time: impl Into<String>) -> Self {
        self.annotations.last_modified = Some(time.into());
        self
    }

    /// The text, if this is text.
    pub fn as_text(&self) -> Option<&str> {
        match &self.body {
            Body::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl Media {
    fn new(data: impl Into<Vec<u8>>, mime_type: impl Into<String>) -> Self {
        Self { data: data.into(), mime_type: mime_type.into() }
    }
}

impl Resource {
    /// A resource that holds text.
    pub fn text(uri: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(uri, ResourceBody::Text(text.into()))
    }

    /// A resource that holds anything else.
    pub fn blob(uri: impl Into<String>, data: impl Into<Vec<u8>>) -> Self {
        Self::new(uri, ResourceBody::Blob(data.into()))
    }

    /// Says of what media type it is.
    pub fn mime_type(mut self, mime_type: impl Into<String>) -> Self {
        self.mime_type = Some(mime_type.into());
        self
    }

    fn new(uri: impl Into<String>, body: ResourceBody) -> Self {
        Self { uri: uri.into(), mime_type: None, body }
    }
}

impl ResourceLink {
    /// A link to the resource of that URI, by that name.
    pub fn new(uri: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            uri: uri.into(),
            name: name.into(),
            title: None,
            description: None,
            mime_type: None,
            size: None,
        }
    }

    /// Gives it a name for people.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Says what it is.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Says of what media type it is.
    pub fn mime_type(mut self, mime_type: impl Into<String>) -> Self {
        self.mime_type = Some(mime_type.into());
        self
    }

    /// Says how many bytes it holds.
    pub fn size(mut self, bytes: u64) -> Self {
        self.size = Some(bytes);
        self
    }
}

impl Message {
    /// Something that the person says.
    pub fn user(content: impl Into<Content>) -> Self {
        Self { role: Role::User, content: content.into() }
    }

    /// Something that the model says.
    pub fn assistant(content: impl Into<Content>) -> Self {
        Self { role: Role::Assistant, content: content.into() }
    }
}

impl From<Body> for Content {
    fn from(body: Body) -> Self {
        Self { body, annotations: Annotations::default() }
    }
}

impl From<Resource> for Content {
    fn from(resource: Resource) -> Self {
        Body::Resource(resource).into()
    }
}

impl From<ResourceLink> for Content {
    fn from(link: ResourceLink) -> Self {
        Body::ResourceLink(link).into()
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}
