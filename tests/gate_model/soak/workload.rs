//! A gate, its callers, and what the callers count.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use concurrency_governor::gate::{AcquireError, Gate, GateStatus, TryAcquireError};
use concurrency_governor::{GateName, Limit};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use super::day::{AdmissionOrder, DAY, Rng, VirtualDay, nanos};

/// The settings of a workload. Mean times are in milliseconds.
#[derive(Clone, Copy)]
pub(super) struct WorkloadProfile {
    pub(super) name: &'static str,
    /// The limit at midnight and at noon.
    pub(super) limits: [u32; 2],
    /// The mean time between two callers at noon.
    pub(super) mean_interval: u64,
    /// The mean time that a caller holds its permit.
    pub(super) mean_work: u64,
    pub(super) max_weight: u32,
    pub(super) queue_bound: usize,
    pub(super) max_wait: Duration,
}

/// A gate with its callers.
pub(super) struct Workload {
    profile: WorkloadProfile,
    gate: Gate,
    day: Arc<VirtualDay>,
    /// The permits that callers hold.
    held: AtomicU32,
    /// The calls that have not ended.
    active: AtomicU32,
    arrived: AtomicU64,
    admitted: AtomicU64,
    /// Calls that ended with an error, `expired` ones included.
    rejected: AtomicU64,
    expired: AtomicU64,
    /// Callers that dropped their request or their work after a timeout of their own.
    timed_out: AtomicU64,
    aborted: AtomicU64,
    /// The longest wait of an admitted caller, in nanoseconds.
    longest_wait: AtomicU64,
    /// The callers that may be aborted and have not been admitted or rejected yet.
    abortable: Mutex<VecDeque<(u64, AbortHandle)>>,
    order: Mutex<AdmissionOrder>,
    /// The minutes that ended with debt.
    minutes_with_debt: AtomicU64,
    /// The minutes that ended with requests in the queue.
    minutes_with_queue: AtomicU64,
}

#[derive(Clone, Copy)]
struct Caller {
    id: u64,
    weight: u32,
    work: Duration,
    behavior: Behavior,
}

#[derive(Clone, Copy)]
enum Behavior {
    /// Waits as long as the gate allows.
    Waits,
    /// Sets a deadline this far in the future.
    SetsDeadline(Duration),
    /// Drops its request or its work after this time. May be aborted before it is admitted.
    TimesOut(Duration),
    /// Calls `try_acquire`.
    Tries,
    /// Moves its permit to another task.
    Delegates,
}

impl Workload {
    pub(super) fn new(profile: WorkloadProfile, day: Arc<VirtualDay>) -> Self {
        let builder = Gate::builder(GateName::new(profile.name), Limit::new(profile.limits[0]));
        Self {
            profile,
            gate: builder.queue(profile.queue_bound).max_wait(profile.max_wait).build(),
            day,
            held: AtomicU32::new(0),
            active: AtomicU32::new(0),
            arrived: AtomicU64::new(0),
            admitted: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            timed_out: AtomicU64::new(0),
            aborted: AtomicU64::new(0),
            longest_wait: AtomicU64::new(0),
            abortable: Mutex::default(),
            order: Mutex::default(),
            minutes_with_debt: AtomicU64::new(0),
            minutes_with_queue: AtomicU64::new(0),
        }
    }

    /// Spawns callers until the day ends: more of them around noon, and sometimes many at once.
    pub(super) async fn spawn_callers_all_day(self: Arc<Self>, mut rng: Rng) {
        let mut id = 0;
        while self.day.is_running() {
            let load = 1 + self.day.load();
            sleep(Duration::from_millis(rng.about(self.profile.mean_interval * 1000 / load))).await;
            let callers = if rng.below(500) == 0 { 20 + rng.below(60) } else { 1 };
            for _ in 0..callers {
                id += 1;
                let caller = self.decide_caller(id, &mut rng);
                // Created outside the task, because a task that is aborted before its first poll never runs.
                let call = CallGuard { workload: Arc::clone(&self), id, has_ended: false };
                self.active.fetch_add(1, Relaxed);
                let task = tokio::spawn(async move {
                    call.workload.call(caller).await;
                    call.end();
                });
                if let Behavior::TimesOut(_) = caller.behavior {
                    self.abortable.lock().unwrap().push_back((id, task.abort_handle()));
                }
            }
        }
    }

    fn decide_caller(&self, id: u64, rng: &mut Rng) -> Caller {
        let max_weight = u64::from(self.profile.max_weight);
        let weight = match rng.below(32) {
            0 => max_weight + 1,
            1..=9 => 1 + rng.below(max_weight),
            _ => 1,
        };
        let work = Duration::from_millis(rng.about(self.profile.mean_work));
        let wait = Duration::from_millis(rng.about(2 * self.profile.mean_work));
        let behavior = match rng.below(16) {
            0..=2 => Behavior::SetsDeadline(wait),
            3..=5 => Behavior::TimesOut(wait),
            6 => Behavior::Tries,
            7 | 8 => Behavior::Delegates,
            _ => Behavior::Waits,
        };
        Caller { id, weight: u32::try_from(weight).unwrap(), work, behavior }
    }

