//! The kinds of steps, and how often a run takes each of them.

#[derive(Clone, Copy)]
pub(super) enum StepKind {
    Acquire,
    TryAcquire,
    AcquireBlocking,
    Poll,
    PollWithNewWaker,
    Cancel,
    Release,
    Resize,
    AdvanceTime,
    Drained,
    ChangeHandles,
    Close,
    DropHandles,
    PauseOrResume,
}

/// How many of 64 steps are of each kind, in the order of [`StepKind`].
///
/// Each gate uses one mix for all its steps. No single mix reaches every state: a gate that is resized all
/// the time never gets a long queue, and a gate with a long queue is never drained.
pub(super) const STEP_MIXES: [[StepKind; 64]; 8] = [
    // A long queue, with permits acquired and released.
    mix([22, 4, 0, 12, 3, 3, 16, 1, 0, 0, 1, 2, 0, 0]),
    // Many cancellations.
    mix([20, 2, 0, 6, 4, 16, 10, 3, 0, 1, 0, 2, 0, 0]),
    // A limit that changes often.
    mix([18, 3, 0, 8, 3, 4, 9, 14, 1, 1, 1, 2, 0, 0]),
    // Deadlines.
    mix([22, 2, 1, 11, 6, 3, 8, 1, 8, 0, 0, 2, 0, 0]),
    // Deadlines and changes of the limit.
    mix([18, 1, 1, 10, 4, 1, 9, 10, 8, 0, 0, 2, 0, 0]),
    // A gate that is often drained.
    mix([12, 4, 0, 9, 1, 6, 16, 2, 1, 11, 0, 2, 0, 0]),
    // Handles, and permits that outlive them.
    mix([17, 9, 1, 9, 1, 4, 9, 2, 1, 1, 7, 1, 2, 0]),
    // Steps of every kind.
    mix([17, 3, 2, 10, 3, 4, 8, 4, 3, 3, 1, 2, 1, 3]),
];

const fn mix(weights: [usize; 14]) -> [StepKind; 64] {
    use StepKind::{
        Acquire, AcquireBlocking, AdvanceTime, Cancel, ChangeHandles, Close, Drained, DropHandles,
        PauseOrResume, Poll, PollWithNewWaker, Release, Resize, TryAcquire,
    };
    let kinds = [
        Acquire,
        TryAcquire,
        AcquireBlocking,
        Poll,
        PollWithNewWaker,
        Cancel,
        Release,
        Resize,
        AdvanceTime,
        Drained,
        ChangeHandles,
        Close,
        DropHandles,
        PauseOrResume,
    ];
    let mut steps = [Acquire; 64];
    let (mut at, mut kind) = (0, 0);
    while kind < kinds.len() {
        let end = at + weights[kind];
        while at < end {
            steps[at] = kinds[kind];
            at += 1;
        }
        kind += 1;
    }
    assert!(at == steps.len(), "the weights of a mix add up to 64");
    steps
}
