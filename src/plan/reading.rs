//! The result of a measurement: the reading, its bound, its sources and its notes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::Arc;

use super::name::Resource;
use super::quantity::Quantity;

/// The amount of a resource.
///
/// *Unlimited* and *unknown* are variants of their own, never 0 and never a huge number: a formula treats each in its own
/// way. The enum is closed: no fourth case exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reading {
    /// A finite amount, in the resource's unit.
    Finite(Quantity),
    /// The host sets no limit.
    Unlimited,
    /// The amount could not be measured.
    #[default]
    Unknown,
}

impl Reading {
    /// Returns a finite reading of `units` whole units.
    #[must_use]
    pub const fn whole(units: u64) -> Self {
        Self::Finite(Quantity::whole(units))
    }

    /// Returns a value that prints a finite reading as digits without a suffix, as [`Quantity::plain`] does, and the other
    /// variants as words.
    #[must_use]
    pub fn plain(self) -> impl fmt::Display {
        PlainReading(self)
    }
}

struct PlainReading(Reading);

impl fmt::Display for PlainReading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Reading::Finite(quantity) => quantity.plain().fmt(f),
            word => word.fmt(f),
        }
    }
}

impl From<Quantity> for Reading {
    fn from(quantity: Quantity) -> Self {
        Self::Finite(quantity)
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finite(quantity) => quantity.fmt(f),
            Self::Unlimited => f.pad("unlimited"),
            Self::Unknown => f.pad("unknown"),
        }
    }
}

/// The relation between a reading and the true amount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Bound {
    /// The probe saw everything that limits the resource.
    #[default]
    Exact,
    /// The probe could not see everything that may limit the resource, so the true amount may be less.
    AtMost,
    /// The true amount may be more, because some of what is in use can be reclaimed, such as the page cache of a cgroup.
    AtLeast,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Exact => "exact",
            Self::AtMost => "at most",
            Self::AtLeast => "at least",
        })
    }
}

/// One place that a measurement was read from, with the text that was found there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    path: Cow<'static, str>,
    level: Option<String>,
    raw: String,
    meaning: Option<&'static str>,
}

impl Source {
    /// Creates a source from a file path or the name of a system call, and the text or number that it returned.
    #[must_use]
    pub fn new(path: impl Into<Cow<'static, str>>, raw: impl Into<String>) -> Self {
        Self { path: path.into(), level: None, raw: raw.into(), meaning: None }
    }

    /// Sets the level of a hierarchy at which the source was read, such as the path of a cgroup.
    #[must_use]
    pub fn at_level(mut self, level: impl Into<String>) -> Self {
        self.level = Some(level.into());
        self
    }

    /// Sets the meaning of the text where it is not obvious, such as that a huge number means no limit.
    #[must_use]
    pub fn meaning_that(mut self, meaning: &'static str) -> Self {
        self.meaning = Some(meaning);
        self
    }

    /// Returns the file path or the name of the system call.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the text or number that was found, unchanged.
    #[must_use]
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// Returns the level of the hierarchy, if there is one.
    #[must_use]
    pub fn level(&self) -> Option<&str> {
        self.level.as_deref()
    }

    /// Returns the meaning of the text, if it was set.
    #[must_use]
    pub fn meaning(&self) -> Option<&'static str> {
        self.meaning
    }
}

/// Prints `path: raw`, then the meaning and the level where they are set.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", Escaped(&self.path), Escaped(&self.raw))?;
        if let Some(meaning) = self.meaning {
            write!(f, ", {meaning}")?;
        }
        self.level.as_ref().map_or(Ok(()), |level| write!(f, " (level {})", Escaped(level)))
    }
}

/// Displays a text with its control characters escaped, so that it stays on one line and cannot control the terminal.
pub(crate) struct Escaped<'t>(pub(crate) &'t str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| {
            if character.is_control() { character.escape_default().fmt(f) } else { f.write_char(character) }
        })
    }
}

/// A [`Reading`] with its [`Bound`], its sources, and notes for people.
///
/// ```
/// use concurrency_governor::plan::{Bound, Measurement, Source};
/// use concurrency_governor::Reading;
///
/// let measured = Measurement::new(Reading::whole(2))
///     .at_most()
///     .source(Source::new("/sys/fs/cgroup/cpu.max", "200000 100000").at_level("/"))
///     .note("ancestors are hidden by a cgroup namespace");
/// assert_eq!(measured.reading(), Reading::whole(2));
/// assert_eq!(measured.bound(), Bound::AtMost);
/// ```
///
/// A clone is cheap: it shares the sources and notes until one of the two adds another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Measurement {
    reading: Reading,
    bound: Bound,
    provenance: Arc<Provenance>,
    stale: Option<String>,
}

