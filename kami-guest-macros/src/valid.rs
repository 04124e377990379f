//! From what was written to a `Tool` that can be generated, or to every mistake in it.

use proc_macro2::{Ident, Span};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::visit_mut::VisitMut;
use syn::{
    Attribute, FnArg, Pat, PatType, Path, ReturnType, Signature, Type, TypeImplTrait, TypePtr,
    TypeReference, parse_quote,
};

use crate::ast::Function;
use crate::attr::{Mistakes, ParameterAttributes, ToolAttributes};

/// A tool with nothing left to check.
pub struct Tool {
    pub name: String,
    /// Where the name was written: the `name` key, or the function's own name.
    pub name_span: Span,
    pub docs: Vec<Attribute>,
    pub parameters: Vec<Parameter>,
    pub output: Type,
    pub attributes: ToolAttributes,
    pub kami: Path,
}

/// One argument of a tool.
pub struct Parameter {
    pub name: Ident,
    pub ty: Type,
    pub attributes: ParameterAttributes,
}

/// Checks everything and reports all mistakes at once.
///
/// `None` means that rustc is about to report a mistake of its own and the tool had better be left out.
pub fn validate(function: &Function, attributes: ToolAttributes) -> syn::Result<Option<Tool>> {
    let mut mistakes = Mistakes::default();
    check_signature(&function.signature, &mut mistakes);
    check_hints(&attributes, &mut mistakes);
    let (name, name_span) = match &attributes.name {
        Some(name) => (name.value(), name.span()),
        None => {
            let ident = &function.signature.ident;
            (ident.unraw().to_string(), ident.span())
        }
    };
    check_name(&name, name_span, &mut mistakes);

    let mut parameters: Vec<Parameter> = Vec::new();
    let mut name_taken = false;
    for input in &function.signature.inputs {
        let parameter = match input {
            FnArg::Receiver(receiver) => {
                mistakes.add(
                    receiver.self_token.span,
                    "a tool is a free function and has no `self`: keep what it needs in its arguments",
                );
                continue;
            }
            FnArg::Typed(input) => mistakes.collect(parameter(input)),
        };
        if let Some(parameter) = parameter {
            name_taken |= parameters.iter().any(|other| other.name == parameter.name);
            parameters.push(parameter);
        }
    }

    let tool = Tool {
        name,
        name_span,
        docs: function
            .attributes
            .iter()
            .filter(|attribute| attribute.path().is_ident("doc"))
            .cloned()
            .collect(),
        parameters,
        output: match &function.signature.output {
            ReturnType::Default => parse_quote!(()),
            ReturnType::Type(_, ty) => (**ty).clone(),
        },
        kami: attributes.kami(),
        attributes,
    };
    mistakes.finish((!name_taken).then_some(tool))
}

fn check_signature(signature: &Signature, mistakes: &mut Mistakes) {
    if let Some(token) = &signature.asyncness {
        mistakes.add(
            token.span,
            "a tool can't be `async`: each call has a sandbox to itself and may block",
        );
    }
    if let Some(token) = &signature.unsafety {
        mistakes
            .add(token.span, "a tool can't be `unsafe`: the model that calls it keeps no promises");
    }
    if let Some(abi) = &signature.abi {
        mistakes.add(abi.extern_token.span, "a tool has no `extern` ABI: `kami_guest` exports it");
    }
    if let Some(variadic) = &signature.variadic {
        mistakes.add(variadic.dots.span(), "a tool can't be variadic: take a `Vec<T>`");
    }
    if !signature.generics.params.is_empty() {
        mistakes.add(
            signature.generics.params.span(),
            "a tool can't be generic: its schema is made from its types; write them out",
        );
    }
    if let ReturnType::Type(_, ty) = &signature.output
        && let Some(span) = find_impl_trait(ty)
    {
        mistakes.add(
            span,
            "a tool can't return `impl Trait`: its output schema is made from its type; write it out",
        );
    }
}

fn check_hints(attributes: &ToolAttributes, mistakes: &mut Mistakes) {
    if let (Some(read_only), Some(destructive)) = (attributes.read_only, attributes.destructive)
        && read_only.value
        && destructive.value
    {
        mistakes.add(
            destructive.span,
            "`destructive` contradicts `read_only`: a tool that changes nothing destroys nothing",
        );
    }
}

