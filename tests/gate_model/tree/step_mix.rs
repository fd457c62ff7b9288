//! The kinds of steps, and how often a run takes each of them.

use crate::model::decisions::Decisions;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TreeStep {
    Acquire,
    TryAcquire,
    Poll,
    Cancel,
    AdvanceTime,
    Release,
    Resize,
    PauseOrResume,
    SetQueueBound,
    Close,
    ChangePermits,
    Drained,
    Recreate,
}

const STEPS: [TreeStep; 13] = [
    TreeStep::Acquire,
    TreeStep::TryAcquire,
    TreeStep::Poll,
    TreeStep::Cancel,
    TreeStep::AdvanceTime,
    TreeStep::Release,
    TreeStep::Resize,
    TreeStep::PauseOrResume,
    TreeStep::SetQueueBound,
    TreeStep::Close,
    TreeStep::ChangePermits,
    TreeStep::Drained,
    TreeStep::Recreate,
];

/// How many of 64 steps are of each kind, in the order of [`STEPS`]. No single mix reaches every state.
const MIXES: [[u8; 13]; 4] = [
    // Long queues, with permits acquired and released.
    [26, 3, 11, 3, 1, 17, 1, 0, 0, 0, 1, 1, 0],
    // Many cancellations.
    [24, 3, 8, 11, 3, 10, 2, 1, 0, 1, 1, 0, 0],
    // Limits and bounds that change often.
    [22, 3, 8, 4, 2, 11, 6, 3, 2, 1, 1, 0, 1],
    // Steps of every kind.
    [20, 4, 8, 4, 2, 11, 3, 3, 2, 2, 2, 2, 1],
];

/// How often a run takes each kind of step, and in what its requests differ.
#[derive(Clone, Copy)]
pub(super) struct StepMix {
    weights: [u8; 13],
    /// Whether requests have different weights.
    pub(super) has_weights: bool,
    /// Whether requests have different priorities.
    pub(super) has_priorities: bool,
    /// Whether some requests have a deadline that may pass while they wait.
    pub(super) has_deadlines: bool,
}

impl StepMix {
    pub(super) fn decide(decisions: &mut Decisions<'_>) -> Self {
        let choice = decisions.below(32);
        Self {
            weights: MIXES[choice as usize % 4],
            has_weights: choice & 4 != 0,
            has_priorities: choice & 8 != 0,
            has_deadlines: choice & 16 != 0,
        }
    }

    /// Returns the step of a byte.
    pub(super) fn step(&self, byte: u8) -> TreeStep {
        let mut left = byte % 64;
        for (step, weight) in STEPS.iter().zip(self.weights) {
            if left < weight {
                return *step;
            }
            left -= weight;
        }
        unreachable!("the weights of a mix add up to 64")
    }
}

const _: () = {
    let mut mix = 0;
    while mix < MIXES.len() {
        let (mut sum, mut at) = (0, 0);
        while at < MIXES[mix].len() {
            sum += MIXES[mix][at];
            at += 1;
        }
        assert!(sum == 64, "the weights of a mix add up to 64");
        mix += 1;
    }
};
