//! A measurement under construction.

use std::io;
use std::path::{Path, PathBuf};

use super::super::host::HostReader;
use super::super::parse::text::excerpt;
use crate::plan::{Bound, Measurement, Quantity, Reading, Resource, Source};
use crate::probe::error::ProbeError;

/// Collects the lowest of several limits, with the sources, the notes and the bound of the measurement.
#[derive(Debug, Default)]
pub(in crate::probe) struct MeasurementBuilder {
    lowest: Option<LowestLimit>,
    is_weakened: bool,
    sources: Vec<Source>,
    notes: Vec<String>,
    /// The first read error. It becomes the cause of the probe error if no limit is found.
    read_error: Option<(PathBuf, io::Error)>,
}

/// The lowest limit so far. Of two equal limits, the one that is not a lower bound counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct LowestLimit {
    limit: Quantity,
    is_lower_bound: bool,
}

impl MeasurementBuilder {
    /// Adds a limit of the resource.
    pub(in crate::probe) fn add_limit(&mut self, limit: Quantity) {
        self.add(LowestLimit { limit, is_lower_bound: false });
    }

    /// Adds a limit that may be higher than this, because some of what is in use can be reclaimed.
    pub(in crate::probe) fn add_lower_bound(&mut self, limit: Quantity) {
        self.add(LowestLimit { limit, is_lower_bound: true });
    }

    /// Returns the lowest limit so far.
    pub(in crate::probe) fn lowest_limit(&self) -> Option<Quantity> {
        Some(self.lowest?.limit)
    }

    /// Subtracts an amount in use from the lowest limit so far.
    pub(in crate::probe) fn subtract_used(&mut self, used: Quantity) {
        if let Some(lowest) = &mut self.lowest {
            lowest.limit = lowest.limit.saturating_sub(used);
        }
    }

    fn add(&mut self, limit: LowestLimit) {
        self.lowest = Some(self.lowest.map_or(limit, |lowest| lowest.min(limit)));
    }

    /// Adds a source: a file or a system call, with its content or result.
    pub(in crate::probe) fn add_source(&mut self, source: Source) {
        self.sources.push(source);
    }

    /// Marks the last source as a value that means "no limit".
    pub(in crate::probe) fn mark_last_source_unlimited(&mut self) {
        if let Some(last) = self.sources.pop() {
            self.sources.push(last.meaning_that("no limit"));
        }
    }

    /// Adds a note for the reader of the measurement.
    pub(in crate::probe) fn add_note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Adds a note about something that may limit the resource further and could not be read. The bound becomes
    /// `AtMost`.
    pub(in crate::probe) fn weaken(&mut self, note: impl Into<String>) {
        self.add_note(note);
        self.is_weakened = true;
    }

    /// Returns `true` if the bound is `AtMost`.
    pub(in crate::probe) fn is_weakened(&self) -> bool {
        self.is_weakened
    }

    /// Weakens the measurement because a file could not be read or a system call failed.
    pub(in crate::probe) fn weaken_by_read_error(&mut self, path: &Path, error: io::Error) -> NotedReadError {
        self.weaken(format!("cannot read {}: {error}; {NOT_COUNTED}", path.display()));
        self.read_error.get_or_insert((path.to_owned(), error));
        NotedReadError
    }

    /// Reads a file that may be missing. Weakens the measurement if it cannot be read.
    pub(in crate::probe) fn read(
        &mut self,
        reader: &mut HostReader,
        path: impl AsRef<Path>,
    ) -> Result<Option<Vec<u8>>, NotedReadError> {
        let path = path.as_ref();
        reader.read(path).map_err(|error| self.weaken_by_read_error(path, error))
    }

    /// Reads a file that must exist. Weakens the measurement and returns `None` if it is missing or cannot be read.
    pub(in crate::probe) fn read_required(
        &mut self,
        reader: &mut HostReader,
        path: &'static str,
    ) -> Option<Vec<u8>> {
        let path = Path::new(path);
        let content = reader.read(path).and_then(|content| content.ok_or(io::ErrorKind::NotFound.into()));
        content.map_err(|error| self.weaken_by_read_error(path, error)).ok()
    }

    /// Reads a short file that may be missing, and adds it as a source. Weakens the measurement if it cannot be read.
    pub(in crate::probe) fn read_as_source(
        &mut self,
        reader: &mut HostReader,
        path: &'static str,
    ) -> Option<Vec<u8>> {
        let content = self.read(reader, path).ok()??;
        self.add_source(Source::new(path, excerpt(&content)));
        Some(content)
    }

    /// Builds the measurement of a resource that always has a limit.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] with the first read error, or otherwise with all notes, if no limit was added.
    pub(in crate::probe) fn build(self, resource: Resource) -> Result<Measurement, ProbeError> {
        match self.lowest_limit() {
            Some(lowest) => Ok(self.build_with(Reading::Finite(lowest))),
            None => Err(match self.read_error {
                Some((path, error)) => ProbeError::io(resource, path, error),
                None => ProbeError::new(resource, self.notes.join("; ")),
            }),
        }
    }

    /// Builds the measurement of a resource that may have no limit.
    ///
    /// Without a limit the reading is `Unlimited`, or `Unknown` if a limit may exist that could not be read.
    pub(in crate::probe) fn build_optional(self) -> Measurement {
        let reading = match self.lowest_limit() {
            Some(lowest) => Reading::Finite(lowest),
            None if self.is_weakened => Reading::Unknown,
            None => Reading::Unlimited,
        };
        self.build_with(reading)
    }

    /// Builds a measurement with this reading and the collected bound, sources and notes.
    ///
    /// A limit that may exist and was not read counts for more than usage that can be reclaimed.
    pub(in crate::probe) fn build_with(self, reading: Reading) -> Measurement {
        let bound = match self.lowest {
            _ if self.is_weakened => Bound::AtMost,
            Some(LowestLimit { is_lower_bound: true, .. }) => Bound::AtLeast,
            _ => Bound::Exact,
        };
        Measurement::from_parts(reading, bound, self.sources, self.notes)
    }
}

/// What follows from a file that cannot be read or is hidden.
pub(in crate::probe) const NOT_COUNTED: &str = "its limit is not counted, so the true amount may be less";

/// A file could not be read, and the measurement has a note about it.
#[derive(Clone, Copy, Debug)]
pub(in crate::probe) struct NotedReadError;
