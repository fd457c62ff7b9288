//! Nested requests: work that holds permits never waits for itself, and nothing is counted twice.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use concurrency_governor::gate::{AcquireError, Gate, LendingPermit, TryAcquireError};
use concurrency_governor::{GateName, Holders, Keys, Limit};
use proptest::prelude::*;
use tokio::task::JoinSet;
use tokio::time::{Instant, advance, timeout};

use super::support::{
    HANG_TIMEOUT, HOUR, MS, NAME, assert_idle, expect_ready, gate, paused_runtime, poll_once, spin_until,
    start_waiting,
};

fn lend(gate: &Gate, weight: u32) -> LendingPermit {
    gate.try_acquire_many_owned(weight).unwrap().lend()
}

type BoxedNested = Pin<Box<dyn Future<Output = Result<LendingPermit, AcquireError>> + Send>>;

/// Returns a nested request that waits.
#[track_caller]
fn waiting(gate: &Gate, parent: &LendingPermit, weight: u32) -> BoxedNested {
    let mut request: BoxedNested = Box::pin(gate.request().weight(weight).under(parent).acquire());
    assert!(poll_once(&mut request).is_pending(), "ready at the first poll");
    request
}

#[track_caller]
fn granted(request: &mut BoxedNested) -> LendingPermit {
    match poll_once(request) {
        Poll::Ready(permit) => permit.unwrap(),
        Poll::Pending => panic!("the request still waits"),
    }
}

/// 30 agents share three permits. Each agent keeps its permit while it waits for three tools, whose requests are nested under
/// it, and each tool makes a nested request of its own.
#[tokio::test]
async fn parents_that_wait_for_their_children_do_not_deadlock() {
    let tracked = Holders::overdue_after(Duration::from_secs(30));
    let tracked = Gate::builder(NAME, Limit::new(3)).track_holders(tracked).build();
    for gate in [gate(3), tracked] {
        let mut agents = JoinSet::new();
        for _ in 0..30 {
            let gate = gate.clone();
            agents.spawn(async move {
                let agent = gate.acquire_owned().await?.lend();
                tokio::task::yield_now().await;
                let mut tools = JoinSet::new();
                for _ in 0..3 {
                    let (gate, agent) = (gate.clone(), agent.clone());
                    tools.spawn(async move {
                        let tool = gate.request().under(&agent).acquire().await?;
                        tokio::task::yield_now().await;
                        let inner = gate.request().under(&tool).acquire().await?;
                        assert!(gate.in_use() <= 3);
                        drop(inner);
                        Ok::<_, AcquireError>(())
                    });
                }
                while let Some(tool) = tools.join_next().await {
                    tool.unwrap()?;
                }
                Ok::<_, AcquireError>(())
            });
        }
        let all = async {
            while let Some(agent) = agents.join_next().await {
                agent.unwrap().unwrap();
            }
        };
        timeout(HANG_TIMEOUT, all).await.expect("the agents wait for each other");
        assert_idle(&gate);
    }
}

/// A nested request takes free permits first. Without any it borrows, at any depth, and nothing is counted twice.
#[test]
fn a_nested_request_borrows_when_the_gate_is_full() {
    let gate = gate(2);
    let parent = lend(&gate, 1);
    let own = expect_ready(gate.request().under(&parent).acquire()).unwrap();
    assert_eq!((own.is_borrowed(), gate.in_use()), (false, 2));
    let mut nested = vec![gate.request().under(&own).try_acquire().unwrap()];
    for _ in 0..1000 {
        nested.push(expect_ready(gate.request().under(nested.last().unwrap()).acquire()).unwrap());
    }
    assert!(nested.iter().all(LendingPermit::is_borrowed));
    let status = gate.status();
    assert_eq!((status.in_use, status.waiting), (2, 0));
    assert_eq!((status.totals.admitted, status.totals.borrowed), (2, 1001));
    assert_eq!(status.totals.rejected.sum(), 0);
    // The chain is kept by its last permit, and dropped without recursion.
    let last = nested.pop().unwrap();
    drop((nested, own, parent));
    assert_eq!(gate.in_use(), 2);
    drop(last);
    assert_idle(&gate);
}

