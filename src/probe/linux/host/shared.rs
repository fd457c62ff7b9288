//! A host reader that the clones of a probe share.

use std::process;
use std::sync::{Arc, Mutex, TryLockError};

use super::reader::HostReader;
use super::roots::Roots;

/// A host and the reader that a probe keeps between two measurements. Clones share both.
#[derive(Clone, Debug, Default)]
pub(in crate::probe) struct SharedHostReader {
    roots: Roots,
    reader: Arc<Mutex<HostReader>>,
}

impl SharedHostReader {
    /// Creates a reader without open files.
    pub(in crate::probe) fn new(roots: Roots) -> Self {
        let reader = HostReader::new(roots.clone());
        Self { roots, reader: Arc::new(Mutex::new(reader)) }
    }

    /// Creates a reader that keeps the files of a captured host open, as it keeps those of the running host.
    #[cfg(test)]
    pub(in crate::probe) fn caching(roots: Roots) -> Self {
        let reader = HostReader::caching(roots.clone());
        Self { roots, reader: Arc::new(Mutex::new(reader)) }
    }

    /// Returns `true` if the host can change between two measurements. A host in memory cannot.
    pub(in crate::probe) fn can_change(&self) -> bool {
        self.roots.has_files()
    }

    /// Returns `true` if this is the running host. Only its files accept pressure triggers.
    pub(in crate::probe) fn is_running_host(&self) -> bool {
        self.roots.is_running_host()
    }

    /// Runs a measurement, and repeats it once if a cached descriptor proved to be outdated.
    ///
    /// Never blocks: while another thread measures, this measurement uses a reader without open files. In a forked
    /// child, the lock may be held by a thread that does not exist there.
    pub(in crate::probe) fn measure<T>(&self, measure: impl Fn(&mut HostReader) -> T) -> T {
        self.measure_in_process(process::id(), measure)
    }

    /// As [`measure`](Self::measure), for a caller that already knows the ID of this process.
    pub(in crate::probe) fn measure_in_process<T>(
        &self,
        process: u32,
        measure: impl Fn(&mut HostReader) -> T,
    ) -> T {
        let mut reader = match self.reader.try_lock() {
            Ok(reader) => reader,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return measure(&mut HostReader::new(self.roots.clone())),
        };
        reader.begin_measurement(process);
        let measured = measure(&mut reader);
        if !reader.is_outdated() {
            return measured;
        }
        reader.clear_caches();
        measure(&mut reader)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs::File;

    use super::super::fd_cache::MAX_FILES;
    use super::super::reader::TempFiles;
    use super::*;

    /// A measurement that runs beside another one does not wait for it, and has no cached files.
    #[test]
    fn concurrent_measurements_do_not_block() {
        let files = TempFiles::new("shared");
        let shared = SharedHostReader::new(Roots::host());
        let clone = shared.clone();
        let cached = shared.measure(|reader| {
            files.read_all(reader);
            (reader.fd_cache().len(), clone.measure(|other| other.fd_cache().len()))
        });
        assert_eq!(cached, (MAX_FILES, 0));
        assert_eq!(clone.measure(|reader| reader.fd_cache().len()), MAX_FILES);
    }

    /// A descriptor that cannot be read is closed, and the measurement is repeated with a new descriptor.
    #[test]
    fn failed_descriptors_are_reopened() {
        let files = TempFiles::new("failed");
        let path = files.path("0");
        let shared = SharedHostReader::new(Roots::host());
        let runs = Cell::new(0);
        let read = shared.measure(|reader| {
            runs.set(runs.get() + 1);
            if runs.get() == 1 {
                // The descriptor of a directory cannot be read.
                reader.fd_cache().insert(&path, File::open(files.path(".")).unwrap());
            }
            reader.read(&path)
        });
        assert_eq!((read.unwrap().unwrap(), runs.get()), (b"0\n".to_vec(), 2));
    }
}
