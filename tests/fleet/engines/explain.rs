//! What `explain` and `watch` show of a gate whose ledger answers.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use concurrency_governor::Limit;
use concurrency_governor::fleet::{Ledger, PostgresLedger, RedisLedger};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::command::{exchange, program, succeed};
use super::postgres;
use super::redis::{start_server, url};
use super::server::free_port;

/// The report has what the ledger says, the most that a process may use, and no secret. It takes no lease, and the limit is the lower
/// one of both.
#[test]
fn the_answer_of_a_ledger_is_explained() {
    let Some(server) = start_server() else { return };
    let plan = PlanFile::new("closed");
    let ask = |cpu: &str| plan.explain(&url(&server), cpu);
    let none = succeed(&mut plan.explain(&url(&server).replace("redis://", "valkey://"), "1"));
    assert!(none.contains("no process has reported yet; the first one sets the limit to 24"), "{none}");

    let ledger = RedisLedger::new(&*url(&server)).unwrap();
    let runtime = Runtime::new().unwrap();
    runtime.block_on(exchange(&ledger, "prod/io"));
    let set = runtime.block_on(ledger.set_limit("prod/io", Limit::new(70), "incident 4711")).unwrap();
    let before = runtime.block_on(ledger.status("prod/io")).unwrap();
    let printed = succeed(&mut ask("1"));
    let expected = format!(
        "io 64 `prod/io` in Redis at 127.0.0.1:{} limit 70, set by incident 4711 (version {}); the plan has 24 \
         granted 0 to 1 process, 70 free state learning for ",
        server.port, set.version
    );
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words(&printed).contains(&expected), "{printed}");
    assert!(printed.contains("the process requests at most its local limit 64"), "{printed}");
    assert!(!printed.contains("want more"), "one process has no others: {printed}");
    let wide = succeed(&mut ask("2"));
    assert!(words(&wide).contains("the limit of the fleet is below the local limit 128"), "{wide}");

    let report: Value = serde_json::from_str(&succeed(ask("2").arg("--json"))).unwrap();
    let share = &report["gates"]["io"]["share"];
    assert_eq!((&share["answer"], &share["reason"]), (&json!("known"), &Value::Null));
    assert_eq!((&share["may_use"], &report["gates"]["io"]["limit"]), (&json!(70), &json!(128)));
    assert_eq!(share["ledger"], format!("Redis at 127.0.0.1:{}", server.port));
    // The sample that is checked with docs/explain.schema.json has the same keys.
    let sample: Value = serde_json::from_str(include_str!("../../cli/share.json")).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!((keys(share), keys(&share["fleet"])), (keys(&sample), keys(&sample["fleet"])));
    let mut fleet = share["fleet"].clone();
    let learning = fleet["learning_ms"].take();
    assert!(learning.as_u64().is_some_and(|left| left > 0), "{learning}");
    assert_eq!(
        fleet,
        json!({
            "limit": 70, "limit_version": set.version, "set_by": "incident 4711", "granted": 0, "free": 70, "processes": 1,
            "learning_ms": null, "epoch": before.epoch, "exchanges": before.exchanges,
        })
    );
    assert_eq!(runtime.block_on(ledger.status("prod/io")).unwrap(), before, "the ledger is only read");

    // What each process has reserved is its own, beside what the ledger leases.
    let reserved = PlanFile::new("reserved 2 for 5");
    let report: Value =
        serde_json::from_str(&succeed(reserved.explain(&url(&server), "2").arg("--json"))).unwrap();
    assert_eq!(report["gates"]["io"]["share"]["may_use"], 72);
}

/// The same on PostgreSQL, whose error quotes the user. Several gates are answered, each by its own ledger.
#[test]
fn postgres_answers_without_a_secret() {
    let Some(server) = postgres::start_server() else { return };
    let url = format!("postgres://postgres:hunter2@127.0.0.1:{}/postgres", server.port);
    let runtime = Runtime::new().unwrap();
    let ledger: PostgresLedger = runtime.block_on(postgres::installed(server.port));
    runtime.block_on(exchange(&ledger, "prod/io"));
    let plan = PlanFile::new("closed");
    let printed = succeed(&mut plan.explain(&url, "1"));
    assert!(printed.contains(&format!("`prod/io` in PostgreSQL at 127.0.0.1:{}", server.port)), "{printed}");
    assert!(printed.contains("limit 24, set by the processes (version 0)"), "{printed}");
    let stranger = url.replace("postgres:hunter2", "nobody:hunter2");
    let printed = succeed(&mut plan.explain(&stranger, "1"));
    assert!(printed.contains("gives no answer"), "{printed}");
    assert!(printed.contains("\"***\""), "the server quotes the user: {printed}");
    assert!(!printed.contains("hunter2") && !printed.contains("nobody"), "{printed}");
}

/// `watch` shows what the ledger says, and a limit that an operator sets meanwhile.
#[test]
fn watch_follows_the_limit_of_a_fleet() {
    let Some(server) = start_server() else { return };
    let plan = PlanFile::new("closed");
    let (runtime, ledger) = (Runtime::new().unwrap(), RedisLedger::new(&*url(&server)).unwrap());
    runtime.block_on(exchange(&ledger, "prod/io"));
    let mut command = program();
    command.args(["watch", "--every", "100ms", "--plan"]).arg(&plan.file).env(VARIABLE, url(&server));
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut next = || lines.find(|line| line.contains("fleet of ")).unwrap();
    let first = [next(), next()];
    assert!(first[0].ends_with("fleet of io: asking"), "{first:?}");
    assert!(first[1].contains("fleet of io: asking -> 24, "), "{first:?}");
    runtime.block_on(ledger.set_limit("prod/io", Limit::new(70), "test")).unwrap();
    let changed = next();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(changed.contains("fleet of io: 24, ") && changed.contains(" -> 70, "), "{changed}");
}

/// A plan whose gate `io` has 64 permits for each core, and a limit of 24 for the fleet.
struct PlanFile {
    file: PathBuf,
}

impl PlanFile {
    fn new(unreachable: &str) -> Self {
        let name = format!("fleet-plan-{}-{}.toml", std::process::id(), free_port());
        let plan = format!(
            "[gates.io]\nformula = \"cpu * 64\"\n[gates.io.share]\nname = \"prod/io\"\nledger_env = \"{VARIABLE}\"\nlimit = 24\n\
             unreachable = \"{unreachable}\"\n"
        );
        let file = std::env::temp_dir().join(name);
        fs::write(&file, plan).unwrap();
        Self { file }
    }

    fn explain(&self, url: &str, cpu: &str) -> Command {
        let mut command = program();
        command.args(["explain", "--reading", &format!("cpu={cpu}"), "--plan"]).arg(&self.file);
        command.env(VARIABLE, url);
        command
    }
}

impl Drop for PlanFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

const VARIABLE: &str = "EXPLAIN_TEST_LEDGER";
