//! What a governor reports about gates that track their holders: P88 and P89 of docs/GUARANTEES.md, in paused time.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use concurrency_governor::Gate;
use concurrency_governor::Holders;
use concurrency_governor::gate::{OwnedPermit, WaitCycle};
use concurrency_governor::governor::{RefreshPolicy, RefreshTask};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{sleep, timeout};

use super::*;

const T: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);
const LEFT: GateSpec = GateSpec::new("left", Formula::fixed(1)).track_holders(Holders::overdue_after(T));
const RIGHT: GateSpec = GateSpec::new("right", Formula::fixed(1)).track_holders(Holders::overdue_after(T));
const WIDE: GateSpec = GateSpec::new("wide", Formula::fixed(2)).track_holders(Holders::overdue_after(T));

/// A governor with the gates `left`, `right` and `wide`, and what it reports.
struct Watched {
    governor: Governor,
    _refresh: RefreshTask,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Watched {
    async fn new() -> Self {
        let events: Arc<Mutex<Vec<Event>>> = Arc::default();
        let observer = {
            let events = Arc::clone(&events);
            move |event: &Event| events.lock().unwrap().push(event.clone())
        };
        let builder = Governor::builder().gate(LEFT).gate(RIGHT).gate(WIDE).observer(observer);
        let governor = builder.build().await.unwrap();
        let refresh = governor.spawn_refresh(RefreshPolicy::new());
        Self { governor, _refresh: refresh, events }
    }

    fn gate(&self, spec: &GateSpec) -> Gate {
        self.governor.gate(spec).unwrap()
    }

    fn count(&self, is_counted: impl Fn(&Event) -> bool) -> usize {
        self.events.lock().unwrap().iter().filter(|event| is_counted(event)).count()
    }

    fn stalls(&self) -> usize {
        self.count(|event| matches!(event, Event::Stalled { .. }))
    }

    fn cycles(&self) -> Vec<WaitCycle> {
        let events = self.events.lock().unwrap();
        let cycles = events.iter().filter_map(|event| match event {
            Event::WaitCycle { cycle } => Some(cycle.clone()),
            _ => None,
        });
        cycles.collect()
    }
}

/// Acquires from one gate, then from the other while it still holds the first permit.
fn nested(first: Gate, second: Gate) -> JoinHandle<()> {
    tokio::spawn(async move {
        let held = first.acquire().await.unwrap();
        sleep(SECOND).await;
        let _both = second.acquire().await.unwrap();
        drop(held);
    })
}

fn hold(gate: &Gate, duration: Duration) -> JoinHandle<()> {
    let gate = gate.clone();
    tokio::spawn(async move {
        let permit = gate.acquire().await.unwrap();
        permit.label("work");
        sleep(duration).await;
    })
}

/// A permit that is in use for too long is reported, at most once per 30 s and gate.
#[tokio::test(start_paused = true)]
async fn an_overdue_permit_is_reported_at_most_once_in_30_seconds() {
    let watched = Watched::new().await;
    let _task = hold(&watched.gate(&LEFT), 100 * SECOND);
    let overdue = || watched.count(|event| matches!(event, Event::PermitOverdue { .. }));
    sleep(T).await;
    assert_eq!(overdue(), 0);
    sleep(T).await;
    assert_eq!(overdue(), 1, "within twice the time");
    sleep(60 * SECOND).await;
    assert_eq!(overdue(), 3, "every 30 s, until it is released");
    let text = watched.events.lock().unwrap()[0].to_string();
    let expected = "gate left: a permit is overdue: 1 permit of gate left for \"work\", requested at tests/governor/stalls.rs:";
    assert!(text.starts_with(expected), "{text}");
    assert_eq!(watched.stalls(), 0, "no request waits");
}

/// A granted request that is not polled is reported.
#[tokio::test(start_paused = true)]
async fn a_granted_request_that_is_not_polled_is_reported() {
    let watched = Watched::new().await;
    let gate = watched.gate(&LEFT);
    let held = gate.acquire_owned().await.unwrap();
    let mut kept = Box::pin(gate.acquire());
    assert!(timeout(SECOND, &mut kept).await.is_err());
    drop(held);
    sleep(2 * T).await;
    let unclaimed = |event: &Event| matches!(event, Event::GrantUnclaimed { unclaimed: 1, .. });
    assert_eq!(watched.count(unclaimed), 1, "{:?}", watched.events);
    assert_eq!(watched.count(|event| matches!(event, Event::PermitOverdue { .. })), 0);
    drop(kept);
    sleep(3 * T).await;
    assert_eq!(watched.count(unclaimed), 1);
}

/// P88: a gate is stalled only if a request has waited for longer than the time, and nothing was acquired or released meanwhile.
#[tokio::test(start_paused = true)]
async fn a_gate_is_stalled_only_if_nothing_moves_while_a_request_waits() {
    let watched = Watched::new().await;
    let gate = watched.gate(&WIDE);

    // Nothing waits.
    let holders = [hold(&gate, 200 * SECOND), hold(&gate, 50 * SECOND)];
    sleep(40 * SECOND).await;
    assert_eq!(watched.stalls(), 0, "no request waits");
    // One waits from second 40 on. At second 50 a permit is released, and at once acquired by a third task until second 90.
    let third = hold(&gate, 40 * SECOND);
    let waiting = hold(&gate, SECOND);
    sleep(39 * SECOND).await;
    assert_eq!(watched.stalls(), 0, "a request has waited for 39 s, and a permit moved 29 s ago");
    sleep(10 * SECOND).await;
    assert_eq!(watched.stalls(), 1, "nothing has moved for 39 s");
    sleep(2 * SECOND).await;
    assert!(third.is_finished());
    for task in holders.into_iter().chain([waiting]) {
        task.abort();
    }
    yield_now().await;
    let Some(Event::Stalled { gate, waiting, lasted, suspects, .. }) =
        watched.events.lock().unwrap().iter().find(|event| matches!(event, Event::Stalled { .. })).cloned()
    else {
        panic!("counted above")
    };
    assert_eq!((gate, waiting, suspects.len()), (WIDE.name(), 1, 2));
    assert!(lasted > T && suspects[0].age >= suspects[1].age, "{lasted:?} {suspects:?}");
}

/// P88: a stall begins when the request begins to wait, also if the last change of the permits was before that.
#[tokio::test(start_paused = true)]
async fn a_stall_begins_with_the_wait() {
    let watched = Watched::new().await;
    let gate = watched.gate(&WIDE);
    let _first = hold(&gate, 200 * SECOND);
    sleep(20 * SECOND).await;
    let _second = hold(&gate, 200 * SECOND);
    sleep(20 * SECOND).await;
    let _waiting = hold(&gate, SECOND);
    sleep(T + 15 * SECOND).await;
    let lasted: Vec<Duration> = watched
        .events
        .lock()
        .unwrap()
        .iter()
        .filter_map(|event| match event {
            Event::Stalled { lasted, .. } => Some(*lasted),
            _ => None,
        })
        .collect();
    assert!(matches!(lasted[..], [lasted] if (T..=T + 15 * SECOND).contains(&lasted)), "{lasted:?}");
}

/// P88: a busy gate is not stalled, however long a request waits: something moves all the time.
#[tokio::test(start_paused = true)]
async fn a_busy_gate_is_not_stalled() {
    let watched = Watched::new().await;
    let gate = watched.gate(&WIDE);
    let _long = hold(&gate, 500 * SECOND);
    let short: Vec<_> = (0..8).map(|_| hold(&gate, 10 * SECOND)).collect();
    sleep(75 * SECOND).await;
    assert!(!short[7].is_finished() && short[6].is_finished(), "the last one has waited for 70 s");
    assert_eq!(watched.stalls(), 0);
}

/// P88: a request that waits for a higher limit stalls nothing: no holder could help it.
#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_the_limit_is_no_stall() {
    let watched = Watched::new().await;
    let gate = watched.gate(&WIDE);
    let _long = hold(&gate, 500 * SECOND);
    let _heavy = tokio::spawn(async move { drop(gate.request().weight(5).wait_for_limit().acquire().await) });
    sleep(5 * T).await;
    assert_eq!((watched.stalls(), watched.cycles().len()), (0, 0));
}

