//! An issuer's public keys, and what they sign.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::Value;

/// The most keys of an issuer; the rest is not looked at. Large issuers have a dozen.
const MOST_KEYS: usize = 100;

/// The longest name of a key, in bytes.
const LONGEST_ID: usize = 256;

/// How a token may be signed. There are no others: with `none` nothing is, and with HMAC the key that
/// checks a signature makes it too, so that whoever knows a public key could pass it for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    /// The one of this name in the header of a token (RFC 7518, 8037 and 9864).
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "EdDSA" | "Ed25519" => Self::EdDsa,
            _ => return None,
        })
    }

    /// How an RSA key is used, if it is one.
    fn rsa(self) -> Option<&'static RsaParameters> {
        Some(match self {
            Self::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            Self::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
            Self::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
            Self::Ps256 => &RSA_PSS_2048_8192_SHA256,
            Self::Ps384 => &RSA_PSS_2048_8192_SHA384,
            Self::Ps512 => &RSA_PSS_2048_8192_SHA512,
            Self::Es256 | Self::Es384 | Self::EdDsa => return None,
        })
    }
}

/// The numbers of a public key. That they are one is checked when it is used.
#[derive(Debug, PartialEq, Eq)]
enum Numbers {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// A point, as it is written without compression.
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A public key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Key {
    id: Option<String>,
    /// The only algorithm that it is for, if it says so.
    algorithm: Option<Algorithm>,
    numbers: Numbers,
}

impl Key {
    /// Whether this key is for the algorithm.
    fn fits(&self, algorithm: Algorithm) -> bool {
        let kind = match (&self.numbers, algorithm) {
            (Numbers::Rsa { .. }, algorithm) => algorithm.rsa().is_some(),
            (Numbers::P256(_), Algorithm::Es256)
            | (Numbers::P384(_), Algorithm::Es384)
            | (Numbers::Ed25519(_), Algorithm::EdDsa) => true,
            _ => false,
        };
        kind && self.algorithm.is_none_or(|only| only == algorithm)
    }

    /// Whether `signature` is one by this key over `message`.
    pub(super) fn signed(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let verified = match (&self.numbers, algorithm.rsa()) {
            (Numbers::Rsa { modulus, exponent }, Some(parameters)) => {
                let key = RsaPublicKeyComponents { n: modulus, e: exponent };
                key.verify(parameters, message, signature)
            }
            (Numbers::P256(point), _) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            (Numbers::P384(point), _) => {
                UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).verify(message, signature)
            }
            (Numbers::Ed25519(point), _) => {
                UnparsedPublicKey::new(&ED25519, point).verify(message, signature)
            }
            (Numbers::Rsa { .. }, None) => return false,
        };
        self.fits(algorithm) && verified.is_ok()
    }
}

/// All keys of an issuer.
#[derive(Debug, Default)]
pub(super) struct KeySet(Vec<Key>);

/// A key as RFC 7517 writes it; what is of no use here is left out.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a set of keys. Those that are of another kind are left out, and so are those that
    /// cannot be read: issuers publish what is for others too.
    pub(super) fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        let Jwks { keys } = serde_json::from_slice(json)?;
        let keys = keys.into_iter().take(MOST_KEYS);
        Ok(Self(keys.filter_map(|key| read(serde_json::from_value(key).ok()?)).collect()))
    }

    /// The key that a token names for an algorithm; without a name, the only one that there is for it.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&Key> {
        let named = |key: &&Key| id.is_none() || key.id.as_deref() == id;
        let mut found = self.0.iter().filter(|key| key.fits(algorithm)).filter(named);
        match (found.next(), found.next()) {
            (Some(only), None) => Some(only),
            _ => None,
        }
    }
}

fn read(key: Jwk) -> Option<Key> {
    let signs = key.usage.as_deref().is_none_or(|usage| usage == "sig");
    let verifies = key.key_ops.is_none_or(|uses| uses.iter().any(|one| one == "verify"));
    if !signs || !verifies || key.kid.as_ref().is_some_and(|id| id.len() > LONGEST_ID) {
        return None;
    }
    let algorithm = match key.alg.as_deref() {
        Some(name) => Some(Algorithm::of(name)?),
        None => None,
    };
    let bytes = |text: Option<String>, length: Option<usize>| {
        let bytes = URL_SAFE_NO_PAD.decode(text?).ok()?;
        length.is_none_or(|length| bytes.len() == length).then_some(bytes)
    };
    let point = |x, y, length| {
        let (x, y) = (bytes(x, Some(length))?, bytes(y, Some(length))?);
        // What stands before the two coordinates says that both are there.
        Some([&[4], x.as_slice(), y.as_slice()].concat())
    };
    let numbers = match (key.kty.as_str(), key.crv.as_deref()) {
        ("RSA", _) => Numbers::Rsa { modulus: bytes(key.n, None)?, exponent: bytes(key.e, None)? },
        ("EC", Some("P-256")) => Numbers::P256(point(key.x, key.y, 32)?),
        ("EC", Some("P-384")) => Numbers::P384(point(key.x, key.y, 48)?),
        ("OKP", Some("Ed25519")) => Numbers::Ed25519(bytes(key.x, Some(32))?),
        _ => return None,
    };
    Some(Key { id: key.kid, algorithm, numbers })
}
