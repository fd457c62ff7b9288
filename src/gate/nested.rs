//! Nested requests: work that holds a permit asks for more, and never waits for itself.
//!
//! A [`LendingPermit`] of a nested request has a parent, which may have a parent of its own; together they are its ancestors. Each permit
//! that lends has an *account*: an internal gate whose limit is the weight of the permit. A nested request that its own gate cannot admit
//! borrows: it acquires from the account of its parent. So a wait for a loan has the queue, the deadlines and the cancellation of any gate,
//! and the gate of the request knows nothing of loans.

use std::borrow::Cow;
use std::fmt;
use std::future::{Future, poll_fn};
use std::mem;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::Notify;
use tokio::task::coop;
use tokio::time::Instant;

use super::acquire::{RequestOptions, reject};
use super::blocking;
use super::clock::{self, NEVER};
use super::counters::Counter;
use super::error::{AcquireError, TryAcquireError};
use super::handle::Gate;
use super::permit::OwnedPermit;
use super::queue::fair::Ownership;
use super::request::Request;
use super::sync::Mutex;
use crate::plan::Limit;

/// A permit whose work makes requests of its own; from [`OwnedPermit::lend`], and from each request [under](Request::under) another one.
///
/// A nested request never waits for room that its own work holds. If the gate has no room, it *borrows* the permits of its
/// parent: these are lent until the nested permit is dropped, and counted once. So work that waits for its nested work cannot
/// deadlock, whatever the limit is, as long as no nested request is heavier than the permit of its parent.
///
/// Clones are handles of the same permit. It is released when the last clone and the last permit under it are dropped.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use concurrency_governor::{Gate, GateName, Limit};
///
/// let agents = Gate::new(GateName::new("agents"), Limit::new(1));
/// let agent = agents.acquire_owned().await?.lend();
/// // The only permit is in use. A plain request would wait for ever, because the agent waits for its tool.
/// let tool = agents.request().under(&agent).acquire().await?;
/// assert_eq!((tool.is_borrowed(), agents.in_use()), (true, 1));
/// # drop(tool);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a permit that is dropped at once protects no work"]
pub struct LendingPermit {
    work: Arc<Work>,
}

/// One piece of work with its permits.
struct Work {
    gate: Gate,
    weight: u32,
    /// The permits that the gate has admitted for this work. `None` if all were borrowed.
    own: Option<OwnedPermit>,
    /// The permits that were borrowed, from the accounts of the ancestors.
    loans: Vec<OwnedPermit>,
    /// What nested work can borrow: a gate with as many permits as the work has. Created when a loan is first planned.
    account: Mutex<Option<Gate>>,
    /// The work that this one is part of. Its permits stay in use for as long as this work exists.
    parent: Option<Arc<Work>>,
}

impl OwnedPermit {
    /// Turns the permit into one whose work may make nested requests, with [`Request::under`].
    pub fn lend(self) -> LendingPermit {
        let (gate, weight) = (self.gate().clone(), self.weight());
        LendingPermit::new(gate, weight, Obtained { own: Some(self), loans: Vec::new() }, None)
    }
}

impl<'g> Request<'g> {
    /// Makes the request for work that is part of the work of `permit`, its parent. It never waits for room that its parent or another
    /// ancestor holds.
    ///
    /// 1. If the gate has room and no waiting request comes first, it is admitted as any other request.
    /// 2. Otherwise it borrows the permits of its parent. That also works while the gate is paused or closed or its queue is full: the
    ///    work has been admitted before. It waits while other nested requests have borrowed these permits, until one of those ends or the
    ///    gate has room.
    /// 3. If it is heavier than its parent, it borrows from further ancestors as well. If it is heavier than all of them together, it
    ///    borrows all of them and waits in the queue for the rest. Two such requests can wait for each other, like any work that holds
    ///    permits while it waits for more. Nested requests that are no heavier than their parents cannot.
    ///
    /// The ancestors may hold permits of several gates. The request borrows only those that count at its own gate: permits of that gate,
    /// or of a gate or a key within it. If the ancestors hold permits of another gate of the same tree, a wait at the gate of the
    /// request could be a wait for room that they hold further up. So the request then does not wait for permits that it cannot borrow: it
    /// is rejected with [`AcquireError::SelfWait`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use concurrency_governor::{Gate, GateName, Limit};
    ///
    /// let agents = Gate::new(GateName::new("agents"), Limit::new(3));
    /// let agent = agents.acquire_owned().await?.lend();
    /// let tools: Vec<_> = (0..2).map(|_| agents.request().under(&agent).try_acquire()).collect::<Result<_, _>>()?;
    /// assert_eq!(agents.in_use(), 3); // there was room, so nothing was borrowed
    /// # drop(tools);
    /// # Ok(())
    /// # }
    /// ```
    pub fn under(self, permit: &LendingPermit) -> NestedRequest<'g> {
        NestedRequest { request: self, parent: permit.clone() }
    }
}

