//! What a recorder is told of pools.

use std::sync::Arc;

use concurrency_governor::gate::Gate;
use concurrency_governor::integration::metrics::{Metrics, POOL_CREATE_FAILURES, POOL_DISCARDED, POOL_ITEMS};
use concurrency_governor::pool::{Manager, Pool, PooledItem};
use concurrency_governor::{GateName, Limit};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::{recorder, series, soon};

/// A pool that has been through something: an attempt failed, 5 items made, one in use again, one marked broken, one taken
/// out, and one that is being made for who waits, and never comes.
pub(crate) struct Busy {
    pub(crate) pool: Pool<Sessions>,
    leases: Vec<PooledItem<Sessions>>,
    waits: JoinHandle<()>,
}

/// Makes an item for each that it is told to; what else it holds says whether it is there.
pub(crate) struct Sessions {
    made: Mutex<std::vec::IntoIter<Result<(), std::io::Error>>>,
    _kept: Arc<()>,
}

impl Manager for Sessions {
    type Item = ();
    type Error = std::io::Error;

    async fn create(&self) -> Result<(), std::io::Error> {
        let next = self.made.lock().await.next();
        match next {
            Some(made) => made,
            None => std::future::pending().await,
        }
    }
}

impl Busy {
    pub(crate) async fn new() -> Self {
        let mut made: Vec<_> = (0..5).map(|_| Ok(())).collect();
        made.insert(0, Err(std::io::Error::other("not yet")));
        let gate = Gate::new(GateName::new("sessions"), Limit::new(4));
        let manager = Sessions { made: Mutex::new(made.into_iter()), _kept: Arc::default() };
        let pool = Pool::builder(manager).gate(gate).build().await.unwrap();
        soon(pool.checkout()).await.unwrap_err();
        let mut leases = Vec::new();
        for _ in 0..4 {
            leases.push(soon(pool.checkout()).await.unwrap());
        }
        leases.remove(0).mark_broken();
        leases.remove(0).detach();
        leases.push(soon(pool.checkout()).await.unwrap());
        drop(leases.pop());
        leases.push(pool.try_checkout().unwrap());
        let other = pool.clone();
        let waits = tokio::spawn(async move { drop(other.checkout().await) });
        while pool.status().creating == 0 {
            tokio::task::yield_now().await;
        }
        Self { pool, leases, waits }
    }

    /// What `of` gives for a name and labels is what it has been through.
    pub(crate) fn shows(&self, of: impl Fn(&str, &str) -> f64) {
        for (state, count) in [("idle", 0.0), ("in_use", 3.0), ("creating", 1.0), ("dropping", 0.0)] {
            assert_eq!(of(POOL_ITEMS, &format!("gate=\"sessions\",state=\"{state}\"")), count, "{state}");
        }
        let pool_has = |name: &str| of(&format!("concurrency_governor_pool_{name}"), "gate=\"sessions\"");
        assert_eq!([pool_has("waiting"), pool_has("backing_off")], [1.0, 0.0]);
        assert_eq!([pool_has("created_total"), pool_has("reused_total")], [5.0, 1.0]);
        assert_eq!([pool_has("evicted_total"), pool_has("detached_total")], [0.0, 1.0]);
        let by_reason =
            |name: &str, reason: &str| of(name, &format!("gate=\"sessions\",reason=\"{reason}\""));
        for reason in [
            "incomplete",
            "panicked",
            "recycle",
            "health",
            "expired",
            "surplus",
            "retain",
            "closed",
            "broken",
        ] {
            let count = if reason == "broken" { 1.0 } else { 0.0 };
            assert_eq!(by_reason(POOL_DISCARDED, reason), count, "{reason}");
        }
        for (reason, count) in [("failed", 1.0), ("timed_out", 0.0), ("panicked", 0.0), ("abandoned", 0.0)] {
            assert_eq!(by_reason(POOL_CREATE_FAILURES, reason), count, "{reason}");
        }
        assert_eq!(pool_has("create_seconds_count"), 5.0);
        assert_eq!(pool_has("wait_seconds_count"), 5.0, "who got a new item has waited for it");
        assert_eq!((self.leases.len(), self.waits.is_finished()), (3, false));
    }
}

/// Who looks at a pool keeps nothing of it alive, and sees that it is gone.
#[tokio::test]
async fn a_pool_that_is_gone_is_empty() {
    let (recorder, handle) = recorder();
    let made = Mutex::new(vec![Ok(()), Ok(())].into_iter());
    let kept = Arc::new(());
    let pool = Pool::builder(Sessions { made, _kept: Arc::clone(&kept) }).max(2).build().await.unwrap();
    let metrics = Metrics::new().pool(&pool);
    let items = || {
        metrics::with_local_recorder(&recorder, || metrics.record());
        let scrape = handle.render();
        let of_items = |(name, count): (&str, f64)| name.starts_with(POOL_ITEMS).then_some(count);
        series(&scrape).into_iter().filter_map(of_items).sum::<f64>()
    };
    let leases = [soon(pool.checkout()).await.unwrap(), soon(pool.checkout()).await.unwrap()];
    assert_eq!(items(), 2.0);
    drop(pool);
    assert_eq!(items(), 2.0, "they are out still");
    drop(leases);
    let gone = async {
        while Arc::strong_count(&kept) > 1 {
            tokio::task::yield_now().await; // for the keeper to go
        }
    };
    soon(gone).await;
    assert_eq!(items(), 0.0, "nobody looked in between");
}
