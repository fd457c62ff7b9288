//! The plan file: gates and settings in TOML or JSON, each mistake with its key and what is allowed, in TOML with its line.

use std::io::{self, Read as _};
use std::path::Path;

use concurrency_governor::OverrideLayer;
use concurrency_governor::config::{ConfigError, Key, PlanConfig, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What a plan file declares and sets.
#[derive(Debug)]
pub(crate) struct PlanFile {
    /// The plan, with the preset that it starts from.
    pub(crate) config: PlanConfig,
    /// Its `[overrides]`, as a layer named after the file.
    pub(crate) overrides: OverrideLayer,
}

impl PlanFile {
    /// Reads a plan file: JSON where its name says so, else TOML.
    ///
    /// # Errors
    ///
    /// [`PlanFileError`] if it cannot be read, or with everything that is wrong in it.
    pub(crate) fn read(path: &Path) -> Result<Self, PlanFileError> {
        let file = path.display().to_string();
        let text = match read(path) {
            Ok(text) => text,
            Err(error) => return Err(PlanFileError::Unread { file, error }),
        };
        let json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        let value = if json { of_json(&text) } else { of_toml(&text) };
        let value = match value {
            Ok(value) => value,
            Err(what) => return Err(PlanFileError::Syntax { file, what }),
        };
        match PlanConfig::read(&value) {
            Ok(config) => Ok(Self { overrides: config.layer(file), config }),
            Err(error) => Err(PlanFileError::Wrong { file, error }),
        }
    }
}

fn of_json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))
}

fn of_toml(text: &str) -> Result<Value, String> {
    let lines = Lines::of(text);
    let document = DeTable::parse(text).map_err(|error| {
        let Some(span) = error.span() else { return format!("not TOML: {}", error.message()) };
        let line = lines.line(span.start);
        let given = excerpt(text.lines().nth(line.saturating_sub(1)).unwrap_or_default().trim());
        format!("line {line}: not TOML: {}, in {given:?}", error.message())
    })?;
    Ok(lines.table(document.get_ref()))
}

/// Where the lines of a text end.
struct Lines<'t> {
    text: &'t str,
    ends: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn of(text: &'t str) -> Self {
        Self { text, ends: text.match_indices('\n').map(|(end, _)| end).collect() }
    }

    /// The line of a byte, counted from 1.
    fn line(&self, at: usize) -> usize {
        self.ends.partition_point(|end| *end < at).saturating_add(1)
    }

    fn table(&self, table: &DeTable<'_>) -> Value {
        Value::table(table.iter().map(|(key, value)| {
            let line = self.line(key.span().start);
            (Key::new(key.get_ref().as_ref()).at_line(line), self.value(value))
        }))
    }

    fn value(&self, given: &Spanned<DeValue<'_>>) -> Value {
        let as_written = || Value::other(self.text.get(given.span()).unwrap_or_default());
        let value = match given.get_ref() {
            DeValue::String(text) => Value::text(text.as_ref()),
            DeValue::Boolean(truth) => Value::truth(*truth),
            DeValue::Table(entries) => self.table(entries),
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| as_written(), Value::whole),
            DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) => as_written(),
        };
        value.at_line(self.line(given.span().start))
    }
}

/// The file as text, as long as it is of a length that a plan could have: not `/dev/zero`.
fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_BYTES.saturating_add(1)).read_to_end(&mut bytes)?;
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if length > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line =
            error.as_bytes().iter().take(valid).filter(|byte| **byte == b'\n').count().saturating_add(1);
        io::Error::new(io::ErrorKind::InvalidData, format!("line {line} is not UTF-8"))
    })
}

/// What was given, as far as it fits into a line.
fn excerpt(given: &str) -> String {
    match given.char_indices().nth(MAX_EXCERPT) {
        Some((end, _)) => format!("{}…", &given[..end]),
        None => given.to_owned(),
    }
}

/// Why a plan file is no plan.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanFileError {
    /// The file is not there, or holds no text.
    #[error(
        "cannot read plan file {file}: {error} (allowed: a TOML file of at most 1 MiB, or a JSON one, .json)"
    )]
    Unread {
        /// The path as given.
        file: String,
        /// The cause.
        error: io::Error,
    },
    /// Its text is not of its format.
    #[error("plan file {file}: {what}")]
    Syntax {
        /// The path as given.
        file: String,
        /// Where, what is there and what should be.
        what: String,
    },
    /// What it says is wrong.
    #[error("plan file {file}: {error}")]
    Wrong {
        /// The path as given.
        file: String,
        /// Everything that is wrong.
        error: ConfigError,
    },
}

/// 1 MiB: a thousand gates take a tenth of it.
const MAX_BYTES: u64 = 1 << 20;

/// So many characters of a wrong line tell which one it is.
const MAX_EXCERPT: usize = 60;
