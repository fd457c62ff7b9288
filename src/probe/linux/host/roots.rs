//! The location of a host's files: the running host, a captured directory, or files in memory.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The host whose files a probe reads: the running host, a directory with a captured host, or files in memory.
///
/// System calls are made only for the running host. For the others, the affinity is read from `proc/self/status` and
/// the process limits from `proc/self/limits`, so that a captured host gives the same readings anywhere. Linux only.
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
pub struct Roots(RootsSource);

#[derive(Clone, Debug, Default)]
enum RootsSource {
    #[default]
    RunningHost,
    Directory(PathBuf),
    Memory(Arc<BTreeMap<PathBuf, Vec<u8>>>),
}

impl Roots {
    /// Returns the running host: `/proc` and `/sys`.
    #[must_use]
    pub fn host() -> Self {
        Self(RootsSource::RunningHost)
    }

    /// Returns the host that was captured into a directory, such as by [`capture`](crate::probe::capture): its
    /// `/proc/meminfo` is `proc/meminfo` in the directory, and likewise every other path.
    ///
    /// Nothing is read yet. A file that is missing in the directory is missing on that host. Sources, notes and
    /// errors name files by their path on that host, without the directory.
    #[must_use]
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self(RootsSource::Directory(directory.into()))
    }

    /// Returns a host with these files, each given as its absolute path and its content. For tests.
    #[must_use]
    pub fn in_memory<P: Into<PathBuf>, C: Into<Vec<u8>>>(files: impl IntoIterator<Item = (P, C)>) -> Self {
        let files = files.into_iter().map(|(path, content)| (path.into(), content.into()));
        Self(RootsSource::Memory(Arc::new(files.collect())))
    }

    /// Returns `true` for the running host, whose process the system calls describe.
    pub(in crate::probe) fn is_running_host(&self) -> bool {
        matches!(self.0, RootsSource::RunningHost)
    }

    /// Returns `true` if the host has files on disk, which may change.
    pub(in crate::probe) fn has_files(&self) -> bool {
        !matches!(self.0, RootsSource::Memory(_))
    }

    /// Returns the path under which this process finds a file of the host.
    pub(in crate::probe) fn locate<'p>(&self, path: &'p Path) -> Cow<'p, Path> {
        match &self.0 {
            RootsSource::RunningHost | RootsSource::Memory(_) => path.into(),
            RootsSource::Directory(directory) => {
                directory.join(path.strip_prefix("/").unwrap_or(path)).into()
            }
        }
    }

    /// Reads a whole file. Returns `None` if it does not exist.
    pub(in crate::probe) fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let RootsSource::Memory(files) = &self.0 else {
            let Some(file) = self.open(path)? else { return Ok(None) };
            let mut bytes = Vec::new();
            file.take(MAX_FILE_SIZE.saturating_add(1)).read_to_end(&mut bytes)?;
            return check_size(bytes).map(Some);
        };
        match files.get(path) {
            Some(content) => check_size(content.clone()).map(Some),
            None if self.is_directory(path) => Err(io::ErrorKind::IsADirectory.into()),
            None => Ok(None),
        }
    }

    /// Reads a file of any length line by line, and passes each line without its line break. Returns `None` if the
    /// file does not exist.
    ///
    /// Only the first 64 KiB of a line are passed, which is more than the two paths in a line of mountinfo can take.
    pub(in crate::probe) fn read_lines(
        &self,
        path: &Path,
        line: impl FnMut(&[u8]),
    ) -> io::Result<Option<()>> {
        let RootsSource::Memory(files) = &self.0 else {
            let Some(file) = self.open(path)? else { return Ok(None) };
            return read_file_lines(&file, line).map(Some);
        };
        match files.get(path) {
            Some(content) => split_lines(&content[..], line).map(Some),
            None if self.is_directory(path) => Err(io::ErrorKind::IsADirectory.into()),
            None => Ok(None),
        }
    }

    /// Opens a file for reading. Returns `None` if it does not exist or the host is in memory.
    pub(in crate::probe) fn open(&self, path: &Path) -> io::Result<Option<File>> {
        if matches!(self.0, RootsSource::Memory(_)) {
            return Ok(None);
        }
        // A captured directory may contain a named pipe. Without O_NONBLOCK, opening it would wait for a writer.
        match OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(self.locate(path)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns `true` if the path exists.
    pub(in crate::probe) fn exists(&self, path: &Path) -> io::Result<bool> {
        if let RootsSource::Memory(files) = &self.0 {
            return Ok(files.contains_key(path) || self.is_directory(path));
        }
        match fs::symlink_metadata(self.locate(path)) {
            Ok(_) => Ok(true),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns `true` if the path is a directory.
    pub(in crate::probe) fn is_directory(&self, path: &Path) -> bool {
        match &self.0 {
            // Paths are ordered by component, so a path inside the directory directly follows it in the map.
            RootsSource::Memory(files) => files
                .range(path.to_owned()..)
                .find(|(file, _)| *file != path)
                .is_some_and(|(file, _)| file.starts_with(path)),
            _ => self.locate(path).is_dir(),
        }
    }
}

/// Returns `true` if the error means that the file does not exist, not that it cannot be read.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Returns the content, or an error if it is longer than [`MAX_FILE_SIZE`].
fn check_size(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= MAX_FILE_SIZE) {
        Ok(bytes)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, format!("longer than {MAX_FILE_SIZE} bytes")))
    }
}

