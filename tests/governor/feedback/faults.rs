//! Rules of your own, and declarations that are wrong.

use std::sync::atomic::{AtomicBool, Ordering};

use concurrency_governor::feedback::{Band, Observed, Opinion, Reason, Rule, WindowTerms};
use concurrency_governor::plan::RuleName;
use concurrency_governor::{Limit, Plan};

use super::*;

const OURS: RuleName = RuleName::new("ours");
const CUSTOM: GateSpec =
    GateSpec::new("upstream", Formula::fixed(64)).adaptive(Adaptive::custom(OURS).start(8));

/// Adds three permits in each window, or panics.
#[derive(Clone, Debug, Default)]
struct AddThree {
    decide_panics: Arc<AtomicBool>,
    terms_panic: Arc<AtomicBool>,
}

impl Rule for AddThree {
    fn name(&self) -> &'static str {
        "ours"
    }

    fn terms(&self) -> WindowTerms {
        assert!(!self.terms_panic.load(Ordering::SeqCst), "the rule is broken");
        WindowTerms { min_length: Duration::from_millis(100), min_samples: 10 }
    }

    fn decide(&mut self, _: &Observed, limit: Limit, _: Band) -> Opinion {
        assert!(!self.decide_panics.load(Ordering::SeqCst), "the rule is broken");
        Opinion::new(f64::from(limit.get()) + 3.0, Reason::Grow)
    }
}

/// A rule of your own decides. While it panics, its last limit stays in force, the reading is stale and the governor works on.
#[tokio::test(start_paused = true)]
async fn a_rule_that_panics_keeps_its_last_limit() {
    for panics_in_terms in [false, true] {
        let (rule, log) = (AddThree::default(), EventLog::default());
        let panics = Arc::clone(if panics_in_terms { &rule.terms_panic } else { &rule.decide_panics });
        let builder = Governor::builder().gate(CUSTOM).gate(IO).probe(cpu(4)).observer(log.observer());
        let governor = builder.rule(OURS, move || rule.clone()).build().await.unwrap();
        let _refresh = governor.spawn_refresh(POLICY);
        let gate = governor.gate(CUSTOM).unwrap();
        call(&gate, 20, 5, Outcome::Success, 0.22).await;
        let limit = limit_of(&governor, CUSTOM);
        assert!(limit > 8 && (limit - 8) % 3 == 0, "{limit}");
        log.take();

        panics.store(true, Ordering::SeqCst);
        call(&gate, 40, 5, Outcome::Success, 1.0).await;
        assert_eq!(limit_of(&governor, CUSTOM), limit);
        let events = log.take();
        let fault = "feedback.upstream: cannot measure feedback.upstream: the rule `custom:ours` panicked: the rule is broken";
        assert_eq!(events, [format!("{fault}; keeping {limit}")]);

        panics.store(false, Ordering::SeqCst);
        call(&gate, 40, 5, Outcome::Success, 0.4).await;
        assert!(limit_of(&governor, CUSTOM) > limit);
        assert!(governor.status().probes.iter().all(|probe| !probe.stale));
    }
}

/// A governor without the rule is not built, and the error says what to do.
#[tokio::test]
async fn a_rule_that_is_not_added_is_a_problem() {
    let other = RuleName::new("other");
    let builder = Governor::builder().gate(CUSTOM).rule(other, AddThree::default);
    assert_eq!(
        builder.build().await.unwrap_err().to_string(),
        "gate `upstream` follows the rule `ours`, which is not added (there is other): add it with `GovernorBuilder::rule`"
    );
}

/// An unknown rule does not hide that the sign of overload has no probe.
#[tokio::test]
async fn each_problem_of_a_declaration_is_reported() {
    let adaptive = Adaptive::custom(OURS).overload_at(Resource::CPU, 20);
    let spec = GateSpec::new("upstream", Formula::fixed(64)).adaptive(adaptive);
    let error = Governor::builder().gate(spec).build().await.unwrap_err();
    let lines: Vec<String> = error.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "gate `upstream` follows the rule `ours`, which is not added (there is none): add it with `GovernorBuilder::rule`",
            "gate `upstream` reads `cpu`, which no probe measures (there are probes for none)",
        ]
    );
}

/// The name of an adaptive gate must fit into the name of its feedback.
#[tokio::test]
async fn a_name_that_is_too_long_is_a_problem() {
    let declare = |bytes: usize| {
        let name: GateName = "a".repeat(bytes).parse().unwrap();
        GateSpec::named(name, Formula::fixed(8)).adaptive(Adaptive::latency())
    };
    let governor = Governor::builder().gate(declare(22)).build().await.unwrap();
    assert_eq!(governor.feedbacks().count(), 1);
    let error = Plan::new([declare(23)]).unwrap_err().to_string();
    assert!(error.ends_with("whose name is too long (allowed: a gate name of at most 22 bytes)"), "{error}");
    assert!(Governor::builder().gate(declare(23)).build().await.is_err());
}

/// Each rule that is declared by name is in force.
#[tokio::test(start_paused = true)]
async fn each_rule_decides() {
    for (adaptive, name) in [
        (Adaptive::latency(), "latency"),
        (Adaptive::arc(), "arc"),
        (Adaptive::aimd(Duration::from_millis(50)), "aimd"),
    ] {
        let spec = GateSpec::new("upstream", Formula::fixed(64)).adaptive(adaptive);
        let governor = Governor::builder().gate(spec).build().await.unwrap();
        let _refresh = governor.spawn_refresh(POLICY);
        call(&governor.gate(spec).unwrap(), 100, 20, Outcome::Success, 2.5).await;
        let feedback = feedback_of(&governor, spec);
        assert!(limit_of(&governor, spec) > 16, "{name}: {feedback:?}");
        assert!(feedback.history.iter().all(|decision| decision.rule() == name));
        assert_eq!(feedback.rule.to_string(), name);
        let decisions: u64 = feedback.decisions.iter().map(|(_, count)| count).sum();
        assert!(decisions >= 2, "{feedback:?}");
    }
}
