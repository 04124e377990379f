//! The code that registers a tool: beside the function, never inside it.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Expr, ExprLit, Lit, PathArguments, Type};

use crate::ast::Function;
use crate::attr::{Hint, path_string};
use crate::docs::description;
use crate::fallback;
use crate::prompt::argument_name;
use crate::valid::{Parameter, Tool};

/// The function, the marker of its name, and the tool's entry in the registry.
pub fn expand(function: &Function, tool: &Tool) -> TokenStream {
    let private = private(tool);
    let item = fallback::function(function);
    let marker =
        marker(&format!("kami_tool_named_{}", tool.name.replace('-', "_dash_")), tool.name_span);
    let nudge = missing_docs_nudge(function, tool);
    let takes = takes(tool);
    let returns = returns(tool);
    let call = call(function, tool);

    let name = &tool.name;
    let title = option(tool.attributes.title.as_ref());
    let description = description(&tool.docs);
    let read_only = hint(tool.attributes.read_only);
    let destructive = hint(tool.attributes.destructive);
    let idempotent = hint(tool.attributes.idempotent);
    let open_world = hint(tool.attributes.open_world);
    let task = option(tool.attributes.task.as_ref());

    quote! {
        #item
        #marker
        const _: () = {
            #nudge
            #takes
            #returns
            #call
            #private::inventory::submit! {
                #private::Tool {
                    name: #name,
                    title: #title,
                    description: #description,
                    hints: #private::Hints {
                        read_only: #read_only,
                        destructive: #destructive,
                        idempotent: #idempotent,
                        open_world: #open_world,
                    },
                    task: #task,
                    input_schema: || __kami_takes().input_schema(),
                    output_schema: || #private::Return::output_schema(&__kami_returns()),
                    call: __kami_call,
                }
            }
        };
    }
}

