//! The tools, called as the plain functions that they are.

use hello::{Language, TextSize, greet, measure_text};

#[test]
fn greets_in_english_unless_told_otherwise() {
    let greeted = |language| greet("Ada".to_owned(), language).unwrap();
    assert_eq!(greeted(None), "Hello, Ada!");
    assert_eq!(greeted(Some(Language::French)), "Bonjour, Ada !");
    assert_eq!(greeted(Some(Language::Japanese)), "こんにちは、Adaさん！");
}

#[test]
fn asks_for_a_name() {
    let refusal = greet("  ".to_owned(), None).unwrap_err();
    assert_eq!(refusal, "`name` is empty: say whom to greet");
}

#[test]
fn measures_in_every_unit() {
    let size = measure_text("Grüße aus\nKyōto \n".to_owned());
    assert_eq!(size, TextSize { characters: 17, words: 3, lines: 2, bytes: 20 });
    assert_eq!(measure_text(String::new()).lines, 0);
}
