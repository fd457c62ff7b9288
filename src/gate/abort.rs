//! The end of the process, where to go on would be worse than to stop.

use std::process;

/// Ends the process if this is so.
#[inline]
pub(super) fn abort_if(is_so: bool) {
    if is_so {
        abort();
    }
}

/// Being of C's ABI it is known not to panic, so that its callers need not keep what they have for that.
#[cold]
extern "C" fn abort() -> ! {
    process::abort()
}
