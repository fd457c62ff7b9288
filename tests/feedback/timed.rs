//! The order of events in virtual time.

use std::cmp::Ordering;

/// A thing at an instant. Things at the same instant keep their order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timed<T> {
    pub(crate) at: f64,
    pub(crate) number: u64,
    pub(crate) what: T,
}

impl<T> PartialEq for Timed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Timed<T> {}

impl<T> PartialOrd for Timed<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Timed<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.total_cmp(&other.at).then(self.number.cmp(&other.number))
    }
}
