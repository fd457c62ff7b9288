//! Live items never exceed the limit, however it moves.

use std::sync::{Arc, Mutex};

use concurrency_governor::pool::{Pool, PoolStatus};
use concurrency_governor::testing::MockProbe;
use concurrency_governor::{Formula, Gate, GateName, GateSpec, Governor, Limit, Reading, Resource};

use super::support::{Act, Maker, assert_at_rest, assert_balanced, ms, peek, settle};

/// An item that is being dropped still has its place: nobody gets it, and nothing is made for it, before that is over. Nor
/// does whoever waits for a permit get that of the lease.
#[tokio::test]
async fn an_item_counts_until_it_is_gone() {
    let maker = Maker::new();
    let pool = maker.pool(1).build().await.unwrap();
    let mut lease = pool.checkout().await.unwrap();
    let mut waiting = {
        let pool = pool.clone();
        Box::pin(async move { pool.checkout().await.unwrap().id })
    };
    assert!(peek(&mut waiting).is_pending());
    let seen: Arc<Mutex<Option<(PoolStatus, u32, usize)>>> = Arc::default();
    let (telling, spy, made) = (Arc::clone(&seen), pool.clone(), maker.clone());
    lease.on_drop = Some(Box::new(move || {
        let status = spy.status();
        *telling.lock().unwrap() = Some((status, spy.gate().status().in_use, made.attempts()));
    }));
    lease.discard();
    let (status, permits, attempts) = seen.lock().unwrap().take().unwrap();
    assert_eq!((status.size, status.dropping, status.creating, attempts), (1, 1, 0, 1), "{status:?}");
    assert_eq!(permits, 1, "its permit goes after it");
    assert_eq!(waiting.await, 1);
    assert_eq!(maker.most(), 1);
}

/// The permit of a lease goes after its item, where nobody waits for it as where somebody does.
#[tokio::test]
async fn a_permit_goes_after_its_item() {
    let maker = Maker::new();
    let pool = maker.pool(1).build().await.unwrap();
    let mut lease = pool.checkout().await.unwrap();
    let seen = Arc::new(Mutex::new(None));
    let (telling, spy) = (Arc::clone(&seen), pool.clone());
    lease.on_drop = Some(Box::new(move || *telling.lock().unwrap() = Some(spy.gate().status().in_use)));
    lease.discard();
    assert_eq!((*seen.lock().unwrap(), pool.gate().status().in_use), (Some(1), 0));
}

/// The same for what the keeper evicts, with somebody admitted who waits for that place.
#[tokio::test(start_paused = true)]
async fn an_evicted_item_counts_until_it_is_gone() {
    let maker = Maker::new();
    let pool = maker.pool(1).idle_timeout(ms(10)).build().await.unwrap();
    let mut lease = pool.checkout().await.unwrap();
    let (spy, seen) = (pool.clone(), Arc::new(Mutex::new(None)));
    let telling = Arc::clone(&seen);
    lease.on_drop = Some(Box::new(move || {
        // Somebody comes just now: admitted, and nothing is idle.
        let mut checkout = Box::pin(async { spy.checkout().await.map(|lease| lease.id) });
        assert!(peek(&mut checkout).is_pending());
        *telling.lock().unwrap() = Some(spy.status());
    }));
    drop(lease);
    tokio::time::sleep(ms(11)).await;
    let status = seen.lock().unwrap().take().unwrap();
    assert_eq!((status.size, status.dropping, status.creating), (1, 1, 0), "{status:?}");
    assert_eq!(maker.most(), 1);
    let status = assert_at_rest(&pool, &maker).await;
    assert_eq!((status.totals.evicted, status.totals.created), (1, 1), "who gave up needs none");
}