/// Of several children, those without a loan wait for their siblings or for room, whichever comes first.
#[test]
fn children_wait_for_their_siblings_or_for_room() {
    let gate = gate(2);
    let other = gate.try_acquire().unwrap();
    let parent = lend(&gate, 1);
    let first = gate.request().under(&parent).try_acquire().unwrap();
    let mut second = waiting(&gate, &parent, 1);
    let mut third = waiting(&gate, &parent, 1);
    assert_eq!(gate.waiting(), 2);
    drop(first);
    let second = granted(&mut second);
    assert!(second.is_borrowed() && poll_once(&mut third).is_pending());
    drop(other);
    let third = granted(&mut third);
    assert!(!third.is_borrowed());
    assert_eq!((gate.in_use(), gate.waiting()), (2, 0));
    drop((second, third, parent));
    let totals = gate.status().totals;
    assert_eq!((totals.borrowed, totals.queue.cancelled, totals.queue.admitted), (2, 1, 1));
    assert_idle(&gate);
}

/// Permits that a parent has lent stay in use when it is dropped first. They admit others when the child is dropped, too.
#[test]
fn a_parent_that_is_dropped_first_leaves_its_permits_to_its_child() {
    let gate = gate(3);
    let parent = lend(&gate, 3);
    let child = gate.request().weight(2).under(&parent).try_acquire().unwrap();
    drop(parent);
    assert_eq!(gate.in_use(), 3);
    let (mut other, counter) = start_waiting(gate.acquire());
    // The grandchild also borrows from the parent: the permits of the dropped parent stay in use while work under it lives.
    let grandchild = gate.request().weight(3).under(&child).try_acquire().unwrap();
    drop(child);
    assert_eq!((gate.in_use(), counter.wakes()), (3, 0));
    drop(grandchild);
    let Poll::Ready(Ok(permit)) = poll_once(&mut other) else { panic!("the permits are free") };
    drop(permit);
    assert_idle(&gate);
}

/// A child that is heavier than its parent borrows all of the chain, and waits in the queue for the rest.
#[test]
fn a_heavy_child_borrows_the_chain_and_waits_for_the_rest() {
    let gate = gate(5);
    let other = gate.try_acquire_many(2).unwrap();
    let top = lend(&gate, 1);
    let parent = gate.request().weight(2).under(&top).try_acquire().unwrap();
    assert!(!parent.is_borrowed());
    // The chain has 3 of 5 permits, and others have 2.
    let mut all = waiting(&gate, &parent, 5);
    assert_eq!(gate.waiting(), 1);
    drop(other);
    let all = granted(&mut all);
    assert_eq!((all.weight(), all.is_borrowed(), gate.in_use()), (5, true, 5));
    // What it has borrowed is not there for a sibling, but for its own work.
    let mut sibling = waiting(&gate, &parent, 1);
    let nested = gate.request().weight(5).under(&all).try_acquire().unwrap();
    drop(all);
    assert!(poll_once(&mut sibling).is_pending());
    drop(nested);
    drop(granted(&mut sibling));

    // What the parent has borrowed itself is not borrowed a second time.
    let other = gate.try_acquire_many(2).unwrap();
    let borrower = gate.request().weight(1).under(&top).try_acquire().unwrap();
    assert!(borrower.is_borrowed());
    let mut heavy = waiting(&gate, &borrower, 3);
    assert_eq!(gate.waiting(), 1, "one permit of the chain, and two of the gate");
    drop(other);
    drop(granted(&mut heavy));
    // With the one permit of its chain, a request for six would wait for five others. The gate has only four.
    let too_large = |weight, limit| AcquireError::TooLarge { gate: NAME, weight, limit: Limit::new(limit) };
    let heavy = |weight| gate.request().weight(weight).under(&borrower);
    assert_eq!(expect_ready(heavy(6).acquire()).unwrap_err(), too_large(6, 5));
    assert_eq!(heavy(6).acquire_blocking().unwrap_err(), too_large(6, 5));
    // The same if the limit is lowered while it waits.
    let mut lowered = waiting(&gate, &borrower, 5);
    thread::scope(|scope| {
        let blocked = scope.spawn(|| heavy(5).acquire_blocking());
        spin_until(|| gate.waiting() == 1);
        gate.resize(Limit::new(4));
        let Poll::Ready(ended) = poll_once(&mut lowered) else { panic!("the request can never be admitted") };
        assert_eq!(ended.unwrap_err(), too_large(5, 4));
        drop(lowered);
        assert_eq!(blocked.join().unwrap().unwrap_err(), too_large(5, 4));
    });
    gate.resize(Limit::new(5));
    drop((borrower, parent, top));
    assert_idle(&gate);
}

