//! A host as a probe reads it: its files, kept open where they are read again and again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Arc, Mutex, TryLockError};

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::resource::{Resource as Rlimit, getrlimit};
use nix::unistd::{Pid, getpid};

use super::affinity::Affinity;
use super::group::{Controller, Resolved};
use super::inputs::{Input, Inputs, Last, Part};
use super::kept::{Buffer, Kept};
use super::open_files::Count;
use crate::plan::Measurement;
use crate::probe::ProbeError;
use crate::probe::roots::Roots;

/// A host and what a probe keeps of it between two measurements. Clones share it.
#[derive(Clone, Debug, Default)]
pub(in crate::probe) struct SharedHost {
    roots: Roots,
    host: Arc<Mutex<Host>>,
}

impl SharedHost {
    pub(in crate::probe) fn new(roots: Roots) -> Self {
        let host = Host::new(roots.clone());
        Self { roots, host: Arc::new(Mutex::new(host)) }
    }

    /// A host whose files are kept open though it does not run.
    #[cfg(test)]
    pub(super) fn keeping(roots: Roots) -> Self {
        let host = Host::with_mode(roots.clone(), Mode::Keep);
        Self { roots, host: Arc::new(Mutex::new(host)) }
    }

    /// Whether the host can be another one the next time: one made of texts cannot.
    pub(super) fn may_change(&self) -> bool {
        self.roots.has_files()
    }

    /// Whether it is the running host, which alone tells of anything by other means than a changed file.
    pub(super) fn is_running(&self) -> bool {
        self.roots.is_host()
    }

    /// Measures something of the host, once more if what was kept proved to be out of date meanwhile.
    ///
    /// Waits for nobody: while another thread measures, which in a forked child may be for ever, it reads with nothing
    /// kept.
    pub(in crate::probe) fn measure<T>(&self, measure: impl Fn(&mut Host) -> T) -> T {
        self.measure_in(process::id(), measure)
    }

    /// The same for whoever knows which process this is.
    pub(super) fn measure_in<T>(&self, process: u32, measure: impl Fn(&mut Host) -> T) -> T {
        let mut kept = match self.host.try_lock() {
            Ok(kept) => kept,
            Err(TryLockError::Poisoned(kept)) => kept.into_inner(),
            Err(TryLockError::WouldBlock) => return measure(&mut Host::new(self.roots.clone())),
        };
        kept.begin(process);
        let measured = measure(&mut kept);
        if !kept.outdated {
            return measured;
        }
        kept.forget();
        measure(&mut kept)
    }
}

/// A host's files.
#[derive(Debug)]
pub(in crate::probe) struct Host {
    roots: Roots,
    mode: Mode,
    /// The process that the kept descriptors speak of: a child that was forked has others of the same name.
    process: u32,
    kept: Kept,
    buffer: Buffer,
    /// Set when a kept descriptor leads nowhere any more, as that of a group that was removed does.
    outdated: bool,
    /// What the measurement under way is made of, and the one before.
    inputs: Inputs,
    last: Option<Last>,
    pub(super) resolved: BTreeMap<Controller, Resolved>,
    pub(super) affinity: Option<Affinity>,
    pub(super) count: Option<Count>,
}

/// What reading leaves behind.
#[derive(Debug)]
enum Mode {
    /// Descriptors, for the next time.
    Keep,
    /// Nothing: a host that is not running has no reason to be read often, and its files may be replaced.
    Afresh,
    /// A copy of every file, by its path on the host.
    Record(BTreeMap<PathBuf, Recorded>),
}

/// What was found at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::probe) enum Recorded {
    File(Vec<u8>),
    Directory,
}

impl Host {
    pub(super) fn new(roots: Roots) -> Self {
        let mode = if roots.is_host() { Mode::Keep } else { Mode::Afresh };
        Self::with_mode(roots, mode)
    }

    /// A host that is read from its files alone, as a captured one is, and remembers all that it read.
    pub(in crate::probe) fn recording(roots: Roots) -> Self {
        Self::with_mode(roots, Mode::Record(BTreeMap::new()))
    }

    /// All that was read, by its path on the host.
    pub(in crate::probe) fn into_record(self) -> BTreeMap<PathBuf, Recorded> {
        match self.mode {
            Mode::Record(record) => record,
            Mode::Keep | Mode::Afresh => BTreeMap::new(),
        }
    }

    fn with_mode(roots: Roots, mode: Mode) -> Self {
        Self {
            roots,
            mode,
            process: process::id(),
            kept: Kept::default(),
            buffer: Buffer::default(),
            outdated: false,
            inputs: Inputs::default(),
            last: None,
            resolved: BTreeMap::new(),
            affinity: None,
            count: None,
        }
    }

    /// Whether system calls speak of this host, and are to be made.
    pub(super) fn answers_calls(&self) -> bool {
        self.roots.is_host() && !matches!(self.mode, Mode::Record(_))
    }

