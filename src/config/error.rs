//! Why a configuration cannot be used: everything that is wrong in it.

use std::fmt;

/// Everything that is wrong in a configuration, and the file that it is from, where that is known.
///
/// It prints as one line, unless the format that the file is in says more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    file: Option<String>,
    faults: Vec<ConfigProblem>,
}

impl ConfigError {
    /// What a format's own reader found wrong with a file, with the file's name before it: that reader sees only text.
    pub fn in_file(file: impl Into<String>, error: impl fmt::Display) -> Self {
        Self { file: Some(file.into()), faults: vec![ConfigProblem::new(None, error.to_string())] }
    }

    /// What is wrong, at least one thing: in the order of the lines, where those are known.
    #[must_use]
    pub fn problems(&self) -> &[ConfigProblem] {
        &self.faults
    }

    /// Of at least one fault.
    pub(super) fn of(mut faults: Vec<ConfigProblem>) -> Self {
        faults.sort_by_key(|fault| fault.line);
        Self { file: None, faults }
    }
}

impl std::error::Error for ConfigError {}

/// `limits.toml: line 3: gates.io.queue = -1 is not a whole number (allowed: 0 to 18446744073709551615)`.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}: ")?;
        }
        let faults: Vec<String> = self.faults.iter().map(ToString::to_string).collect();
        f.write_str(&faults.join("; "))
    }
}

/// One thing that is wrong in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    line: Option<usize>,
    what: String,
}

impl ConfigProblem {
    pub(super) fn new(line: Option<usize>, what: impl Into<String>) -> Self {
        Self { line, what: what.into() }
    }

    /// The line where it stands, counted from 1, if whoever read the file kept it.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        self.line
    }

    /// The key, what was given and what is allowed.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.what)
    }
}
