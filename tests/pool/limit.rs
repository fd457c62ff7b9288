//! Live items never exceed the limit, while the limit changes, too.

use std::sync::{Arc, Mutex};

use concurrency_governor::pool::{Pool, PoolStatus};
use concurrency_governor::testing::MockProbe;
use concurrency_governor::{
    Formula, Gate, GateName, GateSpec, Governor, Keys, Limit, Part, Reading, Resource,
};

use super::support::{Creation, ScriptedManager, assert_consistent, assert_quiescent, ms, poll_once, settle};

/// A discarded item counts until its drop has returned: until then no item is created in its place, and its permit is not
/// passed to a waiter.
#[tokio::test]
async fn discarded_item_counts_until_its_drop_ends() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).build().await.unwrap();
    let mut item = pool.checkout().await.unwrap();
    let mut waiting = {
        let pool = pool.clone();
        Box::pin(async move { pool.checkout().await.unwrap().id })
    };
    assert!(poll_once(&mut waiting).is_pending());
    let during_drop: Arc<Mutex<Option<(PoolStatus, u32, usize)>>> = Arc::default();
    let (record, drop_pool, drop_manager) = (Arc::clone(&during_drop), pool.clone(), manager.clone());
    item.on_drop = Some(Box::new(move || {
        let status = drop_pool.status();
        *record.lock().unwrap() = Some((status, drop_pool.gate().status().in_use, drop_manager.attempts()));
    }));
    item.discard();
    let (status, permits, attempts) = during_drop.lock().unwrap().take().unwrap();
    assert_eq!((status.size, status.dropping, status.creating, attempts), (1, 1, 0, 1), "{status:?}");
    assert_eq!(permits, 1, "the permit was released before the item was dropped");
    assert_eq!(waiting.await, 1);
    assert_eq!(manager.peak(), 1);
}

/// The permit of a discarded item is released after the item's drop, without a waiter, too.
#[tokio::test]
async fn permit_is_released_after_the_item_is_dropped() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).build().await.unwrap();
    let mut item = pool.checkout().await.unwrap();
    let during_drop = Arc::new(Mutex::new(None));
    let (record, drop_pool) = (Arc::clone(&during_drop), pool.clone());
    item.on_drop = Some(Box::new(move || *record.lock().unwrap() = Some(drop_pool.gate().status().in_use)));
    item.discard();
    assert_eq!((*during_drop.lock().unwrap(), pool.gate().status().in_use), (Some(1), 0));
}

/// An evicted item counts until its drop has returned: an admitted checkout does not get its slot before.
#[tokio::test(start_paused = true)]
async fn evicted_item_counts_until_its_drop_ends() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).idle_timeout(ms(10)).build().await.unwrap();
    let mut item = pool.checkout().await.unwrap();
    let (drop_pool, during_drop) = (pool.clone(), Arc::new(Mutex::new(None)));
    let record = Arc::clone(&during_drop);
    item.on_drop = Some(Box::new(move || {
        // A checkout arrives during the drop: it is admitted, and no item is idle.
        let mut checkout = Box::pin(async { drop_pool.checkout().await.map(|item| item.id) });
        assert!(poll_once(&mut checkout).is_pending());
        *record.lock().unwrap() = Some(drop_pool.status());
    }));
    drop(item);
    tokio::time::sleep(ms(11)).await;
    let status = during_drop.lock().unwrap().take().unwrap();
    assert_eq!((status.size, status.dropping, status.creating), (1, 1, 0), "{status:?}");
    assert_eq!(manager.peak(), 1);
    let status = assert_quiescent(&pool, &manager).await;
    assert_eq!(
        (status.totals.evicted, status.totals.created),
        (1, 1),
        "the cancelled checkout created an item"
    );
}

