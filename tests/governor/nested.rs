//! Plans with gates within gates and keys: the governor opens the gates as the plan declares them, and resizes all levels.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use concurrency_governor::gate::{
    AcquireError, AcquireOwned, Gate, GateStatus, OwnedPermit, TryAcquireError,
};
use concurrency_governor::governor::GovernorBuilder;
use concurrency_governor::plan::GatePath;
use concurrency_governor::{Keys, Limit, OverrideLayer, Overrides, Part};

use super::*;

/// Two permits for each core, and a tenant has at most a quarter of them.
const HOST: GateSpec = GateSpec::new("host", Formula::of(Resource::CPU.times(2).assume(2)))
    .keyed(Keys::up_to(100).cap(Part::of(1, 4)).queue(2000));
const MESSAGES: GateSpec = GateSpec::new("messages", Formula::of(HOST.fraction(1, 2))).within(HOST).weight(2);
/// Its own limit is above that of the parent on a small host.
const FILES: GateSpec = GateSpec::new("files", Formula::fixed(20)).within(HOST);

/// Builds a governor whose plan declares the children before their parent.
async fn build_nested(probe: &MockProbe, log: &EventLog) -> Governor {
    let builder = Governor::builder().gate(MESSAGES).gate(FILES).gate(HOST);
    builder.probe(probe.clone()).observer(log.observer()).build().await.unwrap()
}

/// Requests that wait at a gate, and were polled once.
struct Waiters(Vec<Pin<Box<AcquireOwned>>>);

impl Waiters {
    fn enqueue(gate: &Gate, count: usize) -> Self {
        let mut waiters = Self((0..count).map(|_| Box::pin(gate.acquire_owned())).collect());
        assert_eq!(waiters.take_admitted().len(), 0, "there is no room at {gate:?}");
        waiters
    }

    /// Polls all requests. Returns the permits of those that were admitted.
    fn take_admitted(&mut self) -> Vec<OwnedPermit> {
        let mut admitted = Vec::new();
        self.0.retain_mut(|request| match request.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => {
                admitted.push(outcome.unwrap());
                false
            }
            Poll::Pending => true,
        });
        admitted
    }
}

/// A permit of a child or a key is in use at the gate and at each gate above it, and an error names the level that rejected.
#[tokio::test]
async fn permits_are_in_use_at_each_level() {
    let governor = build_nested(&cpu(8), &EventLog::default()).await;
    let [host, messages, files] = governor.gates([HOST, MESSAGES, FILES]).unwrap();
    let tenant = host.key("a");
    assert_eq!([&host, &messages, &files, &tenant].map(|gate| gate.limit().get()), [16, 8, 20, 4]);

    let of_messages = messages.try_acquire_many(5).unwrap();
    let of_files = files.try_acquire_many(2).unwrap();
    let of_tenant = tenant.try_acquire_many(4).unwrap();
    let direct = host.try_acquire().unwrap();
    assert_eq!([&host, &messages, &files, &tenant].map(Gate::in_use), [12, 5, 2, 4]);
    assert_eq!(host.busy_keys(), 1);

    let error = tenant.try_acquire().unwrap_err();
    assert!(matches!(error, TryAcquireError::NoPermits { gate } if gate == HOST.name()), "{error}");
    let error = files.try_acquire_many(5).unwrap_err();
    assert!(matches!(error, TryAcquireError::NoPermits { gate } if gate == HOST.name()), "{error}");
    assert!(files.try_acquire_many(4).is_ok(), "the host has four permits left");
    drop((of_messages, of_files, of_tenant, direct));
    assert_eq!([&host, &messages, &files, &tenant].map(Gate::in_use), [0; 4]);
    assert_eq!(host.busy_keys(), 0);
}

