//! What the engine synchronises with, in one place, so that a model checker can put its own in.

#[cfg(not(gate_loom))]
pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
#[cfg(not(gate_loom))]
pub(super) use std::sync::{Mutex, MutexGuard};

#[cfg(gate_loom)]
pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
#[cfg(gate_loom)]
pub(super) use loom::sync::{Mutex, MutexGuard};
