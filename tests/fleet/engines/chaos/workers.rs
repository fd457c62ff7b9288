//! What the workers do with a lease.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use concurrency_governor::fleet::Share;
use concurrency_governor::{GateName, Limit};

use super::auditor::Upstream;
use super::child::{LEDGER, given};
use super::{LIMIT, MAX_HOLD, THREADS, TTL};

/// Makes requests with permits of a shared gate until the process is killed.
pub(super) fn work_with_a_lease() {
    let share = share().limit(Limit::new(LIMIT as u32));
    let gate = share.ttl(TTL).max_hold(MAX_HOLD).open(GateName::new("chaos")).unwrap();
    run_threads(|| {
        let mut upstream = Upstream::connect();
        loop {
            let permit = gate.acquire_blocking().unwrap();
            upstream.request();
            drop(permit);
        }
    });
}

/// Returns the share of this worker, as a program has it.
fn share() -> Share {
    #[cfg(feature = "redis")]
    {
        use super::child::REPLICAS;
        use concurrency_governor::fleet::RedisLedger;
        use std::time::Duration;

        // A URL cannot say how many replicas must acknowledge.
        let replicas: u32 = given(REPLICAS).parse().unwrap();
        if replicas > 0 {
            let ledger = RedisLedger::new(given(LEDGER)).unwrap();
            return Share::of(ledger.acknowledged_by(replicas, Duration::from_millis(100)), "chaos");
        }
    }
    Share::at(&given(LEDGER), "chaos").unwrap()
}

/// Runs the work on each thread. A thread that fails ends the process.
pub(super) fn run_threads(work: impl Fn() + Sync) {
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let _ = catch_unwind(AssertUnwindSafe(&work));
                std::process::exit(1);
            });
        }
    });
}
