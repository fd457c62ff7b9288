//! What of a gate takes `unsafe`: what is behind its lock; and the links of its line, a list whose nodes are part of the
//! futures and stack frames that wait. Four rules make the list sound, whatever safe code does:
//!
//! 1. **A node in a chain stays where it is.** It joins by `Pin<&mut Node>`, and dropping one that is in a chain ends the
//!    process. Its owner does not let that happen: it leaves first.
//! 2. **A node's place belongs to the chain it is in**, which its state names and whose links lead to it until its
//!    [fate](Fate) is decided; else to its owner. Only a call with `&mut` to both puts it there, and only one with `&mut`
//!    to the chain, reached by its links or having looked at the state, takes it out.
//! 3. **A node's waker is written only by calls with `&mut` to both.** Else both may read it, even at once.
//! 4. **Deciding a node's fate is the last that a chain does to it.** It may be gone an instant later.

#![expect(unsafe_code, reason = "the line runs through the futures that wait in it, and the lock is our own")]

use std::cell::Cell;
use std::marker::PhantomPinned;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::Waker;

use super::abort::abort_if;
use super::acquire::Acquire;
use super::sync::{AtomicU64, Counter, Held, Lock, Ordering, UnsafeCell};
use super::wait::{End, Fate, Stage, Taken, Wait};

/// One that waits, has waited, or may yet.
#[repr(C)] // what leaving and handing on touch stands together
pub(super) struct Node {
    pub(super) weight: u32,
    /// Its owner's alone, who so need not look at the state of one that never waited.
    stage: Cell<Stage>,
    /// The number of the chain it is or was in, and its fate there.
    state: AtomicU64,
    /// Holds a waker while its fate is [`Waiting`](Fate::Waiting).
    waker: UnsafeCell<MaybeUninit<Waker>>,
    /// Holds one from when it first joins a chain.
    place: UnsafeCell<MaybeUninit<Place>>,
    _pinned: PhantomPinned,
}

struct Place {
    before: Option<NonNull<Node>>, // may be gone if this is the first
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
            stage: Cell::new(Stage::New),
            _pinned: PhantomPinned,
        }
    }

    #[inline]
    pub(super) fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// What became of it in a chain. Acquire: what was done under its permits before happens before what is done now.
    #[inline]
    pub(super) fn fate(&self) -> Fate {
        if self.stage() == Stage::Joined { Fate::of(self.state.load(Ordering::Acquire)) } else { Fate::Left }
    }

    /// What became of it: `None` unless it has been admitted, which ends it, or waits and will be woken by `waker`.
    #[inline]
    pub(super) fn look(self: Pin<&mut Self>, waker: &Waker) -> Option<Fate> {
        // SAFETY: one that waits holds a waker. It may have been taken out since; but nothing has written there (3), and
        // only addresses are compared, of which those of a live waker were there when it was found to wait.
        let is_known = |own: *const MaybeUninit<Waker>| unsafe { (*own).assume_init_ref() }.will_wake(waker);
        let fate = self.fate();
        match fate {
            Fate::Admitted => self.stage.set(Stage::Resolved),
            Fate::Waiting if self.waker.with(is_known) => {}
            _ => return None,
        }
        Some(fate)
    }

    /// What became of it, which ends it, and what there is to know of that; `None` while it is in a chain.
    #[inline]
    pub(super) fn conclude(self: Pin<&mut Self>) -> Option<(Fate, i64)> {
        // SAFETY: it has been in a chain and so has a place, which is its owner's by now (2).
        let note = |own: *const MaybeUninit<Place>| unsafe { (*own).assume_init_ref() }.wait.since;
        let fate = Some(self.fate()).filter(|fate| !fate.is_in_line())?;
        self.stage.set(Stage::Resolved);
        Some((fate, if fate == Fate::Left { 0 } else { self.place.with(note) }))
    }

    /// Goes on to a stage in which it is in no chain, if this says so; nothing while it is in one.
    #[inline]
    pub(super) fn enter_if(self: Pin<&mut Self>, stage: Stage, is_so: impl FnOnce() -> bool) -> bool {
        let enters = !self.fate().is_in_line() && is_so();
        enters.then(|| self.stage.set(stage)).is_some()
    }
}

