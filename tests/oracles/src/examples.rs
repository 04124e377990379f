//! What the oracles have in common to begin with: small, and with everything in it.

use std::sync::LazyLock;

use kami_core::component::{Artifact, Component};
use kami_core::manifest::{Manifest, ToolDefinition};
use kami_core::signing::{SecretKey, sign};
use serde_json::json;

/// Two keys that protect nothing, and are the same in every run, so that a corpus keeps its worth.
const KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH
-----END PRIVATE KEY-----
";
const STRANGER: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI
-----END PRIVATE KEY-----
";

/// A component of the first contract: it gives back its arguments.
const COMPONENT: &str = r#"(component
    (import "wasi:cli/environment@0.2.6" (instance))
    (core module $module
        (memory (export "memory") 1)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
        (func (export "describe") (result i32) i32.const 0)
        (func (export "run") (param $text i32) (param $length i32) (result i32)
            (i32.store offset=4 (i32.const 0) (local.get $text))
            (i32.store offset=8 (i32.const 0) (local.get $length))
            i32.const 0))
    (core instance $core (instantiate $module))
    (func $run (param "input" string) (result (result string (error string)))
        (canon lift (core func $core "run")
            (memory (core memory $core "memory")) (realloc (core func $core "realloc"))))
    (func $describe (result string)
        (canon lift (core func $core "describe") (memory (core memory $core "memory"))))
    (instance $tool (export "run" (func $run)) (export "describe" (func $describe)))
    (export "kami:tool/tool@0.1.0" (instance $tool)))"#;

/// What artifacts say about themselves.
pub(crate) const MANIFESTS: &[&str] = &[
    r#"{"format":1,"package":{"id":"dev.example.t","version":"1.0.0"},"tools":[{"name":"t","inputSchema":{"type":"object"}}],"requests":{},"provenance":{"builder":"x"}}"#,
    r#"{"format":1,"package":{"id":"dev.example.all","version":"0.2.1-rc.1+b","title":"All","description":"Of it.","license":"MIT OR Apache-2.0","authors":["Ann <ann@example.com>"],"homepage":"https://example.com","repository":"https://example.com/r","tags":["web","text"]},"tools":[{"name":"fetch_url","title":"Fetch","description":"Gets a page.","inputSchema":{"type":"object","properties":{"url":{"type":"string","description":"Where it is."},"n":{"type":"number","minimum":0.1,"default":1e3}},"required":["url"],"additionalProperties":false},"outputSchema":{"type":"object"},"annotations":{"readOnlyHint":false,"destructiveHint":true,"idempotentHint":false,"openWorldHint":true}},{"name":"b-2","inputSchema":{"type":"object","enum":[null,true,-1,18446744073709551615,2.5]}}],"requests":{"net":["api.example.com","*.example.org:8443","http://127.0.0.1","[::1]:80"],"fs":"sandbox","mounts":{"docs":{"access":"read-write","description":"the files"},"o":{}},"env":["LANG","TZ"],"limits":{"max-memory-mb":128,"max-execution-ms":1000,"max-fuel":7}},"provenance":{"builder":"cargo-kami 0.1.0","compiler":"rustc 1.95.0","lock":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}"#,
];