    /// Where a path of the host is on this one, for whoever does not read it by way of here.
    pub(super) fn locate(&self, path: &Path) -> PathBuf {
        self.roots.locate(path).into_owned()
    }

    /// Measures in one way, which is always the same for a host, or gives what came of it the last time, if it would be
    /// made of the same again.
    pub(super) fn measure_again(
        &mut self,
        measure: fn(&mut Self) -> Result<Measurement, ProbeError>,
    ) -> Result<Measurement, ProbeError> {
        if !matches!(self.mode, Mode::Keep) {
            return measure(self);
        }
        let process = self.process();
        if let Some(last) = &self.last {
            if let Some(measured) = last.again(&self.roots, process, &mut self.buffer) {
                return Ok(measured.clone());
            }
        }
        self.last = None;
        self.inputs.begin();
        let measured = measure(self);
        self.last = self.inputs.end(measured.as_ref().ok());
        measured
    }

    /// Has the next measurement made anew: what the last one took for granted is found out again.
    pub(super) fn forget_last(&mut self) {
        self.last = None;
    }

    /// The CPUs that the process may run on, its first thread that is. Asked for the calling thread, a worker that is
    /// pinned to one core would speak for all.
    pub(super) fn call_affinity(&mut self) -> Result<CpuSet, Errno> {
        let set = sched_getaffinity(self.process());
        match set {
            Ok(set) => self.inputs.note(|| Input::Affinity(set)),
            Err(_) => self.inputs.spoil(),
        }
        set
    }

    /// A limit of the process, soft and hard.
    pub(super) fn call_limit(&mut self, limit: Rlimit) -> Result<(u64, u64), Errno> {
        let values = getrlimit(limit);
        match values {
            Ok(values) => self.inputs.note(|| Input::Limit(limit, values)),
            Err(_) => self.inputs.spoil(),
        }
        values
    }

    /// Reads a file, or gives `None` if there is none. The path is one of the host's own, from `/`.
    pub(super) fn read(&mut self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        self.read_part(path, Part::Whole)
    }

    /// Reads a part of a file, or gives `None` if there is no file.
    pub(super) fn read_part(&mut self, path: &Path, part: Part) -> io::Result<Option<Vec<u8>>> {
        let content = match &self.mode {
            Mode::Keep => self.read_kept(path, part),
            Mode::Afresh | Mode::Record(_) => self.read_once(path).map(|content| cut(content, part)),
        };
        if content.is_err() {
            self.inputs.spoil();
        }
        content
    }

    /// Reads a file that never holds anything else, so that it need not be read again to know that.
    pub(super) fn read_settled(&mut self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let inputs = mem::take(&mut self.inputs);
        let content = self.read(path);
        if matches!(content, Ok(Some(_))) {
            self.inputs = inputs;
        }
        content
    }

    /// Reads a file that is not read again soon, or that may be longer than a buffer.
    pub(super) fn read_once(&mut self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        self.inputs.spoil();
        let content = self.roots.read(path)?;
        if let (Mode::Record(record), Some(content)) = (&mut self.mode, &content) {
            record.insert(path.to_owned(), Recorded::File(content.clone()));
        }
        Ok(content)
    }

    /// Whether there is something of this name.
    pub(super) fn exists(&mut self, path: &Path) -> io::Result<bool> {
        self.inputs.spoil();
        let exists = self.roots.exists(path)?;
        if let (Mode::Record(record), true) = (&mut self.mode, exists) {
            let content = self.roots.read(path)?.unwrap_or_default();
            record.insert(path.to_owned(), Recorded::File(content));
        }
        Ok(exists)
    }

    /// Whether there is a directory of this name.
    pub(super) fn is_directory(&mut self, path: &Path) -> bool {
        self.inputs.spoil();
        let is_directory = self.roots.is_directory(path);
        if let (Mode::Record(record), true) = (&mut self.mode, is_directory) {
            record.insert(path.to_owned(), Recorded::Directory);
        }
        is_directory
    }

    /// A descriptor of a file or a directory that is kept, or is from now on; `None` if there is no such file, or if it
    /// is not to be kept.
    pub(super) fn descriptor(&mut self, path: &Path) -> io::Result<Option<Arc<File>>> {
        self.inputs.spoil();
        if matches!(self.mode, Mode::Keep) { self.kept.open(path, &self.roots) } else { Ok(None) }
    }

    /// Whether the file is kept open.
    pub(super) fn keeps(&self, path: &Path) -> bool {
        self.kept.holds(path)
    }

