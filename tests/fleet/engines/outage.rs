//! What happens when a Redis that was gone is back: thousands of holders without a lease come at the same time. Prints a report for
//! docs/PERFORMANCE.md.

#![expect(clippy::print_stdout, reason = "the report is printed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use concurrency_governor::Limit;
use concurrency_governor::fleet::{Lease, LeaseTerms, Ledger, LimitVersion, RedisLedger};
use nix::sys::signal::Signal;
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::redis::{start_server_with, url};

/// Starts 10 000 holders, each a task with a connection of its own, and stops the server for 15 s. All state is lost. Then each
/// holder must have a block again, and the permits in use must never have been above the limit.
#[test]
#[ignore = "takes long; needs an idle machine and 10 100 open files"]
fn all_holders_come_back_after_an_outage() {
    // Connections to a server that is gone, and to one that is back, take files of both processes.
    let Some(mut server) = start_server_with(&["--maxclients", "15000"]) else { return };
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let start = Instant::now();
    let audit = Arc::new(Audit::default());
    let ledger = RedisLedger::new(url(&server)).unwrap();
    let (down, stop) = (TERMS_SPAN + SETTLE, TERMS_SPAN + SETTLE + OUTAGE);
    let end = start + stop + TERMS_SPAN + 3 * SETTLE;
    let holders: Vec<_> = (0..HOLDERS)
        .map(|index| {
            let holder = Holder::new(index, start, Arc::clone(&audit));
            runtime.spawn(holder.run(ledger.with_own_connection(), end))
        })
        .collect();
    runtime.block_on(async { sleep_until(start + down).await });
    let used_before = audit.in_use.load(Ordering::SeqCst);
    server.kill();
    runtime.block_on(async { sleep_until(start + stop).await });
    server.restart(Signal::SIGKILL);
    let back = start.elapsed();
    let mut reports = Vec::new();
    for holder in holders {
        reports.push(runtime.block_on(holder).unwrap());
    }
    let used_after = audit.in_use.load(Ordering::SeqCst);
    print_report(&reports, back);
    let most = audit.most.load(Ordering::SeqCst);
    println!("in use at most {most} of {LIMIT}; {used_before} before the outage, {used_after} at the end");
    assert!(most <= i64::from(LIMIT), "{most} permits in use, and the limit is {LIMIT}");
    let without: usize = reports.iter().filter(|report| report.regained(back).is_none()).count();
    assert_eq!(without, 0, "holders without a block at the end");
}

fn print_report(reports: &[HolderReport], back: Duration) {
    let mut regained: Vec<_> = reports.iter().filter_map(|report| report.regained(back)).collect();
    regained.sort_unstable();
    let part = |of: &[Duration], part: usize| of[(of.len() - 1) * part / 100].as_secs_f64();
    println!(
        "seconds until a holder has a block again: first {:.1}, half {:.1}, 99 % {:.1}, last {:.1} (the ledger learns for {:.1})",
        part(&regained, 0),
        part(&regained, 50),
        part(&regained, 99),
        part(&regained, 100),
        TERMS_SPAN.as_secs_f64()
    );
    println!("| seconds after the server was back | exchanges/s | failed/s | p50 ms | p99 ms | slowest ms |");
    println!("|---|---|---|---|---|---|");
    let calls = || reports.iter().flat_map(|report| &report.calls);
    let seconds = (TERMS_SPAN + 3 * SETTLE).as_secs();
    for second in 0..seconds {
        let from = back + Duration::from_secs(second);
        let in_second = |call: &&Call| (from..from + Duration::from_secs(1)).contains(&call.ended);
        let mut times: Vec<_> =
            calls().filter(in_second).filter(|call| call.is_answered).map(|call| call.took).collect();
        times.sort_unstable();
        let failed = calls().filter(in_second).filter(|call| !call.is_answered).count();
        if let [.., slowest] = times[..] {
            println!(
                "| {second} | {} | {failed} | {:.1} | {:.1} | {:.1} |",
                times.len(),
                part(&times, 50) * 1e3,
                part(&times, 99) * 1e3,
                slowest.as_secs_f64() * 1e3
            );
        }
    }
    let mut tenths = std::collections::BTreeMap::<u128, u64>::new();
    for call in calls().filter(|call| call.is_answered && call.ended >= back) {
        *tenths.entry(call.ended.as_millis() / 100).or_default() += 1;
    }
    let peak = tenths.values().max().copied().unwrap_or_default();
    println!("most exchanges in 100 ms: {peak}");
}

/// The permits in use of all holders.
#[derive(Default)]
struct Audit {
    in_use: AtomicI64,
    most: AtomicI64,
}