    async fn call(self: &Arc<Self>, caller: Caller) {
        self.acquire_and_work(caller).await;
        // The permit of this caller has just gone to the next waiter. If that is the waiter that is aborted
        // here, it never claims the permit.
        if caller.id % 4 == 0 {
            if let Some((_, task)) = self.abortable.lock().unwrap().pop_front() {
                task.abort();
            }
        }
    }

    async fn acquire_and_work(self: &Arc<Self>, caller: Caller) {
        self.arrived.fetch_add(1, Relaxed);
        self.record("arrives", caller.id, caller.weight.into());
        let request = self.gate.request().weight(caller.weight);
        let arrived = Instant::now();
        match caller.behavior {
            Behavior::Waits => match request.acquire().await {
                Ok(_permit) => self.work(caller, arrived).await,
                Err(error) => self.count_rejection(caller, &error),
            },
            Behavior::SetsDeadline(wait) => match request.deadline(arrived + wait).acquire().await {
                Ok(_permit) => self.work(caller, arrived).await,
                Err(error) => self.count_rejection(caller, &error),
            },
            Behavior::TimesOut(wait) => {
                let call = async {
                    match request.acquire().await {
                        Ok(_permit) => self.work(caller, arrived).await,
                        Err(error) => self.count_rejection(caller, &error),
                    }
                };
                if timeout(wait, call).await.is_err() {
                    self.forbid_abort(caller);
                    self.timed_out.fetch_add(1, Relaxed);
                    self.record("times out", caller.id, 0);
                }
            }
            Behavior::Tries => match request.try_acquire() {
                Ok(_permit) => self.work(caller, arrived).await,
                Err(error) => {
                    self.rejected.fetch_add(1, Relaxed);
                    let limit = match error {
                        TryAcquireError::TooLarge { limit, .. } => limit.get(),
                        TryAcquireError::NoPermits { .. } => 0,
                        error => panic!("{error}"),
                    };
                    self.record("is rejected by try_acquire", caller.id, limit.into());
                }
            },
            Behavior::Delegates => match request.acquire_owned().await {
                Ok(permit) => {
                    let workload = Arc::clone(self);
                    let work = async move {
                        let _permit = permit;
                        workload.work(caller, arrived).await;
                    };
                    tokio::spawn(work).await.unwrap();
                }
                Err(error) => self.count_rejection(caller, &error),
            },
        }
    }

    /// Works for a while. The calling function holds the permit.
    async fn work(&self, caller: Caller, arrived: Instant) {
        let waited = nanos(arrived.elapsed());
        self.admitted.fetch_add(1, Relaxed);
        self.forbid_abort(caller);
        self.longest_wait.fetch_max(waited, Relaxed);
        self.order.lock().unwrap().check_admitted(caller.id, Instant::now());
        self.record("is admitted", caller.id, waited);
        self.held.fetch_add(caller.weight, Relaxed);
        let _guard = WorkGuard { workload: self, caller };
        sleep(caller.work).await;
    }

    /// Makes sure that no other caller aborts this one.
    fn forbid_abort(&self, caller: Caller) {
        self.abortable.lock().unwrap().retain(|(id, _)| *id != caller.id);
    }

    fn count_rejection(&self, caller: Caller, error: &AcquireError) {
        assert_eq!(error.gate(), self.gate.name());
        self.forbid_abort(caller);
        self.rejected.fetch_add(1, Relaxed);
        let detail = match *error {
            AcquireError::DeadlineExceeded { waited, .. } => {
                self.expired.fetch_add(1, Relaxed);
                if let Behavior::SetsDeadline(wait) = caller.behavior {
                    let longest = wait.min(self.profile.max_wait) + TIMER_TICK;
                    assert!(waited <= longest, "waited {waited:?}, longer than {wait:?}");
                }
                nanos(waited)
            }
            AcquireError::TooLarge { weight, limit, .. } => {
                assert_eq!(weight, caller.weight);
                assert!(weight > limit.get());
                u64::from(limit.get()) << 32
            }
            AcquireError::QueueFull { bound, .. } => {
                assert_eq!(bound as usize, self.profile.queue_bound);
                u64::MAX
            }
            ref error => panic!("{error}"),
        };
        self.record("is rejected", caller.id, detail);
    }

    /// Changes the limit every minute and checks the status. The limit follows the load, and is sometimes any
    /// lower one.
    pub(super) async fn resize_all_day(self: Arc<Self>, mut rng: Rng) {
        while self.day.is_running() {
            sleep(MINUTE).await;
            let [low, high] = self.profile.limits.map(u64::from);
            let limit = low + (high - low) * self.day.load() / 1000;
            let limit = if rng.below(8) == 0 { 1 + rng.below(limit) } else { limit };
            let change = self.gate.resize(Limit::new(u32::try_from(limit).unwrap()));
            self.record("is resized", limit, change.debt.into());
            let status = self.check_status();
            self.minutes_with_debt.fetch_add(u64::from(status.debt > 0), Relaxed);
            self.minutes_with_queue.fetch_add(u64::from(status.waiting > 0), Relaxed);
            self.record("balances", u64::from(status.in_use), status.waiting as u64);
        }
    }

