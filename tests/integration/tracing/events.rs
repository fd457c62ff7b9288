//! The events of a governor. Their messages say what decides and what to change.

use concurrency_governor::integration::tracing::TracingObserver;
use concurrency_governor::plan::Policy;
use concurrency_governor::testing::MockProbe;
use concurrency_governor::{Formula, GateSpec, Governor, OverrideLayer, Overrides, Reading, Resource};

use super::*;

const IO: GateSpec =
    GateSpec::new("io", Formula::of(Resource::CPU.times(64).assume(2)).at_most(Resource::FD.fraction(1, 2)));
const CACHE: GateSpec = GateSpec::new("cache", Formula::of(IO.fraction(1, 2)).floor(8));

/// A governor with mocked probes, whose events are captured on this thread.
struct ObservedGovernor {
    cpu: MockProbe,
    fd: MockProbe,
    governor: Governor,
    capture: Capture,
    _guard: tracing::subscriber::DefaultGuard,
}

impl ObservedGovernor {
    /// Builds a governor on a host of 8 cores and 2000 file descriptors.
    async fn new() -> Self {
        let capture = Capture::default();
        let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(capture.clone()));
        let cpu = MockProbe::new(Resource::CPU, Reading::whole(8));
        let fd = MockProbe::new(Resource::FD, Reading::whole(2000));
        let builder = Governor::builder().gate(IO).gate(CACHE).probe(cpu.clone()).probe(fd.clone());
        let governor = builder.observer(TracingObserver::new()).build().await.unwrap();
        Self { cpu, fd, governor, capture, _guard: guard }
    }

    /// Refreshes and returns the events of the refresh.
    async fn refresh(&self) -> Vec<Captured> {
        let _ = self.governor.refresh().await;
        self.capture.take_events()
    }
}

fn find<'e>(events: &'e [Captured], field: &str, value: &str) -> &'e Captured {
    let found = events.iter().find(|event| event.field(field) == value);
    found.unwrap_or_else(|| panic!("no event with {field}={value}: {events:?}"))
}

/// The event of a changed limit names what decides: the part of the formula and its resource, the gate that it depends on,
/// or the setting with its origin. Debt makes it a warning.
#[tokio::test]
async fn a_changed_limit_says_what_decides() {
    let observed = ObservedGovernor::new().await;
    assert_eq!(observed.capture.take_events().len(), 0, "building a governor changes no limit");

    observed.fd.set(Reading::whole(64));
    let events = observed.refresh().await;
    let io = find(&events, "gate", "io");
    assert_eq!(io.level, Level::INFO);
    assert_eq!((io.field("from"), io.field("to"), io.field("debt")), ("512", "32", "0"));
    let message = io.field("message");
    assert!(
        message.starts_with("gate io: limit 512 -> 32: `at most fd * 1/2` decides (fd = 64: 32)"),
        "{message}"
    );
    assert!(
        message.ends_with("give the process more or less fd, or set gate io in the overrides"),
        "{message}"
    );
    let cache = find(&events, "gate", "cache").field("message");
    assert!(cache.contains("`gate io * 1/2` decides") && cache.contains("change gate io"), "{cache}");
    let reading = find(&events, "resource", "fd");
    assert_eq!((reading.level, reading.field("to")), (Level::INFO, "64"));

    let io = observed.governor.gate(IO).unwrap();
    let held = io.try_acquire_many(32).unwrap();
    observed.cpu.set(Reading::Unknown);
    observed.fd.set(Reading::whole(8));
    let events = observed.refresh().await;
    let warning = find(&events, "gate", "io");
    assert_eq!((warning.level, warning.field("debt")), (Level::WARN, "28"));
    let message = warning.field("message");
    assert!(message.contains("no request is admitted until they are released"), "{message}");
    let floored = find(&events, "gate", "cache").field("message");
    assert!(floored.contains("`floor 8` decides; change the formula, or set gate cache"), "{floored}");
    drop(held);

    let vars = |name: &str| (name == "APP_IO").then(|| "3".into());
    let overrides = Overrides::new().then(OverrideLayer::env([(IO, "APP_IO")], vars).unwrap());
    observed.governor.set_overrides(overrides).unwrap();
    let events = observed.capture.take_events();
    let message = find(&events, "gate", "io").field("message");
    assert!(message.contains("env APP_IO = 3 decides; change it there"), "{message}");
}

