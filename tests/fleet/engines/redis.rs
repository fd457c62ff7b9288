//! The Lua script on a real redis-server.

use std::collections::{HashMap, HashSet};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use concurrency_governor::fleet::{
    Ask, Claim, Grant, LeaseTerms, Ledger, LedgerError, LedgerServer, LedgerState, LedgerStatus,
    LimitVersion, RedisLedger, Share,
};
use concurrency_governor::{GateName, Limit};
use redis::{Client, Connection, Script};
use tokio::runtime::Runtime;

use super::differential::{TraceEngine, assert_same_answers, read_answer};
use super::server::{TestServer, find_program};
use crate::trace::OwnedAsk;

/// P78: the script gives the answers of the pure step, on the same traces, and has the same state.
#[test]
fn the_script_follows_the_pure_step() {
    let Some(server) = start_server() else { return };
    let mut engine = RedisEngine::new(&server);
    assert_same_answers(&mut engine, 1..25, 800);
}

/// The ledger gives the answers of the pure step with the server's own clock.
#[test]
fn the_ledger_exchanges() {
    let Some(server) = start_server() else { return };
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let ledger = RedisLedger::new(url(&server)).unwrap();
        ledger.check().await.unwrap();
        let mut state = LedgerState::new();
        for seq in 1..=3 {
            let ask = ask("a", seq, 0);
            let grant = ledger.exchange("io", ask).await.unwrap();
            // The answer does not contain the clock. Only what does not depend on it is compared.
            let expected = state.exchange(&ask, LedgerServer { now_ms: 0, run: "r" }).unwrap();
            assert_eq!(
                (grant.cap, grant.target, grant.fence.seq),
                (expected.cap, expected.target, expected.fence.seq)
            );
            assert!(grant.learning <= ask.terms.span());
        }
        let set = ledger.set_limit("io", Limit::new(7), "test").await.unwrap();
        let status = ledger.status("io").await.unwrap();
        assert_eq!((status.limit, &*status.set_by, status.holders.len()), (Some(set), "test", 1));
        assert_eq!(ledger.status("other").await.unwrap(), LedgerStatus::default());
    });
}

