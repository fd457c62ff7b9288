//! `simulate` as an operator meets it: what it computes, held against what queueing theory knows, what it draws, and what it
//! refuses.
#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "cli/clean.rs"]
mod clean;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use clean::clean;

/// One server, half busy, with times at work that forget how long they have lasted: who waits, and how long, is known
/// exactly, and simulated within a few percent. Nobody is lost on the way.
#[test]
fn half_busy_server_has_the_waits_that_theory_has() {
    let scratch = Scratch::new("theory");
    let plan = scratch.file("plan.toml", "[gates.desk]\nformula = \"1\"\n");
    let said = succeed(
        simulate(&["--rate", "50/s", "--service", "desk=exp(10ms)", "--for", "20m", "--plan"]).arg(plan),
    );
    let desk = row(&said, "desk");
    assert_eq!((desk.limits.as_str(), desk.peak), ("1", 1), "{said}");
    assert!((57_000..63_000).contains(&desk.arrived), "50 a second for 1200 s: {said}");
    assert!((48..=52).contains(&desk.busy), "50 a second for 10 ms each: {said}");
    // P(wait > t) = 0.5 exp(-50 t), so one in a hundred waits longer than 78 ms; the histogram may say a quarter more.
    assert!((70.0..105.0).contains(&desk.p99), "{said}");
    assert!(desk.p50 < 1.5, "every other waits for nothing: {said}");
    assert_eq!(desk.arrived, desk.done + desk.shed + desk.left, "{said}");
}

/// The same seed is the same run, to the letter and to the pixel; another one is another.
#[test]
fn same_seed_is_the_same_run() {
    let scratch = Scratch::new("seed");
    let run = |seed: &str, name: &str| {
        let picture = scratch.path(name);
        let said =
            succeed(simulate(&["--for", "20s", "--rate", "400/s", "--seed", seed, "--svg"]).arg(&picture));
        (said, fs::read_to_string(picture).unwrap())
    };
    let (first, again, other) = (run("7", "a.svg"), run("7", "b.svg"), run("8", "c.svg"));
    assert_eq!(first, again);
    assert_ne!(first.1, other.1);
}

/// A setting changed under way holds from then on, and so does a reading, from which limits are derived anew.
#[test]
fn limits_follow_settings_and_readings_under_way() {
    let scratch = Scratch::new("changes");
    let plan = scratch.file(
        "plan.toml",
        "[gates.uploads]\nformula = \"cpu * 4\"\n[gates.decode]\nformula = \"cpu * 2\"\n[overrides]\n",
    );
    let changes = ["--change", "cpu=2@20s", "--change", "uploads=3@10s"]; // in no order
    let said = succeed(simulate(&changes).args(["--reading", "cpu=8", "--plan"]).arg(plan));
    assert_eq!(row(&said, "uploads").limits, "32 > 3", "a setting stands above what is derived: {said}");
    assert_eq!(row(&said, "decode").limits, "16 > 4", "{said}");
}

/// Bounds on line and wait are the plan's: whoever finds the line full or waits too long is shed, and counted.
#[test]
fn bounds_of_the_plan_hold() {
    let scratch = Scratch::new("bounds");
    let plan = scratch.file("plan.toml", "[gates.desk]\nformula = \"1\"\nqueue = 30\nmax_wait = \"200ms\"\n");
    let flags = ["--rate", "100/s", "--service", "desk=lognormal(20ms, 0.5)", "--plan"];
    let said = succeed(simulate(&flags).arg(plan));
    let desk = row(&said, "desk");
    assert!(desk.shed > 2500 && desk.longest_line <= 30, "half of 6000 find no place: {said}");
    assert!(desk.longest <= 200.1 && desk.longest > 150.0, "{said}");
    assert!(said.contains("waited too long, 0 otherwise"), "{said}");
    assert_eq!(desk.arrived, desk.done + desk.shed + desk.left, "{said}");
}

/// In real time it is the same thing, with the time that it takes.
#[test]
fn real_time_goes_by() {
    let began = std::time::Instant::now();
    let said = succeed(&mut simulate(&["--real-time", "--for", "300ms", "--rate", "500/s"]));
    assert!(began.elapsed() >= std::time::Duration::from_millis(300));
    let arrived: u64 = ["blocking", "io", "pool"].into_iter().map(|gate| row(&said, gate).arrived).sum();
    assert!(arrived > 50, "{said}");
}

/// The report is one file: a whole page with the figures and a whole picture, for light and for dark, that asks for
/// nothing else. What a file is called stays text.
#[test]
fn report_stands_by_itself() {
    let scratch = Scratch::new("report");
    let plan = scratch.file("<b>&.toml", "[gates.uploads]\nformula = \"2\"\n[gates.idle]\nformula = \"2\"\n");
    let (svg, html) = (scratch.path("r.svg"), scratch.path("r.html"));
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
        ["gate uploads", "requests at work", "requests waiting", "wait, ms", "time, s", "limit", "p50", "p99"]
    {
        assert!(texts.contains(&label), "{label}: {texts:?}");
    }
    assert!(!texts.contains(&"gate idle"), "nothing came there: {texts:?}");
    let lines = document.descendants().filter(|node| node.attribute("class") == Some("limit")).count();
    assert_eq!(lines, 2, "the limit, and its mark in the legend");
    assert!(svg.contains("prefers-color-scheme:dark"));
    assert!(!svg.contains("var("), "many viewers know no variables, and draw black on black");

    assert!(
        html.contains(&svg) && html.contains("<title>Simulation of plan ") && html.contains("uploads=1@5s")
    );
    assert!(html.contains("&lt;b&gt;&amp;.toml") && !html.contains("<b>&"), "{html}");
    let elsewhere = html.replace("http://www.w3.org/2000/svg", "");
    for door in ["http:", "https:", "src=", "href=", "@import", "url("] {
        assert!(!elsewhere.contains(door), "{door}");
    }
}

