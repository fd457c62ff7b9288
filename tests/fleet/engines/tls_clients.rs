//! Servers that ask their clients for a certificate.

use std::process::Command;
use std::time::Duration;

use concurrency_governor::fleet::{EngineLedger, InvalidLedgerUrl, Ledger, LedgerError};
use tokio::runtime::Runtime;
use tokio::time::sleep;

use super::certificates::TestCertificates;
use super::server::{TestServer, find_program};
use super::tls::{admit, assert_build_fails, fail, speaks_tls, start_postgres, succeed};

/// A Redis that requires certificates of its clients is reached with one, and not without one or with one of another authority. The
/// authority of the server comes from the URL, or from the environment.
#[test]
fn redis_asks_for_a_certificate() {
    let (Some(openssl), Some(redis)) = (find_program("openssl", &[]), find_program("redis-server", &[]))
    else {
        return;
    };
    if !speaks_tls(&redis) {
        return;
    }
    let files = TestCertificates::new(&openssl);
    let server = TestServer::start("redis-tls-clients", |folder, port| {
        let mut command = Command::new(&redis);
        command.args(["--bind", "127.0.0.1", "--save", "", "--port", "0", "--tls-auth-clients", "yes"]);
        command.arg("--tls-port").arg(port.to_string()).arg("--dir").arg(folder);
        command.arg("--tls-cert-file").arg(files.path("server.pem"));
        command.arg("--tls-key-file").arg(files.path("server.key"));
        command.arg("--tls-ca-cert-file").arg(files.path("right.pem"));
        command
    });
    let url = format!("rediss://127.0.0.1:{}/", server.port);
    let with_root = format!("{url}?sslrootcert={}", files.path("right.pem").display());
    let right = with_client(&with_root, &files, "client");
    Runtime::new().unwrap().block_on(async {
        let ledger = EngineLedger::at(&right).unwrap();
        ledger.check().await.unwrap();
        assert_eq!(ledger.gates().await.unwrap(), [""; 0]);
        admit(&right).await;
        for unknown in [with_root.clone(), with_client(&with_root, &files, "stranger")] {
            let error = rejection_of(&unknown).await;
            assert!(
                error.starts_with("Redis rejects the user, password or certificate"),
                "{unknown}: {error}"
            );
            let denied = "rejects the user, password or certificate";
            assert_build_fails(&unknown, denied).await;
        }
    });
    assert!(succeed(&right, None).contains("\ntls "));
    let from_environment = with_client(&format!("{url}?protocol=resp3"), &files, "client");
    assert!(succeed(&from_environment, files.path("right.pem").to_str()).contains("\ntls "));
}

/// The same on PostgreSQL, where the certificate also names the user.
#[test]
fn postgres_asks_for_a_certificate() {
    let Some(openssl) = find_program("openssl", &[]) else { return };
    let files = TestCertificates::new(&openssl);
    let authentication = "hostssl all all 127.0.0.1/32 trust clientcert=verify-full\n";
    let Some(server) = start_postgres(&files, authentication, &[("ssl_ca_file", "right.pem")]) else {
        return;
    };
    let root = files.path("right.pem");
    let url = |user: &str| {
        format!(
            "postgres://{user}@127.0.0.1:{}/postgres?sslmode=verify-full&sslrootcert={}",
            server.port,
            root.display()
        )
    };
    let right = with_client(&url("postgres"), &files, "client");
    Runtime::new().unwrap().block_on(async {
        let ledger = EngineLedger::at(&right).unwrap();
        // The server rejects connections while it starts.
        let missing = loop {
            match ledger.check().await.unwrap_err() {
                error if error.is_lasting() => break error,
                _ => sleep(Duration::from_millis(20)).await,
            }
        };
        assert!(ledger.describe(&missing).contains("its tables are missing"), "{missing:?}");
        for unknown in [
            url("postgres"),
            with_client(&url("postgres"), &files, "stranger"),
            with_client(&url("another"), &files, "client"),
        ] {
            let error = rejection_of(&unknown).await;
            assert!(
                error.starts_with("PostgreSQL rejects the user, password or certificate"),
                "{unknown}: {error}"
            );
        }
    });
    let without = fail(&url("postgres"), None);
    assert!(without.contains("connection requires a valid client certificate"), "{without}");
}

/// Files that cannot be used are reported when the ledger is opened, and what is in them is not shown.
#[test]
fn unusable_client_certificates_are_reported_at_once() {
    let Some(openssl) = find_program("openssl", &[]) else { return };
    let files = TestCertificates::new(&openssl);
    for (certificate, key, parameter, problem) in [
        ("none.pem", "client.key", "sslcert", "No such file"),
        ("client.pem", "none.key", "sslkey", "No such file"),
        ("client.key", "client.key", "sslcert", "no certificates (expected: PEM)"),
        ("client.pem", "client.pem", "sslkey", "no private key (expected: PEM without a passphrase)"),
        ("client.pem", "locked.key", "sslkey", "no private key (expected: PEM without a passphrase)"),
        ("client.pem", "stranger.key", "sslkey", "it is not the key of the certificate in `sslcert`"),
    ] {
        let [certificate, key] = [certificate, key].map(|name| files.path(name));
        let root = files.path("right.pem");
        for url in ["rediss://h/?", "postgres://h/?sslmode=verify-full&"] {
            let (root, certificate, key) = (root.display(), certificate.display(), key.display());
            let url = format!("{url}sslrootcert={root}&sslcert={certificate}&sslkey={key}");
            let error = EngineLedger::at(&url).unwrap_err();
            let InvalidLedgerUrl::UnusableFile { parameter: found, problem: text, .. } = &error else {
                panic!("{error}")
            };
            assert!(*found == parameter && text.contains(problem), "{certificate} {key}: {error}");
            let shown = format!("{error} {error:?}");
            let is_secret = |line: &&str| line.len() > 40 && !line.starts_with("-----");
            let text = std::fs::read_to_string(files.path("client.key")).unwrap();
            assert!(text.lines().filter(is_secret).all(|line| !shown.contains(line)), "{shown}");
        }
    }
}

fn with_client(url: &str, files: &TestCertificates, name: &str) -> String {
    let [certificate, key] = ["pem", "key"].map(|kind| files.path(&format!("{name}.{kind}")));
    format!("{url}&sslcert={}&sslkey={}", certificate.display(), key.display())
}

/// Returns the error of a server that rejects the client. A connection that the server closes can break before its reason is read.
async fn rejection_of(url: &str) -> String {
    let ledger = EngineLedger::at(url).unwrap();
    for _ in 0..100 {
        let error = ledger.check().await.unwrap_err();
        if matches!(error, LedgerError::Denied { .. }) {
            return ledger.describe(&error);
        }
        eprintln!("{}", ledger.describe(&error));
    }
    panic!("the server does not say that it rejects the client");
}
