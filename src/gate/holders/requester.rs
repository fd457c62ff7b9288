//! The origin of a request, which a gate that tracks its holders records.

use std::panic::Location;
use std::task::Waker;
use std::thread::{self, ThreadId};

use tokio::task;

/// Where a request was made, and by which task.
#[derive(Clone, Copy, Debug)]
pub(in crate::gate) struct Requester {
    pub(in crate::gate) location: &'static Location<'static>,
    /// `None` outside of tokio's tasks.
    pub(in crate::gate) task: Option<task::Id>,
    pub(in crate::gate) flow: Flow,
}

/// A sequential flow of execution: while a request of the flow waits, the flow runs no other code, so it releases no permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::gate) enum Flow {
    /// Not known, or not certain. Such a holder may release its permits at any time.
    Unknown,
    /// A task, and the address of the waker with which it polls. A task that runs several futures at a time, such as a
    /// `FuturesUnordered`, polls each with a waker of its own.
    Task(task::Id, usize),
    /// A thread that blocks.
    Thread(ThreadId),
}

impl Requester {
    /// Returns the requester for a future that is polled by this task.
    pub(in crate::gate) fn polled(location: &'static Location<'static>, waker: &Waker) -> Self {
        let task = task::try_id();
        let flow = task.map_or(Flow::Unknown, |id| Flow::Task(id, waker.data().addr()));
        Self { location, task, flow }
    }

    /// Returns the requester for this thread, which blocks until it has its permits.
    pub(in crate::gate) fn blocking(location: &'static Location<'static>) -> Self {
        Self { location, task: task::try_id(), flow: Flow::Thread(thread::current().id()) }
    }

    /// Returns the requester for code that does not wait. Nothing is known about its waker.
    pub(in crate::gate) fn trying(location: &'static Location<'static>) -> Self {
        Self { location, task: task::try_id(), flow: Flow::Unknown }
    }
}
