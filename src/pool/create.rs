//! Making an item, in a task of its own.

use std::sync::Arc;
use std::thread;

use super::caught::caught_async;
use super::effects::Attempt;
use super::shared::Shared;
use super::sync::until;
use super::{CreateError, Manager};
use crate::gate::clock;

/// An item being made. The books are told what came of it, whatever that is: its drop sees to that.
pub(super) struct Creation<M: Manager> {
    shared: Arc<Shared<M>>,
    pub(super) attempt: Attempt,
    pub(super) began: i64,
    is_over: bool,
}

impl<M: Manager> Creation<M> {
    pub(super) fn new(shared: Arc<Shared<M>>, attempt: Attempt) -> Self {
        Self { shared, attempt, began: clock::now(), is_over: false }
    }

    pub(super) async fn run(mut self) {
        if !self.shared.begins(self.attempt) {
            self.is_over = true;
            return;
        }
        let outcome = self.outcome().await; // the manager's future is gone by then, and all that it held
        self.is_over = true;
        self.shared.created(&self, outcome);
    }

    async fn outcome(&self) -> Result<M::Item, CreateError<M::Error>> {
        let (manager, gate, after) =
            (&self.shared.manager, self.shared.gate.name(), self.shared.create_timeout);
        // In a block of its own, since a manager may panic before there is a future.
        let creating = caught_async(async { manager.create().await });
        match until(clock::after(self.began, after), creating).await {
            Some(Ok(Ok(item))) => Ok(item),
            Some(Ok(Err(error))) => Err(CreateError::Failed { gate, error: Arc::new(error) }),
            Some(Err(message)) => Err(CreateError::Panicked { gate, message }),
            None => Err(CreateError::TimedOut { gate, after }),
        }
    }
}

impl<M: Manager> Drop for Creation<M> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let gate = self.shared.gate.name();
        let error = if thread::panicking() {
            CreateError::Panicked { gate, message: Arc::from("the future panicked when it was dropped") }
        } else {
            CreateError::Abandoned { gate } // only its runtime drops it before it is over
        };
        self.shared.created(self, Err(error));
    }
}
