//! Gates that are added to a running governor.

use std::time::Duration;

use concurrency_governor::feedback::Outcome;
use concurrency_governor::governor::RefreshPolicy;
use concurrency_governor::plan::{BuildError, Problem};
use concurrency_governor::{Adaptive, Holders, Keys, OverrideLayer, Overrides, Part};
use tokio::time::{sleep, timeout};

use super::*;

fn problems(result: Result<concurrency_governor::Gate, BuildError>) -> Vec<Problem> {
    result.unwrap_err().problems().to_vec()
}

/// A gate that is added follows the host and the settings, is in explanations and diagnoses, and subscribers are notified.
#[tokio::test(start_paused = true)]
async fn an_added_gate_is_like_the_others() {
    let (probe, log) = (cpu(8), EventLog::default());
    let governor = build_governor(&probe, &log).await;
    let mut resolutions = governor.subscribe();
    let plugin = GateSpec::new("plugin", Formula::of(CACHE.fraction(1, 4))).queue(7);
    let gate = governor.add(plugin).await.unwrap();
    assert_eq!((gate.limit().get(), gate.status().queue_bound), (64, Some(7)));
    assert!(resolutions.has_changed().unwrap());
    let resolution = resolutions.borrow_and_update().clone();
    assert_eq!(
        resolution.explain(plugin).unwrap().to_string(),
        "plugin = 64: derived, `gate cache * 1/4` decides (gate cache = 256)"
    );
    assert_eq!(governor.gate(plugin).unwrap().limit(), gate.limit());
    assert_eq!(governor.diagnose().gates[2].gate, plugin.name());

    probe.set(Reading::whole(4));
    governor.refresh().await.unwrap();
    assert_eq!([limit_of(&governor, IO), limit_of(&governor, plugin)], [256, 32]);
    governor
        .set_overrides(Overrides::new().then(OverrideLayer::new("admin").set(plugin, 3).set_queue(plugin, 9)))
        .unwrap();
    assert_eq!((limit_of(&governor, plugin), gate.status().queue_bound), (3, Some(9)));
    let held = gate.try_acquire().unwrap();
    let report = governor.close_all(tokio::time::Instant::now()).await;
    assert_eq!(report.left.iter().map(|left| left.gate).collect::<Vec<_>>(), [plugin.name()]);
    drop(held);
}

/// The checks are those of the build, and all problems are reported. Nothing is changed.
#[tokio::test]
async fn an_invalid_gate_is_rejected_and_changes_nothing() {
    let governor = build_governor(&cpu(8), &EventLog::default()).await;
    let before = governor.resolution();
    let fixed = |name: &'static str| GateSpec::new(name, Formula::fixed(1));
    assert!(matches!(
        problems(governor.add(fixed("io")).await)[..],
        [Problem::DuplicateGate { times: 2, .. }]
    ));
    let blind = GateSpec::new("blind", Formula::scale(Resource::FD, 1)).within(fixed("nowhere"));
    let found = problems(governor.add(blind).await);
    assert!(matches!(found[..], [Problem::NoProbe { .. }, Problem::UnknownParent { .. }]), "{found:?}");
    let found = problems(governor.add(fixed("child").within(IO)).await);
    assert!(matches!(found[..], [Problem::ParentWithoutChildren { .. }]), "{found:?}");
    assert!(found[0].to_string().contains("declare keys, or a child of it, when the governor is built"));
    assert_eq!((*governor.resolution()).clone(), (*before).clone());
    assert_eq!(governor.status().probes.len(), 1);
}

/// A gate can be added within one that was opened with children or keys.
#[tokio::test]
async fn a_child_is_added_within_a_parent() {
    let root = GateSpec::new("root", Formula::fixed(4)).keyed(Keys::up_to(8).cap(Part::of(1, 2)));
    let governor = Governor::builder().gate(root).build().await.unwrap();
    let child = governor.add(GateSpec::new("child", Formula::fixed(3)).within(root).weight(2)).await.unwrap();
    let root = governor.gate(root).unwrap();
    let held = child.try_acquire_many(3).unwrap();
    assert_eq!((root.in_use(), child.in_use()), (3, 3));
    assert!(root.key(1).try_acquire_many(2).is_err());
    assert_eq!(governor.resolution().explain(child.name()).unwrap().path().to_string(), "root/child");
    drop(held);
}

/// Feedback and the watch of holders work for gates that are added while the background refresh runs.
#[tokio::test(start_paused = true)]
async fn the_background_tasks_take_up_added_gates() {
    let events: Arc<Mutex<Vec<Event>>> = Arc::default();
    let observer = {
        let events = Arc::clone(&events);
        move |event: &Event| events.lock().unwrap().push(event.clone())
    };
    let governor = Governor::builder().gate(IO).probe(cpu(2)).observer(observer).build().await.unwrap();
    let _refresh = governor.spawn_refresh(RefreshPolicy::new());
    sleep(Duration::from_secs(1)).await;

    let tracked = GateSpec::new("tracked", Formula::fixed(1))
        .track_holders(Holders::overdue_after(Duration::from_secs(5)));
    let tracked = governor.add(tracked).await.unwrap();
    let held = tracked.try_acquire().unwrap();
    sleep(Duration::from_secs(12)).await;
    let is_overdue = |event: &Event| matches!(event, Event::PermitOverdue { .. });
    assert!(events.lock().unwrap().iter().any(is_overdue), "{events:?}");
    drop(held);

    let upstream = GateSpec::new("upstream", Formula::fixed(64)).adaptive(Adaptive::latency());
    let gate = governor.add(upstream).await.unwrap();
    assert_eq!(governor.feedback(upstream).unwrap().unwrap().band.ceiling().get(), 64);
    for _ in 0..100 {
        gate.try_acquire().unwrap().attempt().finish(Outcome::Overload);
    }
    sleep(Duration::from_secs(3)).await;
    assert_eq!(limit_of(&governor, upstream), 15, "the limit follows the outcomes");
}

/// A call that is dropped adds nothing.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_adds_nothing() {
    let probe = cpu(8);
    let governor = build_governor(&probe, &EventLog::default()).await;
    probe.hang();
    let refreshing = tokio::spawn({
        let governor = governor.clone();
        async move { governor.refresh().await.map(drop) }
    });
    sleep(Duration::from_millis(10)).await;
    let spec = GateSpec::new("late", Formula::fixed(1));
    assert!(timeout(Duration::from_millis(10), governor.add(spec)).await.is_err(), "waits for the refresh");
    refreshing.await.unwrap().unwrap();
    assert!(governor.gate(spec).is_err());
    assert!(governor.add(spec).await.is_ok());
}
