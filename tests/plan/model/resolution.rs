//! A resolution held against its oracle: every number, every part, every word about who decided; or, where it is
//! refused, every problem.

use concurrency_governor::plan::{Decision, Explanation, Problem, Standing};
use concurrency_governor::{GateName, Overrides, Plan, Readings};

use oracle::{Fate, Verdict};

#[path = "plan_oracle.rs"]
pub(crate) mod oracle;

/// Resolves, and panics where the resolution and the oracle differ.
pub(crate) fn hold(plan: &Plan, readings: &Readings, overrides: &Overrides) {
    let verdicts = oracle::resolve(plan, readings, overrides);
    let expected = problems(plan, overrides, |gate| &verdicts[&gate]);
    match plan.resolve(readings, overrides) {
        Ok(resolution) => {
            assert_eq!(expected, Vec::<String>::new(), "these problems were not seen");
            assert_eq!(resolution.readings(), readings);
            assert_eq!(resolution.explanations().len(), plan.specs().len());
            for (spec, explanation) in plan.specs().iter().zip(resolution.explanations()) {
                assert_eq!(explanation.gate(), spec.name());
                explains(explanation, &verdicts[&spec.name()]);
            }
        }
        Err(error) => {
            let found: Vec<String> = error.problems().iter().map(summary).collect();
            assert_eq!(found, expected);
            assert!(!found.is_empty());
            let lines: Vec<String> = error.problems().iter().map(ToString::to_string).collect();
            assert_eq!(error.to_string(), lines.join("; "));
        }
    }
}

fn explains(explanation: &Explanation, verdict: &Verdict) {
    let derivation = explanation.derivation();
    assert_eq!(i128::from(explanation.limit().get()), verdict.limit);
    assert_eq!(i128::from(derivation.limit().get()), verdict.derived.limit);

    assert_eq!(derivation.parts().len(), verdict.derived.parts.len(), "{explanation:#}");
    for (part, expected) in derivation.parts().iter().zip(&verdict.derived.parts) {
        assert_eq!(part.text(), expected.text);
        assert_eq!(part.value(), expected.value.reading(), "{explanation:#}");
        assert_eq!(part.amount(), expected.amount.map(oracle::Number::reading), "{explanation:#}");
        assert_eq!(part.effect(), expected.effect, "{explanation:#}");
    }
    let binding = &derivation.parts()[verdict.derived.binding];
    assert!(std::ptr::eq(derivation.binding(), binding), "{explanation:#}");

    let (fate, first) = match explanation.decision() {
        Decision::Derived => (Fate::Derived, None),
        Decision::Overridden { origin, value, standing } => {
            let fate = match standing {
                Standing::Within => Fate::Within,
                Standing::AboveDerived => Fate::Trusted,
                Standing::Clamped => Fate::Clamped,
                other => panic!("no such standing: {other:?}"),
            };
            (fate, Some((origin.layer().to_owned(), *value)))
        }
    };
    assert_eq!(fate, verdict.fate, "{explanation}");
    let shadowed = explanation.shadowed().iter().map(|lost| (lost.origin.layer().to_owned(), lost.value));
    let settings: Vec<_> = first.into_iter().chain(shadowed).collect();
    assert_eq!(settings, verdict.settings);

    let line = explanation.to_string();
    assert!(!line.contains('\n'), "{line}");
    assert!(line.starts_with(&format!("{} = {}: ", explanation.gate(), verdict.limit)), "{line}");
    let whole = format!("{explanation:#}");
    assert!(whole.starts_with(&line), "{whole}");
    assert_eq!(whole.lines().count(), 1 + derivation.parts().len(), "{whole}");
    assert_eq!(whole.matches("<- decides").count(), 1, "{whole}");
}

/// The problems that a resolution must list: unknown gates by layer, then rejected settings in the order of the plan.
fn problems<'v>(
    plan: &Plan,
    overrides: &Overrides,
    verdict: impl Fn(GateName) -> &'v Verdict,
) -> Vec<String> {
    let declared = |gate: GateName| plan.specs().iter().any(|spec| spec.name() == gate);
    let mut problems = Vec::new();
    for layer in overrides.layers() {
        let unknown = layer.settings().filter(|(gate, _)| !declared(*gate));
        problems.extend(unknown.map(|(gate, _)| format!("{} sets unknown {gate}", layer.name())));
    }
    for spec in plan.specs() {
        let Verdict { fate, settings, derived, .. } = verdict(spec.name());
        if *fate == Fate::Rejected {
            let (layer, value) = &settings[0];
            problems.push(format!("{layer} sets {} to {value} above {}", spec.name(), derived.limit));
        }
    }
    problems
}

fn summary(problem: &Problem) -> String {
    assert!(!problem.to_string().contains('\n'));
    match problem {
        Problem::UnknownOverride { gate, origin, .. } => format!("{} sets unknown {gate}", origin.layer()),
        Problem::Rejected { gate, origin, value, derived } => {
            format!("{} sets {gate} to {value} above {derived}", origin.layer())
        }
        other => panic!("a resolution has no such problem: {other}"),
    }
}
