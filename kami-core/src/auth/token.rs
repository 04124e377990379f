//! Bearer tokens that this program makes itself.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::digest::Digest;

/// What every token begins with, so that people and scanners of leaked secrets recognise one.
pub(super) const PREFIX: &str = "kami_";

/// How many random bytes a token has: nobody guesses them, and so their hash needs no salt.
const BYTES: usize = 32;

/// A token as its bearer shows it. It is told once, and wiped when it is dropped.
pub struct NewToken(Zeroizing<String>);

impl NewToken {
    /// Makes a token.
    ///
    /// # Errors
    /// Where the system has no randomness.
    pub fn generate() -> io::Result<Self> {
        let mut bytes = Zeroizing::new([0; BYTES]);
        getrandom::fill(&mut *bytes).map_err(io::Error::other)?;
        let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()));
        Ok(Self(Zeroizing::new([PREFIX, text.as_str()].concat())))
    }

    /// The token.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What the registry keeps of it.
    pub fn hash(&self) -> Digest {
        hash(&self.0)
    }
}

/// What the registry keeps of a token.
pub(super) fn hash(token: &str) -> Digest {
    Digest::of(token.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_another_one_of_256_random_bits() {
        let (one, other) = (NewToken::generate().unwrap(), NewToken::generate().unwrap());
        assert_ne!(one.expose(), other.expose());
        let random = one.expose().strip_prefix(PREFIX).unwrap();
        assert_eq!(URL_SAFE_NO_PAD.decode(random).unwrap().len() * 8, 256);
        assert_eq!(one.hash(), hash(one.expose()));
    }
}
