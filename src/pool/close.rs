//! Closing a pool, and waiting until nothing of it is left.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use super::Pool;
use super::manager::Manager;
use super::sync::yield_point;
use super::until::until;

// The examples share their hidden lines, which are in example_setup.txt.
impl<M: Manager> Pool<M> {
    /// Closes the pool and its gate, for all users of the gate. For a key, it closes only the pool's handle and its clones. A closed
    /// pool cannot be opened again.
    ///
    /// Waiting and later checkouts are rejected. Creations are cancelled. Items in use remain usable, and are dropped when they
    /// come back. Idle items are dropped before this returns, except an item that [`retain`](Self::retain) is judging: it is dropped
    /// after that. If another thread is dropping them, this blocks until they are gone. So do not call it while holding a lock that the
    /// drop of an item takes.
    ///
    /// ```
    #[doc = include_str!("example_setup.txt")]
    /// # let pool = Pool::builder(Buffers).max(8).build().await?;
    /// pool.close();
    /// assert!(pool.checkout().await.is_err());
    /// pool.drained().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn close(&self) {
        self.shared().close(|| self.gate().close());
    }

    /// Closes the pool when the signal completes, as [`close`](Self::close) does. It does not keep the pool open.
    ///
    /// The signal runs in a task on the pool's runtime. It is dropped when the pool is closed in another way.
    ///
    /// ```
    #[doc = include_str!("example_setup.txt")]
    /// # let pool = Pool::builder(Buffers).max(8).build().await?;
    /// let (shutdown, signal) = tokio::sync::oneshot::channel::<()>();
    /// pool.close_on(signal);
    /// drop(shutdown);
    /// while !pool.is_closed() {
    ///     tokio::task::yield_now().await;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn close_on<F: Future + Send + 'static>(&self, signal: F) {
        let weak = self.downgrade();
        let shared = Arc::clone(self.shared());
        self.shared().runtime.spawn(async move {
            // Enabled before the pool is asked whether it is closed, so that no notification is lost in between.
            let mut closing = pin!(shared.closing.notified());
            closing.as_mut().enable();
            if shared.lock().is_closed() {
                return;
            }
            let is_signalled = until(pin!(signal), closing).await.is_some();
            if let Some(pool) = weak.upgrade().filter(|_| is_signalled) {
                pool.close();
            }
        });
    }

    /// Returns whether the pool or its gate has been [closed](Self::close).
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.gate().is_closed() || self.shared().lock().is_closed()
    }

    /// Waits until no item is left, whether idle, in use, being created or being dropped, and no checkout waits for one.
    ///
    /// Close the pool first, because an open pool may keep idle items. If the pool created its gate
    /// ([`max`](super::PoolBuilder::max)), this also waits until all permits of the gate are returned. For a gate that has
    /// other users, use [`Gate::drained`](crate::Gate::drained).
    ///
    /// ```
    #[doc = include_str!("example_setup.txt")]
    /// # let pool = Pool::builder(Buffers).max(8).build().await?;
    /// let buffer = pool.checkout().await?;
    /// let task = tokio::spawn(async move { buffer.len() });
    /// pool.close();
    /// pool.drained().await; // the task has returned its buffer
    /// # task.await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub async fn drained(&self) {
        let shared = self.shared();
        loop {
            // Created before the check, so that a notification between the check and the wait is not lost.
            let notified = shared.drained.notified();
            if shared.lock().is_drained() {
                break;
            }
            yield_point();
            notified.await;
        }
        if shared.owns_gate {
            shared.gate.drained().await;
        }
    }
}
