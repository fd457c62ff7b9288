//! Gates within gates: keys that share a gate, compared with the gate by itself and with what is built by hand instead.

use std::fmt::Debug;
use std::future::Future;
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use concurrency_governor::gate::{AcquireOwned, Key, OwnedPermit};
use concurrency_governor::{Gate, GateName, Holders, Keys, Limit};
use dashmap::DashMap;
use priority_semaphore::PrioritySemaphore;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use crate::harness::{Contestant, Row, Runner};
use crate::{peers, pools};

pub fn rows() -> Vec<Row> {
    let row = |id, title, contestants, base| Row {
        id,
        title,
        contestants,
        base,
        ahead_of: &[],
        run: Duration::from_micros(400),
        step: 64,
        counted: 0,
    };
    let of = |name, make| Contestant { name, make };
    vec![
        row(
            "key",
            "key, handle kept: acquire + drop",
            vec![
                of("gate", acquire_key),
                of("plain gate", acquire_plain),
                of("map of semaphores", acquire_by_map),
                of("bare tree", acquire_bare),
            ],
            "plain gate",
        ),
        row(
            "key-by-hand",
            "key, handle kept: acquire + drop",
            vec![
                of("gate", acquire_key),
                of("map of semaphores", acquire_by_map),
                of("tower", call_through_tower),
            ],
            "map of semaphores",
        ),
        row(
            "key-lookup",
            "key, handle made for each: acquire + drop",
            vec![
                of("gate", look_up_key),
                of("plain gate", acquire_plain),
                of("map of semaphores", acquire_by_map),
            ],
            "map of semaphores",
        ),
        row(
            "tracked",
            "a gate that tracks its holders: acquire + drop",
            vec![of("gate", acquire_tracked), of("plain gate", acquire_plain)],
            "plain gate",
        ),
        row(
            "child",
            "child of a child: acquire + drop",
            vec![of("gate", acquire_child), of("plain gate", acquire_plain)],
            "plain gate",
        ),
        row(
            "key-cycle",
            "16 keys that wait: release, admit, resume, enqueue",
            vec![
                of("gate", cycle_keys),
                of("plain gate", cycle_plain),
                of("map of semaphores", cycle_map),
                of("priority-semaphore", cycle_priority),
            ],
            "plain gate",
        ),
        row(
            "key-cycle-priority",
            "16 keys that wait: release, admit, resume, enqueue",
            vec![of("gate", cycle_keys), of("priority-semaphore", cycle_priority)],
            "priority-semaphore",
        ),
        Row {
            step: CROWD,
            ..row(
                "key-enqueue",
                "10 000 keys: enqueue",
                vec![
                    of("gate", enqueue_keys),
                    of("plain gate", enqueue_plain),
                    of("map of semaphores", enqueue_map),
                ],
                "plain gate",
            )
        },
        Row {
            step: CROWD,
            ..row(
                "key-drain",
                "10 000 keys: admit all",
                vec![
                    of("gate", drain_keys),
                    of("plain gate", drain_plain),
                    of("map of semaphores", drain_map),
                ],
                "plain gate",
            )
        },
        row(
            "key-flood",
            "10 000 keys wait, full queue: a key with a request is rejected",
            vec![of("gate", reject_key), of("plain gate", reject_plain)],
            "plain gate",
        ),
    ]
}

const BENCH: GateName = GateName::new("bench");
const CROWD: u64 = 10_000;
const KEYS: u64 = 16;

fn keyed(permits: u32) -> Gate {
    Gate::builder(BENCH, Limit::new(permits)).keyed(Keys::up_to(100_000)).build()
}

fn plain(permits: u32) -> Gate {
    Gate::new(BENCH, Limit::new(permits))
}

fn timed(step: impl FnOnce()) -> Duration {
    let start = Instant::now();
    step();
    start.elapsed()
}

#[inline(always)]
fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[inline(always)]
fn ready<F: Future>(future: F) -> F::Output {
    match poll(pin!(future)) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("permits are available"),
    }
}

fn repeat(mut operation: impl FnMut() + 'static) -> Runner {
    Box::new(move |times| timed(|| (0..times).for_each(|_| operation())))
}