/// Reads an open file from its start, line by line, as [`Roots::read_lines`] does.
pub(in crate::probe) fn read_file_lines(mut file: &File, line: impl FnMut(&[u8])) -> io::Result<()> {
    // A pipe cannot seek, and has been opened at its start.
    match file.rewind() {
        Err(error) if error.kind() != io::ErrorKind::NotSeekable => Err(error),
        _ => split_lines(BufReader::new(file), line),
    }
}

/// Passes each line, cut off after [`MAX_LINE`] bytes.
fn split_lines(content: impl BufRead, mut line: impl FnMut(&[u8])) -> io::Result<()> {
    let mut content = content.take(MAX_STREAM);
    let mut kept = Vec::new();
    loop {
        kept.clear();
        // Not more than `MAX_LINE` bytes are kept in memory, however long the line is.
        (&mut content).take(MAX_LINE).read_until(b'\n', &mut kept)?;
        match kept.split_last() {
            None => break,
            Some((b'\n', text)) => line(text),
            Some(_) => {
                line(&kept);
                content.skip_until(b'\n')?;
            }
        }
    }
    if content.limit() == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("longer than {MAX_STREAM} bytes")));
    }
    Ok(())
}

/// The longest file that is read at once: 1 MiB. No such file of a kernel is longer, and an invalid one must not fill
/// the memory.
const MAX_FILE_SIZE: u64 = 1 << 20;

/// The longest file that is read line by line: 1 GiB. A mountinfo with the 100 000 mounts that the kernel allows by
/// default is a tenth of it. An endless file, such as `/dev/zero` in a captured host, must come to an end.
const MAX_STREAM: u64 = 1 << 30;

/// The most bytes of a line that are kept.
const MAX_LINE: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// A temporary directory that is removed on drop.
    struct TempRoots(PathBuf);

    impl Drop for TempRoots {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).ok();
        }
    }

    /// On disk and in memory, a missing file is not an error, and a directory or an oversized file is one.
    #[test]
    fn reads_whole_files_of_bounded_size() {
        let longest = vec![b'x'; 1 << 20];
        let files = [
            ("/proc/a", b"1\n".to_vec()),
            ("/proc/b/c", longest.clone()),
            ("/proc/b d", [&longest[..], b"x"].concat()),
        ];
        let directory =
            TempRoots(std::env::temp_dir().join(format!("governor-roots-{}", std::process::id())));
        for (path, content) in &files {
            let path = directory.0.join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        for roots in [Roots::at(&directory.0), Roots::in_memory(files.clone())] {
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

    /// Lines are passed whole up to a bound, from a file of any length.
    #[test]
    fn reads_lines_of_bounded_length() {
        let longest = "x".repeat(64 << 10);
        let content = format!("a\n\n{longest}\n{longest}y\n{}\nlast", "b\n".repeat(1 << 20));
        let roots = Roots::in_memory([("/proc/lines", content)]);
        let (mut lines, mut count) = (Vec::new(), 0_u32);
        let read = roots.read_lines(Path::new("/proc/lines"), |line| {
            count += 1;
            if line != b"b" {
                lines.push(String::from_utf8(line.to_vec()).unwrap());
            }
        });
        assert!(read.unwrap().is_some());
        assert_eq!(lines, ["a", "", &longest, &longest, "", "last"]);
        assert_eq!(count, (1 << 20) + 6);
        assert!(roots.read_lines(Path::new("/proc/none"), |_| {}).unwrap().is_none());
        assert!(roots.read_lines(Path::new("/proc"), |_| {}).is_err());
        let endless = Roots::at("/dev").read_lines(Path::new("/zero"), |_| {});
        assert_eq!(endless.unwrap_err().to_string(), "longer than 1073741824 bytes");
    }
}
