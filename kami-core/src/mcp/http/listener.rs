//! Where connections come from.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;
use tokio_io_timeout::TimeoutStream;

/// How long a client may take none of what it is sent: it is kept in memory until then.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// What a server over HTTP listens on.
#[derive(Debug)]
pub enum HttpListener {
    /// A port of an address.
    Tcp(TcpListener),
    /// A file of this machine. Whoever may write to it may connect, so its mode is to say who that is.
    #[cfg(unix)]
    Unix(UnixListener),
}

impl From<TcpListener> for HttpListener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

#[cfg(unix)]
impl From<UnixListener> for HttpListener {
    fn from(listener: UnixListener) -> Self {
        Self::Unix(listener)
    }
}

impl HttpListener {
    /// The address by which other machines can reach it, if they can.
    ///
    /// # Errors
    /// Where it has none.
    pub(in crate::mcp) fn exposed(&self) -> io::Result<Option<IpAddr>> {
        match self {
            Self::Tcp(listener) => {
                let address = listener.local_addr()?.ip();
                Ok(Some(address).filter(|address| !address.is_loopback()))
            }
            #[cfg(unix)]
            Self::Unix(_) => Ok(None),
        }
    }

    /// Waits for the next connection.
    pub(super) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Otherwise, the end of a reply waits until the client has acknowledged its beginning.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection stays slow");
                }
                Ok(impatient(stream))
            }
            #[cfg(unix)]
            Self::Unix(listener) => Ok(impatient(listener.accept().await?.0)),
        }
    }
}

/// Both directions of a connection.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Duplex for T {}

/// A connection of any kind.
pub(super) type Stream = Pin<Box<dyn Duplex>>;

/// A connection that breaks where its client takes nothing for too long.
fn impatient(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> Stream {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    Box::pin(stream)
}
