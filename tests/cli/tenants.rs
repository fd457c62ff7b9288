//! `simulate --tenants`: what each tenant gets, and gates within gates under load.

use std::fs;
use std::process::Command;

use crate::support::{TestDirectory, fail, program, succeed};

/// A gate with tenants, and a gate within it.
const PLAN: &str = r#"
[gates.io]
formula = "cpu * 4"
keys = { max = 100, cap = "3/4", queue = 50 }

[gates.files]
formula = "2"
within = "io"
"#;

/// A tenant with far more requests than the gate can serve hardly delays another one. The rows of the tenants add up to the row of
/// the gate, and no tenant exceeds its cap.
#[test]
fn a_crowd_hardly_delays_another_tenant() {
    let printed = simulate(PLAN, &["--tenants", "a=900/s,b=10/s"]);
    let [io, a, b] = ["io", "a", "b"].map(|name| Row::find(&printed, name));
    assert_eq!((&*io.limits, &*a.limits, &*b.limits), ("8", "6", "6"), "{printed}");
    assert!((53_000..55_000).contains(&a.arrived) && (540..660).contains(&b.arrived), "{printed}");
    for row in [&io, &a, &b] {
        assert_eq!(row.arrived, row.done + row.rejected + row.pending, "{row:?}");
    }
    assert_eq!(io.arrived, a.arrived + b.arrived, "{printed}");
    assert_eq!(io.rejected, a.rejected + b.rejected, "{printed}");
    assert!(a.rejected > 10_000 && b.rejected == 0, "{printed}");
    assert!(a.peak_use == 6 && a.mean_in_use > 5.9, "the cap is all that a gets: {printed}");
    assert_eq!(a.peak_queue, 50, "the bound of the queue of a key: {printed}");
    assert!(a.p99 > 50.0 && b.p99 < 5.0, "the requests of a wait only for each other: {printed}");
    assert!(printed.contains("\nload      tenants a=900/s, b=10/s for 1m\n"), "{printed}");
    assert!(printed.contains(&format!("\ntenant a rejected {}: queue full ", a.rejected)), "{printed}");
}

/// Tenants share by max-min fairness: the one that wants less than half gets all that it wants, and the other gets the rest.
#[test]
fn tenants_share_by_max_min_fairness() {
    let plan = PLAN.replace("cap = \"3/4\", ", "");
    // Eight permits of 10 ms serve 800 requests a second, and b wants 300 of them.
    let printed = simulate(&plan, &["--tenants", "a=2000/s", "--tenants", "b=300/s"]);
    let [a, b] = ["a", "b"].map(|name| Row::find(&printed, name));
    assert!((4.9..5.1).contains(&a.mean_in_use), "{printed}");
    assert!((2.9..3.1).contains(&b.mean_in_use), "{printed}");
    assert!(b.rejected < b.arrived / 100, "{printed}");
}

/// The same seed gives the same report, in any process. A change of a limit changes the caps.
#[test]
fn same_seed_gives_the_same_report() {
    let flags = ["--tenants", "a=900/s,b=10/s,c=300/s", "--for", "10s", "--change", "cpu=1@5s"];
    let printed = simulate(PLAN, &flags);
    assert_eq!(printed, simulate(PLAN, &flags));
    assert_ne!(printed, simulate(PLAN, &[&flags[..], &["--seed", "2"]].concat()));
    assert_eq!(Row::find(&printed, "a").limits, "6>3", "{printed}");
    assert_eq!(Row::find(&printed, "io").limits, "8>4", "{printed}");
}

/// The HTML page has the table of the tenants, too. A tenant's name stays text.
#[test]
fn html_page_lists_the_tenants() {
    let directory = TestDirectory::new();
    let page = directory.join("r.html");
    let flags = ["--tenants", "<b>=20/s,other tenant=1/s", "--for", "1s", "--html", page.to_str().unwrap()];
    let printed = simulate(PLAN, &flags);
    assert!(printed.contains("\nother tenant  "), "{printed}");
    let html = fs::read_to_string(&page).unwrap();
    assert!(html.contains("<th scope=\"col\">mean in use</th>"), "{html}");
    assert!(html.contains("<th scope=\"row\">other tenant</th>"), "{html}");
    assert!(html.contains("<th scope=\"row\">&lt;b&gt;</th>") && !html.contains("<b>"), "{html}");
}

/// The permits of a gate within another one are in use at both, and are requests of the inner one only.
#[test]
fn permits_of_a_child_are_in_use_at_its_parent() {
    let printed = simulate(PLAN, &["--mix", "files=1", "--rate", "900/s"]);
    let [io, files] = ["io", "files"].map(|name| Row::find(&printed, name));
    assert_eq!((io.arrived, io.peak_use, files.peak_use), (0, 2, 2), "{printed}");
    assert!((24.0..=25.0).contains(&io.mean_in_use), "in percent of 8: {printed}");
    assert!(files.mean_in_use > 99.0, "in percent of 2: {printed}");
}

