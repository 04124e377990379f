//! The function alone, for the rest of the crate to find.

use proc_macro2::TokenStream;
use quote::quote;
use syn::FnArg;

use crate::ast::Function;
use crate::attr::is_consumed;

/// The function as rustc takes it: without the attributes that only the macro understands.
pub fn function(function: &Function) -> TokenStream {
    let Function { attributes, visibility, signature, body } = function;
    let mut signature = signature.clone();
    for input in &mut signature.inputs {
        let attributes = match input {
            FnArg::Receiver(receiver) => &mut receiver.attrs,
            FnArg::Typed(typed) => &mut typed.attrs,
        };
        attributes.retain(|attribute| !is_consumed(attribute));
    }
    quote!(#(#attributes)* #visibility #signature #body)
}

/// The function together with the mistakes found in it.
pub fn with_errors(function: &Function, mistakes: &syn::Error) -> TokenStream {
    let mistakes = mistakes.to_compile_error();
    let mut function = function.clone();
    // rustc would refuse `...` once more, and in terms that don't help here.
    function.signature.variadic = None;
    let function = self::function(&function);
    quote!(#function #mistakes)
}
