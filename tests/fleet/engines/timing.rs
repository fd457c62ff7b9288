//! The time of an exchange, by the number of holders. Prints a table for docs/PERFORMANCE.md.

#![expect(clippy::print_stdout, reason = "the tables are printed")]

use std::time::{Duration, Instant};

use concurrency_governor::fleet::{
    Ask, Claim, LeaseTerms, Ledger, LedgerServer, LedgerState, LimitVersion, MemoryLedger, RedisLedger, Share,
};
use concurrency_governor::{Gate, GateName, Limit};
use redis::{Client, Connection};
use tokio::runtime::Builder;

use super::{postgres, redis as redis_engine};

const HOLDERS: [usize; 5] = [1, 10, 100, 1000, 10_000];

/// For the pure step, which needs no server.
const MORE_HOLDERS: [usize; 6] = [1, 10, 100, 1000, 10_000, 100_000];

/// Prints the times of exchanges with each ledger. In each round every holder exchanges once; half of the wants change.
#[test]
#[ignore = "prints times; needs an idle machine"]
fn times_of_exchanges() {
    println!("| ledger | processes | p10 | p50 | p90 | p99 | p50 relative to 100 processes |");
    println!("|---|---|---|---|---|---|---|");
    print_rows("step", &MORE_HOLDERS, time_step);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    if let Some(server) = redis_engine::start_server() {
        let ledger = RedisLedger::new(redis_engine::url(&server)).unwrap();
        let mut connection = Client::open(redis_engine::url(&server)).unwrap().get_connection().unwrap();
        print_rows("Redis", &HOLDERS, |holders| {
            runtime.block_on(time_ledger(&ledger, holders, async |gate| {
                end_learning_in_redis(gate, &mut connection);
            }))
        });
    }
    if let Some(server) = postgres::start_server_with(&["fsync=on"]) {
        let (ledger, client) = runtime.block_on(async {
            (postgres::installed(server.port).await, postgres::connect(server.port).await)
        });
        print_rows("PostgreSQL", &HOLDERS, |holders| {
            runtime.block_on(time_ledger(&ledger, holders, async |_| {
                client
                    .batch_execute("UPDATE concurrency_governor.gate SET learning_until = 0")
                    .await
                    .unwrap();
            }))
        });
    }
}

/// Prints the time of a permit that is available: of a plain gate, and of a gate with a lease.
#[test]
#[ignore = "prints times; needs an idle machine"]
fn times_of_permits() {
    const PERMITS: u32 = 200_000;
    let name = GateName::new("io");
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let share = Share::of(MemoryLedger::new(), "io").limit(Limit::new(4)).open(name).unwrap();
    let plain = Gate::new(name, Limit::new(4));
    let (mut of_plain, mut of_shared) = (Vec::new(), Vec::new());
    runtime.block_on(async {
        drop(share.acquire().await.unwrap());
        for _ in 0..31 {
            let started = Instant::now();
            for _ in 0..PERMITS {
                drop(plain.acquire().await.unwrap());
            }
            of_plain.push(started.elapsed() / PERMITS);
            let started = Instant::now();
            for _ in 0..PERMITS {
                drop(share.acquire().await.unwrap());
            }
            of_shared.push(started.elapsed() / PERMITS);
        }
    });
    for (name, mut times) in [("Gate", of_plain), ("SharedGate", of_shared)] {
        times.sort_unstable();
        println!("| {name} | {} ns |", times[times.len() / 2].as_nanos());
    }
}

/// Ends the learning of a gate. The script would wait for a span.
pub(super) fn end_learning_in_redis(gate: &str, connection: &mut Connection) {
    let (key, end) = (
        format!("cg:{{{gate}}}"),
        "local gate = { cmsgpack.unpack(redis.call('HGET', KEYS[1], 'm')) } \
        gate[5] = 0 redis.call('HSET', KEYS[1], 'm', cmsgpack.pack(unpack(gate)))",
    );
    redis::cmd("EVAL").arg(end).arg(1).arg(key).exec(connection).unwrap();
}

fn print_rows(name: &str, holders: &[usize], mut time: impl FnMut(usize) -> Vec<Duration>) {
    let mut of_hundred = None;
    let rows = holders.iter().map(|&holders| {
        let mut times = time(holders);
        times.sort_unstable();
        let at = |part: usize| times[times.len() * part / 100];
        if holders == 100 {
            of_hundred = Some(at(50));
        }
        (holders, [at(10), at(50), at(90), at(99)])
    });
    let rows: Vec<_> = rows.collect();
    for (holders, times) in rows {
        let ratio = times[1].as_secs_f64() / of_hundred.unwrap().as_secs_f64();
        let [p10, p50, p90, p99] = times.map(|time| time.as_secs_f64() * 1e6);
        println!("| {name} | {holders} | {p10:.2} | {p50:.2} | {p90:.2} | {p99:.2} | {ratio:.2} |");
    }
}

/// The number of exchanges that are measured, and the most in one round.
const MEASURED: usize = 4000;

fn time_step(holders: usize) -> Vec<Duration> {
    let names: Vec<String> = (0..holders).map(name).collect();
    let mut state = LedgerState::without_leases(LedgerServer { now_ms: 1, run: "r" });
    let mut times = Vec::new();
    let mut seq = 0;
    while times.len() < 50_000.max(2 * holders) {
        seq += 1;
        for (index, name) in names.iter().enumerate() {
            let ask = ask(name, index, seq, holders);
            let started = Instant::now();
            state.exchange(&ask, LedgerServer { now_ms: seq, run: "r" }).unwrap();
            if seq > 2 {
                times.push(started.elapsed());
            }
        }
    }
    times
}

async fn time_ledger(
    ledger: &impl Ledger,
    holders: usize,
    mut end_learning: impl AsyncFnMut(&str),
) -> Vec<Duration> {
    let gate = format!("g{holders}");
    let names: Vec<String> = (0..holders).map(name).collect();
    for (index, name) in names.iter().enumerate() {
        ledger.exchange(&gate, ask(name, index, 1, holders)).await.unwrap();
    }
    end_learning(&gate).await;
    let mut times = Vec::new();
    let mut seq = 1;
    loop {
        seq += 1;
        for (index, name) in names.iter().enumerate() {
            let started = Instant::now();
            let grant = ledger.exchange(&gate, ask(name, index, seq, holders)).await.unwrap();
            times.push(started.elapsed());
            assert!(grant.learning.is_zero());
            if times.len() == 2 * MEASURED {
                return times.split_off(MEASURED);
            }
        }
    }
}

pub(super) fn name(index: usize) -> String {
    format!("host-{index}.cluster.example:4242:{:016x}", index * 7_919)
}

/// Twice as much is wanted as there is, and every second holder wants something else each time.
fn ask(holder: &str, index: usize, seq: u64, holders: usize) -> Ask<'_> {
    let day = Duration::from_secs(86_400);
    let terms = LeaseTerms::from_parts(day, Duration::ZERO, Duration::from_secs(1)).unwrap();
    let limit = LimitVersion::configured(Limit::new(holders as u32 * 10));
    let changing = if index % 2 == 0 { seq as u32 * 7 % 20 } else { 10 };
    Ask { holder, seq, epoch: 0, held: 5, wants: 10 + changing, claim: Claim::Current, terms, limit }
}
