//! The run: the same clients at the gate of each order.

use std::cell::RefCell;
use std::future::{Future as _, poll_fn};
use std::io;
use std::mem;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use concurrency_governor::Shed;
use tokio::runtime::Builder;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{self, Instant};

use super::order::QueueOrder;
use super::record::{AttemptEnd, OrderRecord};
use super::server::{ServerGate, ServerRejection, ServerSpec};
use crate::simulate::load::ServiceTime;
use crate::simulate::random::RandomNumbers;
use crate::simulate::rate::ArrivalSchedule;

/// Everything that determines a comparison. Equal comparisons run identically.
///
/// The time is the paused time of tokio, whose resolution is a millisecond. Unlike in a plain simulation, the time is not stretched,
/// because the shortest interval and the retry hints of shedding are durations that cannot be stretched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OverloadSimulation {
    pub(crate) server: ServerSpec,
    pub(crate) shed: Shed,
    pub(crate) schedule: ArrivalSchedule,
    pub(crate) service: ServiceTime,
    pub(crate) clients: ClientBehaviour,
    pub(crate) length: Duration,
    pub(crate) seed: u64,
}

/// The behaviour of a client that gets no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientBehaviour {
    /// How long a client waits for the answer to one attempt.
    pub(crate) timeout: Duration,
    /// The largest number of attempts.
    pub(crate) attempts: u32,
    pub(crate) deadlines: DeadlinePropagation,
    pub(crate) hints: RetryHints,
}

/// Whether the server knows how long a client waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeadlinePropagation {
    /// A request whose client has given up stays in the queue, and is served.
    Unknown,
    /// The timeout is the deadline of the request. The work of an admitted request is done to its end.
    Known,
}

/// Whether a rejected client retries at the time that the error gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryHints {
    /// The client retries at that time.
    Followed,
    /// The client retries when its attempt would have timed out, as after an error without a time.
    Ignored,
}

impl OverloadSimulation {
    /// Returns the lengths of the runs together: the last time that `run` passes to `progress`.
    pub(crate) fn total_length(&self) -> Duration {
        self.orders().iter().fold(Duration::ZERO, |sum, _| sum.saturating_add(self.length))
    }

    /// Runs the clients at the gate of each order in turn. Returns a record for each order.
    ///
    /// Calls `progress` with the simulated time that has passed, the earlier runs included.
    ///
    /// # Errors
    ///
    /// If the runtime cannot be started.
    pub(crate) fn run(&self, mut progress: impl FnMut(Duration)) -> io::Result<Vec<OrderRecord>> {
        let mut before = Duration::ZERO;
        let mut records = Vec::new();
        for order in self.orders() {
            let runtime = Builder::new_current_thread().enable_time().start_paused(true).build()?;
            let run = self.run_order(order, |now| progress(before.saturating_add(now)));
            records.push(LocalSet::new().block_on(&runtime, run));
            before = before.saturating_add(self.length);
        }
        Ok(records)
    }

    /// Returns how many requests the gate can serve a second.
    pub(crate) fn capacity(&self) -> f64 {
        f64::from(self.server.limit.get()) / self.service.mean_seconds()
    }

    const fn orders(&self) -> [QueueOrder; 3] {
        [QueueOrder::OldestFirst, QueueOrder::NewestFirst, QueueOrder::Shedding(self.shed)]
    }

    async fn run_order(&self, order: QueueOrder, mut progress: impl FnMut(Duration)) -> OrderRecord {
        let record = OrderRecord::new(order, self.server.limit.get(), self.length);
        let run = Rc::new(OrderRun {
            gate: ServerGate::new(&self.server, order),
            record: RefCell::new(record),
            start: Instant::now(),
        });
        let mut random = RandomNumbers::from_seed(self.seed);
        let mut arrival = Duration::ZERO;
        loop {
            arrival = self.schedule.draw_arrival(arrival, &mut random);
            if arrival > self.length {
                break;
            }
            run.sleep_until(arrival).await;
            progress(arrival);
            // Each client has random numbers of its own: the service times do not depend on what happens at the gate.
            let services = ServiceTimes { service: self.service, random: random.split() };
            spawn_local(Rc::clone(&run).run_client(self.clients, services));
        }
        run.sleep_until(self.length).await;
        progress(self.length);
        run.finish(self.length)
    }
}

