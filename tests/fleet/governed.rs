//! Shared gates of a governor: the local limit, settings, explanations, events, keys, priorities and children.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use concurrency_governor::feedback::{Aimd, Outcome};
use concurrency_governor::fleet::{
    BlockReturn, Ledger, MemoryLedger, Share, SharedAcquireError, SharedGate, SharedTryError,
};
use concurrency_governor::gate::{AcquireError, Priority, TryAcquireError};
use concurrency_governor::governor::RefreshPolicy;
use concurrency_governor::plan::{GateHandleError, LeaseState, Problem, RuleName};
use concurrency_governor::testing::MockProbe;
use concurrency_governor::{
    Adaptive, Event, Formula, GateName, GateSpec, Governor, Holders, Keys, Limit, OverrideLayer, Overrides,
    Reading, Resource, Shed,
};
use futures_util::FutureExt;
use tokio::time::{Instant, timeout};

use crate::flaky::{Failing, FlakyLedger};
use crate::waiting::wait_until;

const IO: GateSpec = GateSpec::new("io", Formula::scale(Resource::CPU, 2));
const MAIL: GateSpec = GateSpec::new("mail", Formula::fixed(2)).within(IO);
const TTL: Duration = Duration::from_secs(1);

fn share(ledger: &(impl Ledger + Clone + 'static), limit: u32) -> Share {
    Share::of(ledger.clone(), "prod/io")
        .limit(Limit::new(limit))
        .ttl(TTL)
        .max_hold(Duration::from_millis(100))
}

async fn governor(spec: &GateSpec, share: Share) -> (Governor, SharedGate, MockProbe) {
    let cpu = MockProbe::new(Resource::CPU, Reading::whole(4));
    let built = Governor::builder().gate(*spec).share(spec.name(), share).probe(cpu.clone()).build().await;
    let governor = built.unwrap();
    let shared = governor.shared(*spec).unwrap();
    (governor, shared, cpu)
}

/// The limit that is derived from the host is the most that a process asks for, however many requests wait. It follows the host, up and
/// down, and the rest goes back to the ledger, so that another process gets it.
#[tokio::test]
async fn the_local_limit_caps_the_block() {
    let ledger = FlakyLedger::default();
    let (governor, io, cpu) = governor(&IO, share(&ledger, 20)).await;
    let permits = io.acquire_many(8).await.unwrap();
    let waiting = io.acquire_many(2);
    tokio::pin!(waiting);
    assert!(waiting.as_mut().now_or_never().is_none());
    wait_until(|| io.status().exchanges > 4).await;
    assert_eq!((io.status().cap, ledger.most_wanted()), (8, 8), "4 cores, 2 for each");
    let error = io.acquire_many(9).await.unwrap_err();
    let expected = AcquireError::TooLarge { gate: IO.name(), weight: 9, limit: Limit::new(8) };
    assert_eq!(error, SharedAcquireError::Rejected(expected));

    cpu.set(Reading::whole(6));
    governor.refresh().await.unwrap();
    let more = waiting.await.unwrap();
    assert_eq!((io.status().local_limit, io.status().in_use), (Limit::new(12), 10));

    cpu.set(Reading::whole(1));
    governor.refresh().await.unwrap();
    assert_eq!(io.try_acquire().unwrap_err(), TryAcquireError::NoPermits { gate: IO.name() }.into());
    drop(permits);
    drop(more);
    let other = share(&ledger, 20).open(GateName::new("other")).unwrap();
    assert_eq!(other.acquire_many(18).await.unwrap().weight(), 18);
    assert_eq!(io.acquire_many(2).await.unwrap().weight(), 2);
}

/// An operator's setting replaces the local limit, and its removal restores it.
#[tokio::test]
async fn settings_replace_the_local_limit() {
    let (governor, io, _) = governor(&IO, share(&MemoryLedger::new(), 20)).await;
    let set = |limit| Overrides::new().then(OverrideLayer::new("admin").set(IO, limit));
    governor.set_overrides(set(3)).unwrap();
    assert_eq!(io.status().local_limit, Limit::new(3));
    let three = io.acquire_many(3).await.unwrap();
    assert!(io.try_acquire().is_err());
    governor.set_overrides(Overrides::new()).unwrap();
    let more = io.acquire_many(5).await.unwrap();
    assert_eq!(io.status().in_use, 8);
    drop((three, more));
}

/// Only `shared` returns a gate that shares its limit, and the gates within it; only `gate` returns the others.
#[tokio::test]
async fn a_shared_gate_has_its_own_handle() {
    const CPU: GateSpec = GateSpec::new("cpu", Formula::fixed(2));
    let share = share(&MemoryLedger::new(), 20);
    let builder = Governor::builder().gate(IO).gate(MAIL).gate(CPU).share(IO, share);
    let governor = builder.probe(MockProbe::new(Resource::CPU, Reading::whole(4))).build().await.unwrap();
    for gate in [IO.name(), MAIL.name()] {
        assert_eq!(governor.gate(gate).unwrap_err(), GateHandleError::Shared { gate });
        assert_eq!(governor.shared(gate).unwrap().name(), gate);
    }
    let gate = CPU.name();
    assert_eq!(governor.shared(gate).unwrap_err(), GateHandleError::NotShared { gate });
    let permit = governor.gate(gate).unwrap().try_acquire_owned().unwrap();
    assert_eq!(permit.weight(), 1);
    let unknown = governor.shared(GateName::new("disk")).unwrap_err();
    assert_eq!(unknown.to_string(), "the plan declares no gate `disk` (it declares io, mail, cpu)");
}

/// A wrong share, or an unsuitable ledger, is an error of the build that says what is wrong.
#[tokio::test]
async fn a_wrong_share_fails_the_build() {
    let ledger = FlakyLedger::default();
    let builder = || {
        let cpu = MockProbe::new(Resource::CPU, Reading::whole(4));
        Governor::builder().gate(IO).gate(MAIL).probe(cpu)
    };
    let disk = GateName::new("disk");
    let good = || share(&ledger, 20);
    let builder_of_all =
        builder().share(disk, good()).share(MAIL, good()).share(IO, good()).share(IO, good());
    let error = builder_of_all.build().await.unwrap_err();
    let known = vec![IO.name(), MAIL.name()];
    assert_eq!(
        error.problems(),
        [
            Problem::UnknownShare { gate: disk, known },
            Problem::SharedChild { gate: MAIL.name(), parent: IO.name() },
            Problem::DuplicateShare { gate: IO.name(), times: 2 },
        ]
    );
    let no_limit = builder().share(IO, Share::of(ledger.clone(), "prod/io")).build().await.unwrap_err();
    let expected =
        "gate `io` cannot be shared: the share of gate `io` has no limit; set one with `Share::limit`";
    assert_eq!(no_limit.to_string(), expected);
    ledger.fails(Failing::Yes);
    let unsuitable = builder().share(IO, good()).build().await.unwrap_err();
    assert_eq!(
        unsuitable.to_string(),
        "gate `io` cannot be shared: the test cannot be a ledger: it is read-only"
    );
    assert_eq!(ledger.status("prod/io").await.unwrap().holders, [], "nothing was opened");
}

/// A ledger that does not answer is no error of the build. Ledgers that hang share one deadline: several of them delay the build no
/// longer than one.
#[tokio::test(start_paused = true)]
async fn hung_ledgers_share_one_deadline() {
    let ledger = FlakyLedger::default();
    ledger.fails(Failing::Hangs);
    let gates = ["one", "two", "three", "four"].map(|name| GateSpec::new(name, Formula::fixed(4)));
    let mut builder = Governor::builder();
    for gate in gates {
        builder = builder.gate(gate).share(gate, share(&ledger, 20));
    }
    let start = Instant::now();
    let governor = builder.build().await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 2);
    assert_eq!(governor.leases().count(), 4);
}

