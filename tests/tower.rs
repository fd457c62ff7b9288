//! What a service behind a gate promises: readiness, permits, refusals. Everything is polled by hand.

#![expect(clippy::arithmetic_side_effects, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use concurrency_governor::integration::tower::{GateError, GateLayer, Rejected};
use concurrency_governor::{Gate, GateName, Limit};
use http::{Response, StatusCode};
use http_body::{Body, Frame};
use tokio::sync::oneshot;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};

const API: GateName = GateName::new("api");

fn gate(limit: u32) -> Gate {
    Gate::new(API, Limit::new(limit))
}

/// In use, waiting.
fn books(gate: &Gate) -> (u32, usize) {
    let status = gate.status();
    assert_eq!(status.in_use + status.available, status.limit.get() + status.debt, "the books");
    (status.in_use, status.waiting)
}

/// Counts how often it is woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Wakes {
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn poll_with<F: Future>(future: Pin<&mut F>, wakes: &Arc<Wakes>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(&Waker::from(Arc::clone(wakes))))
}

/// What is ready well before anybody would give up on the test.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it is never ready")
}

fn is_ready<R, S: Service<R>>(service: &mut S) -> bool {
    service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// Answers what it is sent, at the word of whoever holds the other end.
fn upon_word()
-> impl Service<oneshot::Receiver<u32>, Response = u32, Error = Infallible, Future: Send> + Clone {
    service_fn(|word: oneshot::Receiver<u32>| async move { Ok(word.await.unwrap()) })
}

fn echo() -> impl Service<u32, Response = u32, Error = Infallible, Future: Send> + Clone {
    service_fn(|number: u32| async move { Ok(number) })
}

fn refused<T, E>(answer: Poll<Result<T, GateError<E>>>) -> Rejected {
    match answer {
        Poll::Ready(Err(GateError::Rejected(refused))) => refused,
        _ => panic!("it was not refused"),
    }
}

/// A thousand clones that were made ready and are not called hold nothing and keep nobody out, not even from a gate of one.
#[test]
fn idle_clones_hold_no_permit() {
    let gate = gate(1);
    let service = GateLayer::new(gate.clone()).layer(echo());
    let mut idle: Vec<_> = (0..1000).map(|_| service.clone()).collect();
    assert!(idle.iter_mut().all(is_ready));
    assert_eq!(books(&gate), (0, 0));

    let unpolled: Vec<_> = idle.iter_mut().map(|service| service.call(7)).collect();
    assert_eq!(books(&gate), (0, 0), "a future that is never polled is no request");
    assert_eq!(gate.status().totals.admitted, 0);
    drop(unpolled);

    let mut busy = service;
    assert!(is_ready(&mut busy), "the idle ones are in nobody's way");
    assert_eq!(poll(pin!(busy.call(7))), Poll::Ready(Ok(7)));
}

/// Ready while the gate is full, since the gate is asked by the request; not ready while the service inside is not.
#[test]
fn readiness_is_that_of_the_service() {
    #[derive(Clone)]
    struct Unready;
    impl Service<()> for Unready {
        type Response = ();
        type Error = &'static str;
        type Future = std::future::Ready<Result<(), &'static str>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Pending
        }

        fn call(&mut self, (): ()) -> Self::Future {
            panic!("it is not ready")
        }
    }

    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    assert!(is_ready(&mut GateLayer::new(gate.clone()).layer(echo())));
    assert!(!is_ready(&mut GateLayer::new(gate.clone()).layer(Unready)));
    drop(held);
}

/// The service that was made ready is the one that is called, after the wait: a clone of it is not ready.
#[test]
fn the_one_that_was_ready_is_called() {
    #[derive(Debug, Default)]
    struct Readied(bool);
    impl Clone for Readied {
        fn clone(&self) -> Self {
            Self(false)
        }
    }
    impl Service<()> for Readied {
        type Response = bool;
        type Error = Infallible;
        type Future = std::future::Ready<Result<bool, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            self.0 = true;
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, (): ()) -> Self::Future {
            std::future::ready(Ok(self.0))
        }
    }

    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let mut service = GateLayer::new(gate.clone()).layer(Readied(false));
    assert!(is_ready(&mut service));
    let mut answer = pin!(service.call(()));
    assert!(poll(answer.as_mut()).is_pending());
    drop(held);
    assert_eq!(poll(answer), Poll::Ready(Ok(true)));
}

