//! The gate against its oracle: random runs, as many steps as are asked for, and every run the fuzzer has kept.
//!
//! `.ci/run model` takes 10^8 steps and more; `cargo test` takes some. Runs are numbered, and a number says all of it:
//! what fails says how to take that run again.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "this is a test"
)]

#[path = "model/gate.rs"]
mod model;

use std::env;
use std::fmt::Write;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use model::{Event, Seen};

/// A gate does what its oracle does, step by step, whatever the steps. `GATE_MODEL_STEPS` says how many,
/// `GATE_MODEL_FIRST` with which run to begin, and `GATE_MODEL_RUN` to take only that one again.
#[test]
fn random_steps_follow_the_oracle() {
    if let Some(run) = number("GATE_MODEL_RUN") {
        take_again(run);
        return;
    }
    let steps = number("GATE_MODEL_STEPS").unwrap_or(400_000);
    let first = number("GATE_MODEL_FIRST").unwrap_or(1);
    let threads = thread::available_parallelism().unwrap().get() as u64;
    let begun = Instant::now();
    let workers: Vec<_> = (0..threads)
        .map(|nth| {
            let run = Arc::new(AtomicU64::new(0));
            let current = Arc::clone(&run);
            (thread::spawn(move || take(steps / threads + 1, first + nth, threads, &current)), run)
        })
        .collect();
    let mut since = vec![(0, begun); workers.len()];
    while !workers.iter().all(|(worker, _)| worker.is_finished()) {
        thread::sleep(Duration::from_millis(10));
        for ((worker, run), since) in workers.iter().zip(&mut since) {
            let run = run.load(Relaxed);
            if since.0 != run {
                *since = (run, Instant::now());
            }
            assert!(worker.is_finished() || since.1.elapsed() < HANGS, "run {run} hangs");
        }
    }
    let mut seen = Seen::new();
    let mut runs = 0;
    for (worker, _) in workers {
        let (theirs, by_them) = worker.join().expect("the gate differs from its oracle; see above");
        seen.add(&theirs);
        runs += by_them;
    }
    let took = begun.elapsed();
    eprintln!("{seen}");
    eprintln!(
        "model: {} checked steps in {runs} runs from run {first} on, on {threads} threads, {took:.1?}",
        seen.steps
    );
    assert!(seen.steps >= steps, "fewer steps than were asked for");
    let rare = seen.rarer_than(20_000);
    assert!(rare.is_empty(), "the steps hardly ever get to: {rare:#?}");
}

/// No run takes a hundredth of a second, on however busy a machine.
const HANGS: Duration = Duration::from_secs(60);

/// What the fuzzer once found worth keeping stays right; and for each thing worth seeing it is given the least run that
/// shows it. `GATE_MODEL_CORPUS=anew` writes those again where bytes have come to mean other steps.
#[test]
fn corpus_shows_everything() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/gate");
    let name = |text: &str| corpus.join(text.replace(", ", "-").replace([' ', '\''], "-"));
    if env::var("GATE_MODEL_CORPUS").is_ok() {
        for (event, text) in Event::ALL {
            let shows = |bytes: &[u8]| model::drive(bytes).count(event) > 0;
            let mut bytes = Vec::new();
            let found = (1..=1_000_000).any(|run| {
                fill(&mut bytes, run);
                shows(&bytes)
            });
            assert!(found, "no run shows it: {text}");
            fs::write(name(text), least_that(shows, bytes)).unwrap();
        }
    }
    for entry in corpus.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let seen = model::drive(&fs::read(&path).unwrap());
        if let Some((event, text)) = Event::ALL.into_iter().find(|(_, text)| name(text) == path) {
            assert!(seen.count(event) > 0, "{} does not show it: {text}", path.display());
        }
    }
    let unseen: Vec<_> = Event::ALL.iter().filter(|(_, text)| !name(text).exists()).collect();
    assert!(unseen.is_empty(), "no run in the corpus shows {unseen:?}");
}

/// Takes a run again, and if it fails, as little of it as still fails.
fn take_again(run: u64) {
    let mut bytes = Vec::new();
    fill(&mut bytes, run);
    let fails = |bytes: &[u8]| panic::catch_unwind(AssertUnwindSafe(|| model::drive(bytes))).is_err();
    if !fails(&bytes) {
        eprintln!("run {run} is right");
        return;
    }
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| ())); // hundreds of them on the way there
    let least = least_that(fails, bytes);
    panic::set_hook(hook);
    let hex = least.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "\\x{byte:02x}").unwrap();
        hex
    });
    eprintln!("of run {run} these {} bytes still fail: printf '{hex}' > fuzz/corpus/gate/NAME", least.len());
    model::drive(&least);
}

/// Every `stride`th run from this one on, until so many steps were checked; says how many runs, too, and meanwhile which.
fn take(steps: u64, first: u64, stride: u64, current: &AtomicU64) -> (Seen, u64) {
    let (mut seen, mut runs, mut run) = (Seen::new(), 0, first);
    let mut bytes = Vec::new();
    while seen.steps < steps && !HAS_FAILED.load(Relaxed) {
        current.store(run, Relaxed);
        fill(&mut bytes, run);
        let tells = TellsWhich(run);
        seen.add(&model::drive(&bytes));
        drop(tells);
        run = run.wrapping_add(stride);
        runs += 1;
    }
    (seen, runs)
}

/// Nobody needs to go on then.
static HAS_FAILED: AtomicBool = AtomicBool::new(false);

/// Says which run it was that did not end well.
struct TellsWhich(u64);

impl Drop for TellsWhich {
    fn drop(&mut self) {
        if thread::panicking() {
            HAS_FAILED.store(true, Relaxed);
            let run = self.0;
            eprintln!("this was run {run}: GATE_MODEL_RUN={run} cargo test --test gate_model random");
        }
    }
}

/// The bytes of a run: short ones and long ones, each from its number alone (splitmix64). The number is mixed before it
/// becomes the state: states that lie a step apart would give each run the bytes of its neighbour, a word further on.
fn fill(bytes: &mut Vec<u8>, run: u64) {
    let mut state = mixed(run);
    let mut next = || {
        state = state.wrapping_add(GOLDEN);
        mixed(state)
    };
    let shape = next();
    let words = 1 + (shape >> 32) % (8 << (shape % 6));
    bytes.clear();
    (0..words).for_each(|_| bytes.extend(next().to_le_bytes()));
}

fn mixed(state: u64) -> u64 {
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Runs have nothing in common but their making: no word of one is in another.
#[test]
fn runs_do_not_overlap() {
    let mut seen = std::collections::HashSet::new();
    let mut bytes = Vec::new();
    for run in 0..2000 {
        fill(&mut bytes, run);
        assert!(bytes.chunks(8).all(|word| seen.insert(word.to_vec())), "run {run} has a word of another");
    }
}

/// 2^64 / phi, which visits every state before it comes to one again.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// As few of the bytes as this still holds for.
fn least_that(holds: impl Fn(&[u8]) -> bool, mut bytes: Vec<u8>) -> Vec<u8> {
    let mut size = bytes.len() / 2;
    while size > 0 {
        let mut at = 0;
        let before = bytes.len();
        while at + size <= bytes.len() {
            let fewer = [&bytes[..at], &bytes[at + size..]].concat();
            if holds(&fewer) {
                bytes = fewer;
            } else {
                at += size;
            }
        }
        if bytes.len() == before || size > 1 {
            size /= 2;
        }
    }
    bytes
}

/// A number in the environment.
fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} takes a whole number, not `{text}`")))
}
