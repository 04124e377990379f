//! TLS with whoever connects, by a certificate and a key in files.
//!
//! Certificates are renewed every few weeks, by programs that replace these files. So they are looked at
//! now and then, and what is good in them is taken; what is not leaves the certificate as it is.

use std::convert::Infallible;
use std::error::Error;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, InconsistentKeys, ServerConfig};
use zeroize::Zeroizing;

use super::greeting::Version;
use super::listener::Stream;

/// How often it is looked whether the files have changed.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// The most bytes of a file. A chain has some ten kilobytes.
const MOST_BYTES: u64 = 1 << 20;

/// The most certificates of a chain.
const MOST_CERTIFICATES: usize = 32;

const HTTP_2: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";

/// Where a server's certificate and its key are, both in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's own certificate, and behind it those that lead to an authority.
    pub certificate: PathBuf,
    /// The key of that certificate: PKCS#8, PKCS#1 or SEC1, without a passphrase.
    pub key: PathBuf,
}

/// Why there is no TLS with some files.
#[derive(Debug, thiserror::Error)]
pub enum ServerTlsError {
    /// A file cannot be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is a directory, a pipe, or larger than any certificate.
    #[error("{0} is no file of a certificate or key")]
    Odd(PathBuf),
    /// It is not PEM.
    #[error("{path} is damaged: {source}")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Where.
        source: pem::Error,
    },
    /// There is no certificate.
    #[error("{0} holds no certificate")]
    NoCertificate(PathBuf),
    /// The certificate is none.
    #[error("the certificate in {path} cannot be used: {source}")]
    BadCertificate {
        /// Which.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// There is no key.
    #[error("{0} holds no private key")]
    NoKey(PathBuf),
    /// The key has a passphrase.
    #[error("the key in {0} is encrypted")]
    EncryptedKey(PathBuf),
    /// The key is of a kind that is not known.
    #[error("the key in {path} cannot be used: {source}")]
    BadKey {
        /// Which.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The key is that of another certificate.
    #[error("the key in {} is not that of the certificate in {}", .0.key.display(), .0.certificate.display())]
    Mismatch(TlsFiles),
    /// A defect in this crate.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

impl ServerTlsError {
    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "it has to be readable for the user that the server runs as",
            Self::Odd(_) => "give a file in PEM, of at most 1 MiB",
            Self::Damaged { .. } => "replace it by the file that the authority gave you",
            Self::NoCertificate(_) => {
                "it begins with `-----BEGIN CERTIFICATE-----`; one in DER becomes one in PEM by \
                 `openssl x509 -inform der -in FILE`"
            }
            Self::BadCertificate { .. } => {
                "the server's own certificate comes first in the file, and those behind it follow"
            }
            Self::NoKey(_) => {
                "it begins with `-----BEGIN PRIVATE KEY-----`; one in DER becomes one in PEM by \
                 `openssl pkey -inform der -in FILE`"
            }
            Self::EncryptedKey(_) => {
                "nobody is there to type its passphrase: write it without one by `openssl pkey -in \
                 FILE -out PLAIN`, readable for the server alone"
            }
            Self::BadKey { .. } => {
                "use a key for RSA, for ECDSA with P-256 or P-384, or for Ed25519"
            }
            Self::Mismatch(_) => "give the key with which this certificate was asked for",
            Self::Setup(_) => "this is a defect of the program",
        }
    }
}

/// TLS with whoever connects. A renewed certificate is taken while the server runs.
#[derive(Clone)]
pub struct ServerTls {
    files: TlsFiles,
    /// How they were before they were read.
    seen: [State; 2],
    current: Arc<Current>,
    config: Arc<ServerConfig>,
}

/// The certificate that is shown, with its key.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl ServerTls {
    /// Reads a certificate and its key.
    ///
    /// # Errors
    /// Where they cannot be read or do not belong together.
    pub fn open(files: TlsFiles) -> Result<Self, ServerTlsError> {
        let provider = Arc::new(ring::default_provider());
        let seen = files.state();
        let certified = load(&files, &provider)?;
        let current = Arc::new(Current(RwLock::new(Arc::new(certified))));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(ServerTlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1.to_vec()];
        Ok(Self { files, seen, current, config: Arc::new(config) })
    }

    pub(super) fn acceptor(&self) -> Acceptor {
        Acceptor(TlsAcceptor::from(Arc::clone(&self.config)))
    }

    /// Takes what is renewed, for ever.
    pub(in crate::mcp) async fn renew(&self) -> Infallible {
        let (mut known, mut said) = (self.seen, None);
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let files = self.files.clone();
            let last = known;
            let looked = tokio::task::spawn_blocking(move || {
                // What is written after this is seen the next time.
                let state = files.state();
                let provider = ring::default_provider();
                (state != last).then(|| (state, load(&files, &provider)))
            });
            // One that panicked has seen nothing.
            let Ok(Some((state, loaded))) = looked.await else { continue };
            // Who may read a file can change without it, and somebody may be in the middle of that.
            if !matches!(loaded, Err(ServerTlsError::Unreadable { .. })) {
                known = state;
                said = None;
            } else if said.replace(state) == Some(state) {
                continue;
            }
            match loaded {
                Ok(certified) => {
                    *self.current.0.write().unwrap_or_else(PoisonError::into_inner) =
                        Arc::new(certified);
                    let file = self.files.certificate.display();
                    tracing::info!(%file, "the certificate was renewed");
                }
                Err(error) => {
                    let error = &error as &dyn Error;
                    tracing::error!(
                        error,
                        "the renewed certificate cannot be used; the one before stays"
                    );
                }
            }
        }
    }
}

