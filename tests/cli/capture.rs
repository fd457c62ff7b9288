//! `capture`, and `explain --root` of what it wrote.
#![cfg(target_os = "linux")]

use std::path::Path;

use crate::support::{TestDirectory, explain, fail, program, succeed, succeed_with_json};

/// Each captured host of the fixtures has the readings that its kernel enforced.
#[test]
fn captured_hosts_are_explained() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kernel-6.1-cgroup-v2");
    let expected = std::fs::read_to_string(fixtures.join("EXPECTED.tsv")).unwrap();
    for line in expected.lines().skip(1) {
        let cells: Vec<&str> = line.split('\t').collect();
        let root = fixtures.join(cells[0]);
        let report = succeed_with_json(explain(["--json", "--root"]).arg(&root));
        for (resource, column) in [("cpu", 1), ("memory", 3), ("tasks", 5)] {
            let reading = &report["readings"][resource];
            let value = reading["value"].as_str().map_or_else(|| reading["value"].to_string(), str::to_owned);
            assert_eq!(value, cells[column], "{line}: {reading}");
            assert_eq!(reading["bound"], cells[column + 1].replace(' ', "_"), "{line}: {reading}");
        }
        let table = succeed(explain(["--root"]).arg(&root));
        // Only the title names the directory. The sources are named as on the captured host.
        let title = format!("Readings of {}\n", root.display());
        let (answer, rest) = table.split_once(&title).unwrap();
        let directory = fixtures.to_str().unwrap();
        assert!(
            !answer.contains(directory)
                && !rest.contains(directory)
                && !report["readings"].to_string().contains(directory),
            "{table}"
        );
        assert!(rest.contains(" /proc/meminfo: MemTotal:"), "{table}");
    }
    let line = fail(explain(["--root"]).arg(fixtures));
    assert!(line.contains("is not a captured host: it has no directory `proc`"), "{line}");
    assert!(line.contains("(allowed: a directory that `concurrency-governor capture` wrote)"), "{line}");
}

/// A captured host has the same limits as the host itself. `capture` does not write into a directory that is not empty.
#[test]
fn captured_host_is_explained_like_the_host_itself() {
    let parent = TestDirectory::new();
    let file = parent.write("file", "");
    let directory = parent.join("host");
    let printed = succeed(program().arg("capture").arg(&directory));
    assert!(printed.starts_with(&format!("Captured this host in {}\n", directory.display())), "{printed}");
    for path in printed.lines().skip(1) {
        assert!(Path::new(path.trim()).is_file(), "{path}");
    }
    assert!(printed.lines().count() > 10, "{printed}");
    let captured = succeed_with_json(explain(["--json", "--root"]).arg(&directory));
    let host = succeed_with_json(&mut explain(["--json"]));
    for resource in ["cpu", "fd", "memory", "tasks"] {
        for key in ["value", "bound"] {
            assert_eq!(captured["readings"][resource][key], host["readings"][resource][key], "{resource}");
        }
    }
    assert_eq!(captured["gates"], host["gates"]);
    assert_eq!(captured["readings"]["fd"]["figures"]["in_use"]["value"], "unknown");
    let open: u64 = host["readings"]["fd"]["figures"]["in_use"]["value"].as_u64().unwrap();
    assert!(open >= 3, "{host}");

    for not_empty in [directory.as_path(), parent.path()] {
        let line = fail(program().arg("capture").arg(not_empty));
        assert!(line.contains("is not empty (allowed: an empty directory"), "{line}");
    }
    assert!(fail(program().arg("capture").arg(&file)).contains("cannot write"));
    assert_eq!(std::fs::read(&file).unwrap(), b"");
    let line = fail(program().arg("capture"));
    assert!(line.contains("`capture` needs the argument `<DIR>`"), "{line}");
}
