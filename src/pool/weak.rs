//! A handle that does not keep a pool open.

use std::fmt;
use std::sync::{Arc, Weak};

use super::manager::Manager;
use super::{Pool, PoolCore};

impl<M: Manager> Pool<M> {
    /// Returns a handle that does not keep the pool open.
    #[must_use]
    pub fn downgrade(&self) -> WeakPool<M> {
        WeakPool { core: Arc::downgrade(&self.core) }
    }
}

/// A handle of a pool that does not keep it open, from [`Pool::downgrade`].
///
/// Use it where a handle would keep the pool open for ever: in the pool's manager, in its items, or in a background task.
pub struct WeakPool<M: Manager> {
    core: Weak<PoolCore<M>>,
}

impl<M: Manager> WeakPool<M> {
    /// Returns a handle of the pool, or `None` if its last handle has been dropped. A closed pool is returned, too.
    #[must_use]
    pub fn upgrade(&self) -> Option<Pool<M>> {
        self.core.upgrade().map(|core| Pool { core })
    }
}

impl<M: Manager> Clone for WeakPool<M> {
    fn clone(&self) -> Self {
        Self { core: Weak::clone(&self.core) }
    }
}

impl<M: Manager> fmt::Debug for WeakPool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakPool").finish_non_exhaustive()
    }
}
