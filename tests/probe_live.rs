//! The probes beside the standard library and `num_cpus`, on hosts made to order: control groups mounted over this
//! host's own, and real ones of version 1. What a machine does not allow is skipped, and says so.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use concurrency_governor::governor::RefreshPolicy;
use concurrency_governor::plan::{Bound, Measurement};
use concurrency_governor::probe::{Cpu, Memory, Tasks};
use concurrency_governor::{Formula, GateSpec, Governor, Limit, Quantity, Reading, Resource};
use nix::sys::resource::{Resource as Rlimit, getrlimit, setrlimit};
use tokio::time::timeout;

/// Who is wrong of which host, and the whole cores that they see there; `ALL` is every processor that is allowed.
///
/// `num_cpus` rounds up, and looks at the process's own group alone; neither finds groups that are mounted elsewhere or
/// in part, and the standard library none of version 2 that are mounted beside version 1.
const WRONG: [(&str, &str, u64); 14] = [
    ("v2-one-and-half", "num_cpus", 2),
    ("v2-leaf3-parent1.5", "num_cpus", 3),
    ("v2-period-1s", "num_cpus", 2),
    ("v2-leaf-without-cpu.max", "num_cpus", ALL),
    ("v2-cgroupns-own-mount", "num_cpus", 2),
    ("v1: the group above grants less", "num_cpus", ALL),
    ("v1: a part is mounted", "num_cpus", ALL),
    ("v2: a part is mounted", "std", ALL),
    ("v2: a part is mounted", "num_cpus", ALL),
    ("v2 beside v1", "std", ALL),
    ("v2: an unlikely mount point", "std", ALL),
    ("v2: an unlikely mount point", "num_cpus", ALL),
    ("v2: another group of nearly the same name", "std", ALL),
    ("v2: another group of nearly the same name", "num_cpus", ALL),
];
const ALL: u64 = u64::MAX;

/// Where the standard library and `num_cpus` are wrong, and nowhere else: on every captured tree and on every way to
/// mount groups that is known to be hard. The probe is right on all of them.
#[test]
fn others_are_wrong_in_the_known_cases_alone() {
    const NAME: &str = "others_are_wrong_in_the_known_cases_alone";
    if std::env::var_os(CHILD).is_some() {
        return say_cores();
    }
    let affinity = affinity();
    if affinity < 2 {
        return skip(NAME, "on one processor every quota of a whole one is the truth");
    }
    if !unshare(&["--mount"], "exit 0").status.success() {
        return skip(NAME, "this process may make no mount namespace");
    }
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kernel-6.1-cgroup-v2");
    let granted = fs::read_to_string(fixtures.join("EXPECTED.tsv")).unwrap();
    let captured = granted.lines().skip(1).map(|line| {
        let cells: Vec<&str> = line.split('\t').collect();
        (cells[0].to_owned(), fixtures.join(cells[0]), cells[1].parse::<Quantity>().unwrap())
    });
    let scratch = Scratch::new();
    let made = MADE.map(|(name, files)| {
        let root = scratch.0.join(name);
        for (path, content) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        (name.to_owned(), root, Quantity::whole(1))
    });
    let (mut wrong, mut expected) = (Vec::new(), Vec::new());
    for (name, root, granted) in captured.chain(made) {
        // The processors are this machine's: a system call cannot be mounted over.
        let granted = granted.min(Quantity::whole(affinity));
        let [ours, std, num_cpus, std_blind] = cores_on(NAME, &root);
        assert_eq!(ours, granted.to_string(), "{name}");
        assert_eq!(std_blind, affinity.to_string(), "{name}: with no descriptor left it sees no quota");
        let whole = granted.floor().max(1);
        for (who, said) in [("std", std), ("num_cpus", num_cpus)] {
            if said != whole.to_string() {
                wrong.push(format!("{name}: {who} {said}"));
            }
        }
        // On a machine of few processors some of them are right by chance.
        for (_, who, said) in
            WRONG.iter().filter(|(host, _, said)| *host == name && whole != *said.min(&affinity))
        {
            expected.push(format!("{name}: {who} {}", said.min(&affinity)));
        }
    }
    assert_eq!(wrong, expected);
}

