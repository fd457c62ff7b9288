//! Errors for people: one line, or a heading with one line for each problem.

use std::ffi::OsString;
use std::fmt::Display;

use super::escape::single_line;
use super::redact::{REDACTED, url_rest};

/// An error as lines. Each line is escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ErrorLines {
    first: String,
    problems: Vec<String>,
}

impl ErrorLines {
    /// Creates one line of an error.
    pub(crate) fn one(error: impl Display) -> Self {
        Self { first: single_line(&error.to_string()), problems: Vec::new() }
    }

    /// Puts each problem on a line of its own. A single problem stands on the line of the heading.
    pub(crate) fn list<P: Display>(heading: &str, problems: &[P]) -> Self {
        match problems {
            [problem] if heading.is_empty() => Self::one(problem),
            [problem] => Self::one(format_args!("{heading}: {problem}")),
            problems => {
                let count = problems.len();
                let first = if heading.is_empty() {
                    format!("{count} problems")
                } else {
                    format!("{heading}: {count} problems")
                };
                let problems = problems.iter().map(|problem| single_line(&problem.to_string())).collect();
                Self { first: single_line(&first), problems }
            }
        }
    }

    /// Removes the URLs that are arguments of the program. A URL can have a password, and can be given where a file is expected.
    pub(crate) fn redact_urls(mut self, args: &[OsString]) -> Self {
        for argument in args {
            let argument = single_line(&argument.to_string_lossy());
            let Some(rest) = url_rest(&argument) else { continue };
            for line in std::iter::once(&mut self.first).chain(&mut self.problems) {
                *line = line.replace(rest, REDACTED);
            }
        }
        self
    }

    /// Returns the lines: the first one, and one for each problem, indented.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        std::iter::once(self.first.clone()).chain(self.problems.iter().map(|problem| format!("  {problem}")))
    }
}
