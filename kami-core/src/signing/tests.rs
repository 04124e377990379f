//! What signatures and keys promise, and what no changed byte of them gets.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::component::fixtures;
use crate::digest::hex;

/// The day on which these tests verify.
const TODAY: &str = "2027-01-15";

/// Noon of that day.
fn noon() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_014_400)
}

fn signed() -> (Vec<u8>, TrustStore) {
    let key = SecretKey::generate().unwrap();
    let mut trust = TrustStore::default();
    trust.add(key.public(), "test");
    (sign(&fixtures::artifact("dev.example.t", "1.0.0", "t"), &key).unwrap(), trust)
}

fn verify(
    bytes: Vec<u8>,
    trust: &TrustStore,
    unsigned: Unsigned,
) -> Result<SignedArtifact, String> {
    let artifact = Artifact::parse(bytes).map_err(|e| e.to_string())?;
    SignedArtifact::verify(artifact, trust, unsigned, noon()).map_err(|e| e.to_string())
}

#[test]
fn a_signature_by_a_trusted_key_is_accepted() {
    let (bytes, trust) = signed();
    let verified = verify(bytes, &trust, Unsigned::Refuse).unwrap();
    assert!(trust.label(&verified.signer().unwrap()).is_some());
}

#[test]
fn strangers_and_nobody_are_refused() {
    let (bytes, _) = signed();
    for unsigned in [Unsigned::Refuse, Unsigned::Allow] {
        let error = verify(bytes.clone(), &TrustStore::default(), unsigned).unwrap_err();
        assert!(error.contains("not trusted"), "{error}");
    }
    let bare = fixtures::artifact_bytes("dev.example.t", "1.0.0", "t");
    let error = verify(bare.clone(), &TrustStore::default(), Unsigned::Refuse).unwrap_err();
    assert!(error.contains("not signed"), "{error}");
    assert!(verify(bare, &TrustStore::default(), Unsigned::Allow).is_ok());
}

