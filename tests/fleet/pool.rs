//! Pools on gates that share their limit: the items of all processes together keep to the limit of the fleet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use concurrency_governor::fleet::{Ledger, MemoryLedger, Share, SharedGate};
use concurrency_governor::gate::TryAcquireError;
use concurrency_governor::plan::LeaseState;
use concurrency_governor::pool::{CheckoutError, Manager, Pool, PoolGroup, TryCheckoutError};
use concurrency_governor::{
    Formula, GateName, GateSpec, Governor, Keys, Limit, OverrideLayer, Overrides, Part,
};
use tokio::time::{Instant, sleep};

use crate::flaky::{Failing, FlakyLedger};
use crate::waiting::wait_until;

const IO: GateName = GateName::new("io");
const MINUTE: Duration = Duration::from_secs(60);

fn share(ledger: &(impl Ledger + Clone + 'static), limit: u32) -> Share {
    let share = Share::of(ledger.clone(), "prod/io").limit(Limit::new(limit)).ttl(Duration::from_millis(600));
    share.max_hold(Duration::from_millis(200))
}

fn open(ledger: &(impl Ledger + Clone + 'static), limit: u32) -> SharedGate {
    share(ledger, limit).open(IO).unwrap()
}

/// Creates items that count themselves. Clones share the counters: they are the database of the fleet.
#[derive(Clone, Default)]
struct Database(Arc<Counts>);

#[derive(Default)]
struct Counts {
    live: AtomicUsize,
    peak: AtomicUsize,
    created: AtomicUsize,
    /// Whether a creation waits.
    is_slow: AtomicBool,
}

impl Database {
    fn live(&self) -> usize {
        self.0.live.load(SeqCst)
    }

    fn peak(&self) -> usize {
        self.0.peak.load(SeqCst)
    }
}

struct Connection(Arc<Counts>);

impl Connection {
    fn open(counts: &Arc<Counts>) -> Self {
        let live = counts.live.fetch_add(1, SeqCst) + 1;
        counts.peak.fetch_max(live, SeqCst);
        counts.created.fetch_add(1, SeqCst);
        Self(Arc::clone(counts))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, SeqCst);
    }
}

impl Manager for Database {
    type Item = Connection;
    type Error = std::convert::Infallible;

    async fn create(&self) -> Result<Connection, Self::Error> {
        // From here on the database sees the connection.
        let connection = Connection::open(&self.0);
        while self.0.is_slow.load(SeqCst) {
            sleep(Duration::from_millis(1)).await;
        }
        Ok(connection)
    }
}

async fn pool(gate: SharedGate, database: &Database) -> Pool<Database> {
    Pool::builder(database.clone()).gate(gate).build().await.unwrap()
}

/// Two pools in two processes never have more items than the limit, idle ones and those being created included, and both serve.
#[tokio::test]
async fn items_of_all_processes_keep_to_the_limit() {
    let (ledger, database) = (MemoryLedger::new(), Database::default());
    let pools = [pool(open(&ledger, 4), &database).await, pool(open(&ledger, 4), &database).await];
    let served = [AtomicUsize::new(0), AtomicUsize::new(0)].map(Arc::new);
    let mut tasks = Vec::new();
    for (pool, served) in pools.iter().zip(&served) {
        for worker in 0..6_u64 {
            let (pool, served, database) = (pool.clone(), Arc::clone(served), database.clone());
            tasks.push(tokio::spawn(async move {
                for round in 0..40 {
                    let item = pool.checkout().await.unwrap();
                    assert!(database.live() <= 4, "{} connections", database.live());
                    served.fetch_add(1, SeqCst);
                    sleep(Duration::from_millis((worker + round) % 4)).await;
                    drop(item);
                }
            }));
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(served.map(|served| served.load(SeqCst)), [240, 240]);
    assert!((2..=4).contains(&database.peak()), "{} connections", database.peak());
    for pool in pools {
        pool.close();
        pool.drained().await;
        assert_eq!(pool.gate().status().in_use, 0);
    }
    assert_eq!(database.live(), 0);
}

/// Idle items are held: another process gets their permits only after this one has dropped them.
#[tokio::test]
async fn idle_items_are_held() {
    let (ledger, database) = (MemoryLedger::new(), Database::default());
    let first = pool(open(&ledger, 4), &database).await;
    let mut items = Vec::new();
    for _ in 0..4 {
        items.push(first.checkout().await.unwrap());
    }
    drop(items);
    assert_eq!((first.status().idle, first.gate().status().in_use), (4, 0));
    // They are wanted for as long as no other process lacks permits.
    sleep(Duration::from_secs(1)).await;
    assert_eq!((first.status().idle, first.status().limit), (4, 4));
    assert_eq!(ledger.status("prod/io").await.unwrap().holders[0].granted, 4);

    let second = pool(open(&ledger, 4), &database).await;
    let others = [second.checkout().await.unwrap(), second.checkout().await.unwrap()];
    assert!(first.status().idle <= 2 && database.peak() <= 4, "{:?}", first.status());
    assert!(others[1].shared_permit().unwrap().check().is_ok());
}

/// Without a ledger a pool drops its idle items, a checkout waits, and its error says why. When the ledger is back, it is served.
#[tokio::test]
async fn a_pool_without_a_lease_has_no_items() {
    let (ledger, database) = (FlakyLedger::default(), Database::default());
    let pool = pool(open(&ledger, 4), &database).await;
    let held = pool.checkout().await.unwrap();
    drop(pool.checkout().await.unwrap());
    ledger.fails(Failing::Yes);
    held.shared_permit().unwrap().lost().await;
    wait_until(|| pool.status().idle == 0).await;
    assert_eq!((pool.status().size, pool.status().limit), (1, 0));
    let error = pool.try_checkout().unwrap_err();
    assert!(matches!(error, TryCheckoutError::Unleased(_)), "{error}");
    let wait = Duration::from_millis(20);
    let error = pool.request().max_wait(wait).checkout().await.unwrap_err();
    let CheckoutError::Unleased { unleased, waited } = &error else { panic!("{error}") };
    assert!(*waited >= wait && unleased.reason.contains("the test lets it fail"), "{error}");
    assert!(error.to_string().starts_with("the deadline of a checkout passed after it had waited "));
    assert_eq!((error.gate(), pool.status().totals.expired.admission), (IO, 1));
    drop(held);
    assert_eq!((pool.status().size, database.live()), (0, 0), "an item that comes back is dropped");

    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.checkout().await }
    });
    wait_until(|| pool.status().waiting == 1).await;
    ledger.fails(Failing::No);
    let item = waiting.await.unwrap().unwrap();
    item.shared_permit().unwrap().check().unwrap();
}

