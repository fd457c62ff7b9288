//! Wrong usage on one line: what was given, and what is allowed.

use std::error::Error as _;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory};

/// Why the program stops at its arguments.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Help or the version was asked for: a page for standard output.
    Page(String),
    /// Something is wrong: a line for standard error.
    Refused(String),
}

/// What an error of the parser comes to, given the arguments that it read.
pub(crate) fn stop<A: CommandFactory>(error: &clap::Error, given: &[OsString]) -> Stop {
    if !error.use_stderr() {
        return Stop::Page(error.render().ansi().to_string());
    }
    let mut program = A::command();
    program.build();
    let command = command_of(&program, error, given);
    Stop::Refused(refusal(error, command, given))
}

fn refusal(error: &clap::Error, command: &Command, given: &[OsString]) -> String {
    let of = |kind| error.get(kind).map(text).unwrap_or_default();
    let argument = of(ContextKind::InvalidArg);
    let value = of(ContextKind::InvalidValue);
    let name = command.get_name();
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let owner = command.get_subcommands().find(|command| has_flag(command, &argument));
            let hint = match (owner, of(ContextKind::SuggestedArg)) {
                (Some(owner), _) => format!(", it belongs after `{}`", owner.get_name()),
                (None, suggested) if suggested.is_empty() => String::new(),
                (None, suggested) => format!(", did you mean `{suggested}`?"),
            };
            format!("`{name}` takes no argument `{argument}`{hint} (allowed: {})", flags(command))
        }
        ErrorKind::InvalidSubcommand => {
            let command_given = of(ContextKind::InvalidSubcommand);
            format!("there is no command `{command_given}` (allowed: {})", commands(command))
        }
        ErrorKind::MissingSubcommand => format!("no command is given (allowed: {})", commands(command)),
        ErrorKind::InvalidValue if value.is_empty() => {
            let allowed = match of(ContextKind::ValidValue) {
                values if values.is_empty() => String::new(),
                values => format!(": {values}"),
            };
            format!("`{argument}` has no value (allowed: one{allowed})")
        }
        ErrorKind::InvalidValue => {
            let allowed = of(ContextKind::ValidValue);
            format!("`{} {value}`: there is no such value (allowed: {allowed})", flag(&argument))
        }
        ErrorKind::ValueValidation => {
            let reason = error.source().map(ToString::to_string).unwrap_or_default();
            format!("`{} {value}`: {reason}", flag(&argument))
        }
        ErrorKind::MissingRequiredArgument => format!("`{name}` has no `{argument}` (allowed: one)"),
        ErrorKind::TooManyValues => {
            format!("`{argument}` takes no value, yet `{value}` is given (allowed: the flag alone)")
        }
        ErrorKind::ArgumentConflict => match of(ContextKind::PriorArg) {
            prior if prior == argument => format!("`{argument}` is given twice (allowed: once)"),
            prior => format!("`{argument}` cannot be used with `{prior}` (allowed: one of them)"),
        },
        ErrorKind::InvalidUtf8 => {
            let argument = given.iter().find(|argument| argument.to_str().is_none());
            let argument = argument.map(|argument| argument.to_string_lossy()).unwrap_or_default();
            format!("the argument `{argument}` is not UTF-8 (allowed: UTF-8, but for paths)")
        }
        // The parser has errors that no argument of this program can bring about; they come in the parser's words.
        _ => format!("{} (allowed: {})", first_paragraph(error), flags(command)),
    }
}

/// The command that the parser was at when it found the error: a command of the program, or the program itself if it
/// came no further than an argument before the command.
fn command_of<'p>(program: &'p Command, error: &clap::Error, given: &[OsString]) -> &'p Command {
    let wrong = error.get(ContextKind::InvalidArg).map(text).unwrap_or_default();
    for argument in given.iter().skip(1) {
        if argument.to_str().is_some_and(|argument| flag(argument) == wrong) {
            break;
        }
        if let Some(command) = program.find_subcommand(argument) {
            return command;
        }
    }
    program
}

fn has_flag(command: &Command, flag: &str) -> bool {
    let mut flags = command.get_arguments().filter_map(clap::Arg::get_long);
    flags.any(|long| flag.strip_prefix("--") == Some(long))
}

/// The flags of a command, with what each takes.
fn flags(command: &Command) -> String {
    let mut flags: Vec<String> = command
        .get_arguments()
        .filter_map(|argument| {
            let long = argument.get_long()?;
            let value = argument.get_value_names().filter(|_| argument.get_action().takes_values());
            let value = value.and_then(<[_]>::first).map(|value| format!(" {value}")).unwrap_or_default();
            Some(format!("--{long}{value}"))
        })
        .collect();
    if command.has_subcommands() {
        flags.insert(0, commands(command));
    }
    flags.join(", ")
}

fn commands(command: &Command) -> String {
    let names: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
    names.join(", ")
}

/// `--set` of `--set <GATE=N>` and of `--set=io=1`.
fn flag(argument: &str) -> &str {
    argument.split([' ', '=']).next().unwrap_or(argument)
}

fn text(value: &ContextValue) -> String {
    match value {
        ContextValue::Strings(values) => values.join(", "),
        value => value.to_string(),
    }
}

fn first_paragraph(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = paragraph.trim_start_matches("error:").split_whitespace().collect();
    words.join(" ")
}
