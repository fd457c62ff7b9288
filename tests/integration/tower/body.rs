//! Bodies that hold a permit until they end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};

use concurrency_governor::integration::tower::GateLayer;
use http::Response;
use http_body::{Body, Frame};
use tower::{BoxError, Layer};

use super::*;

/// A body that yields one frame per poll. `None` stands for `Poll::Pending`.
struct ScriptedBody {
    frames: Vec<Option<Result<&'static str, BoxError>>>,
    knows_its_end: bool,
    panics: bool,
}

impl Body for ScriptedBody {
    type Data = &'static [u8];
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, BoxError>>> {
        assert!(!self.panics, "in the body");
        if self.frames.is_empty() {
            return Poll::Ready(None);
        }
        match self.frames.remove(0) {
            None => Poll::Pending,
            Some(frame) => Poll::Ready(Some(frame.map(|text| Frame::data(text.as_bytes())))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.knows_its_end && self.frames.is_empty()
    }
}

fn scripted(frames: Vec<Option<Result<&'static str, BoxError>>>) -> ScriptedBody {
    ScriptedBody { frames, knows_its_end: false, panics: false }
}

/// Returns the response of a service with this body, whose layer holds the permit until the body ends.
fn respond_with(
    gate: &Gate,
    body: ScriptedBody,
) -> Response<impl Body<Error = BoxError, Data = &'static [u8]> + Unpin> {
    let body = Arc::new(Mutex::new(Some(body)));
    let service = service_fn(move |(): ()| {
        let body = body.lock().unwrap().take().unwrap();
        async { Ok::<_, Infallible>(Response::new(body)) }
    });
    let response = poll(pin!(GateLayer::new(gate.clone()).hold_until_body_ends().layer(service).call(())));
    let Poll::Ready(Ok(response)) = response else { panic!("the service responds at once") };
    response
}

fn poll_frame<B: Body + Unpin>(body: &mut B) -> Poll<Option<Result<B::Data, B::Error>>> {
    let frame = Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()));
    frame.map(|frame| frame.map(|frame| frame.map(|frame| frame.into_data().ok().unwrap())))
}

/// With `hold_until_body_ends`, the permit is released when the body ends, fails, panics or is dropped. Without it, the
/// permit is released with the response.
#[test]
fn the_permit_is_released_when_the_body_ends() {
    let gate = gate(1);
    let mut body = respond_with(&gate, scripted(vec![Some(Ok("a")), None, Some(Ok("b"))])).into_body();
    assert_eq!(in_use_and_waiting(&gate), (1, 0));
    assert!(matches!(poll_frame(&mut body), Poll::Ready(Some(Ok(_)))));
    assert!(poll_frame(&mut body).is_pending());
    assert!(matches!(poll_frame(&mut body), Poll::Ready(Some(Ok(_)))));
    assert_eq!(in_use_and_waiting(&gate), (1, 0), "the body does not know that this frame was the last one");
    assert!(matches!(poll_frame(&mut body), Poll::Ready(None)));
    assert_eq!(in_use_and_waiting(&gate), (0, 0), "released at the end, though the body still exists");

    let knows_its_end = ScriptedBody { knows_its_end: true, ..scripted(vec![Some(Ok("a")), Some(Ok("b"))]) };
    let mut body = respond_with(&gate, knows_its_end).into_body();
    assert!(matches!(poll_frame(&mut body), Poll::Ready(Some(Ok(_)))));
    assert_eq!(in_use_and_waiting(&gate), (1, 0));
    assert!(matches!(poll_frame(&mut body), Poll::Ready(Some(Ok(_)))));
    assert_eq!(
        in_use_and_waiting(&gate),
        (0, 0),
        "released with the last frame: a server does not poll again"
    );

    let empty = respond_with(&gate, ScriptedBody { knows_its_end: true, ..scripted(vec![]) });
    assert_eq!(in_use_and_waiting(&gate), (0, 0), "an empty body holds no permit");
    drop(empty);

    let fails = scripted(vec![Some(Err("broken pipe".into())), Some(Ok("a"))]);
    let mut body = respond_with(&gate, fails).into_body();
    assert!(matches!(poll_frame(&mut body), Poll::Ready(Some(Err(_)))));
    assert_eq!(in_use_and_waiting(&gate), (0, 0), "a failed body releases its permit");

    let mut body = respond_with(&gate, scripted(vec![Some(Ok("a")), Some(Ok("b"))])).into_body();
    assert!(matches!(poll_frame(&mut body), Poll::Ready(Some(Ok(_)))));
    assert_eq!(in_use_and_waiting(&gate), (1, 0));
    drop(body);
    assert_eq!(in_use_and_waiting(&gate), (0, 0), "a dropped body releases its permit");

    let mut body = respond_with(&gate, ScriptedBody { panics: true, ..scripted(vec![]) }).into_body();
    assert_eq!(in_use_and_waiting(&gate), (1, 0));
    catch_unwind(AssertUnwindSafe(|| poll_frame(&mut body).is_pending())).unwrap_err();
    assert_eq!(in_use_and_waiting(&gate), (0, 0), "a panic releases the permit");

    let plain =
        service_fn(|(): ()| async { Ok::<_, Infallible>(Response::new(scripted(vec![Some(Ok("a"))]))) });
    let response = poll(pin!(GateLayer::new(gate.clone()).layer(plain).call(())));
    assert_eq!(in_use_and_waiting(&gate), (0, 0), "by default, the permit is released with the response");
    drop(response);
}

/// The size hint, the end of the stream and the data of the inner body are passed through.
#[test]
fn a_held_body_passes_the_inner_body_through() {
    use http_body_util::{BodyExt, Full};
    let gate = gate(1);
    let full =
        service_fn(|(): ()| async { Ok::<_, Infallible>(Response::new(Full::new(&b"twelve bytes"[..]))) });
    let response = poll(pin!(GateLayer::new(gate.clone()).hold_until_body_ends().layer(full).call(())));
    let Poll::Ready(Ok(response)) = response else { panic!("the service responds at once") };
    let body = response.into_body();
    assert_eq!(body.size_hint().exact(), Some(12));
    assert!(!body.is_end_stream());
    assert_eq!(in_use_and_waiting(&gate), (1, 0));
    let Poll::Ready(Ok(collected)) = poll(pin!(body.collect())) else { panic!("all data is available") };
    assert_eq!(collected.to_bytes(), &b"twelve bytes"[..]);
    assert_eq!(in_use_and_waiting(&gate), (0, 0));
}
