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
//! [`macro@kami_type`] is small enough to live in one module.

#![deny(missing_docs)]

mod ast;
mod attr;
mod expand;
mod fallback;
mod suggest;
mod tool_type;
mod valid;

use proc_macro::TokenStream;
use syn::parse_macro_input;

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
/// | `crate = "path"` | where `kami_guest` is, if it was renamed |
///
/// The four hints are booleans; `read_only` is short for `read_only = true`.
///
/// # On parameters
///
/// `#[serde(...)]` and `#[schemars(...)]` work as on a struct's field.
/// `#[kami(default = EXPR)]` makes the argument optional and shows the default in the schema.
///
/// A tool without a doc comment compiles with a warning, silenced by
/// `#[allow(deprecated)]` on the function.
#[proc_macro_attribute]
pub fn kami_tool(attributes: TokenStream, item: TokenStream) -> TokenStream {
    let function = match ast::Function::from_item(item.into()) {
        Ok(function) => function,
        Err(not_a_function) => return not_a_function.into(),
    };
    let tool = attr::ToolAttributes::parse(attributes.into())
        .and_then(|attributes| valid::validate(&function, attributes));
    match tool {
        Ok(Some(tool)) => expand::expand(&function, &tool).into(),
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
