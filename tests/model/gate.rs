//! One model of a gate for property tests, fuzzing and the corpus: bytes become steps, and after every step the gate
//! is held against an oracle that does the same with a `VecDeque`, and nothing clever.
//!
//! Held against it are: what each call and each poll gives, which wakers are woken and in which order, that no other
//! is, which wakers are kept, and every number of the status.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use concurrency_governor::Limit;
use concurrency_governor::gate::{Drained, Gate, OwnedPermit};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use hands::{Asking, Flag, Held, Input, Log, new_flag, poll_with};
use oracle::{Answer, NAME, Oracle};

#[path = "gate_hands.rs"]
mod hands;
#[path = "gate_oracle.rs"]
mod oracle;

/// Interprets `bytes` as a gate and steps upon it; panics where the gate and the oracle differ.
pub(crate) fn drive(bytes: &[u8]) {
    CLOCK.with(|clock| {
        let _inside = clock.enter();
        let mut input = Input(bytes);
        let (limit, shape) = (1 + input.below(6), input.below(16));
        let mut builder = Gate::builder(NAME, Limit::new(limit));
        let bound = [usize::MAX, usize::MAX, 3, 0][shape as usize % 4];
        if bound < usize::MAX {
            builder = builder.queue(bound);
        }
        let max_wait = (shape >= 12).then(|| u64::from(shape - 8));
        if let Some(ms) = max_wait {
            builder = builder.max_wait(Duration::from_millis(ms));
        }
        let gate = builder.build();
        let mut run = Run {
            gate: &gate,
            clock,
            start: Instant::now(),
            now: 0,
            oracle: Oracle::new(limit, bound, max_wait),
            requests: Vec::new(),
            drain: None,
            permits: Vec::new(),
            handles: Vec::new(),
            log: Arc::default(),
            wakers: 0,
        };
        while let Some(op) = input.next() {
            run.step(op, &mut input);
            run.check();
        }
        let log = Arc::clone(&run.log);
        let orphans = run.dissolve(bytes.len() % 2 == 0);
        drop(gate);
        orphans.wind_up();
        assert_eq!(Arc::strong_count(&log), 1, "a waker outlived the gate");
    });
}

thread_local! {
    /// Time stands still but for the steps that move it.
    static CLOCK: Runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
}

struct Run<'g> {
    gate: &'g Gate,
    clock: &'g Runtime,
    start: Instant,
    /// Milliseconds since `start`.
    now: u64,
    oracle: Oracle,
    requests: Vec<Request<'g>>,
    drain: Option<(Drained<'g>, Arc<Flag>)>,
    permits: Vec<Held<'g>>,
    handles: Vec<Gate>,
    log: Arc<Log>,
    wakers: usize,
}

struct Request<'g> {
    id: usize,
    future: Asking<'g>,
    weight: u32,
    deadline: Option<u64>,
    max_wait: Option<u64>,
    /// The waker of its latest poll; `None` before the first.
    flag: Option<Arc<Flag>>,
    /// Its timer has fired already.
    rung: bool,
}

