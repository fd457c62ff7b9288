//! What a package installs beside the program: completion scripts and manual pages.

use std::process::Command;

use crate::support::{TestDirectory, fail, program, succeed, text};

/// The script of every shell contains each command, and bash completes with its script.
#[test]
fn completions_know_every_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = succeed(program().args(["completions", shell]));
        for word in [
            "explain",
            "check",
            "capture",
            "diff",
            "watch",
            "simulate",
            "completions",
            "man",
            "env-prefix",
            "real-time",
        ] {
            assert!(script.contains(word), "{word} in the script of {shell}");
        }
    }
    let directory = TestDirectory::new();
    let script = directory.write("completions.bash", succeed(program().args(["completions", "bash"])));
    let complete = "source \"$1\"; COMP_WORDS=(\"${@:2}\"); COMP_CWORD=$(($# - 2))
        $(complete -p concurrency-governor | sed -E 's/.*-F ([^ ]+) .*/\\1/') \"$2\" \"${@: -1}\" \"${@: -2:1}\"
        echo \"${COMPREPLY[*]}\"";
    for (words, completed) in [
        (&["wat"][..], "watch"),
        (&["watch", "--ev"], "--every"),
        (&["explain", "--color", ""], "auto always never"),
        (&["explain", "--preset", ""], "astrid"),
        (&["completions", "z"], "zsh"),
    ] {
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", complete, "bash"]).arg(&script).arg("concurrency-governor").args(words);
        let Ok(output) = bash.output() else { break }; // bash is not installed
        assert_eq!(text(&output.stdout).trim_end(), completed, "{words:?}: {}", text(&output.stderr));
    }
    let line = fail(program().args(["completions", "tcsh"]));
    assert!(line.contains("`tcsh`: unknown value") && line.contains("allowed: bash, elvish, fish"), "{line}");
}

/// There is a manual page for the program and for each command, with its flags and examples.
#[test]
fn every_command_has_a_manual_page() {
    let page = succeed(program().arg("man"));
    assert!(page.starts_with(".TH \"CONCURRENCY-GOVERNOR\" 1 ") && page.contains("simulate"), "{page}");
    for (command, flag) in [
        ("explain", "root"),
        ("check", "require"),
        ("diff", "adaptive"),
        ("watch", "every"),
        ("simulate", "rate"),
    ] {
        let page = succeed(program().args(["man", command]));
        assert!(page.starts_with(&format!(".TH \"CONCURRENCY-GOVERNOR-{}\" 1 ", command.to_uppercase())));
        assert!(page.contains(flag) && page.contains(".SH \"EXAMPLES\"\n.nf\n"), "{page}");
    }
    let line = fail(program().args(["man", "cook"]));
    assert!(line.contains("unknown command `cook`") && line.contains("allowed: explain"), "{line}");
}
