//! Items that go with time, and those that come instead.

use tokio::time::sleep;

use super::support::{Act, Maker, assert_at_rest, assert_balanced, ms, peek, settle};

/// Items that are idle for too long go, the coldest first, down to the minimum; those that are used stay.
#[tokio::test(start_paused = true)]
async fn the_coldest_go_first_down_to_the_minimum() {
    let maker = Maker::new();
    let pool = maker.pool(5).min_idle(2).idle_timeout(ms(100)).build().await.unwrap();
    let mut leases = Vec::new();
    for _ in 0..5 {
        leases.push(pool.checkout().await.unwrap());
    }
    let returned: Vec<_> = leases.iter().map(|lease| lease.id).collect();
    for lease in leases {
        drop(lease); // each ten milliseconds after the last
        sleep(ms(10)).await;
    }
    sleep(ms(49)).await; // the first is due in one millisecond
    assert!(maker.dropped().is_empty());
    sleep(ms(2)).await;
    assert_eq!(maker.dropped(), returned[..1]);
    sleep(ms(10)).await;
    assert_eq!(maker.dropped(), returned[..2]);
    sleep(ms(1000)).await;
    assert_eq!(maker.dropped(), returned[..3], "the minimum stays");
    let status = assert_at_rest(&pool, &maker).await;
    assert_eq!((status.idle, status.totals.evicted, status.totals.discarded.sum()), (2, 3, 0));
    assert_eq!(pool.checkout().await.unwrap().id, returned[4]);
}

/// An item in steady use is never evicted, and neither is one that comes back in time.
#[tokio::test(start_paused = true)]
async fn what_is_used_stays() {
    let maker = Maker::new();
    let pool = maker.pool(2).idle_timeout(ms(100)).build().await.unwrap();
    let held = pool.checkout().await.unwrap();
    for _ in 0..20 {
        drop(pool.checkout().await.unwrap());
        sleep(ms(60)).await;
    }
    drop(held);
    assert_balanced(&pool, &maker);
    assert_eq!(maker.live(), 2, "one was in use all the time, the other came back every 60 ms");
    sleep(ms(101)).await;
    assert_eq!(assert_at_rest(&pool, &maker).await.totals.evicted, 2);
}

/// An item pushed above a minimum that is long overdue makes the coldest go at once.
#[tokio::test(start_paused = true)]
async fn what_the_minimum_kept_goes_when_there_is_more() {
    let maker = Maker::new();
    let pool = maker.pool(2).min_idle(1).idle_timeout(ms(100)).build().await.unwrap();
    let [first, second] = [pool.checkout().await.unwrap(), pool.checkout().await.unwrap()];
    drop(first);
    sleep(ms(500)).await;
    assert_eq!(maker.live(), 2);
    drop(second);
    settle().await;
    assert_eq!(maker.dropped(), [0]);
}

/// Items older than their lifetime go when they are idle, also below the minimum, which is filled again; they are not
/// handed out, and go when they come back.
#[tokio::test(start_paused = true)]
async fn nothing_outlives_its_lifetime() {
    let maker = Maker::new();
    let pool = maker.pool(3).min_idle(2).max_lifetime(ms(100)).build().await.unwrap();
    let held = pool.checkout().await.unwrap();
    sleep(ms(99)).await;
    assert!(maker.dropped().is_empty());
    sleep(ms(2)).await;
    let status = assert_balanced(&pool, &maker);
    assert_eq!((maker.dropped(), status.idle, status.in_use), (vec![0], 2, 1), "two anew, one still held");
    drop(held);
    settle().await;
    assert_eq!(maker.dropped(), [0, 1]);
    let status = assert_at_rest(&pool, &maker).await;
    assert_eq!((status.idle, status.totals.discarded.expired), (2, 2));
}

/// The same without the keeper's help, which has had no chance to look: what is too old is not handed out.
#[tokio::test(start_paused = true)]
async fn what_is_too_old_is_not_handed_out() {
    let maker = Maker::new();
    let pool = maker.pool(2).max_lifetime(ms(100)).build().await.unwrap();
    let old = pool.checkout().await.unwrap();
    sleep(ms(60)).await;
    let young = pool.checkout().await.unwrap();
    drop((young, old)); // so that the old one is the warmest
    tokio::time::advance(ms(45)).await; // and nobody has run meanwhile
    assert_eq!(pool.try_checkout().map(|lease| lease.id), Ok(1));
    assert_eq!(maker.dropped(), [0]);
}

