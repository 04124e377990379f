//! The bytes of a record and of the head, and what authenticates them.
//!
//! Both are one line of JSON whose last member is computed over all bytes before it, as they are:
//! nothing is parsed and written again to be checked, so that there is no second way to write the
//! same record.

use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::event::AuditEvent;
use super::time::UtcTime;
use crate::digest::{Digest, from_hex, hex};

/// The version of the format. A reader refuses any other.
pub(super) const VERSION: u32 = 1;

/// The longest line that a writer writes, given how events are bounded, with room to spare.
pub(super) const MAX_LINE: usize = 256 << 10;

/// The most bytes of a head.
pub(super) const MAX_HEAD: usize = 1 << 10;

/// So that a hash of these bytes is a hash of nothing else.
const RECORD_DOMAIN: &[u8] = b"kami:audit-record/v1\n";
const HEAD_DOMAIN: &[u8] = b"kami:audit-head/v1\n";

const HASH: &str = ",\"hash\":\"";
const MAC: &str = ",\"mac\":\"";

/// Authenticates the head.
pub(super) type HeadKey = Hmac<Sha256>;

/// A place in the chain: a sequence number, and the hash of the record that has it.
///
/// Written as `SEQUENCE:HASH`, with the hash in 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainHead {
    /// Of the first record it is 1; 0 where there is none yet.
    #[serde(rename = "seq")]
    pub sequence: u64,
    /// The record's hash; before the first record it is all zeros.
    pub hash: Digest,
}

/// Text that is not a [`ChainHead`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a place in the log: expected SEQUENCE:HASH, as `log head` prints it")]
pub struct ChainHeadError;

impl ChainHead {
    /// The place before the first record.
    pub(super) fn start() -> Self {
        Self { sequence: 0, hash: Digest::from([0; 32]) }
    }
}

impl std::fmt::Display for ChainHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.sequence, self.hash.hex())
    }
}

impl std::str::FromStr for ChainHead {
    type Err = ChainHeadError;

    fn from_str(text: &str) -> Result<Self, ChainHeadError> {
        let (sequence, hash) = text.trim().split_once(':').ok_or(ChainHeadError)?;
        let hash = hash.strip_prefix("sha256:").unwrap_or(hash);
        let hash = from_hex::<32>(hash).ok_or(ChainHeadError)?;
        Ok(Self { sequence: sequence.parse().map_err(|_| ChainHeadError)?, hash: hash.into() })
    }
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineDamage {
    /// Longer than any that is written.
    #[error("it is longer than any record")]
    TooLong,
    /// Not the shape of a record.
    #[error("it is not a record")]
    Malformed,
    /// Of another version of the format.
    #[error("it has version {0}, and this program knows version {VERSION}: update cargo-kami")]
    Version(u32),
    /// Its hash is not that of its bytes.
    #[error("it was changed: its hash is not that of its content")]
    Hash,
    /// It does not follow the record before it.
    #[error(
        "it has sequence number {found} where {expected} is due: records are missing, added or out of order"
    )]
    Sequence {
        /// The number that follows the record before.
        expected: u64,
        /// The number that it has.
        found: u64,
    },
    /// It has the right number, and follows another record than the one before it.
    #[error("it follows another record than the one before it")]
    Previous,
}

/// A record as it is written.
#[derive(Serialize)]
struct Written<'a> {
    v: u32,
    seq: u64,
    time: UtcTime,
    #[serde(flatten)]
    event: &'a AuditEvent,
    prev: &'a str,
}

/// The part of a record that makes it a link of the chain.
#[derive(Deserialize)]
struct Link {
    v: u32,
    seq: u64,
    prev: String,
}

/// Appends the record that follows `head` to `out`, with its newline, and gives the new head.
///
/// # Errors
/// Where the event cannot be written as JSON, which no event of this crate does.
pub(super) fn write(
    head: ChainHead,
    time: UtcTime,
    event: &AuditEvent,
    out: &mut Vec<u8>,
) -> Result<ChainHead, serde_json::Error> {
    let start = out.len();
    let sequence = head.sequence + 1;
    let prev = head.hash.hex();
    serde_json::to_writer(
        &mut *out,
        &Written { v: VERSION, seq: sequence, time, event, prev: &prev },
    )?;
    // Without the brace that would end it.
    out.pop();
    let hash = hash(head.hash, &out[start..]);
    out.extend_from_slice(HASH.as_bytes());
    out.extend_from_slice(hash.hex().as_bytes());
    out.extend_from_slice(b"\"}\n");
    Ok(ChainHead { sequence, hash })
}