#[test]
fn no_flipped_bit_is_accepted() {
    let (bytes, trust) = signed();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            assert!(verify(changed, &trust, Unsigned::Refuse).is_err(), "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn a_second_signer_adds_and_the_same_signer_replaces() {
    let (bytes, mut trust) = signed();
    let artifact = Artifact::parse(bytes).unwrap();
    let second = SecretKey::generate().unwrap();
    let twice = Artifact::parse(sign(&artifact, &second).unwrap()).unwrap();
    let again = Artifact::parse(sign(&twice, &second).unwrap()).unwrap();
    assert_eq!(again.signatures().len(), 2);
    assert_eq!(valid_signers(&again).unwrap().len(), 2);
    let first = trust.keys().next().unwrap().public;
    trust.remove(&first);
    trust.add(second.public(), "second");
    assert!(SignedArtifact::verify(again, &trust, Unsigned::Refuse, noon()).is_ok());
}

#[test]
fn one_wrong_signature_spoils_the_right_ones() {
    let (bytes, trust) = signed();
    let stranger = SecretKey::generate().unwrap();
    let other = fixtures::artifact("dev.example.other", "1.0.0", "t");
    let transplanted = Artifact::parse(sign(&other, &stranger).unwrap()).unwrap();
    let mut mixed = bytes;
    append_section(&mut mixed, SIGNATURE_SECTION, transplanted.signatures().next().unwrap());
    let error = verify(mixed, &trust, Unsigned::Refuse).unwrap_err();
    assert!(error.contains("does not fit"), "{error}");
}

#[test]
fn keys_and_trust_survive_their_files() {
    let key = SecretKey::generate().unwrap();
    let pem = key.to_pem().unwrap();
    let text = std::str::from_utf8(pem.as_ref()).unwrap();
    assert_eq!(SecretKey::from_pem(text).unwrap().public(), key.public());
    assert!(SecretKey::from_pem("nonsense").is_err());

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trust.toml");
    assert_eq!(TrustStore::load(&path).unwrap(), TrustStore::default());
    let mut trust = TrustStore::default();
    trust.add(key.public(), "my key");
    trust.save(&path).unwrap();
    assert_eq!(TrustStore::load(&path).unwrap(), trust);
    fs::write(&path, "version = 3").unwrap();
    let error = format!("{:?}", TrustStore::load(&path).unwrap_err());
    assert!(error.contains("newer"), "{error}");
}

fn id(text: &str) -> PackageId {
    text.parse().unwrap()
}

fn date(text: &str) -> Date {
    text.parse().unwrap()
}

fn key() -> SecretKey {
    SecretKey::generate().unwrap()
}

/// A key that is trusted for `dev.example` until the end of today.
fn bounded(public: PublicKey) -> TrustedKey {
    TrustedKey {
        scope: vec!["dev.example".parse().unwrap()],
        expires: Some(date(TODAY)),
        ..TrustedKey::new(public, "alice")
    }
}

fn revoked(public: PublicKey) -> RevokedKey {
    RevokedKey { public, reason: "stolen".to_owned(), date: date(TODAY) }
}

/// An artifact signed by all of `keys`, one after the other.
fn signed_by(id: &str, keys: &[&SecretKey]) -> Artifact {
    let bare = fixtures::artifact(id, "1.0.0", "t");
    keys.iter().fold(bare, |artifact, key| Artifact::parse(sign(&artifact, key).unwrap()).unwrap())
}

#[test]
fn no_more_sign_than_may_and_who_did_may_again() {
    let keys: Vec<_> = (0..MAX_SIGNATURES).map(|_| key()).collect();
    let full = signed_by("dev.example.t", &keys.iter().collect::<Vec<_>>());
    assert_eq!(sign(&full, &key()), Err(TooManySignatures));
    let again = Artifact::parse(sign(&full, &keys[0]).unwrap()).unwrap();
    assert_eq!(valid_signers(&again).unwrap().len(), MAX_SIGNATURES);
}

#[test]
fn a_key_counts_for_its_scope_only() {
    let (alice, mut trust) = (key(), TrustStore::default());
    trust.insert(bounded(alice.public()));
    let judge = |id: &str| {
        SignedArtifact::verify(signed_by(id, &[&alice]), &trust, Unsigned::Refuse, noon())
    };
    for within in ["dev.example", "dev.example.t", "dev.example.deep.t"] {
        assert_eq!(judge(within).unwrap().signer(), Some(alice.public()));
    }
    for outside in ["dev.examples.t", "dev.other", "com.dev.example"] {
        let error = judge(outside).unwrap_err();
        assert!(matches!(error, SignatureError::OutOfScope { .. }), "{outside}: {error:?}");
        let told = error.to_string();
        assert!(told.contains("`alice`") && told.contains("`dev.example`"), "{told}");
    }
}

#[test]
fn a_key_counts_through_its_last_day() {
    let (alice, mut trust) = (key(), TrustStore::default());
    trust.insert(bounded(alice.public()));
    let verify = |now| {
        let artifact = signed_by("dev.example.t", &[&alice]);
        SignedArtifact::verify(artifact, &trust, Unsigned::Refuse, now)
    };
    let end = date(TODAY).end();
    assert!(verify(end - Duration::from_nanos(1)).is_ok());
    assert_eq!(trust.next_expiry(noon()), Some(end));
    for late in [end, end + Duration::from_secs(1 << 40)] {
        let error = verify(late).unwrap_err();
        assert!(matches!(error, SignatureError::Expired { .. }), "{error:?}");
        assert!(error.to_string().contains("ended with 2027-01-15"), "{error}");
    }
    assert_eq!(trust.next_expiry(end), None);
}

#[test]
fn a_revoked_key_counts_for_nothing_and_spoils_nothing() {
    let (alice, bob) = (key(), key());
    let mut trust = TrustStore::default();
    trust.add(alice.public(), "alice");
    trust.revoke(revoked(alice.public()));
    let judge = |trust: &TrustStore, keys: &[&SecretKey]| {
        let artifact = signed_by("dev.example.t", keys);
        SignedArtifact::verify(artifact, trust, Unsigned::Allow, noon())
    };
    // Trust that is given again does not undo it.
    trust.add(alice.public(), "alice again");
    for keys in [&[&alice][..], &[&alice, &bob], &[&bob, &alice]] {
        let error = judge(&trust, keys).unwrap_err();
        assert!(matches!(error, SignatureError::Revoked(_)), "{error:?}");
        assert!(error.to_string().contains("revoked on 2027-01-15 (stolen)"), "{error}");
    }
    assert_eq!(trust.label(&alice.public()), None);

    trust.add(bob.public(), "bob");
    for keys in [[&alice, &bob], [&bob, &alice]] {
        let signed = judge(&trust, &keys).unwrap();
        assert_eq!(signed.signers(), [bob.public()], "a revoked key is no signer");
    }
}

#[test]
fn the_first_revocation_of_a_key_stays() {
    let alice = key().public();
    let mut trust = TrustStore::default();
    trust.revoke(revoked(alice));
    trust.revoke(RevokedKey { reason: "other".to_owned(), ..revoked(alice) });
    assert_eq!(trust.revocation(&alice).unwrap().reason, "stolen");
    let mut list = trust.clone();
    assert_eq!(trust.revoke_all(list.clone()), []);
    let bob = revoked(key().public());
    list.revoke(bob.clone());
    list.add(key().public(), "smuggled in with a list");
    assert_eq!(trust.revoke_all(list), [bob]);
    assert_eq!(trust.keys().count(), 0);
}

#[test]
fn first_use_widens_and_never_narrows() {
    let alice = key().public();
    let mut trust = TrustStore::default();
    for prefix in ["dev.example", "dev.other", "dev.example"] {
        trust.allow(alice, prefix.parse().unwrap());
    }
    let terms = trust.get(&alice).unwrap();
    assert_eq!((terms.scope.len(), terms.added), (2, Added::FirstUse));
    assert!(terms.covers(&id("dev.other.t")) && !terms.covers(&id("dev.third.t")));
    trust.add(alice, "for all");
    trust.allow(alice, "dev.example".parse().unwrap());
    assert!(trust.get(&alice).unwrap().covers(&id("dev.third.t")));
}

#[test]
fn terms_survive_the_file_and_version_1_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trust.toml");
    let (alice, bob, eve) = (key().public(), key().public(), key().public());
    fs::write(&path, format!("version = 1\n\n[[key]]\nlabel = \"a\"\npublic = \"{alice}\"\n"))
        .unwrap();
    let mut trust = TrustStore::load(&path).unwrap();
    assert_eq!(trust.get(&alice), Some(&TrustedKey::new(alice, "a")));

    trust.insert(TrustedKey { added: Added::Rotation(alice), ..bounded(bob) });
    trust.allow(eve, "dev.example".parse().unwrap());
    trust.revoke(revoked(eve));
    trust.save(&path).unwrap();
    assert!(fs::read_to_string(&path).unwrap().starts_with("version = 2\n"));
    assert_eq!(TrustStore::load(&path).unwrap(), trust);
}

