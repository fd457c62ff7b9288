//! What a subscriber of `tracing` sees: spans of waits, and events that name the knob.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use concurrency_governor::integration::tracing::{TARGET, TracingObserver};
use concurrency_governor::plan::Policy;
use concurrency_governor::testing::MockProbe;
use concurrency_governor::{
    Formula, Gate, GateName, GateSpec, Governor, Limit, OverrideLayer, Overrides, Reading, Resource,
};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context as LayerContext, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

const UPLOADS: GateName = GateName::new("uploads");

/// A span or an event, with its fields as text; `message` is one of them.
#[derive(Clone, Debug)]
struct Told {
    name: &'static str,
    level: Level,
    fields: BTreeMap<&'static str, String>,
    parent: Option<&'static str>,
    closed: bool,
}

impl Told {
    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

impl Visit for Told {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }
}

/// Keeps what it is told: spans by their id, events in order.
#[derive(Clone, Default)]
struct Ear {
    spans: Arc<Mutex<Vec<(u64, Told)>>>,
    events: Arc<Mutex<Vec<Told>>>,
}

impl Ear {
    /// Runs `work` on this thread with this ear and no other.
    fn hear<T>(&self, work: impl FnOnce() -> T) -> T {
        let subscriber = tracing_subscriber::registry().with(self.clone());
        tracing::subscriber::with_default(subscriber, work)
    }

    fn waits(&self) -> Vec<Told> {
        let spans = self.spans.lock().unwrap();
        spans.iter().map(|(_, told)| told.clone()).filter(|told| told.name == "gate.wait").collect()
    }

    fn events(&self) -> Vec<Told> {
        std::mem::take(&mut self.events.lock().unwrap())
    }

    fn span(&self, id: &Id, change: impl FnOnce(&mut Told)) {
        // The registry uses an id again when its span is over.
        let mut spans = self.spans.lock().unwrap();
        if let Some((_, told)) = spans.iter_mut().rev().find(|(known, _)| *known == id.into_u64()) {
            change(told);
        }
    }
}

impl<S: Subscriber + for<'s> LookupSpan<'s>> tracing_subscriber::Layer<S> for Ear {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: LayerContext<'_, S>) {
        let metadata = attributes.metadata();
        let parent = context.span(id).and_then(|span| span.parent()).map(|parent| parent.name());
        let mut told = Told {
            name: metadata.name(),
            level: *metadata.level(),
            fields: BTreeMap::new(),
            parent,
            closed: false,
        };
        attributes.record(&mut told);
        if metadata.name() == "gate.wait" {
            assert_eq!(metadata.target(), TARGET);
        }
        self.spans.lock().unwrap().push((id.into_u64(), told));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: LayerContext<'_, S>) {
        self.span(id, |told| values.record(told));
    }

    fn on_close(&self, id: Id, _: LayerContext<'_, S>) {
        self.span(&id, |told| told.closed = true);
    }

    fn on_event(&self, event: &Event<'_>, _: LayerContext<'_, S>) {
        let metadata = event.metadata();
        if metadata.target() != TARGET {
            return;
        }
        let mut told = Told {
            name: "event",
            level: *metadata.level(),
            fields: BTreeMap::new(),
            parent: None,
            closed: true,
        };
        event.record(&mut told);
        self.events.lock().unwrap().push(told);
    }
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// What is admitted or refused at once opens no span, and neither does what is never polled.
#[test]
fn without_a_wait_there_is_no_span() {
    let ear = Ear::default();
    ear.hear(|| {
        let gate = Gate::builder(UPLOADS, Limit::new(1)).queue(0).build();
        let Poll::Ready(Ok(permit)) = poll(pin!(gate.acquire().traced())) else { panic!("there is room") };
        assert!(matches!(poll(pin!(gate.acquire().traced())), Poll::Ready(Err(_))));
        drop(gate.acquire().traced());
        drop(permit);
    });
    assert_eq!(ear.waits().len(), 0);
}

