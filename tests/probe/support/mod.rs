//! Helpers of all modules.

#[cfg(target_os = "linux")]
pub(crate) mod child;
#[cfg(target_os = "linux")]
pub(crate) mod process;
#[cfg(target_os = "linux")]
pub(crate) mod temp_dir;

#[cfg(target_os = "linux")]
use std::fs;
#[cfg(target_os = "linux")]
use std::path::PathBuf;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Polls the future once, with a waker that does nothing.
pub(crate) fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Returns a file of this kernel whose read fails with `EOPNOTSUPP`, as the read of a pressure file does on some kernels
/// where PSI is disabled. The file is an attribute of a network interface whose driver does not implement it. Newer kernels
/// hide such attributes of most drivers.
#[cfg(target_os = "linux")]
pub(crate) fn unsupported_file() -> Option<PathBuf> {
    let interfaces = fs::read_dir("/sys/class/net").ok()?.filter_map(Result::ok);
    let mut attributes = interfaces.flat_map(|interface| {
        ["phys_port_id", "phys_port_name", "phys_switch_id"].map(|name| interface.path().join(name))
    });
    attributes
        .find(|file| fs::read(file).is_err_and(|error| error.raw_os_error() == Some(nix::libc::EOPNOTSUPP)))
}
