//! The basics: two plain functions, each a tool once it bears `#[kami_tool]`.
//!
//! [`greet`] takes an optional argument, returns text and refuses what it can't do.
//! [`measure_text`] returns a struct, which becomes structured content with an output schema.

use kami_guest::prelude::*;

/// A language that [`greet`] speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[kami_type]
#[serde(rename_all = "lowercase")]
pub enum Language {
    English,
    French,
    German,
    Japanese,
    Spanish,
}

/// Greets a person by name, in one of five languages.
#[kami_tool]
pub fn greet(
    /// the name of the person to greet
    #[schemars(length(min = 1, max = 100))]
    name: String,
    /// the language of the greeting; English if left out
    language: Option<Language>,
) -> Result<String, String> {
    let name = name.trim();
    if name.is_empty() {
        return Err("`name` is empty: say whom to greet".to_owned());
    }
    Ok(match language.unwrap_or(Language::English) {
        Language::English => format!("Hello, {name}!"),
        Language::French => format!("Bonjour, {name} !"),
        Language::German => format!("Hallo, {name}!"),
        Language::Japanese => format!("こんにちは、{name}さん！"),
        Language::Spanish => format!("¡Hola, {name}!"),
    })
}

/// The size of a text, in every unit that people ask for.
#[derive(Debug, PartialEq, Eq)]
#[kami_type]
pub struct TextSize {
    /// characters, as Unicode scalar values
    pub characters: usize,
    /// runs of characters between white space
    pub words: usize,
    /// lines; a line break at the very end starts no further one
    pub lines: usize,
    /// bytes in UTF-8
    pub bytes: usize,
}

/// Counts the characters, words, lines and bytes of a text exactly.
#[kami_tool]
pub fn measure_text(
    /// the text to measure
    text: String,
) -> TextSize {
    TextSize {
        characters: text.chars().count(),
        words: text.split_whitespace().count(),
        lines: text.lines().count(),
        bytes: text.len(),
    }
}
