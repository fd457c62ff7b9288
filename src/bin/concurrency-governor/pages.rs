//! What a package installs beside the program: completions for shells, and pages of the manual.

use std::io;

use clap::{Command, CommandFactory as _};

use crate::args::{Args, CompletionsArgs, ManArgs};

/// A script that completes this program's arguments in a shell.
pub(crate) fn completions(args: &CompletionsArgs) -> String {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), NAME, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// A page of the manual, of the program or of one of its commands.
pub(crate) fn man(args: &ManArgs) -> Result<String, ManError> {
    let mut program = Args::command();
    program.build();
    let command = match &args.command {
        None => program,
        Some(name) => {
            let found = program.find_subcommand(name).cloned();
            let title = format!("{NAME}-{name}");
            found.map(|command| command.name(title)).ok_or_else(|| {
                let known: Vec<_> = program.get_subcommands().map(Command::get_name).collect();
                ManError::NoCommand { name: name.clone(), allowed: known.join(", ") }
            })?
        }
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManError {
    #[error("there is no command `{name}` (allowed: {allowed})")]
    NoCommand { name: String, allowed: String },
    #[error("cannot write the page: {0}")]
    Render(#[from] io::Error),
}

const NAME: &str = "concurrency-governor";
