//! "Did you mean": the known word nearest to an unknown one.

/// The word of `known` that `typed` was probably meant to be.
pub fn nearest<'a>(typed: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|&word| (distance(typed, word), word))
        .filter(|&(distance, word)| distance <= word.len().max(3) / 3)
        .min()
        .map(|(_, word)| word)
}

/// The Levenshtein distance in bytes; attribute keys are short and ASCII.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.bytes().enumerate() {
            let substitute = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_slips_are_recognised_and_other_words_are_not() {
        let known = ["name", "title", "read_only", "destructive"];
        assert_eq!(nearest("readonly", &known), Some("read_only"));
        assert_eq!(nearest("tilte", &known), None);
        assert_eq!(nearest("titel", &known), None);
        assert_eq!(nearest("titl", &known), Some("title"));
        assert_eq!(nearest("destructve", &known), Some("destructive"));
        assert_eq!(nearest("colour", &known), None);
    }
}