/// What changes when a file does.
type State = Option<(SystemTime, u64, u64)>;

impl TlsFiles {
    fn state(&self) -> [State; 2] {
        [&self.certificate, &self.key].map(|path| {
            let found = std::fs::metadata(path).ok()?;
            Some((found.modified().ok()?, found.len(), number(&found)))
        })
    }
}

/// Tells files apart that have had the same path.
#[cfg(unix)]
fn number(file: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(file)
}

#[cfg(not(unix))]
fn number(_: &Metadata) -> u64 {
    0
}

fn load(files: &TlsFiles, provider: &CryptoProvider) -> Result<CertifiedKey, ServerTlsError> {
    let path = &files.certificate;
    let (text, _) = read(path)?;
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(&text).take(MOST_CERTIFICATES).collect();
    let chain = chain.map_err(|source| ServerTlsError::Damaged { path: path.clone(), source })?;
    if chain.is_empty() {
        return Err(ServerTlsError::NoCertificate(path.clone()));
    }

    let path = &files.key;
    let (text, found) = read(path)?;
    warn_if_exposed(path, &found);
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|source| match source {
        _ if is_encrypted(&text) => ServerTlsError::EncryptedKey(path.clone()),
        pem::Error::NoItemsFound => ServerTlsError::NoKey(path.clone()),
        source => ServerTlsError::Damaged { path: path.clone(), source },
    })?;
    let key = provider.key_provider.load_private_key(key);
    let key = key.map_err(|source| ServerTlsError::BadKey { path: path.clone(), source })?;

    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err(ServerTlsError::Mismatch(files.clone()))
        }
        Err(source) => {
            Err(ServerTlsError::BadCertificate { path: files.certificate.clone(), source })
        }
    }
}

/// Reads a file that may hold a key, and says what the system knows of it.
fn read(path: &Path) -> Result<(Zeroizing<Vec<u8>>, Metadata), ServerTlsError> {
    let unreadable = |source| ServerTlsError::Unreadable { path: path.to_owned(), source };
    let odd = || ServerTlsError::Odd(path.to_owned());
    // Whoever opens a pipe may wait for ever.
    let found = std::fs::metadata(path).map_err(unreadable)?;
    if !found.is_file() || found.len() > MOST_BYTES {
        return Err(odd());
    }
    let file = File::open(path).map_err(unreadable)?;
    let found = file.metadata().map_err(unreadable)?;
    // It does not grow while it is read, which would leave parts of a key behind.
    let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(MOST_BYTES + 1).unwrap_or(0)));
    file.take(MOST_BYTES + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MOST_BYTES { Err(odd()) } else { Ok((text, found)) }
}

/// Whether a key has a passphrase, in the form of PKCS#8 or in that of OpenSSL before it.
fn is_encrypted(pem: &[u8]) -> bool {
    let has = |words: &[u8]| pem.windows(words.len()).any(|window| window == words);
    has(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || has(b"Proc-Type: 4,ENCRYPTED")
}

#[cfg(unix)]
fn warn_if_exposed(path: &Path, found: &Metadata) {
    use std::os::unix::fs::PermissionsExt as _;

    if found.permissions().mode() & 0o027 != 0 {
        let path = path.display();
        tracing::warn!(%path, "others may read the key, or change it: `chmod 600` keeps it yours");
    }
}

#[cfg(not(unix))]
fn warn_if_exposed(_: &Path, _: &Metadata) {}

/// Agrees on TLS with clients.
pub(super) struct Acceptor(TlsAcceptor);

impl Acceptor {
    /// Agrees on TLS, and maybe on a version of HTTP.
    pub(super) async fn accept(&self, stream: Stream) -> io::Result<(Stream, Option<Version>)> {
        let stream = self.0.accept(stream).await?;
        let agreed = match stream.get_ref().1.alpn_protocol() {
            Some(HTTP_2) => Some(Version::Two),
            Some(_) => Some(Version::One),
            None => None,
        };
        Ok((Box::pin(stream), agreed))
    }
}
