//! The forms in which a value comes back: as it is, or as the usual encoders write it.
//!
//! Encoders differ in what they leave as it is, so a value has one form for each family of them;
//! for most tokens, which are letters and digits, nearly all of these are the same. What is encoded
//! twice, compressed, wrapped into lines or changed in case is not among them.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use zeroize::Zeroizing;

use crate::digest::hex;

/// What families of percent-encoders leave as it is beside letters and digits.
const UNENCODED: &[&str] = &[
    // Every byte is encoded, which is allowed too. Letters and digits are then no exception.
    "",
    // RFC 3986, Python's `quote_plus`, Go's `QueryEscape`.
    "-._~",
    // Python's `quote`, for paths.
    "-._~/",
    // PHP's `urlencode`.
    "-._",
    // Forms, as browsers and Java send them.
    "*-._",
    // JavaScript's `encodeURIComponent` and `encodeURI`.
    "-_.!~*'()",
    "-_.!~*'();,/?:@&=+$#",
    // RFC 3986 in a path, and in a query.
    "-._~!$&'()*+,;=:@",
    "-._~!$&'()*+,;=:@/",
    "-._~!$&'()*+,;=:@/?",
    // The URL standard of browsers: user, path, query, query of HTTP, fragment.
    "-._~!$&'()*+,%",
    "-._~!$&'()*+,;=:@/|[]\\%",
    "-._~!$&'()*+,;=:@/|[]\\^%",
    "-._~!$&'()*+,;=:@/|[]\\^%?`{}",
    "-._~!$&()*+,;=:@/|[]\\^%?`{}",
    "-._~!$&'()*+,;=:@/|[]\\^%?{}#",
];

/// What families of JSON writers escape by number although they need not.
const ESCAPED: &[&str] = &[
    "",       // Go.
    "<>&",    // PHP's `JSON_HEX_*`.
    "<>&'\"", // .NET.
    "<>&'\"+`",
];

/// Every form of `value`, each once.
pub(super) fn forms(value: &str) -> Vec<Zeroizing<Vec<u8>>> {
    let mut forms = vec![value.as_bytes().to_vec()];
    forms.extend(percent(value.as_bytes()));
    forms.extend(json(value));
    forms.extend(base64(value.as_bytes()));
    let digits = hex(value.as_bytes());
    forms.push(digits.to_ascii_uppercase().into_bytes());
    forms.push(digits.into_bytes());
    forms.sort();
    // Nothing is dropped unwiped.
    let mut forms: Vec<_> = forms.into_iter().map(Zeroizing::new).collect();
    forms.dedup();
    forms
}

fn percent(value: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let styles = UNENCODED.iter().flat_map(|kept| [(kept, true), (kept, false)]);
    let styles = styles.flat_map(|(kept, upper)| [(kept, upper, true), (kept, upper, false)]);
    styles.map(move |(kept, upper, plus)| {
        let kept = |byte: u8| {
            !kept.is_empty() && (byte.is_ascii_alphanumeric() || kept.as_bytes().contains(&byte))
        };
        let mut form = Vec::with_capacity(3 * value.len());
        for &byte in value {
            match byte {
                b' ' if plus => form.push(b'+'),
                byte if kept(byte) => form.push(byte),
                byte => {
                    form.push(b'%');
                    form.extend(digits(u16::from(byte), 2, upper));
                }
            }
        }
        form
    })
}

fn json(value: &str) -> impl Iterator<Item = Vec<u8>> {
    let styles = ESCAPED.iter().flat_map(|escaped| [(escaped, true), (escaped, false)]);
    let styles = styles.flat_map(|(e, upper)| [(e, upper, true), (e, upper, false)]);
    let styles =
        styles.flat_map(|(e, upper, ascii)| [(e, upper, ascii, true), (e, upper, ascii, false)]);
    styles.map(move |(escaped, upper, ascii, slash)| {
        let mut form = Vec::with_capacity(6 * value.len());
        for c in value.chars() {
            match c {
                c if escaped.contains(c) || (ascii && !c.is_ascii()) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        form.extend(b"\\u");
                        form.extend(digits(*unit, 4, upper));
                    }
                }
                '"' | '\\' => form.extend([b'\\', c as u8]),
                '/' if slash => form.extend(b"\\/"),
                c => form.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        form
    })
}

