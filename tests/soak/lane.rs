//! A gate, those who come to it, and what they count.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use concurrency_governor::gate::{AcquireError, Gate, GateStatus, TryAcquireError};
use concurrency_governor::{GateName, Limit};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use super::day::{DAY, Day, Dice, Order, nanos};

/// What a lane is like.
#[derive(Clone, Copy)]
pub(super) struct Profile {
    pub(super) name: &'static str,
    /// By night and by day.
    pub(super) limits: [u32; 2],
    /// How often somebody comes at noon, and how long his work takes; on average, in milliseconds.
    pub(super) every: u64,
    pub(super) work: u64,
    pub(super) heaviest: u32,
    pub(super) queue: usize,
    pub(super) max_wait: Duration,
}

/// A gate and those who come to it.
pub(super) struct Lane {
    profile: Profile,
    gate: Gate,
    day: Arc<Day>,
    /// What is in permits, and who is on his way, as the callers count it.
    held: AtomicU32,
    under_way: AtomicU32,
    /// How many came, and what became of them.
    came: AtomicU64,
    let_in: AtomicU64,
    turned_away: AtomicU64,
    late: AtomicU64,
    gave_up: AtomicU64,
    called_off: AtomicU64,
    longest_wait: AtomicU64,
    /// Who may be called off, of those who have not been let in.
    fickle: Mutex<VecDeque<(u64, AbortHandle)>>,
    order: Mutex<Order>,
    /// How often there was debt, a line or both as a minute passed.
    debts: AtomicU64,
    lines: AtomicU64,
}

/// What a caller is like.
#[derive(Clone, Copy)]
struct Caller {
    id: u64,
    weight: u32,
    work: Duration,
    manner: Manner,
}

#[derive(Clone, Copy)]
enum Manner {
    Patient,
    /// Waits no longer than this.
    Hurried(Duration),
    /// Is gone after this, whatever he is doing by then; or is called off before he is let in.
    Fickle(Duration),
    /// Does not wait at all.
    Trying,
    /// Leaves the permit with somebody else.
    Delegating,
}

impl Lane {
    pub(super) fn new(profile: Profile, day: Arc<Day>) -> Self {
        let builder = Gate::builder(GateName::new(profile.name), Limit::new(profile.limits[0]));
        Self {
            profile,
            gate: builder.queue(profile.queue).max_wait(profile.max_wait).build(),
            day,
            held: AtomicU32::new(0),
            under_way: AtomicU32::new(0),
            came: AtomicU64::new(0),
            let_in: AtomicU64::new(0),
            turned_away: AtomicU64::new(0),
            late: AtomicU64::new(0),
            gave_up: AtomicU64::new(0),
            called_off: AtomicU64::new(0),
            longest_wait: AtomicU64::new(0),
            fickle: Mutex::default(),
            order: Mutex::default(),
            debts: AtomicU64::new(0),
            lines: AtomicU64::new(0),
        }
    }

    /// Callers come one by one, more of them by day, and now and then in a crowd.
    pub(super) async fn arrive_all_day(self: Arc<Self>, mut dice: Dice) {
        let mut id = 0;
        while self.day.is_on() {
            let rush = 1 + self.day.rush();
            sleep(Duration::from_millis(dice.about(self.profile.every * 1000 / rush))).await;
            let crowd = if dice.below(500) == 0 { 20 + dice.below(60) } else { 1 };
            for _ in 0..crowd {
                id += 1;
                let caller = self.caller(id, &mut dice);
                // Made here, since one who is called off at once never gets to his first poll.
                let call = Call { lane: Arc::clone(&self), id, is_over: false };
                self.under_way.fetch_add(1, Relaxed);
                let calling = tokio::spawn(async move {
                    call.lane.call(caller).await;
                    call.end();
                });
                if let Manner::Fickle(_) = caller.manner {
                    self.fickle.lock().unwrap().push_back((id, calling.abort_handle()));
                }
            }
        }
    }

    fn caller(&self, id: u64, dice: &mut Dice) -> Caller {
        let weight = match dice.below(32) {
            0 => u64::from(self.profile.heaviest) + 1,
            1..=9 => 1 + dice.below(self.profile.heaviest.into()),
            _ => 1,
        };
        let work = Duration::from_millis(dice.about(self.profile.work));
        let mut patience = || Duration::from_millis(dice.about(2 * self.profile.work));
        let (patience, choice) = (patience(), dice.below(16));
        let manner = match choice {
            0..=2 => Manner::Hurried(patience),
            3..=5 => Manner::Fickle(patience),
            6 => Manner::Trying,
            7 | 8 => Manner::Delegating,
            _ => Manner::Patient,
        };
        Caller { id, weight: u32::try_from(weight).unwrap(), work, manner }
    }

