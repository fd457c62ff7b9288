//! Finds the cgroups that contain the process, and reads their files.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::host::{
    CgroupController, CgroupLevel, CgroupLevels, HostReader, ResolutionNotes, ResolutionOrigin,
    ResolvedCgroups,
};
use super::super::parse::cgroup_membership::{self, CgroupMembership, CgroupVersion, path_components};
use super::super::parse::mountinfo::{CgroupMount, CgroupMounts};
use super::super::parse::text::{excerpt, printable};
use super::measurement_builder::{MeasurementBuilder, NotedReadError};
use crate::plan::Source;

/// Returns the cgroups that contain the process in the hierarchy of a controller.
///
/// Returns `None`, with a note, if there are none or they cannot be seen. The result is cached until
/// `/proc/self/cgroup`, which is read each time, or the cgroup mounts change.
pub(in crate::probe) fn resolve_cgroups(
    reader: &mut HostReader,
    controller: CgroupController,
    builder: &mut MeasurementBuilder,
) -> Option<Arc<CgroupLevels>> {
    let membership = builder.read_required(reader, MEMBERSHIP)?;
    let mounts = match read_mounts(reader) {
        Ok(mounts) => mounts,
        Err(error) => {
            builder.weaken_by_read_error(Path::new(MOUNTINFO), error);
            return None;
        }
    };
    let origin = ResolutionOrigin { membership, mounts };
    let cached = reader.caches.cgroups.get(&controller).filter(|cached| cached.origin == origin);
    if let Some(cached) = cached {
        return apply_resolution(cached, builder);
    }
    let mut notes = ResolutionNotes::default();
    let levels = find_levels(reader, controller, &origin, &mut notes).map(Arc::new);
    let resolved = ResolvedCgroups { origin, levels, notes };
    let levels = apply_resolution(&resolved, builder);
    if resolved.notes.is_transient {
        reader.caches.cgroups.remove(&controller);
    } else {
        reader.caches.cgroups.insert(controller, resolved);
    }
    levels
}

/// Returns the visible cgroup mounts. They are read again if a mount may have changed.
///
/// An unchanged list is the same allocation, so that comparing it is one comparison of pointers.
fn read_mounts(reader: &mut HostReader) -> io::Result<Arc<CgroupMounts>> {
    let path = Path::new(MOUNTINFO);
    let may_be_new = reader.may_have_new_mounts(path);
    let cached = reader.caches.mounts.take();
    let current = match cached {
        Some(cached) if !may_be_new => cached,
        cached => {
            let mut read = CgroupMounts::default();
            // A missing file shows no mounts.
            reader.read_lines(path, |line| read.add_line(line))?;
            cached.filter(|cached| **cached == read).unwrap_or_else(|| Arc::new(read))
        }
    };
    Ok(Arc::clone(reader.caches.mounts.insert(current)))
}

/// Adds the notes of a resolution to a measurement, and returns its levels.
fn apply_resolution(
    resolved: &ResolvedCgroups,
    builder: &mut MeasurementBuilder,
) -> Option<Arc<CgroupLevels>> {
    resolved.notes.plain.iter().for_each(|note| builder.add_note(note.clone()));
    resolved.notes.weakening.iter().for_each(|note| builder.weaken(note.clone()));
    resolved.levels.clone()
}

/// Reads a file of a cgroup and adds it as a source. Returns `None` if the cgroup does not have the file.
pub(in crate::probe) fn read_level_file(
    level: &CgroupLevel,
    file: &str,
    reader: &mut HostReader,
    builder: &mut MeasurementBuilder,
) -> Result<Option<Vec<u8>>, NotedReadError> {
    if level.is_unlimited_root {
        return Ok(None);
    }
    let path = level.directory.join(file);
    let content = builder.read(reader, &path)?;
    if let Some(content) = &content {
        // Avoids a copy of the path if it is UTF-8.
        let path = path.into_os_string().into_string();
        let path = path.unwrap_or_else(|path| path.to_string_lossy().into_owned());
        builder.add_source(Source::new(path, excerpt(content)).at_level(level.name.clone()));
    }
    Ok(content)
}