/// The work that is admitted can end: its nested requests are admitted while the gate is paused or closed, its queue is full, or its limit
/// was lowered.
#[test]
fn admitted_work_goes_on_whatever_keeps_new_work_out() {
    let gate = Gate::builder(NAME, Limit::new(3)).queue(0).build();
    let parent = lend(&gate, 2);
    let other = gate.try_acquire().unwrap();
    let heavy = || gate.request().weight(2).under(&parent);
    drop(expect_ready(heavy().acquire()).unwrap()); // the queue has no room
    gate.resize(Limit::MIN);
    drop(expect_ready(heavy().acquire()).unwrap());
    gate.resize(Limit::new(3));
    drop(other);
    gate.pause();
    let child = expect_ready(heavy().acquire()).unwrap();
    assert!(child.is_borrowed());
    assert_eq!(heavy().try_acquire().unwrap_err(), TryAcquireError::Paused { gate: NAME });
    gate.resume();
    gate.close();
    // A sibling waits for the loan, although the gate rejects it.
    let mut sibling = waiting(&gate, &parent, 1);
    drop(child);
    drop(granted(&mut sibling));
    assert!(matches!(
        expect_ready(gate.request().weight(3).under(&parent).acquire()),
        Err(AcquireError::Closed { .. })
    ));
    drop(parent);
    assert_idle(&gate);
}

/// A request at a key, or at an ancestor, borrows those permits of its chain that are in use there, too. A request at another gate
/// of the tree is rejected instead of waiting for its own chain.
#[test]
fn gates_of_a_tree_lend_what_counts() {
    let name = |text: &str| text.parse::<GateName>().unwrap();
    let root = Gate::builder(name("root"), Limit::new(2)).with_children().keyed(Keys::up_to(4)).build();
    let left = Gate::builder(name("left"), Limit::new(2)).within(&root).unwrap().build();
    let right = Gate::builder(name("right"), Limit::new(2)).within(&root).unwrap().build();
    let elsewhere = gate(1);
    let parent = lend(&left, 2);
    let nested = left.request().under(&parent).try_acquire().unwrap();
    let above = root.request().under(&parent).try_acquire().unwrap();
    assert!(nested.is_borrowed() && above.is_borrowed());
    let self_wait = AcquireError::SelfWait { gate: name("right") };
    assert_eq!(expect_ready(right.request().under(&parent).acquire()).unwrap_err(), self_wait);
    assert_eq!(expect_ready(right.request().under(&above).acquire()).unwrap_err(), self_wait);
    // A gate outside of the tree has no permits of the chain to lend. A request under its permit still borrows from the rest of the chain.
    let outside = elsewhere.request().under(&nested).try_acquire().unwrap();
    assert!(!outside.is_borrowed());
    drop((nested, above));
    let back = left.request().weight(2).under(&outside).try_acquire().unwrap();
    assert!(back.is_borrowed());
    assert_eq!((root.in_use(), left.in_use(), right.in_use(), elsewhere.in_use()), (2, 2, 0, 1));
    drop((back, outside, parent));

    let [one, two] = [root.key(1), root.key(2)];
    let parent = lend(&one, 2);
    assert!(root.key(1).request().under(&parent).try_acquire().unwrap().is_borrowed());
    assert!(root.request().weight(2).under(&parent).try_acquire().unwrap().is_borrowed());
    let self_wait = AcquireError::SelfWait { gate: name("root") };
    assert_eq!(expect_ready(two.request().under(&parent).acquire()).unwrap_err(), self_wait);
    // With room, any gate of the tree admits it.
    root.resize(Limit::new(3));
    drop(expect_ready(two.request().under(&parent).acquire()).unwrap());
    drop(parent);
    for gate in [&root, &left, &right, &one, &two, &elsewhere] {
        assert_idle(gate);
    }
}

