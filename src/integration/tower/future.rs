//! The future of a request: first the wait for a permit, then the service.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tokio::task::coop;
use tower_service::Service;

use super::admission::{BoxedWait, FirstAttempt, RequestAdmission};
use super::outcome::sealed::ClassifyOutcome;
use super::pass::sealed::PassPermit;
use super::permit::HeldPermit;
use super::rejected::{GateError, Rejected};
use super::release::sealed::ReleasePermit;
use crate::gate::AttemptStart;

pin_project! {
    /// The future of a [`GateService`](super::GateService): the wait for a permit, then the service's own future.
    ///
    /// It is lazy: the request enters the queue when this is first polled.
    ///
    /// # Cancel safety
    ///
    /// Dropping it removes the request from the queue, or drops the service's future and then releases the permit.
    ///
    /// # Panics
    ///
    /// As [`Acquire`](crate::gate::Acquire), the service and the closure of [`observe`](super::GateLayer::observe), and when it is polled
    /// after it has resolved. A panic releases the permit.
    #[must_use = "a future does nothing unless it is polled"]
    pub struct GateFuture<S, R, H, P, O>
    where
        S: Service<R>,
    {
        admission: RequestAdmission,
        holding: H,
        passing: P,
        observing: O,
        #[pin]
        stage: RequestStage<S, R, S::Future>,
    }
}

pin_project! {
    #[project = RequestStageProjection]
    enum RequestStage<S, R, F> {
        AtGate { call: Option<(S, R)>, wait: Option<BoxedWait> },
        InService { #[pin] future: F, permit: Option<HeldPermit>, start: AttemptStart },
        Done,
    }
}

impl<S: Service<R>, R, H, P, O> GateFuture<S, R, H, P, O> {
    /// Creates the future of a request. `service` must be ready.
    pub(super) fn new(
        admission: RequestAdmission,
        service: S,
        request: R,
        (holding, passing, observing): (H, P, O),
    ) -> Self {
        let stage = RequestStage::AtGate { call: Some((service, request)), wait: None };
        Self { admission, holding, passing, observing, stage }
    }
}

impl<S, R, H, P, O> Future for GateFuture<S, R, H, P, O>
where
    S: Service<R>,
    H: ReleasePermit<S::Response>,
    P: PassPermit<R>,
    O: ClassifyOutcome<S::Response, S::Error>,
{
    type Output = Result<H::Response, GateError<S::Error>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.stage.as_mut().project() {
                RequestStageProjection::AtGate { call, wait } => {
                    let admitted = match wait {
                        Some(wait) => ready!(wait.poll(cx)),
                        None => match coop::poll_proceed(cx) {
                            Poll::Ready(budget) => match this.admission.try_admit() {
                                FirstAttempt::Decided(admitted) => {
                                    budget.made_progress();
                                    admitted
                                }
                                FirstAttempt::MustWait(new_wait) => {
                                    // The next iteration polls the wait, which puts the request in the queue.
                                    *wait = Some(new_wait);
                                    continue;
                                }
                            },
                            // The task has used up its cooperative budget. A request that may not wait is made at the next poll, when
                            // the task has a budget again.
                            Poll::Pending if this.admission.never_waits() => return Poll::Pending,
                            // Any other request enters the queue, so that it keeps its turn.
                            Poll::Pending => {
                                *wait = Some(this.admission.begin_wait());
                                continue;
                            }
                        },
                    };
                    let permit = match admitted {
                        Ok(permit) => permit,
                        Err(cause) => {
                            this.stage.set(RequestStage::Done);
                            let rejected = Rejected::new(cause, this.admission.settings.retry_after);
                            return Poll::Ready(Err(rejected.into()));
                        }
                    };
                    // `call` is empty only if `Service::call` panicked and this future is polled again.
                    let (mut service, mut request) = call.take().expect("a request calls the service once");
                    let start = permit.local().gate().begin_attempt();
                    let permit = P::pass(&mut request, permit);
                    let future = service.call(request);
                    this.stage.set(RequestStage::InService { future, permit: Some(permit), start });
                }
                RequestStageProjection::InService { future, permit, start } => {
                    // The permit is on the stack while the service runs, so that a panic releases it at once.
                    let held = permit.take();
                    let Poll::Ready(result) = future.poll(cx) else {
                        *permit = held;
                        return Poll::Pending;
                    };
                    if let (Some(outcome), Some(held)) = (this.observing.classify(&result), &held) {
                        held.local().gate().finish_attempt(*start, outcome);
                    }
                    // Drops the service's future before the permit: its resources are free when the next request
                    // is admitted.
                    this.stage.set(RequestStage::Done);
                    return Poll::Ready(match result {
                        Ok(response) => Ok(H::respond(response, held)),
                        Err(error) => Err(GateError::Service(error)),
                    });
                }
                RequestStageProjection::Done => {
                    panic!("a `GateFuture` must not be polled after it has resolved")
                }
            }
        }
    }
}

impl<S: Service<R>, R, H: fmt::Debug, P: fmt::Debug, O> fmt::Debug for GateFuture<S, R, H, P, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match &self.stage {
            RequestStage::AtGate { .. } => "at the gate",
            RequestStage::InService { .. } => "in the service",
            RequestStage::Done => "done",
        };
        f.debug_struct("GateFuture")
            .field("gate", &self.admission.settings.gate.name())
            .field("holding", &self.holding)
            .field("passing", &self.passing)
            .field("stage", &stage)
            .finish_non_exhaustive()
    }
}
