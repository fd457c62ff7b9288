//! Where the host's files are: `/proc` and `/sys`, or trees that stand in for them.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The two directories that everything is read below.
#[derive(Clone, Debug)]
pub(in crate::probe) struct Roots {
    proc: PathBuf,
    sys: PathBuf,
}

impl Roots {
    /// Those of the running system.
    pub(super) fn host() -> Self {
        Self { proc: HOST_PROC.into(), sys: HOST_SYS.into() }
    }

    /// Whether these are the running system's, so that system calls speak of the same host as the files.
    pub(super) fn is_host(&self) -> bool {
        self.proc == Path::new(HOST_PROC) && self.sys == Path::new(HOST_SYS)
    }

    /// A file below `/proc`.
    pub(super) fn proc(&self, file: &str) -> PathBuf {
        self.proc.join(file)
    }

    /// A file below `/sys`.
    pub(super) fn sys(&self, file: &str) -> PathBuf {
        self.sys.join(file)
    }
}

impl Default for Roots {
    fn default() -> Self {
        Self::host()
    }
}

/// Reads a file whole, or `None` if there is none.
pub(super) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= MAX_BYTES) {
        Ok(Some(bytes))
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, format!("longer than {MAX_BYTES} bytes")))
    }
}

const HOST_PROC: &str = "/proc";
const HOST_SYS: &str = "/sys";

/// Far more than any of these files holds, and little enough to be read on a worker: what is longer is not what it
/// should be, and must not fill the memory.
const MAX_BYTES: u64 = 1 << 20;

/// A host made of files, for tests.
#[cfg(test)]
pub(in crate::probe) mod tree {
    use std::fs;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A directory with a `proc` and a `sys` of its own, removed on drop.
    #[derive(Debug)]
    pub(in crate::probe) struct Tree {
        root: PathBuf,
    }

    impl Tree {
        pub(in crate::probe) fn new() -> Self {
            static MADE: AtomicU32 = AtomicU32::new(0);
            let name =
                format!("governor-tree-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
            Self { root: std::env::temp_dir().join(name) }
        }

        /// The same with a file of this content, in directories as needed.
        pub(in crate::probe) fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
            let path = self.root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
            self
        }

        pub(in crate::probe) fn roots(&self) -> Roots {
            Roots { proc: self.root.join("proc"), sys: self.root.join("sys") }
        }

        /// The path of a file in it, as a source or a note prints it.
        pub(in crate::probe) fn path(&self, path: &str) -> String {
            self.root.join(path).display().to_string()
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.root).ok();
        }
    }

    /// A host that was captured, kept under `tests/fixtures`.
    pub(in crate::probe) fn captured(name: &str) -> Roots {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
        Roots { proc: root.join("proc"), sys: root.join("sys") }
    }
}

#[cfg(test)]
mod tests {
    use super::tree::Tree;
    use super::*;

    /// A missing file is no error; a directory, or a file longer than any should be, is one.
    #[test]
    fn reads_whole_files_of_bounded_length() {
        let longest = vec![b'x'; 1 << 20];
        let tree = Tree::new()
            .file("proc/a", "1\n")
            .file("proc/b", &longest)
            .file("proc/c", [&longest[..], b"x"].concat());
        let roots = tree.roots();
        assert_eq!(read(&roots.proc("a")).unwrap().unwrap(), b"1\n");
        assert_eq!(read(&roots.proc("b")).unwrap().unwrap(), longest);
        assert_eq!(read(&roots.proc("c")).unwrap_err().to_string(), "longer than 1048576 bytes");
        assert!(read(&roots.proc("")).is_err());
        assert!(read(&roots.proc("d")).unwrap().is_none());
        assert!(read(&roots.sys("a")).unwrap().is_none());
    }
}