/// Each request has a permit while it is in the service; those behind it get theirs in order, and are woken once, when it is
/// their turn and not before.
#[test]
fn each_is_woken_when_it_is_its_turn() {
    let gate = gate(1);
    let mut service = GateLayer::new(gate.clone()).layer(upon_word());
    let (words, requests): (Vec<_>, Vec<_>) = (0..3).map(|_| oneshot::channel()).unzip();
    let mut answers: Vec<_> = requests.into_iter().map(|request| Box::pin(service.call(request))).collect();
    let wakes: Vec<Arc<Wakes>> = (0..3).map(|_| Arc::default()).collect();
    for (answer, wakes) in answers.iter_mut().zip(&wakes) {
        assert!(poll_with(answer.as_mut(), wakes).is_pending());
        assert!(poll_with(answer.as_mut(), wakes).is_pending(), "polled for somebody else's sake");
    }
    assert_eq!(books(&gate), (1, 2));

    let counts = || wakes.iter().map(|wakes| wakes.count()).collect::<Vec<_>>();
    let mut words = words.into_iter();
    assert_eq!(counts(), [0, 0, 0]);
    for turn in 0..3_usize {
        words.next().unwrap().send(7).unwrap();
        let before = counts();
        assert_eq!(poll_with(answers[turn].as_mut(), &wakes[turn]), Poll::Ready(Ok(7)));
        let after = counts();
        let woken: Vec<usize> = (0..3).filter(|at| after[*at] > before[*at]).collect();
        assert_eq!(woken, if turn < 2 { vec![turn + 1] } else { vec![] }, "who is next, and nobody else");
        if let (Some(next), Some(wakes)) = (answers.get_mut(turn + 1), wakes.get(turn + 1)) {
            assert!(poll_with(next.as_mut(), wakes).is_pending());
        }
    }
    assert_eq!(counts(), [1, 2, 2], "by the word, and by the gate where it had to wait");
    assert_eq!(books(&gate), (0, 0));
}

/// A request that is dropped while it waits leaves the line at once; one that is dropped in the service gives its permit
/// back.
#[test]
fn a_dropped_request_leaves_nothing_behind() {
    let gate = gate(1);
    let mut service = GateLayer::new(gate.clone()).layer(upon_word());
    let mut words = Vec::new(); // never said
    let [mut first, mut second, mut third] = [(); 3].map(|()| {
        let (word, request) = oneshot::channel();
        words.push(word);
        Box::pin(service.call(request))
    });
    for answer in [&mut first, &mut second, &mut third] {
        assert!(poll(answer.as_mut()).is_pending());
    }
    assert_eq!(books(&gate), (1, 2));
    drop(second);
    assert_eq!(books(&gate), (1, 1));
    drop(first);
    assert_eq!(books(&gate), (1, 0), "the third has it now");
    drop(third);
    assert_eq!(books(&gate), (0, 0), "and hands it on, never having seen it");
    assert_eq!(gate.status().totals.queue.cancelled, 1);
}

/// A panic gives the permit back before anybody drops anything, be it in `call` or in the future.
#[test]
fn a_panic_in_the_service_gives_the_permit_back() {
    let gate = gate(1);
    let on_call = service_fn(|(): ()| -> std::future::Ready<Result<(), Infallible>> { panic!("in call") });
    let in_future = service_fn(|(): ()| async { panic!("in the future") as Result<(), Infallible> });
    let mut answer = Box::pin(GateLayer::new(gate.clone()).layer(on_call).call(()));
    catch_unwind(AssertUnwindSafe(|| poll(answer.as_mut()))).unwrap_err();
    assert_eq!(books(&gate), (0, 0));

    let mut answer = Box::pin(GateLayer::new(gate.clone()).layer(in_future).call(()));
    catch_unwind(AssertUnwindSafe(|| poll(answer.as_mut()))).unwrap_err();
    assert_eq!(books(&gate), (0, 0));
    assert_eq!(gate.status().totals.admitted, 2);
}

