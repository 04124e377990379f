//! The keys inside `#[kami_tool(...)]` and its like, and the attributes on parameters.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, ExprLit, Lit, LitStr, Meta, Path, Token, parse_quote};

use crate::kind::Kind;
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
    /// When a call may go on as a task.
    pub task: Option<LitStr>,
    pub krate: Option<Path>,
}

/// A claim about the tool, and where it is made.
#[derive(Clone, Copy)]
pub struct Hint {
    pub value: bool,
    pub span: Span,
}

const KEYS: [&str; 8] =
    ["name", "title", "read_only", "destructive", "idempotent", "open_world", "task", "crate"];

/// What `task` may be.
const TASKS: [&str; 3] = ["optional", "required", "after-input"];

impl ToolAttributes {
    /// Reads all entries and reports every one that is wrong.
    pub fn parse(tokens: TokenStream) -> syn::Result<Self> {
        let mut attributes = Self::default();
        each_entry(tokens, |key, entry| attributes.set(key, entry))?;
        Ok(attributes)
    }

    fn set(&mut self, key: &str, entry: &Entry) -> syn::Result<()> {
        match key {
            "name" => self.name = Some(entry.string("the tool's name")?),
            "title" => self.title = Some(entry.string("a name for people")?),
            "read_only" => self.read_only = Some(entry.hint()?),
            "destructive" => self.destructive = Some(entry.hint()?),
            "idempotent" => self.idempotent = Some(entry.hint()?),
            "open_world" => self.open_world = Some(entry.hint()?),
            "task" => self.task = Some(entry.task()?),
            "crate" => self.krate = Some(entry.string("the path of `kami_guest`")?.parse()?),
            _ => return Err(entry.unknown(&KEYS)),
        }
        Ok(())
    }
}

/// Hands every entry to `set`, and reports all that are wrong.
pub fn each_entry(
    tokens: TokenStream,
    mut set: impl FnMut(&str, &Entry) -> syn::Result<()>,
) -> syn::Result<()> {
    let mut mistakes = Mistakes::default();
    let mut seen: Vec<String> = Vec::new();
    for entry in entries(tokens)? {
        let key = entry.key.to_string();
        if seen.contains(&key) {
            mistakes.add(entry.key.span(), format!("`{key}` is given twice"));
            continue;
        }
        mistakes.collect(set(&key, &entry));
        seen.push(key);
    }
    mistakes.finish(())
}

/// The path under which the generated code finds the SDK.
pub fn kami(krate: Option<&Path>) -> Path {
    krate.cloned().unwrap_or_else(|| parse_quote!(::kami_guest))
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
    /// The HTTP header that repeats the argument.
    pub header: Option<LitStr>,
    /// What suggests values.
    pub complete: Option<Expr>,
    /// What the argument is called on the wire.
    pub name: Option<LitStr>,
    /// A name for people.
    pub title: Option<LitStr>,
    /// The parameter is spread into the argument object, which rules out strictness.
    pub flattened: bool,
}

impl ParameterAttributes {
    /// Sorts the attributes, and reports those that can't stand on a parameter of this kind.
    pub fn parse(attributes: &[Attribute], kind: Kind) -> syn::Result<Self> {
        let mut parsed = Self::default();
        let mut mistakes = Mistakes::default();
        for attribute in attributes {
            let path = attribute.path();
            if path.is_ident("doc") {
                parsed.docs.push(attribute.clone());
            } else if path.is_ident("serde") || path.is_ident("schemars") {
                if kind != Kind::Tool {
                    mistakes.collect::<()>(Err(syn::Error::new_spanned(
                        attribute,
                        format!(
                            "{} has no schema: its arguments are texts, read by `FromStr`",
                            kind.noun()
                        ),
                    )));
                }
                parsed.flattened |= mentions(attribute, "flatten");
                parsed.field.push(attribute.clone());
            } else if path.is_ident("kami") {
                mistakes.collect(parsed.kami(attribute, kind));
            } else if path.is_ident("cfg") || path.is_ident("cfg_attr") {
                mistakes.collect::<()>(Err(syn::Error::new_spanned(
                    attribute,
                    format!(
                        "{}'s arguments can't depend on `cfg`: put it on the whole function",
                        kind.noun()
                    ),
                )));
            }
        }
        mistakes.finish(parsed)
    }