/// The service times of the attempts of one client.
struct ServiceTimes {
    service: ServiceTime,
    random: RandomNumbers,
}

impl ServiceTimes {
    /// Draws the time of the next attempt, rounded to a whole number of milliseconds at random, so that the mean stays.
    fn draw(&mut self) -> Duration {
        let exact = self.service.draw(&mut self.random);
        let whole = u64::try_from(exact.as_millis()).unwrap_or(u64::MAX);
        let rest = exact.saturating_sub(Duration::from_millis(whole)).as_secs_f64() * 1e3;
        Duration::from_millis(whole.saturating_add((self.random.draw_fraction() < rest).into()))
    }
}

/// The gate of one order, with its record.
struct OrderRun {
    gate: ServerGate,
    record: RefCell<OrderRecord>,
    start: Instant,
}

impl OrderRun {
    /// Runs one client until it has an answer or gives up.
    async fn run_client(self: Rc<Self>, client: ClientBehaviour, mut services: ServiceTimes) {
        let arrived = self.now();
        self.record.borrow_mut().arrive(arrived);
        for attempt in 1..=client.attempts {
            let Some(give_up) = Instant::now().checked_add(client.timeout) else { break };
            // The server has a task of its own, so it continues after the client has given up.
            let request = spawn_local(Rc::clone(&self).serve(give_up, client.deadlines, services.draw()));
            match time::timeout_at(give_up, request).await {
                Ok(Ok(Ok(()))) if Instant::now() < give_up => {
                    self.record.borrow_mut().answer(arrived, self.now());
                    return;
                }
                // A rejected client retries at the time that the error gives, or else when its attempt would have timed out.
                Ok(Ok(Err(ServerRejection { retry_after, .. }))) if attempt < client.attempts => {
                    match retry_after.filter(|_| client.hints == RetryHints::Followed) {
                        Some(wait) => time::sleep(wait).await,
                        None => time::sleep_until(give_up).await,
                    }
                }
                // No answer in time. The client retries at once.
                _ => {}
            }
        }
        self.record.borrow_mut().give_up();
    }

    /// Serves one request: acquires a permit, holds it for the service time and releases it.
    async fn serve(
        self: Rc<Self>,
        give_up: Instant,
        deadlines: DeadlinePropagation,
        service: Duration,
    ) -> Result<(), ServerRejection> {
        let arrived = self.now();
        self.record.borrow_mut().gate.arrive();
        let deadline = match deadlines {
            DeadlinePropagation::Known => Some(give_up),
            DeadlinePropagation::Unknown => None,
        };
        // The first poll shows whether the request is admitted at once or enters the queue.
        let mut acquire = pin!(self.gate.acquire(deadline));
        let outcome = match poll_fn(|cx| Poll::Ready(acquire.as_mut().poll(cx))).await {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => {
                self.record.borrow_mut().gate.enqueue(self.now(), self.gate.waiting());
                let outcome = acquire.await;
                self.record.borrow_mut().gate.dequeue(self.now());
                outcome
            }
        };
        let permit = outcome.inspect_err(|rejection| self.record.borrow_mut().end_attempt(rejection.end))?;
        let admitted = self.now();
        self.record.borrow_mut().admit(admitted, admitted.saturating_sub(arrived));
        time::sleep(service).await;
        drop(permit);
        let mut record = self.record.borrow_mut();
        record.gate.complete(self.now());
        let is_late = Instant::now() >= give_up;
        record.end_attempt(if is_late { AttemptEnd::Late } else { AttemptEnd::InTime });
        Ok(())
    }

    async fn sleep_until(&self, at: Duration) {
        time::sleep_until(self.start.checked_add(at).unwrap_or(self.start)).await;
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Takes the record at the end of the run. Requests that are still pending write to the empty record that stays behind.
    fn finish(&self, at: Duration) -> OrderRecord {
        let mut record = self.record.borrow_mut();
        let empty = OrderRecord::new(record.order, 0, at);
        let mut finished = mem::replace(&mut *record, empty);
        finished.finish(at);
        finished
    }
}