/// Weakens the measurement because a file of a cgroup holds no valid value.
pub(in crate::probe) fn weaken_by_level_file(
    level: &CgroupLevel,
    file: &str,
    error: impl fmt::Display,
    builder: &mut MeasurementBuilder,
) {
    builder.weaken(format!("{} {error}", level.directory.join(file).display()));
}

/// Returns `true` if the controller is disabled at a v2 level, so that neither this level nor a lower one has its
/// files.
///
/// Looking up a missing file costs the kernel more than reading an open one. The list of enabled
/// controllers can be kept open; a missing `file` cannot.
pub(in crate::probe) fn is_controller_off(
    cgroups: &CgroupLevels,
    level: &CgroupLevel,
    file: &str,
    reader: &mut HostReader,
) -> bool {
    if cgroups.version == CgroupVersion::V1
        || level.is_unlimited_root
        || reader.is_cached(&level.directory.join(file))
    {
        return false;
    }
    let enabled = reader.read(&level.directory.join("cgroup.controllers"));
    // If the list is missing or unreadable, the caller reads the limit file itself.
    let Ok(Some(enabled)) = enabled else { return false };
    let name = cgroups.controller.name().as_bytes();
    !enabled.split(u8::is_ascii_whitespace).any(|controller| controller == name)
}

/// Returns the limit files of these controllers at every visible level, by their paths for this process.
pub(in crate::probe) fn limit_files(
    reader: &mut HostReader,
    controllers: &[CgroupController],
) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for controller in controllers {
        let cgroups = resolve_cgroups(reader, *controller, &mut MeasurementBuilder::default());
        files.extend(
            cgroups.iter().flat_map(|cgroups| cgroups.limit_files()).map(|file| reader.locate(&file)),
        );
    }
    files
}

/// Finds the levels from the outermost visible cgroup down to the process's own.
fn find_levels(
    reader: &mut HostReader,
    controller: CgroupController,
    ResolutionOrigin { membership, mounts }: &ResolutionOrigin,
    notes: &mut ResolutionNotes,
) -> Option<CgroupLevels> {
    // The cgroup of the process, as `/proc/self/cgroup` names it.
    let name = controller.name();
    let Some(member) = cgroup_membership::find(membership, name) else {
        if cgroup_membership::is_well_formed(membership) {
            notes.plain.push(format!("no control group limits {name}"));
        } else {
            notes.weakening.push(format!("cannot parse {MEMBERSHIP}"));
        }
        return None;
    };

    // The mounts that may show it.
    if mounts.is_incomplete() {
        notes.weakening.push(format!("{MOUNTINFO} has too many cgroup mounts, and not all are read"));
    }
    let mounts: Vec<&CgroupMount> =
        mounts.iter().filter(|mount| mount.has_controller(member.version, name)).collect();
    if mounts.is_empty() {
        notes.weakening.push(format!("the {name} control groups are not mounted"));
        return None;
    }

    // Of the mounts that show it, the one with the most levels; the first of several with as many.
    let mounted = mounts.into_iter().filter_map(|mount| MountedCgroup::find(reader, mount, member));
    let mounted =
        mounted.reduce(|first, second| if second.root.len() < first.root.len() { second } else { first });
    let Some(mounted) = mounted else {
        let path = printable(member.path);
        notes.weakening.push(format!("the {name} control group `{path}` is not below any mounted hierarchy"));
        return None;
    };

    let mut levels = mounted.levels();
    if let (true, Some(root)) = (mounted.is_at_root(reader, member.version, notes), levels.first_mut()) {
        // The kernel has no limit files at the root, except for some v1 controllers. An emulated hierarchy may have
        // any.
        let mut files = controller.limit_files(member.version).iter();
        root.is_unlimited_root =
            files.all(|file| matches!(reader.exists(&root.directory.join(file)), Ok(false)));
    }
    Some(CgroupLevels { controller, version: member.version, levels })
}

