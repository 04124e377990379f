//! Each kind of content once, and a tool that fails.

use kami_guest::prelude::*;

use crate::{PIXEL, SILENCE};

/// Returns one piece of text.
#[kami_tool]
pub fn test_simple_text() -> &'static str {
    "This is a simple text response for testing."
}

/// Returns a picture of one pixel.
#[kami_tool]
pub fn test_image_content() -> Content {
    Content::image(PIXEL, "image/png")
}

/// Returns a very short sound.
#[kami_tool]
pub fn test_audio_content() -> Content {
    Content::audio(SILENCE, "audio/wav")
}

/// Returns a resource together with its contents.
#[kami_tool]
pub fn test_embedded_resource() -> Content {
    Resource::text("test://embedded-resource", "This is an embedded resource content.")
        .mime_type("text/plain")
        .into()
}

/// Returns text, a picture and a resource.
#[kami_tool]
pub fn test_multiple_content_types() -> Vec<Content> {
    vec![
        Content::text("Multiple content types test:"),
        Content::image(PIXEL, "image/png"),
        Resource::text("test://mixed-content-resource", r#"{"test":"data","value":123}"#)
            .mime_type("application/json")
            .into(),
    ]
}

/// Fails, always.
#[kami_tool]
pub fn test_error_handling() -> Result<(), &'static str> {
    Err("This tool intentionally returns an error for testing")
}
