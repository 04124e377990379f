//! `cargo kami keygen`: a key to sign with.

use kami_core::signing::Rotation;
use serde::Serialize;

use crate::exit::Exit;
use crate::ops::keys;
use crate::ops::passphrase::PassphraseOptions;
use crate::settings::Settings;
use crate::shell::Shell;

/// Make a key to sign tools with
///
/// The secret stays in keys/ of the data directory, readable by you alone. With a passphrase it is
/// encrypted there. The public key is printed: give it to those who shall trust your tools. On this
/// machine it is trusted at once.
///
/// A key that rotates another one follows it: a statement, signed by both, is printed instead, and
/// kept beside the key. Who trusts the old key takes it with `cargo kami trust rotate`. Where the
/// old key has a passphrase, the new one gets one too; a file or variable then is for both.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo kami keygen
  cargo kami keygen --name release --passphrase
  cargo kami keygen --name release-2027 --rotates release > release-2027.rotation")]
pub struct Args {
    /// What to call the key
    #[arg(long, default_value = keys::DEFAULT)]
    name: String,
    /// Protect the key with a passphrase, which is asked for
    #[arg(long)]
    passphrase: bool,
    #[command(flatten)]
    source: PassphraseOptions,
    /// Have this key of yours name the new one as its successor
    #[arg(long, value_name = "NAME")]
    rotates: Option<String>,
    /// Tell the result as JSON on stdout
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    public: String,
    fingerprint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotation: Option<String>,
}

pub fn run(args: &Args, settings: &Settings, shell: &Shell) -> anyhow::Result<Exit> {
    let data = &settings.data_dir;
    // The old key is opened first: without it, nothing is made.
    let old = args.rotates.as_ref().map(|old| keys::read(data, old, &args.source, shell));
    let old = old.transpose()?;
    let was_protected = args.rotates.as_ref().map(|old| keys::is_protected(data, old));
    let was_protected = was_protected.transpose()?.unwrap_or_default();
    let protected = args.passphrase || args.source.names_file() || was_protected;
    let passphrase = protected.then(|| args.source.choose(&args.name, shell)).transpose()?;
    let (public, rotation) = match &old {
        Some(old) => {
            let rotation = keys::make_successor(data, old, &args.name, passphrase.as_ref())?;
            (rotation.successor(), Some(rotation))
        }
        None => (keys::make(data, &args.name, passphrase.as_ref())?, None),
    };
    let fingerprint = public.fingerprint();
    let path = keys::path(data, &args.name)?;
    shell.status("Created", format_args!("{} (fingerprint {fingerprint})", path.display()));
    if rotation.is_some() {
        let statement = keys::statement_path(data, &args.name)?;
        shell.status("Created", format_args!("{}, to give away", statement.display()));
    }
    if args.json {
        let rotation = rotation.as_ref().map(Rotation::to_string);
        shell.json(&Line {
            name: &args.name,
            public: public.to_string(),
            fingerprint,
            rotation,
        })?;
    } else {
        match rotation {
            Some(rotation) => shell.data(rotation)?,
            None => shell.data(public)?,
        }
    }
    Ok(Exit::Success)
}
