//! Several gates at once: tasks that acquire from overlapping sets of gates, and work that makes nested requests.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use concurrency_governor::gate::{Gate, LendingPermit, acquire_all};
use concurrency_governor::{GateName, Limit};
use loom::thread;

use super::harness::{Threads, check};

/// A task. Its waker notes that it was woken.
struct Task {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    woken: Arc<Woken>,
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Task {
    fn new(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { future: Box::pin(future), woken: Arc::default() }
    }

    /// Acquires from two gates at once, and releases.
    fn with_pair(gates: &Arc<[Gate; 3]>, pair: (usize, usize)) -> Self {
        let gates = Arc::clone(gates);
        let future = async move {
            let permits = acquire_all([(&gates[pair.0], 1), (&gates[pair.1], 1)]).await.unwrap();
            assert_eq!((gates[pair.0].in_use(), gates[pair.1].in_use()), (1, 1));
            drop(permits);
        };
        Self::new(future)
    }

    /// Makes a nested request, and one under that, and releases both.
    fn nested(gate: &Gate, parent: &LendingPermit) -> Self {
        let (gate, parent) = (gate.clone(), parent.clone());
        Self::new(async move {
            let child = gate.request().under(&parent).acquire().await.unwrap();
            let grandchild = gate.request().under(&child).acquire().await.unwrap();
            assert!(gate.in_use() <= gate.limit().get());
            drop((grandchild, child, parent));
        })
    }

    /// Polls the task. Returns it if it still waits.
    fn poll(mut self) -> Option<Self> {
        self.woken.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(&self.woken));
        match self.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(()) => None,
            Poll::Pending => Some(self),
        }
    }
}

/// P92: three tasks that acquire the three pairs of three gates, each in the order that makes a cycle, all end.
#[test]
fn three_tasks_with_three_gates_do_not_deadlock() {
    check(Threads::Three, || {
        let gates = Arc::new([(); 3].map(|()| {
            let builder = Gate::builder(GateName::new("several"), Limit::new(1));
            builder.measure_waits(false).build()
        }));
        let other = |pair| {
            let task = Task::with_pair(&gates, pair);
            thread::spawn(move || task.poll())
        };
        let others = [other((1, 2)), other((2, 0))];
        let mine = Task::with_pair(&gates, (0, 1)).poll();
        run_to_end(others.into_iter().filter_map(|other| other.join().unwrap()).chain(mine).collect());
        assert!(gates.iter().all(|gate| (gate.in_use(), gate.waiting()) == (0, 0)));
    });
}

/// P103 and P104: children of the same work, and children of two works that have all permits, end without a permit that their own work
/// holds.
#[test]
fn nested_requests_do_not_wait_for_their_own_work() {
    for works in [1, 2] {
        check(Threads::Two, move || {
            let gate = Gate::builder(GateName::new("nested"), Limit::new(works)).measure_waits(false).build();
            let parents: Vec<LendingPermit> =
                (0..works).map(|_| gate.try_acquire_owned().unwrap().lend()).collect();
            let other = Task::nested(&gate, &parents[0]);
            let other = thread::spawn(move || other.poll());
            let mine = Task::nested(&gate, parents.last().unwrap()).poll();
            drop(parents);
            run_to_end(other.join().unwrap().into_iter().chain(mine).collect());
            assert_eq!((gate.in_use(), gate.waiting()), (0, 0));
        });
    }
}

/// Polls the tasks that are woken until none is left.
fn run_to_end(mut waiting: Vec<Task>) {
    while !waiting.is_empty() {
        let next = waiting.iter().position(|task| task.woken.0.load(Ordering::SeqCst));
        let task = waiting.swap_remove(next.expect("the tasks wait for each other"));
        waiting.extend(task.poll());
    }
}
