//! The gate against its oracle: thousands of random runs, and every run the fuzzer has kept.

#![expect(clippy::arithmetic_side_effects, clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "model/gate.rs"]
mod model;

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any, proptest};

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    /// A gate does what its oracle does, step by step, whatever the steps.
    #[test]
    fn gate_follows_its_oracle(bytes in vec(any::<u8>(), 0..400)) {
        model::drive(&bytes);
    }
}

/// What the fuzzer once found worth keeping stays right.
#[test]
fn corpus_replays() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/gate");
    for entry in corpus.read_dir().into_iter().flatten() {
        model::drive(&std::fs::read(entry.unwrap().path()).unwrap());
    }
}
