//! Which control groups hold this process for a controller, and where their files are.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::evidence::{Evidence, Unread, text};
use super::host::Host;
use super::membership::{self, Membership};
use super::mountinfo::{self, Mount};
use super::notices::Target;
use super::{Version, says_none, word};
use crate::plan::Source;

/// A controller whose files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::probe) enum Controller {
    Cpu,
    Cpuset,
    Memory,
    Pids,
    /// The pressure files, which version 2 alone has, in every group.
    Pressure,
}

impl Controller {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cpuset => "cpuset",
            Self::Memory => "memory",
            Self::Pids => "pids",
            // No hierarchy of version 1 has a controller of this name.
            Self::Pressure => "pressure",
        }
    }

    /// The files of a level that hold its limits: a change of one changes the reading.
    fn limit_files(self, version: Version) -> &'static [&'static str] {
        match (self, version) {
            (Self::Cpu, Version::V1) => &["cpu.cfs_quota_us", "cpu.cfs_period_us"],
            (Self::Cpu, Version::V2) => &["cpu.max"],
            (Self::Cpuset, _) => &["cpuset.cpus"],
            (Self::Memory, Version::V1) => &["memory.limit_in_bytes"],
            (Self::Memory, Version::V2) => &["memory.max", "memory.high"],
            (Self::Pids, _) => &["pids.max"],
            (Self::Pressure, _) => &[],
        }
    }

    /// The file of a root that says for good that there is no limit, if it says so at all: no kernel lets it be written to.
    fn settled_at_root(self, version: Version) -> Option<&'static str> {
        (self == Self::Cpu && version == Version::V1).then_some("cpu.cfs_quota_us")
    }
}

/// The groups that hold this process for one controller: from the widest that can be seen down to its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::probe) struct Groups {
    controller: Controller,
    pub(super) version: Version,
    pub(super) levels: Vec<Level>,
}

impl Groups {
    /// Whether a level, and so every one below it, is without the controller, and so without this file of it.
    ///
    /// To see that a file is not there takes the kernel three times as long as to read one that is kept open; so what is
    /// looked at is whether the controller has been switched on.
    pub(super) fn end_above(&self, level: &Level, file: &str, host: &mut Host) -> bool {
        if self.version == Version::V1 || level.is_boundless || host.keeps(&level.directory.join(file)) {
            return false;
        }
        let controllers = host.read(&level.directory.join("cgroup.controllers"));
        // What cannot be read decides nothing.
        let Ok(Some(controllers)) = controllers else { return false };
        let name = self.controller.name().as_bytes();
        !controllers.split(u8::is_ascii_whitespace).any(|controller| controller == name)
    }

    /// The files whose change changes a limit, those that are not there yet included: what whoever follows the groups
    /// has to watch, besides the group that the process is in.
    fn limit_files(&self) -> impl Iterator<Item = PathBuf> {
        let files = self.controller.limit_files(self.version);
        self.levels.iter().flat_map(move |level| files.iter().map(|file| level.directory.join(file)))
    }
}

/// One group: its path as the process sees it, and its directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) name: String,
    pub(super) directory: PathBuf,
    /// A root without limits: no kernel gives it any later, or files for them.
    is_boundless: bool,
    /// A file that never says anything else.
    settled: Option<&'static str>,
}

impl Level {
    fn new(name: String, directory: PathBuf) -> Self {
        Self { name, directory, is_boundless: false, settled: None }
    }

    /// Reads one of the files that limit a group, or tell its use, which becomes a source; `None` if the group does not
    /// have it.
    pub(super) fn read(
        &self,
        file: &str,
        host: &mut Host,
        evidence: &mut Evidence,
    ) -> Result<Option<Vec<u8>>, Unread> {
        if self.is_boundless {
            return Ok(None);
        }
        let path = self.directory.join(file);
        let content = if self.settled == Some(file) {
            evidence.read_settled(host, &path)?
        } else {
            evidence.read(host, &path)?
        };
        if let Some(raw) = &content {
            evidence.saw(Source::new(printable(path), text(raw)).at_level(self.name.clone()));
        }
        Ok(content)
    }

    /// Doubts what one of the group's files says.
    pub(super) fn doubt(&self, file: &str, fault: impl fmt::Display, evidence: &mut Evidence) {
        evidence.doubt(format!("{} {fault}", self.directory.join(file).display()));
    }
}

/// A path as text, without a copy where it is text.
fn printable(path: PathBuf) -> String {
    path.into_os_string().into_string().unwrap_or_else(|path| path.to_string_lossy().into_owned())
}

