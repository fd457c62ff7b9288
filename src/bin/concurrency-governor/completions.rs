//! `completions`: prints a completion script for a shell.

use clap::Command;
use clap_complete::Shell;

#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}

/// Returns the script that completes the arguments of `program`.
pub(crate) fn run(args: &CompletionsArgs, program: &mut Command) -> String {
    let name = program.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, program, name, &mut script);
    let script = String::from_utf8_lossy(&script);
    if args.shell != Shell::Bash {
        return script.into_owned();
    }
    // In one of two places, clap_complete 4.6.11 takes the hyphen in the program's name for the start of a command.
    // Without this correction, bash completes nothing after a command.
    script.replace("concurrency__subcmd__governor", "concurrency__governor")
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  concurrency-governor completions zsh > ~/.zfunc/_concurrency-governor
  concurrency-governor completions fish \\
    > ~/.config/fish/completions/concurrency-governor.fish
  source <(concurrency-governor completions bash)    # in ~/.bashrc";