/// `explain` has the lease as one more step, and `diagnose` says that requests wait for it.
#[tokio::test]
async fn the_lease_is_explained() {
    let ledger = MemoryLedger::new();
    let (governor, io, _) = governor(&IO, share(&ledger, 3)).await;
    let permit = io.acquire_many(3).await.unwrap();
    let waiting = io.acquire();
    tokio::pin!(waiting);
    assert!(waiting.as_mut().now_or_never().is_none());

    let explanation = governor.explain(IO).unwrap();
    let lease = explanation.lease().unwrap();
    assert_eq!((lease.block, lease.limit, lease.version), (3, Limit::new(3), 0));
    assert_eq!((&*lease.name, lease.state), ("prod/io", LeaseState::Leased));
    assert!(lease.remaining > Duration::ZERO && lease.remaining <= TTL);
    assert_eq!(explanation.limit(), Limit::new(8), "the local limit");
    let text = format!("{explanation:#}");
    assert!(text.contains("\n    lease of prod/io: 3 of 3 for "), "{text}");
    assert!(text.ends_with(", leased (limit from the processes)"), "{text}");
    assert_eq!(governor.resolution().explain(IO).unwrap().lease(), None);

    let diagnosis = governor.diagnose();
    let bottleneck = diagnosis.gates[0].bottleneck.as_ref().unwrap();
    assert_eq!(bottleneck.gate, IO.name());
    assert!(bottleneck.decided_by.starts_with("the lease of prod/io: 3 of 3 for "), "{diagnosis}");
    assert!(diagnosis.gates[0].lease.is_some());

    ledger.set_limit("prod/io", Limit::new(4), "test").await.unwrap();
    let second = waiting.await.unwrap();
    let text = governor.explain(IO).unwrap().to_string();
    assert!(text.contains("lease of prod/io: 4 of 4 for ") && text.contains("set by an operator"), "{text}");
    drop((permit, second));
}

