//! The files and directories that are watched for changes of the cgroup limits.

use std::collections::BTreeSet;

use super::super::host::{CgroupController, HostReader, ResolutionOrigin};
use super::super::parse::cgroup_membership::CgroupVersion;
use super::super::read::{MeasurementBuilder, resolve_cgroups};
use super::inotify::InotifyTarget;

/// The watch targets for the cgroups that contain the process.
#[derive(Debug, Default)]
pub(in crate::probe) struct CgroupWatchTargets {
    /// What the targets were found from. `None` if the cgroups could not be resolved, so that the next attempt may
    /// give others.
    origin: Option<ResolutionOrigin>,
    pub(in crate::probe) targets: BTreeSet<InotifyTarget>,
}

impl CgroupWatchTargets {
    /// Finds the targets for the limits of these controllers, at every visible level.
    pub(in crate::probe) fn find(reader: &mut HostReader, controllers: &[CgroupController]) -> Self {
        let mut targets = BTreeSet::new();
        for controller in controllers {
            let cgroups = resolve_cgroups(reader, *controller, &mut MeasurementBuilder::default());
            let Some(cgroups) = cgroups else { continue };
            targets.extend(cgroups.limit_files().map(|file| InotifyTarget::File(reader.locate(&file))));
            for level in &cgroups.levels {
                let directory = reader.locate(&level.directory);
                let is_kernels = reader.uses_system_calls();
                targets.insert(if is_kernels {
                    InotifyTarget::Directory(directory)
                } else {
                    InotifyTarget::DirectoryEntries(directory)
                });
            }
            if cgroups.version == CgroupVersion::V2 {
                // `cgroup.subtree_control` determines which limit files the levels below have. `cgroup.events` of the
                // process's own cgroup changes when its last process leaves.
                let subtrees =
                    cgroups.levels.iter().map(|level| level.directory.join("cgroup.subtree_control"));
                let own = cgroups.levels.last().map(|level| level.directory.join("cgroup.events"));
                targets.extend(subtrees.chain(own).map(|file| InotifyTarget::File(reader.locate(&file))));
            }
        }
        Self { origin: cached_origin(reader, controllers).cloned(), targets }
    }

    /// Returns `true` if the last measurement resolved the cgroups to which the targets belong.
    pub(in crate::probe) fn are_current(
        &self,
        reader: &HostReader,
        controllers: &[CgroupController],
    ) -> bool {
        self.origin.as_ref().is_some_and(|known| cached_origin(reader, controllers) == Some(known))
    }
}

/// Returns what the first of the controllers was last resolved from.
fn cached_origin<'r>(
    reader: &'r HostReader,
    controllers: &[CgroupController],
) -> Option<&'r ResolutionOrigin> {
    Some(&reader.caches.cgroups.get(controllers.first()?)?.origin)
}