    async fn call(self: &Arc<Self>, caller: Caller) {
        self.ask(caller).await;
        // His permit has gone to the next by now. If that is one to be called off, he never gets to know.
        if caller.id % 4 == 0 {
            if let Some((_, calling)) = self.fickle.lock().unwrap().pop_front() {
                calling.abort();
            }
        }
    }

    async fn ask(self: &Arc<Self>, caller: Caller) {
        self.came.fetch_add(1, Relaxed);
        self.note("comes", caller.id, caller.weight.into());
        let request = self.gate.request().weight(caller.weight);
        match caller.manner {
            Manner::Patient => {
                let came = Instant::now();
                match request.acquire().await {
                    Ok(_permit) => self.work(caller, came).await,
                    Err(error) => self.turn_away(caller, &error),
                }
            }
            Manner::Hurried(patience) => {
                let came = Instant::now();
                match request.deadline(came + patience).acquire().await {
                    Ok(_permit) => self.work(caller, came).await,
                    Err(error) => self.turn_away(caller, &error),
                }
            }
            Manner::Fickle(patience) => {
                let came = Instant::now();
                let calling = async {
                    match request.acquire().await {
                        Ok(_permit) => self.work(caller, came).await,
                        Err(error) => self.turn_away(caller, &error),
                    }
                };
                if timeout(patience, calling).await.is_err() {
                    self.settled(caller);
                    self.gave_up.fetch_add(1, Relaxed);
                    self.note("gives up", caller.id, 0);
                }
            }
            Manner::Trying => match request.try_acquire() {
                Ok(_permit) => self.work(caller, Instant::now()).await,
                Err(error) => {
                    self.turned_away.fetch_add(1, Relaxed);
                    let limit = match error {
                        TryAcquireError::TooLarge { limit, .. } => limit.get(),
                        TryAcquireError::NoPermits { .. } => 0,
                        error => panic!("{error}"),
                    };
                    self.note("tries in vain", caller.id, limit.into());
                }
            },
            Manner::Delegating => {
                let came = Instant::now();
                match request.acquire_owned().await {
                    Ok(permit) => {
                        let lane = Arc::clone(self);
                        let delegate = async move {
                            let _permit = permit;
                            lane.work(caller, came).await;
                        };
                        tokio::spawn(delegate).await.unwrap();
                    }
                    Err(error) => self.turn_away(caller, &error),
                }
            }
        }
    }

    /// With a permit in hand.
    async fn work(&self, caller: Caller, came: Instant) {
        let waited = nanos(came.elapsed());
        self.let_in.fetch_add(1, Relaxed);
        self.settled(caller);
        self.longest_wait.fetch_max(waited, Relaxed);
        self.order.lock().unwrap().let_in(caller.id, Instant::now());
        self.note("is let in", caller.id, waited);
        self.held.fetch_add(caller.weight, Relaxed);
        let _leaving = Leaving { lane: self, caller };
        sleep(caller.work).await;
    }

    /// He is not to be called off any more.
    fn settled(&self, caller: Caller) {
        self.fickle.lock().unwrap().retain(|(id, _)| *id != caller.id);
    }

    fn turn_away(&self, caller: Caller, error: &AcquireError) {
        assert_eq!(error.gate(), self.gate.name());
        self.settled(caller);
        self.turned_away.fetch_add(1, Relaxed);
        let detail = match *error {
            AcquireError::DeadlineExceeded { waited, .. } => {
                self.late.fetch_add(1, Relaxed);
                if let Manner::Hurried(patience) = caller.manner {
                    assert!(
                        waited <= patience.min(self.profile.max_wait) + TICK,
                        "{waited:?}, not {patience:?}"
                    );
                }
                nanos(waited)
            }
            AcquireError::TooLarge { weight, limit, .. } => {
                assert_eq!(weight, caller.weight);
                assert!(weight > limit.get());
                u64::from(limit.get()) << 32
            }
            AcquireError::QueueFull { bound, .. } => {
                assert_eq!(bound, self.profile.queue);
                u64::MAX
            }
            ref error => panic!("{error}"),
        };
        self.note("is turned away", caller.id, detail);
    }

    /// Every minute the limit follows the day, with a mind of its own; and the books are read.
    pub(super) async fn resize_all_day(self: Arc<Self>, mut dice: Dice) {
        while self.day.is_on() {
            sleep(MINUTE).await;
            let [low, high] = self.profile.limits.map(u64::from);
            let limit = low + (high - low) * self.day.rush() / 1000;
            let limit = if dice.below(8) == 0 { 1 + dice.below(limit) } else { limit };
            let change = self.gate.resize(Limit::new(u32::try_from(limit).unwrap()));
            self.note("resizes", limit, change.debt.into());
            let status = self.check();
            self.debts.fetch_add(u64::from(status.debt > 0), Relaxed);
            self.lines.fetch_add(u64::from(status.waiting > 0), Relaxed);
            self.note("balances", u64::from(status.in_use), status.waiting as u64);
        }
    }

