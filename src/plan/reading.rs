//! What was measured: a reading, how sure it is, and where it came from.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::name::Resource;
use super::quantity::Quantity;

/// How much of a resource there is.
///
/// *Unlimited* and *unknown* are answers of their own, never 0 and never a huge number: a formula treats each as what
/// it is. Closed: there is no fourth answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reading {
    /// So much, in the resource's unit.
    Finite(Quantity),
    /// The host sets no limit.
    Unlimited,
    /// It could not be known.
    #[default]
    Unknown,
}

impl Reading {
    /// A reading of so many whole units.
    #[must_use]
    pub const fn whole(units: u64) -> Self {
        Self::Finite(Quantity::whole(units))
    }

    /// Prints a finite reading as digits without a suffix, as [`Quantity::plain`] does; the others as words.
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

/// How sure a measurement is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Bound {
    /// Everything that limits the resource was seen.
    #[default]
    Exact,
    /// Something that may limit it further could not be seen, so the truth may be less.
    AtMost,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Exact => "exact",
            Self::AtMost => "at most",
        })
    }
}

/// One place that a measurement was read from, with the text found there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    path: Cow<'static, str>,
    level: Option<String>,
    raw: String,
    meaning: Option<&'static str>,
}

impl Source {
    /// A file's path or a system call's name, and the text or number it gave.
    #[must_use]
    pub fn new(path: impl Into<Cow<'static, str>>, raw: impl Into<String>) -> Self {
        Self { path: path.into(), level: None, raw: raw.into(), meaning: None }
    }

    /// The same at one level of a hierarchy, such as a cgroup's path.
    #[must_use]
    pub fn at_level(mut self, level: impl Into<String>) -> Self {
        self.level = Some(level.into());
        self
    }

    /// The same with what the text comes to, where that is not plain: that a huge number is no limit.
    #[must_use]
    pub fn meaning_that(mut self, meaning: &'static str) -> Self {
        self.meaning = Some(meaning);
        self
    }

    /// The file's path or the system call's name.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The text or number found there, as it stood.
    #[must_use]
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// The level of the hierarchy it stands for, where there is one.
    #[must_use]
    pub fn level(&self) -> Option<&str> {
        self.level.as_deref()
    }

    /// What the text comes to, where that is not plain.
    #[must_use]
    pub fn meaning(&self) -> Option<&'static str> {
        self.meaning
    }
}

/// `path: raw`, with what that means and the level where there is one.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.raw)?;
        if let Some(meaning) = self.meaning {
            write!(f, ", {meaning}")?;
        }
        self.level.as_ref().map_or(Ok(()), |level| write!(f, " (level {level})"))
    }
}

/// A [`Reading`] with how sure it is, its sources, and notes on what a reader should know about it.
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
/// A clone costs little: it shares the sources and notes, until either gets another one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Measurement {
    reading: Reading,
    bound: Bound,
    told: Arc<Told>,
    stale: Option<String>,
}

/// Where a measurement comes from, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Told {
    sources: Vec<Source>,
    notes: Vec<String>,
}

impl Measurement {
    /// A measurement that is exact, fresh, and has no sources yet.
    pub fn new(reading: Reading) -> Self {
        Self { reading, ..Self::default() }
    }

    /// Marks it as a bound only: something that may limit the resource further could not be seen.
    pub fn at_most(mut self) -> Self {
        self.bound = Bound::AtMost;
        self
    }

    /// Adds a source.
    pub fn source(mut self, source: Source) -> Self {
        Arc::make_mut(&mut self.told).sources.push(source);
        self
    }

    /// Adds a note for whoever reads the number.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.told).notes.push(note.into());
        self
    }

    /// A fresh measurement with these sources and notes.
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "only Linux has files whose names may need another form")
    )]
    pub(crate) fn told_by(reading: Reading, bound: Bound, sources: Vec<Source>, notes: Vec<String>) -> Self {
        Self { reading, bound, told: Arc::new(Told { sources, notes }), stale: None }
    }

    /// Marks it as no longer fresh: it is the last good one, kept because a later measurement failed for `reason`.
    pub fn stale(mut self, reason: impl Into<String>) -> Self {
        self.stale = Some(reason.into());
        self
    }

    /// The reading.
    #[must_use]
    pub fn reading(&self) -> Reading {
        self.reading
    }

    /// How sure it is.
    #[must_use]
    pub fn bound(&self) -> Bound {
        self.bound
    }

    /// Where it was read, the widest level first.
    #[must_use]
    pub fn sources(&self) -> &[Source] {
        &self.told.sources
    }

    /// What a reader should know about it.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.told.notes
    }

    /// Why it is stale; `None` while it is fresh.
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

/// The measurements that a plan is resolved against, one a resource. What was not measured reads as
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
    /// No measurement at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with this measurement in place of any other of the resource.
    pub fn with(mut self, resource: Resource, measurement: impl Into<Measurement>) -> Self {
        self.insert(resource, measurement.into());
        self
    }

    /// Puts a measurement in, and returns the one it replaces.
    pub fn insert(&mut self, resource: Resource, measurement: Measurement) -> Option<Measurement> {
        self.0.insert(resource, measurement)
    }

    /// The measurement of a resource, if there is one.
    #[must_use]
    pub fn get(&self, resource: Resource) -> Option<&Measurement> {
        self.0.get(&resource)
    }

    /// The reading of a resource: [`Reading::Unknown`] if it was not measured.
    #[must_use]
    pub fn reading(&self, resource: Resource) -> Reading {
        self.get(resource).map_or(Reading::Unknown, Measurement::reading)
    }

    /// Every measurement, by the resource's name.
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
