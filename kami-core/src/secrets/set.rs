//! Secrets that are open, in memory.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zeroize::Zeroizing;

use super::{SecretName, SecretValue};

/// Named values, as they stand in an open store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secrets(BTreeMap<SecretName, Secret>);

/// A value, and since when it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// The value.
    pub value: SecretValue,
    /// When it was set, to the second.
    pub set: SystemTime,
}

/// There is no room for another secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are {} secrets already, and no more are kept: remove one", Secrets::MOST)]
pub struct TooManySecrets;

impl Secrets {
    /// The most secrets in one store; it bounds what is read from a hostile file.
    pub const MOST: usize = 256;

    /// The most bytes that [`Secrets::encode`] gives.
    pub(super) const MAX_BYTES: usize =
        Self::MOST * (11 + SecretName::MAX_LENGTH + SecretValue::MAX_BYTES);

    /// The value called `name`.
    pub fn get(&self, name: &SecretName) -> Option<&SecretValue> {
        self.0.get(name).map(|secret| &secret.value)
    }

    /// All secrets, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&SecretName, &Secret)> {
        self.0.iter()
    }

    /// Keeps a value, and gives back the one that had its name.
    ///
    /// # Errors
    /// Where there are [`Secrets::MOST`] others.
    pub fn insert(
        &mut self,
        name: SecretName,
        secret: Secret,
    ) -> Result<Option<Secret>, TooManySecrets> {
        if self.0.len() >= Self::MOST && !self.0.contains_key(&name) {
            return Err(TooManySecrets);
        }
        Ok(self.0.insert(name, secret))
    }

    /// Forgets a value, and gives it back.
    pub fn remove(&mut self, name: &SecretName) -> Option<Secret> {
        self.0.remove(name)
    }

    /// The bytes that are sealed. A form of our own, since a general one leaves copies of values in
    /// memory that nobody wipes.
    pub(super) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let length = self.0.iter().map(|(name, secret)| {
            // Two lengths and a time.
            11 + name.as_str().len() + secret.value.expose().len()
        });
        // Never moved while it grows, for the same reason.
        let mut bytes = Zeroizing::new(Vec::with_capacity(length.sum()));
        for (name, secret) in &self.0 {
            let (name, value) = (name.as_str().as_bytes(), secret.value.expose().as_bytes());
            let set = secret.set.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            bytes.push(u8::try_from(name.len()).expect("a name has at most 128 bytes"));
            bytes.extend(name);
            bytes.extend(set.to_be_bytes());
            let length = u16::try_from(value.len()).expect("a value has at most 16 KiB");
            bytes.extend(length.to_be_bytes());
            bytes.extend(value);
        }
        bytes
    }

    /// Reads what [`Secrets::encode`] gave, and nothing else.
    pub(super) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut secrets = Self::default();
        while !bytes.is_empty() {
            let (length, rest) = bytes.split_first()?;
            let (name, rest) = rest.split_at_checked(usize::from(*length))?;
            let (set, rest) = rest.split_first_chunk()?;
            let (length, rest) = rest.split_first_chunk()?;
            let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            let name: SecretName = std::str::from_utf8(name).ok()?.parse().ok()?;
            let value = SecretValue::from_bytes(value.to_vec()).ok()?;
            let set = UNIX_EPOCH.checked_add(Duration::from_secs(u64::from_be_bytes(*set)))?;
            if secrets.insert(name, Secret { value, set }).ok()?.is_some() {
                return None;
            }
            bytes = rest;
        }
        Some(secrets)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn secret(value: &str) -> Secret {
        let value = SecretValue::new(value.to_owned()).unwrap();
        Secret { value, set: UNIX_EPOCH + Duration::from_secs(1_800_000_000) }
    }

    pub fn secrets(pairs: &[(&str, &str)]) -> Secrets {
        let mut secrets = Secrets::default();
        for (name, value) in pairs {
            secrets.insert(name.parse().unwrap(), secret(value)).unwrap();
        }
        secrets
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let all = secrets(&[("A", "value of a"), ("B", &"b".repeat(SecretValue::MAX_BYTES))]);
        let bytes = all.encode();
        assert_eq!(Secrets::decode(&bytes).unwrap(), all);
        assert_eq!(Secrets::decode(&[]).unwrap(), Secrets::default());
        for end in 1..bytes.len() {
            // The first secret alone is whole.
            assert!(Secrets::decode(&bytes[..end]).is_none() || end == 22, "{end}");
        }
        assert_eq!(Secrets::decode(&[&bytes[..22], &bytes[..22]].concat()), None, "twice");
    }

    #[test]
    fn there_is_an_end_to_the_number_of_secrets() {
        let mut all = Secrets::default();
        let name = |at| format!("N{at:0>127}").parse::<SecretName>().unwrap();
        let longest = "x".repeat(SecretValue::MAX_BYTES);
        for at in 0..Secrets::MOST {
            all.insert(name(at), secret(&longest)).unwrap();
        }
        assert_eq!(all.encode().len(), Secrets::MAX_BYTES);
        assert_eq!(all.insert(name(Secrets::MOST), secret("one too many")), Err(TooManySecrets));
        assert!(all.insert(name(0), secret("another value")).unwrap().is_some());
    }
}
