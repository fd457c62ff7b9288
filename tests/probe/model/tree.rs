//! A tree of cgroups: what it grants, and the files with which each kernel shows it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use concurrency_governor::probe::Roots;
use concurrency_governor::{Quantity, Reading};
use proptest::prelude::*;

use crate::support::temp_dir::TempDir;

/// The cgroup of a process with all its ancestors below the root, on a host.
#[derive(Clone, Debug)]
pub(crate) struct CgroupTree {
    pub(crate) cpus: u64,
    /// The memory of the host, in the unit of `/proc/meminfo`.
    pub(crate) kilobytes: u64,
    /// From the outermost to the cgroup of the process.
    pub(crate) cgroups: Vec<Cgroup>,
}

/// A cgroup with its limits.
#[derive(Clone, Debug)]
pub(crate) struct Cgroup {
    pub(crate) name: Vec<u8>,
    /// Quota and period, in microseconds.
    pub(crate) cpu: Option<(u64, u64)>,
    /// Limit and usage, in bytes.
    pub(crate) memory: Option<(u64, u64)>,
    /// Limit and usage, in tasks.
    pub(crate) pids: Option<(u64, u64)>,
}

/// What a tree grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GrantedReadings {
    pub(crate) cores: Reading,
    /// In bytes.
    pub(crate) memory: Reading,
    /// In bytes.
    pub(crate) available: Reading,
    pub(crate) tasks: Reading,
    pub(crate) free_tasks: Reading,
}

/// How a kernel shows a tree.
#[derive(Clone, Debug)]
pub(crate) enum TreeView {
    /// Version 1: a hierarchy for each controller.
    V1,
    /// Version 2: one hierarchy for all controllers.
    V2,
    /// The `cpu` controller in version 1, the others in version 2.
    Hybrid,
    /// Version 2 at this mount point.
    V2MountedAt(Vec<u8>),
    /// Version 2, where the mount starts at the cgroup of this number. The first cgroup has the number 1.
    V2Part(usize),
    /// Version 1, where the mounts start at the cgroup of this number.
    V1Part(usize),
}

impl CgroupTree {
    /// Returns what the kernel grants if the first `hidden` cgroups are not visible.
    pub(crate) fn granted(&self, hidden: usize) -> GrantedReadings {
        let visible = || self.cgroups.iter().skip(hidden);
        let cores =
            visible().filter_map(|cgroup| cgroup.cpu).map(|(quota, period)| (quota * 1000 / period).max(1));
        let memory = || visible().filter_map(|cgroup| cgroup.memory);
        let pids = || visible().filter_map(|cgroup| cgroup.pids);
        let bytes = self.kilobytes * 1024;
        let remainder = |(limit, usage): (u64, u64)| limit.saturating_sub(usage);
        let cores = cores.chain([self.cpus * 1000]).min().unwrap();
        let available = memory().map(remainder).chain([self.kilobytes / 2 * 1024]).min().unwrap();
        let free_tasks = pids().map(remainder).chain([MAX_TASKS - TASKS]).min().unwrap();
        GrantedReadings {
            cores: Quantity::from_thousandths(cores).into(),
            memory: Reading::whole(memory().map(|(limit, _)| limit).chain([bytes]).min().unwrap()),
            available: Reading::whole(available),
            tasks: Reading::whole(pids().map(|(limit, _)| limit).chain([MAX_TASKS]).min().unwrap()),
            free_tasks: Reading::whole(free_tasks),
        }
    }

    /// Returns whether a cgroup that uses memory, some of which may be page cache, decides the available memory.
    pub(crate) fn is_available_a_lower_bound(&self) -> bool {
        let remainders = self.cgroups.iter().filter_map(|cgroup| cgroup.memory);
        let remainders = remainders.map(|(limit, usage)| (limit.saturating_sub(usage), usage > 0));
        let host = (self.kilobytes / 2 * 1024, false);
        // Of two equal remainders, the one without usage counts.
        remainders.chain([host]).min().unwrap().1
    }