/// A lease that is learnt is granted after its span, on the real clock.
#[test]
fn permits_are_granted_after_learning() {
    let Some(server) = start_server() else { return };
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let ledger = RedisLedger::new(url(&server)).unwrap();
        let mut seq = 0;
        loop {
            seq += 1;
            let grant = ledger.exchange("io", ask("a", seq, 0)).await.unwrap();
            if grant.learning.is_zero() {
                assert_eq!((grant.cap, grant.granted, grant.holders), (24, 24, 1));
                break;
            }
            assert_eq!(grant.cap, 0);
            assert!(seq < 1000, "{grant:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

/// A server that was flushed begins an epoch, and renews what a holder has.
#[test]
fn a_flush_begins_an_epoch() {
    let Some(server) = start_server() else { return };
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let ledger = RedisLedger::new(url(&server)).unwrap();
        let before = ledger.exchange("io", ask("a", 1, 0)).await.unwrap();
        let mut connection = Client::open(url(&server)).unwrap().get_connection().unwrap();
        redis::cmd("FLUSHALL").exec(&mut connection).unwrap();
        let after = ledger.exchange("io", Ask { epoch: before.fence.epoch, ..ask("a", 2, 9) }).await.unwrap();
        assert!(after.fence.epoch > before.fence.epoch);
        assert_eq!((after.cap, after.learning), (9, ask("a", 1, 0).terms.span()));
    });
}

/// P70, P72: gates of two processes stay within the limit while the server loses its state, and go on after its span.
#[test]
fn gates_share_one_limit_over_a_flush() {
    let Some(server) = start_server() else { return };
    Runtime::new().unwrap().block_on(async {
        let (in_flight, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let open = || {
            let share = Share::of(RedisLedger::new(url(&server)).unwrap(), "io").limit(Limit::new(4));
            let share = share.ttl(Duration::from_millis(200)).max_hold(Duration::from_millis(20));
            share.open(GateName::new("io")).unwrap()
        };
        let gates = [open(), open()];
        let mut tasks = Vec::new();
        for index in 0..8 {
            let (gate, in_flight, most) =
                (gates[index % 2].clone(), Arc::clone(&in_flight), Arc::clone(&most));
            tasks.push(tokio::spawn(async move {
                for _ in 0..100 {
                    let permit = gate.acquire().await.unwrap();
                    most.fetch_max(in_flight.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    in_flight.fetch_sub(1, Ordering::SeqCst);
                    drop(permit);
                }
            }));
        }
        // Lose the state as soon as work is done.
        while most.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut connection = Client::open(url(&server)).unwrap().get_connection().unwrap();
        redis::cmd("FLUSHALL").exec(&mut connection).unwrap();
        for task in tasks {
            task.await.unwrap();
        }
        // On a busy machine the leases may be too short for all permits to be in use at once.
        let most = most.load(Ordering::SeqCst);
        assert!((1..=4).contains(&most), "{most} in flight, and the limit is 4");
    });
}

/// Each error names its cause: a server that is gone, a replica, a name with a space, a replayed message, another layout, too
/// few replicas.
#[test]
fn errors_say_what_is_wrong() {
    let Some(server) = start_server() else { return };
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let ledger = RedisLedger::new(url(&server)).unwrap();
        let name = ledger.exchange("my gate", ask("a", 1, 0)).await.unwrap_err().to_string();
        assert!(name.starts_with("gate \"my gate\" is not valid"), "{name}");
        ledger.exchange("io", ask("a", 5, 0)).await.unwrap();
        let replayed = ledger.exchange("io", ask("a", 5, 0)).await.unwrap_err().to_string();
        assert!(replayed.contains("already processed exchange 5"), "{replayed}");

        let mut connection = Client::open(url(&server)).unwrap().get_connection().unwrap();
        redis::cmd("HSET").arg("cg:{new}").arg("m").arg(b"\x02\x01\x01").exec(&mut connection).unwrap();
        let layout = format!("{:?}", ledger.exchange("new", ask("a", 1, 0)).await.unwrap_err());
        assert!(layout.contains("the gate has the layout 2, and this program knows 1"), "{layout}");
        assert!(ledger.status("new").await.unwrap_err().to_string().contains("another layout"));
        assert!(ledger.set_limit("new", Limit::new(1), "x").await.is_err());
        assert_damage_is_an_error(&ledger, &mut connection).await;

        let strict = ledger.clone().acknowledged_by(1, Duration::from_millis(10));
        let lonely = strict.exchange("io", ask("b", 1, 0)).await.unwrap_err().to_string();
        assert_eq!(lonely, "0 of 1 replicas have acknowledged the exchange, so it has failed");

        redis::cmd("REPLICAOF").arg("127.0.0.1").arg(1).exec(&mut connection).unwrap();
        let replica = RedisLedger::new(url(&server)).unwrap().check().await.unwrap_err().to_string();
        assert_eq!(replica, "Redis cannot be a ledger: its role is \"slave\"; connect to the primary");
        let read_only = format!("{:?}", ledger.exchange("io", ask("c", 1, 0)).await.unwrap_err());
        assert!(read_only.contains("read only replica"), "{read_only}");

        redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec(&mut connection).unwrap();
        let deny = ["SETUSER", "poor", "on", "nopass", "~*", "+@all", "-info"];
        redis::cmd("ACL").arg(&deny).exec(&mut connection).unwrap();
        let denied = RedisLedger::new(format!("redis://poor:x@127.0.0.1:{}/", server.port)).unwrap();
        let denied = denied.check().await.unwrap_err();
        assert!(denied.to_string().contains("allow TIME and INFO in scripts"), "{denied}");

        let user = ["SETUSER", "known", "on", ">right", "~*", "+@all"];
        redis::cmd("ACL").arg(&user).exec(&mut connection).unwrap();
        let stranger = format!("redis://known:wrong@127.0.0.1:{}/", server.port);
        let denied = RedisLedger::new(stranger).unwrap().check().await.unwrap_err();
        assert!(denied.is_lasting(), "{denied:?}");
        let text = format!("{denied:?}");
        assert!(text.starts_with("Redis rejects the user, password or certificate of the ledger"), "{text}");
        assert!(!text.contains("wrong@"), "{text}");

        for (name, value) in [("maxmemory", "100mb"), ("maxmemory-policy", "allkeys-lru")] {
            redis::cmd("CONFIG").arg("SET").arg(name).arg(value).exec(&mut connection).unwrap();
        }
        let evicting = ledger.check().await.unwrap_err();
        assert_eq!(
            evicting.to_string(),
            "Redis cannot be a ledger: its maxmemory-policy is allkeys-lru, which evicts the gates; use volatile-lru or noeviction"
        );
        assert!(evicting.is_lasting());

        let url = url(&server);
        drop(server);
        let gone = RedisLedger::new(url).unwrap().check().await.unwrap_err().to_string();
        assert_eq!(gone, "the call to Redis has failed");
    });
}

/// A server that answers `ROLE` and then no script can be a ledger later, so the error of the check is not lasting.
#[test]
fn a_check_that_gets_no_answer_is_no_lasting_error() {
    let Some(server) = start_server() else { return };
    Runtime::new().unwrap().block_on(async {
        execute(&server, &["CLIENT", "PAUSE", "60000", "WRITE"]); // scripts count as writes
        let error = RedisLedger::new(url(&server)).unwrap().check().await.unwrap_err();
        assert!(!error.is_lasting(), "{error:?}");
    });
}

/// A server without enough replicas may have ceased to be the primary, so the next call opens another connection. A long timeout does not
/// hide how many replicas have acknowledged.
#[test]
fn too_few_replicas_end_the_connection() {
    let Some(server) = start_server() else { return };
    let mut connection = Client::open(url(&server)).unwrap().get_connection().unwrap();
    let mut connections = || -> u64 {
        let stats: String = redis::cmd("INFO").arg("stats").query(&mut connection).unwrap();
        let line = stats.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
        line.unwrap().trim().parse().unwrap()
    };
    Runtime::new().unwrap().block_on(async {
        for (seq, timeout) in [(1, Duration::ZERO), (2, Duration::from_secs(3600))] {
            let before = connections();
            let strict = RedisLedger::new(url(&server)).unwrap().acknowledged_by(1, timeout);
            for attempt in 0..2 {
                let error = strict.exchange("io", ask("a", 2 * seq + attempt, 0)).await.unwrap_err();
                assert!(matches!(error, LedgerError::NotReplicated { acknowledged: 0, .. }), "{error:?}");
            }
            assert_eq!(connections() - before, 2);
        }
    });
}

/// What is not in the format of the script is an error that says so, and changes nothing.
async fn assert_damage_is_an_error(ledger: &RedisLedger, connection: &mut Connection) {
    for (field, damage, text) in [
        ("m", &b"\x01"[..], "the state of the gate cannot be read; delete its key"),
        ("m", b"\x01\xcd\x01", "the state of the gate cannot be read; delete its key"),
        ("e:a", b"\x01\x02", "the entry of a cannot be read; delete the key of the gate"),
        ("e:a", b"7 0 30 1 250 0 0 \xcd", "the entry of a cannot be read; delete the key of the gate"),
    ] {
        redis::cmd("DEL").arg("cg:{damaged}").exec(connection).unwrap();
        ledger.exchange("damaged", ask("a", 1, 0)).await.unwrap();
        redis::cmd("HSET").arg("cg:{damaged}").arg(field).arg(damage).exec(connection).unwrap();
        let mut fields = || -> HashMap<Vec<u8>, Vec<u8>> {
            redis::cmd("HGETALL").arg("cg:{damaged}").query(connection).unwrap()
        };
        let before = fields();
        let error = format!("{:?}", ledger.exchange("damaged", ask("a", 2, 0)).await.unwrap_err());
        assert!(error.contains(text), "{error}");
        assert_eq!(fields(), before);
        assert!(ledger.status("damaged").await.unwrap_err().to_string().contains("another layout"));
    }
}

/// The script with the clock and the run of a trace.
struct RedisEngine {
    connection: Connection,
    exchange: Script,
    set_limit: Script,
    ledger: RedisLedger,
    runtime: Runtime,
}

impl RedisEngine {
    fn new(server: &TestServer) -> Self {
        const CLOCK: &str = "local now, run = tonumber(ARGV[#ARGV - 1]), ARGV[#ARGV]\n";
        let runtime = Runtime::new().unwrap();
        Self {
            connection: Client::open(url(server)).unwrap().get_connection().unwrap(),
            exchange: Script::new(&format!(
                "{CLOCK}{}",
                include_str!("../../../src/fleet/redis/exchange.lua")
            )),
            set_limit: Script::new(&format!(
                "{CLOCK}{}",
                include_str!("../../../src/fleet/redis/set_limit.lua")
            )),
            ledger: RedisLedger::new(url(server)).unwrap(),
            runtime,
        }
    }
}

const KEY: &str = "cg:{trace}";

impl TraceEngine for RedisEngine {
    fn exchange(&mut self, ask: &OwnedAsk, now_ms: u64, run: &str) -> Result<Grant, u64> {
        let mut call = self.exchange.key(KEY);
        let [ttl, grace, guard] =
            [ask.terms.ttl(), ask.terms.grace(), ask.terms.guard()].map(|time| time.as_millis() as u64);
        let (held, wants, limit) = (ask.held.into(), ask.wants.into(), ask.limit.limit.get().into());
        let is_lapsed = u64::from(ask.claim == Claim::Lapsed);
        let version = ask.limit.version;
        let numbers = [ask.seq, ask.epoch, held, wants, is_lapsed, ttl, grace, guard, limit, version];
        call.arg(&ask.holder).arg(packed(&numbers)).arg(now_ms).arg(run);
        let answer: Vec<u64> = call.invoke(&mut self.connection).unwrap();
        read_answer(&answer)
    }

    fn set_limit(&mut self, limit: Limit, by: &str, now_ms: u64) {
        let mut call = self.set_limit.key(KEY);
        let _: u64 = call.arg(limit.get()).arg(by).arg(now_ms).arg("").invoke(&mut self.connection).unwrap();
    }

    fn flush(&mut self) {
        redis::cmd("DEL").arg(KEY).exec(&mut self.connection).unwrap();
    }

    fn status(&mut self) -> LedgerStatus {
        let status = self.runtime.block_on(self.ledger.status("trace")).unwrap();
        // Holders that were dropped leave no field behind.
        let fields: Vec<String> = redis::cmd("HKEYS").arg(KEY).query(&mut self.connection).unwrap();
        let names: HashSet<&str> = fields.iter().filter_map(|field| Some(field.split_once(':')?.1)).collect();
        assert!(names.is_subset(&status.holders.iter().map(|holder| &*holder.holder).collect()), "{names:?}");
        status
    }
}

pub(super) fn start_server() -> Option<TestServer> {
    start_server_with(&[])
}

pub(super) fn start_server_with(arguments: &[&str]) -> Option<TestServer> {
    let program = find_program("redis-server", &[])?;
    Some(TestServer::start("redis", |folder, port| {
        let mut command = Command::new(program);
        command.args([
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--port",
            &port.to_string(),
            "--dir",
        ]);
        command.arg(folder).args(arguments);
        command
    }))
}

/// Packs numbers as `MessagePack`, each as eight bytes behind a marker.
pub(super) fn packed(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| std::iter::once(0xcf).chain(number.to_be_bytes())).collect()
}

