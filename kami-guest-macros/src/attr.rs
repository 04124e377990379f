//! The keys inside `#[kami_tool(...)]`, and the attributes on parameters.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, ExprLit, Lit, LitStr, Meta, Path, Token, parse_quote};

use crate::suggest::nearest;

/// Everything `#[kami_tool(...)]` may say.
#[derive(Default)]
pub struct ToolAttributes {
    pub name: Option<LitStr>,
    pub title: Option<LitStr>,
    pub read_only: Option<Hint>,
    pub destructive: Option<Hint>,
    pub idempotent: Option<Hint>,
    pub open_world: Option<Hint>,
    pub krate: Option<Path>,
}

/// A claim about the tool, and where it is made.
#[derive(Clone, Copy)]
pub struct Hint {
    pub value: bool,
    pub span: Span,
}

const KEYS: [&str; 7] =
    ["name", "title", "read_only", "destructive", "idempotent", "open_world", "crate"];

impl ToolAttributes {
    /// Reads all entries and reports every one that is wrong.
    pub fn parse(tokens: TokenStream) -> syn::Result<Self> {
        let mut attributes = Self::default();
        let mut mistakes = Mistakes::default();
        let mut seen: Vec<String> = Vec::new();
        for entry in entries(tokens)? {
            let key = entry.key.to_string();
            if seen.contains(&key) {
                mistakes.add(entry.key.span(), format!("`{key}` is given twice"));
                continue;
            }
            mistakes.collect(attributes.set(&key, &entry));
            seen.push(key);
        }
        mistakes.finish(attributes)
    }

    fn set(&mut self, key: &str, entry: &Entry) -> syn::Result<()> {
        match key {
            "name" => self.name = Some(entry.string("the tool's name")?),
            "title" => self.title = Some(entry.string("a name for people")?),
            "read_only" => self.read_only = Some(entry.hint()?),
            "destructive" => self.destructive = Some(entry.hint()?),
            "idempotent" => self.idempotent = Some(entry.hint()?),
            "open_world" => self.open_world = Some(entry.hint()?),
            "crate" => self.krate = Some(entry.string("the path of `kami_guest`")?.parse()?),
            _ => return Err(entry.unknown(&KEYS)),
        }
        Ok(())
    }

    /// The path under which the generated code finds the SDK.
    pub fn kami(&self) -> Path {
        self.krate.clone().unwrap_or_else(|| parse_quote!(::kami_guest))
    }
}

/// The `crate` key of `#[kami_type(...)]`, its only one.
pub fn crate_path(tokens: TokenStream) -> syn::Result<Path> {
    let mut path = parse_quote!(::kami_guest);
    for entry in entries(tokens)? {
        if entry.key != "crate" {
            return Err(entry.unknown(&["crate"]));
        }
        path = entry.string("the path of `kami_guest`")?.parse()?;
    }
    Ok(path)
}

/// A path into the SDK, written as the string that `serde(crate = ...)` wants.
pub fn path_string(kami: &Path, inside: &str) -> LitStr {
    let kami = kami.to_token_stream().to_string().replace(' ', "");
    LitStr::new(&format!("{kami}::{inside}"), Span::call_site())
}

/// What the attributes on one parameter say.
#[derive(Default)]
pub struct ParameterAttributes {
    /// Doc comments.
    pub docs: Vec<Attribute>,
    /// `serde` and `schemars` attributes, which go to the field that stands for the parameter.
    pub field: Vec<Attribute>,
    /// The value of `#[kami(default = ...)]`.
    pub default: Option<Expr>,
    /// The parameter is spread into the argument object, which rules out strictness.
    pub flattened: bool,
}

impl ParameterAttributes {
    /// Sorts the attributes, and reports those that can't stand on a tool's parameter.
    pub fn parse(attributes: &[Attribute]) -> syn::Result<Self> {
        let mut parsed = Self::default();
        let mut mistakes = Mistakes::default();
        for attribute in attributes {
            let path = attribute.path();
            if path.is_ident("doc") {
                parsed.docs.push(attribute.clone());
            } else if path.is_ident("serde") || path.is_ident("schemars") {
                parsed.flattened |= mentions(attribute, "flatten");
                parsed.field.push(attribute.clone());
            } else if path.is_ident("kami") {
                mistakes.collect(parsed.kami(attribute));
            } else if path.is_ident("cfg") || path.is_ident("cfg_attr") {
                mistakes.collect::<()>(Err(syn::Error::new_spanned(
                    attribute,
                    "a tool's arguments can't depend on `cfg`: put it on the whole function",
                )));
            }
        }
        mistakes.finish(parsed)
    }

