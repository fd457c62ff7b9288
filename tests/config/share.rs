//! The table `share` of a gate.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use concurrency_governor::config::{LedgerSource, PlanConfig};
use concurrency_governor::plan::{Problem, Unreachable};
use concurrency_governor::{GateName, Governor, Limit, Plan};

use crate::support::parse_json;

const IO: GateName = GateName::new("io");

fn config_of(share: &str) -> String {
    format!(r#"{{"gates": {{"io": {{"formula": "8", "share": {share}}}}}}}"#)
}

/// Returns the problems of a configuration.
fn problems_of(json: &str) -> Vec<String> {
    let value: concurrency_governor::config::Value = serde_json::from_str(json).unwrap();
    let error = PlanConfig::read(&value).unwrap_err();
    error.problems().iter().map(ToString::to_string).collect()
}

/// Every key is read, the others have their defaults, and both survive being written.
#[test]
fn a_gate_declares_its_share() {
    let whole = r#"{"name": "prod/io", "ledger_file": "/run/secrets/ledger", "limit": "200", "max_hold": "5s", "ttl": "3s", "unreachable": "reserved 2 for 15"}"#;
    let short = r#"{"name": "io", "ledger_env": "IO_LEDGER", "limit": 7}"#;
    let reserved = Unreachable::Reserved { permits: 2, processes: 15 };
    for (given, source, limit, times, unreachable) in [
        (whole, LedgerSource::File("/run/secrets/ledger".into()), 200, (5, 3), reserved),
        (short, LedgerSource::Env("IO_LEDGER".into()), 7, (30, 10), Unreachable::Closed),
    ] {
        let config = parse_json(&config_of(given)).unwrap();
        let share = config.share(IO).unwrap();
        assert_eq!((share.ledger(), share.limit()), (&source, Limit::new(limit)));
        let times = (Duration::from_secs(times.0), Duration::from_secs(times.1));
        assert_eq!((share.max_hold(), share.ttl(), share.unreachable()), (times.0, times.1, unreachable));
        let written = serde_json::to_string(&config).unwrap();
        assert_eq!(parse_json(&written).unwrap(), config, "{written}");
    }
    assert_eq!(parse_json(&config_of("null")).unwrap().share(IO), None);
}

/// Each mistake is reported with what was given and what is allowed.
#[test]
fn a_wrong_share_is_reported() {
    let allowed = "(allowed: one of ledger_env, the variable with the URL of the ledger, and ledger_file, the file with it)";
    assert_eq!(
        problems_of(&config_of("{}")),
        [
            "gates.io.share has no name (required, for example name = \"prod/io\")".to_owned(),
            "gates.io.share has no limit (required, for example limit = 200)".to_owned(),
            format!("gates.io.share has no ledger, or two {allowed}"),
        ]
    );
    let both = r#"{"name": "my io", "ledger_env": "A", "ledger_file": "b", "limit": 0, "url": "redis://h/"}"#;
    assert_eq!(
        problems_of(&config_of(both)),
        [
            "gates.io.share.url is not a known key (allowed: name, ledger_env, ledger_file, limit, max_hold, ttl, unreachable)".to_owned(),
            "gates.io.share.name = \"my io\" is not the name of a gate in a ledger (allowed: 1 to 200 printable ASCII characters without spaces)".to_owned(),
            "gates.io.share.limit = 0 is not a limit (allowed: 1 to 1073741823)".to_owned(),
            format!("gates.io.share has no ledger, or two {allowed}"),
        ]
    );
    let blank = r#"{"name": "io", "ledger_env": "A", "limit": ""}"#;
    assert_eq!(
        problems_of(&config_of(blank)),
        ["gates.io.share has no limit (required, for example limit = 200)"]
    );
    for wrong in ["reserved 2", "reserved 0 for 3", "open"] {
        let share = format!(r#"{{"name": "io", "ledger_env": "A", "limit": 2, "unreachable": {wrong:?}}}"#);
        let expected = format!(
            "gates.io.share.unreachable: {wrong:?} is not a policy for an unreachable ledger (allowed: `closed`, `local`, or `reserved N for P` with N permits for each of P processes, both at least 1)"
        );
        assert_eq!(problems_of(&config_of(&share)), [expected]);
    }
    let child = r#"{"gates": {"io": {"formula": "8"}, "mail": {"formula": "2", "within": "io",
        "share": {"name": "mail", "ledger_env": "A", "limit": 2}}}}"#;
    assert_eq!(
        problems_of(child),
        [
            "gates.mail has a share, and is within another gate (allowed: a gate that is within no other; the gates within it share its lease)"
        ]
    );
}

