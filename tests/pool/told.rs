//! What a pool says of itself: status, totals, histograms, events.

use std::sync::{Arc, Mutex};

use concurrency_governor::GateName;
use concurrency_governor::pool::PoolEvent;
use tokio::time::sleep;

use super::support::{Act, Maker, assert_at_rest, ms, peek, settle};

/// Sizes, totals and histograms say what happened.
#[tokio::test(start_paused = true)]
async fn the_status_tells_all() {
    let maker = Maker::new();
    maker.next([Act::Take(ms(20))]);
    let pool = maker.pool(2).idle_timeout(ms(1000)).create_backoff(ms(1), ms(1)).build().await.unwrap();
    let first = pool.checkout().await.unwrap(); // made for it
    drop(first);
    let first = pool.checkout().await.unwrap(); // at once
    maker.next([Act::Fail]);
    assert!(pool.checkout().await.is_err()); // waits in vain
    let second = pool.gate().try_acquire().unwrap();
    let mut waiting = Box::pin(pool.checkout()); // at the gate
    assert!(peek(&mut waiting).is_pending());
    let status = pool.status();
    assert_eq!((status.size, status.in_use, status.idle, status.waiting), (1, 1, 0, 1));
    sleep(ms(30)).await;
    drop(first);
    let first = waiting.await.unwrap();
    drop(second);
    maker.next([Act::Take(ms(40))]);
    let mut growing = Box::pin(pool.checkout());
    assert!(peek(&mut growing).is_pending());
    assert_eq!(pool.status().waiting, 1);
    let second = growing.await.unwrap();
    drop((first, second));
    let status = pool.status();
    assert_eq!((status.totals.created, status.totals.reused, status.totals.create_errors.sum()), (2, 2, 1));
    assert_eq!((status.creates.count(), status.creates.max()), (2, Some(ms(40))));
    assert_eq!(
        status.waits.count(),
        3,
        "with the first, and without the one that failed: {:?}",
        status.waits
    );
    assert_eq!(status.waits.mean().unwrap().as_millis(), (20 + 30 + 40) / 3);
    sleep(ms(1001)).await;
    assert_eq!(assert_at_rest(&pool, &maker).await.totals.evicted, 2);
}

/// Events tell what is not on the warm way, in words a person can read; an observer that panics ends nothing, and may come
/// back to the pool.
#[tokio::test(start_paused = true)]
async fn observers_are_told() {
    let maker = Maker::new();
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let telling = Arc::clone(&told);
    let pool = maker
        .pool(2)
        .name(GateName::new("boats"))
        .idle_timeout(ms(100))
        .create_backoff(ms(100), ms(100))
        .observer(|_: &PoolEvent| panic!("it does not want to know"))
        .observer(move |event: &PoolEvent| telling.lock().unwrap().push(event.to_string()))
        .build()
        .await
        .unwrap();
    let take = || std::mem::take(&mut *told.lock().unwrap());
    drop(pool.checkout().await.unwrap());
    assert_eq!(take(), ["pool boats: item created in 0ns"]);
    drop(pool.checkout().await.unwrap());
    assert_eq!(take(), [""; 0], "nothing on the warm way");
    sleep(ms(101)).await;
    assert_eq!(take(), ["pool boats: item evicted, idle for 100ms"]);
    maker.next([Act::Fail]);
    assert!(pool.checkout().await.is_err());
    let [failed, pause] = &take()[..] else { panic!("two events") };
    assert_eq!(failed, "pool boats: the pool of gate `boats` could not create an item: refused");
    assert!(
        pause.starts_with("pool boats: next item is tried in ")
            && pause.ends_with("ms, after 1 failures in a row")
    );
    pool.checkout().await.unwrap().discard();
    assert_eq!(
        take(),
        ["pool boats: item created in 0ns", "pool boats: item discarded, since it was marked broken"]
    );
    pool.close();
    settle().await;
    assert_eq!(take(), ["pool boats: closed"]);
}