/// Starts a replica, and waits until it has the state of its primary.
pub(super) fn start_replica(primary: &TestServer) -> Option<TestServer> {
    let replica = start_server()?;
    // The default waits 5 s for more replicas before it sends the state.
    execute(primary, &["CONFIG", "SET", "repl-diskless-sync-delay", "0"]);
    execute(&replica, &["REPLICAOF", "127.0.0.1", &primary.port.to_string()]);
    wait_for_replica(primary);
    Some(replica)
}

/// Waits until a replica acknowledges.
pub(super) fn wait_for_replica(primary: &TestServer) {
    let started = Instant::now();
    let mut connection = Client::open(url(primary)).unwrap().get_connection().unwrap();
    loop {
        let acknowledged: u64 = redis::cmd("WAIT").arg(1).arg(100).query(&mut connection).unwrap();
        if acknowledged > 0 {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "the replica does not follow its primary");
    }
}

/// Runs a command on a server.
pub(super) fn execute(server: &TestServer, command: &[&str]) {
    let mut connection = Client::open(url(server)).unwrap().get_connection().unwrap();
    redis::cmd(command[0]).arg(&command[1..]).exec(&mut connection).unwrap();
}

pub(super) fn url(server: &TestServer) -> String {
    format!("redis://127.0.0.1:{}/", server.port)
}

/// An ask with a span of 250 ms.
fn ask(holder: &str, seq: u64, held: u32) -> Ask<'_> {
    let [ttl, grace, guard] = [100, 100, 50].map(Duration::from_millis);
    let terms = LeaseTerms::from_parts(ttl, grace, guard).unwrap();
    let limit = LimitVersion::configured(Limit::new(24));
    Ask { holder, seq, epoch: 0, held, wants: 30, claim: Claim::Current, terms, limit }
}