#[test]
fn a_trust_store_that_is_not_understood_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trust.toml");
    let entry = format!("[[key]]\nlabel = \"a\"\npublic = \"{}\"\n", key().public());
    for wrong in [
        "".to_owned(),
        "version = 0".to_owned(),
        format!("version = 2\n{entry}{entry}"),
        format!("version = 2\n{entry}trusted = \"for ever\"\n"),
        format!("version = 2\n{entry}expires = \"2027-02-29\"\n"),
        format!("version = 2\n{entry}expires = 2027-02-28\n"),
        format!("version = 2\n{entry}scope = [\"dev.*\"]\n"),
        format!("version = 2\n{entry}added = \"by magic\"\n"),
        format!("version = 2\n{}", entry.replace("[[key]]", "[[revoked]]")),
    ] {
        fs::write(&path, &wrong).unwrap();
        assert!(TrustStore::load(&path).is_err(), "{wrong}");
    }
}

#[test]
fn changes_at_the_same_time_are_all_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path: PathBuf = directory.path().join("trust.toml");
    let keys: Vec<_> = (0..16).map(|_| key().public()).collect();
    std::thread::scope(|scope| {
        for key in &keys {
            scope.spawn(|| {
                let change = |trust: &mut TrustStore| -> Result<(), TrustError> {
                    trust.revoke(revoked(*key));
                    Ok(())
                };
                TrustStore::update(&path, change).unwrap();
            });
        }
    });
    assert_eq!(TrustStore::load(&path).unwrap().revoked().count(), keys.len());
}

