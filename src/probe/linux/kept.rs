//! Files that are kept open, and read from the start again and again.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::probe::roots::Roots;

/// Descriptors by their paths, up to a bound.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// By the bytes of the path: to compare paths name by name takes longer than to read a file.
    files: BTreeMap<OsString, Arc<File>>,
}

impl Kept {
    /// A descriptor that is kept, or is from now on; `None` if there is no such file, or no room for another.
    pub(super) fn open(&mut self, path: &Path, roots: &Roots) -> io::Result<Option<Arc<File>>> {
        if let Some(file) = self.files.get(path.as_os_str()) {
            return Ok(Some(Arc::clone(file)));
        }
        // To see that there is none takes no descriptor, so that a process without any left is not blind to that.
        if !self.has_room() || !roots.exists(path)? {
            return Ok(None);
        }
        let file = roots.open(path)?.map(Arc::new);
        if let Some(file) = &file {
            self.files.insert(path.into(), Arc::clone(file));
        }
        Ok(file)
    }

    /// Whether there is a descriptor of it.
    pub(super) fn holds(&self, path: &Path) -> bool {
        self.files.contains_key(path.as_os_str())
    }

    /// Whether there may be another one.
    pub(super) fn has_room(&self) -> bool {
        self.files.len() < MOST
    }

    /// Keeps it no longer.
    pub(super) fn let_go(&mut self, path: &Path) {
        self.files.remove(path.as_os_str());
    }

    /// Keeps nothing any more.
    pub(super) fn let_all_go(&mut self) {
        self.files.clear();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    #[cfg(test)]
    pub(super) fn hold(&mut self, path: &Path, file: File) {
        self.files.insert(path.into(), Arc::new(file));
    }
}

/// Room for what a file holds.
#[derive(Debug)]
pub(super) struct Buffer(Box<[u8; BUFFER]>);

impl Buffer {
    /// Reads a file from its start; `None` if it holds more than there is room for.
    ///
    /// The files of the kernel are written in one piece, so what leaves room is whole.
    pub(super) fn read(&mut self, file: &File) -> io::Result<Option<&[u8]>> {
        let length = file.read_at(&mut self.0[..], 0)?;
        Ok(self.0.get(..length).filter(|_| length < BUFFER))
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Self(Box::new([0; BUFFER]))
    }
}

/// As much as the kernel writes of a small file at once.
pub(super) const BUFFER: usize = 4096;

/// Descriptors that one probe keeps at most: groups are rarely nested deeper than this allows for, and those that are
/// left out are opened each time.
pub(super) const MOST: usize = 32;
