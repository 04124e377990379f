//! Signatures: nobody signs but who has the key, and nothing but what was signed is accepted.

use std::time::SystemTime;

use kami_core::component::Artifact;
use kami_core::signing::{SignatureError, SignedArtifact, TrustStore, Unsigned, valid_signers};

use crate::examples;

/// Verifies `bytes` where one of the two keys of the examples is trusted.
///
/// # Panics
/// Where something is accepted that this key never signed.
pub fn check(bytes: &[u8]) {
    let Ok(artifact) = Artifact::parse(bytes) else { return };
    let key = examples::key().public();
    let mut trust = TrustStore::default();
    trust.add(key, "the author");

    let signed_by_key = examples::signed_by_key(artifact.signed_part());
    if let Ok(signers) = valid_signers(&artifact) {
        assert_eq!(signers.len(), artifact.signatures().len());
        for signer in signers {
            let stranger = signer == examples::stranger().public()
                && examples::signed_by_stranger(artifact.signed_part());
            assert!(signer == key && signed_by_key || stranger, "{signer} signed nothing of this");
        }
    }

    let unsigned = artifact.signatures().len() == 0;
    match SignedArtifact::verify(artifact.clone(), &trust, Unsigned::Refuse, SystemTime::now()) {
        Ok(verified) => {
            assert_eq!(verified.signer(), Some(key));
            assert!(signed_by_key, "accepted, and never signed");
            assert_eq!(verified.artifact().bytes().as_ref(), bytes);
        }
        Err(error) => assert_eq!(matches!(error, SignatureError::Unsigned), unsigned, "{error}"),
    }
    let allowed =
        SignedArtifact::verify(artifact.clone(), &trust, Unsigned::Allow, SystemTime::now());
    assert!(allowed.is_ok() || !unsigned, "unsigned, which is allowed");
    assert!(allowed.is_err() || unsigned || signed_by_key, "a wrong signature is excused");

    let nobody = SignedArtifact::verify(
        artifact,
        &TrustStore::default(),
        Unsigned::Allow,
        SystemTime::now(),
    );
    assert_eq!(nobody.is_ok(), unsigned, "signed by somebody whom nobody trusts");
}

/// Artifacts that are signed by the one, the other, both and nobody.
pub fn examples() -> Vec<Vec<u8>> {
    examples::artifacts()
}