impl Drop for Node {
    #[inline]
    fn drop(&mut self) {
        abort_if(self.fate().is_in_line()); // (1): the chain would run on through memory that is somebody else's
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
    number: u64, // no other chain has it
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
        abort_if(node.fate().is_in_line()); // (2)
        // SAFETY: of both, it is in no chain, so they are its owner's (2, 3), who has lent it by `&mut`.
        node.waker.with_mut(|own| unsafe { &mut *own }.write(waker));
        node.place.with_mut(|own| unsafe { &mut *own }.write(Place { before: self.tail, after: None, wait }));
        node.stage.set(Stage::Joined);
        node.state.store(Fate::Waiting.in_chain(self.number), Ordering::Relaxed);
        let node = NonNull::from(node.into_ref().get_ref());
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

    /// The wait of a node in this chain.
    pub(super) fn wait(&mut self, node: Pin<&mut Node>) -> Option<&mut Wait> {
        Some(&mut self.place(self.find(node)?).wait)
    }

    /// Takes out nodes from the first on, for as long as it is said of each whether to; says whether another is first then.
    #[inline]
    pub(super) fn take_each(
        &mut self,
        end: End,
        mut is_asked: impl FnMut(&Wait) -> Option<bool>,
        mut each: impl FnMut(Taken),
    ) -> bool {
        let (first, mut at) = (self.head, self.head);
        while let Some(node) = at {
            at = self.place(node).after;
            match is_asked(&self.place(node).wait) {
                Some(true) => each(self.take(node, end)),
                Some(false) => {}
                None => break,
            }
        }
        self.head != first
    }

    /// Takes out the first node, if it is said what that leaves, and the one behind it asks for more.
    pub(super) fn admit(&mut self, leaves: impl FnOnce(&Wait) -> Option<u32>) -> Option<Taken> {
        let first = self.head?;
        let &mut Place { after, wait, .. } = self.place(first);
        let left = leaves(&wait)?;
        // Where nothing is left nobody looks at the second, which another core may have at hand.
        let is_all = left == 0 || after.is_none_or(|second| self.place(second).wait.weight > left);
        is_all.then(|| self.take(first, End::Admitted))
    }

    /// Takes out this node, if that is said of it and of whether it is first; `None` also if it is not in this chain.
    pub(super) fn take_this(
        &mut self,
        node: Pin<&mut Node>,
        end: End,
        is_asked: impl FnOnce(&Wait, bool) -> bool,
    ) -> Option<Taken> {
        let node = self.find(node)?;
        let is_first = self.head == Some(node);
        is_asked(&self.place(node).wait, is_first).then(|| self.take(node, end))
    }

    /// Ends the wait of a node in this chain; one that is only unwatched stays.
    #[inline]
    fn take(&mut self, node: NonNull<Node>, end: End) -> Taken {
        let is_first = self.head == Some(node);
        let Place { before, after, wait: ref mut own } = *self.place(node);
        let wait = *own;
        own.since = end.note(&wait);
        match before {
            _ if end.stays() => {}
            Some(before) if !is_first => self.place(before).after = after,
            _ => (self.head, self.tail) = (after, after.and(self.tail)),
        }
        match after {
            _ if end.stays() || is_first => {}
            Some(after) => self.place(after).before = before,
            None => self.tail = before,
        }
        Taken { waker: self.decide(node, end.fate()), wait, was_first: is_first }
    }

    /// Where a node is, if it is in this chain.
    #[inline]
    fn find(&self, node: Pin<&mut Node>) -> Option<NonNull<Node>> {
        let is_here = Fate::is_in_line_of(node.state.load(Ordering::Relaxed), self.number);
        is_here.then(|| NonNull::from(node.into_ref().get_ref()))
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

/// A lock, and what is behind it.
#[repr(C)] // in this order, for the sake of where it stands in a gate
pub(super) struct Locked<T>(pub(super) Lock, UnsafeCell<T>);

// SAFETY: one thread has it at a time.
unsafe impl<T: Send> Sync for Locked<T> {}

impl<T> Locked<T> {
    pub(super) fn new(own: T) -> Self {
        Self(Lock::default(), UnsafeCell::new(own))
    }

    #[inline]
    pub(super) fn get<'h>(&'h self, held: &'h mut Held<'_>) -> &'h mut T {
        assert!(held.is_of(&self.0), "what is behind one lock is not had by another");
        // SAFETY: whoever has the lock has it alone, and has lent it for as long.
        self.1.with_mut(|own| unsafe { &mut *own })
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

#[cfg(test)]
pub(super) mod tests;