fn hash(previous: Digest, body: &[u8]) -> Digest {
    let mut sha = Sha256::new();
    sha.update(RECORD_DOMAIN);
    sha.update(previous.as_bytes());
    sha.update(body);
    Digest::from(<[u8; 32]>::from(sha.finalize()))
}

/// Takes a line apart into its body and the hex digits after `name`.
fn split<'a>(line: &'a [u8], name: &str) -> Option<(&'a [u8], [u8; 32])> {
    let rest = line.strip_suffix(b"\"}")?;
    let (rest, digits) = rest.split_at_checked(rest.len().checked_sub(64)?)?;
    let body = rest.strip_suffix(name.as_bytes())?;
    Some((body, from_hex(std::str::from_utf8(digits).ok()?)?))
}

/// The version that a line says it has; the rest may be of any shape.
pub(super) fn version(line: &[u8]) -> Option<u32> {
    #[derive(Deserialize)]
    struct Versioned {
        v: u32,
    }
    serde_json::from_slice(line).ok().map(|Versioned { v }| v)
}

/// Reads the place that `line`, without its newline, says it has, and what it says came before it;
/// only its own hash is checked.
pub(super) fn read(line: &[u8]) -> Result<(ChainHead, Digest), LineDamage> {
    if line.len() > MAX_LINE {
        return Err(LineDamage::TooLong);
    }
    let (body, written) = split(line, HASH).ok_or(LineDamage::Malformed)?;
    let link: Link = serde_json::from_slice(line).map_err(|_| LineDamage::Malformed)?;
    if link.v != VERSION {
        return Err(LineDamage::Version(link.v));
    }
    let prev = Digest::from(from_hex::<32>(&link.prev).ok_or(LineDamage::Malformed)?);
    if *hash(prev, body).as_bytes() != written {
        return Err(LineDamage::Hash);
    }
    Ok((ChainHead { sequence: link.seq, hash: written.into() }, prev))
}

/// Checks that `line` follows `head`, and gives the new head.
pub(super) fn follow(head: ChainHead, line: &[u8]) -> Result<ChainHead, LineDamage> {
    let (found, prev) = read(line)?;
    let expected = head.sequence.saturating_add(1);
    if found.sequence != expected {
        return Err(LineDamage::Sequence { expected, found: found.sequence });
    }
    if prev == head.hash { Ok(found) } else { Err(LineDamage::Previous) }
}

/// What is known of the whole log in one small file: where it begins and where it ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    v: u32,
    /// The number of the oldest file that is kept.
    pub(super) first_file: u32,
    /// The last record before that file.
    pub(super) before: ChainHead,
    /// The number of the newest file.
    pub(super) last_file: u32,
    /// How long it is.
    pub(super) bytes: u64,
    /// The last record.
    pub(super) last: ChainHead,
}

/// What is wrong with a head.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadDamage {
    /// It is missing, while records are there.
    #[error("it is missing")]
    Missing,
    /// The key that authenticates it is missing or is no key.
    #[error("its key is missing or damaged")]
    Key,
    /// It was not written with this log's key.
    #[error("it was changed, or is another log's")]
    Forged,
    /// Of another version of the format.
    #[error("it has version {0}, and this program knows version {VERSION}: update cargo-kami")]
    Version(u32),
}

impl Head {
    /// The head of a log that holds nothing.
    pub(super) fn start() -> Self {
        let nothing = ChainHead::start();
        Self { v: VERSION, first_file: 1, before: nothing, last_file: 1, bytes: 0, last: nothing }
    }