/// P89: two tasks that acquire two gates in opposite order are named within twice the time, with the places in the source.
#[tokio::test(start_paused = true)]
async fn two_tasks_in_opposite_order_are_named() {
    let watched = Watched::new().await;
    let (left, right) = (watched.gate(&LEFT), watched.gate(&RIGHT));
    let tasks = [nested(left.clone(), right.clone()), nested(right, left)];
    sleep(2 * T).await;
    let cycles = watched.cycles();
    assert_eq!(cycles.len(), 1, "{:?}", watched.events);
    let links = &cycles[0].links;
    assert_eq!(links.len(), 2);
    let ids: std::collections::BTreeSet<_> = tasks.iter().map(JoinHandle::id).collect();
    assert_eq!(links.iter().filter_map(|link| link.task).collect::<std::collections::BTreeSet<_>>(), ids);
    assert_ne!(links[0].gate, links[1].gate);
    for link in links {
        assert_eq!((link.location.file(), link.holds_from.file()), (file!(), file!()));
        assert!(link.location.line() > link.holds_from.line());
    }
    let diagnosis = watched.governor.diagnose();
    assert_eq!(diagnosis.cycles.len(), 1);
    assert_eq!(diagnosis.cycles[0].links[0].task, links[0].task);
    let text = cycles[0].to_string();
    assert!(text.contains("holds permits requested at tests/governor/stalls.rs:"), "{text}");
}