/// A checkout whose lease ends while it waits for an item waits anew, because other processes may get its permit. Its item belongs
/// to the next lease.
#[tokio::test]
async fn a_wait_for_an_item_does_not_outlast_its_lease() {
    let (ledger, database) = (FlakyLedger::default(), Database::default());
    let pool = pool(open(&ledger, 4), &database).await;
    drop(pool.checkout().await.unwrap());
    pool.retain(|_, _| false);
    database.0.is_slow.store(true, SeqCst);
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.checkout().await }
    });
    wait_until(|| pool.status().creating == 1).await;
    ledger.fails(Failing::Yes);
    wait_until(|| pool.gate().status().waiting == 1).await;
    assert_eq!(pool.gate().status().in_use, 0, "its permit is returned");
    database.0.is_slow.store(false, SeqCst);
    wait_until(|| database.live() == 0).await;
    assert!(!waiting.is_finished(), "the item of the old lease was handed out");
    ledger.fails(Failing::No);
    waiting.await.unwrap().unwrap().shared_permit().unwrap().check().unwrap();
}

/// A checkout that waits anew because its lease ended keeps its deadline.
#[tokio::test]
async fn a_lost_lease_does_not_extend_the_wait() {
    let (ledger, database) = (FlakyLedger::default(), Database::default());
    let pool = pool(open(&ledger, 4), &database).await;
    drop(pool.checkout().await.unwrap());
    pool.retain(|_, _| false);
    database.0.is_slow.store(true, SeqCst);
    let (began, wait) = (Instant::now(), Duration::from_millis(1500));
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.request().max_wait(wait).checkout().await }
    });
    wait_until(|| pool.status().creating == 1).await;
    ledger.fails(Failing::Yes);
    wait_until(|| pool.gate().status().waiting == 1).await;
    let lost = began.elapsed();
    let error = waiting.await.unwrap().unwrap_err();
    let CheckoutError::Unleased { waited, .. } = error else { panic!("{error}") };
    assert!((wait..wait + lost / 2).contains(&waited), "{waited:?}, and the lease ended after {lost:?}");
}

