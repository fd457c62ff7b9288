//! The worlds that explain what the gate has shown so far.

use std::fmt::Debug;

use super::super::coverage::Coverage;
use super::World;

/// The possible states of the tree: one, unless the rules leave a choice open.
pub(crate) struct Worlds<'s>(Vec<World<'s>>);

/// Far more than a run needs. More would mean that the oracle leaves open what the rules decide.
const MAX_WORLDS: usize = 256;

impl<'s> Worlds<'s> {
    pub(crate) fn new(world: World<'s>) -> Self {
        Self(vec![world])
    }

    /// Returns one of them. Whatever the gate has shown is the same in all.
    pub(crate) fn any(&self) -> &World<'s> {
        &self.0[0]
    }

    /// Makes a step in each world. A world that does not explain which requests were woken, in `log`, is dropped.
    pub(crate) fn step(
        &mut self,
        log: &[usize],
        coverage: &mut Coverage,
        step: impl Fn(World<'s>, &[usize], &mut Vec<World<'s>>),
    ) {
        let mut after = Vec::with_capacity(1);
        for world in self.0.drain(..) {
            step(world, log, &mut after);
        }
        let possible = after.len();
        after.retain(|world| world.explained == log.len());
        assert!(
            !after.is_empty(),
            "the rules do not allow that requests {log:?} were woken, in this order and no more ({possible} other ways)"
        );
        let mut different = Vec::with_capacity(1);
        for world in after {
            world.join(&mut different);
        }
        let mut after = different;
        assert!(after.len() <= MAX_WORLDS, "the oracle leaves too much open");
        for world in &mut after {
            world.check_rest();
            world.explained = 0;
        }
        self.0 = after;
        self.record_events(coverage);
    }

    /// Makes a step that wakes no request, in each world.
    pub(crate) fn change(&mut self, coverage: &mut Coverage, change: impl Fn(&mut World<'s>)) {
        self.0.iter_mut().for_each(change);
        self.record_events(coverage);
    }

    /// Makes a step that wakes no request and has a result, in each world. A world whose result is not that of the gate is dropped.
    pub(crate) fn decide<R: PartialEq + Debug>(
        &mut self,
        coverage: &mut Coverage,
        actual: &R,
        decide: impl Fn(&mut World<'s>) -> R,
    ) {
        let mut others = Vec::new();
        self.0.retain_mut(|world| {
            let result = decide(world);
            let is_equal = result == *actual;
            others.extend((!is_equal).then_some(result));
            is_equal
        });
        assert!(!self.0.is_empty(), "expected {others:?}, got {actual:?}");
        self.record_events(coverage);
    }

    /// Records the events of one world, and forgets those of all.
    fn record_events(&mut self, coverage: &mut Coverage) {
        self.0[0].events.drain(..).for_each(|event| coverage.record(event));
        for world in &mut self.0 {
            world.events.clear();
        }
    }

    /// Drops the worlds that differ from what the gate shows.
    pub(crate) fn observe(&mut self, what: &str, check: impl Fn(&World<'s>) -> Result<(), String>) {
        let mut differences = Vec::new();
        self.0.retain(|world| check(world).map_err(|difference| differences.push(difference)).is_ok());
        assert!(!self.0.is_empty(), "{what}: {}", differences.join("\nor "));
    }
}