/// Observers get an event when a lease changes its state, and when an operator changes the limit of the fleet.
#[tokio::test]
async fn observers_get_the_changes_of_the_lease() {
    let ledger = FlakyLedger::default();
    let events: Arc<Mutex<Vec<String>>> = Arc::default();
    let observer = {
        let events = Arc::clone(&events);
        move |event: &Event| {
            let text = match event {
                Event::LeaseChanged { gate, from, to, .. } => format!("{gate} {from} {to}"),
                Event::FleetLimitChanged { gate, from, to, .. } => format!("{gate} {from} {to}"),
                _ => return,
            };
            events.lock().unwrap().push(text);
        }
    };
    let cpu = MockProbe::new(Resource::CPU, Reading::whole(4));
    let builder = Governor::builder().gate(IO).share(IO, share(&ledger, 20)).probe(cpu).observer(observer);
    let governor = builder.build().await.unwrap();
    let _refresh = governor.spawn_refresh(RefreshPolicy::new());
    let has = |text: &str| events.lock().unwrap().iter().any(|event| event == text);
    wait_until(|| has("io starting leased")).await;
    ledger.set_limit("prod/io", Limit::new(9), "test").await.unwrap();
    wait_until(|| has("io 20 9")).await;
    ledger.fails(Failing::Yes);
    wait_until(|| has("io leased unreachable")).await;
    ledger.fails(Failing::No);
    wait_until(|| has("io unreachable leased")).await;
}

/// A gate without a lease is paused. Its reports show the work that is left, and nothing else.
#[tokio::test]
async fn reports_show_only_work() {
    let tracked = IO.track_holders(Holders::overdue_after(Duration::from_millis(1)));
    for spec in [IO, tracked, tracked.keyed(Keys::up_to(4))] {
        let ledger = FlakyLedger::default();
        let (governor, io, _cpu) = governor(&spec, share(&ledger, 20)).await;
        let permits = io.acquire_many(8).await.unwrap();
        let status = io.gate_status();
        assert_eq!((status.limit, status.in_use, status.available), (Limit::new(8), 8, 0));
        let holders: Vec<u32> = io.holders().iter().map(|holder| holder.weight).collect();
        assert_eq!(holders, if spec.holders().is_some() { vec![8] } else { vec![] });
        let diagnosis = &governor.diagnose().gates[0];
        assert_eq!((diagnosis.limit, diagnosis.in_use), (Limit::new(8), 8));
        assert_eq!(diagnosis.holders.len(), holders.len());

        drop(permits);
        ledger.fails(Failing::Yes);
        wait_until(|| io.status().cap == 0).await;
        wait_until(|| io.gate_status().paused).await;
        let status = io.gate_status();
        assert_eq!((status.in_use, status.debt, status.oldest_permit), (0, 0, None));
        assert_eq!(io.holders().len(), 0);
    }
}

/// The keys of a shared gate share its block, and each has its part of it. Holders are tracked, and have the location of
/// their request.
#[tokio::test]
async fn keys_share_the_block() {
    use concurrency_governor::Part;

    const KEYED: GateSpec = IO
        .keyed(Keys::up_to(16).cap(Part::of(1, 2)))
        .track_holders(Holders::overdue_after(Duration::from_secs(60)));
    let (_governor, io, _) = governor(&KEYED, share(&MemoryLedger::new(), 4)).await;
    let whole = io.acquire_many(4).await.unwrap();
    drop(whole);
    let (a, b) = (io.key("a"), io.key("b"));
    let first = a.acquire().await.unwrap();
    let second = a.acquire().await.unwrap();
    second.label("upload");
    let third = a.acquire();
    tokio::pin!(third);
    assert!(third.as_mut().now_or_never().is_none(), "a key has at most half of the block");
    let other = b.acquire_many(2).await.unwrap();
    assert_eq!((io.status().in_use, a.gate_status().in_use, b.gate_status().in_use), (4, 2, 2));
    assert_eq!((io.holders().len(), io.gate_status().limit, io.gate_status().in_use), (3, Limit::new(4), 4));
    let upload = io.holders().into_iter().find(|holder| holder.label.is_some()).unwrap();
    assert!(upload.location.file().ends_with("governed.rs"), "{upload}");
    assert_eq!(io.busiest_keys(1)[0].key.to_string(), "a");
    drop(first);
    let third = third.await.unwrap();
    drop((second, third, other));
    assert_eq!(io.status().in_use, 0);
}