/// A refresh that lowers a parent lowers the cap of its keys, those with permits in use included. The permits above it are debt.
/// Each declared gate has one event, and the keys have none.
#[tokio::test]
async fn a_lowered_parent_lowers_the_cap_of_its_keys() {
    let (probe, log) = (cpu(8), EventLog::default());
    let governor = build_nested(&probe, &log).await;
    let host = governor.gate(HOST).unwrap();
    let (busy, idle) = (host.key("busy"), host.key(7));
    let held = busy.try_acquire_many(4).unwrap();

    probe.set(Reading::whole(4));
    governor.refresh().await.unwrap();
    assert_eq!((limit_of(&governor, HOST), limit_of(&governor, MESSAGES)), (8, 4));
    let GateStatus { limit, in_use, debt, .. } = busy.status();
    assert_eq!((limit, in_use, debt), (Limit::new(2), 4, 2));
    assert_eq!((idle.limit(), host.key("new").limit()), (Limit::new(2), Limit::new(2)));
    assert_eq!(log.take(), ["cpu: 8 -> 4", "gate messages: limit 8 -> 4", "gate host: limit 16 -> 8"]);

    let mut waiters = Waiters::enqueue(&busy, 1);
    probe.set(Reading::whole(16));
    governor.refresh().await.unwrap();
    assert_eq!((busy.limit(), idle.limit()), (Limit::new(8), Limit::new(8)));
    assert_eq!(
        waiters.take_admitted().len(),
        1,
        "a raised parent raises the caps, and admits what fits then"
    );
    drop(held);
}

/// A child whose own limit is above that of its parent never uses more than the parent has, and the explanation says so.
#[tokio::test]
async fn a_child_above_its_parent_is_bound_by_the_parent() {
    let governor = build_nested(&cpu(4), &EventLog::default()).await;
    let [host, files] = governor.gates([HOST, FILES]).unwrap();
    assert_eq!((host.limit(), files.limit()), (Limit::new(8), Limit::new(20)));
    let resolution = governor.resolution();
    let bound = resolution.explain(FILES).unwrap().bound_by().unwrap();
    assert_eq!((bound.gate, bound.limit), (HOST.name(), Limit::new(8)));

    let error = files.acquire_many(9).await.unwrap_err();
    assert_eq!(error, AcquireError::TooLarge { gate: HOST.name(), weight: 9, limit: Limit::new(8) });
    let held: Vec<_> = std::iter::from_fn(|| files.try_acquire().ok()).collect();
    assert_eq!((held.len(), host.available(), files.available()), (8, 0, 12));
}

/// A tenant with 1000 waiting requests delays the one request of another tenant by one release.
#[tokio::test]
async fn a_crowd_delays_another_tenant_by_one_release() {
    let governor = build_nested(&cpu(2), &EventLog::default()).await;
    let host = governor.gate(HOST).unwrap();
    let (crowd, other) = (host.key("crowd"), host.key("other"));
    assert_eq!((host.limit(), crowd.limit()), (Limit::new(4), Limit::MIN));
    // The host is full, so that the requests of both wait for the same permits.
    let held: Vec<_> = (0..4).map(|_| host.try_acquire().unwrap()).collect();
    let mut waiting = Waiters::enqueue(&crowd, 1000);
    let mut one = Waiters::enqueue(&other, 1);

    let mut held = held.into_iter();
    drop(held.next());
    let first = waiting.take_admitted();
    assert_eq!((first.len(), one.take_admitted().len()), (1, 0), "the crowd has waited for longer");
    drop(held.next());
    assert_eq!(one.take_admitted().len(), 1, "then it is the turn of the other");
    assert_eq!((waiting.take_admitted().len(), crowd.waiting()), (0, 999));
}

/// While both children want more than the parent has, the one with weight 2 uses twice as many permits.
#[tokio::test]
async fn children_share_by_their_declared_weights() {
    let governor = build_nested(&cpu(6), &EventLog::default()).await;
    let [host, messages, files] = governor.gates([HOST, MESSAGES, FILES]).unwrap();
    governor.set_overrides(Overrides::new().then(OverrideLayer::new("cli").set(MESSAGES, 12))).unwrap();
    let held = host.try_acquire_many(12).unwrap();
    let mut waiters = [Waiters::enqueue(&files, 50), Waiters::enqueue(&messages, 50)];
    drop(held);
    let permits = waiters.each_mut().map(Waiters::take_admitted);
    assert_eq!(permits.each_ref().map(Vec::len), [4, 8]);
    assert_eq!([files.in_use(), messages.in_use(), host.in_use()], [4, 8, 12]);
}

