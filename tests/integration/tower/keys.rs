//! Layers that share their gate by key, and layers that set priorities.

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use concurrency_governor::gate::{GateBuilder, Key, Priority};
use concurrency_governor::integration::tower::{GateLayer, RequestPermit};
use concurrency_governor::{Keys, Part};
use http::{Request, Response, StatusCode};
use tower::Layer;

use super::*;

/// A request of a tenant. The service notes that it was called, and responds once the test sends a number.
struct TenantRequest {
    tenant: Option<&'static str>,
    priority: Priority,
    is_called: Rc<Cell<bool>>,
    reply: oneshot::Receiver<u32>,
}

type BoxedResponse = Pin<Box<dyn Future<Output = Result<u32, GateError<Infallible>>>>>;

/// A layer by tenant and priority, around a service.
struct TenantService(Box<dyn Fn(TenantRequest) -> BoxedResponse>);

/// What a test has of a request that it sent.
struct Sent {
    response: BoxedResponse,
    is_called: Rc<Cell<bool>>,
    reply: Option<oneshot::Sender<u32>>,
}

impl TenantService {
    fn new(gate: &Gate) -> Self {
        let service = service_fn(|request: TenantRequest| async move {
            request.is_called.set(true);
            Ok::<_, Infallible>(request.reply.await.unwrap())
        });
        let service = GateLayer::new(gate.clone())
            .by_key(|request: &TenantRequest| request.tenant)
            .priority(|request: &TenantRequest| request.priority)
            .layer(service);
        Self(Box::new(move |request| Box::pin(service.clone().call(request))))
    }

    /// Sends a request, and polls it once: it is in the service or in the queue then, or was rejected.
    fn send(&self, tenant: impl Into<Option<&'static str>>, priority: Priority) -> Sent {
        let (sender, reply) = oneshot::channel();
        let is_called = Rc::default();
        let tenant = tenant.into();
        let response = self.0(TenantRequest { tenant, priority, is_called: Rc::clone(&is_called), reply });
        let mut sent = Sent { response, is_called, reply: Some(sender) };
        assert!(poll(sent.response.as_mut()).is_pending());
        sent
    }

    /// Sends many requests with the normal priority.
    fn send_many(&self, tenant: impl Into<Option<&'static str>>, count: usize) -> VecDeque<Sent> {
        let tenant = tenant.into();
        (0..count).map(|_| self.send(tenant, Priority::Normal)).collect()
    }
}

impl Sent {
    /// Returns `true` if the service was called, and `false` if the request waits for its permit.
    fn is_in_service(&mut self) -> bool {
        assert!(poll(self.response.as_mut()).is_pending());
        self.is_called.get()
    }

    /// Lets the service respond, so that the permit is released.
    fn finish(mut self) {
        assert!(self.is_in_service());
        self.reply.take().unwrap().send(7).unwrap();
        assert!(matches!(poll(self.response.as_mut()), Poll::Ready(Ok(7))));
    }
}

fn builder(limit: u32, keys: Keys) -> GateBuilder {
    Gate::builder(API, Limit::new(limit)).keyed(keys)
}

fn keyed_gate(limit: u32) -> Gate {
    builder(limit, Keys::up_to(100)).build()
}

fn in_use_by(gate: &Gate, tenant: &'static str) -> u32 {
    gate.key(tenant).in_use()
}

/// While two keys have requests waiting, each has half of the permits. A key alone has all of them.
#[test]
fn two_keys_share_the_permits_fairly() {
    let gate = keyed_gate(8);
    let service = TenantService::new(&gate);
    let mut of_a = service.send_many("a", 20);
    assert_eq!((in_use_by(&gate, "a"), gate.waiting()), (8, 12), "no other key wants a permit");

    let mut of_b = service.send_many("b", 10);
    for released in 1..=4 {
        of_a.pop_front().unwrap().finish();
        assert_eq!((in_use_by(&gate, "a"), in_use_by(&gate, "b")), (8 - released, released));
    }
    for _ in 0..6 {
        of_b.pop_front().unwrap().finish();
        of_a.pop_front().unwrap().finish();
        assert_eq!((in_use_by(&gate, "a"), in_use_by(&gate, "b")), (4, 4));
    }
    assert_eq!((in_use_and_waiting(&gate), gate.busy_keys()), ((8, 6), 2));
    drop((of_a, of_b));
    assert_eq!((in_use_and_waiting(&gate), gate.busy_keys()), ((0, 0), 0));
}

