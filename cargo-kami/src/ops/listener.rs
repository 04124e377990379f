//! Where `serve` listens over HTTP: a port, or a Unix socket; and the files of its TLS.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context as _;
use kami_core::mcp::{HttpListener, ServerTls, TlsFiles};
use tokio::net::TcpListener;

use crate::config::means_nothing;
use crate::exit::{Exit, Failure};

#[cfg(unix)]
pub use socket::SocketFile;

/// What stands before the path of a Unix socket.
const UNIX: &str = "unix:";

/// Where a server over HTTP listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpAddress {
    /// At a port of an address of this machine.
    Tcp(SocketAddr),
    /// At a Unix socket.
    Unix(PathBuf),
}

/// Text that is not an [`HttpAddress`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HttpAddressError {
    /// It is neither of the two.
    #[error("expected an address with a port, such as 127.0.0.1:3000 or [::1]:3000, or unix:PATH")]
    Malformed,
    /// This system has none.
    #[error("there are no Unix sockets on this system: give an address with a port")]
    NoSockets,
}

impl FromStr for HttpAddress {
    type Err = HttpAddressError;

    fn from_str(text: &str) -> Result<Self, HttpAddressError> {
        match text.strip_prefix(UNIX) {
            Some(_) if !cfg!(unix) => Err(HttpAddressError::NoSockets),
            Some("") => Err(HttpAddressError::Malformed),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp).map_err(|_| HttpAddressError::Malformed),
        }
    }
}

/// What listens, until it is dropped.
pub struct Bound {
    /// Where connections come from.
    pub listener: HttpListener,
    /// How clients find it.
    pub place: Place,
    /// The file of its socket, which goes with it.
    #[cfg(unix)]
    pub file: Option<SocketFile>,
    /// There are no files of sockets.
    #[cfg(not(unix))]
    pub file: Option<std::convert::Infallible>,
}

/// How clients find a server.
pub enum Place {
    /// By a URL.
    Url { scheme: &'static str, address: SocketAddr },
    /// By a file, and by a URL for what is said through it.
    File(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url { scheme, address } => write!(f, "{scheme}://{address}/mcp"),
            Self::File(path) => write!(f, "{UNIX}{}, as http://localhost/mcp", path.display()),
        }
    }
}

impl HttpAddress {
    /// Begins to listen; with `secure`, clients are to speak TLS.
    ///
    /// # Errors
    /// Where somebody else does already, or the system refuses.
    pub async fn bind(&self, secure: bool) -> anyhow::Result<Bound> {
        match self {
            Self::Tcp(address) => {
                let listener = TcpListener::bind(address).await;
                let listener = listener.with_context(|| format!("listening on {address}"))?;
                let address = listener.local_addr()?;
                let scheme = if secure { "https" } else { "http" };
                let place = Place::Url { scheme, address };
                Ok(Bound { listener: listener.into(), place, file: None })
            }
            Self::Unix(_) if secure => Err(Failure::new(
                Exit::Usage,
                "what passes a Unix socket does not leave this machine and needs no TLS",
            )
            .help("leave out `--tls-cert` and `--tls-key`, or listen on an address")
            .into()),
            #[cfg(unix)]
            Self::Unix(path) => {
                let (listener, file) = socket::bind(path).await?;
                let place = Place::File(path.clone());
                Ok(Bound { listener: listener.into(), place, file: Some(file) })
            }
            #[cfg(not(unix))]
            Self::Unix(_) => Err(HttpAddressError::NoSockets.into()),
        }
    }
}

/// TLS with a certificate and its key, where files of them are named.
///
/// # Errors
/// Where only one of them is, or they are of no use.
pub fn tls(
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
) -> anyhow::Result<Option<ServerTls>> {
    let (certificate, key) = match (certificate, key) {
        (None, None) => return Ok(None),
        (Some(certificate), Some(key)) => (certificate, key),
        (one, _) => {
            let (said, needed) = match one {
                Some(_) => ("tls-cert", "tls-key"),
                None => ("tls-key", "tls-cert"),
            };
            return Err(means_nothing(&format!("--{said}"), &format!("--{needed} FILE")).into());
        }
    };
    let opened = ServerTls::open(TlsFiles { certificate, key });
    opened.map(Some).map_err(|error| {
        let help = error.help();
        anyhow::Error::from(error)
            .context(Failure::new(Exit::Failure, "there is no TLS").help(help))
    })
}

#[cfg(unix)]
mod socket {
    //! A Unix socket that belongs to one server.
    //!
    //! A lock on a file beside it decides whose it is, so that of two servers that start at once only one
    //! listens. The socket is made in a directory that nobody else may enter, gets its mode there, and
    //! is then linked to its place, where there must be nothing: at no time does it let anybody in
    //! for whom it is not, and nothing else that may be there is ever replaced.

    use std::fs::{self, File, OpenOptions, Permissions};
    use std::io;
    use std::os::unix::fs::{
        FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
    };
    use std::os::unix::net::SocketAddr;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use anyhow::Context as _;
    use tokio::net::{UnixListener, UnixStream};

    use crate::exit::{Exit, Failure};

    /// How long a server may take to accept a connection, of whose socket it is not known whether it
    /// is alive.
    const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

    /// A socket, which is removed when this is dropped.
    pub struct SocketFile {
        path: PathBuf,
        /// Device and number of the socket.
        made: (u64, u64),
        /// Dropped after the socket is gone.
        _lock: Lock,
    }

