//! The fair queue against an oracle: random steps, and after each the exact request that is granted next.
//!
//! The oracle knows the rules of the module documentation and nothing of ranks, buckets and slabs: it computes from scratch, at each
//! step, which nodes are ready and which request is next.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    reason = "a test that overflows fails, and a model prints its coverage"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt;
use std::iter;
use std::mem;
use std::pin::Pin;
use std::task::Waker;
use std::time::Duration;

use super::node::ChosenRequest;
use super::*;
use crate::gate::error::Rejection;
use crate::gate::key::Key;
use crate::gate::priority::PRIORITIES;
use crate::gate::queue::{Queue, WaiterState};
use crate::plan::Part;

const MS: i64 = 1_000_000;
const TARGET: Duration = Duration::from_millis(20);

/// How often requests of a lower priority are passed before one of them is granted.
const MAX_PASSED: u8 = 16;

/// The steps agree with the oracle. `FAIR_MODEL_RUNS` sets the number of runs of about 200 steps, `FAIR_MODEL_FIRST` the first.
#[test]
fn random_steps_follow_the_oracle() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().expect("a whole number"));
    let few = if cfg!(miri) { 2 } else { 300 };
    let (first, runs) = (number("FAIR_MODEL_FIRST").unwrap_or(1), number("FAIR_MODEL_RUNS").unwrap_or(few));
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let workers: Vec<_> = (0..threads)
        .map(|nth| {
            std::thread::spawn(move || {
                let mut coverage = Coverage::default();
                for run in (first + nth..first + runs).step_by(usize::try_from(threads).unwrap()) {
                    let report = ReportRun(run);
                    Model::new(run, &mut coverage).take_steps();
                    drop(report);
                }
                coverage
            })
        })
        .collect();
    let mut coverage = Coverage::default();
    for worker in workers {
        coverage.add(worker.join().expect("the queue differs from its oracle; see above"));
    }
    eprintln!("fair model: {} steps in {runs} runs from run {first}\n{coverage}", coverage.steps);
    if runs >= few && !cfg!(miri) {
        for situation in SITUATIONS {
            assert!(coverage.counts.contains_key(situation), "no run reached: {situation}");
        }
    }
}

const SITUATIONS: [&str; 25] = [
    "a queue is standing",
    "a queue stops standing",
    "admitted on arrival while others wait",
    "admitted on arrival",
    "admitted in a quiet tree",
    "chosen at a gate",
    "chosen at a leaf",
    "chosen at the root",
    "closed",
    "equal usage of several children",
    "expired when it was next",
    "granted a lower priority after 16 passes",
    "granted after a cancellation",
    "granted after a release",
    "granted after a resize",
    "granted after a resume",
    "paused",
    "pushed out",
    "pushed out by a higher priority",
    "rejected because a queue is full",
    "removed because of its weight",
    "shed",
    "too large for a quiet tree",
    "too many keys",
    "waits for a higher limit",
];

#[derive(Default)]
struct Coverage {
    steps: u64,
    counts: BTreeMap<&'static str, u64>,
}

impl Coverage {
    fn note(&mut self, situation: &'static str) {
        assert!(SITUATIONS.contains(&situation), "not in the list: {situation}");
        *self.counts.entry(situation).or_default() += 1;
    }

    fn add(&mut self, other: Self) {
        self.steps += other.steps;
        for (situation, count) in other.counts {
            *self.counts.entry(situation).or_default() += count;
        }
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.counts.iter().try_for_each(|(situation, count)| writeln!(f, "{count:>12} {situation}"))
    }
}

struct ReportRun(u64);

impl Drop for ReportRun {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let run = self.0;
            eprintln!("run {run} failed; to repeat it: FAIR_MODEL_FIRST={run} FAIR_MODEL_RUNS=1");
        }
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(((self.0 >> 33) * u64::from(bound)) >> 31).unwrap()
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(u32::try_from(items.len()).unwrap()) as usize]
    }
}

/// A request that waits.
struct Waiting {
    number: u64,
    place: usize,
    leaf: NodeId,
    waiter: Pin<Box<Waiter>>,
}

struct Model<'c> {
    random: Random,
    coverage: &'c mut Coverage,
    queue: FairQueue,
    oracle: Oracle,
    places: Vec<Place>,
    /// Permits in use: the place, the leaf and the weight.
    permits: Vec<(usize, NodeId, u32)>,
    waiting: Vec<Waiting>,
    next_number: u64,
    now: i64,
    has_weights: bool,
    has_priorities: bool,
    /// For each gate with keys, the most that were busy at the same time.
    most_busy: Vec<(NodeId, usize)>,
}