fn private(tool: &Tool) -> TokenStream {
    let kami = &tool.kami;
    quote!(#kami::__private)
}

/// An item that no two functions can have both, as they can't both be found.
///
/// In one module the second is a redefinition. Across modules the symbol is
/// defined twice, which rustc reports when it generates code. Both point at the name.
pub fn marker(symbol: &str, span: Span) -> TokenStream {
    let span = span.resolved_at(Span::call_site());
    let ident = Ident::new(symbol, span);
    quote_spanned! {span=>
        #[doc(hidden)]
        #[allow(non_upper_case_globals)]
        #[unsafe(export_name = #symbol)]
        static #ident: u8 = 0;
    }
}

/// A use of a deprecated constant: the way for a macro to warn, and the user's to silence.
fn missing_docs_nudge(function: &Function, tool: &Tool) -> Option<TokenStream> {
    if !tool.docs.is_empty() {
        return None;
    }
    let allowed = function.attributes.iter().filter(|attribute| attribute.path().is_ident("allow"));
    let note = format!(
        "a model decides by the description whether to call `{}`: write a doc comment above it",
        tool.name
    );
    let missing = Ident::new("missing_doc_comment", tool.name_span);
    Some(quote! {
        #(#allowed)*
        const _: () = {
            #[deprecated(note = #note)]
            #[allow(non_upper_case_globals)]
            const missing_doc_comment: () = ();
            #missing
        };
    })
}

/// The struct whose fields are the parameters, and how it is read.
///
/// It is generic over the types of its plain fields: the derived code is then free of errors, and
/// an unfit type is one error where `fit` is told the types, in place of ten in what is derived.
fn takes(tool: &Tool) -> TokenStream {
    let private = private(tool);
    let serde = path_string(&tool.kami, "__private::serde");
    let schemars = path_string(&tool.kami, "__private::schemars");
    let flattened = tool.parameters.iter().any(|parameter| parameter.attributes.flattened);
    let strict = (!flattened).then(|| quote!(#[serde(deny_unknown_fields)]));
    let fields = tool.parameters.iter().enumerate().map(|(index, parameter)| {
        let Parameter { name, ty, attributes } = parameter;
        let docs = (!attributes.docs.is_empty()).then(|| {
            let description = description(&attributes.docs);
            quote!(#[doc = #description])
        });
        let passed_on = &attributes.field;
        let header = attributes
            .header
            .as_ref()
            .map(|header| quote!(#[schemars(extend("x-mcp-header" = #header))]));
        let default = attributes.default.as_ref().map(|_| {
            let function = default_function(index).to_string();
            quote!(#[serde(default = #function)])
        });
        let ty = match attributes.shape() {
            true => ty.to_token_stream(),
            false => type_parameter(index).to_token_stream(),
        };
        quote!(#docs #(#passed_on)* #header #default #name: #ty)
    });
    let defaults = tool
        .parameters
        .iter()
        .enumerate()
        .filter_map(|(index, parameter)| default_value(index, parameter));

    let headers = tool.parameters.iter().filter(|parameter| parameter.attributes.header.is_some());
    let headers = headers.map(|Parameter { ty, .. }| {
        quote_spanned!(ty.span()=> const _: () = #private::fits_header::<#ty>();)
    });

    let plain = || {
        let parameters = tool.parameters.iter().enumerate();
        parameters.filter(|(_, parameter)| !parameter.attributes.shape())
    };
    let generics: Vec<_> = plain().map(|(index, _)| type_parameter(index)).collect();
    let types: Vec<_> = plain().map(|(_, parameter)| &parameter.ty).collect();
    let wrapper = sole(tool).map(|Parameter { name, .. }| {
        quote! {
            impl<#(#generics)*> #private::Wrapper for __KamiArguments<#(#generics)*> {
                type Wrapped = #(#generics)*;
                fn unwrap(self) -> Self::Wrapped {
                    self.#name
                }
            }
        }
    });
    let (generic, concrete, conversion) = match &wrapper {
        Some(_) => (
            quote!(#(#generics)*),
            quote!(#(#types)*),
            quote!(sole::<__KamiArguments<#(#generics)*>>()),
        ),
        None => (
            quote!(__KamiArguments<#(#generics),*>),
            quote!(__KamiArguments<#(#types),*>),
            quote!(all()),
        ),
    };
    quote! {
        #[derive(#private::serde::Deserialize, #private::schemars::JsonSchema)]
        #[serde(crate = #serde)]
        #[schemars(crate = #schemars)]
        #strict
        #[allow(non_snake_case)]
        struct __KamiArguments<#(#generics),*> { #(#fields),* }
        #wrapper
        #(#defaults)*
        #(#headers)*

        fn __kami_takes() -> #private::Takes<#concrete> {
            fn fit<#(#generics: #private::ToolArgument),*>() -> #private::Takes<#generic> {
                #private::Takes::#conversion
            }
            fit::<#(#types),*>()
        }
    }
}

/// The function that gives the value of an argument that was left out.
pub fn default_value(index: usize, parameter: &Parameter) -> Option<TokenStream> {
    let value = parameter.attributes.default.as_ref()?;
    let function = default_function(index);
    let ty = &parameter.ty;
    // A literal's type is known to be `&str`; converting it spares the user a `.into()`.
    let value = match value {
        Expr::Lit(ExprLit { lit: Lit::Str(_), .. }) => quote!(::core::convert::Into::into(#value)),
        _ => value.to_token_stream(),
    };
    Some(quote!(fn #function() -> #ty { #value }))
}

/// What suggests values for arguments, as elements of a list.
pub fn completers(parameters: &[Parameter], private: &TokenStream) -> TokenStream {
    let completers = parameters.iter().filter_map(|parameter| {
        let complete = parameter.attributes.complete.as_ref()?;
        let (name, _) = argument_name(parameter);
        let run = quote_spanned!(complete.span()=> #private::complete(#complete, __kami_typed, __kami_settled));
        Some(quote! {
            #private::Completer { argument: #name, complete: |__kami_typed, __kami_settled| #run }
        })
    });
    quote!(#(#completers),*)
}

pub fn default_function(index: usize) -> Ident {
    format_ident!("__kami_default_{index}")
}

fn type_parameter(index: usize) -> Ident {
    format_ident!("__Kami{index}")
}

/// How the return type becomes a result; the one place where an unfit type is an error.
fn returns(tool: &Tool) -> TokenStream {
    let private = private(tool);
    let output = &tool.output;
    let (success_span, error_span) = spans_of_result(output);
    let success = quote_spanned!(success_span=> whole.on_success().success());
    let whole = quote_spanned!(error_span=> whole.returns(success));
    quote! {
        fn __kami_returns() -> impl #private::Return<#output> {
            #[allow(unused_imports)]
            use #private::{Infallible as _, Structured as _};
            let whole = #private::Probe::<#output>::new();
            let success = #success;
            #whole
        }
    }
}

/// Where to point when a success or an error is unfit: into `Result<T, E>` if it is written so.
fn spans_of_result(output: &Type) -> (Span, Span) {
    if let Type::Path(path) = output
        && let Some(segment) = path.path.segments.last()
        && segment.ident == "Result"
        && let PathArguments::AngleBracketed(arguments) = &segment.arguments
        && let (Some(success), Some(error)) = (arguments.args.first(), arguments.args.last())
    {
        return (success.span(), error.span());
    }
    (output.span(), output.span())
}

fn call(function: &Function, tool: &Tool) -> TokenStream {
    let private = private(tool);
    let target = &function.signature.ident;
    let names: Vec<_> = tool.parameters.iter().map(|parameter| &parameter.name).collect();
    let locals: Vec<_> =
        (0..names.len()).map(|index| format_ident!("__kami_argument_{index}")).collect();
    let pattern = match sole(tool) {
        Some(_) => quote!(#(#locals)*),
        None => quote!(__KamiArguments { #(#names: #locals),* }),
    };
    quote! {
        #[allow(deprecated, clippy::unit_arg)]
        fn __kami_call(
            __kami_entry: &#private::Call<'_>,
        ) -> ::core::result::Result<#private::Reply, #private::Error> {
            let #pattern = __kami_takes().read(__kami_entry)?;
            #private::Return::outcome(&__kami_returns(), #target(#(#locals),*))
        }
    }
}

/// The parameter that may be the argument object itself, if its type turns out to be a struct.
fn sole(tool: &Tool) -> Option<&Parameter> {
    match tool.parameters.as_slice() {
        [parameter] if !parameter.attributes.shape() => Some(parameter),
        _ => None,
    }
}

fn hint(hint: Option<Hint>) -> TokenStream {
    option(hint.map(|hint| hint.value).as_ref())
}

pub fn option(value: Option<&impl ToTokens>) -> TokenStream {
    match value {
        Some(value) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    }
}
