//! The semaphores that the gate is compared with, each used through its public API as a user would use it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use concurrency_governor::{Gate, GateName, Limit, gate};
use futures_intrusive::sync as intrusive;
use tower::limit::ConcurrencyLimit;
use tower::{Service, service_fn};

/// A semaphore.
pub trait Peer: Send + Sync + 'static {
    const NAME: &'static str;
    type Permit<'a>: Send;
    /// The output of the semaphore's own future.
    type Outcome<'a>: Send;

    fn new(permits: u32) -> Self;
    fn try_acquire(&self) -> Option<Self::Permit<'_>>;
    fn acquire(&self) -> impl Future<Output = Self::Outcome<'_>> + Send;
    fn permit(outcome: Self::Outcome<'_>) -> Self::Permit<'_>;
}

/// A semaphore whose requests have a weight.
pub trait Weighted: Peer {
    fn acquire_many(&self, weight: u32) -> impl Future<Output = Self::Outcome<'_>> + Send;
}

/// A semaphore whose permits borrow nothing.
pub trait Owned: Send + Sync + 'static {
    const NAME: &'static str;
    type Permit: Send + 'static;
    type Outcome: Send;

    fn new(permits: u32) -> Self;
    fn acquire(&self) -> impl Future<Output = Self::Outcome> + Send;
    fn permit(outcome: Self::Outcome) -> Self::Permit;
}

/// A semaphore whose requests have a deadline: by its own API, or by tokio's `timeout` around the future.
pub trait WithDeadline: Peer {
    type TimedOutcome<'a>: Send;
    fn acquire_with_deadline(&self, wait: Duration) -> impl Future<Output = Self::TimedOutcome<'_>> + Send;
    fn permit_in_time(outcome: Self::TimedOutcome<'_>) -> Option<Self::Permit<'_>>;
}

/// A semaphore whose number of permits changes while it is in use.
pub trait Resizable: Peer {
    fn grow(&self, from: u32, by: u32);
    fn shrink(&self, from: u32, by: u32);
}

const BENCH: GateName = GateName::new("bench");

impl Peer for Gate {
    const NAME: &'static str = "gate";
    type Permit<'a> = gate::Permit<'a>;
    type Outcome<'a> = Result<gate::Permit<'a>, gate::AcquireError>;

    fn new(permits: u32) -> Self {
        Gate::new(BENCH, Limit::new(permits))
    }
    #[inline]
    fn try_acquire(&self) -> Option<Self::Permit<'_>> {
        Gate::try_acquire(self).ok()
    }
    #[inline]
    fn acquire(&self) -> impl Future<Output = Self::Outcome<'_>> + Send {
        Gate::acquire(self)
    }
    #[inline]
    fn permit(outcome: Self::Outcome<'_>) -> Self::Permit<'_> {
        outcome.expect("the semaphore is open")
    }
}

/// A gate that does not measure wait times.
pub struct Unmeasured(Gate);

impl Peer for Unmeasured {
    const NAME: &'static str = "gate";
    type Permit<'a> = gate::Permit<'a>;
    type Outcome<'a> = Result<gate::Permit<'a>, gate::AcquireError>;

    fn new(permits: u32) -> Self {
        Self(Gate::builder(BENCH, Limit::new(permits)).measure_waits(false).build())
    }
    #[inline]
    fn try_acquire(&self) -> Option<Self::Permit<'_>> {
        self.0.try_acquire().ok()
    }
    #[inline]
    fn acquire(&self) -> impl Future<Output = Self::Outcome<'_>> + Send {
        self.0.acquire()
    }
    #[inline]
    fn permit(outcome: Self::Outcome<'_>) -> Self::Permit<'_> {
        outcome.expect("the semaphore is open")
    }
}

impl Weighted for Gate {
    #[inline]
    fn acquire_many(&self, weight: u32) -> impl Future<Output = Self::Outcome<'_>> + Send {
        Gate::acquire_many(self, weight)
    }
}

impl Owned for Gate {
    const NAME: &'static str = "gate";
    type Permit = gate::OwnedPermit;
    type Outcome = Result<gate::OwnedPermit, gate::AcquireError>;

    fn new(permits: u32) -> Self {
        Gate::new(BENCH, Limit::new(permits))
    }
    #[inline]
    fn acquire(&self) -> impl Future<Output = Self::Outcome> + Send {
        self.acquire_owned()
    }
    #[inline]
    fn permit(outcome: Self::Outcome) -> Self::Permit {
        outcome.expect("the semaphore is open")
    }
}