/// A request for work that is part of other work; from [`Request::under`].
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it acquires"]
pub struct NestedRequest<'g> {
    request: Request<'g>,
    parent: LendingPermit,
}

impl NestedRequest<'_> {
    /// Waits for the permits. Deadlines count for the wait in the queue and for the wait for borrowed permits alike. The future has
    /// handles of its own, so it can be spawned.
    ///
    /// # Errors
    ///
    /// The future resolves to [`AcquireError`] if the request is rejected, on arrival or while it waits.
    ///
    /// # Panics
    ///
    /// As [`Acquire`](super::Acquire).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future removes the request from all queues, and releases the permits that it was granted.
    #[track_caller]
    pub fn acquire(self) -> impl Future<Output = Result<LendingPermit, AcquireError>> + Send + use<> {
        NestedWork::of(self, Location::caller()).acquire()
    }

    /// Acquires the permits if the gate has room and no waiting request comes first, or if they can be borrowed now. Deadlines have no
    /// effect.
    ///
    /// # Errors
    ///
    /// [`TryAcquireError`] of the gate if the permits are neither available nor can be borrowed now.
    #[track_caller]
    pub fn try_acquire(self) -> Result<LendingPermit, TryAcquireError> {
        let work = NestedWork::of(self, Location::caller());
        match work.try_obtain() {
            Some(obtained) => Ok(work.into_permit(obtained)),
            // This attempt counts the rejection. It may succeed if permits were released since the last attempt.
            None => work.request(&work.gate, work.options.weight).try_acquire_owned().map(|own| {
                let obtained = Obtained { own: Some(own), loans: Vec::new() };
                work.into_permit(obtained)
            }),
        }
    }

    /// Blocks the thread until the permits are acquired; see [`Gate::acquire_blocking`].
    ///
    /// # Errors
    ///
    /// [`AcquireError`] if the request is rejected, on arrival or while it waits.
    ///
    /// # Panics
    ///
    /// If the thread runs asynchronous tasks.
    #[track_caller]
    pub fn acquire_blocking(self) -> Result<LendingPermit, AcquireError> {
        NestedWork::of(self, Location::caller()).acquire_blocking()
    }
}

impl LendingPermit {
    fn new(gate: Gate, weight: u32, obtained: Obtained, parent: Option<Arc<Work>>) -> Self {
        let Obtained { own, loans } = obtained;
        Self { work: Arc::new(Work { gate, weight, own, loans, account: Mutex::new(None), parent }) }
    }

    /// Returns the number of permits, borrowed ones included.
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.work.weight
    }

    /// Returns the gate.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.work.gate
    }

    /// Returns `true` if some of the permits are borrowed.
    #[must_use]
    pub fn is_borrowed(&self) -> bool {
        !self.work.loans.is_empty()
    }

    /// Names what the permits are used for; see [`OwnedPermit::label`]. It has no effect if all of them are borrowed.
    pub fn label(&self, label: impl Into<Cow<'static, str>>) {
        if let Some(own) = &self.work.own {
            own.label(label);
        }
    }
}

impl fmt::Debug for LendingPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LendingPermit")
            .field("gate", &self.work.gate.name())
            .field("weight", &self.work.weight)
            .field("borrowed", &self.work.borrowed())
            .finish_non_exhaustive()
    }
}

