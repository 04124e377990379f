//! Where messages to a client go.

use serde::Serialize;

/// Takes messages to one client, in order.
pub(super) trait Wire: Send + Sync {
    /// Takes a message, as JSON on one line without its end. It never blocks.
    fn send(&self, message: Vec<u8>);
}

/// What is said in the place of a message that cannot be written.
const UNWRITABLE: &[u8] =
    br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"internal error"}}"#;

/// A message as JSON.
pub(super) fn json(message: &impl Serialize) -> Vec<u8> {
    const MOST_FIT: usize = 1 << 10;
    let mut line = Vec::with_capacity(MOST_FIT);
    if let Err(error) = serde_json::to_writer(&mut line, message) {
        // Every message consists of strings, finite numbers and string-keyed maps.
        tracing::error!(%error, "a message cannot be written as JSON");
        line = UNWRITABLE.to_vec();
    }
    line
}
