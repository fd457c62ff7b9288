//! `simulate --shed`: the same overload with three queue orders, its tables and its charts, and the input that it rejects.

use std::fs;
use std::process::Command;

use crate::support::{TestDirectory, fail, program, succeed};

/// A retry storm with a queue that is oldest first outlives its cause: no client gets an answer any more. With shedding, the server works
/// at its rate in the burst, and nearly all clients get an answer. With the newest request first, the server serves as many in the
/// burst, but its rejections have no retry time.
#[test]
fn shedding_ends_a_retry_storm() {
    let directory = TestDirectory::new();
    for seed in ["1", "2", "3"] {
        let printed = succeed(&mut storm(&directory, &["--shed", "100ms", "--seed", seed]));
        let [oldest, newest, shedding] = clients(&printed);
        assert!(oldest.answered < 20.0 && oldest.of_capacity < 20, "{printed}");
        assert!(oldest.wait_p99 > 10_000 && oldest.peak_queue == 256, "{printed}");
        assert!(newest.of_capacity >= 95 && newest.answered < 90.0, "{printed}");
        assert!(newest.peak_queue == 256 && newest.wait_p99 > 10_000, "stale requests stay: {printed}");
        assert!(shedding.answered >= 99.0 && shedding.of_capacity >= 95, "{printed}");
        assert!(shedding.wait_p99 < 400 && shedding.peak_queue < 30, "{printed}");

        let after_storm: Vec<Vec<&str>> = table(&printed, "time").into_iter().skip(6).collect();
        assert_eq!(after_storm.len(), 6, "{printed}");
        for row in &after_storm {
            let number = |column: usize| row[column].parse::<f64>().unwrap();
            assert!(number(2) < 0.5, "oldest first: {row:?}");
            assert!(number(4) > 0.7 * number(1) && number(7) < 5.0, "shedding: {row:?}");
        }
    }
}

/// If the server knows the deadlines, a queue that is oldest first recovers, but does useless work in the burst. Shedding then rejects
/// requests on arrival, too.
#[test]
fn known_deadlines_end_the_storm_late() {
    let directory = TestDirectory::new();
    let printed = succeed(&mut storm(&directory, &["--shed", "100ms", "--propagate-deadline"]));
    let [oldest, newest, shedding] = clients(&printed);
    assert!((30.0..80.0).contains(&oldest.answered) && oldest.of_capacity < 20, "{printed}");
    assert!(newest.of_capacity >= 95 && shedding.of_capacity >= 95 && shedding.answered >= 98.0, "{printed}");
    assert!(printed.contains("timeout 750ms (known to the server)"), "{printed}");
    let heading = printed.lines().filter(|line| line.starts_with("order ")).nth(1).unwrap();
    assert!(heading.contains("expired") && heading.contains("would expire"), "{heading}");
    let last = table(&printed, "time").pop().unwrap();
    assert!(last[2].parse::<f64>().unwrap() > 5.0, "oldest first recovers: {printed}");
}

/// If the clients ignore the retry time, shedding gives no more answers than the newest request first.
#[test]
fn ignored_hints_cost_answers() {
    let directory = TestDirectory::new();
    let printed = succeed(&mut storm(&directory, &["--shed", "100ms", "--ignore-retry-after"]));
    let [_, newest, shedding] = clients(&printed);
    assert!((shedding.answered - newest.answered).abs() < 5.0 && shedding.answered < 90.0, "{printed}");
    assert!(printed.contains("they ignore the retry time"), "{printed}");
}

/// Below the capacity, all orders serve the same requests: nothing is shed, and the server serves what arrives.
#[test]
fn orders_do_not_differ_without_overload() {
    let directory = TestDirectory::new();
    let flags = ["--rate", "10/s", "--service", "server=exp(100ms)", "--timeout", "10s", "--shed", "500ms"];
    let printed = succeed(&mut at_server(&directory, &flags));
    let [oldest, newest, shedding] = clients(&printed);
    for order in [&oldest, &newest, &shedding] {
        assert!(order.answered >= 99.5 && (45..=55).contains(&order.of_capacity), "{printed}");
    }
    let attempts = table(&printed, "order").split_off(3);
    assert!(attempts.iter().all(|row| row[1..] == attempts[0][1..]), "{attempts:?}");
    assert!(!printed.contains("queue full") && !printed.contains("in burst"), "{printed}");
}

