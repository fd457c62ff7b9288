use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::process::{self, Command};

use super::*;

/// Holds that a step ends the process that takes it, or does not: another run of the test named, of which it is a part.
pub(in crate::gate) fn assert_ends_the_process(test: &str, part: usize, ends: bool, step: impl FnOnce()) {
    const PART: &str = "GATE_TEST_PART";
    match env::var(PART) {
        Ok(taken) if taken == part.to_string() => {
            step();
            process::exit(0);
        }
        Ok(_) => {}
        Err(_) => {
            let mut run = Command::new(env::current_exe().unwrap());
            let ended = run.args(["--exact", test]).env(PART, part.to_string()).output().unwrap();
            let status = ended.status;
            assert!(status.code() != Some(101) && status.success() != ends, "{status}"); // 101: a test failed
        }
    }
}

fn join(chain: &mut Chain, node: Pin<&mut Node>) {
    let wait = Wait::unwatched(node.weight, 0, 0);
    chain.join(node, Waker::noop().clone(), wait);
}

/// A node that is in a chain goes on to no other stage until it is taken out.
#[test]
fn node_in_a_chain_stays_there() {
    let (mut chain, mut another, mut node) = (Chain::new(), Chain::new(), pin!(Node::new(1)));
    join(&mut chain, node.as_mut());
    assert!(!node.as_mut().enter_if(Stage::New, || true) && node.stage() == Stage::Joined);
    assert!(another.take_this(node.as_mut(), End::GivenUp, |_, _| true).is_none());
    assert!(chain.take_this(node.as_mut(), End::GivenUp, |_, is_first| is_first).is_some());
    assert!(node.as_mut().enter_if(Stage::New, || true) && node.stage() == Stage::New);
    join(&mut another, node.as_mut());
    assert!(another.take_this(node, End::GivenUp, |_, _| true).is_some());
}

/// A node whose timer is gone stays where it is, whoever comes behind it then, or goes.
#[test]
fn unwatched_nodes_keep_their_places() {
    let (mut chain, mut nodes) = (Chain::new(), [1, 2, 3].map(|weight| Box::pin(Node::new(weight))));
    let [first, second, third] = nodes.each_mut().map(|node| node.as_mut());
    join(&mut chain, first);
    join(&mut chain, second);
    let mut unwatched = 0;
    chain.take_each(End::Unwatched, |_| Some(true), |_| unwatched += 1);
    join(&mut chain, third);
    let mut in_order = Vec::new();
    let look = |wait: &Wait| {
        in_order.push(wait.weight);
        Some(false)
    };
    chain.take_each(End::Closed, look, |_| {});
    let [first, second, third] = nodes.each_mut().map(|node| node.as_mut());
    let mut leaves =
        |node, first| chain.take_this(node, End::GivenUp, |_, is_first| is_first == first).is_some();
    // All at once, since a test that ends before they have left ends the process.
    assert_eq!(
        (unwatched, in_order, [leaves(second, false), leaves(third, false), leaves(first, true)]),
        (2, vec![1, 2, 3], [true; 3])
    );
}

/// A node that is dropped in a chain, or joins another, ends the process.
#[test]
fn node_used_in_a_chain_ends_the_process() {
    const TEST: &str = "gate::chain::tests::node_used_in_a_chain_ends_the_process";
    for (part, joins_another) in [true, false].into_iter().enumerate() {
        assert_ends_the_process(TEST, part, true, || {
            let mut node = pin!(Node::new(1));
            join(&mut Chain::new(), node.as_mut());
            if joins_another {
                join(&mut Chain::new(), node);
                process::exit(0); // it has, and gets by
            }
        });
    }
}

/// What is behind a lock is had by whoever has that lock, and by nobody who has another.
#[test]
fn another_lock_opens_nothing() {
    let (one, another) = (Locked::new(1), Locked::new(2));
    let mut held = one.0.take();
    assert_eq!(*one.get(&mut held), 1);
    assert!(catch_unwind(AssertUnwindSafe(|| *another.get(&mut held))).is_err());
}
