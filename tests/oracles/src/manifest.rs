//! The JSON of a manifest section: what is accepted keeps its bounds and its meaning.

use std::collections::HashSet;

use kami_core::manifest::{MAX_BYTES, MAX_TOOLS, Manifest, parse_description};

use crate::examples;

/// Reads `bytes` as a manifest.
///
/// # Panics
/// Where an accepted manifest is beyond its bounds, or is another one once it was written.
pub fn check(bytes: &[u8]) {
    if let Ok(manifest) = Manifest::from_json(bytes) {
        check_accepted(&manifest);
    }
    // What a component says about its tools has the shape of a part of it.
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(tools) = parse_description(text)
    {
        let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
        assert!(names.iter().all(|name| (1..=64).contains(&name.len())), "{names:?}");
    }
}

/// What holds for every manifest that the runtime has in its hands.
pub(crate) fn check_accepted(manifest: &Manifest) {
    let written = manifest.to_json();
    assert!(written.len() <= MAX_BYTES, "{} bytes", written.len());
    let read = Manifest::from_json(&written).expect("what was written can be read");
    assert_eq!(&read, manifest, "a manifest changes when it is written and read");
    assert_eq!(read.to_json(), written, "a manifest is not written the same way twice");

    assert!((1..=MAX_TOOLS).contains(&manifest.tools.len()));
    let names: HashSet<_> = manifest.tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(names.len(), manifest.tools.len(), "two tools have one name");
    for tool in &manifest.tools {
        assert_eq!(tool.input_schema["type"], "object");
        let harmless = tool.annotations.read_only_hint == Some(true);
        let reaches_out = !manifest.requests.net.is_empty();
        assert!(!(harmless && reaches_out), "`{}` passes for harmless", tool.name);
    }
}

/// Manifests with everything in them, and almost nothing.
pub fn examples() -> Vec<Vec<u8>> {
    examples::MANIFESTS.iter().map(|text| text.as_bytes().to_vec()).collect()
}