impl<'c> Model<'c> {
    fn new(run: u64, coverage: &'c mut Coverage) -> Self {
        let mut random = Random(run.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let root_limit = 1 + random.below(8);
        let sheds = random.below(3) == 0;
        let rules = |limit: u32, share: u32, random: &mut Random| NodeRules {
            limit: Limit::new(limit),
            share,
            queue_bound: [u32::MAX, u32::MAX, 0, 3, 8][random.below(5) as usize],
            is_parent: random.below(3) > 0,
            keys: (random.below(2) == 0).then(|| {
                let keys = Keys::up_to(1 + random.below(5)).cap(Part::of(1 + random.below(3), 3));
                if random.below(3) == 0 { keys.queue(random.below(4) as usize) } else { keys }
            }),
            shed: (sheds && random.below(3) == 0).then(|| Shed::after(TARGET)),
            measures_waits: false,
        };
        let root = rules(root_limit, 1, &mut random);
        let mut queue = FairQueue::new(root);
        let mut oracle = Oracle::default();
        oracle.add(NodeId::ROOT, None, NodeRules { is_parent: true, ..root }, &queue);
        let mut places = vec![Place::Gate(NodeId::ROOT)];
        let mut parents = vec![NodeId::ROOT];
        for _ in 0..random.below(5) {
            let parent = random.pick(&parents);
            let (limit, share) = (1 + random.below(8), 1 + random.below(3));
            let child = rules(limit, share, &mut random);
            let id = queue.add(parent, child);
            oracle.add(id, Some(parent), child, &queue);
            places.push(Place::Gate(id));
            if child.is_parent || child.keys.is_some() {
                parents.push(id);
            }
        }
        parents.retain(|id| queue.child_set(*id).is_some_and(|child_set| child_set.key_rules.is_some()));
        let most_busy = parents.iter().map(|id| (*id, 0)).collect();
        for parent in parents {
            for key in 0..5_u64 {
                places.push(Place::key(parent, Key::from(key), key % 3)); // hashes collide
            }
        }
        let (has_weights, has_priorities) = (random.below(2) == 0, random.below(2) == 0);
        Self {
            random,
            coverage,
            queue,
            oracle,
            places,
            permits: Vec::new(),
            waiting: Vec::new(),
            next_number: 0,
            now: 0,
            has_weights,
            has_priorities,
            most_busy,
        }
    }

    fn take_steps(mut self) {
        for _ in 0..50 + self.random.below(300) {
            self.coverage.steps += 1;
            self.now += i64::from(self.random.below(30)) * MS;
            match self.random.below(20) {
                0..=9 => self.arrive(),
                10..=15 => self.release(),
                16..=17 => self.cancel(),
                18 => self.resize(),
                19 if self.random.below(2) == 0 => self.pause_or_resume(),
                19 if self.queue.sheds() => self.shed(),
                _ if self.random.below(20) == 0 => self.close(),
                _ => {}
            }
            self.check();
        }
        while !self.permits.is_empty() || !self.waiting.is_empty() {
            if self.permits.is_empty() {
                self.cancel(); // a request that waits for a higher limit, or behind such a request
            }
            self.release();
            self.check();
        }
        assert!(self.queue.nodes.iter().all(|node| node.in_use == 0 && node.waiting == 0));
    }

    fn arrive(&mut self) {
        if self.queue.sheds() {
            self.shed();
        }
        let at = self.random.below(u32::try_from(self.places.len()).unwrap()) as usize;
        let weight = if self.has_weights { self.random.pick(&[1, 1, 2, 3, 5]) } else { 1 };
        let priority = if self.has_priorities { self.random.pick(&Priority::ALL) } else { Priority::Normal };
        let waits_for_limit = self.random.below(10) == 0;
        let resolved = self.queue.resolve(&self.places[at]).filter(|id| !self.queue.nodes[*id].is_idle());
        let (is_new, had_room) = match (&self.places[at], resolved) {
            (Place::Key(key), None) => {
                let max = self.queue.child_set(key.parent).unwrap().key_rules.unwrap().max();
                (true, self.oracle.busy_keys(key.parent) < max as usize)
            }
            _ => (false, true),
        };
        let id = match self.queue.resolve_or_add(&self.places[at]) {
            Ok(id) => id,
            Err(rejection) => {
                assert!(is_new && !had_room);
                let closed = self.queue.closed_level(self.places[at].declared()).is_some();
                assert_eq!(matches!(rejection, Rejection::Closed(_)), closed, "{rejection:?}");
                self.coverage.note("too many keys");
                return;
            }
        };
        assert!(had_room);
        if is_new {
            let Place::Key(key) = &self.places[at] else { unreachable!() };
            let limit = self.queue.key_limit(key.parent);
            let rules = self.queue.child_set(key.parent).unwrap().key_rules;
            let bound = rules
                .and_then(|rules| rules.queue_bound())
                .map_or(u32::MAX, |bound| u32::try_from(bound).unwrap());
            self.oracle.add_leaf(id, Some(key.parent), limit.get(), 1, bound, true);
        }
        let leaf = self.queue.leaf(id);
        self.oracle.arriving = Some(leaf.0);
        self.arrive_at(at, id, leaf, Arrival { weight, priority, waits_for_limit });
        self.oracle.arriving = None;
        self.oracle.forget_idle();
    }

    fn arrive_at(&mut self, at: usize, id: NodeId, leaf: NodeId, arrival: Arrival) {
        let Arrival { weight, priority, waits_for_limit } = arrival;
        let obstacle = self.queue.obstacle(id, weight, waits_for_limit);
        assert_eq!(
            obstacle.is_some(),
            self.oracle.is_impossible(leaf, weight, waits_for_limit),
            "{obstacle:?}"
        );
        if obstacle.is_some() {
            return;
        }
        loop {
            if self.admit(at, id, leaf, weight, priority) {
                return;
            }
            match self.queue.queue_room(id, priority) {
                QueueRoom::Free => break,
                QueueRoom::Full { level, .. } => {
                    assert!(self.oracle.is_full(leaf), "the queue is not full");
                    let level = self.queue.path(id).nth(level.into()).unwrap();
                    let own = self.oracle.nodes[&leaf.0].requests.len();
                    assert!(self.oracle.longest(level) <= own, "a longer queue must make room");
                    assert!(!self.oracle.has_below(leaf, priority), "a lower priority must make room");
                    self.coverage.note("rejected because a queue is full");
                    self.settle("");
                    return;
                }
                QueueRoom::PushOut { full, bound, from } => {
                    let own = self.oracle.nodes[&leaf.0].requests.len();
                    let length = self.oracle.nodes[&from.0].requests.len();
                    assert!(self.oracle.is_full(leaf), "the queue is not full");
                    if self.oracle.longest(full) > own {
                        assert_eq!(length, self.oracle.longest(full), "not the longest queue");
                        self.coverage.note("pushed out");
                    } else {
                        assert!(from == leaf && self.oracle.has_below(leaf, priority), "the wrong queue");
                        self.coverage.note("pushed out by a higher priority");
                    }
                    let removal = Removal::QueueFull { level: self.queue.level(from, full), bound };
                    drop(self.queue.push_out(from, removal));
                    let number = self.oracle.last_of_lowest(from);
                    self.take_ended(number, WaiterState::QueueFull, "the newest request is removed");
                    self.oracle.remove(from, number);
                    self.oracle.forget_idle();
                    self.settle("");
                }
            }
        }
        let rules = WaiterRules { waits_for_limit, priority, ..WaiterRules::DEFAULT };
        let mut waiter = Box::pin(Waiter::new(weight, rules));
        let (since, expires) = (self.now, self.random.below(4) == 0);
        let deadline = if expires { since + i64::from(self.random.below(100)) * MS } else { i64::MAX };
        let request = WaitingRequest { weight, timer: TimerId::NONE, sample: 0, since, deadline };
        self.queue.enqueue(leaf, waiter.as_mut(), request, Waker::noop().clone());
        let number = self.next_number;
        self.next_number += 1;
        self.waiting.push(Waiting { number, place: at, leaf, waiter });
        self.oracle
            .enqueue(leaf, OracleRequest { number, priority, weight, waits_for_limit, since, deadline });
        if self.queue.sheds() {
            self.copy_standing();
        } else {
            assert_eq!(
                self.oracle.find_next(self.coverage),
                None,
                "a request that fits is admitted on arrival"
            );
        }
        self.settle("");
    }

    fn admit(&mut self, place: usize, id: NodeId, leaf: NodeId, weight: u32, priority: Priority) -> bool {
        // The quiet steps decide alone. If a gate of the tree sheds, they change nothing, and `FairQueue::admit` decides.
        let is_quiet = self.waiting.is_empty() && self.random.below(2) == 0;
        let mut admitted = is_quiet && self.queue.admit_quiet(&self.places[place], weight);
        if is_quiet && !self.queue.sheds() {
            self.coverage.note(if admitted {
                "admitted in a quiet tree"
            } else {
                "too large for a quiet tree"
            });
        } else {
            admitted = self.queue.admit(id, priority, weight);
        }
        assert_eq!(admitted, self.oracle.admits(leaf, priority, weight), "admission on arrival");
        if admitted {
            self.coverage.note(if self.waiting.is_empty() {
                "admitted on arrival"
            } else {
                "admitted on arrival while others wait"
            });
            self.oracle.change_use(leaf, |in_use| in_use + weight);
            self.permits.push((place, leaf, weight));
        }
        admitted
    }

    fn release(&mut self) {
        if self.permits.is_empty() {
            return;
        }
        let at = self.random.below(u32::try_from(self.permits.len()).unwrap()) as usize;
        let (place, leaf, weight) = self.permits.swap_remove(at);
        let id = self.queue.resolve(&self.places[place]).expect("a key with permits in use keeps its node");
        assert_eq!(self.queue.leaf(id), leaf);
        let is_quiet = self.waiting.is_empty() && self.random.below(2) == 0;
        let is_released = is_quiet && self.queue.release_quiet(&self.places[place], weight);
        assert_eq!(is_released, is_quiet && !self.queue.sheds());
        if !is_released {
            self.queue.release_at(id, weight);
        }
        self.oracle.change_use(leaf, |in_use| in_use - weight);
        self.oracle.forget_idle();
        self.settle("granted after a release");
    }

    fn cancel(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let at = self.random.below(u32::try_from(self.waiting.len()).unwrap()) as usize;
        let Waiting { number, place, leaf, mut waiter } = self.waiting.remove(at);
        let id = self.queue.resolve(&self.places[place]).expect("a key with waiting requests keeps its node");
        let removed = self.queue.cancel_at(id, waiter.as_mut(), Removal::Cancelled);
        assert!(removed.is_some());
        self.oracle.remove(leaf, number);
        self.oracle.forget_idle();
        self.settle("granted after a cancellation");
    }

    fn resize(&mut self) {
        let gates: Vec<NodeId> = self.places.iter().map(Place::declared).collect();
        let id = self.random.pick(&gates);
        let limit = Limit::new(1 + self.random.below(9));
        self.queue.set_limit(id, limit, drop);
        let numbers = self.oracle.set_limit(id, limit.get(), self.queue.key_limit(id).get());
        for number in numbers {
            self.take_ended(number, WaiterState::TooLarge, "a request above the limit is removed");
            self.coverage.note("removed because of its weight");
        }
        self.oracle.forget_idle();
        self.settle("granted after a resize");
    }

    fn pause_or_resume(&mut self) {
        let gates: Vec<NodeId> = self.places.iter().map(Place::declared).collect();
        let id = self.random.pick(&gates);
        if self.random.below(2) == 0 {
            self.queue.pause(id);
            self.oracle.pause(id);
            self.coverage.note("paused");
            self.settle(""); // requests elsewhere may fit now
        } else {
            self.queue.resume(id, || self.now);
            self.oracle.resume(id);
            self.copy_standing();
            self.settle("granted after a resume");
        }
    }

    fn close(&mut self) {
        let gates: Vec<NodeId> = self.places.iter().map(Place::declared).collect();
        let id = self.random.pick(&gates);
        self.queue.close(id, drop);
        self.coverage.note("closed");
        for number in self.oracle.close(id) {
            self.take_ended(number, WaiterState::Closed, "a closed gate ends the waits");
        }
        self.oracle.forget_idle();
        self.settle("");
    }

    /// Copies to the oracle which queues are standing. The [`Shedder`](shedder::Shedder) decides this, and has its own tests.
    fn copy_standing(&mut self) {
        for SheddingGate { gate, shedder } in &self.queue.shedding {
            if self.oracle.set_standing(*gate, shedder.is_standing()) {
                self.coverage.note(if shedder.is_standing() {
                    "a queue is standing"
                } else {
                    "a queue stops standing"
                });
            }
        }
    }

    /// Sheds the requests that have waited too long, and compares them with the oracle's.
    fn shed(&mut self) {
        let mut count = 0;
        let has_shed = self.queue.shed_overdue(self.now, |_| count += 1);
        assert_eq!(has_shed, count > 0);
        let mut expected = Vec::new();
        for SheddingGate { gate, shedder } in &self.queue.shedding {
            self.oracle.set_standing(*gate, shedder.is_standing());
            if shedder.is_standing() && !self.oracle.nodes.values().any(|node| node.is_paused) {
                expected.extend(self.oracle.shed(*gate, self.now));
            }
        }
        assert_eq!(count, expected.len(), "requests are shed");
        for number in expected {
            self.take_ended(number, WaiterState::Shed, "an overdue request is shed");
            self.coverage.note("shed");
        }
        self.oracle.forget_idle();
        self.settle("");
    }

    /// Removes the request that is next if it has expired.
    fn expire_next(&mut self) -> bool {
        let next = self.oracle.find_next(self.coverage);
        let first = next.map(|next| (next.leaf, self.oracle.first(next.leaf, next.priority)));
        let expected = first.filter(|(_, first)| first.deadline <= self.now);
        let expired = self.queue.remove_expired_next(self.now);
        assert_eq!(expired.is_some(), expected.is_some(), "the next request has expired");
        let Some((leaf, first)) = expected else { return false };
        self.take_ended(first.number, WaiterState::Expired, "the next request has expired");
        self.oracle.remove(leaf, first.number);
        self.oracle.forget_idle();
        self.coverage.note("expired when it was next");
        true
    }

    /// Grants what fits, and compares each grant with the oracle's.
    fn settle(&mut self, situation: &'static str) {
        loop {
            if self.queue.sheds() && self.expire_next() {
                continue;
            }
            let expected = self.oracle.find_next(self.coverage);
            let found = self.queue.find_next();
            let granted = found.and_then(|next| Some((next.leaf, self.queue.take(next, Removal::Admitted)?)));
            let Some((leaf, removed)) = granted else {
                assert_eq!(expected, None, "no request was granted");
                return;
            };
            let weight = removed.weight;
            let Some(next) = expected else { panic!("{leaf:?} was granted, which is not due") };
            assert_eq!((leaf, weight), (next.leaf, next.weight), "another leaf is due");
            let number = self.oracle.first(next.leaf, next.priority).number;
            let expectation = "another request of the leaf is due";
            let granted = self.take_ended(number, WaiterState::Admitted, expectation);
            self.oracle.grant(next);
            self.permits.push((granted.place, leaf, weight));
            if self.queue.sheds() {
                self.queue.observe_granted(leaf, removed.since, self.now);
                self.copy_standing();
            }
            if !situation.is_empty() {
                self.coverage.note(situation);
            }
        }
    }

    /// Takes a request whose wait has ended. The state is checked first: a waiter that is dropped while it is in a queue ends the
    /// process, and with it the report of the failure.
    fn take_ended(&mut self, number: u64, state: WaiterState, expectation: &str) -> Waiting {
        let at = self.waiting.iter().position(|waiting| waiting.number == number).expect("it waits");
        assert_eq!(self.waiting[at].waiter.state(), state, "{expectation}");
        self.waiting.remove(at)
    }

    fn check(&mut self) {
        let Self { queue, oracle, .. } = self;
        for (id, node) in &oracle.nodes {
            let actual = &queue.nodes[NodeId(*id)];
            assert_eq!((actual.in_use, queue.limit(NodeId(*id))), (node.in_use, node.limit), "node {id}");
            assert_eq!(actual.limit == 0, node.is_paused, "node {id}");
            assert_eq!(actual.waiting as usize, oracle.waiting_below(*id), "node {id}");
            assert_eq!(actual.ready, oracle.ready(*id), "node {id} is ready");
            assert!(node.passed.iter().all(|passed| *passed <= MAX_PASSED), "passed more often than allowed");
        }
        for (gate, most_busy) in &mut self.most_busy {
            let expected = oracle.busy_keys(*gate);
            assert_eq!(queue.busy_keys(*gate), expected, "busy keys");
            *most_busy = expected.max(*most_busy);
            let keys = queue.nodes.iter().filter(|node| node.parent == *gate && node.is_key());
            assert!(keys.count() <= *most_busy + 1, "idle keys take no memory of their own");
        }
        for lengths in &queue.lengths {
            let longest = lengths.longest().map_or(0, |(_, length)| length);
            assert_eq!(longest as usize, oracle.longest(lengths.gate), "the longest queue");
        }
        assert_eq!(Queue::len(queue), self.waiting.len());
    }
}

#[derive(Clone, Copy)]
struct Arrival {
    weight: u32,
    priority: Priority,
    waits_for_limit: bool,
}

/// What the rules say, computed from scratch.
#[derive(Default)]
struct Oracle {
    nodes: BTreeMap<u32, OracleNode>,
    /// The gates whose queue is standing.
    standing: BTreeSet<u32>,
    /// The leaf of the request that is arriving.
    arriving: Option<u32>,
    stamps: u64,
}

#[derive(Debug)]
struct OracleNode {
    parent: Option<u32>,
    children: BTreeSet<u32>,
    is_key: bool,
    is_closed: bool,
    is_paused: bool,
    limit: u32,
    in_use: u32,
    share: u32,
    bound: u32,
    requests: Vec<OracleRequest>,
    chosen: Option<ChosenRequest>,
    awaits: Vec<Priority>,
    passed: [u8; PRIORITIES],
    /// For each priority, when the node became ready with its present usage.
    since: [Option<u64>; PRIORITIES],
}

#[derive(Clone, Copy, Debug)]
struct OracleRequest {
    number: u64,
    priority: Priority,
    weight: u32,
    waits_for_limit: bool,
    since: i64,
    deadline: i64,
}

impl Oracle {
    fn add(&mut self, id: NodeId, parent: Option<NodeId>, rules: NodeRules, queue: &FairQueue) {
        self.add_leaf(id, parent, rules.limit.get(), rules.share, rules.queue_bound, false);
        if rules.is_parent || rules.keys.is_some() {
            self.add_leaf(queue.leaf(id), Some(id), Limit::MAX.get(), 1, u32::MAX, false);
        }
    }

