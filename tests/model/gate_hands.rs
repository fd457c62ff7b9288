//! What the model holds a gate with: bytes to decide by, places for futures, permits, and wakers that keep a log.
//! Nothing here allocates once it is made.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};

use concurrency_governor::gate::{Acquire, AcquireError, AcquireOwned, OwnedPermit, Permit};

/// A place for a future that is pinned, used again and again.
pub(super) struct Pinned<F>(Pin<Box<Option<F>>>);

impl<F: Future> Pinned<F> {
    pub(super) fn new() -> Self {
        Self(Box::pin(None))
    }

    pub(super) fn put(&mut self, future: F) {
        self.0.set(Some(future));
    }

    /// Drops the future where it stands.
    pub(super) fn clear(&mut self) {
        self.0.set(None);
    }

    /// Polls the future; drops it once it has resolved.
    pub(super) fn poll(&mut self, bell: &Bell) -> Poll<F::Output> {
        let future = self.0.as_mut().as_pin_mut().expect("there is a future");
        let answer = future.poll(&mut Context::from_waker(&bell.waker));
        if answer.is_ready() {
            self.clear();
        }
        answer
    }
}

/// A place for a request, of either kind.
pub(super) struct Asking<'g> {
    borrowed: Pinned<Acquire<'g>>,
    owned: Pinned<AcquireOwned<'g>>,
    is_owned: bool,
}

impl<'g> Asking<'g> {
    pub(super) fn new() -> Self {
        Self { borrowed: Pinned::new(), owned: Pinned::new(), is_owned: false }
    }

    pub(super) fn put(&mut self, future: Acquire<'g>) {
        self.is_owned = false;
        self.borrowed.put(future);
    }

    pub(super) fn put_owned(&mut self, future: AcquireOwned<'g>) {
        self.is_owned = true;
        self.owned.put(future);
    }

    pub(super) fn clear(&mut self) {
        if self.is_owned { self.owned.clear() } else { self.borrowed.clear() }
    }

    pub(super) fn poll(&mut self, bell: &Bell) -> Poll<Result<Held<'g>, AcquireError>> {
        if self.is_owned {
            self.owned.poll(bell).map_ok(Held::Owned)
        } else {
            self.borrowed.poll(bell).map_ok(Held::Borrowed)
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

/// A waker that writes down that it was woken.
pub(super) struct Bell {
    serial: u8,
    ring: Arc<Ring>,
    waker: Waker,
}

impl Bell {
    pub(super) fn new(serial: u8, log: &Arc<Log>) -> Self {
        let ring = Arc::new(Ring { serial, log: Arc::clone(log) });
        Self { serial, waker: Waker::from(Arc::clone(&ring)), ring }
    }

    pub(super) const fn serial(&self) -> u8 {
        self.serial
    }

    /// How many clones of it are kept.
    pub(super) fn kept(&self) -> usize {
        Arc::strong_count(&self.ring) - 2 // this one's own, and its waker's
    }
}

struct Ring {
    serial: u8,
    log: Arc<Log>,
}

impl Wake for Ring {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.log.write(self.serial);
    }
}

/// Who was woken since it was last cleared, in order. All on one thread; a `Waker` asks for more.
pub(super) struct Log {
    written: AtomicUsize,
    serials: [AtomicU8; CAPACITY],
}

/// Far more than there are wakers: whoever is woken without end shows as a difference.
const CAPACITY: usize = 64;

impl Log {
    pub(super) fn new() -> Self {
        Self { written: AtomicUsize::new(0), serials: std::array::from_fn(|_| AtomicU8::new(0)) }
    }

    fn write(&self, serial: u8) {
        let written = self.written.load(Relaxed);
        if let Some(place) = self.serials.get(written) {
            place.store(serial, Relaxed);
            self.written.store(written + 1, Relaxed);
        }
    }

    pub(super) fn read(&self) -> impl Iterator<Item = u8> + '_ {
        self.serials[..self.written.load(Relaxed)].iter().map(|serial| serial.load(Relaxed))
    }

    pub(super) fn clear(&self) {
        self.written.store(0, Relaxed);
    }
}

/// The bytes as decisions; out of bytes, every decision is 0.
pub(super) struct Input<'a> {
    bytes: &'a [u8],
    total: usize,
}

impl<'a> Input<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, total: bytes.len() }
    }

    pub(super) fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    pub(super) fn below(&mut self, end: u32) -> u32 {
        u32::from(self.next().unwrap_or(0)) % end
    }

    /// One of the set bits, counted from the lowest.
    pub(super) fn pick(&mut self, mut bits: u32) -> Option<usize> {
        if bits == 0 {
            return None;
        }
        for _ in 0..self.below(bits.count_ones()) {
            bits &= bits - 1;
        }
        Some(bits.trailing_zeros() as usize)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether an eighth is left at most.
    pub(super) const fn is_almost_empty(&self) -> bool {
        self.bytes.len() * 8 <= self.total
    }
}
