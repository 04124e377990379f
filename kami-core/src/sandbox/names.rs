//! Names to addresses, in one place for requests and for sockets.
//!
//! What a lookup gives is judged by whoever asked, and used as it is: nothing here is cached, and
//! nothing is asked twice for one connection. A lookup cannot be interrupted, so each has a thread
//! of its own, which neither the async runtime nor the end of the process waits for.

use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::thread;

use tokio::sync::{Semaphore, oneshot};

/// The most names that one package may have looked up at once. A name server that never answers
/// must not take all threads there are.
const MAX_LOOKUPS: usize = 8;

/// The most addresses of one answer; the rest is not looked at.
const MAX_ADDRESSES: usize = 256;

/// Gives the addresses of a name, the best ones first.
///
/// It may block, and is called on several threads at once.
///
/// # Security
/// Names come from guests that may use them. Whatever it gives is judged by the grants before
/// anything connects to it.
pub type NameSource = Arc<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

/// Looks up names for all calls of one package.
#[derive(Clone)]
pub(super) struct Names {
    source: NameSource,
    places: Arc<Semaphore>,
}

impl Names {
    /// Asks `source`, or without one the system.
    pub(super) fn new(source: Option<NameSource>) -> Self {
        let source = source.unwrap_or_else(|| Arc::new(ask_system));
        Self { source, places: Arc::new(Semaphore::new(MAX_LOOKUPS)) }
    }

    /// Waits for a place, and then for the addresses of `name`.
    ///
    /// A lookup that nobody waits for any more keeps its place until it ends by itself.
    pub(super) async fn look_up(&self, name: String) -> io::Result<Vec<IpAddr>> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(io::Error::other)?;
        let (answer, answered) = oneshot::channel();
        let source = Arc::clone(&self.source);
        thread::Builder::new().name("kami-lookup".to_owned()).spawn(move || {
            let _place = place;
            // In the form in which addresses are judged, an IPv4 one is never dressed up as IPv6.
            let plain = |address: IpAddr| address.to_canonical();
            let found = source(&name);
            let found =
                found.map(|found| found.into_iter().take(MAX_ADDRESSES).map(plain).collect());
            // Whoever asked may be gone.
            let _ = answer.send(found);
        })?;
        answered.await.map_err(io::Error::other)?
    }
}

fn ask_system(name: &str) -> io::Result<Vec<IpAddr>> {
    let found = (name, 0).to_socket_addrs()?;
    Ok(found.map(|address| address.ip()).collect())
}
