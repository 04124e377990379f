//! From bytes to a parsed [`Artifact`], without running anything.
//!
//! An artifact is one WebAssembly component file:
//!
//! ```text
//! component | .dep-v0 | kami:manifest | kami:signature ...
//!           └ bill of   └ see manifest  └ zero or more, see signing
//!             materials
//! ```
//!
//! Our sections are custom sections, so every other tool still reads the file as the component
//! that it is. What is signed is every byte before the first signature.
//!
//! A [`Component`] is proof that its bytes were read once at every level of nesting and hold no more
//! than `bounds` permits; only a `Component` is compiled. Whether its types and instructions are
//! valid is found when it is.

mod bounds;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use wasm_encoder::{ComponentSection as _, CustomSection};
use wasmparser::{Chunk, Parser, Payload};

use crate::digest::Digest;
use crate::manifest::{Manifest, ManifestError};

/// The section that holds the manifest.
pub const MANIFEST_SECTION: &str = "kami:manifest";

/// The section that holds one signature.
pub const SIGNATURE_SECTION: &str = "kami:signature";

/// The section that holds the bill of materials, in cargo-auditable's format.
pub const BILL_OF_MATERIALS_SECTION: &str = ".dep-v0";

/// The largest artifact that is read. CPython with its standard library has 18 MB.
pub const MAX_BYTES: usize = 128 << 20;

/// The most signatures on one artifact: enough for a chain of custody, and no work for a host.
pub const MAX_SIGNATURES: usize = 16;

/// The most imports and exports of a component: the whole of WASI has under a hundred interfaces.
const MAX_NAMES: usize = 1000;

/// Which version of the contract a component speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abi {
    /// `kami:tool/tool@0.1.0`: text in, text out.
    V0_1,
    /// `kami:tool/tools@0.2`: any number of tools, typed content, re-entrance.
    V0_2,
}

/// A part of the contract that a component may export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interface {
    /// What a model may call.
    Tools,
    /// What a client may read.
    Resources,
    /// What a person may pick.
    Prompts,
    /// Suggestions for what a person types.
    Completion,
}

impl Interface {
    /// How its name begins; the patch level follows.
    const fn stem(self) -> &'static str {
        match self {
            Self::Tools => "kami:tool/tools@0.2.",
            Self::Resources => "kami:tool/resources@0.2.",
            Self::Prompts => "kami:tool/prompts@0.2.",
            Self::Completion => "kami:tool/completion@0.2.",
        }
    }

    fn is_named(self, export: &str) -> bool {
        let patch = export.strip_prefix(self.stem());
        patch.is_some_and(|patch| patch.chars().all(|c| c.is_ascii_digit()))
    }
}

/// Why bytes are not a component or an artifact that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    /// More bytes than [`MAX_BYTES`].
    #[error("the file has {0} bytes, and {MAX_BYTES} is the most")]
    TooLarge(usize),
    /// Bytes without WebAssembly's magic number.
    #[error("this is not WebAssembly: the file does not begin with `\\0asm`")]
    NotWasm,
    /// A core module.
    #[error(
        "this is a core WebAssembly module, and a component was expected: \
         build it for wasm32-wasip2, as `cargo kami build` does"
    )]
    CoreModule,
    /// The file ends in the middle of a section.
    #[error("the file is truncated: it ends in the middle of a section, at byte {0}")]
    Truncated(usize),
    /// A section that breaks the binary format.
    #[error("the file is not a valid component")]
    Malformed(#[source] wasmparser::BinaryReaderError),
    /// More of something than any honest component has.
    #[error("the component is refused: it has {found} {what}, and {most} is the most")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How much was found when the count ended.
        found: u64,
        /// How much is permitted.
        most: u64,
    },
    /// A component whose instances cannot be counted.
    #[error(
        "the component instantiates a component that is handed in from outside, which this host \
         does not support: link them before they are built"
    )]
    ForeignInstance,
    /// More imports or exports than any honest component has.
    #[error("the component has more than {MAX_NAMES} imports and exports")]
    TooManyNames,
    /// A component of another world.
    #[error(
        "this is a component of another world: it exports {exports}, \
         and `kami:tool/tools@0.2.0` was expected"
    )]
    OtherWorld {
        /// What it exports instead.
        exports: String,
    },
    /// A component without a manifest.
    #[error(
        "this component carries no manifest: build it with `cargo kami build`, \
         or install its directory with a tool.toml beside it"
    )]
    NoManifest,
    /// Two manifests, of which readers might see different ones.
    #[error("the artifact has more than one manifest")]
    DuplicateManifest,
    /// More signatures than [`MAX_SIGNATURES`].
    #[error("the artifact has more than {MAX_SIGNATURES} signatures")]
    TooManySignatures,
    /// A signature that would not cover what stands after it.
    #[error("the component has a signature section before any manifest, at byte {0}")]
    SignatureBeforeManifest(usize),
    /// Something that no signature could cover.
    #[error("the artifact has a section after its manifest that is not a signature, at byte {0}")]
    Unsignable(usize),
    /// A manifest that cannot be read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// A component, known by what it imports and exports.
