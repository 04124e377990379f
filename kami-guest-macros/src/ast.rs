//! The function as written: everything but its body is parsed.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Item, Signature, Visibility};

use crate::kind::Kind;

/// A function with its body left alone, so that a half-typed body still makes a tool.
#[derive(Clone)]
pub struct Function {
    pub attributes: Vec<Attribute>,
    pub visibility: Visibility,
    pub signature: Signature,
    pub body: TokenStream,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attributes = input.call(Attribute::parse_outer)?;
        let visibility = input.parse()?;
        let signature = input.parse()?;
        if !input.peek(syn::token::Brace) {
            return Err(input.error("this needs a function body"));
        }
        Ok(Self { attributes, visibility, signature, body: input.parse()? })
    }
}

impl Function {
    /// Its own doc comments.
    pub fn docs(&self) -> Vec<Attribute> {
        let docs = self.attributes.iter().filter(|attribute| attribute.path().is_ident("doc"));
        docs.cloned().collect()
    }

    /// Reads an item; the error is a finished expansion: the item as it was plus one diagnostic.
    pub fn from_item(item: TokenStream, becomes: Kind) -> Result<Self, TokenStream> {
        syn::parse2(item.clone()).map_err(|error| {
            let error = match syn::parse2::<Item>(item.clone()).ok().as_ref().and_then(kind) {
                Some((kind, span)) => syn::Error::new(
                    span,
                    format!("`{}` goes on a function, not on {kind}", becomes.attribute()),
                ),
                None => error,
            }
            .into_compile_error();
            quote!(#item #error)
        })
    }
}

/// What an item is called, and where it says so; nothing if it is a function.
fn kind(item: &Item) -> Option<(&'static str, Span)> {
    let (kind, token): (_, &dyn ToTokens) = match item {
        Item::Struct(item) => ("a struct", &item.struct_token),
        Item::Enum(item) => ("an enum", &item.enum_token),
        Item::Union(item) => ("a union", &item.union_token),
        Item::Impl(item) => ("an impl block: mark a free function instead", &item.impl_token),
        Item::Trait(item) => ("a trait", &item.trait_token),
        Item::Mod(item) => ("a module: mark each function in it instead", &item.mod_token),
        Item::Const(item) => ("a constant", &item.const_token),
        Item::Static(item) => ("a static", &item.static_token),
        Item::Type(item) => ("a type alias", &item.type_token),
        Item::Use(item) => ("an import", &item.use_token),
        _ => return None,
    };
    let span = token.to_token_stream().into_iter().next()?.span();
    Some((kind, span))
}