/// A lowered limit takes no item from its user. Idle items above it are dropped at once, the coldest first, and items in use
/// when they come back.
#[tokio::test]
async fn lowered_limit_drops_idle_items_and_spares_those_in_use() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(6).build().await.unwrap();
    let mut items = Vec::new();
    for _ in 0..6 {
        items.push(pool.checkout().await.unwrap());
    }
    let held: Vec<_> = items.drain(..3).collect();
    items.into_iter().for_each(drop); // 3, 4 and 5 are idle, and 3 is the coldest
    let change = pool.resize(Limit::new(4));
    assert_eq!((change.to.get(), change.debt), (4, 0));
    assert_eq!(manager.dropped(), [3, 4], "not dropped before `resize` returned");
    let change = pool.resize(Limit::new(2));
    assert_eq!((change.debt, manager.dropped()), (1, vec![3, 4, 5]));
    assert_eq!(held.iter().map(|item| item.id).collect::<Vec<_>>(), [0, 1, 2]);
    let mut waiting = Box::pin(pool.checkout());
    assert!(poll_once(&mut waiting).is_pending());
    let mut held = held.into_iter();
    drop(held.next());
    assert_eq!(manager.dropped(), [3, 4, 5, 0], "a returned item above the limit was kept");
    assert!(poll_once(&mut waiting).is_pending());
    drop(held.next());
    assert_eq!(waiting.await.unwrap().id, 1, "a returned item within the limit was not handed on");
    drop(held);
    let status = assert_quiescent(&pool, &manager).await;
    assert_eq!((status.totals.discarded.surplus, status.idle), (4, 2));
}

/// If the limit is lowered at the gate, the maintenance task drops idle items above it. If it rises, the minimum is refilled.
#[tokio::test]
async fn limit_set_at_the_gate_is_followed() {
    let gate = Gate::new(GateName::new("shared"), Limit::new(3));
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).gate(gate.clone()).min_idle(3).build().await.unwrap();
    assert_eq!(manager.live(), 3);
    gate.resize(Limit::MIN);
    settle().await;
    assert_eq!(manager.live(), 1);
    gate.resize(Limit::new(2));
    let status = assert_quiescent(&pool, &manager).await;
    assert_eq!((status.idle, manager.live()), (2, 2), "the minimum was not refilled as far as it fits");
}

/// If the limit is raised at the gate, a checkout uses it before the maintenance task has run.
#[tokio::test]
async fn limit_raised_at_the_gate_is_used_at_once() {
    let gate = Gate::new(GateName::new("shared"), Limit::MIN);
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).gate(gate.clone()).build().await.unwrap();
    let _held = pool.checkout().await.unwrap();
    gate.resize(Limit::new(2));
    let mut growing = Box::pin(pool.checkout());
    assert!(poll_once(&mut growing).is_pending());
    assert_eq!(pool.status().creating, 1, "no creation was started, and no task has run");
    assert_eq!(growing.await.unwrap().id, 1);
}

/// A pool follows a limit that a governor derives from the host.
#[tokio::test]
async fn pool_follows_the_host() {
    const INSTANCES: GateSpec = GateSpec::new("instances", Formula::scale(Resource::CPU, 1));
    let host = MockProbe::new(Resource::CPU, Reading::whole(4));
    let governor = Governor::builder().gate(INSTANCES).probe(host.clone()).build().await.unwrap();
    let manager = ScriptedManager::new();
    let gate = governor.gate(INSTANCES).unwrap();
    let pool = Pool::builder(manager.clone()).gate(gate).min_idle(4).build().await.unwrap();
    assert_eq!(manager.live(), 4);
    host.set(Reading::whole(2));
    governor.refresh().await.unwrap();
    settle().await;
    assert_eq!(manager.live(), 2);
    host.set(Reading::whole(3));
    governor.refresh().await.unwrap();
    let status = assert_quiescent(&pool, &manager).await;
    assert_eq!((status.limit, status.idle, manager.peak()), (3, 3, 4));
}

