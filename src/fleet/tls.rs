//! TLS for the ledgers of all engines: the crypto provider, the certificates of a URL, and the classification of errors.

use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, InconsistentKeys};

use super::ledger_url::{ClientFiles, InvalidLedgerUrl, TlsFiles, TrustedRoots};

/// Returns the crypto provider of the process. Installs `ring` if the process has none.
///
/// The client of Redis uses the provider of the process. It panics if none is installed and several are compiled in.
pub(super) fn crypto_provider() -> Arc<CryptoProvider> {
    loop {
        if let Some(provider) = CryptoProvider::get_default() {
            return Arc::clone(provider);
        }
        // An error means that another thread has installed a provider first.
        let _: Result<(), Arc<CryptoProvider>> = rustls::crypto::ring::default_provider().install_default();
    }
}

/// Returns the address of a server of Redis with the certificates of a URL.
#[cfg(feature = "redis-tls")]
pub(super) fn redis_with_files(
    server: redis::ConnectionInfo,
    files: Option<&TlsFiles>,
) -> Result<redis::ConnectionInfo, InvalidLedgerUrl> {
    let Some(TlsFiles { roots, client }) = files else { return Ok(server) };
    let root_cert = match roots {
        TrustedRoots::Host => None,
        TrustedRoots::File(file) => Some(read_certificates("sslrootcert", file)?.0),
    };
    let client = client.as_ref().map(read_client).transpose()?;
    let client_tls =
        client.map(|(client_cert, client_key, _)| redis::ClientTlsConfig { client_cert, client_key });
    let certificates = redis::TlsCertificates { client_tls, root_cert };
    let client = redis::Client::build_with_tls(server, certificates).map_err(|error| match roots {
        TrustedRoots::File(file) => unusable("sslrootcert", file, error.to_string()),
        // The certificate of the client and its key have been checked, and those of the host are not read here.
        TrustedRoots::Host => InvalidLedgerUrl::Unknown,
    })?;
    Ok(client.get_connection_info().clone())
}

/// Returns the TLS connector for PostgreSQL, with the certificates of a URL.
#[cfg(feature = "postgres-tls")]
pub(super) fn postgres_with_files(
    files: &TlsFiles,
) -> Result<tokio_postgres_rustls::MakeRustlsConnect, InvalidLedgerUrl> {
    let certificates = match &files.roots {
        TrustedRoots::File(file) => read_certificates("sslrootcert", file)?.1,
        // Certificates that cannot be read are left out, and so are not trusted.
        TrustedRoots::Host => rustls_native_certs::load_native_certs().certs,
    };
    let mut store = rustls::RootCertStore::empty();
    store.add_parsable_certificates(certificates);
    if store.is_empty() {
        return Err(InvalidLedgerUrl::NoRoots);
    }
    let builder = rustls::ClientConfig::builder_with_provider(crypto_provider());
    // A provider that the program has assembled may support neither TLS 1.2 nor TLS 1.3.
    let builder = builder.with_safe_default_protocol_versions().map_err(|_| InvalidLedgerUrl::NoVersion)?;
    let builder = builder.with_root_certificates(store);
    let config = match &files.client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let (_, _, certified) = read_client(client)?;
            builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)))
        }
    };
    Ok(tokio_postgres_rustls::MakeRustlsConnect::new(config))
}

/// Reads the certificate that this process sends to the server, and its private key, and checks that they belong together. Returns the
/// text of each file, and the parsed pair. The errors do not show the key.
fn read_client(files: &ClientFiles) -> Result<(Vec<u8>, Vec<u8>, CertifiedKey), InvalidLedgerUrl> {
    let (certificate, chain) = read_certificates("sslcert", &files.certificate)?;
    let unusable_key = |problem: &str| unusable("sslkey", &files.key, problem.to_owned());
    let key = read_file("sslkey", &files.key)?;
    let parsed = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|_| unusable_key("no private key (expected: PEM without a passphrase)"))?;
    let certified = CertifiedKey::from_der(chain, parsed, &crypto_provider());
    let certified = certified.map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            unusable_key("it is not the key of the certificate in `sslcert`")
        }
        rustls::Error::InvalidCertificate(_) => {
            unusable("sslcert", &files.certificate, "the first certificate is not valid".to_owned())
        }
        error => unusable_key(&error.to_string()),
    })?;
    Ok((certificate, key, certified))
}

/// Reads a file with certificates. Returns its text, and the parsed certificates.
fn read_certificates(
    parameter: &'static str,
    file: &Path,
) -> Result<(Vec<u8>, Vec<CertificateDer<'static>>), InvalidLedgerUrl> {
    let text = read_file(parameter, file)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let certificates = certificates.map_err(|error| unusable(parameter, file, error.to_string()))?;
    if certificates.is_empty() {
        return Err(unusable(parameter, file, "no certificates (expected: PEM)".to_owned()));
    }
    Ok((text, certificates))
}

fn read_file(parameter: &'static str, file: &Path) -> Result<Vec<u8>, InvalidLedgerUrl> {
    std::fs::read(file).map_err(|error| unusable(parameter, file, error.to_string()))
}

fn unusable(parameter: &'static str, file: &Path, problem: String) -> InvalidLedgerUrl {
    InvalidLedgerUrl::UnusableFile { parameter, file: file.display().to_string(), problem }
}

/// Returns `true` if a connection has failed because the certificate of the server is not trusted.
pub(super) fn is_untrusted(error: &(dyn Error + 'static)) -> bool {
    matches!(find_tls_error(error), Some(rustls::Error::InvalidCertificate(_)))
}

/// Returns `true` if the server has ended a connection because it rejects the certificate of this process, or because it got none.
pub(super) fn is_client_rejected(error: &(dyn Error + 'static)) -> bool {
    let Some(rustls::Error::AlertReceived(alert)) = find_tls_error(error) else { return false };
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
    )
}

/// Returns the TLS error because of which a connection has failed.
fn find_tls_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        // The client of Redis wraps its cause in this way.
        let wrapped = error.downcast_ref::<Arc<dyn Error + Send + Sync>>();
        let error: &(dyn Error + 'static) = wrapped.map_or(error, |wrapped| &**wrapped);
        // The `source` of an I/O error is not the error that it wraps, but the source of that error.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let tls = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if tls.is_some() {
            return tls;
        }
        next = error.source();
    }
    None
}
