//! The links of the line: a list whose nodes are part of the futures and stack frames that wait, so that waiting takes
//! no memory of its own and leaving no search. Four rules make it sound, whatever safe code does:
//!
//! 1. **A node in a chain stays where it is.** It joins by `Pin<&mut Node>`, and dropping one that is in a chain ends the
//!    process. Its owner does not let that happen: it leaves first.
//! 2. **A node's place belongs to the chain it is in**, which its state names and whose links lead to it until its
//!    [fate](Fate) is decided; else to its owner. Only a call with `&mut` to both puts it there, and only one with `&mut`
//!    to the chain, reached by its links or having looked at the state, takes it out.
//! 3. **A node's waker is written only by calls with `&mut` to both.** A chain reads it to take it out, and its owner to
//!    compare it, at the same time at most.
//! 4. **Deciding a node's fate is the last that a chain does to it.** It may be gone an instant later.

#![expect(unsafe_code, reason = "the chain runs through the futures that wait in it")]

use std::marker::PhantomPinned;
use std::mem::{self, MaybeUninit};
use std::pin::Pin;
use std::process;
use std::ptr::NonNull;
use std::task::Waker;

use super::acquire::Acquire;
use super::sync::{AtomicU64, Counter, Ordering, UnsafeCell};
use super::wait::{End, Fate, Stage, Taken, Timer, Wait};

/// One that waits, has waited, or may yet.
#[repr(C)] // what leaving and handing on touch stands together
pub(super) struct Node {
    pub(super) weight: u32,
    /// Its owner's alone, who so need not look at the state of one that never waited.
    stage: Stage,
    /// The number of the chain it is or was in, and its fate there.
    state: AtomicU64,
    /// Holds a waker while its fate is [`Waiting`](Fate::Waiting).
    waker: UnsafeCell<MaybeUninit<Waker>>,
    /// Holds one from when it first joins a chain.
    place: UnsafeCell<MaybeUninit<Place>>,
    _pinned: PhantomPinned,
}

struct Place {
    before: Option<NonNull<Node>>,
    after: Option<NonNull<Node>>,
    wait: Wait,
}

impl Node {
    #[inline]
    pub(super) fn new(weight: u32) -> Self {
        Self {
            state: AtomicU64::new(0),
            waker: UnsafeCell::new(MaybeUninit::uninit()),
            place: UnsafeCell::new(MaybeUninit::uninit()),
            weight,
            stage: Stage::New,
            _pinned: PhantomPinned,
        }
    }

    #[inline]
    pub(super) const fn stage(&self) -> Stage {
        self.stage
    }

    /// What became of it, if it has joined a chain. Acquire: whoever finds itself admitted sees what was done under the
    /// permits that came back for it.
    #[inline]
    pub(super) fn fate(&self) -> Fate {
        let has_joined = matches!(self.stage, Stage::Joined);
        if has_joined { Fate::of(self.state.load(Ordering::Acquire)) } else { Fate::Left }
    }

    /// What became of it: `None` unless it has been admitted, which ends it, or waits and will be woken by `waker`.
    #[inline]
    pub(super) fn look(self: Pin<&mut Self>, waker: &Waker) -> Option<Fate> {
        // SAFETY: one that waits holds a waker. It may have been taken out since; but nothing has written there (3), and
        // only addresses are compared, of which those of a live waker were there when it was found to wait.
        let is_known = |own: *const MaybeUninit<Waker>| unsafe { (*own).assume_init_ref() }.will_wake(waker);
        let fate = self.fate();
        match fate {
            // SAFETY: it is not moved.
            Fate::Admitted => unsafe { self.get_unchecked_mut() }.stage = Stage::Resolved,
            Fate::Waiting if self.waker.with(is_known) => {}
            _ => return None,
        }
        Some(fate)
    }

    /// What there is to know of its end.
    pub(super) fn note(&self) -> Option<i64> {
        // SAFETY: it has been in a chain and so has a place, which is its owner's by now (2).
        let note = |own: *const MaybeUninit<Place>| unsafe { (*own).assume_init_ref() }.wait.since;
        matches!(self.fate(), Fate::Expired | Fate::TooLarge).then(|| self.place.with(note))
    }

    /// Goes on to a stage in which it is in no chain, if this says so; nothing while it is in one.
    #[inline]
    pub(super) fn enter_if(self: Pin<&mut Self>, stage: Stage, is_so: impl FnOnce() -> bool) -> bool {
        let enters = !self.fate().is_in_line() && is_so();
        if enters {
            // SAFETY: it is not moved.
            unsafe { self.get_unchecked_mut() }.stage = stage;
        }
        enters
    }
}

impl Drop for Node {
    #[inline]
    fn drop(&mut self) {
        if self.fate().is_in_line() {
            process::abort(); // (1): the chain would run on through memory that is somebody else's
        }
        // By now both are its owner's alone (2, 4). That does nothing, but for a model checker, which holds it to be so.
        self.waker.with_mut(|_| {});
        self.place.with_mut(|_| {});
    }
}

