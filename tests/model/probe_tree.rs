//! Abstract trees of control groups, what they grant, and how each kernel shows them: the model of the probes' laws.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use concurrency_governor::probe::Roots;
use concurrency_governor::{Quantity, Reading};
use proptest::prelude::*;

/// The group of a process with all that hold it, from below the root down.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub(crate) cpus: u64,
    /// Bytes; kilobytes are what the kernel tells.
    pub(crate) kilobytes: u64,
    pub(crate) groups: Vec<Group>,
}

/// A group with its limits.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) name: Vec<u8>,
    /// Quota and period, in microseconds.
    pub(crate) cpu: Option<(u64, u64)>,
    /// Limit and use, in bytes.
    pub(crate) memory: Option<(u64, u64)>,
    /// Limit and use.
    pub(crate) pids: Option<(u64, u64)>,
}

/// What a tree grants: thousandths of a core, bytes, bytes left, tasks, tasks left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) cores: Reading,
    pub(crate) memory: Reading,
    pub(crate) available: Reading,
    pub(crate) tasks: Reading,
    pub(crate) free_tasks: Reading,
}

/// How a kernel shows a tree.
#[derive(Clone, Debug)]
pub(crate) enum View {
    /// Every controller in a hierarchy of its own.
    V1,
    /// One hierarchy for all.
    V2,
    /// The processor in version 1, the rest in version 2.
    Hybrid,
    /// Version 2 at this mount point.
    MountedAt(Vec<u8>),
    /// Version 2, of which the part from so many groups down is mounted.
    Part(usize),
    /// Version 1, of which the part from so many groups down is mounted.
    PartOfV1(usize),
}

impl Tree {
    /// What the kernel grants if the first `hidden` groups cannot be seen.
    pub(crate) fn granted(&self, hidden: usize) -> Granted {
        let seen = || self.groups.iter().skip(hidden);
        let cores =
            seen().filter_map(|group| group.cpu).map(|(quota, period)| (quota * 1000 / period).max(1));
        let memory = || seen().filter_map(|group| group.memory);
        let pids = || seen().filter_map(|group| group.pids);
        let bytes = self.kilobytes * 1024;
        let left = |(limit, used): (u64, u64)| limit.saturating_sub(used);
        let cores = cores.chain([self.cpus * 1000]).min().unwrap();
        Granted {
            cores: Quantity::from_thousandths(cores).into(),
            memory: Reading::whole(memory().map(|(limit, _)| limit).chain([bytes]).min().unwrap()),
            available: Reading::whole(memory().map(left).chain([self.kilobytes / 2 * 1024]).min().unwrap()),
            tasks: Reading::whole(pids().map(|(limit, _)| limit).chain([MOST_TASKS]).min().unwrap()),
            free_tasks: Reading::whole(pids().map(left).chain([MOST_TASKS - TASKS]).min().unwrap()),
        }
    }

