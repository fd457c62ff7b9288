//! `simulate`: its numbers compared with queueing theory, its charts, and the input that it rejects.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use crate::support::{TestDirectory, fail, program, succeed};

/// A server with one permit, exponential service times and a utilization of one half has the waits of queueing theory,
/// within a few percent. Every request is counted.
#[test]
fn half_busy_server_has_the_waits_of_theory() {
    let directory = TestDirectory::new();
    let plan = directory.write("plan.toml", "[gates.desk]\nformula = \"1\"\n");
    let printed = succeed(
        simulate(&["--rate", "50/s", "--service", "desk=exp(10ms)", "--for", "20m", "--plan"]).arg(plan),
    );
    let desk = summary_row(&printed, "desk");
    assert_eq!((desk.limits.as_str(), desk.peak_use), ("1", 1), "{printed}");
    assert!((57_000..63_000).contains(&desk.arrived), "50 a second for 1200 s: {printed}");
    assert!((48..=52).contains(&desk.mean_use), "50 a second for 10 ms each: {printed}");
    // P(wait > t) = 0.5 exp(-50 t), so the p99 is 78 ms. The histogram may report up to a quarter more.
    assert!((70.0..105.0).contains(&desk.p99), "{printed}");
    assert!(desk.p50 < 1.5, "every second request does not wait: {printed}");
    assert_eq!(desk.arrived, desk.done + desk.rejected + desk.pending, "{printed}");
}

/// The same seed gives the same text and the same charts. Another seed gives other ones.
#[test]
fn same_seed_gives_the_same_run() {
    let directory = TestDirectory::new();
    let run = |seed: &str, name: &str| {
        let chart = directory.join(name);
        let printed =
            succeed(simulate(&["--for", "20s", "--rate", "400/s", "--seed", seed, "--svg"]).arg(&chart));
        (printed, fs::read_to_string(chart).unwrap())
    };
    let (first, again, other) = (run("7", "a.svg"), run("7", "b.svg"), run("8", "c.svg"));
    assert_eq!(first, again);
    assert_ne!(first.1, other.1);
}

/// A limit that is set during the run is in force from then on. A reading that changes makes all limits be derived again.
#[test]
fn changes_apply_from_their_time_on() {
    let directory = TestDirectory::new();
    let plan = directory.write(
        "plan.toml",
        "[gates.uploads]\nformula = \"cpu * 4\"\n[gates.decode]\nformula = \"cpu * 2\"\n[overrides]\n",
    );
    let changes = ["--change", "cpu=2@20s", "--change", "uploads=3@10s"]; // not in order of time
    let printed = succeed(simulate(&changes).args(["--reading", "cpu=8", "--plan"]).arg(plan));
    assert_eq!(summary_row(&printed, "uploads").limits, "32 > 3", "a setting replaces the limit: {printed}");
    assert_eq!(summary_row(&printed, "decode").limits, "16 > 4", "{printed}");
}

/// The bounds of the plan on queue and wait apply. A request that finds the queue full or waits too long is rejected and
/// counted.
#[test]
fn queue_bounds_of_the_plan_apply() {
    let directory = TestDirectory::new();
    let plan =
        directory.write("plan.toml", "[gates.desk]\nformula = \"1\"\nqueue = 30\nmax_wait = \"200ms\"\n");
    let flags = ["--rate", "100/s", "--service", "desk=lognormal(20ms, 0.5)", "--plan"];
    let printed = succeed(simulate(&flags).arg(plan));
    let desk = summary_row(&printed, "desk");
    assert!(desk.rejected > 2500 && desk.peak_queue <= 30, "half of 6000 are rejected: {printed}");
    assert!(desk.max_wait <= 200.1 && desk.max_wait > 150.0, "{printed}");
    let reasons = printed.lines().last().unwrap();
    assert!(reasons.starts_with(&format!("desk rejected {}: queue full ", desk.rejected)), "{printed}");
    assert!(reasons.contains(", max_wait passed ") && reasons.ends_with(", other 0"), "{printed}");
    assert_eq!(desk.arrived, desk.done + desk.rejected + desk.pending, "{printed}");
}

/// A longest wait that a setting replaces is one of simulated time, also after a change.
#[test]
fn queue_bounds_of_the_settings_apply() {
    let directory = TestDirectory::new();
    let plan = directory.write(
        "plan.toml",
        "[gates.desk]\nformula = \"1\"\n[overrides]\ndesk = { queue = 30, max_wait = \"200ms\" }\n",
    );
    let flags =
        ["--rate", "100/s", "--service", "desk=lognormal(20ms, 0.5)", "--change", "desk=1@30s", "--plan"];
    let printed = succeed(simulate(&flags).arg(plan));
    let desk = summary_row(&printed, "desk");
    assert!(desk.rejected > 2500 && desk.peak_queue <= 30, "half of 6000 are rejected: {printed}");
    assert!(desk.max_wait <= 200.1 && desk.max_wait > 150.0, "{printed}");
}