/// The sources and notes of a measurement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Provenance {
    sources: Vec<Source>,
    notes: Vec<String>,
}

impl Measurement {
    /// Creates a measurement that is exact and fresh, without sources or notes.
    pub fn new(reading: Reading) -> Self {
        Self { reading, ..Self::default() }
    }

    /// Sets the bound to [`Bound::AtMost`]: the probe could not see everything that may limit the resource.
    pub fn at_most(mut self) -> Self {
        self.bound = Bound::AtMost;
        self
    }

    /// Sets the bound to [`Bound::AtLeast`]: some of what is in use can be reclaimed.
    pub fn at_least(mut self) -> Self {
        self.bound = Bound::AtLeast;
        self
    }

    /// Adds a source.
    pub fn source(mut self, source: Source) -> Self {
        Arc::make_mut(&mut self.provenance).sources.push(source);
        self
    }

    /// Adds a note: a text that explanations and reports show beside the reading.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.provenance).notes.push(note.into());
        self
    }

    /// Creates a fresh measurement with these sources and notes.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only the Linux probes call it"))]
    pub(crate) fn from_parts(
        reading: Reading,
        bound: Bound,
        sources: Vec<Source>,
        notes: Vec<String>,
    ) -> Self {
        Self { reading, bound, provenance: Arc::new(Provenance { sources, notes }), stale: None }
    }

    /// Marks the measurement as stale: it is the last good one, kept since a later measurement failed for `reason`.
    pub fn stale(mut self, reason: impl Into<String>) -> Self {
        self.stale = Some(reason.into());
        self
    }

    /// Returns the reading.
    #[must_use]
    pub fn reading(&self) -> Reading {
        self.reading
    }

    /// Returns the bound: the relation between the reading and the true amount.
    ///
    /// It is never [`Bound::Exact`] for an unknown reading, about which nothing is known.
    #[must_use]
    pub fn bound(&self) -> Bound {
        match (self.reading, self.bound) {
            (Reading::Unknown, Bound::Exact) => Bound::AtMost,
            (_, bound) => bound,
        }
    }

    /// Returns the sources, the widest level first.
    #[must_use]
    pub fn sources(&self) -> &[Source] {
        &self.provenance.sources
    }

    /// Returns the notes.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.provenance.notes
    }

    /// Returns why the measurement is stale, or `None` while it is fresh.
    #[must_use]
    pub fn staleness(&self) -> Option<&str> {
        self.stale.as_deref()
    }
}

impl From<Reading> for Measurement {
    fn from(reading: Reading) -> Self {
        Self::new(reading)
    }
}

/// The measurements that a plan is resolved against, at most one per resource. A resource without a measurement reads as
/// [`Reading::Unknown`].
///
/// ```
/// use concurrency_governor::{Reading, Readings, Resource};
///
/// let readings = Readings::new().with(Resource::CPU, Reading::whole(4));
/// assert_eq!(readings.reading(Resource::CPU), Reading::whole(4));
/// assert_eq!(readings.reading(Resource::FD), Reading::Unknown);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Readings(BTreeMap<Resource, Measurement>);

impl Readings {
    /// Creates an empty set of measurements.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a measurement, and replaces an earlier one of the same resource.
    pub fn with(mut self, resource: Resource, measurement: impl Into<Measurement>) -> Self {
        self.insert(resource, measurement.into());
        self
    }

    /// Inserts a measurement, and returns the one that it replaces.
    pub fn insert(&mut self, resource: Resource, measurement: Measurement) -> Option<Measurement> {
        self.0.insert(resource, measurement)
    }

    /// Returns the measurement of a resource, if there is one.
    #[must_use]
    pub fn get(&self, resource: Resource) -> Option<&Measurement> {
        self.0.get(&resource)
    }

    /// Returns the reading of a resource: [`Reading::Unknown`] if there is no measurement.
    #[must_use]
    pub fn reading(&self, resource: Resource) -> Reading {
        self.get(resource).map_or(Reading::Unknown, Measurement::reading)
    }

    /// Returns an iterator over the measurements, ordered by the resources' names.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Resource, &Measurement)> {
        self.0.iter().map(|(resource, measurement)| (*resource, measurement))
    }
}

impl FromIterator<(Resource, Measurement)> for Readings {
    fn from_iter<I: IntoIterator<Item = (Resource, Measurement)>>(measurements: I) -> Self {
        Self(measurements.into_iter().collect())
    }
}
