//! The gate and trees of gates against a model: random steps, the corpus of the fuzzer, and a simulated day.
//!
//! Each random run has a number, and its bytes follow from that number alone. A failure prints the number and
//! the command that repeats the run. `cargo test` checks some steps; `.ci/run model` checks 2 * 10^7, or the number that it is given.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

mod model;
mod runner;
mod soak;
mod tree;

use std::collections::HashSet;
use std::env;
use std::fs;
use std::path::Path;

use model::Event;
use runner::{RandomModel, generate_bytes, minimize};

/// A gate gives the results of its oracle after every step of every random run, and the runs reach every
/// event.
///
/// `GATE_MODEL_STEPS` sets the number of steps and `GATE_MODEL_FIRST` the first run. `GATE_MODEL_RUN` repeats
/// one run.
#[test]
fn random_steps_follow_the_oracle() {
    let model = RandomModel {
        variables: "GATE_MODEL",
        test: "random_steps_follow_the_oracle",
        default_steps: 400_000,
        rarest: 20_000,
        corpus: Some("fuzz/corpus/gate"),
        run: |bytes, _| model::run(bytes),
    };
    model.check();
}

/// A tree of gates gives the results of its oracle after every step of every random run, the grants obey the promises of fair sharing, and
/// the runs reach every event.
///
/// `TREE_MODEL_STEPS` sets the number of steps and `TREE_MODEL_FIRST` the first run. `TREE_MODEL_RUN` repeats one run. If the
/// run fails, its bytes are reduced while they still fail, and the steps of the reduced run are printed.
#[test]
fn random_steps_on_trees_follow_the_oracle() {
    let model = RandomModel {
        variables: "TREE_MODEL",
        test: "random_steps_on_trees_follow_the_oracle",
        default_steps: 400_000,
        rarest: 1_000_000,
        corpus: None,
        run: tree::run,
    };
    model.check();
}

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
