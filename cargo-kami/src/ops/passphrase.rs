//! Where the passphrase of a secret key comes from: a file, the environment, or a person.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use kami_core::signing::Passphrase;

use crate::env_vars;
use crate::exit::{Exit, Failure};
use crate::shell::Shell;

/// The longest file that is read for its first line, in bytes.
const LONGEST: u64 = 4096;

/// The flag of every command that opens a secret key.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PassphraseOptions {
    /// Take the key's passphrase from the first line of a file, without asking
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl PassphraseOptions {
    /// Whether a file with a passphrase was named.
    pub fn names_file(&self) -> bool {
        self.passphrase_file.is_some()
    }

    /// The passphrase for a new key called `name`, asked for twice where a person is asked.
    ///
    /// # Errors
    /// Where it is empty, cannot be read, was typed in two ways, or nobody can be asked.
    pub fn choose(&self, name: &str, shell: &Shell) -> anyhow::Result<Passphrase> {
        if let Some(given) = self.given()? {
            return Ok(given);
        }
        let chosen = ask(&format!("Passphrase for the new key `{name}`"), name, shell)?;
        if ask("The same again", name, shell)? == chosen {
            Ok(chosen)
        } else {
            let message = "the two passphrases differ; nothing was changed";
            Err(Failure::new(Exit::Usage, message).into())
        }
    }

    /// The passphrase of the key called `name`.
    ///
    /// # Errors
    /// Where it is empty, cannot be read, or nobody can be asked.
    pub fn tell(&self, name: &str, shell: &Shell) -> anyhow::Result<Passphrase> {
        match self.given()? {
            Some(given) => Ok(given),
            None => ask(&format!("Passphrase of the key `{name}`"), name, shell),
        }
    }

    fn given(&self) -> anyhow::Result<Option<Passphrase>> {
        if let Some(file) = &self.passphrase_file {
            return first_line(file).map(Some);
        }
        let variable = env_vars::KEY_PASSPHRASE;
        let Some(value) = variable.get() else { return Ok(None) };
        let text = value.into_string().ok().and_then(Passphrase::new);
        let wrong = || Failure::new(Exit::Usage, format!("{} is not text", variable.name));
        text.ok_or_else(wrong).map(Some).map_err(Into::into)
    }
}

fn first_line(file: &Path) -> anyhow::Result<Passphrase> {
    let reading = || format!("reading {}", file.display());
    let mut text = String::new();
    File::open(file)
        .with_context(reading)?
        .take(LONGEST)
        .read_to_string(&mut text)
        .with_context(reading)?;
    let line = text.lines().next().unwrap_or_default().to_owned();
    Passphrase::new(line).ok_or_else(|| {
        let message = format!("the first line of {} is empty", file.display());
        Failure::new(Exit::Usage, message).help("write the passphrase there").into()
    })
}

fn ask(prompt: &str, name: &str, shell: &Shell) -> anyhow::Result<Passphrase> {
    let typed =
        shell.hidden(format_args!("{prompt} (not shown):")).context("reading the passphrase")?;
    let typed = typed.ok_or_else(|| {
        let message = format!("the key `{name}` needs a passphrase, and nobody can be asked here");
        let variable = env_vars::KEY_PASSPHRASE.name;
        Failure::new(Exit::Usage, message)
            .help(format!("give --passphrase-file FILE, or set {variable}"))
    })?;
    let empty = || Failure::new(Exit::Usage, "an empty passphrase protects nothing");
    Passphrase::new(typed).ok_or_else(empty).map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_file_is_the_passphrase() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("passphrase");
        let expected = Passphrase::new("two words ".to_owned()).unwrap();
        for text in ["two words ", "two words \n", "two words \r\n", "two words \nand more"] {
            std::fs::write(&file, text).unwrap();
            assert!(first_line(&file).unwrap() == expected, "{text:?}");
        }
        for text in ["", "\n", "\nsecond line"] {
            std::fs::write(&file, text).unwrap();
            assert!(first_line(&file).is_err(), "{text:?}");
        }
    }
}