#[derive(Debug, Clone)]
pub struct Component {
    bytes: Arc<[u8]>,
    /// The component itself within `bytes`; our sections may follow it.
    end: usize,
    imports: BTreeSet<String>,
    exports: BTreeSet<String>,
    abi: Abi,
}

impl Component {
    /// Reads a component that speaks a contract this crate knows.
    ///
    /// # Errors
    /// Says what the bytes are, and what was expected.
    ///
    /// # Security
    /// The bytes are hostile. Size, names and nesting are bounded; nothing is run.
    pub fn parse(bytes: impl Into<Arc<[u8]>>) -> Result<Self, ComponentError> {
        let bytes = bytes.into();
        let sections = Sections::read(&bytes)?;
        sections.into_component(bytes)
    }

    /// The interfaces and functions that it imports, such as `wasi:cli/environment@0.2.6`.
    pub fn imports(&self) -> &BTreeSet<String> {
        &self.imports
    }

    /// The interfaces and functions that it exports.
    pub fn exports(&self) -> &BTreeSet<String> {
        &self.exports
    }

    /// Whether it exports a part of today's contract.
    pub fn offers(&self, interface: Interface) -> bool {
        self.exports.iter().any(|export| interface.is_named(export))
    }

    /// The contract that it speaks.
    pub fn abi(&self) -> Abi {
        self.abi
    }

    /// The component alone, without our sections.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.end]
    }

    /// Appends the bill of materials and the manifest: the bytes of an unsigned artifact.
    pub fn seal(&self, manifest: &Manifest, bill_of_materials: Option<&[u8]>) -> Vec<u8> {
        let mut bytes = self.bytes().to_vec();
        if let Some(bill) = bill_of_materials {
            append_section(&mut bytes, BILL_OF_MATERIALS_SECTION, bill);
        }
        append_section(&mut bytes, MANIFEST_SECTION, &manifest.to_json());
        bytes
    }
}

/// Appends a custom section.
pub(crate) fn append_section(bytes: &mut Vec<u8>, name: &str, data: &[u8]) {
    CustomSection { name: name.into(), data: data.into() }.append_to_component(bytes);
}

/// A component with its manifest and signatures, parsed but not yet trusted.
#[derive(Debug, Clone)]
pub struct Artifact {
    component: Component,
    digest: Digest,
    manifest: Manifest,
    signatures: Vec<Range<usize>>,
    signed: usize,
}

impl Artifact {
    /// Reads an artifact in one pass over its bytes and hashes them.
    ///
    /// # Errors
    /// Says what the bytes are, and what was expected.
    ///
    /// # Security
    /// The bytes are hostile. Nothing in them is believed: see
    /// [`SignedArtifact`](crate::signing::SignedArtifact) for what follows.
    pub fn parse(bytes: impl Into<Arc<[u8]>>) -> Result<Self, ComponentError> {
        let bytes = bytes.into();
        let mut sections = Sections::read(&bytes)?;
        let manifest = sections.manifest.take();
        let signatures = std::mem::take(&mut sections.signatures);
        let signed = sections.signed;
        let component = sections.into_component(Arc::clone(&bytes))?;
        let manifest = manifest.ok_or(ComponentError::NoManifest)?;
        let manifest = Manifest::from_json(&bytes[manifest])?;
        Ok(Self { component, digest: Digest::of(&bytes), manifest, signatures, signed })
    }

