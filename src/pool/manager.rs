//! What a pool asks of its user: how to make an item, and whether one may be used again.

use std::error::Error;
use std::future::{Future, ready};

/// Makes the items of a [`Pool`](super::Pool), and judges them.
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
///
/// None of its methods is called while a lock is held, so each may use the pool it works for.
pub trait Manager: Send + Sync + 'static {
    /// What is pooled. It is dropped by whoever finds that it has to go: a lease, the pool's keeper, a
    /// [`resize`](super::Pool::resize). Its place is not filled again before its drop is over, so one that takes long
    /// holds up the thread it happens in and whoever waits for that place. A drop that panics is caught.
    type Item: Send + 'static;

    /// Why there is no item.
    type Error: Error + Send + Sync + 'static;

    /// Makes an item.
    ///
    /// It runs in a task of its own, on the runtime that the pool was built on: whoever waits for the item may give up,
    /// and the item is then another's. It is dropped where it stands after the pool's
    /// [`create_timeout`](super::PoolBuilder::create_timeout), which cannot stop one that blocks its thread. A panic
    /// counts as a failure.
    fn create(&self) -> impl Future<Output = Result<Self::Item, Self::Error>> + Send;

    /// Makes an item that comes back fit for the next, or says that it is not; keeps each unless written otherwise.
    ///
    /// It runs when the lease is dropped, in that thread, and so must not block. A panic discards the item.
    fn recycle(&self, item: &mut Self::Item) -> Verdict {
        let _ = item;
        Verdict::Keep
    }

    /// Whether an item that was used before is still fit, asked before it is handed out again; yes unless written
    /// otherwise, which costs nothing.
    ///
    /// It runs inside [`checkout`](super::Pool::checkout), and has until the earlier of that checkout's deadline and the
    /// pool's [`create_timeout`](super::PoolBuilder::create_timeout). An item whose check runs late, panics or is dropped
    /// midway is discarded: nobody knows what state that left it in. A panic goes on in whoever checks out.
    fn health(&self, item: &mut Self::Item) -> impl Future<Output = Verdict> + Send {
        let _ = item;
        ready(Verdict::Keep)
    }
}

/// Whether an item is used again. There is no third way, so this enum is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Keep,
    /// It is dropped.
    Discard,
}
