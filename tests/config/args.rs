//! Flags for gates on the command line of an application.

use clap::{CommandFactory as _, Parser};
use concurrency_governor::config::{GateArgs, GateFlags, LimitArgs};
use concurrency_governor::preset::astrid::{self, BLOCKING, IO, POOL};
use concurrency_governor::{Formula, GateName, GateSpec, Overrides, Plan, Readings};

struct AstridFlags;

impl GateFlags for AstridFlags {
    const FLAGS: &[(GateName, &str)] = &astrid::FLAGS;
}

/// An application with an argument of its own.
#[derive(Debug, Parser)]
struct App {
    #[arg(long)]
    listen: Option<String>,

    #[command(flatten)]
    gates: GateArgs<AstridFlags>,

    #[command(flatten)]
    limits: LimitArgs,
}

/// A given flag sets its gate, and the origin has the flag. A missing flag sets nothing.
#[test]
fn flags_are_an_override_layer() {
    let app =
        parse(&["--instance-pool-size", "3", "--listen", "[::]:80", "--host-io-concurrency=0"]).unwrap();
    assert_eq!(app.listen.as_deref(), Some("[::]:80"));
    assert_eq!(app.gates.iter().collect::<Vec<_>>(), [(IO.name(), 0), (POOL.name(), 3)]);
    let resolution =
        astrid::plan().resolve(&Readings::new(), &Overrides::new().then(app.gates.layer("cli"))).unwrap();
    assert_eq!(
        resolution.explain(POOL).unwrap().to_string(),
        "pool = 3: set to 3 by cli --instance-pool-size, derived 8"
    );
    let none = parse(&[]).unwrap();
    assert_eq!((none.gates.layer("cli").settings().len(), none.limits.layer("cli").settings().len()), (0, 0));
}

/// `--limit` sets any gate. The settings keep the order of the command line.
#[test]
fn one_flag_sets_any_gate() {
    let app = parse(&["--limit", "pool=3", "--limit", "io=9"]).unwrap();
    assert_eq!(app.limits.iter().collect::<Vec<_>>(), [(POOL.name(), 3), (IO.name(), 9)]);
    let layers = Overrides::new().then(app.gates.layer("cli")).then(app.limits.layer("cli"));
    let resolution = astrid::plan().resolve(&Readings::new(), &layers).unwrap();
    assert_eq!(resolution.explain(POOL).unwrap().to_string(), "pool = 3: set to 3 by cli --limit, derived 8");
    let unknown = parse(&["--limit", "oi=3"]).unwrap().limits.layer("cli");
    let error = astrid::plan().resolve(&Readings::new(), &Overrides::new().then(unknown)).unwrap_err();
    assert!(
        error.to_string().starts_with("cli --limit sets gate `oi`, which the plan does not declare"),
        "{error}"
    );
}

/// `--limit` takes a path in place of a name. A name and a path of one gate are two settings of it.
#[test]
fn one_flag_sets_a_gate_by_its_path() {
    let host = GateSpec::new("host", Formula::fixed(9));
    let plan = Plan::new([host, GateSpec::new("files", Formula::fixed(8)).within(host)]).unwrap();
    let resolve = |path: &str| {
        let limits = parse(&["--limit", &format!("{path}=3")]).unwrap().limits;
        plan.resolve(&Readings::new(), &Overrides::new().then(limits.layer("cli")))
    };
    let explanation = resolve("host/files").unwrap().explanations()[1].to_string();
    assert_eq!(explanation, "host/files = 3: set to 3 by cli --limit, derived 8");
    assert_eq!(
        resolve("io/files").unwrap_err().to_string(),
        "cli --limit sets `io/files`, but gate `files` is at `host/files` (allowed: `files` or `host/files`)"
    );

    let mut app = parse(&["--limit", "files=1"]).unwrap();
    app.try_update_from(["app", "--limit", "host/files=2"]).unwrap();
    assert_eq!(app.limits.iter().collect::<Vec<_>>(), [("files".parse().unwrap(), 2)]);
    let twice = parse(&["--limit", "files=1", "--limit", "host/files=2"]).unwrap_err().to_string();
    assert!(twice.starts_with("error: --limit sets gate `files` twice (allowed: once)"), "{twice}");
    let error = parse(&["--limit", "host/=1"]).unwrap_err().to_string();
    assert!(error.contains("\"host/\" is not the path of a gate: \"\" is not a gate name"), "{error}");
}

