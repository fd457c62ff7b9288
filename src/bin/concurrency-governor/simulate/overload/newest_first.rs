//! A gate that always admits the newest request first. The library has no such gate: this one exists only for the comparison.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use tokio::sync::oneshot;
use tokio::time::{self, Instant};

/// A gate with a fixed limit, for one thread. The request that arrived last is admitted first. A full queue rejects its oldest request.
#[derive(Debug)]
pub(super) struct NewestFirstGate {
    bound: Option<usize>,
    state: RefCell<NewestFirstState>,
}

#[derive(Debug)]
struct NewestFirstState {
    available: u32,
    /// The waiters in order of arrival.
    queue: VecDeque<NewestFirstWaiter>,
    next_number: u64,
}

#[derive(Debug)]
struct NewestFirstWaiter {
    number: u64,
    outcome: oneshot::Sender<WaitOutcome>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaitOutcome {
    Admitted,
    PushedOut,
}

/// Why the gate rejected a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NewestFirstRejection {
    /// The queue was full: newer requests pushed this one out, or no request may wait.
    QueueFull,
    DeadlinePassed,
}

/// One admission. Dropping it admits the newest waiter.
#[derive(Debug)]
pub(super) struct NewestFirstPermit(Rc<NewestFirstGate>);

impl NewestFirstGate {
    pub(super) fn new(limit: u32, bound: Option<usize>) -> Rc<Self> {
        let state = NewestFirstState { available: limit, queue: VecDeque::new(), next_number: 0 };
        Rc::new(Self { bound, state: RefCell::new(state) })
    }

    pub(super) fn waiting(&self) -> usize {
        self.state.borrow().queue.len()
    }

    /// Acquires a permit. Dropping the future while it waits leaves its place in the queue until it is admitted or pushed out.
    pub(super) async fn acquire(
        self: Rc<Self>,
        deadline: Option<Instant>,
    ) -> Result<NewestFirstPermit, NewestFirstRejection> {
        let Some((number, outcome)) = self.enqueue()? else { return Ok(NewestFirstPermit(self)) };
        let outcome = match deadline {
            None => outcome.await,
            Some(deadline) => match time::timeout_at(deadline, outcome).await {
                Ok(outcome) => outcome,
                Err(_elapsed) => {
                    self.state.borrow_mut().queue.retain(|waiter| waiter.number != number);
                    return Err(NewestFirstRejection::DeadlinePassed);
                }
            },
        };
        match outcome {
            Ok(WaitOutcome::Admitted) => Ok(NewestFirstPermit(self)),
            _ => Err(NewestFirstRejection::QueueFull),
        }
    }

    /// Takes a permit that is available and returns `None`, or else enters the queue.
    fn enqueue(&self) -> Result<Option<(u64, oneshot::Receiver<WaitOutcome>)>, NewestFirstRejection> {
        let mut state = self.state.borrow_mut();
        if let Some(rest) = state.available.checked_sub(1) {
            state.available = rest;
            return Ok(None);
        }
        if self.bound == Some(0) {
            return Err(NewestFirstRejection::QueueFull);
        }
        if self.bound.is_some_and(|bound| state.queue.len() >= bound) {
            if let Some(oldest) = state.queue.pop_front() {
                // An error means that the task of the waiter has ended.
                let _: Result<(), WaitOutcome> = oldest.outcome.send(WaitOutcome::PushedOut);
            }
        }
        let (outcome, received) = oneshot::channel();
        let number = state.next_number;
        state.next_number = number.saturating_add(1);
        state.queue.push_back(NewestFirstWaiter { number, outcome });
        Ok(Some((number, received)))
    }
}

impl Drop for NewestFirstPermit {
    fn drop(&mut self) {
        let mut state = self.0.state.borrow_mut();
        while let Some(newest) = state.queue.pop_back() {
            // A waiter whose task has ended takes no permit.
            if newest.outcome.send(WaitOutcome::Admitted).is_ok() {
                return;
            }
        }
        state.available = state.available.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::{LocalSet, spawn_local};

    use super::*;

    /// Runs requests that arrive one millisecond apart at a gate of limit 1, which is in use for the first 10 ms. Returns how the
    /// request with each number ended, in the order in which they ended.
    fn run(bound: Option<usize>, waits: &[u64]) -> Vec<(usize, Result<(), NewestFirstRejection>)> {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().unwrap();
        let ended = Rc::new(RefCell::new(Vec::new()));
        let recorded = Rc::clone(&ended);
        LocalSet::new().block_on(&runtime, async move {
            let gate = NewestFirstGate::new(1, bound);
            let held = Rc::clone(&gate).acquire(None).await.unwrap();
            let mut requests = Vec::new();
            for (number, wait) in waits.iter().copied().enumerate() {
                let (gate, recorded) = (Rc::clone(&gate), Rc::clone(&recorded));
                let deadline =
                    (wait > 0).then(|| Instant::now().checked_add(Duration::from_millis(wait)).unwrap());
                requests.push(spawn_local(async move {
                    let result = gate.acquire(deadline).await;
                    recorded.borrow_mut().push((number, result.as_ref().map(drop).map_err(|error| *error)));
                    time::sleep(Duration::from_millis(1)).await;
                }));
                time::sleep(Duration::from_millis(1)).await;
            }
            time::sleep(Duration::from_millis(10)).await;
            drop(held);
            for request in requests {
                request.await.unwrap();
            }
            assert_eq!((gate.waiting(), gate.state.borrow().available), (0, 1));
        });
        Rc::into_inner(ended).unwrap().into_inner()
    }

    /// The newest request is admitted first, and a full queue rejects its oldest request.
    #[test]
    fn newest_is_admitted_first() {
        use NewestFirstRejection::QueueFull;
        assert_eq!(run(None, &[0, 0, 0]), [(2, Ok(())), (1, Ok(())), (0, Ok(()))]);
        assert_eq!(run(Some(2), &[0, 0, 0]), [(0, Err(QueueFull)), (2, Ok(())), (1, Ok(()))]);
        assert_eq!(run(Some(0), &[0]), [(0, Err(QueueFull))]);
    }

    /// A request leaves the queue when its deadline passes.
    #[test]
    fn deadlines_apply() {
        let ended = run(None, &[5, 0, 5]);
        let expired = Err(NewestFirstRejection::DeadlinePassed);
        assert_eq!(ended, [(0, expired), (2, expired), (1, Ok(()))]);
    }
}
