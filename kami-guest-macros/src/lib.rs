//! The attribute macros behind `kami_guest`; use them through that crate.
//!
//! [`macro@kami_tool`] runs in stages, one module each:
//!
//! 1. `ast` reads the function and `attr` the attributes, on it and on its parameters;
//! 2. `valid` turns both into a `Tool`, or into every mistake it found, each at the user's token;
//! 3. `expand` writes the code that registers the tool;
//! 4. `fallback` writes the bare function when there were mistakes, so that the rest
//!    of the crate still finds it and one mistake gives one error.
//!
//! [`macro@kami_resource`] and [`macro@kami_prompt`] take the same way. What is different about them stands
//! in `resource` (with `template`) and in `prompt`, each from its keys to its code.
//!
//! [`macro@kami_type`] is small enough to live in one module.

#![deny(missing_docs)]

mod kind;

mod ast;
mod attr;
mod docs;
mod expand;
mod fallback;
mod suggest;
mod valid;

mod prompt;
mod resource;
mod template;
mod tool_type;

use proc_macro::TokenStream;
use syn::parse_macro_input;

use kind::Kind;

/// Makes a function a tool that an AI agent may call.
///
/// The function stays as it is and can be called and tested like any other.
/// What the model is told about it comes from the function itself:
///
/// * the tool's name is the function's name, its description the doc comment;
/// * each parameter is an argument, described by a doc comment on the parameter;
///   `Option<T>` makes it optional;
/// * the return type decides the shape of the result and its output schema.
///
/// A lone parameter whose type is a struct is the argument object itself:
/// the struct's fields are the arguments. Any `serde`, `schemars` or `kami`
/// attribute on the parameter turns it back into an argument like the others.
///
/// # Keys
///
/// | key | meaning |
/// |---|---|
/// | `name = "..."` | the tool's name: 1 to 64 of `A-Z a-z 0-9 _ -` |
/// | `title = "..."` | a name for people |
/// | `read_only` | the tool changes nothing |
/// | `destructive` | what the tool changes may be lost |
/// | `idempotent` | calling it twice with the same arguments changes no more than calling it once |
/// | `open_world` | the tool deals with things outside its own control, such as the web |
/// | `task` | the call may go on as a task, for clients that know tasks: they ask later what came of it |
/// | `task = "required"` | the same, and clients that know no tasks are refused |
/// | `task = "after-input"` | the same as `task`, from when the tool's first questions are answered |
/// | `crate = "path"` | where `kami_guest` is, if it was renamed |
///
/// The four hints are booleans; `read_only` is short for `read_only = true`.
///
/// # On parameters
///
/// `#[serde(...)]` and `#[schemars(...)]` work as on a struct's field.
/// `#[kami(default = EXPR)]` makes the argument optional and shows the default in the schema.
/// `#[kami(header = "Region")]` has clients that speak HTTP repeat the argument in a header of the request
/// (`Mcp-Param-Region`), for whoever routes or limits requests; it has to be text, an integer or a boolean.
///
/// A tool without a doc comment compiles with a warning, silenced by
/// `#[allow(deprecated)]` on the function.
#[proc_macro_attribute]
pub fn kami_tool(attributes: TokenStream, item: TokenStream) -> TokenStream {
    let attributes = attr::ToolAttributes::parse(attributes.into());
    run(item, Kind::Tool, |function| {
        let tool = valid::validate(function, attributes?)?;
        Ok(tool.map(|tool| expand::expand(function, &tool)))
    })
}