/// The gates within a shared gate take their permits from its block, at most their own limit.
#[tokio::test]
async fn children_share_the_block() {
    let share = share(&MemoryLedger::new(), 4);
    let builder = Governor::builder().gate(IO).gate(MAIL).share(IO, share);
    let governor = builder.probe(MockProbe::new(Resource::CPU, Reading::whole(4))).build().await.unwrap();
    let [io, mail] = [IO, MAIL].map(|spec| governor.shared(spec).unwrap());
    let two = mail.acquire_many(2).await.unwrap();
    two.check().unwrap();
    let error = mail.acquire_many(3).await.unwrap_err();
    let expected = AcquireError::TooLarge { gate: MAIL.name(), weight: 3, limit: Limit::new(2) };
    assert_eq!(error, expected.into());
    let rest = io.acquire_many(2).await.unwrap();
    assert_eq!((io.status().in_use, mail.gate_status().in_use), (4, 2));
    assert!(matches!(mail.try_acquire(), Err(SharedTryError::Rejected(_))));
    assert!(governor.explain(MAIL).unwrap().lease().is_some());
    drop((two, rest));
}

/// A weight above the limit of a gate between the child and the shared gate is rejected, and the error names that gate.
#[tokio::test]
async fn a_weight_above_the_limit_of_a_middle_gate_is_rejected() {
    const NEWS: GateSpec = GateSpec::new("news", Formula::fixed(8)).within(MAIL);
    const KEYED: GateSpec = GateSpec::new("keyed", Formula::fixed(8)).within(MAIL).keyed(Keys::up_to(4));
    let share = share(&MemoryLedger::new(), 16);
    let builder = Governor::builder().gate(IO).gate(MAIL).gate(NEWS).gate(KEYED).share(IO, share);
    let governor = builder.probe(MockProbe::new(Resource::CPU, Reading::whole(16))).build().await.unwrap();
    let tenant = governor.shared(KEYED).unwrap().key("tenant");
    for gate in [governor.shared(NEWS).unwrap(), tenant] {
        let error = timeout(Duration::from_secs(10), gate.acquire_many(3)).await.unwrap().unwrap_err();
        let expected = AcquireError::TooLarge { gate: MAIL.name(), weight: 3, limit: Limit::new(2) };
        assert_eq!(error, expected.into());
        drop(gate.acquire_many(2).await.unwrap());
    }
}

/// Requests that wait in one process are admitted by priority.
#[tokio::test]
async fn a_higher_priority_goes_first() {
    const KEYED: GateSpec = IO.keyed(Keys::up_to(16));
    let (_governor, io, _) = governor(&KEYED, share(&MemoryLedger::new(), 1)).await;
    let permit = io.acquire().await.unwrap();
    let low = io.request().priority(Priority::Batch).acquire();
    let high = io.request().priority(Priority::Critical).acquire();
    tokio::pin!(low, high);
    assert!(low.as_mut().now_or_never().is_none());
    assert!(high.as_mut().now_or_never().is_none());
    drop(permit);
    let first = high.await.unwrap();
    assert!(low.as_mut().now_or_never().is_none());
    drop(first);
    drop(low.await.unwrap());
}

