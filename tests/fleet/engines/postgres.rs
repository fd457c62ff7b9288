//! The SQL functions on a real PostgreSQL.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use concurrency_governor::Limit;
use concurrency_governor::fleet::{
    Ask, Claim, Grant, LeaseTerms, Ledger, LedgerError, LedgerStatus, LimitVersion, PostgresLedger,
};
use tokio::runtime::Runtime;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Statement};

use super::differential::{TraceEngine, assert_same_answers, read_answer};
use super::server::{TestServer, find_program};
use crate::trace::OwnedAsk;

/// P78: the function gives the answers of the pure step, on the same traces, and has the same state.
#[test]
fn the_function_follows_the_pure_step() {
    let Some(server) = start_server() else { return };
    let mut engine = PostgresEngine::new(&server);
    assert_same_answers(&mut engine, 1..25, 400);
}

/// The ledger grants permits after its span, on the clock of the server, and its status shows them.
#[test]
fn permits_are_granted_after_learning() {
    let Some(server) = start_server() else { return };
    Runtime::new().unwrap().block_on(async {
        let ledger = installed(server.port).await;
        assert_eq!(ledger.status("io").await.unwrap(), LedgerStatus::default());
        grant_after_learning(&ledger).await;
        let set = ledger.set_limit("io", Limit::new(7), "test").await.unwrap();
        let status = ledger.status("io").await.unwrap();
        assert_eq!((status.limit, &*status.set_by, status.granted), (Some(set), "test", 24));
        assert_eq!((&*status.holders[0].holder, status.holders[0].granted), ("a", 24));
    });
}

/// A gate whose row was lost, and a server that was restarted, begin an epoch. The ledger connects again after its connections have ended.
#[test]
fn a_lost_gate_begins_an_epoch() {
    let Some(server) = start_server() else { return };
    Runtime::new().unwrap().block_on(async {
        let ledger = installed(server.port).await;
        let before = ledger.exchange("io", ask("a", 1, 0)).await.unwrap();
        let client = connect(server.port).await;
        client.batch_execute("DELETE FROM concurrency_governor.gate").await.unwrap();
        assert_eq!(ledger.status("io").await.unwrap(), LedgerStatus::default(), "its holders are gone too");
        let after = ledger.exchange("io", Ask { epoch: before.fence.epoch, ..ask("a", 2, 9) }).await.unwrap();
        assert!(after.fence.epoch > before.fence.epoch && after.cap == 9, "{after:?}");

        client.batch_execute("UPDATE concurrency_governor.gate SET run = 'earlier'").await.unwrap();
        let restarted = ledger.exchange("io", ask("a", 3, 9)).await.unwrap();
        assert!(restarted.fence.epoch > after.fence.epoch && !restarted.learning.is_zero(), "{restarted:?}");

        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = 'postgres'";
        client.batch_execute(end).await.unwrap();
        // The first call can still find the old connection.
        let first = ledger.exchange("io", ask("a", 4, 9)).await;
        assert!(first.is_ok() || ledger.exchange("io", ask("a", 5, 9)).await.is_ok());
    });
}

/// It works through pgbouncer, which gives each transaction another connection.
#[test]
fn exchanges_pass_pgbouncer() {
    let Some(server) = start_server() else { return };
    let Some(program) = find_program("pgbouncer", &["/usr/sbin"]) else { return };
    let bouncer = TestServer::start("pgbouncer", |folder, port| {
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             auth_type = any\npool_mode = transaction\ndefault_pool_size = 2\nunix_socket_dir =\n",
            server.port
        );
        fs::write(folder.join("pgbouncer.ini"), settings).unwrap();
        let mut command = Command::new(program);
        command.arg("pgbouncer.ini");
        without_root(&mut command, folder);
        command
    });
    Runtime::new().unwrap().block_on(async {
        installed(server.port).await;
        let ledger = PostgresLedger::new(config(bouncer.port));
        ledger.check().await.unwrap();
        grant_after_learning(&ledger).await;
        let calls =
            (0..20).map(|holder| {
                let ledger = PostgresLedger::new(config(bouncer.port));
                async move {
                    ledger.exchange("io", ask(&format!("b{holder}"), 1, 0)).await.map(|grant| grant.granted)
                }
            });
        for granted in futures_util::future::join_all(calls).await {
            assert_eq!(granted.unwrap(), 24);
        }
    });
}

