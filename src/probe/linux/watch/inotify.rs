//! Notifications of file changes by inotify.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

/// Watches a set of files and directories. Events stay in the kernel's queue until they are taken.
#[derive(Debug)]
pub(in crate::probe) struct InotifyWatcher {
    inotify: Inotify,
    watches: BTreeSet<WatchDescriptor>,
}

/// A file or a directory to watch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::probe) enum InotifyTarget {
    /// A file whose content is watched.
    File(PathBuf),
    /// A directory that may be removed or moved.
    Directory(PathBuf),
    /// A directory in which files may also be created or replaced. The kernel never does that in a cgroup's
    /// directory; a captured host may.
    DirectoryEntries(PathBuf),
}

/// The events that were taken from the queue, combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::probe) enum InotifyEvents {
    None,
    /// The content of a file changed.
    Content,
    /// A file or directory was created, removed or moved, or events were lost. The watches must be set again.
    Paths,
}

impl InotifyWatcher {
    /// Creates an inotify instance that watches nothing yet.
    pub(in crate::probe) fn new() -> Result<Self, Errno> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        Ok(Self { inotify, watches: BTreeSet::new() })
    }

    /// Replaces the watches by those of `targets`. A target that does not exist is skipped.
    ///
    /// # Errors
    ///
    /// The first error. The remaining targets are watched nevertheless.
    pub(in crate::probe) fn set_targets(&mut self, targets: &BTreeSet<InotifyTarget>) -> Result<(), Errno> {
        let (mut watches, mut result) = (BTreeSet::new(), Ok(()));
        for (index, target) in targets.iter().enumerate() {
            let (path, flags) = match target {
                InotifyTarget::File(path) => (path, FILE),
                InotifyTarget::Directory(path) => (path, DIRECTORY),
                InotifyTarget::DirectoryEntries(path) => (path, DIRECTORY_ENTRIES),
            };
            // Adding a watch for a path that is watched already returns the same watch.
            let added =
                if index < MAX_WATCHES { self.inotify.add_watch(path, flags) } else { Err(Errno::ENOSPC) };
            match added {
                Ok(watch) => drop(watches.insert(watch)),
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(errno) => result = result.and(Err(errno)),
            }
        }
        for removed in self.watches.difference(&watches) {
            // Fails if the file is gone, which has removed the watch already.
            let _ = self.inotify.rm_watch(*removed);
        }
        self.watches = watches;
        result
    }

    /// Takes all events from the queue.
    pub(in crate::probe) fn take_events(&mut self) -> Result<InotifyEvents, Errno> {
        let mut combined = InotifyEvents::None;
        loop {
            let events = match self.inotify.read_events() {
                Ok(events) => events,
                Err(Errno::EAGAIN) => return Ok(combined),
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno),
            };
            for event in events {
                let is_content = (AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_ATTRIB).contains(event.mask);
                combined =
                    combined.max(if is_content { InotifyEvents::Content } else { InotifyEvents::Paths });
            }
        }
    }

    /// Duplicates the descriptor for a waiter. It is readable while the queue has events.
    pub(in crate::probe) fn duplicate_descriptor(&self) -> Result<OwnedFd, std::io::Error> {
        self.inotify.as_fd().try_clone_to_owned()
    }
}

/// A write to the file, and its replacement or removal.
const FILE: AddWatchFlags = AddWatchFlags::IN_MODIFY
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF);

/// Does not include writes to the files in the directory: some files of a cgroup are written all the time.
const DIRECTORY: AddWatchFlags =
    AddWatchFlags::IN_ONLYDIR.union(AddWatchFlags::IN_DELETE_SELF).union(AddWatchFlags::IN_MOVE_SELF);

const DIRECTORY_ENTRIES: AddWatchFlags =
    DIRECTORY.union(AddWatchFlags::IN_CREATE).union(AddWatchFlags::IN_MOVED_TO);

/// The most watches of one probe. Cgroups are nested far less deeply; a path with very many names must not use up the
/// watches of the user.
const MAX_WATCHES: usize = 512;
