//! A waker that runs a closure of the test in each of its calls.
//!
//! `std::task::Wake` offers no hook in `clone`, so this waker has a vtable of its own.

#![expect(unsafe_code, reason = "only a waker with its own vtable can run code of the test in `clone`")]

use std::sync::Arc;
use std::task::{RawWaker, RawWakerVTable, Waker};

/// A call of a waker. Waking by value consumes the waker, so `Wake` is followed by `Drop` then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Clone,
    Wake,
    Drop,
}

/// Creates a waker that runs `hook` in each of its calls. `Waker::will_wake` holds between it and its clones
/// only.
pub(crate) fn hooked(hook: impl Fn(Call) + Send + Sync + 'static) -> Waker {
    let data = Arc::new(HookedWaker { hook: Box::new(hook) });
    // SAFETY: the data pointer is an `Arc<HookedWaker>` in raw form, which is what the vtable expects. Each
    // waker owns one reference: `clone` adds one, `wake` and `drop` release one, `wake_by_ref` leaves the
    // count as it is. `HookedWaker` is Send and Sync.
    unsafe { Waker::new(Arc::into_raw(data).cast(), &VTABLE) }
}

struct HookedWaker {
    hook: Box<dyn Fn(Call) + Send + Sync>,
}

static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

/// Adds the reference after the hook, because the hook may panic.
unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: the waker that is cloned owns a reference and is borrowed during this call.
    let waker = unsafe { &*data.cast::<HookedWaker>() };
    (waker.hook)(Call::Clone);
    // SAFETY: as above.
    unsafe { Arc::increment_strong_count(data.cast::<HookedWaker>()) };
    RawWaker::new(data, &VTABLE)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: this call consumes the waker, and with it the reference that the waker owns.
    let waker = unsafe { Arc::from_raw(data.cast::<HookedWaker>()) };
    (waker.hook)(Call::Wake);
    (waker.hook)(Call::Drop);
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: the waker owns a reference and is borrowed during this call.
    let waker = unsafe { &*data.cast::<HookedWaker>() };
    (waker.hook)(Call::Wake);
}

unsafe fn drop_waker(data: *const ()) {
    // SAFETY: this call consumes the waker, and with it the reference that the waker owns.
    let waker = unsafe { Arc::from_raw(data.cast::<HookedWaker>()) };
    (waker.hook)(Call::Drop);
}