/// The files whose change changes a limit of these controllers, at every level that can be seen: where they are on this
/// host.
pub(in crate::probe) fn limit_files(host: &mut Host, controllers: &[Controller]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for controller in controllers {
        let groups = groups(host, *controller, &mut Evidence::default());
        files.extend(groups.iter().flat_map(|groups| groups.limit_files()).map(|file| host.locate(&file)));
    }
    files
}

/// What there is to watch of a process's groups.
#[derive(Debug, Default)]
pub(super) struct Targets {
    /// What `/proc/self/cgroup` said when they were found; `None` if they may be others the next time.
    listed: Option<Vec<u8>>,
    pub(super) targets: BTreeSet<Target>,
}

impl Targets {
    /// Finds what tells of a change of these controllers' limits, at every level that can be seen.
    pub(super) fn of(host: &mut Host, controllers: &[Controller]) -> Self {
        let mut targets = BTreeSet::new();
        for controller in controllers {
            let Some(groups) = groups(host, *controller, &mut Evidence::default()) else { continue };
            targets.extend(groups.limit_files().map(|file| Target::File(host.locate(&file))));
            for level in &groups.levels {
                let directory = host.locate(&level.directory);
                let is_kernels = host.answers_calls();
                targets.insert(if is_kernels { Target::Directory } else { Target::Folder }(directory));
            }
            if groups.version == Version::V2 {
                // Which limits the groups below have; and, once a process has left a group that nobody else is in, that
                // it has.
                let below = groups.levels.iter().map(|level| level.directory.join("cgroup.subtree_control"));
                let own = groups.levels.last().map(|level| level.directory.join("cgroup.events"));
                targets.extend(below.chain(own).map(|file| Target::File(host.locate(&file))));
            }
        }
        Self { listed: listed(host, controllers).map(<[u8]>::to_vec), targets }
    }

    /// Whether the last measurement found the process in the same groups.
    pub(super) fn are_current(&self, host: &Host, controllers: &[Controller]) -> bool {
        self.listed.as_deref().is_some_and(|known| listed(host, controllers) == Some(known))
    }
}

/// What `/proc/self/cgroup` said when the first of these controllers was last looked for.
fn listed<'h>(host: &'h Host, controllers: &[Controller]) -> Option<&'h [u8]> {
    Some(&host.resolved.get(controllers.first()?)?.listed)
}

/// What was found the last time, which holds until the process is moved to another group.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    /// What `/proc/self/cgroup` said.
    listed: Vec<u8>,
    groups: Option<Arc<Groups>>,
    findings: Findings,
}

impl Resolved {
    /// Gives the groups, and says what is to be said of them.
    fn tell(&self, evidence: &mut Evidence) -> Option<Arc<Groups>> {
        self.findings.notes.iter().for_each(|note| evidence.note(note.clone()));
        self.findings.doubts.iter().for_each(|doubt| evidence.doubt(doubt.clone()));
        self.groups.clone()
    }
}

/// What is to be said of the groups themselves, in the order in which it was found.
#[derive(Clone, Debug, Default)]
struct Findings {
    notes: Vec<String>,
    doubts: Vec<String>,
    /// A file could not be read, which may be different the next time.
    is_passing: bool,
}

impl Findings {
    fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    fn doubt(&mut self, doubt: String) {
        self.doubts.push(doubt);
    }
}

/// Finds the groups that hold this process for a controller; `None`, with a doubt or a note, if there are none to read.
///
/// Mounts are looked at again only when the process is in another group than the last time.
pub(in crate::probe) fn groups(
    host: &mut Host,
    controller: Controller,
    evidence: &mut Evidence,
) -> Option<Arc<Groups>> {
    let listed = evidence.require(host, MEMBERSHIP)?;
    if let Some(kept) = host.resolved.get(&controller).filter(|kept| kept.listed == listed) {
        return kept.tell(evidence);
    }
    host.forget_last();
    let mut findings = Findings::default();
    let groups = resolve(host, controller, &listed, &mut findings).map(Arc::new);
    let resolved = Resolved { listed, groups, findings };
    let groups = resolved.tell(evidence);
    if resolved.findings.is_passing {
        host.resolved.remove(&controller);
    } else {
        host.resolved.insert(controller, resolved);
    }
    groups
}

