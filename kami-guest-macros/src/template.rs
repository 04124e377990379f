//! URI templates, as far as one knows how to read them backwards.
//!
//! RFC 6570 says how a URI is made from values. Which values a URI was made from can be told for
//! `{name}` and `{+name}`; the other operators make lists and queries that come in any order.

use syn::LitStr;

/// A part of a template.
pub enum Part {
    Literal(String),
    Variable {
        name: String,
        /// `{+name}`: it spans slashes.
        reserved: bool,
    },
}

/// Takes a URI, or a URI template, apart.
pub fn parse(uri: &LitStr) -> syn::Result<Vec<Part>> {
    parts(&uri.value()).map_err(|message| syn::Error::new(uri.span(), message))
}

fn parts(uri: &str) -> Result<Vec<Part>, String> {
    if !begins_with_scheme(uri) {
        return Err("a resource's URI begins with a scheme, as `note://` does".to_owned());
    }
    let mut parts = Vec::new();
    let mut rest = uri;
    while let Some((literal, after)) = rest.split_once('{') {
        let Some((expression, after)) = after.split_once('}') else {
            return Err("this `{` is never closed".to_owned());
        };
        push_literal(&mut parts, literal)?;
        if literal.is_empty() {
            return Err(format!(
                "`{{{expression}}}` follows another variable: only text between them tells where one ends"
            ));
        }
        let (name, reserved) = variable(expression)?;
        let same =
            |part: &Part| matches!(part, Part::Variable { name: other, .. } if other == name);
        if parts.iter().any(same) {
            return Err(format!("the variable `{name}` occurs twice"));
        }
        parts.push(Part::Variable { name: name.to_owned(), reserved });
        rest = after;
    }
    push_literal(&mut parts, rest)?;
    Ok(parts)
}

fn push_literal(parts: &mut Vec<Part>, literal: &str) -> Result<(), String> {
    if let Some(c) =
        literal.chars().find(|c| c.is_whitespace() || matches!(c, '}' | '"' | '<' | '>'))
    {
        return Err(format!("a URI can't have {c:?} in it"));
    }
    if !literal.is_empty() {
        parts.push(Part::Literal(literal.to_owned()));
    }
    Ok(())
}

/// The name of a variable, and whether it spans slashes.
fn variable(expression: &str) -> Result<(&str, bool), String> {
    let name = expression.strip_prefix('+').unwrap_or(expression);
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_name {
        return Ok((name, name.len() < expression.len()));
    }
    Err(format!(
        "`{{{expression}}}` is no variable that is understood: `{{name}}` is one segment of a path, \
         and `{{+name}}` is any text"
    ))
}

fn begins_with_scheme(uri: &str) -> bool {
    uri.split_once(':').is_some_and(|(scheme, rest)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
            && !rest.is_empty()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_text_and_variables() {
        let parts = parts("note://{+folder}/{name}.md").unwrap();
        let written: Vec<_> = parts
            .iter()
            .map(|part| match part {
                Part::Literal(text) => text.clone(),
                Part::Variable { name, reserved } => format!("{name} {reserved}"),
            })
            .collect();
        assert_eq!(written, ["note://", "folder true", "/", "name false", ".md"]);
    }

    #[test]
    fn what_cannot_be_read_backwards_is_refused() {
        for (uri, message) in [
            ("notes", "a resource's URI begins with a scheme, as `note://` does"),
            ("{scheme}://a", "a resource's URI begins with a scheme, as `note://` does"),
            ("a://{b", "this `{` is never closed"),
            ("a://b}", "a URI can't have '}' in it"),
            ("a://b c", "a URI can't have ' ' in it"),
            ("a://{b}/{b}", "the variable `b` occurs twice"),
        ] {
            assert_eq!(parts(uri).err().as_deref(), Some(message), "{uri}");
        }
        for expression in ["", "?q", "a*", "a:3", "a,b", "1", "#a", "ä"] {
            let error = parts(&format!("a://{{{expression}}}")).err().unwrap();
            assert!(error.contains("is no variable that is understood"), "{error}");
        }
        assert!(parts("a://{b}{c}").err().unwrap().contains("follows another variable"));
    }
}