/// A wait is one span, however often it is polled, from joining the line to its end; its parent is the span that it was
/// begun in, and its fields say what became of it.
#[test]
fn a_wait_is_a_span() {
    let ear = Ear::default();
    ear.hear(|| {
        let gate = Gate::new(UPLOADS, Limit::new(3));
        let held = gate.try_acquire_many(3).unwrap();
        let mut wait = pin!(gate.acquire_many_owned(2).traced());
        tracing::info_span!("request").in_scope(|| assert!(poll(wait.as_mut()).is_pending()));
        assert!(poll(wait.as_mut()).is_pending());
        let [begun] = &ear.waits()[..] else { panic!("{:?}", ear.waits()) };
        assert_eq!((begun.level, begun.parent, begun.closed), (Level::DEBUG, Some("request"), false));
        assert_eq!(
            (begun.field("gate"), begun.field("weight"), begun.field("outcome")),
            ("uploads", "2", "")
        );

        drop(held);
        assert!(matches!(poll(wait.as_mut()), Poll::Ready(Ok(_))));
        let [ended] = &ear.waits()[..] else { panic!("{:?}", ear.waits()) };
        assert_eq!(
            (ended.field("outcome"), ended.closed),
            ("admitted", true),
            "before the future is dropped"
        );
    });
}

/// However a wait ends, its span ends with the word for it.
#[tokio::test(start_paused = true)]
async fn every_end_has_its_word() {
    let ear = Ear::default();
    let subscriber = tracing_subscriber::registry().with(ear.clone());
    let _heard = tracing::subscriber::set_default(subscriber);
    let gate = Gate::new(UPLOADS, Limit::new(2));
    let held = gate.try_acquire_many(2).unwrap();

    gate.request().max_wait(Duration::from_millis(5)).acquire().traced().await.unwrap_err();
    {
        let mut given_up = pin!(gate.acquire().traced());
        assert!(poll(given_up.as_mut()).is_pending());
    }
    let mut heavy = pin!(gate.acquire_many(2).traced());
    let mut light = pin!(gate.acquire().traced());
    assert!(poll(heavy.as_mut()).is_pending() && poll(light.as_mut()).is_pending());
    gate.resize(Limit::new(1));
    assert!(poll(heavy.as_mut()).is_ready());
    gate.close();
    assert!(poll(light.as_mut()).is_ready());
    drop(held);

    let ends: Vec<_> =
        ear.waits().iter().map(|wait| (wait.field("outcome").to_owned(), wait.closed)).collect();
    let wanted = ["expired", "cancelled", "too_large", "closed"];
    assert_eq!(ends, wanted.map(|outcome| (outcome.to_owned(), true)));
}

/// Where nobody listens, a traced wait is as good as any.
#[test]
fn nobody_has_to_listen() {
    let gate = Gate::new(UPLOADS, Limit::new(1));
    let held = gate.try_acquire().unwrap();
    let mut wait = pin!(gate.acquire().traced());
    assert!(poll(wait.as_mut()).is_pending());
    drop(held);
    assert!(matches!(poll(wait), Poll::Ready(Ok(_))));
    assert_eq!(gate.status().in_use, 0);
}

const IO: GateSpec =
    GateSpec::new("io", Formula::of(Resource::CPU.times(64).assume(2)).at_most(Resource::FD.fraction(1, 2)));
const CACHE: GateSpec = GateSpec::new("cache", Formula::of(IO.fraction(1, 2)).floor(8));

struct Host {
    cpu: MockProbe,
    fd: MockProbe,
    governor: Governor,
    ear: Ear,
    _heard: tracing::subscriber::DefaultGuard,
}

/// A host of 8 cores and 1000 descriptors, whose events are heard on this thread.
async fn host() -> Host {
    let ear = Ear::default();
    let heard = tracing::subscriber::set_default(tracing_subscriber::registry().with(ear.clone()));
    let cpu = MockProbe::new(Resource::CPU, Reading::whole(8));
    let fd = MockProbe::new(Resource::FD, Reading::whole(2000));
    let builder = Governor::builder().gate(IO).gate(CACHE).probe(cpu.clone()).probe(fd.clone());
    let governor = builder.observer(TracingObserver::new()).build().await.unwrap();
    Host { cpu, fd, governor, ear, _heard: heard }
}