impl WithDeadline for Gate {
    type TimedOutcome<'a> = Self::Outcome<'a>;
    #[inline]
    fn acquire_with_deadline(&self, wait: Duration) -> impl Future<Output = Self::TimedOutcome<'_>> + Send {
        self.request().max_wait(wait).acquire()
    }
    #[inline]
    fn permit_in_time(outcome: Self::TimedOutcome<'_>) -> Option<Self::Permit<'_>> {
        outcome.ok()
    }
}

impl Resizable for Gate {
    #[inline]
    fn grow(&self, from: u32, by: u32) {
        self.resize(Limit::saturating(u64::from(from + by)));
    }
    #[inline]
    fn shrink(&self, from: u32, by: u32) {
        self.resize(Limit::saturating(u64::from(from - by)));
    }
}

/// `tokio::sync::Semaphore`, the base of most ratios.
pub struct Tokio(Arc<tokio::sync::Semaphore>);

impl Peer for Tokio {
    const NAME: &'static str = "tokio";
    type Permit<'a> = tokio::sync::SemaphorePermit<'a>;
    type Outcome<'a> = Result<tokio::sync::SemaphorePermit<'a>, tokio::sync::AcquireError>;

    fn new(permits: u32) -> Self {
        Self(Arc::new(tokio::sync::Semaphore::new(permits as usize)))
    }
    #[inline]
    fn try_acquire(&self) -> Option<Self::Permit<'_>> {
        self.0.try_acquire().ok()
    }
    #[inline]
    fn acquire(&self) -> impl Future<Output = Self::Outcome<'_>> + Send {
        self.0.acquire()
    }
    #[inline]
    fn permit(outcome: Self::Outcome<'_>) -> Self::Permit<'_> {
        outcome.expect("the semaphore is open")
    }
}

impl Weighted for Tokio {
    #[inline]
    fn acquire_many(&self, weight: u32) -> impl Future<Output = Self::Outcome<'_>> + Send {
        self.0.acquire_many(weight)
    }
}

impl Owned for Tokio {
    const NAME: &'static str = "tokio";
    type Permit = tokio::sync::OwnedSemaphorePermit;
    type Outcome = Result<tokio::sync::OwnedSemaphorePermit, tokio::sync::AcquireError>;

    fn new(permits: u32) -> Self {
        <Self as Peer>::new(permits)
    }
    #[inline]
    fn acquire(&self) -> impl Future<Output = Self::Outcome> + Send {
        Arc::clone(&self.0).acquire_owned()
    }
    #[inline]
    fn permit(outcome: Self::Outcome) -> Self::Permit {
        outcome.expect("the semaphore is open")
    }
}

impl Resizable for Tokio {
    #[inline]
    fn grow(&self, _: u32, by: u32) {
        self.0.add_permits(by as usize);
    }
    #[inline]
    fn shrink(&self, _: u32, by: u32) {
        self.0.forget_permits(by as usize);
    }
}

pub struct AsyncLock(Arc<async_lock::Semaphore>);

impl Peer for AsyncLock {
    const NAME: &'static str = "async-lock";
    type Permit<'a> = async_lock::SemaphoreGuard<'a>;
    type Outcome<'a> = async_lock::SemaphoreGuard<'a>;

    fn new(permits: u32) -> Self {
        Self(Arc::new(async_lock::Semaphore::new(permits as usize)))
    }
    #[inline]
    fn try_acquire(&self) -> Option<Self::Permit<'_>> {
        self.0.try_acquire()
    }
    #[inline]
    fn acquire(&self) -> impl Future<Output = Self::Outcome<'_>> + Send {
        self.0.acquire()
    }
    #[inline]
    fn permit(outcome: Self::Outcome<'_>) -> Self::Permit<'_> {
        outcome
    }
}

impl Owned for AsyncLock {
    const NAME: &'static str = "async-lock";
    type Permit = async_lock::SemaphoreGuardArc;
    type Outcome = async_lock::SemaphoreGuardArc;

    fn new(permits: u32) -> Self {
        <Self as Peer>::new(permits)
    }
    #[inline]
    fn acquire(&self) -> impl Future<Output = Self::Outcome> + Send {
        self.0.acquire_arc()
    }
    #[inline]
    fn permit(outcome: Self::Outcome) -> Self::Permit {
        outcome
    }
}

pub struct Asyncband(Arc<asyncband::semaphore::Semaphore>);

