//! The names of secrets, valid once parsed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of a secret: `[A-Za-z_][A-Za-z0-9_]{0,127}`, as that of an environment variable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretName(String);

/// Text that is not the name of a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not the name of a secret: use 1 to 128 of A-Z, a-z, 0-9 and `_`, and no digit at the \
     beginning, such as `GITHUB_TOKEN`"
)]
pub struct SecretNameError;

impl SecretName {
    /// The most bytes that a name may have.
    pub const MAX_LENGTH: usize = 128;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SecretName {
    type Err = SecretNameError;

    fn from_str(text: &str) -> Result<Self, SecretNameError> {
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let fits = (1..=Self::MAX_LENGTH).contains(&text.len()) && text.chars().all(inner);
        if fits && !text.starts_with(|c: char| c.is_ascii_digit()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(SecretNameError)
        }
    }
}

impl TryFrom<String> for SecretName {
    type Error = SecretNameError;

    fn try_from(text: String) -> Result<Self, SecretNameError> {
        text.parse()
    }
}

impl From<SecretName> for String {
    fn from(name: SecretName) -> String {
        name.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_environment_variables() {
        for good in ["A", "_", "GITHUB_TOKEN", "token2", &"x".repeat(128)] {
            assert_eq!(good.parse::<SecretName>().unwrap().as_str(), good);
        }
        for bad in ["", "2A", "A-B", "A B", "A=B", "Ä", "A\n", &"x".repeat(129)] {
            assert_eq!(bad.parse::<SecretName>(), Err(SecretNameError), "{bad:?}");
        }
    }
}