/// Ways to mount groups that are hard: each grants one core.
const MADE: [(&str, &[(&str, &str)]); 6] = [
    (
        "v1: the group above grants less",
        &[
            ("proc/self/cgroup", "3:cpu,cpuacct:/p/l\n"),
            ("proc/self/mountinfo", V1),
            ("sys/fs/cgroup/cpu,cpuacct/cgroup.sane_behavior", "0\n"),
            ("sys/fs/cgroup/cpu,cpuacct/p/cpu.cfs_quota_us", "100000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/p/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/p/l/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu,cpuacct/p/l/cpu.cfs_period_us", "100000\n"),
        ],
    ),
    (
        "v1: a part is mounted",
        &[
            ("proc/self/cgroup", "3:cpu,cpuacct:/docker/ab/x\n"),
            (
                "proc/self/mountinfo",
                "33 31 0:30 /docker/ab /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n",
            ),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "100000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", "-1\n"),
        ],
    ),
    (
        "v2: a part is mounted",
        &[
            ("proc/self/cgroup", "0::/docker/ab/x\n"),
            ("proc/self/mountinfo", "33 31 0:30 /docker/ab /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),
            ("sys/fs/cgroup/cgroup.type", "domain\n"),
            ("sys/fs/cgroup/cgroup.controllers", "cpu\n"),
            ("sys/fs/cgroup/cpu.max", "100000 100000\n"),
            ("sys/fs/cgroup/x/cpu.max", "max 100000\n"),
        ],
    ),
    (
        "v2 beside v1",
        &[
            ("proc/self/cgroup", "1:name=systemd:/s\n0::/l\n"),
            (
                "proc/self/mountinfo",
                "33 31 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
                 34 31 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n",
            ),
            ("sys/fs/cgroup/unified/l/cpu.max", "100000 100000\n"),
        ],
    ),
    (
        "v2: an unlikely mount point",
        &[
            ("proc/self/cgroup", "0::/l\n"),
            ("proc/self/mountinfo", "33 31 0:30 / /sys/fs/cgroup/a\\040b rw - cgroup2 cgroup2 rw\n"),
            ("sys/fs/cgroup/a b/l/cpu.max", "100000 100000\n"),
        ],
    ),
    (
        "v2: another group of nearly the same name",
        &[
            ("proc/self/cgroup", "0::/docker/ab\n"),
            (
                "proc/self/mountinfo",
                "33 31 0:30 /docker/a /sys/fs/cgroup/a rw - cgroup2 cgroup2 rw\n\
                 34 31 0:30 /docker/ab /sys/fs/cgroup/ab rw - cgroup2 cgroup2 rw\n",
            ),
            ("sys/fs/cgroup/a/cpu.max", "1000 100000\n"),
            ("sys/fs/cgroup/ab/cpu.max", "100000 100000\n"),
        ],
    ),
];

const V1: &str = "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n";

/// What the child says: the cores by the probe, by the standard library and by `num_cpus`, and by the standard library
/// once no descriptor is left.
fn say_cores() {
    let cores = Cpu::new();
    let Reading::Finite(ours) = cores.read().unwrap().reading() else { panic!("cores are finite") };
    let std = || std::thread::available_parallelism().unwrap();
    let (seen, num_cpus) = (std(), num_cpus::get());
    let (_, hard) = getrlimit(Rlimit::RLIMIT_NOFILE).unwrap();
    setrlimit(Rlimit::RLIMIT_NOFILE, 0, hard).unwrap();
    let blind = std();
    assert_eq!(
        cores.read().unwrap().reading(),
        Reading::Finite(ours),
        "the probe that measured is not blind"
    );
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{MARK}{ours} {seen} {num_cpus} {blind}").unwrap();
}

/// The same in a process that finds these files where the host's own would be.
fn cores_on(test: &str, root: &Path) -> [String; 4] {
    let script = "mount --bind \"$ROOT/sys/fs/cgroup\" /sys/fs/cgroup \
                  && mount --bind \"$ROOT/proc/self/cgroup\" /proc/$$/cgroup \
                  && mount --bind \"$ROOT/proc/self/mountinfo\" /proc/$$/mountinfo \
                  && exec \"$PROGRAM\" --exact \"$TEST\" --nocapture";
    let output = command(&["--mount", "--propagation", "private"], script)
        .envs([("TEST", test), (CHILD, "1")])
        .env("ROOT", root)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let said = printed.lines().find_map(|line| Some(line.split_once(MARK)?.1.split(' ')));
    let said = said.unwrap_or_else(|| panic!("{}: {output:?}", root.display()));
    said.map(str::to_owned).collect::<Vec<_>>().try_into().unwrap()
}