/// A request that waits too long under lasting overload is shed in its process.
#[tokio::test]
async fn a_shared_gate_sheds() {
    const SHEDDING: GateSpec = IO.shed(Shed::after(Duration::from_millis(5)));
    let (_governor, io, _) = governor(&SHEDDING, share(&MemoryLedger::new(), 1)).await;
    let mut tasks = Vec::new();
    for _ in 0..200 {
        let io = io.clone();
        tasks.push(tokio::spawn(async move { io.run(work_of(Duration::from_millis(2))).await }));
    }
    let (mut done, mut shed) = (0, 0);
    for task in tasks {
        match task.await.unwrap() {
            Ok(()) => done += 1,
            Err(SharedAcquireError::Rejected(AcquireError::Shed { .. })) => shed += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(done > 0 && shed > 0, "{done} done, {shed} shed");
}

/// A process whose work is slow gives its block back: it asks for the limit that its rule has chosen, not for what waits.
#[tokio::test]
async fn a_slow_host_gives_its_block_back() {
    const RULE: RuleName = RuleName::new("strict");
    const ADAPTIVE: GateSpec =
        GateSpec::new("io", Formula::fixed(4)).adaptive(Adaptive::custom(RULE).start(4).floor(2));

    let ledger = MemoryLedger::new();
    // Every latency is too long for this rule, so it lowers the limit by one with each window.
    let builder = Governor::builder().rule(RULE, || Aimd::new(Duration::from_nanos(1)));
    let governor = builder.gate(ADAPTIVE).share(ADAPTIVE, share(&ledger, 4)).build().await.unwrap();
    let _refresh = governor.spawn_refresh(RefreshPolicy::new());
    let io = governor.shared(ADAPTIVE).unwrap();
    drop(io.acquire_many(4).await.unwrap());
    let workers = (0..8).map(|_| {
        let io = io.clone();
        tokio::spawn(async move {
            loop {
                let work = work_of(Duration::from_millis(1));
                io.request().observe(work, |()| Outcome::Success).await.unwrap();
            }
        })
    });
    let workers: Vec<_> = workers.collect();
    wait_until(|| io.status().local_limit == Limit::new(2)).await;
    // The other process gets what this one no longer asks for, although requests wait here.
    let other = share(&ledger, 4).open(GateName::new("other")).unwrap();
    assert_eq!(other.acquire_many(2).await.unwrap().weight(), 2);
    assert!(io.status().waiting > 0);
    workers.iter().for_each(tokio::task::JoinHandle::abort);
}

async fn work_of(time: Duration) {
    tokio::time::sleep(time).await;
}

/// A shared gate is closed with the others: at once while it has no block and no work, and at the deadline while work goes on.
#[tokio::test]
async fn close_all_closes_shared_gates() {
    let (starting, _, _) = governor(&IO, share(&MemoryLedger::new(), 20)).await;
    let began = Instant::now();
    let report = starting.close_all(began + Duration::from_secs(60)).await;
    assert!(report.is_complete() && began.elapsed() < Duration::from_secs(30), "{report}");

    let (working, io, _) = governor(&IO, share(&MemoryLedger::new(), 20)).await;
    let permit = io.acquire_many(3).await.unwrap();
    let report = working.close_all(Instant::now() + Duration::from_millis(50)).await;
    assert_eq!(
        report.to_string(),
        "gate io: 3 permits still in use, 0 waiting requests were rejected\n\
         gate io: the block is not returned: 3 permits or items are in use"
    );
    drop(permit);
}

/// `close_all` resolves when the ledger has the blocks back: another process gets them at once. If the ledger does not answer, the report
/// says so.
#[tokio::test]
async fn close_all_returns_the_blocks() {
    let ledger = FlakyLedger::default();
    let (first, io, _) = governor(&IO, share(&ledger, 8)).await;
    let permit = io.acquire_many(8).await.unwrap();
    let closing =
        tokio::spawn(async move { first.close_all(Instant::now() + Duration::from_secs(60)).await });
    wait_until(|| io.try_acquire().is_err()).await;
    drop(permit);
    let report = closing.await.unwrap();
    assert!(report.is_complete(), "{report}");
    assert_eq!(io.status().state, LeaseState::Left);
    let held: u64 = ledger.status("prod/io").await.unwrap().holders.iter().map(|holder| holder.granted).sum();
    assert_eq!(held, 0);

    let (second, io, _) = governor(&IO, share(&ledger, 8)).await;
    drop(io.acquire_many(8).await.unwrap());
    ledger.fails(Failing::Yes);
    let report = second.close_all(Instant::now() + Duration::from_millis(400)).await;
    assert!(!report.is_complete() && report.left.is_empty());
    let outcome = &report.unreturned[0].outcome;
    assert!(matches!(outcome, BlockReturn::Unconfirmed { problem: Some(_) }), "{report}");
    assert!(report.to_string().starts_with("gate io: the ledger has not confirmed the return of the block"));
}

/// `add` rejects a gate within a shared gate, because its permits would bypass the lease.
#[tokio::test]
async fn no_gate_is_added_within_a_shared_one() {
    const LATE: GateSpec = GateSpec::new("late", Formula::fixed(2)).within(IO);
    let share = share(&MemoryLedger::new(), 4);
    let cpu = MockProbe::new(Resource::CPU, Reading::whole(4));
    let governor = Governor::builder().gate(IO).gate(MAIL).share(IO, share).probe(cpu).build().await.unwrap();
    let error = governor.add(LATE).await.unwrap_err();
    assert_eq!(error.problems(), [Problem::ParentIsShared { gate: LATE.name(), parent: IO.name() }]);
}
