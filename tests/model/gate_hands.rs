//! What the model holds a gate with: bytes to decide by, futures to poll, permits, and wakers that keep a log.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use concurrency_governor::gate::{Acquire, AcquireError, AcquireOwned, OwnedPermit, Permit};

pub(super) enum Asking<'g> {
    Borrowed(Acquire<'g>),
    Owned(AcquireOwned<'g>),
}

impl<'g> Asking<'g> {
    pub(super) fn poll(&mut self, flag: &Arc<Flag>) -> Poll<Result<Held<'g>, AcquireError>> {
        match self {
            Self::Borrowed(future) => poll_with(future, flag).map_ok(Held::Borrowed),
            Self::Owned(future) => poll_with(future, flag).map_ok(Held::Owned),
        }
    }
}

#[derive(Debug)]
pub(super) enum Held<'g> {
    Borrowed(Permit<'g>),
    Owned(OwnedPermit),
}

impl Held<'_> {
    pub(super) fn weight(&self) -> u32 {
        match self {
            Self::Borrowed(permit) => permit.weight(),
            Self::Owned(permit) => permit.weight(),
        }
    }
}

/// The wakers woken since it was last read, in order.
#[derive(Default)]
pub(super) struct Log(Mutex<Vec<usize>>);

impl Log {
    pub(super) fn take(&self) -> Vec<usize> {
        mem::take(&mut *self.0.lock().unwrap())
    }
}

/// A waker that writes down that it was woken.
pub(super) struct Flag {
    pub(super) serial: usize,
    log: Arc<Log>,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.log.0.lock().unwrap().push(self.serial);
    }
}

pub(super) fn new_flag(wakers: &mut usize, log: &Arc<Log>) -> Arc<Flag> {
    *wakers += 1;
    Arc::new(Flag { serial: *wakers, log: Arc::clone(log) })
}

pub(super) fn poll_with<F: Future + Unpin>(future: &mut F, flag: &Arc<Flag>) -> Poll<F::Output> {
    let waker = Waker::from(Arc::clone(flag));
    Pin::new(future).poll(&mut Context::from_waker(&waker))
}

/// The bytes as decisions; out of bytes, every decision is 0.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl Input<'_> {
    pub(super) fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn below(&mut self, end: u32) -> u32 {
        u32::from(self.next().unwrap_or(0)) % end
    }

    pub(super) fn pick(&mut self, len: usize) -> Option<usize> {
        (len > 0).then(|| usize::from(self.next().unwrap_or(0)) % len)
    }
}