    /// The books, and what the callers have counted.
    fn check(&self) -> GateStatus {
        let status = self.gate.status();
        assert_eq!(status.in_use + status.available, status.limit.get() + status.debt, "{status:?}");
        assert!(status.available == 0 || status.debt == 0, "{status:?}");
        assert!(self.held.load(Relaxed) <= status.in_use, "{status:?}");
        let queue = status.totals.queue;
        let left = queue.admitted + queue.cancelled + queue.expired + queue.too_large + queue.closed;
        assert_eq!(queue.enqueued, left + status.waiting as u64, "{status:?}");
        assert_eq!(status.waits.count(), queue.admitted, "{status:?}");
        let totals = status.totals;
        let asked = totals.admitted - queue.admitted + queue.enqueued + totals.rejected.sum();
        assert_eq!(asked, self.came.load(Relaxed), "{status:?}");
        assert!(totals.admitted >= self.let_in.load(Relaxed), "{status:?}");
        status
    }

    /// Everybody goes home, and every count is found in the gate's; gives how many were let in.
    pub(super) async fn end(&self) -> u64 {
        let drained = timeout(DAY, self.gate.drained()).await;
        assert!(drained.is_ok(), "somebody was forgotten: {:?}", self.gate.status());
        while self.under_way.load(Relaxed) > 0 {
            assert!(
                self.day.start.elapsed() < 3 * DAY,
                "somebody has not gone home: {:?}",
                self.gate.status()
            );
            sleep(Duration::from_secs(1)).await;
        }
        let status = self.check();
        assert_eq!((status.in_use, status.waiting, self.held.load(Relaxed)), (0, 0, 0), "{status:?}");
        let (totals, queue) = (status.totals, status.totals.queue);
        assert_eq!(totals.admitted - queue.unclaimed, self.let_in.load(Relaxed), "{status:?}");
        // Who was called off in the very instant in which he was turned away has not been told.
        let called_off = self.called_off.load(Relaxed);
        let late = queue.expired + totals.rejected.expired;
        let told_late = self.late.load(Relaxed);
        assert!((told_late..=told_late + called_off).contains(&late), "{told_late}: {status:?}");
        let refused = totals.rejected.sum() + queue.expired + queue.too_large;
        let told = self.turned_away.load(Relaxed);
        assert!((told..=told + called_off).contains(&refused), "{told}: {status:?}");
        // Time stands still from a grant until the one it is for goes on. Who gave up at that instant saw nothing of it.
        let longest = status.waits.max().map_or(0, nanos);
        let seen = self.longest_wait.load(Relaxed);
        assert!(
            longest == seen || (queue.unclaimed > 0 && longest > seen),
            "{longest}, not {seen}: {status:?}"
        );
        let rare = [
            self.debts.load(Relaxed),
            self.lines.load(Relaxed),
            self.gave_up.load(Relaxed),
            called_off,
            queue.cancelled,
            queue.unclaimed,
            queue.expired,
            totals.rejected.too_large,
            totals.rejected.no_permits,
        ];
        assert!(rare.iter().all(|count| *count >= 20), "a dull day: {rare:?}");
        self.note("ends", totals.admitted, longest);
        self.let_in.load(Relaxed)
    }

    fn note(&self, what: &str, who: u64, detail: u64) {
        let instant = nanos(self.day.start.elapsed());
        let mut trace = self.day.trace.lock().unwrap();
        trace.events += 1;
        trace.add(self.profile.name.as_bytes());
        trace.add(what.as_bytes());
        for number in [instant, who, detail] {
            trace.add(&number.to_le_bytes());
        }
    }
}

/// A call that ends, be it that it is called off.
struct Call {
    lane: Arc<Lane>,
    id: u64,
    is_over: bool,
}

impl Call {
    fn end(mut self) {
        self.is_over = true;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.lane.under_way.fetch_sub(1, Relaxed);
        if !self.is_over {
            self.lane.called_off.fetch_add(1, Relaxed);
            self.lane.note("is called off", self.id, 0);
        }
    }
}

/// Work that ends, however it ends, before its permit goes back.
struct Leaving<'l> {
    lane: &'l Lane,
    caller: Caller,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.lane.held.fetch_sub(self.caller.weight, Relaxed);
        self.lane.note("leaves", self.caller.id, self.caller.weight.into());
    }
}

/// How often the limit changes, and the books are read.
const MINUTE: Duration = Duration::from_secs(60);
/// A timer rounds up to the next of these.
const TICK: Duration = Duration::from_millis(1);