    /// Returns the files of a host whose kernel shows the tree like this.
    pub(crate) fn files(&self, view: &TreeView) -> HostFiles {
        let mut files = HostFiles::default();
        files.put("/proc/self/status", format!("Cpus_allowed_list:\t0-{}\nCapEff:\t0\n", self.cpus - 1));
        files.put("/sys/devices/system/cpu/online", "0-1023\n");
        files.put(
            "/proc/meminfo",
            format!("MemTotal: {0} kB\nMemAvailable: {1} kB\n", self.kilobytes, self.kilobytes / 2),
        );
        files.put("/proc/self/limits", LIMITS);
        files.put("/proc/sys/kernel/threads-max", format!("{MAX_TASKS}\n"));
        files.put("/proc/loadavg", format!("0.20 0.18 0.12 1/{TASKS} 11206\n"));

        let mut membership = b"7:freezer:/elsewhere\n1:name=systemd:/a:b\n".to_vec();
        let mut mounts = FOREIGN_MOUNTS.as_bytes().to_vec();
        for controller in [Controller::Cpu, Controller::Memory, Controller::Pids] {
            let is_v1 = match view {
                TreeView::V1 | TreeView::V1Part(_) => true,
                TreeView::Hybrid => controller == Controller::Cpu,
                _ => false,
            };
            let hidden = view.first_visible();
            let (mount_point, file_system, options) = match (view, is_v1) {
                (TreeView::V2MountedAt(mount_point), _) => (mount_point.clone(), "cgroup2", "nsdelegate"),
                (_, true) => {
                    let mount_point = format!("/sys/fs/cgroup/{}", controller.v1_name()).into_bytes();
                    (mount_point, "cgroup", controller.v1_name())
                }
                (TreeView::Hybrid, false) => (b"/sys/fs/cgroup/unified".to_vec(), "cgroup2", "nsdelegate"),
                (_, false) => (b"/sys/fs/cgroup".to_vec(), "cgroup2", "nsdelegate"),
            };

            // The v2 hierarchy is mounted once. Every view with version 2 has the memory controller there.
            let is_new_hierarchy = is_v1 || controller == Controller::Memory;
            if is_new_hierarchy {
                mounts.extend(mount_line(&self.path(0, hidden), &mount_point, file_system, options));
                let fields = if is_v1 { format!("5:{}:", controller.v1_name()) } else { "0::".to_owned() };
                membership.extend([fields.as_bytes(), &self.path(0, self.cgroups.len()), b"\n"].concat());
            }

            // The root of a v1 hierarchy has `cgroup.sane_behavior`. In version 2, every cgroup but the root
            // has `cgroup.type`.
            let marker = if is_v1 { "cgroup.sane_behavior" } else { "cgroup.type" };
            if is_v1 == (hidden == 0) {
                files.put_in(&mount_point, marker, "0\n");
            }
            files.put_in(&mount_point, "cgroup.procs", "");
            for (index, cgroup) in self.cgroups.iter().enumerate().skip(hidden.saturating_sub(1)) {
                let directory = [&mount_point[..], &self.path(hidden, index + 1)].concat();
                files.put_in(&directory, "cgroup.procs", "1\n");
                if !is_v1 {
                    files.put_in(&directory, "cgroup.controllers", "cpuset cpu io memory pids\n");
                }
                for (file, content) in controller.files(cgroup, is_v1) {
                    files.put_in(&directory, file, content);
                }
            }
        }
        files.put("/proc/self/cgroup", membership);
        files.put("/proc/self/mountinfo", mounts);
        files
    }

    /// Returns the path of the cgroups from index `from` to index `to`, without the cgroup at `to`.
    fn path(&self, from: usize, to: usize) -> Vec<u8> {
        let cgroups = self.cgroups.iter().take(to).skip(from);
        let path: Vec<u8> = cgroups.flat_map(|cgroup| [b"/", &cgroup.name[..]].concat()).collect();
        if path.is_empty() && from == 0 { b"/".to_vec() } else { path }
    }
}

impl TreeView {
    /// Returns the number of the cgroup at which a partial mount starts, or 0 if the whole hierarchy is
    /// mounted. This cgroup is visible, and those before it are hidden.
    pub(crate) fn first_visible(&self) -> usize {
        match self {
            Self::V2Part(number) | Self::V1Part(number) => *number,
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
    /// Returns the name in `/proc/self/cgroup`, in the mount point and in the mount options of version 1.
    fn v1_name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu,cpuacct",
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }

    /// Returns the names and the contents of the files that the controller has in a cgroup.
    fn files(self, cgroup: &Cgroup, is_v1: bool) -> Vec<(&'static str, String)> {
        const V1_NO_MEMORY_LIMIT: &str = "9223372036854771712\n";
        let line = |number: u64| format!("{number}\n");
        // The limit, or the text that means "no limit", and the usage.
        let lines = |limited: Option<(u64, u64)>, no_limit: &str| {
            let (limit, usage) =
                limited.map_or((no_limit.to_owned(), 0), |(limit, usage)| (line(limit), usage));
            (limit, line(usage))
        };
        match (self, is_v1) {
            (Self::Cpu, false) => match cgroup.cpu {
                Some((quota, period)) => vec![("cpu.max", format!("{quota} {period}\n"))],
                None => vec![("cpu.max", "max 100000\n".to_owned())],
            },
            (Self::Cpu, true) => {
                let (quota, period) =
                    cgroup.cpu.map_or(("-1\n".to_owned(), 100_000), |(quota, period)| (line(quota), period));
                vec![("cpu.cfs_quota_us", quota), ("cpu.cfs_period_us", line(period))]
            }
            (Self::Memory, false) => {
                let (limit, usage) = lines(cgroup.memory, "max\n");
                vec![("memory.max", limit), ("memory.current", usage)]
            }
            (Self::Memory, true) => {
                let (limit, usage) = lines(cgroup.memory, V1_NO_MEMORY_LIMIT);
                vec![("memory.limit_in_bytes", limit), ("memory.usage_in_bytes", usage)]
            }
            (Self::Pids, _) => {
                let (limit, usage) = lines(cgroup.pids, "max\n");
                vec![("pids.max", limit), ("pids.current", usage)]
            }
        }
    }
}

/// The files of a host by their paths.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostFiles(pub(crate) BTreeMap<PathBuf, Vec<u8>>);

impl HostFiles {
    fn put(&mut self, path: &str, content: impl Into<Vec<u8>>) {
        self.0.insert(path.into(), content.into());
    }