/// A raised limit serves a checkout in the gate's queue at once.
#[tokio::test]
async fn raised_limit_serves_a_waiting_checkout() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).build().await.unwrap();
    let held = pool.checkout().await.unwrap();
    let mut waiting = Box::pin(pool.checkout());
    assert!(poll_once(&mut waiting).is_pending());
    pool.resize(Limit::new(2));
    assert_eq!((held.id, waiting.await.unwrap().id), (0, 1));
}

/// A checkout that was admitted before the limit fell waits for an item that comes back: no item is created above the limit.
#[tokio::test]
async fn checkout_admitted_before_the_limit_fell_creates_nothing() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(4).build().await.unwrap();
    let first = pool.checkout().await.unwrap();
    manager.script([Creation::Hang; 3]);
    let mut admitted: Vec<_> = (0..3).map(|_| Box::pin(pool.checkout())).collect();
    assert!(admitted.iter_mut().all(|checkout| poll_once(checkout).is_pending()));
    settle().await;
    // Three creations are running and hang. The limit falls to one.
    pool.resize(Limit::MIN);
    let status = pool.status();
    assert_eq!((status.size, status.creating, status.in_use), (4, 3, 1));
    drop(first); // delivered to the first waiter, which does not change the number of items
    settle().await;
    assert_eq!((pool.status().size, manager.attempts()), (4, 4));
    let mut admitted = admitted.into_iter();
    assert_eq!(admitted.next().unwrap().await.unwrap().id, 0);
    drop(admitted);
    assert_eq!(manager.peak(), 1);
}

/// A creation whose task has not started when the limit falls does not start. Its waiter is served by an item that comes back.
#[tokio::test]
async fn creation_not_yet_started_is_cancelled_by_a_lowered_limit() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(4).build().await.unwrap();
    let mut checkouts: Vec<_> = (0..4).map(|_| Box::pin(pool.checkout())).collect();
    assert!(checkouts.iter_mut().all(|checkout| poll_once(checkout).is_pending()));
    assert_eq!(pool.status().creating, 4);
    pool.resize(Limit::new(2));
    settle().await;
    assert_eq!((manager.attempts(), manager.peak(), pool.status().waiting), (2, 2, 4 - 2));
    for checkout in checkouts {
        assert!(checkout.await.unwrap().id < 2);
    }
    assert_eq!(assert_quiescent(&pool, &manager).await.idle, 2);
}

/// A creation that a cancelled checkout has started counts, so later checkouts do not exceed the limit.
#[tokio::test(start_paused = true)]
async fn creation_of_a_cancelled_checkout_counts() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(2).build().await.unwrap();
    manager.script([Creation::SucceedAfter(ms(0)), Creation::SucceedAfter(ms(0))]);
    for _ in 0..5 {
        let mut cancelled = [Box::pin(pool.checkout()), Box::pin(pool.checkout())];
        assert!(cancelled.iter_mut().all(|checkout| poll_once(checkout).is_pending()));
        drop(cancelled);
        assert!(pool.status().size <= 2);
    }
    settle().await;
    tokio::time::sleep(ms(2)).await;
    let status = assert_quiescent(&pool, &manager).await;
    assert_eq!((status.idle, manager.attempts(), manager.peak()), (2, 2, 2));
}

/// Permits that other users of the gate hold leave less room for checkouts, and do not reduce the idle items.
#[tokio::test]
async fn gate_may_be_shared() {
    let gate = Gate::new(GateName::new("shared"), Limit::new(2));
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).gate(gate.clone()).min_idle(2).build().await.unwrap();
    let other_permits = gate.try_acquire_many(2).unwrap();
    let mut waiting = Box::pin(pool.checkout());
    assert!(poll_once(&mut waiting).is_pending());
    assert!(pool.try_checkout().is_err());
    assert_consistent(&pool, &manager);
    drop(other_permits);
    drop(waiting.await.unwrap());
    let status = assert_quiescent(&pool, &manager).await;
    assert_eq!((status.idle, status.totals.created), (2, 2));
}

