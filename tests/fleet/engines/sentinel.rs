//! A ledger behind a real Redis Sentinel.

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use concurrency_governor::fleet::{EngineLedger, Ledger, RedisLedger, Share};
use concurrency_governor::{GateName, Limit};
use redis::Client;
use tokio::runtime::Runtime;

use super::redis::{start_replica, start_server, url};
use super::server::{TestServer, find_program, free_port};

/// A ledger finds its primary by the sentinels, also if some of them are gone, and follows a failover to the promoted replica.
#[test]
fn a_failover_is_followed() {
    let Some(mut primary) = start_server() else { return };
    let replica = start_replica(&primary).expect("redis-server was found before");
    let sentinel = start_sentinel(&primary);
    let mut connection = Client::open(url(&sentinel)).unwrap().get_connection().unwrap();
    let started = Instant::now();
    loop {
        let mut question = redis::cmd("SENTINEL");
        let replicas: Vec<redis::Value> = question.arg("REPLICAS").arg("cg").query(&mut connection).unwrap();
        if replicas.len() == 1 {
            break;
        }
        assert!(started.elapsed() < TIMEOUT, "the sentinel does not know the replica");
        thread::sleep(Duration::from_millis(50));
    }

    // Two sentinels that accept connections and never answer: queries of both take longer than an exchange may take.
    let silent = [0; 2].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
    let silent_ports = silent.each_ref().map(|listener| listener.local_addr().unwrap().port());
    let ports = [silent_ports[0], silent_ports[1], free_port(), sentinel.port];
    let hosts = ports.map(|port| format!("127.0.0.1:{port}")).join(",");
    let address = format!("redis+sentinel://{hosts}/cg");
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let ledger = EngineLedger::at(&address).unwrap();
        assert_eq!(ledger.server(), format!("Redis, the primary cg of the sentinels at {hosts}"));
        ledger.check().await.unwrap();
        let other = EngineLedger::at(&format!("redis+sentinel://127.0.0.1:{}/other", sentinel.port)).unwrap();
        let unknown = other.check().await.unwrap_err();
        assert!(unknown.is_lasting(), "{unknown}");
        assert_eq!(
            unknown.to_string(),
            "Redis cannot be a ledger: its sentinels do not know the primary \"other\""
        );

        let terms = Duration::from_millis(500);
        let share = Share::at(&address, "prod/io").unwrap().limit(Limit::new(24)).ttl(terms).max_hold(terms);
        let io = share.open(GateName::new("io")).unwrap();
        io.request().max_wait(TIMEOUT).acquire().await.unwrap();
        let before = RedisLedger::new(url(&primary)).unwrap().status("prod/io").await.unwrap();
        assert!(before.exchanges > 0 && before.granted > 0, "{before:?}");

        primary.kill();
        let promoted = RedisLedger::new(url(&replica)).unwrap();
        let started = Instant::now();
        while promoted.check().await.is_err() {
            assert!(started.elapsed() < TIMEOUT, "the replica is not promoted");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // The gate may still have permits of the old primary, so the new one is asked.
        loop {
            drop(io.request().max_wait(TIMEOUT).acquire().await.unwrap());
            let after = promoted.status("prod/io").await.unwrap();
            if after.epoch > before.epoch && after.granted > 0 && after.learning_ms == 0 {
                break;
            }
            assert!(started.elapsed() < TIMEOUT, "{after:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
}

/// Longer than the failover and a span take on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

fn start_sentinel(primary: &TestServer) -> TestServer {
    let program = find_program("redis-server", &[]).unwrap();
    TestServer::start("sentinel", |folder, port| {
        let config = folder.join("sentinel.conf");
        let lines = [
            format!("port {port}"),
            "bind 127.0.0.1".to_owned(),
            format!("dir {}", folder.display()),
            format!("sentinel monitor cg 127.0.0.1 {} 1", primary.port),
            "sentinel down-after-milliseconds cg 1000".to_owned(),
            "sentinel failover-timeout cg 3000".to_owned(),
        ];
        fs::write(&config, lines.join("\n") + "\n").unwrap();
        let mut command = Command::new(program);
        command.arg(config).arg("--sentinel");
        command
    })
}
