//! `#[kami_resource]`: from what was written to an entry in the registry.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Lit, LitStr, Path, ReturnType};

use crate::ast::Function;
use crate::attr::{Entry, Mistakes, each_entry, kami};
use crate::docs::description;
use crate::expand::{completers, marker, option};
use crate::fallback;
use crate::kind::Kind;
use crate::suggest::nearest;
use crate::template::{self, Part};
use crate::valid::{self, Parameter};

/// Everything `#[kami_resource(...)]` may say.
#[derive(Default)]
pub struct ResourceAttributes {
    uri: Option<LitStr>,
    name: Option<LitStr>,
    title: Option<LitStr>,
    mime_type: Option<LitStr>,
    size: Option<Lit>,
    audience: Option<LitStr>,
    priority: Option<Lit>,
    last_modified: Option<LitStr>,
    krate: Option<Path>,
}

const KEYS: [&str; 9] =
    ["uri", "name", "title", "mime_type", "size", "audience", "priority", "last_modified", "crate"];

impl ResourceAttributes {
    /// Reads all entries and reports every one that is wrong.
    pub fn parse(tokens: TokenStream) -> syn::Result<Self> {
        let mut attributes = Self::default();
        each_entry(tokens, |key, entry| attributes.set(key, entry))?;
        Ok(attributes)
    }

    fn set(&mut self, key: &str, entry: &Entry) -> syn::Result<()> {
        match key {
            "uri" => self.uri = Some(entry.string("the resource's URI")?),
            "name" => self.name = Some(entry.string("the resource's name")?),
            "title" => self.title = Some(entry.string("a name for people")?),
            "mime_type" => self.mime_type = Some(entry.string("a media type")?),
            "size" => match entry.number("a number of bytes", "1024")? {
                bytes @ Lit::Int(_) => self.size = Some(bytes),
                _ => return Err(entry.wrong("there are no parts of a byte")),
            },
            "audience" => self.audience = Some(audience(entry)?),
            "priority" => self.priority = Some(priority(entry)?),
            "last_modified" => self.last_modified = Some(entry.string("an ISO 8601 time")?),
            "crate" => self.krate = Some(entry.string("the path of `kami_guest`")?.parse()?),
            _ => return Err(entry.unknown(&KEYS)),
        }
        Ok(())
    }
}

fn audience(entry: &Entry) -> syn::Result<LitStr> {
    let role = entry.string("for whom it is meant")?;
    match role.value().as_str() {
        "user" | "assistant" => Ok(role),
        _ => {
            Err(entry
                .wrong("the audience is `\"user\"` or `\"assistant\"`; it is both if left out"))
        }
    }
}

fn priority(entry: &Entry) -> syn::Result<Lit> {
    let priority = entry.number("how much it matters", "0.5")?;
    let value: f64 = match &priority {
        Lit::Int(value) => value.base10_parse()?,
        Lit::Float(value) => value.base10_parse()?,
        _ => unreachable!("`number` gives nothing else"),
    };
    match (0.0..=1.0).contains(&value) {
        true => Ok(priority),
        false => Err(entry.wrong("a priority is from 0 (optional) to 1 (required)")),
    }
}

/// A resource with nothing left to check.
pub struct Resource {
    uri: LitStr,
    parts: Vec<Part>,
    name: String,
    parameters: Vec<Parameter>,
    attributes: ResourceAttributes,
    kami: Path,
}

/// Checks everything and reports all mistakes at once; `None` where rustc reports one of its own.
pub fn validate(
    function: &Function,
    mut attributes: ResourceAttributes,
) -> syn::Result<Option<Resource>> {
    let mut mistakes = Mistakes::default();
    valid::check_signature(&function.signature, Kind::Resource, &mut mistakes);
    let parameters = valid::parameters(function, Kind::Resource, &mut mistakes);
    let Some(uri) = attributes.uri.take() else {
        mistakes.add(
            Span::call_site(),
            "a resource has a URI: write `#[kami_resource(uri = \"note://today\")]`",
        );
        return mistakes.finish(None);
    };
    let Some(parts) = mistakes.collect(template::parse(&uri)) else {
        return mistakes.finish(None);
    };
    check_variables(&uri, &parts, &parameters, function, &mut mistakes);
    if let Some(size) = &attributes.size
        && parts.iter().any(|part| matches!(part, Part::Variable { .. }))
    {
        mistakes.add(size.span(), "a template stands for many resources, which have no one size");
    }
    let clash = valid::name_taken(&parameters);
    let resource = Resource {
        name: valid::name(function, attributes.name.as_ref()).0,
        kami: kami(attributes.krate.as_ref()),
        uri,
        parts,
        parameters,
        attributes,
    };
    mistakes.finish((!clash).then_some(resource))
}

