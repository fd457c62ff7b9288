//! The background refresh.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use concurrency_governor::ResourceProbe;
use concurrency_governor::governor::RefreshPolicy;
use concurrency_governor::plan::Measurement;
use concurrency_governor::probe::{ProbeError, async_trait};
use tokio::time::{Instant, sleep};

use super::*;

const FILES: GateSpec = GateSpec::new("files", Formula::scale(Resource::FD, 1));

/// A probe that never reports a change.
struct WithoutReports(MockProbe);

#[async_trait]
impl ResourceProbe for WithoutReports {
    fn resource(&self) -> Resource {
        Resource::FD
    }

    async fn measure(&self) -> Result<Measurement, ProbeError> {
        self.0.measure().await
    }
}

/// A reported change takes effect at once. A probe without reports is measured after each period.
#[tokio::test(start_paused = true)]
async fn the_background_refresh_follows_reports_and_the_timer() {
    let (reports, silent) = (cpu(4), MockProbe::new(Resource::FD, Reading::whole(100)));
    let builder =
        Governor::builder().gate(IO).gate(FILES).probe(reports.clone()).probe(WithoutReports(silent.clone()));
    let governor = builder.build().await.unwrap();
    let refresh = governor.spawn_refresh(RefreshPolicy::new().every(Duration::from_secs(10)));
    sleep(Duration::from_millis(1)).await;

    reports.set(Reading::whole(2));
    sleep(Duration::from_millis(20)).await;
    assert_eq!(limit_of(&governor, IO), 128);

    silent.set(Reading::whole(50));
    sleep(Duration::from_secs(12)).await;
    assert_eq!(limit_of(&governor, FILES), 50);

    assert!(refresh.is_running());
    drop(refresh);
    sleep(Duration::from_millis(1)).await;
    let measures = reports.measures();
    reports.set(Reading::whole(1));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(
        (limit_of(&governor, IO), reports.measures()),
        (128, measures),
        "the refresh stops when the task is dropped"
    );
}

/// Probes that report changes all the time, and are measured alone, do not delay the measurement of the others: neither after the period,
/// nor when a rise has lasted.
#[tokio::test(start_paused = true)]
async fn frequent_reports_delay_no_other_probe() {
    struct Restless;

    #[async_trait]
    impl ResourceProbe for Restless {
        fn resource(&self) -> Resource {
            Resource::TASKS
        }

        async fn measure(&self) -> Result<Measurement, ProbeError> {
            Ok(Reading::whole(7).into())
        }

        async fn changed(&self) {
            sleep(Duration::from_millis(5)).await;
        }

        fn rises_at_once(&self) -> bool {
            true
        }
    }

    let silent = MockProbe::new(Resource::FD, Reading::whole(100));
    let builder = Governor::builder().gate(FILES).probe(WithoutReports(silent.clone())).probe(Restless);
    let governor = builder.build().await.unwrap();
    let _refresh = governor.spawn_refresh(RefreshPolicy::new());
    silent.set(Reading::whole(50));
    sleep(Duration::from_secs(12)).await;
    assert_eq!(limit_of(&governor, FILES), 50);
    // At most 11 s until the rise is measured, and 5 s that it must last.
    silent.set(Reading::whole(80));
    sleep(Duration::from_millis(16_100)).await;
    assert_eq!(limit_of(&governor, FILES), 80);
    assert!(silent.measures() <= 6, "the silent probe is measured only when it is due");
}

/// A flapping reading does not make the limits flap: they fall once, stay, and rise when the rise lasts.
#[tokio::test(start_paused = true)]
async fn a_flapping_reading_does_not_make_the_limits_flap() {
    let (probe, log) = (cpu(4), EventLog::default());
    let governor = build_governor(&probe, &log).await;
    let _refresh = governor.spawn_refresh(RefreshPolicy::new().rise_after(Duration::from_secs(3)));
    for _ in 0..50 {
        probe.set(Reading::whole(2));
        sleep(Duration::from_secs(1)).await;
        assert_eq!(limit_of(&governor, IO), 128);
        probe.set(Reading::whole(4));
        sleep(Duration::from_secs(1)).await;
        assert_eq!(limit_of(&governor, IO), 128);
    }
    let events = log.take();
    assert_eq!(events.iter().filter(|event| event.starts_with("gate io")).count(), 1);
    let held = Event::RiseHeld {
        resource: Resource::CPU,
        held: Reading::whole(2),
        seen: Reading::whole(4),
        remaining: Duration::from_secs(3),
    };
    assert!(events.contains(&held.to_string()), "{events:?}");

    sleep(Duration::from_millis(2100)).await;
    assert_eq!(limit_of(&governor, IO), 256, "a rise that lasts takes effect");
}

/// A rise takes effect when it has lasted for the duration of the policy, 5 s by default. Neither the period of the
/// refresh nor the number of measurements in between makes a difference.
#[tokio::test(start_paused = true)]
async fn a_rise_takes_effect_after_its_duration() {
    for (policy, duration) in [
        (RefreshPolicy::new(), Duration::from_secs(5)),
        (RefreshPolicy::new().every(Duration::from_secs(3600)), Duration::from_secs(5)),
        (RefreshPolicy::new().every(Duration::from_millis(180)), Duration::from_secs(5)),
        (RefreshPolicy::new().rise_after(Duration::from_secs(60)), Duration::from_secs(60)),
        (RefreshPolicy::new().every(Duration::from_secs(3600)).rise_after(Duration::ZERO), Duration::ZERO),
    ] {
        let (probe, log) = (cpu(2), EventLog::default());
        let governor = build_governor(&probe, &log).await;
        let _refresh = governor.spawn_refresh(policy);
        let mut resolutions = governor.subscribe();
        sleep(Duration::from_secs(1)).await;
        let risen = Instant::now();
        probe.set(Reading::whole(4));
        resolutions.changed().await.unwrap();
        let lasted = risen.elapsed();
        assert_eq!(limit_of(&governor, IO), 256);
        // The measurement follows 10 ms after the report.
        let latest = duration.saturating_add(Duration::from_millis(30));
        assert!((duration..=latest).contains(&lasted), "{policy:?}: {lasted:?}");
    }
}

/// A probe that reports changes without end, or whose `changed` panics, neither makes the refresh spin nor stops it.
#[tokio::test(start_paused = true)]
async fn false_change_reports_are_harmless() {
    struct FalseReports {
        measures: Arc<AtomicUsize>,
        panics: bool,
    }

    #[async_trait]
    impl ResourceProbe for FalseReports {
        fn resource(&self) -> Resource {
            Resource::CPU
        }

        async fn measure(&self) -> Result<Measurement, ProbeError> {
            let measures = self.measures.fetch_add(1, Ordering::SeqCst) as u64;
            Ok(Reading::whole(1000_u64.saturating_sub(measures)).into())
        }

        async fn changed(&self) {
            assert!(!self.panics, "no idea");
        }
    }

    for (panics, at_least, at_most) in [(false, 50, 101), (true, 1, 3)] {
        let measures = Arc::new(AtomicUsize::new(0));
        let probe = FalseReports { measures: Arc::clone(&measures), panics };
        let governor = Governor::builder().gate(IO).probe(probe).build().await.unwrap();
        let policy = RefreshPolicy::new().every(Duration::from_millis(900));
        let _refresh = governor.spawn_refresh(policy);
        sleep(Duration::from_secs(1)).await;
        let refreshes = measures.load(Ordering::SeqCst) - 1;
        assert!((at_least..=at_most).contains(&refreshes), "{refreshes} refreshes in a second");
    }
}
