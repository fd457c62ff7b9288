//! The classification of a request: its key and its priority.

use std::fmt;
use std::sync::Arc;

use super::layer_gate::LayerGate;
use crate::gate::{Key, Priority};
use crate::plan::GateName;
use crate::plan::debug_as_display::impl_debug_as_display;

/// The layer treats all requests alike: they acquire from the gate itself, with the normal priority. This is the default of a
/// [`GateLayer`](super::GateLayer).
#[derive(Clone, Copy, Debug)]
pub struct Unclassified(());

/// The layer finds a key for each request; from [`GateLayer::by_key`](super::GateLayer::by_key).
pub struct ByKey<F, C = Unclassified> {
    key_of: Arc<F>,
    others: C,
}

/// The layer finds a priority for each request; from [`GateLayer::priority`](super::GateLayer::priority).
pub struct ByPriority<F, C = Unclassified> {
    priority_of: Arc<F>,
    others: C,
}

/// What the function of [`GateLayer::by_key`](super::GateLayer::by_key) returns: anything that converts to a [`Key`], or an
/// `Option` of it. A request without a key acquires from the gate itself.
pub trait IntoRequestKey {
    /// Returns the key, or `None` for a request that acquires from the gate itself.
    fn into_request_key(self) -> Option<Key>;
}

impl<K: Into<Key>> IntoRequestKey for K {
    fn into_request_key(self) -> Option<Key> {
        Some(self.into())
    }
}

impl<K: Into<Key>> IntoRequestKey for Option<K> {
    fn into_request_key(self) -> Option<Key> {
        self.map(Into::into)
    }
}

/// The error for a layer by key whose gate has no keys; from [`GateLayer::try_by_key`](super::GateLayer::try_by_key).
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("gate `{gate}` cannot be shared by key: {fault}")]
pub struct NoKeysError {
    gate: GateName,
    fault: NoKeysFault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum NoKeysFault {
    #[error(
        "it has no keys; declare it with `GateSpec::keyed` or with `keys` in the plan file, or create it with `GateBuilder::keyed`"
    )]
    NoKeys,
    #[error("it is a key itself, and a key has no keys; give the layer the gate that has the keys")]
    IsKey,
}

impl NoKeysError {
    /// Returns the error for this gate, unless the gate has keys.
    pub(super) fn check(gate: &LayerGate) -> Result<(), Self> {
        if gate.has_keys() {
            return Ok(());
        }
        let fault = if gate.is_key() { NoKeysFault::IsKey } else { NoKeysFault::NoKeys };
        Err(Self { gate: gate.name(), fault })
    }

    /// Returns the name of the gate.
    #[must_use]
    pub const fn gate(&self) -> GateName {
        self.gate
    }
}

impl_debug_as_display!(NoKeysError);

impl Unclassified {
    pub(super) const NEW: Self = Self(());
}

impl<F, C> ByKey<F, C> {
    pub(super) fn new(key_of: F, others: C) -> Self {
        Self { key_of: Arc::new(key_of), others }
    }
}

impl<F, C> ByPriority<F, C> {
    pub(super) fn new(priority_of: F, others: C) -> Self {
        Self { priority_of: Arc::new(priority_of), others }
    }
}

/// How a layer finds the key and the priority of a request. Sealed: [`Unclassified`], [`ByKey`] and [`ByPriority`] are the only
/// implementations.
pub trait Classifying<R>: sealed::ClassifyRequest<R> {}

impl<R, C: sealed::ClassifyRequest<R>> Classifying<R> for C {}

/// Private, so that no other crate implements [`Classifying`].
pub(super) mod sealed {
    use super::{Key, Priority};

    pub trait ClassifyRequest<R> {
        /// Returns the key, or `None` for a request that acquires from the gate itself.
        fn key(&self, request: &R) -> Option<Key>;

        fn priority(&self, request: &R) -> Priority;
    }
}

impl<R> sealed::ClassifyRequest<R> for Unclassified {
    fn key(&self, _: &R) -> Option<Key> {
        None
    }

    fn priority(&self, _: &R) -> Priority {
        Priority::Normal
    }
}

impl<R, F, K, C> sealed::ClassifyRequest<R> for ByKey<F, C>
where
    F: Fn(&R) -> K,
    K: IntoRequestKey,
    C: sealed::ClassifyRequest<R>,
{
    fn key(&self, request: &R) -> Option<Key> {
        (self.key_of)(request).into_request_key()
    }

    fn priority(&self, request: &R) -> Priority {
        self.others.priority(request)
    }
}

impl<R, F, C> sealed::ClassifyRequest<R> for ByPriority<F, C>
where
    F: Fn(&R) -> Priority,
    C: sealed::ClassifyRequest<R>,
{
    fn key(&self, request: &R) -> Option<Key> {
        self.others.key(request)
    }

    fn priority(&self, request: &R) -> Priority {
        (self.priority_of)(request)
    }
}

// By hand, because a clone shares the function, which need not be `Clone` or `Debug`.

impl<F, C: Clone> Clone for ByKey<F, C> {
    fn clone(&self) -> Self {
        Self { key_of: Arc::clone(&self.key_of), others: self.others.clone() }
    }
}

impl<F, C: Clone> Clone for ByPriority<F, C> {
    fn clone(&self) -> Self {
        Self { priority_of: Arc::clone(&self.priority_of), others: self.others.clone() }
    }
}

impl<F, C: fmt::Debug> fmt::Debug for ByKey<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByKey").field("others", &self.others).finish_non_exhaustive()
    }
}

impl<F, C: fmt::Debug> fmt::Debug for ByPriority<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByPriority").field("others", &self.others).finish_non_exhaustive()
    }
}
