//! What the kernel tells of files that change: inotify.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

/// The notices of a set of files and directories. What is told waits in the kernel until it is taken.
#[derive(Debug)]
pub(super) struct Notices {
    inotify: Inotify,
    watched: BTreeSet<WatchDescriptor>,
}

/// What to watch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// A file whose content counts.
    File(PathBuf),
    /// A directory that may go away, or be moved.
    Directory(PathBuf),
    /// A directory in which a file may also be replaced, as the kernel never does in its own.
    Folder(PathBuf),
}

/// What was told since it was last asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Heard {
    Nothing,
    /// The content of a file changed.
    Content,
    /// A file or a directory came, went or moved, or something was missed: watch everything anew.
    Places,
}

impl Notices {
    /// Watches nothing yet.
    pub(super) fn open() -> Result<Self, Errno> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        Ok(Self { inotify, watched: BTreeSet::new() })
    }

    /// Watches these targets from now on and no others, those that are not there left out.
    ///
    /// What can be watched is, also where it is not all; gives the first reason why it is not.
    pub(super) fn watch(&mut self, targets: &BTreeSet<Target>) -> Result<(), Errno> {
        let (mut watched, mut failed) = (BTreeSet::new(), Ok(()));
        for (at, target) in targets.iter().enumerate() {
            let (path, flags) = match target {
                Target::File(path) => (path, FILE),
                Target::Directory(path) => (path, DIRECTORY),
                Target::Folder(path) => (path, FOLDER),
            };
            // Watched twice it is one watch.
            let added =
                if at < MOST_WATCHED { self.inotify.add_watch(path, flags) } else { Err(Errno::ENOSPC) };
            match added {
                Ok(watch) => drop(watched.insert(watch)),
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(errno) => failed = failed.and(Err(errno)),
            }
        }
        for gone in self.watched.difference(&watched) {
            // One whose file is gone has ended by itself.
            let _ = self.inotify.rm_watch(*gone);
        }
        self.watched = watched;
        failed
    }

    /// Takes what was told, all of it.
    pub(super) fn take(&mut self) -> Result<Heard, Errno> {
        let mut heard = Heard::Nothing;
        loop {
            let events = match self.inotify.read_events() {
                Ok(events) => events,
                Err(Errno::EAGAIN) => return Ok(heard),
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno),
            };
            for event in events {
                let is_content = (AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_ATTRIB).contains(event.mask);
                heard = heard.max(if is_content { Heard::Content } else { Heard::Places });
            }
        }
    }

    /// Another descriptor of the same notices, to be waited for: it is readable while there are any.
    pub(super) fn descriptor(&self) -> Result<OwnedFd, std::io::Error> {
        self.inotify.as_fd().try_clone_to_owned()
    }
}

/// A write, and what a file that is replaced or removed leaves behind.
const FILE: AddWatchFlags = AddWatchFlags::IN_MODIFY
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF);

/// Not what happens to the files in it: among those of a group there are some that are written all the time.
const DIRECTORY: AddWatchFlags =
    AddWatchFlags::IN_ONLYDIR.union(AddWatchFlags::IN_DELETE_SELF).union(AddWatchFlags::IN_MOVE_SELF);

const FOLDER: AddWatchFlags = DIRECTORY.union(AddWatchFlags::IN_CREATE).union(AddWatchFlags::IN_MOVED_TO);

/// Far more than groups are nested, and little enough that a path without end does not take up all that the user may
/// watch.
const MOST_WATCHED: usize = 512;
