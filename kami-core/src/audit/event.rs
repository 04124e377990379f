//! What is recorded, and how much of it.
//!
//! Names, versions and digests are types of their own and cannot be long. Everything else that an
//! event holds is text that somebody else wrote: it is scrubbed of secrets and cut to a length
//! before it waits for its turn, in one place ([`AuditEvent::bound`]).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::line::ChainHead;
use crate::digest::Digest;
use crate::name::PackageId;

/// The most bytes of a text that is not known to be short.
const MAX_TEXT: usize = 512;

/// The most bytes of arguments that are recorded in full.
const MAX_ARGUMENTS: usize = 16 << 10;

/// The most bytes of a grant.
const MAX_GRANT: usize = 4 << 10;

/// The most denials of one call that are recorded one by one; a guest may cause as many as it likes.
const MAX_DENIALS: usize = 16;

/// Something that happened and is to be known later.
///
/// Never among it: the results of calls, and the values of secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum AuditEvent {
    /// A package was installed, or replaced by another version, with a grant.
    Install {
        /// Which package.
        package: PackageId,
        /// Its version now.
        version: semver::Version,
        /// Of its artifact.
        digest: Digest,
        /// The version that was there before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaced: Option<semver::Version>,
        /// The public key that signed it; `None`: unsigned, and allowed to be.
        signer: Option<String>,
        /// Where it came from.
        source: String,
        /// What it was granted.
        grant: Value,
    },
    /// A package was uninstalled, and its grant forgotten.
    Uninstall {
        /// Which package.
        package: PackageId,
        /// The version that it had, if its record could be read.
        version: Option<semver::Version>,
    },
    /// The grant of an installed package was changed.
    Grant {
        /// Which package.
        package: PackageId,
        /// What it had.
        before: Value,
        /// What it has.
        after: Value,
    },
    /// A key to sign with was made; it is trusted here from then on.
    Keygen {
        /// What the key is called.
        name: String,
        /// The public key.
        key: String,
    },
    /// What is trusted was changed.
    Trust {
        /// How.
        action: TrustAction,
        /// The public key that this is about.
        key: String,
        /// Whose it is, or what else is to be said.
        label: String,
    },
    /// A secret was set or removed. Its value is never recorded.
    Secret {
        /// What was done.
        action: SecretAction,
        /// The secret's name.
        name: String,
    },
    /// The policy that is in force is another one.
    Policy {
        /// Its file.
        file: String,
        /// Of its bytes; `None`: there is no policy any more.
        digest: Option<Digest>,
    },
    /// A tool was called.
    Call(Box<CallRecord>),
    /// A call was refused before anything of the tool ran.
    Refusal {
        /// What was to be called, as it was asked for.
        tool: String,
        /// The package, if there is one of that name.
        package: Option<PackageId>,
        /// A stable code, such as `KAMI-SIGNATURE`.
        code: Cow<'static, str>,
        /// In words.
        reason: String,
        /// Who asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client: Option<String>,
        /// Who asked, as they have shown to be.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        identity: Option<String>,
    },
    /// A token was made or revoked. Nothing of the token itself is recorded.
    Token {
        /// What was done.
        action: TokenAction,
        /// What it is called.
        name: String,
        /// What it permits, in words; `None` where it is gone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        terms: Option<String>,
    },
    /// A writer ended in the middle of its work, and the next one found what it left.
    Recovery {
        /// How many records were whole, and are kept: those just before this one.
        adopted: u64,
        /// How many bytes were not, and are gone.
        discarded_bytes: u64,
    },
    /// The oldest files were removed, as there were more than are to be kept.
    Retention {
        /// The last record that was removed.
        through: ChainHead,
    },
}

/// How what is trusted was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrustAction {
    /// A key is trusted from now on.
    Add,
    /// A key is not trusted any more.
    Remove,
    /// A key was replaced by one that it signed.
    Rotate,
    /// A key was revoked.
    Revoke,
    /// A package's id is not bound to a key any more.
    Unpin,
}

