//! The user's side of a pool: how to create an item, and whether it may be used again.

use std::error::Error;
use std::future::{Future, ready};

/// Creates the items of a [`Pool`](super::Pool), and decides whether an item may be used again.
///
/// The pool calls no method while it holds a lock, so every method may use the pool itself.
///
/// ```
/// use std::convert::Infallible;
/// use concurrency_governor::pool::{Manager, Verdict};
///
/// /// Buffers of 64 KiB.
/// struct Buffers;
///
/// impl Manager for Buffers {
///     type Item = Vec<u8>;
///     type Error = Infallible;
///
///     async fn create(&self) -> Result<Vec<u8>, Infallible> {
///         Ok(Vec::with_capacity(64 << 10))
///     }
///
///     fn recycle(&self, buffer: &mut Vec<u8>) -> Verdict {
///         buffer.clear();
///         if buffer.capacity() > 1 << 20 { Verdict::Discard } else { Verdict::Keep }
///     }
/// }
/// ```
pub trait Manager: Send + Sync + 'static {
    /// The type of the pooled items.
    ///
    /// An item is dropped on the thread that finds it unfit: for example the thread that drops a
    /// [`PooledItem`](super::PooledItem), calls [`resize`](super::Pool::resize), or runs the pool's maintenance task. The
    /// item counts against the limit until its drop returns, so a slow drop delays that thread and the next waiter. A panic
    /// of the drop is caught.
    type Item: Send + 'static;

    /// The error of a failed creation: an error type, `anyhow::Error`, a boxed error, or a text.
    type Error: Into<Box<dyn Error + Send + Sync>> + Send + 'static;

    /// Creates an item.
    ///
    /// It runs in a task of its own, on the runtime that the pool was built on. If the checkout that needed the item is
    /// dropped, the creation goes on and another checkout gets the item. After the pool's
    /// [`create_timeout`](super::PoolBuilder::create_timeout), and when the pool is closed, the future is dropped, which cannot
    /// stop a future that blocks its thread. A panic counts as a failure.
    fn create(&self) -> impl Future<Output = Result<Self::Item, Self::Error>> + Send;

    /// Prepares a returned item for its next use, or rejects it. The default keeps every item.
    ///
    /// It runs on the thread that drops the [`PooledItem`](super::PooledItem), so it must not block. A panic discards the
    /// item.
    fn recycle(&self, item: &mut Self::Item) -> Verdict {
        let _ = item;
        Verdict::Keep
    }

    /// Decides whether an item that was in use during a panic may be used again. The default discards it.
    ///
    /// Keep an item only if the interrupted work cannot have changed it. An item between
    /// [`begin`](super::PooledItem::begin) and [`complete`](super::PooledItem::complete) is discarded in any case, and an item
    /// that is kept is [recycled](Self::recycle) next. It runs while the thread unwinds. A panic discards the item.
    fn after_panic(&self, item: &mut Self::Item) -> Verdict {
        let _ = item;
        Verdict::Discard
    }

    /// Decides whether creating an item may succeed later, after [`create`](Self::create) returned an error. The default is
    /// to try again after a delay.
    ///
    /// A panic counts as [`FailureVerdict::Retry`].
    fn judge_failure(&self, error: &Self::Error) -> FailureVerdict {
        let _ = error;
        FailureVerdict::Retry
    }

    /// Checks whether an idle item still works, before it is handed out again. The default keeps every item and costs
    /// nothing.
    ///
    /// It runs inside [`checkout`](super::Pool::checkout). It must end before that checkout's deadline and within the pool's
    /// [`check_timeout`](super::PoolBuilder::check_timeout), whichever is earlier. An item is discarded if its check takes
    /// too long, panics, or is dropped before it ends, because the state of the item is then unknown. A panic propagates to
    /// the caller of `checkout`.
    ///
    /// If a check exceeds the `check_timeout`, the items that have been idle for longer than this one are discarded, too. So only one
    /// checkout waits for such a check, and not each checkout for a check of its own.
    fn health(&self, item: &mut Self::Item) -> impl Future<Output = Verdict> + Send {
        let _ = item;
        ready(Verdict::Keep)
    }
}

/// The decision whether an item may be used again. Closed: there is no third decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The item may be used again.
    Keep,
    /// The item is dropped.
    Discard,
}

/// The decision whether creating an item may succeed later. Closed: there is no third decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureVerdict {
    /// Creation is tried again after a delay.
    Retry,
    /// The failure will not disappear by itself, such as a rejected password. The pool makes no further attempt before
    /// [`Pool::retry_now`](super::Pool::retry_now), or before an attempt that is running succeeds. Until then, checkouts that need
    /// a new item fail at once with this error. Items that exist are still handed out and taken back.
    GiveUp,
}