/// However many requests of one key wait, a request of another key is admitted by the next release.
#[test]
fn a_flood_of_one_key_delays_another_by_one_release() {
    let gate = keyed_gate(2);
    let service = TenantService::new(&gate);
    let mut flood = service.send_many("a", 1000);
    assert_eq!(in_use_and_waiting(&gate), (2, 998));

    let mut other = service.send("b", Priority::Normal);
    assert!(!other.is_in_service());
    flood.pop_front().unwrap().finish();
    assert!(other.is_in_service(), "by the first release");
    other.finish();
    assert_eq!((in_use_by(&gate, "a"), gate.waiting()), (2, 997));
}

/// A request for which the layer finds no key acquires from the gate itself. All such requests together share the permits as one key.
#[test]
fn a_request_without_a_key_acquires_from_the_gate_itself() {
    let gate = keyed_gate(2);
    let service = TenantService::new(&gate);
    let mut direct = service.send_many(None, 10);
    assert_eq!((in_use_and_waiting(&gate), gate.busy_keys()), ((2, 8), 0));
    let mut of_a = service.send_many("a", 10);
    direct.pop_front().unwrap().finish();
    assert!(of_a[0].is_in_service() && !direct[1].is_in_service());
    assert_eq!((in_use_by(&gate, "a"), gate.in_use()), (1, 2));
}

/// The highest priority is admitted first, whether its requests have the key of the lower one or other keys. The lower one is passed
/// by 16 admissions, and then it is admitted.
#[test]
fn a_lower_priority_is_passed_at_most_16_times() {
    for keys_of_critical in [["a", "a"], ["b", "c"]] {
        let gate = keyed_gate(1);
        let service = TenantService::new(&gate);
        let running = service.send("a", Priority::Normal);
        let mut batch = service.send("a", Priority::Batch);
        let mut critical: Vec<_> =
            (0..40).map(|turn| service.send(keys_of_critical[turn % 2], Priority::Critical)).collect();

        running.finish();
        for turn in 0..16 {
            assert!(!batch.is_in_service(), "{turn}");
            let at = critical.iter_mut().position(Sent::is_in_service).unwrap();
            critical.remove(at).finish();
        }
        assert!(batch.is_in_service(), "after 16 admissions of a higher priority");
        batch.finish();
        assert!(critical.iter_mut().any(Sent::is_in_service));
    }
}

/// The order of four priorities in one queue, and first come, first served within each.
#[test]
fn priorities_are_admitted_in_order() {
    let gate = keyed_gate(1);
    let service = TenantService::new(&gate);
    let running = service.send("a", Priority::Normal);
    let order = [Priority::Batch, Priority::Sheddable, Priority::Normal, Priority::Critical];
    let mut waiting: VecDeque<_> = order.into_iter().map(|priority| service.send("a", priority)).collect();
    let mut later: VecDeque<_> = order.into_iter().map(|priority| service.send("a", priority)).collect();
    running.finish();
    for _ in order {
        for requests in [&mut waiting, &mut later] {
            let mut next = requests.pop_back().unwrap();
            assert!(next.is_in_service());
            next.finish();
        }
    }
    assert_eq!((in_use_and_waiting(&gate), gate.busy_keys()), ((0, 0), 0));
}

