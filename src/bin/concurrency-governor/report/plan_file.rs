//! The plan file: gates and settings in TOML or JSON.
//!
//! Each error names the key, its value and what is allowed. In TOML it names the line, too.

use std::io::{self, Read as _};
use std::path::Path;

use concurrency_governor::OverrideLayer;
use concurrency_governor::config::{ConfigError, ConfigKey, PlanConfig, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::output::{ErrorLines, redact_url};

/// The content of a plan file.
#[derive(Debug)]
pub(crate) struct PlanFile {
    /// The plan, including the preset that it starts from.
    pub(crate) config: PlanConfig,
    /// The `[overrides]` of the file, as a layer that is named after the file.
    pub(crate) overrides: OverrideLayer,
}

impl PlanFile {
    /// Reads a plan file: JSON if its name ends in `.json`, else TOML.
    ///
    /// # Errors
    ///
    /// [`PlanFileError`] if the file cannot be read, or with everything that is wrong in it.
    pub(crate) fn read(path: &Path) -> Result<Self, PlanFileError> {
        let file = path.display().to_string();
        let text = match read_text(path) {
            Ok(text) => text,
            Err(error) => return Err(PlanFileError::Unreadable { file, error }),
        };
        let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        let value = match if is_json { parse_json(&text) } else { parse_toml(&text) } {
            Ok(value) => value,
            Err(reason) => return Err(PlanFileError::Syntax { file, reason }),
        };
        match PlanConfig::read(&value) {
            Ok(config) => Ok(Self { overrides: config.layer(file), config }),
            Err(error) => Err(PlanFileError::Invalid { file, error }),
        }
    }
}

/// Reads a file as UTF-8. Stops at the largest size of a plan, so that it never reads `/dev/zero` to the end.
fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_BYTES.saturating_add(1)).read_to_end(&mut bytes)?;
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if length > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line =
            error.as_bytes().iter().take(valid).filter(|byte| **byte == b'\n').count().saturating_add(1);
        io::Error::new(io::ErrorKind::InvalidData, format!("line {line} is not UTF-8"))
    })
}

fn parse_json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("not valid JSON: {error}"))
}

fn parse_toml(text: &str) -> Result<Value, String> {
    let index = LineIndex::new(text);
    let document = DeTable::parse(text).map_err(|error| {
        let Some(span) = error.span() else { return format!("not valid TOML: {}", error.message()) };
        let line = index.line_of(span.start);
        let content = text.lines().nth(line.saturating_sub(1)).unwrap_or_default().trim();
        let content = excerpt(redact_url(content).as_deref().unwrap_or(content));
        format!("line {line}: not valid TOML: {}, in {content:?}", error.message())
    })?;
    Ok(index.convert_table(document.get_ref()))
}

/// Finds the line of a byte, and converts TOML values together with their lines.
struct LineIndex<'t> {
    text: &'t str,
    /// The offset of each line break.
    breaks: Vec<usize>,
}

impl<'t> LineIndex<'t> {
    fn new(text: &'t str) -> Self {
        Self { text, breaks: text.match_indices('\n').map(|(offset, _)| offset).collect() }
    }

    /// Returns the line of a byte. The first line is 1.
    fn line_of(&self, offset: usize) -> usize {
        self.breaks.partition_point(|line_break| *line_break < offset).saturating_add(1)
    }

    fn convert_table(&self, table: &DeTable<'_>) -> Value {
        Value::table(table.iter().map(|(key, value)| {
            let line = self.line_of(key.span().start);
            (ConfigKey::new(key.get_ref().as_ref()).at_line(line), self.convert_value(value))
        }))
    }

    fn convert_value(&self, given: &Spanned<DeValue<'_>>) -> Value {
        // No key of a plan has a value of these types. The source text is kept for the error message.
        let as_written = || Value::other(self.text.get(given.span()).unwrap_or_default());
        let value = match given.get_ref() {
            DeValue::String(text) => Value::text(text.as_ref()),
            DeValue::Boolean(value) => Value::truth(*value),
            DeValue::Table(entries) => self.convert_table(entries),
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| as_written(), Value::whole),
            DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) => as_written(),
        };
        value.at_line(self.line_of(given.span().start))
    }
}

impl PlanFileError {
    /// Returns the error with each problem on a line of its own.
    pub(super) fn lines(&self) -> ErrorLines {
        match self {
            Self::Invalid { file, error } => ErrorLines::list(&format!("plan file {file}"), error.problems()),
            Self::Unreadable { .. } | Self::Syntax { .. } => ErrorLines::one(self),
        }
    }
}

/// Returns the start of a line, short enough for an error message.
fn excerpt(line: &str) -> String {
    match line.char_indices().nth(MAX_EXCERPT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// The plan file does not contain a plan.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanFileError {
    /// The file does not exist or is not text.
    #[error(
        "cannot read plan file {file}: {error} (allowed: a TOML file, or a JSON file whose name ends in .json, of at most 1 MiB)"
    )]
    Unreadable {
        /// The path as given.
        file: String,
        /// The cause.
        error: io::Error,
    },
    /// The text is not TOML or JSON.
    #[error("plan file {file}: {reason}")]
    Syntax {
        /// The path as given.
        file: String,
        /// The place, what stands there and what should stand there.
        reason: String,
    },
    /// The content is wrong.
    #[error("plan file {file}: {error}")]
    Invalid {
        /// The path as given.
        file: String,
        /// Everything that is wrong.
        error: ConfigError,
    },
}

/// 1 MiB, which is far more than a plan of a thousand gates has.
const MAX_BYTES: u64 = 1 << 20;

/// The number of characters of a wrong line in an error message: enough to recognize the line.
const MAX_EXCERPT: usize = 60;