/// P89: a task that asks again for what it holds waits for itself.
#[tokio::test(start_paused = true)]
async fn a_task_that_waits_for_itself_is_named() {
    let watched = Watched::new().await;
    let left = watched.gate(&LEFT);
    let task = nested(left.clone(), left);
    sleep(2 * T).await;
    let cycles = watched.cycles();
    assert_eq!(cycles.len(), 1);
    assert_eq!((cycles[0].links.len(), cycles[0].links[0].task), (1, Some(task.id())));
}

/// P89: a cycle through a gate within another one, and one of blocked threads.
#[tokio::test(start_paused = true)]
async fn cycles_through_parents_and_among_threads_are_named() {
    const ROOT: GateSpec = GateSpec::new("root", Formula::fixed(1)).track_holders(Holders::overdue_after(T));
    const CHILD: GateSpec = GateSpec::new("child", Formula::fixed(1)).within(ROOT);
    let cycles: Arc<Mutex<Vec<WaitCycle>>> = Arc::default();
    let observer = {
        let cycles = Arc::clone(&cycles);
        move |event: &Event| {
            if let Event::WaitCycle { cycle } = event {
                cycles.lock().unwrap().push(cycle.clone());
            }
        }
    };
    let builder = Governor::builder().gate(ROOT).gate(CHILD).gate(LEFT).observer(observer);
    let governor = builder.build().await.unwrap();
    let _refresh = governor.spawn_refresh(RefreshPolicy::new());
    let [root, child, left] = governor.gates([ROOT, CHILD, LEFT]).unwrap();
    // The first holds the permit of the child, and so that of the root.
    let tasks = [nested(child, left.clone()), nested(left.clone(), root.clone())];
    sleep(2 * T).await;
    assert_eq!(cycles.lock().unwrap().len(), 1, "{cycles:?}");
    for task in tasks {
        task.abort();
    }
    sleep(SECOND).await;
    assert_eq!(left.in_use(), 0);

    // Two threads acquire the same gates in opposite order.
    let both_hold = Arc::new(Barrier::new(2));
    let threads = [(left.clone(), root.clone()), (root.clone(), left.clone())].map(|(first, second)| {
        let (both_hold, runtime) = (Arc::clone(&both_hold), Handle::current());
        thread::spawn(move || {
            let _entered = runtime.enter(); // so that the thread has the paused clock
            let _held = first.acquire_blocking().unwrap();
            both_hold.wait();
            second.acquire_blocking().is_ok()
        })
    });
    while left.waiting() + root.waiting() < 2 {
        thread::yield_now();
    }
    sleep(2 * T).await;
    let tasks_of_cycles: Vec<Vec<bool>> = cycles
        .lock()
        .unwrap()
        .iter()
        .map(|cycle| cycle.links.iter().map(|link| link.task.is_some()).collect())
        .collect();
    assert_eq!(tasks_of_cycles, [[true; 2], [false; 2]], "{cycles:?}");
    // The thread that waits for `left` is rejected and releases `root`, for which the other one waits.
    left.close();
    assert_eq!(threads.map(|thread| thread.join().unwrap()), [true, false]);
}