/// The work is dropped before its permit goes, so that what it held is free when the next begins.
#[test]
fn the_work_ends_before_its_permit_goes() {
    struct Notes(Gate, Arc<Mutex<Vec<u32>>>);
    impl Drop for Notes {
        fn drop(&mut self) {
            self.1.lock().unwrap().push(self.0.status().in_use);
        }
    }

    let gate = gate(1);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (ours, notes) = (gate.clone(), Arc::clone(&seen));
    let mut service = GateLayer::new(gate.clone()).layer(service_fn(move |wait: bool| {
        let held = Notes(ours.clone(), Arc::clone(&notes));
        // The future owns it beyond its end.
        let mut held = Some(held);
        std::future::poll_fn(move |_| {
            assert!(held.as_mut().is_some());
            if wait { Poll::Pending } else { Poll::Ready(Ok::<_, Infallible>(())) }
        })
    }));
    assert_eq!(poll(pin!(service.call(false))), Poll::Ready(Ok(())));
    let mut dropped = Box::pin(service.call(true));
    assert!(poll(dropped.as_mut()).is_pending());
    drop(dropped);
    assert_eq!(*seen.lock().unwrap(), [1, 1]);
    assert_eq!(books(&gate), (0, 0));
}

/// Refusals say why and when to come back, and are the answer 503 with `Retry-After` in whole seconds.
#[tokio::test(start_paused = true)]
async fn what_is_refused_says_why_and_when_to_come_back() {
    let gate = Gate::builder(API, Limit::new(1)).queue(1).build();
    let held = gate.try_acquire().unwrap();
    let layer = GateLayer::new(gate.clone()).retry_after(Duration::from_millis(2500));

    let shed = refused(poll(pin!(layer.clone().shed().layer(echo()).call(1))));
    assert_eq!((shed.reason(), shed.gate()), ("no_permits", API));
    assert!(shed.to_string().contains("gate `api` has no permits to spare"), "{shed}");

    let waits = Duration::from_millis(40);
    let begun = tokio::time::Instant::now();
    let late = layer.clone().max_wait(waits).layer(echo()).call(1);
    let late = soon(late).await;
    assert_eq!(begun.elapsed(), waits);
    assert_eq!(refused(Poll::Ready(late)).reason(), "expired");

    let mut in_line = Box::pin(layer.layer(echo()).call(1));
    assert!(poll(in_line.as_mut()).is_pending());
    assert_eq!(refused(poll(pin!(layer.layer(echo()).call(1)))).reason(), "queue_full");
    gate.close();
    assert_eq!(refused(poll(in_line.as_mut())).reason(), "closed");
    assert_eq!(refused(poll(pin!(layer.clone().shed().layer(echo()).call(1)))).reason(), "closed");
    drop(held);
    assert_eq!(gate.status().totals.admitted, 1, "none of them came in");
    assert_eq!(gate.status().totals.rejected.no_permits, 1, "who waits was not refused first");

    let response: Response<String> = GateError::<Infallible>::from(shed).into_response();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "3", "rounded up");
    assert_eq!(response.body(), "the service is busy: try again in 3 s\n");
    assert!(!response.body().contains("api"), "clients are not told of gates");

    let at_once = layer.retry_after(Duration::ZERO).shed().layer(echo());
    let response: Response<String> = refused(poll(pin!(at_once.clone().call(1)))).into_response();
    assert_eq!(response.headers()["retry-after"], "1", "at least 1");
}