/// Under real groups of version 1 the readings are what the groups grant, and follow a change, a move and a removal at
/// the next measurement.
#[test]
fn real_groups_are_followed() {
    const NAME: &str = "real_groups_are_followed";
    if std::env::var_os(CHILD).is_some() {
        return follow_groups();
    }
    let Some(groups) = RealGroups::make(NAME) else { return };
    groups.run_in_child(NAME);
}

/// In a process of its own, which enters the groups by itself.
fn follow_groups() {
    let name = std::env::var("GROUP").unwrap();
    let [cpu, memory, pids] = ["cpu", "memory", "pids"].map(|controller| group(controller, &name));
    let (top, leaf) = (cpu.clone(), cpu.join("leaf"));
    put(&top, "cpu.cfs_quota_us", "150000");
    put(&leaf, "cpu.cfs_quota_us", "100000");
    put(&leaf, "cpu.cfs_period_us", "100000");
    put(&memory, "memory.limit_in_bytes", "1073741824");
    put(&pids, "pids.max", "1000");
    let here = std::process::id().to_string();
    for directory in [&leaf, &memory, &pids] {
        put(directory, "cgroup.procs", &here);
    }

    let (cores, bytes, tasks) = (Cpu::new(), Memory::new(), Tasks::new());
    let read = || {
        let measured = [cores.read().unwrap(), bytes.read().unwrap(), tasks.read().unwrap()];
        let anew = [Cpu::new().read().unwrap(), Memory::new().read().unwrap(), Tasks::new().read().unwrap()];
        assert_eq!(measured, anew, "what is kept tells what a new probe tells");
        assert!(measured.iter().all(|measured| measured.bound() == Bound::Exact), "{measured:?}");
        measured.map(|measured| measured.reading())
    };
    let granted = [Reading::whole(1), Reading::whole(1 << 30), Reading::whole(1000)];
    assert_eq!(read(), granted);
    assert_eq!(read(), granted, "what is kept tells the same");
    assert!(matches!(tasks.read_free().reading(), Reading::Finite(free) if free < Quantity::whole(1000)));
    let available = bytes.read_available().unwrap().reading();
    assert!(matches!(available, Reading::Finite(left) if left < Quantity::whole(1 << 30)), "{available}");

    // Every file that is to be watched is there, and a change of one changes the reading.
    let files = cores.limit_files();
    for directory in [&leaf, &top] {
        assert!(files.contains(&directory.join("cpu.cfs_quota_us")), "{files:?}");
    }
    // What the last measurement was made of is known by the second one.
    for _ in 0..2 {
        assert_eq!(read(), granted);
    }
    put(&leaf, "cpu.cfs_quota_us", "50000");
    put(&memory, "memory.limit_in_bytes", "536870912");
    put(&pids, "pids.max", "900");
    let half: Quantity = "0.5".parse().unwrap();
    assert_eq!(read(), [half.into(), Reading::whole(1 << 29), Reading::whole(900)]);

    // Moved up, and the old group removed: kept descriptors lead nowhere.
    put(&top, "cgroup.procs", &here);
    fs::remove_dir(&leaf).unwrap();
    let one_and_half: Quantity = "1.5".parse().unwrap();
    assert_eq!(cores.read().unwrap().reading(), one_and_half.min(Quantity::whole(affinity())).into());
    // Moved back into a new group of the old name.
    fs::create_dir(&leaf).unwrap();
    put(&leaf, "cpu.cfs_quota_us", "20000");
    put(&leaf, "cgroup.procs", &here);
    assert_eq!(cores.read().unwrap().reading(), "0.2".parse::<Quantity>().unwrap().into());
    for (directory, group) in [(&cpu, "cpu"), (&memory, "memory"), (&pids, "pids")] {
        put(directory.parent().unwrap(), "cgroup.procs", &here);
        assert!(directory.ends_with(&name), "{group}");
    }
    assert_eq!(read()[0], Reading::whole(affinity()));
}

