//! TLS to servers, by this machine's own authorities.

use std::sync::{Arc, LazyLock};

use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::crypto::ring;

/// This machine's certificate store cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("this machine's certificate store cannot be read: {0}")]
pub(crate) struct NoAuthorities(&'static str);

/// One configuration for all requests: the platform's roots, checked as the platform does.
static TLS: LazyLock<Result<TlsConnector, String>> = LazyLock::new(|| {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_platform_verifier())
        .map_err(|error| error.to_string())?
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
});

/// What speaks TLS to a server.
pub(crate) fn connector() -> Result<&'static TlsConnector, NoAuthorities> {
    TLS.as_ref().map_err(|error| NoAuthorities(error))
}