    fn put_in(&mut self, directory: &[u8], file: &str, content: impl Into<Vec<u8>>) {
        self.0.insert(Path::new(OsStr::from_bytes(directory)).join(file), content.into());
    }

    /// Returns the host in memory.
    pub(crate) fn roots(&self) -> Roots {
        Roots::in_memory(self.0.clone())
    }

    /// Writes the files below the directory.
    pub(crate) fn write(&self, directory: &TempDir) {
        for (path, content) in &self.0 {
            directory.write(path.strip_prefix("/").unwrap(), content);
        }
    }
}

/// Returns a line of mountinfo, escaped as the kernel does it.
fn mount_line(root: &[u8], mount_point: &[u8], file_system: &str, options: &str) -> Vec<u8> {
    let escape = |path: &[u8]| -> Vec<u8> {
        let escaped = path.iter().map(|byte| match byte {
            b' ' | b'\t' | b'\n' | b'\\' | b'#' => format!("\\{byte:03o}").into_bytes(),
            other => vec![*other],
        });
        escaped.flatten().collect()
    };
    let root = if root.is_empty() { b"/" } else { root };
    let (root, mount_point) = (escape(root), escape(mount_point));
    let rest = format!(" rw,nosuid shared:9 master:1 - {file_system} {file_system} rw,{options}\n");
    [b"35 24 0:30 ", &root[..], b" ", &mount_point, rest.as_bytes()].concat()
}

/// Trees of up to four cgroups on hosts of up to 1024 CPUs.
pub(crate) fn tree() -> impl Strategy<Value = CgroupTree> {
    (prop_oneof![1_u64..=64, 65..=1024_u64], 1_u64 << 12..1 << 30, prop::collection::vec(cgroup(), 0..=4))
        .prop_map(|(cpus, kilobytes, cgroups)| CgroupTree { cpus, kilobytes, cgroups })
}

/// Cgroups with any combination of limits.
pub(crate) fn cgroup() -> impl Strategy<Value = Cgroup> {
    let period =
        prop_oneof![prop::sample::select(vec![1_000, 33_333, 100_000, 1_000_000]), 1_000..=1_000_000_u64];
    let cpu = prop::option::of((1_000_u64..10_000_000, period));
    let memory = prop::option::of((0_u64..1 << 42, 0_u64..1 << 42));
    let pids = prop::option::of((0_u64..100_000, 0_u64..1_000));
    (name(), cpu, memory, pids).prop_map(|(name, cpu, memory, pids)| Cgroup { name, cpu, memory, pids })
}

/// Names of a cgroup: any bytes without a slash or a line break.
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

/// Returns every view of a tree.
pub(crate) fn views(tree: &CgroupTree) -> Vec<TreeView> {
    let mut views = vec![TreeView::V1, TreeView::V2, TreeView::Hybrid];
    for mount_point in
        [&b"/mnt/c"[..], b"/a b\n\t\\#c", b"/sys/fs/cgroup/\xff: - cgroup2", b"/proc/self/x (deleted)"]
    {
        views.push(TreeView::V2MountedAt(mount_point.to_vec()));
    }
    for number in 1..=tree.cgroups.len() {
        views.extend([TreeView::V2Part(number), TreeView::V1Part(number)]);
    }
    views
}

/// The tasks of the host, as `/proc/loadavg` has them.
const TASKS: u64 = 80;
/// The limit of the kernel.
const MAX_TASKS: u64 = 30_000;
const LIMITS: &str = "Max processes  unlimited  unlimited  processes\nMax open files  1024  4096  files\nMax address space  unlimited  unlimited  bytes\n";
/// Mounts that are no cgroup mounts, some of them with unusual fields.
const FOREIGN_MOUNTS: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
23 27 0:22 / /sys rw,relatime - sysfs sysfs rw
40 24 0:4 net:[4026532281] /run/netns/x rw shared:2 - nsfs nsfs rw
41 24 0:5 / /mnt/w rw - 9p drvfs rw,aname=drvfs;path=C:\\;symlinkroot=/mnt/ - cgroup2 x rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
";