impl Work {
    /// Returns the gate that lends the permits of this work.
    fn account(&self) -> Gate {
        let mut account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        let create = || {
            let limit = Limit::saturating(self.weight.into());
            Gate::builder(self.gate.name(), limit).measure_waits(false).build()
        };
        account.get_or_insert_with(create).clone()
    }

    /// Returns `true` if this work has lent these permits.
    fn has_lent(&self, loan: &OwnedPermit) -> bool {
        let account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        account.as_ref().is_some_and(|account| account.is_same(loan.gate()))
    }

    fn borrowed(&self) -> u32 {
        self.loans.iter().fold(0, |sum, loan| sum.saturating_add(loan.weight()))
    }
}

/// Drops a chain of any length without recursion.
impl Drop for Work {
    fn drop(&mut self) {
        let mut above = self.parent.take();
        while let Some(work) = above {
            above = Arc::into_inner(work).and_then(|mut work| {
                self.loans = mem::take(&mut work.loans);
                work.parent.take()
            });
        }
    }
}

/// What a nested request has obtained.
struct Obtained {
    own: Option<OwnedPermit>,
    loans: Vec<OwnedPermit>,
}

/// The sources from which a nested request can take its permits without waiting for its own work.
struct LoanPlan {
    /// The accounts to borrow from, the parent's first, and the number of permits to borrow from each. Only requests under the work that
    /// lends use its account.
    loans: Vec<(Gate, u32)>,
    /// The number of permits that the gate itself must admit.
    rest: u32,
    /// Whether the ancestors have permits of another gate of the tree that do not count at the gate of the request.
    has_conflict: bool,
}

/// A nested request that owns its handles.
struct NestedWork {
    gate: Gate,
    options: RequestOptions,
    parent: Arc<Work>,
    location: &'static Location<'static>,
}

impl NestedWork {
    fn of(nested: NestedRequest<'_>, location: &'static Location<'static>) -> Self {
        let NestedRequest { request, parent } = nested;
        let (gate, options) = request.into_parts();
        Self { gate: gate.clone(), options, parent: parent.work, location }
    }