fn acquire_plain() -> Runner {
    let gate = plain(64);
    repeat(move || drop(black_box(ready(black_box(&gate).acquire()).expect("the gate is open"))))
}

fn acquire_key() -> Runner {
    let key = keyed(64).key("tenant-42");
    repeat(move || drop(black_box(ready(black_box(&key).acquire()).expect("the gate is open"))))
}

fn acquire_tracked() -> Runner {
    let tracked = Holders::overdue_after(Duration::from_secs(30));
    let gate = Gate::builder(BENCH, Limit::new(64)).track_holders(tracked).build();
    repeat(move || drop(black_box(ready(black_box(&gate).acquire()).expect("the gate is open"))))
}

fn acquire_child() -> Runner {
    let io = Gate::builder(BENCH, Limit::new(64)).with_children().build();
    let within =
        |parent: &Gate| Gate::builder(BENCH, Limit::new(64)).within(parent).expect("it has children");
    let messages = within(&io).with_children().build();
    let child = within(&messages).build();
    repeat(move || drop(black_box(ready(black_box(&child).acquire()).expect("the gate is open"))))
}

/// The least that two levels under one lock can cost. To acquire, the lock is taken, two counters are compared with their limits and
/// incremented, and the lock is released. To release, the lock is taken and released once more, and the counters are decremented. It
/// never waits.
struct BareTree {
    is_locked: AtomicBool,
    nodes: Vec<BareNode>,
}

struct BareNode {
    parent: usize,
    limit: u32,
    in_use: AtomicU32,
}

impl BareTree {
    fn locked(&self, step: impl FnOnce() -> bool) -> bool {
        let is_free =
            self.is_locked.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok();
        let is_done = is_free && step();
        self.is_locked.store(false, Ordering::Release);
        is_done
    }

    #[inline(never)]
    fn try_acquire(&self, leaf: usize) -> bool {
        self.locked(|| {
            let mut at = leaf;
            while let Some(node) = self.nodes.get(at) {
                let in_use = node.in_use.load(Ordering::Relaxed).saturating_add(1);
                if in_use > node.limit {
                    return false;
                }
                node.in_use.store(in_use, Ordering::Relaxed);
                at = node.parent;
            }
            true
        })
    }

    #[inline(never)]
    fn release(&self, leaf: usize) -> bool {
        self.locked(|| {
            let mut at = leaf;
            while let Some(node) = self.nodes.get(at) {
                node.in_use.store(node.in_use.load(Ordering::Relaxed).saturating_sub(1), Ordering::Relaxed);
                at = node.parent;
            }
            true
        })
    }
}

fn acquire_bare() -> Runner {
    let node = |parent| BareNode { parent, limit: 64, in_use: AtomicU32::new(0) };
    let tree = BareTree { is_locked: AtomicBool::new(false), nodes: vec![node(usize::MAX), node(0)] };
    repeat(move || {
        assert!(black_box(&tree).try_acquire(black_box(1)));
        assert!(black_box(&tree).release(black_box(1)));
    })
}

fn look_up_key() -> Runner {
    let gate = keyed(64);
    repeat(move || {
        let key = black_box(&gate).key(black_box("tenant-42"));
        drop(black_box(ready(key.acquire_owned()).expect("the gate is open")));
    })
}

/// A map of semaphores by hand: one for each tenant, and one for all.
struct SemaphoreMap {
    all: Arc<Semaphore>,
    tenants: DashMap<u64, Arc<Semaphore>>,
}

impl SemaphoreMap {
    fn new(permits: usize, tenants: u64) -> Arc<Self> {
        let each = || Arc::new(Semaphore::new(permits));
        Arc::new(Self { all: each(), tenants: (0..tenants).map(|tenant| (tenant, each())).collect() })
    }

    /// Acquires a permit of the tenant, then one of all. The first poll looks up the tenant, as with a key.
    async fn acquire(self: Arc<Self>, tenant: u64) -> Result<MapPermit, AcquireError> {
        let own = Arc::clone(&*self.tenants.get(&tenant).expect("it is in the map"));
        let own = own.acquire_owned().await?;
        Ok((own, Arc::clone(&self.all).acquire_owned().await?))
    }
}

type MapPermit = (OwnedSemaphorePermit, OwnedSemaphorePermit);