    /// The files of a host on which a kernel shows the tree so.
    pub(crate) fn files(&self, view: &View) -> Files {
        let mut files = Files::default();
        files.put("/proc/self/status", format!("Cpus_allowed_list:\t0-{}\nCapEff:\t0\n", self.cpus - 1));
        files.put("/sys/devices/system/cpu/online", "0-1023\n");
        files.put(
            "/proc/meminfo",
            format!("MemTotal: {0} kB\nMemAvailable: {1} kB\n", self.kilobytes, self.kilobytes / 2),
        );
        files.put("/proc/self/limits", LIMITS);
        files.put("/proc/sys/kernel/threads-max", format!("{MOST_TASKS}\n"));
        files.put("/proc/loadavg", format!("0.20 0.18 0.12 1/{TASKS} 11206\n"));
        let mut listed = b"7:freezer:/elsewhere\n1:name=systemd:/a:b\n".to_vec();
        let mut mounts = FOREIGN_MOUNTS.as_bytes().to_vec();
        for controller in [Controller::Cpu, Controller::Memory, Controller::Pids] {
            let is_v1 = match view {
                View::V1 | View::PartOfV1(_) => true,
                View::Hybrid => controller == Controller::Cpu,
                _ => false,
            };
            let hidden = view.hidden();
            let (point, kind, options) = match (view, is_v1) {
                (View::MountedAt(point), _) => (point.clone(), "cgroup2", "nsdelegate"),
                (_, true) => (
                    format!("/sys/fs/cgroup/{}", controller.name()).into_bytes(),
                    "cgroup",
                    controller.options(),
                ),
                (View::Hybrid, false) => (b"/sys/fs/cgroup/unified".to_vec(), "cgroup2", "nsdelegate"),
                (_, false) => (b"/sys/fs/cgroup".to_vec(), "cgroup2", "nsdelegate"),
            };
            let is_new = is_v1 || controller == Controller::Memory;
            if is_new {
                mounts.extend(mount_line(&self.path(0, hidden), &point, kind, options));
                let fields = if is_v1 { format!("5:{}:", controller.options()) } else { "0::".to_owned() };
                listed.extend([fields.as_bytes(), &self.path(0, self.groups.len()), b"\n"].concat());
            }
            let mark = if is_v1 { "cgroup.sane_behavior" } else { "cgroup.type" };
            if is_v1 == (hidden == 0) {
                files.put_in(&point, mark, "0\n");
            }
            files.put_in(&point, "cgroup.procs", "");
            for (at, group) in self.groups.iter().enumerate().skip(hidden.saturating_sub(1)) {
                let directory = [&point[..], &self.path(hidden, at + 1)].concat();
                files.put_in(&directory, "cgroup.procs", "1\n");
                if !is_v1 {
                    files.put_in(&directory, "cgroup.controllers", "cpuset cpu io memory pids\n");
                }
                for (file, content) in controller.files(group, is_v1) {
                    files.put_in(&directory, file, content);
                }
            }
        }
        files.put("/proc/self/cgroup", listed);
        files.put("/proc/self/mountinfo", mounts);
        files
    }

    /// The path of the groups from one to another.
    fn path(&self, from: usize, to: usize) -> Vec<u8> {
        let names = self.groups.iter().take(to).skip(from);
        let path: Vec<u8> = names.flat_map(|group| [b"/", &group.name[..]].concat()).collect();
        if path.is_empty() && from == 0 { b"/".to_vec() } else { path }
    }
}

impl View {
    /// How many groups at the top cannot be seen. The last of them is the one that is mounted, and is seen.
    pub(crate) fn hidden(&self) -> usize {
        match self {
            Self::Part(hidden) | Self::PartOfV1(hidden) => *hidden,
            _ => 0,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Controller {
    Cpu,
    Memory,
    Pids,
}

impl Controller {
    fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu,cpuacct",
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }

    fn options(self) -> &'static str {
        self.name()
    }

    fn files(self, group: &Group, is_v1: bool) -> Vec<(&'static str, String)> {
        const NONE: &str = "9223372036854771712\n";
        let line = |number: u64| format!("{number}\n");
        match (self, is_v1) {
            (Self::Cpu, false) => match group.cpu {
                Some((quota, period)) => vec![("cpu.max", format!("{quota} {period}\n"))],
                None => vec![("cpu.max", "max 100000\n".to_owned())],
            },
            (Self::Cpu, true) => {
                let (quota, period) =
                    group.cpu.map_or(("-1\n".to_owned(), 100_000), |(quota, period)| (line(quota), period));
                vec![("cpu.cfs_quota_us", quota), ("cpu.cfs_period_us", line(period))]
            }
            (Self::Memory, false) => {
                let (limit, used) =
                    group.memory.map_or(("max\n".to_owned(), 0), |(limit, used)| (line(limit), used));
                vec![("memory.max", limit), ("memory.current", line(used))]
            }
            (Self::Memory, true) => {
                let (limit, used) =
                    group.memory.map_or((NONE.to_owned(), 0), |(limit, used)| (line(limit), used));
                vec![("memory.limit_in_bytes", limit), ("memory.usage_in_bytes", line(used))]
            }
            (Self::Pids, _) => {
                let (limit, used) =
                    group.pids.map_or(("max\n".to_owned(), 0), |(limit, used)| (line(limit), used));
                vec![("pids.max", limit), ("pids.current", line(used))]
            }
        }
    }
}

/// A host's files by their paths.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files(pub(crate) BTreeMap<PathBuf, Vec<u8>>);

impl Files {
    pub(crate) fn put(&mut self, path: &str, content: impl Into<Vec<u8>>) {
        self.0.insert(path.into(), content.into());
    }

