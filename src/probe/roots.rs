//! Where a host's files are: this host's own, or those of another that stand in for them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The host whose files a probe reads: the running one, one that was captured into a directory, or one that is made of
/// texts.
///
/// Only the running host answers system calls. Of another one the affinity comes from `proc/self/status` and the limits
/// of the process from `proc/self/limits`, so that whatever was captured there can be read again.
///
/// ```
/// use concurrency_governor::Reading;
/// use concurrency_governor::probe::{Cpu, Roots};
///
/// let roots = Roots::in_memory([
///     ("/proc/self/status", "Cpus_allowed_list:\t0-7\n"),
///     ("/sys/devices/system/cpu/online", "0-3\n"),
///     ("/proc/self/cgroup", ""),
/// ]);
/// let cores = Cpu::new().with_roots(roots).read()?;
/// assert_eq!(cores.reading(), Reading::whole(4));
/// # Ok::<(), concurrency_governor::probe::ProbeError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Roots(Place);

#[derive(Clone, Debug, Default)]
enum Place {
    #[default]
    Host,
    Directory(PathBuf),
    Memory(Arc<BTreeMap<PathBuf, Vec<u8>>>),
}

impl Roots {
    /// The running host: `/proc` and `/sys`.
    #[must_use]
    pub fn host() -> Self {
        Self(Place::Host)
    }

    /// A host that was captured: what would be `/proc/meminfo` is `proc/meminfo` in this directory, and so with every
    /// other path.
    ///
    /// Nothing is read yet; what is not there is missing to the probes as it would be on a host. Sources, notes and
    /// errors name files as that host has them, without this directory.
    #[must_use]
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self(Place::Directory(directory.into()))
    }

    /// A host that is made of these files, each by its path from `/` with its content: for tests.
    #[must_use]
    pub fn in_memory<P: Into<PathBuf>, C: Into<Vec<u8>>>(files: impl IntoIterator<Item = (P, C)>) -> Self {
        let files = files.into_iter().map(|(path, content)| (path.into(), content.into()));
        Self(Place::Memory(Arc::new(files.collect())))
    }

    /// Whether this is the running host, so that system calls speak of the same one as the files.
    pub(super) fn is_host(&self) -> bool {
        matches!(self.0, Place::Host)
    }

    /// Whether there are files behind it, which may change.
    pub(super) fn has_files(&self) -> bool {
        !matches!(self.0, Place::Memory(_))
    }

    /// Where a path of the host is on this one. Sources and notes print it as the host has it.
    pub(super) fn locate<'p>(&self, path: &'p Path) -> Cow<'p, Path> {
        match &self.0 {
            Place::Host | Place::Memory(_) => path.into(),
            Place::Directory(directory) => directory.join(path.strip_prefix("/").unwrap_or(path)).into(),
        }
    }

    /// Reads a file whole, or `None` if there is none.
    pub(super) fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let Place::Memory(files) = &self.0 else {
            let Some(file) = self.open(path)? else { return Ok(None) };
            let mut bytes = Vec::new();
            file.take(MAX_BYTES.saturating_add(1)).read_to_end(&mut bytes)?;
            return bounded(bytes).map(Some);
        };
        match files.get(path) {
            Some(content) => bounded(content.clone()).map(Some),
            None if self.is_directory(path) => Err(io::ErrorKind::IsADirectory.into()),
            None => Ok(None),
        }
    }

    /// Opens a file for reading; `None` if there is none, or if this host is not made of files.
    pub(super) fn open(&self, path: &Path) -> io::Result<Option<File>> {
        if matches!(self.0, Place::Memory(_)) {
            return Ok(None);
        }
        // A captured directory may hold a pipe that nobody writes to: opening it must not wait.
        match OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(self.locate(path)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether there is something of this name.
    pub(super) fn exists(&self, path: &Path) -> io::Result<bool> {
        if let Place::Memory(files) = &self.0 {
            return Ok(files.contains_key(path) || self.is_directory(path));
        }
        match fs::symlink_metadata(self.locate(path)) {
            Ok(_) => Ok(true),
            Err(error) if is_absence(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether there is a directory of this name.
    pub(super) fn is_directory(&self, path: &Path) -> bool {
        match &self.0 {
            // Paths are in the order of their components, so what is below one comes right after it.
            Place::Memory(files) => files
                .range(path.to_owned()..)
                .find(|(file, _)| *file != path)
                .is_some_and(|(file, _)| file.starts_with(path)),
            _ => self.locate(path).is_dir(),
        }
    }
}

/// Whether a file is not there, as opposed to not readable.
pub(super) fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The content, unless it is longer than any of these files is.
pub(super) fn bounded(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= MAX_BYTES) {
        Ok(bytes)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, format!("longer than {MAX_BYTES} bytes")))
    }
}

/// Far more than any of these files holds, and little enough to be read on a worker: what is longer is not what it
/// should be, and must not fill the memory.
pub(super) const MAX_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of this name, removed on drop.
    struct Scratch(PathBuf);

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).ok();
        }
    }

    /// A missing file is no error; a directory, or a file longer than any should be, is one: on disk as in memory.
    #[test]
    fn reads_whole_files_of_bounded_length() {
        let longest = vec![b'x'; 1 << 20];
        let files = [
            ("/proc/a", b"1\n".to_vec()),
            ("/proc/b/c", longest.clone()),
            ("/proc/b d", [&longest[..], b"x"].concat()),
        ];
        let scratch = Scratch(std::env::temp_dir().join(format!("governor-roots-{}", std::process::id())));
        for (path, content) in &files {
            let path = scratch.0.join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        for roots in [Roots::at(&scratch.0), Roots::in_memory(files.clone())] {
            let path = |path: &'static str| Path::new(path);
            let read = |at: &'static str| roots.read(path(at));
            assert_eq!(read("/proc/a").unwrap().unwrap(), b"1\n");
            assert_eq!(read("/proc/b/c").unwrap().unwrap(), longest);
            assert_eq!(read("/proc/b d").unwrap_err().to_string(), "longer than 1048576 bytes");
            assert!(read("/proc/b").is_err());
            assert!(read("/proc/e").unwrap().is_none());
            assert!(read("/sys/a").unwrap().is_none());
            assert!(roots.is_directory(path("/proc/b")) && roots.is_directory(path("/proc")));
            assert!(!roots.is_directory(path("/proc/a")) && !roots.is_directory(path("/pro")));
            assert!(roots.exists(path("/proc/a")).unwrap() && roots.exists(path("/proc")).unwrap());
            assert!(!roots.exists(path("/proc/b/d")).unwrap());
        }
    }
}
