//! How many file descriptors this process may have open.

use super::{ProbeError, ResourceProbe, async_trait};
use crate::plan::{Measurement, Resource};
#[cfg(unix)]
use crate::plan::{Reading, Source};

/// Measures [`Resource::FD`]: the file descriptors this process may have open, those that are open included.
///
/// The number is the soft limit `RLIMIT_NOFILE`, which the kernel enforces; the hard limit stands in a note. A soft
/// limit of infinity reads as [`Reading::Unlimited`](crate::Reading::Unlimited). A soft limit of 0, under which nothing
/// could be opened at all, is taken for a mistake and reads as [`Reading::Unknown`](crate::Reading::Unknown), with a
/// note. So does a system without such limits.
///
/// ```
/// use concurrency_governor::probe::OpenFiles;
///
/// let open_files = OpenFiles::new().read()?;
/// println!("{} descriptors", open_files.reading());
/// # Ok::<(), concurrency_governor::probe::ProbeError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct OpenFiles {
    // Room for the place that the limits are read from.
    _private: (),
}

impl OpenFiles {
    /// A probe of this process's limit.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the limit now. One system call.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if the system call fails.
    #[cfg(unix)]
    pub fn read(&self) -> Result<Measurement, ProbeError> {
        use nix::sys::resource::{RLIM_INFINITY, Resource as Rlimit, getrlimit};

        let (soft, hard) = getrlimit(Rlimit::RLIMIT_NOFILE)
            .map_err(|errno| ProbeError::io(Resource::FD, SYSTEM_CALL, errno.into()))?;
        Ok(measurement(reading(soft, &RLIM_INFINITY), reading(hard, &RLIM_INFINITY)))
    }

    /// Says that there is no such limit to be read here.
    ///
    /// # Errors
    ///
    /// None on this system.
    #[cfg(not(unix))]
    pub fn read(&self) -> Result<Measurement, ProbeError> {
        Ok(Measurement::default().note("open files are not measured on this system"))
    }
}

#[async_trait]
impl ResourceProbe for OpenFiles {
    fn resource(&self) -> Resource {
        Resource::FD
    }

    async fn measure(&self) -> Result<Measurement, ProbeError> {
        self.read()
    }
}

/// What a limit of the kernel's comes to: its infinity is no number. Some systems have signed limits.
#[cfg(unix)]
fn reading<L: TryInto<u64> + PartialEq>(limit: L, infinity: &L) -> Reading {
    if limit == *infinity {
        return Reading::Unlimited;
    }
    limit.try_into().map_or(Reading::Unknown, Reading::whole)
}

#[cfg(unix)]
fn measurement(soft: Reading, hard: Reading) -> Measurement {
    let measured = match soft {
        Reading::Finite(limit) if limit == crate::plan::Quantity::ZERO => {
            Measurement::new(Reading::Unknown).note("a soft limit of 0 is taken for a mistake")
        }
        limit => Measurement::new(limit),
    };
    measured
        .source(Source::new(SYSTEM_CALL, digits(soft)))
        .note(format!("the hard limit is {}", digits(hard)))
}

/// A limit as shells and `/proc/self/limits` print it: 20000, not 20k.
#[cfg(unix)]
fn digits(limit: Reading) -> String {
    match limit {
        Reading::Finite(limit) => limit.plain().to_string(),
        other => other.to_string(),
    }
}

#[cfg(unix)]
const SYSTEM_CALL: &str = "getrlimit(RLIMIT_NOFILE)";

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    /// Infinity is unlimited and 0 is unknown: neither becomes a number that a formula would divide.
    #[test]
    fn infinity_and_zero_are_no_numbers() {
        let of = |soft| measurement(reading(soft, &-1), reading(4096, &-1));
        assert_eq!(of(-1).reading(), Reading::Unlimited);
        assert_eq!(of(-2).reading(), Reading::Unknown);
        assert_eq!(of(0).reading(), Reading::Unknown);
        assert_eq!(of(0).notes().len(), 2);
        assert_eq!(of(1).reading(), Reading::whole(1));
        assert_eq!(of(1024).sources()[0].to_string(), "getrlimit(RLIMIT_NOFILE): 1024");
        assert_eq!(of(64000).sources()[0].raw(), "64000");
        assert_eq!(of(1024).notes(), ["the hard limit is 4096"]);
    }
}