/// A limit that is lowered takes nothing from anybody; what is idle above it goes at once, the coldest first, and what is in
/// use as it comes back.
#[tokio::test]
async fn a_lowered_limit_is_kept_without_disturbing_holders() {
    let maker = Maker::new();
    let pool = maker.pool(6).build().await.unwrap();
    let mut leases = Vec::new();
    for _ in 0..6 {
        leases.push(pool.checkout().await.unwrap());
    }
    let held: Vec<_> = leases.drain(..3).collect();
    leases.into_iter().for_each(drop); // 3, 4 and 5 are idle, 3 the coldest
    let change = pool.resize(Limit::new(4));
    assert_eq!((change.to.get(), change.debt), (4, 0));
    assert_eq!(maker.dropped(), [3, 4], "before it returns");
    let change = pool.resize(Limit::new(2));
    assert_eq!((change.debt, maker.dropped()), (1, vec![3, 4, 5]));
    assert_eq!(held.iter().map(|lease| lease.id).collect::<Vec<_>>(), [0, 1, 2]);
    let mut waiting = Box::pin(pool.checkout());
    assert!(peek(&mut waiting).is_pending());
    let mut held = held.into_iter();
    drop(held.next());
    assert_eq!(maker.dropped(), [3, 4, 5, 0], "one too many");
    assert!(peek(&mut waiting).is_pending());
    drop(held.next());
    assert_eq!(waiting.await.unwrap().id, 1, "what fits is kept, and handed on");
    drop(held);
    let status = assert_at_rest(&pool, &maker).await;
    assert_eq!((status.totals.discarded.surplus, status.idle), (4, 2));
}

/// A limit that somebody else sets at the gate is kept, too: what is idle above it goes soon.
#[tokio::test]
async fn a_limit_lowered_at_the_gate_is_kept() {
    let gate = Gate::new(GateName::new("shared"), Limit::new(3));
    let maker = Maker::new();
    let pool = Pool::builder(maker.clone()).gate(gate.clone()).min_idle(3).build().await.unwrap();
    assert_eq!(maker.live(), 3);
    gate.resize(Limit::MIN);
    settle().await;
    assert_eq!(maker.live(), 1);
    gate.resize(Limit::new(2));
    let status = assert_at_rest(&pool, &maker).await;
    assert_eq!((status.idle, maker.live()), (2, 2), "the minimum is there again as far as it fits");
}

/// What is made is held against the limit as it is then, whether the pool has been told of it or not.
#[tokio::test]
async fn a_limit_raised_at_the_gate_is_used_at_once() {
    let gate = Gate::new(GateName::new("shared"), Limit::MIN);
    let maker = Maker::new();
    let pool = Pool::builder(maker.clone()).gate(gate.clone()).build().await.unwrap();
    let _held = pool.checkout().await.unwrap();
    gate.resize(Limit::new(2));
    let mut growing = Box::pin(pool.checkout());
    assert!(peek(&mut growing).is_pending());
    assert_eq!(pool.status().creating, 1, "and nobody else has run");
    assert_eq!(growing.await.unwrap().id, 1);
}

/// So is one that a governor derives from the host, while it changes.
#[tokio::test]
async fn a_pool_follows_the_host() {
    const INSTANCES: GateSpec = GateSpec::new("instances", Formula::scale(Resource::CPU, 1));
    let host = MockProbe::new(Resource::CPU, Reading::whole(4));
    let governor = Governor::builder().gate(INSTANCES).probe(host.clone()).build().await.unwrap();
    let maker = Maker::new();
    let gate = governor.gate(INSTANCES).unwrap();
    let pool = Pool::builder(maker.clone()).gate(gate).min_idle(4).build().await.unwrap();
    assert_eq!(maker.live(), 4);
    host.set(Reading::whole(2));
    governor.refresh().await.unwrap();
    settle().await;
    assert_eq!(maker.live(), 2);
    host.set(Reading::whole(3));
    governor.refresh().await.unwrap();
    let status = assert_at_rest(&pool, &maker).await;
    assert_eq!((status.limit.get(), status.idle, maker.most()), (3, 3, 4));
}

/// A raised limit is used at once, by whoever stands in line for it, and by who was admitted and waits for room.
#[tokio::test]
async fn a_raised_limit_is_used_at_once() {
    let maker = Maker::new();
    let pool = maker.pool(1).build().await.unwrap();
    let held = pool.checkout().await.unwrap();
    let mut waiting = Box::pin(pool.checkout());
    assert!(peek(&mut waiting).is_pending());
    pool.resize(Limit::new(2));
    assert_eq!((held.id, waiting.await.unwrap().id), (0, 1));
}