    /// Whether these attributes shape the argument, which then has to be one of its own.
    pub fn shape(&self) -> bool {
        !self.field.is_empty() || self.default.is_some()
    }

    fn kami(&mut self, attribute: &Attribute) -> syn::Result<()> {
        let Meta::List(list) = &attribute.meta else {
            return Err(syn::Error::new_spanned(attribute, "write `#[kami(default = VALUE)]`"));
        };
        for entry in entries(list.tokens.clone())? {
            if entry.key != "default" {
                return Err(entry.unknown(&["default"]));
            }
            if self.default.is_some() {
                return Err(syn::Error::new(entry.key.span(), "`default` is given twice"));
            }
            let value = entry.value.clone().ok_or_else(|| {
                syn::Error::new(
                    entry.key.span(),
                    "`default` needs a value, as in `#[kami(default = 10)]`",
                )
            })?;
            self.default = Some(value);
        }
        Ok(())
    }
}

/// Whether the attributes that the macros of this crate consume include this one.
pub fn is_consumed(attribute: &Attribute) -> bool {
    ["doc", "serde", "schemars", "kami"].iter().any(|name| attribute.path().is_ident(name))
}

/// Whether the key stands at the top level of a list attribute.
fn mentions(attribute: &Attribute, key: &str) -> bool {
    let Meta::List(list) = &attribute.meta else {
        return false;
    };
    list.tokens
        .clone()
        .into_iter()
        .any(|token| matches!(token, TokenTree::Ident(ident) if ident == key))
}

/// `key`, or `key = value`.
struct Entry {
    key: Ident,
    value: Option<Expr>,
}

impl Parse for Entry {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let key = input.call(Ident::parse_any)?;
        let value = match input.parse::<Option<Token![=]>>()? {
            Some(_) => Some(input.parse()?),
            None => None,
        };
        Ok(Self { key, value })
    }
}

impl Entry {
    fn string(&self, what: &str) -> syn::Result<LitStr> {
        match &self.value {
            Some(Expr::Lit(ExprLit { lit: Lit::Str(string), .. })) => Ok(string.clone()),
            _ => Err(self.wrong(&format!("`{0}` is {what}: write `{0} = \"...\"`", self.key))),
        }
    }

    fn hint(&self) -> syn::Result<Hint> {
        let span = self.key.span();
        match &self.value {
            None => Ok(Hint { value: true, span }),
            Some(Expr::Lit(ExprLit { lit: Lit::Bool(boolean), .. })) => {
                Ok(Hint { value: boolean.value, span })
            }
            Some(_) => {
                Err(self
                    .wrong(&format!("`{0}` is a boolean: write `{0}` or `{0} = false`", self.key)))
            }
        }
    }

    fn wrong(&self, message: &str) -> syn::Error {
        match &self.value {
            Some(value) => syn::Error::new_spanned(value.to_token_stream(), message),
            None => syn::Error::new(self.key.span(), message),
        }
    }

    fn unknown(&self, known: &[&str]) -> syn::Error {
        let key = self.key.to_string();
        let help = match nearest(&key, known) {
            Some(word) => format!("did you mean `{word}`?"),
            None if key == "description" => {
                "a description is written as a doc comment, `/// ...`".to_owned()
            }
            None => format!("the keys are `{}`", known.join("`, `")),
        };
        syn::Error::new(self.key.span(), format!("unknown key `{key}`: {help}"))
    }
}

fn entries(tokens: TokenStream) -> syn::Result<Punctuated<Entry, Token![,]>> {
    Punctuated::parse_terminated.parse2(tokens)
}

/// Mistakes found so far; they are reported together.
#[derive(Default)]
pub struct Mistakes(Option<syn::Error>);

impl Mistakes {
    /// Adds one mistake at the token that made it.
    pub fn add(&mut self, span: Span, message: impl std::fmt::Display) {
        self.push(syn::Error::new(span, message));
    }

    /// Keeps the value or takes note of the mistake.
    pub fn collect<T>(&mut self, result: syn::Result<T>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    /// The value, if no mistake was made on the way to it.
    pub fn finish<T>(self, value: T) -> syn::Result<T> {
        self.0.map_or(Ok(value), Err)
    }

    fn push(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(first) => first.combine(error),
            none => *none = Some(error),
        }
    }
}
