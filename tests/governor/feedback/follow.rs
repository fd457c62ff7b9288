//! The limit of the gate follows the decisions, the host and the settings.

use async_trait::async_trait;
use concurrency_governor::ResourceProbe;
use concurrency_governor::plan::Measurement;
use concurrency_governor::probe::ProbeError;

use super::*;

/// A rise takes effect with the decision, although the rises of other readings must last. The explanation has the band and the decision
/// with its numbers, and each change is an event.
#[tokio::test(start_paused = true)]
async fn a_rise_takes_effect_with_its_decision() {
    let log = EventLog::default();
    let builder = Governor::builder().gate(UPSTREAM).probe(cpu(8)).observer(log.observer());
    let governor = builder.build().await.unwrap();
    let _refresh = governor.spawn_refresh(POLICY);
    assert_eq!(limit_of(&governor, UPSTREAM), 16);
    assert_eq!(
        governor.resolution().explain(UPSTREAM).unwrap().to_string(),
        "upstream = 16: derived, `at most feedback.upstream or 16` decides (feedback.upstream = 16: 16)"
    );

    call(&governor.gate(UPSTREAM).unwrap(), 32, 20, Outcome::Success, 1.1).await;
    assert_eq!(limit_of(&governor, UPSTREAM), 32);
    let explanation = format!("{:#}", governor.resolution().explain(UPSTREAM).unwrap());
    let last = explanation.lines().last().unwrap().trim();
    assert!(
        last.starts_with("rule latency, from 4 to 512: 16 -> 32: double (latency_ms=20, "),
        "{explanation}"
    );
    let events = log.take();
    assert_eq!(events[0], "feedback.upstream: 16 -> 32");
    assert!(events[1].starts_with("gate upstream: feedback 16 -> 32: double ("), "{events:?}");
    assert_eq!(events[2], "gate upstream: limit 16 -> 32");
}

/// A fall takes effect with the decision: the permits in use above it are debt.
#[tokio::test(start_paused = true)]
async fn a_fall_is_debt_at_once() {
    let governor = Governor::builder().gate(UPSTREAM).probe(cpu(8)).build().await.unwrap();
    let _refresh = governor.spawn_refresh(POLICY);
    let gate = governor.gate(UPSTREAM).unwrap();
    for _ in 0..100 {
        gate.try_acquire().unwrap().attempt().finish(Outcome::Overload);
    }
    let held = gate.try_acquire_many(16).unwrap();
    sleep(Duration::from_millis(1100)).await;
    assert_eq!(limit_of(&governor, UPSTREAM), 15);
    assert_eq!((gate.status().in_use, gate.status().debt), (16, 1));
    drop(held);
}

/// The limit is never above what the host grants: a lowered ceiling holds at once, one below the floor too, and the limit returns into
/// the band when the ceiling rises.
#[tokio::test(start_paused = true)]
async fn a_lowered_ceiling_holds_at_once() {
    const HOST: GateSpec = GateSpec::new("upstream", Formula::scale(Resource::CPU, 1))
        .adaptive(Adaptive::latency().start(16).floor(4));
    let host = cpu(64);
    let governor = Governor::builder().gate(HOST).probe(host.clone()).build().await.unwrap();
    let _refresh = governor.spawn_refresh(RefreshPolicy::new().rise_after(Duration::ZERO));
    for (cores, expected) in [(8, 8), (2, 2), (5, 4), (64, 4)] {
        host.set(Reading::whole(cores));
        governor.refresh().await.unwrap();
        assert_eq!(limit_of(&governor, HOST), expected, "{cores} cores");
        sleep(Duration::from_secs(3)).await;
        let band = feedback_of(&governor, HOST).band;
        assert_eq!(u64::from(band.ceiling().get()), cores);
        assert_eq!(u64::from(band.floor().get()), cores.min(4));
    }
}

/// While an operator's setting is in force, nothing is decided. Afterwards the limit goes on from where it was.
#[tokio::test(start_paused = true)]
async fn a_setting_pauses_feedback() {
    let governor = Governor::builder().gate(UPSTREAM).probe(cpu(8)).build().await.unwrap();
    let _refresh = governor.spawn_refresh(POLICY);
    let gate = governor.gate(UPSTREAM).unwrap();
    let set = |limit| Overrides::new().then(OverrideLayer::new("admin").set(UPSTREAM, limit));

    governor.set_overrides(set(100)).unwrap();
    call(&gate, 200, 20, Outcome::Success, 5.0).await;
    let feedback = feedback_of(&governor, UPSTREAM);
    assert_eq!((limit_of(&governor, UPSTREAM), feedback.is_paused), (100, true));
    assert_eq!((feedback.limit.get(), feedback.history.iter().len()), (16, 0));
    assert!(feedback.outcomes.successes > 20_000, "{:?}", feedback.outcomes);
    let explanation = governor.resolution().explain(UPSTREAM).unwrap().to_string();
    assert_eq!(explanation, "upstream = 100: set to 100 by admin, derived 512");

    governor.set_overrides(Overrides::new()).unwrap();
    assert_eq!(limit_of(&governor, UPSTREAM), 16);
    call(&gate, 200, 20, Outcome::Success, 1.5).await;
    assert_eq!((limit_of(&governor, UPSTREAM), feedback_of(&governor, UPSTREAM).is_paused), (32, false));
}