/// An exchange and a new limit are on disk before their answer, also where the server commits asynchronously. A stronger setting is kept.
#[test]
fn commits_are_on_disk() {
    let Some(server) = start_server() else { return };
    Runtime::new().unwrap().block_on(async {
        installed(server.port).await;
        let mut client = connect(server.port).await;
        for (configured, expected) in [("off", "local"), ("local", "local"), ("remote_apply", "remote_apply")]
        {
            client.batch_execute(&format!("SET synchronous_commit = {configured}")).await.unwrap();
            for call in [
                "exchange('io', 'a', nextval('seq'), 0, 0, 1, false, 100, 100, 50, 24, 0)",
                "set_limit_at('io', 7, 'test', 1)",
            ] {
                let transaction = client.transaction().await.unwrap();
                transaction.batch_execute("CREATE TEMPORARY SEQUENCE IF NOT EXISTS seq").await.unwrap();
                let call = format!("SELECT concurrency_governor.{call}");
                transaction.batch_execute(&call).await.unwrap();
                let row = transaction.query_one("SHOW synchronous_commit", &[]).await.unwrap();
                assert_eq!(row.get::<_, &str>(0), expected, "{configured}: {call}");
                transaction.commit().await.unwrap();
            }
            let row = client.query_one("SHOW synchronous_commit", &[]).await.unwrap();
            assert_eq!(row.get::<_, &str>(0), configured, "the setting of the session is unchanged");
        }
    });
}

/// What is wrong is said in words: missing tables, another layout, a server that is gone.
#[test]
fn errors_say_what_is_wrong() {
    let Some(server) = start_server() else { return };
    Runtime::new().unwrap().block_on(async {
        let ledger = PostgresLedger::new(config(server.port));
        wait_until_ready(&ledger).await;
        let missing = ledger.check().await.unwrap_err().to_string();
        assert_eq!(
            missing,
            "PostgreSQL cannot be a ledger: its tables are missing; call `PostgresLedger::install`"
        );
        ledger.install().await.unwrap();
        ledger.install().await.unwrap();
        let client = connect(server.port).await;
        client.batch_execute("DROP FUNCTION concurrency_governor.set_limit_at").await.unwrap();
        let missing = ledger.check().await.unwrap_err().to_string();
        assert_eq!(
            missing,
            "PostgreSQL cannot be a ledger: it lacks functions of this version; call `PostgresLedger::install`"
        );
        ledger.install().await.unwrap();
        ledger.check().await.unwrap();
        client
            .batch_execute("INSERT INTO concurrency_governor.gate (name, layout) VALUES ('new', 2)")
            .await
            .unwrap();
        let layout = format!("{:?}", ledger.exchange("new", ask("a", 1, 0)).await.unwrap_err());
        assert!(layout.contains("the gate has the layout 2, and this program knows 1"), "{layout}");
        ledger.exchange("io", ask("a", 5, 0)).await.unwrap();
        let replayed = ledger.exchange("io", ask("a", 5, 0)).await.unwrap_err();
        assert!(matches!(replayed, LedgerError::Replayed { last: 5 }), "{replayed}");
        client.batch_execute("ALTER SYSTEM SET default_transaction_read_only = on").await.unwrap();
        client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        let read_only = PostgresLedger::new(config(server.port));
        let mut answer = read_only.check().await;
        for _ in 0..100 {
            if answer.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            answer = PostgresLedger::new(config(server.port)).check().await;
        }
        let answer = answer.unwrap_err().to_string();
        assert_eq!(answer, "PostgreSQL cannot be a ledger: it is read-only; connect to the primary");
        let port = server.port;
        drop(server);
        let gone = PostgresLedger::new(config(port)).check().await.unwrap_err().to_string();
        assert_eq!(gone, "the call to PostgreSQL has failed");
    });
}

