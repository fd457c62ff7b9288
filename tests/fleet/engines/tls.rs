//! TLS to real engines, with certificates that the test makes.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use concurrency_governor::fleet::{EngineLedger, InvalidLedgerUrl, Ledger, PostgresLedger, Share};
use concurrency_governor::{Formula, GateName, GateSpec, Governor, Limit};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::runtime::Runtime;

use super::certificates::TestCertificates;
use super::postgres;
use super::server::{TestServer, find_program};

/// A URL with TLS reaches a server whose certificate is signed by a trusted authority and has the name of its host, and no other
/// server. The authority comes from the URL, or from the environment.
#[test]
fn redis_is_reached_over_tls() {
    let (Some(openssl), Some(redis)) = (find_program("openssl", &[]), find_program("redis-server", &[]))
    else {
        return;
    };
    if !speaks_tls(&redis) {
        return;
    }
    let files = TestCertificates::new(&openssl);
    let start = |certificate: &str| {
        TestServer::start("redis-tls", |folder, port| {
            let mut command = Command::new(&redis);
            command.args(["--bind", "127.0.0.1", "--save", "", "--port", "0", "--tls-auth-clients", "no"]);
            command.arg("--tls-port").arg(port.to_string()).arg("--dir").arg(folder);
            command.arg("--tls-cert-file").arg(files.path(&format!("{certificate}.pem")));
            command.arg("--tls-key-file").arg(files.path(&format!("{certificate}.key")));
            command.arg("--tls-ca-cert-file").arg(files.path("right.pem"));
            command
        })
    };
    let (server, other) = (start("server"), start("other-host"));
    let (right, wrong) = (files.path("right.pem"), files.path("wrong.pem"));
    let [right, wrong] = [&right, &wrong].map(|path| path.to_str().unwrap());
    let url = format!("rediss://127.0.0.1:{}/", server.port);
    let with_root = |root: &str| format!("{url}?sslrootcert={root}");
    Runtime::new().unwrap().block_on(async {
        let ledger = EngineLedger::at(&with_root(right)).unwrap();
        ledger.check().await.unwrap();
        assert_eq!(ledger.gates().await.unwrap(), [""; 0]);
        assert!(ledger.status("io").await.unwrap().limit.is_none());
        assert_eq!(ledger.server(), format!("Redis at 127.0.0.1:{}", server.port));
        admit(&with_root(right)).await;
        assert_build_fails(&with_root(wrong), "the certificate of Redis is not trusted").await;
    });
    assert!(succeed(&with_root(right), None).contains("\ntls "));
    assert!(succeed(&url, Some(right)).contains("\ntls "));
    for (url, trusted) in [(&*url, None), (&*url, Some(wrong)), (&*with_root(wrong), Some(right))] {
        let error = fail(url, trusted);
        assert!(error.contains("UnknownIssuer"), "{url} {trusted:?}: {error}");
        assert!(error.contains("the certificate of Redis is not trusted"), "{error}");
    }
    let other = fail(&format!("rediss://127.0.0.1:{}/?sslrootcert={right}", other.port), None);
    assert!(other.contains("certificate not valid for name"), "{other}");
    let plain = fail(&format!("redis://127.0.0.1:{}/", server.port), None);
    assert!(plain.contains("the call to Redis has failed"), "{plain}");
    let insecure = fail(&format!("{url}#insecure"), Some(right));
    assert!(insecure.contains("the certificate of the server is always checked"), "{insecure}");
}

/// Starts a PostgreSQL with TLS, these lines of `pg_hba.conf`, and more settings that name files.
pub(super) fn start_postgres(
    files: &TestCertificates,
    authentication: &str,
    more: &[(&str, &str)],
) -> Option<TestServer> {
    files.write("hba", authentication);
    let named = [("ssl_cert_file", "server.pem"), ("ssl_key_file", "server.key"), ("hba_file", "hba")];
    let setting = |(name, file): &(&str, &str)| format!("{name}={}", files.path(file).display());
    let named: Vec<String> = named.iter().chain(more).map(setting).collect();
    let settings: Vec<&str> =
        ["fsync=off", "ssl=on"].into_iter().chain(named.iter().map(String::as_str)).collect();
    postgres::start_server_with(&settings)
}