/// An adaptive gate keeps its initial limit, whatever its rule and its sign of overload need.
#[test]
fn adaptive_gates_keep_their_initial_limit() {
    let directory = TestDirectory::new();
    for (adaptive, limit) in [
        (r#"{ rule = "latency", start = 12, overload = "20% pressure.cpu" }"#, "12"),
        (r#"{ rule = "custom:mine", start = 8 }"#, "8"),
        (r#"{ rule = "aimd", max_healthy = "200ms", start = 1, floor = 5 }"#, "5"),
        (r#"{ rule = "arc", start = 100 }"#, "64"),
    ] {
        let plan = format!("[gates.upstream]\nformula = \"64\"\nadaptive = {adaptive}\n");
        let plan = directory.write("plan.toml", plan);
        let printed = succeed(simulate(&["--for", "5s", "--plan"]).arg(plan));
        assert_eq!(summary_row(&printed, "upstream").limits, limit, "{adaptive}: {printed}");
    }
}

/// With `--real-time` the run takes its real time.
#[test]
fn real_time_passes() {
    let start = std::time::Instant::now();
    let printed = succeed(&mut simulate(&["--real-time", "--for", "300ms", "--rate", "500/s"]));
    assert!(start.elapsed() >= std::time::Duration::from_millis(300));
    let arrived: u64 =
        ["blocking", "io", "pool"].into_iter().map(|gate| summary_row(&printed, gate).arrived).sum();
    assert!(arrived > 50, "{printed}");
}

/// The HTML page contains the report and the whole chart, for light and dark pages, and loads nothing else. File names stay
/// text.
#[test]
fn html_page_is_self_contained() {
    let directory = TestDirectory::new();
    let text = "[gates.uploads]\nformula = \"2\"\n[gates.idle]\nformula = \"2\"\n";
    let plan = directory.write("<b>&.toml", text);
    let (svg, html) = (directory.join("r.svg"), directory.join("r.html"));
    let flags = ["--for", "10s", "--mix", "uploads=1", "--change", "uploads=1@5s"];
    succeed(simulate(&flags).arg("--plan").arg(plan).arg("--svg").arg(&svg).arg("--html").arg(&html));
    let (svg, html) = (fs::read_to_string(svg).unwrap(), fs::read_to_string(html).unwrap());

    let document = roxmltree::Document::parse(&svg).unwrap();
    let texts: Vec<&str> = document
        .descendants()
        .filter(|node| node.has_tag_name("text"))
        .filter_map(|node| node.text())
        .collect();
    for label in
        ["gate uploads", "permits in use", "requests waiting", "wait, ms", "time, s", "limit", "p50", "p99"]
    {
        assert!(texts.contains(&label), "{label}: {texts:?}");
    }
    assert!(!texts.contains(&"gate idle"), "no request arrived there: {texts:?}");
    let lines = document.descendants().filter(|node| node.attribute("class") == Some("limit")).count();
    assert_eq!(lines, 2, "the limit, and its sample in the legend");
    assert!(svg.contains("prefers-color-scheme:dark"));
    assert!(!svg.contains("var("), "many image viewers do not support CSS variables");

    assert!(
        html.contains(&svg) && html.contains("<title>Simulation of plan ") && html.contains("uploads=1@5s")
    );
    assert!(html.contains("&lt;b&gt;&amp;.toml") && !html.contains("<b>&"), "{html}");
    let without_namespace = html.replace("http://www.w3.org/2000/svg", "");
    for reference in ["http:", "https:", "src=", "href=", "@import", "url("] {
        assert!(!without_namespace.contains(reference), "{reference}");
    }
}

/// The page is readable at a width of 400 pixels: it has a chart that is drawn for that width, so that its text is not scaled
/// down, and each number of the summary carries its heading. Numbers are aligned on the right.
#[test]
fn html_page_is_readable_on_a_narrow_screen() {
    let directory = TestDirectory::new();
    let path = directory.join("r.html");
    let printed = succeed(simulate(&["--for", "10s", "--mix", "io=1"]).arg("--html").arg(&path));
    let html = fs::read_to_string(path).unwrap();

    // The elements are well-formed XML, except those that HTML does not close.
    let (head, body) = html.split_once("<body>").unwrap();
    let body = format!("<body>{}", body.strip_suffix("</html>\n").unwrap());
    let document = roxmltree::Document::parse(&body).unwrap();
    let widths: Vec<f64> = document
        .descendants()
        .filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "svg")))
        .map(|svg| svg.attribute("width").unwrap().parse().unwrap())
        .collect();
    assert!(widths[0] > 800.0 && widths[1] <= 400.0 - 2.0 * 16.0, "a wide and a narrow chart: {widths:?}");
    let right_edge = |node: roxmltree::Node<'_, '_>| {
        let x = node.attribute("x").map_or(0.0, |x| x.parse::<f64>().unwrap());
        let characters = node.text().unwrap_or_default().chars().count();
        let width = 7.0 * f64::from(u32::try_from(characters).unwrap());
        match node.attribute("text-anchor") {
            Some("start") => x + width,
            Some("middle") => x + width / 2.0,
            _ => x,
        }
    };
    let narrow = document.descendants().find(|node| node.attribute("class") == Some("narrow")).unwrap();
    let texts: Vec<_> = narrow.descendants().filter(|node| node.tag_name().name() == "text").collect();
    assert!(texts.len() > 20);
    for text in texts {
        assert!(right_edge(text) <= widths[1], "outside of the chart: {text:?}");
    }

    let media = "@media (max-width:760px)";
    let (wide_style, narrow_style) = head.split_once(media).unwrap();
    assert!(
        wide_style.contains(".narrow{display:none}")
            && narrow_style.contains(".wide,.summary thead{display:none}")
    );
    assert!(wide_style.contains(".summary td,.summary th+th{text-align:right"));
    let summary = document.descendants().find(|node| node.attribute("class") == Some("summary")).unwrap();
    let cells: Vec<_> = summary.descendants().filter(|node| node.has_tag_name("td")).collect();
    let headings = printed.lines().find(|line| line.starts_with("gate ")).unwrap();
    assert!(cells.len() >= 11);
    for cell in cells {
        let heading = cell.attribute("data-heading").unwrap();
        assert!(headings.contains(heading), "{heading}");
        assert!(printed.contains(cell.text().unwrap()), "{cell:?}");
    }
}

/// The lines of each panel can be told apart without colour, in every chart: each has dashes of its own.
#[test]
fn lines_differ_without_colour() {
    let plan = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cookbook/overload.plan.toml");
    let runs: [(&[&str], &[&str]); 3] = [
        (&["--for", "10s", "--mix", "io=1"], &["p50", "p90", "p99"]),
        (&["--plant", "crowd", "--for", "5s"], &["goodput", "rejected", "capacity"]),
        (
            &["--plan", plan, "--service", "server=100ms", "--for", "10s", "--shed", "100ms"],
            &["oldest first", "newest first", "shedding"],
        ),
    ];
    for (flags, one_panel) in runs {
        let directory = TestDirectory::new();
        let path = directory.join("r.svg");
        succeed(simulate(flags).arg("--svg").arg(&path));
        let panels = legends(&fs::read_to_string(path).unwrap());
        assert!(
            panels.iter().any(|legend| one_panel.iter().all(|name| legend.contains_key(*name))),
            "{panels:?}"
        );
        for legend in panels {
            let dashes: BTreeSet<&String> = legend.values().collect();
            assert_eq!(dashes.len(), legend.len(), "{legend:?}");
        }
    }
}

/// Returns the lines in the legend of each panel, with the dashes of each. A sample in a legend is 18 wide.
fn legends(svg: &str) -> Vec<BTreeMap<String, String>> {
    let (style, _) = svg.split_once("@media").unwrap();
    let dashes_of = |class: &str| {
        let start = format!(".{class}{{");
        let rules = style.split('}').filter_map(|rule| rule.trim().strip_prefix(&*start));
        let mut declarations = rules.flat_map(|rule| rule.split(';'));
        declarations.find(|rule| rule.starts_with("stroke-dasharray:")).unwrap_or("solid").to_owned()
    };
    let document = roxmltree::Document::parse(svg).unwrap();
    let mut panels: BTreeMap<u32, BTreeMap<String, String>> = BTreeMap::new();
    for sample in
        document.descendants().filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "line")))
    {
        let at = |name: &str| sample.attribute(name).unwrap().parse::<f64>().unwrap();
        if (at("x2") - at("x1") - 18.0).abs() < 0.05 {
            let name = sample.next_sibling_element().unwrap().text().unwrap().to_owned();
            let dashes = dashes_of(sample.attribute("class").unwrap());
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small position")]
            panels.entry(at("y1") as u32).or_default().insert(name, dashes);
        }
    }
    panels.into_values().collect()
}

