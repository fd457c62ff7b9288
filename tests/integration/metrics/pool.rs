//! The metrics of pools.

use std::sync::Arc;

use concurrency_governor::gate::Gate;
use concurrency_governor::integration::metrics::{Metrics, POOL_CREATE_FAILURES, POOL_DISCARDED, POOL_ITEMS};
use concurrency_governor::pool::{Manager, Pool, PooledItem};
use concurrency_governor::{GateName, Limit};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::{complete, recorder, series};

/// A pool of at most 4 items with a history: one failed attempt, 5 items created, one of them reused, one marked broken and
/// one detached. One more item is being created for a waiter, and its creation never completes.
pub(crate) struct ExercisedPool {
    pub(crate) pool: Pool<Sessions>,
    items: Vec<PooledItem<Sessions>>,
    waiter: JoinHandle<()>,
}

/// Returns the given results in turn, then never resolves.
pub(crate) struct Sessions {
    results: Mutex<std::vec::IntoIter<Result<(), std::io::Error>>>,
    _alive: Arc<()>,
}

impl Manager for Sessions {
    type Item = ();
    type Error = std::io::Error;

    async fn create(&self) -> Result<(), std::io::Error> {
        let next = self.results.lock().await.next();
        match next {
            Some(result) => result,
            None => std::future::pending().await,
        }
    }
}

impl ExercisedPool {
    pub(crate) async fn new() -> Self {
        let mut results: Vec<_> = (0..5).map(|_| Ok(())).collect();
        results.insert(0, Err(std::io::Error::other("not yet")));
        let gate = Gate::new(GateName::new("sessions"), Limit::new(4));
        let manager = Sessions { results: Mutex::new(results.into_iter()), _alive: Arc::default() };
        let pool = Pool::builder(manager).gate(gate).build().await.unwrap();
        complete(pool.checkout()).await.unwrap_err();
        let mut items = Vec::new();
        for _ in 0..4 {
            items.push(complete(pool.checkout()).await.unwrap());
        }
        items.remove(0).mark_broken();
        items.remove(0).detach();
        items.push(complete(pool.checkout()).await.unwrap());
        drop(items.pop());
        items.push(pool.try_checkout().unwrap());
        let pool_of_waiter = pool.clone();
        let waiter = tokio::spawn(async move { drop(pool_of_waiter.checkout().await) });
        while pool.status().creating == 0 {
            tokio::task::yield_now().await;
        }
        Self { pool, items, waiter }
    }

    /// Checks the metrics against the history. `value` returns the value for a name and labels.
    pub(crate) fn assert_metrics(&self, value: impl Fn(&str, &str) -> f64) {
        for (state, count) in [("idle", 0.0), ("in_use", 3.0), ("creating", 1.0), ("dropping", 0.0)] {
            let labels = format!("gate=\"sessions\",state=\"{state}\"");
            assert_eq!(value(POOL_ITEMS, &labels), count, "{state}");
        }
        let of_pool = |name: &str| value(&format!("concurrency_governor_pool_{name}"), "gate=\"sessions\"");
        assert_eq!([of_pool("waiting"), of_pool("backing_off")], [1.0, 0.0]);
        assert_eq!([of_pool("created_total"), of_pool("reused_total")], [5.0, 1.0]);
        assert_eq!([of_pool("evicted_total"), of_pool("detached_total")], [0.0, 1.0]);
        let by_reason =
            |name: &str, reason: &str| value(name, &format!("gate=\"sessions\",reason=\"{reason}\""));
        for (reason, count) in [
            ("incomplete", 0.0),
            ("panicked", 0.0),
            ("recycle", 0.0),
            ("health", 0.0),
            ("expired", 0.0),
            ("surplus", 0.0),
            ("retain", 0.0),
            ("closed", 0.0),
            ("broken", 1.0),
        ] {
            assert_eq!(by_reason(POOL_DISCARDED, reason), count, "{reason}");
        }
        for (reason, count) in [("failed", 1.0), ("timed_out", 0.0), ("panicked", 0.0), ("abandoned", 0.0)] {
            assert_eq!(by_reason(POOL_CREATE_FAILURES, reason), count, "{reason}");
        }
        assert_eq!(of_pool("create_seconds_count"), 5.0);
        assert_eq!(of_pool("wait_seconds_count"), 5.0, "a checkout waits for the creation of its item");
        assert_eq!((self.items.len(), self.waiter.is_finished()), (3, false));
    }
}

/// `Metrics` does not keep a pool alive. A pool that is gone is recorded as empty.
#[tokio::test]
async fn a_dropped_pool_is_recorded_as_empty() {
    let (recorder, handle) = recorder();
    let results = Mutex::new(vec![Ok(()), Ok(())].into_iter());
    let alive = Arc::new(());
    let manager = Sessions { results, _alive: Arc::clone(&alive) };
    let pool = Pool::builder(manager).max(2).build().await.unwrap();
    let metrics = Metrics::builder().pool(&pool).build().unwrap();
    let recorded_items = || {
        metrics::with_local_recorder(&recorder, || metrics.record());
        let scrape = handle.render();
        let count_items = |(name, count): (&str, f64)| name.starts_with(POOL_ITEMS).then_some(count);
        series(&scrape).into_iter().filter_map(count_items).sum::<f64>()
    };
    let items = [complete(pool.checkout()).await.unwrap(), complete(pool.checkout()).await.unwrap()];
    assert_eq!(recorded_items(), 2.0);
    drop(pool);
    assert_eq!(recorded_items(), 2.0, "items in use keep the pool alive");
    drop(items);
    let manager_is_dropped = async {
        while Arc::strong_count(&alive) > 1 {
            tokio::task::yield_now().await; // until the pool's background task has ended
        }
    };
    complete(manager_is_dropped).await;
    assert_eq!(recorded_items(), 0.0);
}