#[test]
fn a_passphrase_leaves_no_secret_in_the_file() {
    let key = key();
    let plain = key.to_pem().unwrap();
    let plain = std::str::from_utf8(plain.as_ref()).unwrap();
    let der: String = plain.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(der).unwrap();
    // As in RFC 8410, section 7: a document of version 1, which ends with the seed.
    let head = "302e020100300506032b657004220420";
    assert_eq!(hex(&der[..der.len() - 32]), head, "OpenSSL reads nothing else");
    let seed = &der[der.len() - 32..];
    assert_eq!(SecretKey::from_pem(plain).unwrap().public(), key.public());

    let passphrase = Passphrase::new("correct horse".to_owned()).unwrap();
    let pem = key.to_encrypted_pem(&passphrase).unwrap();
    let text = std::str::from_utf8(pem.as_ref()).unwrap();
    assert!(SecretKey::is_encrypted(text) && !SecretKey::is_encrypted(plain), "{text}");
    let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    let file = STANDARD.decode(&body).unwrap();
    for start in 0..=seed.len() - 4 {
        let part = &seed[start..start + 4];
        assert!(!file.windows(4).any(|bytes| bytes == part), "bytes {start} of the seed");
        assert!(!text.contains(&hex(part)), "bytes {start} of the seed in hex");
    }
    for shift in 0..3 {
        // However the seed falls into groups of three bytes.
        let encoded = STANDARD.encode(&seed[shift..]);
        assert!(!body.contains(&encoded[..8]), "the seed in base64");
    }
    assert!(!text.contains("correct horse"));

    let read = SecretKey::from_encrypted_pem(text, &passphrase).unwrap();
    assert_eq!(read.public(), key.public());
    let wrong = Passphrase::new("correct hors".to_owned()).unwrap();
    let error = SecretKey::from_encrypted_pem(text, &wrong).unwrap_err();
    assert!(matches!(error, SecretKeyError::Passphrase), "{error}");
    assert!(matches!(SecretKey::from_pem(text), Err(SecretKeyError::Format)));
    assert!(SecretKey::from_encrypted_pem(plain, &passphrase).is_err());
    let again = key.to_encrypted_pem(&passphrase).unwrap();
    assert_ne!(again.as_ref(), pem.as_ref(), "the salt is another one each time");
    assert_eq!(Passphrase::new(String::new()), None);
    assert_eq!(format!("{passphrase:?}"), "Passphrase");
}

/// Written by `openssl genpkey -algorithm ed25519 -aes-256-cbc -pass pass:kami`.
const BY_OPENSSL: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAjBh3l9hSym+gICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEFdhyJMORePY5QQJrnKTlqMEQJdG
mi7xFAp5RlkdB2W+hB9jUboQy2o1yHY/ojIXhJojQN8mRefUHktLXX19KeWbEYSf
+ROccsZ+OfwPrRcAPaY=
-----END ENCRYPTED PRIVATE KEY-----";

#[test]
fn openssl_s_encrypted_keys_are_read() {
    let passphrase = Passphrase::new("kami".to_owned()).unwrap();
    let key = SecretKey::from_encrypted_pem(BY_OPENSSL, &passphrase).unwrap();
    assert_eq!(
        key.public().to_string(),
        "ed25519:23cd909b1e3036f04e139ebdfcf2f0c0901256ad8b627be612470894a8c9f3d8"
    );
}