impl Peer for Asyncband {
    const NAME: &'static str = "asyncband";
    type Permit<'a> = asyncband::semaphore::SemaphorePermit<'a>;
    type Outcome<'a> = asyncband::semaphore::SemaphorePermit<'a>;

    fn new(permits: u32) -> Self {
        Self(Arc::new(asyncband::semaphore::Semaphore::new(permits as usize)))
    }
    #[inline]
    fn try_acquire(&self) -> Option<Self::Permit<'_>> {
        self.0.try_acquire(1)
    }
    #[inline]
    fn acquire(&self) -> impl Future<Output = Self::Outcome<'_>> + Send {
        self.0.acquire(1)
    }
    #[inline]
    fn permit(outcome: Self::Outcome<'_>) -> Self::Permit<'_> {
        outcome
    }
}

impl Weighted for Asyncband {
    #[inline]
    fn acquire_many(&self, weight: u32) -> impl Future<Output = Self::Outcome<'_>> + Send {
        self.0.acquire(weight as usize)
    }
}

impl Owned for Asyncband {
    const NAME: &'static str = "asyncband";
    type Permit = asyncband::semaphore::OwnedSemaphorePermit;
    type Outcome = asyncband::semaphore::OwnedSemaphorePermit;

    fn new(permits: u32) -> Self {
        <Self as Peer>::new(permits)
    }
    #[inline]
    fn acquire(&self) -> impl Future<Output = Self::Outcome> + Send {
        Arc::clone(&self.0).acquire_owned(1)
    }
    #[inline]
    fn permit(outcome: Self::Outcome) -> Self::Permit {
        outcome
    }
}

impl Resizable for Asyncband {
    #[inline]
    fn grow(&self, _: u32, by: u32) {
        self.0.release(by as usize);
    }
    #[inline]
    fn shrink(&self, _: u32, by: u32) {
        self.0.reduce_permits(by as usize);
    }
}

pub struct Mea(Arc<mea::semaphore::Semaphore>);

impl Peer for Mea {
    const NAME: &'static str = "mea";
    type Permit<'a> = mea::semaphore::SemaphorePermit<'a>;
    type Outcome<'a> = mea::semaphore::SemaphorePermit<'a>;

    fn new(permits: u32) -> Self {
        Self(Arc::new(mea::semaphore::Semaphore::new(permits as usize)))
    }
    #[inline]
    fn try_acquire(&self) -> Option<Self::Permit<'_>> {
        self.0.try_acquire(1)
    }
    #[inline]
    fn acquire(&self) -> impl Future<Output = Self::Outcome<'_>> + Send {
        self.0.acquire(1)
    }
    #[inline]
    fn permit(outcome: Self::Outcome<'_>) -> Self::Permit<'_> {
        outcome
    }
}

impl Weighted for Mea {
    #[inline]
    fn acquire_many(&self, weight: u32) -> impl Future<Output = Self::Outcome<'_>> + Send {
        self.0.acquire(weight as usize)
    }
}

impl Owned for Mea {
    const NAME: &'static str = "mea";
    type Permit = mea::semaphore::OwnedSemaphorePermit;
    type Outcome = mea::semaphore::OwnedSemaphorePermit;

    fn new(permits: u32) -> Self {
        <Self as Peer>::new(permits)
    }
    #[inline]
    fn acquire(&self) -> impl Future<Output = Self::Outcome> + Send {
        Arc::clone(&self.0).acquire_owned(1)
    }
    #[inline]
    fn permit(outcome: Self::Outcome) -> Self::Permit {
        outcome
    }
}

impl Resizable for Mea {
    #[inline]
    fn grow(&self, _: u32, by: u32) {
        self.0.release(by as usize);
    }
    #[inline]
    fn shrink(&self, _: u32, by: u32) {
        self.0.forget_exact(by as usize);
    }
}

/// The semaphore of futures-intrusive in its fair mode.
pub struct Intrusive(intrusive::Semaphore);

impl Peer for Intrusive {
    const NAME: &'static str = "futures-intrusive";
    type Permit<'a> = intrusive::SemaphoreReleaser<'a>;
    type Outcome<'a> = intrusive::SemaphoreReleaser<'a>;

    fn new(permits: u32) -> Self {
        Self(intrusive::Semaphore::new(true, permits as usize))
    }
    #[inline]
    fn try_acquire(&self) -> Option<Self::Permit<'_>> {
        self.0.try_acquire(1)
    }
    #[inline]
    fn acquire(&self) -> impl Future<Output = Self::Outcome<'_>> + Send {
        self.0.acquire(1)
    }
    #[inline]
    fn permit(outcome: Self::Outcome<'_>) -> Self::Permit<'_> {
        outcome
    }
}

