//! A request on its way: in line at the gate, then in the service.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::hold::{Hold, sealed::Holding};
use super::terms::{Entry, Terms, Waiting};
use super::{GateError, Rejected};

pin_project! {
    /// The future of a [`GateService`](super::GateService): the wait for a permit, then the service's own future.
    ///
    /// It is lazy: the request takes its place in line when this is first polled.
    ///
    /// # Cancel safety
    ///
    /// Dropping it gives up its place in line, or drops the service's future where it stands and then gives the permit
    /// back.
    ///
    /// # Panics
    ///
    /// As the service does, and when it is polled after it has resolved. A panic gives the permit back.
    #[must_use = "a future does nothing unless it is polled"]
    pub struct GateFuture<S, R, H>
    where
        S: Service<R>,
    {
        terms: Arc<Terms>,
        holding: H,
        #[pin]
        stage: Stage<S, R, S::Future>,
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<S, R, F> {
        AtGate { errand: Option<(S, R)>, waiting: Option<Waiting> },
        InService { #[pin] future: F, hold: Option<Hold> },
        Done,
    }
}

impl<S: Service<R>, R, H> GateFuture<S, R, H> {
    /// For a service that is ready.
    pub(super) fn new(terms: Arc<Terms>, service: S, request: R, holding: H) -> Self {
        Self { terms, holding, stage: Stage::AtGate { errand: Some((service, request)), waiting: None } }
    }
}

impl<S, R, H> Future for GateFuture<S, R, H>
where
    S: Service<R>,
    H: Holding<S::Response>,
{
    type Output = Result<H::Response, GateError<S::Error>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.stage.as_mut().project() {
                StageProjection::AtGate { errand, waiting } => {
                    let entered = match waiting {
                        Some(waiting) => ready!(waiting.as_mut().poll(cx)),
                        None => match this.terms.enter() {
                            Entry::Decided(entered) => entered,
                            Entry::MustWait(wait) => {
                                *waiting = Some(wait);
                                continue;
                            }
                        },
                    };
                    let permit = match entered {
                        Ok(permit) => permit,
                        Err(cause) => {
                            this.stage.set(Stage::Done);
                            let refused = Rejected::new(cause, this.terms.retry_after);
                            return Poll::Ready(Err(refused.into()));
                        }
                    };
                    // Whoever polls after a panic of the service has polled after the end.
                    let (mut service, request) = errand.take().expect("a request is in the service once");
                    let hold = this.terms.hold(permit);
                    let future = service.call(request);
                    this.stage.set(Stage::InService { future, hold: Some(hold) });
                }
                StageProjection::InService { future, hold } => {
                    // Out of the future while that runs, so that its panic gives the permit back at once.
                    let held = hold.take();
                    let Poll::Ready(answer) = future.poll(cx) else {
                        *hold = held;
                        return Poll::Pending;
                    };
                    this.stage.set(Stage::Done); // the work ends before its permit goes
                    return Poll::Ready(match answer {
                        Ok(response) => Ok(H::answer(response, held)),
                        Err(error) => Err(GateError::Service(error)),
                    });
                }
                StageProjection::Done => panic!("a response is not polled again after it has resolved"),
            }
        }
    }
}

impl<S: Service<R>, R, H: fmt::Debug> fmt::Debug for GateFuture<S, R, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match &self.stage {
            Stage::AtGate { .. } => "at the gate",
            Stage::InService { .. } => "in the service",
            Stage::Done => "done",
        };
        f.debug_struct("GateFuture")
            .field("gate", &self.terms.gate.name())
            .field("holding", &self.holding)
            .field("stage", &stage)
            .finish_non_exhaustive()
    }
}
