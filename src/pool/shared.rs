//! A pool as its handles, leases and tasks share it.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::books::{Books, Entry};
use super::caught::caught;
use super::create::Creation;
use super::effects::{Attempt, Effects, Receiver};
use super::sync::{Mutex, MutexGuard, Runtime, meanwhile};
use super::{CreateError, DiscardReason, Manager, PoolEvent, PoolObserver, PoolStatus};
use crate::gate::{ChangeListener, Gate, Resize, clock};
use crate::jitter::scattered;
use crate::plan::Limit;

/// One pool.
///
/// What may take a lock is a step of the books under it; what that leaves to be done is [done](Self::act) once the lock is
/// free. The order of locks is: books, gate. Both are held for one step only.
pub(super) struct Shared<M: Manager> {
    pub(super) manager: M,
    pub(super) gate: Gate,
    /// Whether nobody else was given the gate.
    pub(super) owns_gate: bool,
    pub(super) create_timeout: Duration,
    /// Whether an item that comes back has its time noted.
    pub(super) notes_time: bool,
    /// Whether an item may be too old to be handed out.
    pub(super) has_lifetime: bool,
    pub(super) observers: Vec<Box<dyn PoolObserver>>,
    pub(super) runtime: Runtime,
    /// Wakes the keeper.
    pub(super) bell: ChangeListener,
    /// Rung when nothing is left.
    pub(super) drained: Notify,
    pub(super) books: Mutex<PoolBooks<M>>,
}

pub(super) type PoolBooks<M> = Books<<M as Manager>::Item, <M as Manager>::Error>;
pub(super) type PoolEffects<M> = Effects<<M as Manager>::Item, <M as Manager>::Error>;

/// A place in line for an item.
pub(super) struct Place<M: Manager> {
    pub(super) ticket: u64,
    pub(super) receiver: Receiver<M::Item, M::Error>,
}

impl<M: Manager> Shared<M> {
    /// The warmest item, if one is idle. `waited` is recorded if it is.
    #[inline]
    pub(super) fn take(self: &Arc<Self>, waited: Option<i64>) -> Option<Entry<M::Item>> {
        if self.has_lifetime {
            return self.take_young(waited);
        }
        let mut books = self.lock();
        let entry = books.take()?;
        if let Some(waited) = waited {
            books.waited(waited);
        }
        Some(entry)
    }

    #[cold]
    fn take_young(self: &Arc<Self>, waited: Option<i64>) -> Option<Entry<M::Item>> {
        let now = clock::now();
        let (entry, effects) = self.step(|books, effects| {
            let entry = books.take_young(now, effects);
            if let (Some(waited), true) = (waited, entry.is_some()) {
                books.waited(waited);
            }
            entry
        });
        self.act(effects);
        entry
    }

    /// The warmest item, or a place in line for one.
    pub(super) fn take_or_want(self: &Arc<Self>, arrived: Option<i64>) -> Result<Entry<M::Item>, Place<M>> {
        let (sender, receiver) = oneshot::channel();
        let now = clock::now();
        let (taken, effects) = self.step(|books, effects| {
            if let Some(entry) = books.take_young(now, effects) {
                if let Some(arrived) = arrived {
                    books.waited(now.saturating_sub(arrived));
                }
                return Ok(entry);
            }
            Err(books.want(sender, arrived, now, self.gate.limit(), effects))
        });
        self.act(effects);
        taken.map_err(|ticket| Place { ticket, receiver })
    }

    /// Gives a place in line up. What had been sent there goes to whoever is next.
    pub(super) fn give_up(self: &Arc<Self>, Place { ticket, mut receiver }: Place<M>) {
        let (in_line, effects) = self.step(|books, effects| books.give_up(ticket, effects));
        self.act(effects);
        meanwhile();
        receiver.close();
        if let Some(entry) = receiver.try_recv().ok().and_then(super::effects::Delivery::into_entry) {
            self.put_in_order(entry);
        }
        drop(in_line); // calls nobody, since nobody listens any more
    }

    /// Takes an item back that is fit to be used again.
    #[inline]
    pub(super) fn give_back(self: &Arc<Self>, entry: Entry<M::Item>) {
        let now = self.notes_time.then(clock::now);
        let mut books = self.lock();
        if books.takes_back(&entry, now) {
            let rings = books.put(entry, now);
            drop(books);
            if rings {
                self.bell.notify_one();
            }
        } else {
            drop(books);
            self.put_in_order(entry);
        }
    }

    #[cold]
    #[inline(never)]
    pub(super) fn put_in_order(self: &Arc<Self>, entry: Entry<M::Item>) {
        let now = self.notes_time.then(clock::now);
        let ((), effects) = self.step(|books, effects| books.put_in_order(entry, now, clock::now, effects));
        self.act(effects);
    }