    fn put_in(&mut self, directory: &[u8], file: &str, content: impl Into<Vec<u8>>) {
        self.0.insert(Path::new(OsStr::from_bytes(directory)).join(file), content.into());
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots::in_memory(self.0.clone())
    }

    /// Writes them below a directory.
    pub(crate) fn write(&self, directory: &Path) -> std::io::Result<()> {
        for (path, content) in &self.0 {
            let path = directory.join(path.strip_prefix("/").unwrap());
            std::fs::create_dir_all(path.parent().unwrap())?;
            std::fs::write(path, content)?;
        }
        Ok(())
    }
}

/// A line of mountinfo, escaped as the kernel does it.
fn mount_line(root: &[u8], point: &[u8], kind: &str, options: &str) -> Vec<u8> {
    let escape = |path: &[u8]| -> Vec<u8> {
        let escaped = path.iter().map(|byte| match byte {
            b' ' | b'\t' | b'\n' | b'\\' | b'#' => format!("\\{byte:03o}").into_bytes(),
            other => vec![*other],
        });
        escaped.flatten().collect()
    };
    let root = if root.is_empty() { b"/" } else { root };
    let (root, point) = (escape(root), escape(point));
    let rest = format!(" rw,nosuid shared:9 master:1 - {kind} {kind} rw,{options}\n");
    [b"35 24 0:30 ", &root[..], b" ", &point, rest.as_bytes()].concat()
}

/// Trees of up to four groups on hosts of up to 64 processors.
pub(crate) fn tree() -> impl Strategy<Value = Tree> {
    (1_u64..=64, 1_u64 << 12..1 << 30, prop::collection::vec(group(), 0..=4))
        .prop_map(|(cpus, kilobytes, groups)| Tree { cpus, kilobytes, groups })
}

pub(crate) fn group() -> impl Strategy<Value = Group> {
    let period = prop::sample::select(vec![1_000_u64, 10_000, 100_000, 1_000_000]);
    let cpu = prop::option::of((1_000_u64..10_000_000, period));
    let memory = prop::option::of((0_u64..1 << 42, 0_u64..1 << 42));
    let pids = prop::option::of((0_u64..100_000, 0_u64..1_000));
    (name(), cpu, memory, pids).prop_map(|(name, cpu, memory, pids)| Group { name, cpu, memory, pids })
}

/// What a group may be called: anything without a slash or a line break.
fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-z]{1,8}".prop_map(String::into_bytes),
        prop::sample::select(vec![
            b"a b".to_vec(),
            b"c:d:e".to_vec(),
            b"x (deleted)".to_vec(),
            b"...".to_vec(),
            b"..x".to_vec(),
            br"\012".to_vec(),
            br"\x2d\040".to_vec(),
            b"#\t".to_vec(),
            b"cpu.d".to_vec(),
            "\u{e9}\u{202e}".as_bytes().to_vec(),
            b"\xff\x1b[31m".to_vec(),
            vec![b'n'; 255],
        ]),
    ]
}

/// Every view of a tree.
pub(crate) fn views(tree: &Tree) -> Vec<View> {
    let mut views = vec![View::V1, View::V2, View::Hybrid];
    for point in
        [&b"/mnt/c"[..], b"/a b\n\t\\#c", b"/sys/fs/cgroup/\xff: - cgroup2", b"/proc/self/x (deleted)"]
    {
        views.push(View::MountedAt(point.to_vec()));
    }
    for hidden in 1..=tree.groups.len() {
        views.extend([View::Part(hidden), View::PartOfV1(hidden)]);
    }
    views
}

const TASKS: u64 = 80;
const MOST_TASKS: u64 = 30_000;
const LIMITS: &str = "Max processes  unlimited  unlimited  processes\nMax open files  1024  4096  files\nMax address space  unlimited  unlimited  bytes\n";
const FOREIGN_MOUNTS: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
23 27 0:22 / /sys rw,relatime - sysfs sysfs rw
40 24 0:4 net:[4026532281] /run/netns/x rw shared:2 - nsfs nsfs rw
41 24 0:5 / /mnt/w rw - 9p drvfs rw,aname=drvfs;path=C:\\;symlinkroot=/mnt/ - cgroup2 x rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
";
