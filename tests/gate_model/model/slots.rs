//! Slots for pinned futures, and permits of either kind. A slot is reused without a new allocation.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use concurrency_governor::gate::{Acquire, AcquireError, AcquireOwned, OwnedPermit, Permit};

/// A slot for one pinned future.
pub(super) struct FutureSlot<F>(Pin<Box<Option<F>>>);

impl<F: Future> FutureSlot<F> {
    pub(super) fn new() -> Self {
        Self(Box::pin(None))
    }

    pub(super) fn put(&mut self, future: F) {
        self.0.set(Some(future));
    }

    /// Drops the future in place.
    pub(super) fn clear(&mut self) {
        self.0.set(None);
    }

    /// Polls the future. Drops it if it resolves.
    pub(super) fn poll(&mut self, waker: &Waker) -> Poll<F::Output> {
        let future = self.0.as_mut().as_pin_mut().expect("the slot holds a future");
        let result = future.poll(&mut Context::from_waker(waker));
        if result.is_ready() {
            self.clear();
        }
        result
    }
}

/// A slot for the future of one request, which borrows the gate or owns a handle.
pub(super) struct AcquireSlot<'g> {
    borrowed: FutureSlot<Acquire<'g>>,
    owned: FutureSlot<AcquireOwned>,
    is_owned: bool,
}

impl<'g> AcquireSlot<'g> {
    pub(super) fn new() -> Self {
        Self { borrowed: FutureSlot::new(), owned: FutureSlot::new(), is_owned: false }
    }

    pub(super) fn put(&mut self, future: Acquire<'g>) {
        self.is_owned = false;
        self.borrowed.put(future);
    }

    pub(super) fn put_owned(&mut self, future: AcquireOwned) {
        self.is_owned = true;
        self.owned.put(future);
    }

    pub(super) fn clear(&mut self) {
        if self.is_owned { self.owned.clear() } else { self.borrowed.clear() }
    }

    pub(super) fn poll(&mut self, waker: &Waker) -> Poll<Result<AnyPermit<'g>, AcquireError>> {
        if self.is_owned {
            self.owned.poll(waker).map_ok(AnyPermit::Owned)
        } else {
            self.borrowed.poll(waker).map_ok(AnyPermit::Borrowed)
        }
    }
}

/// A permit that borrows the gate, or an owned permit.
#[derive(Debug)]
pub(super) enum AnyPermit<'g> {
    Borrowed(Permit<'g>),
    Owned(OwnedPermit),
}

impl AnyPermit<'_> {
    pub(super) fn weight(&self) -> u32 {
        match self {
            Self::Borrowed(permit) => permit.weight(),
            Self::Owned(permit) => permit.weight(),
        }
    }
}