fn acquire_by_map() -> Runner {
    let (all, tenants) = (Semaphore::new(64), DashMap::<String, Arc<Semaphore>>::new());
    tenants.insert("tenant-42".to_owned(), Arc::new(Semaphore::new(64)));
    repeat(move || {
        let tenant = black_box(&tenants).get(black_box("tenant-42")).expect("it is in the map").clone();
        let own = ready(tenant.acquire()).expect("the semaphore is open");
        drop(black_box((own, ready(all.acquire()).expect("the semaphore is open"))));
    })
}

/// A call through tower's concurrency limit, which is one for all tenants.
fn call_through_tower() -> Runner {
    let mut call = peers::tower(64);
    repeat(move || call(&mut Context::from_waker(Waker::noop())))
}

/// A request waits in each of several queues. An operation releases a permit, takes the one that is granted, and waits again.
fn cycle<P: 'static, F: Future<Output = P> + 'static>(
    first: P,
    acquire: impl Fn(u64) -> F + 'static,
) -> Runner {
    let mut held = Some(first);
    let mut waiting: Vec<Pin<Box<F>>> = (0..KEYS).map(|key| Box::pin(acquire(key))).collect();
    waiting.iter_mut().for_each(|future| assert!(poll(future.as_mut()).is_pending()));
    let mut next = 0;
    repeat(move || {
        drop(held.take());
        let future = &mut waiting[next as usize];
        match poll(future.as_mut()) {
            Poll::Ready(permit) => held = Some(permit),
            Poll::Pending => panic!("the request that has waited longest is granted"),
        }
        future.set(acquire(next));
        assert!(poll(future.as_mut()).is_pending());
        next = (next + 1) % KEYS;
    })
}

fn cycle_keys() -> Runner {
    let gate = keyed(1);
    let keys: Vec<Gate> = (0..KEYS).map(|key| gate.key(key)).collect();
    let first = gate.try_acquire_owned();
    cycle(first.map_err(drop), move |key| {
        let acquiring = keys[key as usize].acquire_owned();
        async move { acquiring.await.map_err(drop) }
    })
}

fn cycle_plain() -> Runner {
    let gate = plain(1);
    let first = gate.try_acquire_owned();
    cycle(first.map_err(drop), move |_| {
        let acquiring = gate.acquire_owned();
        async move { acquiring.await.map_err(drop) }
    })
}

fn cycle_map() -> Runner {
    let map = SemaphoreMap::new(1, KEYS + 1);
    let first = ready(Arc::clone(&map).acquire(KEYS)); // of a tenant that does not wait
    cycle(first, move |tenant| Arc::clone(&map).acquire(tenant))
}

fn cycle_priority() -> Runner {
    let semaphore = Arc::new(PrioritySemaphore::new(1));
    let first = semaphore.try_acquire(0).map_err(drop);
    cycle(first, move |_| {
        let acquiring = semaphore.acquire(0);
        async move { acquiring.await.map_err(drop) }
    })
}

type Crowd<F> = Vec<Pin<Box<F>>>;

fn crowd<F: Future>(request: impl FnMut(u64) -> F) -> Crowd<F> {
    (0..CROWD).map(request).map(Box::pin).collect()
}

fn crowd_of_keys(gate: &Gate) -> Crowd<AcquireOwned> {
    crowd(|key| gate.key(key).acquire_owned())
}

fn crowd_of_plain(gate: &Gate) -> Crowd<AcquireOwned> {
    crowd(|_| gate.acquire_owned())
}

fn wait_all<F: Future>(crowd: &mut Crowd<F>) {
    crowd.iter_mut().for_each(|future| assert!(poll(future.as_mut()).is_pending()));
}

/// Requests that arrive while `first` is held.
fn enqueue<P: 'static, F: Future + 'static>(
    first: impl Fn() -> P + 'static,
    crowd: impl Fn() -> Crowd<F> + 'static,
) -> Runner {
    Box::new(move |times| {
        let _held = first();
        let round = |_| {
            let mut crowd = crowd();
            timed(|| wait_all(&mut crowd))
        };
        (0..times / CROWD).map(round).sum()
    })
}

