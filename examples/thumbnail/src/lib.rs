//! Thumbnails of pictures that come as bytes or lie in a granted folder.
//!
//! Pictures come from strangers, and a file of a few kilobytes may claim to be a gigapixel, so
//! [`picture`] asks for the size before it decodes and stays within the sandbox's memory.

mod picture;
mod source;

pub use picture::{Format, Picture, Thumbnail};
pub use source::Source;

use kami_guest::prelude::*;

/// Where the sandbox shows the folder that the operator granted.
const IMAGES: &str = "/images";

/// Makes a small copy of a picture to look at, keeping its proportions.
///
/// Reads JPEG, PNG, WebP and GIF (its first frame) and turns photos upright. Give either `path`
/// or `image_base64`. Returns the thumbnail as image content, and its size and the original's as
/// text. A picture that is small enough already keeps its size.
#[kami_tool]
pub fn make_thumbnail(
    /// the picture's path in the granted folder, for example `holiday/beach.jpg`
    path: Option<String>,
    /// the picture's bytes in base64; a `data:` URL is fine too
    image_base64: Option<String>,
    /// the largest width in pixels
    #[kami(default = 256)]
    #[schemars(range(min = 1, max = 2048))]
    max_width: u32,
    /// the largest height in pixels
    #[kami(default = 256)]
    #[schemars(range(min = 1, max = 2048))]
    max_height: u32,
    /// the format of the thumbnail; if left out, JPEG, or PNG where the picture is transparent
    format: Option<Format>,
) -> Result<Vec<Content>, String> {
    let bytes = Source::new(path, image_base64)?.read(IMAGES.as_ref())?;
    let picture = Picture::read(&bytes)?;
    let thumbnail = picture.thumbnail(max_width, max_height, format)?;
    let summary = format!(
        "{} x {} pixels, {} bytes of {}; the original is a {} of {} x {} pixels, {} bytes",
        thumbnail.width,
        thumbnail.height,
        thumbnail.bytes.len(),
        thumbnail.mime_type,
        picture.format,
        picture.width,
        picture.height,
        bytes.len(),
    );
    Ok(vec![Content::image(thumbnail.bytes, thumbnail.mime_type), Content::text(summary)])
}