/// Every variable is a parameter, and every parameter a variable.
fn check_variables(
    uri: &LitStr,
    parts: &[Part],
    parameters: &[Parameter],
    function: &Function,
    mistakes: &mut Mistakes,
) {
    let variables: Vec<&str> = parts
        .iter()
        .filter_map(|part| match part {
            Part::Literal(_) => None,
            Part::Variable { name, .. } => Some(name.as_str()),
        })
        .collect();
    let names: Vec<String> =
        parameters.iter().map(|parameter| parameter.name.unraw().to_string()).collect();
    let spare: Vec<&str> = variables
        .iter()
        .copied()
        .filter(|variable| !names.iter().any(|name| name == variable))
        .collect();
    let mut meant: Vec<&str> = Vec::new();
    for (parameter, name) in parameters.iter().zip(&names) {
        if variables.contains(&name.as_str()) {
            continue;
        }
        let help = match nearest(name, &spare) {
            Some(variable) => {
                meant.push(variable);
                format!("did you mean `{variable}`?")
            }
            None => format!("a resource knows only its URI: write `{{{name}}}` into it"),
        };
        mistakes.add(
            parameter.name.span(),
            format!("`{name}` is no variable of `{}`: {help}", uri.value()),
        );
    }
    // A parameter that couldn't be read may be the one that is missed here.
    if parameters.len() < function.signature.inputs.len() {
        return;
    }
    for variable in spare.iter().filter(|variable| !meant.contains(variable)) {
        mistakes.add(
            uri.span(),
            format!("no parameter takes the variable `{variable}`: add `{variable}: String`"),
        );
    }
}

/// The function, the marker of its URI, and the resource's entry in the registry.
pub fn expand(function: &Function, resource: &Resource) -> TokenStream {
    let Resource { uri, parts, name, parameters, attributes, kami } = resource;
    let private = quote!(#kami::__private);
    let item = fallback::function(function);
    let marker = marker(&format!("kami_resource_at_{}", symbol(&uri.value())), uri.span());
    let read = read(function, resource, &private);
    let described = parts.iter().map(|part| match part {
        Part::Literal(text) => quote!(#private::Part::Literal(#text)),
        Part::Variable { name, reserved } => {
            quote!(#private::Part::Variable { name: #name, reserved: #reserved })
        }
    });
    let title = option(attributes.title.as_ref());
    let description = description(&function.docs());
    let mime_type = option(attributes.mime_type.as_ref());
    let size = option(attributes.size.as_ref());
    let audience = option(attributes.audience.as_ref());
    let priority = option(attributes.priority.as_ref().map(|value| quote!(#value as f64)).as_ref());
    let last_modified = option(attributes.last_modified.as_ref());
    let completers = completers(parameters, &private);
    quote! {
        #item
        #marker
        const _: () = {
            #read
            #private::inventory::submit! {
                #private::ResourceFunction {
                    uri: #uri,
                    parts: &[#(#described),*],
                    name: #name,
                    title: #title,
                    description: #description,
                    mime_type: #mime_type,
                    size: #size,
                    audience: #audience,
                    priority: #priority,
                    last_modified: #last_modified,
                    completers: &[#completers],
                    read: __kami_read,
                    served_by: &#private::RESOURCES,
                }
            }
        };
    }
}

fn read(function: &Function, resource: &Resource, private: &TokenStream) -> TokenStream {
    let target = &function.signature.ident;
    let variables: Vec<&str> = resource
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::Literal(_) => None,
            Part::Variable { name, .. } => Some(name.as_str()),
        })
        .collect();
    let arguments = resource.parameters.iter().map(|Parameter { name, ty, .. }| {
        let name = name.unraw().to_string();
        let index = variables.iter().position(|variable| *variable == name);
        let index = index.expect("a valid resource has a variable for each parameter");
        quote_spanned!(ty.span()=> __kami_entry.variable::<#ty>(#index, #name)?)
    });
    let span = match &function.signature.output {
        ReturnType::Default => target.span(),
        ReturnType::Type(_, ty) => ty.span(),
    };
    let returned = quote_spanned!(span=> __kami_returned);
    quote! {
        #[allow(deprecated, clippy::let_unit_value)]
        fn __kami_read(
            __kami_entry: &#private::Read<'_>,
        ) -> ::core::result::Result<::std::vec::Vec<#private::Resource>, #private::Error> {
            let __kami_returned = #target(#(#arguments),*);
            __kami_entry.contents(#returned)
        }
    }
}

/// A URI as a part of a symbol's name: what isn't a letter or a digit becomes its number.
fn symbol(uri: &str) -> String {
    uri.chars()
        .map(|c| match c.is_ascii_alphanumeric() {
            true => c.to_string(),
            false => format!("_{:x}_", u32::from(c)),
        })
        .collect()
}