/// Who was admitted before a limit fell waits for what comes back: live items do not grow above what they were.
#[tokio::test]
async fn who_was_admitted_before_a_limit_fell_makes_nothing_more() {
    let maker = Maker::new();
    let pool = maker.pool(4).build().await.unwrap();
    let first = pool.checkout().await.unwrap();
    maker.next([Act::Hang; 3]);
    let mut given_up: Vec<_> = (0..3).map(|_| Box::pin(pool.checkout())).collect();
    assert!(given_up.iter_mut().all(|checkout| peek(checkout).is_pending()));
    settle().await;
    // Three more are being made, and hang; the limit falls to one.
    pool.resize(Limit::MIN);
    let status = pool.status();
    assert_eq!((status.size, status.creating, status.in_use), (4, 3, 1));
    drop(first); // handed to the first who waits, since that makes nobody more
    settle().await;
    assert_eq!((pool.status().size, maker.attempts()), (4, 4));
    let mut given_up = given_up.into_iter();
    assert_eq!(given_up.next().unwrap().await.unwrap().id, 0);
    drop(given_up);
    assert_eq!(maker.most(), 1);
}

/// A creation that has not begun when the limit falls does not begin; who waited for it is served by what comes back.
#[tokio::test]
async fn what_has_not_begun_when_a_limit_falls_does_not_begin() {
    let maker = Maker::new();
    let pool = maker.pool(4).build().await.unwrap();
    let mut checkouts: Vec<_> = (0..4).map(|_| Box::pin(pool.checkout())).collect();
    assert!(checkouts.iter_mut().all(|checkout| peek(checkout).is_pending()));
    assert_eq!(pool.status().creating, 4);
    pool.resize(Limit::new(2));
    settle().await;
    assert_eq!((maker.attempts(), maker.most(), pool.status().waiting), (2, 2, 4 - 2));
    for checkout in checkouts {
        assert!(checkout.await.unwrap().id < 2);
    }
    assert_eq!(assert_at_rest(&pool, &maker).await.idle, 2);
}

/// What a checkout left behind that gave up counts, so that those who come after it do not go beyond the limit.
#[tokio::test(start_paused = true)]
async fn creations_that_nobody_waits_for_count() {
    let maker = Maker::new();
    let pool = maker.pool(2).build().await.unwrap();
    maker.next([Act::Take(ms(0)), Act::Take(ms(0))]);
    for _ in 0..5 {
        let mut given_up = [Box::pin(pool.checkout()), Box::pin(pool.checkout())];
        assert!(given_up.iter_mut().all(|checkout| peek(checkout).is_pending()));
        drop(given_up);
        assert!(pool.status().size <= 2);
    }
    settle().await;
    tokio::time::sleep(ms(2)).await;
    let status = assert_at_rest(&pool, &maker).await;
    assert_eq!((status.idle, maker.attempts(), maker.most()), (2, 2, 2));
}

/// Others may hold permits of the gate: they leave less room for checkouts, and no fewer idle items.
#[tokio::test]
async fn a_gate_may_be_shared() {
    let gate = Gate::new(GateName::new("shared"), Limit::new(2));
    let maker = Maker::new();
    let pool = Pool::builder(maker.clone()).gate(gate.clone()).min_idle(2).build().await.unwrap();
    let theirs = gate.try_acquire_many(2).unwrap();
    let mut waiting = Box::pin(pool.checkout());
    assert!(peek(&mut waiting).is_pending());
    assert!(pool.try_checkout().is_err());
    assert_balanced(&pool, &maker);
    drop(theirs);
    drop(waiting.await.unwrap());
    let status = assert_at_rest(&pool, &maker).await;
    assert_eq!((status.idle, status.totals.created), (2, 2));
}

/// Nobody passes who stands in line: an item that comes back goes to the first, even if somebody asks just then.
#[tokio::test]
async fn waiters_are_served_in_order() {
    let maker = Maker::new();
    let pool = maker.pool(2).build().await.unwrap();
    let held = pool.checkout().await.unwrap();
    maker.next([Act::Hang]);
    let mut first = Box::pin(pool.checkout()); // admitted, and its item hangs
    assert!(peek(&mut first).is_pending());
    settle().await;
    let mut second = Box::pin(pool.checkout()); // at the gate
    assert!(peek(&mut second).is_pending());
    drop(held);
    assert!(pool.try_checkout().is_err(), "what came back is the first one's");
    assert!(peek(&mut second).is_pending());
    assert_eq!(first.await.unwrap().id, 0);
    assert_eq!(second.await.unwrap().id, 0);
}
