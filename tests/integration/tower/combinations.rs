//! Every combination of the settings of a layer.

use std::any::Any;
use std::time::Duration;

use concurrency_governor::Keys;
use concurrency_governor::gate::Priority;
use concurrency_governor::integration::metrics::HOLD;
use concurrency_governor::integration::tower::{
    Classifying, GateLayer, Holding, LayerGate, Passing, PermitInLayer, RequestPermit, UntilResponse,
};
use http::{Request, Response};
use http_body_util::Full;
use tower::Layer;

use super::*;
use crate::metrics::{recorder, series};
use crate::tracing::Capture;

type Body = Full<&'static [u8]>;
const MAX_WAIT: Duration = Duration::from_millis(40);

/// The gate of a layer: one of this process, or one that shares its limit.
enum TestGate {
    Local(Gate),
    #[cfg(feature = "fleet")]
    Shared(concurrency_governor::fleet::SharedGate),
}

impl TestGate {
    /// Takes the only permit, until the result is dropped.
    fn hold(&self) -> Box<dyn Any> {
        match self {
            Self::Local(gate) => Box::new(gate.try_acquire_owned().unwrap()),
            #[cfg(feature = "fleet")]
            Self::Shared(gate) => Box::new(gate.try_acquire().unwrap()),
        }
    }

    fn in_use_and_waiting(&self) -> (u32, usize) {
        match self {
            Self::Local(gate) => in_use_and_waiting(gate),
            #[cfg(feature = "fleet")]
            Self::Shared(gate) => (gate.gate_status().in_use, gate.gate_status().waiting),
        }
    }
}

/// Settings of a layer that can be combined in any way.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each setting is on or off by itself")]
struct Combination {
    waits: Waits,
    traced: bool,
    timed: bool,
    holds_until_body_ends: bool,
    passes_permit: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Waits {
    Never,
    Always,
    AtMost,
}

impl Combination {
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for waits in [Waits::Never, Waits::Always, Waits::AtMost] {
            for bits in 0..16 {
                let is_set = |bit: u32| bits & (1 << bit) != 0;
                all.push(Self {
                    waits,
                    traced: is_set(0),
                    timed: is_set(1),
                    holds_until_body_ends: is_set(2),
                    passes_permit: is_set(3),
                });
            }
        }
        all
    }

    /// Applies the settings that do not change the type of the layer, in one of two orders.
    fn apply<H, P, C>(self, mut layer: GateLayer<H, P, C>, waits_first: bool) -> GateLayer<H, P, C> {
        let set_waits = |layer: GateLayer<H, P, C>| match self.waits {
            Waits::Never => layer.no_wait(),
            Waits::Always => layer,
            Waits::AtMost => layer.max_wait(MAX_WAIT),
        };
        if waits_first {
            layer = set_waits(layer);
        }
        if self.traced {
            layer = layer.traced();
        }
        if self.timed {
            layer = layer.timed();
        }
        if waits_first { layer } else { set_waits(layer) }
    }

    /// Checks the combination without and with keys and priorities, with the settings in one of two orders.
    async fn check(self, waits_first: bool) {
        let gate = gate(1);
        self.check_with(&TestGate::Local(gate.clone()), GateLayer::new(gate), waits_first).await;
        let keyed = Gate::builder(API, Limit::new(1)).keyed(Keys::up_to(10)).build();
        self.check_with_keys(&TestGate::Local(keyed.clone()), &keyed, waits_first).await;
    }

    /// Checks the combination with keys and priorities.
    async fn check_with_keys(
        self,
        gate: &TestGate,
        layer: &(impl Into<LayerGate> + Clone),
        waits_first: bool,
    ) {
        let layer = || GateLayer::new(layer.clone());
        let by_key = layer().by_key(|_: &Request<()>| 7);
        let both = by_key.clone().priority(|_: &Request<()>| Priority::Critical);
        self.check_with(gate, by_key, waits_first).await;
        self.check_with(gate, both, waits_first).await;
        let priority = layer().priority(|_: &Request<()>| Priority::Batch);
        self.check_with(gate, priority.by_key(|_: &Request<()>| None::<u64>), waits_first).await;
    }

    async fn check_with<C>(
        self,
        gate: &TestGate,
        base: GateLayer<UntilResponse, PermitInLayer, C>,
        waits_first: bool,
    ) where
        C: Classifying<Request<()>> + Clone,
    {
        // The settings that change the type come last in one order, and first in the other.
        match (self.holds_until_body_ends, self.passes_permit, waits_first) {
            (false, false, _) => self.check_layer(gate, self.apply(base, waits_first)).await,
            (true, false, true) => {
                self.check_layer(gate, self.apply(base, true).hold_until_body_ends()).await;
            }
            (true, false, false) => {
                self.check_layer(gate, self.apply(base.hold_until_body_ends(), false)).await;
            }
            (false, true, true) => self.check_layer(gate, self.apply(base, true).pass_permit()).await,
            (false, true, false) => self.check_layer(gate, self.apply(base.pass_permit(), false)).await,
            (true, true, true) => {
                self.check_layer(gate, self.apply(base, true).pass_permit().hold_until_body_ends()).await;
            }
            (true, true, false) => {
                self.check_layer(gate, self.apply(base.hold_until_body_ends().pass_permit(), false)).await;
            }
        }
    }

