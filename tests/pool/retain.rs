//! Items that are judged while they are idle.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::time::sleep;

use super::support::{Act, Maker, assert_at_rest, assert_balanced, ms, peek, settle};

/// Idle items are judged from the coldest to the warmest, by themselves and their age; those that stay keep their order.
#[tokio::test(start_paused = true)]
async fn idle_items_are_judged_in_order() {
    let maker = Maker::new();
    let pool = maker.pool(4).build().await.unwrap();
    let mut leases = Vec::new();
    for _ in 0..4 {
        leases.push(pool.checkout().await.unwrap());
        sleep(ms(10)).await;
    }
    let held = leases.remove(0);
    leases.into_iter().rev().for_each(drop); // 3 is the coldest, 1 the warmest
    let mut seen = Vec::new();
    let dropped = pool.retain(|item, age| {
        seen.push((item.id, age));
        item.id != 2
    });
    assert_eq!(dropped, 1);
    assert_eq!(seen, [(3, ms(10)), (2, ms(20)), (1, ms(30))]);
    assert_eq!(maker.dropped(), [2]);
    assert_eq!(pool.try_checkout().unwrap().id, 1, "the warmest");
    drop(held);
    assert_eq!(assert_at_rest(&pool, &maker).await.totals.discarded.retain, 1);
}

/// Meanwhile the others can be checked out, and count as before; those that come back meanwhile are not judged.
#[tokio::test]
async fn the_others_can_be_had_meanwhile() {
    let maker = Maker::new();
    let pool = maker.pool(3).min_idle(3).build().await.unwrap();
    let mut judged = Vec::new();
    pool.retain(|item, _| {
        judged.push(item.id);
        let status = pool.status();
        assert_eq!((status.size, status.idle), (3, 3), "{status:?}");
        let other = pool.try_checkout().unwrap();
        assert_ne!(other.id, item.id);
        true
    });
    assert_eq!(judged.len(), 2, "{judged:?}: the warmest came back before its turn");
    assert_eq!(assert_at_rest(&pool, &maker).await.idle, 3);
}

/// Whoever finds nothing idle but what is being judged waits for it, and gets it if it stays.
#[tokio::test]
async fn who_waits_for_the_last_one_gets_it() {
    let maker = Maker::new();
    let pool = maker.pool(1).build().await.unwrap();
    drop(pool.checkout().await.unwrap());
    let mut waiting = Box::pin(pool.checkout());
    pool.retain(|_, _| {
        assert!(peek(&mut waiting).is_pending());
        true
    });
    assert_eq!(waiting.await.unwrap().id, 0);
    assert_eq!(assert_at_rest(&pool, &maker).await.totals.created, 1);
}

/// If it does not stay, another is made for them, once it is gone; and the minimum is filled again.
#[tokio::test]
async fn what_goes_is_replaced() {
    let maker = Maker::new();
    let pool = maker.pool(1).min_idle(1).build().await.unwrap();
    let mut waiting = Box::pin(pool.checkout());
    assert_eq!(
        pool.retain(|_, _| {
            assert!(peek(&mut waiting).is_pending());
            false
        }),
        1
    );
    assert_eq!(waiting.await.unwrap().id, 1);
    pool.retain(|_, _| false);
    settle().await;
    assert_eq!((assert_at_rest(&pool, &maker).await.idle, maker.most()), (1, 1));
}

/// A judge who panics costs no item, and one who closes or shrinks the pool meanwhile is heeded.
#[tokio::test]
async fn a_judge_may_do_anything() {
    let maker = Maker::new();
    let pool = maker.pool(3).min_idle(3).build().await.unwrap();
    let judging = AssertUnwindSafe(&pool);
    assert!(catch_unwind(|| judging.retain(|_, _| panic!("who is to judge?"))).is_err());
    assert_eq!(assert_balanced(&pool, &maker).idle, 3);
    pool.retain(|_, _| {
        pool.resize(concurrency_governor::Limit::new(2));
        true
    });
    settle().await;
    assert_eq!((assert_balanced(&pool, &maker).idle, maker.most()), (2, 3));
    maker.always(Act::Hang);
    pool.retain(|_, _| {
        pool.close();
        true
    });
    assert_eq!(maker.live(), 0);
}