/// Deadlines count for the wait for a loan: that of the request, its maximum wait, and that of the gate.
#[test]
fn a_wait_for_a_loan_has_the_deadlines_of_the_request() {
    paused_runtime().block_on(async {
        let gate = Gate::builder(NAME, Limit::MIN).max_wait(30 * MS).build();
        let parent = lend(&gate, 1);
        let child = gate.request().under(&parent).try_acquire().unwrap();
        let late = |waited| AcquireError::DeadlineExceeded { gate: NAME, waited };
        let own = gate.request().max_wait(10 * MS).under(&parent).acquire().await;
        assert_eq!(own.unwrap_err(), late(10 * MS));
        let fixed = gate.request().deadline(Instant::now() + 20 * MS).under(&parent).acquire().await;
        assert_eq!(fixed.unwrap_err(), late(20 * MS));
        assert_eq!(gate.request().under(&parent).acquire().await.unwrap_err(), late(30 * MS));
        let strict = gate.request().deadline(Instant::now()).strict_deadline().under(&parent);
        assert_eq!(expect_ready(strict.acquire()).unwrap_err(), late(Duration::ZERO));
        assert!(matches!(
            expect_ready(gate.request().weight(0).under(&parent).acquire()),
            Err(AcquireError::ZeroWeight { .. })
        ));
        let mut in_time = waiting(&gate, &parent, 1);
        advance(29 * MS).await;
        drop(child);
        drop(granted(&mut in_time));
        drop(parent);
        assert_idle(&gate);
    });
}

/// A nested request of weight 0 is a mistake of the caller, and is rejected whichever method makes it.
#[test]
fn a_nested_request_for_nothing_is_rejected() {
    let gate = gate(2);
    let parent = lend(&gate, 1);
    let nothing = || gate.request().weight(0).under(&parent);
    assert_eq!(nothing().try_acquire().unwrap_err(), TryAcquireError::ZeroWeight { gate: NAME });
    assert_eq!(nothing().acquire_blocking().unwrap_err(), AcquireError::ZeroWeight { gate: NAME });
    assert_eq!(expect_ready(nothing().acquire()).unwrap_err(), AcquireError::ZeroWeight { gate: NAME });
    assert_eq!(gate.status().totals.rejected.zero_weight, 3);
    drop(parent);
    assert_idle(&gate);
}

/// A blocked thread borrows, waits for a loan or for room, and leaves at its deadline.
#[test]
fn blocked_threads_borrow_and_wait() {
    let gate = gate(2);
    let other = gate.try_acquire().unwrap();
    let parent = lend(&gate, 1);
    let child = gate.request().under(&parent).acquire_blocking().unwrap();
    assert!(child.is_borrowed());
    let late = gate.request().max_wait(MS).under(&parent).acquire_blocking();
    assert!(matches!(late, Err(AcquireError::DeadlineExceeded { .. })));
    for frees_room in [false, true] {
        thread::scope(|scope| {
            let (gate, parent) = (&gate, &parent);
            let held = if frees_room { None } else { Some(child.clone()) };
            let blocked = scope.spawn(move || gate.request().under(parent).acquire_blocking());
            spin_until(|| gate.waiting() == 1);
            drop(held);
            if frees_room {
                gate.resize(Limit::new(3));
                assert!(!blocked.join().unwrap().unwrap().is_borrowed());
                gate.resize(Limit::new(2));
            } else {
                gate.resize(Limit::new(3)); // the other handle of the child still has the loan
                drop(blocked.join().unwrap().unwrap());
                gate.resize(Limit::new(2));
            }
        });
    }
    thread::scope(|scope| {
        let (gate, parent) = (&gate, &parent);
        let blocked = scope.spawn(move || gate.request().under(parent).acquire_blocking());
        spin_until(|| gate.waiting() == 1);
        drop(child);
        assert!(blocked.join().unwrap().unwrap().is_borrowed());
        let heavy = scope.spawn(move || gate.request().weight(2).under(parent).acquire_blocking());
        spin_until(|| gate.waiting() == 1);
        drop(other);
        assert!(heavy.join().unwrap().unwrap().is_borrowed());
    });
    drop(parent);
    assert_idle(&gate);
}

