//! Usage errors on one line: what was given, what is allowed and what to do.

use std::error::Error as _;
use std::ffi::OsString;

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// The program ends before it runs a command.
#[derive(Debug)]
pub(crate) enum EarlyExit {
    /// Help or the version was requested: a page for standard output.
    Page(String),
    /// The arguments are wrong: one line for standard error.
    UsageError(String),
}

impl EarlyExit {
    /// Converts an error of clap, given the definition of the program and the arguments that clap parsed.
    pub(crate) fn from_clap(error: &clap::Error, mut program: Command, args: &[OsString]) -> Self {
        if !error.use_stderr() {
            return Self::Page(error.render().ansi().to_string());
        }
        program.build();
        let command = command_with_error(&program, error, args);
        Self::UsageError(describe(error, command, args))
    }
}

/// Describes the error on one line. `command` is the command whose arguments are wrong.
fn describe(error: &clap::Error, command: &Command, args: &[OsString]) -> String {
    let context = |kind| error.get(kind).map(context_text).unwrap_or_default();
    let argument = context(ContextKind::InvalidArg);
    let value = context(ContextKind::InvalidValue);
    let name = command.get_name();
    let help = help_command(command);
    match error.kind() {
        ErrorKind::UnknownArgument => {
            // The flag may belong to a command that follows it, or may be misspelled.
            let owner = command.get_subcommands().find(|command| has_flag(command, &argument));
            let hint = match (owner, context(ContextKind::SuggestedArg)) {
                (Some(owner), _) => format!("; write it after `{}`", owner.get_name()),
                (None, suggested) if suggested.is_empty() => String::new(),
                (None, suggested) => format!("; did you mean `{suggested}`?"),
            };
            format!("`{name}` has no argument `{argument}`{hint} (allowed: {}; see `{help}`)", flags(command))
        }
        ErrorKind::InvalidSubcommand => {
            let given = context(ContextKind::InvalidSubcommand);
            format!("unknown command `{given}` (allowed: {}; see `{help}`)", subcommands(command))
        }
        ErrorKind::MissingSubcommand => {
            format!("no command is given (allowed: {}; see `{help}`)", subcommands(command))
        }
        ErrorKind::InvalidValue if value.is_empty() => {
            let allowed = match context(ContextKind::ValidValue) {
                values if values.is_empty() => format!("see `{help}`"),
                values => format!("allowed: {values}"),
            };
            format!("`{argument}` needs a value ({allowed})")
        }
        ErrorKind::InvalidValue => {
            let allowed = context(ContextKind::ValidValue);
            format!("{}: unknown value (allowed: {allowed})", quote_given(&argument, &value))
        }
        ErrorKind::ValueValidation => {
            let reason = error.source().map(ToString::to_string).unwrap_or_default();
            format!("{}: {reason}", quote_given(&argument, &value))
        }
        ErrorKind::MissingRequiredArgument => {
            format!("`{name}` needs the argument `{argument}` (see `{help}`)")
        }
        ErrorKind::TooManyValues => {
            format!("`{argument}` takes no value, but `{value}` is given (allowed: the flag alone)")
        }
        ErrorKind::ArgumentConflict => match context(ContextKind::PriorArg) {
            prior if prior == argument => format!("`{argument}` is given twice (allowed: once)"),
            prior => format!("`{argument}` cannot be used together with `{prior}` (allowed: one of them)"),
        },
        ErrorKind::InvalidUtf8 => {
            let invalid = args.iter().find(|argument| argument.to_str().is_none());
            let invalid = invalid.map(|argument| argument.to_string_lossy()).unwrap_or_default();
            format!("the argument `{invalid}` is not UTF-8 (allowed: other bytes than UTF-8 only in paths)")
        }
        // The arguments of this program cannot cause the other kinds of errors. Their text is clap's own.
        _ => format!("{} (allowed: {}; see `{help}`)", first_paragraph(error), flags(command)),
    }
}

/// Finds the command that clap was parsing when it found the error.
///
/// That is the first command among the arguments, or its subcommand. It is the program itself if the wrong argument comes before any
/// command.
fn command_with_error<'p>(program: &'p Command, error: &clap::Error, args: &[OsString]) -> &'p Command {
    let wrong = error.get(ContextKind::InvalidArg).map(context_text).unwrap_or_default();
    let mut last = program;
    for argument in args.iter().skip(1) {
        if argument.to_str().is_some_and(|argument| flag_name(argument) == wrong) {
            break;
        }
        if let Some(command) = last.find_subcommand(argument) {
            last = command;
        }
    }
    last
}

/// Returns the command line that prints the help page of a command.
fn help_command(command: &Command) -> String {
    format!("{} --help", command.get_bin_name().unwrap_or(command.get_name()))
}

fn has_flag(command: &Command, flag: &str) -> bool {
    let mut flags = command.get_arguments().filter_map(clap::Arg::get_long);
    flags.any(|long| flag.strip_prefix("--") == Some(long))
}

/// Lists the flags of a command, each with the name of its value. The subcommands come first, if there are any.
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
        flags.insert(0, subcommands(command));
    }
    flags.join(", ")
}

fn subcommands(command: &Command) -> String {
    let names: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
    names.join(", ")
}

/// Quotes a flag with its value, as the user wrote it. Clap names an argument without a flag by its placeholder, `<SHELL>`.
fn quote_given(argument: &str, value: &str) -> String {
    match flag_name(argument) {
        placeholder if placeholder.starts_with('<') => format!("`{value}`"),
        flag => format!("`{}`", format!("{flag} {value}").trim_end()),
    }
}

/// Returns `--set` for `--set <GATE=N>` and for `--set=io=1`.
fn flag_name(argument: &str) -> &str {
    argument.split([' ', '=']).next().unwrap_or(argument)
}

fn context_text(value: &ContextValue) -> String {
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
