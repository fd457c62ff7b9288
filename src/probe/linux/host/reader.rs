//! Reads the files of a host. Files that are read repeatedly stay open.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Pid, getpid};

use super::caches::HostCaches;
use super::fd_cache::{FdCache, ReadBuffer};
use super::roots::{Roots, read_file_lines};

/// Reads the files of one host. All paths are the host's own, from `/`.
#[derive(Debug)]
pub(in crate::probe) struct HostReader {
    roots: Roots,
    mode: ReadMode,
    /// The process to which the open files belong. `/proc/self` of a forked child is another directory.
    process: u32,
    fd_cache: FdCache,
    buffer: ReadBuffer,
    /// Set when a cached descriptor cannot be read, as after the removal of its cgroup.
    is_outdated: bool,
    /// Values that the reader functions derived from what they read.
    pub(in crate::probe) caches: HostCaches,
}

/// What a read leaves behind.
#[derive(Debug)]
enum ReadMode {
    /// An open file, for the next read.
    Caching,
    /// Nothing. A captured host is not read often, and its files may be replaced.
    Uncached,
    /// A copy of everything that was read, by its path on the host.
    Recording(BTreeMap<PathBuf, RecordedPath>),
}

/// A recorded file or directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::probe) enum RecordedPath {
    File(Vec<u8>),
    Directory,
}

impl HostReader {
    /// Creates a reader that keeps files open if `roots` is the running host.
    pub(in crate::probe) fn new(roots: Roots) -> Self {
        let mode = if roots.is_running_host() { ReadMode::Caching } else { ReadMode::Uncached };
        Self::with_mode(roots, mode)
    }

    /// Creates a reader that records everything it reads.
    ///
    /// It makes no system calls about the process, so that it reads the files that replace them on a captured
    /// host.
    pub(in crate::probe) fn recording(roots: Roots) -> Self {
        Self::with_mode(roots, ReadMode::Recording(BTreeMap::new()))
    }

    /// Creates a reader that keeps files open, whatever the host.
    #[cfg(test)]
    pub(in crate::probe) fn caching(roots: Roots) -> Self {
        Self::with_mode(roots, ReadMode::Caching)
    }

    fn with_mode(roots: Roots, mode: ReadMode) -> Self {
        Self {
            roots,
            mode,
            process: process::id(),
            fd_cache: FdCache::default(),
            buffer: ReadBuffer::default(),
            is_outdated: false,
            caches: HostCaches::default(),
        }
    }

    /// Returns everything that a recording reader has read, by its path on the host.
    pub(in crate::probe) fn into_recorded(self) -> BTreeMap<PathBuf, RecordedPath> {
        match self.mode {
            ReadMode::Recording(recorded) => recorded,
            ReadMode::Caching | ReadMode::Uncached => BTreeMap::new(),
        }
    }

    /// Returns `true` if the affinity and the process limits come from system calls, not from files.
    pub(in crate::probe) fn uses_system_calls(&self) -> bool {
        self.roots.is_running_host() && !matches!(self.mode, ReadMode::Recording(_))
    }

    /// Returns the path under which this process finds a file of the host.
    pub(in crate::probe) fn locate(&self, path: &Path) -> PathBuf {
        self.roots.locate(path).into_owned()
    }

    /// Returns the ID of the measured process.
    pub(in crate::probe) fn pid(&self) -> Pid {
        i32::try_from(self.process).map_or_else(|_| getpid(), Pid::from_raw)
    }

    /// Reads a file, and keeps it open for the next read. Returns `None` if it does not exist.
    pub(in crate::probe) fn read(&mut self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        if !matches!(self.mode, ReadMode::Caching) {
            return self.read_uncached(path);
        }
        let Some(file) = self.fd_cache.open(path, &self.roots)? else {
            return if self.fd_cache.is_full() { self.roots.read(path) } else { Ok(None) };
        };
        match self.buffer.read(&file) {
            Ok(Some(content)) => Ok(Some(content.to_vec())),
            // The file is longer than the buffer.
            Ok(None) => self.roots.read(path),
            // ENODEV after the removal of a cgroup. After any error the file has to be opened again.
            Err(error) => {
                self.discard(path);
                Err(error)
            }
        }
    }

    /// Closes a file that cannot be read, so that the measurement is repeated.
    fn discard(&mut self, path: &Path) {
        self.is_outdated = true;
        self.fd_cache.remove(path);
    }

    /// Reads a file that is rarely read or may be long, and does not keep it open.
    pub(in crate::probe) fn read_uncached(&mut self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let content = self.roots.read(path)?;
        if let (ReadMode::Recording(recorded), Some(content)) = (&mut self.mode, &content) {
            recorded.insert(path.to_owned(), RecordedPath::File(content.clone()));
        }
        Ok(content)
    }

    /// Reads a file of any length line by line, as [`Roots::read_lines`] does. Uses the open file if there is one.
    pub(in crate::probe) fn read_lines(
        &mut self,
        path: &Path,
        mut line: impl FnMut(&[u8]),
    ) -> io::Result<Option<()>> {
        let mut copy = Vec::new();
        let is_recording = matches!(self.mode, ReadMode::Recording(_));
        let line = |text: &[u8]| {
            if is_recording {
                copy.extend_from_slice(text);
                copy.push(b'\n');
            }
            line(text);
        };
        let read = match self.cached_descriptor(path)? {
            Some(file) => {
                let read = read_file_lines(&file, line);
                Some(read.inspect_err(|_| self.discard(path))?)
            }
            None => self.roots.read_lines(path, line)?,
        };
        if let (ReadMode::Recording(recorded), Some(())) = (&mut self.mode, read) {
            recorded.insert(path.to_owned(), RecordedPath::File(copy));
        }
        Ok(read)
    }

