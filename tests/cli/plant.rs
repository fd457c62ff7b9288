//! `simulate --plant`: a rule on a server in simulated time, its report and files, and the replay of its decisions.

use std::fs;
use std::process::Command;

use concurrency_governor::testing::plant::STANDARD_PLANTS;

use crate::support::{TestDirectory, fail, program, succeed};

fn simulate(flags: &[&str]) -> Command {
    let mut command = program();
    command.arg("simulate").args(flags);
    command
}

/// The report shows the limit beside the optimum, and the last decisions. The same seed gives the same report.
#[test]
fn a_rule_is_shown_beside_the_optimum() {
    let flags = ["--plant", "overload", "--adaptive", "latency, start 8", "--for", "20s"];
    let printed = succeed(&mut simulate(&flags));
    assert!(printed.contains("plant     workers 10, service exp 10ms, rate 2000/s\n"), "{printed}");
    assert!(printed.contains("rule      latency, start 8, floor 4\n"), "{printed}");
    let rows: Vec<&str> = printed.lines().filter(|line| line.contains("1000/s")).collect();
    assert_eq!(rows.len(), 10, "{printed}");
    let cells: Vec<&str> = rows[9].split_whitespace().collect();
    assert_eq!((cells[..2].join(" "), cells[3]), ("20.0 s".to_owned(), "10"), "{printed}");
    let limit: u32 = cells[2].parse().unwrap();
    assert!((8..=20).contains(&limit), "{printed}");
    let last = printed.trim_end().lines().next_back().unwrap();
    let second: f64 = last.split_whitespace().next().unwrap().parse().unwrap();
    assert!(
        (18.5..=20.0).contains(&second) && last.contains(" -> "),
        "the last decision is shown: {printed}"
    );
    assert_eq!(succeed(&mut simulate(&flags)), printed);
    assert_ne!(succeed(simulate(&flags).args(["--seed", "2"])), printed);
    for rule in ["arc", "aimd 50ms"] {
        let printed = succeed(&mut simulate(&["--plant", "outage", "--adaptive", rule, "--for", "5s"]));
        assert!(printed.contains(&format!("rule      {rule}, start 16, floor 4\n")), "{printed}");
    }
}

/// The decisions of a run are written, and each is the same again. A line that was changed is not.
#[test]
fn decisions_replay() {
    let directory = TestDirectory::new();
    let history = directory.join("history.txt");
    for rule in ["latency", "arc", "aimd 50ms"] {
        succeed(
            simulate(&["--plant", "overload", "--adaptive", rule, "--for", "30s", "--history"]).arg(&history),
        );
        let printed = succeed(simulate(&["--replay"]).arg(&history));
        assert!(printed.ends_with(" decisions, each reproduced\n"), "{printed}");
        let lines = fs::read_to_string(&history).unwrap().lines().count();
        assert_eq!(printed.lines().count(), lines + 1);
    }
    let recorded = fs::read_to_string(&history).unwrap();
    let at = recorded.find(" after=").unwrap() + " after=".len();
    fs::write(&history, format!("{}9{}", &recorded[..at], &recorded[at..])).unwrap();
    let error = fail(simulate(&["--replay"]).arg(&history));
    assert!(error.contains("is not reproduced: recorded "), "{error}");
    fs::write(&history, recorded.replace("rule=aimd", "rule=ours")).unwrap();
    let error = fail(simulate(&["--replay"]).arg(&history));
    assert!(error.contains("the rule `ours` is not built in (allowed: latency, arc, aimd)"), "{error}");
    fs::write(&history, "no decision").unwrap();
    let error = fail(simulate(&["--replay"]).arg(&history));
    assert!(error.contains("history.txt: not a recorded decision: at is \"no\" (allowed: "), "{error}");
}

/// The charts are valid images, and the page has them, the setup and the decisions.
#[test]
fn files_have_charts_and_decisions() {
    let directory = TestDirectory::new();
    let (svg, html) = (directory.join("run.svg"), directory.join("run.html"));
    let flags = ["--plant", "crowd", "--for", "5s", "--svg"];
    succeed(simulate(&flags).arg(&svg).arg("--html").arg(&html));
    let chart = fs::read_to_string(&svg).unwrap();
    let image = roxmltree::Document::parse(&chart).unwrap();
    let texts: Vec<&str> = image.descendants().filter_map(|node| node.text()).map(str::trim).collect();
    for label in ["limit", "optimum", "in use", "p99", "goodput", "rejected", "capacity", "requests per s"] {
        assert!(texts.contains(&label), "{label}: {texts:?}");
    }
    let page = fs::read_to_string(&html).unwrap();
    assert!(page.contains("workers 90, service exp 10ms, rate 18000/s, clients 9"), "{page}");
    assert!(page.contains("<summary>Decisions</summary><pre>     1.0 s  16 -&gt; "), "{page}");
    assert_eq!(page.matches("<svg ").count(), 2);
}

/// The help names each standard plant, and wrong flags are reported.
#[test]
fn wrong_flags_are_reported() {
    let help = succeed(&mut simulate(&["--help"]));
    for (name, _) in STANDARD_PLANTS {
        assert!(help.contains(name), "{name}");
    }
    for (flags, expected) in [
        (&["--plant", "workers 0"][..], "\"workers 0\" is not an item of a plant"),
        (&["--plant", "overload", "--adaptive", "io=arc"], "`--plant` needs one `--adaptive` with a rule"),
        (&["--plant", "overload", "--adaptive", "off"], "`--plant` needs one `--adaptive` with a rule"),
        (
            &["--plant", "overload", "--adaptive", "custom:ours"],
            "`--plant` needs one `--adaptive` with a rule",
        ),
        (
            &["--plant", "overload", "--for", "24h"],
            "the rate of `--plant` and `--for 1day` give too many requests",
        ),
        (&["--plant", "overload", "--preset", "astrid"], "cannot be used together with"),
        (&["--plant", "overload", "--rate", "9/s"], "cannot be used together with"),
        #[cfg(target_os = "linux")]
        (&["--plant", "overload", "--root", "/"], "cannot be used together with"),
        (&["--replay", "a", "--rate", "9/s"], "cannot be used together with"),
        (&["--replay", "a", "--seed", "9"], "cannot be used together with"),
        (&["--replay", "a", "--svg", "b"], "cannot be used together with"),
        (&["--replay", "a", "--adaptive", "arc"], "cannot be used together with"),
        (
            &["--plant", "overload", "--svg", "a", "--html", "a"],
            "two of `--svg`, `--html` and `--history` name a",
        ),
        (&["--adaptive", "arc"], "`--adaptive` has no gate (allowed: GATE=RULE"),
        (&["--history", "a"], "--plant"),
        (&["--replay", "/nowhere"], "cannot read /nowhere"),
    ] {
        let error = fail(&mut simulate(flags));
        assert!(error.contains(expected), "{flags:?}: {error}");
    }
}