    fn add_leaf(
        &mut self,
        id: NodeId,
        parent: Option<NodeId>,
        limit: u32,
        share: u32,
        bound: u32,
        is_key: bool,
    ) {
        let node = OracleNode {
            parent: parent.map(|parent| parent.0),
            children: BTreeSet::new(),
            is_key,
            is_closed: false,
            is_paused: false,
            limit,
            in_use: 0,
            share,
            bound,
            requests: Vec::new(),
            chosen: None,
            awaits: Vec::new(),
            passed: [0; PRIORITIES],
            since: [None; PRIORITIES],
        };
        assert!(self.nodes.insert(id.0, node).is_none());
        if let Some(parent) = parent {
            self.nodes.get_mut(&parent.0).unwrap().children.insert(id.0);
        }
    }

    fn path(&self, leaf: u32) -> Vec<u32> {
        iter::successors(Some(leaf), |id| self.nodes[id].parent).collect()
    }

    /// Returns the nodes that are `top` or below it.
    fn within(&self, top: NodeId) -> Vec<u32> {
        self.nodes.keys().copied().filter(|id| self.path(*id).contains(&top.0)).collect()
    }

    fn busy_keys(&self, parent: NodeId) -> usize {
        self.nodes.values().filter(|node| node.is_key && node.parent == Some(parent.0)).count()
    }