/// The compared gate has the limit, the queue and the longest wait of the settings.
#[test]
fn settings_replace_the_bounds_of_the_plan() {
    let directory = TestDirectory::new();
    let plan = "[gates.server]\nformula = \"2\"\nqueue = 256\n[overrides]\n\
                server = { limit = 3, queue = 20, max_wait = \"500ms\" }\n";
    let plan = directory.write("settings.toml", plan);
    let flags = ["--rate", "40/s", "--service", "server=exp(100ms)", "--shed", "100ms", "--plan"];
    let printed = succeed(program().arg("simulate").args(flags).arg(plan));
    assert!(printed.contains("limit 3, queue 20, max_wait 500ms"), "{printed}");
    let [oldest, newest, _] = clients(&printed);
    assert!(oldest.peak_queue <= 20 && newest.peak_queue <= 20 && oldest.wait_p99 <= 500, "{printed}");
}

/// Each attempt is counted once: those that ended and those that are pending add up.
#[test]
fn every_attempt_is_counted() {
    let directory = TestDirectory::new();
    let flags = ["--shed", "100ms", "--propagate-deadline", "--for", "25s"];
    let printed = succeed(&mut storm(&directory, &flags));
    let attempts = table(&printed, "order").split_off(3);
    assert_eq!(attempts.len(), 3);
    for row in attempts {
        let numbers: Vec<u64> = row[1..].iter().map(|number| number.parse().unwrap()).collect();
        assert!(numbers[0] > 500 && numbers[0] == numbers[1..].iter().sum::<u64>(), "{printed}");
    }
}

/// The same seed gives the same text, the same page and the same charts. Another seed gives other ones.
#[test]
fn same_seed_gives_the_same_comparison() {
    let directory = TestDirectory::new();
    let run = |seed: &str, name: &str| {
        let path = directory.join(name);
        let flags = ["--shed", "100ms", "--service", "server=lognormal(80ms, 0.5)", "--seed", seed, "--html"];
        let printed = succeed(storm(&directory, &flags).arg(&path));
        (printed, fs::read_to_string(path).unwrap())
    };
    let (first, again, other) = (run("7", "a.html"), run("7", "b.html"), run("8", "c.html"));
    assert_eq!(first, again);
    assert_ne!(first.1, other.1);
}

/// The page has the three tables and the chart with a curve for each order in each panel. The curves differ without colour.
#[test]
fn page_has_the_tables_and_the_chart() {
    let directory = TestDirectory::new();
    let (svg, html) = (directory.join("r.svg"), directory.join("r.html"));
    let printed =
        succeed(storm(&directory, &["--shed", "100ms"]).arg("--svg").arg(&svg).arg("--html").arg(&html));
    let (svg, html) = (fs::read_to_string(svg).unwrap(), fs::read_to_string(html).unwrap());
    assert!(html.contains(&svg) && !html.contains("src=") && !html.contains("href="));

    let document = roxmltree::Document::parse(&svg).unwrap();
    let texts: Vec<&str> = document.descendants().filter_map(|node| node.text()).collect();
    for label in
        ["gate server", "goodput, 1/s", "requests waiting", "wait p99, s", "oldest first", "shedding"]
    {
        assert!(texts.contains(&label), "{label}: {texts:?}");
    }
    for class in ["order-oldest", "order-newest", "order-shedding"] {
        let is_curve = |node: &roxmltree::Node<'_, '_>| {
            node.attribute("class") == Some(class)
                && node.has_tag_name(("http://www.w3.org/2000/svg", "polyline"))
        };
        assert!(document.descendants().filter(is_curve).count() >= 3, "{class}");
        let light = svg.split("@media").next().unwrap();
        let rule = light.split('}').find(|rule| rule.trim().starts_with(&format!(".{class}{{"))).unwrap();
        assert!(rule.contains("stroke-dasharray") || class == "order-shedding", "{rule}");
        assert!(light.matches(&format!(".{class}{{stroke:#")).count() == 1, "{class}");
    }

    let body = html.split_once("<body>").unwrap().1.strip_suffix("</body>\n</html>\n").unwrap();
    let body = format!("<body>{body}</body>");
    let document = roxmltree::Document::parse(&body).unwrap();
    let summaries: Vec<_> =
        document.descendants().filter(|node| node.attribute("class") == Some("summary")).collect();
    assert_eq!(summaries.len(), 3);
    for cell in summaries.iter().flat_map(|table| table.descendants().filter(|node| node.has_tag_name("td")))
    {
        assert!(printed.contains(cell.attribute("data-heading").unwrap()), "{cell:?}");
        assert!(printed.contains(cell.text().unwrap()), "{cell:?}");
    }
}

