//! How far a long call has come.

/// Tells the client how far this call has come.
///
/// `done` must grow from call to call, and has the unit of `total`, if there is a total.
/// Natively, as under `cargo test`, this does nothing.
///
/// ```
/// let files = ["a", "b", "c"];
/// for (index, file) in files.iter().enumerate() {
///     kami_guest::progress(index as f64, Some(files.len() as f64), Some(file));
/// }
/// ```
pub fn progress(done: f64, total: Option<f64>, message: Option<&str>) {
    #[cfg(target_family = "wasm")]
    crate::export::progress(done, total, message);
    #[cfg(not(target_family = "wasm"))]
    let _ = (done, total, message);
}
