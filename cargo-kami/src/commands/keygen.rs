//! `cargo kami keygen`: a key to sign with.

use serde::Serialize;

use crate::exit::Exit;
use crate::ops::keys;
use crate::settings::Settings;
use crate::shell::Shell;

/// Make a key to sign tools with
///
/// The secret stays in keys/ of the data directory, readable by you alone. The public key is
/// printed: give it to those who shall trust your tools. On this machine it is trusted at once.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo kami keygen
  cargo kami keygen --name release --json")]
pub struct Args {
    /// What to call the key
    #[arg(long, default_value = keys::DEFAULT)]
    name: String,
    /// Tell the result as JSON on stdout
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    public: String,
    fingerprint: String,
}

pub fn run(args: &Args, settings: &Settings, shell: &Shell) -> anyhow::Result<Exit> {
    let public = keys::make(&settings.data_dir, &args.name)?;
    let path = keys::path(&settings.data_dir, &args.name)?;
    shell.status(
        "Created",
        format_args!("{} (fingerprint {})", path.display(), public.fingerprint()),
    );
    if args.json {
        let line = Line {
            name: &args.name,
            public: public.to_string(),
            fingerprint: public.fingerprint(),
        };
        shell.json(&line)?;
    } else {
        shell.data(public)?;
    }
    Ok(Exit::Success)
}