/// Wrong input is reported on one line, with what was given and what is allowed, before the simulation starts.
#[test]
fn wrong_flags_are_reported_on_one_line() {
    for (flags, part) in [
        (&["--rate", "fast"][..], "`--rate fast`: not a rate"),
        (&["--rate", "0/s"], "200/s"),
        (&["--mix", "io"], "GATE=SHARE"),
        (&["--mix", "io=-1"], "\"-1\" is not a whole number"),
        (&["--mix", "disk=1"], "`--mix disk`: the plan declares no such gate (allowed: blocking, io, pool)"),
        (&["--mix", "io=0"], "every share of `--mix` is 0"),
        (&["--mix", "io=1", "--mix", "io=2"], "`--mix` names `io` twice"),
        (&["--service", "io=slow"], "\"slow\" is not a duration"),
        (&["--service", "io=uniform(2ms)"], "lognormal(20ms, 0.8)"),
        (&["--service", "disk=2ms"], "`--service disk`"),
        (&["--change", "io=8"], "NAME=VALUE@TIME"),
        (&["--change", "io=8@soon"], "\"soon\" is not a duration"),
        (&["--change", "io=few@1s"], "`--change io=few@1s`: \"few\" is not a whole number"),
        (&["--change", "disk=8@1s"], "allowed: blocking, io, pool, cpu, fd"),
        (&["--change", "cpu=many@1s"], "`--change cpu=many@1s`"),
        (&["--for", "0s"], "1ms to 24h"),
        (&["--for", "2 days"], "1ms to 24h"),
        (&["--rate", "1000000/s", "--for", "1h"], "5000000 requests in all"),
        (&["--svg", "/nowhere/at/all.svg"], "cannot write /nowhere/at/all.svg"),
        (&["--svg", "r", "--html", "./r"], "name ./r (allowed: a different file for each)"),
        (&["--seed", "x"], "`--seed x`: not a whole number (allowed: 0 to 18446744073709551615)"),
        (
            &["--change", "io=8@1m"],
            "`--change io=8@1m`: the run ends before that time (allowed: a time before 1m",
        ),
        (&["--set", "disk=1"], "disk"),
    ] {
        let line = fail(&mut simulate(flags));
        assert!(line.contains(part), "{flags:?}: {line}");
    }
}

