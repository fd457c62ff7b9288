//! The gate against a model: random steps, the corpus of the fuzzer, and a simulated day.
//!
//! Each random run has a number, and its bytes follow from that number alone. A failure prints the number and
//! the command that repeats the run. `cargo test` checks some steps; `.ci/run model` checks at least 10^8.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

mod model;
mod soak;

use std::collections::HashSet;
use std::env;
use std::fmt::Write;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use model::{Coverage, Event};

/// A gate gives the results of its oracle after every step of every random run, and the runs reach every
/// event.
///
/// `GATE_MODEL_STEPS` sets the number of steps and `GATE_MODEL_FIRST` the first run. `GATE_MODEL_RUN` repeats
/// one run.
#[test]
fn random_steps_follow_the_oracle() {
    if let Some(run) = number_from_env("GATE_MODEL_RUN") {
        repeat(run);
        return;
    }
    let steps = number_from_env("GATE_MODEL_STEPS").unwrap_or(400_000);
    let first = number_from_env("GATE_MODEL_FIRST").unwrap_or(1);
    let threads = thread::available_parallelism().unwrap().get() as u64;
    let started = Instant::now();
    // With n threads, each thread takes every n-th run.
    let workers: Vec<_> = (0..threads)
        .map(|offset| {
            let current = Arc::new(AtomicU64::new(0));
            let progress = Arc::clone(&current);
            let worker =
                thread::spawn(move || run_all(steps / threads + 1, first + offset, threads, &current));
            (worker, progress)
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
    let mut coverage = Coverage::new();
    let mut runs = 0;
    for (worker, _) in workers {
        let (worker_coverage, worker_runs) =
            worker.join().expect("the gate differs from its oracle; the message is above");
        coverage.add(&worker_coverage);
        runs += worker_runs;
    }
    let elapsed = started.elapsed();
    eprintln!("{coverage}");
    eprintln!(
        "model: {} checked steps in {runs} runs from run {first} on, on {threads} threads, {elapsed:.1?}",
        coverage.steps
    );
    assert!(coverage.steps >= steps, "fewer steps than GATE_MODEL_STEPS");
    let rare = coverage.events_rarer_than(20_000);
    assert!(rare.is_empty(), "events that the steps hardly ever reach: {rare:#?}");
}

/// Far more than the 10 ms that a run takes at most, even on a busy machine.
const RUN_TIMEOUT: Duration = Duration::from_secs(60);

/// Every run in the corpus passes, and the corpus has a minimal run for each event.
///
/// `GATE_MODEL_CORPUS=anew` writes these minimal runs again. This is necessary when bytes decode to other
/// steps than before.
#[test]
fn corpus_reaches_every_event() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/gate");
    let path_of = |text: &str| corpus.join(text.replace(", ", "-").replace(' ', "-"));
    if env::var("GATE_MODEL_CORPUS").is_ok() {
        for (event, text) in Event::ALL {
            let reaches_event = |bytes: &[u8]| model::run(bytes).count(event) > 0;
            let mut bytes = Vec::new();
            let is_found = (1..=1_000_000).any(|run| {
                generate_bytes(&mut bytes, run);
                reaches_event(&bytes)
            });
            assert!(is_found, "no run reaches the event: {text}");
            fs::write(path_of(text), minimize(reaches_event, bytes)).unwrap();
        }
    }
    for entry in corpus.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let coverage = model::run(&fs::read(&path).unwrap());
        if let Some((event, text)) = Event::ALL.into_iter().find(|(_, text)| path_of(text) == path) {
            assert!(coverage.count(event) > 0, "{} does not reach the event: {text}", path.display());
        }
    }
    let missing: Vec<_> = Event::ALL.iter().filter(|(_, text)| !path_of(text).exists()).collect();
    assert!(missing.is_empty(), "the corpus has no run for {missing:?}");
}

/// Repeats a run. If it fails, reduces its bytes as far as they still fail, prints them, and fails.
fn repeat(run: u64) {
    let mut bytes = Vec::new();
    generate_bytes(&mut bytes, run);
    let fails = |bytes: &[u8]| panic::catch_unwind(AssertUnwindSafe(|| model::run(bytes))).is_err();
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
    eprintln!("{len} bytes of run {run} still fail: printf '{hex}' > fuzz/corpus/gate/NAME");
    model::run(&smallest);
}

/// Runs every `stride`-th run from `first` on until `steps` steps are checked. Returns the events and the
/// number of runs.
///
/// `current` always holds the number of the run in progress.
fn run_all(steps: u64, first: u64, stride: u64, current: &AtomicU64) -> (Coverage, u64) {
    let (mut coverage, mut runs, mut run) = (Coverage::new(), 0, first);
    let mut bytes = Vec::new();
    while coverage.steps < steps && !HAS_FAILED.load(Relaxed) {
        current.store(run, Relaxed);
        generate_bytes(&mut bytes, run);
        let reporter = FailureReporter { run };
        coverage.add(&model::run(&bytes));
        drop(reporter);
        run = run.wrapping_add(stride);
        runs += 1;
    }
    (coverage, runs)
}

/// Whether a run has failed, so that the other threads stop.
static HAS_FAILED: AtomicBool = AtomicBool::new(false);

/// Prints the number of a run if it panics.
struct FailureReporter {
    run: u64,
}

impl Drop for FailureReporter {
    fn drop(&mut self) {
        if thread::panicking() {
            HAS_FAILED.store(true, Relaxed);
            let run = self.run;
            eprintln!(
                "run {run} failed; repeat it: GATE_MODEL_RUN={run} cargo test --test gate_model random"
            );
        }
    }
}

/// Generates the bytes of a run, short or long, which follow from its number alone (splitmix64).
///
/// The number is mixed before it becomes the state. Without that, each run would have the bytes of the next
/// run, shifted by one word.
fn generate_bytes(bytes: &mut Vec<u8>, run: u64) {
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
const GOLDEN_RATIO: u64 = 0x9e37_79b9_7f4a_7c15;

/// No two runs share a word of their bytes.
#[test]
fn runs_do_not_overlap() {
    let mut words = HashSet::new();
    let mut bytes = Vec::new();
    for run in 0..2000 {
        generate_bytes(&mut bytes, run);
        assert!(
            bytes.chunks(8).all(|word| words.insert(word.to_vec())),
            "run {run} has a word of another run"
        );
    }
}

/// Removes bytes, in ever smaller blocks, while `holds` still returns `true` for the rest.
fn minimize(holds: impl Fn(&[u8]) -> bool, mut bytes: Vec<u8>) -> Vec<u8> {
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
