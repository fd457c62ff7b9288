//! Copying what the probes read of this host, so that it can be read again elsewhere.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::linux::{Host, Recorded};
use super::{Cpu, Memory, OpenFiles, Pressure, Roots, Tasks};

/// Writes all that the probes read of the running host into a directory, for [`Roots::at`]: what they measure there is
/// what they measure here. Gives the paths of what it wrote.
///
/// The directory is made if there is none. The files hold what the kernel tells this process of itself and of the
/// host: names of control groups, mount points, limits and use; no environment and no contents of other files.
///
/// ```no_run
/// use concurrency_governor::probe::{self, Cpu, Roots};
///
/// probe::capture("this-host")?;
/// let there = Cpu::new().with_roots(Roots::at("this-host")).read()?;
/// assert_eq!(there.reading(), Cpu::new().read()?.reading());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`CaptureError`] if there is something in the directory already, or if it cannot be written.
pub fn capture(directory: impl AsRef<Path>) -> Result<Vec<PathBuf>, CaptureError> {
    let directory = directory.as_ref();
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| CaptureError::Write { path, error }
    };
    fs::create_dir_all(directory).map_err(failed(directory))?;
    if fs::read_dir(directory).map_err(failed(directory))?.next().is_some() {
        return Err(CaptureError::NotEmpty { directory: directory.to_owned() });
    }
    let mut written = Vec::new();
    for (path, found) in record(Roots::host()) {
        let path = directory.join(path.strip_prefix("/").unwrap_or(&path));
        match found {
            Recorded::Directory => fs::create_dir_all(&path).map_err(failed(&path))?,
            Recorded::File(content) => {
                let parent = path.parent().unwrap_or(directory);
                fs::create_dir_all(parent).map_err(failed(parent))?;
                fs::write(&path, content).map_err(failed(&path))?;
                written.push(path);
            }
        }
    }
    Ok(written)
}

/// All that any probe reads of a host, by its path there.
fn record(roots: Roots) -> BTreeMap<PathBuf, Recorded> {
    let mut host = Host::recording(roots);
    // What fails here fails likewise where the capture is read.
    drop(Cpu::measure_on(&mut host));
    drop(OpenFiles::measure_on(&mut host));
    drop(OpenFiles::free_on(&mut host));
    drop(Memory::measure_on(&mut host));
    drop(Memory::soft_limit_on(&mut host));
    drop(Memory::available_on(&mut host));
    drop(Tasks::measure_on(&mut host));
    drop(Tasks::free_on(&mut host));
    for pressure in [Pressure::on_cpu(), Pressure::on_memory(), Pressure::on_io()] {
        drop(pressure.measure_on(&mut host));
    }
    host.into_record()
}

/// Why a host was not captured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// There is something in the directory, which a capture would be mixed with.
    #[error("{} is not empty (allowed: an empty directory, or one that is not there yet)", directory.display())]
    NotEmpty {
        /// The directory that was given.
        directory: PathBuf,
    },
    /// A file or a directory could not be made.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// The file or the directory.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}