    /// Returns `false` if the kernel says that the mounts are the same as at the last call.
    ///
    /// A kept descriptor of mountinfo is ready with an error after each change of the mount table. Without one, as on
    /// a captured host, the mounts may always have changed.
    pub(in crate::probe) fn may_have_new_mounts(&mut self, mountinfo: &Path) -> bool {
        if !self.uses_system_calls() || !self.is_cached(mountinfo) {
            // The caller opens the descriptor to read the mounts. A later change makes it ready.
            return true;
        }
        let Ok(Some(descriptor)) = self.cached_descriptor(mountinfo) else { return true };
        let mut descriptors = [PollFd::new(descriptor.as_fd(), PollFlags::POLLPRI)];
        match poll(&mut descriptors, PollTimeout::ZERO) {
            Ok(0) => false,
            Ok(_) | Err(_) => true,
        }
    }

    /// Returns `true` if the path exists.
    pub(in crate::probe) fn exists(&mut self, path: &Path) -> io::Result<bool> {
        let exists = self.roots.exists(path)?;
        if let (ReadMode::Recording(recorded), true) = (&mut self.mode, exists) {
            let content = self.roots.read(path)?.unwrap_or_default();
            recorded.insert(path.to_owned(), RecordedPath::File(content));
        }
        Ok(exists)
    }

    /// Returns `true` if the path is a directory.
    pub(in crate::probe) fn is_directory(&mut self, path: &Path) -> bool {
        let is_directory = self.roots.is_directory(path);
        if let (ReadMode::Recording(recorded), true) = (&mut self.mode, is_directory) {
            recorded.insert(path.to_owned(), RecordedPath::Directory);
        }
        is_directory
    }

    /// Returns an open file or directory from the cache, and opens it if necessary.
    ///
    /// Returns `None` if it does not exist or this reader does not keep it open.
    pub(in crate::probe) fn cached_descriptor(&mut self, path: &Path) -> io::Result<Option<Arc<File>>> {
        if matches!(self.mode, ReadMode::Caching) { self.fd_cache.open(path, &self.roots) } else { Ok(None) }
    }

    /// Returns `true` if the file is open in the cache.
    pub(in crate::probe) fn is_cached(&self, path: &Path) -> bool {
        self.fd_cache.contains(path)
    }

    /// Prepares a measurement in this process. In a forked child, the cached state of the parent is dropped.
    pub(in crate::probe) fn begin_measurement(&mut self, process: u32) {
        if self.is_outdated || self.process != process {
            self.clear_caches();
            self.process = process;
        }
    }

    /// Returns `true` if a cached descriptor could not be read, so that the measurement should be repeated.
    pub(in crate::probe) fn is_outdated(&self) -> bool {
        self.is_outdated
    }

    /// Closes all files and drops all derived values.
    pub(in crate::probe) fn clear_caches(&mut self) {
        self.fd_cache.clear();
        self.caches = HostCaches::default();
        self.is_outdated = false;
    }

    #[cfg(test)]
    pub(in crate::probe) fn fd_cache(&mut self) -> &mut FdCache {
        &mut self.fd_cache
    }
}

impl Default for HostReader {
    fn default() -> Self {
        Self::new(Roots::host())
    }
}

/// A temporary directory with more files than a reader keeps open. It is removed on drop.
#[cfg(test)]
pub(in crate::probe) struct TempFiles(PathBuf);

#[cfg(test)]
impl TempFiles {
    pub(in crate::probe) fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("governor-{name}-{}", process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        for number in 0..40 {
            std::fs::write(directory.join(number.to_string()), format!("{number}\n")).unwrap();
        }
        Self(directory)
    }

    pub(in crate::probe) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(in crate::probe) fn read_all(&self, reader: &mut HostReader) {
        for number in 0..40 {
            let content = reader.read(&self.path(&number.to_string())).unwrap().unwrap();
            assert_eq!(content, format!("{number}\n").into_bytes());
        }
    }
}

#[cfg(test)]
impl Drop for TempFiles {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::super::fd_cache::{BUFFER_SIZE, MAX_FILES};
    use super::*;

    /// The number of open files is bounded; files beyond the bound, changed files and long files are still read.
    #[test]
    fn open_files_are_bounded() {
        let files = TempFiles::new("cached");
        let mut reader = HostReader::new(Roots::host());
        for _ in 0..2 {
            files.read_all(&mut reader);
            assert_eq!(reader.fd_cache.len(), MAX_FILES);
        }
        std::fs::write(files.path("0"), "changed").unwrap();
        assert_eq!(reader.read(&files.path("0")).unwrap().unwrap(), b"changed");
        let long = vec![b'x'; 3 * BUFFER_SIZE];
        std::fs::write(files.path("0"), &long).unwrap();
        assert_eq!(reader.read(&files.path("0")).unwrap().unwrap(), long);
        assert!(reader.read(&files.path("none")).unwrap().is_none());
    }

    /// A forked child closes the files of its parent.
    #[test]
    fn open_files_belong_to_one_process() {
        let files = TempFiles::new("forked");
        let mut reader = HostReader::new(Roots::host());
        files.read_all(&mut reader);
        reader.begin_measurement(process::id());
        assert_eq!(reader.fd_cache.len(), MAX_FILES);
        let child = process::id().wrapping_add(1);
        reader.begin_measurement(child);
        assert_eq!((reader.fd_cache.len(), reader.process), (0, child));
    }
}
