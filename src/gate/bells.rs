//! Who is told that a limit was set or a gate closed, without holding a permit or waiting for one.

use std::sync::{Arc, Weak};

use tokio::sync::Notify;

use super::wake::Calls;

/// What is rung. It remembers one ring that nobody has heard yet.
pub(crate) type Bell = Arc<Notify>;

/// The bells of a gate. Rings go out as [`Calls`], since they wake tasks; and a bell that nobody keeps is forgotten.
#[derive(Debug, Default)]
pub(super) struct Bells(Vec<Weak<Notify>>);

impl Bells {
    /// Adds one, for as long as somebody keeps it.
    pub(super) fn hang(&mut self, bell: &Bell) {
        self.0.retain(|bell| bell.strong_count() > 0);
        self.0.push(Arc::downgrade(bell));
    }

    /// Has each of them rung.
    pub(super) fn ring(&self, calls: &mut Calls) {
        self.0.iter().filter_map(Weak::upgrade).for_each(|bell| calls.ring(bell));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    /// Each bell that somebody keeps is rung, whichever were hung after it, and of others nothing is left.
    #[test]
    fn kept_bells_are_rung() {
        let (mut bells, mut calls) = (Bells::default(), Calls::default());
        let kept = [(); 2].map(|()| Bell::default());
        bells.hang(&kept[0]);
        bells.hang(&Bell::default());
        bells.hang(&kept[1]);
        assert_eq!((Bells::default().is_empty(), bells.is_empty(), bells.0.len()), (true, false, 2));
        bells.ring(&mut calls);
        calls.make();
        assert!(kept.iter().all(|bell| pin!(bell.notified()).as_mut().enable()), "one was not rung");
    }
}
