//! Components of today's contract, written by hand, which say what no SDK lets a guest say.

use kami_core::component::Component;
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

use crate::guests::root;

/// Where [`Raw::reply`] stands in the guest's memory.
pub const REPLY: u32 = 64;

/// Where [`Raw::text`] does.
pub const TEXT: u32 = 512;

/// A component with one core module, whose every part can be made to misbehave.
///
/// By default it describes nothing and answers with [`Self::reply`], words as the canonical ABI
/// lays out a `call-outcome`, and [`Self::text`] for its pointers to point to.
pub struct Raw<'a> {
    /// The fewest pages of memory.
    pub pages: u32,
    /// More parts of the module, for the others to use.
    pub parts: &'a str,
    /// What runs when the host needs room in its memory.
    pub realloc: &'a str,
    /// What runs when it is instantiated.
    pub start: &'a str,
    /// What `describe` answers.
    pub description: &'a str,
    /// What runs before it answers a call.
    pub body: &'a str,
    /// What runs after the host has read the answer.
    pub after: &'a str,
    /// Where it says that the answer is.
    pub reply_at: u32,
    /// The answer.
    pub reply: &'a [u32],
    /// Text within the answer.
    pub text: &'a [u8],
}

impl Default for Raw<'_> {
    fn default() -> Self {
        Self {
            pages: 1,
            parts: "",
            realloc: "(global.get $free)
                (global.set $free (i32.add (global.get $free)
                    (i32.and (i32.add (local.get 3) (i32.const 7)) (i32.const -8))))",
            start: "",
            description: "",
            body: "",
            after: "",
            reply_at: REPLY,
            // `complete`, with no content and nothing structured.
            reply: &[0; 6],
            text: b"",
        }
    }
}

impl Raw<'_> {
    /// The component.
    pub fn component(&self) -> Component {
        let mut module = wat::parse_str(self.module()).expect("the module is written well");
        let mut contract = Resolve::default();
        let package = contract.push_file(root().join("wit/tool.wit")).expect("the contract parses");
        let world = contract.select_world(&[package], Some("tool")).expect("it has this world");
        let encoding = StringEncoding::UTF8;
        wit_component::embed_component_metadata(&mut module, &contract, world, encoding, false)
            .expect("a module takes a custom section");
        let mut encoder = ComponentEncoder::default();
        let encoder = encoder.validate(true).module(&module);
        let bytes = encoder.and_then(|encoder| encoder.encode());
        Component::parse(bytes.expect("the module fits the contract")).expect("it is a component")
    }

    fn module(&self) -> String {
        let Self { pages, parts, realloc, start, .. } = self;
        let Self { description, body, after, reply_at, text, .. } = self;
        let reply: Vec<u8> = self.reply.iter().flat_map(|word| word.to_le_bytes()).collect();
        let description_at = TEXT as usize + text.len().next_multiple_of(4);
        let described: Vec<u8> = [description_at, description.len()]
            .iter()
            .flat_map(|word| u32::try_from(*word).expect("it is in the first page").to_le_bytes())
            .collect();
        format!(
            r#"(module
                (memory (export "memory") {pages})
                (table $table 10 funcref)
                (global $free (mut i32) (i32.const 32768))
                (data (i32.const 16) "{described}")
                (data (i32.const {REPLY}) "{reply}")
                (data (i32.const {TEXT}) "{text}")
                (data (i32.const {description_at}) "{description}")
                (func $start {start})
                (start $start)
                {parts}
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {realloc})
                (func (export "kami:tool/tools@0.2.0#describe") (result i32) (i32.const 16))
                (func (export "kami:tool/tools@0.2.0#call")
                    (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
                    {body}
                    (i32.const {reply_at}))
                (func (export "cabi_post_kami:tool/tools@0.2.0#call") (param i32) {after}))"#,
            described = escaped(&described),
            reply = escaped(&reply),
            text = escaped(text),
            description = escaped(description.as_bytes()),
        )
    }
}

fn escaped(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect()
}
