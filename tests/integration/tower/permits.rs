//! When a request gets its permit, and when the permit is released.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Wake;

use concurrency_governor::integration::tower::GateLayer;
use tower::Layer;

use super::*;

/// A waker that counts its wake-ups.
#[derive(Default)]
struct WakeCounter(AtomicUsize);

impl Wake for WakeCounter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl WakeCounter {
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

fn poll_with<F: Future>(future: Pin<&mut F>, wakes: &Arc<WakeCounter>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(&Waker::from(Arc::clone(wakes))))
}

/// Requests are admitted in order of arrival. Each waiter is woken once, when it is admitted and not before.
#[test]
fn each_waiter_is_woken_when_it_is_admitted() {
    let gate = gate(1);
    let mut service = GateLayer::new(gate.clone()).layer(wait_for_reply());
    let (replies, requests): (Vec<_>, Vec<_>) = (0..3).map(|_| oneshot::channel()).unzip();
    let mut responses: Vec<_> = requests.into_iter().map(|request| Box::pin(service.call(request))).collect();
    let wakes: Vec<Arc<WakeCounter>> = (0..3).map(|_| Arc::default()).collect();
    for (response, wakes) in responses.iter_mut().zip(&wakes) {
        assert!(poll_with(response.as_mut(), wakes).is_pending());
        assert!(poll_with(response.as_mut(), wakes).is_pending(), "a spurious poll changes nothing");
    }
    assert_eq!(in_use_and_waiting(&gate), (1, 2));

    let counts = || wakes.iter().map(|wakes| wakes.count()).collect::<Vec<_>>();
    let mut replies = replies.into_iter();
    assert_eq!(counts(), [0, 0, 0]);
    for turn in 0..3_usize {
        replies.next().unwrap().send(7).unwrap();
        let before = counts();
        assert_eq!(poll_with(responses[turn].as_mut(), &wakes[turn]), Poll::Ready(Ok(7)));
        let after = counts();
        let woken: Vec<usize> = (0..3).filter(|at| after[*at] > before[*at]).collect();
        assert_eq!(woken, if turn < 2 { vec![turn + 1] } else { vec![] }, "only the next waiter is woken");
        if let (Some(next), Some(wakes)) = (responses.get_mut(turn + 1), wakes.get(turn + 1)) {
            assert!(poll_with(next.as_mut(), wakes).is_pending());
        }
    }
    assert_eq!(counts(), [1, 2, 2], "one wake-up by the reply, and one by the gate for each waiter");
    assert_eq!(in_use_and_waiting(&gate), (0, 0));
}

/// A request that is dropped while it waits leaves the queue at once. One that is dropped in the service releases its
/// permit.
#[test]
fn a_dropped_request_leaves_nothing_behind() {
    let gate = gate(1);
    let mut service = GateLayer::new(gate.clone()).layer(wait_for_reply());
    let mut replies = Vec::new(); // kept open, never sent
    let [mut first, mut second, mut third] = [(); 3].map(|()| {
        let (reply, request) = oneshot::channel();
        replies.push(reply);
        Box::pin(service.call(request))
    });
    for response in [&mut first, &mut second, &mut third] {
        assert!(poll(response.as_mut()).is_pending());
    }
    assert_eq!(in_use_and_waiting(&gate), (1, 2));
    drop(second);
    assert_eq!(in_use_and_waiting(&gate), (1, 1));
    drop(first);
    assert_eq!(in_use_and_waiting(&gate), (1, 0), "the third request is admitted");
    drop(third);
    assert_eq!(in_use_and_waiting(&gate), (0, 0), "it releases its permit without having been polled again");
    assert_eq!(gate.status().totals.queue.cancelled, 1);
}

