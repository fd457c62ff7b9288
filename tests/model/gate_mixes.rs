//! Which steps a run takes, and how often each.

#[derive(Clone, Copy)]
pub(super) enum Op {
    Ask,
    Try,
    Block,
    Poll,
    PollAnew,
    Cancel,
    Release,
    Resize,
    PassTime,
    Drain,
    Handle,
    Close,
    Abandon,
}

/// How often each step is taken, of 64, in the order above. A run keeps to one: a gate that is resized all the time
/// never gets to be crowded, and one that is crowded never to be drained.
pub(super) const MIXES: [[Op; 64]; 8] = [
    // A crowd, and permits that come and go.
    mix([22, 4, 0, 12, 3, 3, 16, 1, 0, 0, 1, 2, 0]),
    // Many who give up.
    mix([20, 2, 0, 6, 4, 16, 10, 3, 0, 1, 0, 2, 0]),
    // A limit that never rests.
    mix([18, 3, 0, 8, 3, 4, 9, 14, 1, 1, 1, 2, 0]),
    // Deadlines.
    mix([22, 2, 1, 11, 6, 3, 8, 1, 8, 0, 0, 2, 0]),
    // Deadlines and limits.
    mix([18, 1, 1, 10, 4, 1, 9, 10, 8, 0, 0, 2, 0]),
    // Drained, again and again.
    mix([12, 4, 0, 9, 1, 6, 16, 2, 1, 11, 0, 2, 0]),
    // Handles, and permits that outlive them.
    mix([17, 9, 1, 9, 1, 4, 9, 2, 1, 1, 7, 1, 2]),
    // Some of all.
    mix([17, 3, 2, 10, 3, 5, 10, 4, 3, 3, 1, 2, 1]),
];

const fn mix(weights: [usize; 13]) -> [Op; 64] {
    use Op::{
        Abandon, Ask, Block, Cancel, Close, Drain, Handle, PassTime, Poll, PollAnew, Release, Resize, Try,
    };
    let all =
        [Ask, Try, Block, Poll, PollAnew, Cancel, Release, Resize, PassTime, Drain, Handle, Close, Abandon];
    let mut ops = [Ask; 64];
    let (mut at, mut kind) = (0, 0);
    while kind < all.len() {
        let end = at + weights[kind];
        while at < end {
            ops[at] = all[kind];
            at += 1;
        }
        kind += 1;
    }
    assert!(at == ops.len(), "a mix has 64 steps");
    ops
}
