//! Which control groups hold this process, and where their files are.
//!
//! Looks at the mounts where systems put them, and at nothing else: not at `/proc/self/mountinfo`. A group that cannot
//! be found there is reported as a doubt, and the number is then a bound. One case is not recognised: a process in a
//! cgroup namespace that still sees the mounts of the one outside is taken to be in their root.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::evidence::{Evidence, Unread, text};
use super::roots::Roots;
use crate::plan::Source;

/// A controller whose limits are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Controller {
    Cpu,
    Memory,
}

impl Controller {
    fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
        }
    }

    /// Where version 1 is mounted, below `/sys`.
    fn mounts(self) -> &'static [&'static str] {
        match self {
            Self::Cpu => &["fs/cgroup/cpu", "fs/cgroup/cpu,cpuacct", "fs/cgroup/cpuacct,cpu"],
            Self::Memory => &["fs/cgroup/memory"],
        }
    }
}

/// The two kinds of hierarchy, which differ in the files they hold. One host may use both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

impl Version {
    /// A file that the mount point of a hierarchy has if it shows the hierarchy's root (version 1), or if it does not
    /// (version 2).
    fn root_mark(self) -> (&'static str, bool) {
        match self {
            Self::V1 => ("cgroup.sane_behavior", true),
            Self::V2 => ("cgroup.type", false),
        }
    }
}

/// The groups that hold this process for one controller: from the widest that can be seen down to its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Groups {
    pub(super) version: Version,
    pub(super) levels: Vec<Level>,
}

/// One group: its name within what is mounted, and its directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) name: String,
    pub(super) directory: PathBuf,
}

impl Level {
    /// Reads one of the group's files, which becomes a source; `None` if the group does not have it.
    pub(super) fn read(&self, file: &str, evidence: &mut Evidence) -> Result<Option<Vec<u8>>, Unread> {
        let path = self.directory.join(file);
        let content = evidence.read(&path)?;
        if let Some(raw) = &content {
            evidence.saw(Source::new(path.display().to_string(), text(raw)).at_level(self.name.clone()));
        }
        Ok(content)
    }

    /// Doubts what one of the group's files says.
    pub(super) fn doubt(&self, file: &str, fault: impl fmt::Display, evidence: &mut Evidence) {
        evidence.doubt(format!("{} {fault}", self.directory.join(file).display()));
    }
}

/// Finds the groups that hold this process for a controller; `None`, with a doubt or a note, if there are none to read.
pub(super) fn groups(roots: &Roots, controller: Controller, evidence: &mut Evidence) -> Option<Groups> {
    let name = controller.name();
    let listed = evidence.require(&roots.proc("self/cgroup"))?;
    let Some(membership) = membership(&listed, name) else {
        if well_formed(&listed) {
            evidence.note(format!("no control group limits {name}"));
        } else {
            evidence.doubt(format!("{} cannot be understood", roots.proc("self/cgroup").display()));
        }
        return None;
    };
    let Some(components) = components(membership.path) else {
        let path = text(membership.path);
        evidence.doubt(format!("the {name} control group `{path}` lies outside of what can be seen"));
        return None;
    };
    let Some(mount) = mount(roots, controller, membership.version) else {
        evidence.doubt(format!("the {name} control groups are not mounted where they usually are"));
        return None;
    };
    Some(Groups { version: membership.version, levels: levels(&mount, membership, &components, evidence) })
}

/// The levels from the mount point down to the process's group.
fn levels(
    mount: &Path,
    membership: Membership<'_>,
    components: &[&OsStr],
    evidence: &mut Evidence,
) -> Vec<Level> {
    let (mark, at_root) = membership.version.root_mark();
    match exists(&mount.join(mark)) {
        Ok(there) if there == at_root => {}
        Ok(_) => evidence.doubt(format!("groups above {} are hidden, and may set limits", mount.display())),
        Err(error) => evidence
            .doubt(format!("cannot tell whether groups above {} are hidden: {error}", mount.display())),
    }

    let mut levels = vec![Level { name: "/".to_owned(), directory: mount.to_owned() }];
    if !mount.join(components.iter().collect::<PathBuf>()).is_dir() {
        // What is mounted then starts below the hierarchy's root, as in a container of old: the directories that
        // happen to bear the upper names of the path are other groups, and only the mount point is sure to hold this
        // process. Said before a level is built, since a path that is no path may be of any length.
        evidence.doubt(format!("the group `{}` is not below {}", text(membership.path), mount.display()));
        return levels;
    }
    for component in components {
        let above = levels.last().expect("the mount point is the first level");
        let name = format!("{}/{}", above.name.trim_end_matches('/'), text(component.as_bytes()));
        levels.push(Level { name, directory: above.directory.join(component) });
    }
    levels
}

