//! From what was written to a `Tool` that can be generated, or to every mistake in it.

use proc_macro2::{Ident, Span};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::visit_mut::VisitMut;
use syn::{
    Attribute, FnArg, LitStr, Pat, PatType, Path, ReturnType, Signature, Type, TypeImplTrait,
    TypePtr, TypeReference, parse_quote,
};

use crate::ast::Function;
use crate::attr::{Mistakes, ParameterAttributes, ToolAttributes, kami};
use crate::kind::Kind;

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
    check_signature(&function.signature, Kind::Tool, &mut mistakes);
    check_hints(&attributes, &mut mistakes);
    let (name, name_span) = name(function, attributes.name.as_ref());
    check_name(&name, name_span, Kind::Tool, &mut mistakes);
    let parameters = parameters(function, Kind::Tool, &mut mistakes);
    check_headers(&parameters, &mut mistakes);
    let clash = name_taken(&parameters);

    let tool = Tool {
        name,
        name_span,
        docs: function.docs(),
        parameters,
        output: output(function),
        kami: kami(attributes.krate.as_ref()),
        attributes,
    };
    mistakes.finish((!clash).then_some(tool))
}

/// What is called: what its key says, or the function's own name; and where it says so.
pub fn name(function: &Function, key: Option<&LitStr>) -> (String, Span) {
    match key {
        Some(name) => (name.value(), name.span()),
        None => {
            let ident = &function.signature.ident;
            (ident.unraw().to_string(), ident.span())
        }
    }
}

/// What the function returns.
pub fn output(function: &Function) -> Type {
    match &function.signature.output {
        ReturnType::Default => parse_quote!(()),
        ReturnType::Type(_, ty) => (**ty).clone(),
    }
}

/// All parameters that are one.
pub fn parameters(function: &Function, kind: Kind, mistakes: &mut Mistakes) -> Vec<Parameter> {
    let mut parameters = Vec::new();
    for input in &function.signature.inputs {
        match input {
            FnArg::Receiver(receiver) => mistakes.add(
                receiver.self_token.span,
                format!(
                    "{} is a free function and has no `self`: keep what it needs in its arguments",
                    kind.noun()
                ),
            ),
            FnArg::Typed(input) => parameters.extend(mistakes.collect(parameter(input, kind))),
        }
    }
    parameters
}

/// Whether two parameters have one name, which rustc reports by itself.
pub fn name_taken(parameters: &[Parameter]) -> bool {
    let taken =
        |index: usize| parameters[..index].iter().any(|other| other.name == parameters[index].name);
    (0..parameters.len()).any(taken)
}