/// A URL in the place of the name of its variable or file is an error that does not show the URL.
#[test]
fn a_url_in_the_plan_is_reported_without_its_password() {
    for (key, allowed) in [
        ("ledger_env", "the name of a variable whose value is the URL"),
        ("ledger_file", "the path of a file that contains the URL"),
    ] {
        let share = format!(r#"{{"name": "io", "{key}": "redis://user:secret@h/", "limit": 7}}"#);
        assert_eq!(
            problems_of(&config_of(&share)),
            [format!("gates.io.share.{key} is a URL (allowed: {allowed})")]
        );
    }
}

/// The URL is read from the file, and no error shows it. A missing file and an unset variable are errors.
#[cfg(all(feature = "fleet", feature = "redis"))]
#[test]
fn the_url_of_a_ledger_is_not_shown() {
    let file = std::env::temp_dir().join(format!("ledger-url-{}", std::process::id()));
    let share = |source: &str, value: &str| {
        let share = format!(r#"{{"name": "io", "{source}": {value:?}, "limit": 7}}"#);
        parse_json(&config_of(&share)).unwrap()
    };
    let of_file = share("ledger_file", file.to_str().unwrap());
    std::fs::write(&file, "redis://user:secret@127.0.0.1/\n").unwrap();
    let shares = of_file.shares().unwrap();
    assert_eq!((shares.len(), shares[0].0), (1, IO));
    assert!(!format!("{shares:?} {of_file:?}").contains("secret"));
    std::fs::write(&file, "https://user:secret@127.0.0.1/").unwrap();
    let wrong = of_file.shares().unwrap_err().to_string();
    std::fs::remove_file(&file).unwrap();
    assert!(
        wrong.starts_with(&format!("gates.io.share: file {} is not the URL of a ledger", file.display()))
    );
    assert!(!wrong.contains("secret"), "{wrong}");
    let missing = of_file.shares().unwrap_err().to_string();
    assert!(missing.contains(" cannot be read: "), "{missing}");
    let unset = share("ledger_env", "A_LEDGER_THAT_IS_NOT_SET").shares().unwrap_err().to_string();
    assert_eq!(
        unset,
        "gates.io.share: environment variable A_LEDGER_THAT_IS_NOT_SET is not set, or is not UTF-8"
    );
}

/// A governor is not built from a plan that shares a gate, if it was given no share for it: the gate would have a limit of its own.
#[test]
fn a_shared_gate_is_not_opened_without_its_share() {
    let config = parse_json(&config_of(r#"{"name": "io", "ledger_env": "A", "limit": 7}"#)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let build = |plan: &Plan| runtime.block_on(Governor::builder().plan(plan.clone()).build());
    let error = build(config.plan()).unwrap_err();
    assert_eq!(error.problems(), [Problem::MissingShare { gate: IO }]);
    assert_eq!(
        error.to_string(),
        "the plan declares a share for gate `io`, but the builder has none: pass the shares of the plan file to `GovernorBuilder::shares`"
    );
    #[cfg(feature = "fleet")]
    {
        use concurrency_governor::fleet::{MemoryLedger, Share};
        let share = Share::of(MemoryLedger::new(), "io").limit(Limit::new(7));
        let build = Governor::builder().plan(config.plan().clone()).share(IO, share).build();
        assert!(runtime.block_on(build).unwrap().shared(IO).is_ok());
    }
}
