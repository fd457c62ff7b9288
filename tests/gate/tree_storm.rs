//! Real threads that use a tree of gates in every way at once: keys, a child, priorities, tracked holders, shedding, nested requests,
//! cancellations, changes of limits and bounds, and pauses. `.ci/run tsan` runs it, too.
//!
//! The permits in use are counted outside the gates. No limit of the root is above [`TOP_LIMIT`] at any time.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use concurrency_governor::gate::{AcquireError, Gate, LendingPermit, OwnedPermit, Priority};
use concurrency_governor::{GateName, Holders, Keys, Limit, Part, Shed};

const TOP_LIMIT: u32 = 4;
const ROUNDS: u32 = 1000;
const PRIORITIES: [Priority; 4] =
    [Priority::Batch, Priority::Sheddable, Priority::Normal, Priority::Critical];

/// No kind of tree admits too many or loses a permit, whatever threads do at the same time.
#[test]
fn a_storm_on_a_tree_loses_no_permit() {
    for variant in [Variant::Plain, Variant::Tracked, Variant::Shedding] {
        let storm = &Storm::new(variant);
        thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|seed| scope.spawn(move || storm.use_gates(Random::new(seed)))).collect();
            let changing = scope.spawn(|| storm.change_gates(Random::new(99)));
            for thread in threads {
                thread.join().unwrap();
            }
            storm.stop.store(true, SeqCst);
            changing.join().unwrap();
        });
        storm.check_idle();
    }
}

/// What the tree of a storm does beside sharing its permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    Plain,
    Tracked,
    Shedding,
}

struct Storm {
    variant: Variant,
    root: Gate,
    child: Gate,
    in_use: AtomicU32,
    /// Requests that got permits of their own.
    admitted: AtomicU64,
    stop: AtomicBool,
}

impl Storm {
    fn new(variant: Variant) -> Self {
        let keys = Keys::up_to(3).cap(Part::of(1, 2)).queue(6);
        let mut builder =
            Gate::builder(GateName::new("root"), Limit::new(TOP_LIMIT)).with_children().keyed(keys).queue(8);
        builder = match variant {
            Variant::Plain => builder.measure_waits(false),
            Variant::Tracked => builder.track_holders(Holders::overdue_after(Duration::from_secs(30))),
            Variant::Shedding => builder.shed(Shed::after(Duration::from_micros(100))),
        };
        let root = builder.build();
        let child = Gate::builder(GateName::new("child"), Limit::new(3)).within(&root).unwrap().weight(2);
        let child = child.keyed(Keys::up_to(8)).build();
        Self {
            variant,
            root,
            child,
            in_use: AtomicU32::new(0),
            admitted: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        }
    }

    /// Makes requests in every way. None of them waits for a thread that waits for it.
    fn use_gates(&self, mut random: Random) {
        let Self { root, child, .. } = self;
        // Two handles of one key, and keys that come and go.
        let gates = [root.clone(), child.clone(), root.key(1), root.key(1), root.key(2), child.key(1)];
        for round in 0..ROUNDS {
            let fresh = if random.below(2) == 0 { root.key(3) } else { child.key(u64::from(round)) };
            let gate = if random.below(4) == 0 { &fresh } else { &gates[random.below(6) as usize] };
            let priority = PRIORITIES[random.below(4) as usize];
            let weight = if random.below(8) == 0 { 2 } else { 1 };
            let request = gate.request().priority(priority).weight(weight);
            match random.below(6) {
                0 => self.hold(request.try_acquire_owned().ok(), &mut random),
                1 => {
                    // Polled a few times, and then dropped, perhaps after it was granted.
                    let mut future = pin!(request.acquire_owned());
                    let mut cx = Context::from_waker(Waker::noop());
                    for _ in 0..random.below(3) {
                        if let Poll::Ready(result) = future.as_mut().poll(&mut cx) {
                            self.hold(result.ok(), &mut random);
                            break;
                        }
                        thread::yield_now();
                    }
                }
                2 => {
                    let wait = Duration::from_micros(u64::from(random.below(200)));
                    self.hold(accept(request.max_wait(wait).acquire_owned_blocking()), &mut random);
                }
                _ => self.hold(accept(request.acquire_owned_blocking()), &mut random),
            }
        }
    }

