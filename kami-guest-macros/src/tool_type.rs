//! `#[kami_type]`: three derives with the paths that make them work through `kami_guest`.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::Item;
use syn::parse::{Parse, ParseStream};

use crate::attr::{crate_path, path_string};

/// Any item, kept as it was written.
pub struct AnyItem(Item);

impl Parse for AnyItem {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        input.parse().map(Self)
    }
}

pub fn expand(attributes: TokenStream, AnyItem(item): AnyItem) -> TokenStream {
    expand_or_refuse(attributes, &item).unwrap_or_else(|mistake| {
        let mistake = mistake.to_compile_error();
        quote!(#item #mistake)
    })
}

fn expand_or_refuse(attributes: TokenStream, item: &Item) -> syn::Result<TokenStream> {
    if !matches!(item, Item::Struct(_) | Item::Enum(_)) {
        return Err(syn::Error::new_spanned(
            item.to_token_stream().into_iter().next(),
            "`#[kami_type]` goes on a struct or an enum",
        ));
    }
    let kami = crate_path(attributes)?;
    let serde = path_string(&kami, "serde");
    let schemars = path_string(&kami, "schemars");
    Ok(quote! {
        #[derive(#kami::serde::Serialize, #kami::serde::Deserialize, #kami::schemars::JsonSchema)]
        #[serde(crate = #serde)]
        #[schemars(crate = #schemars)]
        #item
    })
}
