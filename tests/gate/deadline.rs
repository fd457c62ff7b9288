//! Requests that do not wait for ever.

use std::cell::RefCell;
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use concurrency_governor::Limit;
use concurrency_governor::gate::{AcquireError, Gate, OwnedPermit};
use tokio::time::{Instant, advance};

use crate::support::{NAME, assert_at_rest, gate, now, peek, wait};

const MS: Duration = Duration::from_millis(1);

fn late(waited: Duration) -> AcquireError {
    AcquireError::DeadlineExceeded { gate: NAME, waited }
}

/// A request leaves the line at its deadline, says how long it was there, and lets those behind it pass.
#[tokio::test(start_paused = true)]
async fn expiry_leaves_at_once_and_lets_the_next_pass() {
    let gate = gate(3);
    let _held = gate.try_acquire_many(2).unwrap();
    let (mut heavy, heavy_flag) = wait(gate.request().weight(3).max_wait(10 * MS).acquire());
    let (mut light, light_flag) = wait(gate.acquire());
    advance(9 * MS).await;
    assert_eq!((heavy_flag.woken(), peek(&mut heavy).is_pending()), (0, true));
    advance(MS).await;
    let Poll::Ready(Err(error)) = peek(&mut heavy) else { panic!("its deadline has come") };
    assert_eq!(error, late(10 * MS));
    assert_eq!(light_flag.woken(), 1);
    assert!(peek(&mut light).is_ready());
    assert_eq!(gate.status().totals.queue.expired, 1);
}

/// Each of several deadlines is met, though one timer watches them all, in whatever order they came.
#[tokio::test(start_paused = true)]
async fn deadlines_pass_one_after_another() {
    let gate = gate(1);
    let _held = gate.try_acquire().unwrap();
    let waiting = [2, 4, 1, 3].map(|after| wait(gate.request().max_wait(after * MS).acquire()));
    let woken = || waiting.each_ref().map(|(_, flag)| flag.woken());
    for passed in [[0, 0, 1, 0], [1, 0, 1, 0], [1, 0, 1, 1], [1, 1, 1, 1]] {
        advance(MS).await;
        assert_eq!(woken(), passed);
    }
}

/// The timer wakes the waker of the latest poll, and keeps none once the request has resolved.
#[tokio::test(start_paused = true)]
async fn the_timer_wakes_and_lets_go() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let (mut expiring, flag) = wait(gate.request().max_wait(MS).acquire());
    advance(MS).await;
    assert_eq!(flag.woken(), 1);
    assert!(peek(&mut expiring).is_ready());
    assert_eq!(Arc::strong_count(&flag), 1);

    let (mut granted, flag) = wait(gate.request().max_wait(MS).acquire());
    drop(held);
    assert!(matches!(peek(&mut granted), Poll::Ready(Ok(_))));
    assert_eq!(Arc::strong_count(&flag), 1, "the timer is gone with the wait");
}

/// What was granted before the deadline is handed over however late the future is polled.
#[tokio::test(start_paused = true)]
async fn a_grant_wins_against_a_passed_deadline() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let (mut waiting, _) = wait(gate.request().max_wait(MS).acquire());
    advance(MS / 2).await;
    drop(held);
    advance(60 * MS).await;
    assert!(matches!(peek(&mut waiting), Poll::Ready(Ok(_))));
    let waited = crate::MEASURES.then_some(MS / 2);
    assert_eq!(gate.status().waits.max(), waited, "what it waited for its turn, however late it looks");
    assert_at_rest(&gate);
}

/// With a deadline that has passed, a request is let in where there is room, and refused where it would wait.
#[tokio::test(start_paused = true)]
async fn a_passed_deadline_is_a_try() {
    let gate = gate(1);
    advance(MS).await;
    let passed = Instant::now() - MS;
    let permit = now(gate.request().deadline(passed).acquire()).unwrap();
    assert_eq!(now(gate.request().deadline(passed).acquire()).unwrap_err(), late(Duration::ZERO));
    assert_eq!(now(gate.request().deadline(Instant::now()).acquire()).unwrap_err(), late(Duration::ZERO));
    assert_eq!(
        now(gate.request().max_wait(Duration::ZERO).acquire_owned()).unwrap_err(),
        late(Duration::ZERO)
    );
    let totals = gate.status().totals;
    assert_eq!((totals.rejected.expired, totals.queue.enqueued), (3, 0));
    drop(permit);
    assert_at_rest(&gate);
}

