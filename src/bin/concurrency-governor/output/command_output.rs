//! What a command prints, and its exit code.

use std::process::ExitCode;

/// The text for standard output, and the result of a command that compares.
#[derive(Debug)]
pub(crate) struct CommandOutput {
    pub(crate) text: String,
    is_negative: bool,
}

impl CommandOutput {
    pub(crate) fn success(text: String) -> Self {
        Self { text, is_negative: false }
    }

    /// Creates the output of a comparison that has failed: the exit code is 1.
    pub(crate) fn negative(text: String) -> Self {
        Self { text, is_negative: true }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        if self.is_negative { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}