// SAFETY: a node goes to another thread with its owner. What others do to it meanwhile is by rules 2 to 4.
unsafe impl Send for Node {}
// SAFETY: `&Node` reads what is atomic, and what nobody writes meanwhile (3, 4).
unsafe impl Sync for Node {}

/// Nodes in order of arrival.
pub(super) struct Chain {
    /// No other chain has it.
    number: u64,
    head: Option<NonNull<Node>>,
    tail: Option<NonNull<Node>>,
}

// SAFETY: its nodes may be used from any thread, by whoever has `&mut` to it (2).
unsafe impl Send for Chain {}

impl Chain {
    pub(super) fn new() -> Self {
        static CHAINS: Counter = Counter::new(1);
        Self { number: CHAINS.fetch_add(1, Ordering::Relaxed), head: None, tail: None }
    }

    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// Puts a node at the end. It must not be in a chain.
    #[inline]
    pub(super) fn join(&mut self, node: Pin<&mut Node>, waker: Waker, wait: Wait) {
        assert!(!node.fate().is_in_line(), "a node is in one chain at a time");
        let node = address(node);
        let place = Place { before: self.tail, after: None, wait };
        // SAFETY: it is in no chain, so it is its owner's (2, 3), who has lent it by `&mut`.
        unsafe {
            (*node.as_ptr()).waker.with_mut(|own| (*own).write(waker));
            (*node.as_ptr()).place.with_mut(|own| (*own).write(place));
            (*node.as_ptr()).stage = Stage::Joined;
            (*node.as_ptr()).state.store(Fate::Waiting.in_chain(self.number), Ordering::Relaxed);
        }
        match self.tail.replace(node) {
            Some(last) => self.place(last).after = Some(node),
            None => self.head = Some(node),
        }
    }

    /// Has a node in this chain, of this fate, woken by another waker from now on; gives back what is of no use then.
    pub(super) fn rewake(&mut self, node: Pin<&mut Node>, fate: Fate, waker: Waker) -> Option<Waker> {
        let is_so = node.fate() == fate;
        let Some(node) = self.find(node).filter(|_| is_so) else { return Some(waker) };
        let before = self.decide(node, Fate::Waiting);
        // SAFETY: both have been lent by `&mut` (3).
        unsafe { (*node.as_ptr()).waker.with_mut(|own| (*own).write(waker)) };
        before
    }

    /// Has another timer watch a node in this chain from now on; gives back its wait as it was.
    pub(super) fn watch(&mut self, node: Pin<&mut Node>, timer: Timer) -> Option<Wait> {
        let wait = &mut self.place(self.find(node)?).wait;
        Some(mem::replace(wait, Wait { timer, ..*wait }))
    }

    /// Notes that nothing watches what a timer did, and shows whom to wake for that.
    pub(super) fn unwatch(&mut self, timer: Timer, mut each: impl FnMut(Waker)) {
        let mut at = self.head;
        while let Some(node) = at {
            let Place { after, wait, .. } = self.place(node);
            at = *after;
            if wait.timer == timer {
                self.decide(node, Fate::Unwatched).into_iter().for_each(&mut each);
            }
        }
    }

    /// Takes out nodes from the first on, for as long as it is said of each whether to.
    #[inline]
    pub(super) fn take_each(
        &mut self,
        end: End,
        mut is_asked: impl FnMut(&Wait) -> Option<bool>,
        mut each: impl FnMut(Taken),
    ) {
        let mut at = self.head;
        while let Some(node) = at {
            at = self.place(node).after;
            match is_asked(&self.place(node).wait) {
                Some(true) => each(self.take(node, end)),
                Some(false) => {}
                None => return,
            }
        }
    }

    /// Takes out the first node, if that is said of it and the one behind it.
    #[inline]
    pub(super) fn admit(&mut self, is_asked: impl FnOnce(&Wait, Option<&Wait>) -> bool) -> Option<Taken> {
        let first = self.head?;
        let &mut Place { after, wait, .. } = self.place(first);
        let second = after.map(|second| self.place(second).wait);
        is_asked(&wait, second.as_ref()).then(|| self.take(first, End::Admitted))
    }

    /// Takes out this node, if that is said of it and of whether it is first; `None` also if it is not in this chain.
    #[inline]
    pub(super) fn take_this(
        &mut self,
        node: Pin<&mut Node>,
        end: End,
        is_asked: impl FnOnce(&Wait, bool) -> bool,
    ) -> Option<Taken> {
        let node = self.find(node)?;
        let Place { before, wait, .. } = self.place(node);
        is_asked(wait, before.is_none()).then(|| self.take(node, end))
    }

    #[inline]
    fn take(&mut self, node: NonNull<Node>, end: End) -> Taken {
        let Place { before, after, wait: ref mut own } = *self.place(node);
        let wait = *own;
        own.since = end.note(&wait);
        match before {
            Some(before) => self.place(before).after = after,
            None => self.head = after,
        }
        match after {
            Some(after) => self.place(after).before = before,
            None => self.tail = before,
        }
        Taken { waker: self.decide(node, end.fate()), wait, was_first: before.is_none() }
    }