    /// A lock, which is removed when this is dropped: while it is held, nobody else takes the file for
    /// theirs.
    struct Lock {
        path: PathBuf,
        /// Device and number of the file.
        made: (u64, u64),
        _locked: File,
    }

    /// Begins to listen at `path`.
    pub(super) async fn bind(path: &Path) -> anyhow::Result<(UnixListener, SocketFile)> {
        let listening = || format!("listening on unix:{}", path.display());
        // Nobody could connect to one that is longer than the system's addresses are.
        SocketAddr::from_pathname(path).with_context(listening)?;
        let name = path.file_name().with_context(listening)?;
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        check(directory).with_context(listening)?;
        let mut lock = name.to_owned();
        lock.push(".lock");
        let lock = directory.join(lock);
        let Some(lock) = own(lock).with_context(listening)? else { return Err(taken(path)) };
        make_room(path).await.with_context(listening)?;

        let private = tempfile::Builder::new()
            .prefix(".")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(directory)
            .with_context(listening)?;
        let made = private.path().join("s");
        let listener = UnixListener::bind(&made).with_context(listening)?;
        fs::set_permissions(&made, Permissions::from_mode(0o600)).with_context(listening)?;
        let found = fs::symlink_metadata(&made).with_context(listening)?;
        let made_as = (found.dev(), found.ino());
        let file = SocketFile { path: path.to_owned(), made: made_as, _lock: lock };
        fs::hard_link(&made, path).with_context(listening)?;
        Ok((listener, file))
    }

    /// Refuses a directory in which anybody could put another socket in the place of this one.
    fn check(directory: &Path) -> anyhow::Result<()> {
        let found = fs::metadata(directory)
            .with_context(|| format!("looking at {}", directory.display()))?;
        let (others, sticky) = (found.mode() & 0o022 != 0, found.mode() & 0o1000 != 0);
        let own = [0, rustix::process::geteuid().as_raw()].contains(&found.uid());
        if !own || (others && !sticky) {
            let message = format!("others may write to {}", directory.display());
            let help = "put the socket into a directory of your own (chmod 700)";
            return Err(Failure::new(Exit::Usage, message).help(help).into());
        }
        Ok(())
    }

    /// Takes the lock, unless somebody else has it.
    fn own(path: PathBuf) -> anyhow::Result<Option<Lock>> {
        loop {
            // Neither a link, nor what would keep whoever opens it.
            let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
            let no_links = flags.bits().cast_signed();
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o600).custom_flags(no_links);
            let file = options.open(&path);
            let file = file.with_context(|| format!("opening {}", path.display()))?;
            let found = file.metadata()?;
            if !found.is_file() || found.len() > 0 {
                let message = format!("{} is there, and is no lock of a server", path.display());
                let help = "give the socket another name";
                return Err(Failure::new(Exit::Usage, message).help(help).into());
            }
            match file.try_lock() {
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) => return Ok(None),
                Err(fs::TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("locking {}", path.display()));
                }
            }
            // Whoever had it may have removed it in between, and the next one would make another.
            let mine = file.metadata()?;
            let there = fs::symlink_metadata(&path);
            if there.is_ok_and(|there| (there.dev(), there.ino()) == (mine.dev(), mine.ino())) {
                return Ok(Some(Lock { path, made: (mine.dev(), mine.ino()), _locked: file }));
            }
        }
    }

    /// Removes what a server left that was killed.
    async fn make_room(path: &Path) -> anyhow::Result<()> {
        let found = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found.with_context(|| format!("looking at {}", path.display()))?,
        };
        if !found.file_type().is_socket() {
            let message = format!("{} is there, and is no socket", path.display());
            let help = "remove it yourself, or give another path";
            return Err(Failure::new(Exit::Usage, message).help(help).into());
        }
        // Programs that know nothing of the lock may listen there.
        match tokio::time::timeout(CONNECT_TIMEOUT, UnixStream::connect(path)).await {
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).with_context(|| format!("removing {}", path.display()))
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            _ => Err(taken(path)),
        }
    }

    fn taken(path: &Path) -> anyhow::Error {
        let message = format!("another server listens on unix:{}", path.display());
        Failure::new(Exit::Failure, message).help("end it, or give another path").into()
    }

    impl Drop for SocketFile {
        fn drop(&mut self) {
            // What somebody else put there meanwhile is not removed.
            let there = fs::symlink_metadata(&self.path);
            if there.is_ok_and(|there| (there.dev(), there.ino()) == self.made) {
                let _ = fs::remove_file(&self.path);
            }
        }
    }

    impl Drop for Lock {
        fn drop(&mut self) {
            let there = fs::symlink_metadata(&self.path);
            if there.is_ok_and(|there| (there.dev(), there.ino()) == self.made) {
                let _ = fs::remove_file(&self.path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_port_or_a_path() {
        let parsed = |text: &str| text.parse::<HttpAddress>();
        assert_eq!(parsed("[::1]:3000"), Ok(HttpAddress::Tcp("[::1]:3000".parse().unwrap())));
        for bad in ["", "3000", "localhost:3000", "127.0.0.1", "http://127.0.0.1:3000", "/run/x"] {
            assert_eq!(parsed(bad), Err(HttpAddressError::Malformed), "{bad}");
        }
        if cfg!(unix) {
            assert_eq!(parsed("unix:/run/x"), Ok(HttpAddress::Unix("/run/x".into())));
            assert_eq!(parsed("unix:"), Err(HttpAddressError::Malformed));
        } else {
            assert_eq!(parsed("unix:/run/x"), Err(HttpAddressError::NoSockets));
        }
    }
}
