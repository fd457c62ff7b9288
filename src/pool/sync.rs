//! What a pool synchronises with and what runs its tasks, in one place, so that a scheduler of random orders can put its
//! own in.

pub(super) use imp::{Mutex, MutexGuard, Runtime, Task, meanwhile, until};

#[cfg(not(gate_shuttle))]
mod imp {
    use std::future::Future;
    pub(in crate::pool) use std::sync::{Mutex, MutexGuard};
    use std::time::Duration;

    use tokio::runtime::Handle;
    use tokio::task::AbortHandle;
    use tokio::time::{sleep, timeout_at};

    use crate::gate::clock;

    /// Where a pool's tasks run.
    #[derive(Debug)]
    pub(in crate::pool) struct Runtime(Handle);

    impl Runtime {
        /// The one that this thread runs tasks of.
        ///
        /// # Panics
        ///
        /// If it has no timer.
        pub(in crate::pool) fn current() -> Option<Self> {
            let runtime = Handle::try_current().ok()?;
            drop(sleep(Duration::ZERO));
            Some(Self(runtime))
        }

        pub(in crate::pool) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Task {
            Task(self.0.spawn(task).abort_handle())
        }
    }

    #[derive(Debug)]
    pub(in crate::pool) struct Task(AbortHandle);

    impl Task {
        pub(in crate::pool) fn abort(&self) {
            self.0.abort();
        }
    }

    /// Where others may do anything, between two steps.
    #[inline]
    pub(in crate::pool) const fn meanwhile() {}

    /// What the future resolves to, if it does by then.
    pub(in crate::pool) async fn until<F: Future>(due: i64, future: F) -> Option<F::Output> {
        // What never comes needs no timer, and so no runtime.
        match clock::instant(due).filter(|_| due != clock::NEVER) {
            Some(due) => timeout_at(due, future).await.ok(),
            None => Some(future.await),
        }
    }
}

/// Time stands still here, and no timer goes off.
#[cfg(gate_shuttle)]
mod imp {
    use std::future::Future;

    use shuttle::future::{JoinHandle, spawn};
    pub(in crate::pool) use shuttle::sync::{Mutex, MutexGuard};

    #[derive(Debug)]
    pub(in crate::pool) struct Runtime;

    impl Runtime {
        #[expect(clippy::unnecessary_wraps, reason = "as the other one has it")]
        pub(in crate::pool) fn current() -> Option<Self> {
            Some(Self)
        }

        #[expect(clippy::unused_self, reason = "as the other one has it")]
        pub(in crate::pool) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Task {
            Task(spawn(task))
        }
    }

    #[derive(Debug)]
    pub(in crate::pool) struct Task(JoinHandle<()>);

    impl Task {
        pub(in crate::pool) fn abort(&self) {
            self.0.abort();
        }
    }

    pub(in crate::pool) fn meanwhile() {
        shuttle::thread::yield_now();
    }

    pub(in crate::pool) async fn until<F: Future>(_: i64, future: F) -> Option<F::Output> {
        Some(future.await)
    }
}