#[test]
fn a_successor_stands_where_the_old_key_stood() {
    let (old, new) = (key(), key());
    let rotation = Rotation::sign(&old, &new).unwrap();
    assert_eq!(rotation.to_string().parse(), Ok(rotation));
    assert_eq!(format!("{rotation}\n").parse(), Ok(rotation));

    let mut trust = TrustStore::default();
    trust.insert(bounded(old.public()));
    for _ in 0..2 {
        let terms = trust.rotate(&rotation, noon()).unwrap().clone();
        let added = Added::Rotation(old.public());
        assert_eq!(terms, TrustedKey { added, ..bounded(new.public()) });
    }
    let signed = signed_by("dev.example.t", &[&new]);
    assert!(SignedArtifact::verify(signed, &trust, Unsigned::Refuse, noon()).is_ok());
    assert!(trust.get(&old.public()).is_some(), "what it signed still runs");
}

#[test]
fn the_word_of_a_key_that_does_not_count_counts_for_nothing() {
    let (old, new) = (key(), key());
    let rotation = Rotation::sign(&old, &new).unwrap();
    let refused = |trust: &TrustStore, now| trust.clone().rotate(&rotation, now).unwrap_err();
    let mut trust = TrustStore::default();
    assert_eq!(refused(&trust, noon()), RotationError::Untrusted(old.public()));
    trust.insert(bounded(old.public()));
    let late = refused(&trust, date(TODAY).end());
    assert!(matches!(late, RotationError::Expired { .. }), "{late}");
    for key in [old.public(), new.public()] {
        let mut trust = trust.clone();
        trust.revoke(revoked(key));
        let error = refused(&trust, noon());
        assert!(matches!(error, RotationError::Revoked { key: found, .. } if found == key));
    }
    trust.add(new.public(), "somebody else's");
    assert_eq!(refused(&trust, noon()), RotationError::Known(new.public()));
    assert_eq!(Rotation::sign(&old, &old), Err(RotationError::Same));
}

#[test]
fn no_changed_byte_of_a_rotation_statement_is_accepted() {
    let (old, new, eve) = (key(), key(), key());
    let text = format!("{}\n", Rotation::sign(&old, &new).unwrap());
    for at in 0..text.len() {
        for bit in 0..8 {
            let mut changed = text.clone().into_bytes();
            changed[at] ^= 1 << bit;
            let Ok(changed) = String::from_utf8(changed) else { continue };
            assert!(changed.parse::<Rotation>().is_err(), "byte {at}, bit {bit}: {changed}");
        }
    }
    for end in 0..text.len() - 1 {
        assert!(text[..end].parse::<Rotation>().is_err(), "{end} bytes");
    }
    // The parts of genuine statements, put together in another way.
    let others = Rotation::sign(&old, &eve).unwrap().to_string();
    let lines: Vec<_> = text.lines().zip(others.lines()).collect();
    for mixture in 1..31 {
        let pick = |(n, line): (usize, &(&str, &str))| match mixture >> n & 1 {
            0 => line.0.to_owned(),
            _ => line.1.to_owned(),
        };
        let mixed: Vec<_> = lines.iter().enumerate().map(pick).collect();
        let mixed = mixed.join("\n");
        let genuine = mixed == text.trim_end() || mixed == others;
        assert_eq!(mixed.parse::<Rotation>().is_ok(), genuine, "{mixed}");
    }
}

#[test]
fn a_signature_on_an_artifact_is_none_on_a_rotation() {
    let (old, new) = (key(), key());
    let message = [old.public().as_bytes().as_slice(), new.public().as_bytes()].concat();
    let digest = Digest::of(&message);
    for signed in [message.clone(), [DOMAIN, digest.as_bytes()].concat()] {
        let (by_old, by_new) = (hex(&old.sign(&signed)), hex(&new.sign(&signed)));
        let (old, new) = (old.public(), new.public());
        let text = format!(
            "kami:rotation/v1\nold: {old}\nnew: {new}\nold-signature: {by_old}\nnew-signature: {by_new}"
        );
        assert_eq!(text.parse::<Rotation>(), Err(RotationError::Forged));
    }
}
