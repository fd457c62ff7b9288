//! Checkouts that are dropped, after each number of polls and at each stage: nothing is lost.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::Context;

use concurrency_governor::Limit;
use concurrency_governor::pool::{CheckoutError, PooledItem};
use tokio::time::sleep;

use super::hooks::{Call, hooked};
use super::support::{Act, Maker, Rejected, Says, assert_at_rest, ms, peek, settle};

type Checkout<'p> =
    Pin<Box<dyn Future<Output = Result<PooledItem<Maker>, CheckoutError<Rejected>>> + Send + 'p>>;

/// Whatever a checkout waits for, and after however many polls it is dropped, everything else goes on happening in between:
/// all items and permits are there in the end, and what was made is idle.
#[tokio::test(start_paused = true)]
async fn a_checkout_dropped_after_any_number_of_polls_loses_nothing() {
    for polls in 0..24 {
        for drops_late in [false, true] {
            let maker = Maker::new();
            let pool = maker.pool(2).create_timeout(ms(400)).build().await.unwrap();
            let mut held = vec![pool.checkout().await.unwrap(), pool.checkout().await.unwrap()];
            maker.next([Act::Take(ms(5)), Act::Fail, Act::Hang, Act::Take(ms(3))]);
            let mut checkout: Checkout<'_> = Box::pin(pool.checkout());
            let mut leased = None;
            for poll in 0..polls {
                if let std::task::Poll::Ready(outcome) = peek(&mut checkout) {
                    leased = Some(outcome);
                    break;
                }
                // What a checkout goes through: admitted, in line, its item made or failed, checked, refused.
                match poll {
                    1 => held.pop().into_iter().for_each(PooledItem::discard),
                    3 => {
                        sleep(ms(6)).await;
                    }
                    5 => held.clear(),
                    7 => {
                        pool.resize(Limit::MIN);
                    }
                    9 => {
                        sleep(ms(500)).await;
                    }
                    _ => settle().await,
                }
            }
            if drops_late {
                held.clear();
            }
            drop(checkout);
            drop(leased);
            held.clear();
            sleep(ms(1000)).await;
            let status = assert_at_rest(&pool, &maker).await;
            assert!(maker.most() <= 2, "{polls} polls");
            assert_eq!(status.idle, maker.live(), "{polls} polls");
            drop(pool.checkout().await.unwrap());
        }
    }
}

/// Given up in line at the gate, it has taken nothing.
#[tokio::test]
async fn given_up_at_the_gate() {
    let maker = Maker::new();
    let pool = maker.pool(1).build().await.unwrap();
    let held = pool.checkout().await.unwrap();
    let mut checkout = Box::pin(pool.checkout());
    assert!(peek(&mut checkout).is_pending());
    drop(checkout);
    drop(held);
    assert_eq!(assert_at_rest(&pool, &maker).await.totals.created, 1);
}

/// Given up once it was admitted at the gate and before it knew, it hands the permit on, and the item stays idle.
#[tokio::test]
async fn given_up_when_it_was_admitted() {
    let maker = Maker::new();
    let pool = maker.pool(1).build().await.unwrap();
    let held = pool.checkout().await.unwrap();
    let mut checkout = Box::pin(pool.checkout());
    assert!(peek(&mut checkout).is_pending());
    drop(held);
    drop(checkout);
    assert_eq!(assert_at_rest(&pool, &maker).await.idle, 1);
}

/// Given up while its item is made, the item is idle, or the next one's.
#[tokio::test(start_paused = true)]
async fn given_up_while_its_item_is_made() {
    let maker = Maker::new();
    let pool = maker.pool(1).build().await.unwrap();
    maker.next([Act::Take(ms(50))]);
    let mut checkout = Box::pin(pool.checkout());
    assert!(peek(&mut checkout).is_pending());
    settle().await;
    drop(checkout);
    assert_eq!(pool.gate().status().in_use, 0, "its permit is free at once");
    assert_eq!(pool.checkout().await.unwrap().id, 0);
    assert_eq!(maker.attempts(), 1);
    assert_at_rest(&pool, &maker).await;
}