    /// Drops an item that was in use; it is gone when this returns.
    #[cold]
    #[inline(never)]
    pub(super) fn discard(self: &Arc<Self>, entry: Entry<M::Item>, reason: DiscardReason) {
        let ((), effects) = self.step(|books, effects| books.leave_use(entry, reason, effects));
        self.act(effects);
    }

    /// An item that was in use belongs to somebody else.
    pub(super) fn detach(self: &Arc<Self>) {
        let now = clock::now();
        let ((), effects) = self.step(|books, effects| books.detached(now, self.gate.limit(), effects));
        self.act(effects);
    }

    pub(super) fn resize(self: &Arc<Self>, limit: Limit) -> Resize {
        let resize = self.gate.resize(limit);
        let now = clock::now();
        let ((), effects) = self.step(|books, effects| books.resized(now, self.gate.limit(), effects));
        self.act(effects);
        resize
    }

    /// Hands out nothing from now on.
    pub(super) fn close(self: &Arc<Self>) {
        let ((), effects) = self.step(PoolBooks::<M>::close);
        self.act(effects);
    }

    /// Nobody makes items from now on.
    pub(super) fn abandon(self: &Arc<Self>) {
        let ((), effects) = self.step(PoolBooks::<M>::abandon);
        self.act(effects);
    }

    /// What the keeper does; says when to come back.
    pub(super) fn keep_up(self: &Arc<Self>) -> i64 {
        if self.gate.is_closed() {
            self.close();
        }
        let now = clock::now();
        let (due, effects) = self.step(|books, effects| books.keep_up(now, self.gate.limit(), effects));
        self.act(effects);
        due
    }

    /// Whether a creation may begin. If not, it is over.
    pub(super) fn begins(self: &Arc<Self>, attempt: Attempt) -> bool {
        let (begins, effects) = self.step(|books, effects| books.begins(attempt, self.gate.limit(), effects));
        self.act(effects);
        begins
    }

    /// What a creation came to.
    pub(super) fn created(
        self: &Arc<Self>,
        creation: &Creation<M>,
        outcome: Result<M::Item, CreateError<M::Error>>,
    ) {
        let (attempt, began, now) = (creation.attempt, creation.began, clock::now());
        let mut told = None;
        let ((), mut effects) = self.step(|books, effects| match outcome {
            Ok(item) => books.created(attempt, item, began, now, self.gate.limit(), effects),
            Err(error) => {
                books.failed(attempt, &error, now, self.gate.limit(), scattered, effects);
                told = Some(error);
            }
        });
        if let Some(error) = told {
            let gate = self.gate.name();
            effects.events.insert(0, PoolEvent::CreateFailed { gate, error: Arc::new(error) });
        }
        self.act(effects);
    }

    pub(super) fn status(&self) -> PoolStatus {
        let now = clock::now();
        let mut status = self.lock().status(now, self.gate.limit());
        status.waiting = status.waiting.saturating_add(self.gate.status().waiting);
        status
    }

    /// A step of the books, and what it leaves to be done.
    pub(super) fn step<T>(
        &self,
        step: impl FnOnce(&mut PoolBooks<M>, &mut PoolEffects<M>) -> T,
    ) -> (T, PoolEffects<M>) {
        let mut effects = Effects::default();
        let done = step(&mut self.lock(), &mut effects);
        (done, effects)
    }

    /// Does what steps have left to be done, and what comes of that. No panic of the user's code gets in the way.
    pub(super) fn act(self: &Arc<Self>, mut effects: PoolEffects<M>) {
        loop {
            let mut returned = Vec::new();
            for (sender, delivery) in effects.deliveries.drain(..) {
                meanwhile();
                // A waker that panics has been called, and what was sent is where it was to go.
                if let Ok(Err(refused)) = caught(|| sender.send(delivery)) {
                    returned.extend(refused.into_entry());
                }
            }
            for attempt in effects.attempts.drain(..) {
                self.runtime.spawn(Creation::new(Arc::clone(self), attempt).run());
            }
            if effects.rings {
                self.bell.notify_one();
            }
            meanwhile();
            let leaving = effects.leaving.len();
            for item in effects.leaving.drain(..) {
                let _ = caught(|| drop(item));
            }
            self.tell(&effects.events);
            if effects.drained {
                self.drained.notify_waiters();
            }
            if returned.is_empty() && leaving == 0 {
                return;
            }
            let now = clock::now();
            effects = Effects::default();
            let mut books = self.lock();
            for entry in returned {
                books.put_in_order(entry, Some(now), || now, &mut effects);
            }
            if leaving > 0 {
                books.gone(leaving, now, self.gate.limit(), &mut effects);
            }
        }
    }

    fn tell(&self, events: &[PoolEvent]) {
        for event in events {
            for observer in &self.observers {
                let _ = caught(|| observer.observe(event));
            }
        }
    }

    /// Nothing panics under this lock, so a poisoned one would hold whole books all the same.
    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, PoolBooks<M>> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
