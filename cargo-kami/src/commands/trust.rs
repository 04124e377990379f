//! `cargo kami trust`: whose tools may be installed.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context as _;
use kami_core::audit::{AuditEvent, AuditLog, TrustAction};
use kami_core::name::{IdPrefix, PackageId};
use kami_core::registry::{DataDir, Registry};
use kami_core::signing::{Added, Date, PublicKey, RevokedKey, Rotation, TrustStore, TrustedKey};
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::ops::audit;
use crate::settings::Settings;
use crate::shell::{Shell, one_line};

/// Say whose signatures to trust
///
/// A tool runs only while a key that signed it is trusted for its id. Get a maker's key by a way
/// that an attacker of the tool does not control, and compare the fingerprint.
///
/// The key that signed a tool when it was first installed is pinned to the tool's id: no other key
/// replaces it, trusted or not, unless the old key names the new one (`rotate`) or you let go of
/// the pin (`unpin`).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo kami trust list
  cargo kami trust add ed25519:0123... --label alice --scope dev.example --expires 2027-12-31
  cargo kami trust revoke ed25519:0123... --reason 'the laptop was stolen'
  cargo kami trust rotate release-2027.rotation
  cargo kami trust pins
  cargo kami trust unpin dev.example.fetch")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Trust a key; one that is trusted gets these terms instead of its own
    Add {
        /// The public key, as `cargo kami keygen` printed it
        key: PublicKey,
        /// Whose it is
        #[arg(long)]
        label: String,
        /// Only for tools whose id is this or begins with it; may be given again
        #[arg(long, value_name = "ID")]
        scope: Vec<IdPrefix>,
        /// Only through the end of this day in UTC
        #[arg(long, value_name = "YYYY-MM-DD")]
        expires: Option<Date>,
    },
    /// Show the keys: trusted, expired and revoked ones
    List {
        /// Tell them as JSON on stdout, one object on a line
        #[arg(long)]
        json: bool,
    },
    /// Stop trusting a key; its tools stop running
    Remove {
        /// The public key
        key: PublicKey,
    },
    /// Let a key count for nothing any more, whoever trusts it again; its tools stop running
    Revoke {
        /// The public key
        key: PublicKey,
        /// Why, for whoever looks later
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Take over the revoked keys of a list: a trust.toml with `revoked` entries
    Import {
        /// The list; keys that it trusts are not taken over
        file: PathBuf,
    },
    /// Let a maker's new key stand where the old one does, as the old one says
    Rotate {
        /// The maker's statement: a file, or its text
        #[arg(value_name = "FILE or TEXT")]
        statement: String,
    },
    /// Show which key each tool is pinned to
    Pins {
        /// Tell them as JSON on stdout, one object on a line
        #[arg(long)]
        json: bool,
    },
    /// Let go of a tool's key: the next trusted key that signs it may have it
    Unpin {
        /// The tool's id
        id: PackageId,
    },
}

pub fn run(args: &Args, settings: &Settings, shell: &Shell) -> anyhow::Result<Exit> {
    let data = &settings.data_dir;
    data.create()?;
    match &args.action {
        Action::Add { key, label, scope, expires } => {
            let (label, scope) = (label.clone(), scope.clone());
            let terms =
                TrustedKey { label, public: *key, scope, expires: *expires, added: Added::Command };
            add(terms, data, shell)?;
        }
        Action::List { json } => list(*json, data, shell)?,
        Action::Remove { key } => remove(key, data, shell)?,
        Action::Revoke { key, reason } => revoke(*key, reason, data, shell)?,
        Action::Import { file } => import(file, data, shell)?,
        Action::Rotate { statement } => rotate(statement, data, shell)?,
        Action::Pins { json } => pins(*json, data, shell)?,
        Action::Unpin { id } => {
            let log = audit::open(data)?;
            let mut registry = Registry::open(data)?;
            let pins = registry.pins()?;
            let pin = pins.iter().find(|pin| pin.id == *id);
            registry.unpin(id)?;
            if let Some(pin) = pin {
                record(&log, TrustAction::Unpin, &pin.key, id)?;
            }
            shell.status("Unpinned", format_args!("{id}: any trusted key may sign the next one"));
        }
    }
    Ok(Exit::Success)
}