/// What was done with a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretAction {
    /// It has a value, or another one than before.
    Set,
    /// It is forgotten.
    Remove,
}

/// What was done with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenAction {
    /// It was made.
    Create,
    /// It counts for nothing any more.
    Revoke,
}

/// A call, and all that came of it but its result.
///
/// Denials are part of it and no records of their own: one line then tells what was tried, by which
/// call, and how that ended, and a guest that tries a thousand things still makes one record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallRecord {
    /// The name on the wire: of a tool or a prompt, or the URI of a resource.
    pub tool: String,
    /// By which method it was asked for.
    #[serde(default = "tools_call", skip_serializing_if = "is_tools_call")]
    pub method: Cow<'static, str>,
    /// The package that it belongs to.
    pub package: PackageId,
    /// The package's version.
    pub version: semver::Version,
    /// Of the artifact that ran.
    pub digest: Digest,
    /// Who called, by its own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Who called, as they have shown to be: `token:NAME` or `oauth:SUBJECT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// What it was called with.
    pub arguments: Arguments,
    /// `ok`, or the code of what went wrong.
    pub outcome: Cow<'static, str>,
    /// From the request to the outcome, which includes loading the tool where it was not ready.
    pub micros: u64,
    /// The fuel that was burnt, where it is metered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// What was denied to the guest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denials: Vec<DenialRecord>,
    /// How many more denials there were than are listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub denials_omitted: u64,
}

/// Something that a guest tried and was not permitted to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DenialRecord {
    /// What was tried.
    pub thing: String,
    /// The rule that denies it, in words.
    pub rule: String,
}

/// The arguments of a call, as much of them as is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arguments {
    /// Of their compact JSON: enough to tell whether a call was made with arguments that one knows,
    /// and to guess arguments of which there are few.
    Digest(Digest),
    /// Their compact JSON.
    Full(String),
}

/// How much of a call's arguments is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuditArguments {
    /// Their digest.
    #[default]
    Digest,
    /// All of them, scrubbed of secrets, up to 16 KiB.
    Full,
}

/// Takes the values of secrets out of a text that is to be recorded.
#[derive(Clone, Default)]
pub struct Scrub(Option<Arc<ScrubFn>>);

type ScrubFn = dyn Fn(&str) -> Cow<'_, str> + Send + Sync;

impl Scrub {
    /// Has every text go through `scrub`, before anything is cut off it.
    pub fn new(scrub: impl Fn(&str) -> Cow<'_, str> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(scrub)))
    }

    fn apply(&self, text: &mut String) {
        if let Some(scrub) = &self.0
            && let Cow::Owned(scrubbed) = scrub(text)
        {
            *text = scrubbed;
        }
    }
}

impl fmt::Debug for Scrub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Scrub(..)" } else { "Scrub(nothing)" })
    }
}

impl Arguments {
    /// Keeps of a call's arguments, given as compact JSON, as much as is wanted.
    pub fn of(json: &str, wanted: AuditArguments) -> Self {
        match wanted {
            AuditArguments::Digest => Self::Digest(Digest::of(json.as_bytes())),
            AuditArguments::Full => Self::Full(json.to_owned()),
        }
    }
}