    async fn check_layer<H, P, C>(self, gate: &TestGate, layer: GateLayer<H, P, C>)
    where
        H: Holding<Response<Body>> + Clone,
        P: Passing<Request<()>> + Clone,
        C: Classifying<Request<()>> + Clone,
    {
        tokio::task::yield_now().await; // the requests are polled by hand, so the task begins with its whole budget
        let passes_permit = self.passes_permit;
        let mut service = layer.layer(service_fn(move |request: Request<()>| {
            assert_eq!(request.extensions().get::<RequestPermit>().is_some(), passes_permit, "{self:?}");
            async { Ok::<_, Infallible>(Response::new(Full::new(&b"seven"[..]))) }
        }));
        let capture = Capture::default();
        let (recorder, scrape) = recorder();
        let _recorder = metrics::set_default_local_recorder(&recorder);
        let subscriber = capture.subscriber();
        let _subscriber = tracing::subscriber::set_default(subscriber);

        // The first request finds no permit, and its rejection depends on how long it may wait.
        let held = gate.hold();
        let mut first = Box::pin(service.call(Request::new(())));
        let mut expected_outcomes = Vec::new();
        match self.waits {
            Waits::Never => {
                assert_eq!(expect_rejected(poll(first.as_mut())).reason(), "no_permits", "{self:?}");
            }
            Waits::Always | Waits::AtMost => {
                assert!(poll(first.as_mut()).is_pending(), "{self:?}");
                tokio::time::sleep(MAX_WAIT * 2).await;
                let polled = poll(first.as_mut());
                assert_eq!(polled.is_pending(), self.waits == Waits::Always, "{self:?}");
                if polled.is_ready() {
                    assert_eq!(expect_rejected(polled).reason(), "expired", "{self:?}");
                }
                expected_outcomes.push(if self.waits == Waits::Always { "cancelled" } else { "expired" });
            }
        }
        drop(first);

        // The second request is admitted, after a wait except with `no_wait`.
        let mut second = Box::pin(service.call(Request::new(())));
        if self.waits == Waits::Never {
            drop(held);
        } else {
            assert!(poll(second.as_mut()).is_pending(), "{self:?}");
            drop(held);
            expected_outcomes.push("admitted");
        }
        let Poll::Ready(Ok(response)) = poll(second.as_mut()) else {
            panic!("the service responds: {self:?}")
        };
        assert_eq!(gate.in_use_and_waiting(), (u32::from(self.holds_until_body_ends), 0), "{self:?}");
        drop(response);
        assert_eq!(gate.in_use_and_waiting(), (0, 0), "{self:?}");

        let spans = capture.wait_spans();
        let outcomes: Vec<_> = spans.iter().map(|span| span.field("outcome")).collect();
        assert_eq!(outcomes, if self.traced { expected_outcomes } else { vec![] }, "{self:?}");
        let scrape = scrape.render();
        let holds = series(&scrape).get(&*format!("{HOLD}_count{{gate=\"api\"}}")).copied();
        assert_eq!(holds, self.timed.then_some(1.0), "{self:?}");
    }
}

/// Each setting keeps its effect beside every other setting, in whatever order they are made.
#[tokio::test(start_paused = true)]
async fn settings_can_be_combined() {
    for combination in Combination::all() {
        combination.check(true).await;
        combination.check(false).await;
    }
}

/// The same at a gate that shares its limit, and has a lease.
#[cfg(feature = "fleet")]
#[tokio::test(start_paused = true)]
async fn settings_can_be_combined_at_a_shared_gate() {
    use concurrency_governor::fleet::{MemoryLedger, Share};
    use concurrency_governor::{Formula, GateSpec, Governor};

    const SHARED: GateSpec = GateSpec::new("api", Formula::fixed(1)).keyed(Keys::up_to(10));
    let share = Share::of(MemoryLedger::new(), "prod/api").limit(Limit::new(1)).max_hold(Duration::ZERO);
    let governor = Governor::builder().gate(SHARED).share(SHARED, share).build().await.unwrap();
    let gate = governor.shared(SHARED).unwrap();
    drop(gate.acquire().await.unwrap()); // from here on there is a lease
    for combination in Combination::all() {
        for waits_first in [true, false] {
            combination.check_with_keys(&TestGate::Shared(gate.clone()), &gate, waits_first).await;
        }
    }
}