/// A panic in `call` or in the service's future releases the permit before the response future is dropped.
#[test]
fn a_panic_in_the_service_releases_the_permit() {
    let gate = gate(1);
    let in_call = service_fn(|(): ()| -> std::future::Ready<Result<(), Infallible>> { panic!("in call") });
    let in_future = service_fn(|(): ()| async { panic!("in the future") as Result<(), Infallible> });
    let mut response = Box::pin(GateLayer::new(gate.clone()).layer(in_call).call(()));
    catch_unwind(AssertUnwindSafe(|| poll(response.as_mut()))).unwrap_err();
    assert_eq!(in_use_and_waiting(&gate), (0, 0));

    let mut response = Box::pin(GateLayer::new(gate.clone()).layer(in_future).call(()));
    catch_unwind(AssertUnwindSafe(|| poll(response.as_mut()))).unwrap_err();
    assert_eq!(in_use_and_waiting(&gate), (0, 0));
    assert_eq!(gate.status().totals.admitted, 2);
}

/// The service's future is dropped before its permit is released, so its resources are free when the next request is
/// admitted.
#[test]
fn the_work_is_dropped_before_the_permit_is_released() {
    /// Notes the permits in use at its drop.
    struct NoteInUse(Gate, Arc<Mutex<Vec<u32>>>);
    impl Drop for NoteInUse {
        fn drop(&mut self) {
            self.1.lock().unwrap().push(self.0.status().in_use);
        }
    }

    let gate = gate(1);
    let in_use_at_drop = Arc::new(Mutex::new(Vec::new()));
    let (gate_of_service, notes) = (gate.clone(), Arc::clone(&in_use_at_drop));
    let mut service = GateLayer::new(gate.clone()).layer(service_fn(move |wait: bool| {
        let resource = NoteInUse(gate_of_service.clone(), Arc::clone(&notes));
        // The future still owns the resource after it has resolved.
        let mut resource = Some(resource);
        std::future::poll_fn(move |_| {
            assert!(resource.as_mut().is_some());
            if wait { Poll::Pending } else { Poll::Ready(Ok::<_, Infallible>(())) }
        })
    }));
    assert_eq!(poll(pin!(service.call(false))), Poll::Ready(Ok(())));
    let mut dropped = Box::pin(service.call(true));
    assert!(poll(dropped.as_mut()).is_pending());
    drop(dropped);
    assert_eq!(*in_use_at_drop.lock().unwrap(), [1, 1]);
    assert_eq!(in_use_and_waiting(&gate), (0, 0));
}

/// A lowered limit interrupts no request that is in the service.
#[test]
fn a_lowered_limit_interrupts_no_request() {
    let gate = gate(2);
    let mut service = GateLayer::new(gate.clone()).layer(wait_for_reply());
    let (replies, requests): (Vec<_>, Vec<_>) = (0..3).map(|_| oneshot::channel()).unzip();
    let mut responses: Vec<_> = requests.into_iter().map(|request| Box::pin(service.call(request))).collect();
    assert!(responses.iter_mut().all(|response| poll(response.as_mut()).is_pending()));
    gate.resize(Limit::new(1));
    assert_eq!(gate.status().debt, 1);
    for reply in replies {
        reply.send(7).unwrap();
    }
    assert_eq!(poll(responses[0].as_mut()), Poll::Ready(Ok(7)));
    assert!(poll(responses[2].as_mut()).is_pending(), "the first release only lowers the debt");
    assert_eq!(poll(responses[1].as_mut()), Poll::Ready(Ok(7)));
    assert_eq!(poll(responses[2].as_mut()), Poll::Ready(Ok(7)));
}

/// The holders of a gate behind a layer name the place where the layer was created: a request has no place in the source.
#[test]
fn holders_name_the_layer() {
    let holders = concurrency_governor::Holders::overdue_after(std::time::Duration::from_secs(30));
    let tracked = Gate::builder(API, Limit::MIN).track_holders(holders).build();
    let line = line!() + 1;
    let layers = [GateLayer::new(tracked.clone()), GateLayer::new(tracked.clone()).no_wait()];
    for layer in layers {
        let mut service = layer.layer(wait_for_reply());
        assert!(is_ready(&mut service));
        let (reply, request) = oneshot::channel();
        let mut response = Box::pin(service.call(request));
        assert!(poll(response.as_mut()).is_pending());
        let holders = tracked.holders();
        assert_eq!(
            (holders.len(), holders[0].location.file(), holders[0].location.line()),
            (1, file!(), line)
        );
        drop((reply, response));
    }
}
