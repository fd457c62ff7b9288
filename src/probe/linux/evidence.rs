//! What a probe has found so far, on its way to a measurement.

use std::io;
use std::path::{Path, PathBuf};
use std::str;

use super::host::Host;
use super::inputs::Part;
use crate::plan::{Bound, Measurement, Quantity, Reading, Resource, Source};
use crate::probe::ProbeError;

/// The least of the limits found, with the sources, notes and doubts that go with it.
#[derive(Debug, Default)]
pub(in crate::probe) struct Evidence {
    least: Option<Quantity>,
    bound: Bound,
    sources: Vec<Source>,
    notes: Vec<String>,
    unread: Option<(PathBuf, io::Error)>,
}

impl Evidence {
    /// There is no more of the resource than this.
    pub(super) fn limit(&mut self, limit: Quantity) {
        self.least = Some(self.least.map_or(limit, |least| least.min(limit)));
    }

    /// This was read there.
    pub(in crate::probe) fn saw(&mut self, source: Source) {
        self.sources.push(source);
    }

    /// What was read last is a number that stands for no limit.
    pub(super) fn saw_no_limit(&mut self) {
        if let Some(last) = self.sources.pop() {
            self.sources.push(last.meaning_that("no limit"));
        }
    }

    /// Something that a reader of the number should know.
    pub(in crate::probe) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Something that may limit the resource further could not be seen.
    pub(in crate::probe) fn doubt(&mut self, note: impl Into<String>) {
        self.note(note);
        self.bound = Bound::AtMost;
    }

    /// Whether something that may limit the resource further could not be seen.
    pub(super) fn has_doubts(&self) -> bool {
        self.bound == Bound::AtMost
    }

    /// The least of the limits so far.
    pub(super) fn least(&self) -> Option<Quantity> {
        self.least
    }

    /// Reads a file whose absence means something, and doubts if it cannot be read.
    pub(super) fn read(
        &mut self,
        host: &mut Host,
        path: impl AsRef<Path>,
    ) -> Result<Option<Vec<u8>>, Unread> {
        self.read_part(host, path.as_ref(), Part::Whole)
    }

    /// Reads the first line of a file that starts so, empty if none does, and doubts if the file cannot be read.
    pub(super) fn read_line(
        &mut self,
        host: &mut Host,
        path: impl AsRef<Path>,
        start: &'static str,
    ) -> Result<Option<Vec<u8>>, Unread> {
        self.read_part(host, path.as_ref(), Part::Line(start))
    }

    /// Reads a file that never holds anything else, and doubts if it cannot be read.
    pub(super) fn read_settled(
        &mut self,
        host: &mut Host,
        path: impl AsRef<Path>,
    ) -> Result<Option<Vec<u8>>, Unread> {
        let path = path.as_ref();
        host.read_settled(path).map_err(|error| self.unread(path, error))
    }

    /// Reads a file that must be there, and doubts if it is not.
    pub(super) fn require(&mut self, host: &mut Host, path: &'static str) -> Option<Vec<u8>> {
        self.require_part(host, path, Part::Whole)
    }

    /// Reads the first line that starts so, empty if none does, of a file that must be there, and doubts if it is not.
    pub(super) fn require_line(
        &mut self,
        host: &mut Host,
        path: &'static str,
        start: &'static str,
    ) -> Option<Vec<u8>> {
        self.require_part(host, path, Part::Line(start))
    }

    /// Reads a file of a single line that may be missing, which becomes a source.
    pub(super) fn look(&mut self, host: &mut Host, path: &'static str) -> Option<Vec<u8>> {
        // What could not be read has been noted.
        let content = self.read(host, path).ok()??;
        self.saw(Source::new(path, text(&content)));
        Some(content)
    }

    fn read_part(&mut self, host: &mut Host, path: &Path, part: Part) -> Result<Option<Vec<u8>>, Unread> {
        host.read_part(path, part).map_err(|error| self.unread(path, error))
    }

    fn require_part(&mut self, host: &mut Host, path: &'static str, part: Part) -> Option<Vec<u8>> {
        let path = Path::new(path);
        let content =
            host.read_part(path, part).and_then(|content| content.ok_or(io::ErrorKind::NotFound.into()));
        content.map_err(|error| self.unread(path, error)).ok()
    }

    /// So much of every limit so far is in use.
    pub(in crate::probe) fn take_off(&mut self, used: Quantity) {
        self.least = self.least.map(|least| least.saturating_sub(used));
    }

    /// The measurement of `resource`: the least limit that was found.
    pub(in crate::probe) fn measurement(self, resource: Resource) -> Result<Measurement, ProbeError> {
        match self.least {
            Some(least) => Ok(self.into_measurement(Reading::Finite(least))),
            None => Err(match self.unread {
                Some((path, error)) => ProbeError::io(resource, path, error),
                None => ProbeError::new(resource, self.notes.join("; ")),
            }),
        }
    }

    /// The same where there need not be a limit: with none it is unlimited, or unknown if one may have gone unseen.
    pub(in crate::probe) fn measurement_if_any(self) -> Measurement {
        let reading = match (self.least, self.bound) {
            (Some(least), _) => Reading::Finite(least),
            (None, Bound::Exact) => Reading::Unlimited,
            (None, _) => Reading::Unknown,
        };
        self.into_measurement(reading)
    }

    /// A measurement of this reading, with the sources, the notes and the bound as found.
    pub(in crate::probe) fn into_measurement(self, reading: Reading) -> Measurement {
        Measurement::told_by(reading, self.bound, self.sources, self.notes)
    }

    /// Doubts for a file that could not be read, or a system call that failed.
    pub(super) fn unread(&mut self, path: &Path, error: io::Error) -> Unread {
        self.doubt(format!("cannot read {}: {error}", path.display()));
        self.unread.get_or_insert((path.to_owned(), error));
        Unread
    }
}

/// A file could not be read, and that has been noted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unread;

/// What a file holds, as text for a source or a note: its first bytes, without what would steer a terminal.
pub(super) fn text(bytes: &[u8]) -> String {
    let bytes = bytes.trim_ascii();
    let (shown, more) = match bytes.split_at_checked(MAX_TEXT) {
        Some((shown, rest)) if !rest.is_empty() => (shown, "…"),
        _ => (bytes, ""),
    };
    if let (true, Ok(shown)) = (shown.iter().all(|byte| matches!(byte, b' '..=b'~')), str::from_utf8(shown)) {
        return shown.to_owned() + more;
    }
    let mut text = String::with_capacity(shown.len());
    for character in String::from_utf8_lossy(shown).chars() {
        if character.is_control() { text.extend(character.escape_default()) } else { text.push(character) }
    }
    text + more
}

/// Longer than any of these files is when it is what it should be, or than most names of groups.
const MAX_TEXT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    /// Text is trimmed, short, and never steers the terminal it is printed to.
    #[test]
    fn text_can_be_printed() {
        assert_eq!(text(b" 150000 100000\n"), "150000 100000");
        assert_eq!(text("\u{1b}[31m\0é".as_bytes()), "\\u{1b}[31m\\u{0}é");
        assert_eq!(text(b"\xff"), "\u{fffd}");
        assert_eq!(text(&[b'x'; 256]).len(), 256);
        assert_eq!(text(&[b'x'; 257]), format!("{}…", "x".repeat(256)));
    }
}
