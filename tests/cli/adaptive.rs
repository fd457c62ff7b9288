//! Limits that follow outcomes in the program: what `explain` prints, and the flag `--adaptive`.

use serde_json::json;

use crate::support::{TestDirectory, fail, program, succeed, succeed_with_json};

const PLAN: &str = r#"
[gates.upstream]
formula = "64"
adaptive = { rule = "latency", start = 12 }
"#;

fn explain(directory: &TestDirectory, flags: &[&str]) -> std::process::Command {
    let mut command = program();
    command.current_dir(directory.path()).args(["explain", "--plan", "plan.toml"]).args(flags);
    command
}

fn plan() -> TestDirectory {
    let directory = TestDirectory::new();
    directory.write("plan.toml", PLAN);
    directory
}

/// The report has the band and the rule, the last step of the formula, and a chosen limit that was given.
#[test]
fn explain_shows_the_band() {
    let directory = plan();
    let printed = succeed(&mut explain(&directory, &[]));
    assert!(printed.contains("upstream     12       12  `at most feedback.upstream or 12`"), "{printed}");
    assert!(printed.contains("rule latency, from 4 to 64: starts at 12"), "{printed}");

    let report =
        succeed_with_json(&mut explain(&directory, &["--json", "--reading", "feedback.upstream=40"]));
    let gate = &report["gates"]["upstream"];
    assert_eq!(gate["limit"], 40);
    let expected = json!({
        "rule": "latency", "start": 12, "floor": 4, "ceiling": 64, "chosen": 40, "decision": "40",
    });
    assert_eq!(gate["feedback"], expected);
}

/// A setting is shown beside the limit with which it is compared: that before feedback.
#[test]
fn a_setting_is_shown_beside_the_limit_before_feedback() {
    let directory = plan();
    let printed = succeed(&mut explain(&directory, &["--set", "upstream=100"]));
    assert!(
        printed.contains("upstream    100       64  set to 100 by --set (above the derived limit)"),
        "{printed}"
    );
    assert!(printed.contains("--set sets 100, above the derived limit 64"), "{printed}");
}

/// The flag replaces the declaration of the plan, or removes it.
#[test]
fn a_flag_replaces_the_declaration() {
    let directory = plan();
    for (rule, expected) in [
        ("aimd 200ms, start 8", "rule aimd, from 4 to 64: starts at 8"),
        ("arc, floor 2", "rule arc, from 2 to 64: starts at 16"),
        ("latency, start 100", "rule latency, from 4 to 64: starts at 64"),
        ("latency, start 2", "rule latency, from 4 to 64: starts at 4"),
    ] {
        let printed = succeed(&mut explain(&directory, &["--adaptive", &format!("upstream={rule}")]));
        assert!(printed.contains(expected), "{printed}");
    }
    let printed = succeed(&mut explain(&directory, &["--adaptive", "upstream=off"]));
    assert!(printed.contains("upstream     64       64  `64`"), "{printed}");
    for (flags, expected) in [
        (vec!["upstream"], "\"upstream\" is not a rule for an adaptive limit"),
        (vec!["arc"], "`--adaptive` has no gate (allowed: GATE=RULE"),
        (vec!["upstream=fast"], "\"fast\" is not a rule for an adaptive limit"),
        (vec!["gone=arc"], "the plan declares no gate `gone` (it declares upstream)"),
        (vec!["upstream=arc", "upstream=off"], "upstream"),
    ] {
        let flags: Vec<&str> = flags.iter().flat_map(|flag| ["--adaptive", flag]).collect();
        let error = fail(&mut explain(&directory, &flags));
        assert!(error.contains(expected), "{flags:?}: {error}");
    }
}