/// A quota that is lowered while the process runs has the gates follow at once; so has one that is raised, where a rise
/// is believed at once.
#[test]
fn gates_follow_a_quota() {
    const NAME: &str = "gates_follow_a_quota";
    if std::env::var_os(CHILD).is_some() {
        return tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(follow_a_quota());
    }
    if affinity() < 2 {
        return skip(NAME, "there is one processor");
    }
    let Some(groups) = RealGroups::make(NAME) else { return };
    let output = groups.run_in_child(NAME);
    let printed = String::from_utf8_lossy(&output.stderr);
    say(printed.lines().find(|line| line.contains("followed within")).unwrap());
}

/// In a process of its own, which enters the group by itself.
async fn follow_a_quota() {
    const WORKERS: GateSpec = GateSpec::new("workers", Formula::scale(Resource::CPU, 1));

    let cpu = group("cpu", &std::env::var("GROUP").unwrap());
    let leaf = cpu.join("leaf");
    put(&leaf, "cpu.cfs_quota_us", "200000");
    put(&leaf, "cgroup.procs", &std::process::id().to_string());
    let builder = Governor::builder().gate(WORKERS).probe(Cpu::new().poll_every(HOUR));
    let governor = builder.build().await.unwrap();
    let _refresh = governor.spawn_refresh(RefreshPolicy::new().every(HOUR).rise_after(1));
    let workers = governor.gate(WORKERS).unwrap();
    let mut resolutions = governor.subscribe();
    let mut took = Vec::new();
    // Of the group itself, and of the one above it.
    for (group, quota, cores) in
        [(&leaf, "100000", 1), (&leaf, "200000", 2), (&cpu, "100000", 1), (&cpu, "-1", 2)].repeat(13)
    {
        let written = Instant::now();
        // The group above may not have less than the one below: that goes first.
        if group == &cpu && cores == 1 {
            put(&leaf, "cpu.cfs_quota_us", "-1");
        }
        put(group, "cpu.cfs_quota_us", quota);
        while workers.limit() != Limit::new(cores) {
            timeout(Duration::from_secs(20), resolutions.changed()).await.expect("it follows").unwrap();
        }
        took.push(written.elapsed());
    }
    took.sort();
    let (least, median, most) = (took[0], took[took.len() / 2], took.last().unwrap());
    say(&format!("{} changes followed within {least:?} to {most:?}, half of them {median:?}", took.len()));
    assert!(median < Duration::from_millis(100), "{took:?}");
    assert!(governor.resolution().readings().get(Resource::CPU).unwrap().notes().is_empty());
}

/// In a namespace of control groups that still sees the mounts outside of it, nothing of this process's groups can be
/// seen, and none is mistaken for it: the processors are a bound.
#[test]
fn namespace_that_sees_the_mounts_outside_is_a_bound() {
    const NAME: &str = "namespace_that_sees_the_mounts_outside_is_a_bound";
    if std::env::var_os(CHILD).is_some() {
        let measured: Measurement = Cpu::new().read().unwrap();
        assert_eq!((measured.reading(), measured.bound()), (Reading::whole(affinity()), Bound::AtMost));
        assert!(measured.notes()[0].ends_with("is not below any mounted hierarchy"), "{measured:?}");
        return;
    }
    let Some(groups) = RealGroups::make(NAME) else { return };
    let cpu = group("cpu", &groups.name);
    put(&cpu, "cpu.cfs_quota_us", "150000");
    let script = "echo $$ > \"$GROUP/cgroup.procs\" \
                  && exec unshare --cgroup -- \"$PROGRAM\" --exact \"$TEST\" --nocapture";
    let output =
        command(&[], script).envs([("TEST", NAME), (CHILD, "1")]).env("GROUP", &cpu).output().unwrap();
    drop(groups);
    passed(&output);
}

/// Groups of version 1 for one test, gone when dropped.
struct RealGroups {
    name: String,
}

