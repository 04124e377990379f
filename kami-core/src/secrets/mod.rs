//! Secrets: kept sealed on disk, given only to what was granted them, and struck out of whatever
//! comes back.
//!
//! A [`SecretStore`] is one encrypted file. Whoever embeds this crate finds its key and hands it
//! over as a [`StoreKey`], since this crate knows no keyring, no environment and no terminal. What
//! comes out are [`Secrets`]: names and [`SecretValue`]s, which are wiped when dropped and never
//! shown. A [`Scrubber`] made of some values finds them in text, in every usual form.

mod value;
mod encodings;
mod scrubber;
mod seal;
mod set;
mod store;

pub use crate::grants::SecretName;
pub use crate::signing::Passphrase;
pub use scrubber::{ScrubStream, Scrubber, TooMuchToScrub};
pub use seal::{KeyFormatError, KeySource, KeyringEntry, SealingKey, StoreKey};
pub use set::{Secret, Secrets, TooManySecrets};
pub use store::{LockedStore, SecretStore, SecretStoreError};
pub use value::{SecretValue, SecretValueError};

use std::error::Error;
use std::sync::Arc;

/// Opens the secrets, whenever a tool is loaded that may use some.
///
/// Whoever embeds this crate knows where the key is. It is called off the async threads.
pub type SecretSource =
    Arc<dyn Fn() -> Result<Secrets, Box<dyn Error + Send + Sync>> + Send + Sync>;
