//! The sections of an artifact, against a naive reading of the file format.

use kami_core::component::{
    Artifact, BILL_OF_MATERIALS_SECTION, Component, MANIFEST_SECTION, MAX_SIGNATURES,
    SIGNATURE_SECTION,
};
use kami_core::manifest::Manifest;
use kami_core::signing::sign;

use crate::{examples, manifest};

/// Reads `bytes` as an artifact and as a component.
///
/// # Panics
/// Where an accepted artifact breaks the rules of its sections, is read otherwise than by its
/// sections, or is not the same after it was sealed or signed again.
pub fn check(bytes: &[u8]) {
    let component = Component::parse(bytes);
    let Ok(artifact) = Artifact::parse(bytes) else { return };
    let component = component.expect("an artifact is a component");
    assert_eq!(component.bytes(), artifact.component().bytes());
    assert_eq!(component.exports(), artifact.component().exports());

    check_sections(bytes, &artifact);
    manifest::check_accepted(artifact.manifest());
    check_sealed_again(&artifact);
    check_signed_again(&artifact);
}

/// The rules of the file, by a walk over it that knows nothing but section headers.
fn check_sections(bytes: &[u8], artifact: &Artifact) {
    let sections = outermost(bytes).expect("an accepted file consists of sections");
    let is = |at: usize, name: &str| sections[at].name == Some(name.as_bytes());
    let all = 0..sections.len();
    let manifests: Vec<usize> = all.clone().filter(|at| is(*at, MANIFEST_SECTION)).collect();
    let &[manifest] = manifests.as_slice() else { panic!("{} manifests", manifests.len()) };
    assert_eq!(&Manifest::from_json(sections[manifest].data).unwrap(), artifact.manifest());

    assert!(all.clone().all(|at| at <= manifest || is(at, SIGNATURE_SECTION)), "something follows");
    assert!(all.clone().all(|at| at >= manifest || !is(at, SIGNATURE_SECTION)), "signed too early");
    let signatures = &sections[manifest + 1..];
    assert!(signatures.len() <= MAX_SIGNATURES, "{} signatures", signatures.len());
    assert!(artifact.signatures().eq(signatures.iter().map(|section| section.data)));
    let signed = signatures.first().map_or(bytes.len(), |first| first.start);
    assert_eq!(artifact.signed_part(), &bytes[..signed], "the signed part is another one");

    let bill = manifest.checked_sub(1).filter(|at| is(*at, BILL_OF_MATERIALS_SECTION));
    assert_eq!(artifact.bill_of_materials(), bill.map(|at| sections[at].data));
    let end = sections[bill.unwrap_or(manifest)].start;
    assert_eq!(artifact.component().bytes(), &bytes[..end], "the component is another one");
}

fn check_sealed_again(artifact: &Artifact) {
    let sealed = artifact.component().seal(artifact.manifest(), artifact.bill_of_materials());
    let again = Artifact::parse(sealed).expect("what was sealed can be read");
    assert_eq!(again.manifest(), artifact.manifest());
    assert_eq!(again.bill_of_materials(), artifact.bill_of_materials());
    assert_eq!(again.component().bytes(), artifact.component().bytes());
    assert_eq!(again.signatures().len(), 0);
}

/// Signing adds one signature, and drops only what claims to be by the same key. It is refused only
/// where there are as many as there may be.
fn check_signed_again(artifact: &Artifact) {
    let key_of = |envelope: &[u8]| envelope.get(1..33).map(<[u8]>::to_vec);
    let Ok(signed) = sign(artifact, &examples::key()) else {
        assert_eq!(artifact.signatures().len(), MAX_SIGNATURES);
        return;
    };
    let signed = Artifact::parse(signed).expect("it can be read");
    assert_eq!(signed.signed_part(), artifact.signed_part());
    let new = signed.signatures().last().expect("there is a new one");
    let kept = artifact.signatures().filter(|old| key_of(old) != key_of(new));
    assert!(signed.signatures().eq(kept.chain([new])), "other signatures changed");
}

struct Section<'a> {
    start: usize,
    /// Of a custom section.
    name: Option<&'a [u8]>,
    data: &'a [u8],
}

/// A header of eight bytes, then sections: an id, a length, and as many bytes.
fn outermost(bytes: &[u8]) -> Option<Vec<Section<'_>>> {
    let mut at = 8;
    let mut sections = Vec::new();
    while at < bytes.len() {
        let start = at;
        let custom = bytes[at] == 0;
        at += 1;
        let contents = counted(bytes, &mut at)?;
        let (name, data) = if custom {
            let mut inside = 0;
            let name = counted(contents, &mut inside)?;
            (Some(name), &contents[inside..])
        } else {
            (None, contents)
        };
        sections.push(Section { start, name, data });
    }
    Some(sections)
}

/// Bytes behind their own number, which is written in LEB128.
fn counted<'a>(bytes: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let mut length = 0_usize;
    for shift in (0..35).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        length |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            let start = *at;
            *at = start.checked_add(length)?;
            return bytes.get(start..*at);
        }
    }
    None
}

/// Artifacts with and without a bill of materials and signatures, and components alone.
pub fn examples() -> Vec<Vec<u8>> {
    let mut all = examples::artifacts();
    all.push(examples::component().bytes().to_vec());
    all
}