impl Host {
    async fn refreshed(&self) -> Vec<Told> {
        let _ = self.governor.refresh().await;
        self.ear.events()
    }
}

fn about<'t>(told: &'t [Told], field: &str, value: &str) -> &'t Told {
    told.iter().find(|told| told.field(field) == value).unwrap_or_else(|| panic!("{field}={value}: {told:?}"))
}

/// A change of a limit names the part of the formula that decides and the resource it reads, the gate it follows, or the
/// setting and its origin; debt is a warning.
#[tokio::test]
async fn a_changed_limit_names_its_knob() {
    let host = host().await;
    assert_eq!(host.ear.events().len(), 0, "what is built has not changed");

    host.fd.set(Reading::whole(64));
    let told = host.refreshed().await;
    let io = about(&told, "gate", "io");
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
    let cache = about(&told, "gate", "cache").field("message");
    assert!(cache.contains("`gate io * 1/2` decides") && cache.contains("change gate io"), "{cache}");
    let reading = about(&told, "resource", "fd");
    assert_eq!((reading.level, reading.field("to")), (Level::INFO, "64"));

    let io = host.governor.gate(IO).unwrap();
    let held = io.try_acquire_many(32).unwrap();
    host.cpu.set(Reading::Unknown);
    host.fd.set(Reading::whole(8));
    let told = host.refreshed().await;
    let warning = about(&told, "gate", "io");
    assert_eq!((warning.level, warning.field("debt")), (Level::WARN, "28"));
    assert!(warning.field("message").contains("none is admitted until they are back"), "{warning:?}");
    let floored = about(&told, "gate", "cache").field("message");
    assert!(floored.contains("`floor 8` decides; change the formula, or set gate cache"), "{floored}");
    drop(held);

    let vars = |name: &str| (name == "APP_IO").then(|| "3".into());
    let overrides = Overrides::new().then(OverrideLayer::env([(IO, "APP_IO")], vars).unwrap());
    host.governor.set_overrides(overrides).unwrap();
    let told = host.ear.events();
    let message = about(&told, "gate", "io").field("message");
    assert!(message.contains("env APP_IO = 3 decides; change it there"), "{message}");
}

/// A probe in trouble is a warning that says what to do, by what is wrong with it; that it works again is told too.
#[tokio::test(start_paused = true)]
async fn a_probe_in_trouble_names_its_knob() {
    let host = host().await;
    host.fd.fail("permission denied");
    host.cpu.hang();
    let told = host.refreshed().await;
    let fd = about(&told, "resource", "fd");
    assert_eq!((fd.level, fd.field("kept")), (Level::WARN, "2000"));
    for part in ["permission denied", "make what it reads readable", "limits stay as they are"] {
        assert!(fd.field("message").contains(part), "{part}: {fd:?}");
    }
    let cpu = about(&told, "resource", "cpu").field("message");
    assert!(
        cpu.contains("did not answer within 1s") && cpu.contains("`GovernorBuilder::probe_deadline`"),
        "{cpu}"
    );

    host.fd.panic("mine");
    let told = host.refreshed().await;
    let fd = about(&told, "resource", "fd").field("message");
    assert!(fd.contains("panicked: mine") && fd.contains("mend its `measure`"), "{fd}");

    host.fd.set(Reading::whole(2000));
    let told = host.refreshed().await;
    assert_eq!(about(&told, "resource", "fd").level, Level::INFO);
}

/// A refresh that is refused is an error, which names the setting and what to do about it.
#[tokio::test]
async fn a_refused_refresh_names_its_setting() {
    let host = host().await;
    let layer = OverrideLayer::new("cli").set(IO, 500).policy(Policy::Reject);
    host.governor.set_overrides(Overrides::new().then(layer)).unwrap();
    host.ear.events();
    host.cpu.set(Reading::whole(1));
    let told = host.refreshed().await;
    let refused = told.iter().find(|told| told.level == Level::ERROR).unwrap();
    let message = refused.field("message");
    assert!(message.contains("cli") && message.contains("500") && message.contains("`Clamp`"), "{message}");
}