/// Settings apply to requests with a key as to any other. Each rejection has its reason, and 503 with `Retry-After` as an HTTP response.
#[tokio::test(start_paused = true)]
async fn a_request_of_a_key_is_rejected_with_its_reason() {
    let gate = builder(3, Keys::up_to(2).cap(Part::of(1, 3)).queue(1)).build();
    let layer = GateLayer::new(gate.clone()).by_key(|number: &u64| *number);
    let echo_u64 = || service_fn(|number: u64| async move { Ok::<_, Infallible>(number) });
    let call = |number| Box::pin(layer.layer(echo_u64()).call(number));
    let shed = |number| poll(pin!(layer.clone().no_wait().layer(echo_u64()).call(number)));
    assert_eq!(complete(call(1)).await.unwrap(), 1);

    let held = [gate.key(1).try_acquire_owned().unwrap(), gate.key(2).try_acquire_owned().unwrap()];
    assert_eq!(expect_rejected(shed(1)).reason(), "no_permits", "the cap of the key");
    let too_many = expect_rejected(shed(3));
    assert_eq!(too_many.reason(), "too_many_keys");
    assert_eq!(expect_rejected(poll(call(3).as_mut())).reason(), "too_many_keys", "also if it would wait");

    let expired = complete(layer.clone().max_wait(Duration::from_millis(40)).layer(echo_u64()).call(1)).await;
    assert_eq!(expect_rejected(Poll::Ready(expired)).reason(), "expired");
    let mut waiting = call(1);
    assert!(poll(waiting.as_mut()).is_pending());
    assert_eq!(expect_rejected(poll(call(1).as_mut())).reason(), "queue_full", "the queue of the key");

    drop(held);
    assert_eq!(complete(waiting).await.unwrap(), 1);
    assert_eq!(complete(call(3)).await.unwrap(), 3, "an idle key does not count");
    gate.close();
    assert_eq!(expect_rejected(poll(call(1).as_mut())).reason(), "closed");

    assert_eq!(too_many.gate(), API);
    let response: Response<String> = too_many.into_response();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(response.body(), "the service is busy: try again in 1 s\n", "neither the gate nor the key");
}

/// If the queue of the gate is full, the newest request of the longest queue makes room, and is rejected with `queue_full`.
#[test]
fn a_pushed_out_request_is_rejected() {
    let gate = Gate::builder(API, Limit::new(1)).queue(4).keyed(Keys::up_to(100)).build();
    let service = TenantService::new(&gate);
    let mut flood = service.send_many("a", 5);
    let mut other = service.send("b", Priority::Normal);
    let pushed_out = expect_rejected(poll(flood[4].response.as_mut()));
    assert_eq!((pushed_out.reason(), gate.status().totals.queue.pushed_out), ("queue_full", 1));
    flood.pop_front().unwrap().finish();
    assert!(other.is_in_service());
}

/// A request that is dropped while it waits leaves the queue, and one that is dropped in the service releases its permit. A key whose
/// last request is gone is not busy, while services and clones of them exist.
#[test]
fn dropped_requests_leave_nothing_behind() {
    let gate = keyed_gate(1);
    let service = TenantService::new(&gate);
    let running = service.send("a", Priority::Normal);
    let mut waiting: Vec<_> = ["a", "b", "c"].map(|tenant| service.send(tenant, Priority::Normal)).into();
    assert_eq!((in_use_and_waiting(&gate), gate.busy_keys()), ((1, 3), 3));
    drop(waiting.remove(1));
    assert_eq!((in_use_and_waiting(&gate), gate.busy_keys()), ((1, 2), 2));
    drop(running);
    assert!(waiting[1].is_in_service(), "b has left, and a has had the permit");
    // Admitted, and dropped before it was polled: the permit goes to the next waiter.
    let late = service.send("c", Priority::Normal);
    drop(waiting.remove(1));
    drop(waiting.remove(0));
    assert_eq!((in_use_and_waiting(&gate), gate.busy_keys()), ((1, 0), 1));
    drop(late);
    assert_eq!((in_use_and_waiting(&gate), gate.busy_keys()), ((0, 0), 0));
}

/// A panic in the function that finds the key, or in the service, releases everything, and the service can be called again.
#[test]
fn panics_leave_nothing_behind() {
    let gate = keyed_gate(1);
    let layer = GateLayer::new(gate.clone()).by_key(|number: &u32| {
        assert!(*number != 1, "no key for 1");
        u64::from(*number)
    });
    let mut service = layer.layer(service_fn(|number: u32| async move {
        assert!(number != 2, "no response for 2");
        Ok::<_, Infallible>(number)
    }));
    assert!(is_ready(&mut service));
    for number in [1, 2] {
        let called = AssertUnwindSafe(|| poll(pin!(service.call(number))).is_ready());
        catch_unwind(called).unwrap_err();
        assert_eq!((in_use_and_waiting(&gate), gate.busy_keys()), ((0, 0), 0), "{number}");
    }
    assert_eq!(poll(pin!(service.call(3))), Poll::Ready(Ok(3)));
}