    fn waiting_below(&self, id: u32) -> usize {
        let node = &self.nodes[&id];
        node.requests.len() + node.children.iter().map(|child| self.waiting_below(*child)).sum::<usize>()
    }

    fn available(&self, id: u32) -> u32 {
        let node = &self.nodes[&id];
        if node.is_paused { 0 } else { node.limit.saturating_sub(node.in_use) }
    }

    fn candidates(&self, id: u32) -> PrioritySet {
        let node = &self.nodes[&id];
        Priority::ALL.into_iter().fold(PrioritySet::EMPTY, |set, priority| {
            let waits = node.requests.iter().any(|request| request.priority == priority);
            let is_candidate = if node.children.is_empty() {
                waits && !node.awaits.contains(&priority)
            } else {
                node.children.iter().any(|child| self.ready(*child).contains(priority))
            };
            if is_candidate { set.with(priority) } else { set }
        })
    }

    fn ready(&self, id: u32) -> PrioritySet {
        match self.nodes[&id].chosen {
            _ if self.available(id) == 0 => PrioritySet::EMPTY,
            Some(chosen) if chosen.weight > self.available(id) => PrioritySet::EMPTY,
            Some(chosen) => PrioritySet::of(chosen.priority),
            None => self.candidates(id),
        }
    }

