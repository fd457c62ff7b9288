//! The pure core: formulas, overrides, plans and their resolutions, the Astrid preset, and the mocked probe. Each documented
//! promise by example, each error by its exact text, and the laws by property tests.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that panics has failed, and a child process prints for its parent"
)]

mod model;
mod support;

mod declaration;
mod explanation;
mod formula;
mod formula_errors;
mod hierarchy;
#[cfg(feature = "proptest")]
mod laws;
mod nested;
mod overrides;
mod problems;
mod resolution;
mod values;

mod astrid;
mod mock_probe;

use std::path::Path;

/// The models accept each input that fuzzing once found interesting.
#[test]
fn fuzz_corpora_pass() {
    for (corpus, check_bytes) in [
        ("formula", model::formula::check_bytes as fn(&[u8])),
        ("resolve", model::plan::check_bytes as fn(&[u8])),
    ] {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(corpus);
        for entry in corpus.read_dir().into_iter().flatten() {
            check_bytes(&std::fs::read(entry.unwrap().path()).unwrap());
        }
    }
}
