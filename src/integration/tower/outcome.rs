//! The classification of the result of a service: what it says about the load of the service.

use std::fmt;
use std::sync::Arc;

use crate::feedback::Outcome;

/// The layer reports no outcomes. This is the default of a [`GateLayer`](super::GateLayer).
#[derive(Clone, Copy, Debug)]
pub struct Unobserved(());

/// The layer reports the outcome of each request; from [`GateLayer::observe`](super::GateLayer::observe).
pub struct ByOutcome<F>(Arc<F>);

impl Unobserved {
    pub(super) const NEW: Self = Self(());
}

impl<F> ByOutcome<F> {
    pub(super) fn new(classify: F) -> Self {
        Self(Arc::new(classify))
    }
}

/// How a layer classifies the results of its service. Sealed: [`Unobserved`] and [`ByOutcome`] are the only implementations.
pub trait Observing<T, E>: sealed::ClassifyOutcome<T, E> {}

impl<T, E, O: sealed::ClassifyOutcome<T, E>> Observing<T, E> for O {}

/// Private, so that no other crate implements [`Observing`].
pub(super) mod sealed {
    use super::Outcome;

    pub trait ClassifyOutcome<T, E> {
        /// Returns the outcome, or `None` if none is reported.
        fn classify(&self, result: &Result<T, E>) -> Option<Outcome>;
    }
}

impl<T, E> sealed::ClassifyOutcome<T, E> for Unobserved {
    fn classify(&self, _: &Result<T, E>) -> Option<Outcome> {
        None
    }
}

impl<T, E, F: Fn(&Result<T, E>) -> Outcome> sealed::ClassifyOutcome<T, E> for ByOutcome<F> {
    fn classify(&self, result: &Result<T, E>) -> Option<Outcome> {
        Some((self.0)(result))
    }
}

// By hand, because a clone shares the function, which need not be `Clone` or `Debug`.

impl<F> Clone for ByOutcome<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F> fmt::Debug for ByOutcome<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByOutcome").finish_non_exhaustive()
    }
}
