//! What a text costs a model that reads it, in tokens.
//!
//! Every model has its own tokens, not all makers publish theirs, and clients write definitions into
//! their prompts in ways of their own. So no count holds for everybody, and this is an estimate: it
//! takes a text apart as tokenizers do, and counts what the parts cost on average. For 101 definitions
//! of real tools it gives all together 0.3 % less than OpenAI's `o200k_base`, 3 % more or less for one
//! on average, and 10 % at the most. The crate `tiktoken-rs` counts those exactly, at the price of
//! 6.5 MB in the program, 50 MB of memory and half a minute of compilation.

/// How many letters one token has: nearly every English word of a definition is one.
const LETTERS: usize = 10;

/// How many digits one token has at most.
const DIGITS: usize = 3;

/// How many signs one token has, as in `":"` and `"},"`.
const SIGNS: usize = 4;

/// What one part of a text consists of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Letters,
    Digits,
    Signs,
    /// A space belongs to the word after it.
    Space,
    /// Of other scripts, of which a token has one or two.
    Other,
}

impl Kind {
    fn of(c: char) -> Self {
        match c {
            'a'..='z' | 'A'..='Z' => Self::Letters,
            '0'..='9' => Self::Digits,
            ' ' => Self::Space,
            _ if c.is_ascii() => Self::Signs,
            _ => Self::Other,
        }
    }

    fn tokens(self, characters: usize) -> usize {
        match self {
            Self::Letters => characters.div_ceil(LETTERS),
            Self::Digits => characters.div_ceil(DIGITS),
            Self::Signs => characters.div_ceil(SIGNS),
            Self::Space => usize::from(characters > 1),
            Self::Other => characters,
        }
    }
}

/// About how many tokens a text has.
pub fn estimate(text: &str) -> usize {
    let mut tokens = 0;
    let mut run: Option<(Kind, usize)> = None;
    let mut before = ' ';
    for c in text.chars() {
        let kind = Kind::of(c);
        // A capital within a word begins another.
        let hump = c.is_ascii_uppercase() && before.is_ascii_lowercase();
        before = c;
        match &mut run {
            Some((known, length)) if *known == kind && !hump => *length += 1,
            _ => {
                tokens += run.map_or(0, |(kind, length)| kind.tokens(length));
                run = Some((kind, 1));
            }
        }
    }
    tokens + run.map_or(0, |(kind, length)| kind.tokens(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Definitions, each with the number of its tokens in `o200k_base`.
    const COUNTED: &[(usize, &str)] = &[
        (
            47,
            r##"{"name":"shout","description":"Shouts.","inputSchema":{"properties":{"text":{"type":"string"}},"required":["text"],"type":"object"},"annotations":{"readOnlyHint":true,"openWorldHint":false}}"##,
        ),
        (
            45,
            r##"{"name":"test_error_handling","description":"Fails, always.","inputSchema":{"additionalProperties":false,"properties":{},"type":"object"},"annotations":{"readOnlyHint":true,"openWorldHint":false}}"##,
        ),
        (
            193,
            r##"{"name":"measure_text","description":"Counts the characters, words, lines and bytes of a text exactly.","inputSchema":{"additionalProperties":false,"properties":{"text":{"description":"the text to measure","type":"string"}},"required":["text"],"type":"object"},"outputSchema":{"description":"The size of a text, in every unit that people ask for.","properties":{"bytes":{"description":"bytes in UTF-8","minimum":0,"type":"integer"},"characters":{"description":"characters, as Unicode scalar values","minimum":0,"type":"integer"},"lines":{"description":"lines; a line break at the very end starts no further one","minimum":0,"type":"integer"},"words":{"description":"runs of characters between white space","minimum":0,"type":"integer"}},"required":["characters","words","lines","bytes"],"type":"object"},"annotations":{"readOnlyHint":true,"openWorldHint":false}}"##,
        ),
        (
            179,
            r##"{"name":"scribble","description":"Searches all memory for the mark of another, and leaves its own everywhere.","inputSchema":{"additionalProperties":false,"properties":{"other":{"minimum":0,"type":"integer"},"own":{"minimum":0,"type":"integer"}},"required":["own","other"],"type":"object"},"outputSchema":{"description":"What was found where nothing should be.","properties":{"dirty":{"description":"How many bytes of fresh memory were not zero.","minimum":0,"type":"integer"},"other":{"description":"Whether the other's mark is somewhere.","type":"boolean"},"own":{"description":"Whether the own mark is, once it is written: proof that the search finds what is there.","type":"boolean"}},"required":["dirty","other","own"],"type":"object"},"annotations":{"readOnlyHint":true,"openWorldHint":false}}"##,
        ),
    ];

    #[test]
    fn an_estimate_is_within_a_tenth_of_what_a_tokenizer_counts() {
        for (counted, text) in COUNTED {
            let (estimated, most) = (estimate(text), counted.div_ceil(10));
            assert!(estimated.abs_diff(*counted) <= most, "{estimated} for {counted}: {text}");
        }
    }

    #[test]
    fn no_text_costs_nothing_or_more_than_its_characters() {
        assert_eq!(estimate(""), 0);
        for text in ["a", "aB", "   ", "日本語", "{\"a\":1234}", &"x".repeat(100_000)] {
            assert!((1..=text.chars().count()).contains(&estimate(text)), "{text}");
        }
    }
}
