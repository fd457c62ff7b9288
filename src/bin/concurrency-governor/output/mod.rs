//! Rendering that all commands share: tables, escaped text, and how numbers and decisions are written.

mod command_output;
mod error_lines;
mod escape;
mod redact;
mod table;
mod values;

pub(crate) use command_output::CommandOutput;
pub(crate) use error_lines::ErrorLines;
pub(crate) use escape::single_line;
pub(crate) use redact::redact_url;
pub(crate) use table::{Alignment, TableCell, TextTable};
pub(crate) use values::{
    format_decision, format_exact_measurement, format_keys, format_learning, format_measurement,
};