impl Run<'_> {
    fn step(&mut self, op: u8, input: &mut Input<'_>) {
        match op % 32 {
            0..=9 => self.ask(op, input),
            10..=13 => self.try_ask(op, input),
            14..=17 => self.poll(input, false),
            18 => self.poll(input, true),
            19..=21 => self.cancel(input),
            22..=25 => self.release(input),
            26 | 27 => self.resize(input),
            28 => self.advance(input),
            29 => self.drain(input),
            30 => self.handle(input),
            _ if input.below(8) == 0 => self.close(),
            _ => {}
        }
    }

    /// A new request: borrowed or owned, light or heavy, perhaps with a deadline, perhaps not polled yet.
    fn ask(&mut self, op: u8, input: &mut Input<'_>) {
        let weight = if op % 2 == 0 { 1 } else { input.below(8) };
        let flags = input.below(64);
        let (deadline, max_wait) = match flags % 8 {
            0 => (Some(u64::from(input.below(8))), None),
            1 => (None, Some(u64::from(input.below(8)))),
            2 => (Some(u64::from(input.below(8))), Some(u64::from(input.below(8)))),
            _ => (None, None),
        };
        let deadline = deadline.map(|ms| self.now + ms);
        let mut request = self.gate.request().weight(weight);
        if let Some(ms) = deadline {
            request = request.deadline(self.start + Duration::from_millis(ms));
        }
        if let Some(ms) = max_wait {
            request = request.max_wait(Duration::from_millis(ms));
        }
        let future = if flags / 8 % 2 == 0 {
            Asking::Borrowed(request.acquire())
        } else {
            Asking::Owned(request.acquire_owned())
        };
        let id = self.oracle.next_id();
        self.requests.push(Request { id, future, weight, deadline, max_wait, flag: None, rung: false });
        if flags / 16 != 3 {
            self.poll_at(self.requests.len() - 1, true);
        }
    }

    fn try_ask(&mut self, op: u8, input: &mut Input<'_>) {
        let weight = if op % 2 == 0 { 1 } else { input.below(8) };
        let given = match input.below(4) {
            0 if weight == 1 => self.gate.try_acquire().map(Held::Borrowed),
            1 if weight == 1 => self.gate.try_acquire_owned().map(Held::Owned),
            2 => self.gate.try_acquire_many_owned(weight).map(Held::Owned),
            _ => self.gate.try_acquire_many(weight).map(Held::Borrowed),
        };
        match (self.oracle.try_take(weight), given) {
            (Ok(()), Ok(permit)) => self.permits.push(permit),
            (Err(expected), Err(given)) => assert_eq!(expected, given),
            (expected, given) => panic!("try: expected {expected:?}, was given {given:?}"),
        }
    }

    fn poll(&mut self, input: &mut Input<'_>, fresh: bool) {
        if let Some(at) = input.pick(self.requests.len()) {
            self.poll_at(at, fresh);
        }
    }

    fn poll_at(&mut self, at: usize, fresh: bool) {
        let request = &mut self.requests[at];
        let (id, weight) = (request.id, request.weight);
        let expected = if request.flag.is_some() {
            self.oracle.poll(id, self.now)
        } else {
            self.oracle.arrive(id, weight, self.now, request.deadline, request.max_wait)
        };
        let old = request.flag.take();
        let flag = match &old {
            Some(flag) if !fresh => Arc::clone(flag),
            _ => new_flag(&mut self.wakers, &self.log),
        };
        let given = request.future.poll(&flag);
        request.flag = Some(Arc::clone(&flag));
        match (expected, given) {
            (Answer::Waits, Poll::Pending) => {}
            (Answer::Admitted, Poll::Ready(Ok(permit))) => {
                assert_eq!(permit.weight(), weight);
                self.permits.push(permit);
                self.requests.remove(at);
                assert_eq!(
                    Arc::strong_count(&flag),
                    1 + usize::from(!fresh && old.is_some()),
                    "kept when admitted"
                );
            }
            (Answer::Refused(expected), Poll::Ready(Err(given))) => {
                assert_eq!(expected, given);
                self.requests.remove(at);
                assert_eq!(
                    Arc::strong_count(&flag),
                    1 + usize::from(!fresh && old.is_some()),
                    "kept when refused"
                );
            }
            (expected, given) => panic!("poll of {id}: expected {expected:?}, was given {given:?}"),
        }
        if let Some(old) = old.filter(|_| fresh) {
            assert_eq!(Arc::strong_count(&old), 1, "a replaced waker was kept");
        }
    }

    fn cancel(&mut self, input: &mut Input<'_>) {
        if let Some(at) = input.pick(self.requests.len()) {
            let Request { id, future, flag, .. } = self.requests.remove(at);
            drop(future);
            self.oracle.cancel(id);
            assert!(
                flag.is_none_or(|flag| Arc::strong_count(&flag) == 1),
                "a cancelled request's waker was kept"
            );
        }
    }

    fn release(&mut self, input: &mut Input<'_>) {
        if let Some(at) = input.pick(self.permits.len()) {
            let permit = self.permits.swap_remove(at);
            self.oracle.release(permit.weight());
        }
    }

    fn resize(&mut self, input: &mut Input<'_>) {
        let to = Limit::new(1 + input.below(8));
        let from = self.gate.limit();
        let change = self.gate.resize(to);
        self.oracle.resize(to.get());
        assert_eq!((change.from, change.to, change.debt), (from, to, self.oracle.debt()));
    }

    fn close(&mut self) {
        self.gate.close();
        self.oracle.close();
    }

    /// Moves the clock. Only timers may wake anybody, and each has to that is due.
    fn advance(&mut self, input: &mut Input<'_>) {
        let ms = u64::from(input.below(6));
        self.now += ms;
        self.oracle.now = self.now;
        self.clock.block_on(tokio::time::advance(Duration::from_millis(ms)));
        assert_eq!(
            Instant::now(),
            self.start + Duration::from_millis(self.now),
            "the clock has run on its own"
        );
        let woken = self.log.take();
        for request in &mut self.requests {
            let Some(flag) = &request.flag else { continue };
            let due = self.oracle.deadline_of(request.id).is_some_and(|deadline| deadline <= self.now);
            let rang = woken.contains(&flag.serial);
            assert!(!rang || due || request.rung, "request {} was woken for nothing", request.id);
            assert!(rang || !due || request.rung, "request {} has slept past its deadline", request.id);
            request.rung |= due;
        }
    }

    fn drain(&mut self, input: &mut Input<'_>) {
        let choice = input.below(4);
        let (mut future, flag, expected) = match self.drain.take() {
            Some((future, flag)) if choice == 0 => {
                drop(future);
                self.oracle.cancel_drain();
                assert_eq!(Arc::strong_count(&flag), 1, "a waker was kept");
                return;
            }
            Some((future, _)) if choice == 1 => {
                (future, new_flag(&mut self.wakers, &self.log), self.oracle.poll_drain())
            }
            Some((future, flag)) => (future, flag, self.oracle.poll_drain()),
            None => (self.gate.drained(), new_flag(&mut self.wakers, &self.log), self.oracle.drain()),
        };
        let ready = poll_with(&mut future, &flag).is_ready();
        assert_eq!(ready, expected, "drained");
        assert_eq!(Arc::strong_count(&flag), 1 + usize::from(!ready));
        if !ready {
            self.drain = Some((future, flag));
        }
    }

    fn handle(&mut self, input: &mut Input<'_>) {
        match input.pick(2 * self.handles.len()) {
            Some(at) if at < self.handles.len() => drop(self.handles.swap_remove(at)),
            _ => self.handles.push(self.gate.clone()),
        }
    }

    /// Everything that holds after every step.
    fn check(&mut self) {
        let woken = self.log.take();
        let expected = self.oracle.take_woken().map(|id| {
            let request = id.and_then(|id| self.requests.iter().find(|request| request.id == id));
            let flag =
                request.map_or(self.drain.as_ref().map(|(_, flag)| flag), |request| request.flag.as_ref());
            flag.expect("only what waits is woken").serial
        });
        assert_eq!(woken, expected.collect::<Vec<_>>(), "not these were woken, in this order");
        for request in self.requests.iter().filter(|request| self.oracle.deadline_of(request.id).is_none()) {
            let kept = usize::from(self.oracle.is_in_line(request.id));
            let count = request.flag.as_ref().map_or(1 + kept, Arc::strong_count);
            assert_eq!(count, 1 + kept, "wakers kept for request {}", request.id);
        }
        self.oracle.check(&self.gate.status());
    }

    /// Lets go of all that is borrowed from the gate, in one of two orders, and keeps what has a handle of its own.
    fn dissolve(mut self, permits_first: bool) -> Orphans {
        self.oracle.cancel_drain();
        self.drain = None;
        self.handles.clear();
        let mut permits = Vec::new();
        for turn in [permits_first, !permits_first] {
            if turn {
                for permit in self.permits.drain(..) {
                    match permit {
                        Held::Owned(permit) => permits.push(permit),
                        Held::Borrowed(permit) => {
                            self.oracle.release(permit.weight());
                            drop(permit);
                        }
                    }
                    let _ = self.oracle.take_woken();
                }
            } else {
                for Request { id, future, .. } in self.requests.drain(..) {
                    drop(future);
                    self.oracle.cancel(id);
                    let _ = self.oracle.take_woken();
                }
            }
        }
        let _ = self.log.take();
        self.oracle.check(&self.gate.status());
        Orphans { permits, oracle: self.oracle }
    }
}

/// What outlives the last handle.
struct Orphans {
    permits: Vec<OwnedPermit>,
    oracle: Oracle,
}

impl Orphans {
    /// With no handle left, a permit still is one, and gives a handle that finds everything as it was.
    fn wind_up(mut self) {
        while let Some(permit) = self.permits.pop() {
            let gate = (self.permits.len() % 2 == 0).then(|| permit.gate());
            self.oracle.release(permit.weight());
            drop(permit);
            if let Some(gate) = gate {
                self.oracle.check(&gate.status());
            }
        }
        assert_eq!(
            (self.oracle.in_use(), self.oracle.waiting()),
            (0, 0),
            "the oracle itself has lost something"
        );
    }
}
