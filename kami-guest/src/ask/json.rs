//! Content as the protocol writes it in JSON, with binary data in base64.
//!
//! Elsewhere the host does this. Only the questions to a model go through it as JSON.

use serde_json::{Value, json};

use crate::content::{Body, Content, Message, Role};

/// A message of a conversation.
pub fn message(message: &Message) -> Value {
    let role = match message.role {
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    json!({"role": role, "content": content(&message.content)})
}

/// Resources and links aren't among what a model is sent: of them it gets the text, or the URI.
fn content(content: &Content) -> Value {
    use crate::content::ResourceBody;
    match &content.body {
        Body::Text(text) => json!({"type": "text", "text": text}),
        Body::Image(media) => {
            json!({"type": "image", "data": encode(&media.data), "mimeType": media.mime_type})
        }
        Body::Audio(media) => {
            json!({"type": "audio", "data": encode(&media.data), "mimeType": media.mime_type})
        }
        Body::Resource(resource) => match &resource.body {
            ResourceBody::Text(text) => json!({"type": "text", "text": text}),
            ResourceBody::Blob(_) => json!({"type": "text", "text": resource.uri}),
        },
        Body::ResourceLink(link) => json!({"type": "text", "text": link.uri}),
    }
}

/// Reads text, an image or a sound; nothing else is content.
pub fn read(block: &Value) -> Result<Option<Content>, String> {
    let text = |key: &str| {
        block[key].as_str().ok_or_else(|| format!("its content has no text under `{key}`"))
    };
    let data = || decode(text("data")?).ok_or_else(|| "its `data` is not base64".to_owned());
    Ok(Some(match block["type"].as_str() {
        Some("text") => Content::text(text("text")?),
        Some("image") => Content::image(data()?, text("mimeType")?),
        Some("audio") => Content::audio(data()?, text("mimeType")?),
        _ => return Ok(None),
    }))
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn encode(data: &[u8]) -> String {
    let mut text = String::with_capacity(data.len().div_ceil(3) * 4);
    for chunk in data.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            text.push(match place <= chunk.len() {
                true => char::from(ALPHABET[(bits >> (18 - 6 * place)) as usize & 63]),
                false => '=',
            });
        }
    }
    text
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    let mut data = Vec::with_capacity(digits.len() * 3 / 4);
    for chunk in digits.chunks(4) {
        let mut bits = 0;
        for digit in chunk {
            let value = ALPHABET.iter().position(|known| known == digit)?;
            bits = bits << 6 | value as u32;
        }
        bits <<= 6 * (4 - chunk.len());
        // A lone digit holds less than a byte.
        let bytes = chunk.len().checked_sub(1).filter(|bytes| *bytes > 0)?;
        data.extend(&bits.to_be_bytes()[1..=bytes]);
    }
    Some(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (data, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(data.as_bytes()), text);
            assert_eq!(decode(text).as_deref(), Some(data.as_bytes()));
        }
        assert_eq!(encode(&[0xfb, 0xff]), "+/8=");
        assert_eq!(decode("+/8"), Some(vec![0xfb, 0xff]));
        for nonsense in ["A", "Zm9vY", "Zm 9v", "Z-9v", "Zg=x"] {
            assert_eq!(decode(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_picture_survives_the_way_there_and_back() {
        let picture = Content::image([1, 2, 255], "image/png");
        let written = message(&Message::user(picture.clone()));
        assert_eq!(
            written,
            json!({"role": "user", "content": {"type": "image", "data": "AQL/", "mimeType": "image/png"}})
        );
        assert_eq!(read(&written["content"]), Ok(Some(picture)));
    }
}