/// A request that is dropped at any poll gives back the loan that it waited for or was granted.
#[test]
fn a_cancelled_nested_request_gives_back_everything() {
    let gate = gate(4);
    let other = gate.try_acquire_many(2).unwrap();
    let parent = lend(&gate, 2);
    let child = gate.request().weight(2).under(&parent).try_acquire().unwrap();
    let mut requests: Vec<_> = [1, 2, 3, 1].map(|weight| waiting(&gate, &parent, weight)).into();
    drop(child); // the first has a loan now, and the others not
    drop(requests.remove(0));
    drop(requests.remove(0));
    assert!(poll_once(&mut requests[0]).is_pending()); // has the loan, and waits for the rest
    assert_eq!(gate.in_use(), 4);
    drop(requests.remove(0));
    drop(granted(&mut requests[0]));
    drop((requests, other, parent));
    assert_idle(&gate);
}

/// One step of a random run: a new work under another one, or the end of one.
#[derive(Clone, Debug)]
enum Step {
    Nest { under: usize, weight: u32 },
    Root { weight: u32 },
    Drop { which: usize },
    Resize { limit: u32 },
    Poll,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..64_usize, 1..4_u32).prop_map(|(under, weight)| Step::Nest { under, weight }),
        2 => (1..4_u32).prop_map(|weight| Step::Root { weight }),
        3 => (0..64_usize).prop_map(|which| Step::Drop { which }),
        1 => (1..6_u32).prop_map(|limit| Step::Resize { limit }),
        2 => Just(Step::Poll),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    /// Whatever the order in which works begin and end: no request is admitted above the limit of the moment, a request no heavier than
    /// the work above it never waits if it is the first request under that work, and nothing is lost.
    #[test]
    fn random_chains_keep_the_limit_and_lose_nothing(steps in steps()) {
        let gate = gate(5);
        // Each work, and whether a request was made under it.
        let mut works: Vec<(LendingPermit, bool)> = Vec::new();
        let mut waits: Vec<BoxedNested> = Vec::new();
        for step in steps {
            let before = gate.in_use();
            match step {
                Step::Root { weight } => {
                    works.extend(gate.try_acquire_many_owned(weight).map(|permit| (permit.lend(), false)));
                }
                Step::Nest { under, weight } if !works.is_empty() => {
                    let at = under % works.len();
                    let (parent, has_lent) = &mut works[at];
                    let had_lent = std::mem::replace(has_lent, true);
                    let mut request: BoxedNested =
                        Box::pin(gate.request().weight(weight).under(parent).acquire());
                    let is_light = weight <= parent.weight();
                    match poll_once(&mut request) {
                        Poll::Ready(Ok(work)) => works.push((work, false)),
                        Poll::Ready(Err(error)) => {
                            prop_assert!(matches!(error, AcquireError::TooLarge { .. }) && !is_light, "{error}");
                        }
                        Poll::Pending => {
                            prop_assert!(!is_light || had_lent, "it waits for its own work");
                            waits.push(request);
                        }
                    }
                }
                Step::Drop { which } if !works.is_empty() => {
                    drop(works.swap_remove(which % works.len()));
                }
                Step::Resize { limit } => drop(gate.resize(Limit::new(limit))),
                Step::Poll | Step::Nest { .. } | Step::Drop { .. } => {}
            }
            let mut index = 0;
            while index < waits.len() {
                match poll_once(&mut waits[index]) {
                    Poll::Ready(result) => {
                        works.extend(result.map(|work| (work, false)));
                        drop(waits.swap_remove(index));
                    }
                    Poll::Pending => index += 1,
                }
            }
            prop_assert!(gate.in_use() <= before.max(gate.limit().get()), "admitted above the limit");
        }
        drop((works, waits));
        assert_idle(&gate);
    }
}

/// A wait for a loan without a deadline does not end by itself, and an hour later it still gets the loan.
#[test]
fn a_loan_is_waited_for_without_a_deadline() {
    paused_runtime().block_on(async {
        let gate = gate(1);
        let parent = lend(&gate, 1);
        let child = gate.request().under(&parent).try_acquire().unwrap();
        let mut sibling = waiting(&gate, &parent, 1);
        advance(HOUR).await;
        assert!(poll_once(&mut sibling).is_pending());
        drop(child);
        drop(granted(&mut sibling));
        drop(parent);
        assert_idle(&gate);
    });
}
