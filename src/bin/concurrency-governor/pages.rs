//! What a package installs beside the program: completions for shells, and pages of the manual.

use std::io;

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

use crate::args::{Args, CompletionsArgs, ManArgs};

/// A script that completes this program's arguments in a shell.
pub(crate) fn completions(args: &CompletionsArgs) -> String {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), NAME, &mut script);
    let script = String::from_utf8_lossy(&script);
    if args.shell != Shell::Bash {
        return script.into_owned();
    }
    // In one of two places clap_complete (4.6.11) takes the hyphen for the end of the program's name, and then completes
    // nothing after a command.
    script.replace("concurrency__subcmd__governor", "concurrency__governor")
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
    let notes = command.get_after_long_help().or(command.get_after_help()).map(ToString::to_string);
    // No date: a page is the same whenever it was made.
    let title = command.get_name().to_uppercase();
    let mut page = format!(".TH \"{title}\" 1 \"\" \"{VERSION}\" \"Commands\"\n").into_bytes();
    let man = clap_mangen::Man::new(command);
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if args.command.is_none() {
        man.render_subcommands_section(&mut page)?;
    }
    page.extend(sections(notes.as_deref().unwrap_or_default()).into_bytes());
    Ok(String::from_utf8_lossy(&page).into_owned())
}

/// What help ends with, as sections of a page, line by line as it stands there: filled, tables and commands would be neither.
/// A heading ends what is not filled.
fn sections(notes: &str) -> String {
    let mut page = String::new();
    for (line, next) in notes.lines().zip(notes.lines().skip(1).chain([""])) {
        if let Some(heading) = heading(line) {
            page.extend([".SH \"", &escaped(&heading.to_uppercase()), "\"\n.nf\n.in 2n\n"]);
        } else if !line.is_empty() {
            page.extend([&*escaped(line.strip_prefix("  ").unwrap_or(line)), "\n"]);
        } else if heading(next).is_none() {
            page.push_str(".sp\n");
        }
    }
    page
}

/// `Examples` of `Examples:`.
fn heading(line: &str) -> Option<&str> {
    line.strip_suffix(':').filter(|heading| !heading.starts_with(' '))
}

/// Text that whoever formats a page takes as it is.
fn escaped(line: &str) -> String {
    let escaped = line.replace('\\', r"\e").replace('-', r"\-").replace('\'', r"\(aq").replace('`', r"\(ga");
    if escaped.starts_with('.') { format!(r"\&{escaped}") } else { escaped }
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
const VERSION: &str = concat!("concurrency-governor ", env!("CARGO_PKG_VERSION"));
