//! Thumbnails of a real photo, and of pictures that are odd or hostile.

use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageFormat, Rgba, RgbaImage};
use thumbnail::{Format, Picture, Source, Thumbnail};

/// A rocket launch, 640 x 427 pixels: a pale plume on an evening sky.
const PHOTO: &[u8] = include_bytes!("rocket.jpg");

fn decode(thumbnail: &Thumbnail) -> DynamicImage {
    let decoded = image::load_from_memory(&thumbnail.bytes).unwrap();
    assert_eq!((decoded.width(), decoded.height()), (thumbnail.width, thumbnail.height));
    decoded
}

fn encode(pixels: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    pixels.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// The photo with an EXIF tag that says how to turn it.
fn photo_with_orientation(orientation: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    let mut photo = PHOTO[..2].to_vec();
    photo.extend([0xff, 0xe1, 0, exif.len() as u8 + 2]);
    photo.extend(exif);
    photo.extend(&PHOTO[2..]);
    photo
}

/// The mean brightness, from 0 to 255.
fn brightness(pixels: &DynamicImage) -> f64 {
    let pixels = pixels.to_luma8();
    pixels.iter().map(|value| f64::from(*value)).sum::<f64>() / pixels.len() as f64
}

#[test]
fn scales_a_photo_and_keeps_its_proportions_and_light() {
    let picture = Picture::read(PHOTO).unwrap();
    assert_eq!((picture.width, picture.height), (640, 427));
    assert_eq!(picture.format, "JPEG");
    let small = picture.thumbnail(128, 128, None).unwrap();
    assert_eq!((small.width, small.height), (128, 85));
    assert_eq!(small.mime_type, "image/jpeg");
    assert!(small.bytes.len() < 8_000, "{} bytes", small.bytes.len());
    let original = image::load_from_memory(PHOTO).unwrap();
    let difference = brightness(&original) - brightness(&decode(&small));
    assert!(difference.abs() < 1.5, "{difference}");
}

#[test]
fn writes_every_format() {
    let picture = Picture::read(PHOTO).unwrap();
    for (format, mime_type) in
        [(Format::Jpeg, "image/jpeg"), (Format::Png, "image/png"), (Format::Webp, "image/webp")]
    {
        let small = picture.thumbnail(100, 50, Some(format)).unwrap();
        assert_eq!((small.width, small.height), (75, 50));
        assert_eq!(small.mime_type, mime_type);
        decode(&small);
    }
}

#[test]
fn reads_every_format() {
    let original = image::load_from_memory(PHOTO).unwrap().thumbnail(60, 40);
    for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Gif] {
        let picture = Picture::read(&encode(&original, format)).unwrap();
        assert_eq!((picture.width, picture.height), (60, 40));
        let small = picture.thumbnail(30, 30, Some(Format::Jpeg)).unwrap();
        assert_eq!((small.width, small.height), (30, 20));
    }
}

#[test]
fn turns_photos_upright() {
    // 6 means: turn a quarter clockwise to view.
    let picture = Picture::read(&photo_with_orientation(6)).unwrap();
    assert_eq!((picture.width, picture.height), (427, 640));
    let small = picture.thumbnail(100, 90, None).unwrap();
    assert_eq!((small.width, small.height), (60, 90));
    let expected = image::load_from_memory(PHOTO).unwrap().rotate90();
    let top = |pixels: &DynamicImage| {
        brightness(&pixels.crop_imm(0, 0, pixels.width(), pixels.height() / 4))
    };
    let difference = top(&expected) - top(&decode(&small));
    assert!(difference.abs() < 3.0, "{difference}");
}

#[test]
fn never_enlarges() {
    let small = Picture::read(PHOTO).unwrap().thumbnail(2000, 2000, None).unwrap();
    assert_eq!((small.width, small.height), (640, 427));
}

#[test]
fn keeps_transparency_unless_jpeg_is_asked_for() {
    let clear = RgbaImage::from_pixel(40, 40, Rgba([0, 0, 0, 0]));
    let picture = Picture::read(&encode(&clear.into(), ImageFormat::Png)).unwrap();
    let png = picture.thumbnail(20, 20, None).unwrap();
    assert_eq!(png.mime_type, "image/png");
    assert_eq!(decode(&png).to_rgba8().get_pixel(5, 5).0[3], 0);
    let jpeg = picture.thumbnail(20, 20, Some(Format::Jpeg)).unwrap();
    assert!(brightness(&decode(&jpeg)) > 254.0);
}

#[test]
fn refuses_a_picture_that_claims_to_be_huge() {
    // A PNG header is all it takes to claim 60,000 x 60,000 pixels.
    let mut png = encode(&DynamicImage::new_rgb8(1, 1), ImageFormat::Png);
    png[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
    let checksum = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&checksum.to_be_bytes());
    let error = Picture::read(&png).err().unwrap();
    assert_eq!(
        error,
        "the picture is too large to decode: 60000 x 60000 pixels take 10800 MB of the 75 MB \
         that there are"
    );
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
    })
}

#[test]
fn says_what_is_wrong_with_a_picture() {
    assert_eq!(
        Picture::read(b"%PDF-1.7").err().unwrap(),
        "this is not a JPEG, PNG, WebP or GIF picture"
    );
    let png = encode(&DynamicImage::new_rgb8(9, 9), ImageFormat::Png);
    let error = Picture::read(&png[..png.len() / 2]).err().unwrap();
    assert!(error.starts_with("the picture is damaged or of an unusual kind: "), "{error}");
}

#[test]
fn takes_a_file_or_base64() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let from_file = Source::new(Some("rocket.jpg".to_owned()), None).unwrap();
    assert_eq!(from_file.read(&folder).unwrap(), PHOTO);
    for text in ["aGk=", "data:image/png;base64,aGk=", " aGk=\n"] {
        let given = Source::new(None, Some(text.to_owned())).unwrap();
        assert_eq!(given.read(&folder).unwrap(), b"hi");
    }
}

#[test]
fn says_what_is_wrong_with_a_source() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let read = |path: &str| {
        let source = Source::new(Some(path.to_owned()), None).unwrap();
        source.read(&folder).unwrap_err()
    };
    let missing = read("racket.jpg");
    assert!(missing.ends_with("; the folder holds rocket.jpg, thumbnail.rs"), "{missing}");
    assert_eq!(
        read("../Cargo.toml"),
        "`../Cargo.toml` leads out of the folder: give a path relative to it, without `..`"
    );
    assert_eq!(
        Source::new(None, None).unwrap_err(),
        "give the picture: either `path` or `image_base64`"
    );
    let both = Source::new(Some("a".to_owned()), Some("b".to_owned()));
    assert_eq!(both.unwrap_err(), "give either `path` or `image_base64`, not both");
    let nonsense = Source::new(None, Some("!".to_owned())).unwrap();
    assert!(nonsense.read(&folder).unwrap_err().starts_with("`image_base64` is not base64: "));
}