/// Tasks on several threads share services by key while some of them are cancelled. No permit is lost, and the limits hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn tasks_that_are_cancelled_lose_no_permit() {
    let gate = builder(4, Keys::up_to(100).cap(Part::of(1, 2))).build();
    let gate_of_service = gate.clone();
    let service = GateLayer::new(gate.clone())
        .by_key(|number: &u64| (*number % 4 > 0).then_some(*number % 4))
        .priority(|number: &u64| if *number % 3 == 0 { Priority::Batch } else { Priority::Critical })
        .layer(service_fn(move |number: u64| {
            let gate = gate_of_service.clone();
            async move {
                assert!(gate.in_use() <= 4 && (number % 4 == 0 || gate.key(number % 4).in_use() <= 2));
                tokio::task::yield_now().await;
                Ok::<_, Infallible>(number)
            }
        }));
    let tasks: Vec<_> = (0..2000_u64)
        .map(|number| {
            let mut service = service.clone();
            let task = tokio::spawn(async move { service.call(number).await });
            if number % 5 == 0 {
                task.abort();
            }
            task
        })
        .collect();
    for (number, task) in (0..).zip(tasks) {
        match complete(task).await {
            Ok(response) => assert_eq!(response.unwrap(), number),
            Err(error) => assert!(error.is_cancelled() && number % 5 == 0, "{number}: {error}"),
        }
    }
    assert_eq!((in_use_and_waiting(&gate), gate.busy_keys()), ((0, 0), 0));
}

/// The permit that is passed to the service has the key of its request, or no key.
#[test]
fn a_passed_permit_has_the_key() {
    let gate = keyed_gate(1);
    let key_of = |request: &Request<()>| {
        let tenant = request.headers().get("x-tenant")?;
        tenant.to_str().ok().map(Key::from)
    };
    let layer = GateLayer::new(gate.clone()).pass_permit().hold_until_body_ends().by_key(key_of);
    let mut service = layer.layer(service_fn(|request: Request<()>| async move {
        let permit: &RequestPermit = request.extensions().get().unwrap();
        let key = permit.key().map_or("none".to_owned(), ToString::to_string);
        let body = http_body_util::Full::new(&b"body"[..]);
        Ok::<_, Infallible>(Response::builder().header("x-key", key).body(body).unwrap())
    }));
    for (tenant, busy) in [(Some("blue"), 1), (None, 0)] {
        let mut request = Request::new(());
        if let Some(tenant) = tenant {
            request.headers_mut().insert("x-tenant", tenant.parse().unwrap());
        }
        let Poll::Ready(Ok(response)) = poll(pin!(service.call(request))) else { panic!("a permit is free") };
        assert_eq!(response.headers()["x-key"], tenant.unwrap_or("none"));
        assert_eq!((gate.in_use(), gate.busy_keys()), (1, busy), "until the body ends");
        drop(response);
        assert_eq!((in_use_and_waiting(&gate), gate.busy_keys()), ((0, 0), 0));
    }
}

/// A gate that has no keys is found when the layer is created, with what to do about it. Keys of any type, or none, are accepted.
#[test]
fn a_gate_without_keys_is_rejected_at_construction() {
    let error = GateLayer::new(gate(1)).try_by_key(|(): &()| 7).unwrap_err();
    assert_eq!(
        [error.to_string(), format!("{error:?}")],
        ["gate `api` cannot be shared by key: it has no keys; declare it with `GateSpec::keyed` or with `keys` in the plan file, \
          or create it with `GateBuilder::keyed`"; 2]
    );
    assert_eq!(error.gate(), API);
    let panic = catch_unwind(|| GateLayer::new(gate(1)).by_key(|(): &()| 7)).unwrap_err();
    assert_eq!(panic.downcast_ref::<String>(), Some(&error.to_string()));

    let of_key = GateLayer::new(keyed_gate(1).key("a")).try_by_key(|(): &()| 7).unwrap_err();
    assert_eq!(
        of_key.to_string(),
        "gate `api` cannot be shared by key: it is a key itself, and a key has no keys; give the layer the gate that has the keys"
    );

    let layer = || GateLayer::new(keyed_gate(1));
    let _text = layer().by_key(|name: &String| name.clone());
    let _option = layer().by_key(|name: &String| Some(name.clone()));
    let _key = layer().try_by_key(|name: &String| Key::from(name.as_str())).unwrap();
    let replaced = layer().by_key(|_: &u32| -> u64 { panic!("replaced") });
    let mut last = replaced.by_key(|_: &u32| 2).layer(echo());
    assert_eq!(poll(pin!(last.call(7))), Poll::Ready(Ok(7)));
}
