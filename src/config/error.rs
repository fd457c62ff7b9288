//! The error of a configuration: all of its problems at once.

use std::fmt;
use std::path::Path;

use crate::plan::debug_as_display::impl_debug_as_display;

/// All problems of a configuration, with the name of its file if it is known.
///
/// It prints as one line, unless it contains an error of the file format's own parser that has several lines.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigError {
    file: Option<String>,
    problems: Vec<ConfigProblem>,
}

impl_debug_as_display!(ConfigError);

impl ConfigError {
    /// Adds the name of the file to the error of a format's parser, which knows only the text.
    pub fn in_file(file: impl AsRef<Path>, error: impl fmt::Display) -> Self {
        let file = file.as_ref().display().to_string();
        Self { file: Some(file), problems: vec![ConfigProblem::new(None, error.to_string())] }
    }

    /// Returns the problems, at least one. They are sorted by line where lines are known.
    #[must_use]
    pub fn problems(&self) -> &[ConfigProblem] {
        &self.problems
    }

    /// Creates an error of at least one problem.
    pub(super) fn of(mut problems: Vec<ConfigProblem>) -> Self {
        problems.sort_by_key(|problem| problem.line);
        Self { file: None, problems }
    }
}

impl std::error::Error for ConfigError {}

/// `limits.toml: line 3: gates.io.queue = -1 is not a whole number (allowed: 0 to 18446744073709551615)`.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}: ")?;
        }
        let problems: Vec<String> = self.problems.iter().map(ToString::to_string).collect();
        f.write_str(&problems.join("; "))
    }
}

/// One problem of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    line: Option<usize>,
    message: String,
}

impl ConfigProblem {
    pub(super) fn new(line: Option<usize>, message: impl Into<String>) -> Self {
        Self { line, message: message.into() }
    }

    /// Returns the line of the problem, counted from 1, if the parser reported lines.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        self.line
    }

    /// Returns the message: the key, the given value and the allowed values.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.message)
    }
}
