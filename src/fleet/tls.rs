//! What TLS needs, for the ledgers of all engines.

use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::ledger_url::InvalidLedgerUrl;

/// Returns the cryptography of the process, and makes it that of `ring` if the process has not chosen.
///
/// The client of Redis uses that of the process, and panics if there is none while several crates bring one.
pub(super) fn crypto_provider() -> Arc<CryptoProvider> {
    loop {
        if let Some(provider) = CryptoProvider::get_default() {
            return Arc::clone(provider);
        }
        // An error means that another thread was faster.
        let _: Result<(), Arc<CryptoProvider>> = rustls::crypto::ring::default_provider().install_default();
    }
}

/// Returns `true` if a connection has failed because of the certificate of the server.
pub(super) fn is_untrusted(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        // The client of Redis wraps its cause in this way.
        let wrapped = error.downcast_ref::<Arc<dyn Error + Send + Sync>>();
        let error: &(dyn Error + 'static) = wrapped.map_or(error, |wrapped| &**wrapped);
        // `source` skips the error that an I/O error is made of.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let tls = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if matches!(tls, Some(rustls::Error::InvalidCertificate(_))) {
            return true;
        }
        next = error.source();
    }
    false
}

/// Reads a file with certificates of authorities. Returns its text, and its certificates.
pub(super) fn read_roots(file: &Path) -> Result<(Vec<u8>, Vec<CertificateDer<'static>>), InvalidLedgerUrl> {
    let unusable = |problem: String| InvalidLedgerUrl::RootFile { file: file.display().to_string(), problem };
    let text = std::fs::read(file).map_err(|error| unusable(error.to_string()))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let certificates = certificates.map_err(|error| unusable(error.to_string()))?;
    if certificates.is_empty() {
        return Err(unusable("no certificates (expected: PEM)".to_owned()));
    }
    Ok((text, certificates))
}
