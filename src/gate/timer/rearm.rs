//! Setting a timer, which calls tokio and so must not happen under the lock of the gate.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

use tokio::task::unconstrained;
use tokio::time::{Sleep, sleep_until};

use super::id::{RuntimeId, TimerId};
use crate::gate::clock;

/// A timer setting that the caller must carry out. Other requests rely on the timer, so a caller that fails to set it must report it as
/// lost.
#[must_use = "other requests rely on the timer being set"]
pub(in crate::gate) struct Rearm {
    timer: TimerId,
    runtime: RuntimeId,
    deadline: i64,
    waker: Waker,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Rearm {
    pub(super) const fn new(
        timer: TimerId,
        runtime: RuntimeId,
        deadline: i64,
        waker: Waker,
        sleep: Option<Pin<Box<Sleep>>>,
    ) -> Self {
        Self { timer, runtime, deadline, waker, sleep }
    }

    pub(in crate::gate) const fn timer(&self) -> TimerId {
        self.timer
    }

    /// Returns `true` if the timer still belongs to this runtime and is still to be set for this instant.
    pub(super) fn is_current(&self, runtime: RuntimeId, armed_for: i64) -> bool {
        self.runtime == runtime && self.deadline == armed_for
    }

    pub(in crate::gate) fn into_sleep(self) -> Option<Pin<Box<Sleep>>> {
        self.sleep
    }

    /// Sets the timer.
    ///
    /// # Panics
    ///
    /// If the timer must be created and the thread is in no tokio runtime with its timer enabled.
    pub(in crate::gate) fn set(&mut self) {
        let Some(instant) = clock::to_instant(self.deadline) else { return };
        let sleep = match &mut self.sleep {
            Some(sleep) => {
                sleep.as_mut().reset(instant);
                sleep
            }
            none => none.insert(Box::pin(sleep_until(instant))),
        };
        // An elapsed timer needs no waker, and polling one whose runtime is gone would panic.
        if !sleep.is_elapsed() {
            // The poll registers the waker. It is not work of the current task, so it must not use up the task's budget.
            let mut sleep = unconstrained(sleep.as_mut());
            let _elapsed = Pin::new(&mut sleep).poll(&mut Context::from_waker(&self.waker));
        }
    }
}
