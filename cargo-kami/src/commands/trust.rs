//! `cargo kami trust`: whose tools may be installed.

use kami_core::audit::{AuditEvent, TrustAction};
use kami_core::signing::{PublicKey, TrustStore};
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::ops::audit;
use crate::settings::Settings;
use crate::shell::{Shell, one_line};

/// Say whose signatures to trust
///
/// A tool runs only while a key that signed it is trusted. Get a maker's key by a way that an
/// attacker of the tool does not control, and compare the fingerprint.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo kami trust list
  cargo kami trust add ed25519:0123... --label alice
  cargo kami trust remove ed25519:0123...")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Trust a key
    Add {
        /// The public key, as `cargo kami keygen` printed it
        key: PublicKey,
        /// Whose it is
        #[arg(long)]
        label: String,
    },
    /// Show the trusted keys
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
}

#[derive(Serialize)]
struct Line<'a> {
    label: &'a str,
    public: String,
    fingerprint: String,
}

pub fn run(args: &Args, settings: &Settings, shell: &Shell) -> anyhow::Result<Exit> {
    settings.data_dir.create()?;
    let file = settings.data_dir.trust_file();
    let mut trust = TrustStore::load(&file)?;
    match &args.action {
        Action::Add { key, label } => {
            let log = audit::open(&settings.data_dir)?;
            trust.add(*key, label);
            trust.save(&file)?;
            log.append(event(TrustAction::Add, key, label))?;
            shell.status(
                "Trusted",
                format_args!("{} (fingerprint {})", one_line(label), key.fingerprint()),
            );
        }
        Action::Remove { key } => {
            let label = trust.label(key).unwrap_or_default().to_owned();
            if !trust.remove(key) {
                let message = format!("the key {} is not trusted anyway", key.fingerprint());
                return Err(Failure::new(Exit::NotFound, message).into());
            }
            let log = audit::open(&settings.data_dir)?;
            trust.save(&file)?;
            log.append(event(TrustAction::Remove, key, &label))?;
            shell.status("Removed", format_args!("the key with fingerprint {}", key.fingerprint()));
        }
        Action::List { json } => {
            for (key, label) in trust.iter() {
                let line = Line { label, public: key.to_string(), fingerprint: key.fingerprint() };
                if *json {
                    shell.json(&line)?;
                } else {
                    shell.data(format_args!(
                        "{}  {}  {}",
                        line.fingerprint,
                        line.public,
                        one_line(label)
                    ))?;
                }
            }
        }
    }
    Ok(Exit::Success)
}

fn event(action: TrustAction, key: &PublicKey, label: &str) -> AuditEvent {
    AuditEvent::Trust { action, key: key.to_string(), label: label.to_owned() }
}
