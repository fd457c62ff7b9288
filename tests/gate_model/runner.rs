//! Random runs of a model: their numbers and bytes, the threads that check them, and how a failure is reduced.

use std::env;
use std::fmt::{Display, Write};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// A model that random bytes drive, and how it is checked.
pub(crate) struct RandomModel<C> {
    /// What the names of its environment variables begin with.
    pub(crate) variables: &'static str,
    /// The test that checks it, for the command that repeats a run.
    pub(crate) test: &'static str,
    /// The number of steps if the environment does not set it.
    pub(crate) default_steps: u64,
    /// Each event must happen at least once in so many steps.
    pub(crate) rarest: u64,
    /// The folder of the fuzzer's corpus, if the model has one.
    pub(crate) corpus: Option<&'static str>,
    pub(crate) run: fn(&[u8], Trace) -> C,
}

/// Whether a run prints its steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trace {
    Silent,
    Printed,
}

/// What the runs of a model have reached.
pub(crate) trait RunCoverage: Display + Send + 'static {
    fn new() -> Self;
    fn steps(&self) -> u64;
    fn add(&mut self, other: &Self);
    fn events_rarer_than(&self, steps: u64) -> Vec<&'static str>;
}

macro_rules! impl_run_coverage {
    ($coverage:ty) => {
        impl $crate::runner::RunCoverage for $coverage {
            fn new() -> Self {
                Self::new()
            }

            fn steps(&self) -> u64 {
                self.steps
            }

            fn add(&mut self, other: &Self) {
                self.add(other);
            }

            fn events_rarer_than(&self, steps: u64) -> Vec<&'static str> {
                self.events_rarer_than(steps)
            }
        }
    };
}

impl_run_coverage!(crate::model::Coverage);
impl_run_coverage!(crate::tree::Coverage);

impl<C: RunCoverage> RandomModel<C> {
    /// Checks as many random runs as the environment says, or repeats one.
    pub(crate) fn check(&self) {
        let variable = |name: &str| number_from_env(&format!("{}_{name}", self.variables));
        if let Some(run) = variable("RUN") {
            self.repeat(run);
            return;
        }
        let steps = variable("STEPS").unwrap_or(self.default_steps);
        let first = variable("FIRST").unwrap_or(1);
        let threads = thread::available_parallelism().unwrap().get() as u64;
        let started = Instant::now();
        let has_failed = Arc::new(AtomicBool::new(false));
        // With n threads, each thread takes every n-th run.
        let workers: Vec<_> = (0..threads)
            .map(|offset| {
                let current = Arc::new(AtomicU64::new(0));
                let worker = Worker {
                    variables: self.variables,
                    test: self.test,
                    run: self.run,
                    current: Arc::clone(&current),
                    has_failed: Arc::clone(&has_failed),
                };
                let part = steps / threads + 1;
                (thread::spawn(move || worker.run_all(part, first + offset, threads)), current)
            })
            .collect();
        // Fail if a thread stays in one run: that run hangs.
        let mut last_progress = vec![(0, started); workers.len()];
        while !workers.iter().all(|(worker, _)| worker.is_finished()) {
            thread::sleep(Duration::from_millis(10));
            for ((worker, current), last) in workers.iter().zip(&mut last_progress) {
                let run = current.load(Relaxed);
                if last.0 != run {
                    *last = (run, Instant::now());
                }
                assert!(worker.is_finished() || last.1.elapsed() < RUN_TIMEOUT, "run {run} hangs");
            }
        }
        let (mut coverage, mut runs) = (C::new(), 0);
        for (worker, _) in workers {
            let (of_worker, runs_of_worker) =
                worker.join().expect("the gate differs from its oracle; the message is above");
            coverage.add(&of_worker);
            runs += runs_of_worker;
        }
        let (checked, elapsed) = (coverage.steps(), started.elapsed());
        eprintln!("{coverage}");
        eprintln!(
            "model: {checked} checked steps in {runs} runs from run {first} on, on {threads} threads, {elapsed:.1?}"
        );
        assert!(checked >= steps, "fewer steps than {}_STEPS", self.variables);
        let rare = coverage.events_rarer_than(self.rarest);
        assert!(rare.is_empty(), "events that the steps hardly ever reach: {rare:#?}");
    }