/// The minimum of idle items is wanted from the ledger, and created when it has granted the permits. The build waits for no ledger.
#[tokio::test]
async fn the_minimum_is_leased() {
    let (ledger, database) = (FlakyLedger::default(), Database::default());
    ledger.fails(Failing::Yes);
    let builder = Pool::builder(database.clone()).gate(open(&ledger, 10)).min_idle(3);
    let pool = builder.build().await.unwrap();
    assert_eq!((pool.status().size, pool.status().limit), (0, 0));
    ledger.fails(Failing::No);
    wait_until(|| pool.status().idle == 3).await;
    assert!(database.peak() == 3 && pool.status().limit >= 3);
}

/// The pools of a group share the block: a checkout drops an idle item of another pool.
#[tokio::test]
async fn a_group_shares_the_block() {
    let (ledger, database) = (MemoryLedger::new(), Database::default());
    let group = PoolGroup::new(open(&ledger, 2));
    let build = || Pool::builder(database.clone()).group(&group).build();
    let (small, large) = (build().await.unwrap(), build().await.unwrap());
    drop([small.checkout().await.unwrap(), small.checkout().await.unwrap()]);
    drop([large.checkout().await.unwrap(), large.checkout().await.unwrap()]);
    assert!(database.peak() <= 2 && group.items() <= 2, "{} connections", database.peak());
    assert_eq!(ledger.status("prod/io").await.unwrap().holders.len(), 1);
}

/// A pool on the gate of a governor follows the local limit, and one on a key has the cap of its key.
#[tokio::test]
async fn a_pool_on_a_gate_of_a_governor_follows_it() {
    const KEYED: GateSpec = GateSpec::new("io", Formula::fixed(8)).keyed(Keys::up_to(16).cap(Part::of(1, 2)));
    let (ledger, database) = (MemoryLedger::new(), Database::default());
    let governor = Governor::builder().gate(KEYED).share(KEYED, share(&ledger, 20)).build().await.unwrap();
    let whole = pool(governor.shared(KEYED).unwrap(), &database).await;
    let mut items = Vec::new();
    for _ in 0..8 {
        items.push(whole.checkout().await.unwrap());
    }
    let error = whole.try_checkout().unwrap_err();
    assert_eq!(error, TryCheckoutError::Rejected(TryAcquireError::NoPermits { gate: IO }));
    drop(items);
    governor.set_overrides(Overrides::new().then(OverrideLayer::new("admin").set(KEYED, 3))).unwrap();
    wait_until(|| whole.status().size == 3).await;
    governor.set_overrides(Overrides::new()).unwrap();
    drop(whole);

    let key = governor.shared(KEYED).unwrap().key("tenant");
    let of_key = pool(key.clone(), &database).await;
    let item = of_key.checkout().await.unwrap();
    item.shared_permit().unwrap().check().unwrap();
    assert_eq!((key.gate_status().in_use, governor.shared(KEYED).unwrap().status().in_use), (1, 1));
    assert!(of_key.status().limit <= 4, "half of the block");
}

/// `close_all` serves the checkouts that wait, closes the pool, and returns the block after its last item.
#[tokio::test]
async fn close_all_returns_the_block_after_the_last_item() {
    const SPEC: GateSpec = GateSpec::new("io", Formula::fixed(2));
    let (ledger, database) = (MemoryLedger::new(), Database::default());
    let governor = Governor::builder().gate(SPEC).share(SPEC, share(&ledger, 2)).build().await.unwrap();
    let builder = Pool::builder(database.clone()).gate(governor.shared(SPEC).unwrap()).min_idle(1);
    let pool = builder.build().await.unwrap();
    let held = [pool.checkout().await.unwrap(), pool.checkout().await.unwrap()];
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.checkout().await.map(drop) }
    });
    wait_until(|| pool.status().waiting == 1).await;
    let closing = tokio::spawn(async move { governor.close_all(Instant::now() + MINUTE).await });
    wait_until(|| pool.is_closed()).await;
    drop(held);
    waiting.await.unwrap().unwrap();
    let report = closing.await.unwrap();
    assert!(report.is_complete(), "{report}");
    assert_eq!((database.live(), pool.status().closed), (0, true));
    let shared = pool.gate().as_shared().unwrap().status();
    assert_eq!((shared.state, shared.cap), (LeaseState::Left, 0));
    assert_eq!(ledger.status("prod/io").await.unwrap().granted, 0);
}
