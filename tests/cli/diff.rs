//! `diff` of captured hosts.
#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};

use crate::support::{TestDirectory, fail, program, succeed, text};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kernel-6.1-cgroup-v2").join(name)
}

/// The readings and the limits that differ are shown side by side, with what decides each limit. The exit code is 1.
#[test]
fn differences_are_shown_side_by_side() {
    let directory = TestDirectory::new();
    for (name, of) in [("a", "v2-one-and-half"), ("b", "v2-no-limit")] {
        std::os::unix::fs::symlink(fixture(of), directory.join(name)).unwrap();
    }
    let mut command = program();
    let output =
        command.current_dir(directory.path()).args(["diff", "a", "b", "--set", "pool=9"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(
        text(&output.stdout),
        "\
Readings that differ
resource  a    b
cpu       1.5  4

Gates of preset astrid that differ
gate  a                        b
io    64                       256
      `(whole cpu or 2) * 64`  `(whole cpu or 2) * 64`
"
    );
}

/// A difference that is smaller than the two decimal places of the usual text is a difference. It is shown in bytes.
#[test]
fn small_differences_are_shown_in_bytes() {
    let directory = TestDirectory::new();
    for (name, kib) in [("a", 16_777_230), ("b", 16_777_240)] {
        let mut copy = std::process::Command::new("cp");
        let copied = copy.arg("-r").arg(fixture("v2-no-limit")).arg(directory.join(name)).status();
        assert!(copied.unwrap().success());
        let meminfo = directory.join(name).join("proc/meminfo");
        let text = std::fs::read_to_string(&meminfo).unwrap();
        let rest = text.split_once('\n').unwrap().1;
        std::fs::write(meminfo, format!("MemTotal: {kib} kB\n{rest}")).unwrap();
    }
    let output = program().current_dir(directory.path()).args(["diff", "a", "b"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let printed = text(&output.stdout);
    let cells: Vec<&str> = printed.lines().nth(2).unwrap().split_whitespace().collect();
    assert_eq!(cells, ["memory", "17179883520", "bytes", "17179893760", "bytes"], "{printed}");
}

/// A host does not differ from itself, and `-` and a missing second host are this host.
#[test]
fn equal_hosts_do_not_differ() {
    let same = "the hosts have the same readings and the same limits\n";
    let host = fixture("v2-no-limit");
    assert_eq!(succeed(program().arg("diff").args([&host, &host])), same);

    let directory = TestDirectory::new();
    let captured = directory.join("host");
    succeed(program().arg("capture").arg(&captured));
    // The readings of a captured host may differ where they come from system calls. The limits do not differ.
    for hosts in [vec![captured.as_os_str()], vec!["-".as_ref(), captured.as_os_str()]] {
        let output = program().arg("diff").args(hosts).output().unwrap();
        assert!(!text(&output.stdout).contains("Gates"), "{output:?}");
        assert_eq!(text(&output.stderr), "");
    }
}

/// Wrong hosts and wrong settings are wrong input.
#[test]
fn wrong_input_is_reported() {
    let host = fixture("v2-no-limit");
    let line = fail(program().args(["diff", "/nowhere"]).arg(&host));
    assert!(line.starts_with("error: `/nowhere` is not a captured host"), "{line}");
    assert!(line.contains("`concurrency-governor capture` wrote") && !line.contains("--root"), "{line}");
    assert!(fail(program().arg("diff").args([&host, &host]).args(["--set", "oi=1"])).contains("`oi`"));
    assert!(fail(program().arg("diff")).contains("<A>"), "a host is required");
}
