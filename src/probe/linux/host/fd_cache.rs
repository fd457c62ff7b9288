//! A cache of open files that are read repeatedly from their start.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::roots::Roots;

/// Open files by path, up to [`MAX_FILES`].
///
/// Reading an open file costs much less than opening, reading and closing it, and works when the process has no free file
/// descriptor.
#[derive(Debug, Default)]
pub(in crate::probe) struct FdCache {
    /// Keyed by the bytes of the path, since comparing `Path`s component by component takes longer than reading a
    /// file.
    files: BTreeMap<OsString, Arc<File>>,
}

impl FdCache {
    /// Returns the open file, and opens it if necessary.
    ///
    /// Returns `None` if the file does not exist or the cache is full.
    pub(in crate::probe) fn open(&mut self, path: &Path, roots: &Roots) -> io::Result<Option<Arc<File>>> {
        if let Some(file) = self.files.get(path.as_os_str()) {
            return Ok(Some(Arc::clone(file)));
        }
        // The check for existence needs no file descriptor. A process without free descriptors can still
        // distinguish a missing file from a file that it cannot open.
        if self.is_full() || !roots.exists(path)? {
            return Ok(None);
        }
        let file = roots.open(path)?.map(Arc::new);
        if let Some(file) = &file {
            self.files.insert(path.into(), Arc::clone(file));
        }
        Ok(file)
    }

    /// Returns `true` if the file is open.
    pub(in crate::probe) fn contains(&self, path: &Path) -> bool {
        self.files.contains_key(path.as_os_str())
    }

    /// Returns `true` if the cache accepts no further file.
    pub(in crate::probe) fn is_full(&self) -> bool {
        self.files.len() >= MAX_FILES
    }

    /// Closes a file.
    pub(in crate::probe) fn remove(&mut self, path: &Path) {
        self.files.remove(path.as_os_str());
    }

    /// Closes all files.
    pub(in crate::probe) fn clear(&mut self) {
        self.files.clear();
    }

    #[cfg(test)]
    pub(in crate::probe) fn len(&self) -> usize {
        self.files.len()
    }

    #[cfg(test)]
    pub(in crate::probe) fn insert(&mut self, path: &Path, file: File) {
        self.files.insert(path.into(), Arc::new(file));
    }
}

/// A reusable buffer for the content of one file.
#[derive(Debug)]
pub(in crate::probe) struct ReadBuffer(Box<[u8; BUFFER_SIZE]>);

impl ReadBuffer {
    /// Reads a file from its start. Returns `None` if the content may be longer than the buffer.
    ///
    /// One `pread` is enough: the kernel returns the whole content of such a file if the buffer has room for it.
    pub(in crate::probe) fn read(&mut self, file: &File) -> io::Result<Option<&[u8]>> {
        let length = file.read_at(&mut self.0[..], 0)?;
        Ok(self.0.get(..length).filter(|_| length < BUFFER_SIZE))
    }
}

impl Default for ReadBuffer {
    fn default() -> Self {
        Self(Box::new([0; BUFFER_SIZE]))
    }
}

/// One page: the kernel formats the content of a small file in one page.
pub(in crate::probe) const BUFFER_SIZE: usize = 4096;

/// The most files that one probe keeps open. Cgroups are rarely nested deeply enough to reach it; further files are
/// opened for each read.
pub(in crate::probe) const MAX_FILES: usize = 32;