impl Audit {
    fn change(&self, by: i64) {
        let in_use = self.in_use.fetch_add(by, Ordering::SeqCst) + by;
        self.most.fetch_max(in_use, Ordering::SeqCst);
    }
}

/// A process that uses all of its block, and wants twice its fair share. What it has in use ends with its lease.
struct Holder {
    lease: Lease,
    start: Instant,
    first: Duration,
    in_use: u32,
    audit: Arc<Audit>,
    report: HolderReport,
}

/// What a holder has seen.
#[derive(Default)]
struct HolderReport {
    calls: Vec<Call>,
    /// When the holder got a block and had none.
    blocks: Vec<Duration>,
}

impl HolderReport {
    /// Returns how long after this instant the holder got a block.
    fn regained(&self, back: Duration) -> Option<Duration> {
        self.blocks.iter().find_map(|block| block.checked_sub(back))
    }
}

/// One exchange.
struct Call {
    ended: Duration,
    took: Duration,
    is_answered: bool,
}

impl Holder {
    fn new(index: usize, start: Instant, audit: Arc<Audit>) -> Self {
        let terms = LeaseTerms::from_parts(TTL, Duration::from_secs(1), TTL / 2).unwrap();
        assert_eq!(terms.span(), TERMS_SPAN);
        let limit = LimitVersion::configured(Limit::new(LIMIT));
        let lease = Lease::new(super::timing::name(index), terms, limit);
        // The processes of a fleet do not start at the same time.
        let first = TTL / 3 * u32::try_from(index).unwrap() / HOLDERS as u32;
        Self { lease, start, first, in_use: 0, audit, report: HolderReport::default() }
    }

    /// Does what the thread of a shared gate does.
    async fn run(mut self, ledger: Arc<dyn Ledger>, end: Instant) -> HolderReport {
        sleep(self.first).await;
        loop {
            let due = self.lease.next_exchange(self.in_use, WANTS).unwrap().max(self.first);
            if self.start + due >= end {
                return self.report;
            }
            self.sleep_until(due).await;
            self.exchange(&*ledger).await;
        }
    }

    /// Waits, and ends the work when the lease ends.
    async fn sleep_until(&mut self, instant: Duration) {
        let deadline = self.lease.deadline();
        if deadline <= instant {
            sleep_until(self.start + deadline).await;
            self.use_permits(0);
        }
        sleep_until(self.start + instant).await;
    }

    async fn exchange(&mut self, ledger: &dyn Ledger) {
        let begun = self.start.elapsed();
        if !self.lease.is_valid(begun) {
            self.use_permits(0);
        }
        let deadline = self.start + self.lease.deadline();
        let (audit, in_use) = (Arc::clone(&self.audit), self.in_use);
        let ask = self.lease.begin(begun, in_use, WANTS);
        let seq = ask.seq;
        let call = timeout(Duration::from_secs(2), ledger.exchange("outage", ask));
        let (answer, left) = {
            let mut call = std::pin::pin!(call);
            tokio::select! {
                answer = &mut call => (answer, in_use),
                // The lease ends before the answer comes.
                () = sleep_until(deadline), if in_use > 0 => {
                    audit.change(-i64::from(in_use));
                    (call.await, 0)
                }
            }
        };
        self.in_use = left;
        let ended = self.start.elapsed();
        let is_answered = if let Ok(Ok(grant)) = answer {
            self.lease.finish(seq, &grant)
        } else {
            self.lease.fail(seq);
            false
        };
        self.report.calls.push(Call { ended, took: ended.saturating_sub(begun), is_answered });
        if is_answered {
            let cap = if self.lease.is_valid(ended) { self.lease.cap() } else { 0 };
            if self.in_use == 0 && cap > 0 {
                self.report.blocks.push(ended);
            }
            self.use_permits(cap.min(WANTS));
        }
    }

    fn use_permits(&mut self, permits: u32) {
        self.audit.change(i64::from(permits) - i64::from(self.in_use));
        self.in_use = permits;
    }
}

const HOLDERS: usize = 10_000;
const WANTS: u32 = 4;
const LIMIT: u32 = 20_000;
const TTL: Duration = Duration::from_secs(10);
/// The `ttl`, a second of grace, and half the `ttl` as the guard.
const TERMS_SPAN: Duration = Duration::from_secs(16);
/// How long the holders have for their blocks after the ledger has learnt.
const SETTLE: Duration = Duration::from_secs(8);
/// How long the server is down: longer than the `ttl`.
const OUTAGE: Duration = Duration::from_secs(15);