    /// The bytes of its file.
    ///
    /// # Errors
    /// None in practice: a head holds numbers and digests.
    pub(super) fn write(&self, key: &HeadKey) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.pop();
        let mac = mac(key, &bytes).finalize().into_bytes();
        bytes.extend_from_slice(MAC.as_bytes());
        bytes.extend_from_slice(hex(&mac).as_bytes());
        bytes.extend_from_slice(b"\"}\n");
        Ok(bytes)
    }

    /// Reads and authenticates the bytes of its file.
    pub(super) fn read(bytes: &[u8], key: &HeadKey) -> Result<Self, HeadDamage> {
        let line = bytes.strip_suffix(b"\n").ok_or(HeadDamage::Forged)?;
        let (body, written) = split(line, MAC).ok_or(HeadDamage::Forged)?;
        mac(key, body).verify_slice(&written).map_err(|_| HeadDamage::Forged)?;
        match version(line) {
            Some(VERSION) => {}
            Some(other) => return Err(HeadDamage::Version(other)),
            None => return Err(HeadDamage::Forged),
        }
        serde_json::from_slice(line).map_err(|_| HeadDamage::Forged)
    }
}

fn mac(key: &HeadKey, body: &[u8]) -> HeadKey {
    let mut mac = key.clone();
    mac.update(HEAD_DOMAIN);
    mac.update(body);
    mac
}

/// Puts the right MAC under a head, whatever it says.
#[cfg(test)]
pub(super) fn sign_for_tests(head: &str, key: &HeadKey) -> Vec<u8> {
    let (body, _) = head.split_once(MAC).unwrap();
    let mac = mac(key, body.as_bytes()).finalize().into_bytes();
    format!("{body}{MAC}{}\"}}\n", hex(&mac)).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hmac::KeyInit as _;

    fn event() -> AuditEvent {
        AuditEvent::Keygen { name: "default".into(), key: "0123".into() }
    }

    fn line() -> Vec<u8> {
        let mut out = Vec::new();
        let head = write(ChainHead::start(), UtcTime::from_millis(0), &event(), &mut out).unwrap();
        assert_eq!(out.pop(), Some(b'\n'));
        assert_eq!(follow(ChainHead::start(), &out), Ok(head));
        out
    }

    /// The format is a promise: what was written by this version stays readable.
    #[test]
    fn a_record_looks_like_this() {
        let zeros = "0".repeat(64);
        let text = String::from_utf8(line()).unwrap();
        let (body, hash) = text.split_once(",\"hash\":").unwrap();
        assert_eq!(
            body,
            format!(
                r#"{{"v":1,"seq":1,"time":"1970-01-01T00:00:00.000Z","kind":"keygen","name":"default","key":"0123","prev":"{zeros}""#
            )
        );
        let mut hashed = b"kami:audit-record/v1\n".to_vec();
        hashed.extend([0; 32]);
        hashed.extend(body.as_bytes());
        assert_eq!(hash, format!("\"{}\"}}", Digest::of(&hashed).hex()));
    }

    #[test]
    fn no_byte_of_a_record_can_be_changed() {
        let line = line();
        for at in 0..line.len() {
            for bit in 0..8 {
                let mut changed = line.clone();
                changed[at] ^= 1 << bit;
                assert!(follow(ChainHead::start(), &changed).is_err(), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn no_byte_of_a_head_can_be_changed_and_no_other_key_will_do() {
        let key = |byte| HeadKey::new_from_slice(&[byte; 32]).unwrap();
        let bytes = Head::start().write(&key(1)).unwrap();
        assert_eq!(Head::read(&bytes, &key(1)), Ok(Head::start()));
        assert_eq!(Head::read(&bytes, &key(2)), Err(HeadDamage::Forged));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(Head::read(&changed, &key(1)), Err(HeadDamage::Forged), "byte {at}");
        }
    }

    #[test]
    fn places_are_read_as_they_are_written() {
        let place = ChainHead { sequence: 7, hash: Digest::of(b"x") };
        assert_eq!(place.to_string().parse(), Ok(place));
        assert_eq!(format!("7:{}", place.hash).parse(), Ok(place));
        for bad in ["", "7", "7:", "x:00", &format!("-1:{}", place.hash.hex())] {
            assert_eq!(bad.parse::<ChainHead>(), Err(ChainHeadError), "{bad}");
        }
    }
}