/// Decisions do not make the governor measure the host again, and do not keep it from doing so.
#[tokio::test(start_paused = true)]
async fn a_decision_measures_no_other_probe() {
    let host = cpu(64);
    let governor = Governor::builder().gate(UPSTREAM).probe(host.clone()).build().await.unwrap();
    let _refresh = governor.spawn_refresh(POLICY.every(Duration::from_secs(10)));
    call(&governor.gate(UPSTREAM).unwrap(), 300, 20, Outcome::Success, 35.0).await;
    let changes = feedback_of(&governor, UPSTREAM).history.iter().filter(|d| d.after() != d.before()).count();
    assert!(changes >= 4, "{changes} decisions changed the limit");
    assert_eq!(host.measures(), 4, "the first measurement, and one each 10 s");
}

/// A limit that is not reached does not grow, and one with too few outcomes stays.
#[tokio::test(start_paused = true)]
async fn a_limit_that_is_not_reached_does_not_grow() {
    let governor = Governor::builder().gate(UPSTREAM).probe(cpu(8)).build().await.unwrap();
    let _refresh = governor.spawn_refresh(POLICY);
    let gate = governor.gate(UPSTREAM).unwrap();
    call(&gate, 15, 20, Outcome::Success, 10.0).await;
    let feedback = feedback_of(&governor, UPSTREAM);
    assert_eq!(limit_of(&governor, UPSTREAM), 16);
    assert!(feedback.history.iter().len() >= 7, "{feedback:?}");
    assert!(feedback.history.iter().all(|decision| !decision.observed().reached));

    call(&gate, 20, 10_000, Outcome::Success, 15.0).await;
    assert_eq!(limit_of(&governor, UPSTREAM), 16);
}

/// Without the background refresh, each refresh decides.
#[tokio::test(start_paused = true)]
async fn an_explicit_refresh_decides() {
    let governor = Governor::builder().gate(UPSTREAM).probe(cpu(8)).build().await.unwrap();
    call(&governor.gate(UPSTREAM).unwrap(), 32, 20, Outcome::Success, 1.1).await;
    assert_eq!(limit_of(&governor, UPSTREAM), 16);
    governor.refresh().await.unwrap();
    assert_eq!(limit_of(&governor, UPSTREAM), 32);
}

/// A decision of an explicit refresh that is dropped takes effect with the next step of the background refresh.
#[tokio::test(start_paused = true)]
async fn a_decision_of_a_dropped_refresh_takes_effect() {
    /// The mock, without reports of changes. A report would start a full refresh, which applies the decision.
    struct SilentProbe(MockProbe);

    #[async_trait]
    impl ResourceProbe for SilentProbe {
        fn resource(&self) -> Resource {
            self.0.resource()
        }

        async fn measure(&self) -> Result<Measurement, ProbeError> {
            self.0.measure().await
        }
    }

    let (host, log) = (cpu(8), EventLog::default());
    let builder = Governor::builder().gate(UPSTREAM).probe(SilentProbe(host.clone()));
    let builder = builder.observer(log.observer());
    let governor = builder.build().await.unwrap();
    let _refresh = governor.spawn_refresh(POLICY.every(Duration::from_secs(3600)));
    // The background refresh reads the outcomes after 1 s, when there are none yet, and again after 2 s.
    sleep(Duration::from_millis(950)).await;
    call(&governor.gate(UPSTREAM).unwrap(), 32, 100, Outcome::Success, 0.75).await;
    host.hang();
    timeout(Duration::from_millis(100), governor.refresh()).await.unwrap_err();
    assert_eq!(feedback_of(&governor, UPSTREAM).limit.get(), 17);
    assert_eq!((limit_of(&governor, UPSTREAM), log.take()), (16, vec![]));

    sleep(Duration::from_secs(1)).await;
    assert_eq!(limit_of(&governor, UPSTREAM), 17);
    let events = log.take();
    assert!(events[1].starts_with("gate upstream: feedback 16 -> 17: "), "{events:?}");
    assert_eq!((events.len(), &*events[2]), (3, "gate upstream: limit 16 -> 17"));
}

/// The recorded decisions of a gate replay to the same limits.
#[tokio::test(start_paused = true)]
async fn recorded_decisions_replay() {
    use concurrency_governor::feedback::{History, Latency};

    let governor = Governor::builder().gate(UPSTREAM).probe(cpu(8)).build().await.unwrap();
    let _refresh = governor.spawn_refresh(POLICY);
    let gate = governor.gate(UPSTREAM).unwrap();
    for (callers, millis) in [(40, 20), (100, 40), (10, 60), (200, 50)] {
        call(&gate, callers, millis, Outcome::Success, 20.0).await;
    }
    let history = feedback_of(&governor, UPSTREAM).history;
    assert_eq!(history.iter().len(), History::CAPACITY);
    let parsed: History = history.to_string().parse().unwrap();
    let mut rule = Latency::new();
    let mut limits = Vec::new();
    for decision in parsed.iter() {
        assert_eq!(decision.replay(&mut rule), *decision);
        limits.push(decision.after());
    }
    assert!(limits.iter().any(|limit| *limit != limits[0]));
    assert_eq!(limits.last().map(|limit| limit.get()), Some(limit_of(&governor, UPSTREAM)));
}
