//! Runs a rule on a plant.

use std::time::Duration;

use concurrency_governor::feedback::{Aimd, Arc, Band, Feedback, Latency, Rule};
use concurrency_governor::plan::AdaptiveRule;
use concurrency_governor::testing::plant::Plant;
use concurrency_governor::{Adaptive, Limit};

use super::render::PlantRun;

/// Runs a plant whose clients have this rule. Returns `None` for a rule that the program does not have.
pub(in crate::simulate) fn run_plant(
    plant: &Plant,
    adaptive: Adaptive,
    length: Duration,
    seed: u64,
) -> Option<PlantRun> {
    make_rule(adaptive.rule())?;
    // No host limits the plant, so that the rule alone decides.
    let band = Band::new(adaptive.floor_limit(), Limit::MAX);
    let start = || {
        let rule = make_rule(adaptive.rule()).unwrap_or_else(|| Box::new(Latency::new()));
        Feedback::new(rule, adaptive.start_limit(), band, Duration::ZERO)
    };
    let (report, feedbacks) = plant.run(start, length, seed);
    let history = feedbacks.first().map(|feedback| feedback.history().clone()).unwrap_or_default();
    Some(PlantRun { plant: plant.clone(), adaptive, length, seed, report, history })
}

fn make_rule(rule: AdaptiveRule) -> Option<Box<dyn Rule>> {
    match rule {
        AdaptiveRule::Latency => Some(Box::new(Latency::new())),
        AdaptiveRule::Arc => Some(Box::new(Arc::new())),
        AdaptiveRule::Aimd { max_healthy } => Some(Box::new(Aimd::new(max_healthy))),
        _ => None,
    }
}