    /// Returns a plain request with the options of this one.
    fn request<'g>(&self, gate: &'g Gate, weight: u32) -> Request<'g> {
        Request::of_parts(gate, RequestOptions { weight, ..self.options }).made_at(self.location)
    }

    fn into_permit(self, obtained: Obtained) -> LendingPermit {
        if !obtained.loans.is_empty() {
            self.gate.shared().counters.increment(Counter::Borrowed);
        }
        LendingPermit::new(self.gate, self.options.weight, obtained, Some(self.parent))
    }

    /// Plans how many permits the request borrows from which ancestor. Permits that an ancestor has lent to another one further down are
    /// subtracted, so that no permit is counted twice. `rest` is the number of permits that all ancestors together cannot lend.
    fn plan(&self) -> LoanPlan {
        let mut plan = LoanPlan { loans: Vec::new(), rest: self.options.weight, has_conflict: false };
        // The loans of the ancestors that were visited.
        let mut loans_below: Vec<&OwnedPermit> = Vec::new();
        let mut above = Some(&self.parent);
        while let Some(work) = above.filter(|_| plan.rest > 0) {
            let lent = loans_below.iter().filter(|loan| work.has_lent(loan));
            let used = lent.fold(0_u32, |sum, loan| sum.saturating_add(loan.weight()));
            if work.gate.is_within(&self.gate) {
                let part = work.weight.saturating_sub(used).min(plan.rest);
                if part > 0 {
                    plan.loans.push((work.account(), part));
                    plan.rest = plan.rest.saturating_sub(part);
                }
            } else if work.gate.shares_tree_with(&self.gate) {
                plan.has_conflict = true;
            }
            loans_below.extend(&work.loans);
            above = work.parent.as_ref();
        }
        plan
    }

    /// Obtains the permits if that needs no wait. Returns `None` for a weight of 0, which the gate must reject.
    fn try_obtain(&self) -> Option<Obtained> {
        let weight = self.options.weight;
        if weight == 0 {
            return None;
        }
        let try_own = |weight| {
            let held = self.gate.shared().try_admit(weight, self.options.rules.priority, self.location)?;
            Some(OwnedPermit::new(self.gate.clone(), held))
        };
        if let Some(own) = try_own(weight) {
            return Some(Obtained { own: Some(own), loans: Vec::new() });
        }
        let LoanPlan { loans, rest, .. } = self.plan();
        // If an account or the gate lacks permits, `?` drops the loans that were obtained so far, which returns them.
        let borrow = |(account, part): (Gate, u32)| account.try_acquire_many_owned(part).ok();
        let loans = loans.into_iter().map(borrow).collect::<Option<_>>()?;
        let own = if rest > 0 { Some(try_own(rest)?) } else { None };
        Some(Obtained { own, loans })
    }

    /// Returns `true` if the request must not borrow, because the gate rejects it: its weight is 0, or its strict deadline has passed.
    fn must_not_borrow(&self) -> bool {
        let RequestOptions { weight, rules, deadline, .. } = self.options;
        weight == 0 || rules.is_strict && deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Turns the maximum waits, also that of the gate, into a deadline for all waits together.
    fn fix_deadline(&mut self) {
        let own = self.options.max_wait.take().map_or(NEVER, clock::from_duration);
        let max_wait = own.min(self.gate.max_wait_nanos());
        let latest = clock::to_deadline(clock::add_nanos(clock::now(), max_wait));
        self.options.deadline = self.options.deadline.into_iter().chain(latest).min();
    }

    async fn acquire(mut self) -> Result<LendingPermit, AcquireError> {
        if self.must_not_borrow() {
            let own = self.request(&self.gate, self.options.weight).acquire_owned().await?;
            return Ok(self.into_permit(Obtained { own: Some(own), loans: Vec::new() }));
        }
        if let Some(obtained) = self.try_obtain() {
            // A task that acquires in a loop must yield from time to time. Meanwhile the request has the permits.
            coop::consume_budget().await;
            return Ok(self.into_permit(obtained));
        }
        self.fix_deadline();
        let plan = match self.checked_plan() {
            Ok(plan) => plan,
            Err(error) => return reject(error).await,
        };
        let obtained = match &plan.loans[..] {
            // One ancestor can lend all permits. Waits for it and for the gate, and takes what is granted first.
            [(account, part)] if plan.rest == 0 => self.acquire_either(account, *part).await?,
            loans => {
                // Each request visits its ancestors from the parent upwards, so two requests cannot wait for each other's loans.
                let mut obtained = Obtained { own: None, loans: Vec::with_capacity(loans.len()) };
                for (account, part) in loans {
                    obtained.loans.push(self.request(account, *part).acquire_owned().await?);
                }
                if plan.rest > 0 {
                    obtained.own = Some(self.acquire_rest(plan.rest).await?);
                }
                obtained
            }
        };
        Ok(self.into_permit(obtained))
    }

    /// Waits in the queue of the gate and in that of the account. The gate may reject the request; then it waits for the account alone.
    async fn acquire_either(&self, account: &Gate, part: u32) -> Result<Obtained, AcquireError> {
        let mut own = pin!(self.request(&self.gate, part).acquire_owned());
        let mut loan = pin!(self.request(account, part).acquire_owned());
        let mut is_rejected = false;
        poll_fn(|cx| {
            // The gate first: if both are ready, the request takes permits of its own, and the drop of `loan` returns the borrowed ones.
            if !is_rejected {
                match own.as_mut().poll(cx) {
                    Poll::Ready(Ok(own)) => {
                        return Poll::Ready(Ok(Obtained { own: Some(own), loans: Vec::new() }));
                    }
                    Poll::Ready(Err(_)) => is_rejected = true,
                    Poll::Pending => {}
                }
            }
            loan.as_mut().poll(cx).map_ok(|loan| Obtained { own: None, loans: vec![loan] })
        })
        .await
    }

    /// Waits in the queue of the gate for what the ancestors do not have.
    async fn acquire_rest(&self, rest: u32) -> Result<OwnedPermit, AcquireError> {
        let mut limits = LimitWatch::new(self);
        let mut own = pin!(self.request(&self.gate, rest).acquire_owned());
        poll_fn(|cx| match own.as_mut().poll(cx) {
            Poll::Pending => limits.poll(cx).map_or(Poll::Pending, |error| Poll::Ready(Err(error))),
            ready @ Poll::Ready(_) => ready,
        })
        .await
    }

    fn acquire_blocking(mut self) -> Result<LendingPermit, AcquireError> {
        let block = |work: &Self, gate: &Gate, weight| {
            let options = RequestOptions { weight, ..work.options };
            let permit = blocking::acquire(gate, options, Ownership::Owned, work.location)?;
            Ok(permit.into_owned())
        };
        if self.must_not_borrow() {
            let own = block(&self, &self.gate, self.options.weight)?;
            return Ok(self.into_permit(Obtained { own: Some(own), loans: Vec::new() }));
        }
        // Before `try_obtain`: the panic must not depend on whether permits are available.
        blocking::assert_may_block();
        if let Some(obtained) = self.try_obtain() {
            return Ok(self.into_permit(obtained));
        }
        self.fix_deadline();
        let plan = self.checked_plan()?;
        let mut obtained = Obtained { own: None, loans: Vec::with_capacity(plan.loans.len()) };
        match &plan.loans[..] {
            // One ancestor can lend all permits. Waits for it and for the gate, and takes what is granted first.
            [(account, _)] if plan.rest == 0 => {
                let permit =
                    blocking::acquire_either(&self.gate, account, self.options, self.location)?.into_owned();
                if permit.gate().is_same(account) {
                    obtained.loans.push(permit);
                } else {
                    obtained.own = Some(permit);
                }
            }
            loans => {
                // From the parent upwards, as in `acquire`.
                for (account, part) in loans {
                    obtained.loans.push(block(&self, account, *part)?);
                }
                // Last, so that the request has all of its loans when it joins the queue of the gate.
                if plan.rest > 0 {
                    let mut limits = LimitWatch::new(&self);
                    let options = RequestOptions { weight: plan.rest, ..self.options };
                    let (ownership, location) = (Ownership::Owned, self.location);
                    let rest = blocking::acquire_unless(&self.gate, options, ownership, location, |cx| {
                        limits.poll(cx)
                    })?;
                    obtained.own = Some(rest.into_owned());
                }
            }
        }
        Ok(self.into_permit(obtained))
    }

    /// Returns the plan of a request that has to wait.
    ///
    /// # Errors
    ///
    /// If it could wait for permits of its own ancestors.
    fn checked_plan(&self) -> Result<LoanPlan, AcquireError> {
        let plan = self.plan();
        if plan.has_conflict && plan.rest > 0 {
            return Err(AcquireError::SelfWait { gate: self.gate.name() });
        }
        Ok(plan)
    }
}

