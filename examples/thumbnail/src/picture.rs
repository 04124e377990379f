//! Decoding within bounds, scaling and encoding.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::metadata::Orientation;
use image::{
    DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, Rgb, RgbImage,
};
use kami_guest::prelude::*;

/// The most that the decoded pixels may take: those of a photo of 25 megapixels. The decoder of a
/// progressive JPEG needs up to three times as much, which the sandbox's 256 MB still hold.
const MAX_DECODED_BYTES: u64 = 72 * 1024 * 1024;

/// The quality of JPEG thumbnails, where artefacts become hard to see.
const JPEG_QUALITY: u8 = 85;

/// What a thumbnail is encoded as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[kami_type]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Jpeg,
    Png,
    Webp,
}

/// A decoded picture and what its file said.
pub struct Picture {
    /// Width in pixels, as a viewer shows it.
    pub width: u32,
    /// Height in pixels, as a viewer shows it.
    pub height: u32,
    /// The name of the file's format, for example `JPEG`.
    pub format: String,
    /// As stored, before `orientation` is applied.
    pixels: DynamicImage,
    orientation: Orientation,
}

/// An encoded thumbnail.
pub struct Thumbnail {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// The file.
    pub bytes: Vec<u8>,
    /// The file's media type.
    pub mime_type: &'static str,
}

impl Picture {
    /// Decodes a picture, unless it is too large for the sandbox.
    ///
    /// # Errors
    /// The bytes are not a picture of a known format, are damaged, or decode to too many pixels.
    ///
    /// # Security
    /// The size that the file claims is checked before memory is set aside for it.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut reader = ImageReader::new(Cursor::new(bytes))
            .with_guessed_format()
            .map_err(|error| error.to_string())?;
        let Some(format) = reader.format() else {
            return Err("this is not a JPEG, PNG, WebP or GIF picture".to_owned());
        };
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(MAX_DECODED_BYTES);
        reader.limits(limits);
        let mut decoder = reader.into_decoder().map_err(explain)?;
        let (width, height) = decoder.dimensions();
        if decoder.total_bytes() > MAX_DECODED_BYTES {
            return Err(format!(
                "the picture is too large to decode: {width} x {height} pixels take {} MB of the \
                 {} MB that there are",
                decoder.total_bytes() / 1_000_000,
                MAX_DECODED_BYTES / 1_000_000,
            ));
        }
        let orientation = decoder.orientation().map_err(explain)?;
        let (width, height) = match turns_sideways(orientation) {
            true => (height, width),
            false => (width, height),
        };
        Ok(Self {
            width,
            height,
            format: format!("{format:?}").to_uppercase(),
            pixels: DynamicImage::from_decoder(decoder).map_err(explain)?,
            orientation,
        })
    }

    /// Scales the picture down to fit, turns it upright and encodes it.
    ///
    /// # Errors
    /// The encoder failed.
    pub fn thumbnail(
        &self,
        max_width: u32,
        max_height: u32,
        format: Option<Format>,
    ) -> Result<Thumbnail, String> {
        let (max_width, max_height) = match turns_sideways(self.orientation) {
            true => (max_height, max_width),
            false => (max_width, max_height),
        };
        let fits = self.pixels.width() <= max_width && self.pixels.height() <= max_height;
        let mut pixels = match fits {
            true => self.pixels.clone(),
            false => self.pixels.thumbnail(max_width.max(1), max_height.max(1)),
        };
        pixels.apply_orientation(self.orientation);
        let format = format.unwrap_or(match pixels.has_alpha() {
            true => Format::Png,
            false => Format::Jpeg,
        });
        Ok(Thumbnail {
            width: pixels.width(),
            height: pixels.height(),
            bytes: format.encode(&pixels).map_err(explain)?,
            mime_type: format.image_format().to_mime_type(),
        })
    }
}

impl Format {
    fn image_format(self) -> ImageFormat {
        match self {
            Self::Jpeg => ImageFormat::Jpeg,
            Self::Png => ImageFormat::Png,
            Self::Webp => ImageFormat::WebP,
        }
    }

    fn encode(self, pixels: &DynamicImage) -> Result<Vec<u8>, ImageError> {
        let mut bytes = Cursor::new(Vec::new());
        match self {
            Self::Jpeg => {
                let encoder = JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY);
                on_white(pixels).write_with_encoder(encoder)?;
            }
            // Eight bits for each channel are what every viewer shows and both formats take.
            Self::Png | Self::Webp if pixels.has_alpha() => {
                pixels.to_rgba8().write_to(&mut bytes, self.image_format())?;
            }
            Self::Png | Self::Webp => {
                pixels.to_rgb8().write_to(&mut bytes, self.image_format())?;
            }
        }
        Ok(bytes.into_inner())
    }
}

/// The picture without transparency, which JPEG lacks.
fn on_white(pixels: &DynamicImage) -> RgbImage {
    if !pixels.has_alpha() {
        return pixels.to_rgb8();
    }
    let pixels = pixels.to_rgba8();
    RgbImage::from_fn(pixels.width(), pixels.height(), |x, y| {
        let [red, green, blue, alpha] = pixels.get_pixel(x, y).0.map(u32::from);
        Rgb([red, green, blue].map(|channel| ((channel * alpha + 255 * (255 - alpha)) / 255) as u8))
    })
}

/// Whether width and height change places when the picture is turned upright.
fn turns_sideways(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    )
}

fn explain(error: ImageError) -> String {
    match error {
        ImageError::Limits(error) => format!("the picture is too large to decode: {error}"),
        error => format!("the picture is damaged or of an unusual kind: {error}"),
    }
}