/// The event of a failed probe is a warning that says what to do about this fault. Its recovery is an event, too.
#[tokio::test(start_paused = true)]
async fn a_failed_probe_says_what_to_do() {
    let observed = ObservedGovernor::new().await;
    observed.fd.fail("permission denied");
    observed.cpu.hang();
    let events = observed.refresh().await;
    let fd = find(&events, "resource", "fd");
    assert_eq!((fd.level, fd.field("kept")), (Level::WARN, "2000"));
    for part in ["permission denied", "make the source of the probe readable", "the limits stay as they are"]
    {
        assert!(fd.field("message").contains(part), "{part}: {fd:?}");
    }
    let cpu = find(&events, "resource", "cpu").field("message");
    assert!(
        cpu.contains("did not answer within 1s") && cpu.contains("`GovernorBuilder::probe_deadline`"),
        "{cpu}"
    );

    observed.fd.panic("mine");
    let events = observed.refresh().await;
    let fd = find(&events, "resource", "fd").field("message");
    assert!(fd.contains("panicked: mine") && fd.contains("fix its `measure`"), "{fd}");

    observed.fd.set(Reading::whole(2000));
    let events = observed.refresh().await;
    assert_eq!(find(&events, "resource", "fd").level, Level::INFO);
}

/// The event of a rejected refresh is an error that names the setting and what to do about it.
#[tokio::test]
async fn a_rejected_refresh_names_the_setting() {
    let observed = ObservedGovernor::new().await;
    let layer = OverrideLayer::new("cli").set(IO, 500).policy(Policy::Reject);
    observed.governor.set_overrides(Overrides::new().then(layer)).unwrap();
    observed.capture.take_events();
    observed.cpu.set(Reading::whole(1));
    let events = observed.refresh().await;
    let rejected = events.iter().find(|event| event.level == Level::ERROR).unwrap();
    let message = rejected.field("message");
    assert!(message.contains("cli") && message.contains("500") && message.contains("`Clamp`"), "{message}");
}

/// A decision of feedback is an event with its numbers, and the event of the limit names `Governor::feedback`. Such decisions are frequent, so
/// none of their events is above the level `DEBUG`, even if there is debt.
#[tokio::test(start_paused = true)]
async fn a_decision_has_its_numbers() {
    use std::time::Duration;

    use concurrency_governor::Adaptive;
    use concurrency_governor::feedback::Outcome;

    const UPSTREAM: GateSpec = GateSpec::new("upstream", Formula::fixed(64)).adaptive(Adaptive::latency());
    let capture = Capture::default();
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(capture.clone()));
    let builder = Governor::builder().gate(UPSTREAM).observer(TracingObserver::new());
    let governor = builder.build().await.unwrap();
    let gate = governor.gate(UPSTREAM).unwrap();
    for _ in 0..100 {
        gate.try_acquire().unwrap().attempt().finish(Outcome::Overload);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let permits = gate.try_acquire_many(16).unwrap();
    governor.refresh().await.unwrap();
    drop(permits);

    let events = capture.take_events();
    assert!(events.iter().all(|event| event.level == Level::DEBUG), "{events:?}");
    let decided = find(&events, "reason", "overload");
    assert_eq!((decided.level, decided.field("from"), decided.field("to")), (Level::DEBUG, "16", "15"));
    assert!(
        decided.field("message").starts_with("gate upstream: feedback 16 -> 15: overload ("),
        "{decided:?}"
    );
    let limit = find(&events, "debt", "1").field("message");
    assert!(limit.contains("see `Governor::feedback` for the decisions of its rule"), "{limit}");
}
