//! `#[kami_prompt]`: from what was written to an entry in the registry.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{LitStr, Path, ReturnType};

use crate::ast::Function;
use crate::attr::{Entry, Mistakes, each_entry, kami};
use crate::docs::description;
use crate::expand::{completers, default_function, default_value, marker, option};
use crate::fallback;
use crate::kind::Kind;
use crate::valid::{self, Parameter};

/// Everything `#[kami_prompt(...)]` may say.
#[derive(Default)]
pub struct PromptAttributes {
    name: Option<LitStr>,
    title: Option<LitStr>,
    krate: Option<Path>,
}

impl PromptAttributes {
    /// Reads all entries and reports every one that is wrong.
    pub fn parse(tokens: TokenStream) -> syn::Result<Self> {
        let mut attributes = Self::default();
        each_entry(tokens, |key, entry| attributes.set(key, entry))?;
        Ok(attributes)
    }

    fn set(&mut self, key: &str, entry: &Entry) -> syn::Result<()> {
        match key {
            "name" => self.name = Some(entry.string("the prompt's name")?),
            "title" => self.title = Some(entry.string("a name for people")?),
            "crate" => self.krate = Some(entry.string("the path of `kami_guest`")?.parse()?),
            _ => return Err(entry.unknown(&["name", "title", "crate"])),
        }
        Ok(())
    }
}

/// A prompt with nothing left to check.
pub struct Prompt {
    name: String,
    name_span: Span,
    title: Option<LitStr>,
    parameters: Vec<Parameter>,
    kami: Path,
}

/// Checks everything and reports all mistakes at once; `None` where rustc reports one of its own.
pub fn validate(function: &Function, attributes: PromptAttributes) -> syn::Result<Option<Prompt>> {
    let mut mistakes = Mistakes::default();
    valid::check_signature(&function.signature, Kind::Prompt, &mut mistakes);
    let (name, name_span) = valid::name(function, attributes.name.as_ref());
    valid::check_name(&name, name_span, Kind::Prompt, &mut mistakes);
    let parameters = valid::parameters(function, Kind::Prompt, &mut mistakes);
    let clash = valid::name_taken(&parameters);
    if !clash {
        check_arguments(&parameters, &mut mistakes);
    }
    let prompt = Prompt {
        name,
        name_span,
        title: attributes.title,
        parameters,
        kami: kami(attributes.krate.as_ref()),
    };
    mistakes.finish((!clash).then_some(prompt))
}

fn check_arguments(parameters: &[Parameter], mistakes: &mut Mistakes) {
    let mut seen: Vec<String> = Vec::new();
    for parameter in parameters {
        let (name, span) = argument_name(parameter);
        if name.is_empty() {
            mistakes.add(span, "an argument's name can't be empty");
        } else if seen.contains(&name) {
            mistakes.add(span, format!("another argument is called `{name}` too"));
        }
        seen.push(name);
    }
}

/// What an argument is called on the wire, and where that is written.
pub fn argument_name(parameter: &Parameter) -> (String, Span) {
    match &parameter.attributes.name {
        Some(name) => (name.value(), name.span()),
        None => (parameter.name.unraw().to_string(), parameter.name.span()),
    }
}

/// The function, the marker of its name, and the prompt's entry in the registry.
pub fn expand(function: &Function, prompt: &Prompt) -> TokenStream {
    let Prompt { name, name_span, title, parameters, kami } = prompt;
    let private = quote!(#kami::__private);
    let item = fallback::function(function);
    let symbol = format!("kami_prompt_named_{}", name.replace('-', "_dash_"));
    let marker = marker(&symbol, *name_span);
    let arguments = arguments(parameters, &private);
    let get = get(function, parameters, &private);
    let title = option(title.as_ref());
    let description = description(&function.docs());
    let completers = completers(parameters, &private);
    quote! {
        #item
        #marker
        const _: () = {
            #arguments
            #get
            #private::inventory::submit! {
                #private::PromptFunction {
                    name: #name,
                    title: #title,
                    description: #description,
                    arguments: __kami_arguments,
                    completers: &[#completers],
                    get: __kami_get,
                    served_by: &#private::PROMPTS,
                }
            }
        };
    }
}

/// What a person is told about the arguments, and how each is read; the one place where an unfit
/// type is an error.
fn arguments(parameters: &[Parameter], private: &TokenStream) -> TokenStream {
    let readers = parameters.iter().enumerate().map(|(index, Parameter { ty, .. })| {
        let reader = format_ident!("__kami_reader_{index}");
        // rustc blames the path for what is wrong with the type in it.
        let path = private.clone().into_iter().map(|mut token| {
            token.set_span(ty.span());
            token
        });
        let path: TokenStream = path.collect();
        let read = quote_spanned!(ty.span()=> #path::Probe::<#ty>::new().argument());
        quote! {
            fn #reader() -> #private::Reader<#ty> {
                #[allow(unused_imports)]
                use #private::Required as _;
                #read
            }
        }
    });
    let defaults = parameters
        .iter()
        .enumerate()
        .filter_map(|(index, parameter)| default_value(index, parameter));
    let described = parameters.iter().enumerate().map(|(index, parameter)| {
        let reader = format_ident!("__kami_reader_{index}");
        let (name, _) = argument_name(parameter);
        let title = option(parameter.attributes.title.as_ref());
        let description = description(&parameter.attributes.docs);
        let required = match &parameter.attributes.default {
            Some(_) => quote!(false),
            None => quote!(#reader().is_required()),
        };
        quote! {
            #private::Argument {
                name: #name,
                title: #title,
                description: #description,
                required: #required,
            }
        }
    });
    quote! {
        #(#readers)*
        #(#defaults)*
        fn __kami_arguments() -> ::std::vec::Vec<#private::Argument> {
            ::std::vec![#(#described),*]
        }
    }
}

fn get(function: &Function, parameters: &[Parameter], private: &TokenStream) -> TokenStream {
    let target = &function.signature.ident;
    let arguments = parameters.iter().enumerate().map(|(index, parameter)| {
        let reader = format_ident!("__kami_reader_{index}");
        let (name, _) = argument_name(parameter);
        match &parameter.attributes.default {
            Some(_) => {
                let default = default_function(index);
                quote!(__kami_entry.argument_or(#name, &#reader(), #default)?)
            }
            None => quote!(__kami_entry.argument(#name, &#reader())?),
        }
    });
    let span = match &function.signature.output {
        ReturnType::Default => target.span(),
        ReturnType::Type(_, ty) => ty.span(),
    };
    let returned = quote_spanned!(span=> __kami_returned);
    quote! {
        #[allow(deprecated, clippy::let_unit_value)]
        fn __kami_get(
            __kami_entry: &#private::Get,
        ) -> ::core::result::Result<#private::Prompt, #private::Error> {
            let __kami_returned = #target(#(#arguments),*);
            #private::PromptOutput::prompt(#returned)
        }
    }
}
