//! The text of doc comments, as clients read it.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::{Attribute, Expr, ExprLit, Lit, LitStr, Meta};

/// All comments as one expression: a `#[doc]` may also be a macro call.
pub fn description(docs: &[Attribute]) -> TokenStream {
    let mut parts: Vec<TokenStream> = Vec::new();
    let mut lines: Vec<String> = Vec::new();
    for attribute in docs {
        let Meta::NameValue(doc) = &attribute.meta else {
            continue;
        };
        match &doc.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => {
                lines.extend(comment_lines(&text.value()))
            }
            computed => {
                parts.push(dedent(&lines).to_token_stream());
                parts.push(quote!("\n", #computed, "\n"));
                lines.clear();
            }
        }
    }
    let text = dedent(&lines);
    if parts.is_empty() {
        return text.to_token_stream();
    }
    quote!(::core::concat!(#(#parts,)* #text))
}

/// The lines of one comment; a block comment loses the stars down its left side.
fn comment_lines(comment: &str) -> Vec<String> {
    // Unlike `lines`, this makes one line of an empty comment: it parts two paragraphs.
    let mut lines: Vec<&str> = comment.split('\n').collect();
    if let [first, rest @ ..] = lines.as_mut_slice() {
        let written = rest.iter().filter(|line| !line.trim().is_empty());
        if written.clone().all(|line| line.trim_start().starts_with('*')) {
            for line in rest.iter_mut() {
                *line = line.trim_start().trim_start_matches('*');
            }
        } else {
            let margin = written.map(|line| margin(line)).min().unwrap_or(0);
            for line in rest.iter_mut() {
                *line = line.get(margin..).unwrap_or(line.trim_start());
            }
            *first = first.trim_start();
        }
    }
    lines.into_iter().map(str::to_owned).collect()
}

/// The lines as one text, without the indentation that they share.
fn dedent(lines: &[String]) -> LitStr {
    let shared = lines
        .iter()
        .filter(|line| !line.trim().is_empty())
        .map(|line| margin(line))
        .min()
        .unwrap_or(0);
    let text: Vec<&str> = lines
        .iter()
        .map(|line| line.get(shared..).unwrap_or(line.trim_start()).trim_end())
        .collect();
    LitStr::new(text.join("\n").trim(), Span::call_site())
}

fn margin(line: &str) -> usize {
    line.len() - line.trim_start().len()
}