/// The gate is that of the plan: its limit on the host, the limit of the gate above it, its queue and its longest wait.
#[test]
fn gate_is_that_of_the_plan() {
    let directory = TestDirectory::new();
    let text = "[gates.all]\nformula = \"cpu\"\n[gates.api]\nwithin = \"all\"\nformula = \"cpu * 4\"\nqueue = 7\nmax_wait = \"300ms\"\n";
    let plan = directory.write("plan.toml", text);
    let flags =
        ["--shed", "50ms", "--mix", "api=1", "--reading", "cpu=3", "--service", "api=100ms", "--plan"];
    let printed = succeed(simulate(&flags).arg(plan).args(["--rate", "60/s", "--for", "20s"]));
    assert!(
        printed.contains(
            "limit 3, queue 7, max_wait 300ms: it serves 30.0 requests a second; shedding after 50ms"
        ),
        "{printed}"
    );
    let [oldest, newest, shedding] = clients(&printed);
    for order in [oldest, newest, shedding] {
        assert!(order.peak_queue <= 7 && order.wait_p99 <= 301 && order.of_capacity >= 90, "{printed}");
    }
}

/// Flags that contradict each other, or that do not fit the plan, are reported on one line.
#[test]
fn wrong_combinations_are_reported_on_one_line() {
    for (flags, part) in [
        (&["--shed", "0s"][..], "`--shed 0s`: not a duration in the allowed range (allowed: 1ms to 1h"),
        (&["--shed", "soon"], "`--shed soon`"),
        (&["--shed", "2h"], "1ms to 1h"),
        (
            &["--shed", "100ms"],
            "`--shed` needs exactly one gate (allowed: `--mix GATE=1` with one of the gates: blocking, io, pool)",
        ),
        (&["--shed", "100ms", "--mix", "io=1", "--mix", "pool=1"], "`--shed` needs exactly one gate"),
        (&["--shed", "100ms", "--mix", "io=1", "--service", "io=0s"], "`--service io=100ms`"),
        (&["--shed", "100ms", "--mix", "io=1", "--change", "io=8@1s"], "cannot be used together with"),
        (&["--shed", "100ms", "--mix", "io=1", "--real-time"], "cannot be used together with"),
        (&["--shed", "100ms", "--tenants", "a=1/s"], "cannot be used together with"),
        (
            &["--timeout", "1s"],
            "`--timeout` has no effect without `--shed TARGET` (allowed: both, or neither)",
        ),
        (&["--attempts", "2"], "`--attempts` has no effect without `--shed TARGET`"),
        (&["--propagate-deadline"], "`--propagate-deadline` has no effect"),
        (&["--ignore-retry-after"], "`--ignore-retry-after` has no effect"),
        (&["--shed", "1s", "--timeout", "0s"], "`--timeout 0s`: not a duration"),
        (
            &["--shed", "1s", "--attempts", "0"],
            "`--attempts 0`: not a number of attempts (allowed: 1 to 100)",
        ),
        (&["--burst", "40/s"], "`--burst 40/s`: not a burst (allowed: RATE@FROM..TO, such as 40/s@10s..20s)"),
        (&["--burst", "40/s@20s..10s"], "the burst ends before it begins"),
        (&["--burst", "40/s@50s..61s"], "the run ends before the burst does (allowed: an end up to 1m"),
        (&["--burst", "40/s@1s..2s", "--tenants", "a=1/s"], "cannot be used together with"),
        (&["--rate", "1/s", "--burst", "900000/s@1s..10s"], "too many requests"),
        (&["--shed", "1s", "--mix", "io=1", "--rate", "50000/s", "--attempts", "3"], "each attempt counted"),
    ] {
        let line = fail(&mut simulate(flags));
        assert!(line.contains(part), "{flags:?}: {line}");
    }
}