/// Of a request's deadline, its own maximum wait and the gate's, the earliest counts.
#[tokio::test(start_paused = true)]
async fn the_earliest_deadline_counts() {
    let gate = Gate::builder(NAME, Limit::MIN).max_wait(5 * MS).build();
    let _held = gate.try_acquire().unwrap();
    let start = Instant::now();
    for (deadline, max_wait, waited) in [(9, 9, 5), (3, 9, 3), (9, 4, 4)] {
        let request = gate.request().deadline(Instant::now() + deadline * MS).max_wait(max_wait * MS);
        assert_eq!(request.acquire().await.unwrap_err(), late(waited * MS));
    }
    assert_eq!(gate.acquire().await.unwrap_err(), late(5 * MS));
    assert_eq!(start.elapsed(), 17 * MS);
}

/// A wait too long for the clock is no deadline, and needs no timer.
#[test]
fn a_deadline_out_of_reach_is_none() {
    let gate = Gate::builder(NAME, Limit::MIN).max_wait(Duration::MAX).build();
    let held = gate.try_acquire().unwrap();
    let (waiting, _) = wait(gate.request().max_wait(Duration::MAX).acquire());
    let mut farthest = Instant::now();
    for step in
        (0..64).rev().map(|bit| Duration::from_secs(1 << bit)).chain([Duration::from_nanos(999_999_999)])
    {
        farthest = farthest.checked_add(step).unwrap_or(farthest);
    }
    let (another, _) = wait(gate.request().deadline(farthest).acquire());
    drop((waiting, another, held));
    assert_at_rest(&gate);
}

/// A wait of a length that the clock can tell, and that ends when it no longer can, has no end either.
#[test]
fn an_end_out_of_reach_is_none() {
    let longest = Duration::new(9_223_372_035, 999_999_999);
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    assert_eq!(gate.request().max_wait(Duration::ZERO).acquire_blocking().unwrap_err(), late(Duration::ZERO));
    thread::sleep(900 * MS); // The clock's range ends 855 ms after such a wait that begins when it is first looked at.
    let (waiting, _) = wait(gate.request().max_wait(longest).acquire());
    drop((waiting, held));
    assert_at_rest(&gate);
}

/// A request leaves the line at its deadline though nobody polls it: whoever comes behind it is let in, its own waker is
/// woken and dropped, and what it resolves to is settled.
#[tokio::test(start_paused = true)]
async fn an_expired_request_leaves_unpolled_and_keeps_no_waker() {
    let gate = gate(2);
    let held = gate.try_acquire().unwrap();
    let (mut expiring, flag) = wait(gate.request().weight(2).max_wait(MS).acquire_owned());
    let (mut behind, behind_flag) = wait(gate.acquire());
    advance(MS).await;
    assert_eq!((flag.woken(), Arc::strong_count(&flag)), (1, 1), "though the future is still there");
    assert_eq!((behind_flag.woken(), gate.status().waiting), (1, 0));
    assert!(peek(&mut behind).is_ready());
    drop(held);
    assert!(matches!(peek(&mut expiring), Poll::Ready(Err(_))), "room that came later is not its");
    assert_eq!(flag.woken(), 1);
    assert_at_rest(&gate);
}

/// A permit that a thread's end gives back goes on to the next, though tokio's clock has ended before it there.
#[tokio::test(start_paused = true)]
async fn a_thread_that_ends_hands_on_what_it_held() {
    thread_local! {
        static HELD: RefCell<Option<OwnedPermit>> = const { RefCell::new(None) };
    }
    let gate = gate(1);
    let held = gate.try_acquire_owned().unwrap();
    let (mut waiting, flag) = wait(gate.acquire());
    thread::spawn(move || {
        HELD.set(Some(held)); // first here, and so the last to end
        let _shown = Instant::now();
    })
    .join()
    .unwrap();
    assert_eq!((flag.woken(), peek(&mut waiting).is_ready()), (1, true));
    assert_at_rest(&gate);
}
