//! `man`: prints a manual page of the program or of one command.

use std::io;

use clap::Command;

#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// The command to describe [default: the program]
    #[arg(value_name = "COMMAND")]
    pub(crate) command: Option<String>,
}

/// Returns the page in roff format.
///
/// # Errors
///
/// [`ManPageError`] if there is no such command.
pub(crate) fn run(args: &ManArgs, mut program: Command) -> Result<String, ManPageError> {
    program.build();
    let command = match &args.command {
        None => program,
        Some(name) => {
            let Some(found) = find_command(&program, name) else {
                let names: Vec<_> = program.get_subcommands().map(Command::get_name).collect();
                return Err(ManPageError::UnknownCommand { name: name.clone(), allowed: names.join(", ") });
            };
            found.clone().name(format!("{PROGRAM}-{name}"))
        }
    };
    let has_subcommands = command.has_subcommands();
    let notes = command.get_after_long_help().or(command.get_after_help()).map(ToString::to_string);

    // The header has no date, so that each build produces the same page.
    let title = command.get_name().to_uppercase();
    let mut page = format!(".TH \"{title}\" 1 \"\" \"{VERSION}\" \"Commands\"\n").into_bytes();
    let man = clap_mangen::Man::new(command);
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if has_subcommands {
        man.render_subcommands_section(&mut page)?;
    }
    page.extend(render_sections(notes.as_deref().unwrap_or_default()).into_bytes());
    Ok(String::from_utf8_lossy(&page).into_owned())
}

/// Finds a command by its name. A subcommand has the name of its command in front, such as `fleet-status`.
fn find_command<'p>(program: &'p Command, name: &str) -> Option<&'p Command> {
    let nested = |command: &'p Command| {
        command.find_subcommand(name.strip_prefix(command.get_name())?.strip_prefix('-')?)
    };
    program.find_subcommand(name).or_else(|| program.get_subcommands().find_map(nested))
}

/// Renders the notes at the end of a help page as sections of a manual page.
///
/// Each section is in no-fill mode (`.nf`): formatting would join the lines of tables and commands. A heading (`.SH`) ends
/// that mode.
fn render_sections(notes: &str) -> String {
    let mut page = String::new();
    for (line, next) in notes.lines().zip(notes.lines().skip(1).chain([""])) {
        if let Some(heading) = parse_heading(line) {
            page.extend([".SH \"", &escape_roff(&heading.to_uppercase()), "\"\n.nf\n.in 2n\n"]);
        } else if !line.is_empty() {
            page.extend([&*escape_roff(line.strip_prefix("  ").unwrap_or(line)), "\n"]);
        } else if parse_heading(next).is_none() {
            page.push_str(".sp\n");
        }
    }
    page
}

/// Returns `Examples` for the line `Examples:`. Indented lines are not headings.
fn parse_heading(line: &str) -> Option<&str> {
    line.strip_suffix(':').filter(|heading| !heading.starts_with(' '))
}

/// Escapes the characters that roff would interpret.
fn escape_roff(line: &str) -> String {
    let escaped = line.replace('\\', r"\e").replace('-', r"\-").replace('\'', r"\(aq").replace('`', r"\(ga");
    if escaped.starts_with('.') { format!(r"\&{escaped}") } else { escaped }
}

/// There is no page to print.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManPageError {
    #[error("unknown command `{name}` (allowed: {allowed})")]
    UnknownCommand { name: String, allowed: String },
    #[error("cannot render the manual page: {0}")]
    Render(#[from] io::Error),
}

const PROGRAM: &str = "concurrency-governor";
const VERSION: &str = concat!("concurrency-governor ", env!("CARGO_PKG_VERSION"));

pub(crate) const EXAMPLES: &str = "\
Examples:
  concurrency-governor man > concurrency-governor.1
  concurrency-governor man explain > concurrency-governor-explain.1
  concurrency-governor man simulate | man -l -";
