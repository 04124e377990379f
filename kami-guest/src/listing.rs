//! News of what a component offers.

/// A list of what a component offers, as clients know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// What can be called.
    Tools,
    /// What can be read.
    Resources,
    /// What a person can pick.
    Prompts,
}

/// Tells clients that a list of this component is different now, so that they read it again.
///
/// Natively, as under `cargo test`, this does nothing.
///
/// ```
/// kami_guest::list_changed(kami_guest::Listing::Resources);
/// ```
pub fn list_changed(what: Listing) {
    #[cfg(target_family = "wasm")]
    crate::export::list_changed(what.into());
    #[cfg(not(target_family = "wasm"))]
    let _ = what;
}