/// The process's cgroup as one mount shows it.
#[derive(Debug)]
struct MountedCgroup<'a> {
    /// The names of the mounted cgroup, from the root of the hierarchy.
    root: Vec<&'a [u8]>,
    /// The mount point.
    point: PathBuf,
    /// The names from the mounted cgroup down to the process's own.
    below: Vec<&'a [u8]>,
}

impl<'a> MountedCgroup<'a> {
    /// Returns the process's cgroup if the mount shows it and its directory exists.
    fn find(
        reader: &mut HostReader,
        mount: &'a CgroupMount,
        membership: CgroupMembership<'a>,
    ) -> Option<Self> {
        if membership.path.len() > MAX_PATH {
            return None;
        }
        let root = path_components(&mount.root)?;
        let path = path_components(membership.path)?;
        // Compares whole names: `/docker/a` does not contain `/docker/ab`.
        let below = path.strip_prefix(&root[..])?.to_vec();
        let point = PathBuf::from(OsStr::from_bytes(&mount.point));
        let point_names = path_components(&mount.point)?;
        // `..` would lead out of the mount, where directory names are not cgroup names.
        if below.iter().chain(&point_names).any(|name| matches!(*name, b".." | b".")) {
            return None;
        }
        let directory: PathBuf = below.iter().map(|name| OsStr::from_bytes(name)).collect();
        reader.is_directory(&point.join(directory)).then_some(Self { root, point, below })
    }

    /// Returns the levels from the mount point down to the process's cgroup.
    fn levels(&self) -> Vec<CgroupLevel> {
        let mut name = self.root.iter().fold(String::new(), |name, part| name + "/" + &printable(part));
        let mut directory = self.point.clone();
        let top = if name.is_empty() { "/".to_owned() } else { name.clone() };
        let mut levels = vec![CgroupLevel::new(top, directory.clone())];
        for part in &self.below {
            name = name + "/" + &printable(part);
            directory.push(OsStr::from_bytes(part));
            levels.push(CgroupLevel::new(name.clone(), directory.clone()));
        }
        levels
    }

    /// Returns `true` if the mount point is the real root of the hierarchy. Otherwise adds a weakening note: a cgroup
    /// namespace hides the ancestors, and their limits apply.
    ///
    /// The v1 root is the only v1 cgroup with `cgroup.sane_behavior`. The v2 root is the only v2 cgroup without
    /// `cgroup.type`, which exists since Linux 4.14, and the only one without `cgroup.events`, which is older. It has no
    /// `memory.max` either, but an emulated root may have that file alone, or other limits and none of the three.
    fn is_at_root(
        &self,
        reader: &mut HostReader,
        version: CgroupVersion,
        notes: &mut ResolutionNotes,
    ) -> bool {
        let (markers, exist_at_root): (&[&str], bool) = match version {
            CgroupVersion::V1 => (&["cgroup.sane_behavior"], true),
            CgroupVersion::V2 => (&["cgroup.type", "cgroup.events", "memory.max"], false),
        };
        let point = self.point.display();
        let mut exist = Ok(false);
        for marker in markers {
            exist = reader.exists(&self.point.join(marker));
            if !matches!(exist, Ok(false)) {
                break;
            }
        }
        match exist {
            Ok(exist) if exist == exist_at_root && self.root.is_empty() => return true,
            Ok(_) => notes.weakening.push(format!("groups above {point} are hidden, and may set limits")),
            Err(error) => {
                notes.is_transient = true;
                notes
                    .weakening
                    .push(format!("cannot determine whether groups above {point} are hidden: {error}"));
            }
        }
        false
    }
}

/// `PATH_MAX`. Linux opens no longer path.
const MAX_PATH: usize = 4096;

const MEMBERSHIP: &str = "/proc/self/cgroup";
const MOUNTINFO: &str = "/proc/self/mountinfo";