/// A setting names a gate by its path. A wrong path is rejected with the right one, and changes nothing.
#[tokio::test]
async fn an_override_names_a_gate_by_its_path() {
    let log = EventLog::default();
    let governor = build_nested(&cpu(8), &log).await;
    let set = |path: &str, value| {
        let layer = OverrideLayer::new("cli").set(path.parse::<GatePath>().unwrap(), value);
        governor.set_overrides(Overrides::new().then(layer))
    };
    set("host/messages", 3).unwrap();
    assert_eq!(limit_of(&governor, MESSAGES), 3);
    let messages = governor.gate(MESSAGES).unwrap();
    assert!(messages.try_acquire_many(3).is_ok() && messages.try_acquire_many(4).is_err());
    assert_eq!(log.take(), ["gate messages: limit 8 -> 3"]);

    let error = set("files/messages", 5).unwrap_err().to_string();
    assert!(error.contains("gate `messages` is at `host/messages`"), "{error}");
    assert_eq!((limit_of(&governor, MESSAGES), log.take()), (3, Vec::new()));
}

/// If one change raises a parent and lowers its child, the child is lowered first, also if it is declared later: it gets no
/// permit that neither the old nor the new limits allow.
#[tokio::test]
async fn a_falling_child_gets_none_of_the_rise_of_its_parent() {
    let log = EventLog::default();
    let builder = Governor::builder().gate(HOST).gate(FILES).probe(cpu(2)).observer(log.observer());
    let governor = builder.build().await.unwrap();
    let [host, files] = governor.gates([HOST, FILES]).unwrap();
    let held = files.try_acquire_many(4).unwrap();
    let mut waiters = Waiters::enqueue(&files, 10);

    let layer = OverrideLayer::new("cli").set(HOST, 16).set(FILES, 2);
    governor.set_overrides(Overrides::new().then(layer)).unwrap();
    assert_eq!((files.in_use(), host.in_use(), waiters.take_admitted().len()), (4, 4, 0));
    let events = ["gate host: limit 4 -> 16", "gate files: limit 20 -> 2, 2 permits in use above it"];
    assert_eq!(log.take(), events, "the events are in the order of the plan all the same");
    drop(held);
    assert_eq!(waiters.take_admitted().len(), 2);
}

/// A plan may have as many levels as [`GateSpec::MAX_LEVELS`], the keys of its deepest gates included. Each level counts.
#[tokio::test]
async fn the_deepest_plan_is_opened() {
    let names: Vec<GateName> =
        (0..GateSpec::MAX_LEVELS).map(|level| format!("level{level}").parse().unwrap()).collect();
    let mut specs: Vec<GateSpec> =
        names.iter().map(|name| GateSpec::named(*name, Formula::fixed(8)).keyed(Keys::up_to(2))).collect();
    for (spec, parent) in specs.iter_mut().skip(1).zip(&names) {
        *spec = spec.within_named(*parent);
    }
    // The keys of a gate are a level of their own, so the deepest gate has none.
    let deepest = GateSpec::named(names[7], Formula::fixed(8)).within_named(names[6]);
    specs[7] = deepest;
    // Each child is declared before its parent.
    let builder = specs.into_iter().rev().fold(Governor::builder(), GovernorBuilder::gate);
    let governor = builder.build().await.unwrap();
    let gates: Vec<Gate> = names.iter().map(|name| governor.gate(*name).unwrap()).collect();
    let tenant = gates[6].key("tenant");
    let held = (gates[7].try_acquire_many(3).unwrap(), tenant.try_acquire_many(2).unwrap());
    let in_use: Vec<u32> = gates.iter().map(Gate::in_use).collect();
    assert_eq!(in_use, [5, 5, 5, 5, 5, 5, 5, 3]);
    drop(held);
    assert!(gates.iter().all(|gate| gate.in_use() == 0));
}

/// A gate that the plan declares without parent, children and keys is a plain gate: no gate can be put within it.
#[tokio::test]
async fn a_gate_without_relatives_is_a_plain_gate() {
    let governor = build_governor(&cpu(1), &EventLog::default()).await;
    let io = governor.gate(IO).unwrap();
    assert!(!io.has_keys());
    let child = Gate::builder(GateName::new("child"), Limit::MIN).within(&io);
    assert!(child.unwrap_err().to_string().contains("created without children"));
    assert!(!governor.gate(CACHE).unwrap().has_keys());
}