impl RealGroups {
    /// Makes them, or says why the test is skipped.
    fn make(test: &str) -> Option<Self> {
        let groups = Self { name: format!("governor-{test}-{}", std::process::id()) };
        for controller in ["cpu", "memory", "pids"] {
            let made = mounted(controller).and_then(|()| {
                let directory = group(controller, &groups.name);
                fs::create_dir(&directory).map_err(|error| format!("{}: {error}", directory.display()))
            });
            if let Err(reason) = made {
                skip(test, &reason);
                return None;
            }
        }
        let leaf = group("cpu", &groups.name).join("leaf");
        fs::create_dir(leaf).unwrap();
        Some(groups)
    }

    /// Runs a test once more in a process of its own, which enters the groups by itself, and sees it pass. They are gone
    /// then.
    fn run_in_child(self, test: &str) -> Output {
        let output = command(&[], "exec \"$PROGRAM\" --exact \"$TEST\" --nocapture")
            .envs([("TEST", test), (CHILD, "1")])
            .env("GROUP", &self.name)
            .output()
            .unwrap();
        drop(self);
        passed(&output);
        output
    }
}

impl Drop for RealGroups {
    fn drop(&mut self) {
        let cpu = group("cpu", &self.name);
        // A group that is not there need not be removed.
        for directory in [cpu.join("leaf"), cpu, group("memory", &self.name), group("pids", &self.name)] {
            drop(fs::remove_dir(directory));
        }
    }
}

/// Whether version 1 has this controller where it usually is.
fn mounted(controller: &str) -> Result<(), String> {
    let root = Path::new("/sys/fs/cgroup").join(controller);
    if root.join("cgroup.procs").exists() {
        Ok(())
    } else {
        Err(format!("{} shows no control groups of version 1", root.display()))
    }
}

/// A group below the one that this process was started in.
fn group(controller: &str, name: &str) -> PathBuf {
    // Of memory, the process must stay within what it is accounted for; the others are taken from the top.
    let own = if controller == "memory" && std::env::var_os(CHILD).is_none() {
        let listed = fs::read_to_string("/proc/self/cgroup").unwrap();
        let path =
            listed.lines().find_map(|line| line.split_once(":memory:/")).map(|(_, path)| path.to_owned());
        path.unwrap_or_default()
    } else if controller == "memory" {
        std::env::var("MEMORY").unwrap()
    } else {
        String::new()
    };
    Path::new("/sys/fs/cgroup").join(controller).join(own).join(name)
}

fn put(directory: &Path, file: &str, text: &str) {
    let path = directory.join(file);
    fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// The processors that this process may run on.
fn affinity() -> u64 {
    use nix::sched::{CpuSet, sched_getaffinity};

    let set = sched_getaffinity(nix::unistd::getpid()).unwrap();
    (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap()).count().try_into().unwrap()
}

/// A shell that runs this script in namespaces of its own, and knows this program.
fn command(namespaces: &[&str], script: &str) -> Command {
    let mut command = Command::new("unshare");
    if namespaces.is_empty() {
        command = Command::new("sh");
    } else {
        command.args(namespaces).args(["--", "sh"]);
    }
    let memory = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let memory = memory.lines().find_map(|line| line.split_once(":memory:/")).map_or("", |(_, path)| path);
    command.args(["-c", script]).env("PROGRAM", std::env::current_exe().unwrap()).env("MEMORY", memory);
    command
}

fn unshare(namespaces: &[&str], script: &str) -> Output {
    command(namespaces, script).output().unwrap()
}

#[track_caller]
fn passed(output: &Output) {
    let printed = String::from_utf8_lossy(&output.stdout);
    let passed = output.status.success() && printed.contains("1 passed");
    assert!(passed, "{printed}{}", String::from_utf8_lossy(&output.stderr));
}

/// Says that a test is skipped.
fn skip(test: &str, reason: &str) {
    say(&format!("skipped: {test}: {reason}"));
}

/// Says something past whatever captures what tests print.
fn say(line: &str) {
    let mut stderr = std::io::stderr();
    writeln!(stderr, "{line}").unwrap();
}

/// A directory of its own, removed on drop.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("probe-live-{}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A folder that stays behind in the build folder harms nobody.
        drop(fs::remove_dir_all(&self.0));
    }
}

const CHILD: &str = "CONCURRENCY_GOVERNOR_TEST_CHILD";
const HOUR: Duration = Duration::from_secs(3600);
const MARK: &str = "cores: ";
