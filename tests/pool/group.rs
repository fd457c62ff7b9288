//! Pools of a group: together their items keep to the limit of one gate.

use std::sync::{Arc, Mutex};

use concurrency_governor::pool::{Pool, PoolBuildError, PoolGroup, PoolProblem};
use concurrency_governor::{Gate, GateName, Limit};
use tokio::time::sleep;

use super::support::{Creation, ScriptedManager, assert_consistent, ms, poll_once, settle};

fn group(limit: u32) -> PoolGroup {
    PoolGroup::new(Gate::new(GateName::new("shared"), Limit::new(limit)))
}

async fn pools<const N: usize>(manager: &ScriptedManager, group: &PoolGroup) -> [Pool<ScriptedManager>; N] {
    let mut pools = Vec::new();
    for _ in 0..N {
        pools.push(Pool::builder(manager.clone()).group(group).build().await.unwrap());
    }
    pools.try_into().unwrap()
}

/// However the checkouts are distributed, the items of eleven pools together never exceed the limit, and every checkout is served.
#[tokio::test(start_paused = true)]
async fn items_of_all_pools_keep_to_one_limit() {
    let manager = ScriptedManager::new();
    manager.always(Creation::SucceedAfter(ms(3)));
    let group = group(4);
    let pools: [_; 11] = pools(&manager, &group).await;
    let tasks: Vec<_> = (0..200)
        .map(|task| {
            let pool = pools[task * task % 11].clone();
            tokio::spawn(async move {
                let item = pool.checkout().await.unwrap();
                sleep(ms(task as u64 % 7)).await;
                if task % 5 == 0 { item.discard() } else { drop(item) }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    settle().await;
    assert_eq!((manager.peak(), group.gate().status().in_use), (4, 0));
    let sizes: usize = pools.iter().map(|pool| pool.status().size).sum();
    assert_eq!((sizes, manager.live()), (group.items(), group.items()));
    assert!(pools.iter().any(|pool| pool.status().totals.discarded.surplus > 0));
    drop(pools);
    assert_eq!((group.items(), manager.live()), (0, 0));
}

/// A checkout without room drops an idle item of the pool that has the most, the coldest first, and spares the minimums if it can.
#[tokio::test]
async fn idle_item_of_the_largest_pool_makes_room() {
    let manager = ScriptedManager::new();
    let group = group(5);
    let warm = Pool::builder(manager.clone()).group(&group).min_idle(3).build().await.unwrap();
    let [large, other]: [_; 2] = pools(&manager, &group).await;
    let both = [large.checkout().await.unwrap(), large.checkout().await.unwrap()]; // 3 and 4
    let [colder, warmer] = both;
    drop((colder, warmer));
    assert_eq!(group.items(), 5);
    let first = other.checkout().await.unwrap();
    assert_eq!((manager.dropped(), first.id), (vec![3], 5), "not the coldest item above the minimum");
    let second = other.checkout().await.unwrap();
    assert_eq!(manager.dropped(), [3, 4]);
    let third = other.checkout().await.unwrap();
    assert_eq!(manager.dropped().len(), 3, "no item of the minimum made room");
    assert_eq!((warm.status().idle, manager.peak()), (2, 5));
    drop((first, second));
    third.discard(); // now there is room for the minimum
    settle().await;
    assert_eq!((warm.status().idle, other.status().idle, group.items()), (3, 2, 5));
    for pool in [&warm, &large, &other] {
        assert_eq!(pool.status().size, pool.status().idle);
    }
}

/// A checkout that finds no idle item to drop waits for one: here for a creation whose own checkout was cancelled.
#[tokio::test(start_paused = true)]
async fn checkout_without_room_is_served_by_the_next_free_slot() {
    let manager = ScriptedManager::new();
    let group = group(2);
    let [first, second, third]: [_; 3] = pools(&manager, &group).await;
    let held = first.checkout().await.unwrap();
    manager.script([Creation::SucceedAfter(ms(50))]);
    let mut cancelled = Box::pin(second.checkout());
    assert!(poll_once(&mut cancelled).is_pending());
    settle().await;
    drop(cancelled);
    let mut waiting = Box::pin(third.checkout());
    assert!(poll_once(&mut waiting).is_pending());
    settle().await;
    assert_eq!(
        (third.status().creating, third.status().waiting, group.items()),
        (0, 1, 2),
        "created without a free slot"
    );
    sleep(ms(51)).await;
    let item = waiting.await.unwrap();
    assert_eq!((item.id, manager.dropped(), manager.peak()), (2, vec![1], 2));
    drop((held, item));
}

/// A waiter that lacks a slot gets one as soon as an item is discarded or detached, a creation ends, or the other pool is closed or
/// dropped.
#[tokio::test(start_paused = true)]
async fn every_freed_slot_serves_a_waiter_that_lacks_one() {
    for way in 0..6 {
        let manager = ScriptedManager::new();
        let group = group(3);
        let [taking, lacking]: [_; 2] = pools(&manager, &group).await;
        let held = taking.checkout().await.unwrap();
        let other = taking.checkout().await.unwrap();
        let outcome = if way == 0 { Creation::SucceedAfter(ms(40_000)) } else { Creation::Hang };
        manager.script([outcome]);
        let mut cancelled = Box::pin(taking.checkout());
        assert!(poll_once(&mut cancelled).is_pending());
        settle().await;
        drop(cancelled); // its creation has the last slot, and no permit
        let pool = lacking.clone();
        let waiting = tokio::spawn(async move { pool.checkout().await.map(|item| item.id) });
        settle().await;
        assert_eq!((lacking.status().waiting, lacking.status().creating), (1, 0));
        match way {
            0 | 1 => sleep(ms(30_001)).await, // the creation times out
            2 => held.discard(),
            3 => drop(held.detach()),
            4 => {
                drop(taking); // cancels the creation
                drop(held);
            }
            _ => drop(held), // becomes idle, and makes room
        }
        settle().await;
        assert!(waiting.is_finished(), "way {way}: no slot was passed on");
        waiting.await.unwrap().unwrap();
        assert!(manager.peak() <= 3, "way {way}");
        drop(other);
    }
}

/// An item that makes room counts until its drop has returned.
#[tokio::test]
async fn item_that_makes_room_counts_until_its_drop_ends() {
    let manager = ScriptedManager::new();
    let group = group(1);
    let [full, other]: [_; 2] = pools(&manager, &group).await;
    let mut item = full.checkout().await.unwrap();
    let during_drop = Arc::new(Mutex::new(None));
    let (record, drop_group, drop_other) = (Arc::clone(&during_drop), group.clone(), other.clone());
    item.on_drop = Some(Box::new(move || {
        *record.lock().unwrap() = Some((drop_group.items(), drop_other.status().creating));
    }));
    drop(item);
    drop(other.checkout().await.unwrap());
    assert_eq!(*during_drop.lock().unwrap(), Some((1, 0)));
    assert_eq!((manager.peak(), full.status().size, other.status().size), (1, 0, 1));
}

/// A lowered limit drops idle items of the pools until the group is within it, and spares those in use. Items that come back above it
/// are dropped.
#[tokio::test]
async fn lowered_limit_applies_to_the_whole_group() {
    let manager = ScriptedManager::new();
    let group = group(6);
    let pools: [_; 3] = pools(&manager, &group).await;
    let mut held = Vec::new();
    for pool in &pools {
        held.push(pool.checkout().await.unwrap());
    }
    let mut returned = Vec::new();
    for pool in &pools {
        returned.push(pool.checkout().await.unwrap());
    }
    drop(returned);
    assert_eq!(group.items(), 6);
    group.gate().resize(Limit::new(4));
    settle().await;
    assert_eq!(group.items(), 4);
    group.gate().resize(Limit::new(2));
    settle().await;
    assert_eq!(group.items(), 3, "an item in use was dropped, or an idle one kept");
    held.pop();
    assert_eq!(group.items(), 2);
    held.clear();
    assert_eq!(group.items(), 2);
    for pool in &pools {
        assert_consistent_size(pool);
    }
}

fn assert_consistent_size(pool: &Pool<ScriptedManager>) {
    let status = pool.status();
    assert_eq!(status.size, status.idle + status.in_use + status.creating + status.dropping, "{status:?}");
}

/// A minimum that had to make room is created again when there is room, and not before.
#[tokio::test]
async fn minimum_is_created_again_when_there_is_room() {
    let manager = ScriptedManager::new();
    let group = group(2);
    let warm = Pool::builder(manager.clone()).group(&group).min_idle(2).build().await.unwrap();
    let [other]: [_; 1] = pools(&manager, &group).await;
    let both = [other.checkout().await.unwrap(), other.checkout().await.unwrap()];
    settle().await;
    assert_eq!((warm.status().size, other.status().size, manager.peak()), (0, 2, 2));
    drop(both); // idle, which is no room
    settle().await;
    assert_eq!((warm.status().size, other.status().size), (0, 2));
    assert_eq!(other.retain(|_, _| false), 2);
    settle().await;
    assert_eq!((warm.status().idle, other.status().size), (2, 0));
    assert_consistent(&warm, &manager);
}

/// A group replaces the other ways to set the limit.
#[tokio::test]
async fn group_excludes_another_limit() {
    let group = group(2);
    let builder = ScriptedManager::new().pool(3).group(&group);
    let Err(PoolBuildError::Invalid { problems }) = builder.build().await else { panic!() };
    assert!(matches!(problems[..], [PoolProblem::GroupAndLimit { .. }]), "{problems:?}");
    assert_eq!(
        problems[0].to_string(),
        "the group takes the limit of its pools from gate `shared` (given: `gate` or `max` as well): remove them"
    );
    assert_eq!(format!("{group:?}"), "PoolGroup { gate: GateName(shared), items: 0 }");
}

/// Initial items that find no free slot in a group fail the build, which drops them.
#[tokio::test]
async fn initial_items_without_a_slot_fail_the_build() {
    for starts in [false, true] {
        let manager = ScriptedManager::new();
        let group = group(3);
        let [other]: [_; 1] = pools(&manager, &group).await;
        let held = [other.checkout().await.unwrap(), other.checkout().await.unwrap()];
        let builder = Pool::builder(manager.clone()).group(&group).initial([manager.item(), manager.item()]);
        let built = if starts { builder.start() } else { builder.build().await };
        let Err(PoolBuildError::Invalid { problems }) = built else { panic!("an item was dropped silently") };
        assert!(matches!(problems[..], [PoolProblem::Initial { items: 2, limit: 1 }]), "{problems:?}");
        settle().await;
        assert_eq!((group.items(), manager.live()), (2, 2));
        drop(held);
    }
}
