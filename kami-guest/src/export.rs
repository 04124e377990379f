//! The component's side of the contract in `wit/tool.wit`: its exports, and the host's functions.

use crate::content::{Annotations, Body, Content, ResourceBody, Role};
use crate::tool::{self, Error, ErrorKind, Outcome, Reply};

use bindings::exports::kami::tool::tools::{CallOutcome, CallRequest, Guest, ToolResult};
use bindings::kami::tool::types;

pub use bindings::kami::tool::host::{Level, log, progress};

mod bindings {
    wit_bindgen::generate!({
        path: "wit",
        world: "tool",
    });
}

struct Component;

bindings::export!(Component with_types_in bindings);

impl Guest for Component {
    fn describe() -> String {
        tool::describe().to_string()
    }

    fn call(request: CallRequest) -> CallOutcome {
        match tool::call(&request.name, &request.arguments) {
            Outcome::Complete(reply) => CallOutcome::Complete(reply.into()),
            Outcome::Error(error) => CallOutcome::Error(error.into()),
        }
    }
}

impl From<Reply> for ToolResult {
    fn from(reply: Reply) -> Self {
        Self {
            content: reply.content.into_iter().map(Into::into).collect(),
            structured: reply.structured,
        }
    }
}

impl From<Error> for types::Error {
    fn from(error: Error) -> Self {
        Self {
            kind: match error.kind {
                ErrorKind::NotFound => types::ErrorKind::NotFound,
                ErrorKind::InvalidArguments => types::ErrorKind::InvalidArguments,
                ErrorKind::Failed => types::ErrorKind::Failed,
            },
            message: error.message,
        }
    }
}

impl From<Content> for types::Content {
    fn from(content: Content) -> Self {
        let annotations = content.annotations;
        Self {
            annotations: (annotations != Annotations::default()).then(|| annotations.into()),
            body: content.body.into(),
        }
    }
}

impl From<Annotations> for types::Annotations {
    fn from(annotations: Annotations) -> Self {
        let role = |role| match role {
            Role::User => types::Role::User,
            Role::Assistant => types::Role::Assistant,
        };
        Self {
            audience: annotations.audience.into_iter().map(role).collect(),
            priority: annotations.priority,
            last_modified: annotations.last_modified,
        }
    }
}

impl From<Body> for types::ContentBody {
    fn from(body: Body) -> Self {
        match body {
            Body::Text(text) => Self::Text(text),
            Body::Image(media) => {
                Self::Image(types::Media { data: media.data, mime_type: media.mime_type })
            }
            Body::Audio(media) => {
                Self::Audio(types::Media { data: media.data, mime_type: media.mime_type })
            }
            Body::Resource(resource) => Self::Resource(types::ResourceContents {
                uri: resource.uri,
                mime_type: resource.mime_type,
                body: match resource.body {
                    ResourceBody::Text(text) => types::ResourceBody::Text(text),
                    ResourceBody::Blob(data) => types::ResourceBody::Blob(data),
                },
            }),
            Body::ResourceLink(link) => Self::ResourceLink(types::ResourceLink {
                uri: link.uri,
                name: link.name,
                title: link.title,
                description: link.description,
                mime_type: link.mime_type,
                size: link.size,
            }),
        }
    }
}
