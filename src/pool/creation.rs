//! The task that creates one item.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;

use super::create_error::{CreateError, FailedCreation};
use super::effects::CreateAttempt;
use super::event::PoolEvent;
use super::manager::{FailureVerdict, Manager};
use super::shared::PoolShared;
use super::state::elapsed;
use super::sync::with_deadline;
use super::until::until;
use crate::catch_panic::{catch_panic, catch_panic_async};
use crate::gate::clock;
use crate::jitter::scattered;

/// A task that creates one item. Its drop reports a failure if the task ends without an outcome.
pub(super) struct CreationTask<M: Manager> {
    shared: Arc<PoolShared<M>>,
    attempt: CreateAttempt,
    /// Whether the manager's future is being polled, or is dropped after that. If the task is dropped meanwhile, the future has panicked.
    is_running: bool,
    is_over: bool,
}

impl<M: Manager> CreationTask<M> {
    pub(super) fn new(shared: &Arc<PoolShared<M>>, attempt: CreateAttempt) -> Self {
        Self { shared: Arc::clone(shared), attempt, is_running: false, is_over: false }
    }

    pub(super) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        // Enabled before the state is asked whether the pool is closed, so that no notification is lost in between.
        let mut closing = pin!(shared.closing.notified());
        closing.as_mut().enable();
        if !shared
            .apply(|state, effects| state.begin_attempt(self.attempt, shared.gate.item_limit(), effects))
        {
            self.is_over = true;
            return;
        }
        let began = clock::now();
        // The manager's future is dropped at the end of this block, before the outcome is reported.
        let outcome = {
            let mut creating = pin!(create_item(&shared, began));
            let mut outcome = pin!(until(creating.as_mut(), closing));
            poll_fn(|cx| {
                self.is_running = true;
                let polled = outcome.as_mut().poll(cx);
                self.is_running = polled.is_ready();
                polled
            })
            .await
        };
        self.is_over = true;
        match outcome {
            Some(outcome) => self.report(outcome, began),
            None => shared.apply(|state, effects| state.cancel_attempt(self.attempt, effects)),
        }
    }

    fn report(&self, outcome: Result<M::Item, FailedCreation>, began: i64) {
        let Self { shared, attempt, .. } = self;
        let now = clock::now();
        shared.apply(|state, effects| {
            let limit = shared.gate.item_limit();
            match outcome {
                Ok(item) => {
                    let record = shared.new_record(item, now);
                    state.finish_attempt(*attempt, record, elapsed(began, now), now, limit, effects);
                }
                Err(failed) => {
                    state.fail_attempt(*attempt, &failed, now, limit, scattered, effects);
                    // Observers see the failure before the backoff that follows from it.
                    let gate = shared.gate.name();
                    let event = PoolEvent::CreateFailed { gate, error: Arc::new(failed.error) };
                    effects.events.insert(0, event);
                }
            }
        });
    }
}

impl<M: Manager> Drop for CreationTask<M> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let gate = self.shared.gate.name();
        let error = if self.is_running {
            CreateError::Panicked { gate, message: Arc::from("the future panicked when it was dropped") }
        } else {
            CreateError::Abandoned { gate } // only a runtime that shuts down drops a task that has not ended
        };
        let now = clock::now();
        self.report(Err(FailedCreation { error, verdict: FailureVerdict::Retry }), now);
    }
}

async fn create_item<M: Manager>(shared: &PoolShared<M>, began: i64) -> Result<M::Item, FailedCreation> {
    let (gate, after) = (shared.gate.name(), shared.create_timeout);
    // The async block calls `create` at its first poll, so that a panic before there is a future is caught, too. The
    // error is converted inside, because that is code of the user as well.
    let creating = catch_panic_async(async {
        let error = match shared.manager.create().await {
            Ok(item) => return Ok(item),
            Err(error) => error,
        };
        let verdict = catch_panic(|| shared.manager.judge_failure(&error));
        let error = CreateError::Failed { gate, error: Arc::from(error.into()) };
        Err(FailedCreation { error, verdict: verdict.unwrap_or(FailureVerdict::Retry) })
    });
    let error = match with_deadline(clock::add(began, after), creating).await {
        Some(Ok(outcome)) => return outcome,
        Some(Err(message)) => CreateError::Panicked { gate, message },
        None => CreateError::TimedOut { gate, after },
    };
    Err(FailedCreation { error, verdict: FailureVerdict::Retry })
}