/// Records that what is trusted was changed. The log is opened before anything is, so that nothing
/// is changed that cannot be recorded.
fn record(
    log: &AuditLog,
    action: TrustAction,
    key: &PublicKey,
    label: impl ToString,
) -> anyhow::Result<()> {
    let label = label.to_string();
    Ok(log.append(AuditEvent::Trust { action, key: key.to_string(), label })?)
}

/// Changes the trust store, while no other process does.
fn update<T>(
    data: &DataDir,
    change: impl FnOnce(&mut TrustStore) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    TrustStore::update(&data.trust_file(), change)
}

fn add(terms: TrustedKey, data: &DataDir, shell: &Shell) -> anyhow::Result<()> {
    if let Some(date) = terms.expired(SystemTime::now()) {
        let message = format!("{date} is over: the key would not be trusted at all");
        return Err(Failure::new(Exit::Usage, message).into());
    }
    let (label, fingerprint) = (one_line(&terms.label), terms.public.fingerprint());
    let (scope, term) = (scope_of(&terms), term_of(&terms));
    let (log, key) = (audit::open(data)?, terms.public);
    update(data, |trust| {
        if let Some(revoked) = trust.revocation(&terms.public) {
            return Err(still_revoked(revoked, &data.trust_file()));
        }
        trust.insert(terms);
        Ok(())
    })?;
    record(&log, TrustAction::Add, &key, &label)?;
    shell.status("Trusted", format_args!("{label} (fingerprint {fingerprint}) for {scope}{term}"));
    Ok(())
}

fn still_revoked(key: &RevokedKey, file: &Path) -> anyhow::Error {
    let (fingerprint, reason) = (key.public.fingerprint(), one_line(&key.reason));
    let message = format!("the key {fingerprint} was revoked on {}: {reason}", key.date);
    let help = format!(
        "ask its maker for another key; if it was revoked by mistake, take its entry out of {}",
        file.display()
    );
    Failure::new(Exit::Refused, message).help(help).into()
}

fn remove(key: &PublicKey, data: &DataDir, shell: &Shell) -> anyhow::Result<()> {
    let log = audit::open(data)?;
    let removed = update(data, |trust| {
        let label = trust.label(key).map(one_line);
        trust.remove(key);
        Ok(label)
    })?;
    let Some(label) = removed else {
        let message = format!("the key {} is not trusted anyway", key.fingerprint());
        return Err(Failure::new(Exit::NotFound, message).into());
    };
    record(&log, TrustAction::Remove, key, &label)?;
    shell.status("Removed", format_args!("the key with fingerprint {}", key.fingerprint()));
    Ok(())
}

fn revoke(key: PublicKey, reason: &str, data: &DataDir, shell: &Shell) -> anyhow::Result<()> {
    let date = Date::of(SystemTime::now());
    let revoked = RevokedKey { public: key, reason: one_line(reason), date };
    let log = audit::open(data)?;
    update(data, |trust| {
        trust.revoke(revoked);
        Ok(())
    })?;
    record(&log, TrustAction::Revoke, &key, one_line(reason))?;
    shell.status("Revoked", format_args!("the key with fingerprint {}", key.fingerprint()));
    Ok(())
}

fn import(file: &Path, data: &DataDir, shell: &Shell) -> anyhow::Result<()> {
    if !file.is_file() {
        let message = format!("there is no file {}", file.display());
        return Err(Failure::new(Exit::NotFound, message).into());
    }
    let list = TrustStore::load(file)?;
    let log = audit::open(data)?;
    let taken = update(data, |trust| Ok(trust.revoke_all(list)))?;
    for key in &taken {
        record(&log, TrustAction::Revoke, &key.public, one_line(&key.reason))?;
        let (fingerprint, reason) = (key.public.fingerprint(), one_line(&key.reason));
        shell.status("Revoked", format_args!("{fingerprint}, {}: {reason}", key.date));
    }
    if taken.is_empty() {
        shell.note("nothing in it was new");
    }
    Ok(())
}