/// The mount point of a controller's hierarchy.
fn mount(roots: &Roots, controller: Controller, version: Version) -> Option<PathBuf> {
    match version {
        Version::V1 => controller.mounts().iter().map(|mount| roots.sys(mount)).find(|mount| mount.is_dir()),
        Version::V2 => ["fs/cgroup", "fs/cgroup/unified"]
            .map(|mount| roots.sys(mount))
            .into_iter()
            .find(|mount| exists(&mount.join("cgroup.controllers")).unwrap_or(false)),
    }
}

fn exists(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A line of `/proc/self/cgroup`: a hierarchy, and the path of the process's group in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Membership<'a> {
    version: Version,
    path: &'a [u8],
}

/// The line that counts for a controller: the version 1 hierarchy that has it, otherwise version 2.
fn membership<'a>(listed: &'a [u8], controller: &str) -> Option<Membership<'a>> {
    let mut unified = None;
    for (id, controllers, path) in listed.split(|byte| *byte == b'\n').filter_map(fields) {
        if controllers.split(|byte| *byte == b',').any(|name| name == controller.as_bytes()) {
            return Some(Membership { version: Version::V1, path });
        }
        if id == b"0" && controllers.is_empty() && unified.is_none() {
            unified = Some(Membership { version: Version::V2, path });
        }
    }
    unified
}

/// Whether every line could be split, so that a controller that is in none of them is in no hierarchy.
fn well_formed(listed: &[u8]) -> bool {
    listed.split(|byte| *byte == b'\n').all(|line| line.is_empty() || fields(line).is_some())
}

/// A line's three fields. Names of groups hold colons.
fn fields(line: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let mut fields = line.splitn(3, |byte| *byte == b':');
    let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    (!id.is_empty() && id.iter().all(u8::is_ascii_digit)).then_some((id, controllers, path))
}

