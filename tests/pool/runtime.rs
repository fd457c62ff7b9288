//! Runtimes that go, before the pool or after it.

use std::task::Poll;
use std::thread;

use concurrency_governor::pool::{CheckoutError, CreateError, TryCheckoutError};
use tokio::runtime::{self, Runtime};

use super::support::{Act, Maker, peek};

fn one_thread() -> Runtime {
    runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

/// With the runtime gone that a pool was built on, nobody waits for an item that will not come, then or later; what is idle
/// is still handed out, and comes back.
#[test]
fn nobody_waits_for_a_runtime_that_is_gone() {
    let (home, other) = (one_thread(), one_thread());
    let maker = Maker::new();
    let pool = home.block_on(maker.pool(3).min_idle(1).build()).unwrap();
    maker.always(Act::Hang);
    let held = other.block_on(pool.checkout()).unwrap();
    let mut waiting = Box::pin(pool.checkout());
    assert!(peek(&mut waiting).is_pending());
    drop(home);
    let abandoned = |error| matches!(error, CheckoutError::Create(CreateError::Abandoned { .. }));
    assert!(abandoned(other.block_on(waiting).unwrap_err()));
    assert!(abandoned(other.block_on(pool.checkout()).unwrap_err()));
    drop(held);
    let again = other.block_on(pool.checkout()).unwrap();
    assert_eq!(again.id, 0);
    again.discard();
    assert!(abandoned(other.block_on(pool.checkout()).unwrap_err()));
    assert!(matches!(pool.try_checkout(), Err(TryCheckoutError::NoneIdle { .. })));
    let status = pool.status();
    assert_eq!((status.size, status.waiting, pool.gate().status().in_use), (0, 0, 0), "{status:?}");
    assert!(status.totals.create_errors.abandoned > 0);
    pool.close();
    other.block_on(pool.drained());
}

/// Nor does anybody wait for the end of a pause that will not come.
#[test]
fn nobody_waits_for_a_pause_that_will_not_end() {
    let home = one_thread();
    let maker = Maker::new();
    let pool = home.block_on(maker.pool(3).build()).unwrap();
    maker.next([Act::Fail]);
    assert!(home.block_on(pool.checkout()).is_err());
    let mut waiting = Box::pin(pool.checkout());
    assert!(peek(&mut waiting).is_pending());
    assert_eq!((pool.status().creating, pool.status().waiting), (0, 1));
    drop(home);
    let Poll::Ready(Err(error)) = peek(&mut waiting) else { panic!("it still waits") };
    assert!(matches!(error, CheckoutError::Create(CreateError::Abandoned { .. })), "{error:?}");
}

/// A lease may be dropped after its runtime and after every handle of the pool, in either order.
#[test]
fn leases_outlive_their_runtime() {
    for pool_first in [false, true] {
        let home = one_thread();
        let maker = Maker::new();
        let pool =
            home.block_on(maker.pool(2).min_idle(2).idle_timeout(super::support::ms(5)).build()).unwrap();
        let (first, second) =
            (home.block_on(pool.checkout()).unwrap(), home.block_on(pool.checkout()).unwrap());
        if pool_first {
            drop(pool);
            drop(home);
        } else {
            drop(home);
            drop(first);
            assert_eq!(maker.live(), 2, "it is idle");
            drop(pool);
            drop(second);
            assert_eq!(maker.live(), 0);
            continue;
        }
        thread::spawn(move || drop((first, second))).join().unwrap();
        assert_eq!(maker.live(), 0);
    }
}

/// An item that is made on a runtime that stands still is nobody's: whoever gives up goes without it, and it is made when
/// the runtime goes on.
#[test]
fn a_runtime_that_stands_still_holds_up_only_what_it_makes() {
    let (home, other) = (one_thread(), one_thread());
    let maker = Maker::new();
    let pool = home.block_on(maker.pool(1).build()).unwrap();
    let request = pool.request().max_wait(super::support::ms(5));
    assert!(other.block_on(request.checkout()).is_err());
    assert_eq!(maker.attempts(), 0);
    home.block_on(super::support::settle());
    assert_eq!(pool.try_checkout().unwrap().id, 0);
}

/// A lease held by a thread that ends is dropped with the thread's own values, where clocks may be gone.
#[test]
fn a_lease_may_go_with_the_last_of_its_thread() {
    use std::cell::RefCell;
    thread_local! {
        static KEPT: RefCell<Option<concurrency_governor::PooledItem<Maker>>> = const { RefCell::new(None) };
    }
    let home = one_thread();
    let maker = Maker::new();
    let built =
        maker.pool(1).max_lifetime(super::support::ms(60_000)).idle_timeout(super::support::ms(60_000));
    let pool = home.block_on(built.build()).unwrap();
    let lease = home.block_on(pool.checkout()).unwrap();
    thread::spawn(move || KEPT.with(|kept| *kept.borrow_mut() = Some(lease))).join().unwrap();
    assert_eq!((pool.status().idle, pool.gate().status().in_use), (1, 0));
}