fn check_name(name: &str, span: Span, mistakes: &mut Mistakes) {
    const RULE: &str = "a tool's name is 1 to 64 of `A-Z a-z 0-9 _ -`";
    let wrong = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if let Some(character) = name.chars().find(wrong) {
        mistakes.add(span, format!("{RULE}: this one has {character:?} in it"));
    } else if name.is_empty() {
        mistakes.add(span, format!("{RULE}: this one is empty"));
    } else if name.len() > 64 {
        mistakes.add(span, format!("{RULE}: this one has {}", name.len()));
    }
}

fn parameter(input: &PatType) -> syn::Result<Parameter> {
    let mut mistakes = Mistakes::default();
    let name = mistakes.collect(parameter_name(&input.pat));
    let attributes = mistakes.collect(ParameterAttributes::parse(&input.attrs));
    check_type(&input.ty, &mut mistakes);
    let parameter = name.zip(attributes).map(|(name, attributes)| Parameter {
        name,
        ty: (*input.ty).clone(),
        attributes,
    });
    mistakes
        .finish(parameter)
        .map(|parameter| parameter.expect("a parameter without mistakes is complete"))
}

fn parameter_name(pattern: &Pat) -> syn::Result<Ident> {
    let message = match pattern {
        Pat::Ident(pattern) if pattern.by_ref.is_none() && pattern.subpat.is_none() => {
            return Ok(pattern.ident.clone());
        }
        Pat::Wild(_) => "give this parameter a name: the model fills it in by name",
        _ => "give this parameter a plain name, and take it apart in the body",
    };
    Err(syn::Error::new_spanned(pattern, message))
}

/// Refuses what can't be read from JSON whatever traits it implements.
fn check_type(ty: &Type, mistakes: &mut Mistakes) {
    struct Impossible<'m>(&'m mut Mistakes);
    impl VisitMut for Impossible<'_> {
        fn visit_type_reference_mut(&mut self, ty: &mut TypeReference) {
            self.0.collect::<()>(Err(syn::Error::new_spanned(
                &*ty,
                format!(
                    "a tool owns its arguments: use `{}`",
                    owned(&ty.elem).unwrap_or_else(|| printed(&ty.elem))
                ),
            )));
        }
        fn visit_type_impl_trait_mut(&mut self, ty: &mut TypeImplTrait) {
            self.0.add(
                ty.impl_token.span,
                "a tool can't take `impl Trait`: its schema is made from its types; write this one out",
            );
        }
        fn visit_type_ptr_mut(&mut self, ty: &mut TypePtr) {
            self.0.collect::<()>(Err(syn::Error::new_spanned(
                &*ty,
                "a raw pointer can't be an argument of a tool",
            )));
        }
    }
    Impossible(mistakes).visit_type_mut(&mut ty.clone());
}

fn find_impl_trait(ty: &Type) -> Option<Span> {
    struct Find(Option<Span>);
    impl VisitMut for Find {
        fn visit_type_impl_trait_mut(&mut self, ty: &mut TypeImplTrait) {
            self.0.get_or_insert(ty.impl_token.span);
        }
    }
    let mut find = Find(None);
    find.visit_type_mut(&mut ty.clone());
    find.0
}

/// The owned counterpart of a type that is mostly seen behind a reference.
fn owned(behind: &Type) -> Option<String> {
    match behind {
        Type::Slice(slice) => Some(format!("Vec<{}>", printed(&slice.elem))),
        Type::Path(path) => match path.path.segments.last()?.ident.to_string().as_str() {
            "str" => Some("String".to_owned()),
            "Path" => Some("PathBuf".to_owned()),
            "OsStr" => Some("OsString".to_owned()),
            "CStr" => Some("CString".to_owned()),
            _ => None,
        },
        _ => None,
    }
}

fn printed(ty: &Type) -> String {
    ty.to_token_stream()
        .to_string()
        .replace(" :: ", "::")
        .replace(" < ", "<")
        .replace("< ", "<")
        .replace(" >", ">")
        .replace(" ,", ",")
}
