//! Certificates, made on the spot.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    date_time_ymd,
};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

pub use rcgen::KeyPair as Key;

/// How long a certificate holds: from the first year to the last.
pub type Years = (i32, i32);

/// Years in which these tests may run.
pub const VALID: Years = (2020, 2999);

/// Somebody who signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// One whom nobody trusts yet.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("there is entropy");
        Self(CertifiedIssuer::self_signed(params, key).expect("the certificate is possible"))
    }

    /// Its own certificate, as `SSL_CERT_FILE` takes it.
    pub fn pem(&self) -> String {
        pem("CERTIFICATE", self.0.der())
    }

    /// Its own certificate.
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// A certificate for this machine, and its key: both as files have them, and the first as it is
    /// shown.
    ///
    /// # Panics
    /// Where the key is none.
    pub fn issue(&self, key: &KeyPair) -> (String, Vec<u8>) {
        let names = ["localhost", "127.0.0.1"].map(str::to_owned).to_vec();
        let mut params = CertificateParams::new(names).expect("they are names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        let certificate = params.signed_by(key, &self.0).expect("the certificate is possible");
        (pem("CERTIFICATE", certificate.der()), certificate.der().to_vec())
    }

    /// What a server shows that has a certificate for these names and addresses.
    pub fn identity(&self, names: &[&str], years: Years) -> Arc<ServerConfig> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("they are names");
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().expect("there is entropy");
        let certificate = params.signed_by(&key, &self.0).expect("the certificate is possible");
        let secret = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let provider = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider knows them")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], secret);
        Arc::new(config.expect("the key is that of the certificate"))
    }
}

/// Bytes in the form of text that files of keys and certificates have.
pub fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;

    let der = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{der}\n-----END {label}-----\n")
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}
