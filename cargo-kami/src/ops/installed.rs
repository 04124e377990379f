//! Which installed package a person means.

use kami_core::name::PackageId;
use kami_core::registry::Registry;

use crate::exit::{Exit, Failure};

/// The package with the id `name`, or the only one with this short id; `None` where there is none.
///
/// # Errors
/// Where there are several, or the registry cannot be read.
pub fn meant(registry: &Registry, name: &str) -> anyhow::Result<Option<PackageId>> {
    let mut ids = registry.ids_meant(name)?.into_iter();
    match (ids.next(), ids.next()) {
        (Some(first), Some(second)) => {
            let message = format!("`{name}` could mean `{first}` or `{second}`");
            Err(Failure::new(Exit::Usage, message).help("give the whole id").into())
        }
        (only, _) => Ok(only),
    }
}
