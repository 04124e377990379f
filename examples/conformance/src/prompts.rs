//! A prompt of each kind, and one that has a question itself.

use kami_guest::ask::Elicitation;
use kami_guest::prelude::*;

use crate::PIXEL;

/// A prompt without arguments.
#[kami_prompt]
pub fn test_simple_prompt() -> &'static str {
    "This is a simple prompt for testing."
}

/// A prompt that shows its arguments.
#[kami_prompt]
pub fn test_prompt_with_arguments(
    /// First test argument
    #[kami(complete = ["paris", "park", "party"])]
    arg1: String,
    /// Second test argument
    arg2: String,
) -> String {
    format!("Prompt with arguments: arg1='{arg1}', arg2='{arg2}'")
}

/// A prompt that brings a resource along.
#[kami_prompt]
pub fn test_prompt_with_embedded_resource(
    /// URI of the resource to embed
    #[kami(name = "resourceUri")]
    resource_uri: String,
) -> Vec<Message> {
    let resource = Resource::text(resource_uri, "Embedded resource content for testing.");
    vec![
        Message::user(resource.mime_type("text/plain")),
        Message::user("Please process the embedded resource above."),
    ]
}

/// A prompt that brings a picture along.
#[kami_prompt]
pub fn test_prompt_with_image() -> Vec<Message> {
    vec![
        Message::user(Content::image(PIXEL, "image/png")),
        Message::user("Please analyze the image above."),
    ]
}

/// What a prompt is about.
#[kami_type]
struct Subject {
    context: String,
}

/// A prompt that asks what it is to be about.
#[kami_prompt]
pub fn test_input_required_result_prompt() -> Result<String, Error> {
    let question = Elicitation::new("What context should the prompt use?").key("user_context");
    let Some(Subject { context }) = question.ask()?.accepted() else {
        return Err("without a context there is no prompt".into());
    };
    Ok(format!("Please answer in this context: {context}"))
}