    /// The component inside.
    pub fn component(&self) -> &Component {
        &self.component
    }

    /// What it says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The digest of the whole file, signatures included.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The whole file.
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.component.bytes
    }

    /// The bill of materials, zlib-compressed JSON, where there is one.
    pub fn bill_of_materials(&self) -> Option<&[u8]> {
        let rest = &self.bytes()[self.component.end..];
        let (name, data, _) = first_custom_section(rest)?;
        (name == BILL_OF_MATERIALS_SECTION).then_some(data)
    }

    /// Every byte that a signature covers.
    pub fn signed_part(&self) -> &[u8] {
        &self.bytes()[..self.signed]
    }

    /// The contents of the signature sections.
    pub fn signatures(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.signatures.iter().map(|range| &self.bytes()[range.clone()])
    }
}

/// The outermost sections of a file, as one pass over it finds them.
struct Sections {
    imports: BTreeSet<String>,
    exports: BTreeSet<String>,
    manifest: Option<Range<usize>>,
    signatures: Vec<Range<usize>>,
    /// Where the component ends and our sections begin.
    end: usize,
    /// Where the signatures begin.
    signed: usize,
}

impl Sections {
    fn read(bytes: &[u8]) -> Result<Self, ComponentError> {
        if bytes.len() > MAX_BYTES {
            return Err(ComponentError::TooLarge(bytes.len()));
        }
        check_header(bytes)?;
        let mut sections = Self {
            imports: BTreeSet::new(),
            exports: BTreeSet::new(),
            manifest: None,
            signatures: Vec::new(),
            end: bytes.len(),
            signed: bytes.len(),
        };
        let mut parser = Parser::new(0);
        let mut at = 0;
        let mut bill_of_materials = None;
        loop {
            let rest = &bytes[at..];
            let chunk = parser.parse(rest, rest.is_empty()).map_err(ComponentError::Malformed)?;
            let Chunk::Parsed { consumed, payload } = chunk else {
                return Err(ComponentError::Truncated(bytes.len()));
            };
            let start = at;
            at += consumed;
            if sections.manifest.is_some() && !is_signature_or_end(&payload) {
                return Err(match payload {
                    Payload::CustomSection(s) if s.name() == MANIFEST_SECTION => {
                        ComponentError::DuplicateManifest
                    }
                    _ => ComponentError::Unsignable(start),
                });
            }
            match payload {
                Payload::End(_) => break,
                // The outer parser already stands behind what is nested here.
                Payload::ModuleSection { unchecked_range, .. }
                | Payload::ComponentSection { unchecked_range, .. } => {
                    at = usize::try_from(unchecked_range.end)
                        .ok()
                        .filter(|end| *end <= bytes.len())
                        .ok_or(ComponentError::Truncated(bytes.len()))?;
                }
                Payload::ComponentImportSection(reader) => {
                    for import in reader {
                        let import = import.map_err(ComponentError::Malformed)?;
                        sections.imports.insert(import.name.name.to_owned());
                        sections.check_names()?;
                    }
                }
                Payload::ComponentExportSection(reader) => {
                    for export in reader {
                        let export = export.map_err(ComponentError::Malformed)?;
                        sections.exports.insert(export.name.name.to_owned());
                        sections.check_names()?;
                    }
                }
                Payload::CustomSection(section) => {
                    let data = at - section.data().len()..at;
                    match section.name() {
                        BILL_OF_MATERIALS_SECTION => bill_of_materials = Some(start..at),
                        MANIFEST_SECTION => {
                            sections.manifest = Some(data);
                            sections.end = match bill_of_materials.take() {
                                Some(bill) if bill.end == start => bill.start,
                                _ => start,
                            };
                        }
                        // It would end the signed part before the manifest, which then anybody
                        // could write.
                        SIGNATURE_SECTION if sections.manifest.is_none() => {
                            return Err(ComponentError::SignatureBeforeManifest(start));
                        }
                        SIGNATURE_SECTION => {
                            if sections.signatures.is_empty() {
                                sections.signed = start;
                            }
                            if sections.signatures.len() == MAX_SIGNATURES {
                                return Err(ComponentError::TooManySignatures);
                            }
                            sections.signatures.push(data);
                        }
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        // Last, as the above tells better what a file is that is no component at all.
        bounds::check(bytes)?;
        Ok(sections)
    }

    fn check_names(&self) -> Result<(), ComponentError> {
        if self.imports.len() + self.exports.len() > MAX_NAMES {
            return Err(ComponentError::TooManyNames);
        }
        Ok(())
    }

    fn into_component(self, bytes: Arc<[u8]>) -> Result<Component, ComponentError> {
        let Some(abi) = self.exports.iter().find_map(|name| abi_of(name)) else {
            return Err(ComponentError::OtherWorld { exports: summary(&self.exports) });
        };
        let Self { imports, exports, end, .. } = self;
        Ok(Component { bytes, end, imports, exports, abi })
    }
}

/// What may stand behind the manifest.
fn is_signature_or_end(payload: &Payload<'_>) -> bool {
    match payload {
        Payload::CustomSection(section) => section.name() == SIGNATURE_SECTION,
        Payload::End(_) => true,
        _ => false,
    }
}

/// Tells a component from everything else that a file may be.
fn check_header(bytes: &[u8]) -> Result<(), ComponentError> {
    match bytes {
        [b'\0', b'a', b's', b'm', _, _, 0, 0, ..] => Err(ComponentError::CoreModule),
        [b'\0', b'a', b's', b'm', _, _, _, _, ..] => Ok(()),
        [b'\0', b'a', b's', b'm', ..] => Err(ComponentError::Truncated(bytes.len())),
        _ => Err(ComponentError::NotWasm),
    }
}

/// Splits a custom section off the front of `bytes`: name, data, what follows.
fn first_custom_section(bytes: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let mut reader = wasmparser::BinaryReader::new(bytes, 0);
    if reader.read_u8().ok()? != 0 {
        return None;
    }
    let length = reader.read_var_u32().ok()? as usize;
    let start = reader.current_position();
    let contents = bytes.get(start..start.checked_add(length)?)?;
    let mut reader = wasmparser::BinaryReader::new(contents, 0);
    let name = reader.read_string().ok()?;
    Some((name, &contents[reader.current_position()..], &bytes[start + length..]))
}

fn abi_of(export: &str) -> Option<Abi> {
    if export == "kami:tool/tool@0.1.0" {
        return Some(Abi::V0_1);
    }
    Interface::Tools.is_named(export).then_some(Abi::V0_2)
}

/// The first few names, cut to a length that a person reads.
fn summary(names: &BTreeSet<String>) -> String {
    const SHOWN: usize = 5;
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let shown: Vec<_> = names
        .iter()
        .take(SHOWN)
        .map(|name| {
            let name: String = name.chars().filter(|c| !c.is_control()).take(80).collect();
            format!("`{name}`")
        })
        .collect();
    let more = if names.len() > SHOWN { " and more" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// Small components for the tests of every stage.
#[cfg(test)]
pub(crate) mod fixtures {
    use super::*;
    use crate::grants::Capabilities;
    use crate::manifest::Provenance;
    use serde_json::json;

    /// A component that exports the contract's interface by name, and nothing in it.
    pub fn component() -> Component {
        let text = r#"(component
            (import "wasi:cli/environment@0.2.6" (instance))
            (core module (memory 1))
            (instance $tools)
            (export "kami:tool/tools@0.2.0" (instance $tools)))"#;
        Component::parse(wat::parse_str(text).unwrap()).unwrap()
    }

    /// A manifest with one tool.
    pub fn manifest(id: &str, version: &str, tool: &str) -> Manifest {
        let package = serde_json::from_value(json!({"id": id, "version": version})).unwrap();
        let tool =
            json!({"name": tool, "description": "A tool.", "inputSchema": {"type": "object"}});
        let tools = vec![serde_json::from_value(tool).unwrap()];
        Manifest::new(package, tools, Capabilities::default(), Provenance::default()).unwrap()
    }

    /// The bytes of an unsigned artifact.
    pub fn artifact_bytes(id: &str, version: &str, tool: &str) -> Vec<u8> {
        component().seal(&manifest(id, version, tool), Some(b"bill"))
    }

    /// An unsigned artifact.
    pub fn artifact(id: &str, version: &str, tool: &str) -> Artifact {
        Artifact::parse(artifact_bytes(id, version, tool)).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes() -> Vec<u8> {
        fixtures::artifact_bytes("dev.example.t", "1.0.0", "t")
    }

    #[test]
    fn sealing_adds_sections_and_keeps_the_component() {
        let artifact = Artifact::parse(bytes()).unwrap();
        assert_eq!(artifact.component().bytes(), fixtures::component().bytes());
        assert_eq!(artifact.manifest(), &fixtures::manifest("dev.example.t", "1.0.0", "t"));
        assert_eq!(artifact.bill_of_materials(), Some(&b"bill"[..]));
        assert_eq!(artifact.signed_part(), &bytes()[..]);
        assert_eq!(artifact.signatures().len(), 0);
        assert!(artifact.component().imports().contains("wasi:cli/environment@0.2.6"));
        assert_eq!(artifact.component().abi(), Abi::V0_2);
    }

    #[test]
    fn what_is_not_an_artifact_is_named() {
        let parse = |bytes: &[u8]| Artifact::parse(bytes.to_vec()).unwrap_err().to_string();
        assert!(parse(b"#!/bin/sh").contains("not WebAssembly"));
        assert!(parse(b"").contains("not WebAssembly"));
        assert!(parse(b"\0asm\x01\0\0\0").contains("core WebAssembly module"));
        assert!(parse(b"\0asm\x0d").contains("truncated"));
        let other = wat::parse_str(
            r#"(component (instance $i) (export "wasi:cli/run@0.2.0" (instance $i)))"#,
        );
        assert!(parse(&other.unwrap()).contains("it exports `wasi:cli/run@0.2.0`"));
        assert!(parse(fixtures::component().bytes()).contains("carries no manifest"));
    }

    #[test]
    fn every_truncation_is_an_error_and_none_panics() {
        let bytes = bytes();
        for end in 0..bytes.len() {
            assert!(Artifact::parse(bytes[..end].to_vec()).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn nothing_is_signed_before_its_manifest() {
        let mut bait = fixtures::component().bytes().to_vec();
        append_section(&mut bait, SIGNATURE_SECTION, b"s");
        let refused = |bytes: Vec<u8>| {
            matches!(Component::parse(bytes), Err(ComponentError::SignatureBeforeManifest(_)))
        };
        assert!(refused(bait.clone()));
        let manifest = fixtures::manifest("dev.example.t", "1.0.0", "t").to_json();
        append_section(&mut bait, MANIFEST_SECTION, &manifest);
        assert!(refused(bait));
    }

    #[test]
    fn nothing_may_follow_the_manifest_but_signatures() {
        let mut twice = bytes();
        let manifest = fixtures::manifest("dev.example.t", "1.0.0", "t").to_json();
        append_section(&mut twice, MANIFEST_SECTION, &manifest);
        assert!(matches!(Artifact::parse(twice), Err(ComponentError::DuplicateManifest)));

        let mut trailing = bytes();
        append_section(&mut trailing, SIGNATURE_SECTION, b"s");
        append_section(&mut trailing, "other", b"");
        assert!(matches!(Artifact::parse(trailing), Err(ComponentError::Unsignable(_))));

        let mut crowd = bytes();
        for _ in 0..=MAX_SIGNATURES {
            append_section(&mut crowd, SIGNATURE_SECTION, b"s");
        }
        assert!(matches!(Artifact::parse(crowd), Err(ComponentError::TooManySignatures)));
    }
}