impl Weighted for Intrusive {
    #[inline]
    fn acquire_many(&self, weight: u32) -> impl Future<Output = Self::Outcome<'_>> + Send {
        self.0.acquire(weight as usize)
    }
}

pub struct IntrusiveShared(intrusive::SharedSemaphore);

impl Owned for IntrusiveShared {
    const NAME: &'static str = "futures-intrusive";
    type Permit = intrusive::SharedSemaphoreReleaser;
    type Outcome = intrusive::SharedSemaphoreReleaser;

    fn new(permits: u32) -> Self {
        Self(intrusive::SharedSemaphore::new(true, permits as usize))
    }
    #[inline]
    fn acquire(&self) -> impl Future<Output = Self::Outcome> + Send {
        self.0.acquire(1)
    }
    #[inline]
    fn permit(outcome: Self::Outcome) -> Self::Permit {
        outcome
    }
}

/// The unmanaged pool of deadpool, with objects of no size.
pub struct Deadpool(deadpool::unmanaged::Pool<()>);

impl Peer for Deadpool {
    const NAME: &'static str = "deadpool";
    type Permit<'a> = deadpool::unmanaged::Object<()>;
    type Outcome<'a> = Result<deadpool::unmanaged::Object<()>, deadpool::unmanaged::PoolError>;

    fn new(permits: u32) -> Self {
        Self(deadpool::unmanaged::Pool::from(vec![(); permits as usize]))
    }
    #[inline]
    fn try_acquire(&self) -> Option<Self::Permit<'_>> {
        self.0.try_get().ok()
    }
    #[inline]
    fn acquire(&self) -> impl Future<Output = Self::Outcome<'_>> + Send {
        self.0.get()
    }
    #[inline]
    fn permit(outcome: Self::Outcome<'_>) -> Self::Permit<'_> {
        outcome.expect("the semaphore is open")
    }
}

impl Owned for Deadpool {
    const NAME: &'static str = "deadpool";
    type Permit = deadpool::unmanaged::Object<()>;
    type Outcome = Result<deadpool::unmanaged::Object<()>, deadpool::unmanaged::PoolError>;

    fn new(permits: u32) -> Self {
        <Self as Peer>::new(permits)
    }
    #[inline]
    fn acquire(&self) -> impl Future<Output = Self::Outcome> + Send {
        self.0.get()
    }
    #[inline]
    fn permit(outcome: Self::Outcome) -> Self::Permit {
        outcome.expect("the semaphore is open")
    }
}

macro_rules! impl_with_deadline {
    ($($peer:ty),*) => {$(
        impl WithDeadline for $peer {
            type TimedOutcome<'a> = Result<Self::Outcome<'a>, tokio::time::error::Elapsed>;
            #[inline]
            fn acquire_with_deadline(&self, wait: Duration) -> impl Future<Output = Self::TimedOutcome<'_>> + Send {
                tokio::time::timeout(wait, Peer::acquire(self))
            }
            #[inline]
            fn permit_in_time(outcome: Self::TimedOutcome<'_>) -> Option<Self::Permit<'_>> {
                outcome.ok().map(<Self as Peer>::permit)
            }
        }
    )*};
}
impl_with_deadline!(Tokio, AsyncLock, Asyncband, Mea, Intrusive, Deadpool);

/// Returns a call through tower's concurrency limit to a service that is ready immediately. One clone of the limit is used, as
/// in a connection.
pub fn tower(permits: u32) -> impl FnMut(&mut Context<'_>) {
    let service = service_fn(|()| std::future::ready(Ok::<(), std::convert::Infallible>(())));
    let mut limit = ConcurrencyLimit::new(service, permits as usize);
    move |cx| {
        assert!(limit.poll_ready(cx).is_ready());
        let response = std::pin::pin!(limit.call(()));
        assert!(matches!(response.poll(cx), Poll::Ready(Ok(()))));
    }
}

/// The minimum for a counter with a limit: one compare-and-swap to acquire, one addition to release.
#[derive(Default)]
pub struct BareAtomics(AtomicU64);

impl BareAtomics {
    #[inline]
    pub fn try_acquire(&self) -> bool {
        let mut in_use = self.0.load(Ordering::Relaxed);
        while in_use < 64 {
            match self.0.compare_exchange_weak(in_use, in_use + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(current) => in_use = current,
            }
        }
        false
    }

    #[inline]
    pub fn release(&self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}