/// The names that a group's path consists of; `None` if it is no path below the root.
fn components(path: &[u8]) -> Option<Vec<&OsStr>> {
    let mut parts = Path::new(OsStr::from_bytes(path)).components();
    if parts.next() != Some(Component::RootDir) {
        return None;
    }
    parts.map(|part| if let Component::Normal(name) = part { Some(name) } else { None }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::roots::tree::Tree;
    use super::*;
    use crate::plan::{Bound, Measurement, Quantity, Resource};

    /// The names of the levels found, the version, and the measurement that carries the doubts.
    fn found(tree: &Tree, controller: Controller) -> (Option<Version>, Vec<String>, Measurement) {
        let mut evidence = Evidence::default();
        evidence.limit(Quantity::whole(1));
        let groups = groups(&tree.roots(), controller, &mut evidence);
        let names = groups.iter().flat_map(|groups| groups.levels.iter().map(|level| level.name.clone()));
        let names = names.collect();
        (groups.map(|groups| groups.version), names, evidence.measurement(Resource::CPU).unwrap())
    }

    fn v2(path: &str) -> Tree {
        Tree::new()
            .file("proc/self/cgroup", format!("0::{path}\n"))
            .file("sys/fs/cgroup/cgroup.controllers", "cpu")
    }

    /// Version 2 alone: every level from the mount point down, and nothing is in doubt.
    #[test]
    fn unified_hierarchy_is_walked_down() {
        let tree = v2("/a b/c:d.slice").file("sys/fs/cgroup/a b/c:d.slice/cpu.max", "max 100000");
        let (version, names, measured) = found(&tree, Controller::Cpu);
        assert_eq!(version, Some(Version::V2));
        assert_eq!(names, ["/", "/a b", "/a b/c:d.slice"]);
        assert_eq!((measured.bound(), measured.notes()), (Bound::Exact, &[][..]));
    }

    /// Each controller is looked for by itself: hybrid hosts mix the versions.
    #[test]
    fn hybrid_hosts_mix_the_versions() {
        let tree = Tree::new()
            .file("proc/self/cgroup", "4:memory:/m\n2:cpu,cpuacct:/c\n1:name=systemd:/s\n0::/u\n")
            .file("sys/fs/cgroup/cpu,cpuacct/cgroup.sane_behavior", "0")
            .file("sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_quota_us", "-1")
            .file("sys/fs/cgroup/unified/cgroup.controllers", "")
            .file("sys/fs/cgroup/memory/m/memory.limit_in_bytes", "1");
        let (version, names, measured) = found(&tree, Controller::Cpu);
        assert_eq!((version, measured.bound()), (Some(Version::V1), Bound::Exact));
        assert_eq!(names, ["/", "/c"]);
        let (version, names, measured) = found(&tree, Controller::Memory);
        assert_eq!((version, measured.bound()), (Some(Version::V1), Bound::AtMost));
        assert_eq!(names, ["/", "/m"]);
        assert!(measured.notes()[0].ends_with("memory are hidden, and may set limits"), "{measured:?}");
    }

    /// A controller in no version 1 hierarchy belongs to version 2, wherever that is mounted.
    #[test]
    fn unified_may_be_mounted_beside_version_1() {
        let tree = Tree::new()
            .file("proc/self/cgroup", "1:name=cpu:/s\n0::/u\n")
            .file("sys/fs/cgroup/unified/u/cpu.max", "max 100000")
            .file("sys/fs/cgroup/unified/cgroup.controllers", "cpu");
        assert_eq!(found(&tree, Controller::Cpu).1, ["/", "/u"]);
    }

    /// A mount point with a type is not the root, so groups above it are hidden.
    #[test]
    fn hidden_ancestors_are_a_doubt() {
        let tree = v2("/").file("sys/fs/cgroup/cgroup.type", "domain");
        let (_, names, measured) = found(&tree, Controller::Cpu);
        assert_eq!((names, measured.bound()), (vec!["/".to_owned()], Bound::AtMost));
    }

    /// A group that is not below the mount point leaves the mount point alone: a directory that bears the upper name
    /// of its path is another group.
    #[test]
    fn group_that_is_not_mounted_is_never_mistaken() {
        for path in ["/docker/abc", "/docker/abc (deleted)", "/docker/\0"] {
            let tree = v2(path).file("sys/fs/cgroup/docker/cpu.max", "1000 100000");
            let (_, names, measured) = found(&tree, Controller::Cpu);
            assert_eq!((names, measured.bound()), (vec!["/".to_owned()], Bound::AtMost));
        }
        for path in ["/../a", "/a/../../b", "a", ""] {
            let (version, _, measured) =
                found(&v2(path).file("sys/fs/cgroup/a/cpu.max", "1"), Controller::Cpu);
            assert_eq!((version, measured.bound()), (None, Bound::AtMost));
        }
    }

    /// No controller means no limit; no file, or one that makes no sense, means that none could be seen.
    #[test]
    fn absence_is_told_from_blindness() {
        let of = |content: &str| found(&Tree::new().file("proc/self/cgroup", content), Controller::Cpu);
        for (content, bound) in [
            ("", Bound::Exact),
            ("1:name=systemd:/\n", Bound::Exact),
            ("rubbish\n", Bound::AtMost),
            ("x:cpu:/\n", Bound::AtMost),
            ("0::/\n", Bound::AtMost),
            ("1:cpu:/\n", Bound::AtMost),
        ] {
            let (version, _, measured) = of(content);
            assert_eq!((version, measured.bound()), (None, bound), "{content}");
            assert_eq!(measured.notes().len(), 1);
        }
        assert_eq!(found(&Tree::new(), Controller::Cpu).2.bound(), Bound::AtMost);
    }

    /// A line of any length is read, and a note of it stays short.
    #[test]
    fn notes_stay_short() {
        let (_, names, measured) = found(&v2(&"/a".repeat(35 << 10)), Controller::Cpu);
        assert_eq!(names, ["/"]);
        assert!(measured.notes()[0].len() < 1000, "{measured:?}");
    }

    proptest! {
        /// No bytes make the parsers panic, and foreign lines change nothing.
        #[test]
        fn any_bytes_are_read(
            bytes in prop_oneof![any::<Vec<u8>>(), "([0-9]?:(cpu|memory|,|name=x)?:(/|[a-z]|[.][.])*\n?){0,6}"
                .prop_map(String::into_bytes)],
        ) {
            well_formed(&bytes);
            if let Some(membership) = membership(&bytes, "cpu") {
                components(membership.path);
            }
            let first = [b"7:freezer:/cpu\n9:cpu:/x:y\n", &bytes[..]].concat();
            prop_assert_eq!(membership(&first, "cpu"), Some(Membership { version: Version::V1, path: b"/x:y" }));
        }
    }
}