    /// Checks the invariants of the status, and compares it with what the callers have counted.
    fn check_status(&self) -> GateStatus {
        let status = self.gate.status();
        assert_eq!(status.in_use + status.available, status.limit.get() + status.debt, "{status:?}");
        assert!(status.available == 0 || status.debt == 0, "{status:?}");
        assert!(self.held.load(Relaxed) <= status.in_use, "{status:?}");
        let queue = status.totals.queue;
        let left = queue.admitted + queue.cancelled + queue.expired + queue.too_large + queue.closed;
        assert_eq!(queue.enqueued, left + status.waiting as u64, "{status:?}");
        assert_eq!(status.waits.count(), queue.admitted, "{status:?}");
        let totals = status.totals;
        let requests = totals.admitted - queue.admitted + queue.enqueued + totals.rejected.sum();
        assert_eq!(requests, self.arrived.load(Relaxed), "{status:?}");
        assert!(totals.admitted >= self.admitted.load(Relaxed), "{status:?}");
        status
    }

    /// Waits until every call has ended, and compares all totals. Returns the number of admitted callers.
    pub(super) async fn finish(&self) -> u64 {
        let drained = timeout(DAY, self.gate.drained()).await;
        assert!(drained.is_ok(), "the gate is never drained: {:?}", self.gate.status());
        while self.active.load(Relaxed) > 0 {
            assert!(self.day.start.elapsed() < 3 * DAY, "a call never ends: {:?}", self.gate.status());
            sleep(Duration::from_secs(1)).await;
        }
        let status = self.check_status();
        assert_eq!((status.in_use, status.waiting, self.held.load(Relaxed)), (0, 0, 0), "{status:?}");
        let (totals, queue) = (status.totals, status.totals.queue);
        assert_eq!(totals.admitted - queue.abandoned, self.admitted.load(Relaxed), "{status:?}");
        // A caller that is aborted in the instant in which it is rejected does not see the rejection.
        let aborted = self.aborted.load(Relaxed);
        let expired = queue.expired + totals.rejected.expired;
        let seen = self.expired.load(Relaxed);
        assert!((seen..=seen + aborted).contains(&expired), "callers saw {seen} expire: {status:?}");
        let rejected = totals.rejected.sum() + queue.expired + queue.too_large;
        let seen = self.rejected.load(Relaxed);
        assert!((seen..=seen + aborted).contains(&rejected), "callers saw {seen} rejections: {status:?}");
        // No simulated time passes between an admission and the next poll of the request. So the gate measures
        // the longest wait that a caller saw, or a longer one of a request that was cancelled before that
        // poll.
        let longest = status.waits.max().map_or(0, nanos);
        let seen = self.longest_wait.load(Relaxed);
        assert!(
            longest == seen || (queue.abandoned > 0 && longest > seen),
            "the longest wait is {longest} ns; callers saw {seen} ns: {status:?}"
        );
        // Each of these happened, so the day was not too quiet.
        let counts = [
            self.minutes_with_debt.load(Relaxed),
            self.minutes_with_queue.load(Relaxed),
            self.timed_out.load(Relaxed),
            aborted,
            queue.cancelled,
            queue.abandoned,
            queue.expired,
            totals.rejected.too_large,
            totals.rejected.no_permits,
        ];
        assert!(counts.iter().all(|count| *count >= 20), "some events are too rare: {counts:?}");
        self.record("ends", totals.admitted, longest);
        self.admitted.load(Relaxed)
    }

    /// Adds an event to the trace of the day, with the current instant.
    fn record(&self, event: &str, subject: u64, detail: u64) {
        let instant = nanos(self.day.start.elapsed());
        let mut trace = self.day.trace.lock().unwrap();
        trace.events += 1;
        trace.add(self.profile.name.as_bytes());
        trace.add(event.as_bytes());
        for number in [instant, subject, detail] {
            trace.add(&number.to_le_bytes());
        }
    }
}

/// Counts a call as active until it ends or is aborted.
struct CallGuard {
    workload: Arc<Workload>,
    id: u64,
    has_ended: bool,
}

impl CallGuard {
    fn end(mut self) {
        self.has_ended = true;
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        self.workload.active.fetch_sub(1, Relaxed);
        if !self.has_ended {
            self.workload.aborted.fetch_add(1, Relaxed);
            self.workload.record("is aborted", self.id, 0);
        }
    }
}

/// Counts a permit as held until the work ends, however it ends. Dropped before the permit.
struct WorkGuard<'w> {
    workload: &'w Workload,
    caller: Caller,
}

impl Drop for WorkGuard<'_> {
    fn drop(&mut self) {
        self.workload.held.fetch_sub(self.caller.weight, Relaxed);
        self.workload.record("leaves", self.caller.id, self.caller.weight.into());
    }
}

/// How often the limit changes.
const MINUTE: Duration = Duration::from_secs(60);
/// The precision of tokio's timer, which rounds up.
const TIMER_TICK: Duration = Duration::from_millis(1);
