//! What a secret is: text that a header can carry and that can be found again.

use std::fmt;

use zeroize::Zeroizing;

/// The value of a secret. It is never shown, and is wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Zeroizing<String>);

/// Text that cannot be kept as a secret. None of these tells the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretValueError {
    /// Shorter than [`SecretValue::MIN_BYTES`].
    #[error(
        "the value is too short for a secret: a secret is struck out of everything that a tool \
         reads and says, and fewer than {} bytes would strike out ordinary text",
        SecretValue::MIN_BYTES
    )]
    TooShort,
    /// Longer than [`SecretValue::MAX_BYTES`].
    #[error("the value is too long for a secret: it may have {} bytes", SecretValue::MAX_BYTES)]
    TooLong,
    /// Not UTF-8.
    #[error("the value is not text in UTF-8: encode it, such as in base64")]
    NotText,
    /// It has a character that no header of HTTP can carry.
    #[error(
        "the value has a control character, such as a line break, which no HTTP header can carry: \
         encode it, such as in base64"
    )]
    Control,
    /// It begins or ends with white space, which headers lose.
    #[error("the value begins or ends with white space, which an HTTP header would lose")]
    Space,
}

impl SecretValue {
    /// The fewest bytes that a value may have. Eight random characters do not appear by chance in
    /// what tools read and say; fewer would.
    pub const MIN_BYTES: usize = 8;

    /// The most bytes that a value may have: about what servers take as one header.
    pub const MAX_BYTES: usize = 16 * 1024;

    /// Takes `text`, which is wiped also where it is refused.
    ///
    /// # Errors
    /// Where it is too short, too long, or could not stand in a header of HTTP.
    pub fn new(text: String) -> Result<Self, SecretValueError> {
        let text = Zeroizing::new(text);
        if text.len() < Self::MIN_BYTES {
            return Err(SecretValueError::TooShort);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(SecretValueError::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(SecretValueError::Control);
        }
        if text.trim().len() != text.len() {
            return Err(SecretValueError::Space);
        }
        Ok(Self(text))
    }

    /// Takes `bytes`, which are wiped also where they are refused.
    ///
    /// # Errors
    /// As [`SecretValue::new`], and where they are not UTF-8.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, SecretValueError> {
        match String::from_utf8(bytes) {
            Ok(text) => Self::new(text),
            Err(error) => {
                drop(Zeroizing::new(error.into_bytes()));
                Err(SecretValueError::NotText)
            }
        }
    }

    /// The value itself, for whoever puts it where it belongs and nowhere else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_scrubbed_or_sent_is_refused() {
        use SecretValueError::{Control, NotText, Space, TooLong, TooShort};

        let value = |text: &str| SecretValue::new(text.to_owned());
        for good in ["12345678", "a b c d e", "pässword", &"x".repeat(SecretValue::MAX_BYTES)] {
            assert_eq!(value(good).unwrap().expose(), good);
        }
        assert_eq!(value("1234567"), Err(TooShort));
        assert_eq!(value(&"x".repeat(SecretValue::MAX_BYTES + 1)), Err(TooLong));
        for control in ["12345678\r\nx: y", "1234\u{0}5678", "1234\u{7f}5678", "1234\u{85}5678"] {
            assert_eq!(value(control), Err(Control));
        }
        assert_eq!(value(" 12345678"), Err(Space));
        assert_eq!(SecretValue::from_bytes(vec![0xff; 9]), Err(NotText));
    }

    #[test]
    fn a_value_is_not_shown_by_debugging() {
        let value = SecretValue::new("hunter2-hunter2".to_owned()).unwrap();
        assert_eq!(format!("{value:?}"), "SecretValue(..)");
    }
}