/// What of `value` is certain in base64, wherever in the encoded bytes it begins: a character at
/// the edge holds bits of the neighbour too, so it is not part of the form.
fn base64(value: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    [STANDARD, URL_SAFE].into_iter().flat_map(move |alphabet| {
        (0..3).map(move |before| {
            let mut bytes = Zeroizing::new(vec![0; before]);
            bytes.reserve_exact(value.len());
            bytes.extend(value);
            let encoded = Zeroizing::new(alphabet.encode(bytes.as_slice()).into_bytes());
            let (first, end) = ((8 * before).div_ceil(6), 8 * bytes.len() / 6);
            encoded[first..end].to_vec()
        })
    })
}

/// The last `count` hex digits of `number`.
fn digits(number: u16, count: u32, upper: bool) -> impl Iterator<Item = u8> {
    let alphabet = if upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
    (0..count).rev().map(move |at| alphabet[usize::from(number >> (4 * at)) & 0xf])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(value: &str, form: &str) -> bool {
        forms(value).iter().any(|found| found.as_slice() == form.as_bytes())
    }

    #[test]
    fn values_have_the_forms_that_encoders_give_them() {
        for (value, form) in [
            ("plain-value", "plain-value"),
            ("pass word", "pass%20word"),
            ("pass word", "pass+word"),
            ("a+b/c=d;e", "a%2Bb%2Fc%3Dd%3Be"),
            ("a+b/c=d;e", "a%2bb%2fc%3dd%3be"),
            ("a+b/c=d;e", "a%2Bb/c%3Dd%3Be"),
            ("a+b/c=d;e", "a+b\\/c=d;e"),
            ("a+b/c=d;e", "a\\u002Bb/c=d;e"),
            ("a<b>c&d\"e", "a\\u003cb\\u003ec\\u0026d\\\"e"),
            ("a~b'c(d)e", "a%7Eb%27c%28d%29e"),
            ("a~b'c(d)e", "a~b'c(d)e"),
            ("abcdefgh", "%61%62%63%64%65%66%67%68"),
            ("pässword", "p%C3%A4ssword"),
            ("pässword", "p\\u00e4ssword"),
            ("p𝄞ssword", "p\\uD834\\uDD1Essword"),
            ("back\\slash", "back\\\\slash"),
            ("\u{ff}~~~~~~~", "c3bf7e7e7e7e7e7e7e"),
            ("\u{ff}~~~~~~~", "C3BF7E7E7E7E7E7E7E"),
        ] {
            assert!(has(value, form), "{form}");
        }
    }

    #[test]
    fn base64_is_found_at_every_alignment_and_in_both_alphabets() {
        let value = "~~~?>>\u{ff}\u{fe}";
        for before in 0..6 {
            for after in 0..4 {
                let text = [&vec![0xff; before], value.as_bytes(), &vec![0xff; after]].concat();
                for encoded in [STANDARD.encode(&text), URL_SAFE.encode(&text)] {
                    let found = forms(value).iter().any(|form| {
                        encoded.as_bytes().windows(form.len()).any(|part| part == form.as_slice())
                    });
                    assert!(found, "{before} bytes before and {after} after: {encoded}");
                }
            }
        }
    }

    #[test]
    fn an_ordinary_token_has_few_forms_and_none_is_short() {
        let token = "ghp_0123456789abcdefABCDEF";
        let all = forms(token);
        assert!(all.len() < 20, "{}", all.len());
        assert!(forms("12345678").iter().all(|form| form.len() >= 8));
    }
}