/// What is wrong is refused on one line, with what was given and what is allowed, before anything is simulated.
#[test]
fn wrong_flags_are_refused_on_one_line() {
    for (flags, says) in [
        (&["--rate", "fast"][..], "`--rate fast`: it is no rate"),
        (&["--rate", "0/s"], "200/s"),
        (&["--mix", "io"], "GATE=SHARE"),
        (&["--mix", "io=-1"], "\"-1\" is not a whole number"),
        (&["--mix", "disk=1"], "`--mix disk`: the plan declares no such gate (allowed: blocking, io, pool)"),
        (&["--mix", "io=0"], "every share of `--mix` is 0"),
        (&["--mix", "io=1", "--mix", "io=2"], "gives `io` twice"),
        (&["--service", "io=slow"], "\"slow\" is no duration"),
        (&["--service", "io=uniform(2ms)"], "lognormal(20ms, 0.8)"),
        (&["--service", "disk=2ms"], "`--service disk`"),
        (&["--change", "io=8"], "NAME=VALUE@TIME"),
        (&["--change", "io=8@soon"], "\"soon\" is no duration"),
        (&["--change", "io=few@1s"], "`--change io=few@1s`: \"few\" is not a whole number"),
        (&["--change", "disk=8@1s"], "allowed: blocking, io, pool, cpu, fd"),
        (&["--change", "cpu=many@1s"], "`--change cpu=many@1s`"),
        (&["--for", "0s"], "1ms to 24h"),
        (&["--for", "2 days"], "1ms to 24h"),
        (&["--rate", "1000000/s", "--for", "1h"], "5000000 requests in all"),
        (&["--svg", "/nowhere/at/all.svg"], "cannot write /nowhere/at/all.svg"),
        (&["--svg", "r", "--html", "./r"], "are both to be ./r (allowed: a file for each)"),
        (&["--seed", "x"], "`--seed x`: it is not a whole number (allowed: 0 to 18446744073709551615)"),
        (&["--change", "io=8@1m"], "`--change io=8@1m`: the run is over by then (allowed: a time before 1m"),
        (&["--set", "disk=1"], "disk"),
    ] {
        let output = simulate(flags).output().unwrap();
        let line = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {line}");
        assert!(output.stdout.is_empty(), "{flags:?}");
        assert_eq!(line.lines().count(), 1, "{flags:?}: {line}");
        assert!(line.contains(says), "{flags:?}: {line}");
    }
}

/// What README shows is what it prints.
#[cfg(target_os = "linux")]
#[test]
fn readme_shows_what_is_printed() {
    let readme = include_str!("../README.md");
    let shown = readme
        .split("```console\n$ concurrency-governor simulate")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let (command, printed) = shown.split_once("\nSimulation").unwrap();
    let command = format!("'{PROGRAM}' simulate{command}");
    let output = clean(Command::new("sh")).args(["-c", &command]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("Simulation{printed}"));
}

/// The examples of its help are examples.
#[test]
fn examples_of_the_help_run() {
    let help = succeed(&mut simulate(&["--help"]));
    let scratch = Scratch::new("examples");
    scratch.file("plan.toml", "[gates.uploads]\nformula = \"cpu * 4\"\n");
    let joined = help.replace("\\\n", " ");
    let examples: Vec<&str> = joined
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("concurrency-governor simulate"))
        .collect();
    assert_eq!(examples.len(), 4, "{help}");
    for example in examples {
        let line = example.replacen("concurrency-governor", &format!("'{PROGRAM}'"), 1);
        let output =
            clean(Command::new("sh")).args(["-c", &line]).current_dir(&scratch.directory).output().unwrap();
        assert!(output.status.success(), "{example}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_concurrency-governor");

fn simulate(flags: &[&str]) -> Command {
    let mut command = clean(Command::new(PROGRAM));
    command.arg("simulate").args(flags);
    command
}

fn succeed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// A row of the summary.
#[derive(Debug)]
struct Row {
    limits: String,
    arrived: u64,
    done: u64,
    shed: u64,
    left: u64,
    busy: u64,
    peak: u64,
    longest_line: u64,
    /// Milliseconds, as the two after it.
    p50: f64,
    p99: f64,
    longest: f64,
}

fn row(said: &str, gate: &str) -> Row {
    let line = said.lines().find(|line| line.starts_with(&format!("{gate} ")) && line.contains('%'));
    let line = line.unwrap_or_else(|| panic!("no row of {gate}: {said}"));
    let line = line.replace(" > ", ">").replace(" ms", "").replace(" %", "");
    let cells: Vec<&str> = line.split_whitespace().skip(1).collect();
    let whole = |at: usize| cells[at].parse::<u64>().unwrap();
    let wait = |at: usize| cells[at].parse::<f64>().unwrap_or(0.0);
    Row {
        limits: cells[0].replace('>', " > "),
        arrived: whole(1),
        done: whole(2),
        shed: whole(3),
        left: whole(4),
        busy: whole(5),
        peak: whole(6),
        longest_line: whole(7),
        p50: wait(8),
        p99: wait(9),
        longest: wait(10),
    }
}

/// A directory that is gone when the test is over.
struct Scratch {
    directory: PathBuf,
}

impl Scratch {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("simulate-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}