/// Checkouts are served in the order of their arrival: an item that comes back goes to the first waiter, although another
/// checkout arrives at that moment.
#[tokio::test]
async fn waiters_are_served_in_order() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(2).build().await.unwrap();
    let held = pool.checkout().await.unwrap();
    manager.script([Creation::Hang]);
    let mut first = Box::pin(pool.checkout()); // admitted, and its creation hangs
    assert!(poll_once(&mut first).is_pending());
    settle().await;
    let mut second = Box::pin(pool.checkout()); // in the gate's queue
    assert!(poll_once(&mut second).is_pending());
    drop(held);
    assert!(pool.try_checkout().is_err(), "the returned item belongs to the first waiter");
    assert!(poll_once(&mut second).is_pending());
    assert_eq!(first.await.unwrap().id, 0);
    assert_eq!(second.await.unwrap().id, 0);
}

/// A pool on a key or a child takes its permits at every level, and follows the cap of its key.
#[tokio::test(start_paused = true)]
async fn a_pool_works_within_a_tree() {
    let keys = Keys::up_to(9).cap(Part::of(1, 2));
    let io = Gate::builder(GateName::new("io"), Limit::new(4)).with_children().keyed(keys).build();
    let child = Gate::builder(GateName::new("child"), Limit::new(3)).within(&io).unwrap().build();
    for gate in [io.key("tenant"), child] {
        let manager = ScriptedManager::new();
        let pool = Pool::builder(manager.clone()).gate(gate.clone()).build().await.unwrap();
        let limit = gate.limit().get();
        let mut items = Vec::new();
        for _ in 0..limit {
            items.push(pool.checkout().await.unwrap());
        }
        assert_eq!((gate.in_use(), io.in_use(), pool.status().limit), (limit, limit, limit as usize));
        assert!(pool.try_checkout().is_err());
        let waiting = tokio::spawn({
            let pool = pool.clone();
            async move { pool.checkout().await.map(|item| item.id) }
        });
        settle().await;
        assert_eq!((gate.waiting(), io.waiting()), (1, 1));
        drop(items.pop());
        assert!(waiting.await.unwrap().is_ok());
        drop(items);
        assert_eq!((io.in_use(), manager.live()), (0, limit as usize));
        io.resize(Limit::new(2));
        settle().await;
        let expected = gate.limit().get() as usize;
        assert!(manager.live() <= expected, "{} idle items under a limit of {expected}", manager.live());
        io.resize(Limit::new(4));
        pool.close();
        assert!(gate.is_closed() && !io.is_closed());
        pool.drained().await;
    }
}

/// The holders of a gate behind a pool name the code that checked out, whether it had to wait or not.
#[tokio::test]
async fn holders_behind_a_pool_name_the_caller() {
    let holders = concurrency_governor::Holders::overdue_after(ms(30_000));
    let gate = Gate::builder(GateName::new("tracked"), Limit::new(3)).track_holders(holders).build();
    let pool = Pool::builder(ScriptedManager::new()).gate(gate.clone()).build().await.unwrap();
    let here = |line| (file!(), line);
    let (first, first_line) = (pool.checkout().await.unwrap(), line!());
    let (second, second_line) = (pool.request().max_wait(ms(10)).checkout().await.unwrap(), line!());
    drop(first);
    let (third, third_line) = (pool.try_checkout().unwrap(), line!());
    let mut places: Vec<_> = gate.holders().iter().map(|holder| here_of(holder.location)).collect();
    places.sort_unstable();
    assert_eq!(places, [here(second_line), here(third_line)]);
    assert!(first_line < second_line);
    drop((second, third));
}

fn here_of(location: &'static std::panic::Location<'static>) -> (&'static str, u32) {
    (location.file(), location.line())
}
