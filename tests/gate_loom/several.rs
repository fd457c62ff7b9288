//! Several gates at once: tasks that acquire from overlapping sets of gates.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use concurrency_governor::gate::{Gate, acquire_all};
use concurrency_governor::{GateName, Limit};
use loom::thread;

use super::harness::{Threads, check};

/// A task that acquires from two gates at once, and releases. Its waker notes that it was woken.
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
    fn new(gates: &Arc<[Gate; 3]>, pair: (usize, usize)) -> Self {
        let gates = Arc::clone(gates);
        let future = async move {
            let permits = acquire_all([(&gates[pair.0], 1), (&gates[pair.1], 1)]).await.unwrap();
            assert_eq!((gates[pair.0].in_use(), gates[pair.1].in_use()), (1, 1));
            drop(permits);
        };
        Self { future: Box::pin(future), woken: Arc::default() }
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

/// M2: three tasks that acquire the three pairs of three gates, each in the order that makes a cycle, all end.
#[test]
fn three_tasks_with_three_gates_do_not_deadlock() {
    check(Threads::Three, || {
        let gates = Arc::new([(); 3].map(|()| {
            let builder = Gate::builder(GateName::new("several"), Limit::new(1));
            builder.measure_waits(false).build()
        }));
        let other = |pair| {
            let task = Task::new(&gates, pair);
            thread::spawn(move || task.poll())
        };
        let others = [other((1, 2)), other((2, 0))];
        let mine = Task::new(&gates, (0, 1)).poll();
        let mut waiting: Vec<Task> =
            others.into_iter().filter_map(|other| other.join().unwrap()).chain(mine).collect();
        while !waiting.is_empty() {
            let next = waiting.iter().position(|task| task.woken.0.load(Ordering::SeqCst));
            let task = waiting.swap_remove(next.expect("the tasks wait for each other"));
            waiting.extend(task.poll());
        }
        assert!(gates.iter().all(|gate| (gate.in_use(), gate.waiting()) == (0, 0)));
    });
}
