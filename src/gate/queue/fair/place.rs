//! How a handle refers to its node.

use std::sync::atomic::{AtomicBool, Ordering};

use super::node::NodeId;
use crate::gate::key::Key;
use crate::gate::sync::RelaxedU64;

/// A gate of a tree, as its handle refers to it.
#[derive(Debug)]
pub(in crate::gate) enum Place {
    /// A declared gate, whose node exists as long as the gate.
    Gate(NodeId),
    /// A key. A busy key has a node; an idle key may have lost its node to another key.
    Key(KeyPlace),
}

#[derive(Debug)]
pub(in crate::gate) struct KeyPlace {
    pub(super) parent: NodeId,
    pub(super) key: Key,
    pub(super) hash: u64,
    /// The last known node and its generation, which saves a search if the node is still that of the key.
    hint: RelaxedU64,
    /// Whether the handle of the key was closed. Accessed under the lock of the tree, as is `has_ended_waits`.
    is_closed: AtomicBool,
    /// Whether `close` has ended the waits of the key by this handle.
    has_ended_waits: AtomicBool,
}

impl KeyPlace {
    /// Returns the last known node, and the generation that it had.
    #[expect(clippy::cast_possible_truncation, reason = "two halves")]
    #[inline]
    pub(super) fn hint(&self) -> (NodeId, u32) {
        let hint = self.hint.load(Ordering::Relaxed);
        (NodeId(hint as u32), (hint >> 32) as u32)
    }

    pub(super) fn set_hint(&self, id: NodeId, generation: u32) {
        self.hint.store(u64::from(generation) << 32 | u64::from(id.0), Ordering::Relaxed);
    }
}

impl Place {
    /// Returns the node of the declared gate: this one, or the gate that has this key.
    pub(in crate::gate) const fn declared(&self) -> NodeId {
        match self {
            Self::Gate(id) => *id,
            Self::Key(key) => key.parent,
        }
    }

    pub(in crate::gate) const fn key(parent: NodeId, key: Key, hash: u64) -> Self {
        Self::Key(KeyPlace {
            parent,
            key,
            hash,
            hint: RelaxedU64::new(NO_HINT),
            is_closed: AtomicBool::new(false),
            has_ended_waits: AtomicBool::new(false),
        })
    }

    /// Closes the handle of a key: its later requests are rejected. A declared gate is closed in its node.
    pub(in crate::gate) fn close_key(&self) {
        if let Self::Key(place) = self {
            place.is_closed.store(true, Ordering::Relaxed);
        }
    }

    /// As [`close_key`](Self::close_key), and records that the caller ends the waits of the key.
    pub(in crate::gate) fn close_key_and_waits(&self) {
        self.close_key();
        if let Self::Key(place) = self {
            place.has_ended_waits.store(true, Ordering::Relaxed);
        }
    }

    /// Returns `true` if this is the handle of a key that was closed.
    #[inline]
    pub(in crate::gate) fn is_closed_key(&self) -> bool {
        match self {
            Self::Gate(_) => false,
            Self::Key(place) => place.is_closed.load(Ordering::Relaxed),
        }
    }

    /// Returns `true` if this is the handle of a key, and `close` has ended the waits of the key by it.
    pub(super) fn has_ended_waits_of_key(&self) -> bool {
        match self {
            Self::Gate(_) => false,
            Self::Key(place) => place.has_ended_waits.load(Ordering::Relaxed),
        }
    }

    /// Returns the key, if it is one.
    pub(in crate::gate) const fn as_key(&self) -> Option<&Key> {
        match self {
            Self::Gate(_) => None,
            Self::Key(place) => Some(&place.key),
        }
    }
}

/// No node.
const NO_HINT: u64 = u64::MAX;