impl AuditEvent {
    /// The word by which records of this kind are found.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Install { .. } => "install",
            Self::Uninstall { .. } => "uninstall",
            Self::Grant { .. } => "grant",
            Self::Keygen { .. } => "keygen",
            Self::Trust { .. } => "trust",
            Self::Secret { .. } => "secret",
            Self::Policy { .. } => "policy",
            Self::Call(_) => "call",
            Self::Refusal { .. } => "refusal",
            Self::Token { .. } => "token",
            Self::Recovery { .. } => "recovery",
            Self::Retention { .. } => "retention",
        }
    }

    /// What was denied on the way.
    pub fn denials(&self) -> &[DenialRecord] {
        match self {
            Self::Call(call) => &call.denials,
            _ => &[],
        }
    }

    /// Whether this is about a tool or package of that name: on the wire, or an id.
    pub fn is_about(&self, name: &str) -> bool {
        let tool = match self {
            Self::Call(call) => call.tool == name,
            Self::Refusal { tool, .. } => tool == name,
            _ => false,
        };
        let known = self.package().map(PackageId::as_str);
        tool || known == Some(name)
    }

    /// The package that this is about.
    pub fn package(&self) -> Option<&PackageId> {
        match self {
            Self::Install { package, .. }
            | Self::Uninstall { package, .. }
            | Self::Grant { package, .. } => Some(package),
            Self::Call(call) => Some(&call.package),
            Self::Refusal { package, .. } => package.as_ref(),
            Self::Keygen { .. }
            | Self::Trust { .. }
            | Self::Secret { .. }
            | Self::Policy { .. }
            | Self::Token { .. }
            | Self::Recovery { .. }
            | Self::Retention { .. } => None,
        }
    }

    /// Scrubs every text and cuts it to its length.
    pub(super) fn bound(mut self, scrub: &Scrub) -> Self {
        let text = |text: &mut String| bound_text(text, MAX_TEXT, scrub);
        match &mut self {
            Self::Install { source, signer, grant, .. } => {
                text(source);
                signer.iter_mut().for_each(text);
                bound_value(grant, scrub);
            }
            Self::Grant { before, after, .. } => {
                bound_value(before, scrub);
                bound_value(after, scrub);
            }
            Self::Keygen { name, key } => [name, key].into_iter().for_each(text),
            Self::Trust { key, label, .. } => [key, label].into_iter().for_each(text),
            Self::Secret { name, .. } => text(name),
            Self::Policy { file, .. } => text(file),
            Self::Call(call) => bound_call(call, scrub),
            Self::Refusal { tool, reason, client, identity, .. } => {
                [tool, reason].into_iter().chain(client).chain(identity).for_each(text);
            }
            Self::Token { name, terms, .. } => {
                [name].into_iter().chain(terms).for_each(text);
            }
            Self::Uninstall { .. } | Self::Recovery { .. } | Self::Retention { .. } => {}
        }
        self
    }
}

fn tools_call() -> Cow<'static, str> {
    Cow::Borrowed("tools/call")
}

fn is_tools_call(method: &str) -> bool {
    method == "tools/call"
}

fn bound_call(call: &mut CallRecord, scrub: &Scrub) {
    bound_text(&mut call.tool, MAX_TEXT, scrub);
    if let Cow::Owned(method) = &mut call.method {
        bound_text(method, MAX_TEXT, scrub);
    }
    let omitted = call.denials.len().saturating_sub(MAX_DENIALS);
    call.denials.truncate(MAX_DENIALS);
    call.denials_omitted += omitted as u64;
    for denial in &mut call.denials {
        bound_text(&mut denial.thing, MAX_TEXT, scrub);
        bound_text(&mut denial.rule, MAX_TEXT, scrub);
    }
    for who in call.client.iter_mut().chain(&mut call.identity) {
        bound_text(who, MAX_TEXT, scrub);
    }
    if let Arguments::Full(json) = &mut call.arguments {
        bound_text(json, MAX_ARGUMENTS, scrub);
    }
}

/// Scrubs first: a secret that is cut in two is not recognised any more.
fn bound_text(text: &mut String, most: usize, scrub: &Scrub) {
    scrub.apply(text);
    if text.len() > most {
        let dropped = text.len() - text.floor_char_boundary(most);
        text.truncate(text.len() - dropped);
        text.push_str(&format!("… ({dropped} more bytes)"));
    }
}

/// A value that is too long, or that holds what must not be recorded, is recorded as text.
fn bound_value(value: &mut Value, scrub: &Scrub) {
    let whole = value.to_string();
    let mut text = whole.clone();
    bound_text(&mut text, MAX_GRANT, scrub);
    if text != whole {
        *value = Value::String(text);
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
