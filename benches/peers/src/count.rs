//! Instructions and locked instructions per operation: this program under callgrind, twice, the second time with twice
//! the operations; the difference is what the operations cost, whatever it takes to start.

use std::env;
use std::fs;
use std::process::Command;

use crate::harness::Row;

/// Instructions and global bus events, which is what valgrind calls locked instructions.
#[derive(Clone, Copy)]
pub struct Cost {
    pub instructions: f64,
    pub locked: f64,
}

pub fn cost(row: &Row, contestant: &str) -> Cost {
    let (short, long) =
        (callgrind(row.id, contestant, row.counted), callgrind(row.id, contestant, row.counted * 2));
    let per = |at: usize| (long[at] as f64 - short[at] as f64) / row.counted as f64;
    Cost { instructions: per(0), locked: per(1) }
}

fn callgrind(row: &str, contestant: &str, times: u64) -> [u64; 2] {
    let out = env::temp_dir().join(format!("callgrind.{}.{row}.{contestant}.{times}", std::process::id()));
    let program = env::current_exe().expect("this program has a path");
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-bus=yes", "--quiet"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .args(["run", row, contestant, &times.to_string()])
        .output()
        .expect("valgrind is installed");
    assert!(run.status.success(), "{row} {contestant}: {}", String::from_utf8_lossy(&run.stderr));
    let profile = fs::read_to_string(&out).expect("callgrind has written");
    let _ = fs::remove_file(&out); // a temporary file that stays hurts nobody
    let line = |start: &str| {
        let line = profile.lines().find_map(|line| line.strip_prefix(start)).expect("callgrind's format");
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let (events, totals) = (line("events:"), line("totals:"));
    ["Ir", "Ge"].map(|event| {
        let at = events.iter().position(|known| known == event).expect("callgrind counts it");
        totals.get(at).map_or(0, |total| total.parse().expect("a number"))
    })
}