    /// Holds permits, which may be split, or lent to nested work.
    fn hold(&self, permit: Option<OwnedPermit>, random: &mut Random) {
        let Some(mut permit) = permit else { return };
        let weight = permit.weight();
        self.admitted.fetch_add(1, SeqCst);
        let held = self.in_use.fetch_add(weight, SeqCst) + weight;
        assert!(held <= TOP_LIMIT, "{held} permits are held");
        permit.label("storm");
        match random.below(4) {
            0 => {
                let part = permit.split(1).unwrap();
                thread::yield_now();
                self.in_use.fetch_sub(weight, SeqCst);
                drop((part, permit));
            }
            1 => self.nest(permit.lend(), random),
            _ => {
                thread::yield_now();
                self.in_use.fetch_sub(weight, SeqCst);
                drop(permit);
            }
        }
    }

    /// Makes a nested request. Its work never waits for the permits of this thread.
    fn nest(&self, permit: LendingPermit, random: &mut Random) {
        let gate = permit.gate().clone();
        let weight = permit.weight();
        let nested = if random.below(2) == 0 {
            accept(gate.request().under(&permit).acquire_blocking())
        } else {
            gate.request().under(&permit).try_acquire().ok()
        };
        if let Some(nested) = nested {
            if !nested.is_borrowed() {
                self.admitted.fetch_add(1, SeqCst);
            }
            thread::yield_now();
            drop(nested);
        }
        self.in_use.fetch_sub(weight, SeqCst);
        drop(permit);
    }

    /// Changes everything that can be changed, and reads everything that can be read, until the others have ended.
    fn change_gates(&self, mut random: Random) {
        let Self { root, child, .. } = self;
        while !self.stop.load(SeqCst) {
            match random.below(8) {
                0 => drop(root.resize(Limit::new(2 + random.below(TOP_LIMIT - 1)))),
                1 => drop(child.resize(Limit::new(2 + random.below(2)))),
                2 => root.set_queue(4 + random.below(8) as usize),
                3 => child.pause(),
                4 => {
                    let holders = root.holders().iter().map(|holder| holder.weight).sum::<u32>();
                    assert!(holders <= TOP_LIMIT && (holders == 0 || self.variant == Variant::Tracked));
                }
                5 => {
                    let status = root.status();
                    assert_eq!(status.in_use + status.available, status.limit.get() + status.debt);
                    assert!(root.busiest_keys(2).len() <= 2 && root.busy_keys() <= 3);
                }
                6 => drop(pin!(child.drained()).poll(&mut Context::from_waker(Waker::noop()))),
                _ => {}
            }
            child.resume();
            thread::yield_now();
        }
    }

    fn check_idle(&self) {
        let Self { root, child, variant, .. } = self;
        root.resize(Limit::new(TOP_LIMIT));
        assert_eq!((root.in_use(), root.waiting(), child.in_use(), child.waiting()), (0, 0, 0, 0));
        assert_eq!((root.busy_keys(), child.busy_keys(), root.holders().len()), (0, 0, 0));
        let mut returned = 0;
        for gate in [root, child] {
            let (totals, unclaimed) = (gate.status().totals, gate.status().unclaimed);
            let queue = totals.queue;
            let left = queue.admitted + queue.cancelled + queue.expired + queue.too_large;
            assert_eq!(queue.enqueued, left + queue.pushed_out + queue.shed, "{variant:?}");
            assert_eq!(unclaimed, 0);
            assert!(queue.admitted > 0 && queue.cancelled > 0, "no request waited: {variant:?} {totals:?}");
            returned += totals.admitted - queue.abandoned;
        }
        assert_eq!(returned, self.admitted.load(SeqCst), "{variant:?}: each request is counted once");
        drop(root.try_acquire_many(TOP_LIMIT).unwrap());
    }
}

/// Returns the permit, or `None` if the request ended with an error that the storm can cause. Panics at any other error.
fn accept<P>(result: Result<P, AcquireError>) -> Option<P> {
    use AcquireError::{DeadlineExceeded, QueueFull, Shed, TooLarge, TooManyKeys, WouldExpire};
    match result {
        Ok(permit) => Some(permit),
        Err(
            DeadlineExceeded { .. }
            | QueueFull { .. }
            | Shed { .. }
            | TooLarge { .. }
            | TooManyKeys { .. }
            | WouldExpire { .. },
        ) => None,
        Err(error) => panic!("{error}"),
    }
}

struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(((self.0 >> 33) * u64::from(bound)) >> 31).unwrap()
    }
}
