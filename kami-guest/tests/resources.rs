//! What clients are told about resources, word for word, and what they read.

use std::collections::BTreeMap;

use kami_guest::content::ResourceBody;
use kami_guest::prelude::*;
use kami_guest::serde_json::json;
use kami_guest::testing::{complete_resource, describe_resources, read};
use kami_guest::{ErrorKind, content};

/// Everything that can be said.
#[kami_resource(
    uri = "test://static-text",
    name = "static",
    title = "Static text",
    mime_type = "text/plain",
    size = 5,
    audience = "user",
    priority = 1,
    last_modified = "2026-01-01T00:00:00Z"
)]
fn static_text() -> &'static str {
    "hello"
}

#[kami_resource(uri = "test://bytes")]
fn bytes() -> Vec<u8> {
    vec![0, 255]
}

#[kami_resource(uri = "test://both", mime_type = "text/plain")]
fn both() -> Vec<Resource> {
    vec![
        Resource::text("test://both/1", "one"),
        Resource::blob("test://both/2", [2]).mime_type("image/png"),
    ]
}

#[kami_resource(uri = "test://body")]
fn body() -> Result<ResourceBody, String> {
    Ok(ResourceBody::Text("text".into()))
}

/// Numbers.
#[kami_resource(uri = "test://template/{id}/data", mime_type = "application/json")]
fn data(#[kami(complete = ["1", "10", "2"])] id: u32) -> Result<String, Error> {
    match id {
        404 => Err(Error::not_found("there is no 404")),
        500 => Err("it is broken".into()),
        id => Ok(format!("{{\"id\": {id}}}")),
    }
}

/// The special one among the numbers.
#[kami_resource(uri = "test://template/7/data")]
fn seven() -> String {
    "seven".into()
}

fn files(typed: &str, settled: &BTreeMap<String, String>) -> Result<Vec<String>, Error> {
    let volume = settled.get("volume").ok_or("which volume?")?;
    Ok((0..150).map(|number| format!("{volume}/{typed}{number}")).collect())
}

#[kami_resource(uri = "test://files/{volume}/{+path}")]
fn file(#[kami(complete = files)] path: String, volume: String) -> String {
    format!("{volume}: {path}")
}

#[test]
fn resources_are_described_in_the_shapes_of_the_protocol() {
    let expected = json!({
        "resources": [
            {"uri": "test://body", "name": "body"},
            {"uri": "test://both", "name": "both", "mimeType": "text/plain"},
            {"uri": "test://bytes", "name": "bytes"},
            {
                "uri": "test://static-text",
                "name": "static",
                "title": "Static text",
                "description": "Everything that can be said.",
                "mimeType": "text/plain",
                "size": 5,
                "annotations": {
                    "audience": ["user"],
                    "priority": 1.0,
                    "lastModified": "2026-01-01T00:00:00Z",
                },
            },
            {
                "uri": "test://template/7/data",
                "name": "seven",
                "description": "The special one among the numbers.",
            },
        ],
        "resourceTemplates": [
            {"uriTemplate": "test://files/{volume}/{+path}", "name": "file"},
            {
                "uriTemplate": "test://template/{id}/data",
                "name": "data",
                "description": "Numbers.",
                "mimeType": "application/json",
            },
        ],
    });
    assert_eq!(describe_resources(), expected);
}

#[test]
fn what_is_returned_is_what_the_resource_holds() {
    let text = Resource::text("test://static-text", "hello").mime_type("text/plain");
    assert_eq!(read("test://static-text"), Ok(vec![text]));
    assert_eq!(read("test://bytes"), Ok(vec![Resource::blob("test://bytes", [0, 255])]));
    assert_eq!(read("test://body"), Ok(vec![Resource::text("test://body", "text")]));
    let one = Resource::text("test://both/1", "one").mime_type("text/plain");
    let two = Resource::blob("test://both/2", [2]).mime_type("image/png");
    assert_eq!(read("test://both"), Ok(vec![one, two]));
}

#[test]
fn a_uri_finds_its_function() {
    let text = |uri: &str| match &read(uri).unwrap()[0].body {
        content::ResourceBody::Text(text) => text.clone(),
        content::ResourceBody::Blob(_) => panic!("{uri} holds no text"),
    };
    assert_eq!(text("test://template/8/data"), "{\"id\": 8}");
    assert_eq!(text("test://template/7/data"), "seven");
    assert_eq!(text("test://files/c/a%20b/c"), "c: a b/c");
}

#[test]
fn what_is_not_there_is_not_found() {
    let check = |uri: &str, kind: ErrorKind, message: &str| {
        let error = read(uri).unwrap_err();
        assert_eq!((error.kind(), error.message()), (kind, message), "{uri}");
    };
    check("test://none", ErrorKind::NotFound, "there is no resource `test://none`");
    check("test://template/404/data", ErrorKind::NotFound, "there is no 404");
    check("test://template/500/data", ErrorKind::Failed, "it is broken");
    check(
        "test://template/x/data",
        ErrorKind::NotFound,
        "there is no resource `test://template/x/data`: `id`: invalid digit found in string",
    );
}

#[test]
fn variables_are_completed() {
    const FILES: &str = "test://files/{volume}/{+path}";
    let ids = complete_resource("test://template/{id}/data", "id", "1", []).unwrap();
    assert_eq!((ids.values, ids.total, ids.has_more), (vec!["1".into(), "10".into()], 2, false));
    let files = complete_resource(FILES, "path", "f", [("volume", "c")]).unwrap();
    assert_eq!((files.values.len(), files.total, files.has_more), (100, 150, true));
    assert_eq!(files.values[99], "c/f99");
    let nothing = complete_resource(FILES, "volume", "", []).unwrap();
    assert_eq!((nothing.total, nothing.has_more), (0, false));

    let error = complete_resource(FILES, "path", "f", []).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Failed, "which volume?"));
    let error = complete_resource(FILES, "name", "", []).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArguments);
    assert_eq!(error.message(), "there is no argument `name`");
    let error = complete_resource("test://{none}", "none", "", []).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}