/// The service's own errors come through as they are, and give the permit back.
#[test]
fn errors_of_the_service_come_through() {
    let gate = gate(1);
    let fails = service_fn(|(): ()| async { Err::<(), &'static str>("broken") });
    let answer = poll(pin!(GateLayer::new(gate.clone()).layer(fails).call(())));
    assert_eq!(answer, Poll::Ready(Err(GateError::Service("broken"))));
    assert_eq!(books(&gate), (0, 0));
}

/// A body of frames, one a poll; `None` is one that is not there yet.
struct Frames {
    left: Vec<Option<Result<&'static str, BoxError>>>,
    knows_its_end: bool,
    panics: bool,
}

impl Body for Frames {
    type Data = &'static [u8];
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, BoxError>>> {
        assert!(!self.panics, "in the body");
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        match self.left.remove(0) {
            None => Poll::Pending,
            Some(frame) => Poll::Ready(Some(frame.map(|text| Frame::data(text.as_bytes())))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.knows_its_end && self.left.is_empty()
    }
}

/// What a service behind a gate of one answers with this body, the permit held until it ends.
fn answer(gate: &Gate, body: Frames) -> Response<impl Body<Error = BoxError, Data = &'static [u8]> + Unpin> {
    let body = Mutex::new(Some(body));
    let body = Arc::new(body);
    let service = service_fn(move |(): ()| {
        let body = body.lock().unwrap().take().unwrap();
        async { Ok::<_, Infallible>(Response::new(body)) }
    });
    let answer = poll(pin!(GateLayer::new(gate.clone()).hold_until_body_ends().layer(service).call(())));
    let Poll::Ready(Ok(response)) = answer else { panic!("no answer") };
    response
}

fn frame<B: Body + Unpin>(body: &mut B) -> Poll<Option<Result<B::Data, B::Error>>> {
    let frame = Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()));
    frame.map(|frame| frame.map(|frame| frame.map(|frame| frame.into_data().ok().unwrap())))
}

fn frames(left: Vec<Option<Result<&'static str, BoxError>>>) -> Frames {
    Frames { left, knows_its_end: false, panics: false }
}

/// Without being asked, the permit goes with the answer; asked, with the end of the body: after the last frame if the body
/// knows that, else when it says so, or fails, or panics, or is dropped midway.
#[test]
fn the_permit_goes_when_the_body_ends() {
    let gate = gate(1);
    let mut body = answer(&gate, frames(vec![Some(Ok("a")), None, Some(Ok("b"))])).into_body();
    assert_eq!(books(&gate), (1, 0));
    assert!(matches!(frame(&mut body), Poll::Ready(Some(Ok(_)))));
    assert!(frame(&mut body).is_pending());
    assert!(matches!(frame(&mut body), Poll::Ready(Some(Ok(_)))));
    assert_eq!(books(&gate), (1, 0), "it does not know that this was the last");
    assert!(matches!(frame(&mut body), Poll::Ready(None)));
    assert_eq!(books(&gate), (0, 0), "the body is still there, and has ended");

    let knows = Frames { knows_its_end: true, ..frames(vec![Some(Ok("a")), Some(Ok("b"))]) };
    let mut body = answer(&gate, knows).into_body();
    assert!(matches!(frame(&mut body), Poll::Ready(Some(Ok(_)))));
    assert_eq!(books(&gate), (1, 0));
    assert!(matches!(frame(&mut body), Poll::Ready(Some(Ok(_)))));
    assert_eq!(books(&gate), (0, 0), "servers do not ask again");

    let empty = answer(&gate, Frames { knows_its_end: true, ..frames(vec![]) });
    assert_eq!(books(&gate), (0, 0), "nothing to send");
    drop(empty);

    let mut body = answer(&gate, frames(vec![Some(Err("broken pipe".into())), Some(Ok("a"))])).into_body();
    assert!(matches!(frame(&mut body), Poll::Ready(Some(Err(_)))));
    assert_eq!(books(&gate), (0, 0), "it has failed");

    let mut body = answer(&gate, frames(vec![Some(Ok("a")), Some(Ok("b"))])).into_body();
    assert!(matches!(frame(&mut body), Poll::Ready(Some(Ok(_)))));
    assert_eq!(books(&gate), (1, 0));
    drop(body);
    assert_eq!(books(&gate), (0, 0), "dropped midway");

    let mut body = answer(&gate, Frames { panics: true, ..frames(vec![]) }).into_body();
    assert_eq!(books(&gate), (1, 0));
    catch_unwind(AssertUnwindSafe(|| frame(&mut body).is_pending())).unwrap_err();
    assert_eq!(books(&gate), (0, 0), "panicked");

    let plain =
        service_fn(|(): ()| async { Ok::<_, Infallible>(Response::new(frames(vec![Some(Ok("a"))]))) });
    let response = poll(pin!(GateLayer::new(gate.clone()).layer(plain).call(())));
    assert_eq!(books(&gate), (0, 0), "not asked to hold it");
    drop(response);
}

/// What the body says of itself goes through.
#[test]
fn a_held_body_says_what_the_body_says() {
    use http_body_util::{BodyExt, Full};
    let gate = gate(1);
    let full =
        service_fn(|(): ()| async { Ok::<_, Infallible>(Response::new(Full::new(&b"twelve bytes"[..]))) });
    let answer = poll(pin!(GateLayer::new(gate.clone()).hold_until_body_ends().layer(full).call(())));
    let Poll::Ready(Ok(response)) = answer else { panic!("no answer") };
    let body = response.into_body();
    assert_eq!(body.size_hint().exact(), Some(12));
    assert!(!body.is_end_stream());
    assert_eq!(books(&gate), (1, 0));
    let Poll::Ready(Ok(collected)) = poll(pin!(body.collect())) else { panic!("it is all there") };
    assert_eq!(collected.to_bytes(), &b"twelve bytes"[..]);
    assert_eq!(books(&gate), (0, 0));
}

/// Under `Buffer`, whose requests share one service, those that wait hold up nobody, and the limit holds.
#[tokio::test]
async fn a_buffer_is_not_held_up() {
    let gate = gate(2);
    let most = Arc::new(AtomicUsize::new(0));
    let (ours, seen) = (gate.clone(), Arc::clone(&most));
    let service = ServiceBuilder::new().buffer(64).layer(GateLayer::new(gate.clone())).service(service_fn(
        move |number: u32| {
            seen.fetch_max(ours.status().in_use as usize, Ordering::Relaxed);
            async move {
                tokio::task::yield_now().await;
                Ok::<_, BoxError>(number)
            }
        },
    ));
    let tasks: Vec<_> = (0..50)
        .map(|number| {
            let mut service = service.clone();
            tokio::spawn(async move { service.ready().await?.call(number).await })
        })
        .collect();
    for (number, task) in tasks.into_iter().enumerate() {
        assert_eq!(soon(task).await.unwrap().unwrap() as usize, number);
    }
    assert_eq!(most.load(Ordering::Relaxed), 2);
    assert_eq!(books(&gate), (0, 0));
}

/// `LoadShed` outside sees a service that is ready and sheds nothing; what sheds is the layer itself, if asked to.
#[tokio::test]
async fn the_layer_sheds_by_itself() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let stack = ServiceBuilder::new().load_shed();
    let mut waits = stack.clone().layer(GateLayer::new(gate.clone())).service(echo());
    assert!(is_ready(&mut waits));
    let mut answer = pin!(waits.call(7));
    assert!(poll(answer.as_mut()).is_pending());
    let mut sheds = stack.layer(GateLayer::new(gate.clone()).shed()).service(echo());
    let error = soon(sheds.ready().await.unwrap().call(7)).await.unwrap_err();
    let Some(GateError::Rejected(refused)) = error.downcast_ref::<GateError<Infallible>>() else {
        panic!("{error}")
    };
    assert_eq!(refused.reason(), "no_permits");
    drop(held);
    assert_eq!(soon(answer).await.unwrap(), 7);
}

/// A limit lowered while requests are under way disturbs none of them.
#[test]
fn a_lowered_limit_disturbs_nobody() {
    let gate = gate(2);
    let mut service = GateLayer::new(gate.clone()).layer(upon_word());
    let (words, requests): (Vec<_>, Vec<_>) = (0..3).map(|_| oneshot::channel()).unzip();
    let mut answers: Vec<_> = requests.into_iter().map(|request| Box::pin(service.call(request))).collect();
    assert!(answers.iter_mut().all(|answer| poll(answer.as_mut()).is_pending()));
    gate.resize(Limit::new(1));
    assert_eq!(gate.status().debt, 1);
    for word in words {
        word.send(7).unwrap();
    }
    assert_eq!(poll(answers[0].as_mut()), Poll::Ready(Ok(7)));
    assert!(poll(answers[2].as_mut()).is_pending(), "the first paid the debt");
    assert_eq!(poll(answers[1].as_mut()), Poll::Ready(Ok(7)));
    assert_eq!(poll(answers[2].as_mut()), Poll::Ready(Ok(7)));
}