/// P89: tasks that wait for each other only until another one releases are no cycle: a spare permit, a deadline, a task that works.
#[tokio::test(start_paused = true)]
async fn waits_that_end_by_themselves_are_no_cycle() {
    let watched = Watched::new().await;
    let (left, right, wide) = (watched.gate(&LEFT), watched.gate(&RIGHT), watched.gate(&WIDE));
    // One permit of the wide gate belongs to a task that only works.
    let _working = hold(&wide, 1000 * SECOND);
    let _tasks =
        [nested(left.clone(), wide.clone()), nested(wide.clone(), left.clone()), nested(right, wide)];
    sleep(6 * T).await;
    assert_eq!(watched.cycles(), [], "the task that works will release its permit");
    assert!(watched.stalls() > 0);
}

/// P89: a task whose wait has expired no longer waits for the permit that it holds itself.
#[tokio::test(start_paused = true)]
async fn a_wait_that_has_expired_is_no_cycle() {
    let watched = Watched::new().await;
    let left = watched.gate(&LEFT);
    let _task = tokio::spawn(async move {
        let _held = left.acquire().await.unwrap();
        left.request().max_wait(SECOND).acquire().await.unwrap_err();
        sleep(1000 * SECOND).await;
    });
    sleep(6 * T).await;
    assert_eq!(watched.cycles(), []);
}

/// Holds a permit that another task has acquired.
async fn work(permit: OwnedPermit, duration: Duration) {
    sleep(duration).await;
    drop(permit);
}

/// P89: a task that hands its permits to others does not wait for itself, though it acquired all of them.
#[tokio::test(start_paused = true)]
async fn permits_that_were_handed_over_are_no_cycle() {
    let watched = Watched::new().await;
    let (left, right) = (watched.gate(&LEFT), watched.gate(&RIGHT));
    let acceptor = |gate: Gate| {
        tokio::spawn(async move {
            loop {
                let permit = gate.acquire_owned().await.unwrap();
                tokio::spawn(work(permit, 100 * SECOND));
            }
        })
    };
    let _acceptors = [acceptor(left.clone()), acceptor(right.clone())];
    sleep(6 * T).await;
    assert_eq!(watched.cycles(), []);
}

/// P89: an owned permit takes part in a cycle if its owner declares that it stays.
#[tokio::test(start_paused = true)]
async fn an_owned_permit_that_stays_takes_part_in_a_cycle() {
    let watched = Watched::new().await;
    let nested = |first: Gate, second: Gate| {
        tokio::spawn(async move {
            let held = first.acquire_owned().await.unwrap();
            held.stay_in_task();
            sleep(SECOND).await;
            let _both = second.acquire_owned().await.unwrap();
        })
    };
    let (left, right) = (watched.gate(&LEFT), watched.gate(&RIGHT));
    let _tasks = [nested(left.clone(), right.clone()), nested(right, left)];
    sleep(2 * T).await;
    assert_eq!(watched.cycles().len(), 1);
}

