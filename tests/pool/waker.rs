//! A waker that runs a closure at every call. `std::task::Wake` does not expose `clone` and `drop`, so this uses a vtable.

#![expect(unsafe_code, reason = "only a custom vtable runs user code in a waker's `clone` and `drop`")]

use std::sync::Arc;
use std::task::{RawWaker, RawWakerVTable, Waker};

/// A call of a waker. `wake` consumes the waker, so it is followed by `Drop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WakerCall {
    Clone,
    Wake,
    Drop,
}

/// Returns a waker that runs the closure whenever it, or a clone of it, is cloned, woken or dropped.
pub(crate) fn hooked_waker(on_call: impl Fn(WakerCall) + Send + Sync + 'static) -> Waker {
    let hook = Arc::new(WakerHook { on_call: Box::new(on_call) });
    // SAFETY: the data is an `Arc<WakerHook>` in raw form, as the functions of the vtable expect. Each waker owns one
    // reference: `clone` adds one, `wake` and `drop` consume one, `wake_by_ref` keeps it. `WakerHook` is Send and Sync.
    unsafe { Waker::new(Arc::into_raw(hook).cast(), &VTABLE) }
}

struct WakerHook {
    on_call: Box<dyn Fn(WakerCall) + Send + Sync>,
}

static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

/// Adds the reference after the hook, which may panic.
unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: the caller borrows the waker, which owns a reference.
    let hook = unsafe { &*data.cast::<WakerHook>() };
    (hook.on_call)(WakerCall::Clone);
    // SAFETY: as above.
    unsafe { Arc::increment_strong_count(data.cast::<WakerHook>()) };
    RawWaker::new(data, &VTABLE)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: the caller gives up the waker, and with it the reference that the waker owns.
    let hook = unsafe { Arc::from_raw(data.cast::<WakerHook>()) };
    (hook.on_call)(WakerCall::Wake);
    (hook.on_call)(WakerCall::Drop);
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: the caller borrows the waker, which owns a reference.
    let hook = unsafe { &*data.cast::<WakerHook>() };
    (hook.on_call)(WakerCall::Wake);
}

unsafe fn drop_waker(data: *const ()) {
    // SAFETY: the caller gives up the waker, and with it the reference that the waker owns.
    let hook = unsafe { Arc::from_raw(data.cast::<WakerHook>()) };
    (hook.on_call)(WakerCall::Drop);
}