    /// Records for how long the nodes from a leaf to the root have been ready.
    fn refresh(&mut self, from: u32, use_changed: bool) {
        for id in self.path(from) {
            let (ready, waiting) = (self.ready(id), self.waiting_below(id));
            let node = self.nodes.get_mut(&id).unwrap();
            if waiting == 0 {
                node.passed = [0; PRIORITIES];
            }
            for priority in Priority::ALL {
                let since = &mut node.since[priority.index()];
                if !ready.contains(priority) {
                    *since = None;
                } else if since.is_none() || use_changed {
                    self.stamps += 1;
                    *since = Some(self.stamps);
                }
            }
        }
    }

    fn change_use(&mut self, leaf: NodeId, change: impl Fn(u32) -> u32) {
        for id in self.path(leaf.0) {
            let node = self.nodes.get_mut(&id).unwrap();
            node.in_use = change(node.in_use);
        }
        self.refresh(leaf.0, true);
    }

    fn is_impossible(&self, leaf: NodeId, weight: u32, waits_for_limit: bool) -> bool {
        let is_direct = self.nodes[&leaf.0].limit == Limit::MAX.get();
        self.path(leaf.0).iter().skip(usize::from(is_direct)).any(|id| {
            let node = &self.nodes[id];
            node.is_closed || (weight > node.limit && !waits_for_limit)
        })
    }