/// Errors are those of clap, with the flag, the value and the allowed values.
#[test]
fn errors_have_the_flag_the_value_and_the_allowed_values() {
    let whole = format!("is not a whole number (allowed: 0 to {})", usize::MAX);
    for (arguments, message) in [
        (
            &["--host-io-concurrency", "many"][..],
            format!("invalid value 'many' for '--host-io-concurrency <N>': \"many\" {whole}"),
        ),
        (
            &["--host-io-concurrency=-1"],
            format!("invalid value '-1' for '--host-io-concurrency <N>': \"-1\" {whole}"),
        ),
        (
            &["--host-io-concurrency="],
            format!("invalid value '' for '--host-io-concurrency <N>': \"\" {whole}"),
        ),
        (
            &["--host-io-concurrency", "1", "--host-io-concurrency", "2"],
            "the argument '--host-io-concurrency <N>' cannot be used multiple times".to_owned(),
        ),
        (
            &["--limit", "io"],
            "invalid value 'io' for '--limit <GATE=N>': `=` is missing (allowed: GATE=N, for example io=64)"
                .to_owned(),
        ),
        (&["--limit", "io=1.5"], format!("invalid value 'io=1.5' for '--limit <GATE=N>': \"1.5\" {whole}")),
        (&["--limit", "Io=1"], "invalid value 'Io=1' for '--limit <GATE=N>': \"Io\" is no".to_owned()),
        (&["--limit", "io=1", "--limit", "io=2"], "--limit sets gate `io` twice (allowed: once)".to_owned()),
    ] {
        let error = parse(arguments).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let error = error.to_string();
        assert!(error.starts_with(&format!("error: {message}")), "{arguments:?}: {error}");
    }
    // An error that is found after parsing has the usage, too.
    let twice = parse(&["--limit", "io=1", "--limit", "io=2"]).unwrap_err().to_string();
    assert!(twice.contains("Usage: "), "{twice}");
}

/// The help has each flag with its gate. clap's own checks find no error in the command.
#[test]
fn the_help_has_each_flag() {
    App::command().debug_assert();
    let help = App::command().render_help().to_string();
    for (gate, flag) in astrid::FLAGS {
        let usage = format!("--{flag} <N>");
        let line = help.lines().skip_while(|line| !line.contains(&usage)).take(2).collect::<String>();
        assert!(line.contains(&format!("Limit of gate `{gate}` [default: derived from the host]")), "{help}");
    }
    assert!(help.contains("--limit <GATE=N>"), "{help}");
}

/// `try_update_from` replaces the settings that are given again and keeps the others.
#[test]
fn an_update_replaces_the_settings_that_are_given() {
    let mut app = parse(&["--host-io-concurrency", "1", "--limit", "pool=1", "--limit", "io=1"]).unwrap();
    app.try_update_from(["app", "--host-blocking-concurrency", "2", "--limit", "pool=3"]).unwrap();
    assert_eq!(app.gates.iter().collect::<Vec<_>>(), [(BLOCKING.name(), 2), (IO.name(), 1)]);
    assert_eq!(app.limits.iter().collect::<Vec<_>>(), [(IO.name(), 1), (POOL.name(), 3)]);
}

fn parse(arguments: &[&str]) -> Result<App, clap::Error> {
    App::try_parse_from([&["app"], arguments].concat())
}
