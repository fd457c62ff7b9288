//! Many tasks on several threads, with a limit that changes all the time and items whose drops take time.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use concurrency_governor::pool::{Manager, Pool, PoolGroup, Verdict};
use concurrency_governor::{Gate, GateName, Limit};
use tokio::runtime;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

/// However many items are evicted, discarded, cancelled and rejected, live items never exceed the limit. (In another pool with a
/// maximum of 16, 29 items existed at once, because items that were being evicted did not count.)
#[test]
fn live_items_never_exceed_the_limit() {
    storm(1, &[16], 16);
}

/// While the limit changes, live items never exceed its highest value.
#[test]
fn live_items_never_exceed_the_highest_limit() {
    storm(1, &[16, 3, 9, 1, 12], 16);
}

/// The items of several pools in a group together never exceed the limit, although each pool needs items that others hold idle.
#[test]
fn live_items_of_a_group_never_exceed_the_limit() {
    storm(5, &[8], 8);
}

/// While the limit changes, the items of several pools in a group together never exceed its highest value.
#[test]
fn live_items_of_a_group_never_exceed_the_highest_limit() {
    storm(5, &[8, 3, 6, 1], 8);
}

fn storm(pools: usize, limits: &[u32], highest: i64) {
    let runtime = runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    let counts = Arc::<Counts>::default();
    runtime.block_on(async {
        let group = PoolGroup::new(Gate::new(GateName::new("storm"), Limit::new(limits[0])));
        let build_pool = || {
            let builder = Pool::builder(SlowManager(Arc::clone(&counts)));
            let builder = if pools > 1 { builder.group(&group) } else { builder.gate(group.gate().clone()) };
            builder
                .min_idle(if pools > 1 { 1 } else { 2 })
                .idle_timeout(Duration::from_micros(300))
                .max_lifetime(Duration::from_millis(5))
                .create_backoff(Duration::from_micros(50), Duration::from_micros(200))
                .build()
        };
        let mut all_pools = Vec::new();
        for _ in 0..pools {
            all_pools.push(build_pool().await.unwrap());
        }
        let pool = &all_pools[0];
        let stop = Arc::new(AtomicBool::new(false));
        let tasks: Vec<_> = (0..64_u32)
            .map(|task| {
                let pool = all_pools[task as usize % pools].clone();
                let (stop, counts) = (Arc::clone(&stop), Arc::clone(&counts));
                tokio::spawn(async move {
                    let mut random = task;
                    while !stop.load(SeqCst) {
                        if counts.paused.load(SeqCst) {
                            sleep(Duration::from_millis(1)).await;
                            continue;
                        }
                        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        let max_wait = Duration::from_micros(u64::from(random >> 20));
                        let Ok(Ok(mut item)) = timeout(max_wait, pool.checkout()).await else { continue };
                        if random % 5 == 0 {
                            item.begin();
                        }
                        if random % 3 == 0 {
                            yield_now().await;
                        }
                        counts.served.fetch_add(1, SeqCst);
                        drop(item);
                    }
                })
            })
            .collect();

        // At least 200 rounds, and as many as it takes on a busy machine until every kind of event has happened.
        let is_complete = || {
            let totals = pool.status().totals;
            let aged = totals.evicted + totals.discarded.expired;
            let served = counts.served.load(SeqCst);
            served > 1000 && aged > 0 && totals.discarded.incomplete > 0 && totals.create_errors.failed > 0
        };
        let mut round = 0;
        while round < 200 || !is_complete() {
            pool.resize(Limit::new(limits[round % limits.len()]));
            for pool in &all_pools {
                pool.retain(|_, _| round % 7 != 0);
            }
            counts.paused.store(round % 10 == 0, SeqCst); // lets items reach the idle timeout
            sleep(Duration::from_millis(2)).await;
            round += 1;
            assert!(round < 20_000, "{:?}", pool.status());
        }
        stop.store(true, SeqCst);
        for task in tasks {
            task.await.unwrap();
        }
        for pool in &all_pools {
            pool.close();
            pool.drained().await;
            let status = pool.status();
            let left = status.totals.evicted + status.totals.discarded.sum();
            assert_eq!((status.size, status.totals.created), (0, left), "{status:?}");
        }
        assert_eq!((group.items(), group.gate().status().in_use), (0, 0));
    });
    assert_eq!(counts.live.load(SeqCst), 0);
    let peak = counts.peak.load(SeqCst);
    assert!((2..=highest).contains(&peak), "{peak} items existed at once");
}

#[derive(Default)]
struct Counts {
    live: AtomicI64,
    peak: AtomicI64,
    served: AtomicUsize,
    attempts: AtomicUsize,
    /// Whether the tasks pause.
    paused: AtomicBool,
}

/// Creates items that take time to be created and to be dropped. Every eleventh attempt fails.
struct SlowManager(Arc<Counts>);

impl Manager for SlowManager {
    type Item = SlowItem;
    type Error = io::Error;

    async fn create(&self) -> Result<SlowItem, io::Error> {
        let item = SlowItem::new(&self.0);
        yield_now().await;
        if self.0.attempts.fetch_add(1, SeqCst) % 11 == 10 {
            return Err(io::ErrorKind::Other.into());
        }
        Ok(item)
    }

    fn recycle(&self, item: &mut SlowItem) -> Verdict {
        item.uses += 1;
        if item.uses % 13 == 0 { Verdict::Discard } else { Verdict::Keep }
    }
}

/// An item that counts as live from the start of its creation to the end of its drop.
struct SlowItem {
    counts: Arc<Counts>,
    uses: u32,
}

impl SlowItem {
    fn new(counts: &Arc<Counts>) -> Self {
        let live = counts.live.fetch_add(1, SeqCst) + 1;
        counts.peak.fetch_max(live, SeqCst);
        Self { counts: Arc::clone(counts), uses: 0 }
    }
}

impl Drop for SlowItem {
    fn drop(&mut self) {
        for _ in 0..20 {
            thread::yield_now();
        }
        self.counts.live.fetch_sub(1, SeqCst);
    }
}