/// Ends the wait for the rest of a request when the limit falls below the whole weight of the request. Its loans are counted at the same
/// gate, so the rest cannot fit while the limit is that low.
struct LimitWatch<'w> {
    work: &'w NestedWork,
    changed: Arc<Notify>,
    notified: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<'w> LimitWatch<'w> {
    fn new(work: &'w NestedWork) -> Self {
        let changed = Arc::new(Notify::new());
        work.gate.listen_upwards(&changed);
        Self { work, notified: notification(&changed), changed }
    }

    /// Returns the error if the weight is above the limit now, unless the request waits for the limit. Otherwise the task is woken when the
    /// limit changes.
    fn poll(&mut self, cx: &mut Context<'_>) -> Option<AcquireError> {
        let NestedWork { gate, options: RequestOptions { weight, rules, .. }, .. } = self.work;
        loop {
            let limit = gate.lowest_limit();
            if *weight > limit.get() && !rules.waits_for_limit {
                return Some(AcquireError::TooLarge { gate: gate.name(), weight: *weight, limit });
            }
            if self.notified.as_mut().poll(cx).is_pending() {
                return None;
            }
            self.notified = notification(&self.changed);
        }
    }
}

fn notification(changed: &Arc<Notify>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let changed = Arc::clone(changed);
    Box::pin(async move { changed.notified().await })
}
