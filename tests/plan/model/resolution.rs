//! Checks a resolution against the oracle: each number, each part and each decision, or each problem if it is rejected.

use concurrency_governor::plan::{Decision, Explanation, Problem, Standing};
use concurrency_governor::{GateName, Overrides, Plan, Readings};

use super::oracle::{self, ExpectedLimit, Treatment};

/// Resolves a plan, and panics if the result differs from that of the oracle.
pub(crate) fn check(plan: &Plan, readings: &Readings, overrides: &Overrides) {
    let expected = oracle::resolve(plan, readings, overrides);
    let expected_problems = problems(plan, overrides, |gate| &expected[&gate]);
    match plan.resolve(readings, overrides) {
        Ok(resolution) => {
            assert_eq!(
                expected_problems,
                Vec::<String>::new(),
                "the oracle expects these problems, but the resolution reports none"
            );
            assert_eq!(resolution.readings(), readings);
            assert_eq!(resolution.explanations().len(), plan.specs().len());
            for (spec, explanation) in plan.specs().iter().zip(resolution.explanations()) {
                assert_eq!(explanation.gate(), spec.name());
                check_explanation(explanation, &expected[&spec.name()]);
                check_place(plan, explanation, |gate| expected[&gate].limit);
            }
        }
        Err(error) => {
            let found: Vec<String> = error.problems().iter().map(summary).collect();
            assert_eq!(found, expected_problems);
            assert!(!found.is_empty());
            let lines: Vec<String> = error.problems().iter().map(ToString::to_string).collect();
            assert_eq!(error.to_string(), lines.join("; "));
        }
    }
}

/// Checks the numbers, the parts, the decision and the texts of an explanation.
fn check_explanation(explanation: &Explanation, expected: &ExpectedLimit) {
    let derivation = explanation.derivation();
    assert_eq!(i128::from(explanation.limit().get()), expected.limit);
    assert_eq!(i128::from(derivation.limit().get()), expected.derived.limit);

    assert_eq!(derivation.parts().len(), expected.derived.parts.len(), "{explanation:#}");
    for (part, expected_part) in derivation.parts().iter().zip(&expected.derived.parts) {
        assert_eq!(part.text(), expected_part.text);
        assert_eq!(part.value(), expected_part.value.reading(), "{explanation:#}");
        assert_eq!(part.amount(), expected_part.amount.map(oracle::Number::reading), "{explanation:#}");
        assert_eq!(part.effect(), expected_part.effect, "{explanation:#}");
    }
    let binding = &derivation.parts()[expected.derived.binding];
    assert!(std::ptr::eq(derivation.binding(), binding), "{explanation:#}");

    let (treatment, first) = match explanation.decision() {
        Decision::Derived => (Treatment::Derived, None),
        Decision::Overridden { origin, value, standing } => {
            let treatment = match standing {
                Standing::Within => Treatment::Within,
                Standing::AboveDerived => Treatment::Trusted,
                Standing::Clamped => Treatment::Clamped,
                other => panic!("unexpected standing: {other:?}"),
            };
            (treatment, Some((origin.layer().to_owned(), *value)))
        }
    };
    assert_eq!(treatment, expected.treatment, "{explanation}");
    let shadowed =
        explanation.shadowed().iter().map(|setting| (setting.origin.layer().to_owned(), setting.value));
    let settings: Vec<_> = first.into_iter().chain(shadowed).collect();
    assert_eq!(settings, expected.settings);

    let line = explanation.to_string();
    assert!(!line.contains('\n'), "{line}");
    assert!(line.starts_with(&format!("{} = {}: ", explanation.path(), expected.limit)), "{line}");
    let full = format!("{explanation:#}");
    assert!(full.starts_with(&line), "{full}");
    let feedback = usize::from(explanation.feedback().is_some());
    assert_eq!(full.lines().count(), 1 + derivation.parts().len() + feedback, "{full}");
    assert_eq!(i128::from(derivation.ceiling().get()), expected.granted, "{full}");
    let mark = if full.contains(": set to ") { "<- would decide" } else { "<- decides" };
    assert_eq!(full.matches("<- ").count(), 1, "{full}");
    assert!(full.contains(mark), "{full}");
}

/// Checks the path, and the gate above that binds. `limit_of` returns the expected limit of a gate.
fn check_place(plan: &Plan, explanation: &Explanation, limit_of: impl Fn(GateName) -> i128) {
    let parent_of = |gate: GateName| plan.specs().iter().find(|spec| spec.name() == gate)?.parent();
    let mut path = explanation.gate().to_string();
    let mut binding: Option<GateName> = None;
    let mut above = parent_of(explanation.gate());
    while let Some(gate) = above {
        path = format!("{gate}/{path}");
        // The nearest of several gates with the lowest limit.
        if limit_of(gate) < limit_of(binding.unwrap_or(explanation.gate())) {
            binding = Some(gate);
        }
        above = parent_of(gate);
    }
    assert_eq!(explanation.path().to_string(), path);
    assert_eq!(explanation.bound_by().map(|above| above.gate), binding, "{explanation}");
}

/// Returns the expected problems: unknown gates by layer, then rejected settings in the order of the plan.
fn problems<'e>(
    plan: &Plan,
    overrides: &Overrides,
    expected: impl Fn(GateName) -> &'e ExpectedLimit,
) -> Vec<String> {
    let declared = |gate: GateName| plan.specs().iter().any(|spec| spec.name() == gate);
    let mut problems = Vec::new();
    for layer in overrides.layers() {
        let unknown = layer.settings().filter(|(gate, _)| !declared(*gate));
        problems.extend(unknown.map(|(gate, _)| format!("{} sets unknown {gate}", layer.name())));
    }
    for spec in plan.specs() {
        let ExpectedLimit { treatment, settings, granted, .. } = expected(spec.name());
        if *treatment == Treatment::Rejected {
            let (layer, value) = &settings[0];
            problems.push(format!("{layer} sets {} to {value} above {granted}", spec.name()));
        }
    }
    problems
}

/// Returns a problem in the form of [`problems`].
fn summary(problem: &Problem) -> String {
    assert!(!problem.to_string().contains('\n'));
    match problem {
        Problem::UnknownOverride { gate, origin, .. } => format!("{} sets unknown {gate}", origin.layer()),
        Problem::Rejected { gate, origin, value, derived } => {
            format!("{} sets {gate} to {value} above {derived}", origin.layer())
        }
        other => panic!("unexpected problem of a resolution: {other}"),
    }
}