/// Wrong tenants, and gates that have no keys for them, are reported on one line before the simulation starts.
#[test]
fn wrong_tenants_are_reported_on_one_line() {
    let two = format!("{PLAN}[gates.cache]\nformula = \"4\"\nkeys = {{ max = 10 }}\n");
    let many = (0..101).map(|number| format!("t{number}=1/s")).collect::<Vec<_>>().join(",");
    for (plan, flags, part) in [
        (
            PLAN,
            &["--tenants", "a"][..],
            "`--tenants a`: the value has no `=` (allowed: NAME=N/s, such as a=900/s,b=10/s)",
        ),
        (PLAN, &["--tenants", "a=fast"], "`--tenants a=fast`: not a rate"),
        (PLAN, &["--tenants", "a=1/s,=2/s"], "the name of a tenant is wrong (allowed: 1 to 40 characters"),
        (
            PLAN,
            &["--tenants", "a=1/s,a=2/s"],
            "`--tenants` names `a` twice (allowed: once; remove one of them)",
        ),
        (PLAN, &["--tenants", "a=1/s", "--rate", "2/s"], "cannot be used together with `--rate"),
        (PLAN, &["--tenants", &many], "`--tenants` gives 101 tenants (allowed: up to 100)"),
        (
            PLAN,
            &["--tenants", "a=1000000/s", "--for", "1h"],
            "`--tenants` of 1000000/s and `--for 1h` give too many",
        ),
        (
            PLAN,
            &["--tenants", "a=1/s", "--mix", "files=1"],
            "`--mix files`: the gate has no keys (allowed in `--mix`: io)",
        ),
        (
            PLAN,
            &["--tenants", "a=1/s", "--mix", "files=1", "--mix", "io=1"],
            "`--tenants` needs exactly one gate",
        ),
        (PLAN, &["--tenants", "a=1/s", "--mix", "io=0"], "every share of `--mix` is 0"),
        (&two, &["--tenants", "a=1/s"], "with one of the gates that have keys: io, cache)"),
        (
            "preset = \"astrid\"\n",
            &["--tenants", "a=1/s"],
            "`--tenants`: no gate of the plan has keys (allowed: ",
        ),
    ] {
        let directory = plan_file(plan);
        let line = fail(command(&directory).args(flags));
        assert!(line.contains(part), "{flags:?}: {line}");
    }
    let directory = plan_file(&two);
    let printed =
        succeed(command(&directory).args(["--tenants", "a=5/s", "--mix", "cache=1", "--for", "1s"]));
    assert_eq!(Row::find(&printed, "a").limits, "4", "{printed}");
}

/// Simulates a plan on two cores, and returns the report.
fn simulate(plan: &str, flags: &[&str]) -> String {
    let directory = plan_file(plan);
    succeed(command(&directory).args(["--reading", "cpu=2"]).args(flags))
}

fn plan_file(plan: &str) -> TestDirectory {
    let directory = TestDirectory::new();
    directory.write("plan.toml", plan);
    directory
}

fn command(directory: &TestDirectory) -> Command {
    let mut command = program();
    command.current_dir(directory.path()).args(["simulate", "--plan", "plan.toml"]);
    command
}

/// A row of one of the two tables. Waits are in milliseconds. The mean in use of a gate is in percent of its limit.
#[derive(Debug)]
struct Row {
    limits: String,
    arrived: u64,
    done: u64,
    rejected: u64,
    pending: u64,
    mean_in_use: f64,
    peak_use: u64,
    peak_queue: u64,
    p99: f64,
}

impl Row {
    fn find(printed: &str, name: &str) -> Self {
        let mut lines = printed.lines().skip_while(|line| !line.is_empty());
        let line = lines.find(|line| line.split_whitespace().next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("no row of {name}: {printed}"));
        let line = line.replace(" > ", ">").replace(" ms", "").replace(" %", "");
        let cells: Vec<&str> = line.split_whitespace().skip(1).collect();
        let whole = |column: usize| cells[column].parse::<u64>().unwrap();
        Self {
            limits: cells[0].to_owned(),
            arrived: whole(1),
            done: whole(2),
            rejected: whole(3),
            pending: whole(4),
            mean_in_use: cells[5].parse().unwrap(),
            peak_use: whole(6),
            peak_queue: whole(7),
            p99: cells[9].parse().unwrap_or(0.0),
        }
    }
}
