//! The component's side of the contract in `wit/tool.wit`: its exports, and the host's functions.
//!
//! Every component is a `server`, so that its author neither chooses a world nor writes one. What
//! resources, prompts and completion add to a component without any is a few kilobytes.

use crate::ask::Question;
use crate::complete::{self, Reference};
use crate::content::{Annotations, Body, Content, Message, Resource, ResourceBody, Role};
use crate::entry::{self, Continuation};
use crate::error::{ErrorKind, InputRequired};
use crate::prompt::{self, Prompt};
use crate::resource;
use crate::tool::{self, Reply};
use crate::{Error, Listing};

use bindings::exports::kami::tool::{completion, prompts, resources, tools};
use bindings::kami::tool::{host, types};

pub use bindings::kami::tool::host::{Level, list_changed, log, progress};

mod bindings {
    wit_bindgen::generate!({
        path: "wit",
        world: "server",
    });
}

struct Component;

bindings::export!(Component with_types_in bindings);

impl tools::Guest for Component {
    fn describe() -> String {
        tool::describe().to_string()
    }

    fn call(request: tools::CallRequest) -> tools::CallOutcome {
        let call = || tool::call(&request.name, &request.arguments);
        match entry::enter(request.continuation.into(), call).map_err(early) {
            Ok(reply) => tools::CallOutcome::Complete(reply.into()),
            Err(Early::InputRequired(input)) => tools::CallOutcome::InputRequired(input),
            Err(Early::Error(error)) => tools::CallOutcome::Error(error),
        }
    }
}

impl resources::Guest for Component {
    fn describe() -> String {
        resource::describe().to_string()
    }

    fn read(request: resources::ReadRequest) -> resources::ReadOutcome {
        let read = || resource::read(&request.uri);
        match entry::enter(request.continuation.into(), read).map_err(early) {
            Ok(contents) => {
                resources::ReadOutcome::Complete(contents.into_iter().map(Into::into).collect())
            }
            Err(Early::InputRequired(input)) => resources::ReadOutcome::InputRequired(input),
            Err(Early::Error(error)) => resources::ReadOutcome::Error(error),
        }
    }
}

impl prompts::Guest for Component {
    fn describe() -> String {
        prompt::describe().to_string()
    }

    fn get(request: prompts::GetRequest) -> prompts::GetOutcome {
        let get = || prompt::get(&request.name, &request.arguments);
        match entry::enter(request.continuation.into(), get).map_err(early) {
            Ok(prompt) => prompts::GetOutcome::Complete(prompt.into()),
            Err(Early::InputRequired(input)) => prompts::GetOutcome::InputRequired(input),
            Err(Early::Error(error)) => prompts::GetOutcome::Error(error),
        }
    }
}

impl completion::Guest for Component {
    fn complete(
        request: completion::CompleteRequest,
    ) -> Result<completion::Suggestions, types::Error> {
        let reference = match request.reference {
            completion::Reference::Prompt(name) => Reference::Prompt(name),
            completion::Reference::Resource(uri) => Reference::Resource(uri),
        };
        match complete::complete(&reference, &request.argument, &request.value, &request.context) {
            Ok(suggestions) => Ok(completion::Suggestions {
                values: suggestions.values,
                total: suggestions.total.try_into().ok(),
                has_more: suggestions.has_more,
            }),
            Err(error) => Err(match early(error) {
                Early::Error(error) => error,
                Early::InputRequired(_) => types::Error {
                    kind: types::ErrorKind::Failed,
                    message: "nobody can be asked while an argument is typed".to_owned(),
                },
            }),
        }
    }
}

/// The two ways in which an outcome is not complete.
enum Early {
    InputRequired(types::InputRequired),
    Error(types::Error),
}

fn early(error: Error) -> Early {
    match error.into_parts() {
        Ok(input) => Early::InputRequired(input.into()),
        Err((kind, message)) => Early::Error(types::Error { kind: kind.into(), message }),
    }
}

impl From<types::Continuation> for Continuation {
    fn from(given: types::Continuation) -> Self {
        let answers = given.answers.into_iter().map(|answer| (answer.key, answer.result));
        Self { answers: answers.collect(), state: given.state }
    }
}

impl From<InputRequired> for types::InputRequired {
    fn from(input: InputRequired) -> Self {
        let request = |question: Question| types::InputRequest {
            key: question.key,
            method: question.method.to_owned(),
            params: question.params.to_string(),
        };
        Self { requests: input.questions.into_iter().map(request).collect(), state: input.state }
    }
}

impl From<ErrorKind> for types::ErrorKind {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::InvalidArguments => Self::InvalidArguments,
            ErrorKind::Failed | ErrorKind::InputRequired => Self::Failed,
        }
    }
}

impl From<Listing> for host::Listing {
    fn from(listing: Listing) -> Self {
        match listing {
            Listing::Tools => Self::Tools,
            Listing::Resources => Self::Resources,
            Listing::Prompts => Self::Prompts,
        }
    }
}

impl From<Reply> for tools::ToolResult {
    fn from(reply: Reply) -> Self {
        Self {
            content: reply.content.into_iter().map(Into::into).collect(),
            structured: reply.structured,
        }
    }
}

impl From<Prompt> for prompts::Prompt {
    fn from(prompt: Prompt) -> Self {
        Self {
            description: prompt.description,
            messages: prompt.messages.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Message> for prompts::Message {
    fn from(message: Message) -> Self {
        Self { role: message.role.into(), content: message.content.into() }
    }
}

impl From<Role> for types::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::User => Self::User,
            Role::Assistant => Self::Assistant,
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
        Self {
            audience: annotations.audience.into_iter().map(Into::into).collect(),
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
            Body::Resource(resource) => Self::Resource(resource.into()),
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

impl From<Resource> for types::ResourceContents {
    fn from(resource: Resource) -> Self {
        Self {
            uri: resource.uri,
            mime_type: resource.mime_type,
            body: match resource.body {
                ResourceBody::Text(text) => types::ResourceBody::Text(text),
                ResourceBody::Blob(data) => types::ResourceBody::Blob(data),
            },
        }
    }
}