/// Given up when its item was on its way, the item goes to the next who waits, or is idle.
#[tokio::test(start_paused = true)]
async fn given_up_when_its_item_was_on_its_way() {
    for is_next in [false, true] {
        let maker = Maker::new();
        let pool = maker.pool(3).build().await.unwrap();
        let held = pool.checkout().await.unwrap();
        maker.always(Act::Hang);
        let mut checkout = Box::pin(pool.checkout());
        assert!(peek(&mut checkout).is_pending());
        let mut next = Box::pin(pool.checkout());
        assert!(!is_next || peek(&mut next).is_pending());
        drop(held);
        assert_eq!((pool.status().in_use, pool.status().idle), (1, 0), "on its way");
        drop(checkout);
        if is_next {
            assert_eq!(next.await.unwrap().id, 0);
        } else {
            drop(next);
        }
        let status = pool.status();
        assert_eq!((status.idle, status.in_use, status.waiting, maker.dropped().len()), (1, 0, 0, 0));
    }
}

/// Given up while the item is being sent, by the very waker that is told of it: the sender puts it in order.
#[tokio::test]
async fn given_up_by_the_waker_that_is_told() {
    let maker = Maker::new();
    let pool = maker.pool(2).build().await.unwrap();
    let held = pool.checkout().await.unwrap();
    maker.next([Act::Hang]);
    let shared: Arc<Mutex<Option<Checkout<'static>>>> = Arc::default();
    let mut checkout: Checkout<'static> = {
        let pool = pool.clone();
        Box::pin(async move { pool.checkout().await })
    };
    // Its waker is called with the item in the channel; the future is dropped in there, and comes back to the pool.
    let dropping = Arc::clone(&shared);
    let meddling = pool.clone();
    let waker = hooked(move |call| {
        let _ = meddling.status(); // whatever the call, no lock is held
        if call == Call::Wake {
            dropping.lock().unwrap().take();
        }
    });
    assert!(checkout.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    *shared.lock().unwrap() = Some(checkout);
    drop(held);
    assert!(shared.lock().unwrap().is_none(), "it was called");
    let status = pool.status();
    assert_eq!((status.idle, status.in_use, maker.dropped().len()), (1, 0, 0));
    assert_eq!(pool.gate().status().in_use, 0);
}

/// A waker that panics when it is told of an item keeps nobody from anything.
#[tokio::test]
async fn a_waker_that_panics_costs_nothing() {
    let maker = Maker::new();
    let pool = maker.pool(2).build().await.unwrap();
    let held = pool.checkout().await.unwrap();
    maker.next([Act::Hang]);
    let mut checkout = Box::pin(pool.checkout());
    let panics = Arc::new(AtomicBool::new(true));
    let panicking = Arc::clone(&panics);
    let waker =
        hooked(move |call| assert!(call != Call::Wake || !panicking.load(SeqCst), "as it was told to"));
    assert!(checkout.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(held);
    panics.store(false, SeqCst);
    assert_eq!(checkout.await.unwrap().id, 0);
    drop(waker);
    let status = pool.status();
    assert_eq!((status.idle, status.in_use), (1, 0));
}

/// Given up between one item that was refused and the next, the permit goes on.
#[tokio::test(start_paused = true)]
async fn given_up_after_an_item_was_refused() {
    let maker = Maker::new();
    let pool = maker.pool(1).build().await.unwrap();
    pool.checkout().await.unwrap().health = Says::Discard;
    maker.next([Act::Take(ms(50))]);
    let mut checkout = Box::pin(pool.checkout());
    assert!(peek(&mut checkout).is_pending());
    assert_eq!((pool.status().creating, maker.live()), (1, 0));
    drop(checkout);
    sleep(ms(60)).await;
    let status = assert_at_rest(&pool, &maker).await;
    assert_eq!((status.idle, status.totals.created), (1, 2));
}

/// A pool whose building is given up is gone, and so are its items, made or not.
#[tokio::test(start_paused = true)]
async fn given_up_while_it_is_built() {
    let maker = Maker::new();
    for polls in 0..6 {
        maker.next([Act::Make, Act::Take(ms(50)), Act::Hang]);
        let builder = maker.pool(3).min_idle(3).create_timeout(ms(100));
        let mut building = Box::pin(builder.build());
        for _ in 0..polls {
            assert!(peek(&mut building).is_pending());
            settle().await;
        }
        assert_eq!(
            maker.live(),
            usize::from(polls > 0),
            "one is made by then, one takes its time, one hangs"
        );
        drop(building);
        sleep(ms(200)).await;
        assert_eq!(maker.live(), 0);
        if polls == 0 {
            maker.forget();
        }
    }
}