/// P89: the futures of one task that are polled side by side are no cycle, though one holds what the other waits for.
#[tokio::test(start_paused = true)]
async fn futures_that_are_polled_side_by_side_are_no_cycle() {
    let watched = Watched::new().await;
    let wide = watched.gate(&WIDE);
    let task = tokio::spawn(async move {
        let wide = &wide;
        let mut running: FuturesUnordered<_> = (0..3).map(|_| wide.run(sleep(100 * SECOND))).collect();
        while running.next().await.is_some() {}
    });
    sleep(90 * SECOND).await;
    assert_eq!(watched.cycles(), []);
    assert!(watched.stalls() > 0);
    task.await.unwrap();
}

/// P89: of many random tasks over three gates, a cycle is named if and only if the tasks never end.
#[test]
fn random_tasks_are_named_only_if_they_never_end() {
    let (mut stuck_runs, mut free_runs) = (0, 0);
    for seed in 1..=60_u64 {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let is_stuck = runtime.block_on(async {
            let watched = Watched::new().await;
            let gates = [&LEFT, &RIGHT, &WIDE].map(|spec| watched.gate(spec));
            let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut next = |bound: u64| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random % bound
            };
            let tasks: Vec<JoinHandle<()>> = (0..4)
                .map(|_| {
                    let order: Vec<Gate> =
                        (0..2).map(|_| gates[usize::try_from(next(3)).unwrap()].clone()).collect();
                    let (start, pause) = (
                        SECOND * u32::try_from(next(3)).unwrap(),
                        SECOND * u32::try_from(1 + next(3)).unwrap(),
                    );
                    tokio::spawn(async move {
                        sleep(start).await;
                        let first = order[0].acquire().await.unwrap();
                        sleep(pause).await;
                        let second = order[1].acquire().await.unwrap();
                        sleep(pause).await;
                        drop((first, second));
                    })
                })
                .collect();
            sleep(3 * T).await;
            let is_stuck = tasks.iter().any(|task| !task.is_finished());
            assert_eq!(!watched.cycles().is_empty(), is_stuck, "seed {seed}: {:?}", watched.events);
            for task in tasks {
                task.abort();
            }
            is_stuck
        });
        if is_stuck { stuck_runs += 1 } else { free_runs += 1 }
    }
    assert!(stuck_runs > 5 && free_runs > 5, "{stuck_runs} runs were stuck and {free_runs} were not");
}

/// A governor without gates that track their holders reports nothing, whatever lasts.
#[tokio::test(start_paused = true)]
async fn gates_without_records_report_nothing() {
    let log = EventLog::default();
    let governor = build_governor(&cpu(1), &log).await;
    let _refresh = governor.spawn_refresh(RefreshPolicy::new());
    let held = governor.gate(IO).unwrap().try_acquire_many_owned(64).unwrap();
    let gate = governor.gate(IO).unwrap();
    let _waiting = tokio::spawn(async move { drop(gate.acquire().await) });
    sleep(10 * T).await;
    assert_eq!(log.take(), Vec::<String>::new());
    drop(held);
}

/// A paused gate at which requests wait is no stall, and the diagnosis says that it is paused. After the pause the time counts anew.
#[tokio::test(start_paused = true)]
async fn a_paused_gate_is_not_stalled() {
    let watched = Watched::new().await;
    let gate = watched.gate(&WIDE);
    let holders = [hold(&gate, 1000 * SECOND), hold(&gate, 1000 * SECOND)];
    yield_now().await;
    gate.pause();
    let waiting = hold(&gate, SECOND);
    sleep(10 * T).await;
    assert_eq!(watched.stalls(), 0);
    let diagnosis = watched.governor.diagnose();
    let wide = &diagnosis.gates[2];
    assert!(wide.paused && wide.stall.is_none() && wide.bottleneck.is_none());
    assert!(wide.to_string().starts_with("gate wide: 2 of 2 in use, 1 waiting, paused\n"), "{wide}");
    gate.resume();
    sleep(T).await;
    assert_eq!(watched.stalls(), 1, "nothing moves although it is not paused");
    for task in holders.into_iter().chain([waiting]) {
        task.abort();
    }
}
