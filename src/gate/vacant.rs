//! The places of gates that are gone, to be used again.

pub(super) use places::{put, take};

#[cfg(not(gate_loom))]
mod places {
    use std::sync::{Mutex, PoisonError};

    use super::super::inner::Inner;

    static VACANT: Mutex<Vec<&'static Inner>> = Mutex::new(Vec::new());

    pub(in super::super) fn take() -> Option<&'static Inner> {
        VACANT.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    pub(in super::super) fn put(inner: &'static Inner) {
        VACANT.lock().unwrap_or_else(PoisonError::into_inner).push(inner);
    }
}

/// The same for a model checker, whose runs share nothing. Each run ends with the question whether every place was
/// given back, once.
#[cfg(gate_loom)]
mod places {
    use std::ptr;
    use std::sync::PoisonError;

    use super::super::inner::Inner;
    use super::super::sync::Mutex;

    loom::lazy_static! {
        static ref PLACES: Mutex<Places> = Mutex::new(Places::default());
    }

    #[derive(Default)]
    struct Places {
        made: usize,
        vacant: Vec<&'static Inner>,
    }

    pub(in super::super) fn take() -> Option<&'static Inner> {
        let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = places.vacant.pop();
        if taken.is_none() {
            places.made = places.made.saturating_add(1);
        }
        taken
    }

    pub(in super::super) fn put(inner: &'static Inner) {
        let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
        let known = places.vacant.iter().any(|vacant| ptr::eq(*vacant, inner));
        assert!(!known, "a gate's place was given back twice");
        places.vacant.push(inner);
    }

    impl Drop for Places {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                assert_eq!(self.vacant.len(), self.made, "a gate's place was not given back");
            }
        }
    }
}