/// A lifetime that ends while the keeper sleeps for something later is noticed in time.
#[tokio::test(start_paused = true)]
async fn what_comes_back_is_looked_at_in_time() {
    let maker = Maker::new();
    let pool = maker.pool(2).idle_timeout(ms(10_000)).max_lifetime(ms(1000)).build().await.unwrap();
    let old = pool.checkout().await.unwrap();
    sleep(ms(900)).await;
    drop(pool.checkout().await.unwrap()); // the keeper sleeps until this one is too old
    drop(old);
    sleep(ms(101)).await;
    assert_eq!((maker.dropped(), maker.live()), (vec![0], 1));
}

/// Items that had to go are made anew up to the minimum, in the background, and no more than fit.
#[tokio::test(start_paused = true)]
async fn the_minimum_is_filled_again() {
    let maker = Maker::new();
    let pool = maker.pool(3).min_idle(2).build().await.unwrap();
    assert_eq!((pool.status().idle, maker.attempts()), (2, 2), "from the start");
    let (first, second) = (pool.checkout().await.unwrap(), pool.checkout().await.unwrap());
    settle().await;
    assert_eq!(maker.attempts(), 2, "on demand only, as long as nothing goes");
    first.discard();
    settle().await;
    let status = assert_balanced(&pool, &maker);
    assert_eq!((status.idle, status.in_use, status.size), (2, 1, 3));
    second.discard();
    settle().await;
    assert_eq!(assert_at_rest(&pool, &maker).await.idle, 2);
    assert_eq!(maker.most(), 3);
}

/// If that fails, it is tried again after a pause, until it is done.
#[tokio::test(start_paused = true)]
async fn filling_is_tried_again() {
    let maker = Maker::new();
    let pool = maker.pool(3).min_idle(2).create_backoff(ms(100), ms(100)).build().await.unwrap();
    let both = [pool.checkout().await.unwrap(), pool.checkout().await.unwrap()];
    maker.next([Act::Fail, Act::Fail, Act::Panic]);
    for lease in both {
        lease.discard();
    }
    settle().await;
    assert_eq!((pool.status().idle, maker.attempts()), (0, 4));
    sleep(ms(101)).await;
    assert_eq!((pool.status().idle, maker.attempts()), (0, 5));
    sleep(ms(101)).await;
    assert_eq!(assert_at_rest(&pool, &maker).await.idle, 2);
}

/// Eviction stops with the pool: nothing is left that would wake up, and nothing that is held by it.
#[tokio::test(start_paused = true)]
async fn it_stops_with_the_pool() {
    let maker = Maker::new();
    let handle = tokio::runtime::Handle::current();
    let before = handle.metrics().num_alive_tasks();
    for by_closing in [false, true] {
        let pool = maker.pool(3).min_idle(3).idle_timeout(ms(100)).build().await.unwrap();
        assert_eq!(handle.metrics().num_alive_tasks(), before + 1, "one task a pool");
        if by_closing {
            pool.close();
            settle().await;
            assert_eq!(handle.metrics().num_alive_tasks(), before);
        }
        drop(pool);
        settle().await;
        assert_eq!((handle.metrics().num_alive_tasks(), maker.live()), (before, 0));
    }
}

/// A minimum above the limit counts as the limit, and grows with it.
#[tokio::test(start_paused = true)]
async fn the_minimum_is_never_above_the_limit() {
    let maker = Maker::new();
    let pool = maker.pool(2).min_idle(10).idle_timeout(ms(100)).build().await.unwrap();
    assert_eq!((maker.live(), maker.most()), (2, 2));
    sleep(ms(500)).await;
    assert_eq!(maker.live(), 2);
    pool.resize(concurrency_governor::Limit::new(4));
    settle().await;
    assert_eq!((maker.live(), maker.most()), (4, 4));
    sleep(ms(500)).await;
    assert_eq!(assert_at_rest(&pool, &maker).await.idle, 4);
}

/// The same where somebody else raises the limit, and a checkout uses it before the keeper has heard of it.
#[tokio::test(start_paused = true)]
async fn the_minimum_grows_with_a_limit_that_a_checkout_saw_first() {
    let maker = Maker::new();
    let pool = maker.pool(1).min_idle(10).build().await.unwrap();
    let held = pool.checkout().await.unwrap();
    let mut waiting = Box::pin(pool.checkout());
    assert!(peek(&mut waiting).is_pending());
    pool.gate().resize(concurrency_governor::Limit::new(4));
    assert!(peek(&mut waiting).is_pending(), "admitted, and an item is being made for it");
    drop((waiting, held));
    assert_eq!(assert_at_rest(&pool, &maker).await.idle, 4);
}
