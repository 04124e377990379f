//! `cargo kami secret`: what tools may use, and nobody may see.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use kami_core::audit::{AuditEvent, SecretAction};
use kami_core::secrets::{Secret, SecretName, SecretStore, SecretValue};
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::ops::audit;
use crate::ops::secrets::{self, Keeper};
use crate::settings::Settings;
use crate::shell::Shell;

/// Keep secrets for tools, such as tokens of web services
///
/// A tool asks for a secret by name, and gets it only if you grant it. There are two ways to use
/// one. INJECTED AT EGRESS: the tool names a host and a header, this program adds the header to the
/// tool's requests to that host, and the tool never sees the value. AS AN ENVIRONMENT VARIABLE: the
/// tool reads the value and can send it wherever it may send anything, so avoid that. Either way,
/// known values are struck out of what comes back and of every log.
///
/// The values are kept in one encrypted file. Its key is in the operating system's keyring, or comes
/// from a passphrase, or is in a file beside it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo kami secret set GITHUB_TOKEN                    asks for it, and does not show it
  gh auth token | cargo kami secret set GITHUB_TOKEN
  cargo kami secret set GITHUB_TOKEN --from-env GH_TOKEN
  cargo kami secret list
  cargo kami secret remove GITHUB_TOKEN
  cargo kami secret rekey --key passphrase")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Keep a secret, or give it another value
    ///
    /// The value is never on the command line, which other programs can read. It is asked for at a
    /// terminal and read from stdin elsewhere, without the line break at its end.
    Set {
        /// What tools call it: letters, digits and `_`
        name: SecretName,
        /// Take the value of this environment variable
        #[arg(long, value_name = "VAR", conflicts_with = "file")]
        from_env: Option<String>,
        /// Take what is in this file
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// What keeps the key, chosen with the first secret [default: a passphrase if
        /// KAMI_SECRETS_PASSPHRASE is set, else the keyring, else a key file]
        #[arg(long, value_name = "KEEPER")]
        key: Option<Keeper>,
    },
    /// Show the names of the secrets, and never their values
    List {
        /// Tell them as JSON on stdout, one object on a line
        #[arg(long)]
        json: bool,
    },
    /// Forget secrets
    Remove {
        /// Their names
        #[arg(value_name = "NAME", required = true)]
        names: Vec<SecretName>,
    },
    /// Have something else keep the key
    ///
    /// Everything is sealed anew, and the old key is forgotten. With `--key passphrase`, this
    /// changes the passphrase too.
    Rekey {
        /// What keeps the key from now on
        #[arg(long, value_name = "KEEPER")]
        key: Keeper,
    },
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    /// In UTC.
    set: String,
    key: String,
}

pub fn run(args: &Args, settings: &Settings, shell: &Shell) -> anyhow::Result<Exit> {
    match &args.action {
        Action::Set { name, from_env, file, key } => {
            let value = match (from_env, file) {
                (Some(variable), _) => from_environment(variable)?,
                (None, Some(file)) => from_file(file)?,
                (None, None) => from_person(name, shell)?,
            };
            set(name, value, *key, settings, shell)?;
        }
        Action::List { json } => list(*json, settings, shell)?,
        Action::Remove { names } => remove(names, settings, shell)?,
        Action::Rekey { key } => {
            let source = secrets::rekey(&settings.data_dir, *key, shell)?;
            shell.status("Sealed", format_args!("the secrets anew, with the key from: {source}"));
        }
    }
    Ok(Exit::Success)
}

fn set(
    name: &SecretName,
    value: SecretValue,
    wish: Option<Keeper>,
    settings: &Settings,
    shell: &Shell,
) -> anyhow::Result<()> {
    let log = audit::open(&settings.data_dir)?;
    let mut replaced = false;
    let source = secrets::change(&settings.data_dir, wish, shell, |secrets| {
        let secret = Secret { value, set: SystemTime::now() };
        replaced = secrets.insert(name.clone(), secret)?.is_some();
        Ok(())
    })?;
    log.append(AuditEvent::Secret { action: SecretAction::Set, name: name.to_string() })?;
    let verb = if replaced { "Replaced" } else { "Kept" };
    shell.status(verb, format_args!("{name}, sealed with the key from: {source}"));
    Ok(())
}

