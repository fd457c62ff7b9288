//! What TLS needs, for the ledgers of all engines.

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
