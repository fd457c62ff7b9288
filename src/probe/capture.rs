//! Captures a host: copies what the probes read, so that it can be measured elsewhere. Linux only.

use crate::plan::debug_as_display::impl_debug_as_display;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::cpu::Cpu;
use super::linux::{HostReader, RecordedPath, Roots};
use super::memory::Memory;
use super::open_files::OpenFiles;
use super::pressure::Pressure;
use super::tasks::Tasks;

/// Writes everything that the probes read of the running host into a directory for [`Roots::at`]. The probes give the
/// same readings there as here, except for what only a system call returns: the open descriptors, and the memory if
/// `/proc/meminfo` is hidden. A file that is hidden or cannot be read here does not exist there. Returns the paths of the written files.
///
/// The directory is created if it does not exist. The files contain what the kernel tells this process about itself
/// and about the host: names of cgroups, mount points, limits and usage. They contain no environment variables, and
/// nothing of any other file.
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
/// [`CaptureError`] if the directory is not empty or cannot be written.
pub fn capture(directory: impl AsRef<Path>) -> Result<Vec<PathBuf>, CaptureError> {
    capture_from(Roots::host(), directory.as_ref())
}

/// Captures a host, which may be a captured one.
fn capture_from(roots: Roots, directory: &Path) -> Result<Vec<PathBuf>, CaptureError> {
    let write_error = |path: &Path| {
        let path = path.to_owned();
        move |error| CaptureError::Write { path, error }
    };
    fs::create_dir_all(directory).map_err(write_error(directory))?;
    if fs::read_dir(directory).map_err(write_error(directory))?.next().is_some() {
        return Err(CaptureError::NotEmpty { directory: directory.to_owned() });
    }
    let mut written = Vec::new();
    for (path, recorded) in record(roots) {
        let path = directory.join(path.strip_prefix("/").unwrap_or(&path));
        match recorded {
            RecordedPath::Directory => fs::create_dir_all(&path).map_err(write_error(&path))?,
            RecordedPath::File(content) => {
                let parent = path.parent().unwrap_or(directory);
                fs::create_dir_all(parent).map_err(write_error(parent))?;
                fs::write(&path, content).map_err(write_error(&path))?;
                written.push(path);
            }
        }
    }
    Ok(written)
}

/// Reads everything that the probes read of a host, and returns it by its path there.
fn record(roots: Roots) -> BTreeMap<PathBuf, RecordedPath> {
    let mut reader = HostReader::recording(roots);
    // The results are not needed. A measurement that fails here fails likewise on the captured host.
    drop(Cpu::measure_on(&mut reader));
    drop(OpenFiles::measure_on(&mut reader));
    drop(OpenFiles::free_on(&mut reader));
    drop(Memory::measure_on(&mut reader));
    drop(Memory::soft_limit_on(&mut reader));
    drop(Memory::available_on(&mut reader));
    drop(Tasks::measure_on(&mut reader));
    drop(Tasks::free_on(&mut reader));
    for pressure in [Pressure::on_cpu(), Pressure::on_memory(), Pressure::on_io()] {
        drop(pressure.measure_on(&mut reader));
    }
    reader.into_recorded()
}

/// The reason why a host was not captured.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The directory is not empty. A capture must not be mixed with other files.
    #[error("{} is not empty (allowed: an empty directory, or one that does not exist yet)", directory.display())]
    NotEmpty {
        /// The directory that was given.
        directory: PathBuf,
    },
    /// A file or a directory could not be created.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// The file or the directory.
        path: PathBuf,
        /// The error of the system call.
        error: io::Error,
    },
}

impl_debug_as_display!(CaptureError);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Bound, Reading};

    /// A capture of each captured host gives the same readings: nothing that a probe needs is left out, whatever the host.
    #[test]
    fn captured_hosts_can_be_captured_again() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let copies = std::env::temp_dir().join(format!("governor-captured-again-{}", std::process::id()));
        let mut compared = 0_usize;
        for folder in ["reports", "kernel-6.1-cgroup-v2"] {
            for tree in fs::read_dir(fixtures.join(folder)).unwrap().map(|entry| entry.unwrap().path()) {
                if !tree.is_dir() {
                    continue;
                }
                let copy = copies.join(tree.file_name().unwrap());
                assert!(!capture_from(Roots::at(&tree), &copy).unwrap().is_empty());
                assert_eq!(readings(&copy), readings(&tree), "{}", tree.display());
                compared = compared.saturating_add(1);
            }
        }
        fs::remove_dir_all(&copies).unwrap();
        assert!(compared > 20, "{compared}");
    }

    /// Returns each reading of a captured host with its bound, or `None` if it cannot be measured.
    fn readings(root: &Path) -> [Option<(Reading, Bound)>; 9] {
        let roots = || Roots::at(root);
        let memory = Memory::new().with_roots(roots());
        let tasks = Tasks::new().with_roots(roots());
        let open_files = OpenFiles::new().with_roots(roots());
        [
            Cpu::new().with_roots(roots()).read().ok(),
            open_files.read().ok(),
            open_files.read_free().ok(),
            memory.read().ok(),
            memory.read_available().ok(),
            Some(memory.read_soft_limit()),
            tasks.read().ok(),
            Some(tasks.read_free()),
            Pressure::on_cpu().with_roots(roots()).read().ok(),
        ]
        .map(|measured| measured.map(|measured| (measured.reading(), measured.bound())))
    }
}