/// Each example of the help page runs.
#[test]
fn examples_of_the_help_run() {
    use crate::support::{PROGRAM, clean};

    let help = succeed(&mut simulate(&["--help"]));
    let directory = TestDirectory::new();
    directory.write("plan.toml", "[gates.uploads]\nformula = \"cpu * 4\"\nkeys = { max = 10 }\n");
    let joined = help.replace("\\\n", " ");
    let examples: Vec<&str> = joined
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("concurrency-governor simulate"))
        .collect();
    assert_eq!(examples.len(), 9, "{help}");
    for example in examples {
        let line = example.replacen("concurrency-governor", &format!("'{PROGRAM}'"), 1);
        succeed(clean(Command::new("sh")).args(["-c", &line]).current_dir(directory.path()));
    }
}

fn simulate(flags: &[&str]) -> Command {
    let mut command = program();
    command.arg("simulate").args(flags);
    command
}

/// A row of the summary. Waits are in milliseconds.
#[derive(Debug)]
struct SummaryRow {
    limits: String,
    arrived: u64,
    done: u64,
    rejected: u64,
    pending: u64,
    mean_use: u64,
    peak_use: u64,
    peak_queue: u64,
    p50: f64,
    p99: f64,
    max_wait: f64,
}

/// Parses the row of a gate.
fn summary_row(printed: &str, gate: &str) -> SummaryRow {
    // The line of the setup that starts with `requests` contains a `%`, too.
    let is_row = |line: &&str| line.starts_with(&format!("{gate} ")) && line.contains(" %  ");
    let line = printed.lines().find(is_row).unwrap_or_else(|| panic!("no row of {gate}: {printed}"));
    let line = line.replace(" > ", ">").replace(" ms", "").replace(" %", "");
    let cells: Vec<&str> = line.split_whitespace().skip(1).collect();
    let whole = |column: usize| cells[column].parse::<u64>().unwrap();
    let wait = |column: usize| cells[column].parse::<f64>().unwrap_or(0.0);
    SummaryRow {
        limits: cells[0].replace('>', " > "),
        arrived: whole(1),
        done: whole(2),
        rejected: whole(3),
        pending: whole(4),
        mean_use: whole(5),
        peak_use: whole(6),
        peak_queue: whole(7),
        p50: wait(8),
        p99: wait(9),
        max_wait: wait(10),
    }
}
