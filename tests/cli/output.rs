//! Where output goes: help pages, colour, and pipes or devices that do not accept it.

use std::process::{Command, Stdio};

use crate::support::{explain, program, succeed, text};

/// Help and version go to standard output with exit code 0, without colour, and fit into 80 columns.
#[test]
fn help_and_version_go_to_standard_output() {
    for arguments in [
        &["--help"][..],
        &["-h"],
        &["help"],
        &["explain", "--help"],
        &["explain", "-h"],
        &["help", "explain"],
        #[cfg(target_os = "linux")]
        &["capture", "--help"],
        #[cfg(target_os = "linux")]
        &["diff", "--help"],
        &["check", "--help"],
        &["check", "-h"],
        &["watch", "--help"],
        &["watch", "-h"],
        &["simulate", "--help"],
        #[cfg(any(feature = "redis", feature = "postgres"))]
        &["fleet", "--help"],
        #[cfg(any(feature = "redis", feature = "postgres"))]
        &["fleet", "status", "--help"],
        #[cfg(any(feature = "redis", feature = "postgres"))]
        &["fleet", "set-limit", "--help"],
        &["simulate", "-h"],
        &["completions", "-h"],
        &["man", "-h"],
    ] {
        let page = succeed(program().args(arguments));
        assert!(page.contains("Usage: concurrency-governor"), "{page}");
        assert!(page.contains("Examples:\n  concurrency-governor "), "{page}");
        let long: Vec<&str> = page.lines().filter(|line| line.chars().count() > 80).collect();
        assert!(long.is_empty(), "{arguments:?}: {long:#?}");
        assert!(!page.contains('\u{1b}'), "{page}");
    }
    for flag in ["--version", "-V"] {
        assert_eq!(
            succeed(program().arg(flag)),
            concat!("concurrency-governor ", env!("CARGO_PKG_VERSION"), "\n")
        );
    }
}

/// Output that goes to a pipe has colour only on request. `--color` wins over `NO_COLOR`, and `NO_COLOR` over `CLICOLOR_FORCE`.
#[test]
fn colour_follows_flags_and_variables() {
    let has_colour = |command: &mut Command| succeed(command).contains('\u{1b}');
    assert!(!has_colour(&mut explain([])));
    assert!(has_colour(&mut explain(["--color", "always"])));
    assert!(has_colour(explain([]).env("CLICOLOR_FORCE", "1")));
    assert!(!has_colour(explain([]).env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1")));
    assert!(!has_colour(explain(["--color", "never"]).env("CLICOLOR_FORCE", "1")));
    assert!(has_colour(explain(["--color", "always"]).env("NO_COLOR", "1")));
    assert!(!has_colour(explain(["--json", "--color", "always"]).env("CLICOLOR_FORCE", "1")));
}

/// The program ends without an error if the reader closes the pipe, as in `| head -1`.
#[cfg(unix)]
#[test]
fn closed_pipe_is_not_an_error() {
    use std::os::{fd::OwnedFd, unix::net::UnixStream};

    for arguments in [&["explain"][..], &["--help"]] {
        let (reader, writer) = UnixStream::pair().unwrap();
        drop(reader);
        let output = program().args(arguments).stdout(Stdio::from(OwnedFd::from(writer))).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(text(&output.stderr), "");
    }
}

/// Output that cannot be written is an error with exit code 2, because 1 is the result of a comparison.
#[cfg(target_os = "linux")]
#[test]
fn full_device_is_an_error() {
    for arguments in [&["explain"][..], &["check", "--require", "io>0"], &["check", "--require", "io<0"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = program().args(arguments).stdout(Stdio::from(full)).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(text(&output.stderr).starts_with("error: cannot write to standard output: "), "{output:?}");
    }
}