    fn read_kept(&mut self, path: &Path, part: Part) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = self.kept.open(path, &self.roots)? else {
            if !self.kept.has_room() {
                return self.read_unkept(path, part);
            }
            self.inputs.note(|| Input::Absence(path.to_owned()));
            return Ok(None);
        };
        match self.buffer.read(&file) {
            Ok(Some(content)) => {
                let content = part.of(content).to_vec();
                self.inputs.note(|| Input::File { file, part, content: content.clone() });
                Ok(Some(content))
            }
            Ok(None) => self.read_unkept(path, part),
            Err(error) => {
                // ENODEV once the group is removed. Whatever it is, a descriptor that fails is not worth keeping.
                self.outdated = true;
                self.kept.let_go(path);
                Err(error)
            }
        }
    }

    fn read_unkept(&mut self, path: &Path, part: Part) -> io::Result<Option<Vec<u8>>> {
        self.inputs.spoil();
        Ok(cut(self.roots.read(path)?, part))
    }

    fn process(&self) -> Pid {
        i32::try_from(self.process).map_or_else(|_| getpid(), Pid::from_raw)
    }

    /// Before a measurement: in a child that was forked everything kept is the parent's.
    fn begin(&mut self, process: u32) {
        // A measurement that panicked has left it so.
        self.inputs.spoil();
        if self.outdated || self.process != process {
            self.forget();
            self.process = process;
        }
    }

    fn forget(&mut self) {
        self.kept.let_all_go();
        self.last = None;
        self.resolved.clear();
        self.affinity = None;
        self.count = None;
        self.outdated = false;
    }
}

/// The part of what was read whole.
fn cut(content: Option<Vec<u8>>, part: Part) -> Option<Vec<u8>> {
    content.map(|content| if part == Part::Whole { content } else { part.of(&content).to_vec() })
}

impl Default for Host {
    fn default() -> Self {
        Self::new(Roots::host())
    }
}

#[cfg(test)]
mod tests {
    use super::super::kept::{BUFFER, MOST};
    use super::*;

    /// As many files as a probe keeps, and some more, in a directory that is removed on drop.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let directory = std::env::temp_dir().join(format!("governor-{name}-{}", process::id()));
            std::fs::create_dir_all(&directory).unwrap();
            for at in 0..40 {
                std::fs::write(directory.join(at.to_string()), format!("{at}\n")).unwrap();
            }
            Self(directory)
        }

        fn read_all(&self, host: &mut Host) {
            for at in 0..40 {
                let content = host.read(&self.0.join(at.to_string())).unwrap().unwrap();
                assert_eq!(content, format!("{at}\n").into_bytes());
            }
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).ok();
        }
    }

    /// What is read again is kept open, as far as a bound; the rest is read all the same, and follows a change.
    #[test]
    fn descriptors_are_kept_within_a_bound() {
        let scratch = Scratch::new("kept");
        let mut host = Host::new(Roots::host());
        for _ in 0..2 {
            scratch.read_all(&mut host);
            assert_eq!(host.kept.len(), MOST);
        }
        std::fs::write(scratch.0.join("0"), "changed").unwrap();
        assert_eq!(host.read(&scratch.0.join("0")).unwrap().unwrap(), b"changed");
        let long = vec![b'x'; 3 * BUFFER];
        std::fs::write(scratch.0.join("0"), &long).unwrap();
        assert_eq!(host.read(&scratch.0.join("0")).unwrap().unwrap(), long);
        assert!(host.read(&scratch.0.join("none")).unwrap().is_none());
    }

    /// A child that was forked lets go of what its parent kept.
    #[test]
    fn kept_descriptors_are_of_one_process() {
        let scratch = Scratch::new("forked");
        let mut host = Host::new(Roots::host());
        scratch.read_all(&mut host);
        host.begin(process::id());
        assert_eq!(host.kept.len(), MOST);
        let child = process::id().wrapping_add(1);
        host.begin(child);
        assert_eq!((host.kept.len(), host.process), (0, child));
    }

    /// While another measurement is under way nobody waits for it: there is nothing kept then.
    #[test]
    fn measuring_waits_for_nobody() {
        let scratch = Scratch::new("shared");
        let shared = SharedHost::new(Roots::host());
        let clone = shared.clone();
        let kept = shared.measure(|host| {
            scratch.read_all(host);
            (host.kept.len(), clone.measure(|other| other.kept.len()))
        });
        assert_eq!(kept, (MOST, 0));
        assert_eq!(clone.measure(|host| host.kept.len()), MOST);
    }

    /// A descriptor that fails is let go, and what was measured by it is measured once more.
    #[test]
    fn failed_descriptors_are_opened_anew() {
        let scratch = Scratch::new("failed");
        let path = scratch.0.join("0");
        let shared = SharedHost::new(Roots::host());
        let runs = std::cell::Cell::new(0);
        let read = shared.measure(|host| {
            runs.set(runs.get() + 1);
            if runs.get() == 1 {
                // A directory in its place is what cannot be read from a descriptor.
                host.kept.hold(&path, File::open(&scratch.0).unwrap());
            }
            host.read(&path)
        });
        assert_eq!((read.unwrap().unwrap(), runs.get()), (b"0\n".to_vec(), 2));
    }
}