    /// Returns `true` if a request is admitted on arrival: it fits, no request is before it in its leaf, and no node on the path keeps room
    /// for another request.
    fn admits(&self, leaf: NodeId, priority: Priority, weight: u32) -> bool {
        let node = &self.nodes[&leaf.0];
        let newest_first = self.newest_first(leaf);
        let is_before =
            |chosen: ChosenRequest| newest_first && (chosen.leaf, chosen.priority) == (leaf, priority);
        let is_behind = node.requests.iter().any(|request| {
            request.priority == priority && !newest_first
                || request.priority > priority && !node.awaits.contains(&request.priority)
        });
        !is_behind
            && self
                .path(leaf.0)
                .iter()
                .all(|id| self.available(*id) >= weight && self.nodes[id].chosen.is_none_or(is_before))
    }

    fn is_full(&self, leaf: NodeId) -> bool {
        self.path(leaf.0).iter().any(|id| self.waiting_below(*id) >= self.nodes[id].bound as usize)
    }

    fn longest(&self, top: NodeId) -> usize {
        self.within(top).iter().map(|id| self.nodes[id].requests.len()).max().unwrap()
    }

    /// Returns `true` if a request of a lower priority waits in the leaf.
    fn has_below(&self, leaf: NodeId, priority: Priority) -> bool {
        self.nodes[&leaf.0].requests.iter().any(|request| request.priority < priority)
    }

    fn last_of_lowest(&self, leaf: NodeId) -> u64 {
        let requests = &self.nodes[&leaf.0].requests;
        let lowest = requests.iter().map(|request| request.priority).min().unwrap();
        let mut of_lowest = requests.iter().filter(|request| request.priority == lowest);
        let last = if self.newest_first(leaf) { of_lowest.next() } else { of_lowest.next_back() };
        last.unwrap().number
    }