    /// Where a node is, if it is in this chain.
    #[inline]
    fn find(&self, node: Pin<&mut Node>) -> Option<NonNull<Node>> {
        let is_here = Fate::is_in_line_of(node.state.load(Ordering::Relaxed), self.number);
        is_here.then(|| address(node))
    }

    /// The place of a node in this chain.
    #[expect(clippy::unused_self, reason = "`&mut` to the chain is what allows it")]
    #[inline]
    fn place(&mut self, node: NonNull<Node>) -> &mut Place {
        // SAFETY: it is in this chain, so it is there (1) and has a place, the chain's (2), which is `&mut` here.
        unsafe { (*(*node.as_ptr()).place.with_mut(|place| place)).assume_init_mut() }
    }

    /// Decides the fate of a node in this chain (4), and takes its waker, if it holds one; who has it wait writes another.
    /// Release: what led to it comes before its reader.
    #[inline]
    fn decide(&mut self, node: NonNull<Node>, fate: Fate) -> Option<Waker> {
        // SAFETY: it is in this chain until this is done, so it is there (1), and holds a waker if it waits.
        unsafe {
            let waits = Fate::of((*node.as_ptr()).state.load(Ordering::Relaxed)) == Fate::Waiting;
            let waker = waits.then(|| (*node.as_ptr()).waker.with(|own| (*own).assume_init_read()));
            (*node.as_ptr()).state.store(fate.in_chain(self.number), Ordering::Release);
            waker
        }
    }
}

/// Where a request has its node, which is pinned whenever the request is.
impl<P> Acquire<'_, P> {
    #[inline]
    pub(super) fn node(self: Pin<&mut Self>) -> Pin<&mut Node> {
        // SAFETY: nothing moves it out of a pinned request.
        unsafe { self.map_unchecked_mut(|request| &mut request.node) }
    }
}

impl<P> Drop for Acquire<'_, P> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: if it is pinned it stays so, and if not, nothing is made of that before it is gone.
        unsafe { Pin::new_unchecked(self) }.leave();
    }
}

/// Where a node stays until it is dropped.
#[inline]
fn address(node: Pin<&mut Node>) -> NonNull<Node> {
    // SAFETY: nothing is moved through what this makes, and nothing dropped.
    NonNull::from(unsafe { node.get_unchecked_mut() })
}

#[cfg(test)]
pub(super) mod tests {
    use std::env;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::pin::pin;
    use std::process::Command;

    use super::*;
    use crate::gate::clock::NEVER;

    /// Holds that a step ends the process that takes it, or does not: another run of the test named, of which it is a part.
    pub(in crate::gate) fn assert_ends_the_process(test: &str, part: usize, ends: bool, step: impl FnOnce()) {
        const PART: &str = "GATE_TEST_PART";
        match env::var(PART) {
            Ok(taken) if taken == part.to_string() => {
                step();
                process::exit(0);
            }
            Ok(_) => {}
            Err(_) => {
                let mut run = Command::new(env::current_exe().unwrap());
                let ended = run.args(["--exact", test]).env(PART, part.to_string()).output().unwrap();
                let status = ended.status;
                assert!(status.code() != Some(101) && status.success() != ends, "{status}"); // 101: a test failed
            }
        }
    }

    fn join(chain: &mut Chain, node: Pin<&mut Node>) {
        let wait = Wait { weight: 1, timer: Timer::NONE, sample: 0, since: 0, deadline: NEVER };
        chain.join(node, Waker::noop().clone(), wait);
    }

    /// A node that is in a chain joins none and goes on to no other stage, until it is taken out.
    #[test]
    fn node_in_a_chain_stays_there() {
        let (mut chain, mut another, mut node) = (Chain::new(), Chain::new(), pin!(Node::new(1)));
        join(&mut chain, node.as_mut());
        assert!(catch_unwind(AssertUnwindSafe(|| join(&mut another, node.as_mut()))).is_err());
        assert!(!node.as_mut().enter_if(Stage::New, || true) && node.stage() == Stage::Joined);
        assert!(another.take_this(node.as_mut(), End::GivenUp, |_, _| true).is_none());
        assert!(chain.take_this(node.as_mut(), End::GivenUp, |_, is_first| is_first).is_some());
        assert!(node.as_mut().enter_if(Stage::New, || true) && node.stage() == Stage::New);
        join(&mut another, node.as_mut());
        assert!(another.take_this(node, End::GivenUp, |_, _| true).is_some());
    }

    /// A node that is dropped in a chain ends the process.
    #[test]
    fn node_dropped_in_a_chain_ends_the_process() {
        const TEST: &str = "gate::chain::tests::node_dropped_in_a_chain_ends_the_process";
        assert_ends_the_process(TEST, 0, true, || {
            let mut chain = Chain::new();
            join(&mut chain, pin!(Node::new(1)));
        });
    }
}