async fn grant_after_learning(ledger: &PostgresLedger) {
    for seq in 1..1000 {
        let grant = ledger.exchange("io", ask("a", seq, 0)).await.unwrap();
        if grant.learning.is_zero() {
            assert_eq!((grant.cap, grant.granted, grant.holders), (24, 24, 1));
            return;
        }
        assert_eq!(grant.cap, 0);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the ledger learns for ever");
}

/// The function with the clock and the run of a trace.
struct PostgresEngine {
    runtime: Runtime,
    client: Client,
    exchange: Statement,
    ledger: PostgresLedger,
}

impl PostgresEngine {
    fn new(server: &TestServer) -> Self {
        let runtime = Runtime::new().unwrap();
        let (ledger, client, exchange) = runtime.block_on(async {
            let ledger = installed(server.port).await;
            let client = connect(server.port).await;
            let query = "SELECT concurrency_governor.exchange_at('trace', $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
            let exchange = client.prepare(query).await.unwrap();
            (ledger, client, exchange)
        });
        Self { runtime, client, exchange, ledger }
    }
}

impl TraceEngine for PostgresEngine {
    fn exchange(&mut self, ask: &OwnedAsk, now_ms: u64, run: &str) -> Result<Grant, u64> {
        let number = |number: u64| i64::try_from(number).unwrap();
        let is_lapsed = ask.claim == Claim::Lapsed;
        let [ttl, grace, guard] = [ask.terms.ttl(), ask.terms.grace(), ask.terms.guard()]
            .map(|time| number(time.as_millis() as u64));
        let [seq, epoch, version, now_ms] = [ask.seq, ask.epoch, ask.limit.version, now_ms].map(number);
        let [held, wants, limit] = [ask.held, ask.wants, ask.limit.limit.get()].map(i64::from);
        let values: [&(dyn ToSql + Sync); 13] = [
            &ask.holder,
            &seq,
            &epoch,
            &held,
            &wants,
            &is_lapsed,
            &ttl,
            &grace,
            &guard,
            &limit,
            &version,
            &now_ms,
            &run,
        ];
        let row = self.client.query_one(&self.exchange, &values);
        let answer: Vec<i64> = self.runtime.block_on(row).unwrap().get(0);
        let answer: Vec<u64> = answer.into_iter().map(|number| u64::try_from(number).unwrap()).collect();
        read_answer(&answer)
    }

    fn set_limit(&mut self, limit: Limit, by: &str, now_ms: u64) {
        let (limit, now_ms) = (i64::from(limit.get()), i64::try_from(now_ms).unwrap());
        let query = "SELECT concurrency_governor.set_limit_at('trace', $1, $2, $3)";
        self.runtime.block_on(self.client.query_one(query, &[&limit, &by, &now_ms])).unwrap();
    }

    fn flush(&mut self) {
        self.runtime.block_on(self.client.batch_execute("DELETE FROM concurrency_governor.gate")).unwrap();
    }

    fn status(&mut self) -> LedgerStatus {
        self.runtime.block_on(self.ledger.status("trace")).unwrap()
    }
}

/// Where Debian has the programs of PostgreSQL.
const FOLDERS: [&str; 3] =
    ["/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/16/bin", "/usr/lib/postgresql/17/bin"];

pub(super) fn start_server() -> Option<TestServer> {
    start_server_with(&["fsync=off"])
}

pub(super) fn start_server_with(settings: &[&str]) -> Option<TestServer> {
    let (initdb, postgres) = (find_program("initdb", &FOLDERS)?, find_program("postgres", &FOLDERS)?);
    Some(TestServer::start("postgres", |folder, port| {
        let mut create = Command::new(initdb);
        create.args([
            "--username=postgres",
            "--auth=trust",
            "--no-sync",
            "--encoding=UTF8",
            "--locale=C",
            "-D",
        ]);
        create.arg(folder.join("data")).stdin(Stdio::null());
        without_root(&mut create, folder);
        let created = create.output().unwrap();
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
        let mut command = Command::new(postgres);
        command.arg("-D").arg(folder.join("data")).args(["-p", &port.to_string()]);
        for setting in settings {
            command.args(["-c", setting]);
        }
        command.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        without_root(&mut command, folder);
        command
    }))
}

/// Makes a command run as the user `nobody` if the test runs as root, which PostgreSQL and pgbouncer reject. The folder is then theirs.
fn without_root(command: &mut Command, folder: &Path) {
    const NOBODY: u32 = 65534;
    command.current_dir(folder);
    if fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
        chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
        command.uid(NOBODY).gid(NOBODY);
    }
}

fn config(port: u16) -> tokio_postgres::Config {
    format!("host=127.0.0.1 port={port} user=postgres dbname=postgres").parse().unwrap()
}

pub(super) async fn connect(port: u16) -> Client {
    let (client, connection) = config(port).connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

pub(super) async fn installed(port: u16) -> PostgresLedger {
    let ledger = PostgresLedger::new(config(port));
    wait_until_ready(&ledger).await;
    ledger.install().await.unwrap();
    ledger
}

/// A server that has just been started accepts connections, and rejects them while it starts.
pub(super) async fn wait_until_ready(ledger: &PostgresLedger) {
    for _ in 0..500 {
        match ledger.check().await {
            Ok(()) | Err(LedgerError::Unsuitable { .. }) => return,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    panic!("the server does not become ready");
}

/// An ask with a span of 250 ms.
fn ask(holder: &str, seq: u64, held: u32) -> Ask<'_> {
    let [ttl, grace, guard] = [100, 100, 50].map(Duration::from_millis);
    let terms = LeaseTerms::from_parts(ttl, grace, guard).unwrap();
    let limit = LimitVersion::configured(Limit::new(24));
    Ask { holder, seq, epoch: 0, held, wants: 30, claim: Claim::Current, terms, limit }
}