/// A burst applies to a plain simulation, too.
#[test]
fn burst_applies_without_shedding() {
    let directory = TestDirectory::new();
    let flags = ["--rate", "10/s", "--burst", "100/s@10s..20s", "--service", "server=1ms"];
    let printed = succeed(&mut at_server(&directory, &flags));
    assert!(printed.contains("load      10/s, 100/s from 10s to 20s, for 1m\n"), "{printed}");
    let row = table(&printed, "gate").remove(0);
    assert!(
        (1350..1650).contains(&row[2].parse::<u32>().unwrap()),
        "10 a second for 50 s, 100 for 10 s: {printed}"
    );
}

fn simulate(flags: &[&str]) -> Command {
    let mut command = program();
    command.arg("simulate").args(flags);
    command
}

/// A server that serves two requests at a time, with a queue of 256.
fn at_server(directory: &TestDirectory, flags: &[&str]) -> Command {
    let plan = directory.write("plan.toml", "[gates.server]\nformula = \"2\"\nqueue = 256\n");
    let mut command = simulate(flags);
    command.arg("--plan").arg(plan);
    command
}

/// A retry storm: 8 clients a second, 40 for ten seconds, at a server that serves 20 a second.
fn storm(directory: &TestDirectory, flags: &[&str]) -> Command {
    let mut command =
        at_server(directory, &["--rate", "8/s", "--burst", "40/s@10s..20s", "--timeout", "750ms"]);
    if !flags.contains(&"--service") {
        command.args(["--service", "server=100ms"]);
    }
    command.args(flags);
    command
}

/// A row of the table of the clients. Times are in milliseconds.
#[derive(Debug)]
struct ClientsRow {
    answered: f64,
    of_capacity: u32,
    wait_p99: u32,
    peak_queue: u32,
}

/// Parses the table of the clients: oldest first, newest first, shedding.
fn clients(printed: &str) -> [ClientsRow; 3] {
    let rows = table(printed, "order");
    let parse = |name: &str, row: &[&str]| {
        assert_eq!(row[0], name, "{printed}");
        // The table of a run with a burst has one more column.
        let [.., of_capacity, _, wait_p99, peak_queue] = row else { panic!("{row:?}") };
        ClientsRow {
            answered: row[2].trim_end_matches(" %").parse().unwrap(),
            of_capacity: of_capacity.trim_end_matches(" %").parse().unwrap(),
            wait_p99: wait_p99.trim_end_matches(" ms").parse().unwrap(),
            peak_queue: peak_queue.parse().unwrap(),
        }
    };
    [parse("oldest first", &rows[0]), parse("newest first", &rows[1]), parse("shedding", &rows[2])]
}

/// Returns the rows of all tables whose first heading is this one, as cells.
fn table<'t>(printed: &'t str, first_heading: &str) -> Vec<Vec<&'t str>> {
    let tables = printed.split("\n\n").filter(|table| table.split_whitespace().next() == Some(first_heading));
    let rows = tables.flat_map(|table| table.lines().skip(1));
    rows.map(|row| row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()).collect()
}
