//! Many tasks on real threads, with limits that never rest and items that take time to go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use concurrency_governor::Limit;
use concurrency_governor::pool::{Manager, Pool, Verdict};
use tokio::time::timeout;

/// What was wrong in the pool that this one follows: with a maximum of 16, 29 were there, because items being evicted did
/// not count. Here the maximum is the most there ever is, however much is evicted, discarded, cancelled and refused.
#[test]
fn live_items_never_exceed_the_limit() {
    storm(&[16], 16);
}

/// The same with a limit that moves: never more than its highest.
#[test]
fn live_items_never_exceed_the_highest_limit() {
    storm(&[16, 3, 9, 1, 12], 16);
}

fn storm(limits: &[u32], highest: i64) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    let counts = Arc::<Counts>::default();
    runtime.block_on(async {
        let pool = Pool::builder(Slow(Arc::clone(&counts)))
            .max(limits[0])
            .min_idle(2)
            .idle_timeout(Duration::from_micros(300))
            .max_lifetime(Duration::from_millis(5))
            .create_backoff(Duration::from_micros(50), Duration::from_micros(200))
            .build()
            .await
            .unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let tasks: Vec<_> = (0..64_u32)
            .map(|task| {
                let (pool, stop, counts) = (pool.clone(), Arc::clone(&stop), Arc::clone(&counts));
                tokio::spawn(async move {
                    let mut turn = task;
                    while !stop.load(SeqCst) {
                        if counts.rests.load(SeqCst) {
                            tokio::time::sleep(Duration::from_millis(1)).await;
                            continue;
                        }
                        turn = turn.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        let patience = Duration::from_micros(u64::from(turn >> 20));
                        let Ok(Ok(mut lease)) = timeout(patience, pool.checkout()).await else { continue };
                        if turn % 5 == 0 {
                            lease.begin();
                        }
                        if turn % 3 == 0 {
                            tokio::task::yield_now().await;
                        }
                        counts.served.fetch_add(1, SeqCst);
                        drop(lease);
                    }
                })
            })
            .collect();
        // On a busy machine it takes longer until all of it has happened.
        let has_seen_enough = || {
            let totals = pool.status().totals;
            let aged = totals.evicted + totals.discarded.expired;
            let served = counts.served.load(SeqCst);
            served > 1000 && aged > 0 && totals.discarded.incomplete > 0 && totals.create_errors.failed > 0
        };
        let mut round = 0;
        while round < 200 || !has_seen_enough() {
            pool.resize(Limit::new(limits[round % limits.len()]));
            pool.retain(|_, _| round % 7 != 0);
            counts.rests.store(round % 10 == 0, SeqCst); // so that something is idle for long enough
            tokio::time::sleep(Duration::from_millis(2)).await;
            round += 1;
            assert!(round < 20_000, "{:?}", pool.status());
        }
        stop.store(true, SeqCst);
        for task in tasks {
            task.await.unwrap();
        }
        pool.close();
        pool.drained().await;
        let status = pool.status();
        let left = status.totals.evicted + status.totals.discarded.sum();
        assert_eq!((status.size, status.totals.created), (0, left), "{status:?}");
    });
    assert_eq!(counts.live.load(SeqCst), 0);
    let most = counts.most.load(SeqCst);
    assert!((2..=highest).contains(&most), "{most} were there");
}

#[derive(Default)]
struct Counts {
    live: AtomicI64,
    most: AtomicI64,
    served: AtomicUsize,
    attempts: AtomicUsize,
    rests: AtomicBool,
}

/// Its items take time to be made, and to go.
struct Slow(Arc<Counts>);

impl Manager for Slow {
    type Item = Slowly;
    type Error = std::io::Error;

    async fn create(&self) -> Result<Slowly, std::io::Error> {
        let made = Slowly::new(&self.0);
        tokio::task::yield_now().await;
        if self.0.attempts.fetch_add(1, SeqCst) % 11 == 10 {
            return Err(std::io::ErrorKind::Other.into());
        }
        Ok(made)
    }

    fn recycle(&self, item: &mut Slowly) -> Verdict {
        item.1 += 1;
        if item.1 % 13 == 0 { Verdict::Discard } else { Verdict::Keep }
    }
}

struct Slowly(Arc<Counts>, u32);

impl Slowly {
    fn new(counts: &Arc<Counts>) -> Self {
        let live = counts.live.fetch_add(1, SeqCst) + 1;
        counts.most.fetch_max(live, SeqCst);
        Self(Arc::clone(counts), 0)
    }
}

impl Drop for Slowly {
    fn drop(&mut self) {
        for _ in 0..20 {
            thread::yield_now();
        }
        self.0.live.fetch_sub(1, SeqCst);
    }
}
