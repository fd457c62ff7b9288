//! A waker whose every call is a test's to write. `std::task::Wake` leaves out `clone`, so this takes a vtable.

#![expect(unsafe_code, reason = "a waker whose `clone` is somebody else's code takes a vtable of its own")]

use std::sync::Arc;
use std::task::{RawWaker, RawWakerVTable, Waker};

/// What a waker goes through. Waking one uses it up, so that it is dropped after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Clone,
    Wake,
    Drop,
}

/// A waker that calls back whenever it is called; unlike any other, but for its clones.
pub(crate) fn hooked(act: impl Fn(Call) + Send + Sync + 'static) -> Waker {
    let hook = Arc::new(Hook { act: Box::new(act) });
    // SAFETY: the data is an `Arc<Hook>` in raw form, which is what the vtable takes it for. Each waker owns one count
    // of it: `clone` adds one, `wake` and `drop` use one up, `wake_by_ref` leaves it. `Hook` is Send and Sync.
    unsafe { Waker::new(Arc::into_raw(hook).cast(), &VTABLE) }
}

struct Hook {
    act: Box<dyn Fn(Call) + Send + Sync>,
}

static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

/// Counts only after the hook, which may panic.
unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: the waker that is being cloned owns a count, and is borrowed meanwhile.
    let hook = unsafe { &*data.cast::<Hook>() };
    (hook.act)(Call::Clone);
    // SAFETY: as above.
    unsafe { Arc::increment_strong_count(data.cast::<Hook>()) };
    RawWaker::new(data, &VTABLE)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: this waker's own count, which it hands over.
    let hook = unsafe { Arc::from_raw(data.cast::<Hook>()) };
    (hook.act)(Call::Wake);
    (hook.act)(Call::Drop);
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: the waker owns a count, and is borrowed meanwhile.
    let hook = unsafe { &*data.cast::<Hook>() };
    (hook.act)(Call::Wake);
}

unsafe fn drop_waker(data: *const ()) {
    // SAFETY: this waker's own count, which it hands over.
    let hook = unsafe { Arc::from_raw(data.cast::<Hook>()) };
    (hook.act)(Call::Drop);
}
