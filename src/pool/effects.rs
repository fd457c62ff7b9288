//! What a step of the books leaves to be done once the lock is free.

use tokio::sync::oneshot;

use super::books::Entry;
use super::{CreateError, PoolEvent};

/// Everything that calls somebody else's code, or may take long: none of it happens under the lock.
#[must_use = "what is left to be done and is not done is an item lost, or a waiter"]
pub(super) struct Effects<I, E> {
    /// To who waits, in order.
    pub(super) deliveries: Vec<(Sender<I, E>, Delivery<I, E>)>,
    /// Items to make.
    pub(super) attempts: Vec<Attempt>,
    /// Items to drop; they count as dropping until the books are told that they are gone.
    pub(super) leaving: Vec<I>,
    /// For the observers.
    pub(super) events: Vec<PoolEvent>,
    /// Whether the keeper is to look at what is due.
    pub(super) rings: bool,
    /// Whether nothing is left.
    pub(super) drained: bool,
}

impl<I, E> Default for Effects<I, E> {
    fn default() -> Self {
        Self {
            deliveries: Vec::new(),
            attempts: Vec::new(),
            leaving: Vec::new(),
            events: Vec::new(),
            rings: false,
            drained: false,
        }
    }
}

pub(super) type Sender<I, E> = oneshot::Sender<Delivery<I, E>>;
pub(super) type Receiver<I, E> = oneshot::Receiver<Delivery<I, E>>;

/// What becomes of a wait for an item.
pub(super) enum Delivery<I, E> {
    /// One that was there before.
    Used(Entry<I>),
    /// One that was just made.
    New(Entry<I>),
    Failed(CreateError<E>),
    Closed,
}

impl<I, E> Delivery<I, E> {
    pub(super) fn into_entry(self) -> Option<Entry<I>> {
        match self {
            Self::Used(entry) | Self::New(entry) => Some(entry),
            Self::Failed(_) | Self::Closed => None,
        }
    }
}

/// An item to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// While all is well.
    Ordinary,
    /// After a pause, to see whether items can be made again. It speaks for everybody who stood in line when it began:
    /// their tickets are below this.
    Probe { tickets_below: u64 },
}