/// Refuses what no host can run, or needs no promise for.
pub fn check_signature(signature: &Signature, kind: Kind, mistakes: &mut Mistakes) {
    let noun = kind.noun();
    if let Some(token) = &signature.asyncness {
        mistakes.add(
            token.span,
            format!("{noun} can't be `async`: each call has a sandbox to itself and may block"),
        );
    }
    if let Some(token) = &signature.unsafety {
        mistakes.add(
            token.span,
            format!("{noun} can't be `unsafe`: {} keeps no promises", kind.caller()),
        );
    }
    if let Some(abi) = &signature.abi {
        mistakes.add(
            abi.extern_token.span,
            format!("{noun} has no `extern` ABI: `kami_guest` exports it"),
        );
    }
    if let Some(variadic) = &signature.variadic {
        mistakes.add(variadic.dots.span(), format!("{noun} can't be variadic: take a `Vec<T>`"));
    }
    if !signature.generics.params.is_empty() {
        mistakes.add(
            signature.generics.params.span(),
            format!("{noun} can't be generic: {}; write them out", kind.typed()),
        );
    }
    if let ReturnType::Type(_, ty) = &signature.output
        && let Some(span) = find_impl_trait(ty)
    {
        let reason = match kind {
            Kind::Tool => "its output schema is made from its type",
            Kind::Resource | Kind::Prompt => "its type says how it is given to the client",
        };
        mistakes.add(span, format!("{noun} can't return `impl Trait`: {reason}; write it out"));
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

/// Clients list two headers of one name as one.
fn check_headers(parameters: &[Parameter], mistakes: &mut Mistakes) {
    let mut seen: Vec<String> = Vec::new();
    for header in parameters.iter().filter_map(|parameter| parameter.attributes.header.as_ref()) {
        let name = header.value().to_ascii_lowercase();
        if seen.contains(&name) {
            mistakes.add(
                header.span(),
                "another argument has this header: case makes no difference in their names",
            );
        }
        seen.push(name);
    }
}

/// Refuses what clients can't call by.
pub fn check_name(name: &str, span: Span, kind: Kind, mistakes: &mut Mistakes) {
    let rule = format!("{}'s name is 1 to 64 of `A-Z a-z 0-9 _ -`", kind.noun());
    let wrong = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if let Some(character) = name.chars().find(wrong) {
        mistakes.add(span, format!("{rule}: this one has {character:?} in it"));
    } else if name.is_empty() {
        mistakes.add(span, format!("{rule}: this one is empty"));
    } else if name.len() > 64 {
        mistakes.add(span, format!("{rule}: this one has {}", name.len()));
    }
}

fn parameter(input: &PatType, kind: Kind) -> syn::Result<Parameter> {
    let mut mistakes = Mistakes::default();
    let name = mistakes.collect(parameter_name(&input.pat, kind));
    let attributes = mistakes.collect(ParameterAttributes::parse(&input.attrs, kind));
    check_type(&input.ty, kind, &mut mistakes);
    let parameter = name.zip(attributes).map(|(name, attributes)| Parameter {
        name,
        ty: (*input.ty).clone(),
        attributes,
    });
    mistakes
        .finish(parameter)
        .map(|parameter| parameter.expect("a parameter without mistakes is complete"))
}

fn parameter_name(pattern: &Pat, kind: Kind) -> syn::Result<Ident> {
    let message = match pattern {
        Pat::Ident(pattern) if pattern.by_ref.is_none() && pattern.subpat.is_none() => {
            return Ok(pattern.ident.clone());
        }
        Pat::Wild(_) if kind == Kind::Tool => {
            "give this parameter a name: the model fills it in by name"
        }
        Pat::Wild(_) => "give this parameter a name: it is filled in by name",
        _ => "give this parameter a plain name, and take it apart in the body",
    };
    Err(syn::Error::new_spanned(pattern, message))
}

/// Refuses what can't be read from JSON whatever traits it implements.
fn check_type(ty: &Type, kind: Kind, mistakes: &mut Mistakes) {
    struct Impossible<'m>(Kind, &'m mut Mistakes);
    impl VisitMut for Impossible<'_> {
        fn visit_type_reference_mut(&mut self, ty: &mut TypeReference) {
            self.1.collect::<()>(Err(syn::Error::new_spanned(
                &*ty,
                format!(
                    "{} owns its arguments: use `{}`",
                    self.0.noun(),
                    owned(&ty.elem).unwrap_or_else(|| printed(&ty.elem))
                ),
            )));
        }
        fn visit_type_impl_trait_mut(&mut self, ty: &mut TypeImplTrait) {
            self.1.add(
                ty.impl_token.span,
                format!(
                    "{} can't take `impl Trait`: {}; write this one out",
                    self.0.noun(),
                    self.0.typed()
                ),
            );
        }
        fn visit_type_ptr_mut(&mut self, ty: &mut TypePtr) {
            self.1.collect::<()>(Err(syn::Error::new_spanned(
                &*ty,
                format!("a raw pointer can't be an argument of {}", self.0.noun()),
            )));
        }
    }
    Impossible(kind, mistakes).visit_type_mut(&mut ty.clone());
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