fn rotate(statement: &str, data: &DataDir, shell: &Shell) -> anyhow::Result<()> {
    let rotation: Rotation = match statement.starts_with("kami:rotation/") {
        true => statement.parse()?,
        false => read_statement(Path::new(statement))?.parse()?,
    };
    let log = audit::open(data)?;
    // First what is trusted, then what is pinned: after a kill in between, the same command goes on.
    let label =
        update(data, |trust| Ok(trust.rotate(&rotation, SystemTime::now())?.label.clone()))?;
    let moved = Registry::open(data)?.rotate_pins(&rotation)?;
    record(&log, TrustAction::Rotate, &rotation.successor(), one_line(&label))?;
    let (old, new) = (rotation.old().fingerprint(), rotation.successor().fingerprint());
    shell.status("Trusted", format_args!("key {new} of {} after {old}", one_line(&label)));
    for id in moved {
        shell.status("Pinned", format_args!("{id} to key {new}"));
    }
    shell.note("tools by the old key still run; revoke it once they are updated, or if it leaked");
    Ok(())
}

fn read_statement(file: &Path) -> anyhow::Result<String> {
    let reading = || format!("reading {}", file.display());
    let mut text = String::new();
    let limit = Rotation::MAX_LENGTH as u64 + 1;
    File::open(file)
        .with_context(reading)?
        .take(limit)
        .read_to_string(&mut text)
        .with_context(reading)?;
    Ok(text)
}

/// One key in `--json`.
#[derive(Serialize)]
struct KeyLine<'a> {
    /// `trusted`, `expired` or `revoked`.
    state: &'static str,
    label: Option<&'a str>,
    public: PublicKey,
    fingerprint: String,
    /// Empty: every id.
    scope: &'a [IdPrefix],
    expires: Option<Date>,
    added: Option<Added>,
    /// Since when and why it is revoked.
    revoked: Option<Date>,
    reason: Option<&'a str>,
}

fn list(json: bool, data: &DataDir, shell: &Shell) -> anyhow::Result<()> {
    let trust = TrustStore::load(&data.trust_file())?;
    let now = SystemTime::now();
    let trusted = trust.keys().map(|key| KeyLine {
        state: if key.expired(now).is_some() { "expired" } else { "trusted" },
        label: Some(&key.label),
        public: key.public,
        fingerprint: key.public.fingerprint(),
        scope: &key.scope,
        expires: key.expires,
        added: Some(key.added),
        revoked: None,
        reason: None,
    });
    let revoked = trust.revoked().map(|key| KeyLine {
        state: "revoked",
        label: None,
        public: key.public,
        fingerprint: key.public.fingerprint(),
        scope: &[],
        expires: None,
        added: None,
        revoked: Some(key.date),
        reason: Some(&key.reason),
    });
    for line in trusted.chain(revoked) {
        if json {
            shell.json(&line)?;
            continue;
        }
        let about = match (line.revoked, trust.get(&line.public)) {
            (Some(date), _) => {
                format!("REVOKED on {date}: {}", one_line(line.reason.unwrap_or_default()))
            }
            (None, Some(key)) => {
                let over = if line.state == "expired" { " (EXPIRED)" } else { "" };
                format!("{} for {}{}{over}", one_line(&key.label), scope_of(key), term_of(key))
            }
            (None, None) => String::new(),
        };
        shell.data(format_args!("{}  {}  {about}", line.fingerprint, line.public))?;
    }
    Ok(())
}

fn scope_of(key: &TrustedKey) -> String {
    let scope: Vec<&str> = key.scope.iter().map(IdPrefix::as_str).collect();
    if scope.is_empty() { "every id".to_owned() } else { scope.join(", ") }
}

fn term_of(key: &TrustedKey) -> String {
    key.expires.map(|date| format!(" through {date}")).unwrap_or_default()
}

/// One pin in `--json`.
#[derive(Serialize)]
struct PinLine<'a> {
    id: &'a str,
    public: PublicKey,
    fingerprint: String,
    /// `null`: the key is not trusted any more.
    label: Option<&'a str>,
}

fn pins(json: bool, data: &DataDir, shell: &Shell) -> anyhow::Result<()> {
    let trust = TrustStore::load(&data.trust_file())?;
    for pin in Registry::open(data)?.pins()? {
        let (fingerprint, label) = (pin.key.fingerprint(), trust.label(&pin.key));
        if json {
            shell.json(&PinLine { id: pin.id.as_str(), public: pin.key, fingerprint, label })?;
        } else {
            let label = one_line(label.unwrap_or("a key that is not trusted any more"));
            shell.data(format_args!("{:<32} {fingerprint}  {}  {label}", pin.id, pin.key))?;
        }
    }
    Ok(())
}
