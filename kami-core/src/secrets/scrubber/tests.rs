use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::*;

/// Numbers that look random and are the same in every run (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }

    fn text(&mut self, alphabet: &str, length: RangeInclusive<usize>) -> String {
        let alphabet: Vec<char> = alphabet.chars().collect();
        let count = length.start() + self.below(length.end() - length.start() + 1);
        (0..count).map(|_| alphabet[self.below(alphabet.len())]).collect()
    }

    fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())].clone()
    }
}

/// Few letters make values that overlap themselves and each other; the others make all encodings
/// differ. None is the character that strikes.
const ALPHABETS: &[&str] = &["ab", "abAB01-_", "a+/=?&% \"\\<>'~!@#é€𝄞", "0123456789"];

fn value(text: &str) -> SecretValue {
    SecretValue::new(text.to_owned()).unwrap()
}

fn scrubber(values: &[&str]) -> Scrubber {
    let values: Vec<SecretValue> = values.iter().map(|text| value(text)).collect();
    Scrubber::new(&values).unwrap()
}

/// Every byte of every occurrence of every form is struck, and no other.
fn oracle(values: &[&str], text: &[u8]) -> Vec<u8> {
    let mut scrubbed = text.to_vec();
    for form in values.iter().flat_map(|value| forms(value)) {
        for (at, part) in text.windows(form.len()).enumerate() {
            if part == form.as_slice() {
                scrubbed[at..at + form.len()].fill(STRUCK);
            }
        }
    }
    scrubbed
}

fn in_parts(scrubber: &Scrubber, text: &[u8], dice: &mut Dice) -> Vec<u8> {
    let (mut stream, mut passed, mut rest) = (scrubber.stream(), Vec::new(), text);
    let longest = 1 + dice.below(2 * text.len() + 1);
    while !rest.is_empty() {
        let (part, others) = rest.split_at(dice.below(longest + 1).min(rest.len()));
        passed.extend_from_slice(&stream.push(Bytes::copy_from_slice(part)));
        rest = others;
    }
    passed.extend_from_slice(&stream.finish());
    passed
}

#[test]
fn whole_or_in_parts_every_form_is_struck_and_nothing_else_changes() {
    let mut dice = Dice(7);
    let mut struck = 0;
    for round in 0..3000 {
        let alphabet = dice.pick(ALPHABETS);
        let values: Vec<String> = std::iter::repeat_with(|| dice.text(alphabet, 8..=14))
            .filter(|text| text.trim() == text && text.len() <= 24)
            .take(2)
            .collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let all: Vec<_> = values.iter().flat_map(|value| forms(value)).collect();
        let mut text = Vec::new();
        for _ in 0..dice.below(6) {
            text.extend(dice.text(alphabet, 0..=9).bytes());
            let form = &all[dice.below(all.len())];
            // A beginning or an end of a form is none, and may overlap the next.
            let cut = if dice.below(3) == 0 { dice.below(form.len()) } else { 0 };
            text.extend(if dice.below(2) == 0 { &form[cut..] } else { &form[..form.len() - cut] });
        }
        let scrubber = scrubber(&values);
        let expected = oracle(&values, &text);
        struck += expected.iter().filter(|byte| **byte == STRUCK).count();
        assert_eq!(scrubber.scrub_bytes(text.clone()), expected, "round {round}");
        assert_eq!(in_parts(&scrubber, &text, &mut dice), expected, "round {round}");
        if let Ok(text) = std::str::from_utf8(&text) {
            assert_eq!(scrubber.scrub_str(text).as_bytes(), expected, "round {round}");
        }
    }
    assert!(struck > 50_000, "only {struck} bytes were struck: the test does not see much");
}

