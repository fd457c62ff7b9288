//! The lock, the tasks and the timers of a pool, in one place, so that the shuttle scheduler can replace them in tests.

pub(super) use imp::{
    AtomicU64, Condvar, Mutex, MutexGuard, Ordering, PoolRuntime, PoolTask, ThreadId, current_thread_id,
    has_timer, with_deadline, yield_point,
};

#[cfg(not(gate_shuttle))]
mod imp {
    use std::future::Future;
    use std::panic;
    pub(in crate::pool) use std::sync::atomic::{AtomicU64, Ordering};
    pub(in crate::pool) use std::sync::{Condvar, Mutex, MutexGuard};
    use std::thread;
    pub(in crate::pool) use std::thread::ThreadId;
    use std::time::Duration;

    use tokio::runtime::Handle;
    use tokio::task::AbortHandle;
    use tokio::time::{sleep, timeout_at};

    use crate::gate::clock;

    /// The runtime that runs a pool's tasks.
    #[derive(Debug)]
    pub(in crate::pool) struct PoolRuntime(Handle);

    impl PoolRuntime {
        /// Returns the runtime of the current context, if there is one.
        ///
        /// # Panics
        ///
        /// If the runtime has no timer.
        pub(in crate::pool) fn current() -> Option<Self> {
            let runtime = Handle::try_current().ok()?;
            drop(sleep(Duration::ZERO)); // panics without a timer: here, rather than at the first failure
            Some(Self(runtime))
        }

        pub(in crate::pool) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> PoolTask {
            PoolTask(self.0.spawn(task).abort_handle())
        }
    }

    #[derive(Debug)]
    pub(in crate::pool) struct PoolTask(AbortHandle);

    impl PoolTask {
        pub(in crate::pool) fn abort(&self) {
            self.0.abort();
        }
    }

    pub(in crate::pool) fn current_thread_id() -> ThreadId {
        thread::current().id()
    }

    /// Returns whether a timer can be set here. Without one, a wait cannot be bounded.
    ///
    /// Within a runtime, the only way to find out is to set a timer, which panics without one. The panic hook reports that. If the program
    /// aborts on panic, this returns `false`.
    pub(in crate::pool) fn has_timer() -> bool {
        if cfg!(panic = "abort") || Handle::try_current().is_err() {
            return false;
        }
        panic::catch_unwind(|| drop(sleep(Duration::ZERO))).is_ok()
    }

    /// Marks a point between two steps at which the shuttle scheduler may run other threads. Does nothing here.
    #[inline]
    pub(in crate::pool) const fn yield_point() {}

    /// Awaits the future until the deadline. Returns `None` if the deadline passes first.
    pub(in crate::pool) async fn with_deadline<F: Future>(deadline: i64, future: F) -> Option<F::Output> {
        // A deadline that never comes needs no timer, and so no runtime.
        match clock::to_instant(deadline).filter(|_| deadline != clock::NEVER) {
            Some(deadline) => timeout_at(deadline, future).await.ok(),
            None => Some(future.await),
        }
    }
}

/// Under shuttle, time stands still and no deadline passes.
#[cfg(gate_shuttle)]
mod imp {
    use std::future::Future;

    use shuttle::future::{JoinHandle, spawn};
    pub(in crate::pool) use shuttle::sync::atomic::{AtomicU64, Ordering};
    pub(in crate::pool) use shuttle::sync::{Condvar, Mutex, MutexGuard};
    use shuttle::thread;
    pub(in crate::pool) use shuttle::thread::ThreadId;

    #[derive(Debug)]
    pub(in crate::pool) struct PoolRuntime;

    impl PoolRuntime {
        #[expect(clippy::unnecessary_wraps, reason = "the signature of the tokio variant")]
        pub(in crate::pool) fn current() -> Option<Self> {
            Some(Self)
        }

        #[expect(clippy::unused_self, reason = "the signature of the tokio variant")]
        pub(in crate::pool) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> PoolTask {
            PoolTask(spawn(task))
        }
    }

    #[derive(Debug)]
    pub(in crate::pool) struct PoolTask(JoinHandle<()>);

    impl PoolTask {
        pub(in crate::pool) fn abort(&self) {
            self.0.abort();
        }
    }

    pub(in crate::pool) fn current_thread_id() -> ThreadId {
        thread::current().id()
    }

    pub(in crate::pool) const fn has_timer() -> bool {
        false
    }

    pub(in crate::pool) fn yield_point() {
        thread::yield_now();
    }

    pub(in crate::pool) async fn with_deadline<F: Future>(_: i64, future: F) -> Option<F::Output> {
        Some(future.await)
    }
}