/// The same on PostgreSQL. A server without TLS is not used without it, and no error shows the user.
#[test]
fn postgres_is_reached_over_tls() {
    let Some(openssl) = find_program("openssl", &[]) else { return };
    let files = TestCertificates::new(&openssl);
    let authentication = "hostssl all all 127.0.0.1/32 trust\n";
    let Some(server) = start_postgres(&files, authentication, &[]) else { return };
    let (right, wrong) = (files.path("right.pem"), files.path("wrong.pem"));
    let [right, wrong] = [&right, &wrong].map(|path| path.to_str().unwrap());
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", server.port);
    let with_tls = |mode: &str, root: &str| format!("{url}?sslmode={mode}&sslrootcert={root}");
    Runtime::new().unwrap().block_on(async {
        let ledger = EngineLedger::at(&with_tls("verify-full", right)).unwrap();
        // The server rejects connections while it starts.
        for _ in 0..500 {
            match ledger.check().await {
                Err(error) if error.is_lasting() => break,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        let missing = ledger.check().await.unwrap_err();
        assert!(ledger.describe(&missing).contains("its tables are missing"), "{missing:?}");
        install(&url, right).await;
        ledger.check().await.unwrap();
        assert_eq!(ledger.gates().await.unwrap(), [""; 0]);
        let wrong = with_tls("require", wrong);
        assert_build_fails(&wrong, "the certificate of PostgreSQL is not trusted").await;
    });
    for mode in ["require", "verify-full"] {
        assert!(succeed(&with_tls(mode, right), None).contains("It has no gates"));
        assert!(succeed(&format!("{url}?sslmode={mode}"), Some(right)).contains("It has no gates"));
        for (url, trusted) in
            [(&*with_tls(mode, wrong), Some(right)), (&*format!("{url}?sslmode={mode}"), Some(wrong))]
        {
            let error = fail(url, trusted);
            assert!(error.contains("UnknownIssuer"), "{url} {trusted:?}: {error}");
            assert!(error.contains("the certificate of PostgreSQL is not trusted"), "{error}");
        }
        // The address of the server, by a name that its certificate does not have.
        let other = with_tls(mode, right).replace("127.0.0.1", "ledger.internal") + "&hostaddr=127.0.0.1";
        let other = fail(&other, None);
        assert!(other.contains("certificate not valid for name \"ledger.internal\""), "{other}");
    }
    Runtime::new().unwrap().block_on(admit(&with_tls("verify-full", right)));
    let plain = fail(&format!("{url}?sslmode=disable"), None);
    assert!(plain.contains("pg_hba.conf") && plain.contains("user \"***\""), "{plain}");
    let Some(server) = postgres::start_server() else { return };
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres?sslmode=require", server.port);
    let without = fail(&format!("{url}&sslrootcert={right}"), None);
    assert!(without.contains("server does not support TLS"), "{without}");
}

/// A file that has no certificates is an error when the ledger is opened, and not later.
#[test]
fn unusable_certificates_are_reported_at_once() {
    for (file, problem) in [("/does/not/exist", "No such file"), (file!(), "no certificates")] {
        for url in ["rediss://h/?sslrootcert=", "postgres://h/?sslmode=require&sslrootcert="] {
            let error = EngineLedger::at(&format!("{url}{file}")).unwrap_err();
            let InvalidLedgerUrl::UnusableFile { parameter: "sslrootcert", file: named, problem: found } =
                &error
            else {
                panic!("{error}")
            };
            assert!(named == file && found.contains(problem), "{error}");
        }
    }
}

/// Returns `false`, and says so, if the server was built without TLS: then it does not know the setting.
pub(super) fn speaks_tls(redis: &Path) -> bool {
    let Output { stdout, stderr, .. } = Command::new(redis).args(["--tls-port", "none"]).output().unwrap();
    let speaks = !String::from_utf8([stdout, stderr].concat()).unwrap().contains("Bad directive");
    if !speaks {
        let is_required = std::env::var("FLEET_ENGINES").is_ok_and(|value| value == "required");
        assert!(!is_required, "{} was built without TLS", redis.display());
        eprintln!("skipped: {} was built without TLS", redis.display());
    }
    speaks
}

/// Acquires a permit of a gate that leases it over TLS, on the connection of its own thread.
pub(super) async fn admit(url: &str) {
    let share = Share::at(url, "tls").unwrap().limit(Limit::new(4));
    let share = share.ttl(Duration::from_millis(300)).max_hold(Duration::from_millis(20));
    let gate = share.open(GateName::new("io")).unwrap();
    let permit = tokio::time::timeout(Duration::from_secs(60), gate.acquire()).await;
    drop(permit.expect("the ledger grants permits after one span").unwrap());
}

/// A governor is not built on a ledger whose certificate is not trusted.
pub(super) async fn assert_build_fails(url: &str, problem: &str) {
    const IO: GateSpec = GateSpec::new("io", Formula::fixed(8));
    // A server that is too slow on a busy host counts as one that cannot be reached, and the build succeeds.
    for _ in 0..20 {
        let share = Share::at(url, "tls").unwrap().limit(Limit::new(4));
        if let Err(error) = Governor::builder().gate(IO).share(IO, share).build().await {
            assert!(format!("{error:?}").contains(problem), "{error:?}");
            return;
        }
    }
    panic!("the build succeeds");
}

pub(super) async fn install(url: &str, root: &str) {
    let mut config: tokio_postgres::Config = url.parse().unwrap();
    config.ssl_mode(tokio_postgres::config::SslMode::Require);
    let mut store = rustls::RootCertStore::empty();
    store.add_parsable_certificates(CertificateDer::pem_file_iter(root).unwrap().flatten());
    let tls = rustls::ClientConfig::builder().with_root_certificates(store).with_no_client_auth();
    let tls = tokio_postgres_rustls::MakeRustlsConnect::new(tls);
    PostgresLedger::with_tls(config, tls).install().await.unwrap();
}

pub(super) fn succeed(url: &str, trusted: Option<&str>) -> String {
    let Output { status, stdout, stderr } = status(url, trusted);
    assert!(status.success() && stderr.is_empty(), "{url}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

pub(super) fn fail(url: &str, trusted: Option<&str>) -> String {
    let Output { status, stdout, stderr } = status(url, trusted);
    let error = String::from_utf8(stderr).unwrap();
    assert_eq!((status.code(), &*stdout, error.lines().count()), (Some(2), &b""[..], 1), "{url}: {error}");
    error
}

/// Runs `fleet status`. `trusted` has the certificates that the host trusts.
fn status(url: &str, trusted: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_concurrency-governor"));
    command.args(["fleet", "status", "--ledger", url]).env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR");
    command.envs(trusted.map(|file| ("SSL_CERT_FILE", file)));
    command.output().unwrap()
}