#[test]
fn nothing_of_a_value_remains_in_base64_but_bits_at_its_edges() {
    let mut dice = Dice(11);
    for _ in 0..500 {
        let secret = dice.text(ALPHABETS[1], 8..=40);
        let (before, after) = (dice.text("xyz:", 0..=9), dice.text("xyz:", 0..=9));
        let encoded = STANDARD.encode(format!("{before}{secret}{after}"));
        let scrubbed = scrubber(&[&secret]).scrub_str(&encoded).into_owned();
        assert_eq!(scrubbed.len(), encoded.len());
        let first = 8 * before.len() / 6;
        let end = (8 * (before.len() + secret.len())).div_ceil(6);
        for (at, byte) in scrubbed.bytes().enumerate() {
            let inside = first < at && at + 1 < end;
            let outside = at < first || end <= at;
            assert!(!inside || byte == STRUCK, "{at} in {scrubbed}");
            assert!(!outside || byte == encoded.as_bytes()[at], "{at} in {scrubbed}");
        }
    }
}

#[test]
fn a_stream_flows_and_holds_back_only_what_may_be_a_secret() {
    let mut stream = scrubber(&["ghp_0123456789"]).stream();
    let mut push = |part: &'static str| stream.push(Bytes::from_static(part.as_bytes()));
    assert_eq!(push("data: one\n\n"), "data: one\n\n");
    assert_eq!(push("data: token gh"), "data: token ");
    assert_eq!(push("p_01234"), "");
    assert_eq!(push("x\n\n"), "ghp_01234x\n\n");
    assert_eq!(push("ghp_012345678"), "");
    assert_eq!(push("9"), "**************");
    assert_eq!(push("\n\nghp"), "\n\n");
    assert_eq!(stream.finish(), "ghp");
}

#[test]
fn what_is_passed_on_whole_is_not_copied() {
    let part = Bytes::from("data: nothing of interest\n\n".repeat(100));
    for scrubber in [Scrubber::default(), scrubber(&["ghp_0123456789"])] {
        let passed = scrubber.stream().push(part.clone());
        assert_eq!(passed.as_ptr(), part.as_ptr());
        assert_eq!(passed.len(), part.len());
        let text = std::str::from_utf8(&part).unwrap();
        assert!(matches!(scrubber.scrub_str(text), Cow::Borrowed(_)));
    }
}

#[test]
fn json_is_scrubbed_in_keys_texts_and_numbers() {
    let scrubber = scrubber(&["ghp_0123456789", "ghp_9876543210", "33557799"]);
    let mut found = json!({
        "ghp_0123456789": [1, "Bearer ghp_0123456789", {"deep": "Z2hwXzAxMjM0NTY3ODk="}],
        "ghp_9876543210": 33557799,
        "else": [null, true, 3355779, "ghp_012345678"],
    });
    scrubber.scrub_json(&mut found);
    let expected = json!({
        "**************": [1, "Bearer **************", {"deep": "******************k="}],
        "***************": "********",
        "else": [null, true, 3355779, "ghp_012345678"],
    });
    assert_eq!(found, expected);
    let mut as_text = json!("a \"quoted\\ghp_0123456789\"").to_string();
    as_text = scrubber.scrub_str(&as_text).into_owned();
    assert_eq!(as_text, r#""a \"quoted\\**************\"""#);
}

#[test]
fn there_is_an_end_to_what_is_looked_for() {
    let longest = value(&"x".repeat(SecretValue::MAX_BYTES));
    let most = vec![&longest; Scrubber::MAX_BYTES / SecretValue::MAX_BYTES];
    assert!(!Scrubber::new(most.clone()).unwrap().is_empty());
    let more = Scrubber::new(most.into_iter().chain([&value("12345678")])).unwrap_err();
    assert_eq!(more, TooMuchToScrub { bytes: Scrubber::MAX_BYTES + 8 });
    assert!(Scrubber::new([]).unwrap().is_empty());
}

#[test]
fn a_scrubber_does_not_show_what_it_looks_for() {
    let shown = format!("{:?}", scrubber(&["ghp_0123456789"]));
    assert_eq!(shown, "Scrubber { is_empty: false, .. }");
}