    /// Whether these attributes shape the argument, which then has to be one of its own.
    pub fn shape(&self) -> bool {
        !self.field.is_empty() || self.default.is_some() || self.header.is_some()
    }

    fn kami(&mut self, attribute: &Attribute, kind: Kind) -> syn::Result<()> {
        let keys = kind.parameter_keys();
        let Meta::List(list) = &attribute.meta else {
            let example = keys[0];
            let message = format!("write `#[kami({example} = {})]`", Self::example(example).0);
            return Err(syn::Error::new_spanned(attribute, message));
        };
        each_entry(list.tokens.clone(), |key, entry| {
            if !keys.contains(&key) {
                return Err(entry.unknown(keys));
            }
            match key {
                "default" => set_once(&mut self.default, entry, entry.value()?),
                "complete" => set_once(&mut self.complete, entry, entry.value()?),
                "header" => set_once(&mut self.header, entry, header(entry)?),
                "name" => set_once(&mut self.name, entry, entry.string("the argument's name")?),
                _ => set_once(&mut self.title, entry, entry.string("a name for people")?),
            }
        })
    }

    /// What may stand behind a key that takes any expression.
    fn example(key: &str) -> (&'static str, &'static str) {
        match key {
            "complete" => ("FUNCTION", "cities"),
            _ => ("VALUE", "10"),
        }
    }
}

fn set_once<T>(place: &mut Option<T>, entry: &Entry, value: T) -> syn::Result<()> {
    if place.replace(value).is_some() {
        let message = format!("`{}` is given twice", entry.key);
        return Err(syn::Error::new(entry.key.span(), message));
    }
    Ok(())
}

/// The name of an HTTP header, or of a part of one: a token of RFC 9110.
fn header(entry: &Entry) -> syn::Result<LitStr> {
    let name = entry.string("the name of an HTTP header")?;
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let message = match name.value() {
        value if value.is_empty() => "a header's name can't be empty".to_owned(),
        value => match value.chars().find(|&c| !is_token(c)) {
            Some(c) => format!("a header's name can't have {c:?} in it: write one like `Region`"),
            None => return Ok(name),
        },
    };
    Err(syn::Error::new(name.span(), message))
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
pub struct Entry {
    pub key: Ident,
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
    /// The value, which may be any expression.
    fn value(&self) -> syn::Result<Expr> {
        self.value.clone().ok_or_else(|| {
            let key = &self.key;
            let example = ParameterAttributes::example(&key.to_string()).1;
            let message = format!("`{key}` needs a value, as in `#[kami({key} = {example})]`");
            syn::Error::new(key.span(), message)
        })
    }

    /// The value, which has to be a string.
    pub fn string(&self, what: &str) -> syn::Result<LitStr> {
        match &self.value {
            Some(Expr::Lit(ExprLit { lit: Lit::Str(string), .. })) => Ok(string.clone()),
            _ => Err(self.wrong(&format!("`{0}` is {what}: write `{0} = \"...\"`", self.key))),
        }
    }

    /// The value, which has to be a number.
    pub fn number(&self, what: &str, example: &str) -> syn::Result<Lit> {
        match &self.value {
            Some(Expr::Lit(ExprLit { lit: lit @ (Lit::Int(_) | Lit::Float(_)), .. })) => {
                Ok(lit.clone())
            }
            _ => Err(self.wrong(&format!("`{0}` is {what}: write `{0} = {example}`", self.key))),
        }
    }

    fn task(&self) -> syn::Result<LitStr> {
        let mode = match &self.value {
            None => return Ok(LitStr::new(TASKS[0], self.key.span())),
            Some(_) => self.string("when a call becomes a task")?,
        };
        if TASKS.contains(&mode.value().as_str()) {
            return Ok(mode);
        }
        let known = TASKS.map(|known| format!("\"{known}\"")).join(", ");
        Err(self.wrong(&format!("a call becomes a task in one of these ways: {known}")))
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

    /// An error at the value.
    pub fn wrong(&self, message: &str) -> syn::Error {
        match &self.value {
            Some(value) => syn::Error::new_spanned(value.to_token_stream(), message),
            None => syn::Error::new(self.key.span(), message),
        }
    }

    /// The error for a key that nobody knows.
    pub fn unknown(&self, known: &[&str]) -> syn::Error {
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