/// Requests that wait, and are granted one after the other when `first` is released.
fn drain<P: 'static, T, E: Debug, F: Future<Output = Result<T, E>> + 'static>(
    first: impl Fn() -> P + 'static,
    crowd: impl Fn() -> Crowd<F> + 'static,
) -> Runner {
    Box::new(move |times| {
        let round = |_| {
            let held = first();
            let mut crowd = crowd();
            wait_all(&mut crowd);
            timed(|| {
                drop(held);
                for future in &mut crowd {
                    match poll(future.as_mut()) {
                        Poll::Ready(permit) => drop(black_box(permit.expect("it is open"))),
                        Poll::Pending => panic!("the permit of the previous waiter is released"),
                    }
                }
            })
        };
        (0..times / CROWD).map(round).sum()
    })
}

fn take_one(gate: &Gate) -> OwnedPermit {
    gate.try_acquire_owned().expect("a permit is available")
}

fn enqueue_keys() -> Runner {
    let gate = keyed(1);
    let requests = gate.clone();
    enqueue(move || take_one(&gate), move || crowd_of_keys(&requests))
}

fn enqueue_plain() -> Runner {
    let gate = plain(1);
    let requests = gate.clone();
    enqueue(move || take_one(&gate), move || crowd_of_plain(&requests))
}

/// Takes the one permit for a tenant that does not wait.
fn take_tenant(map: &Arc<SemaphoreMap>) -> MapPermit {
    ready(Arc::clone(map).acquire(CROWD)).expect("it is open")
}

fn enqueue_map() -> Runner {
    let map = SemaphoreMap::new(1, CROWD + 1);
    let requests = Arc::clone(&map);
    enqueue(move || take_tenant(&map), move || crowd(|tenant| Arc::clone(&requests).acquire(tenant)))
}

fn drain_keys() -> Runner {
    let gate = keyed(1);
    let requests = gate.clone();
    drain(move || take_one(&gate), move || crowd_of_keys(&requests))
}

fn drain_plain() -> Runner {
    let gate = plain(1);
    let requests = gate.clone();
    drain(move || take_one(&gate), move || crowd_of_plain(&requests))
}

fn drain_map() -> Runner {
    let map = SemaphoreMap::new(1, CROWD + 1);
    let requests = Arc::clone(&map);
    drain(move || take_tenant(&map), move || crowd(|tenant| Arc::clone(&requests).acquire(tenant)))
}

/// Requests of one key, or of a plain gate, at a full queue.
fn reject(gate: &Gate, crowd_of: fn(&Gate) -> Crowd<AcquireOwned>, flooding: Gate) -> Runner {
    let held = take_one(gate);
    let mut crowd = crowd_of(gate);
    wait_all(&mut crowd);
    // At a gate with keys, the first request takes the place of another one.
    let mut first = Box::pin(flooding.acquire_owned());
    let _ = poll(first.as_mut());
    repeat(move || {
        let (_held, _waiting) = (&held, (&crowd, &first));
        assert!(matches!(poll(pin!(black_box(&flooding).acquire())), Poll::Ready(Err(_))));
    })
}

fn reject_key() -> Runner {
    let bounded = Gate::builder(BENCH, Limit::new(1)).keyed(Keys::up_to(100_000)).queue(CROWD as usize);
    let gate = bounded.build();
    reject(&gate, crowd_of_keys, gate.key(CROWD))
}

fn reject_plain() -> Runner {
    let gate = Gate::builder(BENCH, Limit::new(1)).queue(CROWD as usize).build();
    reject(&gate, crowd_of_plain, gate.clone())
}

/// Returns the bytes that a gate allocates for a key with a waiting request: in the gate, and with the handle of the key. The future
/// of the request is not part of it.
pub fn bytes_of_waiting_key() -> (usize, usize) {
    let gate = keyed(1);
    let _held = gate.try_acquire().expect("a permit is available");
    pools::count_bytes(|allocated| {
        let start = allocated();
        let keys: Vec<Gate> = (0..CROWD).map(|key| gate.key(Key::from(key))).collect();
        let with_handles = allocated();
        let mut crowd: Crowd<_> = keys.iter().map(|key| Box::pin(key.acquire_owned())).collect();
        let with_futures = allocated();
        wait_all(&mut crowd);
        let (handle, node) = (with_handles - start, allocated() - with_futures);
        (node / CROWD as usize, handle / CROWD as usize)
    })
}