    fn first(&self, leaf: NodeId, priority: Priority) -> OracleRequest {
        let mut requests = self.nodes[&leaf.0].requests.iter().filter(|request| request.priority == priority);
        *if self.newest_first(leaf) { requests.next_back() } else { requests.next() }.unwrap()
    }

    fn newest_first(&self, leaf: NodeId) -> bool {
        self.path(leaf.0).iter().any(|id| self.standing.contains(id))
    }

    /// Sets whether the queue of a gate is standing. Returns `true` if this changes anything.
    fn set_standing(&mut self, gate: NodeId, is_standing: bool) -> bool {
        let has_changed =
            if is_standing { self.standing.insert(gate.0) } else { self.standing.remove(&gate.0) };
        let affected = if has_changed { self.within(gate) } else { Vec::new() };
        for leaf in affected {
            for priority in Priority::ALL {
                self.lose_first(NodeId(leaf), priority);
            }
            self.refresh(leaf, false);
        }
        has_changed
    }

    /// Removes and returns the requests of a gate that are shed: while any request has waited too long, the oldest of the lowest priority.
    /// Stops when the lowest priority changes.
    fn shed(&mut self, gate: NodeId, now: i64) -> Vec<u64> {
        let (mut shed, mut lowest) = (Vec::new(), None);
        loop {
            let within = self.within(gate).into_iter();
            let requests: Vec<(u32, OracleRequest)> = within
                .flat_map(|id| self.nodes[&id].requests.iter().map(move |request| (id, *request)))
                .collect();
            let target = i64::try_from(TARGET.as_nanos()).unwrap();
            if !requests.iter().any(|(_, request)| now - request.since > target) {
                return shed;
            }
            let next = requests.iter().min_by_key(|(_, next)| (next.priority, next.since, next.number));
            let (leaf, next) = next.unwrap();
            if *lowest.get_or_insert(next.priority) != next.priority {
                return shed;
            }
            self.remove(NodeId(*leaf), next.number);
            shed.push(next.number);
        }
    }

    fn enqueue(&mut self, leaf: NodeId, request: OracleRequest) {
        self.nodes.get_mut(&leaf.0).unwrap().requests.push(request);
        if self.newest_first(leaf) {
            self.lose_first(leaf, request.priority);
        }
        self.refresh(leaf.0, false);
    }

    fn remove(&mut self, leaf: NodeId, number: u64) {
        let requests = &self.nodes[&leaf.0].requests;
        let at = requests.iter().position(|request| request.number == number).unwrap();
        let priority = requests[at].priority;
        let was_first = self.first(leaf, priority).number == number;
        self.nodes.get_mut(&leaf.0).unwrap().requests.remove(at);
        if was_first {
            self.lose_first(leaf, priority);
            self.refresh(leaf.0, false);
        }
    }

    /// The first request of this priority is gone, so nothing is chosen or waits for a limit on its behalf.
    fn lose_first(&mut self, leaf: NodeId, priority: Priority) {
        for id in self.path(leaf.0) {
            let node = self.nodes.get_mut(&id).unwrap();
            node.chosen = node.chosen.filter(|chosen| (chosen.leaf, chosen.priority) != (leaf, priority));
        }
        self.nodes.get_mut(&leaf.0).unwrap().awaits.retain(|awaiting| *awaiting != priority);
    }

    fn set_limit(&mut self, gate: NodeId, limit: u32, key_limit: u32) -> Vec<u64> {
        self.nodes.get_mut(&gate.0).unwrap().limit = limit;
        let mut removed = Vec::new();
        for id in self.within(gate) {
            let lowest =
                |oracle: &Self| oracle.path(id).iter().map(|id| oracle.nodes[id].limit).min().unwrap();
            let node = self.nodes.get_mut(&id).unwrap();
            if node.is_key && node.parent == Some(gate.0) {
                node.limit = key_limit;
            }
            node.awaits.clear();
            node.chosen = node.chosen.filter(|chosen| chosen.weight <= node.limit);
            let lowest = lowest(self);
            let requests = self.nodes[&id].requests.clone();
            for request in
                requests.iter().filter(|request| request.weight > lowest && !request.waits_for_limit)
            {
                self.remove(NodeId(id), request.number);
                removed.push(request.number);
            }
            self.refresh(id, false);
        }
        removed
    }

    /// Nothing is granted at the gate and below, and no request that waits there keeps others waiting.
    fn pause(&mut self, gate: NodeId) {
        if mem::replace(&mut self.nodes.get_mut(&gate.0).unwrap().is_paused, true) {
            return;
        }
        for id in self.path(gate.0) {
            let chosen = self.nodes[&id].chosen;
            let is_below = chosen.is_some_and(|chosen| self.path(chosen.leaf.0).contains(&gate.0));
            self.nodes.get_mut(&id).unwrap().chosen = chosen.filter(|_| !is_below);
        }
        self.refresh(gate.0, false);
    }

    fn resume(&mut self, gate: NodeId) {
        if !mem::replace(&mut self.nodes.get_mut(&gate.0).unwrap().is_paused, false) {
            return;
        }
        self.refresh(gate.0, false);
    }