/// Makes a function a resource, or a template of many, that clients may read.
///
/// The function stays as it is and can be called and tested like any other. It gives `String` or
/// `&'static str` (text), `Vec<u8>` (bytes), a `Resource` or a `Vec` of them, or a `Result` of those. Its
/// doc comment describes the resource.
///
/// # URI templates
///
/// A URI with variables stands for all URIs that fit, and each variable is a parameter of the same name:
/// a `String`, or whatever else is read by `FromStr`. `{name}` is one segment of a path, `{+name}` any
/// text. Where several fit a URI, one without variables wins, and then the one with the most text.
///
/// What a variable holds comes from the client. It is percent-decoded, so that even one segment may
/// hold `/` or `..`: don't make a path of it unchecked.
///
/// # Keys
///
/// | key | meaning |
/// |---|---|
/// | `uri = "..."` | the URI or the URI template |
/// | `name = "..."` | what to call it; the function's name if left out |
/// | `title = "..."` | a name for people |
/// | `mime_type = "..."` | the media type, where what is returned has none of its own |
/// | `size = 1024` | size in bytes, not for a template |
/// | `audience = "user"` | for whom it is meant, `"user"` or `"assistant"` |
/// | `priority = 0.5` | how much it matters, from 0 to 1 |
/// | `last_modified = "..."` | when it last changed, as an ISO 8601 time |
/// | `crate = "path"` | where `kami_guest` is, if it was renamed |
///
/// # On parameters
///
/// `#[kami(complete = FUNCTION)]` suggests values, as on the parameters of a [`macro@kami_prompt`].
#[proc_macro_attribute]
pub fn kami_resource(attributes: TokenStream, item: TokenStream) -> TokenStream {
    let attributes = resource::ResourceAttributes::parse(attributes.into());
    run(item, Kind::Resource, |function| {
        let resource = resource::validate(function, attributes?)?;
        Ok(resource.map(|resource| resource::expand(function, &resource)))
    })
}

/// Makes a function a prompt: the beginning of a conversation that a person may pick.
///
/// The function stays as it is and can be called and tested like any other. It gives `String` or
/// `&'static str` (one message of the person), `Content`, `Message`, `Vec<Message>`, `Prompt`, or a `Result` of
/// those. Its doc comment describes the prompt.
///
/// A person fills in the arguments as texts: a parameter is a `String`, or whatever else is read by
/// `FromStr`. `Option<T>` may be left out. Doc comments on parameters describe them.
///
/// # Keys
///
/// | key | meaning |
/// |---|---|
/// | `name = "..."` | the prompt's name: 1 to 64 of `A-Z a-z 0-9 _ -` |
/// | `title = "..."` | a name for people |
/// | `crate = "path"` | where `kami_guest` is, if it was renamed |
///
/// # On parameters
///
/// | key of `#[kami(...)]` | meaning |
/// |---|---|
/// | `default = VALUE` | what it is if left out |
/// | `name = "..."` | what the argument is called |
/// | `title = "..."` | a name for people |
/// | `complete = ["...", ...]` | suggests those of a list that begin with what is typed |
/// | `complete = FUNCTION` | suggests what a function gives, `fn(&str) -> Vec<String>` |
///
/// Such a function may have a second parameter of type `&BTreeMap<String, String>`, with the
/// arguments that are settled already, and may return a `Result`. The first 100 suggestions are shown.
#[proc_macro_attribute]
pub fn kami_prompt(attributes: TokenStream, item: TokenStream) -> TokenStream {
    let attributes = prompt::PromptAttributes::parse(attributes.into());
    run(item, Kind::Prompt, |function| {
        let prompt = prompt::validate(function, attributes?)?;
        Ok(prompt.map(|prompt| prompt::expand(function, &prompt)))
    })
}

/// Takes an item the way that all functions take.
///
/// `expand` gives nothing where rustc is about to report a mistake of its own.
fn run(
    item: TokenStream,
    kind: Kind,
    expand: impl FnOnce(&ast::Function) -> syn::Result<Option<proc_macro2::TokenStream>>,
) -> TokenStream {
    let function = match ast::Function::from_item(item.into(), kind) {
        Ok(function) => function,
        Err(not_a_function) => return not_a_function.into(),
    };
    match expand(&function) {
        Ok(Some(expanded)) => expanded.into(),
        Ok(None) => fallback::function(&function).into(),
        Err(mistakes) => fallback::with_errors(&function, &mistakes).into(),
    }
}

/// Derives what a struct or enum needs to be an argument or a result of a tool.
///
/// It stands for `Serialize`, `Deserialize` and `JsonSchema`, taken from `kami_guest`,
/// so that the crate needs neither `serde` nor `schemars` among its dependencies.
/// `#[serde(...)]` and `#[schemars(...)]` attributes work as ever.
///
/// `#[kami_type(crate = "path")]` says where `kami_guest` is, if it was renamed.
#[proc_macro_attribute]
pub fn kami_type(attributes: TokenStream, item: TokenStream) -> TokenStream {
    tool_type::expand(attributes.into(), parse_macro_input!(item as tool_type::AnyItem)).into()
}