fn list(json: bool, settings: &Settings, shell: &Shell) -> anyhow::Result<()> {
    let secrets = secrets::open(&settings.data_dir, shell)?;
    let source = SecretStore::of(&settings.data_dir).source()?;
    let key = source.map(|source| source.to_string()).unwrap_or_default();
    for (name, secret) in secrets.iter() {
        let line = Line { name: name.as_str(), set: utc(secret.set), key: key.clone() };
        if json {
            shell.json(&line)?;
        } else {
            shell.data(format_args!("{:<32} {}  {}", line.name, line.set, line.key))?;
        }
    }
    if secrets.iter().next().is_none() && !json {
        shell.note("no secret is kept");
    }
    Ok(())
}

fn remove(names: &[SecretName], settings: &Settings, shell: &Shell) -> anyhow::Result<()> {
    let missing = |name: &SecretName| {
        Failure::new(Exit::NotFound, format!("there is no secret called `{name}`"))
            .help("cargo kami secret list shows what there is")
    };
    // Without a store there is nothing to remove, and no reason to make one.
    if SecretStore::of(&settings.data_dir).source()?.is_none()
        && let Some(name) = names.first()
    {
        return Err(missing(name).into());
    }
    let log = audit::open(&settings.data_dir)?;
    secrets::change(&settings.data_dir, None, shell, |secrets| {
        for name in names {
            secrets.remove(name).ok_or_else(|| missing(name))?;
        }
        Ok(())
    })?;
    for name in names {
        log.append(AuditEvent::Secret { action: SecretAction::Remove, name: name.to_string() })?;
        shell.status("Removed", name);
    }
    Ok(())
}

fn from_environment(variable: &str) -> anyhow::Result<SecretValue> {
    let missing = || {
        let message = format!("the environment variable {variable} is not set, or is not text");
        Failure::new(Exit::NotFound, message)
    };
    let value = std::env::var(variable).map_err(|_| missing())?;
    SecretValue::new(value).with_context(|| format!("taking the value of {variable}"))
}

fn from_file(path: &PathBuf) -> anyhow::Result<SecretValue> {
    let reading = || format!("reading {}", path.display());
    read(File::open(path).with_context(reading)?).with_context(reading)
}

fn from_person(name: &SecretName, shell: &Shell) -> anyhow::Result<SecretValue> {
    /// A terminal cuts a longer line without a word.
    const LONGEST_LINE: usize = 4095;

    match shell.hidden(format_args!("Value of {name}:")).context("reading the value")? {
        Some(typed) if typed.len() >= LONGEST_LINE => {
            drop(zeroize::Zeroizing::new(typed));
            let message = "the value is too long to be typed at a terminal";
            Err(Failure::new(Exit::Usage, message).help("give it with --file FILE").into())
        }
        Some(typed) => Ok(SecretValue::new(typed)?),
        None => read(io::stdin().lock()).context("reading the value from stdin"),
    }
}

/// Reads a value to its end; the line break there belongs to the file and not to the value.
fn read(source: impl Read) -> anyhow::Result<SecretValue> {
    let limit = SecretValue::MAX_BYTES + "\r\n".len();
    // Never moved while it grows, since nobody wipes what it would leave behind.
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(limit + 1));
    source.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    for end in [b'\n', b'\r'] {
        if bytes.last() == Some(&end) {
            bytes.pop();
        }
    }
    Ok(SecretValue::from_bytes(std::mem::take(&mut *bytes))?)
}

/// A moment in UTC, as RFC 3339 writes it.
fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The date that many days after the beginning of 1970.
fn date(days: u64) -> (u64, u64, u64) {
    // Years that begin in March end with the day that not all of them have.
    let since = days + 719_468;
    let (era, day) = (since / 146_097, since % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (400 * era + year + u64::from(month <= 2), month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_value_is_read_without_the_end_of_its_line() {
        for text in ["ghp_0123456789", "ghp_0123456789\n", "ghp_0123456789\r\n"] {
            assert_eq!(read(text.as_bytes()).unwrap().expose(), "ghp_0123456789", "{text:?}");
        }
        for bad in ["ghp_0123456789\n\n", "one line\nand another", "hunter2", &"x".repeat(20_000)] {
            let told = read(bad.as_bytes()).unwrap_err().to_string();
            assert!(told.contains("the value") && !told.contains(bad), "{told}");
        }
    }

    #[test]
    fn moments_are_told_in_utc() {
        for (seconds, told) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_868_799, "2000-02-29T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
        ] {
            assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(seconds)), told);
        }
    }
}