    fn close(&mut self, gate: NodeId) -> Vec<u64> {
        self.nodes.get_mut(&gate.0).unwrap().is_closed = true;
        let mut removed = Vec::new();
        for id in self.within(gate) {
            for request in self.nodes[&id].requests.clone() {
                self.remove(NodeId(id), request.number);
                removed.push(request.number);
            }
        }
        removed
    }

    /// Forgets the keys that are idle, except one whose request is arriving.
    fn forget_idle(&mut self) {
        let idle = |node: &OracleNode| node.is_key && node.in_use == 0 && node.requests.is_empty();
        let all = self.nodes.iter().filter(|(id, node)| idle(node) && self.arriving != Some(**id));
        let gone: Vec<u32> = all.map(|(id, _)| *id).collect();
        for id in gone {
            let parent = self.nodes.remove(&id).unwrap().parent.unwrap();
            self.nodes.get_mut(&parent).unwrap().children.remove(&id);
        }
    }

    /// Returns the request that is granted next. Records the requests that are chosen before there is room for them.
    fn find_next(&mut self, coverage: &mut Coverage) -> Option<ChosenRequest> {
        while !self.ready(NodeId::ROOT.0).is_empty() {
            let next = self.search(coverage);
            let path = self.path(next.leaf.0);
            let Some(full) = path.iter().copied().find(|id| self.available(*id) < next.weight) else {
                return Some(next);
            };
            for id in &path {
                let node = self.nodes.get_mut(id).unwrap();
                node.chosen = node.chosen.filter(|chosen| *chosen != next);
            }
            if path.iter().any(|id| next.weight > self.nodes[id].limit) {
                coverage.note("waits for a higher limit");
                self.nodes.get_mut(&next.leaf.0).unwrap().awaits.push(next.priority);
            } else {
                coverage.note(match full {
                    0 => "chosen at the root",
                    full if full == next.leaf.0 => "chosen at a leaf",
                    _ => "chosen at a gate",
                });
                self.nodes.get_mut(&full).unwrap().chosen = Some(next);
            }
            self.refresh(next.leaf.0, false);
        }
        None
    }

    fn search(&self, coverage: &mut Coverage) -> ChosenRequest {
        let (mut at, mut due) = (NodeId::ROOT.0, None);
        loop {
            let node = &self.nodes[&at];
            if let Some(chosen) = node.chosen {
                return chosen;
            }
            let candidates = self.candidates(at);
            let is_due = |priority: &Priority| {
                candidates.contains(*priority) && node.passed[priority.index()] >= MAX_PASSED
            };
            let due_here = Priority::ALL.into_iter().filter(is_due).min();
            due = [due, due_here].into_iter().flatten().min();
            let priority = due.or(candidates.highest()).unwrap();
            if Some(priority) == due && candidates.highest() != due {
                coverage.note("granted a lower priority after 16 passes");
            }
            if node.children.is_empty() {
                let leaf = NodeId(at);
                return ChosenRequest { leaf, priority, weight: self.first(leaf, priority).weight };
            }
            let ready = node.children.iter().filter(|child| self.ready(**child).contains(priority));
            let usage = |id: u32| (u64::from(self.nodes[&id].in_use), u64::from(self.nodes[&id].share));
            let mut order: Vec<u32> = ready.copied().collect();
            order.sort_by(|a, b| {
                let ((a_use, a_share), (b_use, b_share)) = (usage(*a), usage(*b));
                let since = |id: &u32| self.nodes[id].since[priority.index()];
                (a_use * b_share).cmp(&(b_use * a_share)).then(since(a).cmp(&since(b)))
            });
            if let [first, second, ..] = order[..] {
                let ((a_use, a_share), (b_use, b_share)) = (usage(first), usage(second));
                if a_use * b_share == b_use * a_share {
                    coverage.note("equal usage of several children");
                }
            }
            at = order[0];
        }
    }

    fn grant(&mut self, granted: ChosenRequest) {
        let path = self.path(granted.leaf.0);
        let chosen_at = path.iter().position(|id| self.nodes[id].chosen == Some(granted));
        for (level, id) in path.into_iter().enumerate() {
            let was_chosen = chosen_at.is_some_and(|chosen_at| level <= chosen_at);
            let lower = self.candidates(id).below(granted.priority);
            let passed = if was_chosen { PrioritySet::EMPTY } else { lower };
            let node = self.nodes.get_mut(&id).unwrap();
            passed.iter().for_each(|priority| node.passed[priority.index()] += 1);
            node.passed[granted.priority.index()] = 0;
        }
        let first = self.first(granted.leaf, granted.priority);
        let node = self.nodes.get_mut(&granted.leaf.0).unwrap();
        node.requests.retain(|request| request.number != first.number);
        self.lose_first(granted.leaf, granted.priority);
        self.change_use(granted.leaf, |in_use| in_use + granted.weight);
    }
}