/// What operators put together; and a pointer, with what it leads into.
pub(crate) const PIPELINES: &[&str] = &[
    r##"version = 1
id = "dev.example.report"
package-version = "1.0.0"
tool = "report"
title = "Report"
description = "Says how long a page is."
tags = ["web", "text"]
max-seconds = 30

[input]
type = "object"
properties.url = { type = "string" }
properties.most = { type = "integer" }
required = ["url"]

[[step]]
id = "page"
tool = "dev.example.web/fetch"
with = { method = "GET", options = { again = {} } }
from = { "/url" = "input#/url" }

[[step]]
id = "head"
tool = "dev.example.web/fetch"
with = { method = "HEAD" }
from = { "/url" = "input#/url" }
on-error = "continue"

[[step]]
id = "count"
tool = "dev.example.text/count"
from = { "/text" = "page#/content/0/text", "/most" = "input#/most" }
after = ["head"]
on-error = { text = "none", structuredContent = { words = 0 } }

[output]
"/words" = "count#/structuredContent/words"
"/page/first" = "count#/structuredContent/places/0"
"/url" = "input#/url"
"##,
    r##"version = 1
id = "dev.example.two"
package-version = "1.0.0"
tool = "two"
step = [
    { id = "a", tool = "dev.example.text/count", with = { text = "x", most = 1 } },
    { id = "b", tool = "dev.example.text/count", from = { "/text" = "a#/content/0/text" } },
]
"##,
    r##"version = 2
id = "report"
tool = "dev.example.web/fetch"
steps = []
[input]
type = "array"
when = 2026-01-01
[[step]]
id = "input"
tool = "dev.example.all/report"
with = { url = inf, a = { b = 1 } }
from = { url = "page", "/a" = "page#x", "/a/b" = "later#/~2" }
after = ["input"]
on-error = "stay"
"##,
    "/foo/0/a~1b/m~0n
{\"foo\":[{\"a/b\":{\"m~n\":8}}],\"\":0}",
];

/// What authors write.
pub(crate) const TABLES: &[&str] = &[
    "[package]\nname = \"x\"\n[package.metadata.kami]\nid = \"dev.example.x\"\n",
    r#"[package]
name = "x"
[package.metadata.kami]
id = "dev.example.x"
title = "X"
tags = ["web", "text"]
[package.metadata.kami.security]
net-allow-list = ["api.github.com", "*.example.com", "http://127.0.0.1:80", "[::1]"]
fs-access = "sandbox"
env-allow-list = ["LANG"]
max_memory_mb = 0x80
max-execution-ms = 1_000
max-fuel = 7
[package.metadata.kami.mounts.docs]
access = "read-write"
description = "the files"
[package.metadata.kami.mounts]
other = {}
[workspace.metadata.kami]
tags = ["ours"]
security = { max-memory-mb = 32, max-execution-ms = 100, fs-access = "sandbox" }
mounts.docs.access = "read-write"
"#,
    r#"id = "dev.example.py"
version = "1.2.3"
component = "py.wasm"
description = "What it is for"
license = "MIT"
authors = ["Ann"]
homepage = "https://example.com"
repository = "https://example.com/repo"
[security]
max-memory-mb = 256
"#,
    "[package.metadata.kami]\ntilte = 1\nid = 5\nmounts = { docs = 1, scratch = {} }\n\
     [package.metadata.kami.security]\nnet-allow-list = [\"a b\", 3]\nmax-fuel = 0\nfs_access = 'é'\n",
];

/// A tool without anything to say.
pub(crate) fn tool(name: &str) -> ToolDefinition {
    serde_json::from_value(json!({"name": name, "inputSchema": {"type": "object"}}))
        .expect("it has the shape of a definition")
}

/// The one key, which is trusted.
pub(crate) fn key() -> SecretKey {
    SecretKey::from_pem(KEY).expect("it is a key")
}

/// The other key, which is not.
pub(crate) fn stranger() -> SecretKey {
    SecretKey::from_pem(STRANGER).expect("it is a key")
}

/// A component that runs.
pub(crate) fn component() -> &'static Component {
    static ONCE: LazyLock<Component> = LazyLock::new(|| {
        let bytes = wat::parse_str(COMPONENT).expect("it is a component");
        Component::parse(bytes).expect("it speaks a contract")
    });
    &ONCE
}

/// An unsigned artifact around one of [`MANIFESTS`].
pub(crate) fn artifact(manifest: usize, bill: Option<&[u8]>) -> Artifact {
    let manifest = Manifest::from_json(MANIFESTS[manifest].as_bytes()).expect("it is a manifest");
    Artifact::parse(component().seal(&manifest, bill)).expect("it was just sealed")
}

/// Whether the one key signed exactly these bytes in one of the [`artifacts`].
pub(crate) fn signed_by_key(signed: &[u8]) -> bool {
    signed == SIGNED.0.signed_part()
}

/// Whether the other key did.
pub(crate) fn signed_by_stranger(signed: &[u8]) -> bool {
    signed_by_key(signed) || signed == SIGNED.1.signed_part()
}

/// What is signed by the one key or both; and by the other key alone.
static SIGNED: LazyLock<(Artifact, Artifact)> =
    LazyLock::new(|| (artifact(0, Some(b"bill")), artifact(1, None)));

/// Artifacts that are signed by nobody, the one key, both, and the other.
pub(crate) fn artifacts() -> Vec<Vec<u8>> {
    let (ours, theirs) = &*SIGNED;
    let sign =
        |artifact: &Artifact, key: SecretKey| sign(artifact, &key).expect("few have signed it");
    let once = sign(ours, key());
    let twice = sign(&Artifact::parse(once.as_slice()).expect("it was just signed"), stranger());
    vec![ours.bytes().to_vec(), once, twice, sign(theirs, stranger())]
}