fn resolve(
    host: &mut Host,
    controller: Controller,
    listed: &[u8],
    findings: &mut Findings,
) -> Option<Groups> {
    let name = controller.name();
    let Some(membership) = membership::find(listed, name) else {
        if membership::is_well_formed(listed) {
            findings.note(format!("no control group limits {name}"));
        } else {
            findings.doubt(format!("{MEMBERSHIP} cannot be understood"));
        }
        return None;
    };
    let mounts = match host.read_once(Path::new(MOUNTS)) {
        Ok(Some(mountinfo)) => mountinfo::parse(&mountinfo),
        Ok(None) => Vec::new(),
        Err(error) => {
            findings.is_passing = true;
            findings.doubt(format!("cannot read {MOUNTS}: {error}"));
            return None;
        }
    };
    let mounts: Vec<&Mount> = mounts.iter().filter(|mount| mount.shows(membership.version, name)).collect();
    if mounts.is_empty() {
        findings.doubt(format!("the {name} control groups are not mounted"));
        return None;
    }
    let places = mounts.into_iter().filter_map(|mount| place(host, mount, membership));
    let Some(place) = places.reduce(wider) else {
        let path = text(membership.path);
        findings.doubt(format!("the {name} control group `{path}` is not in what is mounted"));
        return None;
    };
    let version = membership.version;
    let mut levels = place.levels();
    if let (true, Some(root)) = (shows_root(host, &place, version, findings), levels.first_mut()) {
        // Version 1 has limits at the root for some controllers, and an imitator may have any.
        let files = controller.limit_files(version).iter().map(|file| root.directory.join(file));
        root.is_boundless = files.into_iter().all(|file| matches!(host.exists(&file), Ok(false)));
        // What says anything else there is no kernel's, and may say a third thing tomorrow.
        root.settled = controller.settled_at_root(version).filter(|file| {
            let content = host.read(&root.directory.join(file));
            matches!(content, Ok(Some(content)) if word(&content).is_some_and(says_none))
        });
    }
    Some(Groups { controller, version, levels })
}

/// A process's group as one mount shows it.
#[derive(Debug)]
struct Place<'a> {
    /// The names of the group that is mounted, from the root of the hierarchy.
    root: Vec<&'a [u8]>,
    /// Where it is mounted.
    point: PathBuf,
    /// The names from there to the process's group.
    below: Vec<&'a [u8]>,
}

impl Place<'_> {
    /// The levels from the mount point down to the process's group.
    fn levels(&self) -> Vec<Level> {
        let mut name = self.root.iter().fold(String::new(), |name, part| name + "/" + &text(part));
        let mut directory = self.point.clone();
        let top = if name.is_empty() { "/".to_owned() } else { name.clone() };
        let mut levels = vec![Level::new(top, directory.clone())];
        for part in &self.below {
            name = name + "/" + &text(part);
            directory.push(OsStr::from_bytes(part));
            levels.push(Level::new(name.clone(), directory.clone()));
        }
        levels
    }
}

/// Where a mount shows the process's group; `None` if it does not, or not in a way that can be followed.
fn place<'a>(host: &mut Host, mount: &'a Mount, membership: Membership<'a>) -> Option<Place<'a>> {
    if membership.path.len() > LONGEST_PATH {
        return None;
    }
    let root = membership::components(&mount.root)?;
    let group = membership::components(membership.path)?;
    // By whole names: `/docker/a` does not hold `/docker/ab`.
    let below = group.strip_prefix(&root[..])?.to_vec();
    let point = PathBuf::from(OsStr::from_bytes(&mount.point));
    let steps = membership::components(&mount.point)?;
    // A step up leads out of what is mounted: the names there are others than those of the groups.
    if below.iter().chain(&steps).any(|name| matches!(*name, b".." | b".")) {
        return None;
    }
    let directory: PathBuf = below.iter().map(|name| OsStr::from_bytes(name)).collect();
    host.is_directory(&point.join(directory)).then_some(Place { root, point, below })
}

/// Of two places the one that shows more levels; the first if both show as many.
fn wider<'a>(first: Place<'a>, second: Place<'a>) -> Place<'a> {
    if second.root.len() < first.root.len() { second } else { first }
}

/// Whether the mount point is the root of its hierarchy; doubts it if it does not look like it: the root of version 2 has
/// no type, and that of version 1 alone has the file `cgroup.sane_behavior`.
fn shows_root(host: &mut Host, place: &Place<'_>, version: Version, findings: &mut Findings) -> bool {
    let (mark, at_root) = match version {
        Version::V1 => ("cgroup.sane_behavior", true),
        Version::V2 => ("cgroup.type", false),
    };
    let shown = place.point.display();
    match host.exists(&place.point.join(mark)) {
        Ok(there) if there == at_root && place.root.is_empty() => return true,
        Ok(_) => findings.doubt(format!("groups above {shown} are hidden, and may set limits")),
        Err(error) => {
            findings.is_passing = true;
            findings.doubt(format!("cannot tell whether groups above {shown} are hidden: {error}"));
        }
    }
    false
}

/// Linux opens no longer path, so a group's cannot be followed either.
const LONGEST_PATH: usize = 4096;

const MEMBERSHIP: &str = "/proc/self/cgroup";
const MOUNTS: &str = "/proc/self/mountinfo";