    /// Repeats a run. If it fails, reduces its bytes as far as they still fail, prints them, and fails.
    fn repeat(&self, run: u64) {
        let mut bytes = Vec::new();
        generate_bytes(&mut bytes, run);
        let fails = |bytes: &[u8]| {
            panic::catch_unwind(AssertUnwindSafe(|| (self.run)(bytes, Trace::Silent))).is_err()
        };
        if !fails(&bytes) {
            eprintln!("run {run} passes");
            return;
        }
        let hook = panic::take_hook();
        panic::set_hook(Box::new(|_| ())); // the reduction panics hundreds of times
        let smallest = minimize(fails, bytes);
        panic::set_hook(hook);
        let hex = smallest.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "\\x{byte:02x}").unwrap();
            hex
        });
        let len = smallest.len();
        eprintln!("{len} bytes of run {run} still fail: {hex}");
        if let Some(corpus) = self.corpus {
            eprintln!("to add them to the corpus: printf '{hex}' > {corpus}/NAME");
        }
        (self.run)(&smallest, Trace::Printed);
    }
}

/// Far longer than a run takes, even on a busy machine.
const RUN_TIMEOUT: Duration = Duration::from_secs(60);

/// What one thread needs to check runs.
struct Worker<C> {
    variables: &'static str,
    test: &'static str,
    run: fn(&[u8], Trace) -> C,
    /// The number of the run in progress.
    current: Arc<AtomicU64>,
    /// Whether a run has failed, so that the other threads stop.
    has_failed: Arc<AtomicBool>,
}

impl<C: RunCoverage> Worker<C> {
    /// Runs every `stride`-th run from `first` on until `steps` steps are checked. Returns the events and the
    /// number of runs.
    fn run_all(&self, steps: u64, first: u64, stride: u64) -> (C, u64) {
        let (mut coverage, mut runs, mut run) = (C::new(), 0, first);
        let mut bytes = Vec::new();
        while coverage.steps() < steps && !self.has_failed.load(Relaxed) {
            self.current.store(run, Relaxed);
            generate_bytes(&mut bytes, run);
            let reporter = FailureReporter { worker: self, run };
            coverage.add(&(self.run)(&bytes, Trace::Silent));
            drop(reporter);
            run = run.wrapping_add(stride);
            runs += 1;
        }
        (coverage, runs)
    }
}

/// Prints the number of a run if it panics.
struct FailureReporter<'w, C> {
    worker: &'w Worker<C>,
    run: u64,
}

impl<C> Drop for FailureReporter<'_, C> {
    fn drop(&mut self) {
        if thread::panicking() {
            let Worker { variables, test, has_failed, .. } = self.worker;
            has_failed.store(true, Relaxed);
            let run = self.run;
            eprintln!(
                "run {run} failed; repeat it: {variables}_RUN={run} cargo test --test gate_model {test}"
            );
        }
    }
}

/// Generates the bytes of a run, short or long, which follow from its number alone (splitmix64).
///
/// The number is mixed before it becomes the state. Without that, each run would have the bytes of the next
/// run, shifted by one word.
pub(crate) fn generate_bytes(bytes: &mut Vec<u8>, run: u64) {
    let mut state = mix(run);
    let mut next = || {
        state = state.wrapping_add(GOLDEN_RATIO);
        mix(state)
    };
    let shape = next();
    let words = 1 + (shape >> 32) % (8 << (shape % 6));
    bytes.clear();
    (0..words).for_each(|_| bytes.extend(next().to_le_bytes()));
}

/// The output function of splitmix64.
fn mix(state: u64) -> u64 {
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// 2^64 divided by the golden ratio: the increment of splitmix64, which visits every state before it repeats
/// one.
pub(crate) const GOLDEN_RATIO: u64 = 0x9e37_79b9_7f4a_7c15;

/// Removes bytes, in ever smaller blocks, while `holds` still returns `true` for the rest.
pub(crate) fn minimize(holds: impl Fn(&[u8]) -> bool, mut bytes: Vec<u8>) -> Vec<u8> {
    let mut size = bytes.len() / 2;
    while size > 0 {
        let len_before = bytes.len();
        let mut at = 0;
        while at + size <= bytes.len() {
            let shorter = [&bytes[..at], &bytes[at + size..]].concat();
            if holds(&shorter) {
                bytes = shorter;
            } else {
                at += size;
            }
        }
        // Single bytes are tried again until none can be removed.
        if bytes.len() == len_before || size > 1 {
            size /= 2;
        }
    }
    bytes
}

/// Returns the number in an environment variable, or `None` if the variable is not set.
fn number_from_env(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}: `{text}` is not a whole number")))
}
