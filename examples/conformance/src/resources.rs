//! Two resources, one that is watched, and a template.

use kami_guest::prelude::*;
use kami_guest::serde_json;

use crate::PIXEL;

/// A text that never changes.
#[kami_resource(uri = "test://static-text", mime_type = "text/plain")]
pub fn static_text() -> &'static str {
    "This is the content of the static text resource."
}

/// A picture that never changes.
#[kami_resource(uri = "test://static-binary", mime_type = "image/png")]
pub fn static_binary() -> Vec<u8> {
    PIXEL.to_vec()
}

/// A text to whose changes a client subscribes.
#[kami_resource(uri = "test://watched-resource", mime_type = "text/plain")]
pub fn watched_resource() -> &'static str {
    "Watched resource content"
}

/// What is known of one id.
#[kami_type]
struct Record {
    id: String,
    #[serde(rename = "templateTest")]
    template_test: bool,
    data: String,
}

/// The data of an id.
#[kami_resource(uri = "test://template/{id}/data", mime_type = "application/json")]
pub fn template_data(id: String) -> Result<String, Error> {
    let data = format!("Data for ID: {id}");
    Ok(serde_json::to_string(&Record { id, template_test: true, data })?)
}
